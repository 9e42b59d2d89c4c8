//! OSS signature version 1: protocol.md 1.3.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;

use super::{Accounts, Claim, check_skew, mismatch, same, signing_time, trimmed};
use crate::devserver::oss::error::{OssError, OssResult};
use crate::devserver::oss::request::Head;

/// The parameters that are part of the signed resource, beside every `x-oss-*` (protocol.md 1.3: OSS2's list and what
/// alibabacloud-oss-v2 adds per operation).
const SUB_RESOURCES: &[&str] = &[
    "accessPoint",
    "accessPointPolicy",
    "acl",
    "append",
    "asyncFetch",
    "bucketArchiveDirectRead",
    "bucketInfo",
    "callback",
    "callback-var",
    "cleanRestoredObject",
    "cloudboxes",
    "cname",
    "comp",
    "continuation-token",
    "cors",
    "dataPipeline",
    "delete",
    "encryption",
    "endTime",
    "group",
    "httpsConfig",
    "inventory",
    "inventoryId",
    "legalHold",
    "lifecycle",
    "link",
    "live",
    "location",
    "logging",
    "metaQuery",
    "MetaQuery",
    "objectInfo",
    "objectMeta",
    "objectWorm",
    "overwriteConfig",
    "partNumber",
    "policy",
    "policyStatus",
    "position",
    "publicAccessBlock",
    "qos",
    "qosInfo",
    "qosRequester",
    "redundancyTransition",
    "referer",
    "regionList",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requesterQosInfo",
    "requestPayment",
    "resourceGroup",
    "resourcePool",
    "resourcePoolBuckets",
    "resourcePoolInfo",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "retention",
    "rtc",
    "seal",
    "security-token",
    "sequential",
    "startTime",
    "stat",
    "status",
    "style",
    "styleName",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "uploads",
    "userDefinedLogFieldsConfig",
    "versionId",
    "versioning",
    "versions",
    "vod",
    "website",
    "worm",
    "wormExtend",
    "wormId",
];

/// Verifies `Authorization: OSS id:signature`.
pub(super) fn check_header(accounts: &Accounts, head: &Head, text: &str, now: Timestamp) -> OssResult<()> {
    let malformed = || OssError::bad_value("Authorization", "", "The Authorization header must be: OSS AccessKeyId:Signature.");
    let (id, signature) = text.strip_prefix("OSS ").and_then(|rest| rest.trim().split_once(':')).ok_or_else(malformed)?;
    let claim = Claim { access_key_id: id.to_owned(), signature: signature.to_owned(), token: head.header("x-oss-security-token")?.map(str::to_owned) };
    check_skew(signing_time(head)?, now)?;
    let key = accounts.key(&claim, now)?;
    // The Date slot holds x-oss-date or Date: OSS2 and PY2 write the first, GO2 the second; both are in the field.
    let slots: Vec<&[u8]> = ["x-oss-date", "date"].iter().filter(|name| head.headers.contains_key(**name)).map(|name| trimmed(head, name)).collect();
    let strings: Vec<Vec<u8>> = slots.iter().map(|date| string_to_sign(head, date)).collect();
    if strings.iter().any(|text| same(&sign(&key.secret, text), signature)) {
        return Ok(());
    }
    Err(mismatch(&claim, strings.last().map_or(&[][..], Vec::as_slice)))
}

/// Verifies a presigned URL: `OSSAccessKeyId`, `Expires` (unix seconds) and `Signature`.
pub(super) fn check_query(accounts: &Accounts, head: &Head, now: Timestamp) -> OssResult<()> {
    let (Some(id), Some(expires), Some(signature)) = (head.query.text("OSSAccessKeyId")?, head.query.text("Expires")?, head.query.text("Signature")?) else {
        let message = "Query-string authentication requires the Signature, Expires and OSSAccessKeyId parameters.";
        return Err(OssError::new(403, "AccessDenied", message));
    };
    let expires_at = expires.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let expires_at = expires_at.ok_or_else(|| OssError::new(403, "AccessDenied", "Invalid date (should be seconds since epoch)."))?;
    if now > expires_at {
        let message = OssError::new(403, "AccessDenied", "Request has expired.");
        return Err(message.detail("Expires", expires_at.to_string()).detail("ServerTime", now.to_string()));
    }
    let token = head.query.text("security-token")?.map(str::to_owned);
    let claim = Claim { access_key_id: id.to_owned(), signature: signature.to_owned(), token };
    let key = accounts.key(&claim, now)?;
    let text = string_to_sign(head, expires.as_bytes());
    if same(&sign(&key.secret, &text), signature) { Ok(()) } else { Err(mismatch(&claim, &text)) }
}

pub(super) fn string_to_sign(head: &Head, date: &[u8]) -> Vec<u8> {
    let mut text = [head.method.as_str().as_bytes(), trimmed(head, "content-md5"), trimmed(head, "content-type"), date, b""].join(&b'\n');
    let mut names: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-oss-")).collect();
    names.sort_unstable();
    for name in names {
        for part in [name.as_bytes(), b":", trimmed(head, name), b"\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(&resource(head));
    text
}

/// `/bucket/key?sub1&sub2=value`, all of it decoded.
fn resource(head: &Head) -> Vec<u8> {
    let mut resource = b"/".to_vec();
    if let Some(bucket) = &head.bucket {
        resource.extend_from_slice(bucket.as_bytes());
        resource.push(b'/');
        resource.extend_from_slice(head.key.as_deref().unwrap_or_default());
    }
    let is_signed = |name: &[u8]| name.starts_with(b"x-oss-") || SUB_RESOURCES.iter().any(|sub| sub.as_bytes() == name);
    let mut subs: Vec<(&[u8], &[u8])> = head.query.pairs().filter(|(name, _)| is_signed(name)).collect();
    subs.sort();
    for (i, (name, value)) in subs.into_iter().enumerate() {
        resource.push(if i == 0 { b'?' } else { b'&' });
        resource.extend_from_slice(name);
        if !value.is_empty() {
            resource.push(b'=');
            resource.extend_from_slice(value);
        }
    }
    resource
}

pub(super) fn sign(secret: &str, text: &[u8]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text);
    STANDARD.encode(mac.finalize().into_bytes())
}
