//! What travels with an object besides its bytes.
//!
//! Content headers and user metadata go along. Names that the destination cannot hold are [escaped](name) reversibly and told.
//! `dragon-*` is ours: written as a [`Stamp`], never compared, never copied onward, dropped first where a limit would
//! break. The storage class is [mapped](crate::storage::class) and the first one remembered, so that a way back restores it. Whatever the
//! copy has not as the object had it is a [`Change`].

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::job::{ClassChoice, EncryptionChoice, Options};
use super::loss::{Attribute, Change};
use super::stamp::{self, Stamp};
use crate::error::{Error, Result};
use crate::storage::checksum::Crc64;
use crate::storage::class::Class;
use crate::storage::{Acl, Attributes, Capabilities, Checksums, Encryption, Kind, MetadataRule, ObjectInfo, Service, mtime};

mod name;

/// What is written with the copy, and what a person should know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// What to write.
    pub(crate) attributes: Attributes,
    /// What the copy has not as the object had it.
    pub(crate) changes: Vec<Change>,
}

/// What OSS takes in tags beside letters and digits (PutObjectTagging, Alibaba Cloud's API reference).
const OSS_TAG_MARKS: &str = " +-=._:/";

/// How attributes pass between two stores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carrier<'a> {
    /// The source's rules.
    pub(crate) source: &'a Capabilities,
    /// The destination's rules.
    pub(crate) destination: &'a Capabilities,
    /// How storage class and encryption are chosen, ACL, and whether to stamp.
    pub(crate) options: &'a Options,
}

impl Carrier<'_> {
    /// What to write with a copy of the object that `info` describes. `crc` are the CRCs of its bytes, where they are known by now.
    ///
    /// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where the metadata breaks the destination's limit even without our stamp.
    pub(crate) fn carry(&self, info: &ObjectInfo, crc: Option<&Crc64>) -> Result<Carried> {
        let mut changes = Vec::new();
        let (storage_class, first_class) = self.class(info, &mut changes);
        let mut attributes = Attributes {
            storage_class,
            encryption: self.encryption(info.attributes.encryption.as_ref(), &mut changes),
            acl: self.options.acl.named().map(str::to_owned),
            user: self.user(&info.attributes.user, info.modified, &mut changes),
            ..Attributes::default()
        };
        left_behind(info, self.options.tags, &mut changes);
        if self.destination.content_headers {
            attributes.content_type.clone_from(&info.attributes.content_type);
            attributes.cache_control.clone_from(&info.attributes.cache_control);
            attributes.content_disposition.clone_from(&info.attributes.content_disposition);
            attributes.content_encoding.clone_from(&info.attributes.content_encoding);
            attributes.content_language.clone_from(&info.attributes.content_language);
            if self.destination.service == Service::ObjectStore && info.attributes.expires.is_some() {
                changes.push(Change::lost(Attribute::Headers, "the object_store crate has no Expires"));
            } else {
                attributes.expires.clone_from(&info.attributes.expires);
            }
        } else if has_headers(&info.attributes) {
            changes.push(Change::lost(Attribute::Headers, "a file has no content headers"));
        }
        let limit = self.destination.metadata_bytes_max;
        let bytes = metadata_bytes(&attributes.user);
        if bytes > limit {
            return Err(Error::invalid(format!("its metadata has {bytes} bytes, and the destination takes at most {limit}"))
                .advise("shorten the metadata of the object at the source, or exclude it"));
        }
        if self.options.stamp && self.destination.metadata != MetadataRule::MtimeOnly {
            let class = first_class.map(|(service, word)| format!("{}:{word}", name_of(service)));
            self.add_stamp(&Stamp { class, ..Stamp::of(info) }, crc, &mut attributes.user, &mut changes);
        }
        Ok(Carried { attributes, changes })
    }

    /// Adds the ACL that amounts to the source's. What is private at the source is made so at OSS, whatever its bucket says; S3's objects are.
    pub(crate) fn carry_acl(&self, acl: &Acl, carried: &mut Carried) {
        let lost = |detail: &str| Change::lost(Attribute::Acl, "the destination has no ACL like it: its bucket says who may read the copy").with(detail);
        match acl {
            Acl::Bucket => {}
            Acl::Canned(word) if self.is_plain() => {
                if word != "private" {
                    carried.changes.push(lost(word));
                }
            }
            Acl::Canned(word) if word == "private" && self.destination.service == Service::S3 => {}
            Acl::Canned(word)
                if matches!(word.as_str(), "private" | "public-read" | "public-read-write") || self.source.service == self.destination.service =>
            {
                carried.attributes.acl = Some(word.clone());
            }
            Acl::Canned(word) => carried.changes.push(lost(word)),
            Acl::Grants => carried.changes.push(lost("grants to others")),
        }
    }

    /// Adds the tags that the destination can hold.
    pub(crate) fn carry_tags(&self, tags: BTreeMap<String, String>, carried: &mut Carried) {
        if self.is_plain() {
            if !tags.is_empty() {
                let names: Vec<_> = tags.keys().map(|name| name.escape_debug().to_string()).collect();
                carried.changes.push(Change::lost(Attribute::Tags, "the destination has no tags").with(names.join(", ")));
            }
            return;
        }
        let fits = |text: &str| self.destination.service != Service::Oss || text.chars().all(|c| c.is_ascii_alphanumeric() || OSS_TAG_MARKS.contains(c));
        let (kept, left): (BTreeMap<_, _>, BTreeMap<_, _>) = tags.into_iter().partition(|(name, value)| fits(name) && fits(value));
        if !left.is_empty() {
            let names: Vec<_> = left.keys().map(|name| name.escape_debug().to_string()).collect();
            carried.changes.push(Change::lost(Attribute::Tags, "OSS holds tags of letters, digits, spaces and +-=._:/ only").with(names.join(", ")));
        }
        carried.attributes.tags = Some(kept);
    }

    /// Whether the destination holds neither tags nor ACLs: a file system, and what the object_store crate opens.
    fn is_plain(&self) -> bool {
        matches!(self.destination.service, Service::Local | Service::ObjectStore)
    }

    /// The class to ask the destination for (`None` is the bucket's default), and the one to remember where it does not say it all.
    fn class<'i>(&self, info: &'i ObjectInfo, changes: &mut Vec<Change>) -> (Option<String>, Option<(Service, &'i str)>) {
        let map = match &self.options.storage_class {
            ClassChoice::Named(word) => return (Some(word.clone()), None),
            ClassChoice::BucketDefault => return (None, None),
            ClassChoice::Mapped(map) => map,
        };
        let (from, to) = (self.source.service, self.destination.service);
        let held = info.attributes.storage_class.as_deref().unwrap_or_default();
        let named = |word: &str| Some(word.to_owned()).filter(|word| !Class::find(to, word).is_some_and(Class::is_standard));
        let Some((first_service, first)) = first_class(info, from).or((!held.is_empty()).then_some((from, held))) else { return (None, None) };
        if first_service == to && first_service != from {
            // On its way back.
            return (named(first), None);
        }
        let Some(word) = map.map(from, held, to) else {
            if matches!(to, Service::S3 | Service::Oss) {
                changes.push(Change::lost(Attribute::StorageClass, "the destination has no class like it").with(held));
            } else if Class::find(from, held).is_none_or(|class| class.depth > 0) {
                changes.push(Change::lost(Attribute::StorageClass, "the destination has no storage classes"));
            }
            return (None, None);
        };
        if from != to && Class::find(to, word).is_some_and(|class| class.is_dear_for(info.size)) {
            changes.push(Change::mapped(Attribute::StorageClass, "so small that a colder class would cost more: it stays in the bucket's default class"));
            return (None, Some((first_service, first)));
        }
        let comes_back = first_service == to || returns_to(to, word, first_service, info.size) == Some(first);
        if !comes_back && named(word).is_none() {
            changes.push(Change::mapped(Attribute::StorageClass, "the destination has no class like it").with(first));
        }
        (named(word), (!comes_back).then_some((first_service, first)))
    }

    /// The encryption to ask the destination for.
    fn encryption(&self, held: Option<&Encryption>, changes: &mut Vec<Change>) -> Option<Encryption> {
        match (&self.options.encryption, held) {
            (EncryptionChoice::With(encryption), _) => Some(encryption.clone()),
            (_, None) => None,
            (EncryptionChoice::BucketDefault, Some(held)) => {
                if held.algorithm != "AES256" {
                    let why = "it is encrypted by a key service; the copy is encrypted as its bucket says (--sse keep asks for the same)";
                    changes.push(Change::lost(Attribute::Encryption, why));
                }
                None
            }
            (EncryptionChoice::Keep, Some(held)) if self.source.service == self.destination.service => Some(held.clone()),
            (EncryptionChoice::Keep, Some(held)) => {
                let algorithm = match (self.destination.service, held.algorithm.as_str()) {
                    (Service::Oss, "aws:kms" | "aws:kms:dsse") => "KMS",
                    (Service::S3, "KMS") => "aws:kms",
                    (Service::Oss | Service::S3, "AES256" | "SM4") => "AES256",
                    _ => {
                        changes.push(Change::lost(Attribute::Encryption, "the destination has no encryption like it").with(&*held.algorithm));
                        return None;
                    }
                };
                if held.key_id.is_some() {
                    changes.push(Change::mapped(Attribute::Encryption, "a key of one cloud is none of the other: the service's default key encrypts the copy"));
                }
                Some(Encryption { algorithm: algorithm.to_owned(), key_id: None })
            }
        }
    }

    /// The source's own metadata, in names that the destination holds.
    fn user(&self, from: &BTreeMap<String, String>, modified: Option<Timestamp>, changes: &mut Vec<Change>) -> BTreeMap<String, String> {
        let own = from.iter().filter(|(name, _)| !name.starts_with(stamp::PREFIX));
        if self.destination.metadata == MetadataRule::MtimeOnly {
            let dropped: Vec<_> = own.clone().map(|(name, _)| name.as_str()).filter(|name| *name != mtime::NAME).collect();
            if !dropped.is_empty() {
                changes.push(Change::lost(Attribute::Metadata, "a file has no metadata").with(dropped.join(", ").escape_debug().to_string()));
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
            changes.push(Change::mapped(Attribute::Metadata, "names that the destination cannot hold are escaped").with(renamed.join(", ")));
        }
        user
    }

    /// Adds our own metadata as far as it fits: where the copy comes from first, then the checksums.
    fn add_stamp(&self, stamp: &Stamp, crc: Option<&Crc64>, user: &mut BTreeMap<String, String>, changes: &mut Vec<Change>) {
        let mut stamp = stamp.clone();
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
        if metadata_bytes(user) <= self.destination.metadata_bytes_max {
            changes.push(Change::mapped(Attribute::Stamp, "there is no room left in the metadata for its checksums"));
            return;
        }
        *user = plain;
        changes.push(Change::mapped(Attribute::Stamp, "there is no room left in the metadata for dragon-source"));
        if stamp.class.is_some() {
            changes.push(Change::lost(Attribute::StorageClass, "there is no room left in the metadata to remember its class"));
        }
    }
}

/// What no copy has.
fn left_behind(info: &ObjectInfo, tags: bool, changes: &mut Vec<Change>) {
    if info.tags.is_some_and(|count| count > 0) && !tags {
        changes.push(Change::lost(Attribute::Tags, "tags go along with --tags only"));
    }
    if let Some(lock) = &info.lock {
        changes.push(Change::lost(Attribute::Lock, "retention and legal hold stay with the source").with(&**lock));
    }
    if let Some(redirect) = &info.redirect {
        changes.push(Change::lost(Attribute::Redirect, "a website's redirect is S3's own").with(redirect.escape_debug().to_string()));
    }
    if info.kind == Kind::Appendable {
        changes.push(Change::lost(Attribute::Appendable, "the copy is an ordinary object, to which nothing can be appended"));
    }
    if info.kind == Kind::Symlink {
        changes.push(Change::mapped(Attribute::Link, "the copy of a link is an ordinary object with the bytes of what it leads to"));
    }
}

/// The class that an object had where it comes from, as its stamp remembers it: only as long as it has not been moved to another since.
fn first_class(info: &ObjectInfo, holder: Service) -> Option<(Service, &str)> {
    let (service, first) = info.attributes.user.get(stamp::CLASS)?.split_once(':')?;
    let service = [Service::S3, Service::Oss].into_iter().find(|known| name_of(*known) == service)?;
    let held = Class::find(holder, info.attributes.storage_class.as_deref().unwrap_or_default())?;
    let class = Class::find(service, first)?;
    let like = class.like(holder)?;
    (held == like || (held.is_standard() && like.is_dear_for(info.size))).then_some((service, class.word))
}

/// The class that a copy back would get of itself.
fn returns_to(from: Service, word: &str, to: Service, size: u64) -> Option<&'static str> {
    let like = Class::find(from, word)?.like(to)?;
    Some(like.word).filter(|_| !like.is_dear_for(size))
}

fn name_of(service: Service) -> &'static str {
    match service {
        Service::S3 => "s3",
        Service::Oss => "oss",
        Service::Local => "file",
        Service::Memory => "memory",
        Service::ObjectStore => "object_store",
    }
}

fn has_headers(attributes: &Attributes) -> bool {
    let Attributes { content_type, cache_control, content_disposition, content_encoding, content_language, expires, .. } = attributes;
    // Every object has a type: S3 gives this one to those that were sent without.
    let typed = content_type.as_deref().is_some_and(|kind| !matches!(kind, "binary/octet-stream" | "application/octet-stream"));
    typed || [cache_control, content_disposition, content_encoding, content_language, expires].iter().any(|header| header.is_some())
}

/// Names and values together, as both clouds count; a value beyond ASCII is counted as the base64 that a header makes of it.
fn metadata_bytes(user: &BTreeMap<String, String>) -> usize {
    let value_bytes = |v: &str| if v.is_ascii() { v.len() } else { "=?UTF-8?B??=".len() + 4 * v.len().div_ceil(3) };
    user.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

#[cfg(test)]
mod tests;
