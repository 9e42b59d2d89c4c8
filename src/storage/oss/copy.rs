//! Copies within OSS, and links.

use std::time::Duration;

use http::{HeaderValue, Method};

use super::Bucket;
use super::client::Request;
use super::object::{ANSWER_BYTES_MAX, etag_value, output};
use crate::error::{Error, Result};
use crate::storage::key::Key;
use crate::storage::object::{Attributes, ETag, ObjectRef};
use crate::storage::transport::target::encode_path;
use crate::storage::transport::xml::{ErrorDocument, copy_result};
use crate::storage::{PresignMethod, PutOutput};

/// Largest object that CopyObject is documented to take: 1 GB (protocol.md 2.2).
pub(super) const COPY_BYTES_MAX: u64 = 1 << 30;

impl Bucket {
    pub(super) async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
        self.check_key(key)?;
        let mut request = Request::new("copy", Method::PUT, Some(key));
        request.headers = self.defaults.write(attributes).map_err(|e| self.place(&request, e))?;
        let mut from = format!("/{bucket}/{}", encode_path(source.key.as_bytes()));
        if let Some(version) = &source.version {
            from.push_str("?versionId=");
            from.push_str(&crate::storage::transport::target::encode_query(version.as_bytes()));
        }
        request.headers.insert("x-oss-copy-source", HeaderValue::try_from(from).map_err(|e| Error::invalid("the source's bucket is no name").caused_by(e))?);
        if let Some(etag) = if_match {
            request.headers.insert("x-oss-copy-source-if-match", etag_value(&etag.quoted())?);
        }
        let mut request = request.header("x-oss-metadata-directive", "REPLACE");
        if attributes.tags.is_some() {
            request = request.header("x-oss-tagging-directive", "Replace");
        }
        let response = self.send(&request).await?;
        let mut made = output(&response.head.headers);
        let body = response.collect(ANSWER_BYTES_MAX).await.map_err(|e| self.place(&request, e))?;
        if let Some(document) = ErrorDocument::parse(&body) {
            return Err(self.place(&request, Error::integrity(format!("the copy broke off: {} ({})", document.message, document.code))));
        }
        let copied = copy_result(&body).map_err(|e| self.place(&request, e))?;
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
