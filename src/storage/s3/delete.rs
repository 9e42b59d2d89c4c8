//! Deletes in batches of a thousand; an answer for each key.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::Method;
use md5::{Digest, Md5};

use super::client::{Bucket, Call};
use super::errors::judge;
use super::headers::set;
use super::object;
use crate::error::{CloudAnswer, Error, ErrorKind, Result};
use crate::storage::transport::xml::{self, DeleteOutcome};
use crate::storage::{Deleted, ObjectRef};

/// Keys a batch at most (protocol.md 2.3).
const BATCH_KEYS_MAX: usize = 1000;
/// Batches in flight.
const BATCHES_MAX: usize = 4;
/// Single deletes in flight.
const SINGLES_MAX: usize = 8;
/// Longest answer, in bytes: a thousand keys of 1,024 bytes, escaped, with a message each.
const ANSWER_BYTES_MAX: usize = 16 << 20;

type Answer = (ObjectRef, Result<Deleted>);

/// Deletes a stream of objects.
pub(super) fn delete(bucket: Arc<Bucket>, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, Answer> {
    objects
        .chunks(BATCH_KEYS_MAX)
        .map(move |batch| {
            let bucket = bucket.clone();
            async move {
                let named = |(object, answer): Answer| {
                    let answer = answer.map_err(|e| e.during("delete").on_key(&object.key).in_store(&bucket));
                    (object, answer)
                };
                stream::iter(delete_batch(&bucket, batch).await.into_iter().map(named).collect::<Vec<_>>())
            }
        })
        .buffered(BATCHES_MAX)
        .flatten()
        .boxed()
}

async fn delete_batch(bucket: &Bucket, objects: Vec<ObjectRef>) -> Vec<Answer> {
    // What XML cannot name, and what no request may name, goes alone.
    let (batch, singles): (Vec<_>, Vec<_>) = objects.into_iter().partition(|o| xml::xml_can_hold(&o.key) && object::check_key(&o.key).is_ok());
    let mut answers = match batch.len() {
        0 => Vec::new(),
        1 => one_by_one(bucket, batch).await,
        _ => match send_batch(bucket, &batch).await {
            Ok(outcomes) => match_up(batch, outcomes),
            Err(e) if e.kind() == ErrorKind::Unsupported => one_by_one(bucket, batch).await,
            Err(e) => batch.into_iter().map(|object| (object, Err(e.clone()))).collect(),
        },
    };
    answers.extend(one_by_one(bucket, singles).await);
    answers
}

async fn one_by_one(bucket: &Bucket, objects: Vec<ObjectRef>) -> Vec<Answer> {
    let deletes = objects.into_iter().map(|object| async move {
        let deleted = object::delete(bucket, &object).await;
        (object, deleted)
    });
    stream::iter(deletes).buffered(SINGLES_MAX).collect().await
}

async fn send_batch(bucket: &Bucket, objects: &[ObjectRef]) -> Result<Vec<DeleteOutcome>> {
    let body = Bytes::from(xml::delete_body(objects)?);
    let mut call = Call::new(Method::POST, None).flag("delete");
    set(&mut call.headers, "content-md5", &BASE64.encode(Md5::digest(&body)))?;
    set(&mut call.headers, "content-type", "application/xml")?;
    call.payload = body.into();
    let answer = bucket.send(&call).await?.collect(ANSWER_BYTES_MAX).await?;
    xml::delete_result(&answer)
}

/// Finds each object's outcome. One that the answer does not name is not known to be deleted.
fn match_up(objects: Vec<ObjectRef>, outcomes: Vec<DeleteOutcome>) -> Vec<Answer> {
    let mut found: HashMap<ObjectRef, DeleteOutcome> = HashMap::with_capacity(outcomes.len());
    for outcome in outcomes {
        // A failure weighs more than a success that is stated beside it.
        let slot = found.entry(outcome.object.clone()).or_insert_with(|| outcome.clone());
        if outcome.failure.is_some() {
            *slot = outcome;
        }
    }
    let silent = || Error::new(ErrorKind::Unavailable, "the service did not say whether it deleted this object");
    objects
        .into_iter()
        .map(|object| {
            let answer = found.get(&object).map_or_else(|| Err(silent()), outcome);
            (object, answer)
        })
        .collect()
}

fn outcome(outcome: &DeleteOutcome) -> Result<Deleted> {
    let Some((code, message)) = &outcome.failure else {
        let version = outcome.marker_version.clone().or_else(|| outcome.object.version.clone());
        return Ok(Deleted { version, delete_marker: outcome.delete_marker });
    };
    let (kind, advice) = judge(200, code, message);
    if kind == ErrorKind::NotFound {
        return Ok(Deleted::default());
    }
    let words = if message.is_empty() { code } else { message };
    Err(Error::new(kind, crate::storage::key::escape(words.as_bytes()))
        .answered(CloudAnswer { http_status: 200, code: code.clone(), ..CloudAnswer::default() })
        .advise(advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Key;

    #[test]
    fn every_object_has_its_own_answer() {
        let body = b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error>\
            <Deleted><Key>v</Key><VersionId>1</VersionId></Deleted><Deleted><Key>m</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>9</DeleteMarkerVersionId></Deleted>\
            <Error><Key>s</Key><Code>SlowDown</Code></Error></DeleteResult>";
        let asked = ["a", "b", "v", "m", "s", "lost"].map(|k| ObjectRef { key: Key::from(k), version: (k == "v").then(|| "1".to_owned()) });
        let answers: Vec<_> = match_up(asked.to_vec(), xml::delete_result(body).expect("a result")).into_iter().map(|(_, a)| a).collect();
        assert_eq!(answers[0].as_ref().expect("deleted"), &Deleted::default());
        assert_eq!(answers[1].as_ref().expect_err("denied").kind(), ErrorKind::Denied);
        assert_eq!(answers[2].as_ref().expect("deleted").version.as_deref(), Some("1"));
        assert_eq!(answers[3].as_ref().expect("marked"), &Deleted { version: Some("9".into()), delete_marker: true });
        assert_eq!(answers[4].as_ref().expect_err("slow").kind(), ErrorKind::Throttled);
        assert_eq!(answers[5].as_ref().expect_err("unknown").kind(), ErrorKind::Unavailable);
    }
}
