//! Merges two listings into pairings, in constant memory.
//!
//! A pairing says of each side: there, not there, or unknown. Unknown is an error and never an absence: every delete is licensed
//! by "the clean, ordered source listing has moved past this key", and nothing else gives [`Side::Absent`] to the source.

use std::cmp::Ordering;
use std::sync::Arc;

use super::known::Known;
use super::list::{Cursor, End};
use super::progress::Progress;
use crate::error::{Error, ErrorKind};
use crate::journal::Proved;
use crate::storage::{Entry, Key, Kind};

/// What one end says of a key.
#[derive(Debug, Clone)]
pub enum Side<T> {
    /// It holds it.
    Present(T),
    /// It does not hold it. The only answer that may license a delete.
    Absent,
    /// It could not be asked.
    Unknown(Arc<Error>),
}

/// One key and what both ends say of it.
#[derive(Debug, Clone)]
pub struct Pairing<'a> {
    /// The key relative to both ends.
    pub key: &'a [u8],
    /// What the source says.
    pub source: Side<Entry<'a>>,
    /// What the destination says.
    pub destination: Side<Entry<'a>>,
    /// What the journal knows of it.
    pub proved: Option<&'a Proved>,
}

/// Which cursors the current pairing stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Neither,
    Source,
    Destination,
    Both,
}

/// Two listings, merged.
pub(crate) struct Join {
    source: Cursor,
    destination: Cursor,
    known: Known,
    /// The journal failed.
    broken: Option<Arc<Error>>,
    /// Where only the destination goes on, whether to go on with it.
    to_the_end: bool,
    step: Step,
    /// Source keys, each the beginning of the next, under which nothing was looked at: unreadable, or a link that is not followed.
    closed: Vec<Key>,
    progress: Arc<Progress>,
}

impl Join {
    /// Merges; with `to_the_end`, also what only the destination holds behind the source's last key.
    pub(crate) fn new(source: Cursor, destination: Cursor, known: Known, to_the_end: bool, progress: Arc<Progress>) -> Self {
        Self { source, destination, known, broken: None, to_the_end, step: Step::Neither, closed: Vec::new(), progress }
    }

    /// Waits for the first answer of both ends.
    pub(crate) async fn arrive(&mut self) {
        tokio::join!(self.source.arrive(&self.progress.source_listed), self.destination.arrive(&self.progress.destination_listed));
    }

    /// The next pairing, in key order but for late keys; `None` where nothing more can be said. Safe to drop.
    pub(crate) async fn next(&mut self) -> Option<Pairing<'_>> {
        loop {
            let step = std::mem::replace(&mut self.step, Step::Neither);
            if matches!(step, Step::Source | Step::Both) {
                self.source.advance();
            }
            if matches!(step, Step::Destination | Step::Both) {
                self.destination.advance();
            }
            self.arrive().await;
            // A late destination key has been judged without its entry: it can only be passed over.
            if self.destination.entry().is_some() && self.destination.is_late() {
                self.step = Step::Destination;
                continue;
            }
            break;
        }
        let step = self.choose()?;
        let on = if step == Step::Destination { &self.destination } else { &self.source };
        // A late key lies behind what was read of the journal; nothing is known of it then.
        if !on.is_late()
            && let Some(entry) = on.entry()
        {
            if let Err(error) = self.known.reach(entry.key).await {
                self.broken = Some(Arc::new(error));
                return None;
            }
            if self.known.of(entry.key).is_some() {
                self.known.meet();
            }
        }
        // Set only now: a call that was dropped while it waited is made again.
        self.step = step;
        if self.step != Step::Destination
            && let Some(entry) = self.source.entry()
        {
            // What begins with a range's name is one run of keys, with keys outside the range among them (`d`, `d-x`, `d/y`).
            self.closed.retain(|range| entry.key.starts_with(range.as_bytes()));
            if matches!(entry.kind, Kind::Unreadable | Kind::Symlink) {
                self.closed.push(Key::from(entry.key));
            }
        }
        self.pairing()
    }

    fn choose(&self) -> Option<Step> {
        match (self.source.entry(), self.destination.entry()) {
            (Some(_), _) if self.source.is_late() => Some(Step::Source),
            // Past the destination's failure nothing is known of what it holds: planning stops.
            (Some(_), None) if matches!(self.destination.end(), Some(End::Failed(_))) => None,
            (Some(source), Some(destination)) => Some(match source.key.cmp(destination.key) {
                Ordering::Less => Step::Source,
                Ordering::Equal => Step::Both,
                Ordering::Greater => Step::Destination,
            }),
            (Some(_), None) => Some(Step::Source),
            (None, Some(_)) if self.to_the_end && matches!(self.source.end(), Some(End::Clean)) => Some(Step::Destination),
            (None, _) => None,
        }
    }

    fn pairing(&self) -> Option<Pairing<'_>> {
        let (source, destination) = (self.source.entry(), self.destination.entry());
        let proved = |key| self.known.of(key);
        Some(match self.step {
            Step::Neither => return None,
            Step::Both => Pairing { key: source?.key, source: Side::Present(source?), destination: Side::Present(destination?), proved: proved(source?.key) },
            Step::Source => {
                let unknown = self.source.is_late() || self.destination.is_disordered();
                let destination = if unknown { Side::Unknown(disorder("destination")) } else { Side::Absent };
                Pairing { key: source?.key, source: Side::Present(source?), destination, proved: proved(source?.key) }
            }
            Step::Destination => {
                let key = destination?.key;
                let source = if !self.source.is_ordered() {
                    Side::Unknown(disorder("source"))
                } else if let Some(range) = self.closed.iter().find(|range| covers(range, key)) {
                    Side::Unknown(Arc::new(Error::new(ErrorKind::Local, format!("'{range}' at the source was not looked into"))))
                } else {
                    Side::Absent
                };
                Pairing { key, source, destination: Side::Present(destination?), proved: proved(key) }
            }
        })
    }

    /// Whether both listings ended clean and in order: without it no delete is licensed.
    pub(crate) fn licenses_deletes(&self) -> bool {
        let clean = |cursor: &Cursor| matches!(cursor.end(), Some(End::Clean)) && cursor.is_ordered();
        clean(&self.source) && clean(&self.destination) && self.broken.is_none()
    }

    /// Why a listing failed, if one did: the source's, then the destination's, then the journal's.
    pub(crate) fn error(&self) -> Option<&Arc<Error>> {
        let failed = [&self.source, &self.destination].into_iter().find_map(|cursor| match cursor.end() {
            Some(End::Failed(error)) => Some(error),
            _ => None,
        });
        failed.or(self.broken.as_ref())
    }

    /// Which listings cannot be relied on for their order.
    pub(crate) fn unordered(&self) -> impl Iterator<Item = &'static str> {
        [(&self.source, "source"), (&self.destination, "destination")].into_iter().filter(|(c, _)| !c.is_ordered()).map(|(_, name)| name)
    }

    /// Whether the source holds nothing at all.
    pub(crate) fn source_is_empty(&self) -> bool {
        self.source.listed() == 0 && matches!(self.source.end(), Some(End::Clean))
    }

    /// Keys listed at source and destination.
    pub(crate) fn listed(&self) -> (u64, u64) {
        (self.source.listed(), self.destination.listed())
    }
}

fn covers(range: &Key, key: &[u8]) -> bool {
    key.strip_prefix(range.as_bytes()).is_some_and(|rest| rest.is_empty() || range.is_folder() || rest.starts_with(b"/"))
}

fn disorder(side: &str) -> Arc<Error> {
    Arc::new(Error::new(ErrorKind::Unexpected, format!("the {side}'s listing is out of order")))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::testing::{Script, open, script};

    /// Joins two scripted listings; each pairing as `key source destination` with `+` there, `-` absent, `?` unknown.
    async fn joined(source: Script, destination: Script) -> (Vec<String>, Join) {
        let mut join = Join::new(open(source), open(destination), crate::transfer::testing::nothing_known(), true, Arc::default());
        let mut all = Vec::new();
        while let Some(pairing) = join.next().await {
            let sign = |side: &Side<Entry<'_>>| match side {
                Side::Present(_) => '+',
                Side::Absent => '-',
                Side::Unknown(_) => '?',
            };
            all.push(format!("{} {}{}", Key::from(pairing.key), sign(&pairing.source), sign(&pairing.destination)));
        }
        (all, join)
    }

    #[tokio::test]
    async fn both_ends_meet_in_byte_order() {
        let (all, join) = joined(script(&["a b", "", "d zz"]), script(&["b", "c d", "zzz"])).await;
        assert_eq!(all, ["a +-", "b ++", "c -+", "d ++", "zz +-", "zzz -+"]);
        assert!(join.licenses_deletes() && join.error().is_none() && !join.source_is_empty());
        assert_eq!(join.listed(), (4, 4));
    }

    #[tokio::test]
    async fn what_lies_behind_an_error_is_not_absent() {
        let (all, join) = joined(script(&["a c", "!"]), script(&["a b", "c d"])).await;
        assert_eq!(all, ["a ++", "b -+", "c ++"]);
        assert!(!join.licenses_deletes() && join.error().is_some());
        let (all, join) = joined(script(&["a c", "d"]), script(&["a b", "!"])).await;
        assert_eq!(all, ["a ++", "b -+"]);
        assert!(!join.licenses_deletes() && join.error().is_some());
        let (all, join) = joined(script(&["!"]), script(&["a"])).await;
        assert_eq!(all, Vec::<String>::new());
        assert!(!join.source_is_empty(), "an error is no emptiness");
    }

    #[tokio::test]
    async fn keys_out_of_order_are_looked_up_and_license_nothing() {
        let (all, join) = joined(script(&["a d", "b e"]), script(&["a b c f"])).await;
        assert_eq!(all, ["a ++", "b -+", "c -+", "d +-", "b +?", "e +-", "f ?+"]);
        assert!(!join.licenses_deletes());
        assert_eq!(join.unordered().collect::<Vec<_>>(), ["source"]);
        let (all, join) = joined(script(&["a b d"]), script(&["a c", "b e"])).await;
        assert_eq!(all, ["a ++", "b +-", "c -+", "d +?", "e -+"]);
        assert!(!join.licenses_deletes());
    }

    #[tokio::test]
    async fn nothing_under_an_unreadable_name_or_a_link_is_absent() {
        let destination = ["c", "d", "d-x", "d/a", "d/b/c", "dd", "l", "l/x", "lx", "u/v"].join(" ");
        let (all, _) = joined(script(&["d? d-x l@ u/?"]), script(&[&destination])).await;
        assert_eq!(all, ["c -+", "d ++", "d-x ++", "d/a -?", "d/b/c -?", "dd -+", "l ++", "l/x -?", "lx -+", "u/ +-", "u/v -?"].map(|s| s.replace("-?", "?+")));
    }

    #[tokio::test]
    async fn a_listing_of_another_prefix_is_an_error() {
        let mut location = Script::location(script(&["a/x b/y"]));
        location.prefix = "a/".into();
        let mut cursor = crate::transfer::testing::open_at(&location);
        let counter = std::sync::atomic::AtomicU64::new(0);
        cursor.arrive(&counter).await;
        assert_eq!(cursor.entry().map(|entry| entry.key), Some(&b"x"[..]));
        cursor.advance();
        cursor.arrive(&counter).await;
        assert!(cursor.entry().is_none() && matches!(cursor.end(), Some(End::Failed(_))));
    }
}
