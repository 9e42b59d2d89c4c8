//! How far a run has got: up to which key everything is settled, although work on keys ends in any order.

use std::collections::{BTreeSet, VecDeque};

use crate::storage::Key;

/// A mark is made every so many keys: so much is listed again at most, and smaller runs start over.
const MARK_KEYS: u64 = 10_000;

/// Follows keys from the feed to their end.
#[derive(Debug, Default)]
pub(crate) struct Tide {
    keys: u64,
    next_ticket: u64,
    outstanding: BTreeSet<u64>,
    marks: VecDeque<Mark>,
}

#[derive(Debug)]
struct Mark {
    after: Key,
    keys: u64,
    /// Settled when no ticket below this one is outstanding.
    below: u64,
}

impl Tide {
    /// Goes on counting from an earlier run's keys.
    pub(crate) fn from(keys: u64) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Counts a key of the feed. True: it is to be [marked](Self::mark) once its work, if it has any, holds a ticket.
    pub(crate) fn count(&mut self) -> bool {
        self.keys += 1;
        self.keys.is_multiple_of(MARK_KEYS)
    }

    /// Sets a mark behind a key.
    pub(crate) fn mark(&mut self, after: Key) {
        self.marks.push_back(Mark { after, keys: self.keys, below: self.next_ticket });
    }

    /// A ticket for work that is about to wait or start.
    pub(crate) fn ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.outstanding.insert(ticket);
        ticket
    }

    /// Takes back the ticket of work that ended.
    pub(crate) fn ended(&mut self, ticket: u64) {
        self.outstanding.remove(&ticket);
    }

    /// The farthest mark up to which everything is settled, if there is a new one: its key, and how many keys that are.
    pub(crate) fn reached(&mut self) -> Option<(Key, u64)> {
        let low = self.outstanding.first().copied().unwrap_or(self.next_ticket);
        let mut reached = None;
        while let Some(mark) = self.marks.front().filter(|mark| mark.below <= low) {
            reached = Some((mark.after.clone(), mark.keys));
            self.marks.pop_front();
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_reached_when_all_work_before_it_ended_in_any_order() {
        let mut tide = Tide::from(MARK_KEYS - 2);
        assert!(!tide.count());
        let first = tide.ticket();
        assert!(tide.count());
        let second = tide.ticket();
        tide.mark("b".into());
        let third = tide.ticket();
        assert_eq!(tide.reached(), None);
        tide.ended(second);
        assert_eq!(tide.reached(), None, "the first is still at work");
        tide.ended(first);
        assert_eq!(tide.reached(), Some(("b".into(), MARK_KEYS)), "what comes behind the mark does not matter");
        assert_eq!(tide.reached(), None, "once");
        tide.ended(third);
        tide.mark("c".into());
        assert_eq!(tide.reached(), Some(("c".into(), MARK_KEYS)));
    }
}
