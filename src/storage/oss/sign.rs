//! Request signatures, V4 and V1, in headers and in links (protocol.md section 1).
//!
//! What is signed is always `/bucket/key`, whatever the address looks like (virtual host, path style, own domain). The payload is
//! never part of it, so bodies stream. A secret never leaves this module but as a keyed hash.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};
use jiff::Timestamp;

use super::credentials::Credentials;
use super::options::Signature;
use crate::error::{Error, Result};
use crate::storage::transport::signature::{plain_value, secret_value};
use crate::storage::transport::target::encode_query;

mod v1;
mod v4;

/// What stands in the request, besides its headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) method: &'a Method,
    /// `None` for requests to the service itself.
    pub(super) bucket: Option<&'a str>,
    /// Raw bytes; `None` for requests to the bucket.
    pub(super) key: Option<&'a [u8]>,
    /// Encoded parameters.
    pub(super) query: &'a [(String, Option<String>)],
}

impl Subject<'_> {
    /// `/`, `/bucket/` or `/bucket/key`, not encoded.
    fn resource(&self) -> Vec<u8> {
        let mut out = vec![b'/'];
        if let Some(bucket) = self.bucket {
            out.extend_from_slice(bucket.as_bytes());
            out.push(b'/');
            out.extend_from_slice(self.key.unwrap_or_default());
        }
        out
    }
}

/// Parameters in their encoded form, as they follow those of the request.
pub(super) type Parameters = Vec<(String, Option<String>)>;

/// Who signs, for which region, at what time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) version: Signature,
    pub(super) credentials: &'a Credentials,
    /// `cn-hangzhou`, never `oss-cn-hangzhou`; V1 does not use it.
    pub(super) region: &'a str,
    /// The service's time, as well as this machine knows it.
    pub(super) time: Timestamp,
}

impl Signer<'_> {
    /// Signs in headers: adds the date, the token and `Authorization`. Headers of `additional` that are present are signed as well (V4).
    pub(super) fn sign_headers(&self, subject: Subject<'_>, headers: &mut HeaderMap, additional: &[&str]) -> Result<()> {
        if let Some(token) = self.credentials.security_token() {
            headers.insert("x-oss-security-token", secret_value(token)?);
        }
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&self.time)
            .map_err(|e| Error::invalid("the clock shows a year that HTTP cannot write").caused_by(e))?;
        if !headers.contains_key(http::header::DATE) {
            headers.insert(http::header::DATE, plain_value(&date)?);
        }
        let authorization = match self.version {
            Signature::V4 => v4::authorization(self, subject, headers, additional)?,
            Signature::V1 => v1::authorization(self, subject, headers),
        };
        headers.insert(http::header::AUTHORIZATION, secret_value(&authorization)?);
        Ok(())
    }

    /// Signs in the query: the parameters to append, after which the link works for `expires_in` to anyone who sends `headers`.
    pub(super) fn sign_query(&self, subject: Subject<'_>, headers: &HeaderMap, expires_in: Duration, additional: &[&str]) -> Result<Parameters> {
        match self.version {
            Signature::V4 => v4::parameters(self, subject, headers, expires_in, additional),
            Signature::V1 => Ok(v1::parameters(self, subject, headers, expires_in)),
        }
    }
}

fn parameter(name: &str, value: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(encode_query(value.as_bytes())))
}

/// Header lines `name:value\n` of the names that `wanted` picks, sorted by name, values trimmed.
fn header_lines(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> Vec<u8> {
    let mut lines: Vec<(&str, &[u8])> = headers.iter().filter(|(name, _)| wanted(name)).map(|(n, v)| (n.as_str(), v.as_bytes().trim_ascii())).collect();
    lines.sort_unstable();
    let mut out = Vec::new();
    for (name, value) in lines {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests;
