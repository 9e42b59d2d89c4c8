//! Opens connections: TCP, proxy, TLS.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::dial::{self, Dialer};
use super::stream::Stream;
use super::{Options, proxy, tls};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How long to wait for an instance metadata service, which is on this link or nowhere.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// After how much silence the kernel asks whether the other side is still there.
#[cfg(target_os = "linux")]
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A round trip from which on losses tell.
const LONG_ROAD: Duration = Duration::from_millis(100);

/// Opens plain and TLS connections, straight or through a proxy.
#[derive(Clone)]
pub(super) struct Connector(Arc<Parts>);

struct Parts {
    dialer: Dialer,
    tls: tokio_rustls::TlsConnector,
    proxies: Matcher,
    connect_timeout: Duration,
    congestion_control: Option<String>,
    /// It has been said that the road is long and the kernel refuses what such a road needs.
    warned: AtomicBool,
}

impl Connector {
    pub(super) fn new(options: &Options) -> Result<Self> {
        Self::with_environment(options, &|name| std::env::var(name).ok())
    }

    fn with_environment(options: &Options, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let dialer = Dialer::new(dial::System, Clock::system());
        let (tls, proxies) = (tls::connector(options, env)?, proxy::rules(options, env)?);
        let (connect_timeout, congestion_control) = (options.connect_timeout, options.congestion_control.clone());
        Ok(Self(Arc::new(Parts { dialer, tls, proxies, connect_timeout, congestion_control, warned: AtomicBool::new(false) })))
    }

    /// Notes that an address fell silent, so that the next connections go to others of its name.
    pub(super) fn suspect(&self, address: std::net::SocketAddr) {
        self.0.dialer.suspect(address);
    }

    /// Opens a connection to the host of a URI, ready for its requests.
    pub(super) async fn open(&self, uri: &Uri) -> Result<Stream> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let limit = if proxy::METADATA_HOSTS.contains(&host.as_str()) { METADATA_CONNECT_TIMEOUT } else { self.0.connect_timeout };
        let stream = match self.0.proxies.intercept(uri) {
            None => within(limit, &host, "the connection", self.dial(uri)).await?,
            Some(proxy) => self.through(&proxy, uri, limit).await?,
        };
        if uri.scheme() == Some(&Scheme::HTTPS) {
            return within(limit, &host, "the TLS handshake", tls::handshake(&self.0.tls, &host, stream)).await;
        }
        Ok(stream)
    }

    /// A TCP connection to the URI's own host.
    async fn dial(&self, uri: &Uri) -> Result<Stream> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
        let (tcp, took) = self.0.dialer.dial(host, port).await.map_err(|failure| refused(uri, failure))?;
        tune(&tcp);
        self.choose_congestion_control(&tcp, host, took);
        let address = tcp.peer_addr().ok();
        Ok(Stream::new(tcp, address))
    }

    /// On a lossy long road BBR carries fifty times what CUBIC does (performance.md 5). A kernel that lacks it, or forbids it, keeps its own,
    /// which is told once where it matters. `took` is the time that connecting took: one round trip.
    fn choose_congestion_control(&self, tcp: &tokio::net::TcpStream, host: &str, took: Duration) {
        let Some(name) = &self.0.congestion_control else { return };
        #[cfg(target_os = "linux")]
        let refused = rustix::net::sockopt::set_tcp_congestion(tcp, name).is_err();
        #[cfg(not(target_os = "linux"))]
        let refused = {
            let _ = tcp;
            false
        };
        if refused && took >= LONG_ROAD && !self.0.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(host, round_trip = ?took, "this road is long and the kernel does not let this user have {name}: where packets get lost, far less goes through; `dragon doctor` says what an administrator types");
        }
    }

    /// A tunnel through the proxy to the URI's host.
    async fn through(&self, proxy: &Intercept, uri: &Uri, limit: Duration) -> Result<Stream> {
        let address = proxy::address(proxy);
        let proxy_host = address.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let named = |e: Error| e.advise("this is the proxy: check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and the store's proxy, or add the endpoint to NO_PROXY");
        let mut stream = within(limit, &proxy_host, "the connection", self.dial(&address)).await.map_err(named)?;
        if address.scheme() == Some(&Scheme::HTTPS) {
            stream = within(limit, &proxy_host, "the TLS handshake", tls::handshake(&self.0.tls, &proxy_host, stream)).await?;
        }
        let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
        if matches!(proxy.uri().scheme_str(), Some("http" | "https")) {
            let target = format!("{}:{port}", uri.host().unwrap_or_default());
            return within(limit, &proxy_host, "the proxy's handshake", proxy::connect(stream, proxy, &target)).await;
        }
        let mut socks = SocksV5::new(address, Ready(Some(stream))).local_dns(proxy.uri().scheme_str() == Some("socks5"));
        if let Some((user, password)) = proxy.raw_auth() {
            socks = socks.with_auth(user.to_owned(), password.to_owned());
        }
        let target = format!("{}://{}:{port}/", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or_default());
        let target = target.parse::<Uri>().map_err(|e| Error::invalid(format!("'{target}' is no address")).caused_by(e))?;
        let handshake = async {
            let refused =
                |e| Error::new(ErrorKind::Unavailable, format!("the SOCKS proxy {proxy_host} refuses the way to {}: {e}", uri.host().unwrap_or_default()));
            Ok(socks.call(target).await.map_err(refused)?.into_inner())
        };
        within(limit, &proxy_host, "the proxy's handshake", handshake).await.map_err(named)
    }
}

async fn within<T>(limit: Duration, host: &str, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || {
        Error::new(ErrorKind::Unavailable, format!("cannot connect to {host}: {what} took longer than {limit:?}"))
            .advise("check the endpoint, the firewall and the proxy")
    };
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(late()))
}

/// What a system does not have is left as it is.
fn tune(tcp: &tokio::net::TcpStream) {
    let _ = tcp.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(tcp, true);
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::net::sockopt::set_tcp_keepidle(tcp, KEEPALIVE);
        let _ = rustix::net::sockopt::set_tcp_keepintvl(tcp, KEEPALIVE);
    }
}

/// Says which host refused a TCP connection, and how.
fn refused(uri: &Uri, failure: dial::Failure) -> Error {
    let unknown =
        |message: String| Error::new(ErrorKind::Unavailable, message).advise("check the spelling of the endpoint, region and bucket, and this machine's DNS");
    let name = uri.host().unwrap_or_default();
    let e = match failure {
        dial::Failure::Unresolved(e) => return unknown(format!("cannot resolve the name {name}")).caused_by(e),
        dial::Failure::NoAddress => return unknown(format!("the name {name} has no address")),
        dial::Failure::Refused(e) => e,
    };
    let address = uri.authority().map(ToString::to_string).unwrap_or_default();
    let (how, advice) = match e.kind() {
        io::ErrorKind::ConnectionRefused => ("nothing listens there (connection refused)", "check the endpoint's host and port, and that the service runs"),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ("there is no route", "check the network, and whether a proxy is needed"),
        io::ErrorKind::TimedOut => ("it did not answer in time", "check the endpoint, the firewall and the proxy"),
        _ => ("the connection failed", ""),
    };
    Error::new(ErrorKind::Unavailable, format!("cannot connect to {address}: {how}")).caused_by(e).advise(advice)
}

/// A connection that is open already, for the SOCKS handshake to run over.
struct Ready(Option<Stream>);

impl Service<Uri> for Ready {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = std::future::Ready<Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(self.0.take().map(TokioIo::new).ok_or_else(|| Error::new(ErrorKind::Unexpected, "one connection serves one handshake")))
    }
}
