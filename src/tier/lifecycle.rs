//! The clouds' own lifecycle rules: what they say, whichever cloud says it.
//!
//! A bucket has one configuration, which is read and replaced whole. Dragon's rules in it are known by their ids; every other is somebody
//! else's, and is put back letter for letter, whatever it says. Facts of both formats: protocol.md section 4; Amazon S3 API reference,
//! PutBucketLifecycleConfiguration; Alibaba Cloud OSS API reference, PutBucketLifecycle.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::rule::InDays;

mod change;
mod document;
mod oss;
mod s3;
mod terraform;
mod translate;

pub use change::{Change, Plan, plan, same};
pub use document::{Configuration, Stated};
pub use terraform::terraform;
pub use translate::{Translated, check, of_rule, translate};

/// One rule of a bucket's lifecycle configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id: up to 255 bytes, unique in the bucket.
    pub id: String,
    /// A disabled rule does nothing.
    pub enabled: bool,
    /// Which objects.
    pub scope: Scope,
    /// What becomes of them.
    pub actions: Vec<Action>,
}

/// Which objects a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Keys that begin with this.
    pub prefix: String,
    /// Objects with all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Objects of more bytes than this.
    pub larger_than_bytes: Option<u64>,
    /// Objects of fewer bytes than this.
    pub smaller_than_bytes: Option<u64>,
    /// But none of these. OSS only.
    pub not: Vec<Not>,
}

/// What a rule of OSS leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Not {
    /// Keys that begin with this.
    pub prefix: String,
    /// Of these, objects with this tag.
    pub tag: Option<(String, String)>,
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So many days after the object's last modification, or an upload's beginning.
    Days(u32),
    /// On that day, whatever the age. S3 only.
    On(Timestamp),
    /// At once, to what was last modified before that day. OSS only.
    CreatedBefore(Timestamp),
}

/// What becomes of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// They move to a class.
    Transition {
        /// When.
        when: When,
        /// In the service's word.
        class: String,
        /// By their last access, not their last modification. OSS only.
        access: Option<Access>,
    },
    /// They are deleted; in a bucket with versions a delete marker hides them.
    Expire {
        /// When.
        when: When,
    },
    /// A delete marker goes that hides nothing any more.
    ExpireMarkers,
    /// A version moves to a class so many days after another took its place.
    TransitionNoncurrent {
        /// Days.
        days: u32,
        /// In the service's word.
        class: String,
        /// So many of the newest stay. S3 only.
        newest: Option<u32>,
        /// By last access. OSS only.
        access: Option<Access>,
    },
    /// A version is removed so many days after another took its place.
    ExpireNoncurrent {
        /// Days.
        days: u32,
        /// So many of the newest stay. S3 only.
        newest: Option<u32>,
    },
    /// An upload that nobody completed is thrown away.
    AbortUploads {
        /// When.
        when: When,
    },
}

/// How OSS moves objects by their last access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// By last access at all: without it the others are as they stand.
    pub by_access: bool,
    /// Back to Standard when somebody reads it.
    pub back_on_visit: bool,
    /// Objects below 64 KiB as well.
    pub small: bool,
}

impl Action {
    /// The name of its kind, by which rules overlap.
    fn kind(&self) -> &'static str {
        match self {
            Self::Transition { .. } => "transition",
            Self::Expire { .. } | Self::ExpireMarkers => "expiration",
            Self::TransitionNoncurrent { .. } => "noncurrent transition",
            Self::ExpireNoncurrent { .. } => "noncurrent expiration",
            Self::AbortUploads { .. } => "abort",
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "after {}", InDays(*days)),
            Self::On(date) => write!(f, "on {}", date.strftime("%Y-%m-%d")),
            Self::CreatedBefore(date) => write!(f, "if from before {}", date.strftime("%Y-%m-%d")),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |newest: &Option<u32>| newest.map(|newest| format!(" but for the newest {newest}")).unwrap_or_default();
        match self {
            Self::Transition { when, class, access } => {
                write!(f, "{class} {when}")?;
                if access.is_some_and(|access| access.by_access) { f.write_str(" since the last access") } else { Ok(()) }
            }
            Self::Expire { when } => write!(f, "deleted {when}"),
            Self::ExpireMarkers => f.write_str("delete markers that hide nothing removed"),
            Self::TransitionNoncurrent { days, class, newest, .. } => write!(f, "old versions to {class} after {}{}", InDays(*days), kept(newest)),
            Self::ExpireNoncurrent { days, newest } => write!(f, "old versions removed after {}{}", InDays(*days), kept(newest)),
            Self::AbortUploads { when } => write!(f, "open uploads thrown away {when}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.prefix.is_empty() { "everything" } else { &self.prefix })?;
        for (name, value) in &self.tags {
            write!(f, " tagged {name}={value}")?;
        }
        if let Some(bytes) = self.larger_than_bytes {
            write!(f, " over {bytes} bytes")?;
        }
        if let Some(bytes) = self.smaller_than_bytes {
            write!(f, " below {bytes} bytes")?;
        }
        for not in &self.not {
            write!(f, " but not {}", not.prefix)?;
            if let Some((name, value)) = &not.tag {
                write!(f, " tagged {name}={value}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}: ", self.id, self.scope)?;
        for (n, action) in self.actions.iter().enumerate() {
            write!(f, "{}{action}", if n == 0 { "" } else { ", " })?;
        }
        if self.enabled { Ok(()) } else { f.write_str(" (disabled)") }
    }
}

#[cfg(test)]
mod tests;
