//! What the daemon must know again after a restart: one small file a job, replaced as a whole.
//!
//! ```text
//! STATE/daemon/jobs/NAME.json    how the job stands: paused, its last runs, what failed in the last one
//! STATE/daemon/lock              held by the daemon: one at a time
//! ```
//! What was proved of which key is in the journals; losing a file here costs a run, never an object.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::status::{RunStatus, Trouble};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::RunInfo;
use crate::journal::disk::{self, blocking};
use crate::journal::lock::Lock;
use crate::storage::Key;

/// Runs that are remembered of each job.
const RUNS_MAX: usize = 200;
/// Troubles that are remembered of each job.
const TROUBLES_MAX: usize = 20;
/// Keys that failed in one run and are remembered by name.
pub(super) const FAILED_MAX: usize = 10_000;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// How a job stood when it was last written down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct JobRecord {
    /// Somebody paused it.
    pub paused: bool,
    /// When its last run began, and when it ended.
    pub last_begin: Option<Timestamp>,
    /// See `last_begin`.
    pub last_end: Option<Timestamp>,
    /// The begin of the last run that ended clean.
    pub synced_until: Option<Timestamp>,
    /// Runs in a row that failed.
    pub failures_in_row: u32,
    /// The last runs, the latest first.
    pub runs: VecDeque<RunStatus>,
    /// The last troubles, the latest first.
    pub troubles: VecDeque<Trouble>,
    /// What failed in the last run.
    pub failed: Vec<FailedKey>,
    /// What failed beyond those that are remembered by name.
    pub failed_unnamed: u64,
    /// The date of the run that last began, where the destination has one.
    pub date: Option<RunDate>,
    /// The journals of its dates, the latest first.
    pub journals: VecDeque<DatedJournals>,
}

/// The date of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunDate {
    /// When the run of this date first began.
    pub at: Timestamp,
    /// Where it writes.
    pub destination: String,
    /// It has not come to its end: the next run goes on with it, whatever the day.
    pub is_open: bool,
}

/// The journals of one date: one for each bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DatedJournals {
    /// Where that date's runs write.
    pub destination: String,
    /// The names of the pairs.
    pub pairs: Vec<String>,
}

/// An object that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FailedKey {
    /// The bucket, where the job has many.
    pub label: Option<String>,
    /// The key relative to the job's source, as base64: keys are bytes.
    key: String,
}

impl FailedKey {
    /// Notes a key, relative to its source.
    pub(super) fn new(label: Option<String>, key: &Key) -> Self {
        Self { label, key: BASE64_STANDARD.encode(key.as_bytes()) }
    }

    /// The key. `None` where the file was damaged.
    pub(super) fn key(&self) -> Option<Key> {
        BASE64_STANDARD.decode(&self.key).ok().map(Key::new)
    }
}

impl JobRecord {
    /// Adds a run that ended.
    pub(super) fn note_run(&mut self, run: RunStatus) {
        self.runs.push_front(run);
        self.runs.truncate(RUNS_MAX);
    }

    /// Notes the journals of a date that a run is about to open.
    pub(super) fn note_journals(&mut self, destination: &str, pairs: Vec<String>) {
        let known = self.journals.iter().position(|journals| journals.destination == destination).and_then(|at| self.journals.remove(at));
        let mut journals = known.unwrap_or_else(|| DatedJournals { destination: destination.to_owned(), pairs: Vec::new() });
        let new: Vec<String> = pairs.into_iter().filter(|pair| !journals.pairs.contains(pair)).collect();
        journals.pairs.extend(new);
        self.journals.push_front(journals);
    }

    /// Adds a trouble; in place of the last one, where that is the same but for its time and its request.
    pub(super) fn note_trouble(&mut self, trouble: Trouble) {
        let words = |trouble: &Trouble| trouble.message.replace(trouble.request_id.as_deref().filter(|id| !id.is_empty()).unwrap_or("\0"), "");
        if self.troubles.front().is_some_and(|last| words(last) == words(&trouble) && last.key == trouble.key) {
            self.troubles.pop_front();
        }
        self.troubles.push_front(trouble);
        self.troubles.truncate(TROUBLES_MAX);
    }
}

/// The files.
#[derive(Debug)]
pub(super) struct Ledger {
    jobs: PathBuf,
    _lock: Lock,
}

impl Ledger {
    /// Opens the ledger in a state directory, which belongs to this daemon from then on. Blocks on the disk.
    ///
    /// Fails with [`ErrorKind::Local`] where another daemon has it, with [`ErrorKind::Disk`] where nothing can be written there.
    pub(super) fn open(state: &Path, run: &RunInfo) -> Result<Self> {
        let daemon = state.join("daemon");
        let jobs = daemon.join("jobs");
        disk::make(&jobs)?;
        disk::probe(&jobs)?;
        let lock = Lock::take(&daemon.join("lock"), run)?;
        Ok(Self { jobs, _lock: lock })
    }

    /// What is known of a job; nothing, where it is new.
    ///
    /// Fails with [`ErrorKind::Disk`] where its file cannot be read or makes no sense: it is left as it is.
    pub(super) async fn read(&self, job: &str) -> Result<JobRecord> {
        let path = self.path(job);
        blocking(move || {
            let text = match std::fs::metadata(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(JobRecord::default()),
                Ok(found) if found.len() > FILE_BYTES_MAX => return Err(damaged(&path, "it is larger than any that Dragon writes")),
                _ => std::fs::read(&path).map_err(|e| disk::failed(&path, "what is known of a job cannot be read", &e))?,
            };
            serde_json::from_slice(&text).map_err(|e| damaged(&path, &e.to_string()))
        })
        .await
    }

    /// Writes down how a job stands. On disk when it returns, whole or not at all.
    pub(super) async fn write(&self, job: &str, record: &JobRecord) -> Result<()> {
        let (path, text) = (self.path(job), serde_json::to_vec(record).map_err(|e| Error::new(ErrorKind::Unexpected, e.to_string()))?);
        blocking(move || replace(&path, &text)).await
    }

    fn path(&self, job: &str) -> PathBuf {
        // Job names have letters, digits and hyphens only.
        self.jobs.join(format!("{job}.json"))
    }
}

/// Replaces a file by one with this content, or leaves it as it is.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |e: std::io::Error| disk::failed(path, "the daemon's state cannot be written", &e);
    let draft = path.with_extension("partial");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    file.write_all(text).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&draft, path)).map_err(failed)?;
    path.parent().map_or(Ok(()), disk::sync)
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Disk, format!("{} is damaged: {why}", path.display()))
        .advise("move it away: the job then begins as a new one, and copies nothing twice")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u32) -> RunStatus {
        let at = Timestamp::UNIX_EPOCH;
        RunStatus {
            id: id.to_string(),
            cause: "schedule".into(),
            started: at,
            ended: at,
            outcome: "done".into(),
            copied: 1,
            skipped: 0,
            deleted: 0,
            failed: 0,
            thawing: 0,
            bytes: 1,
            verified: 1,
            destination: None,
            error: None,
        }
    }

    #[tokio::test]
    async fn a_job_is_known_again_and_history_is_bounded() {
        let state = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(state.path(), &RunInfo::default()).expect("opened");
        assert_eq!(ledger.read("photos").await.expect("new"), JobRecord::default());
        let key = Key::new(b"a/\xff\n".to_vec());
        let mut record = JobRecord { paused: true, failed: vec![FailedKey::new(None, &key)], ..JobRecord::default() };
        (0..300).for_each(|id| record.note_run(run(id)));
        ledger.write("photos", &record).await.expect("written");
        let again = ledger.read("photos").await.expect("read");
        assert_eq!(again, record);
        assert_eq!((again.runs.len(), again.runs[0].id.as_str(), again.failed[0].key()), (RUNS_MAX, "299", Some(key)));
    }

    #[tokio::test]
    async fn there_is_one_daemon_and_damage_is_told() {
        let state = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(state.path(), &RunInfo::default()).expect("opened");
        assert_eq!(Ledger::open(state.path(), &RunInfo::default()).expect_err("taken").kind(), ErrorKind::Local);
        std::fs::write(state.path().join("daemon/jobs/a.json"), b"{\"paused\":").expect("written");
        let error = ledger.read("a").await.expect_err("damaged");
        assert!(error.kind() == ErrorKind::Disk && error.to_string().contains("a.json is damaged"), "{error}");
    }

    #[test]
    fn the_same_trouble_stands_there_once() {
        let trouble = |message: &str| Trouble { at: Timestamp::UNIX_EPOCH, message: message.into(), advice: None, key: None, code: None, request_id: None };
        let mut record = JobRecord::default();
        ["a", "a", "b", "a"].iter().for_each(|message| record.note_trouble(trouble(message)));
        assert_eq!(record.troubles.iter().map(|t| t.message.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
    }
}
