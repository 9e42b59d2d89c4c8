//! The OSS dialect.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::store::Store;
use super::traffic::{self, Target};
use super::{Body, Credentials, Dialect};
use crate::clock::Clock;

/// OSS on a store.
pub(super) struct OssDialect;

impl OssDialect {
    /// The dialect over a store, for one pair of keys in one region (without `oss-`).
    pub(super) fn new(_store: Arc<Store>, _credentials: Credentials, _region: String, _clock: Clock) -> Self {
        Self
    }
}

#[async_trait]
impl Dialect for OssDialect {
    fn operation(&self, request: &Parts) -> &'static str {
        traffic::operation(Target::Service, request)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.error(StatusCode::NOT_IMPLEMENTED, "NotImplemented", &request.into_parts().0)
    }

    fn error(&self, status: StatusCode, code: &str, _request: &Parts) -> Response<Body> {
        let body = Full::from(Bytes::from(format!("<Error><Code>{code}</Code></Error>")));
        let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = status;
        answer
    }
}
