//! The OSS client against the dev server's OSS dialect, which shares no line of wire, signing or checksum code with it.

use std::sync::Arc;
use std::time::Duration;

use dragon::clock::Clock;
use dragon::devserver::weather::{Effect, Fault};
use dragon::devserver::{self, Cloud, DevServer};
use dragon::error::ErrorKind;
use dragon::storage::conformance;
use dragon::storage::oss::credentials::{self, Environment};
use dragon::storage::oss::{Addressing, Options, OssAccount, OssStore, Signature};
use dragon::storage::{Account, Attributes, Complete, Get, Key, Multipart, Presign, PresignMethod, Put, Storage, Upload};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BUCKET: &str = "bridge";

async fn server() -> DevServer {
    DevServer::start(devserver::Options::default()).await.expect("a dev server")
}

fn options(server: &DevServer) -> Options {
    let credentials =
        credentials::Options { access_key_id: Some("dragon".into()), access_key_secret: Some("dragon-secret".into()), ..credentials::Options::default() };
    Options { endpoints: vec![server.oss_endpoint()], credentials, ..Options::default() }
}

/// Opens the bucket, which a plain client makes first.
async fn open(server: &DevServer, options: Options, clock: Clock) -> OssStore {
    let plain = OssAccount::open_in(self::options(server), &Environment::default(), Clock::system()).expect("an account");
    if !plain.list_buckets().await.expect("buckets").iter().any(|b| b.name == BUCKET) {
        plain.create_bucket(BUCKET).await.expect("a bucket");
    }
    OssAccount::open_in(options, &Environment::default(), clock).expect("an account").store(BUCKET).expect("a store")
}

async fn conforms(change: impl FnOnce(Options) -> Options) {
    let server = server().await;
    let options = change(options(&server));
    let store = open(&server, options, Clock::system()).await;
    conformance::suite(Arc::new(store), &Key::from("scratch/")).await.expect("the contract holds");
    server.shutdown().await;
}

#[tokio::test]
async fn conforms_with_v4_in_path_style() {
    conforms(|o| o).await;
}

#[tokio::test]
async fn conforms_with_v1_in_path_style() {
    conforms(|o| Options { signature: Signature::V1, ..o }).await;
}

#[tokio::test]
async fn conforms_with_virtual_hosts() {
    conforms(|o| {
        let endpoints = o.endpoints.iter().map(|e| e.replace("127.0.0.1", "localhost")).collect();
        Options { endpoints, addressing: Some(Addressing::Virtual), ..o }
    })
    .await;
}

#[tokio::test]
async fn conforms_with_a_domain_of_its_own() {
    conforms(|o| {
        let endpoints = o.endpoints.iter().map(|e| e.replace("127.0.0.1", &format!("{BUCKET}.localhost"))).collect();
        Options { endpoints, addressing: Some(Addressing::Cname), ..o }
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_corrected() {
    for signature in [Signature::V4, Signature::V1] {
        let server = server().await;
        let off = Clock::system_with_offset(jiff::SignedDuration::from_hours(-1));
        let store = open(&server, Options { signature, ..options(&server) }, off).await;
        store.put(&"k".into(), "x".into(), Put::default()).await.expect("corrected");
        assert_eq!(store.head(&Key::from("k").into()).await.expect("a head").size, 1);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn who_may_not_enter_is_told_why() {
    let server = server().await;
    let with = |id: &str, secret: &str| {
        let credentials = credentials::Options { access_key_id: Some(id.into()), access_key_secret: Some(secret.into()), ..credentials::Options::default() };
        Options { credentials, ..options(&server) }
    };
    for signature in [Signature::V4, Signature::V1] {
        for (id, secret, code) in [("dragon", "wrong", "SignatureDoesNotMatch"), ("AKIAXXXX", "dragon-secret", "InvalidAccessKeyId")] {
            let store = open(&server, Options { signature, ..with(id, secret) }, Clock::system()).await;
            let e = store.head(&Key::from("k").into()).await.expect_err(code);
            assert_eq!((e.kind(), e.answer().map(|a| a.code.as_str())), (ErrorKind::Credentials, Some(code)), "{e}");
            assert!(!e.to_string().contains(secret) && !e.advice().is_empty(), "{e}");
        }
    }
    let account = OssAccount::open_in(options(&server), &Environment::default(), Clock::system()).expect("an account");
    let nowhere = account.store("no-such-bucket").expect("a store");
    let e = nowhere.get(&Key::from("k").into(), Get::default()).await.expect_err("no bucket");
    assert_eq!(e.kind(), ErrorKind::BucketNotFound, "{e}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_region_is_named() {
    let server = server().await;
    let store = open(&server, Options { region: Some("cn-beijing".into()), ..options(&server) }, Clock::system()).await;
    let e = store.put(&"k".into(), "x".into(), Put::default()).await.expect_err("another region");
    assert_eq!(e.kind(), ErrorKind::WrongEndpoint, "{e}");
    assert!(e.advice().contains("region"), "{e}");
    server.shutdown().await;
}

#[tokio::test]
async fn an_upload_whose_completion_was_lost_is_found_complete() {
    let server = server().await;
    let store = open(&server, options(&server), Clock::system()).await;
    let key = Key::from("k");
    let upload = Upload { id: store.create(&key, &Attributes::default()).await.expect("an upload"), key };
    let part = store.upload_part(&upload, 1, "hello".into(), None).await.expect("a part");
    server.inject(Fault::new(Effect::LoseAnswer).on(Cloud::Oss).operation("CompleteMultipartUpload"));
    let lost = store.complete(&upload, std::slice::from_ref(&part), Complete::default()).await.expect_err("the answer is lost");
    assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost}");
    let made = store.complete(&upload, std::slice::from_ref(&part), Complete::default()).await.expect("found complete");
    assert_eq!(made.checksums.crc64xz, part.checksums.crc64xz);

    store.delete(futures::stream::iter([upload.key.clone().into()]).boxed()).collect::<Vec<_>>().await;
    let e = store.complete(&upload, &[part], Complete::default()).await.expect_err("nothing is there");
    assert_eq!(e.kind(), ErrorKind::UploadNotFound, "{e}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_bad_road_never_looks_like_a_good_object() {
    let server = server().await;
    let store = open(&server, options(&server), Clock::system()).await;
    store.put(&"k".into(), "0123456789".into(), Put::default()).await.expect("put");
    let on_get = |effect| Fault::new(effect).on(Cloud::Oss).operation("GetObject");
    let read = async |range: Option<std::ops::Range<u64>>| {
        let mut body = store.get(&Key::from("k").into(), Get { range, if_match: None }).await?.body;
        let mut all = Vec::new();
        while let Some(chunk) = body.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok::<_, dragon::error::Error>(all)
    };
    server.inject(on_get(Effect::IgnoreRange));
    assert_eq!(read(Some(2..4)).await.expect_err("the whole instead of a range").kind(), ErrorKind::Integrity);
    for effect in [Effect::TruncateAnswerAt(4), Effect::ResetAnswerAt(4), Effect::ResetBeforeAnswer] {
        server.inject(on_get(effect.clone()));
        assert_eq!(read(None).await.expect_err("half an object").kind(), ErrorKind::Unavailable, "{effect:?}");
    }
    server.inject(on_get(Effect::answer(503, "DownloadTrafficRateLimitExceeded")));
    assert_eq!(read(None).await.expect_err("busy").kind(), ErrorKind::Throttled);
    assert_eq!(read(Some(2..4)).await.expect("fair weather"), b"23");
    server.shutdown().await;
}

#[tokio::test]
async fn metadata_in_any_script_comes_back() {
    let server = server().await;
    let store = open(&server, options(&server), Clock::system()).await;
    let attributes = Attributes {
        content_type: Some("text/html; charset=utf-8".into()),
        content_disposition: Some("attachment; filename=\"a b.txt\"".into()),
        user: [("title".to_owned(), "龙 🐉".to_owned()), ("blank".to_owned(), " x ".to_owned()), ("word".to_owned(), "=?UTF-8?B?eA==?=".to_owned())].into(),
        ..Attributes::default()
    };
    let put = Put { attributes: attributes.clone(), ..Put::default() };
    store.put(&"k".into(), "x".into(), put).await.expect("put");
    let found = store.head(&Key::from("k").into()).await.expect("a head").attributes;
    assert_eq!((found.user, found.content_type, found.content_disposition), (attributes.user, attributes.content_type, attributes.content_disposition));
    server.shutdown().await;
}

/// Sends a request that knows nothing but the link.
async fn fetch(method: &str, link: &str, body: &str) -> String {
    let (host, target) = link.strip_prefix("http://").and_then(|l| l.split_once('/')).expect("a link");
    let mut stream = tokio::net::TcpStream::connect(host).await.expect("connected");
    let request = format!("{method} /{target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn links_work_for_anyone_until_they_are_changed() {
    let server = server().await;
    for signature in [Signature::V4, Signature::V1] {
        let store = open(&server, Options { signature, ..options(&server) }, Clock::system()).await;
        let key = Key::from("a/../b c+中");
        let to_put = link(&store, PresignMethod::Put, &key).await;
        assert!(fetch("PUT", &to_put, "hello").await.starts_with("HTTP/1.1 200"), "{to_put}");
        let to_get = link(&store, PresignMethod::Get, &key).await;
        assert!(fetch("GET", &to_get, "").await.ends_with("\r\n\r\nhello"), "{to_get}");
        assert!(fetch("GET", &to_get.replace("b%20c", "b%20d"), "").await.starts_with("HTTP/1.1 403"), "another key");
        assert!(fetch("PUT", &to_get, "x").await.starts_with("HTTP/1.1 403"), "another method");
    }
    server.shutdown().await;
}

async fn link(store: &OssStore, method: PresignMethod, key: &Key) -> String {
    Presign::presign(store, method, &key.into(), Duration::from_secs(60)).await.expect("a link")
}
