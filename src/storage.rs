//! The storage abstraction: one contract, kept by every backend and every layer.
//!
//! # Contract
//! - A [`Storage`] is one bucket (or one local root) reached with one set of credentials. Keys are bytes ([`Key`]) that nothing
//!   normalises; a backend that cannot hold a key refuses it with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid), naming it. Nothing is renamed.
//! - A method makes one attempt. It classifies what went wrong ([`crate::error::Error::retry`]); waiting is the business of one
//!   layer, [`retry`]. Every method is safe to drop at any await: a dropped write either happened whole or not at all.
//! - An error is never an absence. Only [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) says that an object is not there.
//! - A listing yields pages in ascending byte order. `Err` is final and means "the rest is unknown"; the end of the stream
//!   without an error means "that was all".
//! - A body stream yields exactly the promised bytes or an error. A backend never passes off a whole object as a range.
//! - What a backend lacks is a value: a facet that returns `None`, or a field of [`Capabilities`].
//! - No method has a default body, so that a wrapper that forgets one does not compile.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::ops::Range;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::error::Result;

pub mod capabilities;
pub mod checksum;
pub mod class;
pub mod conformance;
pub mod fault;
#[cfg(all(any(test, fuzzing), feature = "oss"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod key;
pub mod layer;
pub mod limit;
#[cfg(feature = "local")]
pub mod local;
pub mod location;
pub mod memory;
pub(crate) mod mtime;
pub mod object;
#[cfg(any(feature = "object_store", feature = "object_store_0_13"))]
pub mod object_store;
pub mod observe;
pub mod open;
#[cfg(feature = "oss")]
pub mod oss;
pub mod page;
pub mod payload;
#[cfg(feature = "transport")]
mod renewal;
pub mod retry;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(any(feature = "local", feature = "transport"))]
mod slab;
pub mod thaw;
#[cfg(feature = "transport")]
pub mod transport;
pub mod weather;
#[cfg(feature = "transport")]
#[doc(hidden)]
pub mod yardstick;

pub use capabilities::{Capabilities, MetadataRule, MultipartLimits, Service};
pub use checksum::Checksums;
pub use key::Key;
pub use object::{Attributes, ETag, Encryption, Kind, ObjectInfo, ObjectRef, Restore};
pub use page::{Entry, Page};
pub use payload::{ByteStream, Payload};

/// A local directory with a file of this name is Dragon's own: no listing shows what is in it, so that a run that copies or empties the
/// tree around it leaves its own journal alone.
#[cfg(any(feature = "local", feature = "journal"))]
pub(crate) const OWN_MARK: &str = ".dragon-state";

/// A bucket, or a local root.
#[async_trait]
pub trait Storage: Debug + Display + Send + Sync + 'static {
    /// Limits and abilities.
    fn capabilities(&self) -> &Capabilities;

    /// Which bucket of which service this is, for recognising two ends of one account and for naming a pair.
    fn identity(&self) -> &Identity;

    /// Lists keys in ascending byte order, page by page.
    fn list(&self, list: List) -> BoxStream<'static, Result<Page>>;

    /// Reads what the service knows of an object, with every checksum it states.
    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo>;

    /// Asks how large part `number` (from 1) is of an object that was written in parts: its composite checksum, or its `-N` ETag, is
    /// over these. `None` where the object has no parts or the service does not tell (S3: HEAD with partNumber, design.md section 6).
    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>>;

    /// Opens an object's bytes.
    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput>;

    /// Writes an object in one request. A service that states a checksum of what it stored has it in the output; the caller compares.
    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput>;

    /// Deletes objects, in the service's batches, and answers for each. An object that is not there is deleted already: `Ok`.
    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)>;

    /// Multipart uploads.
    fn multipart(&self) -> Option<&dyn Multipart>;

    /// Copies within the service.
    fn server_copy(&self) -> Option<&dyn ServerCopy>;

    /// Links that let others act for a while.
    fn presign(&self) -> Option<&dyn Presign>;

    /// What is known of an object beyond its headers.
    fn details(&self) -> Option<&dyn Details>;

    /// Archives, whose objects are read after a restore.
    fn archive(&self) -> Option<&dyn Archive>;

    /// Rules that the service carries out by itself.
    fn lifecycle(&self) -> Option<&dyn Lifecycle>;

    /// The versions of the objects.
    fn versions(&self) -> Option<&dyn Versions>;
}

/// Multipart uploads: id-based, so that another process can go on with one.
#[async_trait]
pub trait Multipart: Send + Sync {
    /// Begins an upload and returns its id.
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId>;

    /// Sends one part (numbers from 1). `checksums` are those of the payload, where known before it is sent: the service is asked to check them.
    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part>;

    /// Lists the parts that the service holds, in part order.
    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>>;

    /// Makes the object from its parts, in part order. `checksums` are those of the whole, where known.
    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput>;

    /// Throws the upload and its parts away. An upload that is gone already is `Ok`.
    async fn abort(&self, upload: &Upload) -> Result<()>;

    /// Lists open uploads under a prefix.
    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>>;
}

/// Copies within one service, without the bytes passing through here.
#[async_trait]
pub trait ServerCopy: Send + Sync {
    /// Whether [`Self::copy`] can read from the store with that identity: same service, endpoint and account.
    fn can_copy_from(&self, source: &Identity) -> bool;

    /// Largest object that one copy request takes, in bytes.
    fn copy_bytes_max(&self) -> u64;

    /// Copies an object of `bucket`, pinned to `if_match` where given, with new attributes.
    /// The output's checksums are the service's, and may be absent.
    async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput>;

    /// Copies bytes of an object into an open upload, as its part `number` (from 1): how what is over [`Self::copy_bytes_max`] is copied.
    /// The part's checksums are the service's, and may be absent.
    async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part>;
}

/// Bytes of an object of the same service.
#[derive(Debug, Clone)]
pub struct CopyRange<'a> {
    /// The bucket that holds it.
    pub bucket: &'a str,
    /// The object.
    pub object: &'a ObjectRef,
    /// Only if the object is still this one; else [`ErrorKind::Changed`](crate::error::ErrorKind::Changed).
    pub if_match: Option<&'a ETag>,
    /// Which of its bytes (end exclusive, not empty, within the object).
    pub range: Range<u64>,
}

impl CopyRange<'_> {
    /// How many bytes it holds.
    pub fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Whether it holds none, so that nothing can be copied.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The range as both services' header has it: `bytes=FIRST-LAST`, the last one included.
    #[cfg(feature = "transport")]
    pub(crate) fn header(&self) -> Result<String> {
        match self.is_empty() {
            true => Err(crate::error::Error::invalid("a part that holds no bytes cannot be copied")),
            false => Ok(format!("bytes={}-{}", self.range.start, self.range.end - 1)),
        }
    }
}

/// Links that let others act for a while.
#[async_trait]
pub trait Presign: Send + Sync {
    /// A URL that allows `method` on the object for that long.
    async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: std::time::Duration) -> Result<String>;
}

/// What HEAD does not tell.
#[async_trait]
pub trait Details: Send + Sync {
    /// Reads who may do what with an object.
    async fn acl(&self, object: &ObjectRef) -> Result<Acl>;

    /// Reads the tags of an object.
    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>>;
}

/// Archives: classes whose objects are read only after a restore, which makes a temporary copy of them.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Asks for an object to be readable for so many days. Asking again where it is readable already makes it last longer.
    ///
    /// Fails with [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) where the object is in no class that needs it.
    async fn restore(&self, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring>;
}

/// A bucket's lifecycle rules, which the service carries out by itself, and only some day.
#[async_trait]
pub trait Lifecycle: Send + Sync {
    /// The rules as the service writes them, as XML; `None` where the bucket has none.
    async fn lifecycle(&self) -> Result<Option<String>>;

    /// Replaces all of them; `None` removes them. No service has a compare-and-swap here: read again and compare. `overlap` lets rules of
    /// one action overlap, which OSS refuses otherwise.
    async fn set_lifecycle(&self, rules: Option<&str>, overlap: bool) -> Result<()>;
}

/// The versions of a bucket's objects.
#[async_trait]
pub trait Versions: Send + Sync {
    /// Whether the bucket keeps versions.
    async fn versioning(&self) -> Result<Versioning>;

    /// Lists every version and delete marker of the keys under a prefix, page by page: keys in ascending byte order, the newest first
    /// within a key. A page is never empty, and a key's versions may go on in the next one. Nothing is folded: `delimiter` has no effect,
    /// and `page_keys` counts versions.
    fn list_versions(&self, list: List) -> BoxStream<'static, Result<Vec<Version>>>;
}

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Versioning {
    /// It never did: a write replaces, a delete removes.
    Off,
    /// Every write and delete is kept.
    Enabled,
    /// What it kept is there still; what is written now has the version `null`, and replaces the one that had it.
    Suspended,
}

/// One version of an object, or a delete marker, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: Key,
    /// The version's id: opaque, and `null` for what was written where no versions were kept.
    pub version: String,
    /// Whether it is what a request without a version meets.
    pub is_latest: bool,
    /// A delete marker: it has no bytes, and hides the versions below it.
    pub is_marker: bool,
    /// Length in bytes; 0 for a marker.
    pub size: u64,
    /// Entity tag; empty for a marker.
    pub etag: ETag,
    /// When it was made, to the second on both clouds.
    pub modified: Option<jiff::Timestamp>,
    /// Storage class in the service's words, where it says one; `None` for a marker.
    pub storage_class: Option<String>,
    /// How it came to be.
    pub kind: Kind,
}

impl Version {
    /// What a request for this version names.
    pub fn object(&self) -> ObjectRef {
        ObjectRef { key: self.key.clone(), version: Some(self.version.clone()) }
    }
}

/// Who may do what with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acl {
    /// What its bucket says.
    Bucket,
    /// One of the service's canned ACLs, in its word.
    Canned(String),
    /// Grants that amount to no canned ACL.
    Grants,
}

/// How fast a restore is to be, and how dear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestoreTier {
    /// Minutes; the dearest, and not for the coldest class of S3.
    Expedited,
    /// Hours.
    Standard,
    /// Half a day to two; the cheapest.
    Bulk,
}

impl RestoreTier {
    /// Both clouds' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expedited => "Expedited",
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
        }
    }
}

/// What a request to restore has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restoring {
    /// It begins now.
    Begun,
    /// An earlier request is being carried out.
    Ongoing,
    /// It was readable already, and is for as long as was asked.
    Extended,
}

/// What a presigned link allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresignMethod {
    /// Reading.
    Get,
    /// Writing.
    Put,
}

/// An account's view of a service: its buckets.
#[async_trait]
pub trait Account: Debug + Display + Send + Sync + 'static {
    /// Lists the buckets this caller owns.
    async fn list_buckets(&self) -> Result<Vec<BucketInfo>>;

    /// Makes a bucket.
    async fn create_bucket(&self, name: &str) -> Result<()>;

    /// Removes an empty bucket.
    async fn delete_bucket(&self, name: &str) -> Result<()>;

    /// Opens a bucket. Makes no request: a bucket that is not there shows at first use.
    fn bucket(&self, name: &str) -> Result<std::sync::Arc<dyn Storage>>;
}

/// One bucket of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Name.
    pub name: String,
    /// Region, where the service says it.
    pub region: Option<String>,
    /// Creation, where the service says it.
    pub created: Option<jiff::Timestamp>,
}

/// Which bucket of which service a store is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The kind of service.
    pub service: Service,
    /// The endpoint's host and port (or the local root's device), in lower case.
    pub endpoint: String,
    /// The access key id in use: equal ids mean one account.
    pub account: String,
    /// The bucket, or the local root.
    pub bucket: String,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// Only keys that begin with this.
    pub prefix: Key,
    /// Only keys after this one (exclusive).
    pub after: Option<Key>,
    /// Only keys up to this one (inclusive).
    pub upto: Option<Key>,
    /// Fold keys at the first such byte after the prefix into common prefixes. Only `/` is used.
    pub delimiter: Option<u8>,
    /// Keys a page; `None` is the service's most.
    pub page_keys: Option<u32>,
}

impl List {
    /// Everything under a prefix.
    pub fn under(prefix: Key) -> Self {
        Self { prefix, ..Self::default() }
    }
}

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct Get {
    /// Only these bytes (end exclusive, not empty, within the object).
    pub range: Option<Range<u64>>,
    /// Only if the object is still this one; else [`ErrorKind::Changed`](crate::error::ErrorKind::Changed).
    pub if_match: Option<ETag>,
}

/// One of the parts that an object was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPart {
    /// Length of this part in bytes.
    pub size_bytes: u64,
    /// How many parts the object has.
    pub parts: u32,
}

/// An opened object.
pub struct GetOutput {
    /// What the service says of the whole object; the size is the whole object's, also for a range.
    pub info: ObjectInfo,
    /// Which bytes the body holds.
    pub range: Range<u64>,
    /// The bytes: exactly `range`, or an error.
    pub body: ByteStream,
}

impl Debug for GetOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetOutput").field("info", &self.info).field("range", &self.range).finish_non_exhaustive()
    }
}

/// Under which condition a write takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Only if there is no object; else [`ErrorKind::Exists`](crate::error::ErrorKind::Exists).
    Absent,
    /// Only if the object is this one; else [`ErrorKind::Changed`](crate::error::ErrorKind::Changed).
    Matches(ETag),
}

/// How to write.
#[derive(Debug, Clone, Default)]
pub struct Put {
    /// What travels with the object.
    pub attributes: Attributes,
    /// Checksums of the payload, where known before it is sent: the service is asked to check those it knows.
    pub checksums: Option<Checksums>,
    /// The condition; refused with [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) where it would not be atomic.
    pub condition: Option<Condition>,
}

/// What a write made.
#[derive(Debug, Clone, Default)]
pub struct PutOutput {
    /// Entity tag of the new object.
    pub etag: ETag,
    /// Version id, where the bucket has versions.
    pub version: Option<String>,
    /// What the service states of the bytes it stored.
    pub checksums: Checksums,
    /// The service's request id.
    pub request_id: String,
}

/// What a delete did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The version removed, or the delete marker made.
    pub version: Option<String>,
    /// A delete marker was made: the object's data is still there.
    pub delete_marker: bool,
}

/// The id of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(pub String);

/// An upload in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upload {
    /// The key it will become.
    pub key: Key,
    /// Its id.
    pub id: UploadId,
}

/// One uploaded part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Number, from 1.
    pub number: u32,
    /// Entity tag, which [`Multipart::complete`] must repeat.
    pub etag: ETag,
    /// Length in bytes.
    pub size: u64,
    /// What the service states of its bytes.
    pub checksums: Checksums,
    /// When the service took it: told by [`Multipart::list_parts`] only.
    pub modified: Option<jiff::Timestamp>,
}

/// How to complete an upload.
#[derive(Debug, Clone, Default)]
pub struct Complete {
    /// Checksums of the whole object, where known.
    pub checksums: Option<Checksums>,
    /// The condition, as for [`Put`].
    pub condition: Option<Condition>,
}

/// An upload that a listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// Key and id.
    pub upload: Upload,
    /// When it was begun.
    pub initiated: Option<jiff::Timestamp>,
    /// Storage class it was begun with, in the service's words.
    pub storage_class: Option<String>,
}
