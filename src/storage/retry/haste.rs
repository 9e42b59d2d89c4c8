//! Which answer is overdue: requests that take several times as long as almost all of their kind are made again.
//!
//! A service, or a middlebox on the road to it, sometimes swallows a request: one in a thousand uploads of a part takes seconds, and a lost
//! connection is silent until the read timeout (performance.md 3). Kinds are told apart by operation and size, since nothing else says
//! how long is long. An attempt that is cut off counts with the time it had, so that a road that becomes slow soon raises the limit; and
//! cuts are paid for by requests that end, one in [`EARNED_BY`], so that they stay rare whatever happens.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::storage::layer::Operation;

/// No answer is overdue before that: shorter hiccups are not worth a second request.
const LEAST: Duration = Duration::from_secs(2);
/// An answer is overdue after so many times what 99 of 100 requests of its kind take.
const TIMES: u32 = 3;
/// Requests of a kind that must have ended before any of it is cut off.
const KNOWN_FROM: u32 = 50;
/// Requests that pay for one cut, and how many cuts may be saved up.
const EARNED_BY: f64 = 50.0;
const SAVED_MAX: f64 = 8.0;
/// Beyond so many requests of a kind the older half of its history fades.
const REMEMBERED: u32 = 2000;
/// The limit is computed again after so many requests.
const EVERY: u32 = 16;

/// Times are counted in quarters of an octave, from a millisecond up to five hours.
const FIRST: Duration = Duration::from_millis(1);
const BUCKETS: usize = 96;
/// Sizes are told apart by octaves.
const SIZES: usize = 44;

/// What is known of one store's requests.
#[derive(Debug)]
pub(super) struct Haste(Mutex<State>);

#[derive(Debug)]
struct State {
    kinds: Vec<Option<Box<Kind>>>,
    cuts: f64,
}

#[derive(Debug, Clone)]
struct Kind {
    counts: [u16; BUCKETS],
    total: u32,
    since: u32,
    limit: Option<Duration>,
}

impl Haste {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { kinds: vec![None; Operation::ALL.len() * SIZES], cuts: 1.0 }))
    }

    /// After how long an answer is overdue. `None`: nobody knows, or such a request is not safe to make twice.
    pub(super) fn limit(&self, operation: Operation, bytes: u64) -> Option<Duration> {
        if !matches!(operation, Operation::List | Operation::Head | Operation::Get | Operation::Put | Operation::UploadPart | Operation::ListParts) {
            return None;
        }
        self.state().kinds[index(operation, bytes)].as_ref().and_then(|kind| kind.limit)
    }

    /// Notes a request that was answered.
    pub(super) fn ended(&self, operation: Operation, bytes: u64, took: Duration) {
        let mut state = self.state();
        state.cuts = (state.cuts + 1.0 / EARNED_BY).min(SAVED_MAX);
        state.kinds[index(operation, bytes)].get_or_insert_default().count(took);
    }

    /// Whether a request that has taken so long may be cut off; counts it if so.
    pub(super) fn cut(&self, operation: Operation, bytes: u64, took: Duration) -> bool {
        let mut state = self.state();
        if state.cuts < 1.0 {
            return false;
        }
        state.cuts -= 1.0;
        state.kinds[index(operation, bytes)].get_or_insert_default().count(took);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, since: EVERY, limit: None }
    }
}

impl Kind {
    fn count(&mut self, took: Duration) {
        let octaves = (took.as_secs_f64() / FIRST.as_secs_f64()).max(1.0).log2();
        let bucket = ((octaves * 4.0) as usize).min(BUCKETS - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.total += 1;
        if self.total >= REMEMBERED {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        self.since += 1;
        if self.since >= EVERY && self.total >= KNOWN_FROM {
            self.since = 0;
            self.limit = Some((self.longest() * TIMES).max(LEAST));
        }
    }

    /// What 99 of 100 requests take at the most.
    fn longest(&self) -> Duration {
        let mut beyond = self.total / 100;
        for (bucket, count) in self.counts.iter().enumerate().rev() {
            let count = u32::from(*count);
            if count > beyond {
                return FIRST.mul_f64(2f64.powf((bucket + 1) as f64 / 4.0));
            }
            beyond -= count;
        }
        FIRST
    }
}

fn index(operation: Operation, bytes: u64) -> usize {
    operation as usize * SIZES + ((u64::BITS - bytes.leading_zeros()) as usize).min(SIZES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = 8 << 20;

    fn known(took: Duration) -> Haste {
        let haste = Haste::new();
        (0..200).for_each(|_| haste.ended(Operation::UploadPart, PART, took));
        haste
    }

    #[test]
    fn nothing_is_overdue_of_which_little_is_known() {
        let haste = Haste::new();
        (0..KNOWN_FROM - 1).for_each(|_| haste.ended(Operation::Put, 10, Duration::from_millis(5)));
        assert_eq!(haste.limit(Operation::Put, 10), None);
        haste.ended(Operation::Put, 10, Duration::from_millis(5));
        assert_eq!(haste.limit(Operation::Put, 10), Some(LEAST));
        assert_eq!((haste.limit(Operation::Put, PART), haste.limit(Operation::Get, 10)), (None, None), "other kinds");
    }

    #[test]
    fn what_changes_something_that_cannot_be_done_twice_is_waited_for() {
        let haste = Haste::new();
        (0..200).for_each(|_| haste.ended(Operation::CompleteUpload, 0, Duration::from_millis(5)));
        assert_eq!(haste.limit(Operation::CompleteUpload, 0), None);
    }

    #[test]
    fn slow_parts_are_given_their_time() {
        let limit = known(Duration::from_secs(4)).limit(Operation::UploadPart, PART).expect("known");
        assert!((Duration::from_secs(12)..Duration::from_secs(16)).contains(&limit), "{limit:?}");
    }

    #[test]
    fn one_of_a_thousand_does_not_move_the_limit() {
        let haste = known(Duration::from_millis(100));
        for n in 0..1000 {
            haste.ended(Operation::UploadPart, PART, if n % 500 == 0 { Duration::from_secs(60) } else { Duration::from_millis(100) });
        }
        assert_eq!(haste.limit(Operation::UploadPart, PART), Some(LEAST));
    }

    #[test]
    fn a_road_that_becomes_slow_is_followed_and_cuts_few() {
        let haste = known(Duration::from_millis(100));
        let (mut cut, mut ended) = (0, 0);
        for _ in 0..500 {
            let limit = haste.limit(Operation::UploadPart, PART).expect("known");
            let takes = Duration::from_secs(20);
            if limit < takes && haste.cut(Operation::UploadPart, PART, limit) {
                cut += 1;
            } else {
                haste.ended(Operation::UploadPart, PART, takes);
                ended += 1;
            }
        }
        assert!(cut <= 9, "{cut} of {ended}");
        assert!(haste.limit(Operation::UploadPart, PART).is_some_and(|limit| limit > Duration::from_secs(20)));
    }

    #[test]
    fn cuts_are_paid_for() {
        let haste = Haste::new();
        assert!(haste.cut(Operation::Get, 0, LEAST));
        assert!(!haste.cut(Operation::Get, 0, LEAST));
        (0..=EARNED_BY as u32).for_each(|_| haste.ended(Operation::Get, 0, FIRST));
        assert!(haste.cut(Operation::Get, 0, LEAST));
    }
}
