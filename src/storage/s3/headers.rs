//! Objects as S3's headers tell them, and back.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::Options;
use crate::error::{Error, Result};
use crate::storage::checksum::{Algorithm, Checksums, Composite};
use crate::storage::transport::text;
use crate::storage::{Attributes, Condition, ETag, Encryption, Kind, ObjectInfo, Restore};

const META: &str = "x-amz-meta-";

/// Sets a header, or says which value no header can carry.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<()> {
    let bad = || Error::invalid(format!("the value of {name} cannot stand in a header"));
    headers.insert(header_name(name)?, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?);
    Ok(())
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::invalid(format!("'{}' is no header name", name.escape_debug())))
}

/// What travels with a written object, as a write's headers.
pub(super) fn write_attributes(headers: &mut HeaderMap, attributes: &Attributes, options: &Options) -> Result<()> {
    let plain = [
        ("content-type", &attributes.content_type),
        ("cache-control", &attributes.cache_control),
        ("content-disposition", &attributes.content_disposition),
        ("content-encoding", &attributes.content_encoding),
        ("content-language", &attributes.content_language),
        ("expires", &attributes.expires),
        ("x-amz-storage-class", &attributes.storage_class),
        ("x-amz-acl", if attributes.acl.is_some() { &attributes.acl } else { &options.acl }),
    ];
    for (name, value) in plain {
        if let Some(value) = value {
            set(headers, name, value)?;
        }
    }
    if let Some(tags) = attributes.tags.as_ref().filter(|tags| !tags.is_empty()) {
        set(headers, "x-amz-tagging", &text::tags(tags))?;
    }
    for (name, value) in &attributes.user {
        headers.insert(header_name(&format!("{META}{name}"))?, text::encode(value));
    }
    let (algorithm, key_id) = match &attributes.encryption {
        Some(encryption) => (Some(encryption.algorithm.as_str()), encryption.key_id.as_ref()),
        None => (options.sse.as_deref().or(options.sse_kms_key_id.as_ref().map(|_| "aws:kms")), options.sse_kms_key_id.as_ref()),
    };
    if let Some(algorithm) = algorithm {
        set(headers, "x-amz-server-side-encryption", algorithm)?;
        if let Some(key_id) = key_id {
            set(headers, "x-amz-server-side-encryption-aws-kms-key-id", key_id)?;
        }
    }
    Ok(())
}

/// A write's condition.
pub(super) fn write_condition(headers: &mut HeaderMap, condition: Option<&Condition>) -> Result<()> {
    match condition {
        None => Ok(()),
        Some(Condition::Absent) => set(headers, "if-none-match", "*"),
        Some(Condition::Matches(etag)) => set(headers, "if-match", &etag.quoted()),
    }
}

/// What the answer to HEAD or GET says of the object. `size` and `checksums` are the whole object's only where the answer is not a range's.
pub(super) fn read_info(headers: &HeaderMap) -> Result<ObjectInfo> {
    let header = |name: &str| headers.get(name).map(text::plain).filter(|v| !v.is_empty());
    let user = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(META)?;
        Some((name.to_owned(), text::decode(value)))
    });
    let attributes = Attributes {
        content_type: header("content-type"),
        cache_control: header("cache-control"),
        content_disposition: header("content-disposition"),
        content_encoding: header("content-encoding"),
        content_language: header("content-language"),
        expires: header("expires"),
        user: user.collect::<BTreeMap<_, _>>(),
        storage_class: header("x-amz-storage-class"),
        encryption: header("x-amz-server-side-encryption")
            .map(|algorithm| Encryption { algorithm, key_id: header("x-amz-server-side-encryption-aws-kms-key-id") }),
        acl: None,
        tags: None,
    };
    let size = header("content-length").and_then(|v| v.parse().ok()).ok_or_else(|| Error::integrity("the answer does not say how long the object is"))?;
    Ok(ObjectInfo {
        size,
        etag: ETag::new(&header("etag").unwrap_or_default()),
        modified: header("last-modified").and_then(|v| http_date(&v)),
        version: header("x-amz-version-id").filter(|v| v != "null"),
        kind: Kind::Object,
        restore: header("x-amz-restore").map_or(Restore::None, |v| restore(&v)),
        checksums: read_checksums(headers),
        attributes,
        parts: header("x-amz-mp-parts-count").and_then(|v| v.parse().ok()),
        tags: header("x-amz-tagging-count").and_then(|v| v.parse().ok()),
        lock: lock(header),
        redirect: header("x-amz-website-redirect-location"),
    })
}

/// Retention and legal hold, as the headers of Object Lock say them.
fn lock(header: impl Fn(&str) -> Option<String>) -> Option<String> {
    let retention = header("x-amz-object-lock-mode").map(|mode| match header("x-amz-object-lock-retain-until-date") {
        Some(until) => format!("{mode} until {until}"),
        None => mode,
    });
    let hold = header("x-amz-object-lock-legal-hold").filter(|hold| hold == "ON").map(|_| "legal hold".to_owned());
    let words: Vec<String> = retention.into_iter().chain(hold).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// An HTTP date.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

/// `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.
fn restore(text: &str) -> Restore {
    if text.contains("ongoing-request=\"true\"") {
        return Restore::Ongoing;
    }
    let until = text.split_once("expiry-date=\"").and_then(|(_, rest)| http_date(rest.split('"').next()?));
    Restore::Restored { until }
}

/// What `x-amz-checksum-*` say (protocol.md section 3). A value that cannot be read was not stated.
pub(super) fn read_checksums(headers: &HeaderMap) -> Checksums {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let whole = text("x-amz-checksum-type") != Some("COMPOSITE");
    let crc = |name: &str| text(name).filter(|_| whole);
    let names = [
        (Algorithm::Sha256, "x-amz-checksum-sha256"),
        (Algorithm::Sha1, "x-amz-checksum-sha1"),
        (Algorithm::Crc32c, "x-amz-checksum-crc32c"),
        (Algorithm::Crc32, "x-amz-checksum-crc32"),
    ];
    Checksums {
        crc64nvme: crc("x-amz-checksum-crc64nvme").and_then(bytes).map(u64::from_be_bytes),
        crc32c: crc("x-amz-checksum-crc32c").and_then(bytes).map(u32::from_be_bytes),
        crc32: crc("x-amz-checksum-crc32").and_then(bytes).map(u32::from_be_bytes),
        sha1: crc("x-amz-checksum-sha1").and_then(bytes),
        sha256: crc("x-amz-checksum-sha256").and_then(bytes),
        composite: names.into_iter().find_map(|(algorithm, name)| composite(algorithm, text(name)?)),
        ..Checksums::default()
    }
}

/// `base64-N`: a checksum over the checksums of N parts.
fn composite(algorithm: Algorithm, text: &str) -> Option<Composite> {
    let (digest, parts) = text.rsplit_once('-')?;
    Some(Composite { algorithm, digest: BASE64.decode(digest).ok()?, parts: parts.parse().ok()? })
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            set(&mut map, name, value).expect("a header");
        }
        map
    }

    #[test]
    fn checksums_are_whole_or_of_parts() {
        let full = read_checksums(&headers(&[
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-checksum-crc32c", "4waSgw=="),
        ]));
        assert_eq!((full.crc64nvme, full.crc32c), (Some(0xae8b_1486_0a79_9888), Some(0xe306_9283)));
        let parts = read_checksums(&headers(&[("x-amz-checksum-crc32c", "4waSgw==-3"), ("x-amz-checksum-type", "COMPOSITE")]));
        assert_eq!((parts.crc32c, parts.composite.as_ref().map(|c| (c.algorithm, c.parts, c.digest.len()))), (None, Some((Algorithm::Crc32c, 3, 4))));
        assert!(read_checksums(&headers(&[("x-amz-checksum-sha256", "not base64")])).is_empty());
    }

    #[test]
    fn restore_states() {
        assert_eq!(restore("ongoing-request=\"true\""), Restore::Ongoing);
        let until = Some("2012-12-21T00:00:00Z".parse().expect("a time"));
        assert_eq!(restore("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""), Restore::Restored { until });
    }

    #[test]
    fn a_value_that_no_header_can_carry_is_refused() {
        let attributes = Attributes { content_type: Some("a\nb".into()), ..Attributes::default() };
        assert!(write_attributes(&mut HeaderMap::new(), &attributes, &Options::default()).is_err());
        let odd = Attributes { user: [("bad name".to_owned(), "x".to_owned())].into(), ..Attributes::default() };
        assert!(write_attributes(&mut HeaderMap::new(), &odd, &Options::default()).is_err());
    }
}
