//! Rules that Dragon carries out, over simulated months.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::journal::{End, Keep, Pair, Proved, RunInfo, StateDir};
use crate::storage::checksum::{Checksums, Proof};
use crate::storage::memory::{MemoryOptions, MemoryStore, Stated};
use crate::storage::{Attributes, ETag, Put, Storage};
use crate::tier::retention::Retention;
use crate::tier::rule::Scope;

const DAY: Duration = Duration::from_secs(24 * 3600);
const LARGE: usize = 200 << 10;

struct World {
    clock: Clock,
    store: MemoryStore,
}

impl World {
    fn of(options: MemoryOptions) -> Self {
        let clock = Clock::simulated("2026-01-01T12:00:00Z".parse().expect("a time"), 7);
        Self { store: MemoryStore::with("b", MemoryOptions { clock: clock.clone(), ..options }), clock }
    }

    async fn put(&self, key: &str, bytes: usize, class: &str) {
        let attributes = Attributes {
            storage_class: Some(class.to_owned()).filter(|class| !class.is_empty()),
            content_type: Some("text/plain".into()),
            user: [("dragon-source".to_owned(), "etag=x size=1".to_owned()), ("team".to_owned(), "web".to_owned())].into(),
            tags: Some([("keep".to_owned(), key.len().to_string())].into()),
            ..Attributes::default()
        };
        self.store.put(&key.into(), vec![7; bytes].into(), Put { attributes, ..Put::default() }).await.expect("written");
    }

    fn sweep(&self, rules: Vec<Rule>) -> Sweep {
        Sweep {
            place: Location::new(Arc::new(self.store.clone()), "data/"),
            rules,
            by: By::Dragon,
            proofs: None,
            only_copied: false,
            source: None,
            dry_run: false,
            touch_cold: false,
            delete_limit: DeleteLimit::Default,
        }
    }

    async fn run(&self, sweep: Sweep) -> (Swept, Vec<Step>) {
        let context = Context { clock: self.clock.clone(), ..Context::default() };
        let (sender, mut receiver) = mpsc::channel(1);
        let steps = async {
            let mut steps = Vec::new();
            while let Some(step) = receiver.recv().await {
                steps.push(step);
            }
            steps
        };
        let (swept, steps) = futures::join!(super::sweep(sweep, &context, sender), steps);
        (swept.expect("it starts"), steps)
    }

    async fn classes(&self) -> Vec<(String, String)> {
        let pages: Vec<_> = self.store.list(List::default()).collect().await;
        pages
            .iter()
            .flat_map(|page| page.as_ref().expect("a page").iter().map(|entry| (Key::from(entry.key).to_string(), entry.storage_class.to_owned())))
            .collect()
    }

    async fn keys(&self) -> Vec<String> {
        self.classes().await.into_iter().map(|(key, _)| key).collect()
    }
}

fn rule(name: &str, prefix: &str, actions: Vec<Action>) -> Rule {
    Rule { name: name.into(), scope: Scope { prefix: prefix.into(), ..Scope::default() }, actions, age_by: AgeBy::Modified, by: By::Dragon }
}

fn to(class: &str, age_days: u32) -> Action {
    Action::Transition { age_days, class: class.into() }
}

fn spared(swept: &Swept) -> Vec<(Spared, u64)> {
    swept.spared.iter().map(|(why, count)| (*why, *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_old_enough_sinks_and_stays_what_it_was() {
    let world = World::of(MemoryOptions::like_oss());
    for key in ["data/logs/old", "data/other", "logs/outside"] {
        world.put(key, LARGE, "").await;
    }
    world.clock.sleep(29 * DAY).await;
    world.put("data/logs/new", LARGE, "").await;
    let before = world.store.head(&Key::from("data/logs/old").into()).await.expect("there");
    world.clock.sleep(DAY).await;
    let rules = || vec![rule("cool", "logs/", vec![to("IA", 30), to("Archive", 90)])];
    let (planned, steps) = world.run(Sweep { dry_run: true, ..world.sweep(rules()) }).await;
    assert_eq!((planned.listed, planned.moved, planned.moved_bytes), (3, 1, LARGE as u64));
    assert!(matches!(steps[..], [Step { standing: Standing::Planned, .. }]));
    assert!(world.classes().await.iter().all(|(_, class)| class != "IA"), "a plan moves nothing");
    let (swept, steps) = world.run(world.sweep(rules())).await;
    assert_eq!((swept.moved, swept.failed, steps[0].key.to_string()), (1, 0, "logs/old".to_owned()));
    let after = world.store.head(&Key::from("data/logs/old").into()).await.expect("there");
    let expected = Attributes { storage_class: Some("IA".into()), ..before.attributes };
    assert_eq!((after.attributes, after.size, after.checksums), (expected, before.size, before.checksums), "all but the class is as it was");
    let tags = world.store.details().expect("tags").tags(&Key::from("data/logs/old").into()).await.expect("read");
    assert_eq!(tags.len(), 1);
    assert_eq!(world.run(world.sweep(rules())).await.0.moved, 0, "once");
}

#[tokio::test(start_paused = true)]
async fn no_fee_is_paid_that_nobody_agreed_to() {
    let world = World::of(MemoryOptions::like_s3());
    world.put("data/ia", LARGE, "STANDARD_IA").await;
    world.put("data/tiny", 100, "").await;
    world.put("data/glacier", LARGE, "GLACIER").await;
    world.clock.sleep(10 * DAY).await;
    let rules = || vec![rule("r", "", vec![to("DEEP_ARCHIVE", 5)])];
    let (swept, _) = world.run(world.sweep(rules())).await;
    assert_eq!(swept.moved, 0);
    assert_eq!(spared(&swept), [(Spared::MinimumDuration, 1), (Spared::Small, 1), (Spared::Archived, 1)]);
    // Deletes cost the same fee.
    let expire = || vec![rule("r", "", vec![Action::Expire { age_days: 5 }])];
    let (swept, _) = world.run(world.sweep(expire())).await;
    assert_eq!((swept.deleted, spared(&swept)), (1, vec![(Spared::MinimumDuration, 2)]), "the one in Standard is free to go");
    let (swept, _) = world.run(Sweep { touch_cold: true, ..world.sweep(rules()) }).await;
    assert_eq!((swept.moved, spared(&swept)), (1, vec![(Spared::Archived, 1)]), "somebody has agreed");
    world.clock.sleep(200 * DAY).await;
    assert_eq!(world.run(world.sweep(expire())).await.0.deleted, 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_cloud_would_do_is_planned_with_what_it_charges_and_never_done() {
    let world = World::of(MemoryOptions::like_s3());
    world.put("data/ia", LARGE, "STANDARD_IA").await;
    world.put("data/glacier", LARGE, "GLACIER").await;
    world.clock.sleep(10 * DAY).await;
    let cloud = || vec![Rule { by: By::Cloud, ..rule("r", "", vec![to("DEEP_ARCHIVE", 5)]) }];
    let (planned, _) = world.run(Sweep { by: By::Cloud, dry_run: true, ..world.sweep(cloud()) }).await;
    assert_eq!((planned.moved, spared(&planned)), (2, vec![]), "it asks nobody, and charges");
    let refused = super::sweep(Sweep { by: By::Cloud, ..world.sweep(cloud()) }, &Context::default(), mpsc::channel(1).0).await;
    assert_eq!(refused.expect_err("not done here").kind(), ErrorKind::Invalid);
    assert_eq!(world.run(world.sweep(cloud())).await.0.moved, 0, "Dragon passes it over");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_keeps_versions_is_left_to_the_cloud() {
    let world = World::of(MemoryOptions::like_s3());
    world.store.set_versioning(Versioning::Enabled).expect("set");
    world.put("data/a", LARGE, "").await;
    world.clock.sleep(40 * DAY).await;
    let sinking = world.sweep(vec![rule("r", "", vec![to("STANDARD_IA", 30)])]);
    let context = Context { clock: world.clock.clone(), ..Context::default() };
    let told = super::sweep(sinking, &context, mpsc::channel(1).0).await.expect_err("refused").to_string();
    assert!(told.contains("keeps versions") && told.contains("by = \"cloud\""), "{told}");
    // A delete leaves a marker, and no version is lost.
    assert_eq!(world.run(world.sweep(vec![rule("r", "", vec![Action::Expire { age_days: 30 }])])).await.0.deleted, 1);
}

#[tokio::test(start_paused = true)]
async fn rules_that_contradict_each_other_send_nothing_to_and_fro() {
    let world = World::of(MemoryOptions::like_oss());
    world.put("data/a", LARGE, "").await;
    let rules = || vec![rule("down", "", vec![to("ColdArchive", 40), to("IA", 35)]), rule("up", "", vec![to("Standard", 1), to("IA", 1)])];
    let mut moves = 0;
    for _ in 0..200 {
        world.clock.sleep(DAY).await;
        moves += world.run(world.sweep(rules())).await.0.moved;
    }
    assert_eq!(moves, 2, "Standard, IA after a day, ColdArchive after forty");
    assert_eq!(world.classes().await, [("data/a".to_owned(), "ColdArchive".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_rolling_backup_of_two_years_keeps_what_the_rule_says() {
    let world = World::of(MemoryOptions::like_s3());
    let keep = Retention { daily: 14, weekly: 8, monthly: 12, ..Retention::default() };
    let rules = || vec![rule("rolling", "db/", vec![Action::Keep(keep)])];
    for n in 0..730 {
        let day = world.clock.now().strftime("%Y-%m-%d").to_string();
        for part in ["a", "b/c"] {
            world.put(&format!("data/db/{day}/{part}"), 10, "").await;
        }
        world.put("data/db/latest", 10, "").await;
        world.put(&format!("data/other/{day}"), 10, "").await;
        let (swept, _) = world.run(world.sweep(rules())).await;
        assert_eq!((swept.failed, swept.refused.is_none(), swept.deleted <= 2), (0, true, true), "day {n}: {swept:?}");
        world.clock.sleep(DAY).await;
    }
    let keys = world.keys().await;
    let of = |prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
    assert_eq!(of("data/other/"), 730, "another prefix is nobody's business");
    assert!(keys.contains(&"data/db/latest".to_owned()), "what has no date never goes");
    let snapshots: BTreeSet<Snapshot> =
        keys.iter().filter_map(|key| snapshot::of_key(key.strip_prefix("data/db/")?.as_bytes())).map(|(_, snapshot)| snapshot).collect();
    let days: Vec<String> = snapshots.iter().rev().map(|snapshot| snapshot.date.to_string()).collect();
    assert_eq!(days.len(), 14 + 8 + 12);
    assert_eq!(days[..3], ["2027-12-31", "2027-12-30", "2027-12-29"]);
    assert_eq!(of("data/db/") - 1, 2 * days.len(), "whole snapshots stay, and whole ones go");
}

#[tokio::test(start_paused = true)]
async fn two_series_under_one_prefix_are_kept_each_by_itself() {
    let world = World::of(MemoryOptions::like_oss());
    for key in ["web-2025-01-01.gz", "web-2025-01-02.gz", "db-2025-01-01.gz", "db-2024-12-31.gz", "notes.txt"] {
        world.put(&format!("data/{key}"), 10, "").await;
    }
    let keep = Retention { newest: 1, ..Retention::default() };
    world.run(world.sweep(vec![rule("one", "", vec![Action::Keep(keep)])])).await;
    assert_eq!(world.keys().await, ["data/db-2025-01-01.gz", "data/notes.txt", "data/web-2025-01-02.gz"]);
}

#[tokio::test(start_paused = true)]
async fn more_deletes_than_a_person_would_expect_are_refused_whole() {
    let world = World::of(MemoryOptions::like_oss());
    for n in 0..150 {
        world.put(&format!("data/{n}"), 10, "").await;
    }
    world.clock.sleep(10 * DAY).await;
    let rules = || vec![rule("r", "", vec![Action::Expire { age_days: 5 }])];
    let (planned, _) = world.run(Sweep { dry_run: true, ..world.sweep(rules()) }).await;
    assert!(planned.deleted == 150 && planned.refused.is_some(), "a plan says that it would be refused");
    let (swept, _) = world.run(world.sweep(rules())).await;
    assert_eq!((swept.deleted, swept.refused.expect("refused").kind()), (0, ErrorKind::Guard));
    assert_eq!(world.keys().await.len(), 150);
    let (swept, _) = world.run(Sweep { delete_limit: DeleteLimit::Percent(100.0), ..world.sweep(rules()) }).await;
    assert!((swept.deleted, swept.refused.is_none()) == (150, true));
}

#[tokio::test(start_paused = true)]
async fn a_source_loses_only_what_its_copy_is_proved_of() {
    let world = World::of(MemoryOptions::like_s3());
    for key in ["data/copied", "data/changed", "data/new"] {
        world.put(key, 10, "").await;
    }
    world.clock.sleep(10 * DAY).await;
    let state = tempfile::tempdir().expect("a folder");
    let place = |bucket: &str| Location::new(Arc::new(MemoryStore::new(bucket)), "");
    let pair = Pair::of(&place("a"), &place("b"));
    let journal = StateDir::new(state.path()).open(&pair, Keep::Full, RunInfo::default(), world.clock.clone()).await.map(Arc::new).expect("a journal");
    let etag = world.store.head(&Key::from("data/copied").into()).await.expect("there").etag;
    let end = |etag: &ETag| End { etag: etag.clone(), version: None, modified: None, storage_class: String::new() };
    for (key, etag) in [("copied", etag), ("changed", ETag::new("another"))] {
        let proved = Proved::new(10, (end(&etag), end(&etag)), &Checksums::default(), (Proof::Md5, Proof::Md5), world.clock.now());
        journal.prove(&key.into(), proved).await.expect("noted");
    }
    let expire = Sweep { only_copied: true, ..world.sweep(vec![rule("r", "", vec![Action::Expire { age_days: 5 }])]) };
    let context = Context::default();
    assert_eq!(super::sweep(expire.clone(), &context, mpsc::channel(1).0).await.expect_err("no journal").kind(), ErrorKind::Invalid);
    let (swept, _) = world.run(Sweep { proofs: Some(journal), ..expire }).await;
    assert_eq!((swept.deleted, spared(&swept)), (1, vec![(Spared::NotCopied, 2)]));
    assert_eq!(world.keys().await, ["data/changed", "data/new"]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_stays_as_long_as_its_source_would_bring_it_back() {
    let (world, source) = (World::of(MemoryOptions::like_oss()), World::of(MemoryOptions::like_s3()));
    for key in ["data/2025-01-01", "data/2025-01-02", "data/2025-01-03"] {
        world.put(key, 10, "").await;
    }
    source.put("from/2025-01-01", 10, "").await;
    let keep = Retention { newest: 1, ..Retention::default() };
    let rules = vec![rule("one", "", vec![Action::Keep(keep)])];
    let from = Location::new(Arc::new(source.store.clone()), "from/");
    let (swept, _) = world.run(Sweep { source: Some(from), ..world.sweep(rules) }).await;
    assert_eq!((swept.deleted, spared(&swept)), (1, vec![(Spared::AtSource, 1)]));
    assert_eq!(world.keys().await, ["data/2025-01-01", "data/2025-01-03"]);
}

#[tokio::test(start_paused = true)]
async fn tags_and_sizes_narrow_a_rule() {
    let world = World::of(MemoryOptions::like_oss());
    world.put("data/aa", LARGE, "").await;
    world.put("data/aaa", LARGE, "").await;
    world.put("data/bb", 70 << 10, "").await;
    world.clock.sleep(10 * DAY).await;
    let mut narrow = rule("r", "", vec![to("IA", 5)]);
    narrow.scope.tags = [("keep".to_owned(), "7".to_owned())].into();
    narrow.scope.size_bytes_min = Some(100 << 10);
    let (swept, steps) = world.run(world.sweep(vec![narrow])).await;
    assert_eq!((swept.moved, steps[0].key.to_string()), (1, "aa".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_nothing_would_prove_stays_where_it_is() {
    let world = World::of(MemoryOptions { stated: Stated::Nothing, ..MemoryOptions::like_s3() });
    world.put("data/a", LARGE, "").await;
    world.clock.sleep(40 * DAY).await;
    let (swept, _) = world.run(world.sweep(vec![rule("r", "", vec![to("STANDARD_IA", 30)])])).await;
    assert_eq!((swept.moved, spared(&swept)), (0, vec![(Spared::Unprovable, 1)]));
}
