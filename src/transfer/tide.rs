//! How far a run has got: up to which key everything is settled, although ranges are fed side by side and work ends in any order.
//!
//! Each range of keys is a stretch of its own with its own marks. What counts is the front: the first stretch up to its last settled
//! mark, and once it is fed and settled whole, all of it and the next one. A stretch in the middle that is done joins the one before.

use std::collections::{BTreeSet, VecDeque};

use crate::storage::Key;

/// A mark is made every so many keys: so much is listed again at most, and smaller runs start over.
const MARK_KEYS: u64 = 10_000;

/// A range of keys, by the order of its making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RangeId(pub(crate) u32);

/// What work holds as long as it is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    range: RangeId,
    number: u64,
}

/// Follows keys from the feed to their end.
#[derive(Debug)]
pub(crate) struct Tide {
    /// In the order of their keys. The first is the front; the last is never taken away.
    stretches: Vec<Stretch>,
    next_number: u64,
    /// Keys of stretches that are settled and gone.
    settled: u64,
    /// Keys that the last mark told of.
    told: u64,
}

#[derive(Debug, Default)]
struct Stretch {
    range: RangeId,
    /// The key that it lies behind.
    begin: Key,
    keys: u64,
    /// Keys of later stretches that are done and have joined this one.
    joined: u64,
    outstanding: BTreeSet<u64>,
    marks: VecDeque<Mark>,
    /// The last mark that is settled and was not told yet.
    reached: Option<(Key, u64)>,
    /// All its keys were fed.
    fed: bool,
}

#[derive(Debug)]
struct Mark {
    after: Key,
    keys: u64,
    /// Settled when no number below this one is outstanding.
    below: u64,
}

impl Stretch {
    fn settle(&mut self, next_number: u64) {
        let low = self.outstanding.first().copied().unwrap_or(next_number);
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.below <= low) {
            self.reached = Some((mark.after, mark.keys));
        }
    }

    fn is_done(&self) -> bool {
        self.fed && self.outstanding.is_empty()
    }
}

impl Default for Tide {
    fn default() -> Self {
        Self::from(0)
    }
}

impl Tide {
    /// One range, which is called 0. Goes on counting from an earlier run's keys.
    pub(crate) fn from(keys: u64) -> Self {
        Self { stretches: vec![Stretch::default()], next_number: 0, settled: keys, told: keys }
    }

    fn stretch(&mut self, range: RangeId) -> &mut Stretch {
        let at = self.stretches.iter().position(|stretch| stretch.range == range);
        &mut self.stretches[at.expect("a range that is being fed or worked on")]
    }

    /// Cuts a range at a key: what lies behind it is another range from now on.
    pub(crate) fn split(&mut self, range: RangeId, at: Key, other: RangeId) {
        let place = self.stretches.iter().position(|stretch| stretch.range == range).expect("a range that is being fed");
        self.stretches.insert(place + 1, Stretch { range: other, begin: at, ..Stretch::default() });
    }

    /// Counts a key of a range. True: it is to be [marked](Self::mark) once its work, if it has any, holds a ticket.
    pub(crate) fn count(&mut self, range: RangeId) -> bool {
        let settled = self.settled;
        let stretch = self.stretch(range);
        stretch.keys += 1;
        (settled + stretch.keys).is_multiple_of(MARK_KEYS)
    }

    /// Sets a mark behind a key.
    pub(crate) fn mark(&mut self, range: RangeId, after: Key) {
        let next_number = self.next_number;
        let stretch = self.stretch(range);
        stretch.marks.push_back(Mark { after, keys: stretch.keys, below: next_number });
        stretch.settle(next_number);
    }

    /// A ticket for work that is about to wait or start.
    pub(crate) fn ticket(&mut self, range: RangeId) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        self.stretch(range).outstanding.insert(number);
        Ticket { range, number }
    }

    /// Takes back the ticket of work that ended.
    pub(crate) fn ended(&mut self, ticket: Ticket) {
        let next_number = self.next_number;
        let stretch = self.stretch(ticket.range);
        stretch.outstanding.remove(&ticket.number);
        stretch.settle(next_number);
        self.join();
    }

    /// Notes that a range has no more keys.
    pub(crate) fn fed(&mut self, range: RangeId) {
        self.stretch(range).fed = true;
        self.join();
    }

    /// Lets stretches that are done join the ones before them, so that there are never many.
    fn join(&mut self) {
        let mut at = 1;
        while let Some(stretch) = self.stretches.get(at) {
            if stretch.is_done() {
                let done = self.stretches.remove(at);
                self.stretches[at - 1].joined += done.keys + done.joined;
            } else {
                at += 1;
            }
        }
    }

    /// The farthest key up to which everything is settled, if there is a new one worth telling: it, and how many keys that are.
    pub(crate) fn reached(&mut self) -> Option<(Key, u64)> {
        let mut reached = self.stretches[0].reached.take().map(|(after, keys)| (after, self.settled + keys));
        while self.stretches.len() > 1 && self.stretches[0].is_done() {
            let front = self.stretches.remove(0);
            self.settled += front.keys + front.joined;
            let next = &mut self.stretches[0];
            if self.settled / MARK_KEYS > self.told / MARK_KEYS {
                reached = Some((next.begin.clone(), self.settled));
            }
            if let Some((after, keys)) = next.reached.take() {
                reached = Some((after, self.settled + keys));
            }
        }
        self.told = reached.as_ref().map_or(self.told, |(_, keys)| *keys);
        reached
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: RangeId = RangeId(0);

    #[test]
    fn a_mark_is_reached_when_all_work_before_it_ended_in_any_order() {
        let mut tide = Tide::from(MARK_KEYS - 2);
        assert!(!tide.count(ALL));
        let first = tide.ticket(ALL);
        assert!(tide.count(ALL));
        let second = tide.ticket(ALL);
        tide.mark(ALL, "b".into());
        let third = tide.ticket(ALL);
        assert_eq!(tide.reached(), None);
        tide.ended(second);
        assert_eq!(tide.reached(), None, "the first is still at work");
        tide.ended(first);
        assert_eq!(tide.reached(), Some(("b".into(), MARK_KEYS)), "what comes behind the mark does not matter");
        assert_eq!(tide.reached(), None, "once");
        tide.ended(third);
        tide.mark(ALL, "c".into());
        assert_eq!(tide.reached(), Some(("c".into(), MARK_KEYS)));
    }

    #[test]
    fn the_front_goes_on_to_the_next_range_only_when_the_first_is_fed_and_settled() {
        let mut tide = Tide::from(MARK_KEYS - 3);
        let (middle, last) = (RangeId(1), RangeId(2));
        tide.split(ALL, "m".into(), last);
        tide.split(ALL, "g".into(), middle);
        for range in [ALL, middle, last] {
            tide.count(range);
        }
        let (first, second) = (tide.ticket(ALL), tide.ticket(last));
        tide.fed(middle);
        tide.fed(last);
        tide.ended(second);
        assert_eq!(tide.reached(), None, "the first range is still being fed");
        tide.fed(ALL);
        assert_eq!(tide.reached(), None, "and worked on");
        tide.ended(first);
        assert_eq!(tide.reached(), None, "everything is done: nothing is left to go on with");
        assert_eq!(tide.stretches.len(), 1, "what is done has joined");
    }

    /// What happens to a run: a range is cut, fed with a key (with work or without) or ends, or the n-th work that is open ends.
    #[derive(Debug, Clone)]
    enum Happening {
        Split(prop::sample::Index),
        Key(prop::sample::Index, bool),
        Fed(prop::sample::Index),
        Ended(prop::sample::Index),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            1 => index().prop_map(Happening::Split),
            8 => (index(), any::<bool>()).prop_map(|(index, works)| Happening::Key(index, works)),
            1 => index().prop_map(Happening::Fed),
            4 => index().prop_map(Happening::Ended),
        ]
    }

    /// A range as the model sees it: keys are numbers.
    struct Model {
        id: RangeId,
        next: u32,
        end: u32,
    }

    proptest! {
        /// Keys 0 to 99,999, each range feeding its own in order; a mark behind each.
        #[test]
        fn nothing_is_told_settled_that_is_not(happenings in prop::collection::vec(happening(), 0..200)) {
            let mut tide = Tide::from(0);
            let mut ranges = vec![Model { id: ALL, next: 0, end: 100_000 }];
            let (mut open, mut ids) = (Vec::new(), 1);
            let key = |number: u32| Key::from(format!("{number:05}"));
            for happening in happenings {
                match happening {
                    Happening::Split(which) if !ranges.is_empty() => {
                        let which = which.index(ranges.len());
                        let range = &mut ranges[which];
                        let at = range.next + (range.end - range.next) / 2;
                        let (id, end) = (RangeId(ids), range.end);
                        tide.split(range.id, key(at), id);
                        range.end = at + 1;
                        ranges.push(Model { id, next: at + 1, end });
                        ids += 1;
                    }
                    Happening::Key(which, works) if !ranges.is_empty() => {
                        let which = which.index(ranges.len());
                        let range = &mut ranges[which];
                        if range.next < range.end {
                            tide.count(range.id);
                            if works {
                                open.push((range.next, tide.ticket(range.id)));
                            }
                            tide.mark(range.id, key(range.next));
                            range.next += 1;
                        }
                    }
                    Happening::Fed(which) if !ranges.is_empty() => {
                        let which = which.index(ranges.len());
                        let range = ranges.remove(which);
                        tide.fed(range.id);
                    }
                    Happening::Ended(which) if !open.is_empty() => {
                        let which = which.index(open.len());
                        tide.ended(open.remove(which).1);
                    }
                    _ => {}
                }
                if let Some((after, _)) = tide.reached() {
                    prop_assert!(open.iter().all(|(number, _)| key(*number) > after), "work before {} is open", after);
                    prop_assert!(ranges.iter().all(|range| range.next == range.end || key(range.next) > after), "keys before {} are not fed", after);
                }
            }
        }
    }
}
