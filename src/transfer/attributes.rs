//! What travels with an object besides its bytes.
//!
//! Content headers and user metadata go along. Names that the destination cannot hold are [escaped](name) reversibly and told.
//! `dragon-*` is ours: written as a [`Stamp`], never compared, never copied onward, dropped first where a limit would
//! break. Storage class, encryption and ACL are the destination's business and come from the operator alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::job::Options;
use super::stamp::{self, Stamp};
use crate::error::{Error, Result};
use crate::storage::checksum::Crc64;
use crate::storage::{Attributes, Capabilities, Checksums, MetadataRule, ObjectInfo, mtime};

mod name;

/// What is written with the copy, and what a person should know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// What to write.
    pub(crate) attributes: Attributes,
    /// What was renamed or dropped, one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// How attributes pass between two stores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carrier<'a> {
    /// The source's rules.
    pub(crate) source: &'a Capabilities,
    /// The destination's rules.
    pub(crate) destination: &'a Capabilities,
    /// Storage class, encryption, ACL and whether to stamp.
    pub(crate) options: &'a Options,
}

impl Carrier<'_> {
    /// What to write with a copy of the object that `info` describes. `crc` are the CRCs of its bytes, where they are known by now.
    ///
    /// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where the metadata breaks the destination's limit even without our stamp.
    pub(crate) fn carry(&self, info: &ObjectInfo, crc: Option<&Crc64>) -> Result<Carried> {
        let mut warnings = Vec::new();
        let mut attributes = Attributes {
            storage_class: self.options.storage_class.clone(),
            encryption: self.options.encryption.clone(),
            acl: self.options.acl.clone(),
            user: self.user(&info.attributes.user, info.modified, &mut warnings),
            ..Attributes::default()
        };
        if self.destination.content_headers {
            attributes.content_type.clone_from(&info.attributes.content_type);
            attributes.cache_control.clone_from(&info.attributes.cache_control);
            attributes.content_disposition.clone_from(&info.attributes.content_disposition);
            attributes.content_encoding.clone_from(&info.attributes.content_encoding);
            attributes.content_language.clone_from(&info.attributes.content_language);
            attributes.expires.clone_from(&info.attributes.expires);
        }
        let limit = self.destination.metadata_bytes_max;
        let bytes = metadata_bytes(&attributes.user);
        if bytes > limit {
            return Err(Error::invalid(format!("its metadata has {bytes} bytes, and the destination takes at most {limit}"))
                .advise("shorten the metadata of the object at the source, or exclude it"));
        }
        if self.options.stamp && self.destination.metadata != MetadataRule::MtimeOnly {
            self.add_stamp(info, crc, &mut attributes.user, &mut warnings);
        }
        Ok(Carried { attributes, warnings })
    }

    /// The source's own metadata, in names that the destination holds.
    fn user(&self, from: &BTreeMap<String, String>, modified: Option<Timestamp>, warnings: &mut Vec<String>) -> BTreeMap<String, String> {
        let own = from.iter().filter(|(name, _)| !name.starts_with(stamp::PREFIX));
        if self.destination.metadata == MetadataRule::MtimeOnly {
            let dropped: Vec<_> = own.clone().map(|(name, _)| name.as_str()).filter(|name| *name != mtime::NAME).collect();
            if !dropped.is_empty() {
                warnings.push(format!("metadata that the destination cannot hold was left behind: {}", dropped.join(", ").escape_debug()));
            }
            let time = from.get(mtime::NAME).cloned().or_else(|| modified.map(mtime::of));
            return time.map(|value| (mtime::NAME.to_owned(), value)).into_iter().collect();
        }
        let mut renamed = Vec::new();
        let mut user = BTreeMap::new();
        for (name, value) in own {
            // What was escaped on the way into a narrow store gets its own name back.
            let plain = name::unescape(name, self.source.metadata);
            let held = name::escape(&plain, self.destination.metadata);
            if held != plain {
                renamed.push(format!("'{}' as '{held}'", plain.escape_debug()));
            }
            user.insert(held, value.clone());
        }
        if !renamed.is_empty() {
            warnings.push(format!("metadata names that the destination cannot hold were escaped: {}", renamed.join(", ")));
        }
        user
    }

    /// Adds our own metadata as far as it fits: where the copy comes from first, then the checksums.
    fn add_stamp(&self, info: &ObjectInfo, crc: Option<&Crc64>, user: &mut BTreeMap<String, String>, warnings: &mut Vec<String>) {
        let mut stamp = Stamp::of(info);
        if let Some(crc) = crc {
            stamp.checksums = crc.checksums();
        }
        let plain = user.clone();
        stamp.write(user);
        if metadata_bytes(user) <= self.destination.metadata_bytes_max {
            return;
        }
        stamp.checksums = Checksums::default();
        stamp.write(user);
        let dropped = if metadata_bytes(user) <= self.destination.metadata_bytes_max {
            "its checksums"
        } else {
            *user = plain;
            "dragon-source"
        };
        warnings.push(format!("there was no room left in the metadata for {dropped}"));
    }
}

/// Names and values together, as both clouds count; a value beyond ASCII is counted as the base64 that a header makes of it.
fn metadata_bytes(user: &BTreeMap<String, String>) -> usize {
    let value_bytes = |v: &str| if v.is_ascii() { v.len() } else { "=?UTF-8?B??=".len() + 4 * v.len().div_ceil(3) };
    user.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

#[cfg(test)]
mod tests;
