//! Which two places a journal is about.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::storage::key::escape;
use crate::storage::location::Location;
use crate::storage::{Key, Service};

/// Two places, in an order of their own: the pair of A and B is the pair of B and A.
///
/// A place is a service, a bucket and a prefix. A store's name, endpoints, credentials, filters and tuning are no part of it, so
/// that the same mirror is known again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    source: Place,
    destination: Place,
    /// Which share of the keys, where it is not all of them.
    share: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    service: &'static str,
    bucket: String,
    prefix: Key,
}

impl Place {
    fn of(location: &Location) -> Self {
        let identity = location.storage.identity();
        let service = match identity.service {
            Service::S3 => "s3",
            Service::Oss => "oss",
            Service::Local => "file",
            Service::Memory => "mem",
            Service::ObjectStore => "object_store",
        };
        Self { service, bucket: identity.bucket.clone(), prefix: location.prefix.clone() }
    }

    /// Unambiguous: the bucket's length stands before it.
    fn write(&self, hash: &mut Sha256) {
        for field in [self.service.as_bytes(), self.bucket.as_bytes(), self.prefix.as_bytes()] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = escape(self.bucket.as_bytes());
        match (self.service, self.prefix.is_empty()) {
            ("file", true) => f.write_str(&bucket),
            ("file", false) => write!(f, "{bucket}/{}", self.prefix),
            (service, true) => write!(f, "{service}://{bucket}"),
            (service, false) => write!(f, "{service}://{bucket}/{}", self.prefix),
        }
    }
}

impl Pair {
    /// The pair of a run's two ends. Prefixes are taken as they are: a tree's ends in `/`.
    pub fn of(source: &Location, destination: &Location) -> Self {
        Self { source: Place::of(source), destination: Place::of(destination), share: None }
    }

    /// The same two places, but only that share of their keys: hosts that divide a job may keep their journals in one directory.
    #[must_use]
    pub fn of_share(self, share: Option<impl fmt::Display>) -> Self {
        Self { share: share.map(|share| share.to_string()), ..self }
    }

    /// A name that both directions share: 32 hexadecimal digits.
    pub fn name(&self) -> String {
        let mut hash = Sha256::new();
        for place in self.places() {
            place.write(&mut hash);
        }
        if let Some(share) = &self.share {
            hash.update(share.as_bytes());
        }
        hex::encode(&hash.finalize()[..16])
    }

    /// Whether the source stands second in the pair's own order.
    pub fn is_turned(&self) -> bool {
        self.source > self.destination
    }

    /// Both ends in the pair's own order.
    fn places(&self) -> [&Place; 2] {
        if self.is_turned() { [&self.destination, &self.source] } else { [&self.source, &self.destination] }
    }

    /// Both ends in the pair's own order, as addresses.
    pub fn ends(&self) -> [String; 2] {
        self.places().map(ToString::to_string)
    }

    /// The source, as an address.
    pub fn source(&self) -> String {
        self.source.to_string()
    }

    /// The destination, as an address.
    pub fn destination(&self) -> String {
        self.destination.to_string()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)?;
        self.share.iter().try_for_each(|share| write!(f, ", share {share}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStore;
    use std::sync::Arc;

    fn place(bucket: &str, prefix: &str) -> Location {
        Location::new(Arc::new(MemoryStore::new(bucket)), prefix)
    }

    #[test]
    fn a_pair_has_one_name_both_ways_and_no_other_pair_has_it() {
        let (a, b) = (place("a", "x/"), place("b", ""));
        let (out, back) = (Pair::of(&a, &b), Pair::of(&b, &a));
        assert_eq!(out.name(), back.name());
        assert_eq!(out.name().len(), 32);
        assert_ne!(out.is_turned(), back.is_turned());
        for other in [Pair::of(&place("a", "x"), &b), Pair::of(&place("a", ""), &place("b", "x/")), Pair::of(&place("ax", "/"), &b)] {
            assert_ne!(out.name(), other.name(), "{other}");
        }
        assert_eq!(out.to_string(), "mem://a/x/ -> mem://b");
        let (first, second) = (out.clone().of_share(Some("1/2")), out.clone().of_share(Some("2/2")));
        assert!(first.name() != second.name() && first.name() != out.name() && first.name() == back.of_share(Some("1/2")).name());
        assert_eq!(first.to_string(), "mem://a/x/ -> mem://b, share 1/2");
    }
}
