//! The circuit breaker: a store that is down makes its requests wait, instead of failing them one by one.
//!
//! Failures without any sign of life in between raise a suspicion: five of them over 15 s, or three where a request is about to give
//! up. The breaker opens, and whoever waits longest asks the store for an object that nobody has. Any answer but a fault of the service
//! closes the breaker at once, and it was no outage. That question, unlike the requests that failed, has nothing about it that could be
//! at fault itself, such as bytes that a middlebox resets; so a few bad objects never stop the others. Left unanswered, it is asked
//! again, after a second at first and every half minute later, one at a time, while all else waits: at no cost to a request's attempts,
//! its time or the run's retry budget. Any request that was still on its way and works closes the breaker too.
//!
//! An answer about one object, and a request for a slower pace, are signs of life. A store that answers this question and still fails all
//! writes is not down in this sense: its writes fail as they would one by one.
//!
//! All waits are those of the waiting requests: there is no task, and a request that is dropped midway hands its place on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;

/// Failures in a row that are suspicious, where they span [`SUSPICIOUS_SPAN`].
const SUSPICIOUS_FAILURES: u32 = 5;
/// Failures in a row that are suspicious where a request is about to give up.
const LAST_FAILURES: u32 = 3;
/// What a restarting server, a switch of addresses or a lost route takes: shorter silences are left to the usual retries.
const SUSPICIOUS_SPAN: Duration = Duration::from_secs(15);
/// First wait between two questions; doubles.
const PROBE_DELAY: Duration = Duration::from_secs(1);
/// Longest wait between two questions: what a run loses at most once the store is back.
const PROBE_DELAY_MAX: Duration = Duration::from_secs(30);
/// How often an outage that goes on is told.
const TELLING_INTERVAL: Duration = Duration::from_secs(60);

/// One store's breaker.
pub(super) struct Breaker {
    /// The store, for the log.
    store: String,
    /// How long an outage is waited out; `None` without end, zero not at all.
    give_up_after: Option<Duration>,
    clock: Clock,
    metrics: std::sync::Arc<Metrics>,
    run: Mutex<Option<Run>>,
    /// Whether there is a run of failures: the usual success takes no lock.
    troubled: AtomicBool,
    position: watch::Sender<Position>,
    /// Whoever holds it asks.
    prober: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Position {
    open: bool,
    /// Outages that have ended.
    ended: u64,
}

/// Failures with no sign of life between them.
struct Run {
    began: Instant,
    /// The same, by the wall clock.
    since: Timestamp,
    failures: u32,
    last: Error,
    /// Where the breaker is open.
    outage: Option<Outage>,
}

struct Outage {
    /// Questions that were left unanswered; without any, it is only a suspicion.
    probes: u32,
    probe_due: Instant,
    counted_until: Instant,
    told: Instant,
}

impl Breaker {
    pub(super) fn new(store: String, give_up_after: Option<Duration>, clock: Clock, metrics: std::sync::Arc<Metrics>) -> Self {
        Self {
            store,
            give_up_after,
            clock,
            metrics,
            run: Mutex::new(None),
            troubled: AtomicBool::new(false),
            position: watch::Sender::new(Position::default()),
            prober: tokio::sync::Mutex::default(),
        }
    }

    fn run(&self) -> MutexGuard<'_, Option<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a sign of life.
    pub(super) fn alive(&self) {
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut run = self.run();
        self.troubled.store(false, Ordering::Relaxed);
        let Some(Run { began, outage: Some(outage), .. }) = run.take() else { return };
        let real = outage.probes > 0;
        if real {
            let now = self.clock.instant();
            self.count(outage.counted_until, now);
            tracing::info!(store = self.store, after = ?rounded(now - began), probes = outage.probes, "the store answers again; the run goes on");
        }
        self.position.send_modify(|position| *position = Position { open: false, ended: position.ended + u64::from(real) });
    }

    /// Notes a failure that may mean an outage ([`Error::is_outage`]); `last_try`: the request would give up now.
    pub(super) fn failed(&self, error: &Error, last_try: bool) {
        if self.give_up_after == Some(Duration::ZERO) {
            return;
        }
        let now = self.clock.instant();
        let mut run = self.run();
        self.troubled.store(true, Ordering::Relaxed);
        let run = run.get_or_insert_with(|| Run { began: now, since: self.clock.now(), failures: 0, last: error.clone(), outage: None });
        run.failures += 1;
        run.last = error.clone();
        let long = run.failures >= SUSPICIOUS_FAILURES && now - run.began >= SUSPICIOUS_SPAN;
        if run.outage.is_none() && (long || (last_try && run.failures >= LAST_FAILURES)) {
            run.outage = Some(Outage { probes: 0, probe_due: now, counted_until: run.began, told: now });
            self.position.send_modify(|position| position.open = true);
        }
    }

    /// Waits while the breaker is open, and asks by `probe` when it is this waiter's turn. True where an outage was waited out.
    ///
    /// Fails with [`ErrorKind::Outage`] when the store has been down for as long as was to be waited.
    pub(super) async fn pass<F: Future<Output = Result<()>>>(&self, probe: impl Fn() -> F) -> Result<bool> {
        let mut position = self.position.subscribe();
        let before = *position.borrow_and_update();
        if !before.open {
            return Ok(false);
        }
        tokio::select! {
            biased;
            // The sender is ours: it does not go away.
            _ = position.wait_for(|p| !p.open) => {}
            asked = self.ask(probe) => asked?,
        }
        Ok(self.position.borrow().ended > before.ended)
    }

    /// Asks, one waiter at a time, until the breaker closes or the time is up.
    async fn ask<F: Future<Output = Result<()>>>(&self, probe: impl Fn() -> F) -> Result<()> {
        let deadline = self.run().as_ref().and_then(|run| run.began.checked_add(self.give_up_after?));
        let _turn = tokio::select! {
            biased;
            turn = self.prober.lock() => turn,
            () = self.until(deadline) => return Err(self.given_up()),
        };
        loop {
            let Some(due) = self.run().as_ref().and_then(|run| Some(run.outage.as_ref()?.probe_due)) else { return Ok(()) };
            // Who comes later than the end asks once more: a store that is used again may be back.
            if due > self.clock.instant() && deadline.is_some_and(|deadline| due > deadline) {
                self.until(deadline).await;
                return Err(self.given_up());
            }
            self.until(Some(due)).await;
            self.metrics.outage_probes.add(1);
            match probe().await {
                Err(error) if error.is_outage() => self.unanswered(error),
                // Whatever else it says, it is there.
                _ => self.alive(),
            }
        }
    }

    fn unanswered(&self, error: Error) {
        let now = self.clock.instant();
        let mut run = self.run();
        let Some(Run { began, since, last, outage: Some(outage), .. }) = run.as_mut() else { return };
        *last = error;
        let delay = PROBE_DELAY.saturating_mul(1 << outage.probes.min(8)).min(PROBE_DELAY_MAX);
        outage.probe_due = now + delay.mul_f64(0.5 + self.clock.random_fraction() / 2.0);
        outage.probes += 1;
        self.count(std::mem::replace(&mut outage.counted_until, now), now);
        if outage.probes == 1 {
            self.metrics.outages.add(1);
            let patience = self.give_up_after.map_or_else(|| "until it is back".to_owned(), |d| format!("for {}", humantime::format_duration(d)));
            tracing::warn!(store = self.store, %since, error = %last, "the store is down: everything that needs it waits, {patience}");
            outage.told = now;
        } else if now - outage.told >= TELLING_INTERVAL {
            tracing::warn!(store = self.store, %since, down = ?rounded(now - *began), probes = outage.probes, error = %last, "the store is still down");
            outage.told = now;
        }
    }

    fn count(&self, from: Instant, to: Instant) {
        self.metrics.outage_time.add(u64::try_from((to - from).as_millis()).unwrap_or(u64::MAX));
    }

    async fn until(&self, moment: Option<Instant>) {
        match moment {
            Some(moment) => self.clock.sleep(moment.saturating_duration_since(self.clock.instant())).await,
            None => std::future::pending().await,
        }
    }

    fn given_up(&self) -> Error {
        let told = match self.run().as_ref() {
            Some(Run { began, since, last, outage: Some(outage), .. }) => {
                let down = humantime::format_duration(rounded(self.clock.instant() - *began));
                format!("the store has been down since {since} ({down}), {} questions whether it is back failed, the last so: {last}", outage.probes)
            }
            // It came back as this was told.
            _ => "the store was down for too long".to_owned(),
        };
        Error::new(ErrorKind::Outage, told)
            .in_store(&self.store)
            .advise("check the network, and the service's status page; the same command goes on where this one stopped; give_up_after says how long to wait")
    }
}

/// Whole seconds: more would be noise.
fn rounded(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}
