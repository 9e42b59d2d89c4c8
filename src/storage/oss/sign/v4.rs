//! `OSS4-HMAC-SHA256` (protocol.md 1.1, 1.2).

use std::fmt::Write;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{Parameters, Signer, Subject, header_lines, parameter, plain_value};
use crate::error::{Error, Result};
use crate::storage::transport::target::encode_path;

const ALGORITHM: &str = "OSS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Longest life of a link: 7 days.
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Date and scope of a signature.
struct Stamp {
    /// `20260101T000000Z`.
    time: String,
    /// `20260101/cn-hangzhou/oss/aliyun_v4_request`.
    scope: String,
    product: &'static str,
}

impl Stamp {
    fn new(signer: &Signer<'_>) -> Self {
        let time = signer.time.strftime("%Y%m%dT%H%M%SZ").to_string();
        // A CloudBox is a region of its own, with a product name of its own.
        let product = if signer.region.starts_with("cb-") { "oss-cloudbox" } else { "oss" };
        let scope = format!("{}/{}/{product}/aliyun_v4_request", &time[..8], signer.region);
        Self { time, scope, product }
    }
}

pub(super) fn authorization(signer: &Signer<'_>, subject: Subject<'_>, headers: &mut HeaderMap, additional: &[&str]) -> Result<String> {
    let stamp = Stamp::new(signer);
    headers.insert("x-oss-date", plain_value(&stamp.time)?);
    headers.insert("x-oss-content-sha256", HeaderValue::from_static(UNSIGNED));
    let additional = additional_names(headers, additional);
    let signature = signature(signer, &stamp, subject, headers, &additional, &[]);
    // An empty AdditionalHeaders is refused with EC 0002-00000209.
    let listed = if additional.is_empty() { String::new() } else { format!(",AdditionalHeaders={}", additional.join(";")) };
    Ok(format!("{ALGORITHM} Credential={}/{}{listed},Signature={signature}", signer.credentials.access_key_id(), stamp.scope))
}

pub(super) fn parameters(signer: &Signer<'_>, subject: Subject<'_>, headers: &HeaderMap, expires_in: Duration, additional: &[&str]) -> Result<Parameters> {
    if expires_in.is_zero() || expires_in > EXPIRES_MAX {
        return Err(Error::invalid("a link lives between 1 second and 7 days"));
    }
    let stamp = Stamp::new(signer);
    let additional = additional_names(headers, additional);
    let mut out = vec![
        parameter("x-oss-signature-version", ALGORITHM),
        parameter("x-oss-date", &stamp.time),
        parameter("x-oss-expires", &expires_in.as_secs().max(1).to_string()),
        parameter("x-oss-credential", &format!("{}/{}", signer.credentials.access_key_id(), stamp.scope)),
    ];
    if let Some(token) = signer.credentials.security_token() {
        out.push(parameter("x-oss-security-token", token));
    }
    if !additional.is_empty() {
        out.push(parameter("x-oss-additional-headers", &additional.join(";")));
    }
    let signature = signature(signer, &stamp, subject, headers, &additional, &out);
    out.push(parameter("x-oss-signature", &signature));
    Ok(out)
}

fn is_signed_anyway(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-type" | "content-md5") || name.as_str().starts_with("x-oss-")
}

/// Of the wished names those that are present and not signed anyway, in lower case and sorted.
fn additional_names(headers: &HeaderMap, wished: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = wished
        .iter()
        .filter_map(|name| HeaderName::try_from(*name).ok())
        .filter(|name| headers.contains_key(name) && !is_signed_anyway(name))
        .map(|name| name.as_str().to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn signature(
    signer: &Signer<'_>,
    stamp: &Stamp,
    subject: Subject<'_>,
    headers: &HeaderMap,
    additional: &[String],
    extra: &[(String, Option<String>)],
) -> String {
    let canonical = canonical_request(subject, headers, additional, extra);
    let to_sign = format!("{ALGORITHM}\n{}\n{}\n{}", stamp.time, stamp.scope, hex(&Sha256::digest(&canonical)));
    let mut key = hmac(format!("aliyun_v4{}", signer.credentials.access_key_secret()).as_bytes(), &stamp.time.as_bytes()[..8]);
    for step in [signer.region, stamp.product, "aliyun_v4_request"] {
        key = hmac(&key, step.as_bytes());
    }
    hex(&hmac(&key, to_sign.as_bytes()))
}

pub(super) fn canonical_request(subject: Subject<'_>, headers: &HeaderMap, additional: &[String], extra: &[(String, Option<String>)]) -> Vec<u8> {
    // Sorted by encoded name; an empty value counts as none.
    let mut query: Vec<(&str, &str)> = subject.query.iter().chain(extra).map(|(n, v)| (n.as_str(), v.as_deref().unwrap_or_default())).collect();
    query.sort_unstable();
    let query: Vec<String> = query.into_iter().map(|(n, v)| if v.is_empty() { n.to_owned() } else { format!("{n}={v}") }).collect();
    let mut out = format!("{}\n{}\n{}\n", subject.method, encode_path(&subject.resource()), query.join("&")).into_bytes();
    out.extend(header_lines(headers, |name| is_signed_anyway(name) || additional.iter().any(|a| a == name.as_str())));
    let payload = headers.get("x-oss-content-sha256").map_or(UNSIGNED.as_bytes(), |v| v.as_bytes());
    out.extend_from_slice(format!("\n{}\n", additional.join(";")).as_bytes());
    out.extend_from_slice(payload);
    out
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}
