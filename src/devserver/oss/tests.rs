//! The quirks of the real service, each held to its line of protocol.md; by raw requests, without a socket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::*;
use crate::devserver::auth::sign_v1;

mod buckets;
mod listing;
mod objects;
mod reading;
mod uploads;
mod versions;

/// An OSS with one bucket, `bkt`, and one caller who signs everything.
struct Cloud {
    oss: OssDialect,
    clock: Clock,
}

/// An answer, whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| std::str::from_utf8(value.as_bytes()).unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of the first element of that name.
    fn element(&self, name: &str) -> &str {
        let start = self.text().find(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {}", self.text())) + name.len() + 2;
        &self.text()[start..start + self.text()[start..].find('<').unwrap()]
    }

    /// The texts of all elements of that name.
    fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        self.text().split(&open).skip(1).map(|rest| rest[..rest.find(&close).unwrap()].to_owned()).collect()
    }

    fn refused(&self) -> (u16, &str) {
        (self.status, self.element("Code"))
    }
}

impl Cloud {
    async fn new() -> Self {
        Self::with(OssOptions::default()).await
    }

    async fn with(options: OssOptions) -> Self {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 7);
        let credentials = Credentials { access_key_id: "id".to_owned(), access_key_secret: "secret".to_owned() };
        let store = Arc::new(Store::in_memory(clock.clone()));
        let cloud = Self { oss: OssDialect::new(store, &credentials, "cn-hangzhou".to_owned(), clock.clone(), options), clock };
        assert_eq!(cloud.send("PUT /bkt", &[], b"").await.status, 200);
        cloud
    }

    /// Sends `METHOD /path?query`, signed.
    async fn send(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.deliver(request, headers, body, true).await
    }

    /// Sends it without a signature.
    async fn send_anonymously(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.deliver(request, headers, body, false).await
    }

    async fn deliver(&self, request: &str, headers: &[(&str, &str)], body: &[u8], signed: bool) -> Answer {
        let (method, target) = request.split_once(' ').unwrap();
        let date = http_date(self.clock.now());
        let mut map = HeaderMap::new();
        map.insert("host", HeaderValue::from_static("127.0.0.1:9001"));
        map.insert("date", date.parse().unwrap());
        map.insert("content-length", HeaderValue::from(body.len()));
        for (name, value) in headers {
            map.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let body = Full::new(Bytes::copy_from_slice(body)).map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::builder().method(method).uri(target).body(body).unwrap();
        *request.headers_mut() = map;
        let (mut parts, body) = request.into_parts();
        if signed && let Ok(head) = Head::read(parts.clone(), &self.oss.addressing) {
            parts.headers.insert("authorization", sign_v1(&head, "id", "secret", &date).parse().unwrap());
        }
        let request = Request::from_parts(parts, body);
        let (parts, body) = self.oss.handle(request).await.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    /// Puts an object, which must work.
    async fn put(&self, key: &str, body: &[u8]) -> Answer {
        let answer = self.send(&format!("PUT /bkt/{key}"), &[], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    async fn wait(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }
}

fn md5_of(bytes: &[u8]) -> String {
    BASE64.encode(Md5::digest(bytes))
}

fn timestamp(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_answer_carries_the_common_headers_and_each_has_its_own_id() {
    let cloud = Cloud::new().await;
    let (one, two) = (cloud.send("GET /bkt/absent", &[], b"").await, cloud.send("GET /", &[], b"").await);
    for answer in [&one, &two] {
        assert_eq!(answer.header("server"), "AliyunOSS");
        assert_eq!(answer.header("x-oss-request-id").len(), 24);
        assert_eq!(answer.header("x-oss-server-time"), "0");
        assert_eq!(answer.header("date"), "Thu, 01 Jan 2026 00:00:00 GMT");
    }
    assert_ne!(one.header("x-oss-request-id"), two.header("x-oss-request-id"));
    assert_eq!(one.element("RequestId"), one.header("x-oss-request-id"));
}

#[tokio::test(start_paused = true)]
async fn errors_are_xml_with_their_ec_and_a_head_carries_them_in_headers() {
    let cloud = Cloud::new().await;
    let get = cloud.send("GET /bkt/a%20b", &[], b"").await;
    assert_eq!(get.refused(), (404, "NoSuchKey"));
    assert_eq!((get.header("x-oss-ec"), get.element("EC"), get.element("Key"), get.element("HostId")), ("0026-00000001", "0026-00000001", "a b", "127.0.0.1"));

    let head = cloud.send("HEAD /bkt/a%20b", &[], b"").await;
    assert_eq!((head.status, head.body.len(), head.header("x-oss-ec")), (404, 0, "0026-00000001"));
    let told = String::from_utf8(BASE64.decode(head.header("x-oss-err")).unwrap()).unwrap();
    assert!(told.contains("<Code>NoSuchKey</Code>"), "{told}");
    assert_eq!(cloud.send("GET /nobucket/k", &[], b"").await.refused(), (404, "NoSuchBucket"));
}

#[tokio::test(start_paused = true)]
async fn unsigned_and_wrongly_signed_requests_are_refused() {
    let cloud = Cloud::new().await;
    cloud.put("k", b"x").await;
    assert_eq!(cloud.send_anonymously("GET /", &[], b"").await.refused(), (403, "AccessDenied"));
    assert_eq!(cloud.send_anonymously("GET /bkt/k", &[], b"").await.refused(), (403, "AccessDenied"));
    let wrong = cloud.send_anonymously("GET /bkt/k", &[("authorization", "OSS id:AAAA")], b"").await;
    assert_eq!(wrong.refused(), (403, "SignatureDoesNotMatch"));
    assert_eq!(wrong.element("StringToSign"), "GET\n\n\nThu, 01 Jan 2026 00:00:00 GMT\n/bkt/k");
}

#[tokio::test(start_paused = true)]
async fn public_read_opens_reading_and_nothing_else() {
    let cloud = Cloud::new().await;
    cloud.put("k", b"x").await;
    assert_eq!(cloud.send("PUT /bkt?acl", &[("x-oss-acl", "public-read")], b"").await.status, 200);
    assert_eq!(cloud.send_anonymously("GET /bkt/k", &[], b"").await.body, b"x");
    assert_eq!(cloud.send_anonymously("PUT /bkt/k", &[], b"y").await.refused(), (403, "AccessDenied"));
    assert_eq!(cloud.send_anonymously("GET /bkt?list-type=2", &[], b"").await.refused(), (403, "AccessDenied"));
    // An object's own ACL comes before the bucket's.
    assert_eq!(cloud.send("PUT /bkt/k?acl", &[("x-oss-object-acl", "private")], b"").await.status, 200);
    assert_eq!(cloud.send_anonymously("GET /bkt/k", &[], b"").await.refused(), (403, "AccessDenied"));
    assert_eq!(cloud.send("GET /bkt/k?acl", &[], b"").await.element("Grant"), "private");
}

#[tokio::test(start_paused = true)]
async fn aws_chunked_uploads_and_double_traffic_limits_are_refused() {
    let cloud = Cloud::new().await;
    let chunked = cloud.send("PUT /bkt/k", &[("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")], b"x").await;
    assert_eq!((chunked.refused(), chunked.header("x-oss-ec")), ((400, "InvalidArgument"), "0017-00000804"));
    let limited = [("x-oss-traffic-limit", "819200")];
    assert_eq!(cloud.send("PUT /bkt/k", &limited, b"x").await.status, 200);
    let twice = cloud.send("PUT /bkt/k?x-oss-traffic-limit=819200", &limited, b"x").await;
    assert_eq!(twice.header("x-oss-ec"), "0004-00000501");
    assert_eq!(cloud.send("PUT /bkt/k", &[("x-oss-traffic-limit", "1")], b"x").await.refused(), (400, "InvalidArgument"));
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_the_answer_is_the_servers_own() {
    let cloud = Cloud::new().await;
    cloud.wait(3600).await;
    assert_eq!(cloud.send("GET /", &[], b"").await.header("date"), "Thu, 01 Jan 2026 01:00:00 GMT");
    let late = cloud.send("GET /", &[("date", "Thu, 01 Jan 2026 00:00:00 GMT")], b"").await;
    assert_eq!(late.refused(), (403, "RequestTimeTooSkewed"));
    assert_eq!(late.element("ServerTime"), "2026-01-01T01:00:00.000Z");
    assert_eq!(timestamp("2026-01-01T01:00:00Z"), cloud.clock.now());
}
