//! `[[jobs.tier]]`: how a job's objects age, and who sees to it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dated;
use super::job::Job;
use super::section::{Section, nearest};
use super::units::{self, Age};
use crate::storage::Key;
use crate::storage::class::{CLASSES, Class};
use crate::storage::location::{Address, is_store_name};
use crate::tier::retention::Retention;
use crate::tier::rule::{Action, AgeBy, By, Rule, Scope};

/// A rule, and where it holds.
#[derive(Debug, Clone)]
pub struct Tier {
    /// Where.
    pub on: On,
    /// What.
    pub rule: Rule,
}

/// The place of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// The job's source.
    Source,
    /// The job's destination.
    Destination,
    /// A third place, such as the store that archives go to.
    Place(Address),
}

impl Tier {
    /// Reads the rules of a job, of which the rest is read by now.
    pub(super) fn read(section: &mut Section<'_>, job: &Job) -> Vec<Self> {
        let mut tiers: Vec<Self> = Vec::new();
        for mut table in section.tables("tier") {
            if let Some(tier) = Self::read_one(&mut table, job) {
                if tiers.iter().any(|other| other.rule.name == tier.rule.name) {
                    table.problem("name", format!("the job has another rule of the name '{}'", tier.rule.name), "");
                }
                tiers.push(tier);
            }
            section.missing.extend(table.finish());
        }
        tiers
    }

    fn read_one(table: &mut Section<'_>, job: &Job) -> Option<Self> {
        let name = table.text("name");
        match &name {
            Some(name) if is_store_name(name) => table.rename(format!("jobs.{}.tier.{name}", job.name)),
            Some(name) => table.problem("name", format!("'{name}' is no rule's name"), "use letters a-z, digits and hyphens"),
            None if table.has("name") => {}
            None => table.problem("", "a rule needs a name", "add name = \"...\""),
        }
        let on = table.parsed("on", "\"source\", \"destination\" or an address", &[], |text| match text {
            "source" => Ok(On::Source),
            "destination" => Ok(On::Destination),
            address if address.contains(':') || address.starts_with('/') => {
                let place = Address::parse(address).map_err(|e| e.to_string())?;
                match &place {
                    Address::Store { bucket, .. } if bucket.is_empty() => Err("the bucket is missing".to_owned()),
                    Address::Stdio => Err("that is no place".to_owned()),
                    Address::Store { .. } | Address::Path(_) => Ok(On::Place(place)),
                }
            }
            other => Err(format!("'{other}' is neither source nor destination nor an address")),
        });
        let scope = Scope {
            prefix: table.text("prefix").map(Key::from).unwrap_or_default(),
            tags: table.map("tags").into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect(),
            size_bytes_min: table.size("min_size"),
            size_bytes_max: table.size("max_size"),
        };
        let actions = actions(table);
        let age_by = table.choice("age_by", &[("modified", AgeBy::Modified), ("journal", AgeBy::Journal)]).unwrap_or_default();
        let mut rule = Rule { name: name.unwrap_or_default(), scope, actions, age_by, by: By::Cloud };
        let on = on.unwrap_or(On::Destination);
        let by = table.choice("by", &[("cloud", By::Cloud), ("dragon", By::Dragon)]);
        rule.by = by.unwrap_or_else(|| if rule.needs_dragon().is_some() || on.is_local(job) { By::Dragon } else { By::Cloud });
        check(table, job, &on, &rule);
        Some(Self { on, rule })
    }
}

impl On {
    /// The place as it was written.
    pub fn address<'a>(&'a self, job: &'a Job) -> &'a Address {
        match self {
            Self::Source => &job.source,
            Self::Destination => &job.destination,
            Self::Place(address) => address,
        }
    }

    fn is_local(&self, job: &Job) -> bool {
        matches!(self.address(job), Address::Path(_))
    }
}

fn actions(table: &mut Section<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    for (class, age_days) in transitions(table, "transitions") {
        actions.push(Action::Transition { age_days, class });
    }
    if let Some(age_days) = days(table, "expire") {
        actions.push(Action::Expire { age_days });
    }
    for (class, age_days) in transitions(table, "noncurrent_transitions") {
        actions.push(Action::TransitionNoncurrent { age_days, class });
    }
    let newest = count(table, "noncurrent_newest");
    match (days(table, "noncurrent_expire"), newest) {
        (Some(age_days), newest) => actions.push(Action::ExpireNoncurrent { age_days, newest: newest.unwrap_or(0) }),
        (None, Some(_)) => {
            table.problem("noncurrent_newest", "the newest old versions are kept, and nothing says when others go", "add noncurrent_expire = \"30d\"")
        }
        (None, None) => {}
    }
    if let Some(age_days) = days(table, "abort_uploads") {
        actions.push(Action::AbortUploads { age_days });
    }
    let mut kept = |key| count(table, key);
    let said = [kept("keep_newest"), kept("keep_daily"), kept("keep_weekly"), kept("keep_monthly"), kept("keep_yearly")];
    let [newest, daily, weekly, monthly, yearly] = said.map(|count| count.unwrap_or(0));
    let retention = Retention { newest, daily, weekly, monthly, yearly };
    if !retention.is_empty() {
        actions.push(Action::Keep(retention));
    } else if said.iter().any(Option::is_some) {
        table.problem("", "a rule that keeps nothing would delete everything but the newest", "leave the keep_ keys out, or keep something");
    }
    actions
}

/// `"IA after 30d"`, or a list of such.
fn transitions(table: &mut Section<'_>, key: &'static str) -> Vec<(String, u32)> {
    let mut read = Vec::new();
    for text in table.texts(key) {
        let Some((class, age)) = text.split_once(" after ") else {
            table.problem(key, format!("'{text}' is no class and age"), "write for example \"IA after 30d\"");
            continue;
        };
        let (class, age) = (class.trim(), age.trim());
        if !CLASSES.iter().any(|known| known.word == class) {
            let advice = nearest(class, CLASSES.iter().map(|known| known.word)).map(|right| format!("did you mean '{right}'?")).unwrap_or_default();
            table.problem(key, format!("no cloud has a class '{class}'"), advice);
        }
        match parse_days(age) {
            Ok(days) => read.push((class.to_owned(), days)),
            Err(why) => table.problem(key, why, ""),
        }
    }
    read
}

fn days(table: &mut Section<'_>, key: &'static str) -> Option<u32> {
    table.parsed(key, "an age such as \"30d\"", &[], parse_days)
}

fn count(table: &mut Section<'_>, key: &'static str) -> Option<u32> {
    let count = table.number(key)?;
    let small = u32::try_from(count).ok().filter(|count| *count <= 10_000);
    if small.is_none() {
        table.problem(key, format!("{count} is more than 10000"), "");
    }
    small
}

/// An age in whole days: neither cloud's lifecycle knows a shorter one.
fn parse_days(text: &str) -> Result<u32, String> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let age = units::parse_duration(text)?;
    let days = age.as_secs() / DAY.as_secs();
    if age.is_zero() || DAY * u32::try_from(days).unwrap_or(u32::MAX) != age {
        return Err(format!("'{text}' is not one or more whole days, which is what the clouds count in: write 30d"));
    }
    u32::try_from(days).ok().filter(|days| *days <= 36_500).ok_or_else(|| format!("'{text}' is more than a hundred years"))
}

/// Tells what cannot be, or would go wrong every night.
fn check(table: &Section<'_>, job: &Job, on: &On, rule: &Rule) {
    if rule.actions.is_empty() {
        table.problem("", "the rule does nothing", "add transitions, expire, keep_daily, noncurrent_expire or abort_uploads");
    }
    if let (Some(min), Some(max)) = (rule.scope.size_bytes_min, rule.scope.size_bytes_max)
        && min > max
    {
        table.problem("min_size", "nothing is at least min_size and at most max_size", "");
    }
    match rule.by {
        By::Cloud => {
            if let Some(why) = rule.needs_dragon() {
                table.problem("by", format!("{why}: only Dragon can carry this out"), "write by = \"dragon\", or leave it out");
            }
            if on.is_local(job) {
                table.problem("by", "a local directory has no rules of its own", "write by = \"dragon\", or leave it out");
            }
        }
        By::Dragon => {
            if let Some(why) = rule.needs_cloud() {
                table.problem("by", format!("{why}; the cloud must carry this out"), "write by = \"cloud\", or leave it out");
            }
            if on.is_local(job) && rule.actions.iter().any(|action| matches!(action, Action::Transition { .. })) {
                table.problem("transitions", "a local directory has no storage classes", "");
            }
        }
    }
    if matches!(on, On::Place(_)) && super::job::is_pattern(&job.source) {
        table.problem(
            "on",
            "the job has many buckets, and the rules of one place would be carried out for each of them",
            "write a job of its own for that place",
        );
    }
    let is_third = matches!(on, On::Place(_)) || (*on == On::Destination && dated::is_dated(&job.destination));
    if is_third && rule.age_by == AgeBy::Journal {
        table.problem("age_by", "the job's journal knows its source and its destination of one day, and no third place", "");
    }
    let expires = rule.actions.iter().find_map(|action| if let Action::Expire { age_days } = action { Some(*age_days) } else { None });
    if let (Some(age_days), On::Destination, By::Cloud) = (expires, on, rule.by)
        && !is_left_out_by_then(job, age_days)
        && !dated::is_dated(&job.destination)
    {
        let advice = format!("add newer_than = \"{age_days}d\" to the job, or let Dragon do it (by = \"dragon\"), which deletes what the source has no more");
        table.problem("expire", "the cloud would delete what the source still holds, and the job would copy it again: every day, and at a price", advice);
    }
    if let Some((first, second)) = out_of_order(&rule.actions) {
        table.problem("transitions", format!("{first} is colder than {second}, and comes before it"), "objects only sink: colder classes come later");
    }
}

/// Whether the job copies nothing that is so old.
fn is_left_out_by_then(job: &Job, age_days: u32) -> bool {
    matches!(job.selection.newer_than, Some(Age::Ago(age)) if age <= Duration::from_secs(24 * 3600) * age_days)
}

fn out_of_order(actions: &[Action]) -> Option<(&str, &str)> {
    let mut by_age: BTreeMap<u32, &str> = BTreeMap::new();
    for action in actions {
        if let Action::Transition { age_days, class } = action {
            by_age.insert(*age_days, class);
        }
    }
    let rank = |word: &str| CLASSES.iter().find(|class| class.word == word).and_then(Class::rank).unwrap_or(0);
    let in_order: Vec<&str> = by_age.into_values().collect();
    in_order.windows(2).find(|pair| rank(pair[0]) > rank(pair[1])).map(|pair| (pair[0], pair[1]))
}
