//! What S3 says when it refuses, and what that means for the caller (protocol.md 2.8).

use std::time::Duration;

use jiff::Timestamp;

use crate::error::{CloudAnswer, Error, ErrorKind};
use crate::storage::key::escape;
use crate::storage::transport::Response;
use crate::storage::transport::refusal::{is_unreasoned, unreasoned};
use crate::storage::transport::xml::ErrorDocument;

/// Longest error answer that is read, in bytes.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// A refused request: the error to report, and what may set it right.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) status: u16,
    /// The service's code, empty where there was none (every answer to HEAD).
    pub(super) code: String,
    /// The region that the bucket is in, where the answer says it.
    pub(super) region: Option<String>,
    /// The service's clock.
    pub(super) server_time: Option<Timestamp>,
}

impl Refusal {
    /// Reads an answer whose status is no success.
    pub(super) async fn read(response: Response) -> Self {
        let header = |name: &str| response.header(name).map(str::to_owned).filter(|v| !v.is_empty());
        let status = response.status();
        let (region, request_id) = (header("x-amz-bucket-region"), header("x-amz-request-id").map(|id| escape(id.as_bytes())).unwrap_or_default());
        let retry_after = header("retry-after").and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
        let server_time = header("date").and_then(|d| jiff::fmt::rfc2822::parse(&d).ok()).map(|t| t.timestamp());
        let delete_marker = header("x-amz-delete-marker").is_some_and(|v| v == "true");
        let (document, lost) = match response.collect(ERROR_BYTES_MAX).await {
            Ok(body) => (ErrorDocument::parse(&body), None),
            // Any other status stands whatever becomes of the body.
            Err(error) => (None, is_unreasoned(status, &error).then_some(error)),
        };
        let mut refusal = Self::of(status, request_id, document.unwrap_or_default(), delete_marker);
        if let Some(error) = lost {
            refusal.error = unreasoned("S3", status, error);
        }
        if let Some(wait) = retry_after {
            refusal.error = refusal.error.retry_after(wait);
        }
        refusal.region = refusal.region.or(region);
        refusal.server_time = server_time.or(refusal.server_time);
        refusal
    }

    /// Judges an error document, also one that came with a status of 200.
    pub(super) fn of(status: u16, request_id: String, document: ErrorDocument, delete_marker: bool) -> Self {
        let (kind, advice) =
            if delete_marker && matches!(status, 404 | 405) { (ErrorKind::NotFound, "") } else { judge(status, &document.code, &document.message) };
        let message = match (document.message.is_empty(), document.code.is_empty()) {
            (false, _) => document.message.clone(),
            (true, false) => document.code.clone(),
            (true, true) => format!("the service answered {}", http::StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |s| s.to_string())),
        };
        let request_id = if request_id.is_empty() { document.request_id.clone() } else { request_id };
        let mut error = Error::new(kind, message)
            .answered(CloudAnswer { http_status: status, code: document.code.clone(), request_id, ec: document.ec.clone() })
            .advise(advice);
        if let Some(right) = [&document.region, &document.endpoint].into_iter().find(|s| !s.is_empty()) {
            error = error.at_endpoint(right);
        }
        Self { error, status, code: document.code, region: Some(document.region).filter(|r| !r.is_empty()), server_time: document.server_time }
    }
}

/// Kind and advice of a status and code.
pub(super) fn judge(status: u16, code: &str, message: &str) -> (ErrorKind, &'static str) {
    use ErrorKind as K;
    match code {
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "BandwidthLimitExceeded"
        | "ServiceUnavailable"
        | "Busy" => (K::Throttled, ""),
        "RequestTimeout" | "InternalError" | "IncompleteBody" | "OperationAborted" | "ConditionalRequestConflict" => (K::Unavailable, ""),
        "NoSuchKey" | "NoSuchVersion" => (K::NotFound, ""),
        "NoSuchBucket" => (K::BucketNotFound, "check the bucket's name, and that these credentials and this endpoint are the right ones"),
        "NoSuchUpload" => (K::UploadNotFound, ""),
        "PreconditionFailed" => (K::Changed, ""),
        "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" => (K::Exists, ""),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => (K::TokenExpired, "renew the session token"),
        "InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            (K::Credentials, "check the access key, and that it belongs to this service and partition")
        }
        "SignatureDoesNotMatch" => (K::Credentials, "check the secret access key, and the region if the endpoint is not AWS's"),
        "AuthorizationHeaderMalformed" | "NotSignedUp" | "InvalidSecurity" => (K::Credentials, "check the region and the access key"),
        "RequestTimeTooSkewed" => (K::ClockSkew, "set this machine's clock"),
        "PermanentRedirect" | "TemporaryRedirect" | "Redirect" | "IllegalLocationConstraintException" => {
            (K::WrongEndpoint, "set the store's region to the bucket's")
        }
        "AccountProblem" | "AllAccessDisabled" | "UnauthorizedAccess" | "InvalidPayer" | "UserSuspended" => {
            (K::Account, "the account is halted: its owner must act at the provider")
        }
        "InvalidObjectState" => (K::Frozen, "restore the object first"),
        "AccessDenied" if message.to_ascii_lowercase().contains("object lock") => (K::Locked, "a retention or legal hold protects it"),
        "AccessDenied" | "AccessForbidden" => {
            (K::Denied, "check the policies of the caller, the bucket and the KMS key; a requester-pays bucket needs request_payer")
        }
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "InvalidPart" | "InvalidPartOrder" => (K::Integrity, ""),
        "NotImplemented" | "MethodNotAllowed" => (K::Unsupported, ""),
        "InvalidRequest" if message.to_ascii_lowercase().contains("server side encryption") => (
            K::Unsupported,
            "it is encrypted with a key of its owner's (SSE-C), which Dragon does not have: exclude it, or write it anew with SSE-S3 or SSE-KMS",
        ),
        "InvalidStorageClass" => {
            (K::Invalid, "name a class that this service has with --class-map or --storage-class, or take the bucket's with --storage-class default")
        }
        "AccessControlListNotSupported" => (K::Invalid, "the bucket's owner owns every object there, and no ACL is taken: leave --acl out"),
        "EntityTooLarge"
        | "EntityTooSmall"
        | "KeyTooLongError"
        | "KeyTooLong"
        | "MetadataTooLarge"
        | "InvalidArgument"
        | "InvalidRequest"
        | "InvalidBucketName"
        | "InvalidURI"
        | "MalformedXML"
        | "BucketNotEmpty"
        | "MissingContentLength"
        | "MaxMessageLengthExceeded"
        | "InvalidRange"
        | "KMS.NotFoundException"
        | "KMS.DisabledException" => (K::Invalid, ""),
        _ => by_status(status),
    }
}

/// Where there is no code, or none that is known: an answer to HEAD, or of something between here and S3.
fn by_status(status: u16) -> (ErrorKind, &'static str) {
    use ErrorKind as K;
    match status {
        404 => (K::Unexpected, "this is no answer of S3: check the endpoint, and what stands before it"),
        401 | 403 => (K::Denied, "check the credentials, the policies and the endpoint"),
        412 => (K::Changed, ""),
        408 => (K::Unavailable, ""),
        429 | 503 => (K::Throttled, ""),
        500.. => (K::Unavailable, ""),
        301 | 302 | 307 | 308 => (K::WrongEndpoint, "check the endpoint and the region"),
        400 | 405 | 411 | 413 | 414 | 416 => (K::Invalid, ""),
        _ => (K::Unexpected, ""),
    }
}

/// What a refused HEAD means, which has no body to say it: 404 is the object's absence (a missing bucket shows when it is listed).
pub(super) fn of_head(refusal: Refusal) -> Error {
    match refusal.status {
        404 if refusal.code.is_empty() => {}
        // An expired token, a wrong region or a bad request: a GET would say which.
        400 => {
            return refusal.error.advise(
                "a HEAD has no answer to say why: an object encrypted with its owner's key (SSE-C) is refused so, and can only be excluded; \
             else check the region, the credentials and the clock",
            );
        }
        _ => return refusal.error,
    }
    let answer = refusal.error.answer().cloned().unwrap_or_default();
    Error::new(ErrorKind::NotFound, "there is no such object").answered(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Refusal {
        let body = format!("<Error><Code>{code}</Code><Message>words</Message><RequestId>R1</RequestId></Error>");
        Refusal::of(status, String::new(), ErrorDocument::parse(body.as_bytes()).expect("a document"), false)
    }

    #[test]
    fn codes_are_judged() {
        for (status, code, kind) in [
            (503, "SlowDown", ErrorKind::Throttled),
            (500, "InternalError", ErrorKind::Unavailable),
            (400, "RequestTimeout", ErrorKind::Unavailable),
            (409, "ConditionalRequestConflict", ErrorKind::Unavailable),
            (404, "NoSuchKey", ErrorKind::NotFound),
            (404, "NoSuchBucket", ErrorKind::BucketNotFound),
            (404, "NoSuchUpload", ErrorKind::UploadNotFound),
            (403, "InvalidAccessKeyId", ErrorKind::Credentials),
            (403, "SignatureDoesNotMatch", ErrorKind::Credentials),
            (400, "ExpiredToken", ErrorKind::TokenExpired),
            (403, "RequestTimeTooSkewed", ErrorKind::ClockSkew),
            (301, "PermanentRedirect", ErrorKind::WrongEndpoint),
            (403, "AccessDenied", ErrorKind::Denied),
            (403, "AllAccessDisabled", ErrorKind::Account),
            (403, "InvalidObjectState", ErrorKind::Frozen),
            (400, "EntityTooLarge", ErrorKind::Invalid),
            (400, "BadDigest", ErrorKind::Integrity),
            (501, "NotImplemented", ErrorKind::Unsupported),
            (502, "Unheard", ErrorKind::Unavailable),
            (418, "Unheard", ErrorKind::Unexpected),
        ] {
            let refusal = refused(status, code);
            assert_eq!(refusal.error.kind(), kind, "{code}");
            assert_eq!(refusal.error.answer().map(|a| (a.http_status, a.code.as_str(), a.request_id.as_str())), Some((status, code, "R1")));
        }
    }

    #[test]
    fn a_customers_key_is_named_as_the_cause() {
        let words = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.";
        let (kind, advice) = judge(400, "InvalidRequest", words);
        assert!(kind == ErrorKind::Unsupported && advice.contains("SSE-C"), "{advice}");
        assert_eq!(judge(400, "InvalidRequest", "words").0, ErrorKind::Invalid);
        let head = of_head(Refusal::of(400, "R".into(), ErrorDocument::default(), false));
        assert!(head.to_string().contains("SSE-C"), "{head}");
    }

    #[test]
    fn a_404_that_is_not_of_s3_is_no_absence() {
        let page = Refusal::of(404, String::new(), ErrorDocument::default(), false);
        assert_eq!(page.error.kind(), ErrorKind::Unexpected);
        assert_eq!(of_head(Refusal::of(404, "R".into(), ErrorDocument::default(), false)).kind(), ErrorKind::NotFound);
        assert_eq!(of_head(Refusal::of(403, "R".into(), ErrorDocument::default(), false)).kind(), ErrorKind::Denied);
        assert_eq!(Refusal::of(405, "R".into(), ErrorDocument::default(), true).error.kind(), ErrorKind::NotFound);
    }
}
