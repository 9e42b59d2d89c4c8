//! One object: head, get, put, copy, link.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::stream::StreamExt;
use http::{HeaderMap, Method, StatusCode};
use md5::{Digest, Md5};

use super::client::{Bucket, Call};
use super::credentials::system_time;
use super::errors::Refusal;
use super::headers::{read_checksums, read_info, set, write_attributes, write_condition};
use super::sign;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::transport::Response;
use crate::storage::transport::target::encode_path;
use crate::storage::transport::xml::{self, ErrorDocument};
use crate::storage::{
    Acl, Attributes, Checksums, Condition, ETag, Get, GetOutput, Key, ObjectInfo, ObjectRef, Payload, PresignMethod, Put, PutOutput, RestoreTier, Restoring,
    StoredPart, payload,
};

/// Longest key, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 1024;
/// Longest answer to a write, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest life of a link.
const LINK_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Refuses what S3 cannot hold, or what would hit the bucket itself.
pub(super) fn check_key(key: &Key) -> Result<()> {
    key.as_str()?;
    match key.len() {
        0 => Err(Error::invalid("an object needs a key, and this one is empty")),
        1..=KEY_BYTES_MAX => Ok(()),
        len => Err(Error::invalid(format!("the key has {len} bytes, and S3 takes {KEY_BYTES_MAX}"))),
    }
}

fn read<'a>(method: Method, object: &'a ObjectRef) -> Result<Call<'a>> {
    check_key(&object.key)?;
    let mut call = Call::new(method, Some(&object.key)).with_some("versionId", object.version.as_ref());
    set(&mut call.headers, "x-amz-checksum-mode", "ENABLED")?;
    Ok(call)
}

pub(super) async fn head(bucket: &Bucket, object: &ObjectRef) -> Result<ObjectInfo> {
    read_info(&bucket.send(&read(Method::HEAD, object)?).await?.head.headers)
}

/// The size of one part, by HEAD with partNumber (protocol.md section 3).
pub(super) async fn stored_part(bucket: &Bucket, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
    let response = match bucket.send(&read(Method::HEAD, object)?.with("partNumber", number)).await {
        Ok(response) => response,
        // There is no part of that number.
        Err(e) if e.answer().is_some_and(|a| a.http_status == 416) => return Ok(None),
        Err(e) => return Err(e),
    };
    let info = read_info(&response.head.headers)?;
    // A service that does not know the parameter answers for the whole object, and names no parts.
    Ok(info.parts.map(|parts| StoredPart { size_bytes: info.size, parts }))
}

pub(super) async fn tags(bucket: &Bucket, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
    check_key(&object.key)?;
    let call = Call::new(Method::GET, Some(&object.key)).flag("tagging").with_some("versionId", object.version.as_ref());
    xml::tags(&bucket.send(&call).await?.collect(ANSWER_BYTES_MAX).await?)
}

pub(super) async fn acl(bucket: &Bucket, object: &ObjectRef) -> Result<Acl> {
    check_key(&object.key)?;
    let call = Call::new(Method::GET, Some(&object.key)).flag("acl").with_some("versionId", object.version.as_ref());
    xml::acl(&bucket.send(&call).await?.collect(ANSWER_BYTES_MAX).await?)
}

/// RestoreObject (protocol.md section 4): 202 the first time, 200 where the copy is there already.
pub(super) async fn restore(bucket: &Bucket, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
    check_key(&object.key)?;
    let mut call = Call::new(Method::POST, Some(&object.key)).flag("restore").with_some("versionId", object.version.as_ref());
    set(&mut call.headers, "content-type", "application/xml")?;
    call.payload = Bytes::from(xml::restore_body(days, tier.map(|tier| ("GlacierJobParameters", tier)))).into();
    let answer = match bucket.send(&call).await {
        Ok(response) if response.head.status == StatusCode::OK => return Ok(Restoring::Extended),
        Ok(_) => return Ok(Restoring::Begun),
        Err(error) => error,
    };
    match answer.answer().map(|answer| answer.code.as_str()) {
        Some("RestoreAlreadyInProgress") => Ok(Restoring::Ongoing),
        Some("InvalidObjectState") => Err(Error::unsupported("its storage class needs no restore").caused_by(answer)),
        _ => Err(answer),
    }
}

pub(super) async fn get(bucket: &Bucket, object: &ObjectRef, get: Get) -> Result<GetOutput> {
    let mut call = read(Method::GET, object)?;
    if let Some(range) = &get.range {
        if range.is_empty() {
            return Err(Error::invalid("an empty range cannot be asked for"));
        }
        set(&mut call.headers, "range", &format!("bytes={}-{}", range.start, range.end - 1))?;
    }
    if let Some(etag) = &get.if_match {
        set(&mut call.headers, "if-match", &etag.quoted())?;
    }
    let response = bucket.send(&call).await?;
    let mut info = read_info(&response.head.headers)?;
    if get.if_match.as_ref().is_some_and(|pinned| *pinned != info.etag) {
        return Err(Error::new(ErrorKind::Changed, format!("the object has the ETag {} now", info.etag)));
    }
    let range = match get.range {
        None if response.status() == 200 => 0..info.size,
        None => return Err(Error::integrity(format!("the whole object was asked for, and status {} came", response.status()))),
        Some(range) => {
            let (given, size) = content_range(&response)?;
            if given != range || info.size != range.end - range.start {
                return Err(Error::integrity(format!("bytes {range:?} were asked for, and {} bytes came as {given:?}", info.size)));
            }
            // What the headers state may be of a part: it says nothing of the whole.
            (info.size, info.checksums, info.parts) = (size, Checksums::default(), None);
            range
        }
    };
    let (key, store) = (object.key.clone(), bucket.to_string());
    let body = payload::exactly(response.into_stream(), range.end - range.start)
        .map(move |chunk| chunk.map_err(|e| e.during("get").on_key(&key).in_store(&store)))
        .boxed();
    Ok(GetOutput { info, range, body })
}

/// The bytes that a partial answer holds, and the size of the whole. An answer that names no range is the whole object: never a range.
/// One that names it is taken whatever its status: rclone says 200.
fn content_range(response: &Response) -> Result<(Range<u64>, u64)> {
    let Some(text) = response.header("content-range") else {
        return Err(Error::integrity(format!("a range was asked for, and status {} without a range came: the service ignores ranges", response.status())));
    };
    let parse = || {
        let (bytes, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = bytes.split_once('-')?;
        Some((first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?, size.parse().ok()?))
    };
    parse().ok_or_else(|| Error::integrity(format!("a range was asked for, and its Content-Range is '{}'", text.escape_debug())))
}

pub(super) async fn put(bucket: &Bucket, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
    check_key(key)?;
    let mut headers = HeaderMap::new();
    write_attributes(&mut headers, &put.attributes, &bucket.client.options)?;
    write_condition(&mut headers, put.condition.as_ref())?;
    let response = send_body(bucket, key, Vec::new(), headers, &payload, put.checksums.as_ref()).await.map_err(|e| existing(e, put.condition.as_ref()))?;
    written(response).await
}

/// Sends a body under the checksum that the service knows: CRC64NVME, or else Content-MD5.
pub(super) async fn send_body(
    bucket: &Bucket,
    key: &Key,
    query: Vec<(&'static str, Option<String>)>,
    headers: HeaderMap,
    payload: &Payload,
    checksums: Option<&Checksums>,
) -> Result<Response> {
    let mut call = Call { query, headers, payload: payload.clone(), ..Call::new(Method::PUT, Some(key)) };
    let mut refused = None;
    if let Some(crc) = checksums.and_then(|c| c.crc64nvme).filter(|_| bucket.client.knows_checksums()) {
        set(&mut call.headers, "x-amz-checksum-crc64nvme", &BASE64.encode(crc.to_be_bytes()))?;
        match bucket.send(&call).await {
            Err(e) if may_be_of_checksums(&e) => refused = Some(e),
            Ok(response) if response.header("x-amz-checksum-crc64nvme").is_none() => {
                bucket.client.note_unstated();
                return Ok(response);
            }
            other => return other,
        }
        call.headers.remove("x-amz-checksum-crc64nvme");
    }
    let guarded = bucket.client.knows_checksums() && refused.is_none();
    if !guarded && let Some(md5) = content_md5(payload, checksums).await? {
        set(&mut call.headers, "content-md5", &BASE64.encode(md5))?;
    }
    let response = bucket.send(&call).await?;
    if let Some(why) = refused {
        bucket.client.forget_checksums(&why);
    }
    Ok(response)
}

/// Whether a refusal may be due to checksum headers that the service does not know.
pub(super) fn may_be_of_checksums(e: &Error) -> bool {
    e.answer().is_some_and(|a| {
        a.http_status == 501 || a.http_status == 400 && matches!(a.code.as_str(), "InvalidArgument" | "InvalidRequest" | "NotImplemented" | "MalformedXML" | "")
    })
}

/// The MD5 of a body that is whole in memory; hashed aside where it takes long enough to hold others up.
async fn content_md5(payload: &Payload, checksums: Option<&Checksums>) -> Result<Option<[u8; 16]>> {
    const HASHED_HERE_BYTES_MAX: u64 = 256 << 10;
    if let Some(md5) = checksums.and_then(|c| c.md5) {
        return Ok(Some(md5));
    }
    let Some(chunks) = payload.chunks().map(<[_]>::to_vec) else { return Ok(None) };
    let hash = move || chunks.iter().fold(Md5::new(), |md5, chunk| md5.chain_update(chunk)).finalize().into();
    if payload.len() <= HASHED_HERE_BYTES_MAX {
        return Ok(Some(hash()));
    }
    tokio::task::spawn_blocking(hash).await.map(Some).map_err(|e| Error::new(ErrorKind::Unexpected, "hashing a body failed").caused_by(e))
}

/// A condition that failed because something is there already.
pub(super) fn existing(e: Error, condition: Option<&Condition>) -> Error {
    if e.kind() != ErrorKind::Changed || condition != Some(&Condition::Absent) {
        return e;
    }
    let answer = e.answer().cloned().unwrap_or_default();
    Error::new(ErrorKind::Exists, "there is an object of this key already").answered(answer)
}

/// What a write's answer says. Its checksums are those that the service echoes, and no others.
pub(super) async fn written(response: Response) -> Result<PutOutput> {
    let output = PutOutput {
        etag: ETag::new(response.header("etag").unwrap_or_default()),
        version: response.header("x-amz-version-id").filter(|v| *v != "null").map(str::to_owned),
        checksums: read_checksums(&response.head.headers),
        request_id: response.header("x-amz-request-id").unwrap_or_default().to_owned(),
    };
    // Read to its end, so that the connection can serve again.
    response.collect(ANSWER_BYTES_MAX).await?;
    Ok(output)
}

/// The body of an answer whose status was fixed before its work was done: it may be an error all the same (protocol.md 2.8).
pub(super) async fn late_answer(response: Response) -> Result<bytes::Bytes> {
    let (status, request_id) = (response.status(), response.header("x-amz-request-id").unwrap_or_default().to_owned());
    let body = response.collect(ANSWER_BYTES_MAX).await?;
    match ErrorDocument::parse(&body) {
        Some(document) => Err(Refusal::of(status, request_id, document, false).error),
        None => Ok(body),
    }
}

/// Names what is to be copied, and pins it.
pub(super) fn write_copy_source(headers: &mut HeaderMap, from: &str, source: &ObjectRef, if_match: Option<&ETag>) -> Result<()> {
    check_key(&source.key)?;
    let version = source.version.as_ref().map(|v| format!("?versionId={v}")).unwrap_or_default();
    set(headers, "x-amz-copy-source", &format!("{}/{}{version}", encode_path(from.as_bytes()), encode_path(source.key.as_bytes())))?;
    if_match.map_or(Ok(()), |etag| set(headers, "x-amz-copy-source-if-match", &etag.quoted()))
}

pub(super) async fn copy(bucket: &Bucket, from: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
    check_key(key)?;
    let mut call = Call::new(Method::PUT, Some(key));
    let headers = &mut call.headers;
    write_copy_source(headers, from, source, if_match)?;
    set(headers, "x-amz-metadata-directive", "REPLACE")?;
    if attributes.tags.is_some() {
        set(headers, "x-amz-tagging-directive", "REPLACE")?;
    }
    write_attributes(headers, attributes, &bucket.client.options)?;
    let response = bucket.send(&call).await?;
    let version = response.header("x-amz-version-id").filter(|v| *v != "null").map(str::to_owned);
    let request_id = response.header("x-amz-request-id").unwrap_or_default().to_owned();
    let result = xml::copy_result(&late_answer(response).await?)?;
    Ok(PutOutput { etag: result.etag, version, checksums: result.checksums, request_id })
}

pub(super) async fn presign(bucket: &Bucket, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
    check_key(&object.key)?;
    if expires_in.is_zero() || expires_in > LINK_LIFE_MAX {
        return Err(Error::invalid("a link lives between one second and seven days"));
    }
    let method = match method {
        PresignMethod::Get => Method::GET,
        PresignMethod::Put => Method::PUT,
    };
    let site = bucket.site().await?;
    let call = Call::new(method, Some(&object.key)).with_some("versionId", object.version.as_ref());
    let mut target = call.target(&site);
    if let Some(held) = bucket.client.credentials.current().await? {
        let uri = target.uri(&site.scheme, &site.authority)?.to_string();
        let at = system_time(bucket.client.service_time());
        for (name, value) in sign::sign_link(call.method.as_str(), uri, &held, &site, at, expires_in)? {
            target = target.with(name, value);
        }
    }
    Ok(target.uri(&site.scheme, &site.authority)?.to_string())
}

/// The version and delete marker that a single delete made.
pub(super) async fn delete(bucket: &Bucket, object: &ObjectRef) -> Result<crate::storage::Deleted> {
    check_key(&object.key)?;
    let call = Call::new(Method::DELETE, Some(&object.key)).with_some("versionId", object.version.as_ref());
    let response = match bucket.send(&call).await {
        Ok(response) => response,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(crate::storage::Deleted::default()),
        Err(e) => return Err(e),
    };
    let deleted = crate::storage::Deleted {
        version: response.header("x-amz-version-id").filter(|v| *v != "null").map(str::to_owned),
        delete_marker: response.header("x-amz-delete-marker") == Some("true"),
    };
    response.collect(ANSWER_BYTES_MAX).await?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_hit_something_else_are_refused() {
        for bad in [Key::EMPTY, Key::new(vec![b'a'; 1025]), Key::new(&b"\xff"[..])] {
            assert_eq!(check_key(&bad).expect_err("refused").kind(), ErrorKind::Invalid);
        }
        check_key(&Key::new(vec![b'a'; 1024])).expect("the longest");
    }

    #[tokio::test]
    async fn content_md5_is_of_all_pieces() {
        let payload = Payload::from_chunks(vec![bytes::Bytes::from_static(b"a"), bytes::Bytes::from_static(b"bc")]);
        let md5 = content_md5(&payload, None).await.expect("hashed").expect("in memory");
        assert_eq!(BASE64.encode(md5), "kAFQmDzST7DWlj99KOF/cg==");
        let large = Payload::from(vec![0; 1 << 20]);
        assert_eq!(content_md5(&large, None).await.expect("hashed").map(|m| m[0]), Some(0xb6));
    }
}
