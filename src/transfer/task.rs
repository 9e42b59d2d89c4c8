//! The seam between deciding and copying: what to copy, and what came of it.

use std::fmt;

use jiff::Timestamp;

use super::event::Replaced;
use super::loss::Change;
use crate::journal::End;
use crate::storage::checksum::Checksums;
pub use crate::storage::checksum::Proof;
use crate::storage::{ETag, Entry, Key, Kind, ObjectInfo, ObjectRef};

/// Why an object is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The destination does not hold it.
    Absent,
    /// The sizes differ.
    Size,
    /// The ETags differ.
    ETag,
    /// The source is newer.
    Newer,
    /// The content checksums differ, or do not prove equality where that was asked for.
    Checksum,
    /// The bytes are the same, what travels with them is not.
    Metadata,
    /// The destination's history of the key has not this version yet.
    Version,
}

impl Reason {
    /// The word in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Size => "size",
            Self::ETag => "etag",
            Self::Newer => "newer",
            Self::Checksum => "checksum",
            Self::Metadata => "metadata",
            Self::Version => "version",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A listed entry that outlives its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The key relative to the place that was listed.
    pub(crate) key: Key,
    pub(crate) size: u64,
    pub(crate) etag: ETag,
    pub(crate) modified: Option<Timestamp>,
    pub(crate) storage_class: String,
    pub(crate) kind: Kind,
}

impl Listed {
    /// As it would stand in a page.
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry {
            key: self.key.as_bytes(),
            size: self.size,
            etag: self.etag.as_str(),
            modified: self.modified,
            storage_class: &self.storage_class,
            kind: self.kind,
        }
    }

    /// What a dry run says of what is overwritten or deleted.
    pub(crate) fn replaced(&self) -> Replaced {
        Replaced { size: self.size, class: self.storage_class.clone(), modified: self.modified }
    }

    /// What HEAD said, under this key.
    pub(crate) fn of(key: Key, info: &ObjectInfo) -> Self {
        Self {
            key,
            size: info.size,
            etag: info.etag.clone(),
            modified: info.modified,
            storage_class: info.attributes.storage_class.clone().unwrap_or_default(),
            kind: info.kind,
        }
    }
}

impl From<Entry<'_>> for Listed {
    fn from(entry: Entry<'_>) -> Self {
        Self {
            key: Key::from(entry.key),
            size: entry.size,
            etag: ETag::new(entry.etag),
            modified: entry.modified,
            storage_class: entry.storage_class.to_owned(),
            kind: entry.kind,
        }
    }
}

/// One object to copy, as the source's listing (or a HEAD) showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyTask {
    /// The key relative to both ends: its name in the journal. Empty where one object is copied.
    pub key: Key,
    /// The whole key at the source.
    pub source_key: Key,
    /// The version to copy; `None` is the latest.
    pub source_version: Option<String>,
    /// The whole key at the destination.
    pub destination_key: Key,
    /// Length in bytes as listed.
    pub size: u64,
    /// Entity tag as listed: the copy is pinned to it. Empty where the store gives none.
    pub etag: ETag,
    /// Last modification as listed.
    pub modified: Option<Timestamp>,
    /// Storage class at the source, in its words, empty where there is none.
    pub storage_class: String,
    /// How the source object came to be.
    pub kind: Kind,
    /// Why it is copied.
    pub reason: Reason,
}

impl CopyTask {
    /// What to read.
    pub fn source(&self) -> ObjectRef {
        ObjectRef { key: self.source_key.clone(), version: self.source_version.clone() }
    }
}

/// A finished and proved copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Length in bytes.
    pub size: u64,
    /// What proves that the bytes read are the source's.
    pub source_proof: Proof,
    /// What proves that the bytes stored are those read.
    pub destination_proof: Proof,
    /// What was computed over the bytes, and what the stores state of them. Empty for a server-side copy whose service states none.
    pub checksums: Checksums,
    /// Entity tag of the new object.
    pub etag: ETag,
    /// Version id of the new object, where the bucket has versions.
    pub version: Option<String>,
    /// The source object that was copied, as the store told while it was read.
    pub source: End,
    /// Bytes that an earlier run or attempt had sent already.
    pub resumed_bytes: u64,
    /// Of these, bytes that were read again at the source because nothing else proved them.
    pub reread_bytes: u64,
    /// What the copy, though its bytes are good, has not as the object had it.
    pub changes: Vec<Change>,
}

impl Copied {
    /// The weaker of the two proofs.
    pub fn verified(&self) -> Proof {
        self.source_proof.min(self.destination_proof)
    }
}
