//! How many streams are underway at a time.
//!
//! A *stream* is one small object, or one part of a large one, on its way from the source to the destination; so is a question to a
//! store that decides about a key. All of a run pass one gate, in the order in which they come, so that the parts of a large object and
//! many small objects share the path. The gate is as wide as the operator says, or as [`Search`] finds that it pays.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::job::{Context, Options};
use super::parts::Speed;
use super::progress::Progress;
use super::share::{Place, Share};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::metrics::Metrics;

#[cfg(test)]
mod link;
mod search;

use search::{Answers, SLOW_AFTER, Search};

/// The most streams that a search tries.
pub(crate) const STREAMS_MAX: usize = 512;
/// The memory that a stream takes at the least, in bytes.
const WINDOW_BYTES: u64 = 1 << 20;
/// Descriptors that a stream may take: a connection at each end, and as many again for everything else.
const DESCRIPTORS: u64 = 4;
/// What the journal remembers under these names.
const LEARNED_STREAMS: &str = "streams";
const LEARNED_RATE: &str = "stream_bytes_per_second";

/// The gate that all streams of a run pass. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Streams(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    clock: Clock,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    permits: Semaphore,
    /// What other runs of the process share with this one.
    share: Option<Arc<Share>>,
    width: Mutex<Width>,
    limit: watch::Sender<usize>,
    /// Bytes that a stream moves in a second; 0 where nobody knows.
    stream_rate: AtomicU64,
}

#[derive(Debug)]
struct Width {
    /// `None`: the operator has said how many.
    search: Option<Search>,
    limit: usize,
    /// Permits that are out, and are not to come back.
    owed: usize,
}

/// A stream underway. Dropped without [`Self::done`] it has moved nothing.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
    _place: Option<Place>,
    began: Instant,
    bytes: Option<u64>,
}

impl Streams {
    /// The gate of a run.
    pub(crate) fn new(options: &Options, context: &Context) -> Self {
        let max = streams_max(options.memory_bytes);
        let search = options.concurrency.is_none().then(|| Search::new(None, max, context.clock.instant()));
        Self::with(search, options.concurrency.unwrap_or_default(), context)
    }

    fn with(search: Option<Search>, fixed: usize, context: &Context) -> Self {
        let limit = search.as_ref().map_or(fixed.max(1), Search::limit);
        Self(Arc::new(Gate {
            clock: context.clock.clone(),
            metrics: context.metrics.clone(),
            progress: context.progress.clone(),
            permits: Semaphore::new(limit),
            share: context.share.clone(),
            width: Mutex::new(Width { search, limit, owed: 0 }),
            limit: watch::Sender::new(limit),
            stream_rate: AtomicU64::new(0),
        }))
    }

    /// How many streams may be underway now; at least 1.
    pub(crate) fn limit(&self) -> usize {
        *self.0.limit.borrow()
    }

    /// Tells of each change of the limit.
    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.0.limit.subscribe()
    }

    /// How fast the path is, where that is known.
    pub(crate) fn speed(&self) -> Option<Speed> {
        let stream_bytes_per_second = self.0.stream_rate.load(Ordering::Relaxed);
        (stream_bytes_per_second > 0).then(|| Speed { stream_bytes_per_second, streams: self.limit() as u64 })
    }

    /// Waits, first come first served, until a stream may begin. Safe to drop.
    pub(crate) async fn open(&self) -> Result<Stream<'_>> {
        let gate = &*self.0;
        let permit = match gate.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => gate.permits.acquire().await.map_err(|e| Error::new(ErrorKind::Unexpected, "the gate of the streams was closed").caused_by(e))?,
        };
        let place = match &gate.share {
            Some(share) => Some(share.open().await?),
            None => None,
        };
        let began = gate.clock.instant();
        if let Some(search) = &mut gate.width().search {
            search.began(began);
        }
        Ok(Stream { gate, permit: Some(permit), _place: place, began, bytes: None })
    }

    /// Looks after a path so slow that no stream ends. Never ends: whoever drives streams polls it beside them.
    pub(crate) async fn look_after(&self) -> Infallible {
        let gate = &*self.0;
        if gate.width().search.is_none() {
            return std::future::pending().await;
        }
        loop {
            gate.clock.sleep(SLOW_AFTER).await;
            let passed = gate.progress.moved_bytes.load(Ordering::Relaxed);
            drop(gate.change(|search| search.look_after(gate.clock.instant(), passed)));
        }
    }

    /// Begins where an earlier run on this path has ended.
    pub(crate) async fn recall(&self, journal: &dyn Journal) -> Result<()> {
        if let Some(rate) = journal.learned(LEARNED_RATE).await? {
            self.0.stream_rate.store(rate, Ordering::Relaxed);
        }
        if let Some(known) = journal.learned(LEARNED_STREAMS).await?.and_then(|streams| usize::try_from(streams).ok()) {
            drop(self.0.change(|search| search.recall(known, self.0.clock.instant())));
        }
        Ok(())
    }

    /// Has the journal remember what was found.
    pub(crate) async fn learn(&self, journal: &dyn Journal) -> Result<()> {
        let found = self.0.width().search.as_ref().and_then(Search::found);
        let (Some(streams), Some(speed)) = (found, self.speed()) else { return Ok(()) };
        journal.learn(LEARNED_STREAMS, streams as u64).await?;
        journal.learn(LEARNED_RATE, speed.stream_bytes_per_second).await
    }
}

impl Stream<'_> {
    /// Ends it well, after it moved so many bytes.
    pub(crate) fn done(mut self, bytes: u64) {
        self.bytes = Some(bytes);
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let gate = self.gate;
        let now = gate.clock.instant();
        let mut width = gate.change(|search| {
            search.ended(self.began, now, self.bytes, gate.answers());
            if let Some(rate) = search.stream_rate() {
                gate.stream_rate.store(rate as u64, Ordering::Relaxed);
            }
        });
        if width.owed > 0 {
            width.owed -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

impl Gate {
    fn width(&self) -> MutexGuard<'_, Width> {
        self.width.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> Answers {
        let Metrics { requests, throttled, retries, .. } = &*self.metrics;
        let throttled = throttled.get();
        Answers { requests: requests.get(), throttled, broken: retries.get().saturating_sub(throttled) }
    }

    /// Lets the search learn something, and follows its limit.
    fn change(&self, learn: impl FnOnce(&mut Search)) -> MutexGuard<'_, Width> {
        let mut width = self.width();
        if let Some(search) = &mut width.search {
            learn(search);
            let limit = search.limit();
            if limit != width.limit {
                self.resize(&mut width, limit);
            }
        }
        width
    }

    fn resize(&self, width: &mut Width, limit: usize) {
        if limit > width.limit {
            let more = limit - width.limit;
            let paid = more.min(width.owed);
            width.owed -= paid;
            self.permits.add_permits(more - paid);
        } else {
            let fewer = width.limit - limit;
            width.owed += fewer - self.permits.forget_permits(fewer);
        }
        tracing::debug!(streams = limit, before = width.limit, "the number of streams changes");
        width.limit = limit;
        self.limit.send_replace(limit);
    }
}

/// The most streams that memory and descriptors allow.
fn streams_max(memory_bytes: u64) -> usize {
    let by_memory = usize::try_from(memory_bytes / WINDOW_BYTES).unwrap_or(usize::MAX);
    let by_descriptors = descriptors().map_or(usize::MAX, |open| usize::try_from(open / DESCRIPTORS).unwrap_or(usize::MAX));
    STREAMS_MAX.min(by_memory).min(by_descriptors).max(1)
}

/// How many descriptors this process may have open. `None`: no limit, or nobody knows.
fn descriptors() -> Option<u64> {
    #[cfg(any(feature = "journal", feature = "local", feature = "transport"))]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(any(feature = "journal", feature = "local", feature = "transport")))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::time::Duration;

    fn gate(concurrency: Option<usize>) -> Streams {
        Streams::new(&Options { concurrency, ..Options::default() }, &Context::default())
    }

    async fn opened(streams: &Streams, count: usize) -> Vec<Stream<'_>> {
        futures::future::try_join_all((0..count).map(|_| streams.open())).await.expect("room for all")
    }

    #[tokio::test]
    async fn as_many_as_the_operator_says_are_underway() {
        let streams = gate(Some(3));
        let mut underway = opened(&streams, 3).await;
        assert!(streams.open().now_or_never().is_none());
        underway.pop().expect("three").done(1);
        drop(underway.pop());
        drop(opened(&streams, 2).await);
        assert_eq!((streams.limit(), streams.speed()), (3, None));
    }

    #[tokio::test]
    async fn a_gate_that_narrows_waits_for_those_inside() {
        let streams = gate(Some(8));
        let start = streams.limit();
        let mut underway = opened(&streams, start).await;
        streams.0.resize(&mut streams.0.width(), start - 5);
        underway.drain(..5).for_each(drop);
        assert!(streams.open().now_or_never().is_none(), "five are to go before the next may come");
        underway.pop().expect("some").done(1);
        underway.push(streams.open().now_or_never().expect("room for one").expect("open"));
        streams.0.resize(&mut streams.0.width(), start + 2);
        underway.extend(opened(&streams, 7).await);
        assert!(streams.open().now_or_never().is_none(), "{start} and 2 are in");
        streams.0.resize(&mut streams.0.width(), start);
        streams.0.resize(&mut streams.0.width(), start + 1);
        drop(underway.pop());
        assert!(streams.open().now_or_never().is_none(), "one was owed");
        drop(underway.pop());
        assert!(streams.open().now_or_never().is_some());
    }

    #[cfg(feature = "journal")]
    #[tokio::test(start_paused = true)]
    async fn what_was_found_is_remembered() {
        use crate::journal::{Keep, Pair, RunInfo, StateDir};
        use crate::storage::{location::Location, memory::MemoryStore};

        let state = tempfile::tempdir().expect("a folder");
        let place = |name: &str| Location::new(Arc::new(MemoryStore::new(name)), "");
        let pair = Pair::of(&place("a"), &place("b"));
        let journal = || async { StateDir::new(state.path()).open(&pair, Keep::Full, RunInfo::default(), Clock::system()).await.expect("a journal") };
        let (streams, first) = (gate(None), journal().await);
        streams.recall(&first).await.expect("nothing to recall");
        assert_eq!(streams.limit(), 8);
        while streams.0.width().search.as_ref().is_some_and(|search| search.found().is_none()) {
            let underway = opened(&streams, streams.limit()).await;
            streams.0.clock.sleep(Duration::from_secs(1)).await;
            // The path carries 16 MiB a second.
            let each = (16 << 20) / underway.len() as u64;
            underway.into_iter().for_each(|stream| stream.done(each));
        }
        let found = streams.limit() as u64;
        streams.learn(&first).await.expect("learned");
        first.flush().await.expect("on disk");
        drop(first);
        let (again, second) = (gate(None), journal().await);
        again.recall(&second).await.expect("recalled");
        assert_eq!(again.limit() as u64, found * 3 / 4);
        assert!(again.speed().is_some_and(|speed| (1 << 19..=2 << 20).contains(&speed.stream_bytes_per_second)), "{:?}", again.speed());
    }

    #[test]
    fn memory_bounds_the_streams() {
        assert_eq!(streams_max(16 << 20), 16);
        assert!((1..=STREAMS_MAX).contains(&streams_max(u64::MAX)));
    }
}
