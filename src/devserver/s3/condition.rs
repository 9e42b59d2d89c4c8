//! `If-*`: conditions on reads, writes and copies.

use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use s3s::dto::{ETagCondition, Timestamp as S3Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use super::error::named;
use crate::devserver::store::Object;

/// The four conditions of a read, or of a copy's source.
pub(super) struct ReadCondition {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<S3Timestamp>,
    pub(super) if_unmodified_since: Option<S3Timestamp>,
}

/// Collects a request's conditions.
macro_rules! read_condition {
    ($input:expr) => {
        $crate::devserver::s3::condition::ReadCondition {
            if_match: $input.if_match.take(),
            if_none_match: $input.if_none_match.take(),
            if_modified_since: $input.if_modified_since.take(),
            if_unmodified_since: $input.if_unmodified_since.take(),
        }
    };
}
pub(super) use read_condition;

impl ReadCondition {
    /// Refuses with 412, or with 304 where the client has the object already. ETags go before dates (RFC 9110, 13.2.2).
    pub(super) fn check(&self, object: &Object) -> S3Result<()> {
        let modified_after = |since: &S3Timestamp| object.last_modified > whole_seconds(since);
        let held = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => matches(condition, &object.etag),
            (None, Some(since)) => !modified_after(since),
            (None, None) => true,
        };
        if !held {
            return Err(precondition_failed());
        }
        let fresh = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => matches(condition, &object.etag),
            (None, Some(since)) => !modified_after(since),
            (None, None) => false,
        };
        if fresh { Err(not_modified(object)) } else { Ok(()) }
    }

    /// As [`Self::check`], for the source of a copy: there is no 304 there.
    pub(super) fn check_source(&self, object: &Object) -> S3Result<()> {
        self.check(object).map_err(|_| precondition_failed())
    }
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == etag,
    }
}

fn whole_seconds(time: &S3Timestamp) -> Timestamp {
    let mut text = Vec::new();
    let formatted = time.format(s3s::dto::TimestampFormat::EpochSeconds, &mut text);
    let seconds = formatted.ok().and_then(|()| String::from_utf8(text).ok()).and_then(|text| text.parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are wanted")]
    seconds.and_then(|seconds| Timestamp::from_second(seconds.floor() as i64).ok()).unwrap_or_default()
}

/// The condition of a write: `If-None-Match: *` or `If-Match: ETAG`.
#[derive(Default)]
pub(super) struct WriteCondition {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
}

impl WriteCondition {
    /// The condition in a request's headers (s3s has no fields for it on a copy).
    pub(super) fn in_headers(headers: &HeaderMap) -> S3Result<Self> {
        let read = |name: &str| {
            let value = headers.get(name).map(|value| ETagCondition::parse_http_header(value.as_bytes()));
            value.transpose().map_err(|error| s3_error!(error, InvalidArgument, "The entity tag of {name} is not valid."))
        };
        Ok(Self { if_match: read("if-match")?, if_none_match: read("if-none-match")? })
    }

    /// Refuses a write where the object that is there now is not as the client expects.
    pub(super) fn check(&self, current: Option<&Arc<Object>>) -> S3Result<()> {
        match &self.if_none_match {
            None => {}
            Some(ETagCondition::Any) if current.is_none() => {}
            Some(ETagCondition::Any) => return Err(precondition_failed()),
            Some(ETagCondition::ETag(_)) => return Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented")),
        }
        match (&self.if_match, current) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            (Some(condition), Some(object)) if matches(condition, &object.etag) => Ok(()),
            (Some(_), Some(_)) => Err(precondition_failed()),
        }
    }
}

fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

fn not_modified(object: &Object) -> S3Error {
    let mut error = named(http::StatusCode::NOT_MODIFIED, "NotModified", "Not Modified");
    let mut headers = HeaderMap::new();
    if let Ok(etag) = http::HeaderValue::try_from(format!("\"{}\"", object.etag)) {
        headers.insert(http::header::ETAG, etag);
    }
    error.set_headers(headers);
    error
}
