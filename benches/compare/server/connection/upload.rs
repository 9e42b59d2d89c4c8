//! Multipart uploads.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use md5::{Digest, Md5};

use super::super::content::hex;
use super::super::dialect::{Dialect, base64};
use super::super::fault::Fault;
use super::super::request::Request;
use super::super::store::{Stored, StoredPart, Upload, opaque};
use super::super::time::{iso8601, now};
use super::super::xml::{escape, texts, unescape};
use super::{Answered, Connection};

impl Connection<'_> {
    pub(super) fn upload_part(&mut self, request: &Request<'_>, fault: Fault) -> Answered {
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
    pub(super) fn create_upload(&mut self, request: &Request<'_>) -> Answered {
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

    pub(super) fn complete_upload(&mut self, request: &Request<'_>, body: &str) -> Answered {
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

    pub(super) fn list_parts(&mut self, request: &Request<'_>) -> Answered {
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

    pub(super) fn list_uploads(&mut self, request: &Request<'_>) -> Answered {
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
