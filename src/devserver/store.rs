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

use bytes::Bytes;
use jiff::Timestamp;

use super::calendar::Calendar;

mod content;
mod digest;
mod list;
mod log;
mod object;

pub use content::{Content, ContentWriter};
pub use digest::{Digester, Digests, combine_crcs, hex};
pub use list::{ListEntry, ListQuery, Listing};
pub use object::{Attributes, Checksum, Encryption, Kind, Object, ObjectKey, Part, PartOutline, Restore, Upload};

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
    /// By key, then id: ids begin with the time, so uploads of one key are in the order of their initiation.
    uploads: BTreeMap<(String, String), Arc<Upload>>,
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
        let now = self.calendar.now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
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
        index.buckets.insert(name.to_owned(), Bucket { info, objects: BTreeMap::new(), uploads: BTreeMap::new() });
        Ok(())
    }

    /// Removes a bucket that holds no objects. Open uploads are thrown away with it.
    pub fn delete_bucket(&self, name: &str) -> Result<(), Refusal> {
        let mut index = self.write_index();
        let bucket = index.bucket(name)?;
        if !bucket.objects.is_empty() {
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

    /// An object.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, Refusal> {
        self.read_index().bucket(bucket)?.objects.get(key.as_bytes()).cloned().ok_or(Refusal::NoSuchKey)
    }

    /// Lists objects in byte order.
    pub fn list(&self, bucket: &str, query: &ListQuery<'_>) -> Result<Listing<Arc<Object>>, Refusal> {
        Ok(list::page(&self.read_index().bucket(bucket)?.objects, query))
    }

    /// Shows every object of a bucket, in byte order of the keys. Nothing is written meanwhile.
    pub(super) fn for_each_object(&self, bucket: &str, mut see: impl FnMut(&str, &Arc<Object>)) -> Result<(), Refusal> {
        self.read_index().bucket(bucket)?.objects.iter().for_each(|(key, object)| see(key.as_str(), object));
        Ok(())
    }

    /// How many objects a bucket holds, and their bytes.
    pub fn usage(&self, bucket: &str) -> Result<(usize, u64), Refusal> {
        let index = self.read_index();
        let objects = &index.bucket(bucket)?.objects;
        Ok((objects.len(), objects.values().map(|object| object.size()).sum()))
    }

    /// Writes an object, or changes one: `make` sees what is there and answers with what shall be, or with a refusal that leaves
    /// everything as it was. Atomic against every other call.
    pub fn write<E: From<Refusal>>(&self, bucket: &str, key: &str, make: impl FnOnce(Option<&Arc<Object>>) -> Result<Object, E>) -> Result<Arc<Object>, E> {
        let mut index = self.write_index();
        let object = self.settled(make(index.bucket(bucket)?.objects.get(key.as_bytes()))?);
        index.append(Record::object(bucket, key, &object, None))?;
        index.insert(bucket, key, Arc::clone(&object))?;
        Ok(object)
    }

    /// Writes an object of these bytes with plain attributes: for tests that fill a bucket.
    pub async fn put_bytes(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<Arc<Object>, Refusal> {
        let mut writer = self.writer();
        writer.write(&bytes).await?;
        let (content, digests) = writer.finish().await?;
        self.write(bucket, key, |_| Ok(self.normal_object(content, digests, Attributes::default())))
    }

    /// An object written in one request, now: its ETag is the MD5.
    pub fn normal_object(&self, content: Content, digests: Digests, attributes: Attributes) -> Object {
        Object {
            content,
            etag: digests.md5_hex(),
            last_modified: self.now(),
            kind: Kind::Normal,
            digests,
            checksum: None,
            parts: Vec::new(),
            attributes: Arc::new(attributes),
        }
    }

    /// Removes an object if `check` agrees to it; returns what was there.
    pub fn remove<E: From<Refusal>>(
        &self,
        bucket: &str,
        key: &str,
        check: impl FnOnce(Option<&Arc<Object>>) -> Result<(), E>,
    ) -> Result<Option<Arc<Object>>, E> {
        let mut index = self.write_index();
        let current = index.bucket(bucket)?.objects.get(key.as_bytes());
        check(current)?;
        if current.is_none() {
            return Ok(None);
        }
        index.append(Record::ObjectGone { bucket: bucket.into(), key: key.into() })?;
        let gone = index.bucket_mut(bucket)?.objects.remove(key.as_bytes());
        gone.iter().for_each(|object| object.content.release());
        Ok(gone)
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

    /// Makes the object of an upload: `make` sees the object that is there now and the upload, and answers with what shall be.
    /// The upload is gone afterwards.
    pub fn complete<E: From<Refusal>>(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        make: impl FnOnce(Option<&Arc<Object>>, &Upload) -> Result<Object, E>,
    ) -> Result<Arc<Object>, E> {
        let mut index = self.write_index();
        let at = (key.to_owned(), id.to_owned());
        let held = index.bucket(bucket)?;
        let upload = held.uploads.get(&at).ok_or(Refusal::NoSuchUpload)?;
        let object = self.settled(make(held.objects.get(key.as_bytes()), upload)?);
        index.append(Record::object(bucket, key, &object, Some(id)))?;
        index.insert(bucket, key, Arc::clone(&object))?;
        if let Some(upload) = index.bucket_mut(bucket)?.uploads.remove(&at) {
            release_parts(&upload);
        }
        Ok(object)
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

    /// The object as it is kept: the many that carry nothing of their own share one set of attributes.
    fn settled(&self, mut object: Object) -> Arc<Object> {
        if object.attributes == self.plain {
            object.attributes = Arc::clone(&self.plain);
        }
        Arc::new(object)
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

    fn insert(&mut self, bucket: &str, key: &str, object: Arc<Object>) -> Result<(), Refusal> {
        object.content.retain();
        let objects = &mut self.bucket_mut(bucket)?.objects;
        if let Some(place) = objects.get_mut(key.as_bytes()) {
            std::mem::replace(place, object).content.release();
        } else {
            objects.insert(ObjectKey::from(key), object);
        }
        Ok(())
    }
}

fn release_parts(upload: &Upload) {
    upload.parts.values().for_each(|part| part.content.release());
}

#[cfg(test)]
mod tests;
