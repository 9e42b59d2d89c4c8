//! What all jobs of a daemon share.

use std::sync::{Arc, PoisonError, RwLock};

use super::alert::Alerts;
use super::audit::{Audit, Origin};
use super::desk::Desks;
use super::ledger::Ledger;
use super::turns::Turns;
use super::usage::Usage;
use crate::clock::Clock;
use crate::journal::StateDir;
use crate::transfer::budget::MemoryBudget;
use crate::transfer::share::Pool;

pub(super) struct Common {
    pub(super) clock: Clock,
    pub(super) state: StateDir,
    pub(super) memory: MemoryBudget,
    pub(super) turns: Turns,
    pub(super) desks: Desks,
    pub(super) ledger: Ledger,
    pub(super) audit: Audit,
    pub(super) usage: Arc<Usage>,
    pub(super) alerts: Alerts,
    /// The streams; another number of them holds for the runs that begin then.
    pub(super) pool: RwLock<Pool>,
    /// SHA-256 of the configuration in force.
    pub(super) revision: RwLock<String>,
}

impl Common {
    pub(super) fn pool(&self) -> Pool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down what was used. What cannot be written is told, and tried again within a minute.
    pub(super) async fn write_usage(&self) {
        if let Err(error) = self.usage.write().await {
            tracing::error!(%error, "what the jobs have used cannot be written down");
        }
    }

    /// For audit records of the daemon's own doing.
    pub(super) fn origin(&self, job: &str, run: Option<&str>) -> Origin {
        Origin { who: "daemon".to_owned(), job: Some(job.to_owned()).filter(|job| !job.is_empty()), run: run.map(str::to_owned), revision: self.revision() }
    }

    pub(super) fn revision(&self) -> String {
        self.revision.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
