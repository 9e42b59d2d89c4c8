//! Unused connections, by where they lead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::time::Instant;

use super::http1::Connection;
use crate::clock::Clock;

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    secure: bool,
    authority: Authority,
}

impl Origin {
    /// Where a request goes; `None` for a URI that is not absolute.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        Some(Self { secure: uri.scheme() == Some(&Scheme::HTTPS), authority: uri.authority()?.clone() })
    }

    /// The host, and the port where one is named.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// The unused connections of a transport. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    idle: Mutex<Idle>,
    idle_timeout: Duration,
    idle_connections_max: usize,
    clock: Clock,
}

#[derive(Default)]
struct Idle {
    connections: HashMap<Origin, Vec<(Instant, Connection)>>,
    /// Somebody looks after those that nobody wants any more.
    swept: bool,
}

impl Pool {
    /// Keeps each for `idle_timeout`, and so many for each origin.
    pub(super) fn new(idle_timeout: Duration, idle_connections_max: usize, clock: Clock) -> Self {
        Self(Arc::new(Shared { idle: Mutex::default(), idle_timeout, idle_connections_max, clock }))
    }

    /// The connection that was used last, and can be used again.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let now = self.0.clock.instant();
        let mut idle = self.0.lock();
        let connections = idle.connections.get_mut(origin)?;
        while let Some((since, mut connection)) = connections.pop() {
            if now.duration_since(since) < self.0.idle_timeout && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended.
    pub(super) fn put(&self, origin: &Origin, connection: Connection) {
        if self.0.idle_connections_max == 0 {
            return;
        }
        let now = self.0.clock.instant();
        let mut idle = self.0.lock();
        match idle.connections.get_mut(origin) {
            Some(connections) if connections.len() < self.0.idle_connections_max => connections.push((now, connection)),
            Some(_) => {}
            None => {
                idle.connections.insert(origin.clone(), vec![(now, connection)]);
            }
        }
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.0), self.0.idle_timeout, self.0.clock.clone()));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that nobody wanted for the time, until none is left.
async fn sweep(pool: Weak<Shared>, idle_timeout: Duration, clock: Clock) {
    loop {
        clock.sleep(idle_timeout.max(Duration::from_secs(1))).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = clock.instant();
        let mut idle = pool.lock();
        idle.connections.retain(|_, connections| {
            connections.retain(|(since, _)| now.duration_since(*since) < idle_timeout);
            !connections.is_empty()
        });
        if idle.connections.is_empty() {
            idle.swept = false;
            return;
        }
    }
}
