//! What OSS's refusals mean, and what to do about each (protocol.md 2.8).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;

use crate::error::{CloudAnswer, Error, ErrorKind};
use crate::storage::transport::xml::ErrorDocument;

/// A refusal as it came: status, headers, and the document of the body or of `x-oss-err` (a HEAD has no body).
pub(super) struct Refusal<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) document: Option<ErrorDocument>,
    /// Whether one object was asked for, rather than the bucket or the service.
    pub(super) on_object: bool,
    /// Whether the request was signed with an STS token.
    pub(super) with_token: bool,
}

impl<'a> Refusal<'a> {
    pub(super) fn new(status: u16, headers: &'a HeaderMap, body: &[u8]) -> Self {
        let from_header = || {
            let encoded = headers.get("x-oss-err")?;
            ErrorDocument::parse(&BASE64.decode(encoded.as_bytes()).ok()?)
        };
        Self { status, headers, document: ErrorDocument::parse(body).or_else(from_header), on_object: false, with_token: false }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The answer for the record: code, request id, EC, from the document or else the headers.
    fn answer(&self) -> CloudAnswer {
        let document = self.document.clone().unwrap_or_default();
        let or_header = |text: String, name| if text.is_empty() { self.header(name).to_owned() } else { text };
        CloudAnswer {
            http_status: self.status,
            code: document.code,
            request_id: or_header(document.request_id, "x-oss-request-id"),
            ec: or_header(document.ec, "x-oss-ec"),
        }
    }

    /// Milliseconds in `x-oss-qos-delay-time`, or seconds in `Retry-After`.
    fn delay(&self) -> Option<Duration> {
        let qos = self.header("x-oss-qos-delay-time").parse().ok().map(Duration::from_millis);
        qos.or_else(|| self.header("retry-after").parse().ok().map(Duration::from_secs))
    }

    /// Judges the refusal.
    pub(super) fn into_error(self) -> Error {
        let answer = self.answer();
        let (kind, advice) = self.judge(&answer);
        let document = self.document.as_ref();
        let said = document.map(|d| d.message.as_str()).filter(|m| !m.is_empty());
        let message = match (said, kind) {
            (Some(said), _) => said.to_owned(),
            (None, ErrorKind::NotFound) => "the object is not there".to_owned(),
            (None, _) if answer.request_id.is_empty() => format!("an answer with HTTP status {} that is not OSS's own", self.status),
            (None, _) => format!("OSS refused with HTTP status {} and no reason", self.status),
        };
        let mut error = Error::new(kind, message).advise(advice);
        if let Some(endpoint) = document.map(|d| d.endpoint.as_str()).filter(|e| !e.is_empty()) {
            error = error.at_endpoint(endpoint);
        }
        if let Some(delay) = self.delay().filter(|_| matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable)) {
            error = error.retry_after(delay);
        }
        error.answered(answer)
    }

    fn judge(&self, answer: &CloudAnswer) -> (ErrorKind, &'static str) {
        if let Some(known) = account_trouble(&answer.code, &answer.ec) {
            return known;
        }
        if let Some(known) = self.identity_trouble(&answer.code, &answer.ec) {
            return known;
        }
        if let Some(known) = object_trouble(&answer.code) {
            return known;
        }
        self.judge_by_status(answer)
    }

    /// Who we are, what time it is, and where the bucket lives.
    fn identity_trouble(&self, code: &str, ec: &str) -> Option<(ErrorKind, &'static str)> {
        let names_endpoint = self.document.as_ref().is_some_and(|d| !d.endpoint.is_empty());
        let message = self.document.as_ref().map(|d| d.message.as_str()).unwrap_or_default();
        Some(match code {
            _ if ec == "0002-00000080" => (ErrorKind::Credentials, "this account or bucket refuses V1 signatures: set signature = \"v4\""),
            // A HEAD may bring no more than the EC.
            _ if code == "RequestTimeTooSkewed" || ec == "0002-00000504" => {
                (ErrorKind::ClockSkew, "set this machine's clock (NTP): it is more than 15 minutes off")
            }
            "InvalidAccessKeyId" if self.with_token => (ErrorKind::TokenExpired, "the temporary access key is no longer known to OSS: fetch new credentials"),
            "InvalidAccessKeyId" => (ErrorKind::Credentials, "the access key id is unknown or disabled: look for a key of another account, or of AWS"),
            "SignatureDoesNotMatch" => (ErrorKind::Credentials, "the access key secret does not belong to the access key id, or a proxy changes requests"),
            "SecurityTokenExpired" => (ErrorKind::TokenExpired, "the security token has expired: fetch new credentials"),
            "InvalidSecurityToken" | "SecurityTokenNotSupported" => (ErrorKind::TokenExpired, "the security token is not valid: fetch new credentials"),
            "AccessDenied" | "PermanentRedirect" | "TemporaryRedirect" if names_endpoint => {
                (ErrorKind::WrongEndpoint, "set the store's endpoint and region to those of the bucket")
            }
            "InvalidArgument" | "InvalidRequest" if message.contains("region") => (ErrorKind::WrongEndpoint, "set the store's region to that of the bucket"),
            "AccessDenied" if self.on_object => {
                (ErrorKind::Denied, "grant this RAM user or role access to the object (oss:GetObject, oss:PutObject, oss:DeleteObject)")
            }
            "AccessDenied" => (ErrorKind::Denied, "grant this RAM user or role access to the bucket itself (oss:ListObjects, oss:GetBucketInfo)"),
            _ => return None,
        })
    }

    fn judge_by_status(&self, answer: &CloudAnswer) -> (ErrorKind, &'static str) {
        let throttled = answer.code.ends_with("LimitExceeded") || answer.code == "SlowDown" || self.headers.contains_key("x-oss-qos-delay-time");
        match self.status {
            429 => (ErrorKind::Throttled, ""),
            500.. if throttled => (ErrorKind::Throttled, ""),
            400.. if throttled && answer.code.ends_with("LimitExceeded") => (ErrorKind::Throttled, ""),
            408 | 424 | 500.. => (ErrorKind::Unavailable, ""),
            // Without a code an answer proves nothing, unless OSS itself gave it: a proxy's 404 is no absence.
            404 if answer.code.is_empty() && self.on_object && !answer.request_id.is_empty() => (ErrorKind::NotFound, ""),
            405 if self.header("x-oss-delete-marker") == "true" => (ErrorKind::NotFound, ""),
            412 => (ErrorKind::Changed, ""),
            401 | 403 if answer.request_id.is_empty() => (ErrorKind::Denied, "a proxy or firewall may have answered instead of OSS"),
            401 => (ErrorKind::Credentials, ""),
            403 => (ErrorKind::Denied, ""),
            407 => (ErrorKind::Denied, "the proxy wants a user name and password: put them into its URL"),
            301..=308 => (ErrorKind::WrongEndpoint, "set the store's endpoint to that of the bucket"),
            400..=499 if answer.request_id.is_empty() => (ErrorKind::Unexpected, "a proxy or firewall may have answered instead of OSS"),
            400..=499 => (ErrorKind::Invalid, ""),
            _ => (ErrorKind::Unexpected, ""),
        }
    }
}

/// What a person must settle with Alibaba before anything works.
fn account_trouble(code: &str, ec: &str) -> Option<(ErrorKind, &'static str)> {
    let advice = match code {
        _ if ec == "0003-00000806" => "the account is in arrears: top up its balance, then run this again",
        "InDebt" | "InDebtOverdue" => "the account is in arrears: top up its balance, then run this again",
        c if c.starts_with("KmsInDebt") => "the account's KMS is in arrears: top up its balance, then run this again",
        "UserDisable" => "the account is disabled (arrears, or a breach of terms): ask Alibaba Cloud's support",
        "AbnormalBucketOwnerStatus" | "BucketDisable" => "the bucket or its owner is disabled: ask Alibaba Cloud's support",
        "PublicEndpointForbidden" => {
            "mainland buckets made since March 2025 are not served on the public endpoint: bind a domain (addressing = \"cname\") or use the internal endpoint"
        }
        "SecondLevelDomainForbidden" => "this endpoint takes no path style: set addressing = \"virtual\"",
        "TransferAccelerationDisabled" => "enable transfer acceleration on the bucket, or leave out `accelerate`",
        _ => return None,
    };
    Some((ErrorKind::Account, advice))
}

/// What concerns one object, upload or bucket.
fn object_trouble(code: &str) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        "NoSuchKey" | "NoSuchVersion" => (ErrorKind::NotFound, ""),
        "NoSuchBucket" => (ErrorKind::BucketNotFound, "check the bucket's name and the store's region; `dragon ls oss://` lists what there is"),
        "NoSuchUpload" => (ErrorKind::UploadNotFound, ""),
        "PreconditionFailed" => (ErrorKind::Changed, ""),
        "FileAlreadyExists" | "ObjectAlreadyExists" | "BucketAlreadyExists" => (ErrorKind::Exists, ""),
        "InvalidObjectState" => (ErrorKind::Frozen, "restore it first (`dragon restore`; of a link, what it leads to), then copy it"),
        "FileImmutable" => (ErrorKind::Locked, "a retention policy (WORM) holds it until it runs out"),
        "InvalidDigest" | "InvalidCRC64" | "InvalidPart" | "InvalidPartOrder" => (ErrorKind::Integrity, ""),
        // The body came too slowly: said with status 400.
        "RequestTimeout" => (ErrorKind::Unavailable, ""),
        "NotImplemented" | "OperationNotSupported" => (ErrorKind::Unsupported, ""),
        "InvalidTargetType" => (ErrorKind::Unsupported, "the object is a link to another link, which OSS does not follow"),
        "SymlinkTargetNotExist" => (ErrorKind::Unsupported, "the object is a link whose target is not there"),
        "EntityTooSmall" => (ErrorKind::Invalid, "parts but the last must be of 100 KB or more"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    fn refuse(status: u16, code: &str, rest: &str, headers: &[(&'static str, &str)]) -> Error {
        let headers: HeaderMap = headers.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().expect("a value"))).collect();
        let body = format!("<Error><Code>{code}</Code><Message>said</Message><RequestId>R1</RequestId>{rest}</Error>");
        Refusal { on_object: true, ..Refusal::new(status, &headers, if code.is_empty() { b"" } else { body.as_bytes() }) }.into_error()
    }

    #[test]
    fn every_code_has_its_kind() {
        for (status, code, kind) in [
            (404, "NoSuchKey", ErrorKind::NotFound),
            (404, "NoSuchBucket", ErrorKind::BucketNotFound),
            (404, "NoSuchUpload", ErrorKind::UploadNotFound),
            (412, "PreconditionFailed", ErrorKind::Changed),
            (409, "FileAlreadyExists", ErrorKind::Exists),
            (409, "FileImmutable", ErrorKind::Locked),
            (403, "InvalidObjectState", ErrorKind::Frozen),
            (403, "InDebt", ErrorKind::Account),
            (403, "KmsInDebtOverdue", ErrorKind::Account),
            (403, "UserDisable", ErrorKind::Account),
            (400, "PublicEndpointForbidden", ErrorKind::Account),
            (403, "SecondLevelDomainForbidden", ErrorKind::Account),
            (403, "AccessDenied", ErrorKind::Denied),
            (403, "InvalidAccessKeyId", ErrorKind::Credentials),
            (403, "SignatureDoesNotMatch", ErrorKind::Credentials),
            (403, "SecurityTokenExpired", ErrorKind::TokenExpired),
            (403, "RequestTimeTooSkewed", ErrorKind::ClockSkew),
            (400, "InvalidDigest", ErrorKind::Integrity),
            (400, "RequestTimeout", ErrorKind::Unavailable),
            (400, "InvalidObjectName", ErrorKind::Invalid),
            (503, "DownloadTrafficRateLimitExceeded", ErrorKind::Throttled),
            (503, "TotalQpsLimitExceeded", ErrorKind::Throttled),
            (503, "ServiceUnavailable", ErrorKind::Unavailable),
            (500, "InternalError", ErrorKind::Unavailable),
            (424, "MirrorFailed", ErrorKind::Unavailable),
            (501, "NotImplemented", ErrorKind::Unsupported),
        ] {
            assert_eq!(refuse(status, code, "", &[]).kind(), kind, "{code}");
        }
    }

    #[test]
    fn a_refusal_keeps_what_the_support_desk_asks_for() {
        let e = refuse(403, "InDebt", "<EC>0003-00000806</EC>", &[]);
        assert_eq!(
            e.to_string(),
            "said (HTTP 403, code InDebt, request id R1, EC 0003-00000806); the account is in arrears: top up its balance, then run this again"
        );
        let e = refuse(403, "AccessDenied", "<Endpoint>oss-cn-shanghai.aliyuncs.com</Endpoint>", &[]);
        assert_eq!((e.kind(), e.endpoint()), (ErrorKind::WrongEndpoint, Some("oss-cn-shanghai.aliyuncs.com")));
    }

    #[test]
    fn what_a_service_says_cannot_steer_a_terminal() {
        let none = HeaderMap::new();
        let body = "<Error><Code>X\u{1b}[2J</Code><Message>\u{202e}no\n</Message><RequestId>R\u{7}</RequestId></Error>";
        let told = Refusal::new(400, &none, body.as_bytes()).into_error().to_string();
        assert_eq!(told, "\\u{202e}no (HTTP 400, code X\\u{1b}[2J, request id R\\u{7})");
    }

    #[test]
    fn a_delay_that_the_service_names_is_kept() {
        let wait = Some(Duration::from_millis(75));
        assert_eq!(refuse(503, "ServiceUnavailable", "", &[("x-oss-qos-delay-time", "75")]).retry(), Retry::Slow { after: wait });
        assert_eq!(refuse(503, "TotalQpsLimitExceeded", "", &[("x-oss-qos-delay-time", "75")]).retry(), Retry::Slow { after: wait });
        assert_eq!(refuse(500, "InternalError", "", &[]).retry(), Retry::Soon);
    }

    #[test]
    fn the_error_of_a_head_stands_in_a_header() {
        let document = BASE64.encode("<Error><Code>NoSuchKey</Code><EC>0026-00000001</EC><RequestId>R2</RequestId></Error>");
        let e = refuse(404, "", "", &[("x-oss-err", &document)]);
        let answer = e.answer().expect("an answer");
        assert_eq!((e.kind(), answer.code.as_str(), answer.ec.as_str(), answer.request_id.as_str()), (ErrorKind::NotFound, "NoSuchKey", "0026-00000001", "R2"));
        let bare = refuse(404, "", "", &[("x-oss-request-id", "R3"), ("x-oss-ec", "0026-00000001")]);
        assert_eq!((bare.kind(), bare.answer().map(|a| a.ec.as_str())), (ErrorKind::NotFound, Some("0026-00000001")));
    }

    #[test]
    fn a_proxys_404_is_no_absence() {
        assert_eq!(refuse(404, "", "", &[]).kind(), ErrorKind::Unexpected);
        let none = HeaderMap::new();
        let html = Refusal { on_object: true, ..Refusal::new(404, &none, b"<html><body>Not Found</body></html>") };
        assert_eq!(html.into_error().kind(), ErrorKind::Unexpected);
        assert_eq!(refuse(404, "NoSomething", "", &[]).kind(), ErrorKind::Invalid);
    }
}
