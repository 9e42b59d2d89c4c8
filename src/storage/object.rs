//! What a store knows of one object.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::checksum::Checksums;
use super::key::Key;

/// One object, or one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// The key.
    pub key: Key,
    /// A version id; `None` means the current version.
    pub version: Option<String>,
}

impl From<Key> for ObjectRef {
    fn from(key: Key) -> Self {
        Self { key, version: None }
    }
}

impl From<&Key> for ObjectRef {
    fn from(key: &Key) -> Self {
        key.clone().into()
    }
}

/// An entity tag without quotes or `W/`. Compared without regard to case: OSS writes hexadecimal in upper case, S3 in lower.
#[derive(Clone, Default)]
pub struct ETag(Box<str>);

impl ETag {
    /// Takes a header or XML value, quoted or not.
    pub fn new(value: &str) -> Self {
        let value = value.trim();
        Self(value.strip_prefix("W/").unwrap_or(value).trim_matches('"').into())
    }

    /// The value without quotes, in the case the service wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value with quotes, as a header wants it.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// Whether the service gave none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The MD5 that this ETag may be: 32 hexadecimal digits. Whether it is one depends on how the object was written and encrypted.
    pub fn md5(&self) -> Option<[u8; 16]> {
        parse_md5(&self.0)
    }

    /// The digest over part MD5s and the part count of a multipart ETag, `digest-N`.
    pub fn multipart(&self) -> Option<([u8; 16], u32)> {
        let (digest, parts) = self.0.split_once('-')?;
        Some((parse_md5(digest)?, parts.parse().ok()?))
    }
}

/// Whether a listed ETag looks like the MD5 of the bytes.
pub(crate) fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn parse_md5(hex: &str) -> Option<[u8; 16]> {
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    let mut out = [0; 16];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

impl PartialEq for ETag {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ETag {}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an object came to be, or why an entry is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// An ordinary object or file.
    #[default]
    Object,
    /// OSS: written by AppendObject; its ETag is opaque.
    Appendable,
    /// A symbolic link (OSS symlink object, or a local link that is not followed).
    Symlink,
    /// A local socket, device, pipe: reported, never copied.
    Special,
    /// A local directory or file that could not be looked into: whatever lies under this key is unknown, and nothing there may be deleted.
    Unreadable,
}

/// Whether an object's bytes can be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restore {
    /// Readable at once, or archived without a restore (see the storage class).
    #[default]
    None,
    /// A restore is running.
    Ongoing,
    /// A temporary copy can be read until then.
    Restored {
        /// When the copy expires.
        until: Option<Timestamp>,
    },
}

/// What travels with an object: content headers and user metadata, and how it is to be stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Content-Type.
    pub content_type: Option<String>,
    /// Cache-Control.
    pub cache_control: Option<String>,
    /// Content-Disposition.
    pub content_disposition: Option<String>,
    /// Content-Encoding. Bytes are never decoded.
    pub content_encoding: Option<String>,
    /// Content-Language.
    pub content_language: Option<String>,
    /// Expires, as the header says it.
    pub expires: Option<String>,
    /// User metadata: lower-case names without `x-amz-meta-` or `x-oss-meta-`.
    pub user: BTreeMap<String, String>,
    /// Storage class in the destination service's own words; `None` is the bucket's default. A reader fills in what it found.
    pub storage_class: Option<String>,
    /// Server-side encryption to ask for; `None` is the bucket's default.
    pub encryption: Option<Encryption>,
    /// Canned ACL to set on a write, in the destination service's words. Never read.
    pub acl: Option<String>,
    /// Tags to set on a write; `None` leaves a copy within a service those of its source. Never read here: see [`Details`](super::Details).
    pub tags: Option<BTreeMap<String, String>>,
}

/// Server-side encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// The service's word: `AES256`, `aws:kms`, `aws:kms:dsse`, `KMS`, `SM4`.
    pub algorithm: String,
    /// The KMS key, where one is named.
    pub key_id: Option<String>,
}

impl Encryption {
    /// Whether an object so encrypted can still have an MD5 as its ETag (S3: plain and SSE-S3 only).
    pub fn keeps_md5_etag(&self) -> bool {
        self.algorithm == "AES256"
    }
}

/// What HEAD says of an object.
#[derive(Debug, Clone, Default)]
pub struct ObjectInfo {
    /// Length in bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: ETag,
    /// Last modification, to the second on both clouds.
    pub modified: Option<Timestamp>,
    /// Version id, where the bucket has versions.
    pub version: Option<String>,
    /// How it came to be.
    pub kind: Kind,
    /// Whether it is readable.
    pub restore: Restore,
    /// What the service states of the bytes of the whole object.
    pub checksums: Checksums,
    /// What travels with it.
    pub attributes: Attributes,
    /// How many parts a multipart object has, where the service told (S3: HEAD with partNumber).
    pub parts: Option<u32>,
    /// How many tags it has. `None`: the service did not say, which on both clouds means none, or no permission to know.
    pub tags: Option<u32>,
    /// What keeps it from being deleted or overwritten, in words: S3's Object Lock retention or legal hold.
    pub lock: Option<String>,
    /// Where S3's website sends who asks for it.
    pub redirect: Option<String>,
}

impl ObjectInfo {
    /// The MD5 of the bytes, where the ETag can be trusted to be one.
    pub fn etag_md5(&self) -> Option<[u8; 16]> {
        let plain = self.kind == Kind::Object && self.attributes.encryption.as_ref().is_none_or(Encryption::keeps_md5_etag);
        plain.then(|| self.etag.md5()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_compare_without_case_or_quotes() {
        let a = ETag::new("\"900150983CD24FB0D6963F7D28E17F72\"");
        assert_eq!(a, ETag::new("900150983cd24fb0d6963f7d28e17f72"));
        assert!(a.md5().is_some());
        assert_eq!(ETag::new("900150983cd24fb0d6963f7d28e17f72-12").multipart().map(|m| m.1), Some(12));
        assert_eq!(ETag::new("900150983cd24fb0d6963f7d28e17f72-12").md5(), None);
        assert_eq!(ETag::new("中").md5(), None);
    }

    #[test]
    fn a_kms_etag_is_no_md5() {
        let mut info = ObjectInfo { etag: ETag::new("900150983cd24fb0d6963f7d28e17f72"), ..ObjectInfo::default() };
        assert!(info.etag_md5().is_some());
        info.attributes.encryption = Some(Encryption { algorithm: "aws:kms".into(), key_id: None });
        assert!(info.etag_md5().is_none());
    }
}
