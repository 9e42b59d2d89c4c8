//! The time that what is stored lives in: the server's clock, and the days that a test lets pass on top of it.
//!
//! Last-Modified, lifecycle rules and restored copies go by it. Signatures do not: a client whose clock is right is never told that it
//! is skewed, however much time has passed here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// A day as it is outside.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A clock whose days can be shortened and passed over. Cheap to clone; clones share the time that has passed.
#[derive(Debug, Clone)]
pub struct Calendar {
    clock: Clock,
    day_millis: i64,
    passed_millis: Arc<AtomicI64>,
}

impl Calendar {
    /// A calendar whose days last as long as `day`, at least a millisecond.
    pub fn new(clock: Clock, day: Duration) -> Self {
        Self { clock, day_millis: millis(day).max(1), passed_millis: Arc::default() }
    }

    /// The clock below: of ids and waiting.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time, with what has passed.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::from_millis(self.passed_millis.load(Ordering::Acquire));
        self.clock.now().saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// Lets time pass at once.
    pub fn pass(&self, time: Duration) {
        self.passed_millis.fetch_add(millis(time), Ordering::AcqRel);
    }

    /// The number of the day that a time lies in.
    pub(super) fn day_of(&self, time: Timestamp) -> i64 {
        time.as_millisecond().div_euclid(self.day_millis)
    }

    /// The first midnight that lies at least so many days after a time. Both services count a rule's days so.
    pub(super) fn midnight_after(&self, time: Timestamp, days: i64) -> Timestamp {
        let began = time.as_millisecond().saturating_add(days.saturating_mul(self.day_millis));
        let midnight = began.div_euclid(self.day_millis) + i64::from(began.rem_euclid(self.day_millis) > 0);
        Timestamp::from_millisecond(midnight.saturating_mul(self.day_millis)).unwrap_or(Timestamp::MAX)
    }

    /// How long so many days last.
    pub(super) fn days(&self, days: i64) -> SignedDuration {
        SignedDuration::from_millis(days.saturating_mul(self.day_millis))
    }
}

impl From<Clock> for Calendar {
    /// Days as they are outside.
    fn from(clock: Clock) -> Self {
        Self::new(clock, DAY)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a valid time")
    }

    #[test]
    fn days_are_counted_to_the_midnight_after_them() {
        // S3's own example: three days from 10:30 of the 15th end at the midnight that begins the 19th.
        let calendar = Calendar::from(Clock::system());
        assert_eq!(calendar.midnight_after(time("2014-01-15T10:30:00Z"), 3), time("2014-01-19T00:00:00Z"));
        assert_eq!(calendar.midnight_after(time("2014-01-15T00:00:00Z"), 3), time("2014-01-18T00:00:00Z"));
        let hasty = Calendar::new(Clock::system(), Duration::from_secs(2));
        assert_eq!(hasty.midnight_after(time("2014-01-15T10:30:01Z"), 3), time("2014-01-15T10:30:08Z"));
        assert_eq!(hasty.days(3), SignedDuration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_what_has_passed() {
        let calendar = Calendar::from(Clock::simulated(time("2026-01-01T00:00:00Z"), 1));
        let other = calendar.clone();
        calendar.pass(DAY * 2);
        assert_eq!(other.now(), time("2026-01-03T00:00:00Z"));
        assert_eq!(other.day_of(other.now()) - other.day_of(time("2026-01-01T12:00:00Z")), 2);
    }
}
