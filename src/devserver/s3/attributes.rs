//! What travels with an object, between S3's headers and the store.
//!
//! Read from and written to the raw headers rather than s3s's fields, so that values come back exactly as they were sent.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use s3s::{S3Error, S3Result, s3_error};

use super::error::named;
use crate::devserver::store::{Attributes, Encryption, Object};

const METADATA_PREFIX: &str = "x-amz-meta-";
/// The most user metadata, names and values together (protocol.md 2.3).
const METADATA_BYTES_MAX: usize = 2048;
const TAGS_MAX: usize = 10;
const STORAGE_CLASSES: [&str; 9] =
    ["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR", "EXPRESS_ONEZONE"];

/// The attributes that the headers of a PUT, a copy or a new upload ask for.
pub(super) fn from_headers(headers: &HeaderMap) -> S3Result<Attributes> {
    let text = |name: &str| headers.get(name).map(header_text).transpose();
    Ok(Attributes {
        content_type: text("content-type")?,
        cache_control: text("cache-control")?,
        content_disposition: text("content-disposition")?,
        content_encoding: text("content-encoding")?.and_then(|encoding| without_aws_chunked(&encoding)),
        content_language: text("content-language")?,
        expires: text("expires")?,
        metadata: metadata(headers)?,
        tags: text("x-amz-tagging")?.map(|tagging| tags_of_header(&tagging)).transpose()?.unwrap_or_default(),
        storage_class: storage_class(text("x-amz-storage-class")?)?,
        acl: text("x-amz-acl")?,
        encryption: encryption(headers)?,
        restore: None,
        transitioned_seconds: None,
        extra: text("x-amz-website-redirect-location")?.into_iter().map(|location| ("x-amz-website-redirect-location".to_owned(), location)).collect(),
    })
}

fn header_text(value: &HeaderValue) -> S3Result<String> {
    String::from_utf8(value.as_bytes().to_vec()).map_err(|_| s3_error!(InvalidArgument, "A header's value is not UTF-8."))
}

/// The SDKs' framing is no encoding of the object.
fn without_aws_chunked(encoding: &str) -> Option<String> {
    let kept: Vec<&str> = encoding.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn metadata(headers: &HeaderMap) -> S3Result<BTreeMap<String, String>> {
    let mut metadata: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(METADATA_PREFIX) else { continue };
        let value = header_text(value)?;
        metadata.entry(name.to_owned()).and_modify(|joined| *joined = format!("{joined},{value}")).or_insert(value);
    }
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA_BYTES_MAX {
        return Err(s3_error!(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size"));
    }
    Ok(metadata)
}

fn storage_class(class: Option<String>) -> S3Result<Option<String>> {
    match class {
        Some(class) if !STORAGE_CLASSES.contains(&class.as_str()) => Err(s3_error!(InvalidStorageClass, "The storage class you specified is not valid")),
        class => Ok(class.filter(|class| class != "STANDARD")),
    }
}

fn encryption(headers: &HeaderMap) -> S3Result<Option<Encryption>> {
    let text = |name: &str| headers.get(name).map(header_text).transpose();
    let Some(algorithm) = text("x-amz-server-side-encryption")? else { return Ok(None) };
    if !["AES256", "aws:kms", "aws:kms:dsse"].contains(&algorithm.as_str()) {
        return Err(s3_error!(InvalidArgument, "The encryption method specified is not supported"));
    }
    Ok(Some(Encryption { algorithm, key_id: text("x-amz-server-side-encryption-aws-kms-key-id")? }))
}

/// The tags of an `x-amz-tagging` header: a query string.
fn tags_of_header(tagging: &str) -> S3Result<BTreeMap<String, String>> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned()).map_err(|_| invalid_tag())
    };
    let pairs = tagging.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    });
    checked_tags(pairs.collect::<S3Result<_>>()?)
}

/// Tags within the service's limits: 10, names to 128 characters, values to 256, no name twice.
pub(super) fn checked_tags(tags: Vec<(String, String)>) -> S3Result<BTreeMap<String, String>> {
    if tags.len() > TAGS_MAX {
        return Err(named(http::StatusCode::BAD_REQUEST, "BadRequest", "Object tags cannot be greater than 10"));
    }
    let count = tags.len();
    let fits = |(name, value): &(String, String)| (1..=128).contains(&name.chars().count()) && value.chars().count() <= 256;
    if !tags.iter().all(fits) {
        return Err(invalid_tag());
    }
    let tags: BTreeMap<String, String> = tags.into_iter().collect();
    if tags.len() < count {
        return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
    }
    Ok(tags)
}

fn invalid_tag() -> S3Error {
    s3_error!(InvalidTag, "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation.")
}

/// The headers that a GET or HEAD tells of an object, save those of lengths and ranges.
pub(super) fn to_headers(object: &Object, now: Timestamp) -> S3Result<HeaderMap> {
    let attributes = &*object.attributes;
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &str| -> S3Result<()> {
        let name = HeaderName::try_from(name).map_err(S3Error::internal_error)?;
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(S3Error::internal_error)?);
        Ok(())
    };
    set("etag", &format!("\"{}\"", object.etag))?;
    set("last-modified", &http_date(object.last_modified))?;
    set("accept-ranges", "bytes")?;
    set("content-type", attributes.content_type.as_deref().unwrap_or("binary/octet-stream"))?;
    let optional = [
        ("cache-control", &attributes.cache_control),
        ("content-disposition", &attributes.content_disposition),
        ("content-encoding", &attributes.content_encoding),
        ("content-language", &attributes.content_language),
        ("expires", &attributes.expires),
        ("x-amz-storage-class", &attributes.storage_class),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            set(name, value)?;
        }
    }
    for (name, value) in &attributes.metadata {
        set(&format!("{METADATA_PREFIX}{name}"), value)?;
    }
    for (name, value) in &attributes.extra {
        set(name, value)?;
    }
    if !attributes.tags.is_empty() {
        set("x-amz-tagging-count", &attributes.tags.len().to_string())?;
    }
    for (name, value) in encryption_headers(attributes) {
        set(name, value)?;
    }
    if let Some(restore) = attributes.restore.as_ref().filter(|restore| now < restore.expiry) {
        let ongoing = now < restore.ready;
        let expiry = if ongoing { String::new() } else { format!(", expiry-date=\"{}\"", http_date(restore.expiry)) };
        set("x-amz-restore", &format!("ongoing-request=\"{ongoing}\"{expiry}"))?;
    }
    Ok(headers)
}

/// S3 encrypts everything since 2023, and says so.
pub(super) fn encryption_headers(attributes: &Attributes) -> Vec<(&'static str, &str)> {
    let Some(encryption) = &attributes.encryption else { return vec![("x-amz-server-side-encryption", "AES256")] };
    let key_id = encryption.key_id.as_deref().map(|key_id| ("x-amz-server-side-encryption-aws-kms-key-id", key_id));
    [("x-amz-server-side-encryption", encryption.algorithm.as_str())].into_iter().chain(key_id).collect()
}

/// The date format of HTTP headers.
pub(super) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_decoded_and_limited() {
        let tags = tags_of_header("a=1&b%26=x+y&empty=").expect("valid tags");
        assert_eq!(tags.get("b&").map(String::as_str), Some("x y"));
        assert_eq!(tags.get("empty").map(String::as_str), Some(""));
        assert!(tags_of_header("a=1&a=2").is_err());
        assert!(tags_of_header(&(0..11).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join("&")).is_err());
    }

    #[test]
    fn framing_is_no_encoding() {
        assert_eq!(without_aws_chunked("aws-chunked"), None);
        assert_eq!(without_aws_chunked("aws-chunked, gzip").as_deref(), Some("gzip"));
    }
}
