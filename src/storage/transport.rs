//! The lean HTTP/1.1 road that both clouds share: connections, TLS, proxies, bodies, bounds. It knows no dialect.
//!
//! Request targets are built by the dialects on [`http::Uri`], never on a URL library, which would rewrite a key such as `a/../c`.
//! A transport makes one attempt and follows no redirect; it neither asks for nor decodes content encodings.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::payload::{ByteStream, Payload};

mod connect;
#[allow(dead_code, unused_imports, reason = "both clients are being built on it")]
pub(in crate::storage) mod target;
#[allow(dead_code, unused_imports, reason = "both clients are being built on it")]
pub(in crate::storage) mod text;
#[allow(dead_code, unused_imports, reason = "both clients are being built on it")]
pub(in crate::storage) mod xml;

/// How to reach a service. Everything has a bound.
#[derive(Debug, Clone)]
pub struct Options {
    /// Proxy URL (`http://`, `https://` or `socks5h://`); `None` reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.
    pub proxy: Option<String>,
    /// PEM file of further certificate authorities; `None` reads SSL_CERT_FILE besides the system's.
    pub ca_file: Option<std::path::PathBuf>,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence while waiting for an answer or for the next bytes of a body.
    pub read_timeout: Duration,
    /// How long an unused connection is kept (S3 closes after about 5 s... 20 s; a stale one costs a failed request).
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            proxy: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(15),
        }
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Error>;

/// A pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    client: Client<connect::Connector, Body>,
    read_timeout: Duration,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    /// Makes a pool. Reads certificate files; opens no connection.
    pub fn new(options: &Options) -> Result<Self> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_timeout)
            .retry_canceled_requests(true)
            .set_host(false)
            .build(connect::Connector::new(options)?);
        Ok(Self { client, read_timeout: options.read_timeout })
    }

    /// Sends one request whose URI is absolute and whose `Host` is set, and waits for the head of the answer.
    /// Content-Length is set from the payload for every method but GET and HEAD.
    pub async fn send(&self, request: http::Request<Payload>) -> Result<Response> {
        let (mut head, payload) = request.into_parts();
        if !matches!(head.method, http::Method::GET | http::Method::HEAD) {
            head.headers.insert(http::header::CONTENT_LENGTH, payload.len().into());
        }
        let body = if payload.is_empty() {
            http_body_util::Empty::new().map_err(|e| match e {}).boxed_unsync()
        } else {
            let len = payload.len();
            SizedBody { inner: StreamBody::new(payload.stream().await?.map(|chunk| chunk.map(Frame::data))), len }.boxed_unsync()
        };
        let host = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        let sent = self.client.request(http::Request::from_parts(head, body));
        let response = tokio::time::timeout(self.read_timeout, sent)
            .await
            .map_err(|_| Error::new(ErrorKind::Unavailable, format!("{host} did not answer within {:?}", self.read_timeout)))?
            .map_err(|e| connect::classify(&host, e))?;
        let (head, body) = response.into_parts();
        Ok(Response { head, body, read_timeout: self.read_timeout })
    }
}

/// A stream body with a known length, so that hyper sends Content-Length and not chunks.
struct SizedBody<B> {
    inner: B,
    len: u64,
}

impl<B: http_body::Body<Data = Bytes, Error = Error> + Unpin> http_body::Body for SizedBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Result<Frame<Bytes>>>> {
        std::pin::Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.len)
    }
}

/// The head of an answer, and its body to come.
pub struct Response {
    /// Status and headers.
    pub head: http::response::Parts,
    body: Incoming,
    read_timeout: Duration,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A header as text, `None` where it is absent or not visible ASCII/UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.head.headers.get(name)?.as_bytes()).ok()
    }

    /// The body as a stream, each chunk within the read timeout.
    pub fn into_stream(self) -> ByteStream {
        let timeout = self.read_timeout;
        futures::stream::unfold(Some(self.body), move |body| async move {
            let mut body = body?;
            loop {
                return match tokio::time::timeout(timeout, body.frame()).await {
                    Err(_) => Some((Err(Error::new(ErrorKind::Unavailable, format!("the body stalled for {timeout:?}"))), None)),
                    Ok(None) => None,
                    Ok(Some(Err(e))) => Some((Err(Error::new(ErrorKind::Unavailable, "the body broke off").caused_by(e)), None)),
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => Some((Ok(data), Some(body))),
                        Err(_) => continue,
                    },
                };
            }
        })
        .boxed()
    }

    /// The whole body, refused beyond `limit` bytes.
    pub async fn collect(self, limit: usize) -> Result<Bytes> {
        let mut stream = self.into_stream();
        let mut all = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if all.is_empty() && chunk.len() <= limit {
                // The usual answer is one frame: keep it without a copy.
                match stream.next().await {
                    None => return Ok(chunk),
                    Some(next) => {
                        all.extend_from_slice(&chunk);
                        all.extend_from_slice(&next?);
                    }
                }
            } else {
                all.extend_from_slice(&chunk);
            }
            if all.len() > limit {
                return Err(Error::new(ErrorKind::Unexpected, format!("the answer is larger than {limit} bytes")));
            }
        }
        Ok(all.freeze())
    }
}
