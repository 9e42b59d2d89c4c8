//! Taking a request's body: into the store, or into memory where it is a small document; proved on the way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header;

use super::error::{OssError, OssResult};
use super::request::Head;
use crate::devserver::store::{Content, ContentWriter, Digests};

/// A single PUT, a part or an append holds at most 5 GB: protocol.md 2.3.
pub(super) const BODY_BYTES_MAX: u64 = 5 << 30;
/// A request document, such as a list of keys to delete, holds at most 2 MB.
const DOCUMENT_BYTES_MAX: usize = 2 << 20;

/// The body of a request as it arrives.
pub(crate) type Body = BoxStream<'static, std::io::Result<Bytes>>;

/// Streams a body into the store, and refuses it where it is not what its headers say.
pub(super) async fn store(head: &Head, mut body: Body, mut writer: ContentWriter) -> OssResult<(Content, Digests)> {
    let too_large = || OssError::too_large("Your proposed upload exceeds the maximum allowed object size.");
    let announced = head.header_number(header::CONTENT_LENGTH.as_str())?;
    if announced.is_none() && !head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(OssError::new(411, "MissingContentLength", "You must provide the Content-Length HTTP header."));
    }
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let expected_md5 = content_md5(head)?;
    let expected_crc = head.header_number("x-oss-hash-crc64ecma")?;
    let mut taken = 0u64;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| incomplete())?;
        taken += piece.len() as u64;
        if taken > BODY_BYTES_MAX {
            return Err(too_large());
        }
        writer.write(&piece).await.map_err(disk_failed)?;
    }
    if announced.is_some_and(|bytes| bytes != taken) {
        return Err(incomplete());
    }
    let (content, digests) = writer.finish().await.map_err(disk_failed)?;
    if expected_md5.is_some_and(|md5| digests.md5 != Some(md5)) {
        return Err(wrong_md5());
    }
    if expected_crc.is_some_and(|crc| crc != digests.crc64_xz) {
        return Err(OssError::new(400, "InvalidCRC64", "The x-oss-hash-crc64ecma you specified does not match what we received."));
    }
    Ok((content, digests))
}

/// Reads a document, and checks the Content-MD5 where there is one.
pub(super) async fn document(head: &Head, mut body: Body) -> OssResult<Vec<u8>> {
    let mut document = Vec::new();
    while let Some(piece) = body.next().await {
        document.extend_from_slice(&piece.map_err(|_| incomplete())?);
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(OssError::malformed_xml());
        }
    }
    match content_md5(head)? {
        Some(md5) if Digests::of(&document).md5 != Some(md5) => Err(wrong_md5()),
        _ => Ok(document),
    }
}

/// Throws away what is left of a body that no operation read, as far as that is cheap, so that the connection stays usable.
pub(super) async fn drain(mut body: Body, bytes_max: usize) {
    let mut drained = 0;
    while let Some(Ok(piece)) = body.next().await {
        drained += piece.len();
        if drained > bytes_max {
            return;
        }
    }
}

fn content_md5(head: &Head) -> OssResult<Option<[u8; 16]>> {
    let Some(text) = head.header("content-md5")? else { return Ok(None) };
    STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .map(Some)
        .ok_or_else(|| OssError::new(400, "InvalidDigest", "The Content-MD5 you specified is invalid.").detail("Content-MD5", text))
}

fn wrong_md5() -> OssError {
    OssError::new(400, "InvalidDigest", "The Content-MD5 you specified did not match what we received.")
}

fn incomplete() -> OssError {
    OssError::new(400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header.")
}

fn disk_failed(error: std::io::Error) -> OssError {
    OssError::internal(format!("the dev server's disk failed: {error}"))
}
