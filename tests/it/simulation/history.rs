//! What the source held, and when.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use dragon::storage::Key;
use tokio::time::Instant;

/// One version of an object, or its absence.
#[derive(Debug, Clone, Copy)]
struct Version {
    since: Instant,
    /// Its CRC-64/XZ; `None` while there is no object.
    crc: Option<u64>,
}

/// All versions of all keys, in the order of time.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<Key, Vec<Version>>);

impl History {
    /// Notes what is under a key from now on.
    pub(super) fn note(&mut self, key: &Key, crc: Option<u64>, since: Instant) {
        self.0.entry(key.clone()).or_default().push(Version { since, crc });
    }

    /// Whether a key held these bytes (or, for `None`, nothing) at some time of the period, the instants of change included.
    pub(super) fn held(&self, key: &Key, crc: Option<u64>, period: &RangeInclusive<Instant>) -> bool {
        let versions = self.0.get(key).map_or(&[][..], Vec::as_slice);
        // Before the first version there is nothing.
        if crc.is_none() && versions.first().is_none_or(|first| first.since >= *period.start()) {
            return true;
        }
        let ends = versions.iter().skip(1).map(|next| Some(next.since)).chain([None]);
        versions.iter().zip(ends).any(|(version, end)| version.crc == crc && version.since <= *period.end() && end.is_none_or(|end| end >= *period.start()))
    }

    /// All keys that ever were.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.0.keys().cloned().collect()
    }

    /// What is there now.
    pub(super) fn now(&self) -> BTreeMap<Key, u64> {
        self.0.iter().filter_map(|(key, versions)| Some((key.clone(), versions.last()?.crc?))).collect()
    }
}
