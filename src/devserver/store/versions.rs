//! Versions of keys: what a bucket keeps of former objects, and of deletions, once versioning was enabled.
//!
//! A bucket's map of objects holds what is current, as ever. Beside it, a history holds all versions of those keys that have more to
//! tell than one object called `null`; a key that has not costs nothing here. The current object of a key with a history stands in
//! both, as one.

use std::sync::Arc;

use jiff::Timestamp;

use super::list::{self, ListEntry, ListQuery};
use super::object::{Object, ObjectKey};
use super::{Bucket, BucketInfo, Refusal};

/// The id of a version that was made without versioning, or while it was suspended.
pub const NULL: &str = "null";
/// The bucket property that holds the state of versioning: [`ENABLED`], [`SUSPENDED`], or nothing.
pub const VERSIONING: &str = "versioning";
/// New objects get ids of their own.
pub const ENABLED: &str = "Enabled";
/// New objects take the place of the version called [`NULL`].
pub const SUSPENDED: &str = "Suspended";

impl BucketInfo {
    /// The state of versioning; `None` where it was never set.
    pub fn versioning(&self) -> Option<&str> {
        self.properties.get(VERSIONING).map(String::as_str)
    }
}

/// One version of a key.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its id, unique among the key's.
    pub id: Arc<str>,
    /// When it became the current version, whole seconds.
    pub since: Timestamp,
    /// The object; `None` is a delete marker.
    pub object: Option<Arc<Object>>,
}

impl Version {
    fn null(object: &Arc<Object>) -> Self {
        Self { id: NULL.into(), since: object.last_modified, object: Some(Arc::clone(object)) }
    }

    fn is_null(&self) -> bool {
        &*self.id == NULL
    }
}

/// An object as it was stored or found, with the id of its version.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The object.
    pub object: Arc<Object>,
    /// The version's id, where versioning was ever set in the bucket.
    pub version_id: Option<Arc<str>>,
}

impl std::ops::Deref for Stored {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.object
    }
}

/// What a deletion did.
#[derive(Debug, Clone, Default)]
pub struct Deleted {
    /// The object that was current, where it is no longer; or the version that is gone.
    pub object: Option<Arc<Object>>,
    /// The version that was made or removed, where versioning was ever set in the bucket.
    pub version_id: Option<Arc<str>>,
    /// The version that was made or removed is a delete marker.
    pub marker: bool,
}

/// One entry of a page of versions.
#[derive(Debug, Clone)]
pub enum VersionEntry {
    /// A version of a key, and whether it is the current one.
    Version(ObjectKey, Version, bool),
    /// A common prefix.
    Prefix(String),
}

/// One page of versions.
#[derive(Debug, Default)]
pub struct VersionPage {
    /// Keys in byte order, the newest version of each first.
    pub entries: Vec<VersionEntry>,
    /// There is more after the last entry.
    pub truncated: bool,
}

impl VersionPage {
    /// Key (or common prefix) and version id after which the next page begins.
    pub fn last(&self) -> Option<(&str, &str)> {
        self.entries.last().map(|entry| match entry {
            VersionEntry::Version(key, version, _) => (key.as_str(), &*version.id),
            VersionEntry::Prefix(prefix) => (prefix.as_str(), ""),
        })
    }
}

impl Bucket {
    /// Whether a key has more to tell than its one object.
    pub(super) fn has_history(&self, key: &str) -> bool {
        self.history.contains_key(key.as_bytes())
    }

    /// Whether nothing is left, former versions included.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.history.is_empty()
    }

    /// All versions of a key, the newest first.
    pub(super) fn versions(&self, key: &str) -> Vec<Version> {
        match self.history.get(key.as_bytes()) {
            Some(versions) => versions.clone(),
            None => self.objects.get(key.as_bytes()).map(Version::null).into_iter().collect(),
        }
    }

    /// Every object that the bucket refers to, each version once.
    pub(super) fn all_objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        let plain = self.objects.iter().filter(|(key, _)| self.history.is_empty() || !self.has_history(key.as_str())).map(|(_, object)| object);
        plain.chain(self.history.values().flatten().filter_map(|version| version.object.as_ref()))
    }

    /// A version that is an object: the one of that id, or the current one.
    pub(super) fn find(&self, key: &str, id: Option<&str>) -> Result<Stored, Refusal> {
        let told = |id: &Arc<str>| self.info.versioning().map(|_| Arc::clone(id));
        let Some(wanted) = id else {
            let Some(versions) = self.history.get(key.as_bytes()) else {
                let object = self.objects.get(key.as_bytes()).ok_or(Refusal::NoSuchKey)?;
                return Ok(Stored { object: Arc::clone(object), version_id: self.info.versioning().map(|_| NULL.into()) });
            };
            return match versions.first() {
                Some(Version { id, object: Some(object), .. }) => Ok(Stored { object: Arc::clone(object), version_id: told(id) }),
                Some(Version { id, since, object: None }) => Err(Refusal::DeleteMarker { version_id: Arc::clone(id), made: *since, asked: false }),
                None => Err(Refusal::NoSuchKey),
            };
        };
        let found = self.versions(key).into_iter().find(|version| &*version.id == wanted).ok_or(Refusal::NoSuchVersion)?;
        match found.object {
            Some(object) => Ok(Stored { object, version_id: told(&found.id) }),
            None => Err(Refusal::DeleteMarker { version_id: found.id, made: found.since, asked: true }),
        }
    }

    /// Puts a version on top of a key's others; one called `null` takes the place of the one called so. Returns what is gone.
    pub(super) fn place(&mut self, key: &str, version: Version) -> Option<Arc<Object>> {
        let mut versions = self.versions(key);
        let replaced = versions.iter().position(|former| former.is_null()).filter(|_| version.is_null()).map(|at| versions.remove(at));
        versions.insert(0, version);
        self.settle(key, versions);
        replaced.and_then(|version| version.object)
    }

    /// Puts another object in a version's place. Returns the one that is gone.
    pub(super) fn amend(&mut self, key: &str, id: &str, object: Arc<Object>) -> Option<Arc<Object>> {
        let mut versions = self.versions(key);
        let version = versions.iter_mut().find(|version| &*version.id == id)?;
        let gone = version.object.replace(object);
        self.settle(key, versions);
        gone
    }

    /// Takes a version away; what was before it is current then, where it was the current one.
    pub(super) fn take(&mut self, key: &str, id: &str) -> Option<Version> {
        let mut versions = self.versions(key);
        let at = versions.iter().position(|version| &*version.id == id)?;
        let gone = versions.remove(at);
        self.settle(key, versions);
        Some(gone)
    }

    fn settle(&mut self, key: &str, versions: Vec<Version>) {
        let bytes = key.as_bytes();
        match versions.first().and_then(|version| version.object.as_ref()) {
            None => drop(self.objects.remove(bytes)),
            Some(current) => match self.objects.get_mut(bytes) {
                Some(place) => *place = Arc::clone(current),
                None => drop(self.objects.insert(ObjectKey::from(key), Arc::clone(current))),
            },
        }
        match versions.as_slice() {
            [] => drop(self.history.remove(bytes)),
            [only] if only.is_null() && only.object.is_some() => drop(self.history.remove(bytes)),
            _ => match self.history.get_mut(bytes) {
                Some(place) => *place = versions,
                None => drop(self.history.insert(ObjectKey::from(key), versions)),
            },
        }
    }

    /// Lists versions: of `query.after` those that follow the version `after_version`, then those of the keys after it.
    pub(super) fn version_page(&self, query: &ListQuery<'_>, after_version: &str) -> VersionPage {
        let mut page = VersionPage::default();
        let folds = |key: &str| !query.delimiter.is_empty() && key[query.prefix.len()..].contains(query.delimiter);
        if !after_version.is_empty() && query.after.starts_with(query.prefix) && !folds(query.after) {
            let versions = self.versions(query.after);
            let begin = versions.iter().position(|version| &*version.id == after_version).map_or(versions.len(), |at| at + 1);
            page.push_key(&ObjectKey::from(query.after), versions, begin, query.limit);
        }
        // Whatever stands on the page stands on a page of one of the maps: each key has a version at least.
        let (plain, historic) = (list::page(&self.objects, query), list::page(&self.history, query));
        let more = plain.truncated || historic.truncated;
        let names = |name: &str| name.to_owned();
        let mut merged: Vec<(String, bool)> = plain.entries.iter().map(|entry| (names(entry.name()), matches!(entry, ListEntry::Prefix(_)))).collect();
        merged.extend(historic.entries.iter().map(|entry| (names(entry.name()), matches!(entry, ListEntry::Prefix(_)))));
        merged.sort();
        merged.dedup();
        for (name, folded) in merged {
            if page.truncated {
                break;
            }
            match folded {
                true if page.entries.len() == query.limit => page.truncated = true,
                true => page.entries.push(VersionEntry::Prefix(name)),
                false => page.push_key(&ObjectKey::from(name.as_str()), self.versions(&name), 0, query.limit),
            }
        }
        page.truncated |= more;
        page
    }
}

impl VersionPage {
    fn push_key(&mut self, key: &ObjectKey, versions: Vec<Version>, begin: usize, limit: usize) {
        for (at, version) in versions.into_iter().enumerate().skip(begin) {
            if self.entries.len() == limit {
                self.truncated = true;
                return;
            }
            self.entries.push(VersionEntry::Version(key.clone(), version, at == 0));
        }
    }
}
