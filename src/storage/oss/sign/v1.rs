//! The signature of old accounts and private clouds, HMAC-SHA1 (protocol.md 1.3). New accounts are refused it since March 2025.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha1::Sha1;

use super::{Parameters, Signer, Subject, header_lines, parameter};
use crate::storage::transport::target::decode_percent;

/// Parameters that are part of the signed resource, besides all `x-oss-*`; sorted. The union of what Alibaba's SDKs sign.
const SUB_RESOURCES: &[&str] = &[
    "accessPoint",
    "accessPointPolicy",
    "accessmonitor",
    "acl",
    "append",
    "asyncFetch",
    "bucketArchiveDirectRead",
    "bucketInfo",
    "callback",
    "callback-var",
    "cleanRestoredObject",
    "cname",
    "comp",
    "continuation-token",
    "cors",
    "delete",
    "encryption",
    "endTime",
    "group",
    "httpsConfig",
    "img",
    "inventory",
    "inventoryId",
    "lifecycle",
    "link",
    "live",
    "location",
    "logging",
    "metaQuery",
    "objectInfo",
    "objectMeta",
    "partNumber",
    "policy",
    "policyStatus",
    "position",
    "publicAccessBlock",
    "qos",
    "qosInfo",
    "qosRequester",
    "referer",
    "regionList",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requestPayment",
    "requesterQosInfo",
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
    "rtc",
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
    "udf",
    "udfApplication",
    "udfApplicationLog",
    "udfId",
    "udfImage",
    "udfImageDesc",
    "udfName",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "vip",
    "vod",
    "website",
    "worm",
    "wormExtend",
    "wormId",
];

pub(super) fn authorization(signer: &Signer<'_>, subject: Subject<'_>, headers: &HeaderMap) -> String {
    // A client that must not set Date may say the time in x-oss-date, and then that is signed.
    let date = headers.get("x-oss-date").or_else(|| headers.get(http::header::DATE)).map_or(&b""[..], |v| v.as_bytes());
    format!("OSS {}:{}", signer.credentials.access_key_id(), signature(signer, &string_to_sign(subject, headers, date, &[])))
}

pub(super) fn parameters(signer: &Signer<'_>, subject: Subject<'_>, headers: &HeaderMap, expires_in: Duration) -> Parameters {
    let expires = signer.time.as_second().saturating_add_unsigned(expires_in.as_secs()).to_string();
    let token: Parameters = signer.credentials.security_token().map(|t| parameter("security-token", t)).into_iter().collect();
    let signature = signature(signer, &string_to_sign(subject, headers, expires.as_bytes(), &token));
    let mut out = vec![parameter("Expires", &expires), parameter("OSSAccessKeyId", signer.credentials.access_key_id()), parameter("Signature", &signature)];
    out.extend(token);
    out
}

fn signature(signer: &Signer<'_>, to_sign: &[u8]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(signer.credentials.access_key_secret().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(to_sign);
    BASE64.encode(mac.finalize().into_bytes())
}

pub(super) fn string_to_sign(subject: Subject<'_>, headers: &HeaderMap, date: &[u8], extra: &[(String, Option<String>)]) -> Vec<u8> {
    let header = |name: &str| headers.get(name).map_or(&b""[..], |v| v.as_bytes().trim_ascii());
    let mut out = format!("{}\n", subject.method).into_bytes();
    for line in [header("content-md5"), header("content-type"), date] {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend(header_lines(headers, |name| name.as_str().starts_with("x-oss-")));
    out.extend(subject.resource());
    let decode = |text: &String| decode_percent(text).unwrap_or_default();
    let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = (subject.query.iter().chain(extra))
        .map(|(name, value)| (decode(name), value.as_ref().map(decode).unwrap_or_default()))
        .filter(|(name, _)| name.starts_with(b"x-oss-") || SUB_RESOURCES.binary_search_by(|s| s.as_bytes().cmp(name)).is_ok())
        .collect();
    parameters.sort_unstable();
    for (i, (name, value)) in parameters.iter().enumerate() {
        out.push(if i == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name);
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn sub_resources_are_sorted_for_the_search() {
        assert!(super::SUB_RESOURCES.is_sorted());
    }
}
