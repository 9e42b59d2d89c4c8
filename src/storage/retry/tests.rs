use futures::TryStreamExt;

use super::*;
use crate::storage::conformance;
use crate::storage::fault::{Effect, Fault, FaultLayer};
use crate::storage::memory::{MemoryOptions, MemoryStore};

mod outages;

struct Stage {
    faults: FaultLayer,
    store: Retry,
    metrics: Arc<Metrics>,
}

fn stage(faults: impl IntoIterator<Item = Fault>) -> Stage {
    stage_with(Options::default(), faults)
}

fn stage_with(options: Options, faults: impl IntoIterator<Item = Fault>) -> Stage {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
    let store = MemoryStore::with("b", MemoryOptions { clock: clock.clone(), ..MemoryOptions::default() });
    let faults = FaultLayer::new(Arc::new(store), clock.clone(), faults);
    let metrics = Arc::<Metrics>::default();
    Stage { store: Retry::new(Arc::new(faults.clone()), options, clock, metrics.clone()), faults, metrics }
}

async fn read(store: &Retry, key: &str) -> Result<Vec<u8>> {
    let output = store.get(&Key::from(key).into(), Get::default()).await?;
    output.body.try_fold(Vec::new(), |mut all, chunk| async move { Ok([std::mem::take(&mut all), chunk.to_vec()].concat()) }).await
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_until_it_does() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Throttled] {
        let stage = stage([Fault::fail(Operation::Put, kind).first(3)]);
        stage.store.put(&"a".into(), "x".into(), Put::default()).await.expect("the fourth attempt works");
        assert_eq!(stage.metrics.retries.get(), 3);
        assert!(stage.metrics.retry_wait.get() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_pass_is_tried_once() {
    let stage = stage([Fault::fail(Operation::Put, ErrorKind::Denied)]);
    let error = stage.store.put(&"a".into(), "x".into(), Put::default()).await.expect_err("denied");
    assert_eq!((error.kind(), stage.faults.calls(Operation::Put)), (ErrorKind::Denied, 1));
}

#[tokio::test(start_paused = true)]
async fn attempts_time_and_the_budget_each_end_it() {
    let outage = || [Fault::fail(Operation::Head, ErrorKind::Unavailable)];
    let attempts = stage_with(Options { first_contact_max: Duration::MAX, elapsed_max: Duration::MAX, ..Options::default() }, outage());
    attempts.store.head(&Key::from("a").into()).await.expect_err("an outage");
    assert_eq!(attempts.faults.calls(Operation::Head), 10);

    let budget = stage_with(Options { budget: 3, ..Options::default() }, outage());
    budget.store.head(&Key::from("a").into()).await.expect_err("an outage");
    assert_eq!(budget.faults.calls(Operation::Head), 4, "one attempt and three retries");

    let first_contact = stage(outage());
    let began = first_contact.store.0.clock.instant();
    first_contact.store.head(&Key::from("a").into()).await.expect_err("an outage");
    assert!(began.elapsed() <= Duration::from_secs(10), "a store that never answered does not hold anybody for {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_service_names_is_kept() {
    let wait = Duration::from_secs(7);
    let slow = Error::new(ErrorKind::Throttled, "slow down").retry_after(wait);
    let stage = stage([Fault::on(Operation::Head, Effect::Fail(slow)).first(1)]);
    stage.store.put(&"a".into(), "x".into(), Put::default()).await.expect("written");
    let began = stage.store.0.clock.instant();
    stage.store.head(&Key::from("a").into()).await.expect("there");
    assert!(began.elapsed() >= wait);
    assert_eq!(stage.metrics.throttled.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_on_where_it_broke() {
    let broken = Error::new(ErrorKind::Unavailable, "reset");
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    let cut = |at, nth| Fault::on(Operation::Get, Effect::Truncate { at, error: Some(broken.clone()) }).nth(nth);
    let stage = stage([cut(100_000, 1), cut(0, 2), cut(50_000, 3)]);
    stage.store.put(&"a".into(), bytes.clone().into(), Put::default()).await.expect("written");
    assert_eq!(read(&stage.store, "a").await.expect("whole"), bytes);
    assert_eq!(stage.metrics.resumed_bodies.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_just_stops_goes_on_too() {
    let stage = stage([Fault::on(Operation::Get, Effect::Truncate { at: 3, error: None }).nth(1)]);
    stage.store.put(&"a".into(), "all bytes".into(), Put::default()).await.expect("written");
    assert_eq!(read(&stage.store, "a").await.expect("whole"), b"all bytes");
    assert_eq!(stage.metrics.resumed_bodies.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_took_long_is_made_again() {
    let slow = |effect| Fault::on(Operation::Put, effect).key("a").nth(1);
    let broken = Error::new(ErrorKind::Unavailable, "reset");
    let stage = stage([slow(Effect::Delay(Duration::from_secs(3600))), slow(Effect::Fail(broken))]);
    stage.store.put(&"first".into(), "contact".into(), Put::default()).await.expect("written");
    stage.store.put(&"a".into(), "a large part".into(), Put::default()).await.expect("the second attempt works");
    assert_eq!(stage.metrics.retries.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_an_object_that_changed_meanwhile_is_not_mixed() {
    let broken = Error::new(ErrorKind::Unavailable, "reset");
    let stage = stage([
        Fault::on(Operation::Get, Effect::Truncate { at: 3, error: Some(broken) }).nth(1),
        Fault::on(Operation::Get, Effect::Overwrite("other bytes".into())).nth(2),
    ]);
    stage.store.put(&"a".into(), "first bytes".into(), Put::default()).await.expect("written");
    assert_eq!(read(&stage.store, "a").await.expect_err("changed").kind(), ErrorKind::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_after_its_last_key() {
    let stage = stage([Fault::fail(Operation::List, ErrorKind::Unavailable).nth(2), Fault::fail(Operation::List, ErrorKind::Unavailable).nth(4)]);
    for i in 0..25 {
        stage.store.put(&format!("k{i:02}").into(), "x".into(), Put::default()).await.expect("written");
    }
    let pages: Vec<Page> = stage.store.list(List { page_keys: Some(10), ..List::default() }).try_collect().await.expect("all pages");
    let keys: Vec<_> = pages.iter().flat_map(|page| page.iter().map(|e| Key::from(e.key)).collect::<Vec<_>>()).collect();
    let wanted: Vec<_> = (0..25).map(|i| Key::from(format!("k{i:02}"))).collect();
    assert_eq!(keys, wanted, "every key once");
    assert_eq!(stage.metrics.retries.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_keeps_failing_ends_with_the_error() {
    let stage = stage([Fault::fail(Operation::List, ErrorKind::Unavailable)]);
    let pages: Vec<_> = stage.store.list(List::default()).collect().await;
    assert!(matches!(pages.as_slice(), [Err(e)] if e.kind() == ErrorKind::Unavailable), "{pages:?}");
}

#[tokio::test(start_paused = true)]
async fn deletes_that_failed_for_now_are_made_again() {
    let stage = stage([Fault::fail(Operation::Delete, ErrorKind::Throttled).nth(2), Fault::fail(Operation::Delete, ErrorKind::Denied).key("c")]);
    let objects = ["a", "b", "c"].map(|k| ObjectRef::from(Key::from(k)));
    for object in &objects {
        stage.store.put(&object.key, "x".into(), Put::default()).await.expect("written");
    }
    let mut answers: Vec<_> = stage.store.delete(stream::iter(objects).boxed()).map(|(o, d)| (o.key, d.err().map(|e| e.kind()))).collect().await;
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(answers, [("a".into(), None), ("b".into(), None), ("c".into(), Some(ErrorKind::Denied))]);
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_knows_its_own_object() {
    let lost = Effect::LoseAnswer(Error::new(ErrorKind::Unavailable, "reset"));
    let stage = stage([Fault::on(Operation::Put, lost).nth(1)]);
    let put =
        || Put { checksums: Some(crate::storage::checksum::Crc64::of(b"x").checksums()), condition: Some(crate::storage::Condition::Absent), ..Put::default() };
    stage.store.put(&"a".into(), "x".into(), put()).await.expect("the first attempt wrote it");
    let other = stage.store.put(&"a".into(), "x".into(), put()).await.expect_err("it is there now");
    assert_eq!(other.kind(), ErrorKind::Exists);
}

#[tokio::test(start_paused = true)]
async fn an_upload_begun_twice_is_given_up_and_no_other() {
    let lost = Effect::LoseAnswer(Error::new(ErrorKind::Unavailable, "reset"));
    let stage = stage([Fault::on(Operation::CreateUpload, lost).nth(5)]);
    let multipart: &dyn Multipart = &stage.store;
    let begin = async |key: &str| {
        let id = multipart.create(&key.into(), &Attributes::default()).await.expect("begun");
        Upload { key: key.into(), id }
    };
    let old = begin("a").await;
    stage.store.0.clock.sleep(Duration::from_secs(3600)).await;
    let (longer, other) = (begin("a/b").await, begin("b").await);
    let used = begin("a").await;
    multipart.upload_part(&used, 1, "x".into(), None).await.expect("a part");
    let ours = begin("a").await;
    assert_eq!(stage.faults.calls(Operation::CreateUpload), 6);
    let mut open: Vec<_> = multipart.list_uploads(Key::EMPTY).map_ok(|open| open.upload).try_collect().await.expect("listed");
    open.sort_by(|a, b| a.id.0.cmp(&b.id.0));
    let mut wanted = vec![old, longer, other, used, ours];
    wanted.sort_by(|a, b| a.id.0.cmp(&b.id.0));
    assert_eq!(open, wanted, "all but the one whose answer was lost");
}

#[test]
fn waits_grow_are_jittered_and_bounded() {
    let options = Options::default();
    assert_eq!(delay(&options, Verdict::Soon, 0, 0.0), Duration::ZERO);
    assert_eq!(delay(&options, Verdict::Soon, 3, 1.0), Duration::from_millis(800));
    assert_eq!(delay(&options, Verdict::Soon, 60, 1.0), options.delay_max);
    assert_eq!(delay(&options, Verdict::Slow { after: None }, 1, 1.0), Duration::from_secs(2));
    assert_eq!(delay(&options, Verdict::Slow { after: Some(Duration::from_secs(3600)) }, 0, 0.0), IMPOSED_WAIT_MAX);
}

#[tokio::test(start_paused = true)]
async fn the_layer_keeps_the_contract() {
    conformance::suite(Arc::new(stage([]).store), &Key::EMPTY).await.expect("the contract holds");
}
