//! Bounds the bytes a second that stores are read and written with, evenly rather than in bursts.
//!
//! A [`Bandwidth`] is one pipe; every store and direction that shares it shares its width. Whoever moves bytes waits for its turn, first
//! come first served, and only the first waits for time: many streams share fairly, and a change of width is felt within one piece.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use super::payload::ByteStream;
use super::{
    Archive, Attributes, Capabilities, Checksums, Complete, Deleted, Details, Get, GetOutput, Identity, Key, Lifecycle, List, Multipart, ObjectInfo, ObjectRef,
    OpenUpload, Page, Part, Payload, Presign, Put, PutOutput, ServerCopy, Storage, StoredPart, Upload, UploadId, Versions, layer,
};
use crate::clock::Clock;
use crate::error::Result;

mod timetable;

pub use timetable::{Timetable, Widths};

/// Bodies are passed on in pieces of what moves in a hundredth of a second, within these bounds in bytes.
const PIECES_A_SECOND: u64 = 100;
const PIECE_BYTES_MIN: u64 = 1 << 10;
const PIECE_BYTES_MAX: u64 = 64 << 10;
/// Time that may be saved up while nothing moves: what a busy machine wakes up late, and too short for a burst.
const SAVED_MAX: Duration = Duration::from_millis(30);
/// How often the wall clock is looked at: it can be set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A pipe of some width. Cheap to clone; clones share it. Its width can change while it is in use.
#[derive(Debug, Clone)]
pub struct Bandwidth(Arc<Pipe>);

#[derive(Debug)]
struct Pipe {
    clock: Clock,
    state: Mutex<State>,
    /// Whoever holds it is the next whose bytes move.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// `None`: no limit.
    bytes_per_second: Option<u64>,
    plan: Option<Plan>,
    /// What was set from outside, until it is undone, whatever the plan says.
    by_hand: bool,
    /// Up to when the pipe is taken.
    taken: Instant,
}

/// Where the width comes from.
#[derive(Debug)]
struct Plan {
    table: Timetable,
    width: fn(&Widths) -> Option<u64>,
    /// When to look there again.
    due: Instant,
}

/// The pipes of one transfer.
#[derive(Debug, Clone, Default)]
pub struct Pipes {
    /// For what is read; `None` is no limit.
    pub read: Option<Bandwidth>,
    /// For what is written.
    pub write: Option<Bandwidth>,
}

impl Pipes {
    /// Pipes as wide as a timetable says. Must be called within a tokio runtime.
    pub fn new(clock: &Clock, table: &Timetable) -> Self {
        let pipe = |width| Bandwidth::with(clock.clone(), None, Some(Plan { table: table.clone(), width, due: clock.instant() }));
        let (read, write) = table.limits();
        Self { read: read.then(|| pipe(|widths| widths.read)), write: write.then(|| pipe(|widths| widths.write)) }
    }

    /// Pipes as wide as a timetable says, or without a limit, that can be made narrower while they are in use.
    pub fn adjustable(clock: &Clock, table: Option<&Timetable>) -> Self {
        let Self { read, write } = table.map(|table| Self::new(clock, table)).unwrap_or_default();
        let read = read.or_else(|| Some(Bandwidth::new(clock.clone(), None)));
        Self { read, write }
    }

    /// Limits what is read, and with it what is written, whatever a timetable says. `None` is no limit.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        self.read.iter().for_each(|pipe| pipe.set(bytes_per_second));
    }

    /// Undoes [`Self::set`].
    pub fn reset(&self) {
        self.read.iter().for_each(Bandwidth::reset);
    }
}

impl Bandwidth {
    /// A pipe that carries so many bytes a second, or any number. Must be called within a tokio runtime.
    pub fn new(clock: Clock, bytes_per_second: Option<u64>) -> Self {
        Self::with(clock, bytes_per_second, None)
    }

    fn with(clock: Clock, bytes_per_second: Option<u64>, plan: Option<Plan>) -> Self {
        let taken = clock.instant();
        Self(Arc::new(Pipe { clock, state: Mutex::new(State { bytes_per_second, plan, by_hand: false, taken }), turn: tokio::sync::Mutex::default() }))
    }

    /// Changes the width for all bytes that have not moved yet, whatever a timetable says.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        let mut state = self.state(self.0.clock.instant());
        (state.bytes_per_second, state.by_hand) = (bytes_per_second, true);
    }

    /// Undoes [`Self::set`]: the timetable rules again; where there is none, there is no limit.
    pub fn reset(&self) {
        let now = self.0.clock.instant();
        let mut state = self.state(now);
        (state.bytes_per_second, state.by_hand) = (None, false);
        if let Some(plan) = &mut state.plan {
            plan.due = now;
        }
    }

    /// Waits until `bytes` may move. Dropped while it waits, they are not counted.
    pub async fn take(&self, bytes: usize) {
        let clock = &self.0.clock;
        if self.state(clock.instant()).bytes_per_second.is_none() {
            return;
        }
        let _turn = self.0.turn.lock().await;
        loop {
            let now = clock.instant();
            let wait = self.state(now).wait(bytes, now);
            match wait {
                Some(wait) => clock.sleep(wait).await,
                None => return,
            }
        }
    }

    /// Whether there is a limit at this moment. A body that begins without one ends without one.
    fn is_limited(&self) -> bool {
        self.state(self.0.clock.instant()).bytes_per_second.is_some()
    }

    /// The largest piece that may move at once, in bytes.
    fn piece_bytes(&self) -> usize {
        let width = self.state(self.0.clock.instant()).bytes_per_second;
        width.map_or(PIECE_BYTES_MAX, |width| (width / PIECES_A_SECOND).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)) as usize
    }

    /// The state, with the width of this moment.
    fn state(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { bytes_per_second, plan, by_hand, .. } = &mut *state;
        if let Some(plan) = plan.as_mut().filter(|plan| plan.due <= now && !*by_hand) {
            let wall = self.0.clock.now();
            let (widths, next) = plan.table.at(wall);
            let left = next.and_then(|next| Duration::try_from(next.duration_since(wall)).ok()).unwrap_or(LOOK_EVERY);
            *bytes_per_second = (plan.width)(&widths);
            plan.due = now + left.min(LOOK_EVERY);
        }
        state
    }

    fn stream(&self, body: ByteStream) -> ByteStream {
        stream::unfold((body, Bytes::new(), self.clone()), |(mut body, mut rest, pipe)| async move {
            if rest.is_empty() {
                rest = match body.next().await? {
                    Ok(chunk) => chunk,
                    Err(error) => return Some((Err(error), (body, rest, pipe))),
                };
            }
            let piece = rest.split_to(rest.len().min(pipe.piece_bytes()));
            pipe.take(piece.len()).await;
            Some((Ok(piece), (body, rest, pipe)))
        })
        .boxed()
    }

    fn payload(&self, payload: Payload) -> Payload {
        let pipe = self.clone();
        Payload::from_source(payload.len(), move || {
            let (pipe, payload) = (pipe.clone(), payload.clone());
            Box::pin(async move { Ok(pipe.stream(payload.stream().await?)) })
        })
    }
}

impl State {
    /// Takes the pipe for so many bytes; or tells how long to wait before asking again.
    fn wait(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        let width = self.bytes_per_second?;
        let begin = self.taken.max(now.checked_sub(SAVED_MAX).unwrap_or(now));
        if begin > now {
            // A wider pipe may come before.
            let change =
                self.plan.as_ref().filter(|_| !self.by_hand).map_or(LOOK_EVERY, |plan| plan.due.saturating_duration_since(now).max(Duration::from_millis(1)));
            return Some((begin - now).min(change));
        }
        self.taken = begin + Duration::from_secs_f64(bytes as f64 / width.max(1) as f64);
        None
    }
}

/// A store whose bodies go through a pipe, in either direction. Requests themselves are not delayed.
#[derive(Clone)]
pub struct Limit {
    inner: Arc<dyn Storage>,
    read: Option<Bandwidth>,
    write: Option<Bandwidth>,
}

impl Limit {
    /// Wraps a store. Stands below [`super::retry`]: what is sent again takes its time again, since the limit is for bytes on the wire.
    pub fn new(inner: Arc<dyn Storage>, read: Option<Bandwidth>, write: Option<Bandwidth>) -> Self {
        Self { inner, read, write }
    }

    fn outgoing(&self, payload: Payload) -> Payload {
        match &self.write {
            Some(pipe) if pipe.is_limited() => pipe.payload(payload),
            _ => payload,
        }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limit").field(&self.inner).finish()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl Storage for Limit {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        self.inner.list(list)
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.inner.head(object).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.inner.stored_part(object, number).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let mut output = self.inner.get(object, get).await?;
        if let Some(pipe) = self.read.as_ref().filter(|pipe| pipe.is_limited()) {
            output.body = pipe.stream(output.body);
        }
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.inner.put(key, self.outgoing(payload), put).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        self.inner.delete(objects)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        self.inner.multipart().map(|_| self as &dyn Multipart)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        self.inner.server_copy()
    }

    fn presign(&self) -> Option<&dyn Presign> {
        self.inner.presign()
    }

    fn details(&self) -> Option<&dyn Details> {
        self.inner.details()
    }

    fn archive(&self) -> Option<&dyn Archive> {
        self.inner.archive()
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        self.inner.lifecycle()
    }

    fn versions(&self) -> Option<&dyn Versions> {
        self.inner.versions()
    }
}

#[async_trait]
impl Multipart for Limit {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        layer::multipart(&*self.inner)?.create(key, attributes).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        layer::multipart(&*self.inner)?.upload_part(upload, number, self.outgoing(payload), checksums).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        layer::multipart(&*self.inner)?.list_parts(upload).await
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        layer::multipart(&*self.inner)?.complete(upload, parts, complete).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        layer::multipart(&*self.inner)?.abort(upload).await
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        match layer::multipart(&*self.inner) {
            Ok(below) => below.list_uploads(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStore;

    async fn copy(store: &Limit, key: &str, len: usize) {
        store.put(&key.into(), vec![0; len].into(), Put::default()).await.expect("written");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_over_many_streams() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let pipe = Bandwidth::new(clock.clone(), Some(1_000_000));
        let store = Limit::new(Arc::new(MemoryStore::new("b")), Some(pipe.clone()), Some(pipe.clone()));
        let began = clock.instant();
        futures::future::join_all((0..10).map(|i| copy(&store, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][i], 1_000_000))).await;
        let took = began.elapsed().as_secs_f64();
        assert!((9.5..10.5).contains(&took), "10 MB at 1 MB/s took {took} s");
        pipe.set(None);
        let began = clock.instant();
        copy(&store, "k", 5_000_000).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "the limit was lifted while in use");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_followed_by_a_burst() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let pipe = Bandwidth::new(clock.clone(), Some(1_000_000));
        clock.sleep(Duration::from_secs(60)).await;
        let began = clock.instant();
        for _ in 0..20 {
            pipe.take(50_000).await;
        }
        pipe.take(1).await;
        assert!(began.elapsed() >= Duration::from_millis(900), "1 MB took {:?}", began.elapsed());
    }

    /// When how many bytes moved.
    type Moves = Arc<Mutex<Vec<(Duration, usize)>>>;

    /// Reads endless bodies, so many at a time.
    async fn read(pipe: &Bandwidth, clock: &Clock, streams: usize, span: Duration) -> Vec<(Duration, usize)> {
        let (moves, begun, chunk) = (Moves::default(), clock.instant(), Bytes::from(vec![0; 1 << 20]));
        let reading = futures::future::join_all((0..streams).map(|_| async {
            let endless = stream::repeat(chunk.clone()).map(Ok).boxed();
            let mut body = pipe.stream(endless);
            while let Some(Ok(piece)) = body.next().await {
                moves.lock().expect("a list").push((begun.elapsed(), piece.len()));
            }
        }));
        tokio::select! {
            biased;
            _ = reading => unreachable!("it is endless"),
            () = clock.sleep(span) => {}
        }
        moves.lock().expect("a list").clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_width_is_kept_to_five_percent_and_without_bursts() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        for (width, streams) in [(125_000, 1), (125_000, 50), (2_500_000, 8), (125_000_000, 1), (125_000_000, 64)] {
            let pipe = Bandwidth::new(clock.clone(), Some(width));
            // What was not used before is no credit.
            clock.sleep(Duration::from_secs(5)).await;
            let moved = read(&pipe, &clock, streams, Duration::from_secs(10)).await;
            let rate = moved.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / 10.0;
            assert!((rate / width as f64 - 1.0).abs() < 0.05, "{rate} of {width} bytes a second, {streams} streams");
            let (mut from, mut window) = (0, 0);
            for (until, bytes) in &moved {
                window += bytes;
                while moved[from].0 + Duration::from_millis(100) <= *until {
                    window -= moved[from].1;
                    from += 1;
                }
                assert!(window as f64 <= 1.5 * width as f64 / 10.0, "{window} bytes within 100 ms at {width} bytes a second, {streams} streams");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timetable_is_followed_while_bodies_move() {
        let clock = Clock::simulated("2026-01-01T07:59:50Z".parse().expect("a time"), 1);
        let entry = |hour, read| (jiff::civil::Time::constant(hour, 0, 0, 0), Widths { read, write: None });
        let table = Timetable::daily(vec![entry(8, Some(1_000_000)), entry(9, None), entry(20, Some(10_000))], jiff::tz::TimeZone::UTC).expect("entries");
        let pipes = Pipes::new(&clock, &table);
        assert!(pipes.write.is_none());
        let pipe = pipes.read.expect("limited");
        let moved = read(&pipe, &clock, 16, Duration::from_secs(20)).await;
        let between = |from: u64, until: u64| {
            let within = |at: &Duration| (Duration::from_secs(from)..Duration::from_secs(until)).contains(at);
            moved.iter().filter(|(at, _)| within(at)).map(|(_, bytes)| *bytes).sum::<usize>()
        };
        assert!((95_000..=105_000).contains(&between(0, 10)), "{}", between(0, 10));
        assert!((9_500_000..=10_500_000).contains(&between(10, 20)), "{}", between(10, 20));
        clock.sleep(Duration::from_secs(3600)).await;
        let begun = clock.instant();
        pipe.take(1 << 30).await;
        pipe.take(1 << 30).await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "nine is past");
    }

    #[tokio::test]
    async fn the_layer_keeps_the_contract() {
        let wide = Bandwidth::new(Clock::system(), Some(u64::MAX));
        let limit = Limit::new(Arc::new(MemoryStore::new("b")), Some(wide.clone()), Some(wide));
        conformance::suite(Arc::new(limit), &Key::EMPTY).await.expect("the contract holds");
    }
}
