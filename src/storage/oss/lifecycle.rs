//! A bucket's lifecycle configuration, as it is: what it says is nothing to the wire.

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::Bucket;
use super::client::Request;
use super::object::ANSWER_BYTES_MAX;
use crate::error::Result;
use crate::storage::transport::lifecycle::{BYTES_MAX, content_md5, text};

impl Bucket {
    /// GetBucketLifecycle. A bucket without one is an error to OSS: 404 NoSuchLifecycle.
    pub(super) async fn lifecycle(&self) -> Result<Option<String>> {
        let request = Request::new("lifecycle", Method::GET, None).flag("lifecycle");
        let response = match self.send(&request).await {
            Ok(response) => response,
            Err(error) if error.answer().is_some_and(|answer| answer.code == "NoSuchLifecycle") => return Ok(None),
            Err(error) => return Err(error),
        };
        let body = response.collect(BYTES_MAX).await;
        body.and_then(|body| text(&body)).map(Some).map_err(|e| self.place(&request, e))
    }

    /// PutBucketLifecycle, or DeleteBucketLifecycle.
    pub(super) async fn set_lifecycle(&self, rules: Option<&str>, overlap: bool) -> Result<()> {
        let method = if rules.is_some() { Method::PUT } else { Method::DELETE };
        let mut request = Request::new("set lifecycle", method, None).flag("lifecycle");
        if let Some(rules) = rules {
            request.headers.insert("content-md5", content_md5(rules));
            request.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            request.body = Bytes::copy_from_slice(rules.as_bytes()).into();
            if overlap {
                // Else rules of one action on prefixes of each other are refused (EC 0014-00000082, protocol.md section 4).
                request = request.header("x-oss-allow-same-action-overlap", "true");
            }
        }
        self.send(&request).await?.collect(ANSWER_BYTES_MAX).await.map(|_| ()).map_err(|e| self.place(&request, e))
    }
}
