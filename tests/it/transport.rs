//! The lean road against raw servers: proxies, private authorities, silence, refusals.
#![allow(clippy::disallowed_methods, reason = "raw servers of a test may use time directly")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dragon::error::{Error, ErrorKind, Result};
use dragon::storage::Payload;
use dragon::storage::transport::{Options, Response, Transport};
use futures::stream::{self, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Serves each connection with `serve`, until the test ends.
pub(crate) async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp));
        }
    });
    address
}

async fn read_head(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("text")
}

async fn answer_ok(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    while !read_head(&mut io).await.is_empty() {
        if io.write_all(OK).await.is_err() {
            return;
        }
    }
}

fn options() -> Options {
    Options { proxy: None, no_proxy: Some("*".into()), connect_timeout: Duration::from_secs(3), read_timeout: Duration::from_secs(3), ..Options::default() }
}

fn request(method: &str, url: &str, body: impl Into<Payload>) -> http::Request<Payload> {
    let uri: http::Uri = url.parse().expect("a URI");
    let host = uri.authority().expect("absolute").to_string();
    http::Request::builder().method(method).uri(uri).header("host", host).body(body.into()).expect("a request")
}

async fn get(options: &Options, url: &str) -> Result<Response> {
    Transport::new(options)?.send(request("GET", url, "")).await
}

async fn text(response: Response) -> Bytes {
    response.collect(1 << 20).await.expect("a body")
}

/// A private authority and a server certificate of its making.
pub(crate) struct Authority {
    pub(crate) ca_file: tempfile::NamedTempFile,
    pub(crate) acceptor: tokio_rustls::TlsAcceptor,
}

pub(crate) fn authority(name: &str) -> Authority {
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters").signed_by(&key, &issuer).expect("signed");
    let ca_file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(ca_file.path(), ca.pem()).expect("written");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("a configuration");
    Authority { ca_file, acceptor: Arc::new(config).into() }
}

/// A TLS server named `name`, whose answers are `ok`.
async fn tls_server(authority: &Authority) -> SocketAddr {
    let acceptor = authority.acceptor.clone();
    listen(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(tls) = acceptor.accept(tcp).await {
                answer_ok(tls).await;
            }
        }
    })
    .await
}

pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// The proxy's side of CONNECT: any name leads to `upstream`.
pub(crate) async fn serve_connect(mut io: impl AsyncRead + AsyncWrite + Unpin, upstream: SocketAddr, seen: Seen) {
    let head = read_head(&mut io).await;
    let allowed = head.contains("Proxy-Authorization: Basic dTpw\r\n");
    seen.lock().expect("lock").push(head);
    if !allowed {
        let _ = io.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
        return;
    }
    let mut to = TcpStream::connect(upstream).await.expect("upstream");
    io.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.expect("written");
    let _ = copy_bidirectional(&mut io, &mut to).await;
}

#[tokio::test]
async fn https_passes_a_connect_proxy_and_a_private_authority() {
    let authority = authority("cloud.test");
    let upstream = tls_server(&authority).await;
    let seen = Seen::default();
    let proxy = listen({
        let seen = seen.clone();
        move |tcp| serve_connect(tcp, upstream, seen.clone())
    })
    .await;

    let through = Options { proxy: Some(format!("http://u:p@{proxy}")), no_proxy: Some(String::new()), ..options() };
    let trusting = Options { ca_file: Some(authority.ca_file.path().into()), ..through.clone() };
    assert_eq!(text(get(&trusting, "https://cloud.test/a").await.expect("an answer")).await, "ok");
    assert!(seen.lock().expect("lock")[0].starts_with("CONNECT cloud.test:443 HTTP/1.1\r\nHost: cloud.test:443\r\n"));

    let e = get(&through, "https://cloud.test/a").await.err().expect("an unknown authority is refused");
    assert_eq!(e.kind(), ErrorKind::WrongEndpoint);
    assert!(e.to_string().contains("cloud.test") && e.advice().contains("ca_file"), "{e}");

    let e = get(&trusting, "https://other.test/a").await.err().expect("a certificate of another name is refused");
    assert!(e.to_string().contains("other.test"), "{e}");

    let e = get(&Options { proxy: Some(format!("http://u:wrong@{proxy}")), ..trusting }, "https://cloud.test/a").await.err().expect("refused");
    assert_eq!((e.kind(), e.answer().map(|a| a.http_status)), (ErrorKind::Credentials, Some(407)));
    assert!(!e.to_string().contains("wrong"), "{e}");
}

#[tokio::test]
async fn plain_http_passes_an_https_proxy_as_a_tunnel() {
    let authority = authority("localhost");
    let upstream = listen(answer_ok).await;
    let seen = Seen::default();
    let proxy = listen({
        let (seen, acceptor) = (seen.clone(), authority.acceptor.clone());
        move |tcp| {
            let (seen, acceptor) = (seen.clone(), acceptor.clone());
            async move { serve_connect(acceptor.accept(tcp).await.expect("TLS"), upstream, seen).await }
        }
    })
    .await;
    let options = Options {
        proxy: Some(format!("https://u:p@localhost:{}", proxy.port())),
        no_proxy: Some(String::new()),
        ca_file: Some(authority.ca_file.path().into()),
        ..options()
    };
    assert_eq!(text(get(&options, "http://cloud.test/a/../c").await.expect("an answer")).await, "ok");
    assert!(seen.lock().expect("lock")[0].starts_with("CONNECT cloud.test:80 "));
}

#[tokio::test]
async fn socks5h_lets_the_proxy_resolve_the_name() {
    let upstream = listen(answer_ok).await;
    let seen = Seen::default();
    let proxy = listen({
        let seen = seen.clone();
        move |mut tcp| {
            let seen = seen.clone();
            async move {
                let mut hello = [0; 2];
                tcp.read_exact(&mut hello).await.expect("hello");
                let mut methods = vec![0; hello[1].into()];
                tcp.read_exact(&mut methods).await.expect("methods");
                tcp.write_all(&[5, 0]).await.expect("written");
                let mut ask = [0; 5];
                tcp.read_exact(&mut ask).await.expect("request");
                assert_eq!(ask[..4], [5, 1, 0, 3], "a name, not an address");
                let mut name = vec![0; usize::from(ask[4]) + 2];
                tcp.read_exact(&mut name).await.expect("name and port");
                let port = u16::from_be_bytes([name[name.len() - 2], name[name.len() - 1]]);
                seen.lock().expect("lock").push(format!("{}:{port}", String::from_utf8_lossy(&name[..name.len() - 2])));
                tcp.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.expect("written");
                let mut to = TcpStream::connect(upstream).await.expect("upstream");
                let _ = copy_bidirectional(&mut tcp, &mut to).await;
            }
        }
    })
    .await;
    let options = Options { proxy: Some(format!("socks5h://{proxy}")), no_proxy: Some(String::new()), ..options() };
    assert_eq!(text(get(&options, "http://only-there.test:8080/").await.expect("an answer")).await, "ok");
    assert_eq!(*seen.lock().expect("lock"), ["only-there.test:8080"]);
}

#[tokio::test]
async fn no_proxy_goes_straight() {
    let server = listen(answer_ok).await;
    let options = Options { proxy: Some("http://127.0.0.1:1".into()), no_proxy: Some("127.0.0.0/8".into()), ..options() };
    assert_eq!(text(get(&options, &format!("http://{server}/")).await.expect("an answer")).await, "ok");
    let e = get(&Options { no_proxy: Some(String::new()), ..options }, &format!("http://{server}/")).await.err().expect("the proxy is dead");
    assert!(e.to_string().contains("127.0.0.1:1") && e.advice().contains("127.0.0.1") || e.advice().contains("endpoint"), "{e}");
}

#[tokio::test]
async fn refusals_name_the_host_and_the_reason() {
    let e = get(&options(), "http://127.0.0.1:1/").await.err().expect("refused");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("127.0.0.1:1") && e.to_string().contains("refused"), "{e}");

    let e = get(&options(), "http://nowhere.invalid/").await.err().expect("unknown");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("cannot resolve the name nowhere.invalid") && !e.advice().is_empty(), "{e}");

    let plain = listen(|mut tcp| async move {
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let e = get(&options(), &format!("https://{plain}/")).await.err().expect("no TLS there");
    assert_eq!(e.kind(), ErrorKind::WrongEndpoint, "{e}");
    assert!(e.to_string().contains("127.0.0.1") && e.advice().contains("speak TLS"), "{e}");
}

#[tokio::test]
async fn silence_is_bounded_but_a_slow_upload_is_not_silence() {
    let brief = Options { read_timeout: Duration::from_millis(200), ..options() };
    let mute = listen(|tcp| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(tcp);
    })
    .await;
    let e = get(&brief, &format!("http://{mute}/")).await.err().expect("silence");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("silent"), "{e}");

    let half = listen(|mut tcp| async move {
        read_head(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.expect("written");
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    let e = get(&brief, &format!("http://{half}/")).await.expect("a head").collect(100).await.expect_err("a stalled body");
    assert!(e.to_string().contains("silent") && e.to_string().contains(&half.to_string()), "{e}");

    // Sends for twice as long as the timeout, and the server answers only at the end.
    let patient = listen(|mut tcp| async move {
        read_head(&mut tcp).await;
        tcp.read_exact(&mut [0; 10]).await.expect("the body");
        tcp.write_all(OK).await.expect("written");
    })
    .await;
    let slow = Payload::from_source(10, || {
        Box::pin(async {
            Ok(stream::iter(0..10)
                .then(|_| async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(Bytes::from_static(b"x"))
                })
                .boxed())
        })
    });
    let answer = Transport::new(&brief).expect("a transport").send(request("PUT", &format!("http://{patient}/"), slow)).await.expect("an answer");
    assert_eq!(text(answer).await, "ok");
}

#[tokio::test]
async fn an_early_503_is_read_although_the_upload_breaks() {
    // Closing with unread bytes resets the connection: the client's write fails while the answer waits to be read.
    let server = listen(|mut tcp| async move {
        read_head(&mut tcp).await;
        let _ = tcp.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow").await;
    })
    .await;
    let transport = Transport::new(&options()).expect("a transport");
    let body = Payload::from_chunks(vec![Bytes::from(vec![7; 1 << 20]); 16]);
    for round in 0..30 {
        let answer = transport.send(request("PUT", &format!("http://{server}/"), body.clone())).await;
        let answer = answer.unwrap_or_else(|e| panic!("round {round}: the 503 was lost: {e}"));
        assert_eq!(answer.status(), 503);
        assert_eq!(text(answer).await, "slow", "round {round}");
    }
}

#[tokio::test]
async fn a_reset_without_an_answer_is_unavailable() {
    let server = listen(|mut tcp| async move {
        read_head(&mut tcp).await;
    })
    .await;
    let transport = Transport::new(&options()).expect("a transport");
    let body = Payload::from_chunks(vec![Bytes::from(vec![7; 1 << 20]); 16]);
    for _ in 0..10 {
        let e = transport.send(request("PUT", &format!("http://{server}/"), body.clone())).await.err().expect("no answer came");
        assert_eq!(e.kind(), ErrorKind::Unavailable);
        assert!(e.to_string().contains(&server.to_string()), "{e}");
    }
}

#[tokio::test]
async fn an_error_of_our_own_body_passes_unchanged() {
    let server = listen(|mut tcp| async move {
        let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
    })
    .await;
    let broken = Payload::from_source(10, || {
        Box::pin(async { Ok(stream::iter([Ok(Bytes::from_static(b"x")), Err(Error::new(ErrorKind::Changed, "the source changed").on_key("k"))]).boxed()) })
    });
    let e = Transport::new(&options()).expect("a transport").send(request("PUT", &format!("http://{server}/"), broken)).await.err().expect("fails");
    assert_eq!((e.kind(), e.message(), e.key()), (ErrorKind::Changed, "the source changed", Some("k")));
}

#[tokio::test]
async fn a_truncated_or_oversized_answer_is_an_error() {
    let server = listen(|mut tcp| async move {
        read_head(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.expect("written");
    })
    .await;
    let e = get(&options(), &format!("http://{server}/")).await.expect("a head").collect(100).await.expect_err("truncated");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    let server = listen(answer_ok).await;
    let e = get(&options(), &format!("http://{server}/")).await.expect("a head").collect(1).await.expect_err("too large");
    assert_eq!(e.kind(), ErrorKind::Unexpected);
}
