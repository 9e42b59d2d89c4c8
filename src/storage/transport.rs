//! The lean HTTP/1.1 road that both clouds share: connections, TLS, proxies, bodies, bounds. It knows no dialect.
//!
//! Request targets are built by the dialects on [`http::Uri`], never on a URL library, which would rewrite a key such as `a/../c`.
//! A transport makes one attempt and follows no redirect; it neither asks for nor decodes content encodings.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt;
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::payload::{ByteStream, Payload};

#[cfg(test)]
pub(in crate::storage) mod canned;
mod connect;
mod dial;
pub(in crate::storage) mod endpoints;
mod proxy;
pub(in crate::storage) mod refusal;
mod response;
mod stream;
#[cfg_attr(not(all(feature = "s3", feature = "oss")), allow(dead_code, reason = "some of it only one cloud needs"))]
pub(in crate::storage) mod target;
pub(in crate::storage) mod text;
mod tls;
#[cfg_attr(not(all(feature = "s3", feature = "oss")), allow(dead_code, unused_imports, reason = "some of it only one cloud needs"))]
pub(in crate::storage) mod xml;

pub use response::Response;

use endpoints::Choice;
use stream::Line;

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

impl Options {
    /// The same for a store that lists so many endpoints: where another one can be tried, none is waited for as long as the first contact
    /// with a store may take (10 s).
    pub(in crate::storage) fn for_endpoints(&self, count: usize) -> Self {
        let mut options = self.clone();
        if count > 1 {
            options.connect_timeout = options.connect_timeout.min(CONNECT_TIMEOUT_OF_SEVERAL);
        }
        options
    }
}

/// Longest wait for a step of a connection to one of several endpoints.
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(4);

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

/// The slowest that a body may move for the length of a read timeout, in bytes a second: 4 KiB in a minute. No line that is of any use is
/// so slow; a peer that lets single bytes through, to hold a connection open, is.
const RATE_MIN: u64 = 64;
/// The read timeout of a body that is sent is looked at in this many steps.
const SILENT_TICKS: u32 = 4;

/// A pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    client: Client<connect::Connector, Outgoing>,
    connector: connect::Connector,
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
        let connector = connect::Connector::new(options)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(options.idle_connections_max)
            .retry_canceled_requests(true)
            .set_host(false)
            .build(connector.clone());
        Ok(Self { client, connector, read_timeout: options.read_timeout })
    }

    /// Sends one request whose URI is absolute and whose `Host` is set, and waits for the head of the answer.
    /// Content-Length is set from the payload for every method but GET and HEAD.
    ///
    /// Fails with [`ErrorKind::Unavailable`] where the road fails or falls silent: for `read_timeout` hardly a byte left and no answer
    /// came. However long a large body takes to send, it is not silence. An error of the payload's own source comes back as it is.
    pub async fn send(&self, request: http::Request<Payload>) -> Result<Response> {
        self.exchange(request).await.map_err(|failure| failure.error)
    }

    /// As [`Self::send`], to an endpoint that was chosen from several: it is told where it could not be reached, failed, or broke off.
    pub(in crate::storage) async fn send_to(&self, endpoint: &Choice, request: http::Request<Payload>) -> Result<Response> {
        match self.exchange(request).await {
            Ok(response) => Ok(response.of(endpoint.clone())),
            Err(Failure { error, connected }) => {
                match error.kind() {
                    ErrorKind::Unavailable if connected => endpoint.failed(&error),
                    ErrorKind::Unavailable | ErrorKind::WrongEndpoint => endpoint.unreachable(&error),
                    _ => {}
                }
                Err(error)
            }
        }
    }

    async fn exchange(&self, request: http::Request<Payload>) -> Result<Response, Failure> {
        let (mut head, payload) = request.into_parts();
        if !matches!(head.method, http::Method::GET | http::Method::HEAD) {
            head.headers.insert(http::header::CONTENT_LENGTH, payload.len().into());
        }
        let host: Arc<str> = head.uri.authority().map(ToString::to_string).unwrap_or_default().into();
        let starving = Arc::<AtomicBool>::default();
        let stream = payload.stream().await.map_err(|error| Failure { error, connected: true })?;
        let mut request = http::Request::from_parts(head, Outgoing { left: payload.len(), chunk: Bytes::new(), stream, starving: starving.clone() });
        let connection = capture_connection(&mut request);
        let mut sent = Box::pin(self.client.request(request));
        // As many bytes as a body moves at the least in the whole time.
        let enough = RATE_MIN.saturating_mul(self.read_timeout.as_secs().max(1));
        let (mut seen, mut silent) = (0, 0);
        let answer = loop {
            let Ok(answer) = tokio::time::timeout(self.read_timeout / SILENT_TICKS, &mut sent).await else {
                let written = line(&connection).map_or(0, |line| line.written_bytes());
                // A body that waits for its source waits for us.
                if written >= seen + enough || starving.load(Ordering::Relaxed) {
                    (seen, silent) = (written, 0);
                    continue;
                }
                silent += 1;
                if silent < SILENT_TICKS {
                    continue;
                }
                return Err(self.silence(&host, line(&connection)));
            };
            break answer;
        };
        match answer {
            Ok(answer) => Ok(Response::new(self, answer, host)),
            Err(e) => Err(Failure { connected: !e.is_connect(), error: connect::classify(&host, e) }),
        }
    }

    /// Nothing moves: the address is suspect, and the connection goes with its request.
    fn silence(&self, host: &str, line: Option<Line>) -> Failure {
        let connected = line.is_some();
        if let Some(address) = line.and_then(|line| line.address) {
            self.connector.suspect(address);
        }
        Failure { error: Error::new(ErrorKind::Unavailable, format!("{host} has been silent for {:?}", self.read_timeout)), connected }
    }
}

/// Why there is no answer.
struct Failure {
    error: Error,
    /// Whether there was a connection at least.
    connected: bool,
}

/// What is known of the connection that a request goes over; `None` while it has none.
fn line(connection: &CaptureConnection) -> Option<Line> {
    let mut known = http::Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut known);
    known.remove()
}

/// A request's body: of known length, so that hyper sends Content-Length; and in pieces small enough that an answer is seen between them.
struct Outgoing {
    stream: ByteStream,
    chunk: Bytes,
    left: u64,
    /// The connection waits for us, not we for it.
    starving: Arc<AtomicBool>,
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
            self.starving.store(next.is_pending(), Ordering::Relaxed);
            match std::task::ready!(next) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                None => return Poll::Ready(None),
            }
        }
        let len = self.chunk.len().min(Self::PIECE_BYTES);
        let piece = self.chunk.split_to(len);
        self.left = self.left.saturating_sub(len as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}
