//! The dev server's doors and weather, seen from the wire: raw requests, so that no client smooths anything over.

#![allow(clippy::disallowed_methods, reason = "links are signed for the wall clock")]

use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use bytes::Bytes;
use dragon::clock::Clock;
use dragon::devserver::store::Store;
use dragon::devserver::weather::{Effect, Fault};
use dragon::devserver::{Cloud, DevServer, Options};
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const BODY: &[u8] = b"0123456789";

/// An S3 side that holds `bkt/k`, and a link to read it.
async fn server_and_link() -> (DevServer, String) {
    let server = DevServer::start(Options::default()).await.expect("a free port");
    server.s3_store().create_bucket("bkt", Default::default()).expect("a new bucket");
    server.s3_store().put_bytes("bkt", "k", Bytes::from_static(BODY)).await.expect("put");
    let link =
        link(&server.s3_endpoint(), true, |s3, config| async move { s3.get_object().bucket("bkt").key("k").presigned(config).await.expect("a link") }).await;
    (server, link)
}

/// The path, query and host of a link that the Rust SDK makes, as `HOST PATH?QUERY`.
async fn link<F>(endpoint: &str, path_style: bool, make: impl FnOnce(aws_sdk_s3::Client, PresigningConfig) -> F) -> String
where
    F: Future<Output = aws_sdk_s3::presigning::PresignedRequest>,
{
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("dragon", "dragon-secret", None, None, "test"))
        .force_path_style(path_style);
    let expiry = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    let request = make(aws_sdk_s3::Client::from_conf(config.build()), expiry).await;
    let (host, rest) = request.uri().strip_prefix("http://").and_then(|uri| uri.split_once('/')).expect("an http link");
    format!("{host} /{rest}")
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// How the connection ended: an orderly close, or an error.
    end: std::io::Result<()>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request and reads until the connection ends.
async fn ask(server: &DevServer, method: &str, link: &str, headers: &str, body: &[u8]) -> Answer {
    let address = server.s3_endpoint().trim_start_matches("http://").to_owned();
    let (host, target) = link.split_once(' ').expect("a link");
    let mut stream = TcpStream::connect(address).await.expect("the door is open");
    let head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("sent");
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received).await.map(|_| ());
    let split = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(received.len());
    let head = String::from_utf8_lossy(&received[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body: received.get(split + 4..).unwrap_or_default().to_vec(), end }
}

#[tokio::test]
async fn fair_weather_answers_and_counts() {
    let (server, link) = server_and_link().await;
    let answer = ask(&server, "GET", &link, "range: bytes=2-4\r\n", b"").await;
    assert_eq!((answer.status, answer.text().as_str(), answer.header("content-range")), (206, "234", Some("bytes 2-4/10")));
    let traffic = server.traffic(Cloud::S3);
    assert_eq!((traffic.operation("GetObject"), traffic.requests(), traffic.bytes_out), (1, 1, 3));
    assert_eq!(server.traffic(Cloud::Oss).requests(), 0);
    server.reset_traffic();
    assert_eq!(server.traffic(Cloud::S3).requests(), 0);
    server.shutdown().await;
}

#[tokio::test]
async fn bytes_are_flipped_cut_and_reset_where_the_fault_says() {
    let (server, link) = server_and_link().await;
    server.inject(Fault::new(Effect::FlipAnswerByte(3)).on(Cloud::S3).operation("GetObject"));
    let flipped = ask(&server, "GET", &link, "", b"").await;
    assert_eq!((flipped.status, flipped.text().as_str()), (200, "0122456789"));

    server.inject(Fault::new(Effect::TruncateAnswerAt(4)));
    let short = ask(&server, "GET", &link, "", b"").await;
    assert_eq!((short.header("content-length"), short.text().as_str(), short.end.is_ok()), (Some("10"), "0123", true));

    server.inject(Fault::new(Effect::ResetAnswerAt(4)));
    let reset = ask(&server, "GET", &link, "", b"").await;
    assert_eq!(reset.end.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));

    server.inject(Fault::new(Effect::StallAnswerAt(4, Duration::from_millis(50))));
    let before = std::time::Instant::now();
    assert_eq!(ask(&server, "GET", &link, "", b"").await.body, BODY);
    assert!(before.elapsed() >= Duration::from_millis(50));

    server.inject(Fault::new(Effect::ResetBeforeAnswer));
    assert!(ask(&server, "GET", &link, "", b"").await.end.is_err());
    assert_eq!(ask(&server, "GET", &link, "", b"").await.body, BODY);
}

#[tokio::test]
async fn answers_are_replaced_delayed_and_their_headers_forged() {
    let (server, link) = server_and_link().await;
    let retry_after = (http::header::RETRY_AFTER, HeaderValue::from_static("3"));
    server.inject(Fault::new(Effect::Answer { status: 503, code: "SlowDown".into(), headers: vec![retry_after] }).path("/bkt/k").skip(1).times(2));
    let answers = [ask(&server, "GET", &link, "", b"").await, ask(&server, "GET", &link, "", b"").await, ask(&server, "GET", &link, "", b"").await];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 503, 503]);
    assert!(answers[1].text().contains("<Code>SlowDown</Code>") && answers[1].header("retry-after") == Some("3"));

    server.inject(Fault::new(Effect::SetHeader(http::header::ETAG, HeaderValue::from_static("\"forged\""))));
    server.inject(Fault::new(Effect::RemoveHeader(HeaderName::from_static("last-modified"))));
    server.inject(Fault::new(Effect::Delay(Duration::from_millis(50))));
    let before = std::time::Instant::now();
    let forged = ask(&server, "GET", &link, "", b"").await;
    assert_eq!((forged.header("etag"), forged.header("last-modified")), (Some("\"forged\""), None));
    assert!(before.elapsed() >= Duration::from_millis(50));

    server.inject(Fault::new(Effect::IgnoreRange).always());
    let whole = ask(&server, "GET", &link, "range: bytes=2-4\r\n", b"").await;
    assert_eq!((whole.status, whole.body.as_slice(), whole.header("content-range")), (200, BODY, None));
    server.clear_faults();
    assert_eq!(ask(&server, "GET", &link, "range: bytes=2-4\r\n", b"").await.status, 206);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_deed_done_and_a_damaged_body_is_stored_damaged() {
    let (server, _) = server_and_link().await;
    let put =
        link(&server.s3_endpoint(), true, |s3, config| async move { s3.put_object().bucket("bkt").key("new").presigned(config).await.expect("a link") }).await;
    server.inject(Fault::new(Effect::LoseAnswer).operation("PutObject"));
    assert!(ask(&server, "PUT", &put, "", BODY).await.end.is_err());
    let stored = server.s3_store().object("bkt", "new").expect("done all the same");
    assert_eq!(stored.content.read_all().await.expect("in memory"), BODY);

    server.inject(Fault::new(Effect::FlipRequestByte(0)).operation("PutObject"));
    assert_eq!(ask(&server, "PUT", &put, "", BODY).await.status, 200);
    let stored = server.s3_store().object("bkt", "new").expect("written");
    assert_eq!(stored.content.read_all().await.expect("in memory"), "1123456789");
}

#[tokio::test]
async fn buckets_stand_in_the_path_or_in_the_host() {
    let (server, _) = server_and_link().await;
    let port = server.s3_endpoint().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    for domain in ["localhost", "s3.localhost"] {
        let get = |s3: aws_sdk_s3::Client, config| async move { s3.get_object().bucket("two-x").key("a/../b//c").presigned(config).await.expect("a link") };
        let link = link(&format!("http://{domain}:{port}"), false, get).await;
        assert!(link.starts_with(&format!("two-x.{domain}:{port} /a")), "{link}");
        assert!(ask(&server, "GET", &link, "", b"").await.text().contains("NoSuchBucket"));
        server.s3_store().create_bucket("two-x", Default::default()).expect("a new bucket");
        server.s3_store().put_bytes("two-x", "a/../b//c", Bytes::from_static(BODY)).await.expect("put");
        let answer = ask(&server, "GET", &link, "", b"").await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, BODY), "{}", answer.text());
        server.s3_store().remove("two-x", "a/../b//c", |_| Ok::<(), dragon::devserver::store::Refusal>(())).expect("there");
        server.s3_store().delete_bucket("two-x").expect("empty");
    }
}

#[tokio::test]
async fn strangers_are_refused_in_the_services_words() {
    let (server, link) = server_and_link().await;
    let (host, target) = link.split_once(' ').expect("a link");
    let anonymous = format!("{host} {}", target.split('?').next().unwrap_or(target));
    let answer = ask(&server, "GET", &anonymous, "", b"").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("<Code>AccessDenied</Code>"), "{}", answer.text());
    let elsewhere = link.replace("us-east-1", "eu-west-1");
    let answer = ask(&server, "GET", &elsewhere, "", b"").await;
    assert!(answer.status == 400 && answer.text().contains("<Region>us-east-1</Region>"), "{}", answer.text());
    assert_eq!(ask(&server, "GET", &link.replace("/bkt/k", "/bkt/j"), "", b"").await.status, 403);
}

#[tokio::test]
async fn data_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let options = Options { data: Some(dir.path().to_path_buf()), ..Options::default() };
    let server = DevServer::start(options.clone()).await.expect("a free port");
    server.oss_store().create_bucket("bkt", Default::default()).expect("a new bucket");
    server.oss_store().put_bytes("bkt", "a/../b", Bytes::from_static(BODY)).await.expect("put");
    server.shutdown().await;
    let server = DevServer::start(options).await.expect("a free port");
    assert!(server.ready_line().starts_with("ready s3=http://127.0.0.1:"));
    let object = server.oss_store().object("bkt", "a/../b").expect("it survived");
    assert_eq!(object.content.read_all().await.expect("its file is there"), BODY);
    assert!(server.s3_store().buckets().is_empty(), "the clouds share nothing");
}

#[test]
fn a_listing_of_many_keys_costs_what_it_shows() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = Store::in_memory(Clock::system());
    store.create_bucket("bkt", Default::default()).expect("a new bucket");
    runtime.block_on(async {
        for i in 0..20_000 {
            store.put_bytes("bkt", &format!("dir-{}/{i:06}", i / 1000), Bytes::new()).await.expect("put");
        }
    });
    let folded = dragon::devserver::store::ListQuery { delimiter: "/", limit: 1000, ..Default::default() };
    assert_eq!(store.list("bkt", &folded).expect("a bucket").entries.len(), 20);
    let (mut after, mut seen) = (String::new(), 0);
    loop {
        let page = store.list("bkt", &dragon::devserver::store::ListQuery { after: &after, limit: 1000, ..Default::default() }).expect("a bucket");
        seen += page.entries.len();
        if !page.truncated {
            break;
        }
        after = page.last().expect("a truncated page is not empty").to_owned();
    }
    assert_eq!(seen, 20_000);
}
