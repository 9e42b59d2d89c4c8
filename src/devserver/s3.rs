//! The S3 dialect, on the s3s crate: it parses, checks SigV4 and writes XML; what the requests mean is here.

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use s3s::auth::SimpleAuth;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Result};

use super::store::Store;
use super::traffic::{self, Target};
use super::{Body, Credentials, Dialect};

/// Hosts under which a bucket may stand as a label: `BUCKET.localhost`. Names under `localhost` resolve to loopback everywhere.
const DOMAINS: [&str; 2] = ["s3.localhost", "localhost"];

/// S3 on a store.
pub(super) struct S3Dialect {
    service: S3Service,
}

struct Bridge {
    store: Arc<Store>,
    region: String,
}

impl S3 for Bridge {}

impl S3Dialect {
    /// The dialect over a store, for one pair of keys in one region.
    pub(super) fn new(store: Arc<Store>, credentials: &Credentials, region: &str) -> Self {
        let mut builder = S3ServiceBuilder::new(Bridge { store, region: region.to_owned() });
        builder.set_auth(SimpleAuth::from_single(credentials.access_key_id.as_str(), credentials.access_key_secret.as_str()));
        builder.set_host(Hosts);
        Self { service: builder.build() }
    }
}

#[async_trait]
impl Dialect for S3Dialect {
    fn operation(&self, request: &Parts) -> &'static str {
        traffic::operation(target(request), request)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        match self.service.call(request.map(s3s::Body::http_body_unsync)).await {
            Ok(answer) => answer.map(|body| body.boxed_unsync()),
            Err(error) => {
                tracing::error!(?error, "s3s gave no answer");
                empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    fn error(&self, status: StatusCode, code: &str, _request: &Parts) -> Response<Body> {
        let mut error = S3Error::with_message(S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError), "bad weather");
        error.set_status_code(status);
        match error.to_http_response() {
            Ok(answer) => answer.map(|body| body.boxed_unsync()),
            Err(_) => empty(status),
        }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
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
