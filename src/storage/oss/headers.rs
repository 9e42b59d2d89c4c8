//! What travels with an object, as OSS's headers (protocol.md 2.4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::client::parse_date;
use super::options::Options;
use crate::error::{Error, Result};
use crate::storage::checksum::Checksums;
use crate::storage::object::{Attributes, ETag, Encryption, Kind, ObjectInfo, Restore};
use crate::storage::transport::text;

const META: &str = "x-oss-meta-";
/// Most user metadata, names and values together.
pub(super) const METADATA_BYTES_MAX: usize = 8 << 10;

/// What a store adds to every write that does not say otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteDefaults {
    encryption: Option<Encryption>,
    acl: Option<String>,
}

impl WriteDefaults {
    pub(super) fn new(options: &Options) -> Self {
        let encryption = options.sse.as_ref().map(|algorithm| Encryption { algorithm: algorithm.clone(), key_id: options.sse_kms_key_id.clone() });
        Self { encryption, acl: options.acl.clone() }
    }

    /// The headers of a write. Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) on what OSS cannot hold: nothing is renamed here.
    pub(super) fn write(&self, attributes: &Attributes) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let encryption = attributes.encryption.as_ref().or(self.encryption.as_ref());
        for (name, value) in [
            ("content-type", attributes.content_type.as_deref()),
            ("cache-control", attributes.cache_control.as_deref()),
            ("content-disposition", attributes.content_disposition.as_deref()),
            ("content-encoding", attributes.content_encoding.as_deref()),
            ("content-language", attributes.content_language.as_deref()),
            ("expires", attributes.expires.as_deref()),
            ("x-oss-storage-class", attributes.storage_class.as_deref()),
            ("x-oss-object-acl", attributes.acl.as_deref().or(self.acl.as_deref())),
            ("x-oss-server-side-encryption", encryption.map(|e| e.algorithm.as_str())),
            ("x-oss-server-side-encryption-key-id", encryption.and_then(|e| e.key_id.as_deref())),
        ] {
            if let Some(value) = value {
                let value = HeaderValue::from_bytes(value.as_bytes())
                    .map_err(|e| Error::invalid(format!("the value of {name} holds a control character, which no header can")).caused_by(e))?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if let Some(tags) = attributes.tags.as_ref().filter(|tags| !tags.is_empty()) {
            let value = HeaderValue::try_from(text::tags(tags)).map_err(|e| Error::invalid("the tags fit into no header").caused_by(e))?;
            headers.insert(HeaderName::from_static("x-oss-tagging"), value);
        }
        write_user(attributes, &mut headers)?;
        Ok(headers)
    }
}

fn write_user(attributes: &Attributes, headers: &mut HeaderMap) -> Result<()> {
    let mut bytes = 0;
    for (name, value) in &attributes.user {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Error::invalid(format!(
                "OSS cannot hold user metadata of the name '{}': names are of letters, digits and hyphens",
                name.escape_debug()
            )));
        }
        let full = HeaderName::try_from(format!("{META}{name}")).map_err(|e| Error::invalid("a metadata name is no header name").caused_by(e))?;
        let value = text::encode(value);
        bytes += name.len() + value.len();
        headers.insert(full, value);
    }
    if bytes > METADATA_BYTES_MAX {
        return Err(Error::invalid(format!("the user metadata is {bytes} bytes; OSS holds {METADATA_BYTES_MAX}")));
    }
    Ok(())
}

/// Reads an answer's headers.
pub(super) struct Headers<'a>(pub(super) &'a HeaderMap);

impl Headers<'_> {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(text::plain)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.to_str().ok()?.trim().parse().ok()
    }

    /// Content-Length.
    pub(super) fn length(&self) -> Option<u64> {
        self.number("content-length")
    }

    /// First byte, last byte and whole length of a Content-Range.
    pub(super) fn range(&self) -> Option<(u64, u64, u64)> {
        let value = self.0.get("content-range")?.to_str().ok()?;
        let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?, total.parse().ok()?))
    }

    pub(super) fn etag(&self) -> ETag {
        self.text("etag").map(|t| ETag::new(&t)).unwrap_or_default()
    }

    pub(super) fn version(&self) -> Option<String> {
        self.text("x-oss-version-id").filter(|v| v != "null" && !v.is_empty())
    }

    pub(super) fn request_id(&self) -> String {
        self.text("x-oss-request-id").unwrap_or_default()
    }

    /// What the service states of the bytes that it holds. The CRC is always that of the whole object or part;
    /// Content-MD5 is left out of ranged answers, where its meaning is not documented.
    pub(super) fn checksums(&self) -> Checksums {
        let md5 = || BASE64.decode(self.0.get("content-md5")?.as_bytes()).ok()?.try_into().ok();
        let ranged = self.0.contains_key("content-range");
        Checksums { crc64xz: self.number("x-oss-hash-crc64ecma"), md5: if ranged { None } else { md5() }, ..Checksums::default() }
    }

    /// Everything that HEAD and GET say of an object whose whole length is `size`.
    pub(super) fn info(&self, size: u64) -> ObjectInfo {
        let encryption = self.text("x-oss-server-side-encryption");
        ObjectInfo {
            size,
            etag: self.etag(),
            modified: self.text("last-modified").and_then(|t| parse_date(&t)),
            version: self.version(),
            kind: match self.text("x-oss-object-type").as_deref() {
                Some("Appendable") => Kind::Appendable,
                Some("Symlink") => Kind::Symlink,
                _ => Kind::Object,
            },
            restore: self.text("x-oss-restore").map(|t| parse_restore(&t)).unwrap_or_default(),
            checksums: self.checksums(),
            attributes: Attributes {
                content_type: self.text("content-type"),
                cache_control: self.text("cache-control"),
                content_disposition: self.text("content-disposition"),
                content_encoding: self.text("content-encoding"),
                content_language: self.text("content-language"),
                expires: self.text("expires"),
                user: self.user(),
                storage_class: self.text("x-oss-storage-class"),
                encryption: encryption.map(|algorithm| Encryption { algorithm, key_id: self.text("x-oss-server-side-encryption-key-id") }),
                acl: None,
                tags: None,
            },
            parts: None,
            tags: self.number("x-oss-tagging-count").and_then(|count| u32::try_from(count).ok()),
            lock: None,
            redirect: None,
        }
    }

    fn user(&self) -> std::collections::BTreeMap<String, String> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(META)?.to_owned(), text::decode(value)))).collect()
    }
}

/// `ongoing-request="true"`, or `ongoing-request="false", expiry-date="Sun, 16 Apr 2017 08:12:33 GMT"`.
fn parse_restore(text: &str) -> Restore {
    if text.contains("ongoing-request=\"true\"") {
        return Restore::Ongoing;
    }
    let until = text.split_once("expiry-date=\"").and_then(|(_, rest)| parse_date(rest.split('"').next()?));
    Restore::Restored { until }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn attributes(user: &[(&str, &str)]) -> Attributes {
        Attributes { user: user.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), ..Attributes::default() }
    }

    #[test]
    fn metadata_comes_back_as_it_went() {
        let written = attributes(&[("a-1", "x"), ("name", "中 文"), ("blank", " b ")]);
        let headers = WriteDefaults::default().write(&written).expect("headers");
        assert!(headers.values().all(|v| v.to_str().is_ok()), "visible ASCII only: {headers:?}");
        assert_eq!(Headers(&headers).info(0).attributes.user, written.user);
    }

    #[test]
    fn headers_that_are_no_metadata_are_taken_as_they_stand() {
        let word = "=?UTF-8?B?5Lit?=";
        let headers: HeaderMap = [(http::header::CONTENT_DISPOSITION, HeaderValue::from_static(word))].into_iter().collect();
        let read = Headers(&headers).info(0).attributes;
        assert_eq!(read.content_disposition.as_deref(), Some(word));
        assert_eq!(WriteDefaults::default().write(&read).expect("headers")["content-disposition"], word);
    }

    #[test]
    fn what_oss_cannot_hold_is_refused_by_name() {
        for name in ["under_score", "dot.ted", "中", ""] {
            let e = WriteDefaults::default().write(&attributes(&[(name, "x")])).expect_err(name);
            assert_eq!(e.kind(), ErrorKind::Invalid);
            assert!(e.to_string().contains(&format!("'{name}'")), "{e}");
        }
        assert!(WriteDefaults::default().write(&attributes(&[("a", &"x".repeat(9000))])).is_err());
        let broken = Attributes { cache_control: Some("a\r\nx-oss-object-acl: public-read".into()), ..Attributes::default() };
        assert_eq!(WriteDefaults::default().write(&broken).expect_err("a line break").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_stores_defaults_give_way_to_the_objects_own() {
        let options = Options { sse: Some("KMS".into()), sse_kms_key_id: Some("k".into()), acl: Some("private".into()), ..Options::default() };
        let defaults = WriteDefaults::new(&options);
        let headers = defaults.write(&Attributes::default()).expect("headers");
        assert_eq!(
            (&headers["x-oss-server-side-encryption"], &headers["x-oss-server-side-encryption-key-id"]),
            (&HeaderValue::from_static("KMS"), &HeaderValue::from_static("k"))
        );
        let own =
            Attributes { encryption: Some(Encryption { algorithm: "AES256".into(), key_id: None }), acl: Some("public-read".into()), ..Attributes::default() };
        let headers = defaults.write(&own).expect("headers");
        assert_eq!(headers["x-oss-server-side-encryption"], "AES256");
        assert!(!headers.contains_key("x-oss-server-side-encryption-key-id"));
        assert_eq!(headers["x-oss-object-acl"], "public-read");
    }

    #[test]
    fn an_object_is_read_from_its_headers() {
        let headers: HeaderMap = [
            ("etag", "\"900150983CD24FB0D6963F7D28E17F72\""),
            ("last-modified", "Fri, 24 Feb 2012 06:07:48 GMT"),
            ("x-oss-hash-crc64ecma", "11051210869376104954"),
            ("content-md5", "kAFQmDzST7DWlj99KOF/cg=="),
            ("x-oss-object-type", "Appendable"),
            ("x-oss-restore", "ongoing-request=\"false\", expiry-date=\"Sun, 16 Apr 2017 08:12:33 GMT\""),
            ("x-oss-storage-class", "ColdArchive"),
            ("x-oss-server-side-encryption", "KMS"),
            ("x-oss-version-id", "null"),
        ]
        .into_iter()
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
        .collect();
        let info = Headers(&headers).info(9);
        assert_eq!((info.size, info.kind, info.checksums.crc64xz), (9, Kind::Appendable, Some(11_051_210_869_376_104_954)));
        assert_eq!(info.checksums.md5, info.etag.md5());
        assert_eq!(info.etag_md5(), None, "an appended, KMS-encrypted object's ETag is no MD5");
        assert_eq!((info.version.as_deref(), info.attributes.storage_class.as_deref()), (None, Some("ColdArchive")));
        assert!(matches!(info.restore, Restore::Restored { until: Some(_) }));
        assert_eq!(parse_restore("ongoing-request=\"true\""), Restore::Ongoing);
    }

    #[test]
    fn ranges_are_read_whole_or_not_at_all() {
        let range = |text: &'static str| Headers(&[(HeaderName::from_static("content-range"), HeaderValue::from_static(text))].into_iter().collect()).range();
        assert_eq!(range("bytes 0-9/100"), Some((0, 9, 100)));
        for bad in ["bytes */100", "bytes 0-9/*", "items 0-9/100", "bytes 0-/100", ""] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
