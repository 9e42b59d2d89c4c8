//! Lifecycle rules: what becomes of an object with its age. One model for both clouds; each dialect reads its own XML into it.
//!
//! Rules judge, and change nothing: [`round`] carries out what they say.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::calendar::Calendar;
use super::store::{Kind, Object, Upload};

mod round;

pub(super) use round::Lifecycle;

/// A bucket's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    /// The storage classes from the warmest to the coldest. Objects only ever move onwards.
    pub(super) ladder: &'static [&'static str],
    /// What S3 holds too small to move unless a rule itself speaks of size: classes, and the bytes that an object must have.
    pub(super) size_floor: Option<SizeFloor>,
}

/// A size below which objects stay, for classes up to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeFloor {
    pub(super) bytes: u64,
    /// Classes that take objects of any size.
    pub(super) exempt: &'static [&'static str],
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) enabled: bool,
    pub(super) scope: Scope,
    pub(super) transitions: Vec<(When, String)>,
    pub(super) expiration: Option<When>,
    /// A delete marker behind which nothing is left goes away by itself.
    pub(super) removes_lone_markers: bool,
    pub(super) noncurrent_transitions: Vec<(Noncurrent, String)>,
    pub(super) noncurrent_expiration: Option<Noncurrent>,
    pub(super) abort_uploads: Option<When>,
}

/// When a rule's action is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// So many days after the last modification (of an upload: the initiation).
    Days(i64),
    /// From this time on, whatever an object's age: S3's `Date`.
    From(Timestamp),
    /// For what is older than this time: OSS's `CreatedBeforeDate`.
    OlderThan(Timestamp),
}

/// When an action on former versions is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noncurrent {
    /// Days since the version was superseded.
    pub(super) days: i64,
    /// So many of the newest former versions are spared.
    pub(super) spared: usize,
}

/// Which objects a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) prefix: String,
    /// An object must carry them all.
    pub(super) tags: BTreeMap<String, String>,
    pub(super) larger_than_bytes: Option<u64>,
    pub(super) smaller_than_bytes: Option<u64>,
    /// OSS's `Not`: what begins so, and carries this tag where one is named, is left out.
    pub(super) exceptions: Vec<Exception>,
}

/// What a rule leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) prefix: String,
    pub(super) tag: Option<(String, String)>,
}

/// What shall become of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It moves to this class.
    Move(String),
    /// It is deleted, as a client would delete it.
    Expire,
}

/// A version that is current no longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Former<'a> {
    /// `None` is a delete marker.
    pub(super) object: Option<&'a Object>,
    /// When a newer version took its place.
    pub(super) superseded: Timestamp,
    /// How many former versions are newer.
    pub(super) newer: usize,
}

impl Scope {
    fn holds(&self, key: &str, object: &Object) -> bool {
        let tags = &object.attributes.tags;
        let carries = |name: &String, value: &String| tags.get(name) == Some(value);
        let excepted = |exception: &Exception| key.starts_with(&exception.prefix) && exception.tag.as_ref().is_none_or(|(name, value)| carries(name, value));
        key.starts_with(&self.prefix)
            && self.tags.iter().all(|(name, value)| carries(name, value))
            && self.larger_than_bytes.is_none_or(|bytes| object.size() > bytes)
            && self.smaller_than_bytes.is_none_or(|bytes| object.size() < bytes)
            && !self.exceptions.iter().any(excepted)
    }

    fn holds_marker(&self, key: &str) -> bool {
        key.starts_with(&self.prefix) && self.tags.is_empty() && !self.speaks_of_size()
    }

    fn speaks_of_size(&self) -> bool {
        self.larger_than_bytes.is_some() || self.smaller_than_bytes.is_some()
    }
}

impl When {
    fn is_due(self, since: Timestamp, calendar: &Calendar, now: Timestamp) -> bool {
        match self {
            Self::Days(days) => calendar.midnight_after(since, days) <= now,
            Self::From(date) => date <= now,
            Self::OlderThan(date) => since < date,
        }
    }
}

impl Noncurrent {
    fn is_due(self, former: &Former<'_>, calendar: &Calendar, now: Timestamp) -> bool {
        former.newer >= self.spared && calendar.midnight_after(former.superseded, self.days) <= now
    }
}

impl Rules {
    fn enabled(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.enabled)
    }

    /// What becomes of a current object now: it is deleted rather than moved, and moves at once to the coldest class that is due.
    pub(super) fn fate(&self, key: &str, object: &Object, calendar: &Calendar) -> Option<Fate> {
        let now = calendar.now();
        let rules = || self.enabled().filter(|rule| rule.scope.holds(key, object));
        let is_due = |when: &When| when.is_due(object.last_modified, calendar, now);
        if rules().any(|rule| rule.expiration.as_ref().is_some_and(is_due)) {
            return Some(Fate::Expire);
        }
        let due = rules().flat_map(|rule| rule.transitions.iter().filter(|(when, _)| is_due(when)).map(move |(_, class)| (rule, class.as_str())));
        self.coldest(object, due)
    }

    /// What becomes of a former version now. A delete marker has neither tags nor size: only rules that ask for none are about it.
    pub(super) fn fate_of_former(&self, key: &str, former: &Former<'_>, calendar: &Calendar) -> Option<Fate> {
        let now = calendar.now();
        let holds = |scope: &Scope| former.object.map_or_else(|| scope.holds_marker(key), |object| scope.holds(key, object));
        let rules = || self.enabled().filter(|rule| holds(&rule.scope));
        let is_due = |when: &Noncurrent| when.is_due(former, calendar, now);
        if rules().any(|rule| rule.noncurrent_expiration.as_ref().is_some_and(is_due)) {
            return Some(Fate::Expire);
        }
        let due = rules().flat_map(|rule| rule.noncurrent_transitions.iter().filter(|(when, _)| is_due(when)).map(move |(_, class)| (rule, class.as_str())));
        self.coldest(former.object?, due)
    }

    /// Whether a delete marker behind which nothing is left goes now. A rule that expires objects by age removes such markers of that
    /// age too, as both services do.
    pub(super) fn removes_lone_marker(&self, key: &str, made: Timestamp, calendar: &Calendar) -> bool {
        let now = calendar.now();
        let removes = |rule: &Rule| rule.removes_lone_markers || matches!(rule.expiration, Some(when @ When::Days(_)) if when.is_due(made, calendar, now));
        self.enabled().any(|rule| rule.scope.holds_marker(key) && removes(rule))
    }

    /// Whether an unfinished upload is aborted now.
    pub(super) fn aborts(&self, upload: &Upload, calendar: &Calendar) -> bool {
        let now = calendar.now();
        let is_due = |when: When| when.is_due(upload.initiated, calendar, now);
        self.enabled().any(|rule| upload.key.starts_with(&rule.scope.prefix) && rule.abort_uploads.is_some_and(is_due))
    }

    fn coldest<'a>(&self, object: &Object, due: impl Iterator<Item = (&'a Rule, &'a str)>) -> Option<Fate> {
        if matches!(object.kind, Kind::Symlink { .. }) {
            return None;
        }
        let rung = |class: &str| self.ladder.iter().position(|rung| *rung == class);
        let here = object.attributes.storage_class.as_deref().map_or(Some(0), rung);
        let moves = |(rule, class): &(&Rule, &str)| {
            let tall = self.size_floor.is_none_or(|floor| object.size() >= floor.bytes || floor.exempt.contains(class));
            (tall || rule.scope.speaks_of_size()) && rung(class) > here
        };
        due.filter(moves).map(|(_, class)| class).max_by_key(|class| rung(class)).map(|class| Fate::Move(class.to_owned()))
    }
}

#[cfg(test)]
mod tests;
