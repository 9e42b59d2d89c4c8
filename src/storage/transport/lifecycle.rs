//! What both clouds' answers to "which lifecycle rules?" have in common.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use md5::{Digest, Md5};

use crate::error::{Error, Result};

/// Largest configuration that is read: 1,000 rules of a few KiB.
pub(in crate::storage) const BYTES_MAX: usize = 8 << 20;

/// The header that both clouds want beside a configuration: MD5 as Base64.
pub(in crate::storage) fn content_md5(rules: &str) -> HeaderValue {
    HeaderValue::try_from(BASE64.encode(Md5::digest(rules))).expect("Base64 is a header's value")
}

/// The configuration as text.
pub(in crate::storage) fn text(body: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(body).map_err(|e| Error::integrity("the lifecycle configuration is not UTF-8").caused_by(e))?;
    Ok(text.to_owned())
}
