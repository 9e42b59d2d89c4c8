//! Change events out of Alibaba's SMQ (formerly MNS), over HTTP.
//!
//! Signature and shapes as in protocol.md 5 (PyPI aliyun-mns-sdk 1.3.0): `MNS KEY:base64(hmac-sha1(SECRET, text))` over the verb, the
//! body's MD5 and type, the date, the `x-mns-` headers and the resource.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha1::Sha1;

use super::{HintQueue, message};
use crate::clock::Clock;
use crate::error::{CloudAnswer, Error, ErrorKind, Result};
use crate::storage::Payload;
use crate::storage::oss::credentials::CredentialsProvider;
use crate::storage::transport::{self, Transport};

/// The service's longest poll and largest batch.
const POLL_SECONDS: u32 = 30;
const BATCH_MAX: usize = 16;
/// How long a message is hidden, and how often that is renewed.
const HIDDEN_SECONDS: u32 = 120;
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// Messages that are being worked on at a time.
const UNDERWAY_MAX: usize = 1000;
/// How long acknowledgements are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// The largest answer: sixteen messages of 64 KiB, in base64 and XML.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const VERSION: &str = "2015-06-06";

#[derive(Debug, Deserialize)]
struct Messages {
    #[serde(rename = "Message", default)]
    messages: Vec<Received>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received {
    receipt_handle: String,
    #[serde(default)]
    message_body: String,
    #[serde(default)]
    message_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Hidden {
    receipt_handle: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Refusal {
    code: String,
    message: String,
    request_id: String,
}

/// One queue.
struct Smq<'a> {
    transport: Transport,
    endpoint: String,
    name: &'a str,
    credentials: &'a Arc<dyn CredentialsProvider>,
    clock: &'a Clock,
}

/// Receives until something fails.
pub(super) async fn receive(endpoint: &str, name: &str, credentials: &Arc<dyn CredentialsProvider>, queue: &HintQueue, clock: &Clock) -> Result<()> {
    let transport = Transport::new(&transport::Options::default())?;
    let smq = Smq { transport, endpoint: endpoint.trim_end_matches('/').to_owned(), name, credentials, clock };
    let mut underway = FuturesUnordered::new();
    let mut handles: BTreeMap<u64, String> = BTreeMap::new();
    let (mut next, mut renewed) = (0u64, clock.instant());
    let mut poll = None;
    loop {
        let poll_now = poll.get_or_insert_with(|| Box::pin(smq.poll()));
        tokio::select! {
            biased;
            Some((number, done)) = underway.next() => {
                let mut ended: Vec<(u64, bool)> = vec![(number, done)];
                let gather = clock.sleep(GATHER);
                tokio::pin!(gather);
                while ended.len() < BATCH_MAX {
                    tokio::select! {
                        Some(one) = underway.next() => ended.push(one),
                        () = &mut gather => break,
                    }
                }
                let proved: Vec<String> = ended.iter().filter_map(|(number, done)| handles.remove(number).filter(|_| *done)).collect();
                smq.delete(&proved).await?;
            }
            () = clock.sleep(RENEW_EVERY.saturating_sub(renewed.elapsed())), if !handles.is_empty() => {
                renewed = clock.instant();
                for handle in handles.values_mut() {
                    // Hiding it again gives it another handle.
                    *handle = smq.hide(handle).await?;
                }
            }
            received = poll_now, if underway.len() < UNDERWAY_MAX => {
                poll = None;
                for Received { receipt_handle, message_body, message_id } in received? {
                    match message::parse(message_body.as_bytes()) {
                        Ok(hints) => {
                            let acknowledged = queue.offer(hints);
                            let number = next;
                            next += 1;
                            handles.insert(number, receipt_handle);
                            underway.push(async move { (number, acknowledged.await.is_ok()) });
                        }
                        // It stays until its time is up.
                        Err(error) => tracing::warn!(%error, message = message_id, "a message of the queue is not understood"),
                    }
                }
            }
        }
    }
}

impl Smq<'_> {
    /// Up to sixteen messages; none where none came in time.
    async fn poll(&self) -> Result<Vec<Received>> {
        let resource = format!("/queues/{}/messages?numOfMessages={BATCH_MAX}&waitseconds={POLL_SECONDS}", self.name);
        match self.send("GET", &resource, String::new()).await {
            Ok(text) => Ok(parse::<Messages>(&text)?.messages),
            Err(error) if error.answer().is_some_and(|answer| answer.code == "MessageNotExist") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, handles: &[String]) -> Result<()> {
        if handles.is_empty() {
            return Ok(());
        }
        let each: String = handles.iter().map(|handle| format!("<ReceiptHandle>{}</ReceiptHandle>", quick_xml::escape::escape(handle.as_str()))).collect();
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ReceiptHandles xmlns=\"http://mns.aliyuncs.com/doc/v1/\">{each}</ReceiptHandles>");
        match self.send("DELETE", &format!("/queues/{}/messages", self.name), body).await {
            // A handle that is too old: its message comes again.
            Err(error) if error.answer().is_some_and(|answer| matches!(answer.code.as_str(), "ReceiptHandleError" | "MessageNotExist")) => Ok(()),
            ended => ended.map(drop),
        }
    }

    async fn hide(&self, handle: &str) -> Result<String> {
        let escaped = percent_encoding::utf8_percent_encode(handle, percent_encoding::NON_ALPHANUMERIC);
        let resource = format!("/queues/{}/messages?receiptHandle={escaped}&visibilityTimeout={HIDDEN_SECONDS}", self.name);
        match self.send("PUT", &resource, String::new()).await {
            Ok(text) => Ok(parse::<Hidden>(&text)?.receipt_handle),
            Err(error) if error.answer().is_some_and(|answer| matches!(answer.code.as_str(), "ReceiptHandleError" | "MessageNotExist")) => {
                Ok(handle.to_owned())
            }
            Err(error) => Err(error),
        }
    }

    async fn send(&self, verb: &'static str, resource: &str, body: String) -> Result<String> {
        let credentials = self.credentials.credentials().await?;
        let date = http_date(self.clock.now());
        let kind = if body.is_empty() { "" } else { "text/xml;charset=UTF-8" };
        let text = format!("{verb}\n\n{kind}\n{date}\nx-mns-version:{VERSION}\n{resource}");
        let signature = sign(credentials.access_key_secret(), &text);
        let wrong = |e: http::Error| Error::invalid(format!("the endpoint {} is none: {e}", self.endpoint));
        let uri: http::Uri = format!("{}{resource}", self.endpoint).parse().map_err(|e: http::uri::InvalidUri| wrong(e.into()))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = http::Request::builder()
            .method(verb)
            .uri(uri)
            .header("host", host)
            .header("date", date)
            .header("x-mns-version", VERSION)
            .header("authorization", format!("MNS {}:{signature}", credentials.access_key_id()));
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        if let Some(token) = credentials.security_token() {
            request = request.header("security-token", token);
        }
        let answer = self.transport.send(request.body(Payload::from(body.into_bytes())).map_err(wrong)?).await?;
        let status = answer.status();
        let text = String::from_utf8_lossy(&answer.collect(ANSWER_BYTES_MAX).await?).into_owned();
        if (200..300).contains(&status) {
            return Ok(text);
        }
        let refusal: Refusal = quick_xml::de::from_str(&text).unwrap_or_default();
        let kind = match status {
            401 | 403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        if status == 403 {
            self.credentials.refused(&credentials);
        }
        Err(Error::new(kind, format!("SMQ refuses: {}", refusal.message))
            .answered(CloudAnswer { http_status: status, code: refusal.code, request_id: refusal.request_id, ec: String::new() })
            .advise("the queue needs mns:ReceiveMessage, mns:DeleteMessage and mns:ChangeMessageVisibility; until it answers, scans find what changed"))
    }
}

fn sign(secret: &str, text: &str) -> String {
    #[allow(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    quick_xml::de::from_str(text).map_err(|e| Error::new(ErrorKind::Unexpected, format!("SMQ's answer makes no sense: {e}")))
}

fn http_date(at: jiff::Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::hints::Pending;
    use crate::storage::oss::credentials::Credentials;
    use async_trait::async_trait;
    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::http::{HeaderMap, Method, StatusCode, Uri};
    use std::sync::Mutex;

    const SECRET: &str = "smq-secret";

    #[derive(Debug)]
    struct Key;

    #[async_trait]
    impl CredentialsProvider for Key {
        async fn credentials(&self) -> Result<Credentials> {
            Ok(Credentials::new("LTAI", SECRET, Some("sts")))
        }

        fn refused(&self, _: &Credentials) {}
    }

    /// A queue as the documentation has it, that checks who asks.
    #[derive(Default)]
    struct Queue {
        /// Handle and body of what nobody has taken.
        waiting: Vec<(String, String)>,
        hidden: Vec<(String, String)>,
        deleted: Vec<String>,
        forged: usize,
    }

    type Shelf = Arc<Mutex<Queue>>;

    async fn serve(State(shelf): State<Shelf>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
        let (status, text) = answer(&shelf, &method, &uri, &headers, &body);
        if status == StatusCode::NOT_FOUND {
            Clock::system().sleep(Duration::from_millis(20)).await;
        }
        (status, text)
    }

    fn answer(shelf: &Shelf, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> (StatusCode, String) {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let resource = uri.path_and_query().expect("a path").as_str();
        let text = format!("{method}\n\n{}\n{}\nx-mns-version:2015-06-06\n{resource}", header("content-type"), header("date"));
        let mut queue = shelf.lock().expect("no panic");
        if header("authorization") != format!("MNS LTAI:{}", sign(SECRET, &text)) || header("security-token") != "sts" || header("x-mns-version") != VERSION {
            queue.forged += 1;
            return (StatusCode::FORBIDDEN, "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><RequestId>R1</RequestId></Error>".into());
        }
        match *method {
            Method::GET if queue.waiting.is_empty() => (
                StatusCode::NOT_FOUND,
                "<Error xmlns=\"http://mns.aliyuncs.com/doc/v1/\"><Code>MessageNotExist</Code><Message>m</Message><RequestId>R</RequestId></Error>".into(),
            ),
            Method::GET => {
                let taken: Vec<_> = queue.waiting.drain(..).collect();
                let each: String = taken.iter().map(|(handle, body)| format!("<Message><MessageId>{handle}</MessageId><ReceiptHandle>{handle}</ReceiptHandle><MessageBody>{body}</MessageBody><DequeueCount>1</DequeueCount></Message>")).collect();
                queue.hidden.extend(taken);
                (StatusCode::OK, format!("<?xml version=\"1.0\"?><Messages xmlns=\"http://mns.aliyuncs.com/doc/v1/\">{each}</Messages>"))
            }
            Method::DELETE => {
                let body = String::from_utf8_lossy(body);
                let handles: Vec<String> = body.split("<ReceiptHandle>").skip(1).filter_map(|rest| rest.split('<').next()).map(str::to_owned).collect();
                queue.hidden.retain(|(handle, _)| !handles.contains(handle));
                queue.deleted.extend(handles);
                (StatusCode::NO_CONTENT, String::new())
            }
            _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        }
    }

    fn body(key: &str) -> String {
        BASE64_STANDARD.encode(format!(
            "{{\"events\":[{{\"eventName\":\"ObjectCreated:PutObject\",\"oss\":{{\"bucket\":{{\"name\":\"b\"}},\"object\":{{\"key\":\"{key}\"}}}}}}]}}"
        ))
    }

    #[tokio::test]
    async fn messages_are_taken_and_deleted_once_they_are_done() {
        let shelf = Shelf::default();
        shelf.lock().expect("no panic").waiting.extend([("h1".into(), body("a")), ("h2".into(), body("b")), ("h3".into(), "nonsense".into())]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}/", listener.local_addr().expect("bound"));
        let router = Router::new().fallback(serve).with_state(shelf.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clock = Clock::system();
        let queue = HintQueue::new("test".into(), clock.clone());
        let credentials: Arc<dyn CredentialsProvider> = Arc::new(Key);
        let receiving = tokio::spawn({
            let (queue, clock) = (queue.clone(), clock.clone());
            async move { receive(&endpoint, "events", &credentials, &queue, &clock).await }
        });
        let mut taken: Vec<Pending> = Vec::new();
        while taken.len() < 2 {
            queue.arrived().await;
            taken.extend(queue.take(10));
        }
        assert_eq!(shelf.lock().expect("no panic").deleted, Vec::<String>::new(), "nothing is acknowledged before it is proved");
        let b = taken.pop().expect("two");
        taken.pop().expect("two").done();
        for _ in 0..300 {
            if !shelf.lock().expect("no panic").deleted.is_empty() {
                break;
            }
            clock.sleep(Duration::from_millis(10)).await;
        }
        {
            let queue = shelf.lock().expect("no panic");
            assert_eq!((queue.deleted.as_slice(), queue.forged), (["h1".to_owned()].as_slice(), 0));
            assert_eq!(queue.hidden.len(), 2, "what is not done, and what is not understood, comes again");
        }
        drop(b);
        assert!(!receiving.is_finished());
        receiving.abort();
    }

    #[test]
    fn the_signature_is_that_of_the_documentation() {
        // The well-known HMAC-SHA1 of that sentence.
        assert_eq!(sign("key", "The quick brown fox jumps over the lazy dog"), "3nybhbi3iqa8ino29wqQcBydtNk=");
    }
}
