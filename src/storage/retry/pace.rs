//! The request rate of one account at one service: free until the service asks for a slower pace, then a token bucket.
//!
//! One throttle may be chance. Where a second comes after [`MEASURED`] or later, the requests that worked since the first tell what the
//! service takes, and requests keep to a little less than that. The rate then grows by itself, first slowly, and after a while
//! without throttles faster, until it binds nothing any more and is lifted. (performance.md 4)

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// How long the requests that work are counted before a rate is made of them.
const MEASURED: Duration = Duration::from_secs(1);
/// How long a rate holds before the next cut: a service that throttles by chance must not bring it down to nothing.
const HELD: Duration = Duration::from_secs(5);
/// Throttles further apart than this have nothing to do with each other.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// The rate after a cut, as a part of what worked.
const CUT: f64 = 0.97;
/// Growth a second, and that after [`CLEAN`] without a throttle.
const GROWTH: f64 = 0.01;
const GROWTH_CLEAN: f64 = 0.03;
const CLEAN: Duration = Duration::from_secs(10);
/// A rate that has grown to so many times what it was cut to is lifted.
const LIFTED: f64 = 8.0;
/// The least rate, in requests a second: below it nothing would ever end.
const RATE_MIN: f64 = 4.0;
/// Tokens that may be saved up, in seconds of the rate.
const SAVED: Duration = Duration::from_millis(50);

/// The pace of one account. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Requests that worked.
    worked: AtomicU64,
    /// Whether there is a bucket: the usual request takes no lock.
    bound: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When a throttle began a measurement, and how many requests had worked by then.
    mark: Option<(Instant, u64)>,
    last_throttle: Option<Instant>,
    bucket: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Requests a second right after the cut.
    rate: f64,
    cut: Instant,
    last_throttle: Instant,
    /// Up to when tokens are taken.
    taken: Instant,
}

impl Pace {
    /// Waits until a request may be made. Dropped while it waits, its token is lost.
    pub async fn turn(&self, clock: &Clock) {
        if !self.0.bound.load(Ordering::Relaxed) {
            return;
        }
        let wait = self.wait(clock.instant());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    /// Notes a request that worked.
    pub fn worked(&self) {
        self.0.worked.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the service asked for a slower pace.
    pub fn throttled(&self, now: Instant) {
        let worked = self.0.worked.load(Ordering::Relaxed);
        let mut state = self.state();
        let fresh = state.last_throttle.is_none_or(|last| now - last > FORGOTTEN);
        state.last_throttle = Some(now);
        if let Some(bucket) = &mut state.bucket {
            bucket.last_throttle = now;
            if now - bucket.cut < HELD {
                return;
            }
        }
        match state.mark {
            Some((since, before)) if !fresh && now - since >= MEASURED => {
                let rate = (worked - before) as f64 / (now - since).as_secs_f64();
                let rate = state.bucket.as_ref().map_or(rate, |bucket| bucket.rate_at(now).min(rate));
                state.mark = None;
                state.bucket = Some(Bucket { rate: (CUT * rate).max(RATE_MIN), cut: now, last_throttle: now, taken: now });
                self.0.bound.store(true, Ordering::Relaxed);
            }
            Some(_) if !fresh => {}
            _ => state.mark = Some((now, worked)),
        }
    }

    fn wait(&self, now: Instant) -> Duration {
        let mut state = self.state();
        let Some(bucket) = &mut state.bucket else { return Duration::ZERO };
        let rate = bucket.rate_at(now);
        if rate > LIFTED * bucket.rate {
            state.bucket = None;
            self.0.bound.store(false, Ordering::Relaxed);
            return Duration::ZERO;
        }
        let turn = bucket.taken.max(now.checked_sub(SAVED).unwrap_or(now));
        bucket.taken = turn + Duration::from_secs_f64(1.0 / rate);
        turn.saturating_duration_since(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn rate_at(&self, now: Instant) -> f64 {
        let grown = |growth: f64, span: Duration| (1.0 + growth).powf(span.as_secs_f64());
        let clean_from = self.last_throttle + CLEAN;
        let slow = clean_from.min(now).saturating_duration_since(self.cut);
        self.rate * grown(GROWTH, slow) * grown(GROWTH_CLEAN, now.saturating_duration_since(clean_from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Requests for so long as fast as the pace lets them, of which the service takes so many a second; how many it took.
    async fn press(pace: &Pace, clock: &Clock, span: Duration, taken_a_second: f64) -> f64 {
        let (begun, mut taken) = (clock.instant(), 0.0);
        while begun.elapsed() < span {
            clock.sleep(Duration::from_millis(1)).await;
            pace.turn(clock).await;
            if taken / begun.elapsed().as_secs_f64() < taken_a_second {
                taken += 1.0;
                pace.worked();
            } else {
                pace.throttled(clock.instant());
            }
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn one_throttle_is_chance() {
        let (pace, clock) = (Pace::default(), Clock::system());
        for _ in 0..5 {
            pace.throttled(clock.instant());
            clock.sleep(FORGOTTEN + seconds(1)).await;
        }
        let begun = clock.instant();
        pace.turn(&clock).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_keep_to_what_the_service_takes() {
        let (pace, clock) = (Pace::default(), Clock::system());
        press(&pace, &clock, seconds(3), 100.0).await;
        let taken = press(&pace, &clock, seconds(60), 100.0).await;
        assert!((5_500.0..=6_000.0).contains(&taken), "{taken} in a minute");
        let less = press(&pace, &clock, seconds(60), 20.0).await;
        assert!((1_000.0..=1_200.0).contains(&less), "{less} in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_that_nobody_asks_for_any_more_is_lifted() {
        let (pace, clock) = (Pace::default(), Clock::system());
        press(&pace, &clock, seconds(3), 100.0).await;
        assert!(pace.0.bound.load(Ordering::Relaxed));
        let taken = press(&pace, &clock, seconds(120), f64::INFINITY).await;
        assert!(!pace.0.bound.load(Ordering::Relaxed), "{taken} in two minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_by_chance_do_not_bring_it_to_nothing() {
        let (pace, clock) = (Pace::default(), Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1));
        let (begun, mut made) = (clock.instant(), 0);
        while begun.elapsed() < seconds(600) {
            clock.sleep(Duration::from_millis(10)).await;
            pace.turn(&clock).await;
            made += 1;
            if clock.random_below(50) == 0 { pace.throttled(clock.instant()) } else { pace.worked() }
        }
        assert!(made > 600 * 20, "{made} of 60000 that were wanted");
    }
}
