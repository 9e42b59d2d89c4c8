//! What a run tells while it goes: one event for each thing that begins or ends.

use std::fmt;

use super::task::{Copied, Proof, Reason};
use crate::error::Error;
use crate::storage::Key;

/// Something began or ended.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something was decided or done about one key.
    Object(Box<ObjectEvent>),
    /// `verify` has judged one key.
    Verdict(Box<VerdictEvent>),
    /// A person should know, though nothing failed: an entry that cannot be copied, an unordered listing, metadata that was dropped.
    Notice(Notice),
}

/// What was to be done about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Copy it.
    Copy,
    /// Delete it at the destination.
    Delete,
    /// Leave it alone.
    Skip,
    /// Wait until the archive has restored it.
    Restore,
}

impl Action {
    /// The word in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Delete => "delete",
            Self::Skip => "skip",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done, and its effect has committed.
    Ok,
    /// Not done; the error says why.
    Failed,
    /// A dry run would do it.
    Planned,
}

impl Status {
    /// The word in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Planned => "planned",
        }
    }
}

/// One key's end, with what `--json` prints of it.
#[derive(Debug, Clone)]
pub struct ObjectEvent {
    /// What was to be done.
    pub action: Action,
    /// How it ended.
    pub status: Status,
    /// The key relative to the source and destination (the whole source key where one object is copied).
    pub key: Key,
    /// Length in bytes.
    pub size: u64,
    /// Why it is copied.
    pub reason: Option<Reason>,
    /// The proved copy, where there is one.
    pub copied: Option<Copied>,
    /// The version that a delete removed or made, or that a copy wrote.
    pub version: Option<String>,
    /// Why it failed: kind, message, the cloud's answer.
    pub error: Option<Error>,
    /// What a dry run foresees.
    pub foreseen: Option<Box<Foreseen>>,
}

/// What a dry run foresees of one object: what it takes, and what it may cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// Class at the source, in its words; empty where it has none.
    pub source_class: String,
    /// Class that the copy asks for; empty is the bucket's own.
    pub class: String,
    /// Parts that it is sent in; 0 where it is sent whole.
    pub parts: u32,
    /// What lies at the destination and is overwritten or deleted.
    pub replaced: Option<Replaced>,
}

/// What an object gives way to, or that goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Length in bytes.
    pub size: u64,
    /// Its class, in the destination's words; empty where it has none.
    pub class: String,
    /// When it was last modified.
    pub modified: Option<jiff::Timestamp>,
}

impl ObjectEvent {
    /// An event with nothing but an action, an end, a key and a size.
    pub(crate) fn new(action: Action, status: Status, key: Key, size: u64) -> Self {
        Self { action, status, key, size, reason: None, copied: None, version: None, error: None, foreseen: None }
    }
}

/// What `verify` says of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Proved equal.
    Same,
    /// Only the destination holds it.
    MissingSource,
    /// Only the source holds it.
    MissingDestination,
    /// Proved different.
    Differs,
    /// Sizes agree, and nothing proves more; `--deep` would.
    Unproved,
}

impl Verdict {
    /// The word in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::MissingSource => "missing_source",
            Self::MissingDestination => "missing_destination",
            Self::Differs => "differs",
            Self::Unproved => "unproved",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One key, judged.
#[derive(Debug, Clone)]
pub struct VerdictEvent {
    /// The key relative to both ends.
    pub key: Key,
    /// The verdict; `None` where the key could not be judged, and `error` says why.
    pub verdict: Option<Verdict>,
    /// Length at the source, or at the destination where the source has none, in bytes.
    pub size: u64,
    /// What proves the verdict.
    pub proof: Proof,
    /// CRC-64/XZ of the source's bytes, where known.
    pub crc64xz: Option<u64>,
    /// Why it could not be judged.
    pub error: Option<Error>,
}

/// Something a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The key concerned, relative to its end, where there is one.
    pub key: Option<Key>,
    /// What, in plain words.
    pub message: String,
}
