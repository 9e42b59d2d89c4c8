//! Every trap of protocol.md sections 1 to 3, against a server that says what the test wants it to.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::credentials::{Credentials, CredentialsProvider, Environment};
use super::*;
use crate::clock::Clock;
use crate::error::{ErrorKind, Retry};
use crate::storage::checksum::{Checksums, Crc64};
use crate::storage::transport::canned::{Asked, Canned, answer};
use crate::storage::{Account, Condition};

fn options(endpoint: &str) -> Options {
    Options {
        endpoints: vec![endpoint.to_owned()],
        region: Some("cn-hangzhou".into()),
        credentials: credentials::Options { access_key_id: Some("id".into()), access_key_secret: Some("secret".into()), ..credentials::Options::default() },
        ..Options::default()
    }
}

fn open(options: Options) -> OssStore {
    OssAccount::open_in(options, &Environment::default(), Clock::system()).expect("opened").store("bucket").expect("a store")
}

async fn serve(reply: impl Fn(usize, &Asked) -> Vec<u8> + Send + Sync + 'static) -> (Canned, OssStore) {
    let server = Canned::start(reply).await;
    let store = open(options(&server.url));
    (server, store)
}

fn refusal(status: u16, code: &str, rest: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>{code} was said</Message><RequestId>R</RequestId>{rest}</Error>");
    answer(status, &[("x-oss-request-id", "R")], body)
}

fn key(text: &str) -> ObjectRef {
    Key::from(text).into()
}

async fn body(output: GetOutput) -> crate::error::Result<Vec<u8>> {
    output
        .body
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}

#[tokio::test]
async fn a_request_stands_on_the_wire_as_oss_wants_it() {
    let (server, store) = serve(|_, _| answer(206, &[("content-range", "bytes 1-2/9"), ("x-oss-hash-crc64ecma", "7")], "ab")).await;
    let get = Get { range: Some(1..3), if_match: Some(ETag::new("\"AB\"")) };
    let output = store.get(&ObjectRef { key: "a/../b//c d+%中\u{1}".into(), version: Some("v/1".into()) }, get).await.expect("a range");
    assert_eq!((output.info.size, output.info.checksums.crc64xz), (9, Some(7)), "size and CRC are the whole object's");
    assert_eq!(body(output).await.expect("two bytes"), b"ab");
    let asked = &server.asked()[0];
    assert_eq!(asked.target, "/bucket/a/../b//c%20d%2B%25%E4%B8%AD%01?versionId=v%2F1");
    assert_eq!((asked.header("range"), asked.header("x-oss-range-behavior"), asked.header("if-match")), ("bytes=1-2", "standard", "\"AB\""));
    assert_eq!(asked.header("accept-encoding"), "", "OSS would compress");
    assert!(!asked.header("authorization").contains("AdditionalHeaders"), "an empty list is refused");
    assert_eq!(asked.header("host"), server.url.trim_start_matches("http://"));
}

#[tokio::test]
async fn nothing_but_the_range_asked_for_is_taken_for_it() {
    let whole = answer(200, &[], "0123456789");
    for (reply, what) in [
        (whole, "a 200 to a range"),
        (answer(206, &[("content-range", "bytes 0-1/9")], "ab"), "another range"),
        (answer(206, &[("content-range", "bytes 1-3/9")], "abc"), "a longer range"),
        (answer(206, &[], "ab"), "no Content-Range"),
        (answer(206, &[("content-range", "bytes 1-2/*")], "ab"), "an unknown total"),
        (answer(206, &[("content-range", "bytes 1-2/9")], "abc"), "another length"),
        (answer(204, &[], ""), "no content"),
    ] {
        let (_server, store) = serve(move |_, _| reply.clone()).await;
        let e = store.get(&key("k"), Get { range: Some(1..3), if_match: None }).await.expect_err(what);
        assert_eq!(e.kind(), ErrorKind::Integrity, "{what}: {e}");
        assert!(e.to_string().contains("'k' in oss://bucket"), "{e}");
    }
    let (_server, store) = serve(|_, _| answer(206, &[("content-range", "bytes 0-1/9")], "ab")).await;
    assert_eq!(store.get(&key("k"), Get::default()).await.expect_err("a range unasked").kind(), ErrorKind::Integrity);
}

#[tokio::test]
async fn a_truncated_body_is_an_error_that_names_its_object() {
    let (_server, store) = serve(|_, _| answer(200, &[("content-length", "10")], "01234")).await;
    let output = store.get(&key("k"), Get::default()).await.expect("the head");
    assert_eq!((output.info.size, output.range.clone()), (10, 0..10));
    let e = body(output).await.expect_err("half a body");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().starts_with("get 'k' in oss://bucket: "), "{e}");
}

#[tokio::test]
async fn the_error_of_a_head_is_read_from_its_headers() {
    let document = BASE64.encode("<Error><Code>InvalidObjectState</Code><Message>frozen</Message><RequestId>R</RequestId><EC>0016-00000404</EC></Error>");
    let (_server, store) = serve(move |_, asked| match asked.target.as_str() {
        "/bucket/frozen" => answer(403, &[("x-oss-err", &document), ("content-length", "0")], ""),
        "/bucket/proxied" => answer(404, &[], ""),
        "/bucket/marker" => answer(404, &[("x-oss-request-id", "R"), ("x-oss-delete-marker", "true")], ""),
        _ => answer(404, &[("x-oss-request-id", "R"), ("x-oss-ec", "0026-00000001")], ""),
    })
    .await;
    let head = async |k: &str| store.head(&key(k)).await.expect_err(k);
    let frozen = head("frozen").await;
    assert_eq!((frozen.kind(), frozen.answer().expect("an answer").ec.as_str()), (ErrorKind::Frozen, "0016-00000404"));
    assert_eq!(head("gone").await.kind(), ErrorKind::NotFound);
    assert_eq!(head("marker").await.kind(), ErrorKind::NotFound);
    assert_eq!(head("proxied").await.kind(), ErrorKind::Unexpected, "a proxy's 404 is no absence");
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_once_and_remembered() {
    let date = |asked: &Asked| super::client::parse_date(asked.header("date")).expect("a date");
    let server = Canned::start(move |_, asked| {
        let skewed = date(asked).duration_since(Clock::system().now()).abs() > jiff::SignedDuration::from_mins(15);
        let now = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&Clock::system().now()).expect("a date");
        match skewed {
            true => answer(403, &[("date", &now)], "<Error><Code>RequestTimeTooSkewed</Code></Error>"),
            false => answer(200, &[("date", &now), ("etag", "\"A\"")], ""),
        }
    })
    .await;
    let slow = Clock::system_with_offset(jiff::SignedDuration::from_hours(-30));
    let store = OssAccount::open_in(options(&server.url), &Environment::default(), slow).expect("opened").store("bucket").expect("a store");
    for _ in 0..2 {
        store.put(&"k".into(), "x".into(), Put::default()).await.expect("put");
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 3, "one correction, then none");
    assert_eq!(asked[1].body, b"x");
    let day = &asked[1].header("x-oss-date")[..8];
    assert!(asked[1].header("authorization").contains(&format!("/{day}/cn-hangzhou/oss/")), "the scope's date moves along");
    let (server, store) = serve(|_, _| answer(403, &[("date", "Thu, 01 Jan 2026 00:00:00 GMT")], "<Error><Code>RequestTimeTooSkewed</Code></Error>")).await;
    let e = store.get(&key("k"), Get::default()).await.expect_err("never right");
    assert_eq!((e.kind(), server.asked().len()), (ErrorKind::ClockSkew, 2), "{e}");
}

#[tokio::test]
async fn a_lost_answer_to_complete_is_success_only_when_proved() {
    let bytes = b"part one, part two".as_slice();
    let (one, two) = (Crc64::of(&bytes[..9]), Crc64::of(&bytes[9..]));
    let part = |number, crc: Crc64| Part {
        number,
        etag: ETag::new("A"),
        size: crc.len,
        checksums: Checksums { crc64xz: Some(crc.xz), ..Checksums::default() },
        modified: None,
    };
    let parts = [part(1, one), part(2, two)];
    let upload = Upload { key: "k".into(), id: UploadId("u".into()) };
    let there = |length: usize, crc: Option<u64>| {
        move |_: usize, asked: &Asked| match (asked.method.as_str(), crc) {
            ("HEAD", Some(crc)) => answer(200, &[("content-length", &length.to_string()), ("etag", "\"B-2\""), ("x-oss-hash-crc64ecma", &crc.to_string())], ""),
            ("HEAD", None) => answer(200, &[("content-length", &length.to_string()), ("etag", "\"B-2\"")], ""),
            _ => refusal(404, "NoSuchUpload", ""),
        }
    };
    let whole = Crc64::of(bytes).xz;
    let (_server, store) = serve(there(bytes.len(), Some(whole))).await;
    let made = store.complete(&upload, &parts, Complete::default()).await.expect("completed before");
    assert_eq!((made.etag.as_str(), made.checksums.crc64xz), ("B-2", Some(whole)));
    for (length, crc, what) in
        [(bytes.len(), Some(whole ^ 1), "another checksum"), (bytes.len() + 1, Some(whole), "another length"), (bytes.len(), None, "no checksum")]
    {
        let (_server, store) = serve(there(length, crc)).await;
        let e = store.complete(&upload, &parts, Complete::default()).await.expect_err(what);
        assert_eq!(e.kind(), ErrorKind::UploadNotFound, "{what}");
    }
}

#[tokio::test]
async fn a_batch_is_held_against_what_was_asked() {
    let (server, store) = serve(|_, asked| match asked.method.as_str() {
        "DELETE" => answer(204, &[], ""),
        _ => answer(
            200,
            &[],
            "<DeleteResult><EncodingType>url</EncodingType><Deleted><Key>a+b</Key></Deleted>\
             <Error><Key>locked</Key><Code>FileImmutable</Code><Message>held</Message></Error><Deleted><Key>unasked</Key></Deleted></DeleteResult>",
        ),
    })
    .await;
    let asked: Vec<ObjectRef> = ["a b", "forgotten", "bad\u{1}key", "/root", "locked"].map(key).into();
    let results: Vec<_> = store.delete(stream::iter(asked.clone()).boxed()).collect().await;
    let kind = |k: &str| results.iter().find(|(o, _)| *o == key(k)).expect("an answer for each").1.as_ref().map_err(crate::error::Error::kind).map(|_| ());
    assert_eq!(results.len(), asked.len());
    assert_eq!(kind("a b"), Ok(()));
    assert_eq!(kind("bad\u{1}key"), Ok(()), "deleted by a request of its own");
    assert_eq!(kind("forgotten"), Err(ErrorKind::Unavailable));
    assert_eq!(kind("locked"), Err(ErrorKind::Locked));
    assert_eq!(kind("/root"), Err(ErrorKind::Invalid));
    let requests = server.asked();
    assert_eq!(requests.iter().map(|a| a.target.as_str()).collect::<Vec<_>>(), ["/bucket/?delete&encoding-type=url", "/bucket/bad%01key"]);
    assert!(!requests[0].header("content-md5").is_empty() && String::from_utf8_lossy(&requests[0].body).contains("<Quiet>false</Quiet>"));
}

fn listing(keys: &[&str], token: Option<&str>) -> Vec<u8> {
    let mut body = String::from("<ListBucketResult><EncodingType>url</EncodingType>");
    for key in keys {
        body.push_str(&format!("<Contents><Key>{key}</Key><Size>1</Size><ETag>\"A\"</ETag></Contents>"));
    }
    match token {
        Some(token) => body.push_str(&format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>")),
        None => body.push_str("<IsTruncated>false</IsTruncated></ListBucketResult>"),
    }
    answer(200, &[], body)
}

async fn keys(store: &OssStore, list: List) -> (Vec<String>, Option<crate::error::Error>) {
    let (mut keys, mut pages) = (Vec::new(), store.list(list));
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => keys.extend(page.iter().map(|e| String::from_utf8_lossy(e.key).into_owned())),
            Err(e) => {
                assert!(pages.next().await.is_none(), "an error is final");
                return (keys, Some(e));
            }
        }
    }
    (keys, None)
}

#[tokio::test]
async fn a_listing_pages_to_its_end_or_stops_early() {
    let reply = |_: usize, asked: &Asked| match asked.parameter("continuation-token").as_deref() {
        None => listing(&["p%2Fa", "p%2Fb"], Some("t%2B1")),
        Some("t+1") => listing(&["p%2Fc+d", "p%2Fe"], Some("t2")),
        Some(_) => listing(&["p%2Ff"], None),
    };
    let (server, store) = serve(reply).await;
    let (all, error) = keys(&store, List { after: Some("p/".into()), ..List::under("p/".into()) }).await;
    assert_eq!((all.join(" "), error.is_none()), ("p/a p/b p/c d p/e p/f".into(), true));
    let asked = server.asked();
    assert_eq!(asked[0].parameter("max-keys").as_deref(), Some("1000"));
    assert_eq!((asked[0].parameter("start-after").as_deref(), asked[1].parameter("start-after")), (Some("p/"), None));
    assert!(asked.iter().all(|a| a.parameter("encoding-type").as_deref() == Some("url") && a.target.starts_with("/bucket/?list-type=2")));
    let (some, error) = keys(&store, List { upto: Some("p/c d".into()), ..List::under("p/".into()) }).await;
    assert_eq!((some.join(" "), error.is_none()), ("p/a p/b p/c d".into(), true));
}

#[tokio::test]
async fn a_listing_that_cannot_be_trusted_ends_in_an_error() {
    type Reply = fn(usize, &Asked) -> Vec<u8>;
    let cases: [(Reply, ErrorKind, &str); 6] = [
        (|n, _| if n == 0 { listing(&["a", "c"], Some("t")) } else { listing(&["b"], None) }, ErrorKind::Integrity, "out of order across pages"),
        (|_, _| listing(&["b", "a"], None), ErrorKind::Integrity, "out of order within a page"),
        (|_, _| listing(&["a"], Some("t")), ErrorKind::Integrity, "a token that repeats"),
        (|n, _| if n == 0 { listing(&["a"], Some("t")) } else { refusal(503, "ServiceUnavailable", "") }, ErrorKind::Unavailable, "a failed second page"),
        (|_, _| answer(200, &[], "<html>sign in</html>"), ErrorKind::Integrity, "a captive portal"),
        (|_, _| refusal(403, "AccessDenied", ""), ErrorKind::Denied, "a refusal"),
    ];
    for (reply, kind, what) in cases {
        let (_server, store) = serve(reply).await;
        let (_, error) = keys(&store, List::default()).await;
        let error = error.expect(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains("oss://bucket"), "{error}");
    }
}

#[tokio::test]
async fn versions_page_within_a_key_and_keep_their_order() {
    let page = |inner: &str, next: &str| {
        let next = if next.is_empty() { "<IsTruncated>false</IsTruncated>".to_owned() } else { format!("<IsTruncated>true</IsTruncated>{next}") };
        answer(200, &[], format!("<ListVersionsResult><Name>bucket</Name><EncodingType>url</EncodingType>{next}{inner}</ListVersionsResult>"))
    };
    let version = |key: &str, id: &str, latest: bool| {
        let rest = "<LastModified>2019-04-09T07:27:28.000Z</LastModified><ETag>\"250F8A0AE989679A22926A875F0A2\"</ETag><Type>Normal</Type><Size>93731</Size>";
        format!("<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest>{rest}<StorageClass>Standard</StorageClass></Version>")
    };
    let marker = |key: &str, id: &str| {
        format!(
            "<DeleteMarker><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>true</IsLatest><LastModified>2019-04-09T07:27:29.000Z</LastModified></DeleteMarker>"
        )
    };
    let reply = move |_: usize, asked: &Asked| match (asked.parameter("key-marker").as_deref(), asked.parameter("version-id-marker").as_deref()) {
        (Some("p/"), None) => page(
            &format!("{}{}", marker("p%2Fa+b", "CAEQMxi3"), version("p%2Fa+b", "CAEQMxi2", false)),
            "<NextKeyMarker>p%2Fa+b</NextKeyMarker><NextVersionIdMarker>CAEQMxi2</NextVersionIdMarker>",
        ),
        (Some("p/a b"), Some("CAEQMxi2")) => page(&format!("{}{}", version("p%2Fa+b", "null", false), version("p%2Fc", "CAEQMxi9", true)), ""),
        _ => refusal(400, "InvalidArgument", ""),
    };
    let (server, store) = serve(reply).await;
    let list = List { after: Some("p/".into()), ..List::under("p/".into()) };
    let listed = store.list_versions(list).try_concat().await.expect("listed");
    let told: Vec<String> = listed.iter().map(|v| format!("{} {} {} {} {}", v.key, v.version, v.is_latest, v.is_marker, v.size)).collect();
    assert_eq!(told, ["p/a b CAEQMxi3 true true 0", "p/a b CAEQMxi2 false false 93731", "p/a b null false false 93731", "p/c CAEQMxi9 true false 93731"]);
    let asked = server.asked();
    assert!(asked.iter().all(|a| a.target.starts_with("/bucket/?versions&") && a.parameter("max-keys").as_deref() == Some("1000")), "{:?}", asked[0].target);
    let (_server, store) = serve(|_, _| answer(200, &[], "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")).await;
    assert_eq!(store.versioning().await.expect("told"), Versioning::Suspended);
}

#[tokio::test]
async fn throttling_says_how_long() {
    let (_server, store) = serve(|_, _| answer(503, &[("x-oss-qos-delay-time", "40")], "<Error><Code>UploadTrafficRateLimitExceeded</Code></Error>")).await;
    let e = store.put(&"k".into(), "x".into(), Put::default()).await.expect_err("throttled");
    assert_eq!(e.retry(), Retry::Slow { after: Some(Duration::from_millis(40)) });
}

#[tokio::test]
async fn a_create_only_write_needs_a_bucket_without_versions() {
    let reply = |versioning: &'static str, version: &'static str| {
        move |_: usize, asked: &Asked| match asked.target.as_str() {
            "/bucket/?versioning" => answer(200, &[], versioning),
            "/bucket/taken" => refusal(409, "FileAlreadyExists", ""),
            _ if version.is_empty() => answer(200, &[("etag", "\"A\"")], ""),
            _ => answer(200, &[("etag", "\"A\""), ("x-oss-version-id", version)], ""),
        }
    };
    let absent = || Put { condition: Some(Condition::Absent), ..Put::default() };
    let (server, store) = serve(reply("<VersioningConfiguration/>", "")).await;
    store.put(&"k".into(), "x".into(), absent()).await.expect("written");
    assert_eq!(store.put(&"taken".into(), "x".into(), absent()).await.expect_err("taken").kind(), ErrorKind::Exists);
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|a| a.target.ends_with("?versioning")).count(), 1, "asked once");
    assert!(asked.iter().filter(|a| a.method == "PUT").all(|a| a.header("x-oss-forbid-overwrite") == "true"));

    let (server, store) = serve(reply("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>", "v1")).await;
    assert_eq!(store.put(&"k".into(), "x".into(), absent()).await.expect_err("versioned").kind(), ErrorKind::Unsupported);
    assert!(server.asked().iter().all(|a| a.method == "GET"), "nothing was written");
    let matches = Put { condition: Some(Condition::Matches(ETag::new("A"))), ..Put::default() };
    assert_eq!(store.put(&"k".into(), "x".into(), matches).await.expect_err("no such thing").kind(), ErrorKind::Unsupported);

    let (_server, store) = serve(reply("<VersioningConfiguration/>", "v1")).await;
    store.put(&"k".into(), "x".into(), absent()).await.expect("written");
    let e = store.put(&"k".into(), "x".into(), absent()).await.expect_err("versions were switched on since");
    assert_eq!(e.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_put_states_and_learns_checksums() {
    let (server, store) =
        serve(|_, _| answer(200, &[("etag", "\"900150983CD24FB0D6963F7D28E17F72\""), ("x-oss-hash-crc64ecma", "5"), ("x-oss-request-id", "R9")], "")).await;
    let md5 = *b"0123456789abcdef";
    let attributes = Attributes { content_type: Some("text/plain".into()), user: [("a".to_owned(), "中".to_owned())].into(), ..Attributes::default() };
    let put = Put { attributes, checksums: Some(Checksums { md5: Some(md5), ..Checksums::default() }), condition: None };
    let made = store.put(&"k".into(), "abc".into(), put).await.expect("put");
    assert_eq!((made.checksums.crc64xz, made.request_id.as_str()), (Some(5), "R9"));
    let asked = &server.asked()[0];
    assert_eq!((asked.header("content-md5"), asked.header("content-length"), asked.body.as_slice()), (BASE64.encode(md5).as_str(), "3", &b"abc"[..]));
    assert_eq!((asked.header("content-type"), asked.header("x-oss-meta-a")), ("text/plain", "=?UTF-8?B?5Lit?="));
}

#[tokio::test]
async fn keys_and_sizes_that_oss_cannot_hold_are_refused_before_anything_is_sent() {
    let (server, store) = serve(|_, _| answer(200, &[], "")).await;
    let long = "k".repeat(1024);
    for bad in [&b""[..], b"/a", b"\\a", b"\xff", long.as_bytes()] {
        assert_eq!(store.put(&bad.into(), "x".into(), Put::default()).await.expect_err("refused").kind(), ErrorKind::Invalid, "{bad:?}");
    }
    let huge = Payload::from_source((5 << 30) + 1, || unreachable!("never opened"));
    assert_eq!(store.put(&"k".into(), huge.clone(), Put::default()).await.expect_err("too large").kind(), ErrorKind::Invalid);
    let upload = Upload { key: "k".into(), id: UploadId("u".into()) };
    assert_eq!(store.upload_part(&upload, 1, huge, None).await.expect_err("too large").kind(), ErrorKind::Invalid);
    assert_eq!(store.upload_part(&upload, 10_001, "x".into(), None).await.expect_err("no such part").kind(), ErrorKind::Invalid);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_bucket_is_followed_within_the_stores_own_list_only() {
    let home = Canned::start(|_, _| answer(200, &[("etag", "\"A\"")], "")).await;
    let named = home.url.trim_start_matches("http://").to_owned();
    let elsewhere = Canned::start(move |_, _| refusal(403, "AccessDenied", &format!("<Endpoint>{named}</Endpoint>"))).await;
    let both = Options { endpoints: vec![elsewhere.url.clone(), home.url.clone()], ..options("") };
    let store = open(both);
    for _ in 0..2 {
        store.put(&"k".into(), "x".into(), Put::default()).await.expect("put");
    }
    assert_eq!((elsewhere.asked().len(), home.asked().len()), (1, 2), "learnt once");
    let stranger = open(options(&elsewhere.url));
    let e = stranger.put(&"k".into(), "x".into(), Put::default()).await.expect_err("a stranger");
    assert_eq!((e.kind(), e.endpoint(), home.asked().len()), (ErrorKind::WrongEndpoint, Some(home.url.trim_start_matches("http://")), 2));
}

#[tokio::test]
async fn a_home_that_no_longer_answers_is_asked_for_anew() {
    let home = Canned::start(|_, _| answer(200, &[("etag", "\"A\"")], "")).await;
    let (named, listed) = (home.url.trim_start_matches("http://").to_owned(), home.url.clone());
    let elsewhere = Canned::start(move |_, _| refusal(403, "AccessDenied", &format!("<Endpoint>{named}</Endpoint>"))).await;
    let store = open(Options { endpoints: vec![elsewhere.url.clone(), listed], ..options("") });
    store.put(&"k".into(), "x".into(), Put::default()).await.expect("followed");
    drop(home);
    for asked in [1, 2] {
        let e = store.put(&"k".into(), "x".into(), Put::default()).await.expect_err("nobody there");
        assert_eq!((e.kind(), elsewhere.asked().len()), (ErrorKind::Unavailable, asked));
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_gives_way_to_the_next() {
    let server = Canned::start(|_, _| answer(200, &[("etag", "\"A\"")], "")).await;
    let store = open(Options { endpoints: vec!["http://127.0.0.1:1".into(), server.url.clone()], ..options("") });
    let first = store.put(&"k".into(), "x".into(), Put::default()).await.expect_err("nobody there");
    assert_eq!(first.kind(), ErrorKind::Unavailable);
    store.put(&"k".into(), "x".into(), Put::default()).await.expect("the next attempt goes to the other");
}

#[derive(Debug, Default)]
struct Renewing(std::sync::atomic::AtomicU32);

#[async_trait]
impl CredentialsProvider for Renewing {
    async fn credentials(&self) -> Result<Credentials> {
        let n = self.0.load(std::sync::atomic::Ordering::Relaxed);
        Ok(Credentials::new(format!("id{n}"), "s", Some("t")))
    }

    fn refused(&self, _: &Credentials) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_expired_token_is_renewed_once() {
    let server = Canned::start(|_, asked| match asked.header("authorization").contains("Credential=id0/") {
        true => refusal(403, "SecurityTokenExpired", ""),
        false => answer(200, &[("etag", "\"A\"")], ""),
    })
    .await;
    let store = open(Options { provider: Some(Arc::new(Renewing::default())), ..options(&server.url) });
    store.put(&"k".into(), "x".into(), Put::default()).await.expect("renewed");
    assert_eq!(server.asked()[1].header("x-oss-security-token"), "t");
    let server = Canned::start(|_, _| refusal(403, "InvalidAccessKeyId", "")).await;
    let store = open(Options { provider: Some(Arc::new(Renewing::default())), ..options(&server.url) });
    let e = store.put(&"k".into(), "x".into(), Put::default()).await.expect_err("never good");
    assert_eq!((e.kind(), server.asked().len()), (ErrorKind::TokenExpired, 2));
}

#[tokio::test]
async fn parts_and_uploads_are_listed_to_the_end() {
    let (server, store) = serve(|_, asked| match (asked.parameter("part-number-marker").as_deref(), asked.parameter("key-marker").as_deref()) {
        _ if asked.target.contains("?uploads") && asked.parameter("key-marker").is_none() => answer(
            200,
            &[],
            "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>a%2Fb</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>\
             <Upload><Key>a%2Fb</Key><UploadId>1</UploadId></Upload></ListMultipartUploadsResult>",
        ),
        (_, Some("a/b")) => answer(200, &[], "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>c</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>"),
        (None, _) => answer(200, &[], "<ListPartsResult><IsTruncated>true</IsTruncated><Part><PartNumber>1</PartNumber><ETag>A</ETag><Size>3</Size><HashCrc64ecma>7</HashCrc64ecma></Part></ListPartsResult>"),
        (Some("1"), _) => answer(200, &[], "<ListPartsResult><IsTruncated>false</IsTruncated><Part><PartNumber>2</PartNumber><ETag>B</ETag><Size>1</Size></Part></ListPartsResult>"),
        other => panic!("{other:?}"),
    })
    .await;
    let parts = store.list_parts(&Upload { key: "k".into(), id: UploadId("u&1".into()) }).await.expect("parts");
    assert_eq!(parts.iter().map(|p| (p.number, p.size, p.checksums.crc64xz)).collect::<Vec<_>>(), [(1, 3, Some(7)), (2, 1, None)]);
    assert_eq!(server.asked()[0].parameter("uploadId").as_deref(), Some("u&1"));
    let uploads: Vec<OpenUpload> = store.list_uploads("a".into()).try_collect().await.expect("uploads");
    assert_eq!(uploads.iter().map(|u| (u.upload.key.to_string(), u.upload.id.0.as_str())).collect::<Vec<_>>(), [("a/b".into(), "1"), ("c".into(), "2")]);
    let (_server, store) = serve(|_, _| refusal(404, "NoSuchUpload", "")).await;
    store.abort(&Upload { key: "k".into(), id: UploadId("u".into()) }).await.expect("gone is gone");
}

#[tokio::test]
async fn a_copy_names_its_source_and_replaces_what_travels() {
    let (server, store) = serve(|_, _| answer(200, &[("x-oss-hash-crc64ecma", "9")], "<CopyObjectResult><ETag>\"C\"</ETag></CopyObjectResult>")).await;
    let source = ObjectRef { key: "a b/../中".into(), version: Some("v".into()) };
    let made = store.copy("other", &source, Some(&ETag::new("A")), &"k".into(), &Attributes::default()).await.expect("copied");
    assert_eq!((made.etag.as_str(), made.checksums.crc64xz), ("C", Some(9)));
    let asked = &server.asked()[0];
    assert_eq!(asked.header("x-oss-copy-source"), "/other/a%20b/../%E4%B8%AD?versionId=v");
    assert_eq!((asked.header("x-oss-copy-source-if-match"), asked.header("x-oss-metadata-directive")), ("\"A\"", "REPLACE"));
    let (_server, store) = serve(|_, _| answer(200, &[], "<Error><Code>InternalError</Code></Error>")).await;
    let e = store.copy("other", &source, None, &"k".into(), &Attributes::default()).await.expect_err("an error behind a 200");
    assert_eq!(e.kind(), ErrorKind::Integrity);
}

#[tokio::test]
async fn links_go_to_the_bucket_and_carry_no_secret() {
    let store = open(Options { endpoints: Vec::new(), ..options("") });
    let link = Presign::presign(&store, PresignMethod::Get, &key("a/../b c"), Duration::from_secs(60)).await.expect("a link");
    assert!(link.starts_with("https://bucket.oss-cn-hangzhou.aliyuncs.com/a/../b%20c?x-oss-signature-version=OSS4-HMAC-SHA256&"), "{link}");
    assert!(!link.contains("secret"), "{link}");
    let e = Presign::presign(&store, PresignMethod::Put, &key("k"), Duration::from_secs(8 * 24 * 3600)).await.expect_err("too long");
    assert_eq!(e.kind(), ErrorKind::Invalid);
    let anonymous = open(Options { anonymous: true, ..options("http://127.0.0.1:1") });
    assert_eq!(Presign::presign(&anonymous, PresignMethod::Get, &key("k"), Duration::from_secs(1)).await.expect_err("no key").kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn buckets_are_listed_made_and_removed() {
    let server = Canned::start(|_, asked| match (asked.method.as_str(), asked.parameter("marker").as_deref()) {
        ("GET", None) => answer(200, &[], "<ListAllMyBucketsResult><IsTruncated>true</IsTruncated><NextMarker>aaa</NextMarker><Buckets><Bucket><Name>aaa</Name><Location>oss-cn-x</Location></Bucket></Buckets></ListAllMyBucketsResult>"),
        ("GET", Some("aaa")) => answer(200, &[], "<ListAllMyBucketsResult><Buckets><Bucket><Name>bbb</Name></Bucket></Buckets></ListAllMyBucketsResult>"),
        _ => answer(200, &[], ""),
    })
    .await;
    let account = OssAccount::open_in(options(&server.url), &Environment::default(), Clock::system()).expect("opened");
    let names: Vec<String> = account.list_buckets().await.expect("buckets").into_iter().map(|b| b.name).collect();
    assert_eq!(names, ["aaa", "bbb"]);
    account.create_bucket("ccc").await.expect("made");
    account.delete_bucket("ccc").await.expect("removed");
    let asked: Vec<_> = server.asked().into_iter().skip(2).map(|a| (a.method, a.target)).collect();
    assert_eq!(asked, [("PUT".into(), "/ccc/".into()), ("DELETE".into(), "/ccc/".into())]);
    assert!(account.bucket("Bad.Name").is_err());
}

#[tokio::test]
async fn an_anonymous_store_signs_nothing_and_a_payer_says_so() {
    let server = Canned::start(|_, _| answer(200, &[("content-length", "0")], "")).await;
    let store = open(Options { anonymous: true, request_payer: true, ..options(&server.url) });
    store.head(&key("k")).await.expect("a head");
    let asked = &server.asked()[0];
    assert_eq!((asked.header("authorization"), asked.header("x-oss-request-payer")), ("", "requester"));
}

#[tokio::test]
async fn a_refusal_whose_reason_is_cut_off_is_no_answer() {
    let (_server, store) = serve(|_, _| answer(403, &[("content-length", "500")], "<Error><Code>Security")).await;
    let error = store.get(&key("k"), Get::default()).await.expect_err("cut off");
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("the reason was lost on the way"), "{error}");
}
