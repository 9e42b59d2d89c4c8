//! Copies one object, proving it on the way.
//!
//! Invariants:
//! - The source is pinned to one ETag for the whole copy; if it changes, the copy starts over.
//! - The bytes are proved to be the source's before the write that commits them is sent, and what the destination states of what it
//!   stored is compared with them afterwards. A difference is sent or read again a few times, each counted, and then fails the object.
//! - An object whose stored bytes are known to be wrong does not stay at the destination.
//! - Every multipart upload stands in the journal before it is begun. A copy that was given up leaves it open where a later run finds
//!   it there and can go on; else it is aborted, at the latest by [`Copier::abort_abandoned`], which the owner awaits: nothing is spawned.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::attributes::{Carried, Carrier};
use super::budget::MemoryBudget;
use super::concurrency::Streams;
use super::job::{AclChoice, ClassChoice, Context, Options};
use super::loss::{Attribute, Change, Fate};
use super::parts::{Cutter, Shape};
use super::progress::{Moving, Progress};
use super::task::{Copied, CopyTask, Proof};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::End;
use crate::storage::checksum::Crc64;
use crate::storage::location::Location;
use crate::storage::{ETag, Key, ObjectInfo, ObjectRef, PutOutput, Service, Storage};

mod assemble;
mod multipart;
mod passing;
mod ranged;
mod read;
mod renew;
mod resume;
mod through;
mod whole;
mod within;
mod write;

use read::Reader;
use write::Writer;

#[cfg(test)]
mod tests;

/// How often anything is tried in all, where trying again may help: reading a source that does not prove, sending bytes that were
/// stored wrong, starting over on a source that changed.
const TRIES_MAX: u32 = 4;

/// Copies objects from one store to another. Shared by all copies of a run; safe to drop at any await.
pub(crate) struct Copier {
    source: Arc<dyn Storage>,
    writer: Writer,
    options: Options,
    context: Context,
    budget: MemoryBudget,
    /// The gate of all that moves at a time.
    streams: Streams,
    /// Classes of the source for which the destination has none.
    refused_classes: Mutex<HashSet<String>>,
}

/// Why an attempt at an object ended without a copy.
enum Setback {
    /// Starting over may help: the source changed, its bytes were not what it states, or the upload is gone.
    StartOver(Error),
    /// It would not.
    Final(Error),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        if matches!(error.kind(), ErrorKind::Changed | ErrorKind::UploadNotFound) { Self::StartOver(error) } else { Self::Final(error) }
    }
}

impl Copier {
    /// A copier from a store to a place, outside of which it writes nothing.
    pub(crate) fn new(source: Arc<dyn Storage>, destination: &Location, options: &Options, context: &Context, streams: &Streams) -> Self {
        Self {
            source,
            writer: Writer::new(destination, options.no_md5, context),
            budget: context.memory.clone().unwrap_or_else(|| MemoryBudget::new(options.memory_bytes)),
            streams: streams.clone(),
            refused_classes: Mutex::default(),
            options: options.clone(),
            context: context.clone(),
        }
    }

    /// Copies one object. Counts bytes in the context's progress as they are read.
    ///
    /// Fails with [`ErrorKind::NotFound`] where the object vanished from the source, and with [`ErrorKind::Integrity`] where the bytes
    /// could not be proved within a few tries.
    pub(crate) async fn copy(&self, task: &CopyTask) -> Result<Copied> {
        let moving = Arc::new(self.context.progress.enter(task.source_key.clone(), task.size));
        let mut task = Cow::Borrowed(task);
        let mut without_class = false;
        for tried in 1.. {
            let error = match self.attempt(&task, &moving, tried > 1).await {
                Ok(copied) => return Ok(copied),
                Err(Setback::StartOver(error)) if tried < TRIES_MAX => error,
                Err(Setback::Final(error)) if !without_class && self.learns_refusal(&task, &error) => {
                    without_class = true;
                    error
                }
                Err(setback) => return Err(self.give_up(&task, setback).await),
            };
            count_retry(&self.context.progress, &error, "starting the object over");
            if error.kind() == ErrorKind::Changed {
                let now = match self.source.head(&task.source()).await {
                    Ok(now) => now,
                    Err(error) => return Err(self.give_up(&task, Setback::Final(error)).await),
                };
                let task = task.to_mut();
                (task.size, task.etag, task.modified, task.kind) = (now.size, now.etag, now.modified, now.kind);
            }
        }
        unreachable!("the loop ends with a return")
    }

    /// Whether the destination knows no class like the source's: an S3 service of somebody else's may have one class only. Copies of objects of that
    /// class get the bucket's from now on, and it is told. A class that the operator names is not given up so.
    fn learns_refusal(&self, task: &CopyTask, error: &Error) -> bool {
        let refused = matches!(self.options.storage_class, ClassChoice::Mapped(_)) && is_class_refused(error);
        if refused {
            self.refused_classes.lock().unwrap_or_else(PoisonError::into_inner).insert(task.storage_class.clone());
        }
        refused
    }

    /// Ends a copy that did not succeed. One bad part, or bad weather, throws nothing away that a later run can use.
    async fn give_up(&self, task: &CopyTask, setback: Setback) -> Error {
        let (error, keep) = match setback {
            Setback::StartOver(error) => (error, false),
            Setback::Final(error) => {
                let keep = may_pass(error.kind());
                (error, keep)
            }
        };
        self.writer.leave(&task.key, keep).await;
        self.told(task, error)
    }

    /// Aborts the uploads that dropped copies left open, where no journal remembers them. To be awaited by whoever drops them. Tells the last error.
    pub(crate) async fn abort_abandoned(&self) -> Result<()> {
        self.writer.abort_all().await
    }

    /// Ends the open flight of a key that needs no copy, if there is one.
    pub(crate) async fn end_flight(&self, key: &Key) -> Result<()> {
        match self.writer.journal.flight(key).await? {
            Some(flight) if !self.options.dry_run => self.writer.throw_away(&flight).await,
            _ => Ok(()),
        }
    }

    /// Aborts uploads that the journal has open for this direction and that were last touched before a time.
    pub(crate) async fn sweep(&self, before: Timestamp) -> Result<()> {
        self.writer.throw_away_all(|flight| flight.outbound && flight.touched < before).await
    }

    async fn attempt(&self, task: &CopyTask, moving: &Arc<Moving>, doubted: bool) -> Result<Copied, Setback> {
        let reader = self.reader(task, moving, doubted);
        if let Some(copied) = self.copy_within(task, &reader).await? {
            return Ok(copied);
        }
        match self.cutter().shape(task.size)? {
            Shape::Whole => self.as_stream(task.size, self.copy_whole(task, &reader)).await,
            Shape::WholeStreamed => Box::pin(self.as_stream(task.size, self.copy_through(task, &reader))).await,
            Shape::Parts(parts) => Box::pin(self.copy_parts(task, &reader, parts)).await,
        }
    }

    /// Makes a copy as one stream of so many bytes.
    async fn as_stream(&self, bytes: u64, copy: impl Future<Output = Result<Copied, Setback>>) -> Result<Copied, Setback> {
        let stream = self.streams.open().await?;
        let copied = copy.await?;
        stream.done(bytes);
        Ok(copied)
    }

    fn cutter(&self) -> Cutter<'_> {
        Cutter {
            destination: self.writer.destination.capabilities(),
            memory_bytes: self.budget.capacity_bytes(),
            part_size_bytes: self.options.part_size_bytes,
            speed: self.streams.speed(),
        }
    }

    fn reader(&self, task: &CopyTask, moving: &Arc<Moving>, doubted: bool) -> Reader {
        Reader { source: self.source.clone(), object: task.source(), etag: task.etag.clone(), size: task.size, moving: moving.clone(), doubted }
    }

    /// What to write with a copy of an object, its tags and ACL apart. Refuses what would lose something, where the operator says so.
    fn carry(&self, info: &ObjectInfo, crc: Option<&Crc64>) -> Result<Carried> {
        let mut carried = self.carrier().carry(info, crc)?;
        let class = info.attributes.storage_class.as_deref().unwrap_or_default();
        if carried.attributes.storage_class.is_some() && self.refused_classes.lock().unwrap_or_else(PoisonError::into_inner).contains(class) {
            let refused = carried.attributes.storage_class.take().unwrap_or_default();
            carried.changes.push(Change::lost(Attribute::StorageClass, "the destination refuses the class that is like it").with(refused));
        }
        self.refuse_losses(&carried)?;
        Ok(carried)
    }

    fn refuse_losses(&self, carried: &Carried) -> Result<()> {
        match carried.changes.iter().find(|change| change.fate == Fate::Lost) {
            Some(lost) if self.options.strict => {
                let error = Error::unsupported(format!("its copy would lose its {}: {lost}", lost.attribute));
                Err(error.advise("copy it without --strict, or see in the README what keeps it"))
            }
            _ => Ok(()),
        }
    }

    fn carrier(&self) -> Carrier<'_> {
        Carrier { source: self.source.capabilities(), destination: self.writer.destination.capabilities(), options: &self.options }
    }

    /// The same with what HEAD does not tell, where it is to go along.
    async fn carry_all(&self, task: &CopyTask, info: &ObjectInfo, crc: Option<&Crc64>) -> Result<Carried> {
        let mut carried = self.carry(info, crc)?;
        if self.options.tags {
            let tags = tags_of(&self.source, &task.source(), info).await?;
            self.carrier().carry_tags(tags, &mut carried);
        }
        self.with_acl(task, carried).await
    }

    /// Adds the source's ACL, where it is to be kept.
    async fn with_acl(&self, task: &CopyTask, mut carried: Carried) -> Result<Carried> {
        if self.options.acl == AclChoice::Keep
            && let Some(details) = self.source.details()
        {
            self.carrier().carry_acl(&details.acl(&task.source()).await?, &mut carried);
        }
        self.refuse_losses(&carried)?;
        Ok(carried)
    }

    /// What a copy of this object would have otherwise than the object.
    pub(crate) fn foresee(&self, info: &ObjectInfo) -> Result<(String, Vec<Change>)> {
        let carried = self.carry(info, None)?;
        Ok((carried.attributes.storage_class.unwrap_or_default(), carried.changes))
    }

    /// Adds what a person needs to an error that does not say it yet.
    fn told(&self, task: &CopyTask, error: Error) -> Error {
        let error = error.during("copy").on_key(&task.source_key).in_store(&self.source);
        match error.kind() {
            ErrorKind::Integrity => {
                error.advise("nothing wrong was left at the destination; copy it again, and if it fails again look for a broken proxy, disk or memory")
            }
            ErrorKind::Changed => error.advise("the object keeps changing: copy it when its writer rests"),
            _ => error,
        }
    }
}

/// The tags of an object. OSS counts them in every answer; S3 says nothing to who may not read them, so it is asked.
async fn tags_of(store: &Arc<dyn Storage>, object: &ObjectRef, info: &ObjectInfo) -> Result<BTreeMap<String, String>> {
    let has_none = match info.tags {
        Some(count) => count == 0,
        None => store.capabilities().service == Service::Oss,
    };
    match store.details() {
        Some(tagging) if !has_none => tagging.tags(object).await,
        _ => Ok(BTreeMap::new()),
    }
}

/// Whether a service says that it has no such storage class.
pub(crate) fn is_class_refused(error: &Error) -> bool {
    error.answer().is_some_and(|answer| answer.code == "InvalidStorageClass")
}

/// Whether what failed may work at another time, with the parts that are there.
fn may_pass(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::BucketNotFound | ErrorKind::UploadNotFound | ErrorKind::Changed | ErrorKind::Invalid | ErrorKind::Unsupported
    )
}

/// The end of a good copy of an object of which the source said `info`.
fn copied(info: &ObjectInfo, crc: Crc64, output: PutOutput, (source_proof, destination_proof): (Proof, Proof), changes: Vec<Change>) -> Copied {
    let mut checksums = crc.checksums();
    checksums.merge(&output.checksums);
    let (etag, version) = (output.etag, output.version);
    Copied { size: crc.len, source_proof, destination_proof, checksums, etag, version, source: end_of(info), changes, ..Copied::default() }
}

/// What the source held, for the journal.
fn end_of(info: &ObjectInfo) -> End {
    let storage_class = info.attributes.storage_class.clone().unwrap_or_default();
    End { etag: info.etag.clone(), version: info.version.clone(), modified: info.modified, storage_class }
}

fn count_retry(progress: &Progress, error: &Error, what: &'static str) {
    progress.retries.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(%error, "{what}");
}

/// Fails with [`ErrorKind::Changed`] where an object is not the one that was meant.
fn pinned(info: &ObjectInfo, etag: &ETag, size: u64) -> Result<()> {
    if !etag.is_empty() && !info.etag.is_empty() && info.etag != *etag {
        return Err(Error::new(ErrorKind::Changed, format!("the source changed: its ETag was {etag} and is {}", info.etag)));
    }
    if info.size != size {
        return Err(Error::new(ErrorKind::Changed, format!("the source changed: it had {size} bytes and has {}", info.size)));
    }
    Ok(())
}
