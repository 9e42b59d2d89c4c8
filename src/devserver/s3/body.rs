//! Taking the body of an upload: into the store, against every length and checksum that came with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};

use super::checksum::{Algorithm, Claim, Hasher};
use super::error::named;
use crate::devserver::store::{Checksum, Content, Digests, Store};

/// The most that one PUT, part or copy may hold: 5 GiB (protocol.md 2.3).
pub(super) const BODY_BYTES_MAX: u64 = 5 << 30;

/// What was received, and proved.
pub(super) struct Received {
    pub(super) content: Content,
    pub(super) digests: Digests,
    /// Over these bytes, of the algorithm the client named; `None` where it named none.
    pub(super) checksum: Option<Checksum>,
}

/// Takes a body whole, or refuses it and keeps nothing.
pub(super) async fn receive(
    store: &Store,
    headers: &HeaderMap,
    body: Option<StreamingBlob>,
    trailers: Option<TrailingHeaders>,
    content_length: Option<i64>,
) -> S3Result<Received> {
    let promised = content_length.and_then(|length| u64::try_from(length).ok());
    let promised = promised.ok_or_else(|| s3_error!(MissingContentLength, "You must provide the Content-Length HTTP header."))?;
    if promised > BODY_BYTES_MAX {
        return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
    }
    let md5 = headers.get("content-md5").map(|value| claimed_md5(value.as_bytes())).transpose()?;
    let claim = Claim::in_headers(headers)?;
    let mut hasher = claim.as_ref().map(|claim| Hasher::new(claim.algorithm));
    let mut writer = store.writer();
    let mut received = 0;
    if let Some(mut body) = body {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| broken_body(&*error))?;
            received += piece.len() as u64;
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece);
            }
            writer.write(&piece).await.map_err(disk)?;
        }
    }
    if received != promised {
        return Err(s3_error!(IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header"));
    }
    let (content, digests) = writer.finish().await.map_err(disk)?;
    if md5.is_some_and(|md5| digests.md5 != Some(md5)) {
        return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
    }
    let mut checksum = None;
    if let (Some(claim), Some(hasher)) = (claim, hasher) {
        let (algorithm, computed) = (claim.algorithm, hasher.finish(&digests));
        claim.verify(&computed, trailers.and_then(|trailers| trailers.take()).as_ref())?;
        checksum = Some(algorithm.of_bytes(computed));
    }
    Ok(Received { content, digests, checksum })
}

impl Received {
    /// The checksum to keep with an object: CRC-64/NVME is in the digests already.
    pub(super) fn object_checksum(&self) -> Option<Box<Checksum>> {
        self.checksum.as_ref().filter(|checksum| checksum.algorithm != Algorithm::Crc64Nvme.name()).cloned().map(Box::new)
    }
}

/// The MD5 that a `Content-MD5` header claims.
pub(super) fn claimed_md5(value: &[u8]) -> S3Result<[u8; 16]> {
    let bytes = BASE64.decode(value).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."))
}

/// s3s checks the payload's signature while the body passes, and reports it as a failure of the stream.
fn broken_body(error: &(dyn std::error::Error + 'static)) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        named(StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "The chunk signature we calculated does not match the signature you provided.")
    } else {
        s3_error!(IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header")
    }
}

pub(super) fn disk(error: std::io::Error) -> S3Error {
    crate::devserver::store::Refusal::from(error).into()
}
