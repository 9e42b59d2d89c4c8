//! Whose turn it is: so many jobs run at a time, and those of a higher priority come first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The turns. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    most: usize,
    taken: usize,
    next: u64,
    /// By priority, then by when they came.
    waiting: BTreeMap<(Reverse<u32>, u64), oneshot::Sender<Turn>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Turns {
    /// So many at a time.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State { most: most.max(1), taken: 0, next: 0, waiting: BTreeMap::new() })))
    }

    /// From now on so many at a time; those that have a turn keep it.
    pub(super) fn resize(&self, most: usize) {
        self.state().most = most.max(1);
        self.hand_out();
    }

    /// Waits for a turn. Safe to drop.
    pub(super) async fn take(&self, priority: u32) -> Option<Turn> {
        let waits = {
            let mut state = self.state();
            let (sender, receiver) = oneshot::channel();
            let place = (Reverse(priority), state.next);
            state.next += 1;
            state.waiting.insert(place, sender);
            receiver
        };
        self.hand_out();
        waits.await.ok()
    }

    fn hand_out(&self) {
        loop {
            let mut state = self.state();
            if state.taken >= state.most {
                return;
            }
            let Some((_, waiter)) = state.waiting.pop_first() else { return };
            state.taken += 1;
            drop(state);
            // Whoever waits no more drops it, and it comes back.
            drop(waiter.send(Turn(self.clone())));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().taken -= 1;
        self.0.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn the_important_come_first_and_who_left_is_passed_over() {
        let turns = Turns::new(1);
        let held = turns.take(10).await.expect("free");
        let mut low = Box::pin(turns.take(1));
        let mut gone = Box::pin(turns.take(90));
        let mut high = Box::pin(turns.take(50));
        assert!(low.as_mut().now_or_never().is_none() && gone.as_mut().now_or_never().is_none() && high.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(low.as_mut().now_or_never().is_none());
        let held = high.now_or_never().expect("its turn");
        turns.resize(2);
        assert!(low.now_or_never().is_some_and(|turn| turn.is_some()));
        drop(held);
        assert_eq!(turns.state().taken, 0);
    }
}
