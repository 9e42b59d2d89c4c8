//! Refusals in S3's words.

use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use s3s::{S3Error, S3ErrorCode, s3_error};

use super::attributes::http_date;
use crate::devserver::store::Refusal;

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchBucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
            Refusal::BucketExists => s3_error!(BucketAlreadyOwnedByYou, "Your previous request to create the named bucket succeeded and you already own it."),
            Refusal::BucketNotEmpty => s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty"),
            Refusal::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
            Refusal::NoSuchVersion => s3_error!(NoSuchVersion, "The specified version does not exist."),
            Refusal::DeleteMarker { version_id, made, asked } => delete_marker(&version_id, made, asked),
            Refusal::NoSuchUpload => {
                s3_error!(NoSuchUpload, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
            }
            Refusal::Disk(error) => {
                tracing::error!(%error, "the S3 side cannot reach its data");
                S3Error::with_message(S3ErrorCode::InternalError, "We encountered an internal error. Please try again.")
            }
        }
    }
}

/// A marker hides the object, and cannot be read itself (S3 User Guide, "Working with delete markers").
fn delete_marker(version_id: &str, made: Timestamp, asked: bool) -> S3Error {
    let mut error = match asked {
        true => s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource."),
        false => s3_error!(NoSuchKey, "The specified key does not exist."),
    };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::try_from(version_id) {
        headers.insert("x-amz-version-id", id);
    }
    if asked && let Ok(time) = HeaderValue::try_from(http_date(made)) {
        headers.insert(http::header::LAST_MODIFIED, time);
        headers.insert(http::header::ALLOW, HeaderValue::from_static("DELETE"));
    }
    error.set_headers(headers);
    error
}

/// 416 with the object's length, as the service answers a range outside the object.
pub(super) fn range_not_satisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
        headers.insert(http::header::CONTENT_RANGE, value);
    }
    error.set_headers(headers);
    error
}

/// An error of a code that s3s does not know.
pub(super) fn named(status: StatusCode, code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}
