//! Stores that are down for minutes and for days, in paused time.

use std::sync::Mutex;

use futures::future::join_all;

use super::*;
use crate::storage::ByteStream;

/// When a service is down, by the time since its start.
type Weather = Box<dyn Fn(Duration) -> bool + Send + Sync>;

/// A store that refuses everything while it is down, and counts what it was asked.
struct Service {
    store: MemoryStore,
    clock: Clock,
    began: tokio::time::Instant,
    weather: Weather,
    /// When each request came.
    asked: Mutex<Vec<Duration>>,
}

impl Service {
    async fn ask(&self) -> Result<()> {
        // A request takes its time, so that many are in flight when the service goes away.
        self.clock.sleep(Duration::from_millis(self.clock.random_below(200))).await;
        let now = self.began.elapsed();
        self.asked.lock().expect("not poisoned").push(now);
        if (self.weather)(now) { Err(Error::new(ErrorKind::Unavailable, "connection refused")) } else { Ok(()) }
    }

    fn asked_between(&self, from: Duration, to: Duration) -> usize {
        self.asked.lock().expect("not poisoned").iter().filter(|at| (from..to).contains(*at)).count()
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("oss://b")
    }
}

#[async_trait]
impl Storage for Service {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.store.identity()
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        let (down, pages) = ((self.weather)(self.began.elapsed()), self.store.list(list));
        if down { stream::iter([Err(Error::new(ErrorKind::Unavailable, "connection refused"))]).boxed() } else { pages }
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.ask().await?;
        self.store.head(object).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.ask().await?;
        self.store.stored_part(object, number).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        self.ask().await?;
        let mut output = self.store.get(object, get).await?;
        if object.key == Key::from("long") {
            output.body = slow(output.body, self.clock.clone(), (self.weather)(self.began.elapsed() + Duration::from_secs(60)));
        }
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.ask().await?;
        if key == &Key::from("poisoned") {
            return Err(Error::new(ErrorKind::Unavailable, "connection reset"));
        }
        self.store.put(key, payload, put).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        match (self.weather)(self.began.elapsed()) {
            true => objects.map(|object| (object, Err(Error::new(ErrorKind::Unavailable, "connection refused")))).boxed(),
            false => self.store.delete(objects),
        }
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        None
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        None
    }

    fn presign(&self) -> Option<&dyn Presign> {
        None
    }

    fn details(&self) -> Option<&dyn Details> {
        None
    }

    fn archive(&self) -> Option<&dyn Archive> {
        None
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        None
    }

    fn versions(&self) -> Option<&dyn Versions> {
        None
    }
}

/// The body's first byte, and a minute later the rest, or a broken connection.
fn slow(body: ByteStream, clock: Clock, breaks: bool) -> ByteStream {
    async_stream::stream! {
        let whole = body.try_fold(Vec::new(), |all, chunk| async move { Ok([all, chunk.to_vec()].concat()) }).await.expect("a body in memory");
        yield Ok(bytes::Bytes::copy_from_slice(&whole[..1]));
        clock.sleep(Duration::from_secs(60)).await;
        yield if breaks { Err(Error::new(ErrorKind::Unavailable, "reset")) } else { Ok(bytes::Bytes::copy_from_slice(&whole[1..])) };
    }
    .boxed()
}

struct Scene {
    service: Arc<Service>,
    store: Retry,
    metrics: Arc<Metrics>,
    clock: Clock,
}

fn scene(options: Options, weather: impl Fn(Duration) -> bool + Send + Sync + 'static) -> Scene {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
    let began = clock.instant();
    let service = Service { store: MemoryStore::new("b"), clock: clock.clone(), began, weather: Box::new(weather), asked: Mutex::default() };
    let (service, metrics) = (Arc::new(service), Arc::<Metrics>::default());
    Scene { store: Retry::new(service.clone(), options, clock.clone(), metrics.clone()), service, metrics, clock }
}

impl Scene {
    /// Puts objects from 16 tasks, one after the other in each, until `end`. Gives back what failed, and how many were put.
    async fn put_until(&self, end: Duration) -> (Vec<Error>, usize) {
        let one = |task: usize| async move {
            let (mut failed, mut put) = (Vec::new(), 0);
            while self.service.began.elapsed() < end {
                match self.store.put(&format!("{task}/{put}").into(), "x".into(), Put::default()).await {
                    Ok(_) => put += 1,
                    Err(error) => {
                        failed.push(error);
                        break;
                    }
                }
                self.clock.sleep(Duration::from_secs(1)).await;
            }
            (failed, put)
        };
        let (failed, put): (Vec<_>, Vec<_>) = join_all((0..16).map(one)).await.into_iter().unzip();
        (failed.into_iter().flatten().collect(), put.into_iter().sum())
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn an_outage_of_minutes_fails_nothing_and_costs_few_questions() {
    let scene = scene(Options::default(), |at| (MINUTE..4 * MINUTE).contains(&at));
    let (failed, put) = scene.put_until(5 * MINUTE).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(scene.service.store.list(List::default()).try_fold(0, |n, page| async move { Ok(n + page.len()) }).await.expect("a listing"), put);
    assert_eq!(scene.metrics.outages.get(), 1);
    let settled = scene.service.asked_between(MINUTE + Duration::from_secs(30), 4 * MINUTE);
    assert!((5..15).contains(&settled), "{settled} questions in two and a half minutes, from 16 waiting tasks");
    let late = scene.service.asked_between(4 * MINUTE, 4 * MINUTE + Duration::from_secs(31));
    assert!(late > 16, "all go on within half a minute of its end: {late}");
    let told = Duration::from_millis(scene.metrics.outage_time.get());
    assert!((3 * MINUTE - Duration::from_secs(1)..4 * MINUTE).contains(&told), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_day_is_waited_out_where_nobody_gives_up() {
    let scene = scene(Options { give_up_after: None, ..Options::default() }, |at| (MINUTE..24 * HOUR).contains(&at));
    let (failed, put) = scene.put_until(24 * HOUR + MINUTE).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(put > 16 * 60, "{put}");
    let probes = scene.metrics.outage_probes.get();
    assert!((24 * 120..24 * 260).contains(&probes), "{probes} questions in a day");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_gives_up_together_and_says_why() {
    let scene = scene(Options::default(), |at| at >= MINUTE);
    let (failed, _) = scene.put_until(2 * HOUR).await;
    assert_eq!(failed.len(), 16, "one for each task, not one for each object");
    for error in &failed {
        assert_eq!(error.kind(), ErrorKind::Outage);
        assert!(error.stops_store());
    }
    let text = failed[0].to_string();
    assert!(text.starts_with("put in oss://b: the store has been down since 2026-01-01T00:01:0"), "{text}");
    assert!(text.contains("(15m") && text.contains("connection refused"), "{text}");
    let took = scene.service.began.elapsed();
    assert!((16 * MINUTE..17 * MINUTE).contains(&took), "{took:?}");

    let again = scene.clock.instant();
    let error = scene.store.head(&Key::from("a").into()).await.expect_err("still down");
    assert_eq!(error.kind(), ErrorKind::Outage);
    assert!(again.elapsed() < Duration::from_secs(1), "nobody waits for a store that was given up: {:?}", again.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_given_up_works_once_it_is_back() {
    let scene = scene(Options::default(), |at| (MINUTE..HOUR).contains(&at));
    let (failed, _) = scene.put_until(30 * MINUTE).await;
    assert_eq!(failed.len(), 16);
    scene.clock.sleep(HOUR).await;
    scene.store.put(&"later".into(), "x".into(), Put::default()).await.expect("it is back");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_flaps_fails_nothing() {
    let scene = scene(Options::default(), |at| at > MINUTE && at.as_secs() % 45 > 5);
    let (failed, put) = scene.put_until(HOUR).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(put > 16 * 60, "{put}");
    assert!(scene.metrics.outages.get() > 20, "{}", scene.metrics.outages.get());
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_dropped_midway_passes_to_the_next_who_waits() {
    let scene = scene(Options::default(), |at| (MINUTE..10 * MINUTE).contains(&at));
    scene.store.put(&"first".into(), "contact".into(), Put::default()).await.expect("written");
    scene.clock.sleep(MINUTE).await;
    let put = |key: String| {
        let store = scene.store.clone();
        tokio::spawn(async move { store.put(&key.into(), "x".into(), Put::default()).await })
    };
    let tasks: Vec<_> = (0..8).map(|i| put(format!("a{i}"))).collect();
    scene.clock.sleep(2 * MINUTE).await;
    assert_eq!(scene.metrics.outages.get(), 1);
    // Whoever asks is among these; each is dropped at another point of its question or of its wait.
    for task in &tasks[..7] {
        task.abort();
        scene.clock.sleep(Duration::from_millis(7_110)).await;
    }
    let last = tasks.into_iter().next_back().expect("the last task");
    last.await.expect("not aborted").expect("written when the store was back");
    assert!(scene.service.began.elapsed() < 11 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn one_bad_object_is_no_outage() {
    let scene = scene(Options::default(), |_| false);
    scene.store.put(&"first".into(), "contact".into(), Put::default()).await.expect("written");
    let error = scene.store.put(&"poisoned".into(), "x".into(), Put::default()).await.expect_err("it never works");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(scene.metrics.outages.get(), 0);
    assert!(scene.service.began.elapsed() < 5 * MINUTE, "{:?}", scene.service.began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bodies_listings_and_deletes_wait_too() {
    let scene = scene(Options::default(), |at| (MINUTE..8 * MINUTE).contains(&at));
    scene.store.put(&"long".into(), "all bytes".into(), Put::default()).await.expect("written");
    scene.store.put(&"old".into(), "x".into(), Put::default()).await.expect("written");
    let reading = read(&scene.store, "long");
    let later = async {
        scene.clock.sleep(2 * MINUTE).await;
        let pages: Vec<Page> = scene.store.list(List::default()).try_collect().await.expect("listed");
        let deleted: Vec<_> = scene.store.delete(stream::iter([Key::from("old").into()]).boxed()).collect().await;
        (pages.iter().map(Page::len).sum::<usize>(), deleted.into_iter().all(|(_, deleted)| deleted.is_ok()))
    };
    let deleting = async {
        scene.clock.sleep(2 * MINUTE).await;
        scene.store.delete(stream::iter([Key::from("gone").into()]).boxed()).collect::<Vec<_>>().await
    };
    let (bytes, (listed, deleted), gone) = futures::join!(reading, later, deleting);
    assert_eq!(bytes.expect("read on after the outage"), b"all bytes");
    assert_eq!((listed, deleted), (2, true));
    assert!(gone.iter().all(|(_, deleted)| deleted.is_ok()), "{gone:?}");
    assert!(scene.service.began.elapsed() >= 8 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn deletes_tell_the_outage_that_ended_them() {
    let scene = scene(Options::default(), |at| at > MINUTE);
    scene.store.put(&"a".into(), "x".into(), Put::default()).await.expect("written");
    scene.clock.sleep(2 * MINUTE).await;
    let deleted: Vec<_> = scene.store.delete(stream::iter([Key::from("a").into()]).boxed()).collect().await;
    assert!(matches!(deleted.as_slice(), [(_, Err(e))] if e.kind() == ErrorKind::Outage && e.key() == Some("a")), "{deleted:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_outages_gives_up_each_by_itself() {
    let scene = scene(Options { give_up_after: Some(Duration::ZERO), ..Options::default() }, |at| at > MINUTE);
    scene.store.put(&"a".into(), "x".into(), Put::default()).await.expect("written");
    scene.clock.sleep(2 * MINUTE).await;
    let error = scene.store.head(&Key::from("a").into()).await.expect_err("down");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(scene.metrics.outage_probes.get(), 0);
}
