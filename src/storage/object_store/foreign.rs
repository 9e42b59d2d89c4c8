//! Whatever object_store opens, as a Dragon store: `gs://`, `az://`, `http://` and the rest of that crate's schemes.
//!
//! What that crate cannot say, this store does not claim: no checksums, no upload ids (so nothing here resumes), and keys that
//! its paths would rewrite are refused by name.

use std::fmt;
use std::sync::Arc;

use ::object_store as os;
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use os::path::Path;
use os::{Attribute, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    Archive, Attributes, Capabilities, Condition, Deleted, Details, ETag, Entry, Get, GetOutput, Identity, Key, Kind, Lifecycle, List, MetadataRule, Multipart,
    ObjectInfo, ObjectRef, Page, Payload, Presign, Put, PutOutput, ServerCopy, Service, Storage, StoredPart, Versions, payload,
};

/// Bodies up to this many bytes go as one put, larger ones as a multipart write with parts of this size.
const PART_BYTES: usize = 8 << 20;
/// How many parts of one object are in flight.
const PARTS_IN_FLIGHT: usize = 4;
/// Keys a page.
const PAGE_KEYS: usize = 1000;

/// URL schemes that this store opens. `s3://`, `file://` and `memory://` are Dragon's own.
const SCHEMES: [&str; 8] = ["gs", "az", "azure", "abfs", "abfss", "adl", "http", "https"];

/// Whether [`ForeignStore::open`] knows a URL scheme.
pub fn is_scheme(scheme: &str) -> bool {
    SCHEMES.contains(&scheme)
}

/// A store of the object_store crate.
#[derive(Debug, Clone)]
pub struct ForeignStore {
    inner: Arc<dyn ObjectStore>,
    capabilities: Arc<Capabilities>,
    identity: Arc<Identity>,
}

impl ForeignStore {
    /// Opens the bucket of a URL such as `gs://bucket` with that crate's own string options and environment.
    pub fn open(url: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let parsed = url::Url::parse(url).map_err(|e| Error::invalid(format!("'{url}' is not a URL: {e}")))?;
        let (store, path) = os::parse_url_opts(&parsed, options).map_err(|e| {
            Error::invalid(format!("object_store cannot open '{url}'")).caused_by(e).advise("give its options in [stores.NAME] or in the environment")
        })?;
        if !path.as_ref().is_empty() {
            return Err(Error::invalid(format!("'{url}' names more than a bucket")));
        }
        // Google and Azure document ascending order; the others promise nothing.
        let ordered = matches!(parsed.scheme(), "gs" | "az" | "azure" | "abfs" | "abfss" | "adl");
        Ok(Self::new(store.into(), url, ordered))
    }

    /// Wraps a store. `ordered_list` says whether it lists in ascending byte order, without which nothing is ever deleted.
    pub fn new(inner: Arc<dyn ObjectStore>, name: &str, ordered_list: bool) -> Self {
        let capabilities = Capabilities {
            service: Service::ObjectStore,
            ordered_list,
            put_bytes_max: u64::MAX,
            object_bytes_max: u64::MAX,
            multipart: None,
            key_bytes_max: 1024,
            put_if_absent: true,
            put_if_match: true,
            metadata: MetadataRule::HeaderToken,
            metadata_bytes_max: 2048,
            content_headers: true,
            streamed_bodies: true,
            atomic_put: true,
        };
        let identity =
            Identity { service: Service::ObjectStore, endpoint: String::new(), account: String::new(), bucket: name.trim_end_matches('/').to_owned() };
        Self { inner, capabilities: capabilities.into(), identity: identity.into() }
    }

    fn fail(&self, key: &Key, operation: &'static str, e: os::Error) -> Error {
        inward(e).during(operation).on_key(key).in_store(self)
    }
}

impl fmt::Display for ForeignStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.identity.bucket)
    }
}

#[async_trait]
impl Storage for ForeignStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        let store = self.clone();
        if list.delimiter.is_some() {
            return stream::once(async move { store.list_folder(&list).await }).boxed();
        }
        // That crate lists whole segments only: begin at the folder and leave out what does not have the prefix.
        let folder = list.prefix.as_bytes().iter().rposition(|b| *b == b'/').map(|end| Key::from(&list.prefix.as_bytes()[..end]));
        let folder = match folder.as_ref().map(path).transpose() {
            Ok(folder) => folder,
            Err(e) => return stream::once(async move { Err(e) }).boxed(),
        };
        // An offset that its paths cannot name is applied here instead.
        let entries = match list.after.as_ref().map(path) {
            Some(Ok(after)) => store.inner.list_with_offset(folder.as_ref(), &after),
            _ => store.inner.list(folder.as_ref()),
        };
        let page_keys = list.page_keys.map_or(PAGE_KEYS, |keys| keys.max(1) as usize);
        entries
            .try_chunks(page_keys)
            .map(move |chunk| {
                // The entries before an error are not given: the error is final, and what it hides is unknown.
                let chunk = chunk.map_err(|e| inward(e.1).during("list").in_store(&store))?;
                let mut page = Page::new();
                for meta in &chunk {
                    let key = meta.location.as_ref().as_bytes();
                    let wanted = key.starts_with(list.prefix.as_bytes())
                        && list.after.as_ref().is_none_or(|after| key > after.as_bytes())
                        && list.upto.as_ref().is_none_or(|upto| key <= upto.as_bytes());
                    if wanted {
                        push(&mut page, meta);
                    }
                }
                Ok(page)
            })
            .boxed()
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        let options = GetOptions { head: true, version: object.version.clone(), ..GetOptions::default() };
        let result = self.inner.get_opts(&path(&object.key)?, options).await.map_err(|e| self.fail(&object.key, "head", e))?;
        Ok(info(&result.meta, &result.attributes))
    }

    async fn stored_part(&self, _: &ObjectRef, _: u32) -> Result<Option<StoredPart>> {
        Ok(None)
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let options = GetOptions {
            range: get.range.clone().map(GetRange::Bounded),
            if_match: get.if_match.as_ref().map(ETag::quoted),
            version: object.version.clone(),
            ..GetOptions::default()
        };
        let result = self.inner.get_opts(&path(&object.key)?, options).await.map_err(|e| self.fail(&object.key, "get", e))?;
        let range = result.range.clone();
        if get.range.as_ref().is_some_and(|asked| *asked != range) {
            return Err(Error::integrity(format!("bytes {:?} were asked for and {range:?} answered", get.range))
                .during("get")
                .on_key(&object.key)
                .in_store(self));
        }
        let (store, key, info) = (self.clone(), object.key.clone(), info(&result.meta, &result.attributes));
        let body = result.into_stream().map(move |chunk| chunk.map_err(|e| store.fail(&key, "get", e))).boxed();
        Ok(GetOutput { info, body: payload::exactly(body, range.end - range.start), range })
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        let (path, attributes) = (path(key)?, attributes(&put.attributes)?);
        let result = if payload.len() <= PART_BYTES as u64 {
            let mode = match put.condition {
                None => PutMode::Overwrite,
                Some(Condition::Absent) => PutMode::Create,
                Some(Condition::Matches(etag)) => PutMode::Update(UpdateVersion { e_tag: Some(etag.quoted()), version: None }),
            };
            let body: PutPayload = [payload.collect().await?].into_iter().collect();
            self.inner.put_opts(&path, body, PutOptions { mode, attributes, ..PutOptions::default() }).await
        } else if put.condition.is_some() {
            return Err(Error::unsupported("a conditional write above 8 MiB cannot be made through object_store").during("put").on_key(key).in_store(self));
        } else {
            let options = os::PutMultipartOptions { attributes, ..os::PutMultipartOptions::default() };
            let upload = self.inner.put_multipart_opts(&path, options).await.map_err(|e| self.fail(key, "create upload", e))?;
            let mut body = payload.stream().await?;
            // That crate numbers parts by 10,000 at most on every cloud it knows.
            let part_bytes = PART_BYTES.max(usize::try_from(payload.len().div_ceil(10_000)).unwrap_or(usize::MAX));
            let mut write = WriteMultipart::new_with_chunk_size(upload, part_bytes);
            while let Some(chunk) = body.next().await {
                let sent = match chunk {
                    Ok(chunk) => write.wait_for_capacity(PARTS_IN_FLIGHT).await.map(|()| write.put(chunk)).map_err(|e| self.fail(key, "upload part", e)),
                    Err(e) => Err(e),
                };
                if let Err(e) = sent {
                    write.abort().await.unwrap_or_else(|abort| tracing::warn!(%abort, key = %key, "cannot abort an upload"));
                    return Err(e);
                }
            }
            write.finish().await
        };
        let result = result.map_err(|e| self.fail(key, "put", e))?;
        Ok(PutOutput { etag: ETag::new(result.e_tag.as_deref().unwrap_or_default()), version: result.version, ..PutOutput::default() })
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        let store = self.clone();
        let one = move |object: ObjectRef| {
            let store = store.clone();
            async move {
                let deleted = async {
                    if object.version.is_some() {
                        return Err(Error::unsupported("object_store cannot delete a version"));
                    }
                    match store.inner.delete(&path(&object.key)?).await {
                        Ok(()) | Err(os::Error::NotFound { .. }) => Ok(Deleted::default()),
                        Err(e) => Err(store.fail(&object.key, "delete", e)),
                    }
                };
                let deleted = deleted.await;
                (object, deleted)
            }
        };
        objects.map(one).buffer_unordered(16).boxed()
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        None
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

impl ForeignStore {
    async fn list_folder(&self, list: &List) -> Result<Page> {
        let prefix = list.prefix.as_bytes();
        if !(prefix.is_empty() || prefix.ends_with(b"/")) {
            return Err(Error::unsupported("object_store lists whole folders only").during("list").on_key(&list.prefix).in_store(self));
        }
        let folder = list.prefix.is_empty().then_some(Path::default()).map_or_else(|| path(&Key::from(&prefix[..prefix.len() - 1])), Ok)?;
        let result = self.inner.list_with_delimiter(Some(&folder)).await.map_err(|e| self.fail(&list.prefix, "list", e))?;
        let wanted = |key: &[u8]| list.after.as_ref().is_none_or(|a| key > a.as_bytes()) && list.upto.as_ref().is_none_or(|u| key <= u.as_bytes());
        let mut objects = result.objects;
        objects.sort_by(|a, b| a.location.as_ref().as_bytes().cmp(b.location.as_ref().as_bytes()));
        let mut page = Page::new();
        for meta in objects.iter().filter(|m| wanted(m.location.as_ref().as_bytes())) {
            push(&mut page, meta);
        }
        let mut prefixes: Vec<Key> = result.common_prefixes.iter().map(|p| Key::from(p.as_ref()).join(b"/")).filter(|p| wanted(p.as_bytes())).collect();
        prefixes.sort();
        for prefix in prefixes {
            page.push_prefix(prefix);
        }
        Ok(page)
    }
}

fn push(page: &mut Page, meta: &ObjectMeta) {
    let etag = ETag::new(meta.e_tag.as_deref().unwrap_or_default());
    let entry =
        Entry { key: meta.location.as_ref().as_bytes(), size: meta.size, etag: etag.as_str(), modified: modified(meta), storage_class: "", kind: Kind::Object };
    page.push(entry);
}

/// The path that names exactly this key, or a refusal: that crate's paths drop empty segments and outer slashes.
fn path(key: &Key) -> Result<Path> {
    let refused = || Error::invalid("the object_store crate cannot name this key (empty, '.' or '..' segments, or an outer slash)").on_key(key);
    let path = Path::parse(key.as_str()?).map_err(|e| refused().caused_by(e))?;
    if path.as_ref() == key.as_str()? { Ok(path) } else { Err(refused()) }
}

fn modified(meta: &ObjectMeta) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(meta.last_modified.timestamp(), i32::try_from(meta.last_modified.timestamp_subsec_nanos()).ok()?).ok()
}

fn info(meta: &ObjectMeta, attributes: &os::Attributes) -> ObjectInfo {
    let mut ours = Attributes::default();
    for (name, value) in attributes {
        let value = value.as_ref().to_owned();
        match name {
            Attribute::ContentType => ours.content_type = Some(value),
            Attribute::CacheControl => ours.cache_control = Some(value),
            Attribute::ContentDisposition => ours.content_disposition = Some(value),
            Attribute::ContentEncoding => ours.content_encoding = Some(value),
            Attribute::ContentLanguage => ours.content_language = Some(value),
            Attribute::StorageClass => ours.storage_class = Some(value),
            Attribute::Metadata(name) => drop(ours.user.insert(name.to_ascii_lowercase(), value)),
            _ => {}
        }
    }
    ObjectInfo {
        size: meta.size,
        etag: ETag::new(meta.e_tag.as_deref().unwrap_or_default()),
        modified: modified(meta),
        version: meta.version.clone(),
        attributes: ours,
        ..ObjectInfo::default()
    }
}

/// That crate's attributes; what it has no word for is refused.
fn attributes(ours: &Attributes) -> Result<os::Attributes> {
    if ours.expires.is_some() || ours.encryption.is_some() || ours.acl.is_some() {
        return Err(Error::unsupported("Expires, encryption and ACL cannot be set through object_store"));
    }
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
    Ok(named.chain(user).collect())
}

fn inward(e: os::Error) -> Error {
    let kind = match &e {
        os::Error::NotFound { .. } => ErrorKind::NotFound,
        os::Error::AlreadyExists { .. } => ErrorKind::Exists,
        os::Error::Precondition { .. } | os::Error::NotModified { .. } => ErrorKind::Changed,
        os::Error::NotSupported { .. } | os::Error::NotImplemented { .. } => ErrorKind::Unsupported,
        os::Error::PermissionDenied { .. } => ErrorKind::Denied,
        os::Error::Unauthenticated { .. } => ErrorKind::Credentials,
        os::Error::InvalidPath { .. } | os::Error::UnknownConfigurationKey { .. } => ErrorKind::Invalid,
        // That crate has retried already and does not tell throttling or outages from anything else.
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, "object_store failed").caused_by(e)
}
