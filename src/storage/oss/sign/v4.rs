//! `OSS4-HMAC-SHA256` (protocol.md 1.1, 1.2).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Parameters, Signer, Subject, header_lines, parameter};
use crate::error::{Error, Result};
use crate::storage::transport::signature::{Dialect, Scope, plain_value};
use crate::storage::transport::target::encode_path;

static DIALECT: Dialect = Dialect { algorithm: "OSS4-HMAC-SHA256", prefix: "aliyun_v4", terminator: "aliyun_v4_request" };
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// What most canonical requests fit into, in bytes.
const CANONICAL_BYTES: usize = 1024;
/// Longest life of a link: 7 days.
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

fn scope<'a>(signer: &Signer<'a>) -> Scope<'a> {
    // A CloudBox is a region of its own, with a product name of its own.
    let product = if signer.region.starts_with("cb-") { "oss-cloudbox" } else { "oss" };
    Scope::new(&DIALECT, signer.time, signer.region, product)
}

pub(super) fn authorization(signer: &Signer<'_>, subject: Subject<'_>, headers: &mut HeaderMap, additional: &[&str]) -> Result<String> {
    let scope = scope(signer);
    headers.insert("x-oss-date", plain_value(scope.time())?);
    headers.insert("x-oss-content-sha256", HeaderValue::from_static(UNSIGNED));
    let additional = additional_names(headers, additional);
    let signature = signature(signer, &scope, subject, headers, &additional, &[]);
    // An empty AdditionalHeaders is refused with EC 0002-00000209.
    let listed = if additional.is_empty() { String::new() } else { format!(",AdditionalHeaders={}", additional.join(";")) };
    Ok([DIALECT.algorithm, " Credential=", signer.credentials.access_key_id(), "/", &scope.text(), &listed, ",Signature=", &signature].concat())
}

pub(super) fn parameters(signer: &Signer<'_>, subject: Subject<'_>, headers: &HeaderMap, expires_in: Duration, additional: &[&str]) -> Result<Parameters> {
    if expires_in.is_zero() || expires_in > EXPIRES_MAX {
        return Err(Error::invalid("a link lives between 1 second and 7 days"));
    }
    let scope = scope(signer);
    let additional = additional_names(headers, additional);
    let mut out = vec![
        parameter("x-oss-signature-version", DIALECT.algorithm),
        parameter("x-oss-date", scope.time()),
        parameter("x-oss-expires", &expires_in.as_secs().max(1).to_string()),
        parameter("x-oss-credential", &format!("{}/{}", signer.credentials.access_key_id(), scope.text())),
    ];
    if let Some(token) = signer.credentials.security_token() {
        out.push(parameter("x-oss-security-token", token));
    }
    if !additional.is_empty() {
        out.push(parameter("x-oss-additional-headers", &additional.join(";")));
    }
    let signature = signature(signer, &scope, subject, headers, &additional, &out);
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
    scope: &Scope<'_>,
    subject: Subject<'_>,
    headers: &HeaderMap,
    additional: &[String],
    extra: &[(String, Option<String>)],
) -> String {
    let canonical = canonical_request(subject, headers, additional, extra);
    scope.sign(signer.credentials.signing_keys(), signer.credentials.access_key_secret(), &canonical)
}

pub(super) fn canonical_request(subject: Subject<'_>, headers: &HeaderMap, additional: &[String], extra: &[(String, Option<String>)]) -> Vec<u8> {
    // Sorted by encoded name; an empty value counts as none.
    let mut query: Vec<(&str, &str)> = subject.query.iter().chain(extra).map(|(n, v)| (n.as_str(), v.as_deref().unwrap_or_default())).collect();
    query.sort_unstable();
    let mut out = Vec::with_capacity(CANONICAL_BYTES);
    let mut write = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    write(&[subject.method.as_str().as_bytes(), b"\n", encode_path(&subject.resource()).as_bytes(), b"\n"]);
    for (i, (name, value)) in query.into_iter().enumerate() {
        write(&[if i == 0 { b"" } else { b"&" }, name.as_bytes(), if value.is_empty() { b"" } else { b"=" }, value.as_bytes()]);
    }
    write(&[b"\n", &header_lines(headers, |name| is_signed_anyway(name) || additional.iter().any(|a| a == name.as_str()))]);
    let payload = headers.get("x-oss-content-sha256").map_or(UNSIGNED.as_bytes(), |v| v.as_bytes());
    write(&[b"\n", additional.join(";").as_bytes(), b"\n", payload]);
    out
}
