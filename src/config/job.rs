//! `[[jobs]]`: transfers with a name, for the daemon. Here they are read and held against each other.

use std::time::Duration;

use globset::GlobBuilder;
use jiff::tz::TimeZone;

use super::dated;
use super::secret::Secret;
use super::section::Section;
use super::tier::Tier;
use super::transfer::{Copying, Deleting, Resources, Selection};
use crate::daemon::calendar::{Schedule, Window};
use crate::error::Error;
use crate::storage::Key;
use crate::storage::location::{Address, is_store_name};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Make the destination hold what the source holds.
    #[default]
    Sync,
    /// Copy, and never delete.
    Copy,
}

/// A named transfer.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name, unique, of the characters a store's name may have.
    pub name: String,
    /// Where to read.
    pub source: Address,
    /// Where to write.
    pub destination: Address,
    /// What it does.
    pub mode: Mode,
    /// When it runs; `None` is only when told.
    pub schedule: Option<Schedule>,
    /// When it may run; none is always.
    pub windows: Vec<Window>,
    /// Its share of what all jobs share: 1 to 100.
    pub priority: u32,
    /// In which zone the day is told that a dated destination is filled in with; none is the schedule's, and then UTC.
    pub time_zone: Option<TimeZone>,
    /// How many path segments of a key make the prefix under which usage is counted: 0 to 3.
    pub usage_depth: usize,
    /// How far behind the mirror may be before somebody is told.
    pub lag_max: Option<Duration>,
    /// Where its change events come from.
    pub events: Vec<Events>,
    /// Prefixes, relative to the source, that must not leave.
    pub residency: Vec<Key>,
    /// What takes part.
    pub selection: Selection,
    /// How its objects age.
    pub tier: Vec<Tier>,
    /// How it is written.
    pub copying: Copying,
    /// What may be deleted.
    pub deleting: Deleting,
    /// What it may take.
    pub resources: Resources,
    /// References of its events to variables and files that did not resolve: those events do not come.
    pub missing: Vec<Error>,
}

impl Job {
    /// Reads one job; `None` where it lacks what a job must have, which is told as a problem.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.text("name");
        match &name {
            Some(name) if is_store_name(name) => section.rename(format!("jobs.{name}")),
            Some(name) => section.problem("name", format!("'{name}' is no job name"), "use letters a-z, digits and hyphens"),
            None => section.problem("", "a job needs a name", "add name = \"...\""),
        }
        let source = address(section, "source");
        let destination = address(section, "destination");
        let mut missing = Vec::new();
        let mut job = Self {
            name: name.unwrap_or_default(),
            source: source.clone().unwrap_or(Address::Stdio),
            destination: destination.clone().unwrap_or(Address::Stdio),
            mode: section.choice("mode", &[("sync", Mode::Sync), ("copy", Mode::Copy)]).unwrap_or_default(),
            schedule: section.parsed("schedule", "a schedule such as \"every 5m\"", &[], Schedule::parse),
            windows: windows(section),
            priority: priority(section),
            time_zone: section.parsed("time_zone", "a time zone such as \"Asia/Shanghai\"", &[], time_zone),
            usage_depth: usage_depth(section),
            lag_max: section.duration("lag_max"),
            events: Events::read(section, &mut missing),
            residency: section.texts("residency").into_iter().map(Key::from).collect(),
            selection: Selection::read(section),
            tier: Vec::new(),
            copying: Copying::read(section),
            deleting: Deleting::read(section),
            resources: Resources::read(section),
            missing: Vec::new(),
        };
        job.missing = missing;
        job.tier = Tier::read(section, &job);
        job.check_buckets(section);
        job.check_date(section);
        if let Some(Address::Store { .. } | Address::Stdio) = &source
            && job.events.contains(&Events::Notify)
        {
            section.problem(
                "events",
                "\"notify\" watches a local directory, and the source is none",
                "add [[jobs.events]] with type = \"sqs\", \"smq\" or \"webhook\"",
            );
        }
        if job.mode == Mode::Copy && job.deleting.delete {
            section.problem("delete", "a job of mode \"copy\" never deletes", "write mode = \"sync\", or leave delete out");
        }
        (source.is_some() && destination.is_some()).then_some(job)
    }

    /// A destination with a date is another place each time, which no single change belongs to.
    fn check_date(&self, section: &Section<'_>) {
        if let Some((mistake, advice)) = dated::mistake(&self.destination) {
            section.problem("destination", mistake, advice);
        }
        if dated::is_dated(&self.destination) && !self.events.is_empty() {
            let advice = "leave events out, or write another job for a mirror that follows them";
            section.problem("events", "a change event has no date, and the destination has one for each run", advice);
        }
    }

    /// The time zone that tells the day of a dated destination.
    pub fn zone(&self) -> TimeZone {
        self.time_zone.clone().or_else(|| self.schedule.as_ref().and_then(Schedule::zone).cloned()).unwrap_or(TimeZone::UTC)
    }

    /// A source of many buckets and a destination for each of them go together.
    fn check_buckets(&self, section: &Section<'_>) {
        let is_pattern = is_pattern(&self.source);
        let is_template = matches!(&self.destination, Address::Store { bucket, .. } if bucket.contains(BUCKET));
        match (is_pattern, is_template) {
            (true, false) => section.problem(
                "destination",
                "the source is many buckets, and each needs a place of its own",
                format!("write {BUCKET} into the destination's bucket"),
            ),
            (false, true) => {
                section.problem("destination", format!("{BUCKET} stands for the source's bucket, where the source is a pattern such as s3://*"), "")
            }
            _ => {}
        }
        if matches!(&self.destination, Address::Store { bucket, .. } if bucket.contains('*')) {
            section.problem("destination", "a pattern is no place to write to", format!("write {BUCKET} for the source's bucket"));
        }
    }
}

/// What stands for the source's bucket in a destination.
pub const BUCKET: &str = "{bucket}";

/// Whether an address names many buckets.
pub fn is_pattern(address: &Address) -> bool {
    matches!(address, Address::Store { bucket, .. } if bucket.contains('*'))
}

/// Whether a bucket's name, or a pattern of them, includes a bucket.
pub(super) fn matches_bucket(pattern: &str, bucket: &str) -> bool {
    pattern == bucket || pattern.contains('*') && GlobBuilder::new(pattern).build().is_ok_and(|glob| glob.compile_matcher().is_match(bucket))
}

/// Where a job's change events come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Events {
    /// The system watches the local source.
    Notify,
    /// A queue of Amazon's.
    Sqs {
        /// Its URL.
        queue: String,
        /// The store whose credentials serve; the source's where there is none.
        store: Option<String>,
    },
    /// A queue of Alibaba's SMQ.
    Smq {
        /// `https://ACCOUNT.mns.REGION.aliyuncs.com`.
        endpoint: String,
        /// Its name.
        queue: String,
        /// The store whose credentials serve; the source's where there is none.
        store: Option<String>,
    },
    /// Somebody pushes them to the API.
    Webhook {
        /// What they must show.
        token: Secret,
    },
}

#[derive(Clone, Copy)]
enum Kind {
    Sqs,
    Smq,
    Webhook,
}

impl Events {
    /// `events = "notify"`, or tables of `[[jobs.events]]`.
    fn read(section: &mut Section<'_>, missing: &mut Vec<Error>) -> Vec<Self> {
        if section.is_text("events") {
            return section.choice("events", &[("notify", ())]).map(|()| Self::Notify).into_iter().collect();
        }
        let mut all = Vec::new();
        for mut events in section.tables("events") {
            let needed = |events: &mut Section<'_>, key: &'static str| {
                let text = events.text(key);
                if text.is_none() && !events.has(key) {
                    events.problem("", format!("it needs a {key}"), "");
                }
                text.unwrap_or_default()
            };
            if !events.has("type") {
                events.problem("", "events have a type", "add type = \"sqs\", \"smq\" or \"webhook\"");
            }
            let store = |events: &mut Section<'_>| events.text("store");
            let read = events.choice("type", &[("sqs", Kind::Sqs), ("smq", Kind::Smq), ("webhook", Kind::Webhook)]).map(|kind| match kind {
                Kind::Sqs => Self::Sqs { queue: needed(&mut events, "queue"), store: store(&mut events) },
                Kind::Smq => Self::Smq { endpoint: needed(&mut events, "endpoint"), queue: needed(&mut events, "queue"), store: store(&mut events) },
                Kind::Webhook => {
                    let token = events.secret("token");
                    if token.is_none() && !events.has("token") {
                        events.problem("", "a webhook needs a token, or anybody could send events", "add token = \"env:NAME\"");
                    }
                    Self::Webhook { token: token.unwrap_or_default() }
                }
            });
            let unresolved = events.finish();
            // Without its secret it serves nobody: an empty token would be everybody's.
            all.extend(read.filter(|_| unresolved.is_empty()));
            missing.extend(unresolved);
        }
        all
    }

    /// The store whose credentials serve, where one is named.
    pub(super) fn store(&self) -> Option<&str> {
        match self {
            Self::Sqs { store, .. } | Self::Smq { store, .. } => store.as_deref(),
            Self::Notify | Self::Webhook { .. } => None,
        }
    }
}

fn windows(section: &mut Section<'_>) -> Vec<Window> {
    let texts = section.texts("windows");
    texts.iter().filter_map(|text| Window::parse(text).map_err(|why| section.problem("windows", why, "")).ok()).collect()
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("there is no time zone '{name}': write one such as Asia/Shanghai or UTC"))
}

fn usage_depth(section: &mut Section<'_>) -> usize {
    match section.number("usage_depth") {
        None => 0,
        Some(depth @ 0..=3) => depth as usize,
        Some(other) => {
            section.problem("usage_depth", format!("{other} is not from 0 to 3"), "");
            0
        }
    }
}

fn priority(section: &mut Section<'_>) -> u32 {
    const USUAL: u32 = 10;
    match section.number("priority") {
        None => USUAL,
        Some(priority @ 1..=100) => priority as u32,
        Some(other) => {
            section.problem("priority", format!("{other} is not from 1 to 100"), "");
            USUAL
        }
    }
}

/// Whether two places may overlap, patterns of buckets included. One with a date is all that begins as it does before the date.
pub(super) fn overlap(a: &Address, b: &Address) -> bool {
    let has_date = dated::is_dated(a) || dated::is_dated(b);
    let (Address::Store { store: x, bucket: p, key: k }, Address::Store { store: y, bucket: q, key: l }) = (a.tree(), b.tree()) else {
        return if has_date && a.store() == b.store() { dated::stems_overlap(a, b) } else { a.overlaps(b) };
    };
    let (p, q) = (p.replace(BUCKET, "*"), q.replace(BUCKET, "*"));
    if !has_date && !p.contains('*') && !q.contains('*') {
        return a.overlaps(b);
    }
    let stem = |pattern: &str| pattern.split('*').next().unwrap_or_default().to_owned();
    let is_one_bucket = match (p.contains('*'), q.contains('*')) {
        (true, false) => matches_bucket(&p, &q),
        (false, true) => matches_bucket(&q, &p),
        (false, false) => p == q,
        // Two patterns: for certain only that they begin differently.
        (true, true) => stem(&p).starts_with(&stem(&q)) || stem(&q).starts_with(&stem(&p)),
    };
    let is_one_key = if has_date { dated::stems_overlap(a, b) } else { k.as_bytes().starts_with(l.as_bytes()) || l.as_bytes().starts_with(k.as_bytes()) };
    x == y && is_one_bucket && is_one_key
}

fn address(section: &mut Section<'_>, key: &'static str) -> Option<Address> {
    if !section.has(key) {
        section.text(key);
        section.problem("", format!("a job needs a {key}"), format!("add {key} = \"NAME://BUCKET/PREFIX\""));
        return None;
    }
    let address = section.parsed(key, "an address such as \"s3://bucket/prefix\"", &[], |text| Address::parse(text).map_err(|e| e.to_string()))?;
    match &address {
        Address::Stdio => section.problem(key, "a job has no standard input or output", ""),
        Address::Store { bucket, .. } if bucket.is_empty() => section.problem(key, "the bucket is missing", ""),
        Address::Path(path) if path.is_relative() => section.problem(key, "a job's path must be absolute: a daemon has no directory of its own", ""),
        _ => return Some(address),
    }
    None
}

/// Why two jobs cannot both be, if so. `place` resolves names of stores that are one service, so that two names of one bucket are seen.
pub(super) fn conflict(a: &Job, b: &Job, place: impl Fn(&Address) -> Address) -> Option<String> {
    let [a_source, a_destination, b_source, b_destination] = [&a.source, &a.destination, &b.source, &b.destination].map(place);
    if overlap(&a_destination, &b_destination) {
        return Some(format!("jobs '{}' and '{}' write to the same place: {} and {}", a.name, b.name, a.destination, b.destination));
    }
    if overlap(&a_destination, &b_source) && overlap(&b_destination, &a_source) {
        return Some(format!("jobs '{}' and '{}' copy in a circle: each reads where the other writes", a.name, b.name));
    }
    None
}
