//! A path in simulated time, and what the gate makes of it: a bottleneck, a round trip, what loss leaves to one connection, and a
//! service that refuses requests beyond a rate; any of which may change while it runs.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::search::Search;
use super::{STREAMS_MAX, Streams};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::storage::retry::Pace;
use crate::transfer::job::Context;

const MBIT: f64 = 1e6 / 8.0;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What a path is like.
#[derive(Clone, Copy)]
struct Path {
    /// Bytes a second through the bottleneck.
    bottleneck: f64,
    /// Bytes a second that one connection reaches at most, give or take a third.
    connection: f64,
    round_trip: Duration,
    /// Requests a second beyond which the service refuses.
    requests: f64,
}

const LAN: Path = Path { bottleneck: 10_000.0 * MBIT, connection: 700.0 * MBIT, round_trip: Duration::from_micros(500), requests: f64::INFINITY };
/// 250 ms and 1 % loss, under BBR and under CUBIC.
const FAR: Path = Path { bottleneck: 200.0 * MBIT, connection: 45.0 * MBIT, round_trip: Duration::from_millis(250), requests: f64::INFINITY };
const LOSSY: Path = Path { connection: 0.86 * MBIT, ..FAR };
const STRICT: Path = Path { bottleneck: 1000.0 * MBIT, connection: 100.0 * MBIT, round_trip: Duration::from_millis(60), requests: 3500.0 };

/// What happened in one second.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    bytes: u64,
    ended: u64,
    refused: u64,
    limit: usize,
}

struct World {
    clock: Clock,
    path: Cell<Path>,
    /// What the connections underway would take together.
    demand: Cell<f64>,
    /// Requests that the service takes now, and when that was reckoned.
    allowance: Cell<(f64, f64)>,
    seconds: RefCell<Vec<Second>>,
    metrics: Arc<Metrics>,
    pace: Pace,
    streams: Streams,
    begun: tokio::time::Instant,
}

impl World {
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn note(&self, note: impl FnOnce(&mut Second)) {
        let mut seconds = self.seconds.borrow_mut();
        seconds.resize(self.now() as usize + 1, Second::default());
        if let Some(second) = seconds.last_mut() {
            note(second);
            second.limit = self.streams.limit();
        }
    }

    /// A lognormal factor with a median of 1.
    fn chance(&self) -> f64 {
        let normal: f64 = (0..12).map(|_| self.clock.random_fraction()).sum::<f64>() - 6.0;
        (0.3 * normal).exp()
    }

    /// Whether the service takes a request now.
    fn takes(&self) -> bool {
        let (allowed, at) = self.allowance.get();
        let rate = self.path.get().requests;
        // A quarter of a second's worth may come at once.
        let allowed = (allowed + (self.now() - at) * rate).min(rate / 4.0);
        let taken = !rate.is_finite() || allowed >= 1.0;
        self.allowance.set((if taken { allowed - 1.0 } else { allowed }, self.now()));
        taken
    }

    /// Makes a request until the service takes it, as the retry layer does.
    async fn request(&self) {
        loop {
            self.pace.turn(&self.clock).await;
            self.metrics.requests.add(1);
            self.clock.sleep(self.path.get().round_trip.mul_f64(self.chance())).await;
            if self.takes() {
                self.pace.worked();
                return;
            }
            self.metrics.throttled.add(1);
            self.metrics.retries.add(1);
            self.pace.throttled(self.clock.instant());
            self.note(|second| second.refused += 1);
            self.clock.sleep(Duration::from_secs(1).mul_f64(self.clock.random_fraction())).await;
        }
    }

    async fn stream(self: Rc<Self>, bytes: u64) {
        let stream = self.streams.open().await.expect("the gate is open");
        self.request().await;
        let (mut left, luck) = (bytes as f64, self.chance());
        while left > 0.0 {
            let wanted = self.path.get().connection * luck;
            self.demand.update(|demand| demand + wanted);
            let rate = wanted * (self.path.get().bottleneck / self.demand.get()).min(1.0);
            // What changes meanwhile is felt half a second later.
            let piece = left.min(rate / 2.0).max(1.0);
            self.clock.sleep(Duration::from_secs_f64(piece / rate)).await;
            self.demand.update(|demand| demand - wanted);
            self.note(|second| second.bytes += piece as u64);
            left -= piece;
        }
        stream.done(bytes);
        self.note(|second| second.ended += 1);
    }
}

/// Moves endless objects over a path that is another one from each of some moments on.
fn run(seconds: u64, paths: &[(u64, Path)], sizes: &[u64], known: Option<usize>) -> Vec<Second> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let metrics = Arc::<Metrics>::default();
        let context = Context { clock: clock.clone(), metrics: metrics.clone(), ..Context::default() };
        let search = Search::new(known, STREAMS_MAX, clock.instant());
        let world = Rc::new(World {
            path: Cell::new(paths[0].1),
            demand: Cell::default(),
            allowance: Cell::default(),
            seconds: RefCell::default(),
            pace: Pace::default(),
            streams: Streams::with(Some(search), 0, &context),
            begun: clock.instant(),
            metrics,
            clock,
        });
        let mut underway = JoinSet::new();
        let mut limits = world.streams.changes();
        let mut pulse = std::pin::pin!(world.streams.look_after());
        let mut end = std::pin::pin!(world.clock.sleep(Duration::from_secs(seconds)));
        loop {
            let now = world.now();
            if let Some((_, path)) = paths.iter().rev().find(|(from, _)| *from as f64 <= now) {
                world.path.set(*path);
            }
            while underway.len() < world.streams.limit() {
                let bytes = sizes[world.clock.random_below(sizes.len() as u64) as usize];
                underway.spawn_local(world.clone().stream(bytes));
            }
            tokio::select! {
                biased;
                _ = &mut end => return world.seconds.take(),
                _ = underway.join_next() => {}
                _ = limits.changed() => {}
                never = &mut pulse => match never {},
            }
        }
    })
}

/// The part of the bottleneck that was used.
fn used(seconds: &[Second], path: Path) -> f64 {
    seconds.iter().map(|second| second.bytes as f64).sum::<f64>() / (seconds.len() as f64 * path.bottleneck)
}

fn refused_share(seconds: &[Second]) -> f64 {
    let (refused, ended) = seconds.iter().fold((0, 0), |(refused, ended), second| (refused + second.refused, ended + second.ended));
    refused as f64 / (refused + ended) as f64
}

/// How far the limit swings: its largest value over its smallest one.
fn swing(seconds: &[Second]) -> f64 {
    let limits = seconds.iter().map(|second| second.limit as f64);
    limits.clone().fold(0.0, f64::max) / limits.fold(f64::INFINITY, f64::min)
}

fn mean_limit(seconds: &[Second]) -> f64 {
    seconds.iter().map(|second| second.limit as f64).sum::<f64>() / seconds.len() as f64
}

/// A run over one path: well used in its second half, and steady.
fn assert_found(seconds: &[Second], path: Path, limits: Range<f64>) {
    let half = &seconds[seconds.len() / 2..];
    let (used, swing, limit) = (used(half, path), swing(half), mean_limit(half));
    assert!(used >= 0.9 && swing <= 1.8 && limits.contains(&limit), "{used:.3} of the path was used by {limit:.0} streams, which swung by {swing:.2}");
}

#[test]
fn a_lossy_road_gets_hundreds_of_streams() {
    assert_found(&run(300, &[(0, LOSSY)], &[MIB], None), LOSSY, 230.0..500.0);
}

#[test]
fn a_far_road_gets_a_few() {
    assert_found(&run(300, &[(0, FAR)], &[8 * MIB], None), FAR, 5.0..20.0);
}

#[test]
fn a_fast_road_gets_no_more_than_it_needs() {
    assert_found(&run(60, &[(0, LAN)], &[8 * MIB], None), LAN, 14.0..25.0);
}

#[test]
fn small_and_large_objects_share_a_path() {
    assert_found(&run(200, &[(0, FAR)], &[4 * KIB, 4 * KIB, 64 * KIB, MIB, 8 * MIB], None), FAR, 10.0..50.0);
}

#[test]
fn a_service_that_throttles_is_kept_just_below_that() {
    let seconds = run(40, &[(0, STRICT)], &[4 * KIB], None);
    let half = &seconds[20..];
    let rate = half.iter().map(|second| second.ended as f64).sum::<f64>() / half.len() as f64;
    assert!(rate >= 0.9 * STRICT.requests, "{rate:.0} objects a second");
    assert!(refused_share(half) < 0.02 && refused_share(&seconds) < 0.03, "{:.4} of the requests were refused", refused_share(half));
    assert!(swing(half) <= 2.0, "{}", swing(half));
}

#[test]
fn streams_so_slow_that_none_ends_are_doubled_unseen() {
    let seconds = run(40, &[(0, LOSSY)], &[8 * MIB], None);
    assert_eq!(seconds.iter().map(|second| second.limit).max(), Some(32), "not one has ended");
}

#[test]
fn a_path_that_worsens_is_yielded_to_and_one_that_recovers_is_taken_again() {
    let worse = Path { bottleneck: FAR.bottleneck / 5.0, ..FAR };
    let seconds = run(600, &[(0, FAR), (150, worse), (350, FAR)], &[8 * MIB], None);
    assert!(used(&seconds[75..150], FAR) >= 0.9 && used(&seconds[200..350], worse) >= 0.9 && used(&seconds[425..], FAR) >= 0.9);
    let (before, during) = (mean_limit(&seconds[75..150]), mean_limit(&seconds[300..350]));
    assert!(during <= 0.6 * before, "{before:.0} streams, and {during:.0} where a fifth was left");
}

#[test]
fn where_each_connection_carries_less_there_are_more() {
    let lossier = Path { connection: FAR.connection / 5.0, ..FAR };
    let seconds = run(500, &[(0, FAR), (100, lossier)], &[8 * MIB], None);
    assert!(used(&seconds[350..], FAR) >= 0.9, "{:.3}", used(&seconds[350..], FAR));
}

#[test]
fn what_is_remembered_saves_the_ramp() {
    let (known, unknown) = (run(60, &[(0, LOSSY)], &[MIB], Some(250)), run(60, &[(0, LOSSY)], &[MIB], None));
    assert!(used(&known, LOSSY) > 0.7 && used(&known, LOSSY) > 3.0 * used(&unknown, LOSSY));
}
