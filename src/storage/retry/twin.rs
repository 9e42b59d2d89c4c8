//! Uploads that were begun twice, because the answer to the first request was lost.
//!
//! Nobody knows the id of the first one, and its owner pays for whatever it may come to hold. After an upload was begun at a second
//! attempt, the open uploads of exactly its key are looked through: those that were begun within minutes, and hold no part, are given up.
//! They can only be ours; another host's would merely start over.

use std::time::Duration;

use futures::stream::StreamExt;
use jiff::SignedDuration;

use crate::clock::Clock;
use crate::storage::{Multipart, Upload};

/// How far back a lost answer may lie, the clocks of both sides apart.
const AGE_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Most open uploads that are looked through: keys that begin with this one are listed among them.
const LISTED_MAX: usize = 1000;
/// Longest that this holds up the upload that was begun.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Gives up the twins of an upload, as well as it can be done: what fails is left to the sweep of old uploads.
pub(super) async fn abort_twins(store: &dyn Multipart, ours: &Upload, clock: &Clock) {
    tokio::select! {
        biased;
        () = search(store, ours, clock) => {}
        () = clock.sleep(TIME_MAX) => tracing::debug!(key = %ours.key, "no time to look for an upload begun twice"),
    }
}

async fn search(store: &dyn Multipart, ours: &Upload, clock: &Clock) {
    let mut listed = store.list_uploads(ours.key.clone()).take(LISTED_MAX);
    while let Some(Ok(open)) = listed.next().await {
        let recent = open.initiated.is_some_and(|at| at.duration_since(clock.now()).abs() < AGE_MAX);
        if open.upload.key != ours.key || open.upload.id == ours.id || !recent {
            continue;
        }
        if store.list_parts(&open.upload).await.is_ok_and(|parts| parts.is_empty()) {
            let aborted = store.abort(&open.upload).await;
            tracing::info!(key = %ours.key, aborted = aborted.is_ok(), "an upload was begun twice, since an answer was lost; the first is given up");
        }
    }
}
