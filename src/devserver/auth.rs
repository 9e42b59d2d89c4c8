//! Who sent this: verification of OSS signatures, from the server's side (protocol.md 1).
//!
//! An implementation of its own, so that it can catch the client's mistakes: it shares nothing with the client's signer.
//! A request is anonymous, or it carries V1 or V4, in a header or in the query; each is checked whole (scope, time, token,
//! signature), in the order in which the service reports.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{AUTHORIZATION, DATE};
use jiff::{SignedDuration, Timestamp};

use super::oss::error::{OssError, OssResult};
use super::oss::request::Head;
use super::token;

mod v1;
mod v4;

/// A request may be this old, or this far ahead: protocol.md 1.4.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(15);

/// The keys that this server accepts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    /// Access key id to its secret and, for temporary keys, its token.
    pub(crate) keys: BTreeMap<String, AccessKey>,
    /// Where it is set, keys without a token of their own need a temporary one.
    pub(crate) token_lifetime: Option<Duration>,
}

/// What an access key id stands for.
#[derive(Clone)]
pub struct AccessKey {
    /// The secret that signs.
    pub secret: String,
    /// The STS token that must come along with a temporary key.
    pub token: Option<Token>,
}

/// The token of a temporary access key.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub value: String,
    /// When it ends; `None` is never.
    pub expires: Option<Timestamp>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("temporary", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No signature at all: allowed only what an ACL opens to everyone.
    Anonymous,
    /// The owner of a key.
    Known,
}

/// What a signature claims, and what it should be.
struct Claim {
    access_key_id: String,
    signature: String,
    token: Option<String>,
}

impl Accounts {
    /// Says who sent a request, or refuses it.
    ///
    /// `region` is this server's, such as `cn-hangzhou`; `now` is its clock.
    pub(crate) fn identify(&self, head: &Head, region: &str, now: Timestamp) -> OssResult<Caller> {
        let authorization = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("")).map(str::trim);
        match authorization {
            Some(text) if text.starts_with(v4::ALGORITHM) => v4::check_header(self, head, text, region, now)?,
            Some(text) if text.starts_with("OSS ") => v1::check_header(self, head, text, now)?,
            Some(_) => return Err(OssError::bad_value("Authorization", "", "The Authorization header is invalid: OSS4-HMAC-SHA256 or OSS is expected.")),
            None if head.query.has("x-oss-signature-version") => v4::check_query(self, head, region, now)?,
            None if head.query.has("OSSAccessKeyId") || head.query.has("Signature") => v1::check_query(self, head, now)?,
            None => return Ok(Caller::Anonymous),
        }
        Ok(Caller::Known)
    }

    /// The key of that id; a wrong or ended token is refused here.
    fn key(&self, claim: &Claim, now: Timestamp) -> OssResult<&AccessKey> {
        let Some(key) = self.keys.get(&claim.access_key_id) else {
            let message = "The OSS Access Key Id you provided does not exist in our records.";
            return Err(OssError::new(403, "InvalidAccessKeyId", message).ec("0002-00000902").detail("OSSAccessKeyId", &claim.access_key_id));
        };
        if let (None, Some(lifetime)) = (&key.token, self.token_lifetime) {
            return token::judge(claim.token.as_deref(), lifetime, now).map(|()| key).map_err(token_refusal);
        }
        match (&key.token, &claim.token) {
            (None, None) => Ok(key),
            (Some(token), Some(given)) if token.value == *given => match token.expires {
                Some(expires) if now >= expires => Err(token_refusal(token::Fault::Expired)),
                _ => Ok(key),
            },
            // A temporary key without its token is unknown to the service.
            (Some(_), None) => Err(token_refusal(token::Fault::Missing)),
            _ => Err(token_refusal(token::Fault::Invalid)),
        }
    }
}

fn token_refusal(fault: token::Fault) -> OssError {
    match fault {
        token::Fault::Missing => OssError::new(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records."),
        token::Fault::Invalid => OssError::new(403, "InvalidSecurityToken", "The security token you provided is invalid."),
        token::Fault::Expired => OssError::new(403, "SecurityTokenExpired", "The security token you provided has expired."),
    }
}

/// Compares without telling by time how much was right.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// The refusal of a wrong signature, with what the server signed.
fn mismatch(claim: &Claim, string_to_sign: &[u8]) -> OssError {
    let bytes: Vec<String> = string_to_sign.iter().map(|b| format!("{b:02X}")).collect();
    OssError::new(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    )
    .ec("0002-00000040")
    .detail("OSSAccessKeyId", &claim.access_key_id)
    .detail("SignatureProvided", &claim.signature)
    .detail("StringToSign", String::from_utf8_lossy(string_to_sign))
    .detail("StringToSignBytes", bytes.join(" "))
}

/// Refuses a request that was signed too long ago or too far ahead.
fn check_skew(signed_at: Timestamp, now: Timestamp) -> OssResult<()> {
    if now.duration_since(signed_at).abs() <= SKEW_MAX {
        return Ok(());
    }
    let message = "The difference between the request time and the current time is too large.";
    Err(OssError::new(403, "RequestTimeTooSkewed", message)
        .ec("0002-00000504")
        .detail("MaxAllowedSkewMilliseconds", SKEW_MAX.as_millis().to_string())
        .detail("RequestTime", signed_at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string())
        .detail("ServerTime", now.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()))
}

/// Reads `20231216T162057Z`.
fn parse_compact(text: &str) -> Option<Timestamp> {
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Reads an HTTP date, or the compact form.
fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().or_else(|| parse_compact(text))
}

/// When the sender says it signed: `x-oss-date` before `Date`.
fn signing_time(head: &Head) -> OssResult<Timestamp> {
    let text = match head.header("x-oss-date")? {
        Some(text) => Some(text),
        None => head.header(DATE.as_str())?,
    };
    text.and_then(parse_date).ok_or_else(|| OssError::new(403, "AccessDenied", "OSS authentication requires a valid Date."))
}

/// A header's bytes as they are signed: trimmed.
fn trimmed<'a>(head: &'a Head, name: &str) -> &'a [u8] {
    head.headers.get(name).map_or(&b""[..], |value| value.as_bytes().trim_ascii())
}

#[cfg(test)]
mod tests;

/// Signs a request by V1, for tests of the dialect; the vectors prove the signature itself.
#[cfg(test)]
pub(crate) fn sign_v1(head: &Head, id: &str, secret: &str, date: &str) -> String {
    format!("OSS {id}:{}", v1::sign(secret, &v1::string_to_sign(head, date.as_bytes())))
}
