//! Runs that have a journal: what they need not ask, where they go on, and what can be brought back.

use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::journal::{Journal, Keep, Pair, Proved, RunInfo, SqliteJournal, StateDir};
use crate::storage::checksum::Proof;
use crate::storage::{Account, Deleted, memory::MemoryAccount};

/// A world whose runs share a state directory.
pub(super) struct Lasting {
    pub(super) world: World,
    dir: tempfile::TempDir,
}

impl Lasting {
    fn new() -> Self {
        Self { world: World::new(), dir: tempfile::tempdir().expect("a folder") }
    }

    pub(super) fn with(source: MemoryOptions, destination: MemoryOptions) -> Self {
        Self { world: World::with(source, destination), dir: tempfile::tempdir().expect("a folder") }
    }

    async fn journal(&self, job: &Job) -> Arc<SqliteJournal> {
        let pair = Pair::of(&job.source.tree(), &job.destination.tree());
        let state = StateDir::new(self.dir.path());
        let opened = state.open(&pair, Keep::Full, RunInfo::default(), self.world.clock.clone()).await;
        Arc::new(opened.expect("a journal"))
    }

    pub(super) async fn run(&self, options: Options) -> (Report, Vec<Event>) {
        self.run_job(self.world.job(options)).await
    }

    pub(super) async fn run_job(&self, job: Job) -> (Report, Vec<Event>) {
        let journal = self.journal(&job).await;
        self.world.listen(|context| run(job, Context { journal, ..context })).await.expect("a run")
    }

    /// A run that is told to stop when it has made so many requests that are no listings.
    pub(super) async fn run_stopped(&self, job: Job, requests: u64) -> Report {
        let journal = self.journal(&job).await;
        let context = Context { journal, clock: self.world.clock.clone(), ..Context::default() };
        let cancel = context.cancel.clone();
        let made = || self.requests() - self.listings();
        let before = made();
        let stop = async {
            while made() < before + requests {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            report = run(job, context) => report.expect("a run"),
            () = stop => unreachable!("it waits for ever"),
        }
    }

    async fn verify(&self, deep: bool) -> Report {
        let job = self.world.job(Options::default());
        let journal = self.journal(&job).await;
        self.world.listen(|context| verify(job, deep, Context { journal, ..context })).await.expect("a run").0
    }

    fn requests(&self) -> u64 {
        [&self.world.source, &self.world.destination].iter().flat_map(|store| Operation::ALL.map(|o| store.calls(o))).sum()
    }

    fn listings(&self) -> u64 {
        self.world.source.calls(Operation::List) + self.world.destination.calls(Operation::List)
    }

    async fn proved(&self, key: &str) -> Option<Proved> {
        self.journal(&self.world.job(Options::default())).await.proof(&key.into()).await.expect("a journal")
    }
}

/// Stores with nothing in common: neither ETags nor checksums can be compared from listings.
fn strangers() -> Lasting {
    Lasting::with(
        MemoryOptions { stated: Stated::Composite, ..MemoryOptions::default() },
        MemoryOptions { stated: Stated::Nothing, ..MemoryOptions::default() },
    )
}

#[tokio::test(start_paused = true)]
async fn a_run_that_changes_nothing_makes_listing_requests_only() {
    let lasting = strangers();
    lasting.world.fill(&["a", "b", "d/e"], &[]).await;
    assert_eq!(lasting.run(Options::default()).await.0.copied, 3);
    let before = (lasting.requests(), lasting.listings());
    let (report, _) = lasting.run(Options::default()).await;
    assert_eq!((report.copied, report.skipped), (0, 3));
    assert_eq!(lasting.requests() - before.0, lasting.listings() - before.1, "something was looked at besides the listings");
    // What changed at either end is seen all the same.
    put(&*lasting.world.source, "a", "A").await;
    put(&*lasting.world.destination, "b", "B").await;
    lasting.world.clock.sleep(Duration::from_secs(3600)).await;
    let (_, events) = lasting.run(Options::default()).await;
    assert!(told(&events, Action::Copy, Status::Ok).contains("a"));
}

#[tokio::test(start_paused = true)]
async fn proofs_are_found_and_forgotten_in_every_range() {
    let small = |stated| MemoryOptions { stated, page_keys_max: 20, ..MemoryOptions::default() };
    let lasting = Lasting::with(small(Stated::Composite), small(Stated::Nothing));
    let names = many("k", 1500);
    lasting.world.fill(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await;
    assert_eq!(lasting.run(Options::default()).await.0.copied, 1500);
    let before = (lasting.requests(), lasting.listings());
    assert_eq!(lasting.run(Options::default()).await.0.skipped, 1500);
    let listings = lasting.listings() - before.1;
    assert_eq!(lasting.requests() - before.0, listings, "a proof was not found");
    assert!(listings > 2 * 75, "it was one range");
    let gone: Vec<&String> = names.iter().step_by(7).collect();
    for store in [&lasting.world.source, &lasting.world.destination] {
        let objects: Vec<ObjectRef> = gone.iter().map(|key| Key::from(key.as_str()).into()).collect();
        assert!(store.delete(futures::stream::iter(objects).boxed()).all(|(_, deleted)| std::future::ready(deleted.is_ok())).await);
    }
    assert_eq!(lasting.run(Options::default()).await.0.skipped, 1500 - gone.len() as u64);
    let journal = lasting.journal(&lasting.world.job(Options::default())).await;
    let left: Vec<String> = journal.proofs(None, 2000).await.expect("a journal").into_iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(left, names.iter().enumerate().filter(|(n, _)| n % 7 > 0).map(|(_, key)| key.clone()).collect::<Vec<_>>());
}

/// While many keys wait for their copies nobody asks for the next one, and a read that was begun for it is not looked at.
#[tokio::test]
async fn a_read_of_the_journal_that_nobody_waits_for_holds_nobody_up() {
    let lasting = Lasting::new();
    let journal = lasting.journal(&lasting.world.job(Options::default())).await;
    let mut known = crate::transfer::known::Known::open(journal.clone(), None, false, None);
    journal.checkpoint(1, &"a".into(), 1).await.expect("queued");
    let mut writing = Box::pin(journal.flush());
    assert!((&mut writing).now_or_never().is_none());
    assert!(known.reach(b"k").now_or_never().is_none(), "it waits for what is written");
    writing.await.expect("written");
    journal.checkpoint(1, &"b".into(), 2).await.expect("queued");
    tokio::time::timeout(Duration::from_secs(60), journal.flush()).await.expect("nothing holds the journal").expect("written");
}

/// What was there before Dragon came is looked at once.
#[tokio::test(start_paused = true)]
async fn what_a_head_has_shown_to_be_equal_is_remembered() {
    let lasting = Lasting::with(MemoryOptions::default(), MemoryOptions::default());
    put(&*lasting.world.source, "a", "x").await;
    let multipart = lasting.world.stored.multipart().expect("parts");
    // The same bytes, with an ETag that cannot be compared.
    let upload = crate::storage::Upload { key: "a".into(), id: multipart.create(&"a".into(), &Default::default()).await.expect("an upload") };
    let part = multipart.upload_part(&upload, 1, "x".into(), None).await.expect("a part");
    multipart.complete(&upload, &[part], Default::default()).await.expect("complete");
    assert_eq!(lasting.run(Options::default()).await.0.skipped, 1);
    let before = (lasting.requests(), lasting.listings());
    assert_eq!(lasting.run(Options::default()).await.0.skipped, 1);
    assert_eq!(lasting.requests() - before.0, lasting.listings() - before.1);
    assert_eq!(lasting.proved("a").await.expect("a proof").verified(), Proof::Crc64Xz);
}

#[tokio::test(start_paused = true)]
async fn failing_back_moves_nothing_that_is_there() {
    let lasting = strangers();
    lasting.world.fill(&["a", "b"], &[]).await;
    lasting.run(Options::default()).await;
    let there = lasting.world.job(Options::default());
    let back = Job { source: there.destination.clone(), destination: there.source.clone(), options: Options::default() };
    let before = (lasting.requests(), lasting.listings());
    let (report, _) = lasting.run_job(back).await;
    assert_eq!((report.copied, report.skipped), (0, 2));
    assert_eq!(lasting.requests() - before.0, lasting.listings() - before.1);
}

#[tokio::test(start_paused = true)]
async fn verify_holds_both_ends_against_what_was_proved() {
    let lasting = strangers();
    lasting.world.fill(&["a", "b"], &[]).await;
    lasting.run(Options::default()).await;
    let report = lasting.verify(false).await;
    assert_eq!((report.verified, report.unproved, report.differences), (2, 0, 0));
    put(&*lasting.world.stored, "b", "c").await;
    let report = lasting.verify(false).await;
    assert_eq!((report.verified, report.unproved + report.differences), (1, 1), "another object than the one that was proved");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_came_out_wrong_is_not_believed_for_its_stamp() {
    let lasting = Lasting::with(MemoryOptions::default(), MemoryOptions { stated: Stated::Nothing, ..MemoryOptions::default() });
    lasting.world.fill(&["a"], &[]).await;
    // Stored wrong; and before that is known the line dies.
    lasting.world.destination.add(Fault::on(Operation::Put, Effect::FlipStored { at: 0 }).first(1));
    lasting.world.destination.add(Fault::fail(Operation::Head, ErrorKind::Unavailable));
    assert_eq!(lasting.run(Options::default()).await.0.failed, 1);
    lasting.world.destination.clear();
    assert_ne!(read(&*lasting.world.stored, "a").await, "a");
    let (report, _) = lasting.run(Options::default()).await;
    assert_eq!(report.copied, 1);
    assert_eq!(read(&*lasting.world.stored, "a").await, "a");
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_near_where_an_interrupted_one_stopped() {
    let lasting = Lasting::new();
    // In one range, so that its last page is the last.
    let in_order = || Options { list_ranges_max: 1, ..Options::default() };
    let keys: Vec<String> = (0..11_500).map(|n| format!("k{n:05}")).collect();
    for key in &keys {
        put(&*lasting.world.source, key, "x").await;
    }
    lasting.world.clock.sleep(Duration::from_secs(3600)).await;
    lasting.run(in_order()).await;
    // A run that dies in its last pages.
    lasting.world.source.add(Fault::fail(Operation::List, ErrorKind::Unavailable).after(11));
    let (report, _) = lasting.run(in_order()).await;
    assert!(report.stopped.is_some());
    lasting.world.source.clear();
    let (report, events) = lasting.run(in_order()).await;
    assert_eq!((report.exit_code(), report.source_keys), (0, 1_500));
    assert!(events.iter().any(|event| matches!(event, Event::Notice(notice) if notice.message.contains("k09999") && notice.message.contains("10000 keys"))));
    // That one came to its end; and deletes, other options and an explicit wish always begin at the beginning.
    assert_eq!(lasting.run(in_order()).await.0.source_keys, 11_500);
    lasting.world.source.add(Fault::fail(Operation::List, ErrorKind::Unavailable).after(11));
    lasting.run(in_order()).await;
    lasting.world.source.clear();
    assert_eq!(lasting.run(deleting()).await.0.source_keys, 11_500);
}

#[tokio::test(start_paused = true)]
async fn a_failed_object_is_not_left_behind_a_checkpoint() {
    let lasting = Lasting::new();
    for n in 0..10_500 {
        put(&*lasting.world.source, &format!("k{n:05}"), "x").await;
    }
    lasting.world.clock.sleep(Duration::from_secs(3600)).await;
    lasting.world.source.add(Fault::fail(Operation::Get, ErrorKind::Denied).key("k00003"));
    lasting.world.source.add(Fault::fail(Operation::List, ErrorKind::Unavailable).after(10));
    let (report, _) = lasting.run(Options::default()).await;
    assert!(report.stopped.is_some() && report.failed == 1);
    lasting.world.source.clear();
    let (report, _) = lasting.run(Options::default()).await;
    assert_eq!((report.source_keys, report.exit_code()), (10_500, 0));
    assert_eq!(lasting.world.held().await.len(), 10_500);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_or_overwritten_is_kept_and_can_be_brought_back() {
    let lasting = Lasting::new();
    let cellar = Arc::new(MemoryStore::new("cellar"));
    lasting.world.fill(&["a", "b"], &["a", "gone"]).await;
    put(&*lasting.world.source, "a", "newer").await;
    let options = || Options { backup: Some(Location::new(cellar.clone(), "kept")), ..deleting() };
    let (report, events) = lasting.run(options()).await;
    assert_eq!((report.copied, report.deleted, report.exit_code()), (2, 1, 0));
    let kept = keys(&*cellar).await;
    let folder = kept.iter().next().and_then(|key| key.strip_suffix("/a")).expect("a folder").to_owned();
    assert_eq!(kept, set(&[&format!("{folder}/a"), &format!("{folder}/gone")]), "kept/YYYYMMDDTHHMMSSZ/");
    assert_eq!((read(&*cellar, &format!("{folder}/a")).await, read(&*cellar, &format!("{folder}/gone")).await), ("a".into(), "gone".into()));
    assert!(events.iter().any(|event| matches!(event, Event::Notice(notice) if notice.message.contains("2 objects") && notice.message.contains(&folder))));
    // What cannot be kept is neither overwritten nor deleted.
    put(&*lasting.world.source, "b", "newest").await;
    put(&*lasting.world.stored, "late", "late").await;
    lasting.world.clock.sleep(Duration::from_secs(3600)).await;
    let broken = FaultLayer::new(cellar.clone(), lasting.world.clock.clone(), [Fault::fail(Operation::Put, ErrorKind::Denied)]);
    let (report, _) = lasting.run(Options { backup: Some(Location::new(Arc::new(broken), "kept")), ..deleting() }).await;
    assert_eq!((report.copied, report.deleted, report.failed), (0, 0, 1), "a failed copy holds the deletes back");
    assert_eq!((read(&*lasting.world.stored, "b").await, read(&*lasting.world.stored, "late").await), ("b".into(), "late".into()));
}

#[tokio::test(start_paused = true)]
async fn a_backup_must_not_lie_in_what_is_synced() {
    let account = MemoryAccount::new(MemoryOptions::default());
    let (a, b): (Arc<dyn Storage>, Arc<dyn Storage>) = (account.bucket("a").expect("a bucket"), account.bucket("b").expect("a bucket"));
    let job = |backup| {
        let options = Options { backup: Some(backup), ..Options::default() };
        Job { options, ..Job::new(Location::new(a.clone(), "x/"), Location::new(b.clone(), "y/")) }
    };
    for place in ["y/kept", "y", ""] {
        let error = run(job(Location::new(b.clone(), place)), Context::default()).await.expect_err(place);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    account.create_bucket("a").await.expect("made");
    account.create_bucket("b").await.expect("made");
    run(job(Location::new(b.clone(), "kept/")), Context::default()).await.expect("beside it is fine");
}

#[tokio::test(start_paused = true)]
async fn deletes_wait_and_what_comes_back_is_spared() {
    let lasting = Lasting::new();
    lasting.world.fill(&["a", "b"], &["a", "b", "x", "y"]).await;
    let waiting = || Options { delete_after: Some(Duration::from_secs(24 * 3600)), ..deleting() };
    let hours = |hours: u64| lasting.world.clock.sleep(Duration::from_secs(hours * 3600));
    let (report, _) = lasting.run(waiting()).await;
    assert_eq!((report.deleted, report.waiting_deletes, report.exit_code()), (0, 2, 0));
    hours(12).await;
    // x comes back for a while, and y is written anew at the destination.
    put(&*lasting.world.source, "x", "x").await;
    hours(1).await;
    assert_eq!(lasting.run(waiting()).await.0.waiting_deletes, 1);
    let gone: Vec<(ObjectRef, Result<Deleted>)> = lasting.world.source.delete(futures::stream::iter([ObjectRef::from(Key::from("x"))]).boxed()).collect().await;
    assert!(gone[0].1.is_ok());
    hours(12).await;
    let (report, _) = lasting.run(waiting()).await;
    assert_eq!((report.deleted, report.waiting_deletes), (1, 1), "y has waited long enough, x begins anew");
    assert_eq!(lasting.world.held().await, set(&["a", "b", "x"]));
    hours(25).await;
    assert_eq!(lasting.run(waiting()).await.0.deleted, 1);
    assert_eq!(lasting.world.held().await, set(&["a", "b"]));
    // Without a journal nobody would remember.
    let error = lasting.world.run(waiting()).await.expect_err("no journal");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_deleted_midway_has_not_failed() {
    let lasting = Lasting::new();
    lasting.world.fill(&["a", "b"], &[]).await;
    lasting.world.source.add(Fault::on(Operation::Get, Effect::Vanish).key("a"));
    let (report, events) = lasting.run(deleting()).await;
    assert_eq!((report.copied, report.vanished, report.failed, report.exit_code()), (1, 1, 0, 0));
    assert!(events.iter().any(|event| matches!(event, Event::Notice(notice) if notice.key == Some("a".into()))));
}

#[tokio::test(start_paused = true)]
async fn what_is_frozen_or_locked_is_parked_and_a_halted_account_is_told_once() {
    let lasting = Lasting::new();
    lasting.world.fill(&["a", "b", "c"], &["x"]).await;
    lasting.world.source.add(Fault::fail(Operation::Get, ErrorKind::Frozen).key("a"));
    lasting.world.destination.add(Fault::fail(Operation::Put, ErrorKind::Locked).key("b"));
    let (report, _) = lasting.run(deleting()).await;
    assert_eq!((report.copied, report.failed, report.parked, report.deleted, report.exit_code()), (1, 2, 2, 0, 1));
    lasting.world.source.clear();
    lasting.world.destination.clear();
    for n in 0..50 {
        put(&*lasting.world.source, &format!("k{n}"), "x").await;
    }
    lasting.world.destination.add(Fault::fail(Operation::Put, ErrorKind::Account));
    let (report, events) = lasting.run(Options::default()).await;
    assert_eq!((told(&events, Action::Copy, Status::Failed).len(), report.exit_code()), (1, report::EXIT_STOPPED));
}
