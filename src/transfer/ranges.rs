//! Both listings, range by range: ranges of keys that split themselves where there are many, each a merge of its own, side by side.
//!
//! A listing is a chain: each page is asked for by the one before, so that a round trip a page is all that one stream can do. So the first
//! range is cut, and the pieces again, whenever one has far to go ([`Rest`](super::split::Rest)) and fewer than the most are underway. Both
//! ends have the same boundaries, so that no pairing lies in two ranges. A range lists what lies behind its boundary and stops
//! at the first key beyond its end: nothing is asked for that is not needed anyway but for one page a piece at most.
//!
//! # Invariants
//! - A key is in exactly one range: a boundary belongs to the range that it ends, and is cut behind everything that has come.
//! - Pairings are in key order within a range, and in no order between ranges.
//! - A range that fails ends them all, and takes the licence to delete from all of them. One that is out of order fails, unless it is
//!   still the whole: then it only takes the licence.
//! - Small listings are one range and cost what they always did.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::join::{Join, Pairing};
use super::tide::{RangeId, Tide};
use crate::error::Error;
use crate::storage::Key;

/// Pages that are listed before anything is split: what is smaller is not worth a request.
const UNSPLIT_PAGES: u64 = 3;
/// Pages that a range must have left to be split, by the guess; a piece has half of them at least.
const SPLIT_PAGES_MIN: f64 = 4.0;

/// The ranges of two listings.
pub(crate) struct Ranges {
    active: Vec<Range>,
    /// The range whose turn it is.
    turn: usize,
    ids: u32,
    ranges_max: usize,
    /// Keys of ranges that have ended, at source and destination.
    listed: (u64, u64),
    /// Whether all of those license deletes.
    licensed: bool,
    /// Whether what they came to was out of order, at source and destination.
    unordered: [bool; 2],
    /// Why a range failed.
    error: Option<Arc<Error>>,
}

/// What came of two listings.
#[derive(Debug)]
pub(crate) struct Listings {
    /// Keys listed at the source.
    pub(crate) source_keys: u64,
    /// Keys listed at the destination.
    pub(crate) destination_keys: u64,
    /// Why one failed.
    pub(crate) error: Option<Arc<Error>>,
    /// Which of them cannot be relied on for their order.
    pub(crate) unordered: Vec<&'static str>,
    /// Whether all of them ended clean and in order: without it no delete is licensed.
    pub(crate) license_deletes: bool,
}

struct Range {
    id: RangeId,
    join: Join,
    /// Pages that had come when it was last considered for a split.
    considered: u64,
    /// Pages that were left then, by the guess.
    left: f64,
}

impl Range {
    fn new(id: RangeId, join: Join) -> Self {
        Self { id, join, considered: 0, left: 0.0 }
    }
}

impl Ranges {
    /// One range, which may become as many as `ranges_max`.
    pub(crate) fn new(join: Join, ranges_max: usize) -> Self {
        let first = Range::new(RangeId::default(), join);
        Self { active: vec![first], turn: 0, ids: 0, ranges_max: ranges_max.max(1), listed: (0, 0), licensed: true, unordered: [false; 2], error: None }
    }

    /// Waits until there is a [pairing](Self::pairing), or there are no more. Safe to drop.
    pub(crate) async fn arrive(&mut self, tide: &mut Tide) {
        while self.error.is_none() && !self.active.is_empty() {
            self.turn = self.any().await;
            let range = &mut self.active[self.turn];
            if range.join.is_stale() {
                range.join.forget().await;
            }
            if range.join.page_count() > range.considered {
                self.consider(tide);
            }
            let range = &self.active[self.turn];
            if range.join.has_ended() {
                self.retire(tide);
            } else if range.join.has_arrived() {
                return;
            }
        }
    }

    /// Waits for any range to have something to say: the one whose turn it is, or the next that has.
    async fn any(&mut self) -> usize {
        let (active, turn) = (&mut self.active, self.turn);
        poll_fn(|cx| {
            for at in (turn..active.len()).chain(0..turn) {
                if pin!(active[at].join.arrive()).poll(cx).is_ready() {
                    return Poll::Ready(at);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Splits the range whose turn it is, if it has far to go and nobody has much farther.
    fn consider(&mut self, tide: &mut Tide) {
        let free = self.ranges_max - self.active.len();
        let pages: u64 = self.active.iter().map(|range| range.join.page_count()).sum();
        let most = self.active.iter().map(|range| range.left).fold(0.0, f64::max);
        let range = &mut self.active[self.turn];
        range.considered = range.join.page_count();
        if free == 0 || pages < UNSPLIT_PAGES {
            range.left = (range.left - 1.0).max(0.0);
            return;
        }
        let rest = range.join.rest();
        range.left = rest.as_ref().map_or(0.0, |rest| rest.pages);
        let Some(rest) = rest.filter(|rest| rest.pages >= SPLIT_PAGES_MIN.max(most / 2.0)) else { return };
        let pieces = (rest.pages / SPLIT_PAGES_MIN * 2.0).min((free + 1) as f64) as usize;
        let cuts = rest.cut(pieces);
        range.left /= (cuts.len() + 1) as f64;
        // From the last cut to the first, each splits what lies before the one behind it.
        for at in cuts.into_iter().rev() {
            self.split(at, tide);
        }
    }

    /// Splits the range whose turn it is at a key behind everything that has come of it.
    fn split(&mut self, at: Key, tide: &mut Tide) {
        self.ids += 1;
        let range = &mut self.active[self.turn];
        let piece = Range { left: range.left, ..Range::new(RangeId(self.ids), range.join.split(&at)) };
        tide.split(range.id, at, piece.id);
        self.active.push(piece);
    }

    /// Takes the range whose turn it is out of the way.
    fn retire(&mut self, tide: &mut Tide) {
        let Range { id, join, .. } = self.active.swap_remove(self.turn);
        self.turn = 0;
        let (source, destination) = join.listed();
        self.listed = (self.listed.0 + source, self.listed.1 + destination);
        self.licensed &= join.licenses_deletes() && !join.is_open_ended();
        merge(&mut self.unordered, &join);
        self.error = join.error().cloned();
        if self.error.is_none() {
            tide.fed(id);
        }
    }

    /// The current pairing, and the range it is in; `None` before [`Self::arrive`] and at the end.
    pub(crate) fn pairing(&self) -> Option<(RangeId, Pairing<'_>)> {
        let range = self.active.get(self.turn).filter(|_| self.error.is_none())?;
        Some((range.id, range.join.pairing()?))
    }

    /// Moves on from the current pairing. A range that has used up a page gives its turn away.
    pub(crate) fn advance(&mut self) {
        if let Some(range) = self.active.get_mut(self.turn) {
            range.join.advance();
            if range.join.has_spent_page() {
                self.turn = (self.turn + 1) % self.active.len();
            }
        }
    }

    /// Why a listing failed, if one did.
    pub(crate) fn error(&self) -> Option<&Arc<Error>> {
        self.error.as_ref()
    }

    /// What came of the listings.
    pub(crate) fn listings(&self) -> Listings {
        let mut unordered = self.unordered;
        self.active.iter().for_each(|range| merge(&mut unordered, &range.join));
        let unordered = ["source", "destination"].into_iter().zip(unordered).filter_map(|(side, unordered)| unordered.then_some(side)).collect();
        let (source_keys, destination_keys) = self.listed();
        Listings { source_keys, destination_keys, error: self.error.clone(), unordered, license_deletes: self.active.is_empty() && self.licensed }
    }

    /// Whether the source holds nothing at all.
    pub(crate) fn source_is_empty(&self) -> bool {
        self.listed().0 == 0 && self.active.iter().all(|range| range.join.source_is_empty())
    }

    /// Keys listed at source and destination.
    fn listed(&self) -> (u64, u64) {
        self.active.iter().map(|range| range.join.listed()).fold(self.listed, |sum, listed| (sum.0 + listed.0, sum.1 + listed.1))
    }
}

fn merge(unordered: &mut [bool; 2], join: &Join) {
    for (unordered, ordered) in unordered.iter_mut().zip(join.is_ordered()) {
        *unordered |= !ordered;
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
