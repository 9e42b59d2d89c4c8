//! The lean HTTP/1.1 road that both clouds share: connections, TLS, proxies, bodies, bounds. It knows no dialect.
//!
//! Request targets are built by the dialects on [`http::Uri`], never on a URL library, which would rewrite a key such as `a/../c`.
//! A transport makes one attempt and follows no redirect; it neither asks for nor decodes content encodings.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::StreamExt;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::payload::{ByteStream, Payload};

#[cfg(test)]
pub(in crate::storage) mod canned;
mod connect;
mod proxy;
pub(in crate::storage) mod refusal;
mod stream;
#[cfg_attr(not(all(feature = "s3", feature = "oss")), allow(dead_code, reason = "some of it only one cloud needs"))]
pub(in crate::storage) mod target;
pub(in crate::storage) mod text;
mod tls;
#[cfg_attr(not(all(feature = "s3", feature = "oss")), allow(dead_code, unused_imports, reason = "some of it only one cloud needs"))]
pub(in crate::storage) mod xml;

/// How to reach a service. Everything has a bound.
#[derive(Clone)]
pub struct Options {
    /// Proxy URL (`http://`, `https://`, `socks5://` or `socks5h://`, with `USER:PASSWORD@` where it asks); `None` reads HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.
    pub proxy: Option<String>,
    /// Hosts, domains and networks that bypass the proxy, separated by commas; `None` reads NO_PROXY. Instance metadata always bypasses it.
    pub no_proxy: Option<String>,
    /// PEM file of further certificate authorities; `None` reads AWS_CA_BUNDLE. SSL_CERT_FILE stands in for the system's own.
    pub ca_file: Option<std::path::PathBuf>,
    /// Longest wait for each step of a connection: TCP, proxy, TLS.
    pub connect_timeout: Duration,
    /// Longest silence while sending a body, waiting for an answer, or for the next bytes of an answer's body.
    pub read_timeout: Duration,
    /// How long an unused connection is kept (S3 closes after 5 s to 20 s; a stale one costs a request that is sent again).
    pub idle_timeout: Duration,
    /// How many unused connections are kept for one host.
    pub idle_connections_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            proxy: None,
            no_proxy: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(15),
            idle_connections_max: 256,
        }
    }
}

/// A proxy's URL may hold a password: it is not shown.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("proxy", &self.proxy.as_ref().map(|_| "set"))
            .field("no_proxy", &self.no_proxy)
            .field("ca_file", &self.ca_file)
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("idle_connections_max", &self.idle_connections_max)
            .finish()
    }
}

/// The proxy (`host:port`) that requests to a URI go through, as [`Options::proxy`] or the environment says; `None` where they go straight.
///
/// Fails with [`ErrorKind::Invalid`] where the proxy's URL is none.
pub fn proxy_of(options: &Options, uri: &http::Uri) -> Result<Option<String>> {
    let rules = proxy::rules(options, &|name| std::env::var(name).ok())?;
    Ok(rules.intercept(uri).and_then(|found| proxy::address(&found).authority().map(ToString::to_string)))
}

/// A pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    client: Client<connect::Connector, Outgoing>,
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
            .pool_max_idle_per_host(options.idle_connections_max)
            .retry_canceled_requests(true)
            .set_host(false)
            .build(connect::Connector::new(options)?);
        Ok(Self { client, read_timeout: options.read_timeout })
    }

    /// Sends one request whose URI is absolute and whose `Host` is set, and waits for the head of the answer.
    /// Content-Length is set from the payload for every method but GET and HEAD.
    ///
    /// Fails with [`ErrorKind::Unavailable`] where the road fails or falls silent: for `read_timeout` neither did bytes leave nor an
    /// answer come. However long a large body takes to send, it is not silence. An error of the payload's own source comes back as it is.
    pub async fn send(&self, request: http::Request<Payload>) -> Result<Response> {
        let (mut head, payload) = request.into_parts();
        if !matches!(head.method, http::Method::GET | http::Method::HEAD) {
            head.headers.insert(http::header::CONTENT_LENGTH, payload.len().into());
        }
        let host: Arc<str> = head.uri.authority().map(ToString::to_string).unwrap_or_default().into();
        let progress = Arc::<Progress>::default();
        let body = Outgoing { left: payload.len(), chunk: Bytes::new(), stream: payload.stream().await?, progress: progress.clone() };
        let mut sent = Box::pin(self.client.request(http::Request::from_parts(head, body)));
        let (mut seen, mut silent) = (0, 0);
        let answer = loop {
            match tokio::time::timeout(self.read_timeout / SILENT_TICKS, &mut sent).await {
                Ok(answer) => break answer,
                Err(_) if progress.moved(&mut seen) => silent = 0,
                Err(_) if silent + 1 < SILENT_TICKS => silent += 1,
                Err(_) => return Err(silence(&host, self.read_timeout)),
            }
        };
        let (head, body) = answer.map_err(|e| connect::classify(&host, e))?.into_parts();
        Ok(Response { head, body, host, read_timeout: self.read_timeout })
    }
}

/// The read timeout is looked at in this many steps.
const SILENT_TICKS: u32 = 4;

fn silence(host: &str, wait: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{host} has been silent for {wait:?}"))
}

/// Whether a request's body moves.
#[derive(Default)]
struct Progress {
    sent_bytes: AtomicU64,
    /// The connection waits for us, not we for it.
    starving: AtomicBool,
}

impl Progress {
    fn moved(&self, seen: &mut u64) -> bool {
        let now = self.sent_bytes.load(Ordering::Relaxed);
        std::mem::replace(seen, now) != now || self.starving.load(Ordering::Relaxed)
    }
}

/// A request's body: of known length, so that hyper sends Content-Length; and in pieces small enough that each is a sign of progress.
struct Outgoing {
    stream: ByteStream,
    chunk: Bytes,
    left: u64,
    progress: Arc<Progress>,
}

impl Outgoing {
    const PIECE_BYTES: usize = 128 << 10;
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        while self.chunk.is_empty() {
            let next = self.stream.poll_next_unpin(cx);
            self.progress.starving.store(next.is_pending(), Ordering::Relaxed);
            match std::task::ready!(next) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                None => return Poll::Ready(None),
            }
        }
        let len = self.chunk.len().min(Self::PIECE_BYTES);
        let piece = self.chunk.split_to(len);
        self.left = self.left.saturating_sub(len as u64);
        self.progress.sent_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

/// The head of an answer, and its body to come.
pub struct Response {
    /// Status and headers.
    pub head: http::response::Parts,
    body: Incoming,
    host: Arc<str>,
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
        let (timeout, host) = (self.read_timeout, self.host);
        futures::stream::unfold(Some((self.body, host)), move |state| async move {
            let (mut body, host) = state?;
            loop {
                return match tokio::time::timeout(timeout, body.frame()).await {
                    Err(_) => Some((Err(silence(&host, timeout)), None)),
                    Ok(None) => None,
                    Ok(Some(Err(e))) => Some((Err(Error::new(ErrorKind::Unavailable, format!("the answer of {host} broke off")).caused_by(e)), None)),
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => Some((Ok(data), Some((body, host)))),
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
