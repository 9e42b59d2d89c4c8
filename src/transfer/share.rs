//! Streams that several runs of one process share, each its part.
//!
//! A [`Pool`] has so many places; a run takes a [`Share`] of it with a weight. Where places are free anybody has one at once. Where they
//! are all taken, one that becomes free goes to the share that has the fewest for its weight, so that a run with a billion keys does not
//! keep a small one waiting, and one that runs alone has everything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::concurrency::STREAMS_MAX;
use crate::error::{Error, ErrorKind, Result};

/// Places for streams. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    next: u64,
    shares: BTreeMap<u64, Row>,
}

#[derive(Debug)]
struct Row {
    weight: u32,
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// One run's part of a pool. Dropped when the run ends.
#[derive(Debug)]
pub struct Share {
    pool: Pool,
    id: u64,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub struct Place {
    pool: Pool,
    id: u64,
}

impl Pool {
    /// A pool of so many places; `None` is as many as a run ever uses.
    pub fn new(streams_max: Option<usize>) -> Self {
        Self(Arc::new(Mutex::new(State { free: streams_max.unwrap_or(STREAMS_MAX).max(1), next: 0, shares: BTreeMap::new() })))
    }

    /// A share with a weight against the others', at least 1.
    pub fn share(&self, weight: u32) -> Share {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.shares.insert(id, Row { weight: weight.max(1), taken: 0, waiting: VecDeque::new() });
        Share { pool: self.clone(), id }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out what is free to who waits, the poorest first.
    fn hand_out(&self) {
        loop {
            let mut state = self.state();
            if state.free == 0 {
                return;
            }
            let poorest = state
                .shares
                .iter_mut()
                .filter(|(_, row)| !row.waiting.is_empty())
                .min_by(|(_, a), (_, b)| (a.taken as u64 * u64::from(b.weight)).cmp(&(b.taken as u64 * u64::from(a.weight))));
            let Some((id, row)) = poorest else { return };
            let Some(waiter) = row.waiting.pop_front() else { return };
            let id = *id;
            row.taken += 1;
            state.free -= 1;
            // Without the lock: where nobody waits any more, the place comes back at once.
            drop(state);
            drop(waiter.send(Place { pool: self.clone(), id }));
        }
    }
}

impl Share {
    /// Waits for a place. Safe to drop.
    pub(crate) async fn open(&self) -> Result<Place> {
        let waits = {
            let mut state = self.pool.state();
            let free = state.free > 0;
            let Some(row) = state.shares.get_mut(&self.id) else { return Err(closed()) };
            if free {
                // Who is waiting has been served by whoever freed a place.
                row.taken += 1;
                state.free -= 1;
                return Ok(Place { pool: self.pool.clone(), id: self.id });
            }
            let (sender, receiver) = oneshot::channel();
            row.waiting.push_back(sender);
            receiver
        };
        waits.await.map_err(|_| closed())
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unexpected, "the share of the streams was closed")
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        if let Some(row) = state.shares.get_mut(&self.id) {
            row.waiting.clear();
            if row.taken == 0 {
                state.shares.remove(&self.id);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.pool.state();
            state.free += 1;
            if let Some(row) = state.shares.get_mut(&self.id) {
                row.taken -= 1;
            }
        }
        self.pool.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    async fn places(share: &Share, count: usize) -> Vec<Place> {
        futures::future::try_join_all((0..count).map(|_| share.open())).await.expect("room")
    }

    #[tokio::test]
    async fn one_alone_has_everything_and_gives_way_to_the_next() {
        let pool = Pool::new(Some(8));
        let (large, small) = (pool.share(10), pool.share(10));
        let mut held = places(&large, 8).await;
        let mut more: Vec<_> = (0..100).map(|_| Box::pin(large.open())).collect();
        assert!(more.iter_mut().all(|place| place.now_or_never().is_none()));
        let mut wanted: Vec<_> = (0..4).map(|_| Box::pin(small.open())).collect();
        wanted.iter_mut().for_each(|place| assert!(place.as_mut().now_or_never().is_none()));
        held.truncate(4);
        let got: Vec<Place> = wanted.into_iter().map(|place| place.now_or_never().expect("its turn").expect("a place")).collect();
        assert_eq!(got.len(), 4, "all that were freed went to the share that had none");
    }

    #[tokio::test]
    async fn weights_decide_where_both_want_more() {
        let pool = Pool::new(Some(12));
        let (a, b) = (pool.share(20), pool.share(10));
        let mut queue: VecDeque<Place> = places(&a, 12).await.into();
        let mut waiting_a: VecDeque<_> = (0..100).map(|_| Box::pin(a.open())).collect();
        let mut waiting_b: VecDeque<_> = (0..100).map(|_| Box::pin(b.open())).collect();
        waiting_a.iter_mut().chain(&mut waiting_b).for_each(|place| assert!(place.as_mut().now_or_never().is_none()));
        for _ in 0..60 {
            drop(queue.pop_front());
            for waiting in [&mut waiting_a, &mut waiting_b] {
                while let Some(place) = waiting.front_mut().and_then(|place| place.as_mut().now_or_never()) {
                    queue.push_back(place.expect("a place"));
                    waiting.pop_front();
                }
            }
        }
        let of_a = queue.iter().filter(|place| place.id == a.id).count();
        assert_eq!((of_a, queue.len() - of_a), (8, 4));
    }

    #[tokio::test]
    async fn a_place_that_nobody_waits_for_any_more_is_not_lost() {
        let pool = Pool::new(Some(1));
        let (a, b) = (pool.share(1), pool.share(1));
        let held = a.open().await.expect("free");
        let mut gone = Box::pin(b.open());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        let again = a.open().now_or_never().expect("free").expect("a place");
        drop(b);
        drop(again);
        drop(a);
        let state = pool.state();
        assert_eq!((state.free, state.shares.len()), (1, 0));
    }
}
