//! What was proved, for a run that only looks: a comparison, a dry run.

use async_trait::async_trait;
use jiff::Timestamp;

use super::history::History;
use crate::error::{Error, Result};
use crate::journal::{Checkpoint, Event, Flight, FlightId, Intent, Journal, Outcome, Pair, Proved};
use crate::storage::{ETag, Key};

/// A pair's journal, read and never written; no lock is taken.
#[derive(Debug, Clone)]
pub struct Viewer {
    history: History,
    turned: bool,
}

impl Viewer {
    /// The journal as runs in the pair's direction see it.
    pub fn new(history: History, pair: &Pair) -> Self {
        Self { history, turned: pair.is_turned() }
    }
}

fn refused() -> Error {
    Error::unsupported("this journal is only looked at")
}

#[async_trait]
impl Journal for Viewer {
    fn is_durable(&self) -> bool {
        false
    }

    fn keeps_proofs(&self) -> bool {
        true
    }

    async fn intend(&self, _: Intent) -> Result<FlightId> {
        Err(refused())
    }

    async fn advance(&self, _: FlightId, _: Event) -> Result<()> {
        Err(refused())
    }

    async fn flight(&self, _: &Key) -> Result<Option<Flight>> {
        Ok(None)
    }

    async fn flights(&self, _: Option<FlightId>, _: usize) -> Result<Vec<Flight>> {
        Ok(Vec::new())
    }

    async fn prove(&self, _: &Key, _: Proved) -> Result<()> {
        Ok(())
    }

    async fn forget(&self, _: &Key) -> Result<()> {
        Ok(())
    }

    async fn proofs(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Proved)>> {
        self.history.proofs(self.turned, after, limit).await
    }

    async fn proof(&self, key: &Key) -> Result<Option<Proved>> {
        self.history.proof(self.turned, key).await
    }

    async fn interrupted(&self, _: u64) -> Result<Option<Checkpoint>> {
        Ok(None)
    }

    async fn checkpoint(&self, _: u64, _: &Key, _: u64) -> Result<()> {
        Ok(())
    }

    async fn doom(&self, keys: &[(Key, ETag)], now: Timestamp) -> Result<Vec<Timestamp>> {
        Ok(vec![now; keys.len()])
    }

    async fn spare(&self) -> Result<u64> {
        Ok(0)
    }

    async fn deleted(&self, _: &Key, _: Option<&str>) -> Result<()> {
        Err(refused())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn end(&self, _: Outcome, _: Timestamp) -> Result<()> {
        Ok(())
    }
}
