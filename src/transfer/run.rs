//! Wires the stages.

use std::sync::atomic::Ordering;

use super::copy::Copier;
use super::event::{Action, Event, ObjectEvent, Status};
use super::job::{Context, Job};
use super::report::Report;
use super::task::{CopyTask, Reason};
use crate::error::{Error, Result};
use crate::storage::{Key, ObjectRef};

/// Makes the destination hold what the source holds.
pub async fn run(_job: Job, _context: Context) -> Result<Report> {
    Err(Error::unsupported("being built"))
}

/// Compares two places. `deep` reads the bytes of both.
pub async fn verify(_job: Job, _deep: bool, _context: Context) -> Result<Report> {
    Err(Error::unsupported("being built"))
}

/// Copies exactly one object: the prefixes of the job's ends are whole keys. It is copied whatever the destination holds, unless
/// `ignore_existing` or `update` say otherwise. Fails where the source cannot be looked at; a copy that failed is in the report.
pub async fn copy_one(job: Job, context: Context) -> Result<Report> {
    let info = job.source.storage.head(&ObjectRef::from(&job.source.prefix)).await?;
    let task = CopyTask {
        source_key: job.source.prefix.clone(),
        destination_key: job.destination.prefix.clone(),
        size: info.size,
        etag: info.etag,
        modified: info.modified,
        storage_class: info.attributes.storage_class.unwrap_or_default(),
        kind: info.kind,
        reason: Reason::Absent,
    };
    let copier = Copier::new(job.source.storage, job.destination.storage, &job.options, &context);
    let mut report = Report::default();
    let mut event = ObjectEvent::new(Action::Copy, Status::Ok, Key::clone(&task.source_key), task.size);
    match copier.copy(&task).await {
        Ok(copied) => {
            report.copied = 1;
            report.bytes = copied.size;
            context.progress.copied_objects.fetch_add(1, Ordering::Relaxed);
            event.copied = Some(copied);
        }
        Err(error) => {
            report.failed = 1;
            event.status = Status::Failed;
            event.error = Some(error);
        }
    }
    context.tell(Event::Object(Box::new(event))).await;
    Ok(report)
}
