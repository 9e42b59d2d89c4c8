//! What each job has used, month by month (UTC): objects and bytes copied, deletes, requests to either end by kind. Whoever shares out
//! the clouds' bills takes it from here.
//!
//! ```text
//! STATE/usage/2026-11.csv        a row for each job, and for each prefix of a job with `usage_depth`
//! ```
//! A file is written as a whole after each run, and at most a minute after something was counted; a crash loses that last minute at the
//! most. A month that ends is closed, and the next one begun; [`MONTHS_KEPT`] are kept.
//!
//! # Invariants
//! - A request counts for the job that made it, scans and compares of single keys alike; no counter is shared between jobs.
//! - A job has at most [`PREFIXES_MAX`] prefixes a month; what more there are count together as [`OTHER`].
//! - What cannot be read is set aside, never overwritten: it may be a month's bill.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::disk::{self, blocking};

mod csv;
mod meter;
mod month;
mod sums;

pub use meter::{End, Meter};
pub use month::Month;
pub use sums::{MonthlyUsage, Sums, UsageRow};

/// Prefixes of one job that are told apart in a month.
pub const PREFIXES_MAX: usize = 1000;
/// Where the others count.
pub const OTHER: &str = "(other)";
/// Months that are kept.
pub const MONTHS_KEPT: i32 = 36;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Between two writes, unless a run ends.
pub(super) const WRITE_EVERY: Duration = Duration::from_secs(60);

/// The rows of a month: of each job by prefix.
type Rows = BTreeMap<String, BTreeMap<String, Sums>>;

/// The usage of all jobs of a daemon.
#[derive(Debug)]
pub struct Usage {
    dir: PathBuf,
    clock: Clock,
    books: Mutex<Books>,
    /// One write at a time, so that an older state never replaces a newer one.
    writing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Books {
    current: Sheet,
    /// Months that have ended and are not written to their end.
    closed: Vec<Sheet>,
    /// Of each job, since the daemon began.
    since_start: BTreeMap<String, Sums>,
}

/// One month.
#[derive(Debug)]
struct Sheet {
    month: Month,
    rows: Rows,
    /// What an earlier daemon wrote of this month is in it.
    is_whole: bool,
    /// What was added to it, and how much of that is on disk.
    changes: u64,
    changes_written: u64,
}

impl Sheet {
    fn new(month: Month) -> Self {
        Self { month, rows: Rows::new(), is_whole: false, changes: 0, changes_written: 0 }
    }

    fn is_dirty(&self) -> bool {
        self.changes != self.changes_written
    }
}

impl Books {
    /// The month it is. A clock that jumps, either way, finds each month where it left it.
    fn turn_to(&mut self, now: Timestamp) {
        let month = Month::of(now);
        if self.current.month == month {
            return;
        }
        let known = self.closed.iter().position(|sheet| sheet.month == month).map(|at| self.closed.swap_remove(at));
        let ended = std::mem::replace(&mut self.current, known.unwrap_or_else(|| Sheet::new(month)));
        if ended.is_dirty() {
            self.closed.push(ended);
        }
    }

    fn sheets(&mut self) -> impl Iterator<Item = &mut Sheet> {
        self.closed.iter_mut().chain([&mut self.current])
    }
}

impl Usage {
    /// Opens the books in a state directory and goes on with the month's.
    ///
    /// Fails with [`ErrorKind::Disk`] where nothing can be kept there.
    pub(super) async fn open(state: &Path, clock: Clock) -> Result<Arc<Self>> {
        let dir = folder(state);
        let month = Month::of(clock.now());
        let books = Books { current: Sheet::new(month), closed: Vec::new(), since_start: BTreeMap::new() };
        let usage = Arc::new(Self { dir: dir.clone(), clock, books: Mutex::new(books), writing: Arc::default() });
        blocking(move || {
            disk::make(&dir)?;
            disk::probe(&dir)?;
            prune(&dir, month);
            Ok(())
        })
        .await?;
        usage.complete(month).await?;
        Ok(usage)
    }

    /// What counts for one job. `depth` is how many path segments of a key make its prefix; 0 counts the job as a whole.
    pub fn meter(self: &Arc<Self>, job: &str, depth: usize) -> Meter {
        Meter::new(self.clone(), job, depth)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to a job's sums, and to those of a prefix.
    fn add(&self, job: &str, prefix: &str, add: impl Fn(&mut Sums)) {
        let mut books = self.books();
        books.turn_to(self.clock.now());
        let sheet = &mut books.current;
        sheet.changes += 1;
        add(row(sheet.rows.entry(job.to_owned()).or_default(), prefix));
        match books.since_start.get_mut(job) {
            Some(sums) => add(sums),
            None => add(books.since_start.entry(job.to_owned()).or_default()),
        }
    }

    /// What a job has used since the daemon began.
    pub(super) fn since_start(&self, job: &str) -> Sums {
        self.books().since_start.get(job).copied().unwrap_or_default()
    }

    /// Puts what an earlier daemon wrote of a month under what was counted since.
    async fn complete(&self, month: Month) -> Result<()> {
        if self.books().sheets().all(|sheet| sheet.month != month || sheet.is_whole) {
            return Ok(());
        }
        let (dir, now) = (self.dir.clone(), self.clock.now());
        let known = blocking(move || match read(&dir, month) {
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let aside = dir.join(format!("{month}.damaged-{}.csv", now.strftime("%Y%m%dT%H%M%SZ")));
                std::fs::rename(file(&dir, month), &aside).map_err(|e| disk::failed(&aside, "a damaged file cannot be set aside", &e))?;
                tracing::error!(%error, aside = %aside.display(), "the usage of this month so far cannot be read: it is set aside, and counting begins anew");
                Ok(None)
            }
            rows => rows,
        })
        .await?;
        let mut books = self.books();
        let Some(sheet) = books.sheets().find(|sheet| sheet.month == month && !sheet.is_whole) else { return Ok(()) };
        sheet.is_whole = true;
        for (job, prefixes) in known.into_iter().flatten() {
            let own = sheet.rows.entry(job).or_default();
            prefixes.iter().for_each(|(prefix, sums)| row(own, prefix).add(sums));
        }
        Ok(())
    }

    /// Writes what is not on disk yet.
    ///
    /// Fails with [`ErrorKind::Disk`] where it cannot be written; it is kept, and written the next time.
    pub(super) async fn write(&self) -> Result<()> {
        let mut alone = self.writing.clone().lock_owned().await;
        let months: Vec<Month> = {
            let mut books = self.books();
            books.turn_to(self.clock.now());
            books.sheets().filter(|sheet| sheet.is_dirty()).map(|sheet| sheet.month).collect()
        };
        for month in months {
            self.complete(month).await?;
            let (text, changes) = {
                let mut books = self.books();
                let Some(sheet) = books.sheets().find(|sheet| sheet.month == month) else { continue };
                (csv::text(month, &sheet.rows), sheet.changes)
            };
            let (path, dir) = (file(&self.dir, month), self.dir.clone());
            // Whoever asked may be gone before the disk has answered: the next write waits for it all the same.
            alone = blocking(move || {
                let is_new = !path.exists();
                super::ledger::replace(&path, text.as_bytes())?;
                if is_new {
                    prune(&dir, month);
                }
                Ok(alone)
            })
            .await?;
            let mut books = self.books();
            books.sheets().filter(|sheet| sheet.month == month).for_each(|sheet| sheet.changes_written = changes);
            books.closed.retain(Sheet::is_dirty);
        }
        Ok(())
    }

    /// What was used in a month; in the present one where none is named.
    ///
    /// Fails with [`ErrorKind::NotFound`] where nothing is known of that month, with [`ErrorKind::Disk`] or [`ErrorKind::Invalid`] where its
    /// file cannot be read.
    pub async fn month(&self, month: Option<Month>) -> Result<MonthlyUsage> {
        let present = Month::of(self.clock.now());
        let month = month.unwrap_or(present);
        {
            let mut books = self.books();
            books.turn_to(self.clock.now());
            if let Some(sheet) = books.sheets().find(|sheet| sheet.month == month && sheet.is_whole) {
                return Ok(MonthlyUsage::new(month, &sheet.rows));
            }
        }
        if month == present {
            // The month has just begun.
            self.complete(month).await?;
            return Ok(self.books().sheets().find(|sheet| sheet.month == month).map(|sheet| MonthlyUsage::new(month, &sheet.rows)).unwrap_or_default());
        }
        let dir = self.dir.clone();
        blocking(move || of_file(&dir, month)).await
    }
}

/// What the books in a state directory say of a month, whether or not a daemon writes them: what it counted in the last minute may be
/// missing. Blocks on the disk.
///
/// Fails as [`Usage::month`] does.
pub fn read_month(state: &Path, month: Month) -> Result<MonthlyUsage> {
    of_file(&folder(state), month)
}

fn of_file(dir: &Path, month: Month) -> Result<MonthlyUsage> {
    match read(dir, month)? {
        Some(rows) => Ok(MonthlyUsage::new(month, &rows)),
        None => {
            let known: Vec<String> = months(dir).iter().map(ToString::to_string).collect();
            let advice = if known.is_empty() { "nothing was counted yet".to_owned() } else { format!("there are: {}", known.join(", ")) };
            Err(Error::new(ErrorKind::NotFound, format!("nothing is known of what was used in {month}")).advise(advice))
        }
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("usage")
}

fn file(dir: &Path, month: Month) -> PathBuf {
    dir.join(format!("{month}.csv"))
}

/// The rows in a month's file; `None` where there is none.
fn read(dir: &Path, month: Month) -> Result<Option<Rows>> {
    let path = file(dir, month);
    let text = match std::fs::metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if found.len() > FILE_BYTES_MAX => return Err(Error::invalid(format!("{} is larger than any that Dragon writes", path.display()))),
        _ => std::fs::read(&path).map_err(|e| disk::failed(&path, "what was used cannot be read", &e))?,
    };
    let damaged = |why: String| Error::invalid(format!("{} is damaged: {why}", path.display()));
    let text = String::from_utf8(text).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
    csv::parse(month, &text).map(Some).map_err(damaged)
}

/// The months that have a file, the oldest first.
fn months(dir: &Path) -> Vec<Month> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut months: Vec<Month> = entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".csv")?.parse().ok()).collect();
    months.sort_unstable();
    months
}

/// Removes the files of months that are too old by `now`. What cannot be removed is tried again another time.
fn prune(dir: &Path, now: Month) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let month = name.to_str().and_then(|name| name.get(..7)).and_then(|name| name.parse::<Month>().ok());
        if month.is_some_and(|month| now.since(month) >= MONTHS_KEPT)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(%error, file = %entry.path().display(), "an old month's usage cannot be removed");
        }
    }
}

/// The row of a prefix, or that of the others where there are too many.
fn row<'a>(rows: &'a mut BTreeMap<String, Sums>, prefix: &str) -> &'a mut Sums {
    let prefix = if rows.contains_key(prefix) || rows.len() - usize::from(rows.contains_key(OTHER)) < PREFIXES_MAX { prefix } else { OTHER };
    rows.entry(prefix.to_owned()).or_default()
}

#[cfg(test)]
mod tests;
