//! `dragon uploads abort`: the sweep of what was begun and never ended.
//!
//! Without asking go only uploads that a journal of this machine knows and that have rested for a week. Whoever began the others may
//! still be at work, on this machine or on another: they are shown, and a person says. An upload of a pair whose lock a run holds is
//! never touched.

use std::collections::HashMap;

use clap::Args;
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::confirm::confirm;
use crate::cli::exit::{self, Failure, Outcome};
use crate::cli::human;
use crate::cli::report::json_key;
use crate::cli::session::Session;
use crate::config::units::{self, Age};
use crate::error::{Error, ErrorKind};
use crate::journal::RunInfo;
use crate::journal::sqlite::sweep::Sweep;
use crate::storage::location::{Address, Location};

use super::{Journals, Known, Open, Place, multipart, open_uploads};

/// How long an upload that a journal knows must have rested to be swept without asking: a copy that is paused over a weekend is not
/// swept under it.
const REST_MIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Uploads that one question is about.
const ASKED_AT_ONCE: usize = 1000;

/// Abort open uploads under a prefix, and drop their parts
///
/// Those that a journal here knows and that have rested for 7 days go without asking; the others are shown and asked about.
#[derive(Debug, Args)]
pub(super) struct Abort {
    #[command(flatten)]
    place: Place,
    /// Leave those to which something has happened since: an age such as 7d, or a time
    #[arg(long, value_name = "AGE", value_parser = units::parse_age)]
    older_than: Option<Age>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Say what would be aborted, and abort nothing
    #[arg(short = 'n', long, visible_alias = "dryrun")]
    dry_run: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    event: &'static str,
    action: &'static str,
    key: String,
    upload_id: &'a str,
    bytes: u64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    aborted: u64,
    bytes: u64,
    failed: u64,
    kept: u64,
}

/// A sweep in progress.
struct Sweeping<'a> {
    session: &'a Session,
    at: &'a Location,
    journals: &'a Journals,
    dry_run: bool,
    force: bool,
    /// The pairs whose lock was asked for; `None` where a run holds it.
    locked: HashMap<String, Option<Sweep>>,
    tally: Tally,
}

impl Abort {
    pub(super) fn url(&self) -> &Address {
        &self.place.url
    }

    pub(super) async fn run(self, session: &Session) -> Outcome {
        let (at, journals) = self.place.open(session).await?;
        let now = session.clock.now();
        let newest = self.older_than.map(|age| age.moment(now));
        let rested = now.saturating_add(-REST_MIN).unwrap_or(Timestamp::MIN);
        let mut sweeping =
            Sweeping { session, at: &at, journals: &journals, dry_run: self.dry_run, force: self.force, locked: HashMap::new(), tally: Tally::default() };
        let mut doubtful = Vec::new();
        let mut uploads = std::pin::pin!(open_uploads(&at)?);
        while let Some(open) = uploads.try_next().await? {
            // What the service tells no time of may be a moment old.
            let touched = open.touched().unwrap_or(now);
            if newest.is_some_and(|newest| touched > newest) {
                continue;
            }
            let known = journals.know(&open.upload);
            let is_free = match known {
                Some(known) => sweeping.is_free(known).await?,
                None => true,
            };
            match known {
                _ if !is_free => sweeping.keep(&open)?,
                // What the journal saw last counts too: clocks may differ.
                Some(known) if touched.max(known.touched) <= rested => sweeping.abort(&open).await?,
                _ => doubtful.push(open),
            }
            if doubtful.len() == ASKED_AT_ONCE {
                sweeping.ask(std::mem::take(&mut doubtful)).await?;
            }
        }
        sweeping.ask(doubtful).await?;
        sweeping.conclude()
    }
}

impl Sweeping<'_> {
    /// Takes the lock of a pair, for as long as the command runs.
    async fn is_free(&mut self, known: &Known) -> Result<bool, Failure> {
        if let Some(sweep) = self.locked.get(&known.pair) {
            return Ok(sweep.is_some());
        }
        let Some(dir) = &self.journals.dir else { return Ok(true) };
        let sweep = match dir.sweep(&known.pair, RunInfo::of_process("uploads abort")).await {
            Ok(sweep) => Some(sweep),
            Err(error) if error.kind() == ErrorKind::Local => {
                self.session.output.note(&format!("dragon: note: uploads of {} are left alone: {}", known.way, error.message()));
                None
            }
            Err(error) => return Err(error.into()),
        };
        let is_free = sweep.is_some();
        self.locked.insert(known.pair.clone(), sweep);
        Ok(is_free)
    }

    /// Shows uploads, and aborts them if somebody says so.
    async fn ask(&mut self, doubtful: Vec<Open>) -> Result<(), Failure> {
        if doubtful.is_empty() {
            return Ok(());
        }
        if !self.force && !self.dry_run {
            for open in &doubtful {
                self.session.output.note(&open.line(self.journals.know(&open.upload).map(|known| known.way.as_str())));
            }
            self.session.output.flush()?;
            let these = if doubtful.len() == 1 { "this upload".to_owned() } else { format!("these {} uploads", doubtful.len()) };
            let nobody = format!("nobody is there to say whether {these} may be aborted: no journal here knows them, or they are young");
            confirm(&format!("abort {these}, and drop their parts?"), &nobody, "--dry-run shows what would be aborted, --force aborts it")?;
        }
        for open in doubtful {
            self.abort(&open).await?;
        }
        Ok(())
    }

    async fn abort(&mut self, open: &Open) -> Result<(), Failure> {
        let known = self.journals.know(&open.upload);
        let sweep = known.and_then(|known| self.locked.get(&known.pair)).and_then(Option::as_ref);
        if let (Some(known), Some(sweep)) = (known, sweep) {
            // A run may have been at work between our look at its journal and its lock.
            if !sweep.holds(known.flight, &open.upload.id).await? {
                return self.keep(open);
            }
        }
        if self.dry_run {
            self.count(open);
            return self.tell(open, "planned", None);
        }
        if let Err(error) = multipart(self.at)?.abort(&open.upload).await {
            let error = error.during("abort upload").on_key(&open.upload.key).in_store(&self.at.storage);
            self.tally.failed += 1;
            self.tell(open, "failed", Some(&error))?;
            return if error.stops_store() { Err(error.into()) } else { Ok(()) };
        }
        if let (Some(known), Some(sweep)) = (known, sweep) {
            sweep.aborted(known.flight).await?;
        }
        self.count(open);
        self.tell(open, "ok", None)
    }

    fn count(&mut self, open: &Open) {
        self.tally.aborted += 1;
        self.tally.bytes += open.bytes;
    }

    /// Leaves an upload because a run is, or was just, at work on it.
    fn keep(&mut self, open: &Open) -> Result<(), Failure> {
        self.tally.kept += 1;
        self.tell(open, "kept", None)
    }

    fn tell(&self, open: &Open, status: &'static str, error: Option<&Error>) -> Result<(), Failure> {
        let output = &self.session.output;
        if output.json {
            let (key, upload_id) = (json_key(&open.upload.key), open.upload.id.0.as_str());
            return output.object(&Row { event: "upload", action: "abort", key, upload_id, bytes: open.bytes, status, error: error.map(ToString::to_string) });
        }
        match (error, status) {
            (Some(error), _) => output.note(&format!("! {} ({error})", open.upload.key)),
            (None, "kept") => {}
            (None, _) if output.quiet => {}
            (None, _) => output.line(&format!("- {}", open.line(None)))?,
        }
        Ok(())
    }

    fn conclude(self) -> Outcome {
        let Tally { aborted, bytes, failed, kept } = self.tally;
        let output = &self.session.output;
        if !output.quiet && !output.json {
            let verb = if self.dry_run { "would abort" } else { "aborted" };
            let rest = [(failed, "failed"), (kept, "left to the run that is at work")].into_iter().filter(|(count, _)| *count > 0);
            let rest: String = rest.map(|(count, what)| format!(", {count} {what}")).collect();
            output.line(&format!("{verb} {} of {}{rest}", human::plural(aborted, "upload"), human::bytes(bytes)))?;
        }
        Ok(if failed > 0 { exit::FAILED } else { exit::OK })
    }
}
