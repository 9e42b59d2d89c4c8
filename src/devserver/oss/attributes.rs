//! What travels with an object: from request headers to [`Attributes`], and back to response headers.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode;

use super::error::{OssError, OssResult};
use super::request::Head;
use crate::devserver::store::{Attributes, Encryption};

const METADATA_PREFIX: &str = "x-oss-meta-";
/// All names and values of user metadata together: protocol.md 2.3.
const METADATA_BYTES_MAX: usize = 8 * 1024;
const TAGS_MAX: usize = 10;
pub(super) const STANDARD: &str = "Standard";
pub(super) const STORAGE_CLASSES: &[&str] = &[STANDARD, "IA", "Archive", "ColdArchive", "DeepColdArchive"];

/// Reads what a Put, Append, Initiate or a replacing Copy attaches to the object.
pub(super) fn of_request(head: &Head) -> OssResult<Attributes> {
    let text = |name: HeaderName| -> OssResult<Option<String>> { head.headers.get(&name).map(|value| utf8(name.as_str(), value)).transpose() };
    Ok(Attributes {
        content_type: text(header::CONTENT_TYPE)?,
        cache_control: text(header::CACHE_CONTROL)?,
        content_disposition: text(header::CONTENT_DISPOSITION)?,
        content_encoding: text(header::CONTENT_ENCODING)?,
        content_language: text(header::CONTENT_LANGUAGE)?,
        expires: text(header::EXPIRES)?,
        metadata: metadata(head)?,
        tags: head.header("x-oss-tagging")?.map_or_else(|| Ok(BTreeMap::new()), tags_of_header)?,
        storage_class: storage_class(head)?,
        acl: object_acl(head)?,
        encryption: encryption(head)?,
        ..Attributes::default()
    })
}

fn utf8(name: &str, value: &HeaderValue) -> OssResult<String> {
    std::str::from_utf8(value.as_bytes().trim_ascii())
        .map(str::to_owned)
        .map_err(|_| OssError::bad_value(name, String::from_utf8_lossy(value.as_bytes()), "The header value must be UTF-8."))
}

/// User metadata: names of letters, digits and hyphens (an underscore is refused), 8 KB in all.
fn metadata(head: &Head) -> OssResult<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in &head.headers {
        let Some(short) = name.as_str().strip_prefix(METADATA_PREFIX) else { continue };
        if short.is_empty() || !short.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(OssError::bad_value(name.as_str(), "", "A name of user metadata may hold letters, digits and hyphens only."));
        }
        bytes += short.len() + value.len();
        metadata.insert(short.to_owned(), utf8(name.as_str(), value)?);
    }
    if bytes > METADATA_BYTES_MAX {
        return Err(OssError::invalid_argument("The user metadata of an object must not exceed 8 KB in total."));
    }
    Ok(metadata)
}

/// `x-oss-storage-class`; `None` is the class of the bucket.
pub(super) fn storage_class(head: &Head) -> OssResult<Option<String>> {
    head.header("x-oss-storage-class")?
        .map(|class| match STORAGE_CLASSES.contains(&class) {
            true => Ok(class.to_owned()),
            false => Err(OssError::bad_value("x-oss-storage-class", class, "The storage class is not valid.")),
        })
        .transpose()
}

/// `x-oss-object-acl`; `None` and `default` follow the bucket.
pub(super) fn object_acl(head: &Head) -> OssResult<Option<String>> {
    match head.header("x-oss-object-acl")? {
        None | Some("default") => Ok(None),
        Some(acl @ ("private" | "public-read" | "public-read-write")) => Ok(Some(acl.to_owned())),
        Some(acl) => Err(OssError::bad_value("x-oss-object-acl", acl, "The object ACL is not valid.")),
    }
}

fn encryption(head: &Head) -> OssResult<Option<Encryption>> {
    let key_id = head.header("x-oss-server-side-encryption-key-id")?.map(str::to_owned);
    match head.header("x-oss-server-side-encryption")? {
        None if key_id.is_none() => Ok(None),
        Some(algorithm @ ("AES256" | "SM4")) if key_id.is_none() => Ok(Some(Encryption { algorithm: algorithm.to_owned(), key_id })),
        Some("KMS") => Ok(Some(Encryption { algorithm: "KMS".to_owned(), key_id })),
        other => Err(OssError::new(400, "InvalidEncryptionAlgorithmError", "The encryption request you specified is not valid.")
            .detail("Method", other.unwrap_or_default())),
    }
}

/// `k1=v1&k2=`, both sides percent-encoded.
pub(super) fn tags_of_header(text: &str) -> OssResult<BTreeMap<String, String>> {
    let decode = |part: &str| -> OssResult<String> {
        let spaced = part.replace('+', " ");
        let bytes: Vec<u8> = percent_decode(spaced.as_bytes()).collect();
        String::from_utf8(bytes).map_err(|_| invalid_tag(part))
    };
    let pairs: OssResult<Vec<(String, String)>> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect();
    check_tags(pairs?)
}

/// At most 10 tags, each key once, 1 to 128 bytes, each value up to 256 (protocol.md 2.2), of letters, digits, blanks and
/// `+-=._:/` (OSS2's own suite: `%` and `@` are refused).
pub(super) fn check_tags(pairs: Vec<(String, String)>) -> OssResult<BTreeMap<String, String>> {
    if pairs.len() > TAGS_MAX {
        return Err(OssError::new(400, "BadRequest", "An object can have at most 10 tags."));
    }
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " +-=._:/".contains(c));
        if key.is_empty() || key.len() > 128 || value.len() > 256 || tags.contains_key(&key) || !plain(&key) || !plain(&value) {
            return Err(invalid_tag(&key));
        }
        tags.insert(key, value);
    }
    Ok(tags)
}

fn invalid_tag(key: &str) -> OssError {
    OssError::new(400, "InvalidTag", "The tag key or value you specified is not valid.").detail("TagKey", key)
}

/// Adds what the object carries to a GET or HEAD answer.
pub(super) fn into_response(attributes: &Attributes, headers: &mut HeaderMap) -> OssResult<()> {
    let plain = [
        (header::CONTENT_TYPE, attributes.content_type.as_deref().or(Some("application/octet-stream"))),
        (header::CACHE_CONTROL, attributes.cache_control.as_deref()),
        (header::CONTENT_DISPOSITION, attributes.content_disposition.as_deref()),
        (header::CONTENT_ENCODING, attributes.content_encoding.as_deref()),
        (header::CONTENT_LANGUAGE, attributes.content_language.as_deref()),
        (header::EXPIRES, attributes.expires.as_deref()),
    ];
    for (name, value) in plain {
        if let Some(value) = value {
            headers.insert(name, value_of(value)?);
        }
    }
    for (name, value) in &attributes.metadata {
        let name = HeaderName::try_from(format!("{METADATA_PREFIX}{name}")).map_err(|_| OssError::internal("a stored metadata name is damaged"))?;
        headers.insert(name, value_of(value)?);
    }
    if !attributes.tags.is_empty() {
        headers.insert("x-oss-tagging-count", HeaderValue::from(attributes.tags.len()));
    }
    encryption_into_response(attributes, headers)
}

/// Repeats the encryption of an object in an answer.
pub(super) fn encryption_into_response(attributes: &Attributes, headers: &mut HeaderMap) -> OssResult<()> {
    if let Some(encryption) = &attributes.encryption {
        headers.insert("x-oss-server-side-encryption", value_of(&encryption.algorithm)?);
        if let Some(id) = &encryption.key_id {
            headers.insert("x-oss-server-side-encryption-key-id", value_of(id)?);
        }
    }
    Ok(())
}

/// A header value of stored text.
pub(super) fn value_of(text: &str) -> OssResult<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| OssError::internal("a stored value cannot stand in a header"))
}
