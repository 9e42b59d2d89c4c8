//! Opens connections: name resolution, TCP, proxy, TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::stream::Stream;
use super::{Options, proxy, tls};
use crate::error::{Error, ErrorKind, Result};

/// How long to wait for an instance metadata service, which is on this link or nowhere.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens plain and TLS connections, straight or through a proxy.
#[derive(Clone)]
pub(super) struct Connector(Arc<Parts>);

struct Parts {
    tcp: HttpConnector<Resolver>,
    tls: tokio_rustls::TlsConnector,
    proxies: Matcher,
    connect_timeout: Duration,
}

impl Connector {
    pub(super) fn new(options: &Options) -> Result<Self> {
        Self::with_environment(options, &|name| std::env::var(name).ok())
    }

    fn with_environment(options: &Options, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::default());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_connect_timeout(Some(options.connect_timeout));
        Ok(Self(Arc::new(Parts { tcp, tls: tls::connector(options, env)?, proxies: proxy::rules(options, env)?, connect_timeout: options.connect_timeout })))
    }

    async fn open(self, uri: Uri) -> Result<TokioIo<Stream>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let limit = if proxy::METADATA_HOSTS.contains(&host.as_str()) { METADATA_CONNECT_TIMEOUT } else { self.0.connect_timeout };
        let stream = match self.0.proxies.intercept(&uri) {
            None => within(limit, &host, "the connection", self.dial(&uri)).await?,
            Some(proxy) => self.through(&proxy, &uri, limit).await?,
        };
        if uri.scheme() == Some(&Scheme::HTTPS) {
            let stream = within(limit, &host, "the TLS handshake", tls::handshake(&self.0.tls, &host, stream)).await?;
            return Ok(TokioIo::new(stream));
        }
        Ok(TokioIo::new(stream))
    }

    /// A TCP connection to the URI's own host.
    async fn dial(&self, uri: &Uri) -> Result<Stream> {
        let tcp = self.0.tcp.clone().call(uri.clone()).await.map_err(|e| refused(uri, &e))?.into_inner();
        prefer_bbr(&tcp);
        Ok(Stream::new(tcp))
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

/// On a lossy long road BBR carries fifty times what CUBIC does (performance.md 4). A kernel that lacks it, or forbids it, keeps its own.
fn prefer_bbr(tcp: &tokio::net::TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_congestion(tcp, "bbr");
    #[cfg(not(target_os = "linux"))]
    let _ = tcp;
}

/// Says which host refused a TCP connection, and how.
fn refused(uri: &Uri, e: &(dyn std::error::Error + 'static)) -> Error {
    let address = uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut source = Some(e);
    while let Some(s) = source {
        if let Some(ours) = s.downcast_ref::<Error>() {
            return ours.clone();
        }
        if let Some(e) = s.downcast_ref::<io::Error>() {
            let (how, advice) = match e.kind() {
                io::ErrorKind::ConnectionRefused => {
                    ("nothing listens there (connection refused)", "check the endpoint's host and port, and that the service runs")
                }
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ("there is no route", "check the network, and whether a proxy is needed"),
                io::ErrorKind::TimedOut => ("it did not answer in time", "check the endpoint, the firewall and the proxy"),
                _ => ("the connection failed", ""),
            };
            return Error::new(ErrorKind::Unavailable, format!("cannot connect to {address}: {how}"))
                .caused_by(io::Error::new(e.kind(), e.to_string()))
                .advise(advice);
        }
        source = s.source();
    }
    Error::new(ErrorKind::Unavailable, format!("cannot connect to {address}: {e}"))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().open(uri))
    }
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

/// Resolves a name anew for each connection, and starts with another of its addresses each time, so that load spreads and an
/// address that went bad is left. The system's preference between IPv6 and IPv4 stands. A name below `localhost` is this machine,
/// whatever DNS says (RFC 6761): `bucket.localhost` is a bucket of a dev server.
#[derive(Clone, Default)]
struct Resolver(Arc<AtomicUsize>);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let unknown = |message: String| {
                Error::new(ErrorKind::Unavailable, message).advise("check the spelling of the endpoint, region and bucket, and this machine's DNS")
            };
            if name.as_str().ends_with(".localhost") {
                return Ok(vec![(std::net::Ipv4Addr::LOCALHOST, 0).into(), (std::net::Ipv6Addr::LOCALHOST, 0).into()].into_iter());
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|e| unknown(format!("cannot resolve the name {name}")).caused_by(e))?;
            let addresses = rotate(found.collect(), turn);
            if addresses.is_empty() {
                return Err(unknown(format!("the name {name} has no address")));
            }
            Ok(addresses.into_iter())
        })
    }
}

/// Turns the addresses of each family by `turn`; the family of the first stays first.
fn rotate(addresses: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut preferred, mut other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    for family in [&mut preferred, &mut other] {
        if !family.is_empty() {
            let by = turn % family.len();
            family.rotate_left(by);
        }
    }
    preferred.append(&mut other);
    preferred
}

/// Turns a transport failure into an error that says which host failed and how.
pub(super) fn classify(host: &str, e: hyper_util::client::legacy::Error) -> Error {
    // A failed source of a request body, and a failed connection, come back wrapped: they are the errors to report, as they are.
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&e);
    while let Some(s) = source {
        if let Some(ours) = s.downcast_ref::<Error>() {
            return ours.clone();
        }
        source = s.source();
    }
    Error::new(ErrorKind::Unavailable, format!("the connection to {host} broke before it answered")).caused_by(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_rotate_within_their_family() {
        let all: Vec<SocketAddr> = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1"].iter().map(|a| a.parse().expect("an address")).collect();
        let text = |turn| rotate(all.clone(), turn).iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(text(0), "::1 ::2 10.0.0.1 10.0.0.2");
        assert_eq!(text(1), "::2 ::1 10.0.0.2 10.0.0.1");
        assert!(rotate(Vec::new(), 3).is_empty());
    }
}
