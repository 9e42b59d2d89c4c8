//! Small requests to the metadata service and to STS, apart from the road of the objects.

use std::time::Duration;

use serde_json::Value;

use super::refuse;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::transport;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// A client through the proxies and certificate authorities of the store.
pub(super) fn proxied(options: &transport::Options, timeout: Duration) -> Result<reqwest::Client> {
    let mut builder = builder(timeout).connect_timeout(options.connect_timeout);
    if let Some(proxy) = &options.proxy {
        // The proxy's URL may hold a password, so the error does not repeat it.
        let proxy = reqwest::Proxy::all(proxy).map_err(|_| Error::invalid("the proxy's URL is not valid"))?;
        builder = builder.proxy(proxy.no_proxy(match &options.no_proxy {
            Some(hosts) => reqwest::NoProxy::from_string(hosts),
            None => reqwest::NoProxy::from_env(),
        }));
    }
    if let Some(path) = &options.ca_file {
        let wrong = |e: String| Error::invalid(format!("cannot read the certificate authorities in {}: {e}", path.display()));
        let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        for certificate in reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(e.to_string()))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    build(builder)
}

/// A client that no proxy stands before: instance metadata is of this machine only.
pub(super) fn direct(timeout: Duration) -> Result<reqwest::Client> {
    build(builder(timeout).no_proxy())
}

fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    // A redirect could carry a token elsewhere.
    reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none())
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|e| Error::new(ErrorKind::Unexpected, "cannot set up an HTTP client for credentials").caused_by(e))
}

/// Sends, and reads status and body.
pub(super) async fn text(request: reqwest::RequestBuilder, whom: &str) -> Result<(u16, String)> {
    // The URL is left out of errors: it may hold a token.
    let broken = |e: reqwest::Error| Error::new(ErrorKind::Unavailable, format!("{whom} does not answer")).caused_by(e.without_url());
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(refuse(format!("the answer of {whom} is larger than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Sends, and reads a JSON answer of status 200; any other answer is an error that says what the service said.
pub(super) async fn json(request: reqwest::RequestBuilder, whom: &str) -> Result<Value> {
    let (status, body) = text(request, whom).await?;
    let parsed: Option<Value> = serde_json::from_str(&body).ok();
    if status == 200 {
        // Not quoted in the error: it may hold half a secret.
        return parsed.ok_or_else(|| refuse(format!("the answer of {whom} is not JSON")));
    }
    let said = |name: &str| parsed.as_ref().and_then(|v| v[name].as_str()).unwrap_or_default().to_owned();
    let (code, message) = (said("Code"), said("Message"));
    let passing = status >= 500 || status == 429 || code.starts_with("Throttling");
    let kind = if passing { ErrorKind::Unavailable } else { ErrorKind::Credentials };
    let message = if message.is_empty() { format!("{whom} refused") } else { format!("{whom} refused: {message}") };
    Err(Error::new(kind, message).answered(crate::error::CloudAnswer { http_status: status, code, request_id: said("RequestId"), ec: String::new() }))
}
