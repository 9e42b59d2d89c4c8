//! What the OSS dialect answers when it refuses: protocol.md 2.8.
//!
//! An EC is given only where Alibaba documents one for that cause; the element is left out otherwise rather than invented.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::xml::Writer;
use super::{header_value, http_date};
use crate::devserver::store::Refusal;

/// A refusal, as the service would word it.
#[derive(Debug, Clone)]
pub(crate) struct OssError {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) ec: &'static str,
    /// Further elements of the XML, such as `StringToSign` or `BucketName`.
    pub(crate) details: Vec<(&'static str, String)>,
    /// Further response headers, such as `x-oss-delete-marker`.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The result of an operation of the dialect.
pub(crate) type OssResult<T> = Result<T, OssError>;

impl OssError {
    /// A refusal with a status, a code and a message in the service's words.
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code: Cow::Borrowed(code), message: message.into(), ec: "", details: Vec::new(), headers: Vec::new() }
    }

    /// The fine-grained code that Alibaba documents for this cause.
    pub(crate) fn ec(mut self, ec: &'static str) -> Self {
        self.ec = ec;
        self
    }

    /// One more element of the XML.
    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// One more response header.
    pub(crate) fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((HeaderName::from_static(name), value));
        self
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    /// An argument whose name and value the answer repeats.
    pub(crate) fn bad_value(name: &str, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_argument(message).detail("ArgumentName", name).detail("ArgumentValue", value)
    }

    pub(crate) fn missing_argument(message: impl Into<String>) -> Self {
        Self::new(400, "MissingArgument", message)
    }

    pub(crate) fn malformed_xml() -> Self {
        Self::new(400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema.").ec("0031-00000001")
    }

    pub(crate) fn access_denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDenied", message).ec("0003-00000001")
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(400, "NotImplemented", format!("A header or query you provided implies functionality that is not implemented: {what}."))
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist.").ec("0015-00000101")
    }

    pub(crate) fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.").ec("0026-00000001")
    }

    pub(crate) fn no_such_upload() -> Self {
        let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
        Self::new(404, "NoSuchUpload", message)
    }

    /// Names what the request addressed, as the service does for what is not there.
    pub(crate) fn located(self, bucket: Option<&str>, key: Option<&[u8]>, upload_id: Option<&[u8]>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match (self.code.as_ref(), bucket, key, upload_id) {
            ("NoSuchBucket" | "BucketNotEmpty" | "BucketAlreadyExists", Some(bucket), ..) => self.detail("BucketName", bucket),
            ("NoSuchKey", _, Some(key), _) => self.detail("Key", text(key)),
            ("NoSuchUpload", .., Some(id)) => self.detail("UploadId", text(id)),
            _ => self,
        }
    }

    pub(crate) fn precondition_failed(condition: &str) -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.").detail("Condition", condition)
    }

    pub(crate) fn already_exists() -> Self {
        Self::new(409, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.")
    }

    pub(crate) fn too_large(message: &str) -> Self {
        Self::new(400, "EntityTooLarge", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The XML body.
    pub(crate) fn xml(&self, request_id: &str, host: &str) -> Vec<u8> {
        let mut xml = Writer::new();
        xml.open("Error").leaf("Code", &self.code).leaf("Message", &self.message).leaf("RequestId", request_id).leaf("HostId", host);
        for (name, value) in &self.details {
            xml.leaf(name, value);
        }
        if !self.ec.is_empty() {
            xml.leaf("EC", self.ec).leaf("RecommendDoc", format!("https://api.aliyun.com/troubleshoot?q={}", self.ec));
        }
        xml.close("Error");
        xml.finish()
    }
}

impl From<Refusal> for OssError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchBucket => Self::no_such_bucket(),
            Refusal::NoSuchKey => Self::no_such_key(),
            Refusal::NoSuchVersion => Self::new(404, "NoSuchVersion", "The specified version does not exist."),
            Refusal::DeleteMarker { version_id, made, asked } => delete_marker(&version_id, made, asked),
            Refusal::NoSuchUpload => Self::no_such_upload(),
            Refusal::BucketExists => Self::new(409, "BucketAlreadyExists", "The requested bucket name is not available."),
            Refusal::BucketNotEmpty => Self::new(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.").ec("0015-00000301"),
            Refusal::Disk(error) => Self::internal(format!("the dev server's disk failed: {error}")),
        }
    }
}

/// A marker hides the object, and cannot be read itself (protocol.md 2.5).
fn delete_marker(version_id: &str, made: Timestamp, asked: bool) -> OssError {
    let error = match asked {
        true => OssError::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
            .header("last-modified", header_value(&http_date(made)))
            .header("allow", HeaderValue::from_static("DELETE")),
        false => OssError::no_such_key(),
    };
    error.header("x-oss-delete-marker", HeaderValue::from_static("true")).header("x-oss-version-id", header_value(version_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_documented_shape_and_no_invented_ec() {
        let body = String::from_utf8(OssError::no_such_key().located(Some("bkt"), Some(b"a&b"), None).xml("5F01", "127.0.0.1")).unwrap();
        assert_eq!(
            body,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>\
             <RequestId>5F01</RequestId><HostId>127.0.0.1</HostId><Key>a&amp;b</Key><EC>0026-00000001</EC>\
             <RecommendDoc>https://api.aliyun.com/troubleshoot?q=0026-00000001</RecommendDoc></Error>"
        );
        let body = String::from_utf8(OssError::already_exists().xml("5F01", "h")).unwrap();
        assert!(!body.contains("<EC>"), "{body}");
    }
}
