//! After a run that ended well, once a day: the job's rules that Dragon carries out.
//!
//! The cloud's own rules are not touched here: a person brings them up to date with `dragon tier run`.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::audit::{Origin, Record};
use super::common::Common;
use super::run::Outcome;
use crate::error::{Error, Result};
use crate::journal::{Journal, Pair};
use crate::storage::key::escape;
use crate::tier::Place;
use crate::tier::rule::By;
use crate::tier::sweep::{Standing, Step, Swept, What, sweep};
use crate::transfer::{Context, Job};

/// Under which the job's journal remembers the day on which its rules were last carried out, in days since 1970, UTC.
const LEARNED_DAY: &str = "tier_day";
/// Audit records that are written together.
const RECORDS_MAX: usize = 256;

/// A job's rules, about to be carried out.
pub(super) struct Tiering<'a> {
    pub(super) common: &'a Common,
    pub(super) name: &'a str,
    pub(super) origin: Origin,
    pub(super) cancel: &'a CancellationToken,
    /// The job's journal, which knows what is proved.
    pub(super) journal: &'a Arc<dyn Journal>,
}

impl Tiering<'_> {
    /// Carries out what is due. What was refused or failed stands in the outcome of the run.
    pub(super) async fn carry_out(&self, places: &[Place], job: &Job, outcome: &mut Outcome) -> Result<()> {
        let clock = &self.common.clock;
        let today = u64::try_from(clock.now().as_second()).unwrap_or_default() / (24 * 3600);
        let own = || places.iter().filter(|place| place.rules_by(By::Dragon).next().is_some());
        if own().next().is_none() || self.journal.learned(LEARNED_DAY).await?.is_some_and(|day| day >= today) {
            return Ok(());
        }
        for place in own() {
            let swept = self.place(place, job, outcome).await?;
            let Swept { moved, moved_bytes, deleted, deleted_bytes, failed, .. } = swept;
            tracing::info!(job = self.name, place = %place.location, moved, moved_bytes, deleted, deleted_bytes, failed, "rules were carried out");
            outcome.report.failed += swept.failed;
            outcome.report.interrupted |= swept.interrupted;
            outcome.report.stopped = outcome.report.stopped.take().or(swept.stopped);
            outcome.report.refused = outcome.report.refused.take().or(swept.refused);
            if swept.interrupted {
                return Ok(());
            }
        }
        self.journal.learn(LEARNED_DAY, today).await
    }

    async fn place(&self, place: &Place, job: &Job, outcome: &mut Outcome) -> Result<Swept> {
        let Common { clock, desks, audit, state, .. } = self.common;
        let location = place.location.tree();
        let desk = desks.of(&Pair::of(&location, &location));
        let context = Context {
            clock: clock.clone(),
            cancel: self.cancel.clone(),
            spill_dir: Some(state.path().to_owned()),
            journal: desk.sit_down(self.name).await?,
            ..Context::default()
        };
        let (sender, steps) = mpsc::channel::<Step>(RECORDS_MAX);
        let sweeping = sweep(place.sweep(job, Some(self.journal.clone())), &context, sender);
        let recording = async {
            // Dropped with this: a log that cannot be written holds nothing up.
            let mut steps = steps;
            let mut records = Vec::new();
            while let Some(step) = steps.recv().await {
                match (&step.standing, &step.what) {
                    (Standing::Failed(error), _) => outcome.note_failure(&None, &step.key, Some(error), clock.now()),
                    (Standing::Done, What::Delete) => {
                        let key = escape(step.key.as_bytes());
                        let record = Record::Expired { place: location.to_string(), key, rule: step.rule, version: step.version };
                        records.push((self.origin.clone(), record));
                    }
                    _ => {}
                }
                if records.len() >= RECORDS_MAX || steps.is_empty() {
                    // A log that cannot be written ends it: what it does would be known to nobody.
                    if let Err(error) = audit.record_all(std::mem::take(&mut records)).await {
                        self.cancel.cancel();
                        return Err(error);
                    }
                }
            }
            Ok::<(), Error>(())
        };
        let (swept, recorded) = futures::join!(sweeping, recording);
        desk.stand_up().await;
        recorded?;
        let swept = swept?;
        if let Some(refused) = &swept.refused {
            audit.record(self.origin.clone(), Record::Refused { why: refused.to_string() }).await?;
        }
        Ok(swept)
    }
}
