//! Runs whose keys are divided: among ranges that are listed side by side, and among hosts.

use super::*;
use crate::transfer::Shard;

const PAGE_KEYS: u32 = 20;

fn small_pages() -> MemoryOptions {
    MemoryOptions { page_keys_max: PAGE_KEYS, ..MemoryOptions::default() }
}

/// A source of so many keys, and a destination that lacks each third and holds others.
async fn divided(count: usize) -> (World, BTreeSet<String>) {
    let world = World::with(small_pages(), small_pages());
    let source = many("k", count);
    let there = source.iter().enumerate().filter(|(n, _)| n % 3 > 0).map(|(_, key)| key.clone());
    let there: Vec<String> = there.chain(many("k000", count / 10)).chain(many("old/", 50)).collect();
    world.fill(&source.iter().map(String::as_str).collect::<Vec<_>>(), &there.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (world, source.into_iter().collect())
}

fn deleting_all() -> Options {
    Options { delete_limit: DeleteLimit::Percent(100.0), ..deleting() }
}

#[tokio::test(start_paused = true)]
async fn many_ranges_copy_and_delete_what_one_does() {
    let (world, source) = divided(3000).await;
    let before = world.held().await;
    let (report, events) = world.run(deleting_all()).await.expect("a run");
    assert_eq!(world.held().await, source);
    let copied = told(&events, Action::Copy, Status::Ok);
    assert_eq!((copied.len() as u64, &copied), (report.copied, &source.difference(&before).cloned().collect()), "each once");
    assert_eq!(told(&events, Action::Delete, Status::Ok), before.difference(&source).cloned().collect());
    assert_eq!((report.source_keys, report.destination_keys, report.exit_code()), (3000, before.len() as u64, 0));
    assert!(world.source.calls(Operation::List) > 3000 / u64::from(PAGE_KEYS), "it was one range");
    let (report, _) = world.run(Options { list_ranges_max: 1, ..deleting_all() }).await.expect("a run");
    assert_eq!((report.copied, report.deleted, report.skipped), (0, 0, 3000));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_in_any_range_deletes_nothing() {
    for (page, at_source) in [(2, true), (30, true), (100, true), (30, false), (90, false)] {
        let (world, source) = divided(3000).await;
        let before = world.held().await;
        let side = if at_source { &world.source } else { &world.destination };
        side.add(Fault::fail(Operation::List, ErrorKind::Unavailable).nth(page));
        let (report, _) = world.run(deleting_all()).await.expect("a run");
        assert_eq!((report.deleted, report.exit_code()), (0, report::EXIT_STOPPED), "page {page}, source: {at_source}");
        let held = world.held().await;
        assert!(held.is_superset(&before) && held.is_subset(&before.union(&source).cloned().collect()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_out_of_order_in_any_range_deletes_nothing() {
    for (page, at_source) in [(2, true), (30, true), (100, true), (30, false), (90, false)] {
        let (world, _) = divided(3000).await;
        let before = world.held().await;
        let side = if at_source { &world.source } else { &world.destination };
        side.add(Fault::on(Operation::List, Effect::Reverse).nth(page));
        let (report, _) = world.run(deleting_all()).await.expect("a run");
        assert_eq!(report.deleted, 0, "page {page}, source: {at_source}");
        assert_ne!(report.exit_code(), 0);
        assert!(world.held().await.is_superset(&before));
    }
}

#[tokio::test(start_paused = true)]
async fn shares_do_the_whole_job_and_each_key_once() {
    let (world, source) = divided(1000).await;
    let before = world.held().await;
    let (mut copied, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    for shard in ["1/3", "2/3", "3/3"] {
        let shard: Shard = shard.parse().expect("a share");
        let held = world.held().await;
        let (report, events) = world.run(Options { shard: Some(shard), ..deleting_all() }).await.expect("a run");
        assert_eq!(report.exit_code(), 0);
        let (mine, gone) = (told(&events, Action::Copy, Status::Ok), told(&events, Action::Delete, Status::Ok));
        assert!(mine.iter().chain(&gone).all(|key| shard.holds(key.as_bytes())), "another's key");
        assert!(mine.iter().all(|key| copied.insert(key.clone())) && gone.iter().all(|key| deleted.insert(key.clone())), "a key twice");
        assert_eq!(report.destination_keys, held.iter().filter(|key| shard.holds(key.as_bytes())).count() as u64, "the guards count the share");
    }
    assert_eq!(world.held().await, source);
    assert_eq!(copied, source.difference(&before).cloned().collect());
    assert_eq!(deleted, before.difference(&source).cloned().collect());
    let shard = Some("2/3".parse::<Shard>().expect("a share"));
    let (report, verdicts) = verdicts(&world, false, Options { shard, ..Options::default() }).await;
    assert!(report.exit_code() == 0 && verdicts.keys().all(|key| shard.is_some_and(|shard| shard.holds(key.as_bytes()))));
}

#[tokio::test(start_paused = true)]
async fn a_share_of_a_file_of_keys_is_taken() {
    let world = World::new();
    let names = many("k", 60);
    world.fill(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys");
    std::fs::write(&path, names.join("\n")).expect("written");
    let shard: Shard = "1/2".parse().expect("a share");
    let files_from = Some(KeyFile { path, separator: b'\n' });
    world.run(Options { files_from, shard: Some(shard), ..Options::default() }).await.expect("a run");
    assert_eq!(world.held().await, names.into_iter().filter(|key| shard.holds(key.as_bytes())).collect());
}

/// Nobody looks behind a link, so what bears its name at the destination is not absent, in whatever range it is.
#[cfg(feature = "local")]
#[tokio::test]
async fn what_lies_behind_a_link_is_kept_in_every_range() {
    let (dir, source) = tree(&[("a/1", "1"), ("a/2", "2"), ("z", "z")]);
    std::os::unix::fs::symlink("a", dir.path().join("l")).expect("a link");
    let target = Arc::new(MemoryStore::with("target", small_pages()));
    let behind: BTreeSet<String> = many("l/", 1000).into_iter().collect();
    for key in behind.iter().chain(&many("k", 500).into_iter().collect::<BTreeSet<_>>()) {
        put(&*target, key, key).await;
    }
    for shard in [None, Some("1/2"), Some("2/2")] {
        let options = Options { shard: shard.map(|shard| shard.parse().expect("a share")), ..deleting_all() };
        run(Job { options, ..Job::new(source.clone(), Location::new(target.clone(), "")) }, Context::default()).await.expect("a run");
        assert!(keys(&*target).await.is_superset(&behind), "{shard:?}");
    }
}
