//! What the server counts, for requests an object, bytes sent again and the like.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::request::Operation;

#[derive(Default)]
pub(super) struct Counters {
    operations: [AtomicU64; Operation::ALL.len()],
    /// Bytes of objects and parts that came in.
    pub(super) bytes_in: AtomicU64,
    /// Bytes of objects that went out.
    pub(super) bytes_out: AtomicU64,
    pub(super) connections: AtomicU64,
    /// Connections open now, and most at once.
    pub(super) open: AtomicU64,
    pub(super) open_max: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) corrupted: AtomicU64,
    /// Answers of 400 and more that no fault was asked for.
    pub(super) refused: AtomicU64,
}

/// The counters as they stand.
#[derive(Debug, serde::Serialize)]
pub(super) struct Count {
    operations: BTreeMap<&'static str, u64>,
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    connections: u64,
    open_max: u64,
    throttled: u64,
    resets: u64,
    stalls: u64,
    corrupted: u64,
    refused: u64,
}

impl Counters {
    pub(super) fn count(&self, operation: Operation) {
        self.operations[operation as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
        let now = self.open.fetch_add(1, Relaxed) + 1;
        self.open_max.fetch_max(now, Relaxed);
    }

    pub(super) fn read(&self) -> Count {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let operations: BTreeMap<_, _> =
            Operation::ALL.into_iter().map(|(operation, name)| (name, of(&self.operations[operation as usize]))).filter(|(_, count)| *count > 0).collect();
        Count {
            requests: operations.values().sum(),
            operations,
            bytes_in: of(&self.bytes_in),
            bytes_out: of(&self.bytes_out),
            connections: of(&self.connections),
            open_max: of(&self.open_max),
            throttled: of(&self.throttled),
            resets: of(&self.resets),
            stalls: of(&self.stalls),
            corrupted: of(&self.corrupted),
            refused: of(&self.refused),
        }
    }

    /// Begins anew. Open connections stay counted.
    pub(super) fn reset(&self) {
        let counters = [&self.bytes_in, &self.bytes_out, &self.connections, &self.throttled, &self.resets, &self.stalls, &self.corrupted, &self.refused];
        self.operations.iter().chain(counters).for_each(|counter| counter.store(0, Relaxed));
        self.open_max.store(self.open.load(Relaxed), Relaxed);
    }
}
