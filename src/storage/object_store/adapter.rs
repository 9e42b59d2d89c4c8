//! A Dragon store as an `ObjectStore`. Compiled once for each supported version of that crate: `os` is the version at hand.
//!
//! What that crate promises and Dragon adds: every write is compared with the checksum that the service states of it, and a
//! condition that the service cannot keep atomically is `NotSupported`, never approximated (OSS ignores its create-only header
//! on versioned buckets, which would corrupt a Delta log).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::os;
use crate::error::{Error, ErrorKind};
use crate::storage::checksum::{Agreement, Checksums, Crc64, Crc64Combiner, Crc64Hasher};
use crate::storage::{
    Attributes, Complete, Condition, ETag, Entry, Get, Key, List, MetadataRule, ObjectInfo, ObjectRef, Part, Payload, Put, PutOutput, Storage, Upload, UploadId,
};
use os::multipart::{MultipartStore, PartId};
use os::path::Path;
use os::{
    Attribute, CopyMode, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};

/// Copies through this process are held in memory up to this many bytes a part.
const COPY_PART_BYTES: u64 = 16 << 20;

/// A Dragon store that is an `ObjectStore`.
#[derive(Debug, Clone)]
pub struct Adapter {
    storage: Arc<dyn Storage>,
}

impl Adapter {
    /// Wraps a store. Retries are the store's: wrap it in [`crate::storage::retry`] first, as `dragon::open` does.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage }
    }

    /// Opens a URL with string options ([`open_with_options`](crate::storage::object_store::open_with_options)): the bucket's store, to be registered under the URL's
    /// scheme and host (`RuntimeEnv::register_object_store`, `ObjectStoreRegistry::register`), and the path within it.
    #[cfg(any(feature = "oss", feature = "s3"))]
    pub async fn from_url(url: &str, options: impl IntoIterator<Item = (String, String)>) -> os::Result<(Self, Path)> {
        let location = crate::storage::object_store::open_with_options(url, options).await.map_err(|e| outward(&Path::default(), e))?;
        let path = path(location.prefix.as_bytes())?;
        Ok((Self::new(location.storage), path))
    }

    async fn copy_through(&self, from: &Path, to: &Path, info: &ObjectInfo, condition: Option<Condition>) -> Result<(), Error> {
        let source = object(from);
        let pinned = |range| Get { range, if_match: (!info.etag.is_empty()).then(|| info.etag.clone()) };
        let part_bytes = self.storage.capabilities().multipart.map(|m| COPY_PART_BYTES.max(m.part_bytes_min).max(info.size.div_ceil(u64::from(m.parts_max))));
        let (Some(multipart), Some(part_bytes)) = (self.storage.multipart().filter(|_| info.size > COPY_PART_BYTES), part_bytes) else {
            let body = Payload::from_chunks(self.storage.get(&source, pinned(None)).await?.body.try_collect().await?);
            let put = Put { attributes: info.attributes.clone(), checksums: Some(crc64(&body).checksums()), condition };
            return prove(self.storage.put(&key(to), body.clone(), put).await?, crc64(&body)).map(drop);
        };
        let upload = Upload { key: key(to), id: multipart.create(&key(to), &info.attributes).await? };
        let copied = async {
            let (mut parts, mut whole) = (Vec::new(), Crc64Combiner::default());
            for (number, start) in (1..).zip((0..info.size).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX))) {
                let range = start..info.size.min(start + part_bytes);
                let body = Payload::from_chunks(self.storage.get(&source, pinned(Some(range))).await?.body.try_collect().await?);
                let crc = crc64(&body);
                let part = multipart.upload_part(&upload, number, body, Some(&crc.checksums())).await?;
                whole.push(crc);
                parts.push(prove_part(part, crc)?);
            }
            let complete = Complete { checksums: Some(whole.finish().checksums()), condition };
            prove(multipart.complete(&upload, &parts, complete).await?, whole.finish())
        };
        match copied.await {
            Ok(_) => Ok(()),
            Err(e) => {
                multipart.abort(&upload).await.unwrap_or_else(|abort| tracing::warn!(%abort, "cannot abort an upload"));
                Err(e)
            }
        }
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.storage)
    }
}

#[async_trait]
impl ObjectStore for Adapter {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> os::Result<PutResult> {
        let payload = Payload::from_chunks(payload.into_iter().collect());
        let crc = crc64(&payload);
        let condition = match opts.mode {
            PutMode::Overwrite => None,
            PutMode::Create => Some(Condition::Absent),
            PutMode::Update(version) => {
                let etag = version
                    .e_tag
                    .ok_or_else(|| os::Error::Generic { store: "dragon", source: "an update needs the ETag of the version it replaces".into() })?;
                Some(Condition::Matches(ETag::new(&etag)))
            }
        };
        let put = Put { attributes: attributes_in(&*self.storage, &opts.attributes)?, checksums: Some(crc.checksums()), condition };
        let output = self.storage.put(&key(location), payload, put).await.and_then(|output| prove(output, crc));
        output.map(put_result).map_err(|e| outward(location, e))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> os::Result<Box<dyn MultipartUpload>> {
        let attributes = attributes_in(&*self.storage, &opts.attributes)?;
        let multipart = self.storage.multipart().ok_or_else(|| unsupported("multipart uploads"))?;
        let id = multipart.create(&key(location), &attributes).await.map_err(|e| outward(location, e))?;
        let upload = Upload { key: key(location), id };
        Ok(Box::new(UploadInProgress { storage: self.storage.clone(), upload, location: location.clone(), sent: Arc::default(), next: 1 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> os::Result<GetResult> {
        let mut object = object(location);
        object.version.clone_from(&options.version);
        let conditional =
            options.if_match.is_some() || options.if_none_match.is_some() || options.if_modified_since.is_some() || options.if_unmodified_since.is_some();
        let simple_range = match &options.range {
            None => None,
            Some(GetRange::Bounded(range)) if range.start < range.end => Some(range.clone()),
            Some(_) => None,
        };
        if !options.head && !conditional && (options.range.is_none() || simple_range.is_some()) {
            let get = Get { range: simple_range.clone(), if_match: None };
            match self.storage.get(&object, get).await {
                Ok(output) => return Ok(get_result(location, output.info, output.range, GetResultPayload::Stream(body(location, output.body)))),
                // A range past the end is legal in that crate and not in ours: look at the size, then ask again.
                Err(e) if simple_range.is_some() && matches!(e.kind(), ErrorKind::Invalid | ErrorKind::Integrity) => {}
                Err(e) => return Err(outward(location, e)),
            }
        }
        let info = self.storage.head(&object).await.map_err(|e| outward(location, e))?;
        options.check_preconditions(&meta(location.clone(), &info))?;
        let range = match &options.range {
            None => 0..info.size,
            Some(range) => range.as_range(info.size).map_err(|e| os::Error::Generic { store: "dragon", source: Box::new(e) })?,
        };
        if options.head || range.is_empty() {
            return Ok(get_result(location, info, range, GetResultPayload::Stream(stream::empty().boxed())));
        }
        let get = Get { range: (range.end - range.start < info.size).then_some(range), if_match: Some(info.etag.clone()) };
        let output = self.storage.get(&object, get).await.map_err(|e| outward(location, e))?;
        Ok(get_result(location, output.info, output.range, GetResultPayload::Stream(body(location, output.body))))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> os::Result<Vec<Bytes>> {
        use os::ObjectStoreExt;
        os::coalesce_ranges(ranges, |range| self.get_range(location, range), os::OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, os::Result<Path>>) -> BoxStream<'static, os::Result<Path>> {
        // A failed location is no object to delete, yet its error must come out at the other end.
        let failed: Arc<Mutex<Vec<os::Error>>> = Arc::default();
        let keep = failed.clone();
        let objects = locations.filter_map(move |location| {
            let object = location.map(|path| object(&path)).map_err(|e| keep.lock().unwrap_or_else(PoisonError::into_inner).push(e)).ok();
            std::future::ready(object)
        });
        let deleted = self.storage.delete(objects.boxed()).map(|(object, result)| {
            let path = path(object.key.as_bytes())?;
            result.map(|_| path.clone()).map_err(|e| outward(&path, e))
        });
        let rest = stream::once(async move { std::mem::take(&mut *failed.lock().unwrap_or_else(PoisonError::into_inner)) });
        deleted.chain(rest.flat_map(|errors| stream::iter(errors.into_iter().map(Err)))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, os::Result<ObjectMeta>> {
        list(&*self.storage, List::under(folder(prefix)))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, os::Result<ObjectMeta>> {
        list(&*self.storage, List { after: Some(key(offset)), ..List::under(folder(prefix)) })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> os::Result<ListResult> {
        let mut pages = self.storage.list(List { delimiter: Some(b'/'), ..List::under(folder(prefix)) });
        let (mut objects, mut common_prefixes) = (Vec::new(), Vec::new());
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| outward(&prefix.cloned().unwrap_or_default(), e))?;
            for entry in page.iter() {
                objects.push(entry_meta(entry)?);
            }
            for prefix in page.prefixes() {
                common_prefixes.push(path(prefix.as_bytes())?);
            }
        }
        Ok(super::list_result(objects, common_prefixes))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> os::Result<()> {
        let info = self.storage.head(&object(from)).await.map_err(|e| outward(from, e))?;
        let condition = matches!(options.mode, CopyMode::Create).then_some(Condition::Absent);
        let identity = self.storage.identity();
        let at_once = self.storage.server_copy().filter(|copy| condition.is_none() && copy.can_copy_from(identity) && info.size <= copy.copy_bytes_max());
        let copied = match at_once {
            Some(copy) => copy.copy(&identity.bucket, &object(from), Some(&info.etag), &key(to), &info.attributes).await.and_then(|output| {
                match output.checksums.agreement(&info.checksums) {
                    Agreement::Different(algorithm) => Err(Error::integrity(format!("the copy's {algorithm} differs from the original's")).on_key(key(to))),
                    Agreement::Equal(_) | Agreement::Unknown => Ok(()),
                }
            }),
            None => self.copy_through(from, to, &info, condition).await,
        };
        copied.map_err(|e| outward(if e.kind() == ErrorKind::Exists { to } else { from }, e))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: os::RenameOptions) -> os::Result<()> {
        use os::ObjectStoreExt;
        let mode = match options.target_mode {
            os::RenameTargetMode::Overwrite => CopyMode::Overwrite,
            os::RenameTargetMode::Create => CopyMode::Create,
        };
        self.copy_opts(from, to, CopyOptions { mode, extensions: options.extensions }).await?;
        self.delete(from).await
    }
}

/// An upload whose parts are sent side by side and numbered in the order they were handed over.
#[derive(Debug)]
struct UploadInProgress {
    storage: Arc<dyn Storage>,
    upload: Upload,
    location: Path,
    sent: Arc<Mutex<BTreeMap<u32, (Part, Crc64)>>>,
    next: u32,
}

#[async_trait]
impl MultipartUpload for UploadInProgress {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (storage, upload, location, sent, number) = (self.storage.clone(), self.upload.clone(), self.location.clone(), self.sent.clone(), self.next);
        self.next += 1;
        Box::pin(async move {
            let part = send_part(&*storage, &upload, number, data).await.map_err(|e| outward(&location, e))?;
            sent.lock().unwrap_or_else(PoisonError::into_inner).insert(number, part);
            Ok(())
        })
    }

    async fn complete(&mut self) -> os::Result<PutResult> {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        if sent.len() != self.next as usize - 1 {
            return Err(os::Error::Generic { store: "dragon", source: "a part was not sent: await every put_part before complete".into() });
        }
        finish(&*self.storage, &self.upload, &self.location, sent.into_values()).await
    }

    async fn abort(&mut self) -> os::Result<()> {
        let multipart = self.storage.multipart().ok_or_else(|| unsupported("multipart uploads"))?;
        multipart.abort(&self.upload).await.map_err(|e| outward(&self.location, e))
    }
}

#[async_trait]
impl MultipartStore for Adapter {
    async fn create_multipart(&self, path: &Path) -> os::Result<String> {
        let multipart = self.storage.multipart().ok_or_else(|| unsupported("multipart uploads"))?;
        Ok(multipart.create(&key(path), &Attributes::default()).await.map_err(|e| outward(path, e))?.0)
    }

    async fn put_part(&self, path: &Path, id: &String, part_idx: usize, data: PutPayload) -> os::Result<PartId> {
        let upload = Upload { key: key(path), id: UploadId(id.clone()) };
        let number = u32::try_from(part_idx + 1).map_err(|_| unsupported("so many parts"))?;
        let (part, crc) = send_part(&*self.storage, &upload, number, data).await.map_err(|e| outward(path, e))?;
        Ok(PartId { content_id: format!("{}:{:x}:{:x}:{:x}", part.etag, crc.len, crc.xz, crc.nvme) })
    }

    async fn complete_multipart(&self, path: &Path, id: &String, parts: Vec<PartId>) -> os::Result<PutResult> {
        let upload = Upload { key: key(path), id: UploadId(id.clone()) };
        let parts: Option<Vec<_>> = (1..).zip(&parts).map(|(number, part)| parse_part(number, &part.content_id)).collect();
        let parts = parts.ok_or_else(|| os::Error::Generic { store: "dragon", source: "a part id that this store did not give".into() })?;
        finish(&*self.storage, &upload, path, parts.into_iter()).await
    }

    async fn abort_multipart(&self, path: &Path, id: &String) -> os::Result<()> {
        let multipart = self.storage.multipart().ok_or_else(|| unsupported("multipart uploads"))?;
        multipart.abort(&Upload { key: key(path), id: UploadId(id.clone()) }).await.map_err(|e| outward(path, e))
    }
}

fn parse_part(number: u32, content_id: &str) -> Option<(Part, Crc64)> {
    let mut fields = content_id.rsplitn(4, ':');
    let mut hex = || u64::from_str_radix(fields.next()?, 16).ok();
    let (nvme, xz, len) = (hex()?, hex()?, hex()?);
    let crc = Crc64 { xz, nvme, len };
    Some((Part { number, etag: ETag::new(fields.next()?), size: len, checksums: crc.checksums(), modified: None }, crc))
}

async fn send_part(storage: &dyn Storage, upload: &Upload, number: u32, data: PutPayload) -> Result<(Part, Crc64), Error> {
    let multipart = storage.multipart().ok_or_else(|| Error::unsupported("this store has no multipart uploads"))?;
    let payload = Payload::from_chunks(data.into_iter().collect());
    let crc = crc64(&payload);
    let part = multipart.upload_part(upload, number, payload, Some(&crc.checksums())).await?;
    Ok((prove_part(part, crc)?, crc))
}

async fn finish(storage: &dyn Storage, upload: &Upload, location: &Path, sent: impl Iterator<Item = (Part, Crc64)>) -> os::Result<PutResult> {
    let multipart = storage.multipart().ok_or_else(|| unsupported("multipart uploads"))?;
    let mut sent: Vec<(Part, Crc64)> = sent.collect();
    if sent.is_empty() {
        // Neither cloud completes an upload without a part; that crate allows it and means the empty object.
        sent.push(send_part(storage, upload, 1, PutPayload::default()).await.map_err(|e| outward(location, e))?);
    }
    let mut whole = Crc64Combiner::default();
    let parts: Vec<Part> = sent
        .into_iter()
        .map(|(part, crc)| {
            whole.push(crc);
            part
        })
        .collect();
    let complete = Complete { checksums: Some(whole.finish().checksums()), condition: None };
    let output = multipart.complete(upload, &parts, complete).await.and_then(|output| prove(output, whole.finish()));
    output.map(put_result).map_err(|e| outward(location, e))
}

fn crc64(payload: &Payload) -> Crc64 {
    let mut hasher = Crc64Hasher::new();
    for chunk in payload.chunks().unwrap_or_default() {
        hasher.update(chunk);
    }
    hasher.finish()
}

/// Holds what the service states of the bytes against what was sent.
fn agree(stated: &Checksums, sent: Crc64) -> Result<(), Error> {
    match stated.agreement(&sent.checksums()) {
        Agreement::Different(algorithm) => Err(Error::integrity(format!("the service stored other bytes than were sent: its {algorithm} differs"))),
        Agreement::Equal(_) | Agreement::Unknown => Ok(()),
    }
}

fn prove(output: PutOutput, sent: Crc64) -> Result<PutOutput, Error> {
    agree(&output.checksums, sent).map(|()| output)
}

fn prove_part(part: Part, sent: Crc64) -> Result<Part, Error> {
    agree(&part.checksums, sent).map(|()| part)
}

fn key(path: &Path) -> Key {
    path.as_ref().into()
}

fn object(path: &Path) -> ObjectRef {
    key(path).into()
}

/// That crate lists by whole segments: `a` means what is under `a/`.
fn folder(prefix: Option<&Path>) -> Key {
    prefix.filter(|p| !p.as_ref().is_empty()).map_or(Key::EMPTY, |p| key(p).join(b"/"))
}

fn path(key: &[u8]) -> os::Result<Path> {
    let text = std::str::from_utf8(key).map_err(|e| os::Error::Generic { store: "dragon", source: Box::new(e) })?;
    Ok(Path::parse(text)?)
}

fn list(storage: &dyn Storage, list: List) -> BoxStream<'static, os::Result<ObjectMeta>> {
    let prefix = list.prefix.to_string();
    storage
        .list(list)
        .flat_map(move |page| {
            let entries = match page {
                Ok(page) => page.iter().map(entry_meta).collect(),
                Err(e) => vec![Err(outward(&Path::from(prefix.as_str()), e))],
            };
            stream::iter(entries)
        })
        .boxed()
}

fn entry_meta(entry: Entry<'_>) -> os::Result<ObjectMeta> {
    Ok(ObjectMeta {
        location: path(entry.key)?,
        last_modified: time(entry.modified),
        size: entry.size,
        e_tag: (!entry.etag.is_empty()).then(|| format!("\"{}\"", entry.etag)),
        version: None,
    })
}

fn meta(location: Path, info: &ObjectInfo) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: time(info.modified),
        size: info.size,
        e_tag: (!info.etag.is_empty()).then(|| info.etag.quoted()),
        version: info.version.clone(),
    }
}

fn time(at: Option<jiff::Timestamp>) -> chrono::DateTime<chrono::Utc> {
    at.and_then(|t| chrono::DateTime::from_timestamp(t.as_second(), u32::try_from(t.subsec_nanosecond()).unwrap_or(0))).unwrap_or_default()
}

fn body(location: &Path, body: crate::storage::ByteStream) -> BoxStream<'static, os::Result<Bytes>> {
    let location = location.clone();
    body.map_err(move |e| outward(&location, e)).boxed()
}

fn put_result(output: PutOutput) -> PutResult {
    super::put_result((!output.etag.is_empty()).then(|| output.etag.quoted()), output.version)
}

fn get_result(location: &Path, info: ObjectInfo, range: Range<u64>, payload: GetResultPayload) -> GetResult {
    super::get_result(payload, meta(location.clone(), &info), range, attributes_out(&info.attributes))
}

/// The attributes that both sides know; one that Dragon cannot carry is refused, not dropped.
fn attributes_in(storage: &dyn Storage, attributes: &os::Attributes) -> os::Result<Attributes> {
    let mut ours = Attributes::default();
    let capabilities = storage.capabilities();
    for (attribute, value) in attributes {
        let kept = match attribute {
            Attribute::Metadata(_) => capabilities.metadata != MetadataRule::MtimeOnly,
            _ => capabilities.content_headers,
        };
        if !kept {
            return Err(unsupported(format!("the attribute {attribute:?}")));
        }
        let value = value.as_ref().to_owned();
        match attribute {
            Attribute::ContentType => ours.content_type = Some(value),
            Attribute::CacheControl => ours.cache_control = Some(value),
            Attribute::ContentDisposition => ours.content_disposition = Some(value),
            Attribute::ContentEncoding => ours.content_encoding = Some(value),
            Attribute::ContentLanguage => ours.content_language = Some(value),
            Attribute::StorageClass => ours.storage_class = Some(value),
            Attribute::Metadata(name) => drop(ours.user.insert(name.to_ascii_lowercase(), value)),
            other => return Err(unsupported(format!("the attribute {other:?}"))),
        }
    }
    Ok(ours)
}

fn attributes_out(ours: &Attributes) -> os::Attributes {
    let named = [
        (Attribute::ContentType, &ours.content_type),
        (Attribute::CacheControl, &ours.cache_control),
        (Attribute::ContentDisposition, &ours.content_disposition),
        (Attribute::ContentEncoding, &ours.content_encoding),
        (Attribute::ContentLanguage, &ours.content_language),
        (Attribute::StorageClass, &ours.storage_class),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let user = ours.user.iter().map(|(name, value)| (Attribute::Metadata(name.clone().into()), value.clone()));
    named.chain(user).collect()
}

fn unsupported(what: impl fmt::Display) -> os::Error {
    os::Error::NotSupported { source: format!("{what} cannot be kept by this store").into() }
}

fn outward(path: &Path, e: Error) -> os::Error {
    let (path, kind) = (path.to_string(), e.kind());
    let source = Box::new(e);
    match kind {
        ErrorKind::NotFound | ErrorKind::BucketNotFound => os::Error::NotFound { path, source },
        ErrorKind::Exists => os::Error::AlreadyExists { path, source },
        ErrorKind::Changed => os::Error::Precondition { path, source },
        ErrorKind::Unsupported => os::Error::NotSupported { source },
        ErrorKind::Denied | ErrorKind::Locked | ErrorKind::Account => os::Error::PermissionDenied { path, source },
        ErrorKind::Credentials | ErrorKind::TokenExpired => os::Error::Unauthenticated { path, source },
        _ => os::Error::Generic { store: "dragon", source },
    }
}
