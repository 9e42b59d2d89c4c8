//! The S3 dialect, on the s3s crate: it parses, checks SigV4 and writes XML; what the requests mean is here.
//!
//! Some things are done before s3s sees a request, because it does not do them: the region of the signature's scope and a temporary token
//! are checked, the time of signing is held against this server's clock (s3s would take the machine's), the body of DeleteObjects is held
//! against its MD5 or checksum, and a request without any signature is told so in S3's words.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::{self, Timestamp as S3Timestamp};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::store::{Digests, Store};
use super::traffic::{self, Target};
use super::{Body, Credentials, Dialect};
use crate::clock::Clock;

mod attributes;
mod body;
mod bucket;
mod checksum;
mod condition;
mod error;
mod lifecycle;
mod list;
mod multipart;
mod operations;
mod read;
mod restore;
mod signing;
mod versions;
mod write;

pub(super) use lifecycle::rules_of;

/// Hosts under which a bucket may stand as a label: `BUCKET.localhost`. Names under `localhost` resolve to loopback everywhere.
const DOMAINS: [&str; 2] = ["s3.localhost", "localhost"];

/// The largest body of a DeleteObjects: 1,000 keys of 1,024 bytes, escaped, in their elements.
const DELETE_BODY_BYTES_MAX: usize = 8 << 20;

/// S3 on a store.
pub(super) struct S3Dialect {
    service: S3Service,
    region: String,
    clock: Clock,
    /// Where it is set, the keys are taken only with a temporary token, none of which lasts longer.
    token_lifetime: Option<Duration>,
}

impl S3Dialect {
    /// The dialect over a store, for one pair of keys in one region.
    pub(super) fn new(
        store: Arc<Store>,
        credentials: Credentials,
        region: &str,
        clock: Clock,
        token_lifetime: Option<Duration>,
        restore_delay: Duration,
    ) -> Self {
        let mut builder = S3ServiceBuilder::new(Bridge { store, region: region.to_owned(), restore_delay });
        builder.set_auth(OneKey(credentials));
        builder.set_host(Hosts);
        // It is checked here, by our clock.
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Self { service: builder.build(), region: region.to_owned(), clock, token_lifetime }
    }

    async fn answer_checked(&self, request: Request<Body>) -> Result<Response<Body>, S3Error> {
        let (parts, body) = request.into_parts();
        if let Some(scope) = signed_region(&parts).filter(|region| *region != self.region) {
            return Ok(self.wrong_region(&parts, scope));
        }
        if let Some((status, code, message)) = signing::refusal(&parts, self.token_lifetime, self.clock.now()) {
            return Ok(error_answer(status, code, message, ""));
        }
        let body = match self.operation(&parts) {
            "DeleteObjects" => s3s::Body::from(checked_body(&parts, body).await?),
            _ => unread(body),
        };
        let is_head = parts.method == Method::HEAD;
        let mut answer =
            self.service.call(Request::from_parts(parts, body)).await.map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error.into()))?;
        if is_head && answer.status() == StatusCode::OK && answer.headers().contains_key(http::header::CONTENT_RANGE) {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Ok(answer.map(|body| body.boxed_unsync()))
    }

    /// S3 names the region that it expects (protocol.md 2.1 has OSS's way).
    fn wrong_region(&self, request: &Parts, given: &str) -> Response<Body> {
        let presigned = request.uri.query().is_some_and(|query| query.contains("X-Amz-Credential"));
        let (code, what) = if presigned {
            ("AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter")
        } else {
            ("AuthorizationHeaderMalformed", "The authorization header is malformed")
        };
        let message = format!("{what}; the region '{}' is wrong; expecting '{}'", escape(given), self.region);
        let mut answer = error_answer(StatusCode::BAD_REQUEST, code, &message, &format!("<Region>{}</Region>", self.region));
        if let Ok(region) = HeaderValue::try_from(&self.region) {
            answer.headers_mut().insert("x-amz-bucket-region", region);
        }
        answer
    }
}

#[async_trait]
impl Dialect for S3Dialect {
    fn operation(&self, request: &Parts) -> &'static str {
        traffic::operation(target(request), request)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let answered = match self.answer_checked(request).await {
            Ok(answer) => Ok(answer),
            Err(error) => error.to_http_response().map(|answer| answer.map(|body| body.boxed_unsync())),
        };
        let mut answer = answered.unwrap_or_else(|error| {
            tracing::error!(?error, "s3s gave no answer");
            error_answer(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "We encountered an internal error. Please try again.", "")
        });
        if let Some(Status(status)) = answer.extensions_mut().remove() {
            *answer.status_mut() = status;
        }
        if let Ok(id) = HeaderValue::try_from(self.clock.random_id().to_uppercase()) {
            answer.headers_mut().insert("x-amz-request-id", id);
        }
        if let Ok(date) = HeaderValue::try_from(self.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
            answer.headers_mut().insert(http::header::DATE, date);
        }
        answer.headers_mut().insert(http::header::SERVER, HeaderValue::from_static("AmazonS3"));
        answer
    }

    fn error(&self, status: StatusCode, code: &str, _request: &Parts) -> Response<Body> {
        error_answer(status, &escape(code), "The weather is bad.", "")
    }
}

/// An error of S3's shape; `message` and `further` are XML already.
fn error_answer(status: StatusCode, code: &str, message: &str, further: &str) -> Response<Body> {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{further}</Error>");
    let mut answer = Response::new(Full::from(xml).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

/// The region in the scope of a SigV4 signature, from the header or the query: `KEY/DATE/REGION/s3/aws4_request`.
fn signed_region(request: &Parts) -> Option<&str> {
    let header = request.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let in_header = header.and_then(|value| value.split_once("Credential=")).and_then(|(_, rest)| rest.split('/').nth(2));
    let in_query = || {
        let (_, rest) = request.uri.query()?.split_once("X-Amz-Credential=")?;
        let scope = rest.split('&').next()?;
        if scope.contains('/') { scope.split('/').nth(2) } else { scope.split("%2F").nth(2) }
    };
    in_header.or_else(in_query)
}

/// A body as s3s takes it.
fn unread(body: Body) -> s3s::Body {
    s3s::Body::http_body_unsync(body)
}

/// The body of a DeleteObjects, which must come with a digest, and match it: a damaged list of keys must never be acted on.
async fn checked_body(request: &Parts, mut body: Body) -> S3Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if bytes.len() > DELETE_BODY_BYTES_MAX {
            return Err(s3_error!(MaxMessageLengthExceeded, "Your request was too big."));
        }
    }
    let digests = Digests::of(&bytes);
    let md5 = request.headers.get("content-md5").map(|value| body::claimed_md5(value.as_bytes())).transpose()?;
    if md5.is_some_and(|md5| digests.md5 != Some(md5)) {
        return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
    }
    match checksum::Claim::in_headers(&request.headers)? {
        None if md5.is_none() => return Err(s3_error!(InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")),
        None => {}
        Some(claim) => {
            let mut hasher = checksum::Hasher::new(claim.algorithm);
            hasher.update(&bytes);
            claim.verify_header(&hasher.finish(&digests))?;
        }
    }
    Ok(bytes.freeze())
}

/// The one pair of keys.
struct OneKey(Credentials);

#[async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key_id {
            Ok(SecretKey::from(self.0.access_key_secret.as_str()))
        } else {
            Err(s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records."))
        }
    }
}

/// An answer's status where s3s knows one only.
#[derive(Clone)]
struct Status(StatusCode);

/// The store, as s3s sees it.
struct Bridge {
    store: Arc<Store>,
    region: String,
    /// How long it takes until an archived object is restored.
    restore_delay: Duration,
}

/// The one owner of everything here.
fn owner() -> dto::Owner {
    dto::Owner { id: Some("0000000000000000000000000000000000000000000000000000000000d7a601".into()), display_name: Some("dragon".into()) }
}

fn stamp(time: jiff::Timestamp) -> S3Timestamp {
    S3Timestamp::from(std::time::SystemTime::from(time))
}

/// A length as s3s wants it: no object here comes near the limit.
fn int(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn target(request: &Parts) -> Target {
    let host = request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let (in_host, path) = (bucket_in_host(host).is_some(), request.uri.path().strip_prefix('/').unwrap_or(""));
    let key = if in_host { Some(path) } else { path.split_once('/').map(|(_, key)| key) };
    match key {
        Some(key) if !key.is_empty() => Target::Object,
        _ if in_host || !path.is_empty() => Target::Bucket,
        _ => Target::Service,
    }
}

/// The bucket that stands before one of [`DOMAINS`]; any other host means path style.
fn bucket_in_host(host: &str) -> Option<&str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    DOMAINS.iter().find_map(|domain| name.strip_suffix(domain)?.strip_suffix('.')).filter(|bucket| *bucket != "s3")
}

struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let served = VirtualHost::new(host);
        Ok(match bucket_in_host(host) {
            Some(bucket) => served.with_bucket(bucket),
            None => served,
        })
    }
}

#[cfg(test)]
mod tests;
