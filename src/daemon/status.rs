//! What the daemon shows of itself: one value from which the page, the API, the metrics and `dragon status` are made.
//!
//! Everything in here may be shown to whoever may look: no secret ever gets here. Times are RFC 3339 in UTC, durations in seconds,
//! sizes in bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::usage::Sums;
use crate::error::Error;
use crate::tier::cost::Estimate;
use crate::tier::price::Money;

/// Everything, at one moment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Snapshot {
    /// When this was seen.
    pub now: Timestamp,
    /// Version of Dragon.
    pub version: &'static str,
    /// The machine.
    pub host: String,
    /// Since when the daemon has been running.
    pub started: Timestamp,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// The jobs, in the configuration's order.
    pub jobs: Vec<JobStatus>,
    /// The stores that have been used, by name.
    pub stores: Vec<StoreStatus>,
    /// Bytes that moved, over all jobs.
    pub throughput: Throughput,
    /// What is counted of the requests to stores, over all jobs.
    pub counters: Vec<Count>,
    /// Memory budget for object bytes, in bytes, and what of it is in use.
    pub memory_bytes: u64,
    /// See `memory_bytes`.
    pub memory_in_use_bytes: u64,
    /// The limit that was set by hand over all jobs, if any.
    pub limit: Option<LimitStatus>,
    /// The daemon drains: nothing new is begun.
    pub draining: bool,
}

/// A sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Count {
    /// Its name, with its unit at the end.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// The sum.
    pub value: u64,
}

/// The configuration in force.
#[derive(Debug, Clone, Serialize, JsonSchema, Default)]
pub struct ConfigStatus {
    /// The file.
    pub file: Option<String>,
    /// Its SHA-256.
    pub revision: String,
    /// Since when it has been in force.
    pub loaded: Option<Timestamp>,
    /// Why a newer text of it was refused; the old one is still in force.
    pub refused: Option<Trouble>,
}

/// How a job stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// The last run made the destination hold what the source held.
    InSync,
    /// It has never run to its end.
    New,
    /// It runs.
    Running,
    /// It is due, and waits for its window or its turn.
    Waiting,
    /// Somebody paused it.
    Paused,
    /// The last run ended, and not all of it went well.
    Behind,
    /// Its runs fail; the next try comes after a wait.
    Failing,
    /// A guard refused: a person must look.
    Refused,
    /// A store is in arrears or disabled: a person must act.
    Halted,
}

impl JobState {
    /// The word, as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::New => "new",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Behind => "behind",
            Self::Failing => "failing",
            Self::Refused => "refused",
            Self::Halted => "halted",
        }
    }

    /// Whether a person should look.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Behind | Self::Failing | Self::Refused | Self::Halted)
    }
}

/// One job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// Where it reads.
    pub source: String,
    /// Where it writes, as it is configured.
    pub destination: String,
    /// Where the run underway or the last one writes, where the destination has a date.
    pub dated_destination: Option<String>,
    /// `sync` or `copy`.
    pub mode: &'static str,
    /// How it stands.
    pub state: JobState,
    /// Why, in a sentence, where the word is not enough.
    pub why: Option<String>,
    /// When it runs, in the configuration's words.
    pub schedule: Option<String>,
    /// Its windows, in the configuration's words.
    pub windows: Vec<String>,
    /// When the next run begins.
    pub next_run: Option<Timestamp>,
    /// Its share against the others'.
    pub priority: u32,
    /// Every change before this moment is at the destination: the begin of the last run that ended clean.
    pub synced_until: Option<Timestamp>,
    /// How far behind the mirror can be: seconds since the oldest change that may not be at the destination. `None`: nobody knows yet.
    pub lag_seconds: Option<u64>,
    /// How far behind it may be.
    pub lag_max_seconds: Option<u64>,
    /// The oldest change that is known and not yet at the destination.
    pub oldest_pending: Option<Timestamp>,
    /// The run underway.
    pub current: Option<CurrentRun>,
    /// Runs that ended, the latest first; as many as are shown.
    pub recent_runs: Vec<RunStatus>,
    /// Runs in a row that failed.
    pub failures_in_row: u32,
    /// The latest errors, the latest first.
    pub troubles: Vec<Trouble>,
    /// Change events, where the job has a source of them.
    pub hints: Option<HintStatus>,
    /// Sums since the daemon began.
    pub totals: Totals,
    /// What it has used since the daemon began, run underway included.
    pub usage: Sums,
    /// What the last run was going to cost, where the job has a limit of that.
    pub forecast: Option<ForecastStatus>,
    /// The limit that was set by hand, if any.
    pub limit: Option<LimitStatus>,
    /// Objects that failed in the last run, and can be tried again by themselves.
    pub failed_keys: u64,
}

/// What a run was going to cost, by the operator's table of prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ForecastStatus {
    /// When it was planned.
    pub at: Timestamp,
    /// The job's limit, such as `20.0000 USD`.
    pub limit: String,
    /// What is charged once, an amount for each currency.
    pub once: Vec<String>,
    /// What is charged every month from then on.
    pub monthly: Vec<String>,
    /// Things that have no known price.
    pub unknown: usize,
}

impl ForecastStatus {
    /// Of an estimate.
    pub(super) fn of(estimate: &Estimate, limit: &Money, at: Timestamp) -> Self {
        let words = |all: Vec<Money>| all.iter().map(ToString::to_string).collect();
        Self { at, limit: limit.to_string(), once: words(estimate.total(false)), monthly: words(estimate.total(true)), unknown: estimate.unknown().count() }
    }
}

/// A run underway.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CurrentRun {
    /// Its id.
    pub id: String,
    /// When it began.
    pub started: Timestamp,
    /// Why: `schedule`, `by hand`, `retry`, `events`, `catch-up`.
    pub cause: String,
    /// Keys listed at the source so far.
    pub listed: u64,
    /// Both listings have ended.
    pub listing_done: bool,
    /// Objects to copy so far, and their bytes.
    pub planned_objects: u64,
    /// See `planned_objects`.
    pub planned_bytes: u64,
    /// Objects copied, and their bytes.
    pub copied_objects: u64,
    /// See `copied_objects`.
    pub copied_bytes: u64,
    /// Objects that failed.
    pub failed_objects: u64,
    /// Objects found unchanged.
    pub skipped_objects: u64,
    /// Bytes a second, over the last moments.
    pub bytes_per_second: u64,
    /// What moves now, the longest-running first; as many as are shown.
    pub moving: Vec<MovingObject>,
}

/// An object that moves.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MovingObject {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of it that moved.
    pub done: u64,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, serde::Deserialize)]
pub struct RunStatus {
    /// Its id.
    pub id: String,
    /// Why it ran.
    pub cause: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// `done`, `partly` (some objects failed), `thawing` (the rest waits for an archive), `stopped` (it could not go on), `refused` (by a guard), `halted` (the account is in
    /// arrears or disabled), `interrupted` (by a window or the daemon's end) or `cancelled` (by somebody).
    pub outcome: String,
    /// Objects copied and proved.
    pub copied: u64,
    /// Found unchanged.
    pub skipped: u64,
    /// Deleted at the destination.
    pub deleted: u64,
    /// Failed.
    pub failed: u64,
    /// Waiting for an archive to restore them, or for another day's budget.
    #[serde(default)]
    pub thawing: u64,
    /// Bytes of what was copied.
    pub bytes: u64,
    /// Of the copied, those whose bytes are proved at both ends.
    pub verified: u64,
    /// Where it wrote, where the job's destination has a date.
    #[serde(default)]
    pub destination: Option<String>,
    /// Why it did not end well.
    pub error: Option<Trouble>,
}

/// What went wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, serde::Deserialize)]
pub struct Trouble {
    /// When.
    pub at: Timestamp,
    /// What happened, to which object, in which store.
    pub message: String,
    /// What to do next.
    pub advice: Option<String>,
    /// The key concerned.
    pub key: Option<String>,
    /// The cloud's error code.
    pub code: Option<String>,
    /// The cloud's request id.
    pub request_id: Option<String>,
}

/// Change events of a job.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct HintStatus {
    /// Where they come from, in words.
    pub source: String,
    /// Whether the source answers.
    pub connected: bool,
    /// Keys that wait for their compare.
    pub pending: u64,
    /// Events taken, duplicates included.
    pub received: u64,
    /// Events that told nothing new.
    pub duplicates: u64,
    /// Floods and losses that made a scan necessary.
    pub rescans: u64,
    /// When the last one came.
    pub last: Option<Timestamp>,
    /// From the change to its proof at the destination, in milliseconds: the median and the worst of the last hundred.
    pub delay_median_ms: Option<u64>,
    /// See `delay_median_ms`.
    pub delay_worst_ms: Option<u64>,
    /// Why the source does not answer.
    pub trouble: Option<Trouble>,
}

/// Sums of one job since the daemon began.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Totals {
    /// Runs ended, by outcome.
    pub runs: BTreeMap<String, u64>,
    /// Objects copied and proved.
    pub copied: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Of the copied, those whose bytes are proved at both ends.
    pub verified: u64,
    /// Objects deleted at the destination.
    pub deleted: u64,
    /// Objects that failed.
    pub failed: u64,
}

/// A store, as the last runs found it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StoreStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `ok`, `slow`, `down` or `halted`.
    pub health: &'static str,
    /// Why.
    pub why: Option<String>,
}

/// Bytes that moved, sampled.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Throughput {
    /// Bytes a second now.
    pub bytes_per_second: u64,
    /// Bytes of each of the last 60 minutes, the oldest first.
    pub minutes: Vec<u64>,
    /// Bytes of each of the last 24 hours, in 96 quarters of an hour, the oldest first.
    pub quarters: Vec<u64>,
}

/// A limit that was set by hand.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LimitStatus {
    /// Bytes a second; `None` is no limit, where the configuration has one.
    pub bytes_per_second: Option<u64>,
    /// Until when; `None`: until it is changed.
    pub until: Option<Timestamp>,
}

impl Trouble {
    /// What an error tells.
    pub fn of(error: &Error, at: Timestamp) -> Self {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let answer = error.answer();
        Self {
            at,
            message: error.to_string(),
            advice: said(error.advice()),
            key: error.key().map(str::to_owned),
            code: answer.and_then(|answer| said(&answer.code)),
            request_id: answer.and_then(|answer| said(&answer.request_id)),
        }
    }
}
