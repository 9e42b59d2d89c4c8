//! Group commit without a background task: changes gather, and one caller writes them for everybody.
//!
//! Whoever needs its change on disk, or finds that too many have gathered, takes the *pen*. Who has it writes all that there is in one
//! transaction; the others find theirs written when they get it. The pen and what it writes move into the blocking task, so a caller
//! that is dropped at any point neither loses a change nor keeps the pen.
//!
//! A write that fails is the last one: from then on everything fails with the same error, and what is on disk is what it was before.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use super::batch::{Batch, Op, Writer};
use super::database;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::disk::blocking;
use crate::journal::lock::Lock;
use crate::storage::Key;

/// Changes that may gather. Each caller adds its own before it looks, so that there are at most as many more as there are callers.
const GATHERED_MAX: usize = 1000;
/// The same in bytes.
const GATHERED_BYTES_MAX: usize = 1 << 20;
/// How long a change may wait for company, as long as changes keep coming.
const GATHERED_WAIT_MAX: Duration = Duration::from_millis(100);

/// The changes of one run, on their way to the disk.
#[derive(Debug)]
pub(super) struct Ledger {
    writer: Writer,
    clock: Clock,
    gathered: Mutex<Gathered>,
    pen: Arc<tokio::sync::Mutex<Pen>>,
}

/// What writes: whoever holds it is alone.
#[derive(Debug)]
struct Pen {
    connection: Connection,
    path: PathBuf,
    /// Kept as long as anything can be written.
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Gathered {
    batch: Batch,
    /// When its oldest change came.
    since: Option<Instant>,
    /// How many changes there were, and how many of them are on disk.
    pushed: u64,
    written: u64,
    /// What is being written.
    writing: Option<Arc<Batch>>,
    failure: Option<Error>,
}

/// A change's place in the order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Ledger {
    pub(super) fn new(connection: Connection, path: PathBuf, lock: Lock, writer: Writer, clock: Clock) -> Self {
        Self { writer, clock, gathered: Mutex::default(), pen: Arc::new(tokio::sync::Mutex::new(Pen { connection, path, _lock: lock })) }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change.
    pub(super) fn push(&self, op: Op) -> Result<Place> {
        self.gather(|batch| batch.push(op))
    }

    /// Sets a key's proof, or that it has none.
    pub(super) fn prove(&self, key: Key, row: Option<Vec<u8>>) -> Result<Place> {
        self.gather(|batch| batch.prove(key, row))
    }

    fn gather(&self, add: impl FnOnce(&mut Batch)) -> Result<Place> {
        let mut gathered = self.gathered();
        if let Some(failure) = &gathered.failure {
            return Err(failure.clone());
        }
        add(&mut gathered.batch);
        gathered.since.get_or_insert_with(|| self.clock.instant());
        gathered.pushed += 1;
        Ok(Place(gathered.pushed))
    }

    /// Whether a key's proof was changed and the change is not on disk yet.
    pub(super) fn touches(&self, key: &Key) -> bool {
        let gathered = self.gathered();
        gathered.batch.touches(key) || gathered.writing.as_ref().is_some_and(|writing| writing.touches(key))
    }

    /// Writes what has gathered where it is much or old.
    pub(super) async fn relieve(self: &Arc<Self>, place: Place) -> Result<()> {
        let due = {
            let gathered = self.gathered();
            let old = gathered.since.is_some_and(|since| self.clock.instant().duration_since(since) >= GATHERED_WAIT_MAX);
            old || gathered.batch.len() >= GATHERED_MAX || gathered.batch.bytes() >= GATHERED_BYTES_MAX
        };
        if due { self.settle(place).await } else { Ok(()) }
    }

    /// Returns when everything that was added so far is on disk.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<()> {
        let place = Place(self.gathered().pushed);
        self.settle(place).await
    }

    /// Returns when the change of this place is on disk.
    pub(super) async fn settle(self: &Arc<Self>, place: Place) -> Result<()> {
        if self.is_written(place)? {
            return Ok(());
        }
        let mut pen = self.pen.clone().lock_owned().await;
        if self.is_written(place)? {
            return Ok(());
        }
        let ledger = self.clone();
        blocking(move || ledger.write(&mut pen)).await
    }

    /// Folds the write-ahead log into the database, so that one file holds everything.
    pub(super) async fn fold(self: &Arc<Self>) -> Result<()> {
        let pen = self.pen.clone().lock_owned().await;
        // A reader elsewhere may keep the log in use: it is folded in by the next run then.
        blocking(move || pen.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(|e| database::failed(&pen.path, e))).await
    }

    fn is_written(&self, place: Place) -> Result<bool> {
        let gathered = self.gathered();
        match &gathered.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(gathered.written >= place.0),
        }
    }

    fn write(&self, pen: &mut Pen) -> Result<()> {
        let (batch, upto) = {
            let mut gathered = self.gathered();
            if gathered.writing.is_some() {
                let died = Error::new(ErrorKind::Unexpected, "the task that wrote the journal died").advise("run the same command again");
                return Err(gathered.failure.get_or_insert(died).clone());
            }
            gathered.since = None;
            let batch = Arc::new(std::mem::take(&mut gathered.batch));
            gathered.writing = Some(batch.clone());
            (batch, gathered.pushed)
        };
        let result = if batch.is_empty() { Ok(()) } else { batch.apply(&mut pen.connection, self.writer).map_err(|e| database::failed(&pen.path, e)) };
        let mut gathered = self.gathered();
        gathered.writing = None;
        match result {
            Ok(()) => gathered.written = upto,
            Err(error) => {
                gathered.failure = Some(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }
}
