//! Which of a store's endpoints to use: the first of the list that is well, since its order is what the user prefers (an internal address
//! costs nothing, a public one does).
//!
//! One that cannot be reached is left at once; one that fails by itself, falls silent or breaks bodies off, after three times in a row. It
//! rests for a minute, longer if it fails again; then one single request tries it, and if that works all come back. Where all rest, the
//! one that is due first is used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::Error;

/// Failures in a row after which an endpoint that can be reached is left.
const FAILURES_MAX: u32 = 3;
/// First rest; doubles.
const REST: Duration = Duration::from_secs(60);
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(600);

/// The endpoints of one store, by their index in its list.
#[derive(Debug)]
pub(in crate::storage) struct Endpoints {
    clock: Clock,
    states: Mutex<Vec<State>>,
    len: usize,
}

#[derive(Debug)]
struct State {
    name: String,
    /// Requests in a row that the endpoint failed.
    failures: u32,
    /// Bodies in a row that broke off.
    broken_bodies: u32,
    /// Rests in a row.
    rests: u32,
    /// When it was left; what was sent before then says nothing new.
    left: Option<Instant>,
    /// Until when others are preferred; `None` while it is well.
    until: Option<Instant>,
}

/// An endpoint that was chosen for one request.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Choice {
    endpoints: Arc<Endpoints>,
    index: usize,
    at: Instant,
}

impl Endpoints {
    /// All are well. No name means the one endpoint that a service has by itself.
    pub(in crate::storage) fn new(names: impl IntoIterator<Item = String>, clock: Clock) -> Arc<Self> {
        let state = |name| State { name, failures: 0, broken_bodies: 0, rests: 0, left: None, until: None };
        let states: Vec<_> = names.into_iter().map(state).collect();
        Arc::new(Self { clock, len: states.len(), states: Mutex::new(states) })
    }

    fn states(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses for a request, which may be the one that tries an endpoint whose rest is over.
    pub(in crate::storage) fn choose(self: &Arc<Self>) -> Choice {
        let now = self.clock.instant();
        Choice { endpoints: self.clone(), index: if self.len < 2 { 0 } else { choose(&mut self.states(), now) }, at: now }
    }

    /// The index of the one that is used now, without a request.
    pub(in crate::storage) fn current(&self) -> usize {
        self.states().iter().position(|state| state.until.is_none()).unwrap_or(0)
    }
}

fn choose(states: &mut [State], now: Instant) -> usize {
    for (index, state) in states.iter_mut().enumerate() {
        match state.until {
            None => return index,
            Some(until) if until <= now => {
                // The others stay away until this one knows.
                state.until = Some(now + state.rest());
                return index;
            }
            Some(_) => {}
        }
    }
    (0..states.len()).min_by_key(|index| states[*index].until).unwrap_or(0)
}

impl State {
    fn rest(&self) -> Duration {
        REST.saturating_mul(1 << self.rests.saturating_sub(1).min(8)).min(REST_MAX)
    }
}

impl Choice {
    /// Where in the list the endpoint is.
    pub(in crate::storage) fn index(&self) -> usize {
        self.index
    }

    /// The endpoint took the request and answered for itself.
    pub(in crate::storage) fn worked(&self) {
        self.note(|state, _| {
            state.failures = 0;
            if state.until.take().is_some() {
                state.rests = 0;
                tracing::info!(endpoint = state.name, "the endpoint works again");
            }
        });
    }

    /// The endpoint could not be connected to.
    pub(super) fn unreachable(&self, why: &Error) {
        self.note(|state, now| state.leave(now, why));
    }

    /// The endpoint refused the request: by a fault of its own, or as any of them would.
    pub(in crate::storage) fn refused(&self, why: &Error) {
        if why.is_outage() { self.failed(why) } else { self.worked() }
    }

    /// The endpoint failed the request by a fault of its own, or by falling silent.
    pub(super) fn failed(&self, why: &Error) {
        self.note(|state, now| {
            state.failures += 1;
            if state.failures >= FAILURES_MAX || state.until.is_some() {
                state.leave(now, why);
            }
        });
    }

    /// An answer's body came whole.
    pub(super) fn body_ended(&self) {
        self.note(|state, _| state.broken_bodies = 0);
    }

    /// An answer's body broke off.
    pub(super) fn body_broke(&self, why: &Error) {
        self.note(|state, now| {
            state.broken_bodies += 1;
            if state.broken_bodies >= FAILURES_MAX {
                state.leave(now, why);
            }
        });
    }

    fn note(&self, learn: impl FnOnce(&mut State, Instant)) {
        if self.endpoints.len < 2 {
            return;
        }
        let now = self.endpoints.clock.instant();
        if let Some(state) = self.endpoints.states().get_mut(self.index)
            && state.left.is_none_or(|left| left <= self.at)
        {
            learn(state, now);
        }
    }
}

impl State {
    fn leave(&mut self, now: Instant, why: &Error) {
        self.rests = self.rests.saturating_add(1);
        (self.failures, self.broken_bodies) = (0, 0);
        self.left = Some(now);
        if self.until.replace(now + self.rest()).is_none() {
            tracing::warn!(endpoint = self.name, rest = ?self.rest(), error = %why, "the endpoint fails; the next one of the list is used meanwhile");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn two() -> (Arc<Endpoints>, Clock) {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        (Endpoints::new(["internal".into(), "public".into()], clock.clone()), clock)
    }

    fn fault() -> Error {
        Error::new(ErrorKind::Unavailable, "a fault")
    }

    async fn tick(clock: &Clock) {
        clock.sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_reached_is_left_at_once_and_tried_by_one_request_later() {
        let (endpoints, clock) = two();
        endpoints.choose().unreachable(&fault());
        tick(&clock).await;
        assert_eq!((endpoints.choose().index(), endpoints.current()), (1, 1));
        clock.sleep(REST).await;
        let trial = endpoints.choose();
        assert_eq!((trial.index(), endpoints.choose().index()), (0, 1), "one tries, the others stay");
        trial.unreachable(&fault());
        clock.sleep(REST + Duration::from_secs(1)).await;
        assert_eq!(endpoints.choose().index(), 1, "the second rest is longer");
        clock.sleep(REST).await;
        let trial = endpoints.choose();
        assert_eq!(trial.index(), 0);
        trial.worked();
        assert_eq!(endpoints.choose().index(), 0, "the first of the list is preferred");
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_fault_says_nothing_and_a_run_of_them_does() {
        let (endpoints, clock) = two();
        for fault_first in [true, false] {
            for _ in 0..2 {
                endpoints.choose().failed(&fault());
                endpoints.choose().body_broke(&fault());
            }
            if fault_first {
                endpoints.choose().worked();
                endpoints.choose().body_ended();
            }
        }
        assert_eq!(endpoints.choose().index(), 0);
        endpoints.choose().body_broke(&fault());
        tick(&clock).await;
        assert_eq!(endpoints.choose().index(), 1, "although it takes requests");
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_fail_together_are_one_failure() {
        let (endpoints, clock) = two();
        let all: Vec<_> = (0..64).map(|_| endpoints.choose()).collect();
        tick(&clock).await;
        all.iter().for_each(|choice| choice.unreachable(&fault()));
        clock.sleep(REST).await;
        assert_eq!(endpoints.choose().index(), 0, "it rests once");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_rest_the_one_that_is_due_first_serves() {
        let (endpoints, clock) = two();
        endpoints.choose().unreachable(&fault());
        clock.sleep(Duration::from_secs(30)).await;
        endpoints.choose().unreachable(&fault());
        tick(&clock).await;
        let choice = endpoints.choose();
        assert_eq!(choice.index(), 0);
        choice.worked();
        assert_eq!(endpoints.current(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_one_never_rests() {
        let endpoints = Endpoints::new([], Clock::system());
        endpoints.choose().unreachable(&fault());
        assert_eq!((endpoints.choose().index(), endpoints.current()), (0, 0));
    }
}
