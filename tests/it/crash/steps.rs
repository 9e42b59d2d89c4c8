//! Systematic: a run is stopped at its first step, at its second, and so on until one goes through; each is taken up again.
//!
//! What the next run finds of the journal is what lay on the disk at that instant: what was queued is lost.

use std::path::Path;
use std::sync::Arc;

use dragon::clock::Clock;
use dragon::journal::{Journal, Keep, Pair, RunInfo, SqliteJournal, StateDir};
use dragon::storage::checksum::Crc64;
use dragon::storage::location::Location;
use dragon::storage::memory::{MemoryOptions, MemoryStore};
use dragon::storage::{Get, Key, ObjectRef, Put, Storage};
use dragon::transfer::{Context, Job, Report, run};
use futures::TryStreamExt;

use super::fuse::{Fuse, FusedJournal, FusedStore};

const PART_BYTES: u64 = 128 << 10;
const CONCURRENCY: usize = 2;

/// What the source holds: two objects in parts, some in one request, an empty one.
const SOURCE: [(&str, usize); 7] =
    [("large/a", 5 * PART_BYTES as usize / 2), ("large/b", 4 * PART_BYTES as usize), ("none", 0), ("s/1", 10), ("s/2", 20), ("s/3", 30), ("same", 3)];

/// Two places that survive their visitors.
struct World {
    source: Arc<MemoryStore>,
    destination: Arc<MemoryStore>,
    state: tempfile::TempDir,
    /// Bytes sent to the destination so far.
    sent_bytes: u64,
    crashes: u64,
}

/// Blocks that fit no part, so that no two parts are alike.
fn content(key: &str, len: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..=250).flat_map(|turn| key.bytes().map(move |byte| byte ^ turn)).collect();
    let mut content = block.repeat(len / block.len() + 1);
    content.truncate(len);
    content
}

impl World {
    /// At the destination is one object that stays, one to be overwritten by parts, one to be overwritten in one request, one to be deleted.
    async fn new() -> Self {
        let source = Arc::new(MemoryStore::with("a", MemoryOptions::like_s3()));
        let destination = Arc::new(MemoryStore::with("b", MemoryOptions::like_oss()));
        for (key, bytes) in [("large/b", &b"old"[..]), ("s/2", b"old"), ("gone", b"old"), ("same", &content("same", 3))] {
            destination.put(&key.into(), bytes.to_vec().into(), Put::default()).await.expect("written");
        }
        for (key, len) in SOURCE {
            source.put(&key.into(), content(key, len).into(), Put::default()).await.expect("written");
        }
        Self { source, destination, state: tempfile::tempdir().expect("a folder"), sent_bytes: 0, crashes: 0 }
    }

    fn ends(&self, destination: Arc<dyn Storage>) -> (Location, Location) {
        (Location::new(self.source.clone(), Key::EMPTY), Location::new(destination, Key::EMPTY))
    }

    async fn journal(&self) -> Arc<SqliteJournal> {
        let (source, destination) = self.ends(self.destination.clone());
        let journal = StateDir::new(self.state.path()).open(&Pair::of(&source, &destination), Keep::Full, RunInfo::default(), Clock::system()).await;
        Arc::new(journal.expect("a journal"))
    }

    /// One run, with new stores and a journal opened anew, as a new process has them. `None` where the fuse blew and the run died of it.
    async fn sync(&mut self, fuse: &Fuse) -> Option<Report> {
        let (source, destination) = self.ends(Arc::new(FusedStore { inner: self.destination.clone(), fuse: fuse.clone() }));
        let opened = self.journal().await;
        let journal = Arc::new(FusedJournal { inner: opened.clone(), fuse: fuse.clone() });
        let mut job = Job::new(source, destination);
        job.options.delete = true;
        job.options.concurrency = Some(CONCURRENCY);
        job.options.part_size_bytes = Some(PART_BYTES);
        let context = Context { journal, ..Context::default() };
        let report = tokio::select! {
            report = Box::pin(run(job, context)) => Some(report.expect("a run")),
            () = fuse.blown() => None,
        };
        self.sent_bytes += fuse.sent_bytes();
        if report.is_none() {
            self.crashes += 1;
            self.state = as_it_lay(self.state.path());
        }
        drop(opened);
        report
    }

    fn forget(&mut self) {
        self.state = tempfile::tempdir().expect("a folder");
    }

    /// What a run that went through leaves behind, however many died before it.
    async fn assert_at_rest(&self, report: &Report, told: &str) {
        assert_eq!((report.failed, report.exit_code()), (0, 0), "{told}: {report:?}");
        let mut keys = Vec::new();
        let mut pages = self.destination.list(dragon::storage::List::default());
        while let Some(page) = pages.try_next().await.expect("a page") {
            keys.extend(page.iter().map(|entry| String::from_utf8_lossy(entry.key).into_owned()));
        }
        assert_eq!(keys, SOURCE.map(|(key, _)| key.to_owned()), "{told}");
        for (key, len) in SOURCE {
            let there = self.destination.get(&ObjectRef::from(&Key::from(key)), Get::default()).await.expect("readable");
            let bytes: Vec<u8> = there.body.map_ok(|chunk| chunk.to_vec()).try_concat().await.expect("bytes");
            assert!(bytes == content(key, len), "{told}: '{key}' is another");
        }
        let open: Vec<_> = self.destination.multipart().expect("parts").list_uploads(Key::EMPTY).try_collect().await.expect("uploads");
        assert!(open.is_empty(), "{told}: {open:?}");
        let journal = self.journal().await;
        let flights = journal.flights(None, 10).await.expect("the journal");
        assert!(flights.is_empty(), "{told}: {flights:?}");
        for (key, proved) in journal.proofs(None, 100).await.expect("the journal") {
            let there = self.destination.head(&ObjectRef::from(&key)).await.unwrap_or_else(|e| panic!("{told}: '{key}' was proved: {e}"));
            let (_, len) = SOURCE.into_iter().find(|(name, _)| name.as_bytes() == key.as_bytes()).expect("a key of the source");
            assert_eq!((proved.size, &proved.destination.etag), (there.size, &there.etag), "{told}: '{key}'");
            assert!(!proved.suspect && proved.crc64xz.is_none_or(|crc| crc == Crc64::of(&content(&key.to_string(), len)).xz), "{told}: '{key}'");
        }
        // Everything once, and what was underway at a crash once more.
        let needed: u64 = SOURCE.iter().filter(|(key, _)| *key != "same").map(|(_, len)| *len as u64).sum();
        let most = needed + self.crashes * CONCURRENCY as u64 * PART_BYTES;
        assert!(self.sent_bytes <= most, "{told}: {} bytes were sent, and {needed} were needed", self.sent_bytes);
    }
}

/// A copy of what lies on the disk: the database before its log, so that no checkpoint of the log falls between.
fn as_it_lay(state: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for pair in std::fs::read_dir(state.join("pairs")).expect("pairs") {
        let from = pair.expect("a pair").path();
        let to = copy.path().join("pairs").join(from.file_name().expect("a name"));
        std::fs::create_dir_all(&to).expect("a folder");
        for file in ["journal.db", "journal.db-wal"] {
            if from.join(file).exists() {
                std::fs::copy(from.join(file), to.join(file)).expect("copied");
            }
        }
    }
    copy
}

/// Stops runs at every step. `lost` takes the journal away between a crash and the run after it.
async fn at_every_step(lost: bool) {
    for step in 1.. {
        assert!(step < 1000, "it never goes through");
        let mut world = World::new().await;
        let fuse = Fuse::new(step);
        if let Some(report) = world.sync(&fuse).await {
            world.assert_at_rest(&report, "undisturbed").await;
            let proofs = world.journal().await.proofs(None, 100).await.expect("the journal").len();
            assert!(proofs >= SOURCE.len() - 1, "what was copied was proved: {proofs}");
            println!("a run has {} steps", fuse.steps());
            assert!(step > 40, "the run was watched: it has {step} steps");
            return;
        }
        let told = format!("stopped at step {step}");
        // Once in three times the run that takes it up dies as well.
        if step % 3 == 0 {
            if lost {
                world.forget();
            }
            world.sync(&Fuse::new(step / 2 + 1)).await;
        }
        if lost {
            world.forget();
        }
        let report = world.sync(&Fuse::none()).await.expect("a run to its end");
        world.assert_at_rest(&report, &told).await;
    }
}

#[tokio::test]
async fn a_run_that_dies_at_any_step_is_ended_by_the_next() {
    at_every_step(false).await;
}

#[tokio::test]
async fn a_run_that_dies_at_any_step_is_ended_by_one_without_its_journal() {
    at_every_step(true).await;
}
