//! OSS signature version 4: protocol.md 1.1 (header) and 1.2 (query).

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest, Sha256};

use super::{Accounts, Claim, check_skew, mismatch, parse_compact, same, signing_time};
use crate::devserver::oss::error::{OssError, OssResult};
use crate::devserver::oss::request::Head;

pub(super) const ALGORITHM: &str = "OSS4-HMAC-SHA256";
const TERMINATOR: &str = "aliyun_v4_request";
const EXPIRES_MAX_SECONDS: u64 = 7 * 24 * 3600;

/// Everything but the unreserved characters of RFC 3986.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &VALUE.remove(b'/');

/// The fields of a V4 signature, wherever they came from.
struct Fields {
    access_key_id: String,
    date: String,
    region: String,
    product: String,
    additional: Vec<String>,
    signature: String,
}

/// Verifies an `Authorization` header.
pub(super) fn check_header(accounts: &Accounts, head: &Head, text: &str, region: &str, now: Timestamp) -> OssResult<()> {
    let fields = Fields::of_header(text)?;
    fields.check_scope(region)?;
    let signed_at = signing_time(head)?;
    let payload = head.header("x-oss-content-sha256")?.unwrap_or("");
    check_payload(payload)?;
    check_skew(signed_at, now)?;
    fields.verify(accounts, head, head.header("x-oss-security-token")?, signed_at, payload, now)
}

/// Verifies a presigned URL.
pub(super) fn check_query(accounts: &Accounts, head: &Head, region: &str, now: Timestamp) -> OssResult<()> {
    let required = |name: &str| -> OssResult<&str> {
        head.query.text(name)?.filter(|v| !v.is_empty()).ok_or_else(|| denied(&format!("Query-string authentication requires the {name} parameter.")))
    };
    if required("x-oss-signature-version")? != ALGORITHM {
        return Err(OssError::bad_value("x-oss-signature-version", "", "Only OSS4-HMAC-SHA256 is supported."));
    }
    let signed_at = parse_compact(required("x-oss-date")?).ok_or_else(|| OssError::bad_value("x-oss-date", "", "Date must be in the ISO8601 basic format."))?;
    let expires: u64 = required("x-oss-expires")?
        .parse()
        .ok()
        .filter(|seconds| (1..=EXPIRES_MAX_SECONDS).contains(seconds))
        .ok_or_else(|| OssError::invalid_argument("x-oss-expires must be a whole number between 1 and 604800.").detail("ArgumentName", "x-oss-expires"))?;
    let additional = match head.query.text("x-oss-additional-headers")? {
        Some(list) => additional_headers(list)?,
        None => Vec::new(),
    };
    let fields = Fields::new(required("x-oss-credential")?, additional, required("x-oss-signature")?)?;
    fields.check_scope(region)?;
    // A URL that starts in the future is early by at most the skew (protocol.md 1.2).
    let age = now.duration_since(signed_at);
    if age < -super::SKEW_MAX {
        return Err(denied("Request is not valid yet."));
    }
    if age > SignedDuration::from_secs(i64::try_from(expires).unwrap_or(i64::MAX)) {
        return Err(denied("Request has expired.").detail("Expires", expires.to_string()).detail("ServerTime", now.to_string()));
    }
    fields.verify(accounts, head, head.query.text("x-oss-security-token")?, signed_at, "UNSIGNED-PAYLOAD", now)
}

impl Fields {
    /// Reads `OSS4-HMAC-SHA256 Credential=..,AdditionalHeaders=..,Signature=..`: any order, blanks after a comma allowed.
    fn of_header(text: &str) -> OssResult<Self> {
        let (mut credential, mut additional, mut signature) = (None, Vec::new(), None);
        for field in text[ALGORITHM.len()..].split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                Some(("AdditionalHeaders", value)) => additional = additional_headers(value)?,
                _ => return Err(malformed("The Authorization header holds an unknown field.").ec("0002-00000202")),
            }
        }
        match (credential, signature) {
            (Some(credential), Some(signature)) => Self::new(credential, additional, signature),
            _ => Err(malformed("The Authorization header must hold Credential and Signature.").ec("0002-00000202")),
        }
    }

    fn new(credential: &str, additional: Vec<String>, signature: &str) -> OssResult<Self> {
        let parts: Vec<&str> = credential.split('/').collect();
        match parts[..] {
            [id, date, region, product, TERMINATOR] if !id.is_empty() => Ok(Self {
                access_key_id: id.to_owned(),
                date: date.to_owned(),
                region: region.to_owned(),
                product: product.to_owned(),
                additional,
                signature: signature.to_owned(),
            }),
            _ => Err(malformed("The Credential must be AccessKeyId/date/region/oss/aliyun_v4_request.")),
        }
    }

    fn check_scope(&self, region: &str) -> OssResult<()> {
        // A CloudBox is a region and a product of its own.
        let product = if region.starts_with("cb-") { "oss-cloudbox" } else { "oss" };
        if self.product != product {
            return Err(malformed("Invalid signing product in Authorization header.").detail("Product", product));
        }
        if self.region != region {
            return Err(malformed("Invalid signing region in Authorization header.").ec("0002-00000226").detail("Region", region));
        }
        Ok(())
    }

    fn verify(&self, accounts: &Accounts, head: &Head, token: Option<&str>, signed_at: Timestamp, payload: &str, now: Timestamp) -> OssResult<()> {
        let moment = signed_at.strftime("%Y%m%dT%H%M%SZ").to_string();
        if !moment.starts_with(&self.date) || self.date.len() != 8 {
            return Err(malformed("The date of the Credential is not the day of x-oss-date."));
        }
        let claim = Claim { access_key_id: self.access_key_id.clone(), signature: self.signature.clone(), token: token.map(str::to_owned) };
        let key = accounts.key(&claim, now)?;
        let string_to_sign = self.string_to_sign(head, &moment, payload)?;
        if same(&self.sign(&key.secret, &string_to_sign), &self.signature) { Ok(()) } else { Err(mismatch(&claim, string_to_sign.as_bytes())) }
    }

    fn string_to_sign(&self, head: &Head, moment: &str, payload: &str) -> OssResult<String> {
        let hash = hex(&Sha256::digest(self.canonical_request(head, payload)?));
        Ok(format!("{ALGORITHM}\n{moment}\n{}/{}/{}/{TERMINATOR}\n{hash}", self.date, self.region, self.product))
    }

    fn canonical_request(&self, head: &Head, payload: &str) -> OssResult<Vec<u8>> {
        // Always /bucket/key, whatever the style of the address; the key is decoded and encoded anew because OSS2 sends
        // `%2F` where it signs `/`.
        let mut uri = String::from("/");
        if let Some(bucket) = &head.bucket {
            uri.extend([bucket, "/"]);
            uri.extend(percent_encode(head.key.as_deref().unwrap_or_default(), PATH));
        }
        let mut request = format!("{}\n{uri}\n{}\n", head.method, canonical_query(head)).into_bytes();
        for (name, value) in self.signed_headers(head)? {
            request.extend_from_slice(name.as_bytes());
            request.push(b':');
            request.extend_from_slice(&value);
            request.push(b'\n');
        }
        request.extend_from_slice(format!("\n{}\n{payload}", self.additional.join(";")).as_bytes());
        Ok(request)
    }

    /// Every `x-oss-*`, `content-type`, `content-md5` and additional header, sorted by name.
    fn signed_headers(&self, head: &Head) -> OssResult<Vec<(String, Vec<u8>)>> {
        if let Some(absent) = self.additional.iter().find(|name| !head.headers.contains_key(name.as_str()) || name.contains('_')) {
            return Err(malformed("AdditionalHeaders names a header that the request does not have.").ec("0002-00000211").detail("Header", absent));
        }
        let mut signed: Vec<(String, Vec<u8>)> = Vec::new();
        for name in head.headers.keys().map(http::HeaderName::as_str) {
            if name.starts_with("x-oss-") || name == "content-type" || name == "content-md5" || self.additional.iter().any(|a| a == name) {
                let values: Vec<&[u8]> = head.headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).collect();
                signed.push((name.to_owned(), values.join(&b","[..])));
            }
        }
        signed.sort();
        Ok(signed)
    }

    fn sign(&self, secret: &str, string_to_sign: &str) -> String {
        let date_key = hmac(format!("aliyun_v4{secret}").as_bytes(), &self.date);
        let signing_key = [self.region.as_str(), &self.product, TERMINATOR].iter().fold(date_key, |key, part| hmac(&key, part));
        hex(&hmac(&signing_key, string_to_sign))
    }
}

/// All parameters but the signature, encoded, sorted by their encoded names; without `=` where the value is empty.
fn canonical_query(head: &Head) -> String {
    let encode = |bytes: &[u8]| percent_encode(bytes, VALUE).to_string();
    let mut pairs: Vec<(String, String)> =
        head.query.pairs().filter(|(name, _)| *name != b"x-oss-signature").map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| if value.is_empty() { name } else { format!("{name}={value}") }).collect();
    pairs.join("&")
}

/// The list of additional headers: lower case, sorted, no empty name (EC 0002-00000209 and -210).
fn additional_headers(list: &str) -> OssResult<Vec<String>> {
    if list.is_empty() {
        return Err(malformed("AdditionalHeaders must not be empty.").ec("0002-00000209"));
    }
    let names: Vec<String> = list.split(';').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(malformed("AdditionalHeaders must not hold an empty name.").ec("0002-00000210"));
    }
    if !names.is_sorted() || names.iter().any(|name| name.bytes().any(|b| b.is_ascii_uppercase())) {
        return Err(malformed("AdditionalHeaders must be lower case and sorted."));
    }
    Ok(names)
}

/// Only unsigned payloads are accepted, and never the AWS SDKs' trailers (protocol.md 2.9).
fn check_payload(payload: &str) -> OssResult<()> {
    match payload {
        "UNSIGNED-PAYLOAD" => Ok(()),
        "" => Err(OssError::missing_argument("V4 signing requires the x-oss-content-sha256 header.")),
        _ => Err(OssError::bad_value("x-oss-content-sha256", payload, "Only UNSIGNED-PAYLOAD is supported.").ec("0017-00000804")),
    }
}

fn malformed(message: &str) -> OssError {
    OssError::invalid_argument(message).detail("ArgumentName", "Authorization")
}

fn denied(message: &str) -> OssError {
    OssError::new(403, "AccessDenied", message)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
