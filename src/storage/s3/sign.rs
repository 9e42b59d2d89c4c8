//! Signature V4 over exactly the path and query that go on the wire.

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningInstructions, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use futures::TryStreamExt;

use super::credentials::Held;
use super::endpoint::Site;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Payload;

/// Signs in headers: adds the date, the payload's hash, the token and `Authorization`.
/// `payload_sha256` is `None` for UNSIGNED-PAYLOAD, which S3 takes on http too.
pub(super) fn sign_headers(request: &mut http::Request<Payload>, held: &Held, site: &Site, at: SystemTime, payload_sha256: Option<String>) -> Result<()> {
    let body = payload_sha256.map_or(SignableBody::UnsignedPayload, SignableBody::Precomputed);
    let uri = request.uri().to_string();
    let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?)));
    let signable = SignableRequest::new(request.method().as_str(), uri, headers, body).map_err(broken)?;
    instructions(signable, held, site, at, settings())?.apply_to_request_http1x(request);
    Ok(())
}

/// Signs in the query, for a link: the parameters to add to `uri`, in order.
pub(super) fn sign_link(method: &str, uri: String, held: &Held, site: &Site, at: SystemTime, expires_in: Duration) -> Result<Vec<(&'static str, String)>> {
    let mut settings = settings();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires_in);
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    let host = [("host", site.authority.as_str())];
    let signable = SignableRequest::new(method, uri, host.into_iter(), SignableBody::UnsignedPayload).map_err(broken)?;
    let (_, parameters) = instructions(signable, held, site, at, settings)?.into_parts();
    Ok(parameters.into_iter().map(|(name, value)| (name, value.into_owned())).collect())
}

/// S3 takes the path as it stands: neither normalised nor encoded twice.
fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

fn instructions(request: SignableRequest<'_>, held: &Held, site: &Site, at: SystemTime, settings: SigningSettings) -> Result<SigningInstructions> {
    let params =
        v4::SigningParams::builder().identity(&held.identity).region(&site.region).name(&site.service).time(at).settings(settings).build().map_err(broken)?;
    Ok(sign(request, &params.into()).map_err(broken)?.into_parts().0)
}

fn broken(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unexpected, "cannot sign the request").caused_by(e)
}

/// The SHA-256 of a body in hexadecimal, for stores that insist on signed payloads. A body that is not in memory is read for it.
pub(super) async fn payload_sha256(payload: &Payload) -> Result<String> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut stream = payload.stream().await?;
    while let Some(chunk) = stream.try_next().await? {
        context.update(&chunk);
    }
    Ok(context.finish().as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
