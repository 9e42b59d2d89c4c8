//! When, and with which token, a request was signed.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};

use crate::devserver::token;

/// A request may be this old, or this far ahead.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Why a signed request is refused: status, code and message. A presigned one may be old: its own expiry is s3s's to check.
pub(super) fn refusal(request: &Parts, token_lifetime: Option<Duration>, now: Timestamp) -> Option<(StatusCode, &'static str, &'static str)> {
    let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let query = |name: &str| {
        let pairs = request.uri.query().unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let presigned = query("X-Amz-Signature").is_some();
    if !presigned && header("authorization").is_none() {
        return None;
    }
    let date = if presigned { query("X-Amz-Date") } else { header("x-amz-date") };
    let signed = date.and_then(|text| jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let behind = signed.map(|signed| now.duration_since(signed.timestamp()));
    if behind.is_some_and(|behind| behind < -SKEW_MAX || behind > SKEW_MAX && !presigned) {
        let message = "The difference between the request time and the current time is too large.";
        return Some((StatusCode::FORBIDDEN, "RequestTimeTooSkewed", message));
    }
    let token = if presigned { query("X-Amz-Security-Token") } else { header("x-amz-security-token") };
    token::judge(token, token_lifetime?, now).err().map(|fault| match fault {
        token::Fault::Missing => (StatusCode::FORBIDDEN, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
        token::Fault::Invalid => (StatusCode::BAD_REQUEST, "InvalidToken", "The provided token is malformed or otherwise invalid."),
        token::Fault::Expired => (StatusCode::BAD_REQUEST, "ExpiredToken", "The provided token has expired."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(uri: &str, headers: &[(&'static str, &'static str)], token_lifetime: Option<Duration>) -> Option<&'static str> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let now = "2026-01-01T12:00:00Z".parse().expect("a time");
        refusal(&request.body(()).expect("a request").into_parts().0, token_lifetime, now).map(|(_, code, _)| code)
    }

    #[test]
    fn the_time_of_signing_is_held_against_our_clock() {
        let at = |date| judge("/b/k", &[("authorization", "AWS4-HMAC-SHA256 x"), ("x-amz-date", date)], None);
        assert_eq!(at("20260101T121000Z"), None);
        assert_eq!(at("20260101T121600Z"), Some("RequestTimeTooSkewed"));
        assert_eq!(at("20260101T114400Z"), Some("RequestTimeTooSkewed"));
        assert_eq!(judge("/b/k?X-Amz-Signature=x&X-Amz-Date=20260101T090000Z", &[], None), None, "a link may be old");
        assert_eq!(judge("/b/k?X-Amz-Signature=x&X-Amz-Date=20260101T130000Z", &[], None), Some("RequestTimeTooSkewed"));
    }

    #[test]
    fn a_token_is_asked_of_whoever_signs() {
        let with = |token: &[(&'static str, &'static str)]| {
            let headers = [&[("authorization", "AWS4-HMAC-SHA256 x"), ("x-amz-date", "20260101T120000Z")], token].concat();
            judge("/b/k", &headers, Some(Duration::from_secs(10)))
        };
        assert_eq!(with(&[("x-amz-security-token", "until-1767268805")]), None);
        assert_eq!(with(&[("x-amz-security-token", "until-1767268800")]), Some("ExpiredToken"));
        assert_eq!(with(&[("x-amz-security-token", "until-2767268800")]), Some("InvalidToken"));
        assert_eq!(with(&[]), Some("InvalidAccessKeyId"));
        assert_eq!(judge("/b/k", &[], Some(Duration::from_secs(10))), None, "nobody signed");
        let link = "/b/k?X-Amz-Signature=x&X-Amz-Date=20260101T120000Z&X-Amz-Security-Token=until-1767268805";
        assert_eq!(judge(link, &[], Some(Duration::from_secs(10))), None);
    }
}
