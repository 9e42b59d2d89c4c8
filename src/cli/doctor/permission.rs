//! What we may do in a bucket: each permission tried. At the source only what reads.

use std::sync::Arc;

use futures::StreamExt;

use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::object::Kind;
use crate::storage::{Get, Key, List, ObjectRef, Storage};

use super::Role;
use super::cloud::{Cloud, step_of};
use super::findings::Findings;
use super::scratch;

/// Tries a bucket: who we are, whether it is there, and each permission that the end needs.
pub(super) async fn examine(
    session: &Session,
    role: Role,
    storage: Arc<dyn Storage>,
    prefix: &Key,
    cloud: Option<&Cloud>,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let caller = cloud.map_or_else(|| "accepted".to_owned(), |c| format!("accepted: {}", c.caller()));
    let listed = match first_objects(&*storage, prefix).await {
        Ok(listed) => {
            findings.fine("credentials", caller)?;
            findings.fine("bucket", format_args!("{storage} is there"))?;
            let shown = if listed.is_empty() { "nothing yet".to_owned() } else { format!("{} and so on", human::plural(listed.len() as u64, "object")) };
            findings.fine("list", format_args!("allowed under '{prefix}': {shown}"))?;
            listed
        }
        Err(e) => {
            if matches!(e.kind(), ErrorKind::BucketNotFound | ErrorKind::Denied) {
                // Only a known caller is told as much.
                findings.fine("credentials", caller)?;
            }
            let step = if e.stops_store() { step_of(&e) } else { "list" };
            findings.fail(step, &e)?;
            if e.kind() != ErrorKind::Denied {
                return Ok(());
            }
            Vec::new()
        }
    };
    match role {
        Role::Source => read(&*storage, &listed, findings).await,
        Role::Destination => scratch::examine(session, &storage, prefix, findings).await,
    }
}

/// An object as listed.
struct Listed {
    key: Key,
    size_bytes: u64,
}

/// The first few objects under a prefix, or none where there are none.
async fn first_objects(storage: &dyn Storage, prefix: &Key) -> Result<Vec<Listed>> {
    let mut pages = storage.list(List { page_keys: Some(10), ..List::under(prefix.clone()) });
    let Some(page) = pages.next().await else { return Ok(Vec::new()) };
    Ok(page?.iter().filter(|e| e.kind == Kind::Object).map(|e| Listed { key: Key::from(e.key), size_bytes: e.size }).collect())
}

/// Tries HEAD, and one byte of an object.
async fn read(storage: &dyn Storage, listed: &[Listed], findings: &mut Findings<'_>) -> Result<(), Failure> {
    let Some(object) = listed.iter().find(|o| o.size_bytes > 0).or_else(|| listed.first()) else {
        findings.warn("head", "not tried: no object is listed")?;
        return findings.warn("get", "not tried: no object is listed");
    };
    let wanted = ObjectRef::from(&object.key);
    findings.settle("head", storage.head(&wanted).await.map(|info| format!("allowed: '{}' has {}", object.key, human::bytes(info.size))))?;
    match first_byte(storage, &wanted, object.size_bytes).await {
        Err(e) if e.kind() == ErrorKind::Frozen => findings.warn("get", &e),
        got => findings.settle("get", got.map(|()| format!("allowed: the first byte of '{}'", object.key))),
    }
}

/// Reads an object's first byte, where it has one.
pub(super) async fn first_byte(storage: &dyn Storage, object: &ObjectRef, size_bytes: u64) -> Result<()> {
    let range = (size_bytes > 0).then_some(0..1);
    let mut body = storage.get(object, Get { range, if_match: None }).await?.body;
    let mut read_bytes = 0;
    while let Some(chunk) = body.next().await {
        read_bytes += chunk?.len() as u64;
    }
    if read_bytes == size_bytes.min(1) { Ok(()) } else { Err(Error::integrity(format!("one byte was asked for, {read_bytes} came"))) }
}
