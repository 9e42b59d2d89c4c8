//! The lean HTTP/1.1 road that both clouds share: connections, TLS, proxies, bodies, bounds. It knows no dialect.
//!
//! Request targets are built by the dialects on [`http::Uri`], never on a URL library, which would rewrite a key such as `a/../c`.
//! A transport makes one attempt and follows no redirect; it neither asks for nor decodes content encodings.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::payload::Payload;
use crate::storage::slab::Slabs;

#[cfg(test)]
pub(in crate::storage) mod canned;
mod connect;
mod dial;
pub(in crate::storage) mod endpoints;
mod http1;
#[cfg(any(feature = "s3", feature = "oss"))]
pub(in crate::storage) mod lifecycle;
mod pool;
mod proxy;
pub(in crate::storage) mod refusal;
mod response;
pub(in crate::storage) mod signature;
mod stream;
#[cfg_attr(not(all(feature = "s3", feature = "oss")), allow(dead_code, reason = "some of it only one cloud needs"))]
pub(in crate::storage) mod target;
pub(in crate::storage) mod text;
mod tls;
#[cfg_attr(not(all(feature = "s3", feature = "oss")), allow(dead_code, unused_imports, reason = "some of it only one cloud needs"))]
pub(crate) mod xml;

pub use response::Response;

use endpoints::Choice;
use http1::{Broken, Connection, Exchange};
use pool::{Origin, Pool};

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
    /// The congestion control that the kernel is asked for on each connection, where it has it and allows it; `None` leaves the system's.
    /// It rules what is sent: what is received comes as the other side's own allows.
    pub congestion_control: Option<String>,
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
            congestion_control: Some("bbr".to_owned()),
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
            .field("congestion_control", &self.congestion_control)
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

/// What requests call themselves: Dragon and its version, and whoever asks where that has a name, which clouds keep in their trails.
pub(in crate::storage) fn agent(client_name: Option<&str>) -> http::HeaderValue {
    let plain = |name: &str| name.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '(' | ')')).take(128).collect::<String>();
    let text = match client_name {
        Some(name) => format!("dragon/{} ({})", env!("CARGO_PKG_VERSION"), plain(name)),
        None => format!("dragon/{}", env!("CARGO_PKG_VERSION")),
    };
    http::HeaderValue::try_from(text).unwrap_or_else(|_| http::HeaderValue::from_static("dragon"))
}

/// The slowest that a body may move for the length of a read timeout, in bytes a second: 4 KiB in a minute. No line that is of any use is
/// so slow; a peer that lets single bytes through, to hold a connection open, is.
const RATE_MIN: u64 = 64;
/// The read timeout is looked at in this many steps.
const SILENT_TICKS: u32 = 4;

/// A pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    pool: Pool,
    connector: connect::Connector,
    slabs: Slabs,
    clock: Clock,
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
        let clock = Clock::system();
        let pool = Pool::new(options.idle_timeout, options.idle_connections_max, clock.clone());
        Ok(Self { pool, connector: connect::Connector::new(options)?, slabs: Slabs::default(), clock, read_timeout: options.read_timeout })
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
        let relative = || Failure { error: Error::new(ErrorKind::Unexpected, format!("'{}' names no host", head.uri)), connected: false };
        let origin = Origin::of(&head.uri).ok_or_else(relative)?;
        let host: Arc<str> = origin.authority().as_str().into();
        loop {
            let kept = self.pool.take(&origin);
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => Connection::new(self.connector.open(&head.uri).await.map_err(|error| Failure { error, connected: false })?),
            };
            let mut exchange = Exchange::new(connection, &head, &payload).await.map_err(|error| Failure { error, connected: true })?;
            let broken = match self.answer(&mut exchange, &host).await? {
                Ok(answer) => match exchange.into_body(&answer) {
                    Ok(body) => return Ok(Response::new(self, answer, body, origin, host)),
                    Err(e) => e,
                },
                // It was closed while nobody used it. That is no attempt, as far as nothing can have come of it.
                Err(Broken::Connection(_)) if is_kept && (exchange.written_bytes == 0 || head.method.is_safe()) => continue,
                Err(Broken::Connection(e)) => e,
                Err(Broken::Source(error)) => return Err(Failure { error, connected: true }),
            };
            let error = Error::new(ErrorKind::Unavailable, format!("the connection to {host} broke before it answered")).caused_by(broken);
            return Err(Failure { error, connected: true });
        }
    }

    /// Waits for the head of the answer, but not through silence.
    async fn answer(&self, exchange: &mut Exchange, host: &str) -> Result<Result<http::response::Parts, Broken>, Failure> {
        // As many bytes as a body moves at the least in the whole time.
        let enough = RATE_MIN.saturating_mul(self.read_timeout.as_secs().max(1));
        let (mut seen, mut silent) = (0, 0);
        loop {
            if let Ok(answer) = tokio::time::timeout(self.read_timeout / SILENT_TICKS, poll_fn(|cx| exchange.poll_answer(cx))).await {
                return Ok(answer);
            }
            // A body that waits for its source waits for us.
            if exchange.written_bytes >= seen + enough || exchange.starving {
                (seen, silent) = (exchange.written_bytes, 0);
                continue;
            }
            silent += 1;
            if silent == SILENT_TICKS {
                return Err(Failure { error: self.silence(host, exchange.address()), connected: true });
            }
        }
    }

    /// Nothing moves: the address is suspect, and the connection goes with its request.
    fn silence(&self, host: &str, address: Option<SocketAddr>) -> Error {
        if let Some(address) = address {
            self.connector.suspect(address);
        }
        Error::new(ErrorKind::Unavailable, format!("{host} has been silent for {:?}", self.read_timeout))
    }
}

/// Why there is no answer.
struct Failure {
    error: Error,
    /// Whether there was a connection at least.
    connected: bool,
}
