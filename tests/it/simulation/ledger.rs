//! What is seen of one world: by the watchers of both ends, and by who listens to the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

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
    /// A run whose journal did not outlive it was stopped: what it had begun may lie open.
    pub(super) forgotten: bool,
    /// Keys of uploads that may be open under an id that nobody was told.
    nameless: BTreeSet<Key>,
    /// Keys of uploads that were to be aborted, and no answer came.
    aborting: BTreeSet<Key>,
    began: Option<Instant>,
    run: Run,
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
        self.history.note(key, crc, now);
    }

    /// A call and what became of it.
    pub(super) fn see(&mut self, now: Instant, watched: Watched, operation: Operation, key: &Key, prefix: &Key, moment: Moment<'_>) {
        match moment {
            Moment::Begun(effects) => {
                let effects: Vec<String> = effects.iter().filter(|e| !matches!(e, Effect::Late(_) | Effect::Delay(_))).map(|e| format!("{e:?}")).collect();
                self.note(now, &format!("{watched:?} {operation} '{key}' {}", effects.join(", ")));
                self.begun(now, watched, operation, key, prefix);
            }
            Moment::Failed(error) => self.note(now, &format!("{watched:?} {operation} '{key}' failed: {:?}", error.kind())),
            Moment::Done => {
                self.note(now, &format!("{watched:?} {operation} '{key}' done"));
                match operation {
                    Operation::CreateUpload => drop(self.nameless.remove(key)),
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
            Operation::CreateUpload => drop(self.nameless.insert(key.clone())),
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
        if let (Action::Copy, Status::Ok, Some(copied)) = (object.action, object.status, object.copied)
            && self.run.claims.insert(object.key.clone(), copied).is_some()
        {
            self.run.wrong.push(format!("'{}' was copied twice", object.key));
        }
    }

    /// What was wrong in the run, and by key the CRC-64/XZ that each copy has by its own account.
    pub(super) fn verdict(&mut self, now: Instant) -> (Vec<String>, BTreeMap<Key, u64>) {
        let Run { began, claims, mut wrong, .. } = std::mem::take(&mut self.run);
        let during = began.expect("a run")..=now;
        let mut copies = BTreeMap::new();
        for (key, copied) in claims {
            let crc = copied.checksums.crc64xz;
            if crc.is_none_or(|crc| !self.history.held(&key, Some(crc), &during)) {
                let proved = copied.verified() > Proof::Size;
                wrong.push(format!("'{key}' was copied as {crc:x?} (proved: {proved}), which the source did not hold during the run"));
            }
            copies.extend(crc.map(|crc| (key, crc)));
        }
        (wrong, copies)
    }

    /// Whether an upload of this key may lie open without anybody knowing it.
    pub(super) fn excuses(&self, key: &Key) -> bool {
        self.forgotten || self.nameless.contains(key) || self.aborting.contains(key)
    }
}
