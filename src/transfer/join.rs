//! Merges two listings of one range of keys into pairings, in constant memory.
//!
//! A pairing says of each side: there, not there, or unknown. Unknown is an error and never an absence: every delete is licensed
//! by "the clean, ordered source listing has moved past this key", and nothing else gives [`Side::Absent`] to the source.

use std::cmp::Ordering;
use std::sync::Arc;

use super::known::Known;
use super::list::{Cursor, End};
use super::progress::Progress;
use super::split::{Rest, Seen};
use crate::error::{Error, ErrorKind, Result};
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

/// To guess at the rest of a range, every so many keys of a page are looked at.
const SAMPLE_EVERY: usize = 16;

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
    /// The last key of the range.
    upto: Option<Key>,
    /// The journal failed.
    broken: Option<Arc<Error>>,
    /// Where only the destination goes on, whether to go on with it.
    to_the_end: bool,
    step: Step,
    ended: bool,
    /// Source keys, each the beginning of the next, under which nothing was looked at: unreadable, or a link that is not followed.
    closed: Vec<Key>,
    /// Those that the next range behind this one was told of.
    closed_before: Vec<Key>,
    progress: Arc<Progress>,
}

impl Join {
    /// Merges; with `to_the_end`, also what only the destination holds behind the source's last key.
    pub(crate) fn new(source: Cursor, destination: Cursor, known: Known, to_the_end: bool, progress: Arc<Progress>) -> Self {
        Self {
            source,
            destination,
            known,
            upto: None,
            broken: None,
            to_the_end,
            step: Step::Neither,
            ended: false,
            closed: Vec::new(),
            closed_before: Vec::new(),
            progress,
        }
    }

    /// Waits until there is a [pairing](Self::pairing), or there are no more. Returns without one also where rows of the journal are to
    /// be [forgotten](Self::forget) first. Pairings come in key order but for late keys. Safe to drop.
    pub(crate) async fn arrive(&mut self) {
        while self.step == Step::Neither && !self.ended {
            tokio::join!(self.source.arrive(&self.progress.source_listed), self.destination.arrive(&self.progress.destination_listed));
            // A late destination key has been judged without its entry: it can only be passed over.
            if self.destination.is_late() && self.destination.key().is_some() {
                self.destination.advance();
                continue;
            }
            let Some(step) = self.choose() else {
                match self.finish().await {
                    Ok(whole) => self.ended = whole,
                    Err(error) => self.fail(error),
                }
                return;
            };
            let on = if step == Step::Destination { &self.destination } else { &self.source };
            // A late key lies behind what was read of the journal; nothing is known of it then.
            if !on.is_late()
                && let Some(key) = on.key()
            {
                match self.known.reach(key).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => return self.fail(error),
                }
                if self.known.of(key).is_some() {
                    self.known.meet();
                }
            }
            // Set only now: a call that was dropped while it waited is made again.
            self.step = step;
            self.note_closed();
        }
    }

    /// Lets the journal forget what lies between the last key and the end of a range that was listed whole.
    async fn finish(&mut self) -> Result<bool> {
        match &self.upto {
            Some(upto) if self.licenses_deletes() => self.known.reach(&[upto.as_bytes(), &[0]].concat()).await,
            _ => Ok(true),
        }
    }

    fn fail(&mut self, error: Error) {
        self.broken = Some(Arc::new(error));
        self.ended = true;
    }

    fn note_closed(&mut self) {
        if self.step != Step::Destination
            && let Some(entry) = self.source.entry()
        {
            // What begins with a range's name is one run of keys, with keys outside the range among them (`d`, `d-x`, `d/y`).
            self.closed.retain(|range| entry.key.starts_with(range.as_bytes()));
            if matches!(entry.kind, Kind::Unreadable | Kind::Symlink) {
                self.closed.push(Key::from(entry.key));
            }
        }
    }

    /// Moves on from the current pairing.
    pub(crate) fn advance(&mut self) {
        let step = std::mem::replace(&mut self.step, Step::Neither);
        if matches!(step, Step::Source | Step::Both) {
            self.source.advance();
        }
        if matches!(step, Step::Destination | Step::Both) {
            self.destination.advance();
        }
    }

    /// Whether the move has used up a page.
    pub(crate) fn has_spent_page(&self) -> bool {
        self.source.has_spent_page() || self.destination.has_spent_page()
    }

    /// Whether there is a pairing.
    pub(crate) fn has_arrived(&self) -> bool {
        self.step != Step::Neither
    }

    /// Whether there will be no more pairings.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether rows of the journal are to be forgotten.
    pub(crate) fn is_stale(&self) -> bool {
        self.known.is_stale()
    }

    /// Forgets them.
    pub(crate) async fn forget(&mut self) {
        if let Err(error) = self.known.forget().await {
            self.fail(error);
        }
    }

    /// How many pages came from the end that gave more.
    pub(crate) fn page_count(&self) -> u64 {
        self.source.page_count().max(self.destination.page_count())
    }

    /// The rest of the range as its keys let it be guessed; `None` where it is not to be split.
    pub(crate) fn rest(&self) -> Option<Rest<'_>> {
        let sides = [&self.source, &self.destination];
        let matters = !self.source.is_whole() || self.to_the_end && !self.destination.is_whole();
        // Of a side that has told nothing yet, nobody knows that its keys lie before the cut.
        let told = sides.iter().all(|cursor| cursor.is_ordered() && (cursor.is_whole() || cursor.seen().is_some()));
        if self.ended || !matters || !told {
            return None;
        }
        let seen = sides.iter().filter_map(|cursor| cursor.seen()).reduce(|a, b| Seen {
            first: a.first.min(b.first),
            last: a.last.max(b.last),
            end: a.end.or(b.end),
            pages: a.pages.max(b.pages),
        });
        let ahead = if self.source.is_whole() { &self.destination } else { &self.source };
        Rest::of(&seen?, ahead.page_keys().step_by(SAMPLE_EVERY))
    }

    /// Whether a key lies behind everything that came, and in the range.
    #[cfg(test)]
    pub(crate) fn is_behind_all_that_came(&self, key: &[u8]) -> bool {
        let seen = [&self.source, &self.destination].into_iter().filter_map(Cursor::seen).map(|seen| seen.last).max();
        seen.is_none_or(|seen| key > seen) && self.upto.as_ref().is_none_or(|upto| key < upto.as_bytes())
    }

    /// Cuts the range at a key behind everything that came so far: what lies behind it is merged by the join that is returned.
    pub(crate) fn split(&mut self, at: &Key) -> Self {
        Self {
            source: self.source.split(at),
            destination: self.destination.split(at),
            known: self.known.split(at.clone()),
            upto: self.upto.replace(at.clone()),
            broken: None,
            to_the_end: self.to_the_end,
            step: Step::Neither,
            ended: false,
            closed: self.closed.clone(),
            closed_before: std::mem::replace(&mut self.closed_before, self.closed.clone()),
            progress: self.progress.clone(),
        }
    }

    /// Whether something at the source that was not looked into may reach beyond the end of the range, where nobody knows of it.
    pub(crate) fn is_open_ended(&self) -> bool {
        let Some(upto) = &self.upto else { return false };
        self.closed.iter().any(|range| upto.as_bytes().starts_with(range.as_bytes()) && !self.closed_before.contains(range))
    }

    fn choose(&self) -> Option<Step> {
        match (self.source.key(), self.destination.key()) {
            (Some(_), _) if self.source.is_late() => Some(Step::Source),
            // Past the destination's failure nothing is known of what it holds: planning stops.
            (Some(_), None) if matches!(self.destination.end(), Some(End::Failed(_))) => None,
            (Some(source), Some(destination)) => Some(match source.cmp(destination) {
                Ordering::Less => Step::Source,
                Ordering::Equal => Step::Both,
                Ordering::Greater => Step::Destination,
            }),
            (Some(_), None) => Some(Step::Source),
            (None, Some(_)) if self.to_the_end && matches!(self.source.end(), Some(End::Clean)) => Some(Step::Destination),
            (None, _) => None,
        }
    }

    /// The current pairing; `None` before [`Self::arrive`] and at the end.
    pub(crate) fn pairing(&self) -> Option<Pairing<'_>> {
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

    /// Whether source and destination have kept their order.
    pub(crate) fn is_ordered(&self) -> [bool; 2] {
        [self.source.is_ordered(), self.destination.is_ordered()]
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
        loop {
            join.arrive().await;
            let Some(pairing) = join.pairing() else { break };
            let sign = |side: &Side<Entry<'_>>| match side {
                Side::Present(_) => '+',
                Side::Absent => '-',
                Side::Unknown(_) => '?',
            };
            all.push(format!("{} {}{}", Key::from(pairing.key), sign(&pairing.source), sign(&pairing.destination)));
            join.advance();
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
        assert_eq!(join.is_ordered(), [false, true]);
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
