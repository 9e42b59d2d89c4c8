//! Listed entries on disk: a spool that is written once and read in order, and a sorter for listings that have no order.
//!
//! Memory is bounded by [`SORTED_BYTES_MAX`] whatever the number of entries (reading a sorted spill back takes
//! [`READ_BYTES`] for each run of that size). The file has no name from the moment it is open, so a crash leaves nothing behind.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::task::Listed;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ETag, Entry, Key, Kind};

/// Entries that are sorted in memory at a time, in bytes.
const SORTED_BYTES_MAX: usize = 32 << 20;
/// Entries that gather before they are written, in bytes.
const SPOOLED_BYTES_MAX: usize = 1 << 20;
/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Where spill files are made.
#[derive(Debug, Clone)]
pub(crate) struct SpillDir {
    pub(crate) dir: PathBuf,
    pub(crate) clock: Clock,
}

impl SpillDir {
    /// The directory asked for, or the system's temporary one.
    pub(crate) fn new(dir: Option<&Path>, clock: Clock) -> Self {
        Self { dir: dir.map_or_else(std::env::temp_dir, Path::to_owned), clock }
    }

    async fn create(&self) -> Result<Arc<File>> {
        let path = self.dir.join(format!(".dragon-{}.spill", self.clock.random_id()));
        blocking(move || {
            let open = || {
                let file = File::options().read(true).write(true).create_new(true).open(&path)?;
                std::fs::remove_file(&path)?;
                Ok::<_, std::io::Error>(Arc::new(file))
            };
            open().map_err(|e| failed(&e).on_key(path.display()))
        })
        .await
    }
}

fn failed(e: &std::io::Error) -> Error {
    Error::new(ErrorKind::Local, format!("the listing cannot be kept on disk: {e}")).advise("free some space, or name another --state-dir")
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(|e| Error::new(ErrorKind::Unexpected, "a task that reads or writes a spill file died").caused_by(e))?
}

/// A file that grows at its end.
#[derive(Debug)]
struct Tail {
    dir: SpillDir,
    file: Option<Arc<File>>,
    len: u64,
}

impl Tail {
    /// Appends bytes and says where they begin.
    async fn append(&mut self, bytes: Vec<u8>) -> Result<u64> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.file.insert(self.dir.create().await?).clone(),
        };
        let (start, len) = (self.len, bytes.len() as u64);
        blocking(move || file.write_all_at(&bytes, start).map_err(|e| failed(&e))).await?;
        self.len += len;
        Ok(start)
    }
}

/// Entries in the order they came.
#[derive(Debug)]
pub(crate) struct Spool {
    tail: Tail,
    recent: Vec<u8>,
    entries: u64,
}

impl Spool {
    pub(crate) fn new(dir: SpillDir) -> Self {
        Self { tail: Tail { dir, file: None, len: 0 }, recent: Vec::new(), entries: 0 }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        self.entries
    }

    /// Adds an entry, under the key given.
    pub(crate) async fn push(&mut self, entry: &Entry<'_>) -> Result<()> {
        encode(entry, &mut self.recent);
        self.entries += 1;
        if self.recent.len() >= SPOOLED_BYTES_MAX {
            self.tail.append(std::mem::take(&mut self.recent)).await?;
        }
        Ok(())
    }

    /// Reads them back. What was never written to disk is read from memory.
    pub(crate) fn into_reader(self) -> Reader {
        Reader { file: self.tail.file, at: 0, end: self.tail.len, buffer: Vec::new(), taken: 0, last: self.recent }
    }
}

/// Reads entries of one run in order.
#[derive(Debug)]
pub(crate) struct Reader {
    file: Option<Arc<File>>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    taken: usize,
    /// What follows the file's part, still in memory.
    last: Vec<u8>,
}

impl Reader {
    /// The next entry.
    pub(crate) async fn next(&mut self) -> Result<Option<Listed>> {
        loop {
            if let Some((entry, used)) = decode(&self.buffer[self.taken..]) {
                self.taken += used;
                return Ok(Some(entry));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            if self.at < self.end {
                let file = self.file.clone().ok_or_else(|| Error::new(ErrorKind::Unexpected, "a spill file is missing"))?;
                let (at, len) = (self.at, READ_BYTES.min(usize::try_from(self.end - self.at).unwrap_or(READ_BYTES)));
                let more = blocking(move || {
                    let mut more = vec![0; len];
                    file.read_exact_at(&mut more, at).map_err(|e| failed(&e))?;
                    Ok(more)
                })
                .await?;
                self.at += len as u64;
                self.buffer.extend_from_slice(&more);
            } else if !self.last.is_empty() {
                self.buffer.append(&mut self.last);
            } else if self.buffer.is_empty() {
                return Ok(None);
            } else {
                return Err(Error::new(ErrorKind::Unexpected, "a spill file ends within an entry"));
            }
        }
    }
}

/// Takes entries in any order and gives them back in the order of their keys.
#[derive(Debug)]
pub(crate) struct Sorter {
    tail: Tail,
    rows: Vec<u8>,
    starts: Vec<usize>,
    runs: Vec<(u64, u64)>,
    run_bytes_max: usize,
}

impl Sorter {
    pub(crate) fn new(dir: SpillDir) -> Self {
        Self { tail: Tail { dir, file: None, len: 0 }, rows: Vec::new(), starts: Vec::new(), runs: Vec::new(), run_bytes_max: SORTED_BYTES_MAX }
    }

    pub(crate) async fn push(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.starts.push(self.rows.len());
        encode(entry, &mut self.rows);
        if self.rows.len() >= self.run_bytes_max {
            let run = self.take_run();
            let len = run.len() as u64;
            let start = self.tail.append(run).await?;
            self.runs.push((start, start + len));
        }
        Ok(())
    }

    /// The rows in memory, sorted and joined; memory is empty afterwards.
    fn take_run(&mut self) -> Vec<u8> {
        let rows = std::mem::take(&mut self.rows);
        let mut starts = std::mem::take(&mut self.starts);
        starts.sort_by(|a, b| row_key(&rows[*a..]).cmp(row_key(&rows[*b..])));
        let mut run = Vec::with_capacity(rows.len());
        for start in starts {
            run.extend_from_slice(&rows[start..start + row_len(&rows[start..])]);
        }
        run
    }

    /// Ends the input and gives the sorted output.
    pub(crate) async fn finish(mut self) -> Result<Sorted> {
        let last = self.take_run();
        let reader = |at, end, last| Reader { file: self.tail.file.clone(), at, end, buffer: Vec::new(), taken: 0, last };
        let mut runs: Vec<Reader> = self.runs.iter().map(|(at, end)| reader(*at, *end, Vec::new())).collect();
        runs.push(reader(0, 0, last));
        let mut sorted = Sorted { runs, heads: BinaryHeap::new() };
        for run in 0..sorted.runs.len() {
            sorted.refill(run).await?;
        }
        Ok(sorted)
    }
}

/// Sorted entries: the runs merged.
#[derive(Debug)]
pub(crate) struct Sorted {
    runs: Vec<Reader>,
    heads: BinaryHeap<Reverse<Head>>,
}

#[derive(Debug)]
struct Head {
    entry: Listed,
    run: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.entry.key, self.run).cmp(&(&other.entry.key, other.run))
    }
}

impl Sorted {
    async fn refill(&mut self, run: usize) -> Result<()> {
        if let Some(entry) = self.runs[run].next().await? {
            self.heads.push(Reverse(Head { entry, run }));
        }
        Ok(())
    }

    /// The entry with the next key.
    pub(crate) async fn next(&mut self) -> Result<Option<Listed>> {
        let Some(Reverse(Head { entry, run })) = self.heads.pop() else { return Ok(None) };
        self.refill(run).await?;
        Ok(Some(entry))
    }
}

/// A row: its length, then key, ETag and class with their lengths, size, time, kind.
fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for text in [entry.key, entry.etag.as_bytes(), entry.storage_class.as_bytes()] {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    }
    out.extend_from_slice(&entry.size.to_le_bytes());
    out.extend_from_slice(&entry.modified.map_or(i128::MIN, Timestamp::as_nanosecond).to_le_bytes());
    out.push(match entry.kind {
        Kind::Object => 0,
        Kind::Appendable => 1,
        Kind::Symlink => 2,
        Kind::Special => 3,
        Kind::Unreadable => 4,
    });
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn row_len(row: &[u8]) -> usize {
    u32::from_le_bytes([row[0], row[1], row[2], row[3]]) as usize
}

fn row_key(row: &[u8]) -> &[u8] {
    let len = u32::from_le_bytes([row[4], row[5], row[6], row[7]]) as usize;
    &row[8..8 + len]
}

/// Reads one row and says how long it is; `None` where it is not whole yet.
fn decode(bytes: &[u8]) -> Option<(Listed, usize)> {
    if bytes.len() < 4 {
        return None;
    }
    let len = row_len(bytes);
    let mut rest = bytes.get(4..len)?;
    let mut take = |n: usize| {
        let (head, tail) = rest.split_at_checked(n)?;
        rest = tail;
        Some(head)
    };
    let mut texts: [&[u8]; 3] = [&[]; 3];
    for text in &mut texts {
        let len = u32::from_le_bytes(take(4)?.try_into().ok()?);
        *text = take(len as usize)?;
    }
    let size = u64::from_le_bytes(take(8)?.try_into().ok()?);
    let modified = i128::from_le_bytes(take(16)?.try_into().ok()?);
    let kind = match take(1)?[0] {
        0 => Kind::Object,
        1 => Kind::Appendable,
        2 => Kind::Symlink,
        3 => Kind::Special,
        _ => Kind::Unreadable,
    };
    let entry = Listed {
        key: Key::from(texts[0]),
        size,
        etag: ETag::new(std::str::from_utf8(texts[1]).ok()?),
        modified: Timestamp::from_nanosecond(modified).ok(),
        storage_class: std::str::from_utf8(texts[2]).ok()?.to_owned(),
        kind,
    };
    Some((entry, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, SpillDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let spill = SpillDir::new(Some(dir.path()), Clock::system());
        (dir, spill)
    }

    fn entry(key: &[u8], size: u64) -> Entry<'_> {
        let modified = (!size.is_multiple_of(3)).then(|| Timestamp::from_second(size as i64).expect("a time"));
        Entry { key, size, etag: "e-1", modified, storage_class: "IA", kind: Kind::Appendable }
    }

    #[tokio::test]
    async fn a_spool_gives_back_what_it_took_and_leaves_no_file() {
        let (dir, spill) = dir();
        let mut spool = Spool::new(spill);
        let keys: Vec<Vec<u8>> = (0..30_000u32).map(|i| format!("some/longer/key/{i}").into_bytes()).collect();
        for (i, key) in keys.iter().enumerate() {
            spool.push(&entry(key, i as u64)).await.expect("pushed");
        }
        assert!(spool.tail.len > 0, "some of it is on disk");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "and the file has no name");
        assert_eq!(spool.len(), 30_000);
        let mut reader = spool.into_reader();
        for (i, key) in keys.iter().enumerate() {
            let read = reader.next().await.expect("read").expect("an entry");
            assert_eq!(read.entry(), entry(key, i as u64));
        }
        assert!(reader.next().await.expect("read").is_none());
    }

    #[tokio::test]
    async fn a_sorter_orders_more_than_memory_holds() {
        let (_dir, spill) = dir();
        let mut sorter = Sorter { run_bytes_max: 1000, ..Sorter::new(spill) };
        for i in 0..5000u32 {
            let key = format!("{:05}", (i * 7919) % 5000);
            sorter.push(&entry(key.as_bytes(), 1)).await.expect("pushed");
        }
        assert!(sorter.runs.len() > 100);
        let mut sorted = sorter.finish().await.expect("sorted");
        for i in 0..5000u32 {
            assert_eq!(sorted.next().await.expect("read").expect("an entry").key, Key::from(format!("{i:05}")));
        }
        assert!(sorted.next().await.expect("read").is_none());
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_named() {
        let spill = SpillDir::new(Some(Path::new("/nonexistent/dragon")), Clock::system());
        let error = spill.create().await.expect_err("no directory");
        assert!(error.kind() == ErrorKind::Local && error.to_string().contains("/nonexistent/dragon"), "{error}");
    }
}
