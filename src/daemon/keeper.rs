//! The keeper of one job: waits until it is due, has it run, and remembers how that ended.
//!
//! # Invariants
//! - A job has one scan at a time. What is asked for meanwhile is answered by that scan, or by the next.
//! - A run is stopped in an orderly way: what is underway is put away, and the next run goes on there.
//! - A run of a dated destination that was broken off is gone on with under its own date, before one of a new date begins.
//! - What failed is tried again after a wait that doubles; what a guard refused waits for a person, or for its schedule.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::alert::AlertKind;
use super::audit::{Origin, Record};
use super::board::{Board, Live};
use super::calendar;
use super::common::Common;
use super::hints::HintQueue;
use super::ledger::{FailedKey, RunDate};
use super::run::{self, Outcome, Tools};
use super::setup::{JobSetup, Occasion, Opened, Override};
use super::status::{ForecastStatus, RunStatus, Trouble};
use super::tiering::Tiering;
use super::usage::Meter;
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::job::{DeleteLimit, KeyFile};
use crate::transfer::{Context, Progress, Report};

mod dates;

/// The first wait after a run that failed; doubles.
const BACKOFF_MIN: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// The wall clock may jump: it is looked at again after so long.
const NAP_MAX: Duration = Duration::from_secs(20);
/// Between two scans that change events ask for.
const REST_MIN: Duration = Duration::from_secs(10);
/// Buckets of one job that run at a time.
const BUCKETS_AT_A_TIME: usize = 4;

/// What a keeper is told.
pub(super) enum Told {
    /// Run now.
    Run { changed: Override, words: Option<String>, answer: oneshot::Sender<Result<String>> },
    /// Try again what failed.
    Retry { answer: oneshot::Sender<Result<String>> },
    /// Begin nothing more, and stop what runs.
    Pause,
    /// Go on.
    Resume,
    /// Stop what runs.
    Cancel { answer: oneshot::Sender<Result<String>> },
    /// The job is another one from the next run on.
    Setup(Arc<JobSetup>),
}

/// Why a run begins.
#[derive(Debug, Clone, PartialEq)]
enum Cause {
    Schedule,
    CatchUp,
    Again,
    Events,
    ByHand(Override, Option<String>),
    Retry,
}

impl Cause {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::CatchUp => "catch-up",
            Self::Again => "after a failure",
            Self::Events => "events",
            Self::ByHand(..) => "by hand",
            Self::Retry => "retry",
        }
    }
}

/// A job's keeper.
pub(super) struct Keeper {
    common: Arc<Common>,
    board: Arc<Board>,
    setup: Arc<JobSetup>,
    /// A run that somebody asked for.
    asked: Option<Cause>,
    /// Since when the job is kept.
    since: Timestamp,
    /// Somebody had the run stopped that goes on.
    cancelled: bool,
    /// Change events ask for scans here.
    scan_wanted: Arc<Notify>,
}

impl Keeper {
    pub(super) fn new(common: Arc<Common>, board: Arc<Board>, setup: Arc<JobSetup>, scan_wanted: Arc<Notify>) -> Self {
        let since = common.clock.now();
        Self { common, board, setup, asked: None, since, cancelled: false, scan_wanted }
    }

    /// Keeps the job until `drain` is cancelled.
    pub(super) async fn keep(mut self, mut told: mpsc::Receiver<Told>, drain: CancellationToken) {
        loop {
            let now = self.common.clock.now();
            let next = self.next(now);
            // It is due, and a window keeps it waiting.
            let waiting = next.as_ref().filter(|(at, _)| *at > now && self.is_held_up(now)).map(|(at, _)| format!("its window opens at {at}"));
            {
                let mut face = self.board.face();
                face.next_run = next.as_ref().map(|(at, _)| *at);
                face.waiting = waiting;
            }
            let due = next.as_ref().filter(|(at, _)| *at <= now).map(|(_, cause)| cause.clone());
            if let Some(cause) = due {
                self.asked = None;
                self.run(cause, &mut told, &drain).await;
                if drain.is_cancelled() {
                    return;
                }
                continue;
            }
            let wait = next.and_then(|(at, _)| Duration::try_from(at.duration_since(now)).ok()).unwrap_or(NAP_MAX).min(NAP_MAX);
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                order = told.recv() => match order {
                    Some(order) => self.take(order, None).await,
                    None => return,
                },
                () = self.scan_wanted.notified() => {}
                () = self.common.clock.sleep(wait) => {}
            }
        }
    }

    /// When the next run begins, and why.
    fn next(&self, now: Timestamp) -> Option<(Timestamp, Cause)> {
        if let Some(asked) = &self.asked {
            return Some((now, asked.clone()));
        }
        let (at, cause) = self.due(now)?;
        Some((calendar::next_open(&self.setup.windows, at.max(now))?, cause))
    }

    /// The same, whatever the windows say.
    fn due(&self, now: Timestamp) -> Option<(Timestamp, Cause)> {
        let face = self.board.face();
        let record = &face.record;
        if record.paused {
            return None;
        }
        let mut due: Vec<(Timestamp, Cause)> = Vec::new();
        if let Some(schedule) = &self.setup.schedule
            && let Some(next) = schedule.due(record.last_begin, record.last_end, self.since, now, spread(&self.setup.name))
        {
            due.push((next.at, if next.is_catch_up { Cause::CatchUp } else { Cause::Schedule }));
        }
        // What a window or the daemon's end broke off goes on as soon as it may; so does what a crash did, where its date would be lost.
        if record.runs.front().is_some_and(|run| run.outcome == "interrupted") || record.date.as_ref().is_some_and(|date| date.is_open) {
            due.push((now, Cause::CatchUp));
        }
        if face.hints.as_ref().is_some_and(HintQueue::wants_scan) {
            due.push((record.last_end.map_or(now, |end| later(end.min(now), REST_MIN)), Cause::Events));
        }
        let last = record.runs.front().map(|run| run.outcome.as_str());
        let backoff = BACKOFF_MIN.saturating_mul(1 << record.failures_in_row.saturating_sub(1).min(10)).min(BACKOFF_MAX);
        let again = record.last_end.map_or(now, |end| later(end.min(now), backoff));
        match last {
            // Nothing works: nothing is tried before the wait is over, and what is not scheduled soon is tried then.
            Some("stopped" | "halted") => return Some((again, Cause::Again)).filter(|_| self.setup.schedule.is_some() || !due.is_empty()),
            // The rest goes on in its own time, and what failed is tried again before that where it would be long.
            Some("partly") if self.setup.schedule.is_some() => due.push((again, Cause::Again)),
            _ => {}
        }
        due.into_iter().min_by_key(|(at, _)| *at)
    }

    /// Whether a window keeps it from what is due.
    fn is_held_up(&self, now: Timestamp) -> bool {
        self.due(now).is_some_and(|(at, _)| at <= now)
    }

    /// Does what it is told. `running` stops the run that goes on.
    async fn take(&mut self, told: Told, running: Option<&CancellationToken>) {
        // Whoever asked may be gone.
        match told {
            Told::Run { changed, words, answer } => {
                let said = match running {
                    Some(_) => format!("job '{}' runs already; it will run again after that", self.setup.name),
                    None => format!("job '{}' runs now", self.setup.name),
                };
                self.asked = Some(Cause::ByHand(changed, words));
                let _ = answer.send(Ok(said));
            }
            Told::Retry { answer } => {
                let failed = self.board.face().record.failed.len();
                let _ = answer.send(if failed == 0 {
                    Err(Error::invalid(format!("nothing of job '{}' failed in its last run", self.setup.name)))
                } else {
                    self.asked = Some(Cause::Retry);
                    Ok(format!("{failed} objects of job '{}' are tried again", self.setup.name))
                });
            }
            Told::Pause => {
                self.board.face().record.paused = true;
                running.inspect(|running| running.cancel());
                self.write().await;
            }
            Told::Resume => {
                self.board.face().record.paused = false;
                self.write().await;
            }
            Told::Cancel { answer } => {
                self.cancelled = running.is_some();
                running.inspect(|running| running.cancel());
                let _ = answer.send(match running {
                    Some(_) => Ok(format!("the run of job '{}' is being stopped", self.setup.name)),
                    None => Err(Error::invalid(format!("job '{}' does not run", self.setup.name))),
                });
            }
            Told::Setup(setup) => {
                self.board.face().setup = setup.clone();
                self.setup = setup;
            }
        }
    }

    /// Writes down how the job stands. What cannot be written is told, and known until the daemon ends.
    async fn write(&self) {
        let record = self.board.face().record.clone();
        if let Err(error) = self.common.ledger.write(&self.setup.name, &record).await {
            tracing::error!(%error, job = self.setup.name, "how the job stands cannot be written down");
        }
    }

    async fn run(&mut self, cause: Cause, told: &mut mpsc::Receiver<Told>, drain: &CancellationToken) {
        let common = self.common.clone();
        let Common { clock, audit, .. } = &*common;
        let (id, cancel, setup) = (clock.random_id(), drain.child_token(), self.setup.clone());
        let origin = self.common.origin(&setup.name, Some(&id));
        let overridden = if let Cause::ByHand(_, words) = &cause { words.clone() } else { None };
        let date = self.date(&cause, clock.now());
        {
            let mut face = self.board.face();
            face.waiting = Some("it waits for its turn".to_owned());
            face.record.date.clone_from(&date);
        }
        if date.is_some() {
            // A crash must not make the next run forget which date it has to finish.
            self.write().await;
        }
        let begun = RunScope {
            id: id.clone(),
            cause: cause.clone(),
            setup: setup.clone(),
            common: self.common.clone(),
            board: self.board.clone(),
            cancel: cancel.clone(),
            date: date.clone(),
        };
        let mut work = Box::pin(begun.carry_out(origin.clone(), overridden));
        let windows = setup.windows.clone();
        let by_hand = matches!(cause, Cause::ByHand(..) | Cause::Retry);
        let (mut closed, mut orphaned) = (false, false);
        let ended = loop {
            let now = clock.now();
            let closes = windows.iter().filter_map(|window| window.closes(now)).max();
            let closes_in = closes.and_then(|at| Duration::try_from(at.duration_since(now)).ok()).unwrap_or(NAP_MAX).min(NAP_MAX);
            tokio::select! {
                biased;
                ended = &mut work => break ended,
                order = told.recv(), if !orphaned => match order {
                    Some(order) => self.take(order, Some(&cancel)).await,
                    None => {
                        orphaned = true;
                        cancel.cancel();
                    }
                },
                () = clock.sleep(closes_in), if !windows.is_empty() && !by_hand && !closed => {
                    if calendar::next_open(&windows, clock.now()).is_none_or(|at| at > clock.now()) {
                        closed = true;
                        cancel.cancel();
                    }
                }
            }
        };
        drop(work);
        self.conclude(&id, &cause, &setup, ended).await;
        common.write_usage().await;
        self.prune_journals().await;
        let outcome = self.board.face().record.runs.front().cloned();
        if let Some(run) = outcome {
            let record = Record::RunEnded { outcome: run.outcome, copied: run.copied, deleted: run.deleted, failed: run.failed, bytes: run.bytes };
            if let Err(error) = audit.record(origin, record).await {
                tracing::error!(%error, job = setup.name, "the audit log cannot be written");
            }
        }
    }

    /// Remembers how a run ended, and tells who must know.
    async fn conclude(&mut self, id: &str, cause: &Cause, setup: &JobSetup, ended: Ended) {
        let now = self.common.clock.now();
        let Ended { started, mut outcome, failure } = ended;
        let mut status = outcome.status(id, cause.as_str(), started.unwrap_or(now), now);
        if let Some(error) = &failure {
            status.error = Some(Trouble::of(error, now));
            status.outcome = match error.kind() {
                ErrorKind::Guard => "refused",
                ErrorKind::Interrupted => "interrupted",
                _ => "stopped",
            }
            .to_owned();
        }
        let error = failure.or_else(|| outcome.error().cloned());
        let (failed, troubles) = (std::mem::take(&mut outcome.failed), std::mem::take(&mut outcome.troubles));
        if error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Account) {
            status.outcome = "halted".to_owned();
        }
        if std::mem::take(&mut self.cancelled) && status.outcome == "interrupted" {
            status.outcome = "cancelled".to_owned();
        }
        let word = status.outcome.clone();
        let name = setup.name.as_str();
        match &error {
            Some(error) => {
                tracing::warn!(job = name, run = id, outcome = word, copied = status.copied, failed = status.failed, %error, "a run did not end well")
            }
            None => {
                let RunStatus { copied, deleted, failed, bytes, .. } = status;
                tracing::info!(job = name, run = id, outcome = word, copied, deleted, failed, bytes, "a run ended");
            }
        }
        {
            let mut face = self.board.face();
            face.live = None;
            face.waiting = None;
            face.note(&outcome);
            *face.totals.runs.entry(word.clone()).or_default() += 1;
            let record = &mut face.record;
            let mut dated_begin = None;
            if let Some(date) = &mut record.date {
                date.is_open = word == "interrupted";
                status.destination = Some(date.destination.clone());
                // As its schedule sees it, a run counts for its date: one that finished a former date leaves today's due.
                dated_begin = Some(date.at);
            }
            let is_whole = *cause != Cause::Retry;
            if is_whole {
                record.last_begin = dated_begin.or(started).or(Some(now));
                record.last_end = Some(now);
            }
            if word == "done" && is_whole {
                record.synced_until = started;
            }
            match word.as_str() {
                "done" | "thawing" => record.failures_in_row = 0,
                "interrupted" | "cancelled" => {}
                _ => record.failures_in_row += 1,
            }
            let was_stopped = matches!(word.as_str(), "interrupted" | "cancelled");
            if !was_stopped {
                record.failed = failed;
                record.failed_unnamed = outcome.failed_unnamed;
            }
            troubles.into_iter().rev().for_each(|trouble| record.note_trouble(trouble));
            if let Some(trouble) = status.error.clone().filter(|_| !was_stopped) {
                record.note_trouble(trouble);
            }
            record.note_run(status);
        }
        self.write().await;
        if word == "refused"
            && let Some(error) = &error
        {
            let why = Record::Refused { why: error.to_string() };
            if let Err(error) = self.common.audit.record(self.common.origin(name, Some(id)), why).await {
                tracing::error!(%error, job = name, "the audit log cannot be written");
            }
        }
        self.tell(name, &word, error.as_ref(), outcome.unproved);
    }

    fn tell(&self, job: &str, word: &str, error: Option<&Error>, unproved: bool) {
        let alerts = &self.common.alerts;
        let (failures, failed) = {
            let face = self.board.face();
            (face.record.failures_in_row, face.record.runs.front().map_or(0, |run| run.failed))
        };
        let message = error.map_or_else(|| format!("{failed} objects failed"), ToString::to_string);
        let advice = error.map(|error| error.advice().to_owned()).filter(|advice| !advice.is_empty() && !message.contains(advice.as_str()));
        if unproved {
            alerts.raise(AlertKind::Proof, Some(job), format!("bytes did not prove: {message}"), advice.clone());
        }
        match word {
            "done" => [AlertKind::Failing, AlertKind::Refused, AlertKind::Arrears, AlertKind::Proof].iter().for_each(|kind| alerts.clear(*kind, Some(job))),
            "refused" => alerts.raise(AlertKind::Refused, Some(job), message, advice),
            "halted" => alerts.raise(AlertKind::Arrears, Some(job), message, advice),
            // One failure may pass by itself.
            "stopped" | "partly" if failures >= 2 => alerts.raise(AlertKind::Failing, Some(job), message, advice),
            _ => {}
        }
    }
}

/// How a run ended.
struct Ended {
    /// `None`: it never began.
    started: Option<Timestamp>,
    outcome: Outcome,
    /// Why it could not go on as a whole.
    failure: Option<Error>,
}

/// What one run of a job works with.
struct RunScope {
    id: String,
    cause: Cause,
    setup: Arc<JobSetup>,
    common: Arc<Common>,
    board: Arc<Board>,
    cancel: CancellationToken,
    date: Option<RunDate>,
}

impl RunScope {
    async fn carry_out(self, origin: Origin, overridden: Option<String>) -> Ended {
        let mut ended = Ended { started: None, outcome: Outcome::default(), failure: None };
        if let Err(error) = self.work(&mut ended, origin, overridden).await {
            ended.failure = Some(error);
        }
        ended
    }

    async fn work(&self, ended: &mut Ended, origin: Origin, overridden: Option<String>) -> Result<()> {
        let interrupted = || Error::new(ErrorKind::Interrupted, "it was stopped before it began");
        let _turn = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(interrupted()),
            turn = self.common.turns.take(self.setup.priority) => turn.ok_or_else(interrupted)?,
        };
        let started = self.common.clock.now();
        ended.started = Some(started);
        self.common.audit.record(origin.clone(), Record::RunBegan { cause: self.cause.as_str().to_owned(), overridden }).await?;
        let progress = Arc::new(Progress::default());
        {
            let mut face = self.board.face();
            face.waiting = None;
            face.live = Some(Live {
                id: self.id.clone(),
                started,
                cause: self.cause.as_str().to_owned(),
                progress: progress.clone(),
                seen_bytes: 0,
                bytes_per_second: 0,
            });
        }
        tracing::info!(job = self.setup.name, run = self.id, cause = self.cause.as_str(), "a run begins");
        let answer = self.board.face().hints.as_ref().filter(|_| self.cause != Cause::Retry).map(HintQueue::scan_begins);
        let occasion = Occasion { at: self.date.as_ref().map_or(started, |date| date.at), meter: Some(self.meter()) };
        let opened = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(interrupted()),
            opened = self.setup.opener.open(&occasion) => opened?,
        };
        if let Some(date) = &self.date {
            self.board.face().record.note_journals(&date.destination, opened.iter().map(|opened| opened.pair.name()).collect());
        }
        let failed = if self.cause == Cause::Retry { self.board.face().record.failed.clone() } else { Vec::new() };
        let each = opened.into_iter().filter(|opened| self.cause != Cause::Retry || failed.iter().any(|key| key.label == opened.label));
        let runs = each.map(|opened| self.one(opened, &failed, progress.clone(), origin.clone()));
        let mut runs = futures::stream::iter(runs).buffer_unordered(BUCKETS_AT_A_TIME);
        while let Some(outcome) = runs.next().await {
            // One bucket that fails takes no other down.
            let outcome = outcome.unwrap_or_else(|error| Outcome {
                report: match error.kind() {
                    ErrorKind::Guard => Report { refused: Some(error), ..Report::default() },
                    ErrorKind::Interrupted => Report { interrupted: true, ..Report::default() },
                    _ => Report { stopped: Some(error), ..Report::default() },
                },
                ..Outcome::default()
            });
            ended.outcome.add(outcome);
        }
        if ended.outcome.word() == "done"
            && let Some(answer) = answer
        {
            answer.clean();
        }
        Ok(())
    }

    fn meter(&self) -> Meter {
        self.common.usage.meter(&self.setup.name, self.setup.usage_depth)
    }

    async fn one(&self, mut opened: Opened, failed: &[FailedKey], progress: Arc<Progress>, origin: Origin) -> Result<Outcome> {
        let Common { clock, memory, desks, audit, state, .. } = &*self.common;
        if let Cause::ByHand(Override { delete_limit: Some(limit) }, _) = &self.cause {
            opened.job.options.delete_limit = *limit;
        }
        let spool = if self.cause == Cause::Retry {
            let keys = failed.iter().filter(|key| key.label == opened.label).filter_map(FailedKey::key);
            let spool = super::spool::Spool::write(state.path(), &self.id, keys).await?;
            opened.job.options.delete = false;
            opened.job.options.files_from = Some(KeyFile { path: spool.path().to_owned(), separator: 0 });
            Some(spool)
        } else {
            None
        };
        if let Some(limit) = &opened.cost {
            let context = Context { clock: clock.clone(), cancel: self.cancel.clone(), spill_dir: Some(state.path().to_owned()), ..Context::default() };
            let estimate = limit.forecast(&opened.job, &context).await?;
            self.board.face().forecast = Some(ForecastStatus::of(&estimate, &limit.limit, clock.now()));
            limit.judge(&estimate)?;
        }
        let desk = desks.of(&opened.pair);
        let journal = desk.sit_down(&self.setup.name).await?;
        let own = origin.clone();
        let tools = Tools {
            clock: clock.clone(),
            memory: memory.clone(),
            share: self.common.pool().share(self.setup.priority),
            claims: desk.claims.clone(),
            journal: journal.clone(),
            progress,
            spill_dir: state.path().to_owned(),
            audit: audit.clone(),
            meter: self.meter(),
            origin,
            cancel: self.cancel.clone(),
        };
        let (tiers, job) = (opened.tiers.clone(), opened.job.clone());
        let mut outcome = run::run(opened, tools, |_| {}).await;
        let mut tiered = Ok(());
        if let Ok(outcome) = &mut outcome
            && outcome.word() == "done"
            && self.cause != Cause::Retry
        {
            let tiering = Tiering { common: &self.common, name: &self.setup.name, origin: own, cancel: &self.cancel, journal: &journal };
            tiered = tiering.carry_out(&tiers, &job, outcome).await;
        }
        drop(journal);
        desk.stand_up().await;
        tiered?;
        drop(spool);
        outcome
    }
}

/// From 0 to 1, by the name alone.
fn spread(name: &str) -> f64 {
    f64::from(crate::storage::checksum::Crc64::of(name.as_bytes()).xz as u32) / f64::from(u32::MAX)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// Reads a limit of deletes: a number, or a percentage.
///
/// Fails where it is neither.
pub(super) fn delete_limit(text: &str) -> Result<DeleteLimit> {
    let wrong = || Error::invalid(format!("'{text}' is no limit of deletes: write a number, or a percentage such as 10%"));
    match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).map(DeleteLimit::Percent).ok_or_else(wrong),
        None => text.parse().map(DeleteLimit::Count).map_err(|_| wrong()),
    }
}
