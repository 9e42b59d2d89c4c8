//! How one job stands now: what its keeper and its follower write, and the snapshot reads.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::hints::HintQueue;
use super::ledger::JobRecord;
use super::run::Outcome;
use super::setup::JobSetup;
use super::status::{CurrentRun, ForecastStatus, JobState, JobStatus, LimitStatus, MovingObject, Totals};
use super::usage::Usage;
use crate::storage::key::escape;
use crate::transfer::Progress;

/// What is shown of a job at most.
const RUNS_SHOWN: usize = 10;
const MOVING_SHOWN: usize = 8;
const TROUBLES_SHOWN: usize = 5;

/// The board of a job.
#[derive(Debug)]
pub(super) struct Board {
    face: Mutex<Face>,
    usage: Arc<Usage>,
}

/// What is on it.
#[derive(Debug)]
pub(super) struct Face {
    pub(super) setup: Arc<JobSetup>,
    pub(super) record: JobRecord,
    /// What it waits for, where it is due and does not run.
    pub(super) waiting: Option<String>,
    pub(super) next_run: Option<Timestamp>,
    pub(super) live: Option<Live>,
    /// What single compares move, beside scans.
    pub(super) beside: Arc<Progress>,
    pub(super) hints: Option<HintQueue>,
    pub(super) totals: Totals,
    pub(super) limit: Option<LimitStatus>,
    pub(super) forecast: Option<ForecastStatus>,
}

/// A run underway.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) id: String,
    pub(super) started: Timestamp,
    pub(super) cause: String,
    pub(super) progress: Arc<Progress>,
    /// Bytes that had moved when they were last looked at, and bytes a second since.
    pub(super) seen_bytes: u64,
    pub(super) bytes_per_second: u64,
}

impl Board {
    pub(super) fn new(setup: Arc<JobSetup>, record: JobRecord, usage: Arc<Usage>) -> Self {
        let face = Face {
            setup,
            record,
            waiting: None,
            next_run: None,
            live: None,
            beside: Arc::default(),
            hints: None,
            totals: Totals::default(),
            limit: None,
            forecast: None,
        };
        Self { face: Mutex::new(face), usage }
    }

    pub(super) fn face(&self) -> MutexGuard<'_, Face> {
        self.face.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks how much has moved since the last look, `seconds` ago.
    pub(super) fn sample(&self, seconds: f64) -> u64 {
        let mut face = self.face();
        let mut moved = 0;
        if let Some(live) = &mut face.live {
            let now = live.progress.moved_bytes.load(Ordering::Relaxed);
            moved = now - live.seen_bytes;
            live.seen_bytes = now;
            // What a glance can follow: half new, half old.
            live.bytes_per_second = (live.bytes_per_second + (moved as f64 / seconds.max(0.01)) as u64) / 2;
        }
        moved + face.beside.moved_bytes.swap(0, Ordering::Relaxed)
    }

    /// All of it, as others see it.
    pub(super) fn status(&self, now: Timestamp) -> JobStatus {
        let face = self.face();
        let Face { setup, record, waiting, next_run, live, hints, totals, limit, forecast, .. } = &*face;
        let (state, why) = face.state();
        let synced_until = record.synced_until;
        let lag_seconds = synced_until.and_then(|until| u64::try_from(now.duration_since(until).as_secs()).ok());
        JobStatus {
            name: setup.name.clone(),
            source: setup.source.clone(),
            destination: setup.destination.clone(),
            dated_destination: record.date.as_ref().map(|date| date.destination.clone()),
            mode: setup.mode,
            state,
            why: why.or_else(|| waiting.clone()),
            schedule: setup.schedule.as_ref().map(ToString::to_string),
            windows: setup.windows.iter().map(ToString::to_string).collect(),
            next_run: *next_run,
            priority: setup.priority,
            synced_until,
            lag_seconds,
            lag_max_seconds: setup.lag_max.map(|most| most.as_secs()),
            oldest_pending: hints.as_ref().and_then(HintQueue::oldest),
            current: live.as_ref().map(Live::status),
            recent_runs: record.runs.iter().take(RUNS_SHOWN).cloned().collect(),
            failures_in_row: record.failures_in_row,
            troubles: record.troubles.iter().take(TROUBLES_SHOWN).cloned().collect(),
            hints: hints.as_ref().map(HintQueue::status),
            totals: totals.clone(),
            usage: self.usage.since_start(&setup.name),
            forecast: forecast.clone(),
            limit: limit.clone(),
            failed_keys: record.failed.len() as u64 + record.failed_unnamed,
        }
    }
}

impl Face {
    /// The word for how it stands, and why.
    fn state(&self) -> (JobState, Option<String>) {
        let last = self.record.runs.front();
        let why = || last.and_then(|run| run.error.as_ref()).map(|error| error.message.clone());
        let failed = || last.filter(|run| run.failed > 0).map(|run| format!("{} objects failed in the last run", run.failed));
        if self.live.is_some() {
            return (JobState::Running, None);
        }
        if self.record.paused {
            return (JobState::Paused, None);
        }
        match last.map(|run| run.outcome.as_str()) {
            Some("refused") => (JobState::Refused, why()),
            Some("halted") => (JobState::Halted, why()),
            Some("stopped") => (JobState::Failing, why()),
            _ if self.waiting.is_some() => (JobState::Waiting, None),
            Some("partly") => (JobState::Behind, why().or_else(failed)),
            Some("thawing") => (JobState::Behind, last.map(|run| format!("{} objects are being restored from an archive", run.thawing))),
            Some("interrupted" | "cancelled") => (JobState::Behind, Some("the last run was stopped before its end".to_owned())),
            Some(_) => (JobState::InSync, None),
            None => (JobState::New, None),
        }
    }

    /// Adds what came of a run, or of compares beside one.
    pub(super) fn note(&mut self, outcome: &Outcome) {
        let report = &outcome.report;
        self.totals.copied += report.copied;
        self.totals.bytes += report.bytes;
        self.totals.verified += report.verified;
        self.totals.deleted += report.deleted;
        self.totals.failed += report.failed;
    }
}

impl Live {
    fn status(&self) -> CurrentRun {
        let Progress { source_listed, listing_done, planned_objects, planned_bytes, copied_objects, copied_bytes, skipped_objects, failed_objects, .. } =
            &*self.progress;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let moving = self.progress.in_flight().into_iter().take(MOVING_SHOWN);
        CurrentRun {
            id: self.id.clone(),
            started: self.started,
            cause: self.cause.clone(),
            listed: read(source_listed),
            listing_done: listing_done.load(Ordering::Relaxed),
            planned_objects: read(planned_objects),
            planned_bytes: read(planned_bytes),
            copied_objects: read(copied_objects),
            copied_bytes: read(copied_bytes),
            failed_objects: read(failed_objects),
            skipped_objects: read(skipped_objects),
            bytes_per_second: self.bytes_per_second,
            moving: moving.map(|object| MovingObject { key: escape(object.key.as_bytes()), size: object.size, done: object.done.min(object.size) }).collect(),
        }
    }
}
