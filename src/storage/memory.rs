//! In memory: the semantics of the contract, executable.
//!
//! A [`MemoryAccount`] holds buckets, a [`MemoryStore`] is one of them. It does what the contract says and no more, so that the
//! engine can be tested without a network; [`MemoryOptions`] gives it another service's limits and silences. Invariants: a write
//! becomes visible at once or not at all, under one lock; a listing takes each page as it stands when it is asked for, so that
//! writes between two pages show as they would in a cloud.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::{SignedDuration, Timestamp};

use super::{
    Account, Acl, Archive, BucketInfo, Capabilities, Condition, CopyRange, Deleted, Details, Get, GetOutput, Identity, Key, Lifecycle, List, MetadataRule,
    Multipart, MultipartLimits, ObjectInfo, ObjectRef, Page, Part, Payload, Presign, Put, PutOutput, RestoreTier, Restoring, ServerCopy, Service, Storage,
    StoredPart, Upload, Versioning, Versions,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

mod history;
mod object;
mod upload;

use history::Kept;
use object::Object;
use upload::OpenParts;

/// Keys a page, as both clouds have it.
const PAGE_KEYS_MAX: u32 = 1000;
/// Longest piece of a body: small enough that a reader sees several pieces of a middling object.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// What a memory store says of the bytes it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stated {
    /// Both CRC-64s of the whole object, and MD5 ETags (`md5-N` for a multipart object).
    #[default]
    Crc64,
    /// MD5 ETags only.
    Md5,
    /// CRC-32C, which is a checksum of checksums where the object has parts; opaque ETags.
    Composite,
    /// Nothing; opaque ETags.
    Nothing,
}

/// How a memory store behaves.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// Limits, enforced as the service they are taken from enforces them.
    pub capabilities: Capabilities,
    /// What it states of its bytes.
    pub stated: Stated,
    /// Keys a page at most. Default: 1,000, as both clouds have it.
    pub page_keys_max: u32,
    /// How long a restore from an archive takes. Default: no time.
    pub restore_delay: SignedDuration,
    /// Time and ids.
    pub clock: Clock,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { capabilities: generous(), stated: Stated::default(), page_keys_max: PAGE_KEYS_MAX, restore_delay: SignedDuration::ZERO, clock: Clock::default() }
    }
}

impl MemoryOptions {
    /// The limits of S3 (protocol.md section 4): parts of 5 MiB at least, metadata names that are header tokens.
    pub fn like_s3() -> Self {
        let mut options = Self::default();
        options.capabilities.service = Service::S3;
        options.capabilities.multipart = Some(MultipartLimits { part_bytes_min: 5 << 20, part_bytes_max: 5 << 30, parts_max: 10_000 });
        options.capabilities.metadata = MetadataRule::HeaderToken;
        options.capabilities.metadata_bytes_max = 2048;
        options.capabilities.streamed_bodies = false;
        options
    }

    /// The limits of OSS (protocol.md sections 2 and 3): parts of 100 KB at least, metadata names of letters, digits and hyphens,
    /// no compare-and-swap.
    pub fn like_oss() -> Self {
        let mut options = Self::default();
        options.capabilities.service = Service::Oss;
        options.capabilities.multipart = Some(MultipartLimits { part_bytes_min: 100 << 10, part_bytes_max: 5 << 30, parts_max: 10_000 });
        options.capabilities.key_bytes_max = 1023;
        options.capabilities.metadata = MetadataRule::LettersDigitsHyphen;
        options.capabilities.put_if_match = false;
        options
    }
}

/// Limits that no cloud undercuts, and every ability.
fn generous() -> Capabilities {
    Capabilities {
        service: Service::Memory,
        ordered_list: true,
        put_bytes_max: 5 << 30,
        object_bytes_max: 50 << 40,
        multipart: Some(MultipartLimits { part_bytes_min: 1, part_bytes_max: 5 << 30, parts_max: 10_000 }),
        key_bytes_max: 1024,
        put_if_absent: true,
        put_if_match: true,
        metadata: MetadataRule::Any,
        metadata_bytes_max: 8 << 10,
        content_headers: true,
        streamed_bodies: true,
        atomic_put: true,
    }
}

/// A cloud of its own: buckets that copy among themselves and with no other account.
#[derive(Clone)]
pub struct MemoryAccount {
    cloud: Arc<Cloud>,
    options: MemoryOptions,
}

/// One bucket of a [`MemoryAccount`]. Clones are the same bucket.
#[derive(Clone)]
pub struct MemoryStore {
    cloud: Arc<Cloud>,
    options: MemoryOptions,
    identity: Identity,
}

struct Cloud {
    id: String,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

struct Bucket {
    created: Option<Timestamp>,
    /// The latest version of each key that has one.
    objects: BTreeMap<Key, Object>,
    /// What came before, oldest first; a delete marker that is the latest stands last.
    past: BTreeMap<Key, Vec<Kept>>,
    versioning: Versioning,
    /// How many version ids were given.
    versions: u64,
    uploads: BTreeMap<String, OpenParts>,
    /// Kept and given back; nobody carries it out here.
    lifecycle: Option<String>,
}

impl Bucket {
    fn new(created: Timestamp) -> Self {
        Self {
            created: Some(created),
            objects: BTreeMap::new(),
            past: BTreeMap::new(),
            versioning: Versioning::Off,
            versions: 0,
            uploads: BTreeMap::new(),
            lifecycle: None,
        }
    }
}

impl MemoryAccount {
    /// An account without buckets.
    pub fn new(options: MemoryOptions) -> Self {
        let cloud = Cloud { id: options.clock.random_id(), buckets: Mutex::default() };
        Self { cloud: Arc::new(cloud), options }
    }

    /// Opens a bucket, which need not exist yet.
    pub fn store(&self, name: &str) -> MemoryStore {
        let identity =
            Identity { service: self.options.capabilities.service, endpoint: "memory".into(), account: self.cloud.id.clone(), bucket: name.to_owned() };
        MemoryStore { cloud: self.cloud.clone(), options: self.options.clone(), identity }
    }
}

impl Cloud {
    fn buckets(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryAccount({})", self.cloud.id)
    }
}

impl fmt::Display for MemoryAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mem://")
    }
}

#[async_trait]
impl Account for MemoryAccount {
    async fn list_buckets(&self) -> Result<Vec<BucketInfo>> {
        Ok(self.cloud.buckets().iter().map(|(name, bucket)| BucketInfo { name: name.clone(), region: None, created: bucket.created }).collect())
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        let mut buckets = self.cloud.buckets();
        if buckets.contains_key(name) {
            return Err(Error::new(ErrorKind::Exists, "the bucket exists already").during("create bucket").in_store(format!("mem://{name}")));
        }
        buckets.insert(name.to_owned(), Bucket::new(self.options.clock.now()));
        Ok(())
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        let failed = |e: Error| e.during("delete bucket").in_store(format!("mem://{name}"));
        let mut buckets = self.cloud.buckets();
        let bucket = buckets.get(name).ok_or_else(|| failed(Error::new(ErrorKind::BucketNotFound, "there is no such bucket")))?;
        if !bucket.objects.is_empty() || !bucket.past.is_empty() || !bucket.uploads.is_empty() {
            return Err(failed(Error::invalid("the bucket is not empty").advise("remove its objects and open uploads first")));
        }
        buckets.remove(name);
        Ok(())
    }

    fn bucket(&self, name: &str) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.store(name)))
    }
}

impl MemoryStore {
    /// An empty bucket in an account of its own.
    pub fn new(name: &str) -> Self {
        Self::with(name, MemoryOptions::default())
    }

    /// An empty bucket in an account of its own that behaves as told.
    pub fn with(name: &str, options: MemoryOptions) -> Self {
        let created = options.clock.now();
        let store = MemoryAccount::new(options).store(name);
        store.cloud.buckets().insert(name.to_owned(), Bucket::new(created));
        store
    }

    /// Runs `act` on the bucket under the lock: the one way in, so that every request is atomic.
    fn locked<T>(&self, act: impl FnOnce(&mut Bucket) -> Result<T>) -> Result<T> {
        match self.cloud.buckets().get_mut(&self.identity.bucket) {
            Some(bucket) => act(bucket),
            None => Err(Error::new(ErrorKind::BucketNotFound, "there is no such bucket")),
        }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        let limits = &self.options.capabilities;
        if key.is_empty() {
            return Err(Error::invalid("the key is empty"));
        }
        if key.len() > limits.key_bytes_max {
            return Err(Error::invalid(format!("the key has {} bytes, and the limit is {}", key.len(), limits.key_bytes_max)));
        }
        if limits.service != Service::Memory {
            key.as_str()?;
        }
        Ok(())
    }

    fn check_condition(&self, condition: Option<&Condition>) -> Result<()> {
        let limits = &self.options.capabilities;
        match condition {
            Some(Condition::Absent) if !limits.put_if_absent => Err(Error::unsupported("create-only writes are not atomic here")),
            Some(Condition::Matches(_)) if !limits.put_if_match => Err(Error::unsupported("compare-and-swap writes are not atomic here")),
            _ => Ok(()),
        }
    }

    /// Puts an object in place if the condition holds.
    fn commit(&self, key: &Key, object: Object, condition: Option<&Condition>) -> Result<PutOutput> {
        self.locked(|bucket| bucket.commit(key, object, condition))
    }

    fn page(&self, list: &List, cursor: &Cursor) -> Result<(Page, Option<Cursor>)> {
        let keys_max = self.options.page_keys_max.max(1);
        self.locked(|bucket| Ok(bucket.page(list, cursor, list.page_keys.unwrap_or(keys_max).clamp(1, keys_max) as usize)))
    }

    /// Adds what a person needs to an error.
    fn told(&self, operation: &'static str, key: &Key, error: Error) -> Error {
        error.during(operation).on_key(key).in_store(self)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({})", self.identity.bucket)
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mem://{}", self.identity.bucket)
    }
}

/// Where a page begins.
type Cursor = Bound<Key>;

impl Bucket {
    /// The object that a reference means: the latest, or the version it names.
    fn object(&self, object: &ObjectRef) -> Result<&Object> {
        let current = self.objects.get(&object.key);
        let found = match object.version.as_deref() {
            None => current,
            Some(version) => current.filter(|o| o.version() == version).or_else(|| self.past_object(&object.key, version)),
        };
        found.ok_or_else(missing)
    }

    fn object_mut(&mut self, object: &ObjectRef) -> Result<&mut Object> {
        let current = self.objects.get_mut(&object.key).filter(|o| object.version.as_deref().is_none_or(|version| o.version() == version));
        let past = self.past.get_mut(&object.key).into_iter().flatten().filter_map(Kept::data_mut);
        let version = object.version.as_deref();
        current.into_iter().chain(past.filter(|o| Some(o.version()) == version)).next().ok_or_else(missing)
    }

    fn commit(&mut self, key: &Key, mut object: Object, condition: Option<&Condition>) -> Result<PutOutput> {
        match (condition, self.objects.get(key)) {
            (Some(Condition::Absent), Some(_)) => return Err(Error::new(ErrorKind::Exists, "an object is there already")),
            (Some(Condition::Matches(_)), None) => return Err(Error::new(ErrorKind::Changed, "the object is gone")),
            (Some(Condition::Matches(etag)), Some(now)) if now.info.etag != *etag => {
                return Err(Error::new(ErrorKind::Changed, format!("the object is {}, not {etag}", now.info.etag)));
            }
            _ => {}
        }
        object.info.version = self.make_room(key);
        let (etag, version, checksums) = (object.info.etag.clone(), object.info.version.clone(), object.info.checksums.clone());
        let output = PutOutput { etag, version, checksums, ..PutOutput::default() };
        self.objects.insert(key.clone(), object);
        Ok(output)
    }

    /// One page of at most `keys_max` keys from `cursor`, and where the next one begins.
    fn page(&self, list: &List, cursor: &Cursor, keys_max: usize) -> (Page, Option<Cursor>) {
        let mut page = Page::new();
        let mut cursor = cursor.clone();
        while let Some((key, object)) = self.objects.range::<Key, _>((cursor.as_ref(), Bound::Unbounded)).next() {
            if !key.as_bytes().starts_with(list.prefix.as_bytes()) || list.upto.as_ref().is_some_and(|upto| key > upto) {
                break;
            }
            if page.len() + page.prefixes().len() == keys_max {
                return (page, Some(Bound::Included(key.clone())));
            }
            let rest = &key.as_bytes()[list.prefix.len()..];
            match list.delimiter.and_then(|d| memchr::memchr(d, rest)) {
                Some(at) => {
                    let folded = Key::from(&key.as_bytes()[..list.prefix.len() + at + 1]);
                    let Some(next) = successor(&folded) else {
                        page.push_prefix(folded);
                        break;
                    };
                    page.push_prefix(folded);
                    cursor = Bound::Included(next);
                }
                None => {
                    page.push(object.entry(key));
                    cursor = Bound::Excluded(key.clone());
                }
            }
        }
        page.mark_last();
        (page, None)
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such object")
}

/// The first key that is beyond every key beginning with `prefix`.
fn successor(prefix: &Key) -> Option<Key> {
    let mut bytes = prefix.as_bytes().to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(Key::new(bytes));
        }
    }
    None
}

#[async_trait]
impl Storage for MemoryStore {
    fn capabilities(&self) -> &Capabilities {
        &self.options.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        let start = match list.after.clone() {
            Some(after) if after >= list.prefix => Bound::Excluded(after),
            _ => Bound::Included(list.prefix.clone()),
        };
        let store = self.clone();
        stream::unfold(Some(start), move |cursor| {
            let page = cursor.map(|cursor| store.page(&list, &cursor));
            let failed = |e: Error| e.during("list").in_store(&store);
            std::future::ready(match page {
                Some(Ok((page, next))) if !page.is_empty() => Some((Ok(page), next)),
                Some(Err(e)) => Some((Err(failed(e)), None)),
                _ => None,
            })
        })
        .boxed()
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.locked(|bucket| Ok(bucket.object(object)?.told(self.options.clock.now()))).map_err(|e| self.told("head", &object.key, e))
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.locked(|bucket| Ok(bucket.object(object)?.stored_part(number))).map_err(|e| self.told("head", &object.key, e))
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        self.locked(|bucket| bucket.object(object)?.open(&get, &self.options)).map_err(|e| self.told("get", &object.key, e))
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        let written = async {
            self.check_key(key)?;
            self.check_condition(put.condition.as_ref())?;
            object::check_attributes(&put.attributes, &self.options.capabilities)?;
            let limit = self.options.capabilities.put_bytes_max;
            if payload.len() > limit {
                return Err(Error::invalid(format!("a body of {} bytes is over the limit of {limit} for one request", payload.len())));
            }
            let body = object::receive(&payload, put.checksums.as_ref()).await?;
            self.commit(key, Object::from_body(body, put.attributes, &self.options), put.condition.as_ref())
        };
        written.await.map_err(|e| self.told("put", key, e))
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        let store = self.clone();
        objects
            .map(move |object| {
                let deleted = store.locked(|bucket| Ok(bucket.delete(&object, store.options.clock.now())));
                let deleted = deleted.map_err(|e| store.told("delete", &object.key, e));
                (object, deleted)
            })
            .boxed()
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        self.options.capabilities.multipart.map(|_| self as &dyn Multipart)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        Some(self)
    }

    fn presign(&self) -> Option<&dyn Presign> {
        None
    }

    fn details(&self) -> Option<&dyn Details> {
        Some(self)
    }

    fn archive(&self) -> Option<&dyn Archive> {
        Some(self)
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        Some(self)
    }

    fn versions(&self) -> Option<&dyn Versions> {
        Some(self)
    }
}

#[async_trait]
impl Details for MemoryStore {
    async fn acl(&self, object: &ObjectRef) -> Result<Acl> {
        self.locked(|bucket| Ok(bucket.object(object)?.acl.clone().map_or(Acl::Bucket, Acl::Canned))).map_err(|e| self.told("acl", &object.key, e))
    }

    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
        self.locked(|bucket| Ok(bucket.object(object)?.tags.clone())).map_err(|e| self.told("tags", &object.key, e))
    }
}

#[async_trait]
impl Archive for MemoryStore {
    async fn restore(&self, object: &ObjectRef, days: u16, _: Option<RestoreTier>) -> Result<Restoring> {
        let restored = self.locked(|bucket| bucket.object_mut(object)?.restore(days, &self.options));
        restored.map_err(|e| self.told("restore", &object.key, e))
    }
}

#[async_trait]
impl ServerCopy for MemoryStore {
    fn can_copy_from(&self, source: &Identity) -> bool {
        (source.service, &source.endpoint, &source.account) == (self.identity.service, &self.identity.endpoint, &self.identity.account)
    }

    fn copy_bytes_max(&self) -> u64 {
        self.options.capabilities.put_bytes_max
    }

    async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&super::ETag>, key: &Key, attributes: &super::Attributes) -> Result<PutOutput> {
        let copied = || {
            self.check_key(key)?;
            object::check_attributes(attributes, &self.options.capabilities)?;
            let mut buckets = self.cloud.buckets();
            let missing = || Error::new(ErrorKind::BucketNotFound, "there is no such bucket");
            let found = buckets.get(bucket).ok_or_else(missing)?.object(source)?;
            object::check_match(&found.info, if_match)?;
            found.check_readable(&self.options)?;
            let copy = found.copied(attributes.clone(), &self.options);
            buckets.get_mut(&self.identity.bucket).ok_or_else(missing)?.commit(key, copy, None)
        };
        copied().map_err(|e| self.told("copy", key, e))
    }

    async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
        let opened = || {
            let buckets = self.cloud.buckets();
            let missing = || Error::new(ErrorKind::BucketNotFound, "there is no such bucket");
            let get = Get { range: Some(from.range.clone()), if_match: from.if_match.cloned() };
            buckets.get(from.bucket).ok_or_else(missing)?.object(from.object)?.pieces(&get, &self.options)
        };
        let payload = opened().map(Payload::from_chunks).map_err(|e| self.told("copy part", &upload.key, e))?;
        self.upload_part(upload, number, payload, None).await
    }
}

#[async_trait]
impl Lifecycle for MemoryStore {
    async fn lifecycle(&self) -> Result<Option<String>> {
        self.locked(|bucket| Ok(bucket.lifecycle.clone()))
    }

    async fn set_lifecycle(&self, rules: Option<&str>, _overlap: bool) -> Result<()> {
        self.locked(|bucket| {
            bucket.lifecycle = rules.map(str::to_owned);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Attributes, Checksums, ETag, UploadId, checksum::Crc64};

    async fn keys(store: &MemoryStore, list: List) -> (Vec<String>, Vec<String>, usize) {
        let pages: Vec<Page> = store.list(list).map(|p| p.expect("a page")).collect().await;
        let keys = pages.iter().flat_map(|p| p.iter().map(|e| Key::from(e.key).to_string())).collect();
        let prefixes = pages.iter().flat_map(|p| p.prefixes().iter().map(ToString::to_string)).collect();
        (keys, prefixes, pages.len())
    }

    async fn filled(names: &[&'static str]) -> MemoryStore {
        let store = MemoryStore::new("b");
        for name in names {
            store.put(&Key::from(*name), Payload::from(*name), Put::default()).await.expect("put");
        }
        store
    }

    #[tokio::test]
    async fn listings_page_fold_and_bound() {
        let store = filled(&["a", "a/b", "a/c", "a0", "b//c", "b/d"]).await;
        let all = List { page_keys: Some(2), ..List::default() };
        assert_eq!(keys(&store, all.clone()).await, (["a", "a/b", "a/c", "a0", "b//c", "b/d"].map(String::from).to_vec(), vec![], 3));
        let folded = List { delimiter: Some(b'/'), ..all };
        assert_eq!(keys(&store, folded).await, (vec!["a".into(), "a0".into()], vec!["a/".into(), "b/".into()], 2));
        let bounded = List { after: Some("a/b".into()), upto: Some("b//c".into()), ..List::default() };
        assert_eq!(keys(&store, bounded).await.0, ["a/c", "a0", "b//c"]);
        assert_eq!(keys(&store, List { after: Some("z".into()), ..List::under("a".into()) }).await.0, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_missing_bucket_is_an_error_never_an_empty_listing() {
        let account = MemoryAccount::new(MemoryOptions::default());
        let store = account.store("absent");
        let page = store.list(List::default()).next().await.expect("an item");
        assert_eq!(page.expect_err("no bucket").kind(), ErrorKind::BucketNotFound);
        account.create_bucket("absent").await.expect("created");
        assert!(store.list(List::default()).next().await.is_none());
        account.delete_bucket("absent").await.expect("deleted");
    }

    #[tokio::test]
    async fn stated_checksums_are_what_was_asked_for() {
        for stated in [Stated::Crc64, Stated::Md5, Stated::Composite, Stated::Nothing] {
            let store = MemoryStore::with("b", MemoryOptions { stated, ..MemoryOptions::default() });
            let multipart = store.multipart().expect("multipart");
            let id: UploadId = multipart.create(&"k".into(), &Attributes::default()).await.expect("created");
            let upload = crate::storage::Upload { key: "k".into(), id };
            let mut parts = Vec::new();
            for (number, text) in [(1, "ab"), (2, "c")] {
                parts.push(multipart.upload_part(&upload, number, Payload::from(text), None).await.expect("part"));
            }
            let output = multipart.complete(&upload, &parts, crate::storage::Complete::default()).await.expect("completed");
            let crc64 = Crc64::of(b"abc").checksums();
            match stated {
                Stated::Crc64 => assert_eq!(output.checksums, crc64),
                Stated::Composite => assert_eq!(output.checksums.composite.map(|c| c.parts), Some(2)),
                Stated::Md5 | Stated::Nothing => assert!(output.checksums.is_empty()),
            }
            let sizes = [1, 2, 3]
                .map(|number| futures::executor::block_on(store.stored_part(&upload.key.clone().into(), number)).expect("known").map(|p| p.size_bytes));
            assert_eq!(sizes, [Some(2), Some(1), None]);
            assert_eq!(output.etag.multipart().map(|m| m.1), matches!(stated, Stated::Crc64 | Stated::Md5).then_some(2));
        }
    }

    #[tokio::test]
    async fn a_wrong_checksum_is_refused_and_nothing_is_stored() {
        let store = MemoryStore::new("b");
        let put = Put { checksums: Some(Checksums { crc64xz: Some(1), ..Checksums::default() }), ..Put::default() };
        let refused = store.put(&"k".into(), Payload::from("x"), put).await.expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Integrity);
        assert_eq!(store.head(&Key::from("k").into()).await.expect_err("absent").kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn limits_of_other_services_are_enforced() {
        let store = MemoryStore::with("b", MemoryOptions::like_oss());
        let long = Key::new(vec![b'a'; 1024]);
        assert_eq!(store.put(&long, Payload::from("x"), Put::default()).await.expect_err("long").kind(), ErrorKind::Invalid);
        let matches = Put { condition: Some(Condition::Matches(ETag::new("x"))), ..Put::default() };
        assert_eq!(store.put(&"k".into(), Payload::from("x"), matches).await.expect_err("no CAS").kind(), ErrorKind::Unsupported);
        let multipart = store.multipart().expect("multipart");
        let upload = crate::storage::Upload { key: "k".into(), id: multipart.create(&"k".into(), &Attributes::default()).await.expect("created") };
        let mut parts = Vec::new();
        for number in [1, 2] {
            parts.push(multipart.upload_part(&upload, number, Payload::from("small"), None).await.expect("part"));
        }
        let small = multipart.complete(&upload, &parts, crate::storage::Complete::default()).await.expect_err("too small");
        assert_eq!(small.kind(), ErrorKind::Invalid);
    }
}
