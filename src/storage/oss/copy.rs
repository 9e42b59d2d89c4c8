//! Copies within OSS, and links.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};

use super::Bucket;
use super::client::Request;
use super::object::{ANSWER_BYTES_MAX, etag_value, output};
use crate::error::{Error, Result};
use crate::storage::key::Key;
use crate::storage::object::{Attributes, ETag, ObjectRef};
use crate::storage::transport::target::encode_path;
use crate::storage::transport::xml::{ErrorDocument, copy_result};
use crate::storage::{CopyRange, Part, PresignMethod, PutOutput, Upload};

/// Largest object that CopyObject is documented to take: 1 GB (protocol.md 2.2).
pub(super) const COPY_BYTES_MAX: u64 = 1 << 30;

/// Names what is to be copied, and pins it.
fn write_source(headers: &mut HeaderMap, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>) -> Result<()> {
    let mut from = format!("/{bucket}/{}", encode_path(source.key.as_bytes()));
    if let Some(version) = &source.version {
        from.push_str("?versionId=");
        from.push_str(&crate::storage::transport::target::encode_query(version.as_bytes()));
    }
    headers.insert("x-oss-copy-source", HeaderValue::try_from(from).map_err(|e| Error::invalid("the source's bucket is no name").caused_by(e))?);
    if let Some(etag) = if_match {
        headers.insert("x-oss-copy-source-if-match", etag_value(&etag.quoted())?);
    }
    Ok(())
}

impl Bucket {
    pub(super) async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
        self.check_key(key)?;
        let mut request = Request::new("copy", Method::PUT, Some(key));
        request.headers = self.defaults.write(attributes).map_err(|e| self.place(&request, e))?;
        write_source(&mut request.headers, bucket, source, if_match)?;
        let mut request = request.header("x-oss-metadata-directive", "REPLACE");
        if attributes.tags.is_some() {
            request = request.header("x-oss-tagging-directive", "Replace");
        }
        self.send_copy(&request).await
    }

    /// Has OSS fill a part of an upload with bytes it holds (UploadPartCopy).
    pub(super) async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
        let mut request = Request::new("copy part", Method::PUT, Some(&upload.key)).with("partNumber", number.to_string()).with("uploadId", &upload.id.0);
        write_source(&mut request.headers, from.bucket, from.object, from.if_match)?;
        let range = from.header().and_then(|text| HeaderValue::try_from(text).map_err(|e| Error::invalid("no range").caused_by(e)));
        request.headers.insert("x-oss-copy-source-range", range.map_err(|e| self.place(&request, e))?);
        let made = self.send_copy(&request).await?;
        if made.etag.is_empty() {
            return Err(self.place(&request, Error::integrity("OSS copied the part and gave it no ETag")));
        }
        Ok(Part { number, etag: made.etag, size: from.len(), checksums: made.checksums, modified: None })
    }

    /// Sends a copy of either kind and reads what it made.
    async fn send_copy(&self, request: &Request<'_>) -> Result<PutOutput> {
        let response = self.send(request).await?;
        let mut made = output(&response.head.headers);
        let body = response.collect(ANSWER_BYTES_MAX).await.map_err(|e| self.place(request, e))?;
        if let Some(document) = ErrorDocument::parse(&body) {
            return Err(self.place(request, Error::integrity(format!("the copy broke off: {} ({})", document.message, document.code))));
        }
        let copied = copy_result(&body).map_err(|e| self.place(request, e))?;
        made.etag = copied.etag;
        made.checksums.merge(&copied.checksums);
        Ok(made)
    }

    pub(super) async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
        self.check_key(&object.key)?;
        let method = match method {
            PresignMethod::Get => Method::GET,
            PresignMethod::Put => Method::PUT,
        };
        let request = Request::new("presign", method, Some(&object.key)).with_some("versionId", object.version.as_ref());
        self.client.presign(&self.home, &request, expires_in).await.map_err(|e| self.place(&request, e))
    }
}
