//! One connection: requests are answered one behind the other until the client goes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use md5::{Digest, Md5};

use super::Server;
use super::content::{Hasher, hex};
use super::dialect::{Dialect, base64};
use super::fault::{Fault, STALL};
use super::listing::{self, Ask};
use super::request::{Operation, Request};
use super::store::{Metadata, Object, Stored, StoredPart, Upload, opaque};
use super::time::{http_date, iso8601, now};
use super::wire::{Head, Stream, Wire};
use super::xml::{escape, texts, unescape};

/// Headers of a write that come back with the object, beside the user's own.
const KEPT: [&str; 6] = ["content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"];

/// Serves a connection to its end: of the cloud whose dialect this is, or of the control port.
pub(super) fn serve(server: &Arc<Server>, dialect: Option<Dialect>, stream: Stream) {
    let mut connection = Connection { server, wire: Wire::new(stream) };
    // A client that goes away is no event here: what it missed it counts itself.
    let Some(dialect) = dialect else {
        let _ = connection.control();
        return;
    };
    server.counters.opened();
    let _ = connection.run(dialect);
    server.counters.open.fetch_sub(1, Relaxed);
}

struct Connection<'a> {
    server: &'a Server,
    wire: Wire,
}

/// Why a connection ends.
enum End {
    Gone(#[allow(dead_code, reason = "told to nobody; kept for a debugger")] io::Error),
    /// A fault that was asked for.
    Cut,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

type Answered = Result<(), End>;

impl Connection<'_> {
    fn run(&mut self, dialect: Dialect) -> Answered {
        let mut text = String::with_capacity(4096);
        while self.wire.head(&mut text)? {
            let Some(head) = Head::parse(&text) else { return Ok(()) };
            self.one(&Request::parse(dialect, &head))?;
            if head.header("connection").is_some_and(|connection| connection.eq_ignore_ascii_case("close")) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One question to the control port.
    fn control(&mut self) -> Answered {
        let mut text = String::new();
        if !self.wire.head(&mut text)? {
            return Ok(());
        }
        let path = Head::parse(&text).and_then(|head| head.target.strip_prefix("/-/")).unwrap_or_default();
        let report = self.server.control(path);
        self.answer(200, "content-type: application/json\r\nconnection: close\r\n", report.as_bytes())
    }

    fn one(&mut self, request: &Request<'_>) -> Answered {
        self.server.counters.count(request.operation);
        let fault = if request.operation.moves_bytes() { self.server.faults.next() } else { Fault::None };
        match fault {
            Fault::Throttle => {
                self.wire.body(request.head, &mut |_| {})?;
                self.server.counters.throttled.fetch_add(1, Relaxed);
                return self.throttle(request);
            }
            Fault::Stall => {
                self.server.counters.stalls.fetch_add(1, Relaxed);
                std::thread::sleep(STALL);
            }
            Fault::Reset => {
                self.server.counters.resets.fetch_add(1, Relaxed);
            }
            Fault::Corrupt | Fault::Truncate => {
                self.server.counters.corrupted.fetch_add(1, Relaxed);
            }
            Fault::None => {}
        }
        match request.operation {
            Operation::Get => return self.get(request, fault),
            Operation::Put => return self.put(request, fault),
            Operation::UploadPart => return self.upload_part(request, fault),
            _ => {}
        }
        let mut body = Vec::new();
        self.wire.body(request.head, &mut |bytes| body.extend_from_slice(bytes))?;
        let body = String::from_utf8_lossy(&body);
        match request.operation {
            Operation::Head => self.head(request),
            Operation::List => self.list(request),
            Operation::CreateUpload => self.create_upload(request),
            Operation::CompleteUpload => self.complete_upload(request, &body),
            Operation::ListParts => self.list_parts(request),
            Operation::ListUploads => self.list_uploads(request),
            Operation::AbortUpload => {
                self.server.store.uploads().remove(request.query("uploadId").unwrap_or_default());
                self.answer(204, "", b"")
            }
            Operation::Delete => {
                self.server.store.delete(&request.bucket, &request.key);
                self.answer(204, "", b"")
            }
            Operation::DeleteMany => self.delete_many(request, &body),
            Operation::HeadBucket => self.answer(200, "x-amz-bucket-region: us-east-1\r\n", b""),
            Operation::CreateBucket => self.answer(200, "", b""),
            Operation::ListBuckets => self.xml(200, "<ListAllMyBucketsResult><Owner><ID>0</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>"),
            Operation::BucketSetting => self.bucket_setting(request),
            _ => self.refuse(request, 501, "NotImplemented", "the benchmark's server does not do this"),
        }
    }

    /// Writes an answer's head into the wire's buffer.
    fn write_head(&mut self, status: u16, headers: &str, length: u64) {
        let reason = match status {
            200 => "OK",
            204 => "No Content",
            206 => "Partial Content",
            _ => "No",
        };
        // Writing to a Vec cannot fail.
        let _ = write!(self.wire.out, "HTTP/1.1 {status} {reason}\r\nserver: bench\r\nx-amz-request-id: B\r\nx-oss-request-id: B\r\n{headers}");
        if status != 204 {
            let _ = write!(self.wire.out, "content-length: {length}\r\n");
        }
        self.wire.out.extend_from_slice(b"\r\n");
    }

    fn answer(&mut self, status: u16, headers: &str, body: &[u8]) -> Answered {
        self.write_head(status, headers, body.len() as u64);
        let sent = self.wire.send_with(body)?;
        self.wire.stream.write_all(&body[sent..])?;
        Ok(self.wire.stream.flush()?)
    }

    fn xml(&mut self, status: u16, document: &str) -> Answered {
        self.answer(status, "content-type: application/xml\r\n", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}").as_bytes())
    }

    fn refuse(&mut self, request: &Request<'_>, status: u16, code: &str, message: &str) -> Answered {
        self.server.counters.refused.fetch_add(1, Relaxed);
        self.error(request, status, "", code, message)
    }

    fn error(&mut self, request: &Request<'_>, status: u16, headers: &str, code: &str, message: &str) -> Answered {
        if request.head.method == "HEAD" {
            // An answer to HEAD has no body, and says no length that one would have.
            return self.answer(status, headers, b"");
        }
        let key = String::from_utf8_lossy(&escape(&request.key)).into_owned();
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message><Resource>{key}</Resource><RequestId>B</RequestId></Error>"
        );
        self.answer(status, &format!("content-type: application/xml\r\n{headers}"), document.as_bytes())
    }

    fn throttle(&mut self, request: &Request<'_>) -> Answered {
        let headers = if request.dialect == Dialect::Oss { "x-oss-qos-delay-time: 100\r\n" } else { "" };
        self.error(request, 503, headers, request.dialect.throttled(), "please reduce your request rate")
    }

    fn missing(&mut self, request: &Request<'_>) -> Answered {
        // Looking whether a key is there is nobody's fault.
        self.error(request, 404, "", "NoSuchKey", "there is no object of this key")
    }

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

    fn head(&mut self, request: &Request<'_>) -> Answered {
        let Some(object) = self.server.store.find(&request.bucket, &request.key) else { return self.missing(request) };
        let headers = self.describe(request.dialect, &object, true);
        self.write_head(200, &headers, object.size);
        self.wire.send_with(b"")?;
        Ok(self.wire.stream.flush()?)
    }

    fn get(&mut self, request: &Request<'_>, fault: Fault) -> Answered {
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
    fn receive(&mut self, request: &Request<'_>, fault: Fault) -> Result<Option<(u64, super::content::Crcs)>, End> {
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

    fn metadata(&self, request: &Request<'_>) -> Metadata {
        let meta = |name: &str| {
            let own = name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case(request.dialect.prefix()));
            own && name.get(6..11).is_some_and(|rest| rest.eq_ignore_ascii_case("meta-")) || KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept))
        };
        let kept = request.head.headers.iter().filter(|(name, _)| meta(name));
        // The SDKs' framing is not the object's encoding.
        let kept = kept.filter(|(name, value)| !(name.eq_ignore_ascii_case("content-encoding") && *value == "aws-chunked"));
        kept.map(|(name, value)| (name.to_ascii_lowercase().into(), (*value).into())).collect()
    }

    fn put(&mut self, request: &Request<'_>, fault: Fault) -> Answered {
        let metadata = self.metadata(request);
        let Some((size, crcs)) = self.receive(request, fault)? else { return Ok(()) };
        let etag = self.server.store.etag(&request.key, size, crcs);
        let headers = format!("etag: \"{}\"\r\n{}", request.dialect.etag(&etag), request.dialect.checksum(crcs));
        self.server.store.write(&request.bucket, &request.key, Stored { size, crcs, etag, modified: now(), metadata });
        self.answer(200, &headers, b"")
    }

    fn upload_part(&mut self, request: &Request<'_>, fault: Fault) -> Answered {
        let Some((size, crcs)) = self.receive(request, fault)? else { return Ok(()) };
        let number = request.query("partNumber").and_then(|number| number.parse().ok());
        let md5 = request.header("content-md5").and_then(|text| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).ok());
        let etag = md5.map_or_else(|| opaque(crcs), |md5| hex(&md5));
        let part = StoredPart { size, crcs, etag: etag.clone() };
        let known = match (self.server.store.uploads().get_mut(request.query("uploadId").unwrap_or_default()), number) {
            (Some(upload), Some(number)) => {
                upload.parts.insert(number, part);
                true
            }
            _ => false,
        };
        if !known {
            return self.refuse(request, 404, "NoSuchUpload", "there is no such upload");
        }
        let mut headers = format!("etag: \"{}\"\r\n", request.dialect.etag(&etag));
        if request.dialect == Dialect::Oss || request.header("x-amz-checksum-crc64nvme").is_some() {
            headers.push_str(&request.dialect.checksum(crcs));
        }
        self.answer(200, &headers, b"")
    }

    fn list(&mut self, request: &Request<'_>) -> Answered {
        if !self.server.page_delay.is_zero() {
            std::thread::sleep(self.server.page_delay);
        }
        let version_2 = request.query("list-type") == Some("2");
        let ask = Ask {
            version_2,
            prefix: request.query("prefix").unwrap_or_default().as_bytes().to_vec(),
            delimiter: request.query("delimiter").and_then(|delimiter| delimiter.bytes().next()),
            after: request.query(if version_2 { "start-after" } else { "marker" }).unwrap_or_default().as_bytes().to_vec(),
            token: request.query("continuation-token").map(str::to_owned),
            max_keys: request.query("max-keys").and_then(|max| max.parse().ok()).unwrap_or(request.dialect.page_keys()).min(1000),
            url: request.query("encoding-type") == Some("url"),
        };
        match listing::page(&self.server.store, request.dialect, &request.bucket, &ask) {
            Some(page) => self.answer(200, "content-type: application/xml\r\n", &page),
            None => self.refuse(request, 400, "InvalidArgument", "the continuation token is not ours"),
        }
    }

    fn create_upload(&mut self, request: &Request<'_>) -> Answered {
        let id = format!("upload-{}", self.server.upload_number.fetch_add(1, Relaxed));
        let upload = Upload { bucket: request.bucket.clone(), key: request.key.clone(), metadata: self.metadata(request), parts: BTreeMap::new() };
        self.server.store.uploads().insert(id.clone(), upload);
        let key = String::from_utf8_lossy(&escape(&request.key)).into_owned();
        let bucket = &request.bucket;
        self.xml(
            200,
            &format!("<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"),
        )
    }

    fn complete_upload(&mut self, request: &Request<'_>, body: &str) -> Answered {
        let id = request.query("uploadId").unwrap_or_default();
        let Some(upload) = self.server.store.uploads().remove(id) else {
            return self.refuse(request, 404, "NoSuchUpload", "there is no such upload");
        };
        let numbers = texts(body, "PartNumber").map(|number| number.trim().parse().ok());
        let etags = texts(body, "ETag").map(|etag| unescape(etag).trim_matches('"').to_owned());
        let named: Option<Vec<&StoredPart>> =
            numbers.zip(etags).map(|(number, etag)| upload.parts.get(&number?).filter(|part| part.etag.eq_ignore_ascii_case(&etag))).collect();
        let Some(parts) = named.filter(|parts| !parts.is_empty()) else {
            self.server.store.uploads().insert(id.to_owned(), upload);
            return self.refuse(request, 400, "InvalidPart", "a part that is named was not uploaded, or has another ETag");
        };
        let parts: Vec<StoredPart> = parts.into_iter().cloned().collect();
        let (size, crcs) = self.server.store.joined(&request.key, &parts);
        let stated = request.header("x-amz-checksum-crc64nvme");
        if stated.is_some_and(|stated| stated != base64(crcs.nvme)) {
            return self.refuse(request, 400, "BadDigest", "the object is not what its checksum says");
        }
        let etag = multipart_etag(&parts).unwrap_or_else(|| format!("{}-{}", opaque(crcs), parts.len()));
        let spelled = request.dialect.etag(&etag);
        self.server.store.write(&request.bucket, &request.key, Stored { size, crcs, etag, modified: now(), metadata: upload.metadata });
        let key = String::from_utf8_lossy(&escape(&request.key)).into_owned();
        let checksum = match request.dialect {
            Dialect::S3 => format!("<ChecksumCRC64NVME>{}</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>", base64(crcs.nvme)),
            Dialect::Oss => String::new(),
        };
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult><Location>here</Location><Bucket>{}</Bucket><Key>{key}</Key>\
             <ETag>\"{spelled}\"</ETag>{checksum}</CompleteMultipartUploadResult>",
            request.bucket
        );
        self.answer(200, &format!("content-type: application/xml\r\netag: \"{spelled}\"\r\n{}", request.dialect.checksum(crcs)), document.as_bytes())
    }

    fn list_parts(&mut self, request: &Request<'_>) -> Answered {
        let marker: u32 = request.query("part-number-marker").and_then(|marker| marker.parse().ok()).unwrap_or(0);
        let most: usize = request.query("max-parts").and_then(|most| most.parse().ok()).unwrap_or(1000);
        let id = request.query("uploadId").unwrap_or_default();
        let mut document = None;
        if let Some(upload) = self.server.store.uploads().get(id) {
            let behind: Vec<_> = upload.parts.range(marker + 1..).take(most + 1).collect();
            let page = &behind[..behind.len().min(most)];
            let next = page.last().map_or(marker, |(number, _)| **number);
            let mut parts = format!(
                "<ListPartsResult><Bucket>{}</Bucket><Key>{}</Key><UploadId>{id}</UploadId><PartNumberMarker>{marker}</PartNumberMarker>\
                 <NextPartNumberMarker>{next}</NextPartNumberMarker><MaxParts>{most}</MaxParts><IsTruncated>{}</IsTruncated>",
                upload.bucket,
                String::from_utf8_lossy(&escape(&upload.key)),
                behind.len() > page.len(),
            );
            for (number, part) in page {
                let checksum = match request.dialect {
                    Dialect::S3 => format!("<ChecksumCRC64NVME>{}</ChecksumCRC64NVME>", base64(part.crcs.nvme)),
                    Dialect::Oss => format!("<HashCrc64ecma>{}</HashCrc64ecma>", part.crcs.xz),
                };
                parts.push_str(&format!(
                    "<Part><PartNumber>{number}</PartNumber><LastModified>{}</LastModified><ETag>\"{}\"</ETag><Size>{}</Size>{checksum}</Part>",
                    iso8601(now()),
                    request.dialect.etag(&part.etag),
                    part.size,
                ));
            }
            document = Some(parts + "</ListPartsResult>");
        }
        match document {
            Some(document) => self.xml(200, &document),
            None => self.refuse(request, 404, "NoSuchUpload", "there is no such upload"),
        }
    }

    fn list_uploads(&mut self, request: &Request<'_>) -> Answered {
        let prefix = request.query("prefix").unwrap_or_default().as_bytes();
        let mut document =
            format!("<ListMultipartUploadsResult><Bucket>{}</Bucket><MaxUploads>1000</MaxUploads><IsTruncated>false</IsTruncated>", request.bucket);
        for (id, upload) in
            self.server.store.uploads().iter().filter(|(_, upload)| upload.bucket == request.bucket && upload.key.starts_with(prefix)).take(1000)
        {
            document.push_str(&format!(
                "<Upload><Key>{}</Key><UploadId>{id}</UploadId><Initiated>{}</Initiated></Upload>",
                String::from_utf8_lossy(&escape(&upload.key)),
                iso8601(now()),
            ));
        }
        self.xml(200, &(document + "</ListMultipartUploadsResult>"))
    }

    fn delete_many(&mut self, request: &Request<'_>, body: &str) -> Answered {
        let mut document = String::from("<DeleteResult>");
        for key in texts(body, "Key") {
            self.server.store.delete(&request.bucket, unescape(key).as_bytes());
            document.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
        }
        self.xml(200, &(document + "</DeleteResult>"))
    }

    fn bucket_setting(&mut self, request: &Request<'_>) -> Answered {
        if request.query("location").is_some() {
            return match request.dialect {
                Dialect::S3 => self.xml(200, "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"),
                Dialect::Oss => self.xml(200, "<LocationConstraint>oss-cn-hangzhou</LocationConstraint>"),
            };
        }
        if request.query("versioning").is_some() {
            return self.xml(200, "<VersioningConfiguration/>");
        }
        self.refuse(request, 501, "NotImplemented", "the benchmark's server does not do this")
    }
}

/// `md5(part md5s)-N`, where every part's ETag is an MD5.
fn multipart_etag(parts: &[StoredPart]) -> Option<String> {
    let mut all = Md5::new();
    for part in parts {
        let md5: Option<Vec<u8>> = part.etag.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        all.update(md5.filter(|md5| md5.len() == 16)?);
    }
    Some(format!("{}-{}", hex(&all.finalize()), parts.len()))
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
