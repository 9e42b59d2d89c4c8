//! Amazon S3, and everything that speaks it.
//!
//! The operations that decide speed go over the lean [`transport`](super::transport), signed here; credentials, buckets and regions
//! come through the AWS SDK, over the same transport. Where a bucket is, the SDK's endpoint rules say on both roads.
//!
//! Invariants: a request names exactly the key it was given; nothing is taken for absent but what S3 says is absent; a range is a
//! range; what a write's output states, the service stated.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use futures::stream::BoxStream;

use super::{
    Account, Acl, Archive, Attributes, BucketInfo, Capabilities, Checksums, Complete, CopyRange, Deleted, Details, ETag, Get, GetOutput, Identity, Key,
    Lifecycle, List, MetadataRule, Multipart, MultipartLimits, ObjectInfo, ObjectRef, OpenUpload, Page, Part, Payload, Presign, PresignMethod, Put, PutOutput,
    RestoreTier, Restoring, ServerCopy, Service, Storage, StoredPart, Upload, UploadId, Version, Versioning, Versions,
};
use crate::clock::Clock;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use client::{Bucket, Client};

mod client;
mod credentials;
mod delete;
mod endpoint;
mod errors;
#[cfg(any(test, fuzzing))]
pub(in crate::storage) mod fuzzing;
mod headers;
mod lifecycle;
mod list;
mod multipart;
mod object;
mod options;
mod sdk;
mod sign;
mod versions;

pub use options::Options;

/// Largest body of one request, and largest object that one copy takes: 5 GiB.
const PUT_BYTES_MAX: u64 = 5 << 30;
/// Largest object: 50 TB in the service's words (protocol.md 2.3).
const OBJECT_BYTES_MAX: u64 = 50_000_000_000_000;

/// An account at an S3 service. Cheap to clone; its buckets share connections and credentials.
#[derive(Clone)]
pub struct S3Account {
    client: Arc<Client>,
    /// The access key id in use, for [`Identity`].
    account: String,
}

impl S3Account {
    /// Reads the options, the environment and the AWS profile, and gets credentials.
    ///
    /// Fails with [`ErrorKind::Invalid`] where the options contradict themselves, with [`ErrorKind::Credentials`] where there are none.
    pub async fn open(options: Options, clock: Clock) -> Result<Self> {
        let client = Arc::new(Client::open(options, clock).await?);
        let account = client.credentials.access_key_id().await?;
        Ok(Self { client, account })
    }

    /// Opens a bucket. Makes no request.
    pub fn store(&self, name: &str) -> Result<S3Store> {
        if name.is_empty() {
            return Err(Error::invalid("a bucket needs a name").advise("write s3://BUCKET/PREFIX"));
        }
        let identity = Identity { service: Service::S3, endpoint: self.endpoint(), account: self.account.clone(), bucket: name.to_owned() };
        // Directory buckets list in no order, and need no key to say so.
        let ordered = !name.ends_with("--x-s3");
        Ok(S3Store { bucket: Arc::new(Bucket::new(self.client.clone(), name)), identity: Arc::new(identity), capabilities: Arc::new(capabilities(ordered)) })
    }

    /// The account's access to AWS's other services: credentials, region, our own transport and no retries.
    pub fn shared_config(&self) -> &aws_config::SdkConfig {
        &self.client.shared
    }

    /// The region to begin with: a bucket elsewhere says so itself.
    pub fn region(&self) -> &str {
        &self.client.region
    }

    /// The first endpoint's host and port, or AWS's name in its partition: buckets of one partition copy among each other.
    fn endpoint(&self) -> String {
        let authority = self.client.endpoints.first().and_then(|e| e.parse::<http::Uri>().ok()?.authority().map(ToString::to_string));
        authority
            .unwrap_or_else(|| match self.client.region.split('-').next() {
                Some("cn") => "s3.amazonaws.com.cn".to_owned(),
                _ if self.client.region.starts_with("us-gov-") => "s3.us-gov.amazonaws.com".to_owned(),
                _ => "s3.amazonaws.com".to_owned(),
            })
            .to_lowercase()
    }
}

fn capabilities(ordered_list: bool) -> Capabilities {
    Capabilities {
        service: Service::S3,
        ordered_list,
        put_bytes_max: PUT_BYTES_MAX,
        object_bytes_max: OBJECT_BYTES_MAX,
        multipart: Some(MultipartLimits { part_bytes_min: 5 << 20, part_bytes_max: PUT_BYTES_MAX, parts_max: 10_000 }),
        key_bytes_max: object::KEY_BYTES_MAX,
        put_if_absent: true,
        put_if_match: true,
        metadata: MetadataRule::HeaderToken,
        metadata_bytes_max: 2048,
        content_headers: true,
        streamed_bodies: false,
        atomic_put: true,
    }
}

impl fmt::Debug for S3Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Account").field("endpoint", &self.endpoint()).field("region", &self.client.region).field("account", &self.account).finish()
    }
}

impl fmt::Display for S3Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3 at {}", self.endpoint())
    }
}

#[async_trait]
impl Account for S3Account {
    async fn list_buckets(&self) -> Result<Vec<BucketInfo>> {
        let mut all = Vec::new();
        let mut token = None;
        loop {
            let sent = self.client.sdk.list_buckets().set_continuation_token(token.clone()).send().await;
            let page = sent.map_err(|e| sdk::explain(e).during("list buckets").in_store(self))?;
            all.extend(page.buckets().iter().filter_map(|b| {
                let created = b.creation_date().and_then(|t| jiff::Timestamp::new(t.secs(), 0).ok());
                Some(BucketInfo { name: b.name()?.to_owned(), region: b.bucket_region().map(str::to_owned), created })
            }));
            match page.continuation_token.filter(|t| !t.is_empty()) {
                None => return Ok(all),
                next if next == token => return Err(Error::integrity("the list of buckets repeats its token").during("list buckets").in_store(self)),
                next => token = next,
            }
        }
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        let region = self.client.region.as_str();
        // us-east-1 is the one region that must not be named.
        let place = (region != "us-east-1").then(|| CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build());
        let sent = self.client.sdk.create_bucket().bucket(name).set_create_bucket_configuration(place).send().await;
        sent.map(|_| ()).map_err(|e| sdk::explain(e).during("create bucket").in_store(format_args!("s3://{name}")))
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        match self.client.sdk.delete_bucket().bucket(name).send().await.map_err(sdk::explain) {
            Ok(_) => Ok(()),
            Err(e) => Err(e.during("delete bucket").in_store(format_args!("s3://{name}"))),
        }
    }

    fn bucket(&self, name: &str) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.store(name)?))
    }
}

/// One bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
    identity: Arc<Identity>,
    capabilities: Arc<Capabilities>,
}

impl S3Store {
    /// `scheme://host[:port]` of the bucket's requests, as configured: what the bucket says of its region is not asked for.
    ///
    /// Fails with [`ErrorKind::Invalid`] where no endpoint fits the bucket's name, the region and the options.
    pub async fn address(&self) -> Result<String> {
        let client = &self.bucket.client;
        let endpoint = client.endpoints.first().map(String::as_str);
        let site = endpoint::resolve(&client.options, endpoint, &client.region, &self.bucket.name).await?;
        Ok(format!("{}://{}", site.scheme, site.authority))
    }

    /// Names operation, key and store in an error.
    fn told<T>(&self, operation: &'static str, key: &Key, result: Result<T>) -> Result<T> {
        result.map_err(|e| e.during(operation).on_key(key).in_store(self))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.name)
    }
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[async_trait]
impl Storage for S3Store {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        list::list(self.bucket.clone(), list, self.capabilities.ordered_list)
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.told("head", &object.key, object::head(&self.bucket, object).await)
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.told("head", &object.key, object::stored_part(&self.bucket, object, number).await)
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        self.told("get", &object.key, object::get(&self.bucket, object, get).await)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.told("put", key, object::put(&self.bucket, key, payload, put).await)
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        delete::delete(self.bucket.clone(), objects)
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
impl Multipart for S3Store {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        self.told("create upload", key, multipart::create(&self.bucket, key, attributes).await)
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        self.told("upload part", &upload.key, multipart::upload_part(&self.bucket, upload, number, payload, checksums).await)
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.told("list parts", &upload.key, multipart::list_parts(&self.bucket, upload).await)
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        self.told("complete upload", &upload.key, multipart::complete(&self.bucket, upload, parts, &complete).await)
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.told("abort upload", &upload.key, multipart::abort(&self.bucket, upload).await)
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        multipart::list_uploads(self.bucket.clone(), prefix)
    }
}

#[async_trait]
impl ServerCopy for S3Store {
    fn can_copy_from(&self, source: &Identity) -> bool {
        source.service == Service::S3 && source.endpoint == self.identity.endpoint && source.account == self.identity.account
    }

    fn copy_bytes_max(&self) -> u64 {
        self.bucket.client.options.copy_bytes_max.unwrap_or(PUT_BYTES_MAX)
    }

    async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
        self.told("copy", key, object::copy(&self.bucket, bucket, source, if_match, key, attributes).await)
    }

    async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
        self.told("copy part", &upload.key, multipart::copy_part(&self.bucket, from, upload, number).await)
    }
}

#[async_trait]
impl Presign for S3Store {
    async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
        self.told("presign", &object.key, object::presign(&self.bucket, method, object, expires_in).await)
    }
}

#[async_trait]
impl Details for S3Store {
    async fn acl(&self, object: &ObjectRef) -> Result<Acl> {
        self.told("acl", &object.key, object::acl(&self.bucket, object).await)
    }

    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
        self.told("tags", &object.key, object::tags(&self.bucket, object).await)
    }
}

#[async_trait]
impl Archive for S3Store {
    async fn restore(&self, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
        self.told("restore", &object.key, object::restore(&self.bucket, object, days, tier).await)
    }
}

#[async_trait]
impl Lifecycle for S3Store {
    async fn lifecycle(&self) -> Result<Option<String>> {
        lifecycle::lifecycle(&self.bucket).await.map_err(|e| e.during("lifecycle").in_store(self))
    }

    async fn set_lifecycle(&self, rules: Option<&str>, _overlap: bool) -> Result<()> {
        lifecycle::set_lifecycle(&self.bucket, rules).await.map_err(|e| e.during("set lifecycle").in_store(self))
    }
}

#[async_trait]
impl Versions for S3Store {
    async fn versioning(&self) -> Result<Versioning> {
        versions::versioning(&self.bucket).await.map_err(|e| e.during("versioning").in_store(self))
    }

    fn list_versions(&self, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
        versions::list(self.bucket.clone(), list)
    }
}

#[cfg(test)]
mod tests;
