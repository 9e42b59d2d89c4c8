//! Opens TCP connections to names: resolved anew each time, over all their addresses, the good ones first.
//!
//! An address that does not answer costs half a second once: the next is tried beside it, the first to answer wins, and those that were
//! passed over are tried last for a minute (RFC 8305, with a longer step, since a road between continents takes a quarter of a second).
//! An address on which a connection fell silent is treated the same. So a service that moves, or a front end that dies, costs seconds.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::clock::Clock;

/// How long an address is waited for alone.
const STEP: Duration = Duration::from_millis(500);
/// How long an address that failed is tried last.
const SUSPECT_FOR: Duration = Duration::from_secs(60);
/// Most addresses that are remembered as suspect.
const SUSPECTS_MAX: usize = 256;
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 16;

/// What a name resolves to.
pub(super) type Resolved<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Where names are looked up.
pub(super) trait Resolve: Send + Sync {
    /// The addresses of a host, in the system's order of preference.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolved<'a>;
}

/// The system's resolver. A name below `localhost` is this machine, whatever DNS says (RFC 6761): `bucket.localhost` is a bucket of a
/// dev server.
pub(super) struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolved<'a> {
        Box::pin(async move {
            if host.ends_with(".localhost") {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

/// Why no connection came about.
#[derive(Debug)]
pub(super) enum Failure {
    /// The name could not be resolved.
    Unresolved(io::Error),
    /// The name has no address.
    NoAddress,
    /// No address took the connection; the first error.
    Refused(io::Error),
}

/// Opens connections, and remembers which addresses failed.
pub(super) struct Dialer {
    resolver: Box<dyn Resolve>,
    clock: Clock,
    turn: AtomicUsize,
    /// Until when each is tried last.
    suspects: Mutex<HashMap<SocketAddr, Instant>>,
}

impl Dialer {
    pub(super) fn new(resolver: impl Resolve + 'static, clock: Clock) -> Self {
        Self { resolver: Box::new(resolver), clock, turn: AtomicUsize::new(0), suspects: Mutex::default() }
    }

    /// Connects to a host, and tells how long the address that answered took. The caller bounds the time.
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<(TcpStream, Duration), Failure> {
        let mut waiting = self.addresses(host, port).await?.into_iter();
        let mut trying = FuturesUnordered::new();
        let mut begun: Vec<SocketAddr> = Vec::new();
        let mut refusal = None;
        loop {
            if let Some(address) = waiting.next() {
                begun.push(address);
                let began = self.clock.instant();
                trying.push(async move { (address, TcpStream::connect(address).await.map(|tcp| (tcp, began.elapsed()))) });
            }
            // As long as there are others, each is waited for one step; a refusal brings on the next at once.
            let step = async {
                match waiting.len() {
                    0 => std::future::pending().await,
                    _ => self.clock.sleep(STEP).await,
                }
            };
            tokio::select! {
                biased;
                Some((address, tried)) = trying.next() => match tried {
                    Ok(connected) => {
                        self.suspects().remove(&address);
                        begun.iter().take_while(|begun| **begun != address).for_each(|slower| self.suspect(*slower));
                        return Ok(connected);
                    }
                    Err(e) => {
                        self.suspect(address);
                        begun.retain(|begun| *begun != address);
                        refusal.get_or_insert(e);
                        if trying.is_empty() && waiting.len() == 0 {
                            return Err(refusal.map_or(Failure::NoAddress, Failure::Refused));
                        }
                    }
                },
                () = step => {}
            }
        }
    }

    /// Notes that an address does not serve: it is tried last for a while.
    pub(super) fn suspect(&self, address: SocketAddr) {
        let now = self.clock.instant();
        let mut suspects = self.suspects();
        suspects.retain(|_, until| *until > now);
        if suspects.len() < SUSPECTS_MAX {
            suspects.insert(address, now + SUSPECT_FOR);
        }
    }

    fn suspects(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of a name in the order to try them: another one first each time, so that load spreads; suspects last.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let found = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host).await.map_err(Failure::Unresolved)?,
        };
        let mut addresses = rotate(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(), self.turn.fetch_add(1, Ordering::Relaxed));
        let now = self.clock.instant();
        let suspects = self.suspects();
        addresses.sort_by_key(|address| suspects.get(address).is_some_and(|until| *until > now));
        drop(suspects);
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() { Err(Failure::NoAddress) } else { Ok(addresses) }
    }
}

/// Turns the addresses of each family by `turn`; the family of the first, which the system prefers, stays first.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::net::TcpListener;

    /// Names as a test says, which may change meanwhile.
    #[derive(Clone, Default)]
    struct Names(Arc<Mutex<Vec<IpAddr>>>);

    impl Names {
        fn of(addresses: &[&str]) -> Self {
            let names = Self::default();
            names.set(addresses);
            names
        }

        fn set(&self, addresses: &[&str]) {
            *self.0.lock().expect("not poisoned") = addresses.iter().map(|a| a.parse().expect("an address")).collect();
        }
    }

    impl Resolve for Names {
        fn resolve<'a>(&'a self, _: &'a str) -> Resolved<'a> {
            let addresses = self.0.lock().expect("not poisoned").clone();
            Box::pin(async move { Ok(addresses) })
        }
    }

    async fn listen(address: &str, port: u16) -> (TcpListener, u16) {
        let listener = TcpListener::bind((address, port)).await.expect("a loopback address");
        let port = listener.local_addr().expect("bound").port();
        (listener, port)
    }

    /// An address that takes no connection and refuses none: its queue is full.
    async fn dark(address: &str, port: u16) -> (tokio::net::TcpListener, Vec<TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(address.parse().expect("an address"), port)).expect("a free port");
        let listener = socket.listen(1).expect("listening");
        let mut held = Vec::new();
        // Linux takes a connection or two more than was asked for.
        while let Ok(Ok(tcp)) = tokio::time::timeout(Duration::from_millis(150), TcpStream::connect((address, port))).await {
            held.push(tcp);
        }
        (listener, held)
    }

    async fn peer(dialer: &Dialer, port: u16) -> String {
        dialer.dial("service.test", port).await.expect("a connection").0.peer_addr().expect("connected").ip().to_string()
    }

    #[test]
    fn addresses_rotate_within_their_family() {
        let all: Vec<SocketAddr> = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1"].iter().map(|a| a.parse().expect("an address")).collect();
        let text = |turn| rotate(all.clone(), turn).iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(text(0), "::1 ::2 10.0.0.1 10.0.0.2");
        assert_eq!(text(1), "::2 ::1 10.0.0.2 10.0.0.1");
        assert!(rotate(Vec::new(), 3).is_empty());
    }

    #[tokio::test]
    async fn all_addresses_share_the_load() {
        let (_first, port) = listen("127.0.0.2", 0).await;
        let _second = listen("127.0.0.3", port).await;
        let dialer = Dialer::new(Names::of(&["127.0.0.2", "127.0.0.3"]), Clock::system());
        let peers = [peer(&dialer, port).await, peer(&dialer, port).await, peer(&dialer, port).await];
        assert_eq!(peers, ["127.0.0.2", "127.0.0.3", "127.0.0.2"]);
    }

    #[tokio::test]
    async fn a_dead_address_costs_one_step_once() {
        let (_alive, port) = listen("127.0.0.3", 0).await;
        let _dark = dark("127.0.0.2", port).await;
        let dialer = Dialer::new(Names::of(&["127.0.0.2", "127.0.0.3"]), Clock::system());
        let began = Clock::system().instant();
        assert_eq!(peer(&dialer, port).await, "127.0.0.3");
        assert!((STEP..STEP * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
        let began = Clock::system().instant();
        for _ in 0..4 {
            assert_eq!(peer(&dialer, port).await, "127.0.0.3");
        }
        assert!(began.elapsed() < STEP, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_at_once() {
        let (_alive, port) = listen("127.0.0.3", 0).await;
        let dialer = Dialer::new(Names::of(&["127.0.0.2", "127.0.0.4", "127.0.0.3"]), Clock::system());
        let began = Clock::system().instant();
        assert_eq!(peer(&dialer, port).await, "127.0.0.3");
        assert!(began.elapsed() < STEP, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn names_are_resolved_anew() {
        let (_old, port) = listen("127.0.0.2", 0).await;
        let _new = listen("127.0.0.5", port).await;
        let names = Names::of(&["127.0.0.2"]);
        let dialer = Dialer::new(names.clone(), Clock::system());
        assert_eq!(peer(&dialer, port).await, "127.0.0.2");
        names.set(&["127.0.0.5"]);
        assert_eq!(peer(&dialer, port).await, "127.0.0.5", "the service has moved");
    }

    #[tokio::test]
    async fn a_suspect_still_serves_where_there_is_no_other() {
        let (_only, port) = listen("127.0.0.2", 0).await;
        let dialer = Dialer::new(Names::of(&["127.0.0.2"]), Clock::system());
        dialer.suspect(SocketAddr::new("127.0.0.2".parse().expect("an address"), port));
        assert_eq!(peer(&dialer, port).await, "127.0.0.2");
    }

    #[tokio::test]
    async fn failures_say_what_failed() {
        let (listener, port) = listen("127.0.0.2", 0).await;
        drop(listener);
        let refused = Dialer::new(Names::of(&["127.0.0.2"]), Clock::system()).dial("service.test", port).await;
        assert!(matches!(refused, Err(Failure::Refused(e)) if e.kind() == io::ErrorKind::ConnectionRefused));
        let nowhere = Dialer::new(Names::default(), Clock::system()).dial("service.test", port).await;
        assert!(matches!(nowhere, Err(Failure::NoAddress)));
    }
}
