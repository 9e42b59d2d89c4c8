//! What `storage::fuzzing` reaches of this backend.

use std::ops::Range;

use http::HeaderMap;

use super::error::Refusal;
use super::headers::{Headers, WriteDefaults};
use super::object::body_range;
use crate::error::{Error, Result};
use crate::storage::{Attributes, ObjectInfo};

/// The error of a refusal that concerns one object.
pub(in crate::storage) fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    Refusal { on_object: true, ..Refusal::new(status, headers, body) }.into_error()
}

pub(in crate::storage) fn read_headers(headers: &HeaderMap) -> ObjectInfo {
    Headers(headers).info(Headers(headers).length().unwrap_or_default())
}

/// The whole length and the range of a body, where `asked` was asked for.
pub(in crate::storage) fn read_range(headers: &HeaderMap, asked: Range<u64>) -> Result<(u64, Range<u64>)> {
    body_range(206, headers, Some(&asked))
}

pub(in crate::storage) fn write_headers(attributes: &Attributes) -> Result<HeaderMap> {
    WriteDefaults::default().write(attributes)
}
