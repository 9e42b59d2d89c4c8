//! Copies one object, proving it on the way.
//!
//! Invariants:
//! - The source is pinned to one ETag for the whole copy; if it changes, the copy starts over.
//! - The bytes are proved to be the source's before the write that commits them is sent, and what the destination states of what it
//!   stored is compared with them afterwards. A difference is sent or read again a few times, each counted, and then fails the object.
//! - An object whose stored bytes are known to be wrong does not stay at the destination.
//! - Whatever ends a copy, its multipart upload is aborted. A copy that is dropped leaves it to [`Copier::abort_abandoned`], which
//!   the owner awaits: nothing is spawned.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::attributes::{Carried, Carrier};
use super::budget::MemoryBudget;
use super::job::{Context, Options};
use super::parts::{Cutter, Shape};
use super::progress::Moving;
use super::prove::Witness;
use super::task::{Copied, CopyTask};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Crc64;
use crate::storage::{ETag, ObjectInfo, ObjectRef, Storage, Upload};

mod multipart;
mod part;
mod read;
mod through;
mod whole;
mod within;

use read::Reader;

#[cfg(test)]
mod tests;

/// How often anything is tried in all, where trying again may help: reading a source that does not prove, sending bytes that were
/// stored wrong, starting over on a source that changed, going on with a body that broke.
const TRIES_MAX: u32 = 4;

/// Of so many source parts each is asked for its length, so many at a time; of more only two are.
const CUTS_ASKED_MAX: u32 = 16;

/// The first wait before a broken body is asked for again; doubles, with full jitter.
const BODY_WAIT: Duration = Duration::from_millis(200);

/// Copies objects from one store to another. Shared by all copies of a run; safe to drop at any await.
pub(crate) struct Copier {
    source: Arc<dyn Storage>,
    destination: Arc<dyn Storage>,
    options: Options,
    context: Context,
    budget: MemoryBudget,
    /// How many parts move at a time, over all objects.
    part_slots: Semaphore,
    /// Uploads that were begun and neither completed nor aborted.
    uploads: Mutex<Vec<Upload>>,
}

/// Why an attempt at an object ended without a copy.
enum Setback {
    /// Starting over may help: the source changed, or its bytes were not what it states.
    StartOver(Error),
    /// It would not.
    Final(Error),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Changed { Self::StartOver(error) } else { Self::Final(error) }
    }
}

impl Copier {
    /// A copier between two stores.
    pub(crate) fn new(source: Arc<dyn Storage>, destination: Arc<dyn Storage>, options: &Options, context: &Context) -> Self {
        Self {
            source,
            destination,
            budget: context.memory.clone().unwrap_or_else(|| MemoryBudget::new(options.memory_bytes)),
            part_slots: Semaphore::new(options.concurrency.max(1)),
            options: options.clone(),
            context: context.clone(),
            uploads: Mutex::default(),
        }
    }

    /// Copies one object. Counts bytes in the context's progress as they are read.
    ///
    /// Fails with [`ErrorKind::NotFound`] where the object vanished from the source, and with [`ErrorKind::Integrity`] where the bytes
    /// could not be proved within a few tries.
    pub(crate) async fn copy(&self, task: &CopyTask) -> Result<Copied> {
        let moving = Arc::new(self.context.progress.enter(task.source_key.clone(), task.size));
        let mut task = Cow::Borrowed(task);
        for tried in 1.. {
            let error = match self.attempt(&task, &moving, tried > 1).await {
                Ok(copied) => return Ok(copied),
                Err(Setback::StartOver(error)) if tried < TRIES_MAX => error,
                Err(Setback::StartOver(error) | Setback::Final(error)) => return Err(self.told(&task, error)),
            };
            self.count_retry(&error, "starting the object over");
            if error.kind() == ErrorKind::Changed {
                let now = self.source.head(&ObjectRef::from(&task.source_key)).await.map_err(|e| self.told(&task, e))?;
                let task = task.to_mut();
                (task.size, task.etag, task.modified, task.kind) = (now.size, now.etag, now.modified, now.kind);
            }
        }
        unreachable!("the loop ends with a return")
    }

    /// Aborts the uploads that dropped copies left open. To be awaited by whoever drops them. Tells the last error.
    pub(crate) async fn abort_abandoned(&self) -> Result<()> {
        let Some(multipart) = self.destination.multipart() else { return Ok(()) };
        let mut outcome = Ok(());
        loop {
            // Taken in a statement of its own, so that the lock is free while the abort waits.
            let Some(upload) = self.uploads().pop() else { return outcome };
            if let Err(error) = multipart.abort(&upload).await {
                outcome = Err(error);
            }
        }
    }

    async fn attempt(&self, task: &CopyTask, moving: &Arc<Moving>, doubted: bool) -> Result<Copied, Setback> {
        if let Some(copied) = self.copy_within(task).await? {
            return Ok(copied);
        }
        let cutter =
            Cutter { destination: self.destination.capabilities(), memory_bytes: self.budget.capacity_bytes(), part_size_bytes: self.options.part_size_bytes };
        let reader = self.reader(task, moving, doubted);
        match cutter.shape(task.size)? {
            Shape::Whole => self.copy_whole(task, &reader).await,
            Shape::WholeStreamed => Box::pin(self.copy_through(task, &reader)).await,
            Shape::Parts(parts) => Box::pin(self.copy_parts(task, &reader, parts)).await,
        }
    }

    fn reader(&self, task: &CopyTask, moving: &Arc<Moving>, doubted: bool) -> Reader {
        Reader {
            source: self.source.clone(),
            object: ObjectRef::from(&task.source_key),
            etag: task.etag.clone(),
            size: task.size,
            clock: self.context.clock.clone(),
            progress: self.context.progress.clone(),
            moving: moving.clone(),
            doubted,
        }
    }

    /// Looks at the source, and fails with [`ErrorKind::Changed`] where it is not what the task says.
    async fn look(&self, task: &CopyTask) -> Result<ObjectInfo> {
        let info = self.source.head(&ObjectRef::from(&task.source_key)).await?;
        pinned(&info, &task.etag, task.size)?;
        Ok(info)
    }

    fn witness(&self, info: &ObjectInfo) -> Witness {
        Witness::of(info, !self.options.no_md5)
    }

    /// The lengths of the parts that the source was written in, where its witness is a digest over theirs. `None` where they cannot be
    /// learnt, so that nothing can be recomputed.
    ///
    /// Nearly always all parts but the last are of one length: of many parts only the first and the last but one are asked for. Where
    /// the digest then differs, `reader.doubted` has each of them asked for before the object is called wrong.
    async fn source_cuts(&self, reader: &Reader, witness: &Witness) -> Result<Option<Arc<[u64]>>> {
        let Witness::Composite(_, _, parts) = *witness else { return Ok(Some(Arc::new([]))) };
        if parts == 1 {
            return Ok(Some(Arc::new([reader.size])));
        }
        let ask = |number: u32| async move {
            let part = self.source.stored_part(&reader.object, number).await?;
            Ok::<_, Error>(part.filter(|part| part.parts == parts).map(|part| part.size_bytes))
        };
        if parts > CUTS_ASKED_MAX && !reader.doubted {
            let (Some(first), Some(late)) = (ask(1).await?, ask(parts - 1).await?) else { return Ok(None) };
            let last = reader.size.checked_sub(first.saturating_mul(u64::from(parts - 1)));
            if let Some(last) = last.filter(|last| first == late && (1..=first).contains(last)) {
                return Ok(Some((1..parts).map(|_| first).chain([last]).collect()));
            }
        }
        let lengths: Option<Vec<u64>> = stream::iter(1..=parts).map(ask).buffered(CUTS_ASKED_MAX as usize).try_collect::<Vec<_>>().await?.into_iter().collect();
        Ok(lengths.filter(|lengths| lengths.iter().sum::<u64>() == reader.size).map(Into::into))
    }

    fn carry(&self, info: &ObjectInfo, crc: Option<&Crc64>) -> Result<Carried> {
        Carrier { source: self.source.capabilities(), destination: self.destination.capabilities(), options: &self.options }.carry(info, crc)
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, Vec<Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_retry(&self, error: &Error, what: &'static str) {
        self.context.progress.retries.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, "{what}");
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
