//! Objects as S3's headers tell them, and back.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::Options;
use crate::error::{Error, Result};
use crate::storage::checksum::{Algorithm, Checksums, Composite};
use crate::storage::transport::Response;
use crate::storage::{Attributes, Condition, ETag, Encryption, Kind, ObjectInfo, Restore};

const META: &str = "x-amz-meta-";

/// Sets a header, or says which value no header can carry.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<()> {
    let bad = || Error::invalid(format!("the value of {name} cannot stand in a header"));
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::invalid(format!("'{}' is no header name", name.escape_debug())))?;
    headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?);
    Ok(())
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
    for (name, value) in &attributes.user {
        set(headers, &format!("{META}{name}"), &encode_value(value))?;
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
pub(super) fn read_info(response: &Response) -> Result<ObjectInfo> {
    let text = |name: &str| response.header(name).map(str::to_owned).filter(|v| !v.is_empty());
    let user = response.head.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(META)?;
        Some((name.to_owned(), decode_value(&String::from_utf8_lossy(value.as_bytes()))))
    });
    let attributes = Attributes {
        content_type: text("content-type"),
        cache_control: text("cache-control"),
        content_disposition: text("content-disposition"),
        content_encoding: text("content-encoding"),
        content_language: text("content-language"),
        expires: text("expires"),
        user: user.collect::<BTreeMap<_, _>>(),
        storage_class: text("x-amz-storage-class"),
        encryption: text("x-amz-server-side-encryption").map(|algorithm| Encryption { algorithm, key_id: text("x-amz-server-side-encryption-aws-kms-key-id") }),
        acl: None,
    };
    let size =
        response.header("content-length").and_then(|v| v.parse().ok()).ok_or_else(|| Error::integrity("the answer does not say how long the object is"))?;
    Ok(ObjectInfo {
        size,
        etag: ETag::new(response.header("etag").unwrap_or_default()),
        modified: response.header("last-modified").and_then(http_date),
        version: text("x-amz-version-id").filter(|v| v != "null"),
        kind: Kind::Object,
        restore: response.header("x-amz-restore").map_or(Restore::None, restore),
        checksums: read_checksums(&response.head.headers),
        attributes,
        parts: response.header("x-amz-mp-parts-count").and_then(|v| v.parse().ok()),
    })
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

/// Encodes a metadata value so that it comes back as it is: S3 keeps ASCII, and writes anything else as RFC 2047 does.
/// What a header would lose or a reader would take for an encoded word is encoded too.
pub(super) fn encode_value(value: &str) -> String {
    let plain = value.bytes().all(|b| (b' '..=b'~').contains(&b)) && value.trim() == value && !value.contains("=?") && !value.contains("  ");
    if plain { value.to_owned() } else { format!("=?UTF-8?B?{}?=", BASE64.encode(value)) }
}

/// Decodes RFC 2047 words of UTF-8 or ASCII; anything else stands as it is.
pub(super) fn decode_value(value: &str) -> String {
    let mut out = Vec::new();
    for word in value.split_ascii_whitespace() {
        match decode_word(word) {
            Some(bytes) => out.extend(bytes),
            None => return value.to_owned(),
        }
    }
    if value.is_empty() { String::new() } else { String::from_utf8(out).unwrap_or_else(|_| value.to_owned()) }
}

fn decode_word(word: &str) -> Option<Vec<u8>> {
    let mut fields = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
    let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") && !charset.eq_ignore_ascii_case("us-ascii") {
        return None;
    }
    match encoding {
        "B" | "b" => BASE64.decode(text).ok(),
        "Q" | "q" => crate::storage::transport::target::decode_percent(&text.replace('%', "=25").replace('_', " ").replace('=', "%")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn metadata_values_come_back(value in any::<String>()) {
            let encoded = encode_value(&value);
            prop_assert!(encoded.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert_eq!(decode_value(&encoded), value);
        }
    }

    #[test]
    fn values_of_others_are_understood() {
        assert_eq!(encode_value("a plain-value_1%"), "a plain-value_1%");
        assert_eq!(decode_value("=?UTF-8?Q?caf=C3=A9_100%?="), "café 100%");
        assert_eq!(decode_value("=?utf-8?b?5Lit?= =?utf-8?b?5paH?="), "中文");
        assert_eq!(decode_value("=?latin1?Q?x?="), "=?latin1?Q?x?=");
        assert_eq!(decode_value(&encode_value("=?UTF-8?B?eA==?=")), "=?UTF-8?B?eA==?=");
    }

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
