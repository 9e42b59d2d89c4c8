//! The dates of a job whose destination has one: which of them a run writes, and what is kept of the former ones.
//!
//! A run has the date of its begin to its end, however long it takes. One that a window, the daemon's end or a crash broke off is finished
//! under its own date first, whatever the day, so that no backup is left half made for the night being short. One that failed is tried
//! again under its date until the schedule has the next one begin; then it is given up as it is, and the list of runs says so. One that
//! somebody cancelled is given up at once. What an archive has still to restore is copied by the run that finds it there, under that run's
//! date.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::{Cause, Keeper};
use crate::daemon::ledger::RunDate;
use crate::journal::RunInfo;

/// Dates of which a job keeps its journals: finished ones, and any.
const DATES_KEPT: usize = 2;
const DATES_MAX: usize = 30;

impl Keeper {
    /// The date of a run that begins now, where the destination has one: that of the last run, where this one goes on with it or tries again
    /// what failed in it, else today's.
    pub(super) fn date(&self, cause: &Cause, now: Timestamp) -> Option<RunDate> {
        let last = self.board.face().record.date.clone();
        let goes_on = last.as_ref().filter(|date| match cause {
            _ if date.is_open => true,
            Cause::Retry => true,
            Cause::Again => !self.is_due_after(date.at, now),
            Cause::Schedule | Cause::CatchUp | Cause::Events | Cause::ByHand(..) => false,
        });
        let at = goes_on.map_or(now, |date| date.at);
        let destination = self.setup.opener.destination(at)?;
        let outcome = self.board.face().record.runs.front().map(|run| run.outcome.clone()).unwrap_or_default();
        if let Some(last) = last.filter(|last| last.destination != destination && outcome != "done") {
            let job = self.setup.name.as_str();
            tracing::warn!(job, outcome, given_up = last.destination, destination, "the last date was not finished, and a new one is begun");
        }
        Some(RunDate { at, destination, is_open: true })
    }

    /// Whether the schedule has had another run due since the one that began then.
    fn is_due_after(&self, begin: Timestamp, now: Timestamp) -> bool {
        let next = self.setup.schedule.as_ref().and_then(|schedule| schedule.due(Some(begin), Some(begin), self.since, now, 0.0));
        next.is_some_and(|next| next.at <= now)
    }

    /// Removes the journals of former dates, so that they do not pile up: those that are finished, but for the latest few.
    pub(super) async fn prune_journals(&self) {
        let known = self.board.face().record.journals.clone();
        if known.len() <= DATES_KEPT {
            return;
        }
        let mut kept = VecDeque::new();
        for (age, mut journals) in known.into_iter().enumerate() {
            if age >= DATES_KEPT {
                let mut left = Vec::new();
                for pair in journals.pairs {
                    let info = RunInfo::of_process(&self.setup.name);
                    let removed = self.common.state.remove_former(&pair, info, age >= DATES_MAX).await;
                    match removed {
                        Ok(true) => {}
                        Ok(false) if age < DATES_MAX => left.push(pair),
                        Ok(false) => tracing::warn!(job = self.setup.name, destination = journals.destination, pair, "a journal of a former date is in use"),
                        Err(error) => {
                            tracing::warn!(%error, job = self.setup.name, destination = journals.destination, "a journal of a former date cannot be removed");
                            left.extend(Some(pair).filter(|_| age < DATES_MAX));
                        }
                    }
                }
                journals.pairs = left;
            }
            if !journals.pairs.is_empty() {
                kept.push_back(journals);
            }
        }
        self.board.face().record.journals = kept;
        self.write().await;
    }
}
