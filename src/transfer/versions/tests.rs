//! Histories: planned over a model, and carried between memory stores.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::fault::{Effect, Fault, FaultLayer};
use crate::storage::layer::Operation;
use crate::storage::location::Location;
use crate::storage::memory::{MemoryOptions, MemoryStore};
use crate::storage::thaw::Thaw;
use crate::storage::{Attributes, ETag, Get, Key, Kind, List, ObjectRef, Put, Storage, Versioning, Versions};
use crate::transfer::event::{Action, Event, Status};
use crate::transfer::job::{Compare, DeleteLimit, Job, KeyFile, Options, VersionChoice};
use crate::transfer::{Context, Report, copy_one};

mod planning {
    use super::*;

    fn version(id: usize, is_marker: bool, second: i64) -> Version {
        Version {
            key: "k".into(),
            version: format!("s{id}"),
            is_latest: false,
            is_marker,
            size: if is_marker { 0 } else { 1 + id as u64 },
            etag: ETag::new(&format!("e{id}")),
            modified: Timestamp::new(second, 0).ok(),
            storage_class: None,
            kind: Kind::Object,
        }
    }

    /// The stamp of a copy of a version.
    fn stamp(of: &Version) -> Stamp {
        Stamp { etag: of.etag.clone(), version: Some(of.version.clone()), size: of.size, modified: of.modified, ..Stamp::default() }
    }

    /// What a destination holds, oldest first: copies of versions, and markers.
    type Held = Vec<Option<Version>>;

    /// One run: looks only at what a run can see, and makes at most so many steps.
    fn run(source: &[Version], held: &mut Held, steps_max: usize) {
        let markers = held.iter().rev().take_while(|one| one.is_none()).count();
        let newest = held.iter().rev().flatten().next();
        let newer = newest.map_or(source.len(), |newest| newer_than(source, &stamp(newest)));
        for at in missing(source, newer, markers).into_iter().take(steps_max) {
            held.push(Some(source[at].clone()).filter(|version| !version.is_marker));
        }
    }

    fn ids(held: &Held) -> Vec<Option<String>> {
        held.iter().map(|one| one.as_ref().map(|version| version.version.clone())).collect()
    }

    fn expected(source: &[Version]) -> Vec<Option<String>> {
        source.iter().rev().map(|version| Some(version.version.clone()).filter(|_| !version.is_marker)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// However the runs are cut short while the source goes on, the destination ends with the source's history, each version once.
        #[test]
        fn any_stops_end_in_the_whole_history(written in prop::collection::vec((any::<bool>(), 0..3i64), 1..14), stops in prop::collection::vec((0..14usize, 0..6usize), 0..8)) {
            let mut second = 0;
            let all: Vec<Version> = written.iter().enumerate().map(|(id, (is_marker, later))| {
                second += later;
                version(id, *is_marker, second)
            }).collect();
            let mut held = Held::new();
            let mut known = 0;
            for (grown, steps_max) in stops {
                known = (known + grown).min(all.len());
                let source: Vec<Version> = all[..known].iter().rev().cloned().collect();
                run(&source, &mut held, steps_max);
            }
            let source: Vec<Version> = all.iter().rev().cloned().collect();
            run(&source, &mut held, usize::MAX);
            prop_assert_eq!(ids(&held), expected(&source));
            run(&source, &mut held, usize::MAX);
            prop_assert_eq!(ids(&held), expected(&source), "a run more adds nothing");
        }

        /// A source whose lifecycle removes old versions: what it still has and the destination had not is there, in order, at the end.
        #[test]
        fn what_the_source_drops_is_missed_and_nothing_else(
            written in prop::collection::vec((any::<bool>(), 0..3i64), 1..14),
            stops in prop::collection::vec((0..14usize, 0..6usize, 0..14usize), 0..8),
        ) {
            let mut second = 0;
            let all: Vec<Version> = written.iter().enumerate().map(|(id, (is_marker, later))| {
                second += later;
                version(id, *is_marker, second)
            }).collect();
            let (mut held, mut known, mut gone) = (Held::new(), 0, 0);
            let source = |known: usize, gone: usize| all[gone.min(known.saturating_sub(1))..known].iter().rev().cloned().collect::<Vec<Version>>();
            for (grown, steps_max, dropped) in stops {
                known = (known + grown).min(all.len());
                run(&source(known, gone), &mut held, steps_max);
                gone = gone.max(dropped);
            }
            let last = source(all.len(), gone);
            run(&last, &mut held, usize::MAX);
            let data: Vec<String> = held.iter().flatten().map(|version| version.version.clone()).collect();
            for version in last.iter().filter(|version| !version.is_marker) {
                prop_assert!(data.contains(&version.version), "{} is missing in {:?}", version.version, data);
            }
            prop_assert_eq!(held.last().is_some_and(Option::is_none), last[0].is_marker, "what is shown is what the source shows");
            let before = ids(&held);
            run(&last, &mut held, usize::MAX);
            prop_assert_eq!(ids(&held), before, "a run more adds nothing");
        }
    }

    #[test]
    fn what_somebody_hid_is_shown_again() {
        let source = [version(1, false, 1)];
        assert_eq!(missing(&source, 0, 1), [0]);
        assert_eq!(missing(&source, 0, 0), [] as [usize; 0]);
        let hidden = [version(2, true, 2), version(1, false, 1)];
        assert_eq!(missing(&hidden, 1, 1), [] as [usize; 0]);
        assert_eq!(missing(&hidden, 1, 0), [0]);
    }
}

/// Two buckets that keep versions, and a clock that a test can move.
struct World {
    source: MemoryStore,
    stored: MemoryStore,
    destination: Arc<FaultLayer>,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        // Pages end within histories.
        let small = |options| MemoryOptions { page_keys_max: 3, ..options };
        Self::with(small(MemoryOptions::like_s3()), small(MemoryOptions::like_oss()))
    }

    fn with(source: MemoryOptions, destination: MemoryOptions) -> Self {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 7);
        let store = |name, options| MemoryStore::with(name, MemoryOptions { clock: clock.clone(), ..options });
        let (source, stored) = (store("source", source), store("destination", destination));
        for store in [&source, &stored] {
            store.set_versioning(Versioning::Enabled).expect("enabled");
        }
        Self { source, destination: Arc::new(FaultLayer::new(Arc::new(stored.clone()), clock.clone(), [])), stored, clock }
    }

    /// Writes to the source, a second after what was written before: `key=body`, or `key` for a delete marker.
    async fn write(&self, writes: &[&str]) {
        for write in writes {
            self.clock.sleep(std::time::Duration::from_secs(1)).await;
            match write.split_once('=') {
                Some((key, body)) => put(&self.source, key, body).await,
                None => hide(&self.source, write).await,
            }
        }
        self.clock.sleep(std::time::Duration::from_secs(3600)).await;
    }

    fn job(&self, options: Options) -> Job {
        Job { options, ..Job::new(Location::new(Arc::new(self.source.clone()), ""), Location::new(self.destination.clone(), "")) }
    }

    async fn try_run(&self, options: Options) -> Result<(Report, Vec<Event>)> {
        let (events, mut heard) = tokio::sync::mpsc::channel(4);
        let context = Context { clock: self.clock.clone(), events: Some(events), ..Context::default() };
        let listen = async {
            let mut all = Vec::new();
            while let Some(event) = heard.recv().await {
                all.push(event);
            }
            all
        };
        let (report, events) = tokio::join!(crate::transfer::run(self.job(options), context), listen);
        Ok((report?, events))
    }

    async fn run(&self, options: Options) -> (Report, Vec<Event>) {
        self.try_run(options).await.expect("a run")
    }
}

fn all() -> Options {
    Options { versions: VersionChoice::All, ..Options::default() }
}

fn deleting() -> Options {
    Options { delete: true, ..all() }
}

async fn put(store: &dyn Storage, key: &str, body: &str) {
    store.put(&key.into(), body.to_owned().into_bytes().into(), Put::default()).await.expect("put");
}

async fn hide(store: &dyn Storage, key: &str) {
    let deleted = store.delete(stream::iter([ObjectRef::from(Key::from(key))]).boxed()).next().await.expect("an answer").1;
    assert!(deleted.expect("deleted").delete_marker);
}

async fn remove(store: &dyn Storage, object: ObjectRef) {
    store.delete(stream::iter([object]).boxed()).next().await.expect("an answer").1.expect("removed");
}

async fn listed(store: &MemoryStore) -> Vec<Version> {
    store.list_versions(List::default()).try_concat().await.expect("listed")
}

/// Every history, oldest first, as it was written: `key=body`, or `key` for a marker.
async fn histories(store: &MemoryStore) -> Vec<String> {
    let mut told = Vec::new();
    for version in listed(store).await {
        told.push(if version.is_marker {
            version.key.to_string()
        } else {
            let body = store.get(&version.object(), Get::default()).await.expect("opened").body;
            let bytes = body.try_fold(Vec::new(), |all, chunk| async move { Ok([&all[..], &chunk].concat()) }).await.expect("read");
            format!("{}={}", version.key, String::from_utf8_lossy(&bytes))
        });
    }
    let key = |told: &String| told.split('=').next().map(str::to_owned);
    told.reverse();
    told.sort_by_key(key);
    told
}

fn notices(events: &[Event]) -> Vec<String> {
    events.iter().filter_map(|event| if let Event::Notice(notice) = event { Some(notice.message.clone()) } else { None }).collect()
}

fn failures(events: &[Event]) -> Vec<Error> {
    events.iter().filter_map(|event| if let Event::Object(object) = event { object.error.clone() } else { None }).collect()
}

const WRITES: [&str; 14] = ["a=1", "b=1", "a=2", "c=1", "a", "d=1", "a=3", "b", "c", "c", "c=2", "d=2", "e", "e=1"];

#[tokio::test(start_paused = true)]
async fn whole_histories_are_carried_in_order_and_once() {
    let world = World::new();
    world.write(&WRITES).await;
    let (report, events) = world.run(all()).await;
    assert_eq!((report.copied, report.verified, report.markers, report.deleted, report.failed), (9, 9, 5, 0, 0));
    assert_eq!((report.source_keys, report.exit_code()), (4, 0));
    assert_eq!(histories(&world.stored).await, histories(&world.source).await);
    let ids = events.iter().filter(|event| matches!(event, Event::Object(object) if object.version.is_some())).count();
    assert_eq!(ids, 14, "each step tells the version that it made");
    let (report, _) = world.run(deleting()).await;
    assert_eq!((report.copied, report.markers, report.deleted, report.skipped), (0, 0, 0, 5));
    world.write(&["a=4", "f=1", "d"]).await;
    let (report, _) = world.run(deleting()).await;
    assert_eq!((report.copied, report.markers, report.deleted, report.skipped), (2, 0, 1, 3));
    assert_eq!(histories(&world.stored).await, histories(&world.source).await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_between_any_two_versions_is_taken_up() {
    for operation in [Operation::Put, Operation::Delete] {
        for n in 1..=9 {
            for wrote in [false, true] {
                let world = World::new();
                world.write(&WRITES).await;
                let lost = Error::new(ErrorKind::Denied, "no more");
                let effect = if wrote { Effect::LoseAnswer(lost) } else { Effect::Fail(lost) };
                world.destination.add(Fault::on(operation, effect).nth(n));
                let (report, _) = world.run(deleting()).await;
                world.destination.clear();
                assert!(report.failed <= 1);
                let (report, events) = world.run(deleting()).await;
                assert_eq!(report.failed, 0, "{:?}", failures(&events));
                assert_eq!(histories(&world.stored).await, histories(&world.source).await, "{operation} {n}, answer lost: {wrote}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_hides_an_object_waits_for_the_guard() {
    let world = World::new();
    world.write(&["a=1", "b=1", "c=1"]).await;
    world.run(all()).await;
    world.write(&["a", "b=2", "b", "b"]).await;
    let (report, events) = world.run(all()).await;
    assert_eq!((report.copied, report.markers, report.deleted), (1, 0, 0), "no delete without --delete");
    assert!(notices(&events).iter().any(|notice| notice.starts_with("2 keys end in a delete marker")), "{:?}", notices(&events));
    let (report, _) = world.run(Options { delete_limit: DeleteLimit::Count(2), ..deleting() }).await;
    assert_eq!((report.exit_code(), report.delete_candidates, report.deleted), (5, 3, 0));
    assert_eq!(histories(&world.stored).await, ["a=1", "b=1", "b=2", "c=1"]);
    let (report, events) = world.run(deleting()).await;
    assert_eq!((report.deleted, report.exit_code()), (3, 0));
    let deleted = |event: &&Event| matches!(event, Event::Object(o) if o.action == Action::Delete && o.status == Status::Ok && o.version.is_some());
    assert_eq!(events.iter().filter(deleted).count(), 3);
    assert_eq!(histories(&world.stored).await, histories(&world.source).await);
}

#[tokio::test(start_paused = true)]
async fn what_the_source_never_had_is_hidden_only_when_told_and_never_removed() {
    let world = World::new();
    world.write(&["a=1"]).await;
    put(&world.stored, "x", "other").await;
    let (report, _) = world.run(all()).await;
    assert_eq!((report.copied, report.deleted), (1, 0));
    let (report, _) = world.run(deleting()).await;
    assert_eq!(report.deleted, 1);
    assert_eq!(histories(&world.stored).await, ["a=1", "x=other", "x"], "its version is still there");
    let (report, _) = world.run(deleting()).await;
    assert_eq!((report.deleted, report.delete_candidates), (0, 0), "it is hidden once");
}

#[tokio::test(start_paused = true)]
async fn an_empty_source_hides_nothing() {
    let world = World::new();
    world.write(&["a=1", "b=1"]).await;
    world.run(all()).await;
    world.write(&["a", "b"]).await;
    let (report, _) = world.run(deleting()).await;
    assert_eq!((report.exit_code(), report.deleted), (5, 0));
    let (report, _) = world.run(Options { allow_empty_source: true, ..deleting() }).await;
    assert_eq!(report.deleted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_off_ends_the_run_and_deletes_nothing() {
    for page in 1..4 {
        let world = World::new();
        world.write(&WRITES).await;
        put(&world.stored, "0", "only here").await;
        world.run(all()).await;
        world.destination.add(Fault::fail(Operation::ListVersions, ErrorKind::Unavailable).nth(page));
        let run = world.try_run(deleting()).await;
        assert!(run.is_err() || run.is_ok_and(|(report, _)| report.stopped.is_some() && report.deleted == 0 && report.copied == 0));
        assert!(world.stored.head(&Key::from("0").into()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn buckets_without_versions_are_refused_before_a_byte_moves() {
    let world = World::new();
    world.write(&["a=1"]).await;
    world.stored.set_versioning(Versioning::Suspended).expect("suspended");
    let error = world.try_run(all()).await.expect_err("suspended");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("ossutil bucket-versioning --method put oss://destination enabled"), "{error}");
    let (clock, plain) = (world.clock.clone(), MemoryStore::new("plain"));
    let job = Job { options: all(), ..Job::new(Location::new(Arc::new(plain), ""), Location::new(world.destination.clone(), "")) };
    let error = crate::transfer::run(job, Context { clock, ..Context::default() }).await.expect_err("off");
    assert!(error.to_string().contains("mem://plain keeps none"), "{error}");
    assert_eq!(world.destination.calls(Operation::Put), 0);
}

#[tokio::test(start_paused = true)]
async fn options_that_would_tear_a_history_are_refused() {
    let world = World::new();
    let mut small = all();
    small.filter.size_bytes_max = Some(1);
    let compare = Compare::Checksum;
    for options in [Options { stamp: false, ..all() }, Options { update: true, ..all() }, Options { compare, ..all() }, small] {
        assert_eq!(world.try_run(options).await.expect_err("refused").kind(), ErrorKind::Invalid);
    }
    assert_eq!(copy_one(world.job(all()), Context::default()).await.expect_err("one object").kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_is_left_where_it_is_the_same_and_covered_where_not() {
    let world = World::new();
    put(&world.stored, "a", "2").await;
    put(&world.stored, "b", "other").await;
    world.write(&["a=1", "a=2", "b=1", "b=2"]).await;
    let (report, events) = world.run(all()).await;
    assert_eq!((report.copied, report.skipped), (2, 1));
    assert_eq!(histories(&world.stored).await, ["a=2", "b=other", "b=1", "b=2"]);
    assert!(notices(&events).iter().any(|notice| notice.contains("not a copy that Dragon made")));
    let (report, _) = world.run(all()).await;
    assert_eq!((report.copied, report.skipped), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_drops_old_versions_is_followed_on() {
    let world = World::new();
    world.write(&["a=1", "a=2"]).await;
    world.run(all()).await;
    world.write(&["a=3", "a=4"]).await;
    for old in listed(&world.source).await.into_iter().skip(2) {
        remove(&world.source, old.object()).await;
    }
    world.run(all()).await;
    assert_eq!(histories(&world.stored).await, ["a=1", "a=2", "a=3", "a=4"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_hidden_at_the_destination_alone_is_shown_again() {
    let world = World::new();
    world.write(&["a=1"]).await;
    world.run(all()).await;
    hide(&world.stored, "a").await;
    for _ in 0..2 {
        world.run(all()).await;
        assert_eq!(histories(&world.stored).await, ["a=1", "a", "a=1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_of_the_latest_goes_on_as_a_history() {
    let world = World::new();
    world.write(&["a=1"]).await;
    world.run(Options::default()).await;
    world.write(&["a=2", "a", "a=3"]).await;
    world.run(all()).await;
    assert_eq!(histories(&world.stored).await, histories(&world.source).await);
}

#[tokio::test(start_paused = true)]
async fn each_version_brings_its_own_attributes_and_large_ones_travel_in_parts() {
    let world = World::new();
    let large: Vec<u8> = (0..17usize << 20).map(|i| (i % 253) as u8).collect();
    for (colour, body) in [("red", large.clone()), ("blue", b"small".to_vec()), ("green", large)] {
        let mut attributes = Attributes { content_type: Some(format!("text/{colour}")), ..Attributes::default() };
        attributes.user.insert("colour".into(), colour.into());
        attributes.tags = Some([("tint".to_owned(), colour.to_owned())].into());
        world.source.put(&"a".into(), body.into(), Put { attributes, ..Put::default() }).await.expect("put");
    }
    let (report, _) = world.run(Options { tags: true, ..all() }).await;
    assert_eq!((report.copied, report.verified, report.losses.is_empty()), (3, 3, true));
    assert_eq!(world.destination.calls(Operation::CompleteUpload), 2);
    let mut told = Vec::new();
    for version in listed(&world.stored).await {
        let info = world.stored.head(&version.object()).await.expect("there");
        let tags = world.stored.details().expect("tags").tags(&version.object()).await.expect("tags");
        told.push((version.size > 100, info.attributes.content_type, info.attributes.user.get("colour").cloned(), tags.get("tint").cloned()));
    }
    let one = |large, colour: &str| (large, Some(format!("text/{colour}")), Some(colour.to_owned()), Some(colour.to_owned()));
    assert_eq!(told, [one(true, "green"), one(false, "blue"), one(true, "red")]);
}

#[tokio::test(start_paused = true)]
async fn what_lies_in_an_archive_holds_its_key_up_until_it_is_thawed() {
    let world = World::with(MemoryOptions { restore_delay: SignedDuration::from_hours(12), ..MemoryOptions::like_s3() }, MemoryOptions::like_oss());
    let frozen = Attributes { storage_class: Some("DEEP_ARCHIVE".into()), ..Attributes::default() };
    world.write(&["a=1", "a"]).await;
    for body in ["2", "3"] {
        world.source.put(&"a".into(), body.into(), Put { attributes: frozen.clone(), ..Put::default() }).await.expect("put");
    }
    world.write(&["a=4", "b=1"]).await;
    let (report, _) = world.run(all()).await;
    assert_eq!((report.copied, report.failed, report.parked), (2, 1, 1));
    assert_eq!(histories(&world.stored).await, ["a=1", "b=1"], "the marker waits with what it would be covered by");
    let thawing = || Options { thaw: Some(Thaw::default()), ..all() };
    let (report, _) = world.run(thawing()).await;
    assert_eq!((report.copied, report.thawing, report.failed), (0, 2, 0), "both are asked for at once");
    world.clock.sleep(std::time::Duration::from_secs(13 * 3600)).await;
    let (report, _) = world.run(thawing()).await;
    assert_eq!((report.copied, report.thawing), (3, 0));
    assert_eq!(histories(&world.stored).await, histories(&world.source).await);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_and_makes_nothing() {
    let world = World::new();
    world.write(&WRITES).await;
    let before = world.destination.calls(Operation::Put) + world.destination.calls(Operation::Delete);
    let (report, events) = world.run(Options { dry_run: true, ..deleting() }).await;
    assert_eq!((report.copied, report.markers), (9, 5));
    assert!(events.iter().all(|event| !matches!(event, Event::Object(object) if object.status == Status::Ok)));
    assert_eq!(world.destination.calls(Operation::Put) + world.destination.calls(Operation::Delete), before);
    assert!(listed(&world.stored).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_with_too_many_versions_fails_by_name_and_the_others_are_carried() {
    let world = World::with(MemoryOptions::like_s3(), MemoryOptions::like_oss());
    world.write(&["b=1"]).await;
    for _ in 0..=VERSIONS_MAX {
        put(&world.source, "a", "").await;
    }
    let (report, events) = world.run(all()).await;
    assert_eq!((report.copied, report.failed), (1, 1));
    assert!(failures(&events)[0].to_string().contains("more than 10000 versions"), "{:?}", failures(&events));
    assert_eq!(histories(&world.stored).await, ["b=1"]);
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_file_have_their_histories_carried() {
    let world = World::new();
    world.write(&WRITES).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys");
    std::fs::write(&path, "a\nc\na\n").expect("written");
    let (report, _) = world.run(Options { files_from: Some(KeyFile { path, separator: b'\n' }), ..all() }).await;
    assert_eq!((report.copied, report.markers, report.failed), (5, 3, 0));
    assert_eq!(histories(&world.stored).await, ["a=1", "a=2", "a", "a=3", "c=1", "c", "c", "c=2"]);
}

#[tokio::test(start_paused = true)]
async fn prefixes_are_trees_and_filters_hide_keys() {
    let world = World::new();
    world.write(&["p/=", "p/a=1", "p/a=2", "p/tmp=1", "pq=1"]).await;
    let mut options = all();
    options.filter.exclude("tmp").expect("a glob");
    let mut job = world.job(options);
    (job.source.prefix, job.destination.prefix) = ("p".into(), "q".into());
    let report = crate::transfer::run(job, Context { clock: world.clock.clone(), ..Context::default() }).await.expect("a run");
    assert_eq!((report.copied, report.source_keys), (2, 1));
    assert_eq!(histories(&world.stored).await, ["q/a=1", "q/a=2"]);
}
