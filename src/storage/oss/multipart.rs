//! Multipart uploads (protocol.md 2.2, 2.3).

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use http::Method;

use super::client::Request;
use super::headers::Headers;
use super::object::{ANSWER_BYTES_MAX, insert_md5, output};
use super::{Bucket, PARTS_MAX, PUT_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Agreement, Checksums, XZ};
use crate::storage::key::Key;
use crate::storage::object::{Attributes, ObjectInfo};
use crate::storage::payload::Payload;
use crate::storage::transport::xml::{complete_body, complete_result, list_parts, list_uploads, upload_id};
use crate::storage::{Complete, OpenUpload, Part, PutOutput, Upload, UploadId};

/// Largest page of parts or uploads that is read: 1000 of them, and their keys escaped.
const PAGE_BYTES_MAX: usize = 8 << 20;

impl Bucket {
    pub(super) async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        self.check_key(key)?;
        let mut request = Request::new("begin upload", Method::POST, Some(key)).flag("uploads").with("encoding-type", "url");
        request.headers = self.defaults.write(attributes).map_err(|e| self.place(&request, e))?;
        let body = self.send(&request).await?.collect(ANSWER_BYTES_MAX).await;
        body.and_then(|body| upload_id(&body)).map_err(|e| self.place(&request, e))
    }

    pub(super) async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        let mut request = Request::new("upload part", Method::PUT, Some(&upload.key)).with("partNumber", number.to_string()).with("uploadId", &upload.id.0);
        if !(1..=PARTS_MAX).contains(&number) || payload.len() > PUT_BYTES_MAX {
            let why = format!("part {number} of {} bytes: parts are numbered 1 to {PARTS_MAX} and hold {PUT_BYTES_MAX} bytes at most", payload.len());
            return Err(self.place(&request, Error::invalid(why)));
        }
        insert_md5(&mut request.headers, checksums);
        let size = payload.len();
        request.body = payload;
        let response = self.send(&request).await?;
        let headers = Headers(&response.head.headers);
        let etag = headers.etag();
        if etag.is_empty() {
            return Err(self.place(&request, Error::integrity("OSS took the part and gave it no ETag")));
        }
        Ok(Part { number, etag, size, checksums: headers.checksums(), modified: None })
    }

    pub(super) async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut marker = 0;
        loop {
            let request = Request::new("list parts", Method::GET, Some(&upload.key))
                .with("uploadId", &upload.id.0)
                .with("max-parts", "1000")
                .with("encoding-type", "url")
                .with_some("part-number-marker", (marker > 0).then(|| marker.to_string()));
            let body = self.send(&request).await?.collect(PAGE_BYTES_MAX).await;
            // Numbers ascend and end at 10,000, so this ends.
            let page = body.and_then(|body| list_parts(&body, marker)).map_err(|e| self.place(&request, e))?;
            parts.extend(page.parts);
            match page.next_marker {
                Some(next) if next <= PARTS_MAX => marker = next,
                _ => return Ok(parts),
            }
        }
    }

    pub(super) async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        let mut request = Request::new("complete upload", Method::POST, Some(&upload.key)).with("uploadId", &upload.id.0).with("encoding-type", "url");
        self.condition(&mut request, complete.condition.as_ref()).await?;
        request.body = complete_body(parts, false).into_bytes().into();
        request.headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/xml"));
        let response = match self.send(&request).await {
            Ok(response) => response,
            // An answer may have been lost on the way, and the upload completed all the same.
            Err(e) if e.kind() == ErrorKind::UploadNotFound => return self.completed_before(upload, parts, &complete, e).await,
            Err(e) => return Err(e),
        };
        let mut made = output(&response.head.headers);
        let body = response.collect(ANSWER_BYTES_MAX).await.map_err(|e| self.place(&request, e))?;
        made.etag = complete_result(&body).map_err(|e| self.place(&request, e))?.0;
        Ok(made)
    }

    /// The object that this upload made, if the one that is there has its length and its checksum; else the service's refusal.
    async fn completed_before(&self, upload: &Upload, parts: &[Part], complete: &Complete, refusal: Error) -> Result<PutOutput> {
        let Ok(info) = self.head(&upload.key.clone().into()).await else { return Err(refusal) };
        if !is_made_of(&info, parts, complete.checksums.as_ref()) {
            return Err(refusal);
        }
        let request_id = refusal.answer().map(|a| a.request_id.clone()).unwrap_or_default();
        tracing::info!(key = %upload.key, request_id, "the upload was completed by an earlier request whose answer was lost");
        Ok(PutOutput { etag: info.etag, version: info.version, checksums: info.checksums, request_id })
    }

    pub(super) async fn abort(&self, upload: &Upload) -> Result<()> {
        let request = Request::new("abort upload", Method::DELETE, Some(&upload.key)).with("uploadId", &upload.id.0);
        match self.send(&request).await {
            Err(e) if e.kind() != ErrorKind::UploadNotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Whether an object is the one these parts make: as long, and with an equal checksum. Equal lengths alone prove nothing.
fn is_made_of(info: &ObjectInfo, parts: &[Part], whole: Option<&Checksums>) -> bool {
    let size: u64 = parts.iter().map(|p| p.size).sum();
    let combined = parts.iter().try_fold(0, |crc, part| Some(XZ.combine(crc, part.checksums.crc64xz?, part.size)));
    let mut expected = Checksums { crc64xz: combined, ..Checksums::default() };
    if let Some(whole) = whole {
        expected.merge(whole);
    }
    info.size == size && matches!(info.checksums.agreement(&expected), Agreement::Equal(_))
}

/// Open uploads under a prefix, page by page.
pub(super) fn uploads(bucket: Arc<Bucket>, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
    async_stream::try_stream! {
        let mut marker: Option<(Key, String)> = None;
        loop {
            let request = Request::new("list uploads", Method::GET, None)
                .flag("uploads")
                .with("max-uploads", "1000")
                .with("encoding-type", "url")
                .with_some("prefix", Some(prefix.as_bytes()).filter(|p| !p.is_empty()))
                .with_some("key-marker", marker.as_ref().map(|m| m.0.as_bytes()))
                .with_some("upload-id-marker", marker.as_ref().map(|m| m.1.as_str()).filter(|id| !id.is_empty()));
            let body = bucket.send(&request).await?.collect(PAGE_BYTES_MAX).await;
            let page = body.and_then(|body| list_uploads(&body)).map_err(|e| bucket.place(&request, e))?;
            for upload in page.uploads {
                yield upload;
            }
            let Some(next) = page.next_marker else { return };
            if marker.as_ref() == Some(&next) {
                Err(bucket.place(&request, Error::integrity("the list of uploads repeats its marker, so it would never end")))?;
            }
            marker = Some(next);
        }
    }
    .boxed()
}
