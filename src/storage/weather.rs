//! Weather: what goes wrong by chance, and outages by the clock.
//!
//! A [`FaultLayer`](super::fault::FaultLayer) is told single faults, or put into weather, or both. Weather is data: chances from 0.0
//! to 1.0 for each call (a listing: each page), drawn from the layer's [`Clock`], so that a seed repeats it call by call.

use std::time::Duration;

use super::fault::Effect;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};

/// How bad the weather is. The default is calm.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weather {
    /// The call fails as if the connection were refused or reset: nothing happens.
    pub refused: f64,
    /// The service asks for a slower pace, every second time saying how long to wait.
    pub throttled: f64,
    /// The call hangs for [`Self::stall`] and then fails, as a silent connection does.
    pub stalled: f64,
    /// How long a call hangs that stalls.
    pub stall: Duration,
    /// The call is done, but its answer is lost.
    pub lost: f64,
    /// A body that is read breaks off somewhere, every second time without an error.
    pub cut: f64,
    /// A bit of a body flips on the way, either way: the checksums that were sent with it show it.
    pub flipped: f64,
    /// A bit of a written body flips behind the store's checks: only what the store states afterwards shows it.
    pub stored_flipped: f64,
    /// The longest that a call waits before it is looked at, and its answer after that.
    pub latency_max: Duration,
    /// When nothing answers at all.
    pub outages: Vec<Outage>,
}

/// A time without any answer, counted from when the weather began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub after: Duration,
    /// How long it lasts.
    pub length: Duration,
}

/// The longest wait that a service names when it asks for a slower pace.
const NAMED_WAIT_MAX: Duration = Duration::from_secs(10);

impl Weather {
    /// What befalls a call, `age` after this weather began.
    pub(super) fn strike(&self, age: Duration, clock: &Clock) -> Vec<Effect> {
        if self.outages.iter().any(|outage| age >= outage.after && age - outage.after < outage.length) {
            return vec![Effect::Fail(unavailable("an outage: no answer"))];
        }
        let mut effects = Vec::new();
        if !self.latency_max.is_zero() {
            effects.push(Effect::Delay(self.latency_max.mul_f64(clock.random_fraction())));
            effects.push(Effect::Late(self.latency_max.mul_f64(clock.random_fraction())));
        }
        if struck(self.stalled, clock) {
            effects.push(Effect::Delay(self.stall));
            effects.push(Effect::Fail(unavailable("the connection went silent")));
        }
        if struck(self.refused, clock) {
            effects.push(Effect::Fail(unavailable("the connection was refused")));
        }
        if struck(self.throttled, clock) {
            let slow = Error::new(ErrorKind::Throttled, "slow down");
            let named = clock.random_below(2) == 0;
            effects.push(Effect::Fail(if named { slow.retry_after(NAMED_WAIT_MAX.mul_f64(clock.random_fraction())) } else { slow }));
        }
        if struck(self.lost, clock) {
            effects.push(Effect::LoseAnswer(unavailable("the connection was reset before the answer")));
        }
        effects
    }

    /// What befalls a body of `len` bytes that is read.
    pub(super) fn strike_read(&self, len: u64, clock: &Clock) -> Vec<Effect> {
        let mut effects = Vec::new();
        if struck(self.cut, clock) {
            let error = (clock.random_below(2) == 0).then(|| unavailable("the connection was reset midway"));
            effects.push(Effect::Truncate { at: clock.random_below(len), error });
        }
        if struck(self.flipped, clock) {
            effects.push(Effect::Flip { at: clock.random_below(len) });
        }
        effects
    }

    /// What befalls a body of `len` bytes that is written.
    pub(super) fn strike_write(&self, len: u64, clock: &Clock) -> Vec<Effect> {
        let mut effects = Vec::new();
        if struck(self.flipped, clock) {
            effects.push(Effect::Flip { at: clock.random_below(len) });
        }
        if struck(self.stored_flipped, clock) {
            effects.push(Effect::FlipStored { at: clock.random_below(len) });
        }
        effects
    }
}

/// What cannot happen draws nothing, so that calm weather leaves the clock's randomness alone.
fn struck(chance: f64, clock: &Clock) -> bool {
    chance > 0.0 && clock.random_fraction() < chance
}

fn unavailable(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::fault::FaultLayer;
    use crate::storage::memory::MemoryStore;
    use crate::storage::{Key, Payload, Put, Storage};

    fn clock(seed: u64) -> Clock {
        Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), seed)
    }

    async fn calls(weather: Weather, seed: u64, count: usize) -> Vec<Option<ErrorKind>> {
        let layer = FaultLayer::new(Arc::new(MemoryStore::new("b")), clock(seed), []);
        layer.set_weather(weather);
        let mut kinds = Vec::new();
        for _ in 0..count {
            kinds.push(layer.put(&Key::from("k"), Payload::from("x"), Put::default()).await.err().map(|e| e.kind()));
        }
        kinds
    }

    #[tokio::test(start_paused = true)]
    async fn chances_are_kept_and_a_seed_repeats_them() {
        let weather = Weather { refused: 0.1, throttled: 0.1, lost: 0.1, latency_max: Duration::from_millis(20), ..Weather::default() };
        let kinds = calls(weather.clone(), 7, 2000).await;
        let count = |kind| kinds.iter().filter(|k| **k == Some(kind)).count();
        assert!((150..250).contains(&count(ErrorKind::Throttled)), "{}", count(ErrorKind::Throttled));
        assert!((300..460).contains(&count(ErrorKind::Unavailable)), "{}", count(ErrorKind::Unavailable));
        assert_eq!(calls(weather.clone(), 7, 2000).await, kinds);
        assert_ne!(calls(weather, 8, 2000).await, kinds);
        assert!(calls(Weather::default(), 7, 100).await.iter().all(Option::is_none));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_begins_and_ends_by_the_clock() {
        let clock = clock(1);
        let layer = FaultLayer::new(Arc::new(MemoryStore::new("b")), clock.clone(), []);
        layer.put(&Key::from("k"), Payload::from("x"), Put::default()).await.expect("put");
        let (minute, key) = (Duration::from_secs(60), Key::from("k").into());
        layer.set_weather(Weather { outages: vec![Outage { after: minute, length: minute }], ..Weather::default() });
        layer.head(&key).await.expect("before");
        clock.sleep(minute).await;
        assert_eq!(layer.head(&key).await.expect_err("during").kind(), ErrorKind::Unavailable);
        clock.sleep(minute).await;
        layer.head(&key).await.expect("after");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_takes_its_time_and_latency_stays_within_its_bound() {
        let clock = clock(1);
        let layer = FaultLayer::new(Arc::new(MemoryStore::new("b")), clock.clone(), []);
        let begun = clock.instant();
        layer.set_weather(Weather { stalled: 1.0, stall: Duration::from_secs(60), ..Weather::default() });
        layer.head(&Key::from("k").into()).await.expect_err("stalled");
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        layer.set_weather(Weather { latency_max: Duration::from_millis(5), ..Weather::default() });
        for _ in 0..100 {
            let begun = clock.instant();
            layer.put(&Key::from("k"), Payload::from("x"), Put::default()).await.expect("put");
            // The timer counts in milliseconds and rounds up.
            assert!(begun.elapsed() <= Duration::from_millis(12), "{:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_struck_within_their_length() {
        let (clock, weather) = (clock(1), Weather { cut: 1.0, flipped: 1.0, stored_flipped: 1.0, ..Weather::default() });
        for len in [1, 2, 1000] {
            let strikes = weather.strike_read(len, &clock).into_iter().chain(weather.strike_write(len, &clock));
            let places: Vec<u64> = strikes
                .map(|effect| match effect {
                    Effect::Truncate { at, .. } | Effect::Flip { at } | Effect::FlipStored { at } => at,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(places.len() == 4 && places.iter().all(|at| *at < len), "{places:?}");
        }
    }
}
