//! Small requests to the metadata service and to STS: over the same road as the objects, so that proxies, private authorities and
//! failures are the same everywhere.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri};
use serde_json::Value;

use super::refuse;
use crate::error::{CloudAnswer, Error, ErrorKind, Result};
use crate::storage::transport::{Options, Transport};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Longest time that one request may take.
pub(super) const REQUEST_MAX: Duration = Duration::from_secs(20);

/// A road to one service.
#[derive(Debug, Clone)]
pub(super) struct Road {
    transport: Transport,
    /// As errors name it.
    whom: &'static str,
    limit: Duration,
}

impl Road {
    /// Through the proxies and certificate authorities of the store.
    pub(super) fn proxied(whom: &'static str, options: &Options) -> Result<Self> {
        Ok(Self { transport: Transport::new(options)?, whom, limit: REQUEST_MAX })
    }

    /// Past every proxy: what a machine's surroundings hand out is for this machine only.
    pub(super) fn direct(whom: &'static str, options: &Options, limit: Duration) -> Result<Self> {
        let options = Options { proxy: None, no_proxy: Some("*".into()), connect_timeout: limit, read_timeout: limit, ..options.clone() };
        Ok(Self { transport: Transport::new(&options)?, whom, limit })
    }

    /// Who answers.
    pub(super) fn whom(&self) -> &'static str {
        self.whom
    }

    /// Sends, and reads status and body. A redirect is not followed: it could carry a token elsewhere.
    pub(super) async fn text(&self, method: Method, url: &str, headers: &[(&'static str, &str)], body: String) -> Result<(u16, String)> {
        // Neither URL nor header is repeated in an error: they may hold a token.
        let uri: Uri = url.parse().map_err(|_| refuse(format!("the address of {} is no URL", self.whom)))?;
        let host = uri.authority().map(ToString::to_string).ok_or_else(|| refuse(format!("the address of {} has no host", self.whom)))?;
        let value = |text: &str| HeaderValue::try_from(text).map_err(|_| refuse(format!("a value for {} cannot stand in a header", self.whom)));
        let mut request = http::Request::new(body.into_bytes().into());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(http::header::HOST, value(&host)?);
        for (name, text) in headers {
            request.headers_mut().insert(HeaderName::from_static(name), value(text)?);
        }
        let exchange = async {
            let response = self.transport.send(request).await?;
            Ok((response.status(), response.collect(ANSWER_BYTES_MAX).await?))
        };
        let late = |_| Error::new(ErrorKind::Unavailable, format!("no answer within {:?}", self.limit));
        let answered: Result<_> = tokio::time::timeout(self.limit, exchange).await.map_err(late).and_then(|answered| answered);
        let (status, body) = answered.map_err(|e| Error::new(e.kind(), format!("{} does not answer", self.whom)).caused_by(e))?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Sends, and reads a JSON answer of status 200; any other answer is an error that says what the service said.
    pub(super) async fn json(&self, method: Method, url: &str, headers: &[(&'static str, &str)], body: String) -> Result<Value> {
        let whom = self.whom;
        let (status, body) = self.text(method, url, headers, body).await?;
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
        Err(Error::new(kind, message).answered(CloudAnswer { http_status: status, code, request_id: said("RequestId"), ec: String::new() }))
    }
}
