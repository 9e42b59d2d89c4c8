//! Counters of a running transfer, for whoever wants to look.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::Key;

/// Counters that only grow, but for what moves now. Read them at any time; together they are not one instant.
#[derive(Debug, Default)]
pub struct Progress {
    /// Keys listed at the source.
    pub source_listed: AtomicU64,
    /// Keys listed at the destination.
    pub destination_listed: AtomicU64,
    /// Both listings have ended: the planned figures are final but for what a HEAD still decides.
    pub listing_done: AtomicBool,
    /// Objects that are to be copied (`verify`: looked at beyond their listing), so far.
    pub planned_objects: AtomicU64,
    /// Their bytes.
    pub planned_bytes: AtomicU64,
    /// Objects copied and proved (`verify`: looked at).
    pub copied_objects: AtomicU64,
    /// Their bytes.
    pub copied_bytes: AtomicU64,
    /// Bytes that moved, also those of copies that are not done or failed later.
    pub moved_bytes: AtomicU64,
    /// Bytes found in place by a resumed upload.
    pub resumed_bytes: AtomicU64,
    /// Objects found unchanged.
    pub skipped_objects: AtomicU64,
    /// Objects deleted.
    pub deleted_objects: AtomicU64,
    /// Objects that failed.
    pub failed_objects: AtomicU64,
    /// Requests that were made again.
    pub retries: AtomicU64,
    moving: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    rows: BTreeMap<u64, Arc<Row>>,
}

#[derive(Debug)]
struct Row {
    key: Key,
    size: u64,
    done: AtomicU64,
}

/// One object that moves now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Its key at the source.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of it that have moved; may pass `size` where a part is sent again.
    pub done: u64,
}

impl Progress {
    /// Enters an object into the table of what moves now, until the guard is dropped.
    pub fn enter(self: &Arc<Self>, key: Key, size: u64) -> Moving {
        let row = Arc::new(Row { key, size, done: AtomicU64::new(0) });
        let mut table = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let id = table.next;
        table.next += 1;
        table.rows.insert(id, row.clone());
        Moving { progress: self.clone(), id, row }
    }

    /// What moves now, the longest-running first. As many as there are copies at a time.
    pub fn in_flight(&self) -> Vec<InFlight> {
        let table = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        table.rows.values().map(|r| InFlight { key: r.key.clone(), size: r.size, done: r.done.load(Ordering::Relaxed) }).collect()
    }
}

/// An object's place in the table of what moves now.
#[derive(Debug)]
pub struct Moving {
    progress: Arc<Progress>,
    id: u64,
    row: Arc<Row>,
}

impl Moving {
    /// Counts bytes that were there already.
    pub fn found(&self, bytes: u64) {
        self.row.done.fetch_add(bytes, Ordering::Relaxed);
        self.progress.resumed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that have moved.
    pub fn add(&self, bytes: u64) {
        self.row.done.fetch_add(bytes, Ordering::Relaxed);
        self.progress.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.progress.moving.lock().unwrap_or_else(PoisonError::into_inner).rows.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_seen_until_it_ends() {
        let progress = Arc::new(Progress::default());
        let a = progress.enter(Key::from("a"), 10);
        let b = progress.enter(Key::from("b"), 5);
        a.add(4);
        assert_eq!(progress.in_flight()[0], InFlight { key: Key::from("a"), size: 10, done: 4 });
        drop(a);
        assert_eq!(progress.in_flight().len(), 1);
        drop(b);
        assert_eq!(progress.in_flight(), []);
        assert_eq!(progress.moved_bytes.load(Ordering::Relaxed), 4);
    }
}
