//! The journal of one pair of places, which a job's scan and the compares of single keys beside it share.
//!
//! A journal belongs to one run at a time. A scan opens it as its own; compares that go on meanwhile write into it as guests. Where no
//! scan goes on, they open it themselves for as long as they have something to do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::journal::{Checkpoint, Event, Flight, FlightId, Intent, Journal, Keep, MemoryJournal, Outcome, Pair, Proved, RunInfo, StateDir};
use crate::storage::{ETag, Key};
use crate::transfer::claim::Claims;

/// The desks of all pairs.
#[derive(Debug)]
pub(super) struct Desks {
    state: StateDir,
    /// `None`: nothing outlives a run.
    keep: Option<Keep>,
    clock: Clock,
    known: Mutex<HashMap<String, Weak<Desk>>>,
}

/// The journal of a pair, and what of the pair is being copied.
#[derive(Debug)]
pub(super) struct Desk {
    pair: Pair,
    pub(super) claims: Claims,
    state: StateDir,
    keep: Option<Keep>,
    clock: Clock,
    /// The journal of the scan that goes on.
    scan: Arc<RwLock<Option<Arc<dyn Journal>>>>,
}

impl Desks {
    pub(super) fn new(state: StateDir, keep: Option<Keep>, clock: Clock) -> Self {
        Self { state, keep, clock, known: Mutex::default() }
    }

    /// The one desk of a pair.
    pub(super) fn of(&self, pair: &Pair) -> Arc<Desk> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, desk| desk.strong_count() > 0);
        let name = pair.name();
        if let Some(desk) = known.get(&name).and_then(Weak::upgrade) {
            return desk;
        }
        let desk = Arc::new(Desk {
            pair: pair.clone(),
            claims: Claims::default(),
            state: self.state.clone(),
            keep: self.keep,
            clock: self.clock.clone(),
            scan: Arc::default(),
        });
        known.insert(name, Arc::downgrade(&desk));
        desk
    }
}

impl Desk {
    /// Opens the journal for a scan, once nobody else is at the desk.
    pub(super) async fn sit_down(&self, what: &str) -> Result<Arc<dyn Journal>> {
        let mut scan = self.scan.write().await;
        // What a scan that was dropped has left.
        *scan = None;
        let journal = self.open(what).await?;
        *scan = Some(journal.clone());
        Ok(journal)
    }

    /// Ends a scan: waits for the guests, and closes the journal once its last handle is dropped.
    pub(super) async fn stand_up(&self) {
        *self.scan.write().await = None;
    }

    /// The journal for compares of single keys: a guest's in the scan's, or one of their own.
    pub(super) async fn guest(&self, what: &str) -> Result<Guest> {
        loop {
            let scan = self.scan.clone().read_owned().await;
            if scan.is_some() {
                return Ok(Guest::Beside(scan));
            }
            drop(scan);
            let scan = self.scan.clone().write_owned().await;
            if scan.is_none() {
                let journal = self.open(what).await?;
                return Ok(Guest::Alone(scan, journal));
            }
        }
    }

    async fn open(&self, what: &str) -> Result<Arc<dyn Journal>> {
        match self.keep {
            Some(keep) => Ok(Arc::new(self.state.open(&self.pair, keep, RunInfo::of_process(what), self.clock.clone()).await?)),
            None => Ok(Arc::new(MemoryJournal::new())),
        }
    }
}

/// A place at the desk for compares of single keys.
pub(super) enum Guest {
    Beside(OwnedRwLockReadGuard<Option<Arc<dyn Journal>>>),
    Alone(OwnedRwLockWriteGuard<Option<Arc<dyn Journal>>>, Arc<dyn Journal>),
}

impl Guest {
    /// The journal, with which no run can be ended.
    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Beside(scan) => match &**scan {
                Some(journal) => Arc::new(Beside(journal.clone())),
                None => Arc::new(MemoryJournal::new()),
            },
            Self::Alone(_, journal) => Arc::new(Beside(journal.clone())),
        }
    }

    /// Whether a scan would have to wait.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(..))
    }

    /// Leaves: everything is on disk when it returns.
    pub(super) async fn leave(self, now: Timestamp) -> Result<()> {
        match self {
            Self::Beside(scan) => match &*scan {
                Some(journal) => journal.flush().await,
                None => Ok(()),
            },
            Self::Alone(_scan, journal) => journal.end(Outcome::Done, now).await,
        }
    }
}

/// A journal whose run is somebody else's.
#[derive(Debug)]
struct Beside(Arc<dyn Journal>);

#[async_trait]
impl Journal for Beside {
    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }

    fn keeps_proofs(&self) -> bool {
        self.0.keeps_proofs()
    }

    async fn intend(&self, intent: Intent) -> Result<FlightId> {
        self.0.intend(intent).await
    }

    async fn advance(&self, flight: FlightId, event: Event) -> Result<()> {
        self.0.advance(flight, event).await
    }

    async fn flight(&self, key: &Key) -> Result<Option<Flight>> {
        self.0.flight(key).await
    }

    async fn flights(&self, after: Option<FlightId>, limit: usize) -> Result<Vec<Flight>> {
        self.0.flights(after, limit).await
    }

    async fn prove(&self, key: &Key, proved: Proved) -> Result<()> {
        self.0.prove(key, proved).await
    }

    async fn forget(&self, key: &Key) -> Result<()> {
        self.0.forget(key).await
    }

    async fn proofs(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Proved)>> {
        self.0.proofs(after, limit).await
    }

    async fn proof(&self, key: &Key) -> Result<Option<Proved>> {
        self.0.proof(key).await
    }

    async fn interrupted(&self, _: u64) -> Result<Option<Checkpoint>> {
        Ok(None)
    }

    async fn checkpoint(&self, _: u64, _: &Key, _: u64) -> Result<()> {
        Ok(())
    }

    async fn doom(&self, _: &[(Key, ETag)], _: Timestamp) -> Result<Vec<Timestamp>> {
        Err(Error::unsupported("single keys are not deleted: only a scan knows that one is gone"))
    }

    async fn spare(&self) -> Result<u64> {
        Ok(0)
    }

    async fn deleted(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.0.deleted(key, version).await
    }

    async fn learned(&self, name: &str) -> Result<Option<u64>> {
        self.0.learned(name).await
    }

    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }

    async fn end(&self, _: Outcome, _: Timestamp) -> Result<()> {
        self.0.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{location::Location, memory::MemoryStore};
    use futures::FutureExt;

    #[tokio::test]
    async fn compares_are_guests_of_a_scan_and_a_scan_waits_for_those_that_are_alone() {
        let state = tempfile::tempdir().expect("a folder");
        let place = |name: &str| Location::new(Arc::new(MemoryStore::new(name)), "");
        let pair = Pair::of(&place("a"), &place("b"));
        let desks = Desks::new(StateDir::new(state.path()), Some(Keep::Full), Clock::system());
        let desk = desks.of(&pair);
        assert!(Arc::ptr_eq(&desk, &desks.of(&pair)));
        let alone = desk.guest("events").await.expect("a seat");
        assert!(alone.is_alone() && alone.journal().is_durable());
        assert!(desk.sit_down("scan").now_or_never().is_none(), "the journal is taken");
        alone.leave(Timestamp::UNIX_EPOCH).await.expect("left");
        let scan = desk.sit_down("scan").await.expect("a seat");
        let guest = desk.guest("events").await.expect("a seat");
        assert!(!guest.is_alone());
        guest.journal().end(Outcome::Done, Timestamp::UNIX_EPOCH).await.expect("ends nothing");
        assert!(desk.stand_up().now_or_never().is_none(), "a guest is there");
        guest.leave(Timestamp::UNIX_EPOCH).await.expect("left");
        scan.end(Outcome::Done, Timestamp::UNIX_EPOCH).await.expect("ended");
        drop(scan);
        desk.stand_up().await;
        assert!(desk.guest("events").await.expect("a seat").is_alone());
    }
}
