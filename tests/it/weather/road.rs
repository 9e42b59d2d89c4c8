//! An endpoint beside the server's own, which can die.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dragon::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

const BUFFER_BYTES: u32 = 128 << 10;

/// Passes bytes on to a server, until so many have passed: then it is gone for a while, and nothing listens.
pub(super) struct Road {
    address: SocketAddr,
    died: Arc<AtomicBool>,
    _passing: AbortOnDropHandle<()>,
}

impl Road {
    pub(super) async fn open(server: SocketAddr, dies: Option<(u64, Duration)>) -> Self {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (address, died) = (listener.local_addr().expect("an address"), Arc::new(AtomicBool::new(false)));
        let passing = tokio::spawn(pass(listener, server, dies, died.clone()));
        Self { address, died, _passing: AbortOnDropHandle::new(passing) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has been gone for a while.
    pub(super) fn died(&self) -> bool {
        self.died.load(Ordering::Relaxed)
    }
}

/// With small buffers: what lies in them when the road dies is lost, and loopback's own hold megabytes.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket");
    socket.set_send_buffer_size(BUFFER_BYTES).expect("a socket");
    socket.set_recv_buffer_size(BUFFER_BYTES).expect("a socket");
    socket.bind(address).expect("a free port, or its own");
    socket.listen(1024).expect("a socket")
}

async fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.connect(server).await
}

async fn pass(listener: TcpListener, server: SocketAddr, dies: Option<(u64, Duration)>, died: Arc<AtomicBool>) {
    let address = listener.local_addr().expect("an address");
    let passed = Arc::new(AtomicU64::new(0));
    let full = Arc::new(tokio::sync::Notify::new());
    let mut listener = Some(listener);
    let limit = dies.map_or(u64::MAX, |(bytes, _)| bytes);
    loop {
        let open = match listener.take() {
            Some(open) => open,
            None => listen(address),
        };
        let mut connections = JoinSet::new();
        let limit = if died.load(Ordering::Relaxed) { u64::MAX } else { limit };
        loop {
            tokio::select! {
                () = full.notified() => break,
                accepted = open.accept() => {
                    let (client, _) = accepted.expect("a connection");
                    connections.spawn(carry(client, server, passed.clone(), limit, full.clone()));
                }
            }
        }
        drop(open);
        // With it go its connections.
        connections.shutdown().await;
        died.store(true, Ordering::Relaxed);
        let (_, gone) = dies.expect("a limit was reached");
        Clock::system().sleep(gone).await;
    }
}

async fn carry(client: TcpStream, server: SocketAddr, passed: Arc<AtomicU64>, limit: u64, full: Arc<tokio::sync::Notify>) {
    let Ok(server) = connect(server).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
        // Whoever dies says no goodbye.
        stream.set_zero_linger().expect("a socket");
    }
    let ((client_read, client_write), (server_read, server_write)) = (client.into_split(), server.into_split());
    let tell = |bytes: u64| {
        if passed.fetch_add(bytes, Ordering::Relaxed) + bytes >= limit {
            full.notify_one();
        }
    };
    // Either side's end is both sides' end.
    tokio::select! {
        () = one_way(client_read, server_write, &tell) => {}
        () = one_way(server_read, client_write, &tell) => {}
    }
}

async fn one_way(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, tell: impl Fn(u64)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        tell(count as u64);
    }
}
