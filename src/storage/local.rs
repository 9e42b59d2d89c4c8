//! A directory tree as a store.
//!
//! Files are objects, and the path below the root is the key. Invariants:
//! - A file appears whole: it grows under a temporary name beside its place, is flushed and renamed; the directory is flushed
//!   before the write is answered. Temporary names are never listed, and are swept when a crash left them behind for a day.
//! - The listing's order is the object listing's, byte by byte, within the memory of one directory's names a level.
//! - No write follows a symbolic link. Links, devices and what cannot be read are listed as such ([`Kind`](super::Kind)); nothing
//!   beneath an unreadable directory counts as absent.
//! - Directories are not listed. A zero-byte key that ends in `/` is written as a directory, and HEAD finds it. Deleting the last
//!   file in a directory deletes the directory too, since a prefix without keys does not exist; the root stays. So a listing of a
//!   tree says nothing of folder markers, and must not license deleting them elsewhere.
//! - An ETag is `size-mtime_ns-ctime_ns-inode`. It is taken before a read begins and compared after it ended, so a file that
//!   changes meanwhile is [`ErrorKind::Changed`], never a mixture.
//! - Of the metadata only `mtime` is kept, as the file's own modification time, in the words that rclone uses.
//!
//! The checksums in the output of a write are those of the bytes that were given to the kernel and flushed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, Fuse, StreamExt};

use super::payload::ByteStream;
use super::slab::Slabs;
use super::{
    Archive, Attributes, Capabilities, Checksums, Complete, Condition, Deleted, Details, Get, GetOutput, Identity, Key, Lifecycle, List, MetadataRule,
    Multipart, MultipartLimits, ObjectInfo, ObjectRef, OpenUpload, Page, Part, Payload, Presign, Put, PutOutput, ServerCopy, Service, Storage, StoredPart,
    Upload, UploadId, Versions,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

mod name;
mod read;
mod root;
mod upload;
mod walk;
mod write;

use root::Root;
use walk::{Found, STALE_AFTER, Walk, Way};

/// Keys a page where the caller does not say: a hop to a blocking thread each.
const PAGE_KEYS_MAX: u32 = 1000;
/// Bytes gathered from a streamed body before a hop to a blocking thread writes them.
const BATCH_BYTES: usize = 1 << 20;
/// Deletes that one hop to a blocking thread does.
const DELETE_BATCH: usize = 100;

/// How to treat a tree.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Read what symbolic links lead to, also outside the root. Writes never follow one.
    pub follow_symlinks: bool,
    /// Make the root where it does not exist, with all directories above it: for a destination.
    pub create_root: bool,
    /// Listings remove temporary files that rested for so long; `None` leaves them.
    pub sweep_after: Option<Duration>,
    /// Time and ids.
    pub clock: Clock,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { follow_symlinks: false, create_root: false, sweep_after: Some(STALE_AFTER), clock: Clock::default() }
    }
}

/// A directory tree. Clones are the same tree.
#[derive(Clone)]
pub struct LocalStore {
    root: Arc<Root>,
    options: LocalOptions,
    capabilities: Arc<Capabilities>,
    identity: Arc<Identity>,
    slabs: Slabs,
}

impl LocalStore {
    /// Opens a tree. Fails with [`ErrorKind::BucketNotFound`] where there is no such directory (and none is to be made), with
    /// [`ErrorKind::Local`] where it cannot be made, and with [`ErrorKind::Invalid`] where `root` is a file.
    pub fn open(root: impl AsRef<Path>, options: LocalOptions) -> Result<Self> {
        let failed = |e: Error| e.during("open").in_store(root.as_ref().display());
        let root = Root::open(root.as_ref(), options.create_root).map_err(failed)?;
        let device = root.stat().map_err(|e| failed(e.into()))?.st_dev;
        let bucket = super::key::escape(root.path.as_os_str().as_encoded_bytes());
        let identity = Identity { service: Service::Local, endpoint: format!("device-{device}"), account: String::new(), bucket };
        Ok(Self { root: Arc::new(root), options, capabilities: Arc::new(capabilities()), identity: Arc::new(identity), slabs: Slabs::default() })
    }

    /// The root with every link resolved.
    pub fn root(&self) -> &Path {
        &self.root.path
    }

    /// The file that holds a key, for showing it.
    pub fn path(&self, key: &Key) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.root.path.join(std::ffi::OsStr::from_bytes(key.as_bytes()))
    }

    fn way(&self, list: List) -> Way {
        let stale_before = self.options.sweep_after.and_then(|age| self.options.clock.now().checked_sub(age).ok());
        Way { list, follow: self.options.follow_symlinks, stale_before }
    }

    /// Does something on a blocking thread. Dropping the future does not stop it: what was begun is done whole.
    async fn on_disk<T: Send + 'static>(&self, act: impl FnOnce(&Root) -> Result<T> + Send + 'static) -> Result<T> {
        let root = self.root.clone();
        blocking(move || act(&root)).await
    }

    /// As [`Self::on_disk`], for what writes.
    async fn write_on_disk<T: Send + 'static>(&self, act: impl FnOnce(&Root) -> Result<T> + Send + 'static) -> Result<T> {
        self.on_disk(move |root| act(root).map_err(no_way)).await
    }

    fn told(&self, operation: &'static str, key: &Key, error: Error) -> Error {
        let advice = match error.kind() {
            ErrorKind::Denied => "give this user the permission, or run as one who has it",
            _ => "",
        };
        error.during(operation).on_key(key).in_store(self).advise(advice)
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        if key.len() > self.capabilities.key_bytes_max {
            return Err(Error::invalid(format!("the key has {} bytes, and the limit is {}", key.len(), self.capabilities.key_bytes_max)));
        }
        name::Place::of(key).map(drop)
    }

    async fn put_file(&self, key: Key, payload: Payload, put: Put) -> Result<PutOutput> {
        let id = self.options.clock.random_id();
        if let Some(chunks) = payload.chunks().map(<[Bytes]>::to_vec) {
            return self
                .write_on_disk(move |root| {
                    let mut partial = write::Partial::create(root, &key, &id)?;
                    partial.write(&chunks)?;
                    partial.finish(&key, &put.attributes, put.checksums.as_ref(), put.condition.as_ref())
                })
                .await;
        }
        // The source is opened first: where it fails, nothing was touched.
        let mut body = payload.stream().await?.fuse();
        let created = key.clone();
        let mut partial = self.write_on_disk(move |root| write::Partial::create(root, &created, &id)).await?;
        while let Some(chunks) = batch(&mut body).await? {
            partial = blocking(move || partial.write(&chunks).map(|()| partial)).await?;
        }
        self.write_on_disk(move |_| partial.finish(&key, &put.attributes, put.checksums.as_ref(), put.condition.as_ref())).await
    }
}

/// The limits of a directory tree.
fn capabilities() -> Capabilities {
    Capabilities {
        service: Service::Local,
        ordered_list: true,
        put_bytes_max: i64::MAX as u64,
        object_bytes_max: i64::MAX as u64,
        multipart: Some(MultipartLimits { part_bytes_min: 1, part_bytes_max: 5 << 30, parts_max: 10_000 }),
        key_bytes_max: 4095,
        put_if_absent: true,
        put_if_match: false,
        metadata: MetadataRule::MtimeOnly,
        metadata_bytes_max: 8 << 10,
        content_headers: false,
        streamed_bodies: true,
        atomic_put: true,
    }
}

/// A write that finds no way is this machine's trouble: "not found" would say of an object that it is absent.
fn no_way(e: Error) -> Error {
    match e.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Local, "its directory was removed while it was written").caused_by(e).advise("run the same command again"),
        _ => e,
    }
}

/// Runs `act` where it may block.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(|e| Error::new(ErrorKind::Unexpected, "work on a blocking thread broke off").caused_by(e))?
}

/// The next chunks of a body, about a batch of them; `None` at its end.
async fn batch(body: &mut Fuse<ByteStream>) -> Result<Option<Vec<Bytes>>> {
    let (mut chunks, mut len) = (Vec::new(), 0);
    while len < BATCH_BYTES {
        let Some(chunk) = body.next().await.transpose()? else { break };
        len += chunk.len();
        chunks.push(chunk);
    }
    Ok((!chunks.is_empty()).then_some(chunks))
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.identity.bucket)
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.identity.bucket)
    }
}

#[async_trait]
impl Storage for LocalStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        let keys_max = list.page_keys.unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX) as usize;
        let (root, way, store) = (self.root.clone(), self.way(list), self.clone());
        // The walk itself is the state: it goes to a blocking thread for a page and comes back.
        stream::unfold(Some(None), move |state: Option<Option<Walk>>| {
            let (root, way, store) = (root.clone(), way.clone(), store.clone());
            async move {
                let walk = state?;
                let page = blocking(move || {
                    let mut walk = walk.map_or_else(|| Walk::begin(&root, way), Ok)?;
                    let (mut page, ended) = walk.page(keys_max)?;
                    if ended {
                        root.check_present()?;
                        page.mark_last();
                    }
                    Ok((page, (!ended).then_some(Some(walk))))
                });
                match page.await {
                    Ok((page, _)) if page.is_empty() => None,
                    Ok((page, next)) => Some((Ok(page), next)),
                    Err(e) => Some((Err(e.during("list").in_store(&store)), None)),
                }
            }
        })
        .boxed()
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        let (key, follow) = (object.key.clone(), self.options.follow_symlinks);
        self.on_disk(move |root| read::head(root, &key, follow)).await.map_err(|e| self.told("head", &object.key, e))
    }

    async fn stored_part(&self, _object: &ObjectRef, _number: u32) -> Result<Option<StoredPart>> {
        Ok(None)
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let (key, follow, slabs) = (object.key.clone(), self.options.follow_symlinks, self.slabs.clone());
        let mut output = self.on_disk(move |root| read::get(root, &key, &get, follow, &slabs)).await.map_err(|e| self.told("get", &object.key, e))?;
        let (store, key) = (self.clone(), object.key.clone());
        output.body = output.body.map(move |chunk| chunk.map_err(|e| store.told("get", &key, e))).boxed();
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        let written = async {
            self.check_key(key)?;
            if matches!(put.condition, Some(Condition::Matches(_))) {
                return Err(Error::unsupported("compare-and-swap writes are not atomic on a filesystem"));
            }
            if !key.is_folder() {
                return self.put_file(key.clone(), payload, put).await;
            }
            if !payload.is_empty() {
                return Err(Error::invalid("a key that ends in '/' is a directory here, and has no bytes"));
            }
            let (key, id) = (key.clone(), self.options.clock.random_id());
            self.write_on_disk(move |root| write::make_folder(root, &key, &id, put.condition.as_ref())).await
        };
        written.await.map_err(|e| self.told("put", key, e))
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        let store = self.clone();
        let batches = objects.ready_chunks(DELETE_BATCH).then(move |batch| {
            let store = store.clone();
            async move {
                let keys: Vec<Key> = batch.iter().map(|object| object.key.clone()).collect();
                let deleted = store.on_disk(move |root| Ok(keys.iter().map(|key| write::delete(root, key)).collect::<Vec<_>>())).await;
                let answers = deleted.unwrap_or_else(|e| batch.iter().map(|_| Err(e.clone())).collect());
                let told = |(object, answer): (ObjectRef, Result<()>)| {
                    let answer = answer.map(|()| Deleted::default()).map_err(|e| store.told("delete", &object.key, e));
                    (object, answer)
                };
                stream::iter(batch.into_iter().zip(answers).map(told).collect::<Vec<_>>())
            }
        });
        batches.flatten().boxed()
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(self)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        None
    }

    fn presign(&self) -> Option<&dyn Presign> {
        None
    }

    fn details(&self) -> Option<&dyn Details> {
        None
    }

    fn archive(&self) -> Option<&dyn Archive> {
        None
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        None
    }

    fn versions(&self) -> Option<&dyn Versions> {
        None
    }
}

#[async_trait]
impl Multipart for LocalStore {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        let created = async {
            self.check_key(key)?;
            let (key, attributes) = (key.clone(), attributes.clone());
            let (id, now) = (self.options.clock.random_id(), self.options.clock.now());
            self.write_on_disk(move |root| upload::create(root, &key, &attributes, &id, now)).await
        };
        created.await.map_err(|e| self.told("create upload", key, e))
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        let sent = async {
            let limits = capabilities().multipart.filter(|limits| (1..=limits.parts_max).contains(&number) && payload.len() <= limits.part_bytes_max);
            if limits.is_none() {
                return Err(Error::invalid(format!("part {number} of {} bytes is beyond the limits of an upload", payload.len())));
            }
            let mut body = payload.stream().await?.fuse();
            let (upload, id, len, checksums) = (upload.clone(), self.options.clock.random_id(), payload.len(), checksums.cloned());
            let mut writer = self.write_on_disk(move |root| upload::PartWriter::begin(root, &upload, number, len, &id)).await?;
            while let Some(chunks) = batch(&mut body).await? {
                writer = blocking(move || writer.write(&chunks).map(|()| writer)).await?;
            }
            self.write_on_disk(move |_| writer.finish(checksums.as_ref())).await
        };
        sent.await.map_err(|e| self.told("upload part", &upload.key, e))
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let open = upload.clone();
        self.on_disk(move |root| upload::OpenDirectory::open(root, &open)?.parts()).await.map_err(|e| self.told("list parts", &upload.key, e))
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        let (open, parts, id) = (upload.clone(), parts.to_vec(), self.options.clock.random_id());
        self.write_on_disk(move |root| upload::OpenDirectory::open(root, &open)?.complete(root, &open, &parts, &complete, &id))
            .await
            .map_err(|e| self.told("complete upload", &upload.key, e))
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let open = upload.clone();
        self.on_disk(move |root| upload::abort(root, &open)).await.map_err(|e| self.told("abort upload", &upload.key, e))
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        let (root, way, store) = (self.root.clone(), self.way(List::under(prefix.clone())), self.clone());
        let uploads = stream::try_unfold(None, move |walk: Option<Walk>| {
            let (root, way, prefix) = (root.clone(), way.clone(), prefix.clone());
            blocking(move || {
                let mut walk = walk.map_or_else(|| Walk::begin(&root, way), Ok)?;
                while let Some(found) = walk.step()? {
                    let Found::Upload { directory, name } = found else { continue };
                    let open = upload::describe(&root, &directory, &name)?;
                    if let Some(open) = open.filter(|open| open.upload.key.as_bytes().starts_with(prefix.as_bytes())) {
                        return Ok(Some((open, Some(walk))));
                    }
                }
                Ok(None)
            })
        });
        uploads.map(move |upload| upload.map_err(|e| e.during("list uploads").in_store(&store))).boxed()
    }
}

#[cfg(test)]
mod tests;
