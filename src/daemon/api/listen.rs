//! Accepting connections: TCP, with TLS where that was asked for, and the Unix socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::guard::Peer;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// Connections at a time; more are turned away.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to say what it wants, and to greet (TLS).
const HEAD_MAX: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// How long answers in flight may take once the daemon ends.
const GRACE: Duration = Duration::from_secs(2);

/// Serves over TCP until `cancel`.
pub async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, router: Router, clock: Clock, cancel: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    while let Some(came) = next(listener.accept(), &mut connections, &room, &clock, &cancel).await {
        let Some(((stream, _), permit)) = came else { continue };
        let (router, acceptor, cancel) = (router.clone(), acceptor.clone(), cancel.clone());
        connections.spawn(async move {
            match acceptor {
                None => converse(stream, Peer::Network, router, permit, cancel).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_MAX, acceptor.accept(stream)).await {
                        converse(stream, Peer::Network, router, permit, cancel).await;
                    }
                }
            }
        });
    }
    end(connections, &clock).await;
}

/// The server's side of TLS, of a certificate chain and its key in PEM files. Blocks on the disk.
///
/// Fails with [`ErrorKind::Invalid`] where they are not there or do not fit together.
pub fn tls(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let wrong = |file: &Path, e: &dyn std::fmt::Display| Error::invalid(format!("{} does not serve for TLS: {e}", file.display()));
    let chain =
        CertificateDer::pem_file_iter(certificate).map_err(|e| wrong(certificate, &e))?.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(certificate, &e))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| wrong(certificate, &e))?;
    Ok(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key_der).map_err(|e| wrong(certificate, &e))?))
}

/// A Unix socket that was made.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes it, for this user alone.
    ///
    /// Fails with [`ErrorKind::Local`] where it cannot be made, or another daemon listens there.
    pub async fn bind(path: &Path) -> Result<Self> {
        Ok(Self { listener: bind(path).await?, path: path.to_owned() })
    }
}

/// Serves over a Unix socket until `cancel`, to its owner and to root alone, and removes it at the end.
pub async fn serve_socket(socket: Socket, router: Router, clock: Clock, cancel: CancellationToken) {
    let Socket { listener, path } = socket;
    let own = rustix::process::getuid().as_raw();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while let Some(came) = next(listener.accept(), &mut connections, &room, &clock, &cancel).await {
        let Some(((stream, _), permit)) = came else { continue };
        // The file's mode says the same; this does not depend on who made the directory.
        let Some(uid) = stream.peer_cred().ok().map(|peer| peer.uid()).filter(|uid| *uid == own || *uid == 0) else { continue };
        connections.spawn(converse(stream, Peer::Owner(uid), router.clone(), permit, cancel.clone()));
    }
    // One that stays is taken for what it is at the next start.
    let _ = std::fs::remove_file(&path);
    end(connections, &clock).await;
}

/// Waits for a connection, with its place among those that may be open. `None` once no more are taken, `Some(None)` where it is to be asked again.
async fn next<S>(
    accept: impl Future<Output = std::io::Result<S>>,
    connections: &mut JoinSet<()>,
    room: &Arc<Semaphore>,
    clock: &Clock,
    cancel: &CancellationToken,
) -> Option<Option<(S, OwnedSemaphorePermit)>> {
    let accepted = tokio::select! {
        biased;
        () = cancel.cancelled() => return None,
        Some(_) = connections.join_next() => return Some(None),
        accepted = accept => accepted,
    };
    let Ok(stream) = accepted else {
        // Out of descriptors, most likely: others will be closed.
        clock.sleep(Duration::from_millis(100)).await;
        return Some(None);
    };
    Some(room.clone().try_acquire_owned().ok().map(|permit| (stream, permit)))
}

async fn end(mut connections: JoinSet<()>, clock: &Clock) {
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = clock.sleep(GRACE) => {}
    }
}

async fn bind(path: &Path) -> Result<UnixListener> {
    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::Local, format!("the socket {} cannot be made: {e}", path.display()))
            .advise("set DRAGON_SOCKET to a path that this user can write")
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if UnixStream::connect(path).await.is_ok() {
            return Err(Error::new(ErrorKind::Local, format!("another daemon listens at {}", path.display())));
        }
        // Left by one that was killed.
        std::fs::remove_file(path).map_err(failed)?;
    }
    // Made under another name, closed to others before it has its own.
    let draft = path.with_extension(format!("{}", std::process::id()));
    let _ = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft).map_err(failed)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).and_then(|()| std::fs::rename(&draft, path)).map_err(failed)?;
    Ok(listener)
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    router: Router,
    permit: OwnedSemaphorePermit,
    cancel: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer);
            router.call(request).await
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // What a client breaks off is its affair.
        _ = connection.as_mut() => {}
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(permit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    const REQUEST: &str = "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn it_speaks_tls_where_it_has_a_certificate() {
        let dir = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["dragon.test".to_owned()]).expect("a certificate");
        let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        assert!(tls(&key, &certificate).expect_err("swapped").to_string().contains("does not serve for TLS"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let cancel = CancellationToken::new();
        let router = Router::new().route("/x", get(|| async { "secret page" }));
        let serving = tokio::spawn(serve(listener, Some(tls(&certificate, &key).expect("they fit")), router, Clock::system(), cancel.clone()));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let stream = connector.connect(ServerName::try_from("dragon.test").expect("a name"), stream).await.expect("greeted");
        assert!(exchange(stream, REQUEST).await.ends_with("secret page"));
        let plain = tokio::net::TcpStream::connect(address).await.expect("it listens");
        assert!(!exchange(plain, REQUEST).await.contains("secret page"));
        cancel.cancel();
        serving.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_and_one_that_was_left_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("deep/dragon.sock");
        std::fs::create_dir_all(dir.path().join("deep")).expect("made");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("left by somebody"));
        let socket = Socket::bind(&path).await.expect("replaced");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(Socket::bind(&path).await.expect_err("taken").to_string().contains("another daemon listens"));
        let cancel = CancellationToken::new();
        let router = Router::new().route("/x", get(|request: Request| async move { format!("{:?}", request.extensions().get::<Peer>()) }));
        let serving = tokio::spawn(serve_socket(socket, router, Clock::system(), cancel.clone()));
        let stream = UnixStream::connect(&path).await.expect("it listens");
        let own = rustix::process::getuid().as_raw();
        assert!(exchange(stream, REQUEST).await.ends_with(&format!("Some(Owner({own}))")));
        cancel.cancel();
        serving.await.expect("it ends");
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_say_what_he_wants_is_cut_off() {
        let (mut client, server) = tokio::io::duplex(1024);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("room");
        let talking = tokio::spawn(converse(server, Peer::Network, Router::new(), permit, CancellationToken::new()));
        client.write_all(b"GET / HTTP/1.1\r\nhost: ").await.expect("sent");
        let clock = Clock::system();
        let begun = clock.instant();
        let mut text = Vec::new();
        let _ = client.read_to_end(&mut text).await;
        talking.await.expect("it ended");
        assert!(begun.elapsed() <= HEAD_MAX + Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}
