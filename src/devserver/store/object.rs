//! What a service keeps of buckets, objects and uploads.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::digest::Digests;

/// An object's key, ordered by its bytes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ObjectKey {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl Borrow<[u8]> for ObjectKey {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// An object: its bytes and everything that a HEAD tells of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Object {
    /// The bytes.
    #[serde(skip)]
    pub content: Content,
    /// Entity tag in lower case, without quotes (OSS shows it in upper case).
    pub etag: String,
    /// Last modification, whole seconds, as both services show it.
    #[serde(with = "epoch_seconds")]
    pub last_modified: Timestamp,
    /// How the object came to be.
    pub kind: Kind,
    /// Digests of the whole, computed by the store from the bytes it was sent.
    pub digests: Digests,
    /// The checksum that S3 keeps beside the ETag (`x-amz-checksum-*`), where it is not the CRC-64/NVME of `digests`.
    pub checksum: Option<Box<Checksum>>,
    /// The parts of a multipart object, in order; empty for any other.
    pub parts: Vec<PartOutline>,
    /// What travels with the object.
    #[serde(with = "shared")]
    pub attributes: Arc<Attributes>,
}

impl Object {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.content.len()
    }
}

/// How an object came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Written in one request (also copied).
    Normal,
    /// Completed from parts.
    Multipart,
    /// Grown by OSS's AppendObject.
    Appendable,
    /// OSS's link to another key of the bucket.
    Symlink {
        /// The key that the link names.
        target: String,
    },
}

/// A checksum as S3 states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// `CRC32`, `CRC32C`, `CRC64NVME`, `SHA1` or `SHA256`.
    pub algorithm: String,
    /// Base64, with `-N` behind it where composite.
    pub value: String,
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub scope: String,
}

/// One part of a completed multipart object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOutline {
    /// Part number, as uploaded.
    pub number: u32,
    /// Length in bytes.
    pub size: u64,
    /// Its own checksum, where the client asked for one.
    pub checksum: Option<Checksum>,
}

/// What a client attaches to an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, as sent.
    pub expires: Option<String>,
    /// User metadata: names in lower case, without the service's prefix.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Storage class in the service's words; `None` is the standard class.
    pub storage_class: Option<String>,
    /// Canned ACL.
    pub acl: Option<String>,
    /// Server-side encryption, as the client asked for it (nothing is encrypted here).
    pub encryption: Option<Encryption>,
    /// The state of a thawed copy of an archived object.
    pub restore: Option<Restore>,
    /// When a lifecycle rule moved the object into its class: seconds since 1970.
    pub transitioned_seconds: Option<i64>,
    /// Anything else that a dialect must remember, such as a website redirect.
    pub extra: BTreeMap<String, String>,
}

/// Server-side encryption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// `AES256`, `aws:kms`, `KMS` and so on.
    pub algorithm: String,
    /// The key's id, where one was named.
    pub key_id: Option<String>,
}

/// A thawed copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// From when on the copy can be read.
    #[serde(with = "epoch_seconds")]
    pub ready: Timestamp,
    /// Until when.
    #[serde(with = "epoch_seconds")]
    pub expiry: Timestamp,
}

/// A multipart upload in progress.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    /// The key it will become.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it was begun.
    #[serde(with = "epoch_seconds")]
    pub initiated: Timestamp,
    /// What the object will carry.
    pub attributes: Attributes,
    /// The checksum that S3 was asked to keep: algorithm and scope; the value is empty.
    pub checksum: Option<Checksum>,
    /// The parts so far, by number.
    #[serde(skip)]
    pub parts: BTreeMap<u32, Part>,
}

/// An uploaded part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// The bytes.
    #[serde(skip)]
    pub content: Content,
    /// Digests of the bytes. `md5` is always known: the ETag is made of it.
    pub digests: Digests,
    /// When it arrived.
    #[serde(with = "epoch_seconds")]
    pub last_modified: Timestamp,
    /// The checksum that the client sent with it.
    pub checksum: Option<Checksum>,
}

impl Part {
    /// Entity tag in lower case, without quotes.
    pub fn etag(&self) -> String {
        self.digests.md5_hex()
    }
}

mod epoch_seconds {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.as_second())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_second(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer, T: Serialize>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}
