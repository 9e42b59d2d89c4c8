//! ListObjects, versions 1 and 2, of both clouds.

use std::io::Write;

use super::dialect::Dialect;
use super::store::{SOURCE, Store};
use super::time::iso8601;
use super::xml::{escape, url_encode};

/// What a listing asks for.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) version_2: bool,
    pub(super) prefix: Vec<u8>,
    pub(super) delimiter: Option<u8>,
    /// Keys up to this one are left out.
    pub(super) after: Vec<u8>,
    pub(super) token: Option<String>,
    pub(super) max_keys: usize,
    pub(super) url: bool,
}

/// Where the next page begins: behind a key, or behind all keys of a prefix.
fn token(behind: char, key: &[u8]) -> String {
    format!("{behind}{}", super::content::hex(key))
}

fn read_token(text: &str) -> Option<(bool, Vec<u8>)> {
    let all = text.starts_with('p');
    let digits = text.get(1..)?.as_bytes();
    let key = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect::<Option<_>>()?;
    Some((all, key))
}

/// The least key behind all keys that begin with `prefix`.
fn behind_all(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    // Keys are UTF-8, in which no 0xff stands.
    end.push(0xff);
    end
}

/// Writes one page. `None` where the token is not ours.
pub(super) fn page(store: &Store, dialect: Dialect, bucket: &str, ask: &Ask) -> Option<Vec<u8>> {
    let guard = (bucket != SOURCE).then(|| store.written());
    let written = guard.as_ref().and_then(|written| written.get(bucket));
    let mut walk = store.walk(bucket, written);
    match &ask.token {
        Some(token) => match read_token(token)? {
            (true, prefix) => walk.seek(&behind_all(&prefix), true),
            (false, key) => walk.seek(&key, false),
        },
        None if ask.after.as_slice() >= ask.prefix.as_slice() && !ask.after.is_empty() => walk.seek(&ask.after, false),
        None => walk.seek(&ask.prefix, true),
    }
    let text = |key: &[u8]| if ask.url { url_encode(key) } else { escape(key) };
    let (mut contents, mut prefixes) = (Vec::with_capacity(ask.max_keys * 320), Vec::new());
    let (mut count, mut next, mut last_key) = (0, None, Vec::new());
    loop {
        let Some((key, size, etag, modified)) = walk.next().filter(|(key, ..)| key.starts_with(&ask.prefix)) else {
            next = None;
            break;
        };
        if count == ask.max_keys {
            break;
        }
        count += 1;
        let end = ask.delimiter.and_then(|delimiter| memchr::memchr(delimiter, &key[ask.prefix.len()..]));
        if let Some(end) = end {
            let prefix = key[..=ask.prefix.len() + end].to_vec();
            prefixes.extend_from_slice(b"<CommonPrefixes><Prefix>");
            prefixes.extend_from_slice(&text(&prefix));
            prefixes.extend_from_slice(b"</Prefix></CommonPrefixes>");
            walk.seek(&behind_all(&prefix), true);
            next = Some(token('p', &prefix));
            last_key = prefix;
        } else {
            contents.extend_from_slice(b"<Contents><Key>");
            contents.extend_from_slice(&text(key));
            contents.extend_from_slice(b"</Key><LastModified>");
            contents.extend_from_slice(iso8601(modified).as_bytes());
            match dialect {
                Dialect::S3 => write!(
                    contents,
                    "</LastModified><ETag>&quot;{etag}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>\
                     <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
                ),
                Dialect::Oss => write!(
                    contents,
                    "</LastModified><ETag>\"{}\"</ETag><Type>Normal</Type><Size>{size}</Size><StorageClass>Standard</StorageClass></Contents>",
                    etag.to_ascii_uppercase()
                ),
            }
            .ok()?;
            last_key.clear();
            last_key.extend_from_slice(key);
            next = (count == ask.max_keys).then(|| token('k', key));
        }
    }
    if count < ask.max_keys {
        next = None;
    }
    let mut out = Vec::with_capacity(contents.len() + prefixes.len() + 1024);
    out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult");
    if dialect == Dialect::S3 {
        out.extend_from_slice(b" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");
    }
    write!(out, "><Name>{bucket}</Name><Prefix>{}</Prefix><MaxKeys>{}</MaxKeys>", lossy(&text(&ask.prefix)), ask.max_keys).ok()?;
    if let Some(delimiter) = ask.delimiter {
        write!(out, "<Delimiter>{}</Delimiter>", lossy(&text(&[delimiter]))).ok()?;
    }
    if ask.url {
        out.extend_from_slice(b"<EncodingType>url</EncodingType>");
    }
    write!(out, "<IsTruncated>{}</IsTruncated>", next.is_some()).ok()?;
    if ask.version_2 {
        write!(out, "<KeyCount>{count}</KeyCount>").ok()?;
    }
    match &next {
        Some(token) if ask.version_2 => write!(out, "<NextContinuationToken>{token}</NextContinuationToken>").ok()?,
        Some(_) => write!(out, "<NextMarker>{}</NextMarker>", lossy(&text(&last_key))).ok()?,
        None => {}
    }
    out.extend_from_slice(&contents);
    out.extend_from_slice(&prefixes);
    out.extend_from_slice(b"</ListBucketResult>");
    Some(out)
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
