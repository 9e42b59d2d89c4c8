//! Alibaba Cloud OSS, natively: its own signatures, headers, errors and limits (protocol.md sections 1 to 3).
//!
//! An [`OssAccount`] is one set of credentials at one or more endpoints; it opens [`OssStore`]s, one a bucket. Nothing is asked of the
//! service before the first operation.
//!
//! User metadata names are letters, digits and hyphens here; others are refused by name (the engine maps them). Values beyond visible
//! ASCII travel as RFC 2047 encoded-words, as on S3, so they come back the same from either side.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::storage::capabilities::{Capabilities, MetadataRule, MultipartLimits, Service};
use crate::storage::key::Key;
use crate::storage::object::{Attributes, ETag, ObjectInfo, ObjectRef};
use crate::storage::page::Page;
use crate::storage::payload::Payload;
use crate::storage::{
    Acl, Archive, Complete, CopyRange, Deleted, Details, Get, GetOutput, Identity, Lifecycle, List, Multipart, OpenUpload, Part, Presign, PresignMethod, Put,
    PutOutput, RestoreTier, Restoring, ServerCopy, Storage, StoredPart, Upload, UploadId, Version, Versioning, Versions,
};

mod account;
mod client;
mod copy;
pub mod credentials;
mod delete;
mod endpoint;
mod error;
#[cfg(any(test, fuzzing))]
pub(in crate::storage) mod fuzzing;
mod headers;
mod lifecycle;
mod list;
mod multipart;
mod object;
mod options;
mod sign;
#[cfg(test)]
mod tests;
mod versions;

pub use account::OssAccount;
pub use options::{Addressing, Options, Signature};

/// Largest body of one PUT or part: 5 GB (protocol.md 2.3).
const PUT_BYTES_MAX: u64 = 5 << 30;
/// Smallest part but for the last: 100 KB.
const PART_BYTES_MIN: u64 = 100 << 10;
/// Most parts of an upload.
const PARTS_MAX: u32 = 10_000;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1023;

/// One bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OssStore(Arc<Bucket>);

/// What all operations on a bucket share.
#[derive(Debug)]
struct Bucket {
    client: Arc<client::Client>,
    home: client::Home,
    defaults: headers::WriteDefaults,
    /// Whether versioning was off when it was asked.
    unversioned: tokio::sync::OnceCell<bool>,
    identity: Identity,
    capabilities: Capabilities,
    copy_bytes_max: u64,
}

impl OssStore {
    fn new(client: Arc<client::Client>, defaults: headers::WriteDefaults, identity: Identity, copy_bytes_max: u64) -> Self {
        let capabilities = Capabilities {
            service: Service::Oss,
            ordered_list: true,
            put_bytes_max: PUT_BYTES_MAX,
            object_bytes_max: PUT_BYTES_MAX * u64::from(PARTS_MAX),
            multipart: Some(MultipartLimits { part_bytes_min: PART_BYTES_MIN, part_bytes_max: PUT_BYTES_MAX, parts_max: PARTS_MAX }),
            key_bytes_max: KEY_BYTES_MAX,
            put_if_absent: true,
            put_if_match: false,
            metadata: MetadataRule::LettersDigitsHyphen,
            metadata_bytes_max: headers::METADATA_BYTES_MAX,
            content_headers: true,
            streamed_bodies: true,
            atomic_put: true,
        };
        let home = client::Home::new(&identity.bucket);
        Self(Arc::new(Bucket { client, home, defaults, unversioned: tokio::sync::OnceCell::new(), identity, capabilities, copy_bytes_max }))
    }
}

impl OssStore {
    /// `scheme://host[:port]` of the bucket's requests, as configured: what the bucket says of its region is not asked for.
    pub fn address(&self) -> String {
        self.0.client.address(&self.0.identity.bucket)
    }
}

impl fmt::Display for OssStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oss://{}", self.0.identity.bucket)
    }
}

#[async_trait]
impl Storage for OssStore {
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.0.identity
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        list::pages(Arc::clone(&self.0), list)
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.0.head(object).await
    }

    async fn stored_part(&self, _: &ObjectRef, _: u32) -> Result<Option<StoredPart>> {
        // OSS does not tell, and need not: its CRC is always over the whole object.
        Ok(None)
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        self.0.get(object, get).await
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.0.put(key, payload, put).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        delete::deletes(Arc::clone(&self.0), objects)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(self)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        Some(self)
    }

    fn presign(&self) -> Option<&dyn Presign> {
        Some(self)
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
impl Multipart for OssStore {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        self.0.create(key, attributes).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&crate::storage::Checksums>) -> Result<Part> {
        self.0.upload_part(upload, number, payload, checksums).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.0.list_parts(upload).await
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        self.0.complete(upload, parts, complete).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.0.abort(upload).await
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        multipart::uploads(Arc::clone(&self.0), prefix)
    }
}

#[async_trait]
impl ServerCopy for OssStore {
    fn can_copy_from(&self, source: &Identity) -> bool {
        let own = &self.0.identity;
        (source.service, &source.endpoint, &source.account) == (own.service, &own.endpoint, &own.account)
    }

    fn copy_bytes_max(&self) -> u64 {
        self.0.copy_bytes_max
    }

    async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
        self.0.copy(bucket, source, if_match, key, attributes).await
    }

    async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
        self.0.copy_part(from, upload, number).await
    }
}

#[async_trait]
impl Presign for OssStore {
    async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
        self.0.presign(method, object, expires_in).await
    }
}

#[async_trait]
impl Details for OssStore {
    async fn acl(&self, object: &ObjectRef) -> Result<Acl> {
        self.0.acl(object).await
    }

    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
        self.0.tags(object).await
    }
}

#[async_trait]
impl Archive for OssStore {
    async fn restore(&self, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
        self.0.restore(object, days, tier).await
    }
}

#[async_trait]
impl Lifecycle for OssStore {
    async fn lifecycle(&self) -> Result<Option<String>> {
        self.0.lifecycle().await
    }

    async fn set_lifecycle(&self, rules: Option<&str>, overlap: bool) -> Result<()> {
        self.0.set_lifecycle(rules, overlap).await
    }
}

#[async_trait]
impl Versions for OssStore {
    async fn versioning(&self) -> Result<Versioning> {
        self.0.versioning().await
    }

    fn list_versions(&self, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
        versions::pages(Arc::clone(&self.0), list)
    }
}
