//! Carries out what no cloud does by itself: looks through a place once, moves what is old enough to colder classes, deletes what is to go.
//!
//! Objects only ever sink, so no two rules can send one to and fro. What would cost a fee that nobody has agreed to, what nothing would
//! prove afterwards and what changed meanwhile is spared, and told. Deletes come last and past the guard of a sync's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::mpsc;

use super::rule::{Action, AgeBy, By, Rule};
use super::snapshot::{self, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, Outcome};
use crate::storage::class::Class;
use crate::storage::location::Location;
use crate::storage::{Key, Kind, List, ObjectRef, Versioning};
use crate::transfer::Context;
use crate::transfer::delete;
use crate::transfer::job::DeleteLimit;
use crate::transfer::spill::{SpillDir, Spool};
use crate::transfer::task::Listed;

mod removal;
mod sink;

/// Objects that are looked at or moved at a time.
const AT_ONCE: usize = 16;
/// Snapshots that the rules of one place keep in mind.
const SNAPSHOTS_MAX: usize = 100_000;

/// What to do with a place.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The place, as a tree.
    pub place: Location,
    /// The rules of the place.
    pub rules: Vec<Rule>,
    /// Whose rules of these are looked at. What the cloud carries out can only be planned.
    pub by: By,
    /// What was proved of the place's objects by the job: for rules whose ages it knows.
    pub proofs: Option<Arc<dyn Journal>>,
    /// Delete only what the job's journal says is at the destination: the place is the source.
    pub only_copied: bool,
    /// Delete only what this place has no more: the place is a copy of it, and what it holds would be copied again.
    pub source: Option<Location>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Move and delete also where a class charges for it.
    pub touch_cold: bool,
    /// How many deletes are allowed.
    pub delete_limit: DeleteLimit,
}

/// What becomes of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It moves to this class.
    Move {
        /// In the service's word.
        class: String,
    },
    /// It is deleted.
    Delete,
}

/// Why an object that a rule is about stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spared {
    /// Its class charges for the rest of its minimum duration.
    MinimumDuration,
    /// It is so small that the colder class costs more.
    Small,
    /// It lies in an archive: only the cloud's own rules take it deeper.
    Archived,
    /// It is larger than what the service copies onto itself in one request.
    Large,
    /// It grows by appending, which a copy would end.
    Appendable,
    /// The service states no checksum of it, so nothing would prove it afterwards.
    Unprovable,
    /// Others may read it by grants that no copy keeps.
    Grants,
    /// The job has not copied it yet, as it is now.
    NotCopied,
    /// The job's source still holds it, and the next run would copy it again.
    AtSource,
    /// A retention or legal hold keeps it.
    Locked,
    /// It was written again, or is gone, since it was listed.
    Changed,
}

/// How one object's turn ended.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Done.
    Done,
    /// A dry run would do it.
    Planned,
    /// It stays as it is.
    Spared(Spared),
    /// It could not be done.
    Failed(Error),
}

/// One object that a rule is about.
#[derive(Debug, Clone)]
pub struct Step {
    /// The rule's name.
    pub rule: String,
    /// The key relative to the place.
    pub key: Key,
    /// Length in bytes.
    pub size: u64,
    /// The class that it lies in, in the service's word; empty where it has none.
    pub class: String,
    /// When it was last modified.
    pub modified: Option<Timestamp>,
    /// What is to become of it.
    pub what: What,
    /// How that ended.
    pub standing: Standing,
    /// The version or delete marker that a delete has left, where there is one.
    pub version: Option<String>,
}

/// The sum of a sweep. In a dry run `moved` and `deleted` say what would be.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// Objects listed.
    pub listed: u64,
    /// Objects moved to a colder class.
    pub moved: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Objects that were left as they are, by why.
    pub spared: BTreeMap<Spared, u64>,
    /// Objects that failed.
    pub failed: u64,
    /// The guard refused the deletes: none was made.
    pub refused: Option<Error>,
    /// The place could not be looked through to its end: nothing was deleted.
    pub stopped: Option<Error>,
    /// The operator stopped it.
    pub interrupted: bool,
}

/// What a rule wants of an object, before anything was asked about it.
#[derive(Debug, Clone)]
struct Due {
    rule: usize,
    what: What,
}

/// The snapshots that are to go, by rule: names of segments behind its prefix.
type Doomed = BTreeMap<usize, HashSet<Vec<u8>>>;

/// Looks through a place and carries out its rules. `told` is sent every object that a rule is about, and how that ended: it waits for a full
/// channel, and goes on without one that was closed.
///
/// Fails where it cannot start: a place that cannot be listed, rules that cannot hold there. What happens later stands in what it returns.
pub async fn sweep(sweep: Sweep, context: &Context, told: mpsc::Sender<Step>) -> Result<Swept> {
    let sweep = Sweep { place: sweep.place.tree(), source: sweep.source.as_ref().map(Location::tree), ..sweep };
    sweep.check().await?;
    let now = context.clock.now();
    let doomed = sweep.doomed(now).await?;
    let mut swept = Swept::default();
    // What is to be deleted, by the rule that wants it.
    let mut spools: BTreeMap<usize, Spool> = BTreeMap::new();
    let mut steps = sweep.steps(&doomed, now, context);
    while let Some(found) = steps.next().await {
        match found {
            Err(error) => {
                swept.stopped = Some(error);
                break;
            }
            Ok(Found::Listed(count)) => swept.listed += count,
            Ok(Found::Step(step)) => {
                swept.note(step, &told).await;
            }
            Ok(Found::Candidate(rule, listed)) => {
                let empty = || Spool::new(SpillDir::new(context.spill_dir.as_deref(), context.clock.clone()));
                spools.entry(rule).or_insert_with(empty).push(&listed.entry()).await?;
            }
        }
        if context.cancel.is_cancelled() {
            swept.interrupted = true;
            break;
        }
    }
    drop(steps);
    let refusal = refusal(sweep.delete_limit, spools.values().map(Spool::len).sum(), swept.listed);
    let is_whole = swept.stopped.is_none() && !swept.interrupted;
    if is_whole && (refusal.is_none() || sweep.dry_run) {
        for (rule, spool) in spools {
            sweep.delete(spool.into_reader(), rule, now, context, &mut swept, &told).await?;
        }
    }
    if is_whole {
        swept.refused = refusal;
    }
    let outcome = match () {
        () if !is_whole => Outcome::Stopped,
        () if swept.failed > 0 || swept.refused.is_some() => Outcome::Partly,
        () => Outcome::Done,
    };
    context.journal.end(outcome, context.clock.now()).await?;
    Ok(swept)
}

enum Found {
    Listed(u64),
    Step(Step),
    Candidate(usize, Listed),
}

/// Refuses more deletes than a person would expect.
fn refusal(limit: DeleteLimit, candidates: u64, listed: u64) -> Option<Error> {
    delete::exceeds(limit, candidates, listed).then(|| {
        let message = format!("{candidates} of {listed} objects would be deleted, and the limit is {}: none was", delete::limit_in_words(limit));
        Error::new(ErrorKind::Guard, message).advise("look at `dragon tier plan`; if it is right, allow it once with --max-delete N or --max-delete P%")
    })
}

impl Sweep {
    async fn check(&self) -> Result<()> {
        if self.by == By::Cloud && !self.dry_run {
            return Err(Error::invalid("what the cloud carries out is not done here"));
        }
        let moves = self.own_rules().any(|(_, rule)| rule.actions.iter().any(|action| matches!(action, Action::Transition { .. })));
        if self.by == By::Dragon
            && moves
            && let Some(versions) = self.place.storage.versions()
            && versions.versioning().await? != Versioning::Off
        {
            return Err(Error::invalid(format!("{} keeps versions: a copy into another class would leave the old one beside it, and cost twice", self.place))
                .advise("let the cloud carry it out: by = \"cloud\""));
        }
        if self.by == By::Dragon && self.only_copied && self.own_rules().any(|(_, rule)| rule.deletes()) && self.proofs.is_none() {
            return Err(Error::invalid(format!("what is deleted in {} must be proved at the destination, and there is no journal that says so", self.place))
                .advise("give the state directory in which the job's journal is"));
        }
        if self.proofs.is_none() && self.own_rules().any(|(_, rule)| rule.age_by == AgeBy::Journal) {
            return Err(Error::invalid("age_by = \"journal\" needs the job's journal").advise("give the state directory in which it is"));
        }
        Ok(())
    }

    fn own_rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules.iter().enumerate().filter(|(_, rule)| rule.by == self.by)
    }

    /// Finds the snapshots that are to go: a listing of one level, however many objects each of them has.
    async fn doomed(&self, now: Timestamp) -> Result<Doomed> {
        let today: Date = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let mut doomed = Doomed::new();
        let mut known = 0_usize;
        for (index, rule) in self.own_rules() {
            let mut series: BTreeMap<Vec<u8>, BTreeSet<Snapshot>> = BTreeMap::new();
            let retentions = rule.actions.iter().filter_map(|action| if let Action::Keep(retention) = action { Some(retention) } else { None });
            for retention in retentions {
                let prefix = self.place.key(rule.scope.prefix.as_bytes());
                let mut pages = self.place.storage.list(List { delimiter: Some(b'/'), ..List::under(prefix.clone()) });
                while let Some(page) = pages.next().await {
                    let page = page?;
                    let keys = page.iter().map(|entry| entry.key).chain(page.prefixes().iter().map(Key::as_bytes));
                    for key in keys {
                        let Some((name, snapshot)) = key.strip_prefix(prefix.as_bytes()).and_then(snapshot::of_key) else { continue };
                        if series.entry(name).or_default().insert(snapshot) {
                            known += 1;
                        }
                    }
                    if known > SNAPSHOTS_MAX {
                        let message = format!("more than {SNAPSHOTS_MAX} snapshots are under {prefix}: which of them are to go is not decided");
                        return Err(Error::invalid(message)
                            .on_key(&prefix)
                            .in_store(&self.place.storage)
                            .advise("give each kind of backup a rule with a prefix of its own"));
                    }
                }
                for snapshots in series.values() {
                    let kept = retention.kept(snapshots, today);
                    let names = snapshots.difference(&kept).map(|snapshot| snapshot.name.clone());
                    doomed.entry(index).or_default().extend(names);
                }
            }
        }
        Ok(doomed)
    }

    /// Every object that a rule is about, and what came of it; those that are to be deleted wait.
    fn steps<'a>(&'a self, doomed: &'a Doomed, now: Timestamp, context: &'a Context) -> BoxStream<'a, Result<Found>> {
        if self.own_rules().next().is_none() {
            return stream::empty().boxed();
        }
        let pages = self.place.storage.list(List::under(self.place.prefix.clone()));
        let found = pages.flat_map(move |page| {
            let page = match page {
                Ok(page) => page,
                Err(error) => return stream::iter(vec![Err(error)]),
            };
            let mut found = vec![Ok(Err(page.len() as u64))];
            for entry in page.iter() {
                let Some(key) = entry.key.strip_prefix(self.place.prefix.as_bytes()) else { continue };
                let listed = Listed { key: Key::from(key), ..Listed::from(entry) };
                if self.may_concern(&listed, doomed) {
                    found.push(Ok(Ok(listed)));
                }
            }
            stream::iter(found)
        });
        let judged = found.map(move |found| async move {
            match found? {
                Err(count) => Ok(Some(Found::Listed(count))),
                Ok(listed) => self.judge(listed, doomed, now, context).await,
            }
        });
        judged.buffered(AT_ONCE).filter_map(|found| async { found.transpose() }).boxed()
    }

    fn may_concern(&self, listed: &Listed, doomed: &Doomed) -> bool {
        matches!(listed.kind, Kind::Object | Kind::Appendable)
            && self.own_rules().any(|(index, rule)| {
                rule.scope.holds(listed.key.as_bytes(), listed.size)
                    && rule.actions.iter().any(|action| !matches!(action, Action::Keep(_)) || self.is_doomed(index, rule, listed, doomed))
            })
    }

    fn is_doomed(&self, index: usize, rule: &Rule, listed: &Listed, doomed: &Doomed) -> bool {
        let segment = listed.key.as_bytes().strip_prefix(rule.scope.prefix.as_bytes()).and_then(|behind| behind.split(|byte| *byte == b'/').next());
        doomed.get(&index).zip(segment).is_some_and(|(names, segment)| names.contains(segment))
    }

    /// What the rules want of an object of this age. A delete comes before a move, and of moves the deepest.
    fn due(&self, listed: &Listed, doomed: &Doomed, age_days: impl Fn(AgeBy) -> Option<i64>) -> Vec<Due> {
        let service = self.place.storage.capabilities().service;
        let held = Class::find(service, &listed.storage_class);
        let mut due = Vec::new();
        for (index, rule) in self.own_rules().filter(|(_, rule)| rule.scope.holds(listed.key.as_bytes(), listed.size)) {
            let is_old = |days: u32| age_days(rule.age_by).is_some_and(|age| age >= i64::from(days));
            for action in &rule.actions {
                let what = match action {
                    Action::Keep(_) if self.is_doomed(index, rule, listed, doomed) => What::Delete,
                    Action::Expire { age_days } if is_old(*age_days) => What::Delete,
                    // Only down: from a class that nobody knows, nobody knows where that is.
                    Action::Transition { age_days, class } if is_old(*age_days) => match held.zip(Class::find(service, class)) {
                        Some((held, wanted)) if wanted.depth > held.depth => What::Move { class: wanted.word.to_owned() },
                        _ => continue,
                    },
                    _ => continue,
                };
                due.push(Due { rule: index, what });
            }
        }
        let depth = |due: &Due| match &due.what {
            What::Delete => u8::MAX,
            What::Move { class } => Class::find(service, class).map_or(0, |class| class.depth),
        };
        due.sort_by_key(|due| std::cmp::Reverse(depth(due)));
        due
    }

    /// Finds out what is to become of one object, and does it unless it is to be deleted.
    async fn judge(&self, listed: Listed, doomed: &Doomed, now: Timestamp, context: &Context) -> Result<Option<Found>> {
        let since = |then: Option<Timestamp>| then.map(|then| now.duration_since(then).as_hours() / 24);
        let by_journal = match &self.proofs {
            Some(proofs) if self.own_rules().any(|(_, rule)| rule.age_by == AgeBy::Journal) => {
                proofs.proof(&listed.key).await?.and_then(|proved| since(proved.source.modified))
            }
            _ => None,
        };
        let age = |by| match by {
            AgeBy::Modified => since(listed.modified),
            AgeBy::Journal => by_journal,
        };
        let mut tags = None;
        for due in self.due(&listed, doomed, age) {
            let wanted = &self.rules[due.rule].scope.tags;
            if !wanted.is_empty() {
                let held = match tags.take() {
                    Some(held) => held,
                    None => match self.tags(&listed).await {
                        Ok(held) => held,
                        Err(error) => return Ok(Some(Found::Step(self.step(&listed, due, Standing::Failed(error))))),
                    },
                };
                let fits = wanted.iter().all(|(name, value)| held.get(name) == Some(value));
                tags = Some(held);
                if !fits {
                    continue;
                }
            }
            return Ok(Some(match &due.what {
                What::Delete => Found::Candidate(due.rule, listed),
                What::Move { class } => {
                    let standing = match self.sink(&listed, class, now, context).await {
                        Ok(standing) => standing,
                        Err(error) if error.stops_store() => return Err(error),
                        Err(error) => Standing::Failed(error),
                    };
                    Found::Step(self.step(&listed, due, standing))
                }
            }));
        }
        Ok(None)
    }

    async fn tags(&self, listed: &Listed) -> Result<BTreeMap<String, String>> {
        let Some(details) = self.place.storage.details() else { return Ok(BTreeMap::new()) };
        details.tags(&ObjectRef::from(&self.place.key(listed.key.as_bytes()))).await
    }

    fn step(&self, listed: &Listed, due: Due, standing: Standing) -> Step {
        let Listed { key, size, storage_class, modified, .. } = listed.clone();
        Step { rule: self.rules[due.rule].name.clone(), key, size, class: storage_class, modified, what: due.what, standing, version: None }
    }
}

impl Swept {
    async fn note(&mut self, step: Step, told: &mpsc::Sender<Step>) {
        self.add(&step);
        // A listener that went away is no reason to stop.
        let _ = told.send(step).await;
    }

    fn add(&mut self, step: &Step) {
        match (&step.standing, &step.what) {
            (Standing::Done | Standing::Planned, What::Move { .. }) => {
                self.moved += 1;
                self.moved_bytes += step.size;
            }
            (Standing::Done | Standing::Planned, What::Delete) => {
                self.deleted += 1;
                self.deleted_bytes += step.size;
            }
            (Standing::Spared(why), _) => *self.spared.entry(*why).or_default() += 1,
            (Standing::Failed(_), _) => self.failed += 1,
        }
    }
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MinimumDuration => "its class charges for the rest of its minimum duration",
            Self::Small => "it is so small that the colder class costs more",
            Self::Archived => "it lies in an archive, and only the cloud's own rules take it deeper",
            Self::Large => "the service does not copy it onto itself in one request",
            Self::Appendable => "it grows by appending, which a copy would end",
            Self::Unprovable => "the service states no checksum of it, so nothing would prove it afterwards",
            Self::Grants => "others may read it by grants that no copy keeps",
            Self::NotCopied => "the job has not copied it yet, as it is now",
            Self::AtSource => "the job's source still holds it, and would bring it back",
            Self::Locked => "a retention or legal hold keeps it",
            Self::Changed => "it was written again, or is gone, since it was listed",
        })
    }
}

#[cfg(test)]
mod tests;
