//! Objects: told of, sent, and taken in.

use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::super::content::{Crcs, Hasher};
use super::super::dialect::{Dialect, base64};
use super::super::fault::Fault;
use super::super::request::Request;
use super::super::store::{Metadata, Object, Stored};
use super::super::time::{http_date, now};
use super::{Answered, Connection, End};

/// Headers of a write that come back with the object, beside the user's own.
const KEPT: [&str; 6] = ["content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"];

impl Connection<'_> {
    fn describe(&self, dialect: Dialect, object: &Object, whole: bool) -> String {
        let mut headers = format!("etag: \"{}\"\r\nlast-modified: {}\r\naccept-ranges: bytes\r\n", dialect.etag(&object.etag), http_date(object.modified));
        // S3 states a checksum of the whole only with the whole; OSS with any range.
        if whole || dialect == Dialect::Oss {
            headers.push_str(&dialect.checksum(object.crcs));
        }
        if dialect == Dialect::Oss {
            headers.push_str("x-oss-object-type: Normal\r\nx-oss-storage-class: Standard\r\n");
        }
        if !object.metadata.iter().any(|(name, _)| &**name == "content-type") {
            headers.push_str("content-type: application/octet-stream\r\n");
        }
        for (name, value) in &object.metadata {
            headers.push_str(&format!("{name}: {value}\r\n"));
        }
        headers
    }

    pub(super) fn head(&mut self, request: &Request<'_>) -> Answered {
        let Some(object) = self.server.store.find(&request.bucket, &request.key) else { return self.missing(request) };
        let headers = self.describe(request.dialect, &object, true);
        self.write_head(200, &headers, object.size);
        self.wire.send_with(b"")?;
        Ok(self.wire.stream.flush()?)
    }

    pub(super) fn get(&mut self, request: &Request<'_>, fault: Fault) -> Answered {
        self.wire.body(request.head, &mut |_| {})?;
        let Some(object) = self.server.store.find(&request.bucket, &request.key) else { return self.missing(request) };
        let Some(start) = object.start else { return self.refuse(request, 500, "InternalError", "this object's bytes were not kept") };
        if request.header("if-match").is_some_and(|etag| !etag.trim_matches('"').eq_ignore_ascii_case(&object.etag)) {
            return self.refuse(request, 412, "PreconditionFailed", "the object has another ETag");
        }
        let range = match request.header("range").map(|range| read_range(range, object.size)) {
            None => None,
            Some(Some(range)) => Some(range),
            Some(None) => return self.refuse(request, 416, "InvalidRange", "the range lies outside the object"),
        };
        let mut headers = self.describe(request.dialect, &object, range.is_none());
        if let Some((first, last)) = range {
            headers.push_str(&format!("content-range: bytes {first}-{last}/{}\r\n", object.size));
        }
        let (first, last) = range.unwrap_or((0, object.size.wrapping_sub(1)));
        let length = if object.size == 0 { 0 } else { last + 1 - first };
        self.write_head(if range.is_some() { 206 } else { 200 }, &headers, length);
        let cut_at = matches!(fault, Fault::Reset | Fault::Truncate).then_some(length / 2);
        let mut sent = 0;
        let mut spoil = fault == Fault::Corrupt;
        while sent < length || !self.wire.out.is_empty() {
            let bytes = self.server.store.content.bytes(start, first + sent, cut_at.unwrap_or(length) - sent);
            let spoilt = std::mem::take(&mut spoil).then(|| {
                let mut spoilt = bytes.to_vec();
                spoilt.iter_mut().take(1).for_each(|byte| *byte ^= 1);
                spoilt
            });
            let bytes = spoilt.as_deref().unwrap_or(bytes);
            let written = if self.wire.out.is_empty() { 0 } else { self.wire.send_with(bytes)? };
            self.wire.stream.write_all(&bytes[written..])?;
            sent += bytes.len() as u64;
            self.server.counters.bytes_out.fetch_add(bytes.len() as u64, Relaxed);
            if cut_at == Some(sent) {
                self.wire.stream.flush()?;
                return Err(self.cut(fault));
            }
        }
        Ok(self.wire.stream.flush()?)
    }

    /// Ends the connection in the way that the fault says.
    fn cut(&self, fault: Fault) -> End {
        if fault == Fault::Reset {
            // Closing with no linger sends RST.
            let _ = rustix::net::sockopt::set_socket_linger(self.wire.stream.tcp(), Some(std::time::Duration::ZERO));
        }
        End::Cut
    }

    /// Takes a body in: its length and checksums. `None` where it is not what its sender says, and the refusal was sent.
    pub(super) fn receive(&mut self, request: &Request<'_>, fault: Fault) -> Result<Option<(u64, Crcs)>, End> {
        let (mut hasher, mut size) = (Hasher::new(), 0);
        self.wire.body(request.head, &mut |bytes| {
            hasher.update(bytes);
            size += bytes.len() as u64;
            self.server.counters.bytes_in.fetch_add(bytes.len() as u64, Relaxed);
        })?;
        if matches!(fault, Fault::Reset | Fault::Truncate) {
            return Err(self.cut(Fault::Reset));
        }
        let crcs = hasher.finish();
        let stated = request.header("x-amz-checksum-crc64nvme");
        if stated.is_some_and(|stated| stated != base64(crcs.nvme)) || fault == Fault::Corrupt {
            self.error(request, 400, "", "BadDigest", "the body is not what its checksum says")?;
            return Ok(None);
        }
        Ok(Some((size, crcs)))
    }

    pub(super) fn metadata(&self, request: &Request<'_>) -> Metadata {
        let meta = |name: &str| {
            let own = name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case(request.dialect.prefix()));
            own && name.get(6..11).is_some_and(|rest| rest.eq_ignore_ascii_case("meta-")) || KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept))
        };
        let kept = request.head.headers.iter().filter(|(name, _)| meta(name));
        // The SDKs' framing is not the object's encoding.
        let kept = kept.filter(|(name, value)| !(name.eq_ignore_ascii_case("content-encoding") && *value == "aws-chunked"));
        kept.map(|(name, value)| (name.to_ascii_lowercase().into(), (*value).into())).collect()
    }

    pub(super) fn put(&mut self, request: &Request<'_>, fault: Fault) -> Answered {
        let metadata = self.metadata(request);
        let Some((size, crcs)) = self.receive(request, fault)? else { return Ok(()) };
        let etag = self.server.store.etag(&request.key, size, crcs);
        let headers = format!("etag: \"{}\"\r\n{}", request.dialect.etag(&etag), request.dialect.checksum(crcs));
        self.server.store.write(&request.bucket, &request.key, Stored { size, crcs, etag, modified: now(), metadata });
        self.answer(200, &headers, b"")
    }
}

/// First and last byte of `bytes=A-B`, `bytes=A-` or `bytes=-N` within an object of `size` bytes.
fn read_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.checked_sub(1)?;
    let (first, last) = match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
        (Some(first), last) => (first, last.unwrap_or(end).min(end)),
        (None, Some(count)) => (size.saturating_sub(count), end),
        (None, None) => return None,
    };
    (first <= last).then_some((first, last))
}
