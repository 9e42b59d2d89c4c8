//! A bucket's lifecycle configuration, as it is: what it says is nothing to the wire.

use http::{HeaderValue, Method};

use super::client::{Bucket, Call};
use super::object::ANSWER_BYTES_MAX;
use crate::error::Result;
use crate::storage::transport::lifecycle::{BYTES_MAX, content_md5, text};

/// GetBucketLifecycleConfiguration. A bucket without one is an error to S3.
pub(super) async fn lifecycle(bucket: &Bucket) -> Result<Option<String>> {
    match bucket.send(&Call::new(Method::GET, None).flag("lifecycle")).await {
        Ok(response) => text(&response.collect(BYTES_MAX).await?).map(Some),
        Err(error) if error.answer().is_some_and(|answer| answer.code == "NoSuchLifecycleConfiguration") => Ok(None),
        Err(error) => Err(error),
    }
}

/// From which size on objects move to other classes, where a rule does not say it.
const MINIMUM_SIZE: &str = "x-amz-transition-default-minimum-object-size";

async fn minimum_size(bucket: &Bucket) -> Result<Option<HeaderValue>> {
    match bucket.send(&Call::new(Method::GET, None).flag("lifecycle")).await {
        Ok(response) => {
            let held = response.head.headers.get(MINIMUM_SIZE).cloned();
            response.collect(BYTES_MAX).await?;
            Ok(held)
        }
        Err(error) if error.answer().is_some_and(|answer| answer.code == "NoSuchLifecycleConfiguration") => Ok(None),
        Err(error) => Err(error),
    }
}

/// PutBucketLifecycleConfiguration, which needs a checksum of the document, or DeleteBucketLifecycle.
pub(super) async fn set_lifecycle(bucket: &Bucket, rules: Option<&str>) -> Result<()> {
    let mut call = Call::new(if rules.is_some() { Method::PUT } else { Method::DELETE }, None).flag("lifecycle");
    if let Some(rules) = rules {
        // A setting of the bucket that travels beside its rules: without it S3 goes back to its own default, and other people's rules would take
        // other objects than before (Amazon S3 API reference, PutBucketLifecycleConfiguration).
        if let Some(kept) = minimum_size(bucket).await? {
            call.headers.insert(MINIMUM_SIZE, kept);
        }
        call.payload = bytes::Bytes::copy_from_slice(rules.as_bytes()).into();
        call.headers.insert("content-md5", content_md5(rules));
        call.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    }
    bucket.send(&call).await?.collect(ANSWER_BYTES_MAX).await?;
    Ok(())
}
