//! The whole engine over memory stores: what is copied, what is deleted, and above all what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use proptest::prelude::*;

use super::event::{Action, Event, Status, Verdict};
use super::job::{Compare, Context, DeleteLimit, Job, KeyFile, Options};
use super::report::{self, Report};
use super::task::Reason;
use super::{copy_one, run, verify};
use crate::clock::Clock;
use crate::error::{ErrorKind, Result};
use crate::storage::fault::{Effect, Fault, FaultLayer};
use crate::storage::layer::Operation;
use crate::storage::location::Location;
use crate::storage::memory::{MemoryOptions, MemoryStore, Stated};
use crate::storage::{Get, Key, List, ObjectRef, Put, Storage};

mod dividing;
#[cfg(feature = "journal")]
mod remembering;
mod streams;
#[cfg(feature = "journal")]
mod thawing;

/// Two stores, and a clock that a test can move.
struct World {
    source: Arc<FaultLayer>,
    destination: Arc<FaultLayer>,
    /// The destination without its faults.
    stored: Arc<MemoryStore>,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        Self::with(MemoryOptions::default(), MemoryOptions::default())
    }

    fn with(source: MemoryOptions, destination: MemoryOptions) -> Self {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 7);
        let store = |name, options| Arc::new(MemoryStore::with(name, MemoryOptions { clock: clock.clone(), ..options }));
        let faulty = |store| Arc::new(FaultLayer::new(store, clock.clone(), []));
        let stored = store("destination", destination);
        Self { source: faulty(store("source", source)), destination: faulty(stored.clone()), stored, clock: clock.clone() }
    }

    /// Puts objects whose bodies are their keys, and lets an hour pass.
    async fn fill(&self, source: &[&str], destination: &[&str]) {
        for key in source {
            put(&*self.source, key, key).await;
        }
        for key in destination {
            put(&*self.destination, key, key).await;
        }
        self.clock.sleep(std::time::Duration::from_secs(3600)).await;
    }

    fn job(&self, options: Options) -> Job {
        Job { options, ..Job::new(Location::new(self.source.clone(), ""), Location::new(self.destination.clone(), "")) }
    }

    async fn run(&self, options: Options) -> Result<(Report, Vec<Event>)> {
        self.listen(|context| run(self.job(options), context)).await
    }

    async fn listen<F: Future<Output = Result<Report>>>(&self, start: impl FnOnce(Context) -> F) -> Result<(Report, Vec<Event>)> {
        let (events, mut heard) = tokio::sync::mpsc::channel(4);
        let context = Context { clock: self.clock.clone(), events: Some(events), ..Context::default() };
        let listen = async {
            let mut all = Vec::new();
            while let Some(event) = heard.recv().await {
                all.push(event);
            }
            all
        };
        let (report, events) = tokio::join!(start(context), listen);
        Ok((report?, events))
    }

    async fn held(&self) -> BTreeSet<String> {
        keys(&*self.stored).await
    }
}

async fn put(store: &dyn Storage, key: &str, body: &str) {
    store.put(&Key::from(key), Bytes::copy_from_slice(body.as_bytes()).into(), Put::default()).await.expect("put");
}

async fn read(store: &dyn Storage, key: &str) -> Bytes {
    let got = store.get(&ObjectRef::from(Key::from(key)), Get::default()).await.expect("get");
    let chunks: Vec<Result<Bytes>> = got.body.collect().await;
    chunks.into_iter().map(|chunk| chunk.expect("a chunk")).collect::<Vec<_>>().concat().into()
}

async fn keys(store: &dyn Storage) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut pages = store.list(List::default());
    while let Some(page) = pages.next().await {
        keys.extend(page.expect("a page").iter().map(|entry| String::from_utf8_lossy(entry.key).into_owned()));
    }
    keys
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(ToString::to_string).collect()
}

fn deleting() -> Options {
    Options { delete: true, ..Options::default() }
}

fn told(events: &[Event], action: Action, status: Status) -> BTreeSet<String> {
    let wanted = events.iter().filter_map(|event| match event {
        Event::Object(object) if object.action == action && object.status == status => Some(object.key.to_string()),
        _ => None,
    });
    wanted.collect()
}

#[tokio::test(start_paused = true)]
async fn a_sync_copies_what_is_missing_and_deletes_only_when_told() {
    let world = World::new();
    world.fill(&["a", "b", "d/e"], &["b", "x"]).await;
    let (report, events) = world.run(Options::default()).await.expect("a run");
    assert_eq!((report.copied, report.skipped, report.deleted, report.failed, report.verified), (2, 1, 0, 0, 2));
    assert_eq!((report.bytes, report.source_keys, report.exit_code()), (4, 3, 0));
    assert_eq!(world.held().await, set(&["a", "b", "d/e", "x"]));
    assert_eq!(told(&events, Action::Copy, Status::Ok), set(&["a", "d/e"]));
    let (report, events) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.copied, report.skipped, report.deleted), (0, 3, 1));
    assert_eq!(told(&events, Action::Delete, Status::Ok), set(&["x"]));
    assert_eq!(world.held().await, set(&["a", "b", "d/e"]));
    assert_eq!(read(&*world.stored, "d/e").await, "d/e");
}

#[test]
fn a_run_can_be_spawned() {
    fn spawnable<F: Future + Send>(_: impl FnOnce(Job, Context) -> F) {}
    spawnable(run);
    spawnable(copy_one);
    spawnable(|job, context| verify(job, true, context));
}

#[tokio::test(start_paused = true)]
async fn prefixes_are_trees_and_keys_are_relative() {
    let world = World::new();
    world.fill(&["p/a", "p/b/c", "p/", "pq", "z"], &["q/old", "qr"]).await;
    let mut job = world.job(deleting());
    (job.source.prefix, job.destination.prefix) = ("p".into(), "q/".into());
    let (report, events) = world.listen(|context| run(job, context)).await.expect("a run");
    assert_eq!(world.held().await, set(&["q/a", "q/b/c", "qr"]));
    assert_eq!((report.copied, report.deleted), (2, 1));
    assert_eq!(told(&events, Action::Copy, Status::Ok), set(&["a", "b/c"]));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_and_does_nothing() {
    let world = World::new();
    world.fill(&["a", "b"], &["b", "x"]).await;
    let (report, events) = world.run(Options { dry_run: true, ..deleting() }).await.expect("a run");
    assert_eq!((report.copied, report.deleted, report.bytes, report.requests), (1, 1, 1, 2));
    assert_eq!(told(&events, Action::Copy, Status::Planned), set(&["a"]));
    assert_eq!(told(&events, Action::Delete, Status::Planned), set(&["x"]));
    assert_eq!(world.held().await, set(&["b", "x"]));
    assert_eq!(world.destination.calls(Operation::Put) + world.destination.calls(Operation::Delete), 2, "those of the filling");
}

fn many(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i:05}")).collect()
}

async fn three_pages() -> World {
    let world = World::new();
    let names = many("k", 2500);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.fill(&names, &["a", "k00000", "k01500", "z"]).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_source_listing_that_fails_on_page_two_of_three_deletes_nothing() {
    let world = three_pages().await;
    world.source.add(Fault::fail(Operation::List, ErrorKind::Unavailable).nth(2));
    let (report, _) = world.run(Options { delete_limit: DeleteLimit::Percent(100.0), ..deleting() }).await.expect("a run");
    assert_eq!((report.copied, report.deleted, report.exit_code()), (999, 0, report::EXIT_STOPPED));
    assert!(report.stopped.expect("stopped").to_string().contains("list"));
    assert!(world.held().await.is_superset(&set(&["a", "z", "k01500", "k00999"])));
}

#[tokio::test(start_paused = true)]
async fn a_destination_listing_that_fails_on_page_two_of_three_deletes_and_overwrites_nothing() {
    let world = World::new();
    let names = many("k", 2500);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.fill(&["k00001", "k01500", "m"], &names).await;
    world.destination.add(Fault::fail(Operation::List, ErrorKind::Denied).nth(2));
    let (report, _) = world.run(Options { delete_limit: DeleteLimit::Percent(100.0), ..deleting() }).await.expect("a run");
    assert_eq!((report.copied, report.deleted, report.exit_code()), (0, 0, report::EXIT_STOPPED));
    assert_eq!(world.held().await.len(), 2500);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_at_once_is_an_error() {
    for source in [true, false] {
        let world = World::new();
        world.fill(&["a"], &["x"]).await;
        let side = if source { &world.source } else { &world.destination };
        side.add(Fault::fail(Operation::List, ErrorKind::Credentials));
        let error = world.run(deleting()).await.expect_err("cannot start");
        assert_eq!((error.kind(), report::exit_code(&error)), (ErrorKind::Credentials, report::EXIT_STOPPED));
        assert_eq!(world.held().await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_out_of_order_copies_right_and_deletes_nothing() {
    for source in [true, false] {
        let world = World::new();
        world.fill(&["a", "b", "c", "d"], &["b", "c", "x"]).await;
        let side = if source { &world.source } else { &world.destination };
        side.add(Fault::on(Operation::List, Effect::Reverse));
        let (report, _) = world.run(deleting()).await.expect("a run");
        assert_eq!((report.failed, report.deleted, report.exit_code()), (0, 0, report::EXIT_REFUSED), "source: {source}");
        let held = world.run(Options::default()).await.map(|_| ()).map(|()| world.held());
        assert_eq!(held.expect("a run").await, set(&["a", "b", "c", "d", "x"]), "source: {source}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_without_order_is_sorted_for_copying_and_deletes_nothing() {
    let mut unordered = MemoryOptions::default();
    unordered.capabilities.ordered_list = false;
    let world = World::with(unordered, MemoryOptions::default());
    world.fill(&["a", "b", "c"], &["b", "x"]).await;
    world.source.add(Fault::on(Operation::List, Effect::Reverse));
    let (report, _) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.copied, report.skipped, report.deleted, report.exit_code()), (2, 1, 0, report::EXIT_REFUSED));
    assert_eq!(world.held().await, set(&["a", "b", "c", "x"]));
    assert_eq!(world.destination.calls(Operation::Head), 0, "what is sorted needs no looking up");
}

#[tokio::test(start_paused = true)]
async fn an_empty_source_empties_nothing_unless_told() {
    let world = World::new();
    world.fill(&[], &["a", "b"]).await;
    let (report, _) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.deleted, report.exit_code()), (0, report::EXIT_REFUSED));
    let (report, _) = world.run(Options { allow_empty_source: true, ..deleting() }).await.expect("a run");
    assert_eq!((report.deleted, report.exit_code()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn too_many_deletes_are_refused_and_the_copies_still_finish() {
    let world = World::new();
    let doomed = many("x", 101);
    let doomed: Vec<&str> = doomed.iter().map(String::as_str).collect();
    world.fill(&["a"], &doomed).await;
    let (report, _) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.copied, report.deleted, report.delete_candidates, report.exit_code()), (1, 0, 101, report::EXIT_REFUSED));
    let none = Options { delete_limit: DeleteLimit::Count(0), ..deleting() };
    assert_eq!(world.run(none).await.expect("a run").0.exit_code(), report::EXIT_REFUSED);
    let (report, _) = world.run(Options { delete_limit: DeleteLimit::Count(101), ..deleting() }).await.expect("a run");
    assert_eq!((report.deleted, report.exit_code()), (101, 0));
    assert_eq!(world.held().await, set(&["a"]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_copy_holds_the_deletes_back() {
    let world = World::new();
    world.fill(&["renamed"], &["name"]).await;
    world.destination.add(Fault::fail(Operation::Put, ErrorKind::Denied).key("renamed"));
    let (report, events) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.failed, report.deleted, report.delete_candidates, report.exit_code()), (1, 0, 1, report::EXIT_FAILED));
    assert_eq!(told(&events, Action::Copy, Status::Failed), set(&["renamed"]));
    assert_eq!(world.held().await, set(&["name"]));
}

#[tokio::test(start_paused = true)]
async fn a_young_object_is_deleted_only_where_the_source_says_that_it_has_none() {
    let world = World::new();
    world.fill(&["a"], &["old"]).await;
    put(&*world.destination, "young", "y").await;
    world.source.add(Fault::fail(Operation::Head, ErrorKind::Denied).first(1));
    let (report, events) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.deleted, report.failed), (1, 1));
    assert_eq!(told(&events, Action::Delete, Status::Failed), set(&["young"]));
    assert_eq!(world.held().await, set(&["a", "young"]));
    let (report, _) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.deleted, report.exit_code()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_refused_is_named() {
    let world = World::new();
    world.fill(&["a"], &["x", "y"]).await;
    world.destination.add(Fault::fail(Operation::Delete, ErrorKind::Locked).key("x"));
    let (report, events) = world.run(deleting()).await.expect("a run");
    assert_eq!((report.deleted, report.failed, report.exit_code()), (1, 1, report::EXIT_FAILED));
    assert_eq!(told(&events, Action::Delete, Status::Failed), set(&["x"]));
}

#[tokio::test(start_paused = true)]
async fn what_filters_hide_is_neither_copied_nor_deleted() {
    let world = World::new();
    world.fill(&["a.jpg", "b.txt", "long.jpg"], &["old.jpg", "old.txt", "b.txt"]).await;
    let mut options = deleting();
    options.filter.include("*.jpg").expect("a glob");
    options.filter.size_bytes_max = Some(7);
    world.run(options.clone()).await.expect("a run");
    assert_eq!(world.held().await, set(&["a.jpg", "old.txt", "b.txt"]));
    put(&*world.destination, "long.jpg", "here").await;
    world.run(options.clone()).await.expect("a run");
    assert!(world.held().await.contains("long.jpg"), "the source holds it, whatever its size");
    options.delete_excluded = true;
    options.delete_limit = DeleteLimit::Count(9);
    world.run(options).await.expect("a run");
    assert_eq!(world.held().await, set(&["a.jpg", "long.jpg"]));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_one_object_says_use_cp() {
    let world = World::new();
    world.fill(&["dir/file"], &[]).await;
    let mut job = world.job(Options::default());
    job.source.prefix = "dir/file".into();
    let error = world.listen(|context| run(job, context)).await.expect_err("an object");
    assert_eq!(report::exit_code(&error), report::EXIT_USAGE);
    assert!(error.to_string().contains("use cp"), "{error}");
    put(&*world.source, "dir/file/below", "b").await;
    let mut job = world.job(Options::default());
    job.source.prefix = "dir/file".into();
    assert_eq!(world.listen(|context| run(job, context)).await.expect("a prefix that is also an object").0.copied, 1);
    assert_eq!(world.held().await, set(&["below"]));
}

#[tokio::test(start_paused = true)]
async fn contradictions_are_refused() {
    let world = World::new();
    let keys = KeyFile { path: "-".into(), separator: b'\n' };
    let error = world.run(Options { files_from: Some(keys), ..deleting() }).await.expect_err("a contradiction");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let mut job = world.job(Options::default());
    job.destination = Location::new(world.source.clone(), "backup/");
    let error = world.listen(|context| run(job, context)).await.expect_err("an overlap");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("overlap"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_file_of_keys_is_looked_up_key_by_key() {
    let world = World::new();
    world.fill(&["a", "b", "c"], &["b"]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys");
    std::fs::write(&path, "a\nb\na\ngone\n").expect("written");
    let options = Options { files_from: Some(KeyFile { path, separator: b'\n' }), concurrency: Some(8), ..Options::default() };
    let (report, events) = world.run(options).await.expect("a run");
    assert_eq!((report.copied, report.failed, report.exit_code()), (1, 1, report::EXIT_FAILED));
    assert_eq!(told(&events, Action::Copy, Status::Failed), set(&["gone"]));
    assert_eq!(world.held().await, set(&["a", "b"]));
    assert_eq!(world.source.calls(Operation::List) + world.destination.calls(Operation::List), 0);
}

#[tokio::test(start_paused = true)]
async fn one_refused_key_fails_and_refused_credentials_stop_the_run() {
    let names = many("k", 300);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new();
    world.fill(&names, &[]).await;
    world.source.add(Fault::fail(Operation::Get, ErrorKind::Denied).key("k00003"));
    let (report, _) = world.run(Options::default()).await.expect("a run");
    assert_eq!((report.copied, report.failed, report.exit_code()), (299, 1, report::EXIT_FAILED));

    for (kind, most) in [(ErrorKind::Credentials, 32), (ErrorKind::Denied, 100 + 32)] {
        let world = World::new();
        world.fill(&names, &[]).await;
        world.destination.add(Fault::fail(Operation::Put, kind));
        let (report, _) = world.run(Options::default()).await.expect("a run");
        assert!(report.failed >= 1 && report.failed <= most, "{kind:?}: {}", report.failed);
        assert_eq!(report.exit_code(), report::EXIT_STOPPED);
    }
}

#[tokio::test(start_paused = true)]
async fn limits_of_errors_and_time_end_a_run_early() {
    let names = many("k", 300);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new();
    world.fill(&names, &["x"]).await;
    world.destination.add(Fault::fail(Operation::Put, ErrorKind::Invalid));
    let options = Options { errors_max: Some(5), concurrency: Some(2), ..deleting() };
    let (report, _) = world.run(options).await.expect("a run");
    assert!((5..=6).contains(&report.failed) && report.limited.is_some() && report.deleted == 0);

    let world = World::new();
    world.fill(&names, &["x"]).await;
    world.destination.add(Fault::on(Operation::Put, Effect::Delay(std::time::Duration::from_secs(1))));
    let options = Options { duration_max: Some(std::time::Duration::from_millis(10_500)), concurrency: Some(2), ..deleting() };
    let (report, _) = world.run(options).await.expect("a run");
    assert_eq!((report.copied, report.deleted, report.exit_code()), (22, 0, report::EXIT_FAILED));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_the_run_and_deletes_nothing() {
    let names = many("k", 100);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new();
    world.fill(&names, &["x"]).await;
    world.destination.add(Fault::on(Operation::Put, Effect::Delay(std::time::Duration::from_secs(60))));
    let context = Context { clock: world.clock.clone(), ..Context::default() };
    let cancel = context.cancel.clone();
    let stop = async {
        world.clock.sleep(std::time::Duration::from_secs(90)).await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(run(world.job(deleting()), context), stop);
    let report = report.expect("a report");
    assert_eq!((report.copied, report.failed, report.deleted, report.exit_code()), (32, 0, 0, report::EXIT_INTERRUPTED));
    assert!(report.seconds < 100.0);
}

#[tokio::test(start_paused = true)]
async fn copying_starts_before_the_listing_ends() {
    let world = three_pages().await;
    let wait = std::time::Duration::from_secs(3600);
    world.source.add(Fault::on(Operation::List, Effect::Delay(wait)).nth(2));
    let context = Context { clock: world.clock.clone(), ..Context::default() };
    let progress = context.progress.clone();
    let look = async {
        world.clock.sleep(std::time::Duration::from_secs(60)).await;
        (progress.copied_objects.load(std::sync::atomic::Ordering::Relaxed), progress.listing_done.load(std::sync::atomic::Ordering::Relaxed))
    };
    let (report, seen) = tokio::join!(run(world.job(Options::default()), context), look);
    assert_eq!(seen, (999, false));
    assert_eq!(report.expect("a report").copied, 2498);
    assert!(progress.listing_done.load(std::sync::atomic::Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn one_object_is_copied_to_an_exact_key_or_into_a_folder() {
    let world = World::new();
    world.fill(&["dir/a"], &["b"]).await;
    for (to, name) in [("b", "b"), ("in/", "in/a"), ("", "a")] {
        let mut job = world.job(Options::default());
        (job.source.prefix, job.destination.prefix) = ("dir/a".into(), to.into());
        let (report, events) = world.listen(|context| copy_one(job, context)).await.expect("a copy");
        assert_eq!((report.copied, report.exit_code()), (1, 0));
        assert_eq!(told(&events, Action::Copy, Status::Ok), set(&["dir/a"]));
        assert_eq!(read(&*world.stored, name).await, "dir/a");
    }
    let mut job = world.job(Options::default());
    job.source.prefix = "dir/gone".into();
    let error = world.listen(|context| copy_one(job, context)).await.expect_err("nothing there");
    assert_eq!((error.kind(), report::exit_code(&error)), (ErrorKind::NotFound, report::EXIT_FAILED));
    let mut job = world.job(Options { ignore_existing: true, ..Options::default() });
    (job.source.prefix, job.destination.prefix) = ("dir/a".into(), "b".into());
    assert_eq!(world.listen(|context| copy_one(job, context)).await.expect("a copy").0.skipped, 1);
}

#[tokio::test(start_paused = true)]
async fn objects_that_state_nothing_are_known_by_their_stamp() {
    let mute = || MemoryOptions { stated: Stated::Nothing, ..MemoryOptions::default() };
    let world = World::with(mute(), mute());
    world.fill(&["a", "b"], &[]).await;
    assert_eq!(world.run(Options::default()).await.expect("a run").0.copied, 2);
    world.clock.sleep(std::time::Duration::from_secs(60)).await;
    put(&*world.source, "b", "B").await;
    let (report, events) = world.run(Options::default()).await.expect("a run");
    assert_eq!((report.copied, report.skipped), (1, 1));
    let reason = events.iter().find_map(|event| match event {
        Event::Object(object) => object.reason,
        _ => None,
    });
    assert_eq!(reason, Some(Reason::ETag));
    assert_eq!(read(&*world.stored, "b").await, "B");
}

async fn verdicts(world: &World, deep: bool, options: Options) -> (Report, BTreeMap<String, Verdict>) {
    let options = Options { report_unchanged: true, ..options };
    let (report, events) = world.listen(|context| verify(world.job(options), deep, context)).await.expect("a run");
    let verdicts = events.into_iter().filter_map(|event| match event {
        Event::Verdict(event) => Some((event.key.to_string(), event.verdict?)),
        _ => None,
    });
    (report, verdicts.collect())
}

#[tokio::test(start_paused = true)]
async fn verify_says_what_is_the_same_and_what_is_not() {
    let world = World::new();
    world.fill(&["here", "same", "changed", "longer"], &["same", "there"]).await;
    put(&*world.destination, "changed", "CHANGED").await;
    put(&*world.destination, "longer", "longer than it was").await;
    for deep in [false, true] {
        let (report, verdicts) = verdicts(&world, deep, Options::default()).await;
        let expected = [
            ("changed", Verdict::Differs),
            ("here", Verdict::MissingDestination),
            ("longer", Verdict::Differs),
            ("same", Verdict::Same),
            ("there", Verdict::MissingSource),
        ];
        assert_eq!(verdicts, expected.map(|(key, verdict)| (key.to_owned(), verdict)).into(), "deep: {deep}");
        assert_eq!((report.verified, report.differences, report.failed, report.exit_code()), (1, 4, 0, report::EXIT_DIFFERENT));
    }
    world.source.add(Fault::fail(Operation::Get, ErrorKind::Denied).key("same"));
    assert_eq!(verdicts(&world, true, Options::default()).await.0.exit_code(), report::EXIT_FAILED);
}

#[tokio::test(start_paused = true)]
async fn verify_does_not_say_same_without_proof() {
    let mute = || MemoryOptions { stated: Stated::Nothing, ..MemoryOptions::default() };
    let world = World::with(mute(), mute());
    world.fill(&["by-hand"], &["by-hand"]).await;
    let (report, shallow) = verdicts(&world, false, Options::default()).await;
    assert_eq!((shallow["by-hand"], report.exit_code()), (Verdict::Unproved, report::EXIT_DIFFERENT));
    let (report, deep) = verdicts(&world, true, Options::default()).await;
    assert_eq!((deep["by-hand"], report.exit_code()), (Verdict::Same, 0));
    world.run(Options { compare: Compare::Checksum, ..Options::default() }).await.expect("a run");
    assert_eq!(verdicts(&world, false, Options::default()).await.1["by-hand"], Verdict::Same, "by the stamp");
}

#[tokio::test(start_paused = true)]
async fn a_verify_whose_listing_fails_is_no_success() {
    let world = three_pages().await;
    world.run(Options::default()).await.expect("a run");
    world.source.add(Fault::fail(Operation::List, ErrorKind::Unavailable).nth(2));
    assert_eq!(verdicts(&world, false, Options::default()).await.0.exit_code(), report::EXIT_STOPPED);
}

#[cfg(feature = "local")]
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Location) {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, body) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, body).expect("written");
    }
    let store = crate::storage::local::LocalStore::open(dir.path(), crate::storage::local::LocalOptions::default()).expect("a tree");
    (dir, Location::new(Arc::new(store), ""))
}

/// Time is real here: files have the times of the machine.
#[cfg(feature = "local")]
#[tokio::test]
async fn a_tree_goes_to_a_store_and_back_and_stays_what_it_is() {
    let (from, source) = tree(&[("a", "1"), ("d/e f", "22"), ("d/g", "333")]);
    let (to, target) = tree(&[("old", "x"), ("d/g", "xxxx")]);
    let middle = Location::new(Arc::new(MemoryStore::new("middle")), "mirror/");
    let sync = |source: &Location, destination: &Location| {
        let job = Job { options: deleting(), ..Job::new(source.clone(), destination.clone()) };
        run(job, Context::default())
    };
    let report = sync(&source, &middle).await.expect("a run");
    assert_eq!((report.copied, report.failed), (3, 0));
    assert_eq!(sync(&source, &middle).await.expect("a run").skipped, 3, "known by their stamps");
    put(&*middle.storage, "mirror/empty/", "").await;
    let report = sync(&middle, &target).await.expect("a run");
    assert_eq!((report.copied, report.deleted, report.failed), (4, 1, 0));
    let report = sync(&middle, &target).await.expect("a run");
    assert_eq!((report.copied, report.skipped, report.deleted), (0, 4, 0), "known by their times, and the marker by its directory");
    for (name, body) in [("a", "1"), ("d/e f", "22"), ("d/g", "333")] {
        assert_eq!(std::fs::read_to_string(to.path().join(name)).expect("read"), body);
        let time = |dir: &tempfile::TempDir| std::fs::metadata(dir.path().join(name)).and_then(|m| m.modified()).expect("a time");
        assert_eq!(time(&from), time(&to));
    }
    let report = sync(&source, &middle).await.expect("a run");
    assert_eq!((report.deleted, report.skipped), (0, 3), "a tree's listing does not license deleting a marker");
    std::fs::write(from.path().join("a"), "9").expect("written");
    assert_eq!(sync(&source, &middle).await.expect("a run").copied, 1);
    for (a, b) in [(&source, &middle), (&middle, &target)] {
        let job = Job { options: Options { report_unchanged: true, ..Options::default() }, ..Job::new(a.clone(), b.clone()) };
        let report = verify(job, false, Context::default()).await.expect("a verify");
        let expected = if Arc::ptr_eq(&a.storage, &source.storage) { (3, 0) } else { (2, 1) };
        assert_eq!((report.verified, report.differences), expected, "{a} {b}");
    }
}

#[cfg(feature = "local")]
#[tokio::test]
async fn checksums_decide_where_a_file_was_only_touched() {
    let (from, source) = tree(&[("a", "1"), ("b", "2")]);
    let middle = Location::new(Arc::new(MemoryStore::new("middle")), "");
    let sync = |compare| run(Job { options: Options { compare, ..Options::default() }, ..Job::new(source.clone(), middle.clone()) }, Context::default());
    assert_eq!(sync(Compare::Default).await.expect("a run").copied, 2);
    for name in ["a", "b"] {
        std::fs::write(from.path().join(name), if name == "a" { "1" } else { "3" }).expect("written");
    }
    let report = sync(Compare::Checksum).await.expect("a run");
    assert_eq!((report.copied, report.skipped), (1, 1));
}

/// One thing that happens between two runs.
#[derive(Debug, Clone)]
enum Op {
    Put {
        at_source: bool,
        key: usize,
        body: u8,
    },
    Remove {
        at_source: bool,
        key: usize,
    },
    /// A sync; with a fault, that source page or destination page fails.
    Sync {
        delete: bool,
        fault: Option<(bool, u64)>,
    },
}

const KEYS: [&str; 6] = ["a", "a/b", "a//b", "b ", "中", "z"];

fn any_op() -> impl Strategy<Value = Op> {
    let fault = proptest::option::weighted(0.3, (any::<bool>(), 1..3u64));
    prop_oneof![
        4 => (any::<bool>(), 0..KEYS.len(), 0..3u8).prop_map(|(at_source, key, body)| Op::Put { at_source, key, body }),
        2 => (any::<bool>(), 0..KEYS.len()).prop_map(|(at_source, key)| Op::Remove { at_source, key }),
        3 => (any::<bool>(), fault).prop_map(|(delete, fault)| Op::Sync { delete, fault }),
    ]
}

/// Plays operations on stores and on maps, and holds the stores against the maps after every run.
async fn play(ops: Vec<Op>) {
    let world = World::new();
    let (mut source, mut destination) = (BTreeMap::new(), BTreeMap::new());
    for op in ops {
        world.clock.sleep(std::time::Duration::from_secs(60)).await;
        match op {
            Op::Put { at_source, key, body } => {
                let body = format!("{body}");
                let (store, map) = if at_source { (&world.source, &mut source) } else { (&world.destination, &mut destination) };
                put(&**store, KEYS[key], &body).await;
                map.insert(KEYS[key], body);
            }
            Op::Remove { at_source, key } => {
                let (store, map) = if at_source { (&world.source, &mut source) } else { (&world.destination, &mut destination) };
                let answers: Vec<_> = store.delete(futures::stream::iter([ObjectRef::from(Key::from(KEYS[key]))]).boxed()).collect().await;
                assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
                map.remove(KEYS[key]);
            }
            Op::Sync { delete, fault } => {
                if let Some((at_source, page)) = fault {
                    let side = if at_source { &world.source } else { &world.destination };
                    side.add(Fault::fail(Operation::List, ErrorKind::Unavailable).nth(page));
                }
                let clean = match world.run(Options { delete, ..Options::default() }).await {
                    Ok((report, _)) => {
                        assert_eq!(report.failed, 0);
                        assert!(report.deleted == 0 || (delete && report.stopped.is_none() && !source.is_empty()));
                        report.stopped.is_none()
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable);
                        false
                    }
                };
                if clean {
                    destination.extend(source.iter().map(|(key, body)| (*key, body.clone())));
                    if delete && !source.is_empty() {
                        destination.retain(|key, _| source.contains_key(key));
                    }
                }
            }
        }
    }
    let held: BTreeSet<String> = destination.keys().map(ToString::to_string).collect();
    assert_eq!(world.held().await, held);
    for (key, body) in &destination {
        assert_eq!(read(&*world.stored, key).await, body.as_bytes(), "{key}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_destination_is_what_the_model_says(ops in proptest::collection::vec(any_op(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(play(ops));
    }
}
