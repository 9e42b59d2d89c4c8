//! What one cloud of the dev server holds: buckets, objects, uploads; in memory, or in a directory that survives a restart.
//!
//! Both dialects stand on this store, each on its own instance: the two clouds share nothing. The store knows no wire format and
//! no service's rules; a dialect decides inside [`Store::write`], [`Store::remove`] and [`Store::complete`], which hand it what is
//! there now and apply its verdict atomically, so conditional requests race correctly.
//!
//! Invariants: an object's bytes and digests never change once written; a body that breaks off leaves nothing; with a directory,
//! a change is in the index log before it is seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;

use super::calendar::Calendar;

mod content;
mod digest;
mod list;
mod log;
mod object;
mod objects;
mod versions;

pub use content::{Content, ContentWriter};
pub use digest::{Digester, Digests, combine_crcs, hex};
pub use list::{ListEntry, ListQuery, Listing};
pub use object::{Attributes, Checksum, Encryption, Kind, Object, ObjectKey, Part, PartOutline, Restore, Upload};
pub use versions::{Deleted, ENABLED, NULL, SUSPENDED, Stored, VERSIONING, Version, VersionEntry, VersionPage};

use log::{Log, Record};

/// Why the store did not do it. A dialect turns these into its own codes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// There is no such bucket.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The bucket is there already.
    #[error("the bucket exists")]
    BucketExists,
    /// The bucket holds objects (or uploads).
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// There is no such object.
    #[error("no such key")]
    NoSuchKey,
    /// There is no such version of the object.
    #[error("no such version")]
    NoSuchVersion,
    /// The version is a delete marker.
    #[error("a delete marker")]
    DeleteMarker {
        /// The marker's own id.
        version_id: Arc<str>,
        /// When it was made.
        made: Timestamp,
        /// It was asked for by its id; otherwise it is what is current.
        asked: bool,
    },
    /// There is no such upload.
    #[error("no such upload")]
    NoSuchUpload,
    /// The disk failed.
    #[error("storing failed: {0}")]
    Disk(Arc<std::io::Error>),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }
}

/// A bucket's own facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Name.
    pub name: String,
    /// Creation, whole seconds.
    pub created: Timestamp,
    /// What a dialect keeps with a bucket (ACL, storage class, versioning state), by a name of its choice.
    pub properties: BTreeMap<String, String>,
}

/// The buckets of one cloud.
pub struct Store {
    calendar: Calendar,
    blobs: Option<Arc<Path>>,
    index: RwLock<Index>,
    plain: Arc<Attributes>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("blobs", &self.blobs).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Index {
    buckets: BTreeMap<String, Bucket>,
    log: Option<Log>,
}

struct Bucket {
    info: BucketInfo,
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// All versions of a key, the newest first, where they are more than one object called `null`.
    history: BTreeMap<ObjectKey, Vec<Version>>,
    /// By key, then id: ids begin with the time, so uploads of one key are in the order of their initiation.
    uploads: BTreeMap<(String, String), Arc<Upload>>,
}

impl Bucket {
    fn new(info: BucketInfo) -> Self {
        Self { info, objects: BTreeMap::new(), history: BTreeMap::new(), uploads: BTreeMap::new() }
    }
}

impl Store {
    /// A store that forgets everything when it is dropped.
    pub fn in_memory(calendar: impl Into<Calendar>) -> Self {
        Self { calendar: calendar.into(), blobs: None, index: RwLock::default(), plain: Arc::default() }
    }

    /// A store in the directory `dir`, which is made where it is missing. What an earlier store left there is read first.
    /// It survives the end of the process, not a power cut: nothing is synced to the platter.
    pub fn open(dir: &Path, calendar: impl Into<Calendar>) -> std::io::Result<Self> {
        let (buckets, log, blobs) = log::open(dir)?;
        Ok(Self { calendar: calendar.into(), blobs: Some(blobs), index: RwLock::new(Index { buckets, log: Some(log) }), plain: Arc::default() })
    }

    /// The time that objects age by.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The time in whole seconds, for [`Object::last_modified`].
    pub fn now(&self) -> Timestamp {
        objects::whole_seconds(self.calendar.now())
    }

    /// 32 hexadecimal digits.
    fn random_id(&self) -> String {
        let clock = self.calendar.clock();
        format!("{}{}", clock.random_id(), clock.random_id())
    }

    /// Begins to take a body.
    pub fn writer(&self) -> ContentWriter {
        match &self.blobs {
            None => ContentWriter::in_memory(),
            Some(dir) => ContentWriter::in_file(Arc::clone(dir), self.random_id()),
        }
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str, properties: BTreeMap<String, String>) -> Result<(), Refusal> {
        let created = self.now();
        let mut index = self.write_index();
        if index.buckets.contains_key(name) {
            return Err(Refusal::BucketExists);
        }
        let info = BucketInfo { name: name.to_owned(), created, properties };
        index.append(Record::bucket(&info))?;
        index.buckets.insert(name.to_owned(), Bucket::new(info));
        Ok(())
    }

    /// Removes a bucket that holds no objects, former versions and delete markers included. Open uploads are thrown away with it.
    pub fn delete_bucket(&self, name: &str) -> Result<(), Refusal> {
        let mut index = self.write_index();
        let bucket = index.bucket(name)?;
        if !bucket.is_empty() {
            return Err(Refusal::BucketNotEmpty);
        }
        index.append(Record::BucketGone { name: name.into() })?;
        if let Some(bucket) = index.buckets.remove(name) {
            bucket.uploads.values().for_each(|upload| release_parts(upload));
        }
        Ok(())
    }

    /// A bucket's own facts.
    pub fn bucket(&self, name: &str) -> Result<BucketInfo, Refusal> {
        Ok(self.read_index().bucket(name)?.info.clone())
    }

    /// All buckets by name.
    pub fn buckets(&self) -> Vec<BucketInfo> {
        self.read_index().buckets.values().map(|bucket| bucket.info.clone()).collect()
    }

    /// Sets what a dialect keeps with a bucket; `None` forgets it.
    pub fn set_bucket_property(&self, name: &str, property: &str, value: Option<String>) -> Result<(), Refusal> {
        let mut index = self.write_index();
        let mut info = index.bucket(name)?.info.clone();
        match value {
            Some(value) => info.properties.insert(property.to_owned(), value),
            None => info.properties.remove(property),
        };
        index.append(Record::bucket(&info))?;
        index.bucket_mut(name)?.info = info;
        Ok(())
    }

    /// Begins a multipart upload and returns its id.
    pub fn create_upload(&self, bucket: &str, key: &str, attributes: Attributes, checksum: Option<Checksum>) -> Result<String, Refusal> {
        let now = self.calendar.now();
        let id = format!("{:012X}{}", now.as_millisecond(), self.calendar.clock().random_id().to_uppercase());
        let upload = Upload { key: key.to_owned(), id: id.clone(), initiated: self.now(), attributes, checksum, parts: BTreeMap::new() };
        let mut index = self.write_index();
        index.bucket(bucket)?;
        index.append(Record::upload(bucket, &upload))?;
        index.bucket_mut(bucket)?.uploads.insert((key.to_owned(), id.clone()), Arc::new(upload));
        Ok(id)
    }

    /// An upload with its parts.
    pub fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Arc<Upload>, Refusal> {
        self.read_index().bucket(bucket)?.uploads.get(&(key.to_owned(), id.to_owned())).cloned().ok_or(Refusal::NoSuchUpload)
    }

    /// Stores a part; an earlier one of the same number is replaced.
    pub fn put_part(&self, bucket: &str, key: &str, id: &str, number: u32, part: Part) -> Result<(), Refusal> {
        let mut index = self.write_index();
        let at = (key.to_owned(), id.to_owned());
        if !index.bucket(bucket)?.uploads.contains_key(&at) {
            return Err(Refusal::NoSuchUpload);
        }
        index.append(Record::part(bucket, key, id, number, &part))?;
        part.content.retain();
        let upload = index.bucket_mut(bucket)?.uploads.get_mut(&at).ok_or(Refusal::NoSuchUpload)?;
        if let Some(replaced) = Arc::make_mut(upload).parts.insert(number, part) {
            replaced.content.release();
        }
        Ok(())
    }

    /// Throws an upload and its parts away.
    pub fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), Refusal> {
        let mut index = self.write_index();
        let at = (key.to_owned(), id.to_owned());
        if !index.bucket(bucket)?.uploads.contains_key(&at) {
            return Err(Refusal::NoSuchUpload);
        }
        index.append(Record::UploadGone { bucket: bucket.into(), key: key.into(), id: id.into() })?;
        if let Some(upload) = index.bucket_mut(bucket)?.uploads.remove(&at) {
            release_parts(&upload);
        }
        Ok(())
    }

    /// Open uploads whose key begins with `prefix`, by key, then initiation, after the pair `(key, id)`; an empty id means after
    /// every upload of that key.
    pub fn uploads(&self, bucket: &str, prefix: &str, after: (&str, &str), limit: usize) -> Result<Vec<Arc<Upload>>, Refusal> {
        let index = self.read_index();
        let uploads = index.bucket(bucket)?.uploads.values();
        let follows = |upload: &&Arc<Upload>| match upload.key.as_str().cmp(after.0) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => after.0.is_empty() || (!after.1.is_empty() && upload.id.as_str() > after.1),
            std::cmp::Ordering::Greater => true,
        };
        Ok(uploads.filter(|upload| upload.key.starts_with(prefix)).filter(follows).take(limit).cloned().collect())
    }

    fn read_index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn bucket(&self, name: &str) -> Result<&Bucket, Refusal> {
        self.buckets.get(name).ok_or(Refusal::NoSuchBucket)
    }

    fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        self.buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)
    }

    fn append(&mut self, record: Record<'_>) -> Result<(), Refusal> {
        match &mut self.log {
            Some(log) => Ok(log.append(&record)?),
            None => Ok(()),
        }
    }
}

fn release_parts(upload: &Upload) {
    upload.parts.values().for_each(|part| part.content.release());
}

#[cfg(test)]
mod tests;
