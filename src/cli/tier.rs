//! `dragon tier`: how a job's objects age: what would change, and making it so.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::config;
use crate::config::units;
use crate::daemon::setup::{Occasion, Opened};
use crate::error::{Error, Result};
use crate::journal::{Journal, Pair};
use crate::metrics::Metrics;
use crate::tier::cloud::{self, Intent};
use crate::tier::cost::Tally;
use crate::tier::lifecycle::{Change, terraform};
use crate::tier::rule::By;
use crate::tier::sweep::{Spared, Standing, Step, Sweep, Swept, What, sweep};
use crate::tier::{End, Place};
use crate::transfer::Context;
use crate::transfer::job::DeleteLimit;

use super::estimate;
use super::exit::{self, Failure, Outcome};
use super::human;
use super::report::json_key;
use super::session::Session;
use super::state::{self, Need, State};

/// Objects that wait to be told.
const STEPS_MAX: usize = 1024;

/// Show or carry out the rules by which a job's objects move to colder classes and go ([[jobs.tier]])
#[derive(Debug, Args)]
pub(super) struct TierCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say what would change: in the bucket's own lifecycle rules, and what Dragon would move and delete. Changes nothing
    #[command(visible_alias = "diff")]
    Plan {
        #[command(flatten)]
        which: Which,
        /// Print the rules that the cloud is to carry out as Terraform instead, for whoever owns the bucket there
        #[arg(long)]
        terraform: bool,
    },
    /// Bring the bucket's own rules to what the job says, and carry out those that are Dragon's
    #[command(visible_alias = "apply")]
    Run {
        #[command(flatten)]
        which: Which,
        /// Refuse all deletes if they are more than N, or P% of what is there [default: the job's max_delete]
        #[arg(long, value_name = "N|P%", value_parser = units::parse_delete_limit)]
        max_delete: Option<DeleteLimit>,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The job, as dragon.toml calls it
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    state: State,
}

/// A rule of a bucket, with --json.
#[derive(Serialize)]
struct RuleRow<'a> {
    event: &'static str,
    store: String,
    action: &'static str,
    id: &'a str,
    rule: String,
    status: &'static str,
}

/// An object, with --json.
#[derive(Serialize)]
struct ObjectRow<'a> {
    event: &'static str,
    action: &'static str,
    store: &'a str,
    key: String,
    size: u64,
    rule: &'a str,
    storage_class: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The end of a place, with --json.
#[derive(Serialize)]
struct Summary<'a> {
    event: &'static str,
    store: &'a str,
    listed: u64,
    moved: u64,
    moved_bytes: u64,
    deleted: u64,
    deleted_bytes: u64,
    spared: BTreeMap<String, u64>,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl TierCommand {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        match self.action {
            Action::Plan { which, terraform: true } => which.terraform(session).await,
            Action::Plan { which, terraform: false } => which.each(session, true, None).await,
            Action::Run { which, max_delete } => which.each(session, false, max_delete).await,
        }
    }
}

impl Which {
    /// Opens the job's ends.
    async fn open(&self, session: &Session) -> Result<Vec<Opened>> {
        let setup = config::daemon::setup(&session.config, &session.clock, &Arc::<Metrics>::default());
        let Some(job) = setup.jobs.iter().find(|job| job.name == self.job) else {
            let names: Vec<&str> = setup.jobs.iter().map(|job| job.name.as_str()).collect();
            let advice = if names.is_empty() { "no job is configured: see dragon.toml.example".to_owned() } else { format!("there are: {}", names.join(", ")) };
            return Err(Error::invalid(format!("there is no job '{}'", self.job)).advise(advice));
        };
        let opened = job.opener.open(&Occasion { at: session.clock.now(), meter: None }).await?;
        if opened.iter().all(|opened| opened.tiers.is_empty()) {
            return Err(Error::invalid(format!("the job '{}' has no rules", self.job)).advise("write a [[jobs.tier]] table behind it"));
        }
        Ok(opened)
    }

    async fn terraform(&self, session: &Session) -> Outcome {
        for opened in self.open(session).await? {
            for place in opened.tiers.iter().filter(|place| place.rules_by(By::Cloud).next().is_some()) {
                let Intent { service, bucket, wanted, .. } = cloud::plan(place, &self.job).await?;
                session.output.bytes(terraform(service, &bucket, &wanted).as_bytes())?;
            }
        }
        Ok(exit::OK)
    }

    async fn each(&self, session: &Session, is_planned: bool, max_delete: Option<DeleteLimit>) -> Outcome {
        let mut worst = exit::OK;
        for mut opened in self.open(session).await? {
            opened.job.options.dry_run = is_planned;
            if let Some(limit) = max_delete {
                opened.job.options.delete_limit = limit;
            }
            let proofs = self.proofs(session, &opened.pair).await?;
            for place in &opened.tiers {
                let shown = place.location.tree().to_string();
                if !session.output.json {
                    session.output.line(&format!("{shown} ({})", end_in_words(place.end)))?;
                }
                if cloud::concerns(place) {
                    self.by_cloud(session, place, is_planned).await?;
                }
                let who = [By::Cloud, By::Dragon].into_iter().filter(|by| place.rules_by(*by).next().is_some() && (is_planned || *by == By::Dragon));
                for by in who {
                    let code = self.look_through(session, &opened, place, &shown, proofs.clone(), by).await?;
                    // Of two ends the graver: interrupted, stopped, refused, failed.
                    worst = [130, exit::STOPPED, 5, exit::FAILED].into_iter().find(|grave| [worst, code].contains(grave)).unwrap_or(exit::OK);
                }
            }
        }
        Ok(worst)
    }

    /// What the job's journal has proved, where there is one.
    async fn proofs(&self, session: &Session, pair: &Pair) -> Result<Option<Arc<dyn Journal>>> {
        Ok(match self.state.open(session, pair.clone(), Need::View).await? {
            state::Opened::Nothing => None,
            viewed => Some(viewed.journal()),
        })
    }

    async fn by_cloud(&self, session: &Session, place: &Place, is_planned: bool) -> Result<(), Failure> {
        let asked = if is_planned { cloud::plan(place, &self.job).await } else { cloud::apply(place, &self.job).await };
        let intent = match asked {
            // Nothing is asked of the bucket but whether a rule is left from before: a service without rules has none.
            Err(error) if place.rules_by(By::Cloud).next().is_none() && !error.stops_store() => {
                session.output.note(&format!("dragon: note: the bucket's own rules are not looked at: {error}"));
                return Ok(());
            }
            asked => asked?,
        };
        if session.output.json {
            for change in &intent.plan.changes {
                let (action, id, rule) = match change {
                    Change::Add(rule) => ("add", rule.id.as_str(), rule.to_string()),
                    Change::Alter { to, .. } => ("change", to.id.as_str(), to.to_string()),
                    Change::Remove { id, rule } => ("remove", id.as_str(), rule.as_ref().map(ToString::to_string).unwrap_or_default()),
                    Change::Keep(rule) => ("keep", rule.id.as_str(), rule.to_string()),
                };
                let status = if is_planned && action != "keep" { "planned" } else { "ok" };
                session.output.object(&RuleRow { event: "rule", store: place.location.storage.to_string(), action, id, rule, status })?;
            }
            return Ok(());
        }
        if intent.plan.changes.is_empty() && intent.plan.foreign == 0 {
            return Ok(());
        }
        let what = match (intent.plan.is_empty(), is_planned) {
            (true, _) => "the bucket's own rules are as the job says:",
            (false, true) => "the bucket's own rules would change:",
            (false, false) => "the bucket's own rules were changed, and read again:",
        };
        session.output.line(&format!("  {what}"))?;
        for line in intent.plan.to_string().lines() {
            session.output.line(&format!("    {line}"))?;
        }
        Ok(())
    }

    /// Carries out what is Dragon's, or says what would be: of the cloud's rules as well.
    async fn look_through(&self, session: &Session, opened: &Opened, place: &Place, shown: &str, proofs: Option<Arc<dyn Journal>>, by: By) -> Outcome {
        for rule in place.rules_by(by).filter(|_| !session.output.json) {
            session.output.line(&format!("  by {}: {rule}", if by == By::Dragon { "Dragon" } else { "the cloud" }))?;
        }
        // A journal of its own: the lock keeps two of these apart, and what is deleted stands in it.
        let location = place.location.tree();
        let need = if opened.job.options.dry_run { Need::View } else { Need::Write("tier") };
        let journal = self.state.open(session, Pair::of(&location, &location), need).await?;
        let context = Context {
            clock: session.clock.clone(),
            cancel: session.cancel.clone(),
            spill_dir: self.state.spill_dir(session),
            journal: if opened.job.options.dry_run { Context::default().journal } else { journal.journal() },
            ..Context::default()
        };
        let (sender, steps) = mpsc::channel::<Step>(STEPS_MAX);
        let mut tally = Tally::default();
        let (service, now) = (location.storage.capabilities().service, session.clock.now());
        let store = place.store.clone();
        let telling = async {
            // Dropped with this: a reader who went away holds nothing up.
            let mut steps = steps;
            while let Some(step) = steps.recv().await {
                if matches!(step.standing, Standing::Planned) {
                    tally.age(&store, service, by, &step, now);
                }
                tell(session, shown, &step)?;
            }
            Ok::<(), Failure>(())
        };
        let (swept, told) = futures::join!(sweep(Sweep { by, ..place.sweep(&opened.job, proofs) }, &context, sender), telling);
        told?;
        let swept = swept?;
        if session.output.json {
            let spared = swept.spared.iter().map(|(why, count)| (why.to_string(), *count)).collect();
            let Swept { listed, moved, moved_bytes, deleted, deleted_bytes, failed, .. } = swept;
            let error = swept.stopped.as_ref().or(swept.refused.as_ref()).map(ToString::to_string);
            session.output.object(&Summary { event: "summary", store: shown, listed, moved, moved_bytes, deleted, deleted_bytes, spared, failed, error })?;
        } else if !session.output.quiet {
            for line in in_words(&swept, opened.job.options.dry_run) {
                session.output.line(&format!("  {line}"))?;
            }
            for line in estimate::in_words(&tally.estimate(&estimate::table(session, None)?)) {
                session.output.line(&format!("  {line}"))?;
            }
        }
        for error in swept.stopped.iter().chain(&swept.refused) {
            exit::complain(&error.to_string());
        }
        Ok(match &swept {
            Swept { interrupted: true, .. } => 130,
            Swept { stopped: Some(_), .. } => exit::STOPPED,
            Swept { refused: Some(_), .. } => 5,
            Swept { failed: 1.., .. } => exit::FAILED,
            _ => exit::OK,
        })
    }
}

fn end_in_words(end: End) -> &'static str {
    match end {
        End::Source => "source",
        End::Destination => "destination",
        End::Third => "another place",
    }
}

fn in_words(swept: &Swept, is_planned: bool) -> Vec<String> {
    let would = if is_planned { "would be " } else { "" };
    let mut lines = vec![
        format!("{} {would}moved to colder classes ({})", human::plural(swept.moved, "object"), human::bytes(swept.moved_bytes)),
        format!("{} {would}deleted ({})", human::plural(swept.deleted, "object"), human::bytes(swept.deleted_bytes)),
    ];
    for (why, count) in &swept.spared {
        lines.push(format!("{} left alone: {why}", human::plural(*count, "object")));
    }
    if swept.failed > 0 {
        lines.push(format!("{} failed", human::plural(swept.failed, "object")));
    }
    lines
}

fn tell(session: &Session, store: &str, step: &Step) -> Result<(), Failure> {
    let (action, to) = match &step.what {
        What::Move { class } => ("class", Some(class.as_str())),
        What::Delete => ("delete", None),
    };
    let (status, reason, error) = match &step.standing {
        Standing::Done => ("ok", None, None),
        Standing::Planned => ("planned", None, None),
        Standing::Spared(why) => ("spared", Some(*why), None),
        Standing::Failed(error) => ("failed", None, Some(error)),
    };
    if session.output.json {
        return session.output.object(&ObjectRow {
            event: "object",
            action,
            store,
            key: json_key(&step.key),
            size: step.size,
            rule: &step.rule,
            storage_class: &step.class,
            to,
            status,
            version_id: step.version.as_deref(),
            reason: reason.as_ref().map(Spared::to_string),
            error: error.map(ToString::to_string),
        });
    }
    let change = match to {
        Some(class) => format!("{} -> {class}", if step.class.is_empty() { "standard" } else { &step.class }),
        None => "delete".to_owned(),
    };
    match &step.standing {
        Standing::Failed(error) => {
            session.output.note(&format!("! {} ({change}): {error}", step.key));
            Ok(())
        }
        // Millions may be spared, and most people want to know how many.
        Standing::Spared(why) if session.output.verbose => session.output.line(&format!("  . {} ({change}): {why}", step.key)),
        Standing::Spared(_) => Ok(()),
        Standing::Done | Standing::Planned if session.output.quiet => Ok(()),
        Standing::Done | Standing::Planned => {
            session.output.line(&format!("  {} {} ({change}, {})", if to.is_some() { '*' } else { '-' }, step.key, step.rule))
        }
    }
}
