//! One byte budget for the whole process: memory is a setting, not a function of how many objects move or how large they are.
//!
//! Invariants:
//! - Bytes are reserved before the request that will fill them is opened, and given back when the last of them is acknowledged.
//! - A reservation is enough to finish what it was made for: nobody who holds one waits for another before letting go. So some
//!   holder always moves on, and whoever waits is served, in the order of asking.
//! - A reservation larger than the whole budget is refused at once with advice, never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Result};

/// The granule of accounting in bytes: the semaphore counts in 32 bits, and 4 TiB at once is enough.
const GRANULE_BYTES: u64 = 1 << 10;

/// The process-wide byte budget. Cheap to clone; clones share one budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<State>);

#[derive(Debug)]
struct State {
    capacity_bytes: u64,
    free: Arc<Semaphore>,
    in_use_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

/// Reserved bytes; dropping gives them back.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<State>,
    permit: OwnedSemaphorePermit,
}

impl MemoryBudget {
    /// The least budget that is accepted, in bytes: one smallest S3 part and the windows of a few small objects.
    pub const BYTES_MIN: u64 = 8 << 20;

    /// A budget of `capacity_bytes`, raised to [`Self::BYTES_MIN`].
    pub fn new(capacity_bytes: u64) -> Self {
        let granules = usize::try_from(capacity_bytes.max(Self::BYTES_MIN) / GRANULE_BYTES).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(State {
            capacity_bytes: granules as u64 * GRANULE_BYTES,
            free: Arc::new(Semaphore::new(granules)),
            in_use_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
        }))
    }

    /// The whole budget in bytes.
    pub fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes
    }

    /// Bytes reserved now.
    pub fn in_use_bytes(&self) -> u64 {
        self.0.in_use_bytes.load(Ordering::Relaxed)
    }

    /// The most that was ever reserved at once, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.0.peak_bytes.load(Ordering::Relaxed)
    }

    /// Waits, first come first served, until `bytes` are free and takes them. Dropping the future gives up the place in the queue.
    ///
    /// Fails with [`ErrorKind::Invalid`] where the whole budget is smaller than that.
    pub async fn reserve(&self, bytes: u64) -> Result<Reservation> {
        let granules = bytes.div_ceil(GRANULE_BYTES).max(1);
        if granules * GRANULE_BYTES > self.0.capacity_bytes {
            return Err(Error::invalid(format!("{} must be held in memory, but the memory budget is {}", ByteSize(bytes), ByteSize(self.0.capacity_bytes)))
                .advise("raise --memory"));
        }
        let granules = u32::try_from(granules).map_err(|_| Error::invalid(format!("{} at once is more than one reservation can hold", ByteSize(bytes))))?;
        let permit = Arc::clone(&self.0.free)
            .acquire_many_owned(granules)
            .await
            .map_err(|e| Error::new(ErrorKind::Unexpected, "the memory budget was closed").caused_by(e))?;
        let reservation = Reservation { budget: Arc::clone(&self.0), permit };
        let in_use = self.0.in_use_bytes.fetch_add(reservation.bytes(), Ordering::Relaxed) + reservation.bytes();
        self.0.peak_bytes.fetch_max(in_use, Ordering::Relaxed);
        Ok(reservation)
    }
}

impl Reservation {
    /// How many bytes are held: what was asked for, rounded up to the granule.
    pub fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * GRANULE_BYTES
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Before the permit goes, so that the count of bytes in use never exceeds what the semaphore handed out.
        self.budget.in_use_bytes.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::stream::{self, FuturesUnordered, StreamExt};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn what_is_dropped_is_free_again_and_waiting_is_in_order() {
        let budget = MemoryBudget::new(10 * MIB);
        let most = budget.reserve(9 * MIB).await.expect("fits");
        let mut large = Box::pin(budget.reserve(5 * MIB));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = Box::pin(budget.reserve(1));
        assert!(small.as_mut().now_or_never().is_none(), "a small request does not overtake a large one");
        drop(most);
        let large = large.await.expect("free now");
        small.await.expect("free now");
        assert_eq!(budget.in_use_bytes(), large.bytes());
        drop(large);
        assert_eq!((budget.in_use_bytes(), budget.peak_bytes()), (0, 9 * MIB));
    }

    #[tokio::test]
    async fn giving_up_leaves_the_queue() {
        let budget = MemoryBudget::new(10 * MIB);
        let held = budget.reserve(9 * MIB).await.expect("fits");
        let mut waiting = Box::pin(budget.reserve(10 * MIB));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(waiting);
        budget.reserve(MIB).now_or_never().expect("nobody is before us").expect("fits");
        drop(held);
        assert_eq!(budget.in_use_bytes(), 0);
    }

    #[tokio::test]
    async fn more_than_the_whole_is_refused_at_once() {
        let error = MemoryBudget::new(64 * MIB).reserve(65 * MIB).await.expect_err("too much");
        assert_eq!(error.to_string(), "65.0 MiB must be held in memory, but the memory budget is 64.0 MiB; raise --memory");
        assert_eq!(MemoryBudget::new(0).capacity_bytes(), MemoryBudget::BYTES_MIN);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Many copiers, each with several parts in flight, some given up midway: the peak stays within, and all end.
        #[test]
        fn the_peak_stays_within_and_everybody_ends(copiers in proptest::collection::vec((1u64..12 * MIB, 1usize..6, any::<bool>()), 1..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let budget = MemoryBudget::new(12 * MIB);
                let copier = |(bytes, parts, give_up): (u64, usize, bool)| {
                    let budget = &budget;
                    stream::iter(0..parts)
                        .then(move |_| budget.reserve(bytes))
                        .map(|held| async move {
                            let held = held.expect("each fits alone");
                            tokio::task::yield_now().await;
                            drop(held);
                        })
                        .buffer_unordered(3)
                        .take(if give_up { 1 } else { parts })
                        .count()
                };
                copiers.into_iter().map(copier).collect::<FuturesUnordered<_>>().count().await;
                assert!(budget.peak_bytes() <= budget.capacity_bytes());
                assert_eq!(budget.in_use_bytes(), 0);
            });
        }
    }
}
