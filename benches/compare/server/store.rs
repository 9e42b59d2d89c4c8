//! What the server holds: two synthetic buckets, and what was written, of which it keeps everything but the bytes.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::catalog::Catalog;
use super::content::{Content, Crcs};

/// The bucket that every workload reads.
pub(super) const SOURCE: &str = "source";
/// A bucket that already holds what `source` holds, but for what `--changed` says.
pub(crate) const MIRROR: &str = "mirror";

/// Headers that come back with an object.
pub(super) type Metadata = Box<[(Box<str>, Box<str>)]>;

/// An object that was written.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) crcs: Crcs,
    /// Without quotes.
    pub(super) etag: String,
    /// Seconds since 1970.
    pub(super) modified: u64,
    pub(super) metadata: Metadata,
}

/// A part of an upload.
#[derive(Debug, Clone)]
pub(super) struct StoredPart {
    pub(super) size: u64,
    pub(super) crcs: Crcs,
    pub(super) etag: String,
}

/// An upload in flight.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: Vec<u8>,
    pub(super) metadata: Metadata,
    pub(super) parts: BTreeMap<u32, StoredPart>,
}

/// What a listing or a HEAD tells of an object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) size: u64,
    pub(super) crcs: Crcs,
    pub(super) etag: String,
    pub(super) modified: u64,
    pub(super) metadata: Metadata,
    /// Where in the noise its bytes begin, where they are noise.
    pub(super) start: Option<usize>,
}

/// When synthetic objects were last modified: 2026-01-01.
pub(super) const SYNTHETIC_MODIFIED: u64 = 1_767_225_600;

/// How a target bucket compares with the source.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Verification {
    /// Objects that are in the bucket.
    objects: u64,
    /// Whose both checksums are those of the source object of the same key.
    same: u64,
    /// Whose are not, or that the source does not have.
    different: u64,
    /// That the source has and the bucket has not.
    missing: u64,
    bytes: u64,
}

pub(super) type Written = BTreeMap<Vec<u8>, Stored>;

pub(super) struct Store {
    pub(super) content: Content,
    pub(super) catalog: Catalog,
    /// One object in so many differs between the source and the mirror.
    changed: Option<u64>,
    written: Mutex<HashMap<String, Written>>,
    uploads: Mutex<HashMap<String, Upload>>,
}

impl Store {
    pub(super) fn new(catalog: Catalog, changed: Option<u64>) -> Self {
        Self { content: Content::new(), catalog, changed, written: Mutex::default(), uploads: Mutex::default() }
    }

    /// Computes what of an object is computed once.
    pub(super) fn warm(&self, number: u64) {
        self.synthetic(SOURCE, number);
    }

    /// Forgets all that was written.
    pub(super) fn reset(&self) {
        self.written().clear();
        self.uploads().clear();
    }

    pub(super) fn written(&self) -> MutexGuard<'_, HashMap<String, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn uploads(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_synthetic(bucket: &str) -> bool {
        bucket == SOURCE || bucket == MIRROR
    }

    /// Where in the noise the object of this number begins, in a synthetic bucket.
    fn start(&self, bucket: &str, number: u64) -> usize {
        let moved = bucket == MIRROR && self.changed.is_some_and(|changed| number.is_multiple_of(changed));
        Catalog::start(number + u64::from(moved))
    }

    fn synthetic(&self, bucket: &str, number: u64) -> Object {
        let (start, size) = (self.start(bucket, number), self.catalog.size);
        Object {
            size,
            crcs: self.content.crcs(start as u64, size),
            etag: self.content.etag(start, size),
            modified: SYNTHETIC_MODIFIED,
            metadata: Box::default(),
            start: Some(start),
        }
    }

    fn object_of(&self, key: &[u8], stored: &Stored) -> Object {
        let start = self.catalog.number(key).map(Catalog::start);
        let start = start.filter(|start| self.content.crcs(*start as u64, stored.size) == stored.crcs);
        Object { size: stored.size, crcs: stored.crcs, etag: stored.etag.clone(), modified: stored.modified, metadata: stored.metadata.clone(), start }
    }

    pub(super) fn find(&self, bucket: &str, key: &[u8]) -> Option<Object> {
        if bucket != SOURCE {
            let written = self.written();
            if let Some(stored) = written.get(bucket).and_then(|written| written.get(key)) {
                return Some(self.object_of(key, stored));
            }
        }
        let number = self.catalog.number(key).filter(|_| Self::is_synthetic(bucket))?;
        Some(self.synthetic(bucket, number))
    }

    /// The ETag of bytes with these checksums that were written under this key: their MD5, where they are the source's and so known.
    pub(super) fn etag(&self, key: &[u8], size: u64, crcs: Crcs) -> String {
        let start = self.catalog.number(key).map(Catalog::start);
        match start.filter(|start| self.content.crcs(*start as u64, size) == crcs) {
            Some(start) => self.content.etag(start, size),
            None => opaque(crcs),
        }
    }

    /// The checksums of parts one behind the other. Where they are the source object's own, so is the sum: nothing is computed.
    pub(super) fn joined(&self, key: &[u8], parts: &[StoredPart]) -> (u64, Crcs) {
        let size = parts.iter().map(|part| part.size).sum();
        let start = self.catalog.number(key).map(Catalog::start);
        let of_source = start.is_some_and(|start| {
            let mut offset = start as u64;
            parts.iter().all(|part| {
                let same = self.content.crcs(offset, part.size) == part.crcs;
                offset += part.size;
                same
            })
        });
        let crcs = match start.filter(|_| of_source) {
            Some(start) => self.content.crcs(start as u64, size),
            None => parts.iter().fold(self.content.crcs(0, 0), |sum, part| sum.then(part.crcs, part.size)),
        };
        (size, crcs)
    }

    pub(super) fn write(&self, bucket: &str, key: &[u8], stored: Stored) {
        self.written().entry(bucket.to_owned()).or_default().insert(key.to_vec(), stored);
    }

    pub(super) fn delete(&self, bucket: &str, key: &[u8]) {
        if let Some(written) = self.written().get_mut(bucket) {
            written.remove(key);
        }
    }

    /// Compares a bucket with the source.
    pub(super) fn verify(&self, bucket: &str) -> Verification {
        let mut found = Verification::default();
        let mut of_source = 0;
        for (key, stored) in self.written().get(bucket).into_iter().flatten() {
            let number = self.catalog.number(key);
            of_source += u64::from(number.is_some());
            let same =
                stored.size == self.catalog.size && number.is_some_and(|number| self.content.crcs(Catalog::start(number) as u64, stored.size) == stored.crcs);
            found.objects += 1;
            found.bytes += stored.size;
            *if same { &mut found.same } else { &mut found.different } += 1;
        }
        let unwritten = self.catalog.objects - of_source;
        if bucket != MIRROR {
            found.missing = unwritten;
            return found;
        }
        // What the mirror holds from the beginning is the source's, but for the keys that changed.
        let changed = (0..self.catalog.objects).step_by(self.changed.map_or(usize::MAX, |changed| changed as usize)).filter(|_| self.changed.is_some());
        let mut key = Vec::new();
        let written = self.written();
        let stale = changed.filter(|number| {
            self.catalog.write_key(*number, &mut key);
            !written.get(MIRROR).is_some_and(|written| written.contains_key(&key))
        });
        let stale = stale.count() as u64;
        found.objects += unwritten;
        found.same += unwritten - stale;
        found.different += stale;
        found
    }

    /// Every key of a bucket from a place on, in order.
    pub(super) fn walk<'a>(&'a self, bucket: &'a str, written: Option<&'a Written>) -> Walk<'a> {
        Walk { store: self, bucket, written, synthetic: Self::is_synthetic(bucket), number: 0, key: Vec::new(), inclusive: true }
    }
}

/// An ETag that is no MD5, as that of an encrypted object.
pub(super) fn opaque(crcs: Crcs) -> String {
    format!("c{:016x}{:016x}", crcs.xz, crcs.nvme)
}

/// A place in a bucket's keys.
pub(super) struct Walk<'a> {
    store: &'a Store,
    bucket: &'a str,
    written: Option<&'a Written>,
    synthetic: bool,
    number: u64,
    key: Vec<u8>,
    inclusive: bool,
}

impl Walk<'_> {
    /// Goes to `key`, or behind it.
    pub(super) fn seek(&mut self, key: &[u8], inclusive: bool) {
        if self.synthetic {
            self.number = self.store.catalog.seek(key, inclusive);
        } else {
            self.key = key.to_vec();
            self.inclusive = inclusive;
        }
    }

    /// The next key and what a listing says of it: size, ETag and when it was modified.
    pub(super) fn next(&mut self) -> Option<(&[u8], u64, String, u64)> {
        if !self.synthetic {
            let from = if self.inclusive { Bound::Included(self.key.as_slice()) } else { Bound::Excluded(self.key.as_slice()) };
            let (key, stored) = self.written?.range::<[u8], _>((from, Bound::Unbounded)).next()?;
            (self.key, self.inclusive) = (key.clone(), false);
            return Some((key, stored.size, stored.etag.clone(), stored.modified));
        }
        if self.number >= self.store.catalog.objects {
            return None;
        }
        self.store.catalog.write_key(self.number, &mut self.key);
        let stored = self.written.and_then(|written| written.get(&self.key));
        let (size, etag, modified) = match stored {
            Some(stored) => (stored.size, stored.etag.clone(), stored.modified),
            None => {
                let size = self.store.catalog.size;
                (size, self.store.content.etag(self.store.start(self.bucket, self.number), size), SYNTHETIC_MODIFIED)
            }
        };
        self.number += 1;
        Some((&self.key, size, etag, modified))
    }
}
