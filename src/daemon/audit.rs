//! The audit log: who had what done, line by line, each line sealed by the next.
//!
//! ```text
//! STATE/audit/audit.jsonl                what is written now
//! STATE/audit/audit-000001.jsonl ...     what was full, oldest first
//! ```
//! A line is a JSON object with `seq`, `time`, `previous` (SHA-256 of the line before it, also across files) and what happened. A line that is
//! changed, taken out or put in breaks the chain from there on, which [`verify`] tells; the last line alone has no witness.
//!
//! Files that were put away go when they are older than the operator wants. That they go is recorded first, with the seal of their last
//! line: a chain that begins later than it should holds only where it says so itself.
//!
//! # Invariants
//! - What [`Audit::record`] returns for is on disk. Commands, overrides and refusals are recorded before they are done.
//! - A line that a crash left torn is cut off, and that it was is recorded.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::disk::{self, blocking};

/// A file that is larger is put away.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Lines longer than that are none of ours.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// What the first line of all seals.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// For how long full files are kept, unless somebody says otherwise.
pub const KEEP_USUAL: Duration = Duration::from_secs(400 * 86_400);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Record {
    /// The daemon began.
    Started {
        /// Version of Dragon.
        version: String,
        /// The process.
        pid: u32,
    },
    /// The daemon ended in an orderly way.
    Ended {},
    /// A configuration came into force: that whose revision the line carries.
    Configured {
        /// Its file.
        file: String,
        /// Its jobs.
        jobs: usize,
    },
    /// A configuration was refused; the old one stays.
    Misconfigured {
        /// Why.
        why: String,
    },
    /// Somebody asked for something.
    Commanded {
        /// What, as it came.
        command: serde_json::Value,
    },
    /// A run began.
    RunBegan {
        /// Why.
        cause: String,
        /// What it was allowed beyond its configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overridden: Option<String>,
    },
    /// A run ended.
    RunEnded {
        /// How.
        outcome: String,
        /// Objects copied, deleted and failed.
        copied: u64,
        /// See `copied`.
        deleted: u64,
        /// See `copied`.
        failed: u64,
        /// Bytes copied.
        bytes: u64,
    },
    /// An object was deleted at the destination.
    Deleted {
        /// Its key, escaped.
        key: String,
        /// The version that was removed, or the delete marker that was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// What the cloud calls the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// An object was deleted by a rule of the job's.
    Expired {
        /// Where.
        place: String,
        /// Its key there, escaped.
        key: String,
        /// The rule.
        rule: String,
        /// The version that was removed, or the delete marker that was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// An object was overwritten at the destination.
    Overwritten {
        /// Its key, escaped.
        key: String,
        /// Why.
        reason: String,
        /// The new object's ETag and version.
        etag: String,
        /// See `etag`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// A guard refused.
    Refused {
        /// Why.
        why: String,
    },
    /// Old files go: all lines up to one.
    Pruned {
        /// How many files.
        files: usize,
        /// Number of the last line that goes.
        through: u64,
        /// Its SHA-256, which the first line that stays seals.
        seal: String,
    },
    /// The line before was torn by a crash, and so many bytes of it were cut off.
    Torn {
        /// How many.
        bytes: u64,
    },
}

/// Who and where, of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who: `daemon`, `socket uid 0`, `token`.
    pub who: String,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// SHA-256 of the configuration in force.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
}

/// A line as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Counts from 1, across files.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// SHA-256 of the line before, in hexadecimal digits.
    pub previous: String,
    /// The machine.
    pub host: String,
    /// Who and where.
    #[serde(flatten)]
    pub origin: Origin,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// The log that this process writes. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    host: String,
    dir: PathBuf,
    pen: Mutex<Pen>,
    file_bytes_max: u64,
    keep: Option<SignedDuration>,
}

#[derive(Debug)]
struct Pen {
    file: File,
    bytes: u64,
    seq: u64,
    previous: String,
    broken: Option<Error>,
}

impl Audit {
    /// Opens the log in a state directory, which the caller has locked. Full files whose last line is older than `keep` go; `None` keeps
    /// all. Blocks on the disk.
    pub fn open(state: &Path, host: &str, clock: Clock, keep: Option<Duration>) -> Result<Self> {
        Self::with(state, host, clock, keep, FILE_BYTES_MAX)
    }

    fn with(state: &Path, host: &str, clock: Clock, keep: Option<Duration>, file_bytes_max: u64) -> Result<Self> {
        let dir = state.join("audit");
        disk::make(&dir)?;
        let path = dir.join("audit.jsonl");
        let failed = |e: std::io::Error| disk::failed(&path, "the audit log cannot be opened", &e);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        disk::sync(&dir)?;
        let (mut last, whole) = last_line(&mut file).map_err(failed)?;
        let torn = file.metadata().map_err(failed)?.len() - whole;
        file.set_len(whole).map_err(failed)?;
        if last.is_none()
            && let Some(before) = put_away(&dir)?.last()
        {
            let mut before = File::open(before).map_err(failed)?;
            last = last_line(&mut before).map_err(failed)?.0;
        }
        let (seq, previous) = match &last {
            Some(line) => (serde_json::from_slice::<Line>(line).map_err(|e| broken(&path, &format!("its last line makes no sense: {e}")))?.seq, digest(line)),
            None => (0, GENESIS.to_owned()),
        };
        let pen = Pen { file, bytes: whole, seq, previous, broken: None };
        let keep = keep.map(|keep| SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX));
        let audit = Self(Arc::new(Shared { clock, host: host.to_owned(), dir, pen: Mutex::new(pen), file_bytes_max, keep }));
        if torn > 0 {
            audit.write(vec![(own_origin(), Record::Torn { bytes: torn })])?;
        }
        audit.0.prune(&mut audit.0.pen())?;
        Ok(audit)
    }

    /// Records something. On disk when it returns.
    pub async fn record(&self, origin: Origin, record: Record) -> Result<()> {
        self.record_all(vec![(origin, record)]).await
    }

    /// Records several things in one go, in this order.
    pub async fn record_all(&self, records: Vec<(Origin, Record)>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let audit = self.clone();
        blocking(move || audit.write(records)).await
    }

    fn write(&self, records: Vec<(Origin, Record)>) -> Result<()> {
        let mut pen = self.0.pen();
        if pen.bytes >= self.0.file_bytes_max {
            pen.put_away(&self.0.dir)?;
            self.0.prune(&mut pen)?;
        }
        self.0.append(&mut pen, records)
    }
}

impl Shared {
    fn pen(&self) -> MutexGuard<'_, Pen> {
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, pen: &mut Pen, records: Vec<(Origin, Record)>) -> Result<()> {
        let Self { clock, host, dir, .. } = self;
        // What cannot be written once is a gap in the chain if the next one can.
        if let Some(error) = &pen.broken {
            return Err(error.clone());
        }
        let mut text = Vec::new();
        let (mut seq, mut previous) = (pen.seq, pen.previous.clone());
        for (origin, record) in records {
            seq += 1;
            let line = Line { seq, time: clock.now(), previous, host: host.clone(), origin, record };
            let line = serde_json::to_vec(&line).map_err(|e| Error::new(ErrorKind::Unexpected, format!("an audit record cannot be written: {e}")))?;
            previous = digest(&line);
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        let written = pen.file.write_all(&text).and_then(|()| pen.file.sync_data());
        if let Err(e) = written {
            let error = disk::failed(&dir.join("audit.jsonl"), "the audit log cannot be written", &e);
            pen.broken = Some(error.clone());
            return Err(error);
        }
        pen.bytes += text.len() as u64;
        (pen.seq, pen.previous) = (seq, previous);
        Ok(())
    }

    /// Throws away what is too old to be kept. A crash between the record and the last file leaves files that the next time takes.
    fn prune(&self, pen: &mut Pen) -> Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let failed = |path: &Path, e: std::io::Error| disk::failed(path, "an old audit log cannot be thrown away", &e);
        let now = self.clock.now();
        let mut old = Vec::new();
        let mut last_old = None;
        let mut full = put_away(&self.dir)?;
        // One stays in any case: the next has its number from it.
        full.pop();
        for path in full {
            let last = File::open(&path).and_then(|mut file| last_line(&mut file)).map_err(|e| failed(&path, e))?.0.unwrap_or_default();
            // What makes no sense is evidence: it stays, and what follows it.
            let Some(line) = serde_json::from_slice::<Line>(&last).ok().filter(|line| now.duration_since(line.time) > keep) else { break };
            last_old = Some((line.seq, digest(&last)));
            old.push(path);
        }
        let Some((through, seal)) = last_old else { return Ok(()) };
        self.append(pen, vec![(own_origin(), Record::Pruned { files: old.len(), through, seal })])?;
        for path in &old {
            std::fs::remove_file(path).map_err(|e| failed(path, e))?;
        }
        disk::sync(&self.dir)
    }
}

/// Of what the daemon records of itself.
fn own_origin() -> Origin {
    Origin { who: "daemon".into(), ..Origin::default() }
}

impl Pen {
    fn put_away(&mut self, dir: &Path) -> Result<()> {
        let failed = |e: std::io::Error| disk::failed(dir, "a full audit log cannot be put away", &e);
        let number = put_away(dir)?.last().and_then(|path| number(path)).unwrap_or(0) + 1;
        let current = dir.join("audit.jsonl");
        std::fs::rename(&current, dir.join(format!("audit-{number:06}.jsonl"))).map_err(failed)?;
        self.file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&current).map_err(failed)?;
        self.bytes = 0;
        disk::sync(dir)
    }
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Lines whose seal holds.
    pub lines: u64,
    /// Lines before them that were thrown away for their age, as the log itself says.
    pub pruned: u64,
    /// Files they are in.
    pub files: usize,
    /// The first place where the chain is broken.
    pub broken: Option<Break>,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// Why.
    pub why: String,
}

/// Walks the whole chain. Blocks on the disk.
pub fn verify(state: &Path) -> Result<Check> {
    let mut check = Check { lines: 0, pruned: 0, files: 0, broken: None };
    let mut previous = GENESIS.to_owned();
    // What the first line claims to follow, until a record says that it was thrown away.
    let mut claim: Option<(PathBuf, u64, String)> = None;
    walk(state, |file, number, text| {
        if number == 1 {
            check.files += 1;
        }
        let why = match serde_json::from_slice::<Line>(text) {
            Err(e) => Some(format!("it makes no sense: {e}")),
            Ok(line) => {
                if check.files == 1 && number == 1 && line.seq > 1 {
                    check.pruned = line.seq - 1;
                    previous.clone_from(&line.previous);
                    claim = Some((file.to_owned(), check.pruned, line.previous.clone()));
                }
                if let (Record::Pruned { through, seal, .. }, Some((_, last, sealed))) = (&line.record, &claim)
                    && through == last
                    && seal == sealed
                {
                    claim = None;
                }
                let due = check.pruned + check.lines + 1;
                if line.seq != due {
                    Some(format!("it is number {}, and {due} is due", line.seq))
                } else if line.previous != previous {
                    Some("the line before it is not the one that it seals".to_owned())
                } else {
                    None
                }
            }
        };
        if let Some(why) = why {
            check.broken = Some(Break { file: file.to_owned(), line: number, why });
            return false;
        }
        check.lines += 1;
        previous = digest(text);
        true
    })?;
    if check.broken.is_none()
        && let Some((file, last, _)) = claim
    {
        let why = format!("the lines up to number {last} are missing, and no later line says that they were thrown away for their age");
        check.broken = Some(Break { file, line: 1, why });
    }
    Ok(check)
}

/// Hands out every line, oldest first, as long as `each` says so. Blocks on the disk.
pub fn walk(state: &Path, mut each: impl FnMut(&Path, u64, &[u8]) -> bool) -> Result<()> {
    let dir = state.join("audit");
    let mut files = put_away(&dir)?;
    files.extend(Some(dir.join("audit.jsonl")).filter(|file| file.exists()));
    for file in files {
        let failed = |e: std::io::Error| disk::failed(&file, "the audit log cannot be read", &e);
        let mut lines = BufReader::new(File::open(&file).map_err(failed)?);
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(failed)?;
            if text.is_empty() {
                break;
            }
            if !each(&file, number, text.strip_suffix(b"\n").unwrap_or(&text)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The files that were put away, oldest first.
fn put_away(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| disk::failed(dir, "the audit log cannot be read", &e);
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.ends_with(".jsonl")) && number(&entry.path()).is_some() {
            files.push(entry.path());
        }
    }
    files.sort_unstable_by_key(|path| number(path));
    Ok(files)
}

/// The number of a file that was put away.
fn number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.strip_prefix("audit-")?.parse().ok()
}

/// The last whole line, without its end, and how many bytes the whole lines have.
fn last_line(file: &mut File) -> std::io::Result<(Option<Vec<u8>>, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(2 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(2 * LINE_BYTES_MAX).read_to_end(&mut tail)?;
    let Some(end) = memchr::memrchr(b'\n', &tail) else { return Ok((None, if from == 0 { 0 } else { length })) };
    let begin = memchr::memrchr(b'\n', &tail[..end]).map_or(0, |at| at + 1);
    Ok((Some(tail[begin..end].to_vec()), from + end as u64 + 1))
}

fn digest(line: &[u8]) -> String {
    hex::encode(Sha256::digest(line))
}

fn broken(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Disk, format!("the audit log {} cannot be gone on with: {why}", path.display()))
        .advise("keep it as evidence: move the directory away, and a new log begins")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(job: &str) -> Origin {
        Origin { who: "test".into(), job: Some(job.into()), ..Origin::default() }
    }

    fn refusal(why: &str) -> Record {
        Record::Refused { why: why.into() }
    }

    async fn filled(state: &Path, lines: usize, file_bytes_max: u64) {
        let audit = Audit::with(state, "here", Clock::system(), None, file_bytes_max).expect("opened");
        for n in 0..lines {
            audit.record(origin("photos"), refusal(&format!("reason {n}"))).await.expect("recorded");
        }
    }

    #[tokio::test]
    async fn the_chain_holds_over_restarts_and_files() {
        let state = tempfile::tempdir().expect("a folder");
        filled(state.path(), 5, FILE_BYTES_MAX).await;
        filled(state.path(), 20, 1000).await;
        filled(state.path(), 1, 1000).await;
        let check = verify(state.path()).expect("readable");
        assert_eq!((check.lines, check.broken), (26, None));
        assert!(check.files > 3, "{}", check.files);
    }

    #[tokio::test]
    async fn a_torn_line_is_cut_off_and_told() {
        let state = tempfile::tempdir().expect("a folder");
        filled(state.path(), 3, FILE_BYTES_MAX).await;
        let path = state.path().join("audit/audit.jsonl");
        OpenOptions::new().append(true).open(&path).expect("there").write_all(b"{\"seq\":4,\"ti").expect("written");
        filled(state.path(), 1, FILE_BYTES_MAX).await;
        let mut events = Vec::new();
        walk(state.path(), |_, _, line| {
            events.push(serde_json::from_slice::<Line>(line).expect("a line").record);
            true
        })
        .expect("readable");
        assert_eq!(events.len(), 5);
        assert_eq!(events[3], Record::Torn { bytes: 12 });
        assert_eq!(verify(state.path()).expect("readable").broken, None);
    }

    fn put_away_numbers(state: &Path) -> Vec<u64> {
        put_away(&state.join("audit")).expect("readable").iter().filter_map(|path| number(path)).collect()
    }

    #[tokio::test]
    async fn old_files_go_and_the_chain_says_so() {
        let state = tempfile::tempdir().expect("a folder");
        let day = Duration::from_secs(86_400);
        filled(state.path(), 20, 1000).await;
        let written = put_away_numbers(state.path());
        let open = |days: u32| {
            let clock = Clock::system().moved(SignedDuration::from_hours(24 * i64::from(days)));
            Audit::with(state.path(), "here", clock, Some(day * 400), 1000).expect("opened")
        };
        drop(open(399));
        assert_eq!(put_away_numbers(state.path()), written, "young enough");
        let audit = open(401);
        for n in 0..10 {
            audit.record(origin("photos"), refusal(&format!("later {n}"))).await.expect("recorded");
        }
        let left = put_away_numbers(state.path());
        assert!(left.len() > 1 && left.first() >= written.last(), "{left:?} after {written:?}: no number is used twice");
        let check = verify(state.path()).expect("readable");
        assert!(check.broken.is_none() && check.pruned > 5 && check.lines > 10, "{check:?}");
        // The one file whose going nobody recorded.
        let oldest = put_away(&state.path().join("audit")).expect("readable").remove(0);
        std::fs::remove_file(oldest).expect("removed");
        let why = verify(state.path()).expect("readable").broken.expect("found").why;
        assert!(why.contains("missing"), "{why}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn whatever_is_changed_is_found(place in 0.0f64..1.0, bit in 0u8..8) {
            let state = tempfile::tempdir().expect("a folder");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(filled(state.path(), 6, FILE_BYTES_MAX));
            let path = state.path().join("audit/audit.jsonl");
            let mut text = std::fs::read(&path).expect("there");
            // The last line has no witness yet.
            let sealed = memchr::memrchr(b'\n', &text[..text.len() - 1]).expect("lines");
            let at = (place * sealed as f64) as usize;
            text[at] ^= 1 << bit;
            std::fs::write(&path, &text).expect("written");
            prop_assert!(verify(state.path()).expect("readable").broken.is_some(), "byte {at}");
        }

        #[test]
        fn a_line_that_is_taken_out_is_found(which in 0usize..5) {
            let state = tempfile::tempdir().expect("a folder");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(filled(state.path(), 6, FILE_BYTES_MAX));
            let path = state.path().join("audit/audit.jsonl");
            let text = std::fs::read_to_string(&path).expect("there");
            let kept: String = text.lines().enumerate().filter(|(n, _)| *n != which).map(|(_, line)| format!("{line}\n")).collect();
            std::fs::write(&path, kept).expect("written");
            let broken = verify(state.path()).expect("readable").broken.expect("found");
            prop_assert_eq!(broken.line, which as u64 + 1);
        }
    }
}
