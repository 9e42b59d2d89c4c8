//! What is seen of one world: by the watchers of both ends, and by who listens to the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::RangeInclusive;

use dragon::storage::Key;
use dragon::storage::fault::{Effect, Moment};
use dragon::storage::layer::Operation;
use dragon::transfer::event::{Action, Status};
use dragon::transfer::task::{Copied, Proof};
use dragon::transfer::{Event, Options};
use tokio::time::Instant;

use super::history::History;

/// Which end a watcher sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    Source,
    Destination,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) log: String,
    pub(super) history: History,
    pub(super) tally: Tally,
    /// A run whose journal did not outlive it was stopped: what it had begun may lie open.
    pub(super) forgotten: bool,
    /// By key, how many uploads were to be begun whose id nobody was told.
    nameless: BTreeMap<Key, u64>,
    /// Keys of uploads that were to be aborted, and no answer came.
    aborting: BTreeSet<Key>,
    began: Option<Instant>,
    run: Run,
}

/// How much happened: a simulation in which nothing does says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) runs: u64,
    pub(super) killed: u64,
    pub(super) cancelled: u64,
    pub(super) copied: u64,
    pub(super) deleted: u64,
    /// Deletes that were due, and held back.
    pub(super) held_back: u64,
    pub(super) failed: u64,
    pub(super) resumed_bytes: u64,
    /// Calls that the weather struck.
    pub(super) struck: u64,
    pub(super) changes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.runs, other.runs),
            (&mut self.killed, other.killed),
            (&mut self.cancelled, other.cancelled),
            (&mut self.copied, other.copied),
            (&mut self.deleted, other.deleted),
            (&mut self.held_back, other.held_back),
            (&mut self.failed, other.failed),
            (&mut self.resumed_bytes, other.resumed_bytes),
            (&mut self.struck, other.struck),
            (&mut self.changes, other.changes),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

/// What was seen of the present run.
#[derive(Default)]
struct Run {
    began: Option<Instant>,
    deletes: bool,
    dry: bool,
    /// The source's listing has come to its end.
    listing_ended: bool,
    /// Destination keys that it wrote.
    written: BTreeSet<Key>,
    claims: BTreeMap<Key, Copied>,
    wrong: Vec<String>,
}

impl Ledger {
    pub(super) fn begin(&mut self, options: &Options, now: Instant) {
        self.run = Run { began: Some(now), deletes: options.delete, dry: options.dry_run, ..Run::default() };
    }

    pub(super) fn note(&mut self, now: Instant, line: &str) {
        let began = *self.began.get_or_insert(now);
        let _ = writeln!(self.log, "{:>10} {line}", (now - began).as_millis());
    }

    /// Notes what the source holds under a key from now on.
    pub(super) fn changed(&mut self, key: &Key, crc: Option<u64>, now: Instant) {
        self.note(now, &format!("'{key}' is now {crc:x?}"));
        self.tally.changes += 1;
        self.history.note(key, crc, now);
    }

    /// A call and what became of it.
    pub(super) fn see(&mut self, now: Instant, watched: Watched, operation: Operation, key: &Key, prefix: &Key, moment: Moment<'_>) {
        match moment {
            Moment::Begun(effects) => {
                let effects: Vec<String> = effects.iter().filter(|e| !matches!(e, Effect::Late(_) | Effect::Delay(_))).map(|e| format!("{e:?}")).collect();
                self.tally.struck += u64::from(!effects.is_empty());
                self.note(now, &format!("{watched:?} {operation} '{key}' {}", effects.join(", ")));
                self.begun(now, watched, operation, key, prefix);
            }
            Moment::Failed(error) => self.note(now, &format!("{watched:?} {operation} '{key}' failed: {:?}", error.kind())),
            Moment::Done => {
                self.note(now, &format!("{watched:?} {operation} '{key}' done"));
                match operation {
                    Operation::CreateUpload => *self.nameless.entry(key.clone()).or_default() -= 1,
                    Operation::AbortUpload => drop(self.aborting.remove(key)),
                    _ => {}
                }
            }
            Moment::ListingEnded => {
                self.note(now, &format!("{watched:?} {operation} ended"));
                self.run.listing_ended |= watched == Watched::Source;
            }
        }
    }

    fn begun(&mut self, now: Instant, watched: Watched, operation: Operation, key: &Key, prefix: &Key) {
        let reads = matches!(operation, Operation::List | Operation::Head | Operation::Get | Operation::ListParts | Operation::ListUploads);
        if reads {
            return;
        }
        if watched == Watched::Source || self.run.dry {
            self.run.wrong.push(format!("{operation} '{key}' at the {watched:?}{}", if self.run.dry { " in a dry run" } else { "" }));
        }
        match operation {
            Operation::CreateUpload => *self.nameless.entry(key.clone()).or_default() += 1,
            Operation::AbortUpload => drop(self.aborting.insert(key.clone())),
            Operation::Put | Operation::CompleteUpload => drop(self.run.written.insert(key.clone())),
            // What this run wrote and found wrong is withdrawn; all else is the sync's delete.
            Operation::Delete if !self.run.written.contains(key) => self.deleting(now, key, prefix),
            _ => {}
        }
    }

    fn deleting(&mut self, now: Instant, key: &Key, prefix: &Key) {
        let Some(name) = key.strip_prefix(prefix) else {
            return self.run.wrong.push(format!("'{key}' is deleted, outside of the destination"));
        };
        let began = self.run.began.expect("a run");
        if !self.run.deletes || !self.run.listing_ended {
            self.run.wrong.push(format!("'{name}' is deleted before the source's listing ended clean"));
        }
        if !self.history.held(&name, None, &(began..=now)) {
            self.run.wrong.push(format!("'{name}' is deleted, and the source held it all the time"));
        }
    }

    /// What the run tells.
    pub(super) fn hear(&mut self, event: Event) {
        let Event::Object(object) = event else { return };
        match (object.action, object.status) {
            (_, Status::Failed) => self.tally.failed += 1,
            (Action::Copy, Status::Ok) => self.tally.copied += 1,
            (Action::Delete, Status::Ok) => self.tally.deleted += 1,
            _ => {}
        }
        self.tally.resumed_bytes += object.copied.as_ref().map_or(0, |copied| copied.resumed_bytes);
        if let (Action::Copy, Status::Ok, Some(copied)) = (object.action, object.status, object.copied)
            && self.run.claims.insert(object.key.clone(), copied).is_some()
        {
            self.run.wrong.push(format!("'{}' was copied twice", object.key));
        }
    }

    /// What was wrong in the run, and by key the CRC-64/XZ that each copy has: by its own account, or, where the service renewed it and both
    /// ends state nothing but an MD5, `None`.
    pub(super) fn verdict(&mut self, now: Instant) -> (Vec<String>, BTreeMap<Key, Option<u64>>, RangeInclusive<Instant>) {
        let Run { began, claims, mut wrong, .. } = std::mem::take(&mut self.run);
        let during = began.expect("a run")..=now;
        let mut copies = BTreeMap::new();
        for (key, copied) in claims {
            let crc = copied.checksums.crc64xz;
            let renewed = crc.is_none() && copied.verified() == Proof::Md5;
            if !renewed && crc.is_none_or(|crc| !self.history.held(&key, Some(crc), &during)) {
                let proved = copied.verified() > Proof::Size;
                wrong.push(format!("'{key}' was copied as {crc:x?} (proved: {proved}), which the source did not hold during the run"));
            }
            copies.insert(key, crc);
        }
        (wrong, copies, during)
    }

    /// Whether the source held these bytes at some time of the period.
    pub(super) fn source_held(&self, key: &Key, crc: u64, during: &RangeInclusive<Instant>) -> bool {
        self.history.held(key, Some(crc), during)
    }

    /// Whether an upload of this key may lie open without anybody knowing it.
    pub(super) fn excuses(&self, key: &Key) -> bool {
        self.forgotten || self.nameless.get(key).is_some_and(|count| *count > 0) || self.aborting.contains(key)
    }
}
