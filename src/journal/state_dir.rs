//! Where journals lie: one folder a pair.
//!
//! ```text
//! STATE/pairs/32 hexadecimal digits/journal.db     what is known; with -wal and -shm while it is open
//!                                   lock           held by the run that writes
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::disk::{self, blocking};
use super::lock::Lock;
use super::sqlite::history::History;
use super::sqlite::sweep::Sweep;
use super::{Keep, Outcome, Pair, RunInfo, SqliteJournal};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How often a lock that seems held is asked for, and how long after the time before.
const LOCK_TRIES: u32 = 3;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// A directory for what must outlive a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Names a directory; nothing is made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn pairs_dir(&self) -> PathBuf {
        self.0.join("pairs")
    }

    fn pair_dir(&self, name: &str) -> PathBuf {
        self.pairs_dir().join(name)
    }

    /// Makes the directory and looks whether a journal can be kept there: on a disk of this machine that takes a file, with room.
    ///
    /// Fails with [`ErrorKind::Disk`] where it cannot. Blocks on the disk.
    pub fn prepare(&self) -> Result<()> {
        let pairs = self.pairs_dir();
        disk::make(&pairs)?;
        disk::check(&pairs)?;
        disk::probe(&pairs)
    }

    /// Opens the journal of a pair for one run, and notes that the run begins.
    ///
    /// Fails with [`ErrorKind::Local`] where another process works on the pair, and with [`ErrorKind::Disk`] where the directory takes
    /// no journal, or the one that is there is damaged or of a newer Dragon; it is left as it is then.
    pub async fn open(&self, pair: &Pair, keep: Keep, run: RunInfo, clock: Clock) -> Result<SqliteJournal> {
        let (state, dir, holder) = (self.clone(), self.pair_dir(&pair.name()), run.clone());
        let mut tries = 0;
        let lock = loop {
            tries += 1;
            let (state, dir, holder) = (state.clone(), dir.clone(), holder.clone());
            let taken = blocking(move || {
                state.prepare()?;
                disk::make(&dir)?;
                Lock::take(&dir.join("lock"), &holder)
            });
            match taken.await {
                // A program that another thread starts at this moment has a copy of every open file until it runs: a lock that was let go
                // just now seems held for some milliseconds.
                Err(error) if error.kind() == ErrorKind::Local && tries < LOCK_TRIES => clock.sleep(LOCK_WAIT).await,
                taken => break taken?,
            }
        };
        let pair = pair.clone();
        blocking(move || {
            let journal = SqliteJournal::open(&dir.join("journal.db"), lock, &pair, keep, &run, clock)?;
            disk::sync(&dir)?;
            Ok(journal)
        })
        .await
    }

    /// Whether there is a journal of a pair here.
    pub fn holds(&self, pair: &Pair) -> bool {
        self.pair_dir(&pair.name()).join("journal.db").exists()
    }

    /// Removes the journal of a pair, with all that it knows; the lock is held meanwhile.
    pub async fn remove(&self, pair: &Pair, journal: Arc<SqliteJournal>) -> Result<()> {
        let dir = self.pair_dir(&pair.name());
        blocking(move || {
            let removed = std::fs::remove_dir_all(&dir).map_err(|e| disk::failed(&dir, "a finished journal cannot be removed", &e));
            drop(journal);
            removed
        })
        .await
    }

    /// Removes the journal of that name, of which nobody needs to know any more: where its last run came to its end and left no upload open,
    /// or `anyhow`. Whether there is none now: one that a run holds stays in any case.
    ///
    /// Fails with [`ErrorKind::Disk`] where it cannot be read or removed.
    pub async fn remove_former(&self, name: &str, run: RunInfo, anyhow: bool) -> Result<bool> {
        let dir = self.pair_dir(name);
        if !is_name(name) || !dir.join("journal.db").is_file() {
            return Ok(true);
        }
        let path = dir.join("lock");
        let lock = match blocking(move || Lock::take(&path, &run)).await {
            Err(error) if error.kind() == ErrorKind::Local => return Ok(false),
            lock => lock?,
        };
        if !anyhow {
            let history = self.history(name).await?;
            let last = history.runs(None, 1).await?.pop();
            let is_finished = last.is_none_or(|run| run.ended.is_some_and(|(_, outcome)| outcome != Outcome::Stopped));
            if !is_finished || !history.flights(None, 1).await?.is_empty() {
                return Ok(false);
            }
        }
        blocking(move || {
            let removed = std::fs::remove_dir_all(&dir).map_err(|e| disk::failed(&dir, "a former journal cannot be removed", &e));
            drop(lock);
            removed
        })
        .await?;
        Ok(true)
    }

    /// The names of the pairs that have a journal here, sorted. A directory that is not there has none.
    pub async fn pairs(&self) -> Result<Vec<String>> {
        let dir = self.pairs_dir();
        blocking(move || {
            let failed = |e: std::io::Error| disk::failed(&dir, "the state directory cannot be read", &e);
            let entries = match std::fs::read_dir(&dir) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries.map_err(failed)?,
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().into_string().ok().filter(|name| is_name(name));
                names.extend(name.filter(|_| entry.path().join("journal.db").is_file()));
            }
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    /// What the journal of that name says; a run may be writing it meanwhile.
    pub async fn history(&self, name: &str) -> Result<History> {
        let path = self.pair_dir(name).join("journal.db");
        if !is_name(name) || !path.is_file() {
            return Err(Error::new(ErrorKind::NotFound, format!("{} has no journal of that pair", self.0.display())));
        }
        blocking(move || History::open(&path)).await
    }

    /// Takes the lock of the pair of that name, to end flights between its runs.
    ///
    /// Fails with [`ErrorKind::Local`] where a run is at work on the pair.
    pub async fn sweep(&self, name: &str, run: RunInfo) -> Result<Sweep> {
        let dir = self.pair_dir(name);
        blocking(move || Sweep::open(&dir.join("journal.db"), Lock::take(&dir.join("lock"), &run)?)).await
    }
}

/// Whether [`Pair::name`] could have given it.
fn is_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
