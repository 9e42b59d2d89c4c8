//! One run of the engine for a job, watched: its events go to the audit log and to the job's record.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::audit::{Audit, Origin, Record};
use super::ledger::{FAILED_MAX, FailedKey};
use super::setup::Opened;
use super::status::{RunStatus, Trouble};
use super::usage::Meter;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::storage::Key;
use crate::storage::key::escape;
use crate::transfer::budget::MemoryBudget;
use crate::transfer::claim::Claims;
use crate::transfer::event::{Action, Event, ObjectEvent, Status};
use crate::transfer::share::Share;
use crate::transfer::task::Reason;
use crate::transfer::{Context, Progress, Report, report};

/// Events that wait, and audit records that are written together.
const EVENTS_MAX: usize = 1024;
const RECORDS_MAX: usize = 256;
/// Troubles that one run tells.
const TROUBLES_MAX: usize = 5;

/// What a run works with.
pub(super) struct Tools {
    pub(super) clock: Clock,
    pub(super) memory: MemoryBudget,
    pub(super) share: Share,
    pub(super) claims: Claims,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) progress: Arc<Progress>,
    pub(super) spill_dir: std::path::PathBuf,
    pub(super) audit: Audit,
    /// Counts what is copied and deleted.
    pub(super) meter: Meter,
    pub(super) origin: Origin,
    pub(super) cancel: CancellationToken,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) report: Report,
    /// Objects that failed, as many as are remembered, and how many more there were.
    pub(super) failed: Vec<FailedKey>,
    pub(super) failed_unnamed: u64,
    pub(super) troubles: Vec<Trouble>,
    /// Bytes did not prove.
    pub(super) unproved: bool,
}

/// Runs the engine to its end. `each` sees how every key ended that the engine tells of.
///
/// Fails where the run cannot start, or the audit log cannot be written.
pub(super) async fn run(opened: Opened, tools: Tools, mut each: impl FnMut(&ObjectEvent)) -> Result<Outcome> {
    let Opened { label, job, metrics, .. } = opened;
    let Tools { clock, memory, share, claims, journal, progress, spill_dir, audit, meter, origin, cancel } = tools;
    let meter = meter.of_bucket(label.as_deref());
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let context = Context {
        clock: clock.clone(),
        cancel: cancel.clone(),
        events: Some(sender),
        memory: Some(memory),
        share: Some(Arc::new(share)),
        claims,
        progress,
        metrics,
        spill_dir: Some(spill_dir),
        journal,
    };
    let engine = AbortOnDropHandle::new(tokio::spawn(crate::transfer::run(job, context)));
    let mut outcome = Outcome::default();
    let mut records = Vec::new();
    let mut broken = None;
    while let Some(event) = events.recv().await {
        if let Event::Object(event) = &event {
            each(event);
            if (event.action, event.status) == (Action::Copy, Status::Ok) {
                meter.copied(&event.key, event.size);
            }
            match (event.action, event.status) {
                (Action::Delete, Status::Ok) => {
                    meter.deleted(&event.key);
                    let record = Record::Deleted { key: escape(event.key.as_bytes()), version: event.version.clone(), request_id: None };
                    records.push((origin.clone(), record));
                }
                (Action::Copy, Status::Ok) if event.reason.is_some_and(|reason| !matches!(reason, Reason::Absent | Reason::Version)) => {
                    let copied = event.copied.as_ref();
                    records.push((
                        origin.clone(),
                        Record::Overwritten {
                            key: escape(event.key.as_bytes()),
                            reason: event.reason.map_or("", Reason::as_str).to_owned(),
                            etag: copied.map(|copied| copied.etag.as_str().to_owned()).unwrap_or_default(),
                            version: event.version.clone().or_else(|| copied.and_then(|copied| copied.version.clone())),
                        },
                    ));
                }
                (_, Status::Failed) => outcome.note_failure(&label, &event.key, event.error.as_ref(), clock.now()),
                _ => {}
            }
        }
        if records.len() >= RECORDS_MAX || events.is_empty() {
            // A log that cannot be written ends the run: what it does would be known to nobody.
            if let Err(error) = audit.record_all(std::mem::take(&mut records)).await {
                cancel.cancel();
                broken.get_or_insert(error);
            }
        }
    }
    let report = engine.await.map_err(|e| Error::new(ErrorKind::Unexpected, format!("the run broke off: {e}")))?;
    if let Some(error) = broken {
        return Err(error);
    }
    outcome.report = report?;
    Ok(outcome)
}

impl Outcome {
    pub(super) fn note_failure(&mut self, label: &Option<String>, key: &Key, error: Option<&Error>, now: Timestamp) {
        if self.failed.len() < FAILED_MAX {
            self.failed.push(FailedKey::new(label.clone(), key));
        } else {
            self.failed_unnamed += 1;
        }
        let Some(error) = error else { return };
        self.unproved |= error.kind() == ErrorKind::Integrity;
        if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(Trouble { key: Some(escape(key.as_bytes())), ..Trouble::of(error, now) });
        }
    }

    /// Adds what came of another bucket of the same job.
    pub(super) fn add(&mut self, other: Self) {
        let Self { report, failed, failed_unnamed, troubles, unproved } = other;
        let sum = &mut self.report;
        sum.copied += report.copied;
        sum.skipped += report.skipped;
        sum.deleted += report.deleted;
        sum.failed += report.failed;
        sum.bytes += report.bytes;
        sum.verified += report.verified;
        sum.thawing += report.thawing;
        sum.over_budget += report.over_budget;
        sum.retries += report.retries;
        sum.resumed_bytes += report.resumed_bytes;
        sum.interrupted |= report.interrupted;
        sum.stopped = sum.stopped.take().or(report.stopped);
        sum.refused = sum.refused.take().or(report.refused);
        sum.limited = sum.limited.take().or(report.limited);
        let room = FAILED_MAX.saturating_sub(self.failed.len());
        self.failed_unnamed += failed_unnamed + failed.len().saturating_sub(room) as u64;
        self.failed.extend(failed.into_iter().take(room));
        self.troubles.extend(troubles);
        self.unproved |= unproved;
    }

    /// The word for how it ended.
    pub(super) fn word(&self) -> &'static str {
        match self.report.exit_code() {
            report::EXIT_OK if self.thawing() > 0 => "thawing",
            report::EXIT_OK => "done",
            report::EXIT_INTERRUPTED => "interrupted",
            report::EXIT_REFUSED => "refused",
            report::EXIT_STOPPED => "stopped",
            _ => "partly",
        }
    }

    /// Objects that wait for an archive.
    fn thawing(&self) -> u64 {
        self.report.thawing + self.report.over_budget
    }

    /// Why it did not end well.
    pub(super) fn error(&self) -> Option<&Error> {
        self.report.stopped.as_ref().or(self.report.refused.as_ref()).or(self.report.limited.as_ref())
    }

    /// For the record.
    pub(super) fn status(&self, id: &str, cause: &str, started: Timestamp, ended: Timestamp) -> RunStatus {
        let Report { copied, skipped, deleted, failed, bytes, verified, .. } = self.report;
        let error = self.error().map(|error| Trouble::of(error, ended));
        RunStatus {
            id: id.to_owned(),
            cause: cause.to_owned(),
            started,
            ended,
            outcome: self.word().to_owned(),
            copied,
            skipped,
            deleted,
            failed,
            thawing: self.thawing(),
            bytes,
            verified,
            destination: None,
            error,
        }
    }
}
