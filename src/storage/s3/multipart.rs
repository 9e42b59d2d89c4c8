//! Multipart uploads, CRC64NVME over the whole object where the service knows it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::{HeaderMap, Method};
use md5::{Digest, Md5};

use super::client::{Bucket, Call};
use super::headers::{read_checksums, set, write_attributes, write_condition};
use super::object::{self, ANSWER_BYTES_MAX, check_key, existing, late_answer, may_be_of_checksums, send_body, write_copy_source};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Crc64Hasher;
use crate::storage::transport::xml;
use crate::storage::{Attributes, Checksums, Complete, CopyRange, ETag, Key, OpenUpload, Part, Payload, PutOutput, Upload, UploadId};

/// Longest page of parts or uploads, in bytes.
const PAGE_BYTES_MAX: usize = 16 << 20;

pub(super) async fn create(bucket: &Bucket, key: &Key, attributes: &Attributes) -> Result<UploadId> {
    check_key(key)?;
    let mut call = Call::new(Method::POST, Some(key)).flag("uploads");
    write_attributes(&mut call.headers, attributes, &bucket.client.options)?;
    let plain = call.headers.clone();
    let mut refused = None;
    if bucket.client.knows_checksums() {
        set(&mut call.headers, "x-amz-checksum-algorithm", "CRC64NVME")?;
        set(&mut call.headers, "x-amz-checksum-type", "FULL_OBJECT")?;
        match bucket.send(&call).await {
            Err(e) if may_be_of_checksums(&e) => refused = Some(e),
            other => return xml::upload_id(&other?.collect(ANSWER_BYTES_MAX).await?),
        }
        call.headers = plain;
    }
    let response = bucket.send(&call).await?;
    if let Some(why) = refused {
        bucket.client.forget_checksums(&why);
    }
    xml::upload_id(&response.collect(ANSWER_BYTES_MAX).await?)
}

pub(super) async fn upload_part(bucket: &Bucket, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
    check_key(&upload.key)?;
    let query = vec![("partNumber", Some(number.to_string())), ("uploadId", Some(upload.id.0.clone()))];
    // An upload begun with CRC64NVME takes no part without it.
    let summed = match checksums {
        Some(c) if c.crc64nvme.is_some() => None,
        _ if bucket.client.knows_checksums() => Some(crc64(&payload).await?),
        _ => None,
    };
    let response = send_body(bucket, &upload.key, query, HeaderMap::new(), &payload, summed.as_ref().or(checksums)).await?;
    let part = Part {
        number,
        etag: ETag::new(response.header("etag").unwrap_or_default()),
        size: payload.len(),
        checksums: read_checksums(&response.head.headers),
        modified: None,
    };
    response.collect(ANSWER_BYTES_MAX).await?;
    if part.etag.is_empty() {
        return Err(Error::integrity("the service took a part and gave no ETag for it"));
    }
    Ok(part)
}

/// Has the service fill a part with bytes it holds. Like every copy it may answer 200 and an error (protocol.md 2.8).
pub(super) async fn copy_part(bucket: &Bucket, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
    check_key(&upload.key)?;
    let mut call = Call::new(Method::PUT, Some(&upload.key)).with("partNumber", number).with("uploadId", &upload.id.0);
    write_copy_source(&mut call.headers, from.bucket, from.object, from.if_match)?;
    set(&mut call.headers, "x-amz-copy-source-range", &from.header()?)?;
    let body = late_answer(bucket.send(&call).await?).await?;
    if body.is_empty() {
        // It took the request for an UploadPart without bytes (rclone serve s3).
        return Err(Error::unsupported("the service does not copy parts"));
    }
    let result = xml::copy_result(&body)?;
    if result.etag.is_empty() {
        return Err(Error::integrity("the service copied a part and gave no ETag for it"));
    }
    Ok(Part { number, etag: result.etag, size: from.len(), checksums: result.checksums, modified: None })
}

/// The checksums of a body whose sender stated none. A body that is not in memory is read for it.
async fn crc64(payload: &Payload) -> Result<Checksums> {
    let mut hasher = Crc64Hasher::new();
    let mut stream = payload.stream().await?;
    while let Some(chunk) = stream.try_next().await? {
        hasher.update(&chunk);
    }
    Ok(hasher.finish().checksums())
}

pub(super) async fn list_parts(bucket: &Bucket, upload: &Upload) -> Result<Vec<Part>> {
    check_key(&upload.key)?;
    let mut all = Vec::new();
    let mut marker = 0;
    loop {
        let call = Call::new(Method::GET, Some(&upload.key)).with("uploadId", &upload.id.0).with("max-parts", 1000).with("part-number-marker", marker);
        let body = bucket.send(&call).await?.collect(PAGE_BYTES_MAX).await?;
        let page = xml::list_parts(&body, marker)?;
        all.extend(page.parts);
        match page.next_marker {
            Some(next) => marker = next,
            None => return Ok(all),
        }
    }
}

pub(super) async fn complete(bucket: &Bucket, upload: &Upload, parts: &[Part], complete: &Complete) -> Result<PutOutput> {
    check_key(&upload.key)?;
    // A service that echoed no part's checksum does not keep them, and is not told the whole's.
    let checked = bucket.client.knows_checksums() && !parts.is_empty() && parts.iter().all(|p| p.checksums.crc64nvme.is_some());
    let sent = match send_complete(bucket, upload, parts, complete, checked).await {
        Err(e) if checked && may_be_of_checksums(&e) => {
            let plain = send_complete(bucket, upload, parts, complete, false).await;
            if plain.is_ok() {
                bucket.client.forget_checksums(&e);
            }
            plain
        }
        other => other,
    };
    match sent {
        Err(e) if e.kind() == ErrorKind::UploadNotFound => made_before(bucket, upload, parts, complete).await?.ok_or(e),
        other => other.map_err(|e| existing(e, complete.condition.as_ref())),
    }
}

async fn send_complete(bucket: &Bucket, upload: &Upload, parts: &[Part], complete: &Complete, checked: bool) -> Result<PutOutput> {
    let mut call = Call::new(Method::POST, Some(&upload.key)).with("uploadId", &upload.id.0);
    write_condition(&mut call.headers, complete.condition.as_ref())?;
    set(&mut call.headers, "content-type", "application/xml")?;
    if checked {
        set(&mut call.headers, "x-amz-mp-object-size", &size(parts).to_string())?;
        if let Some(crc) = complete.checksums.as_ref().and_then(|c| c.crc64nvme) {
            set(&mut call.headers, "x-amz-checksum-crc64nvme", &BASE64.encode(crc.to_be_bytes()))?;
            set(&mut call.headers, "x-amz-checksum-type", "FULL_OBJECT")?;
        }
    }
    call.payload = Bytes::from(xml::complete_body(parts, checked)).into();
    let response = bucket.send(&call).await?;
    let version = response.header("x-amz-version-id").filter(|v| *v != "null").map(str::to_owned);
    let request_id = response.header("x-amz-request-id").unwrap_or_default().to_owned();
    let (etag, checksums) = xml::complete_result(&late_answer(response).await?)?;
    Ok(PutOutput { etag, version, checksums, request_id })
}

fn size(parts: &[Part]) -> u64 {
    parts.iter().map(|p| p.size).sum()
}

/// A Complete whose answer was lost leaves no upload, but the object: it is ours if its checksum, or its ETag over the parts' MD5s,
/// is what these parts make (protocol.md 2.8). `None` where that cannot be told.
async fn made_before(bucket: &Bucket, upload: &Upload, parts: &[Part], complete: &Complete) -> Result<Option<PutOutput>> {
    let info = match object::head(bucket, &upload.key.clone().into()).await {
        Ok(info) => info,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let told = complete.checksums.as_ref().and_then(|c| c.crc64nvme);
    let same = info.size == size(parts)
        && match (told, info.checksums.crc64nvme) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => multipart_etag(parts).is_some_and(|etag| etag == info.etag),
        };
    if same {
        tracing::info!(key = %upload.key, "the upload was complete already: an earlier answer was lost");
    }
    Ok(same.then(|| PutOutput { etag: info.etag, version: info.version, checksums: info.checksums, request_id: String::new() }))
}

/// `md5(part md5s)-N`, where every part's ETag is an MD5.
fn multipart_etag(parts: &[Part]) -> Option<ETag> {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part.etag.md5()?);
    }
    let hex = hex::encode(md5.finalize());
    Some(ETag::new(&format!("{hex}-{}", parts.len())))
}

pub(super) async fn abort(bucket: &Bucket, upload: &Upload) -> Result<()> {
    check_key(&upload.key)?;
    match bucket.send(&Call::new(Method::DELETE, Some(&upload.key)).with("uploadId", &upload.id.0)).await {
        Ok(response) => response.collect(ANSWER_BYTES_MAX).await.map(|_| ()),
        Err(e) if e.kind() == ErrorKind::UploadNotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Every open upload under a prefix.
pub(super) fn list_uploads(bucket: Arc<Bucket>, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
    let pages = stream::unfold(Some(None), move |marker: Option<Option<(Key, String)>>| {
        let (bucket, prefix) = (bucket.clone(), prefix.clone());
        async move {
            let marker = marker?;
            Some(match uploads_page(&bucket, &prefix, marker.as_ref()).await {
                Ok(page) => (stream::iter(page.uploads.into_iter().map(Ok).collect::<Vec<_>>()), page.next_marker.map(Some)),
                Err(e) => (stream::iter(vec![Err(e.during("list uploads").in_store(&bucket))]), None),
            })
        }
    });
    pages.flatten().boxed()
}

async fn uploads_page(bucket: &Bucket, prefix: &Key, marker: Option<&(Key, String)>) -> Result<xml::UploadsPage> {
    let mut call = Call::new(Method::GET, None).flag("uploads").with("encoding-type", "url").with("max-uploads", 1000);
    if !prefix.is_empty() {
        call = call.with("prefix", prefix.as_str()?);
    }
    if let Some((key, id)) = marker {
        call = call.with("key-marker", key.as_str()?).with("upload-id-marker", id);
    }
    let answer = match bucket.send(&call).await {
        // How rclone says that none is open.
        Err(e) if e.kind() == ErrorKind::UploadNotFound && marker.is_none() => return Ok(xml::UploadsPage { uploads: Vec::new(), next_marker: None }),
        answer => answer?,
    };
    let mut page = xml::list_uploads(&answer.collect(PAGE_BYTES_MAX).await?)?;
    if page.next_marker.is_some() && page.next_marker.as_ref() == marker {
        return Err(Error::integrity("the list of uploads repeats its marker, so it would never end"));
    }
    page.uploads.retain(|u| u.upload.key.as_bytes().starts_with(prefix.as_bytes()));
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_parts_is_the_md5_of_their_md5s() {
        let part = |number, md5: &str| Part { number, etag: ETag::new(md5), size: 1, checksums: Checksums::default(), modified: None };
        // Two parts "a" and "b": md5(md5("a") || md5("b")), computed with Python's hashlib.
        let parts = [part(1, "0cc175b9c0f1b6a831c399e269772661"), part(2, "92eb5ffee6ae2fec3ad71c777531578f")];
        assert_eq!(multipart_etag(&parts).map(|e| e.as_str().to_owned()).as_deref(), Some("96e024ba2074fe77e8e965ba43a704be-2"));
        assert_eq!(multipart_etag(&[part(1, "opaque")]), None);
    }
}
