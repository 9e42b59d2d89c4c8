//! Keeps what a run deletes or overwrites at the destination: a copy goes to another place first.
//!
//! Each run has a folder of its own there, named by its start and a random word (`20261125T220904Z-5f01/`), so that nothing that an
//! earlier run kept is overwritten, and `dragon cp -r BACKUP/20261125T220904Z-5f01/ DST` brings back what one run took. Where both
//! places are one account's, the service copies by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::concurrency::Streams;
use super::copy::Copier;
use super::job::{ClassChoice, Context, Options};
use super::progress::Progress;
use super::task::{CopyTask, Listed, Reason};
use crate::error::{ErrorKind, Result};
use crate::journal::MemoryJournal;
use crate::storage::location::Location;

/// Where a run keeps what it takes away.
pub(crate) struct Backup {
    destination: Location,
    folder: Location,
    copier: Copier,
    kept: AtomicU64,
}

impl Backup {
    /// The folder of a run under the place that the options name. `None` where they name none.
    pub(crate) fn open(destination: &Location, options: &Options, context: &Context, started: Timestamp, streams: &Streams) -> Option<Self> {
        let place = options.backup.as_ref()?.tree();
        let word = context.clock.random_id();
        let folder = place.key(format!("{}-{}/", started.strftime("%Y%m%dT%H%M%SZ"), &word[..4]).as_bytes());
        let folder = Location::new(place.storage, folder);
        let options = Options {
            memory_bytes: options.memory_bytes,
            no_md5: options.no_md5,
            storage_class: ClassChoice::BucketDefault,
            tags: options.tags,
            ..Options::default()
        };
        // Bytes kept are no bytes of the transfer, and what is open here nobody goes on with.
        let context = Context { events: None, progress: Arc::new(Progress::default()), journal: Arc::new(MemoryJournal::new()), ..context.clone() };
        let copier = Copier::new(destination.storage.clone(), &folder, &options, &context, streams);
        Some(Self { destination: destination.clone(), folder, copier, kept: AtomicU64::new(0) })
    }

    /// Keeps what the destination holds under a key. What is gone meanwhile needs no keeping.
    pub(crate) async fn keep(&self, held: &Listed) -> Result<()> {
        let task = CopyTask {
            key: held.key.clone(),
            source_version: None,
            source_key: self.destination.key(held.key.as_bytes()),
            destination_key: self.folder.key(held.key.as_bytes()),
            size: held.size,
            etag: held.etag.clone(),
            modified: held.modified,
            storage_class: held.storage_class.clone(),
            kind: held.kind,
            reason: Reason::Absent,
        };
        match self.copier.copy(&task).await {
            Ok(_) => {
                self.kept.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.advise("what is deleted or overwritten must be kept at the --backup-dir first, so nothing was changed")),
        }
    }

    /// Aborts what dropped copies left open.
    pub(crate) async fn put_away(&self) -> Result<()> {
        self.copier.abort_abandoned().await
    }

    /// What was kept and where, in words; `None` where nothing was.
    pub(crate) fn told(&self) -> Option<String> {
        let kept = self.kept.load(Ordering::Relaxed);
        (kept > 0).then(|| format!("{kept} objects that were overwritten or deleted are kept in {}", self.folder))
    }
}
