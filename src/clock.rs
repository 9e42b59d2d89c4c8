//! Time, randomness and ids: the only door through which they enter.
//!
//! Everything that waits, jitters or stamps takes a [`Clock`], so that a test can pause time, move it by an hour or replay a
//! seed. clippy's `disallowed-methods` forbids the other doors. Monotonic time and sleeping go through tokio, whose paused
//! clock the simulation uses; wall time is derived from it, so both move together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A source of time, randomness and ids. Cheap to clone; clones share one state.
#[derive(Debug, Clone)]
pub struct Clock(Arc<State>);

#[derive(Debug)]
struct State {
    wall: Wall,
    random: Mutex<fastrand::Rng>,
}

#[derive(Debug)]
enum Wall {
    System { offset: SignedDuration },
    Simulated { start: Timestamp, base: Instant },
}

impl Clock {
    /// The machine's clock and a random seed.
    pub fn system() -> Self {
        Self::system_with_offset(SignedDuration::ZERO)
    }

    /// The machine's clock moved by `offset`: how tests give a client a wrong clock.
    pub fn system_with_offset(offset: SignedDuration) -> Self {
        Self(Arc::new(State { wall: Wall::System { offset }, random: Mutex::new(system_random()) }))
    }

    /// This clock moved by `offset`, with randomness of its own that is drawn from this one's.
    #[must_use]
    pub fn moved(&self, offset: SignedDuration) -> Self {
        let wall = match &self.0.wall {
            Wall::System { offset: before } => Wall::System { offset: before.saturating_add(offset) },
            Wall::Simulated { start, base } => Wall::Simulated { start: start.saturating_add(offset).unwrap_or(*start), base: *base },
        };
        Self(Arc::new(State { wall, random: Mutex::new(self.random().fork()) }))
    }

    /// A clock that starts at `start`, moves with tokio's (perhaps paused) time, and draws from `seed`.
    /// Must be called within a tokio runtime.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn simulated(start: Timestamp, seed: u64) -> Self {
        Self(Arc::new(State { wall: Wall::Simulated { start, base: Instant::now() }, random: Mutex::new(fastrand::Rng::with_seed(seed)) }))
    }

    /// The wall time.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn now(&self) -> Timestamp {
        match &self.0.wall {
            Wall::System { offset } => Timestamp::now().saturating_add(*offset).unwrap_or(Timestamp::MAX),
            Wall::Simulated { start, base } => {
                start.saturating_add(SignedDuration::try_from(base.elapsed()).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Monotonic time, for measuring and deadlines.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    /// A random number below `limit` (0 where `limit` is 0).
    pub fn random_below(&self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.random().u64(0..limit) }
    }

    /// A random fraction in `[0, 1)`.
    pub fn random_fraction(&self) -> f64 {
        self.random().f64()
    }

    /// A random id of 16 hexadecimal digits.
    pub fn random_id(&self) -> String {
        format!("{:016x}", self.random().u64(..))
    }

    fn random(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn system_random() -> fastrand::Rng {
    fastrand::Rng::new()
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_moves_with_tokio_and_repeats_its_seed() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a valid time");
        let clock = Clock::simulated(start, 7);
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
        assert_eq!(clock.moved(SignedDuration::from_mins(-30)).now().to_string(), "2026-01-01T00:30:00Z");
        let (clock, again) = (Clock::simulated(start, 7), Clock::simulated(start, 7));
        assert_eq!(clock.random_id(), again.random_id());
    }
}
