//! What `storage::fuzzing` reaches of this backend.

use http::HeaderMap;

use super::errors::Refusal;
use super::headers::{read_info, write_attributes};
use super::options::Options;
use crate::error::{Error, Result};
use crate::storage::transport::xml::ErrorDocument;
use crate::storage::{Attributes, ObjectInfo};

/// The error of a refusal.
pub(in crate::storage) fn refusal(status: u16, document: ErrorDocument) -> Error {
    Refusal::of(status, String::new(), document, false).error
}

pub(in crate::storage) fn read_headers(headers: &HeaderMap) -> Result<ObjectInfo> {
    read_info(headers)
}

pub(in crate::storage) fn write_headers(attributes: &Attributes) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    write_attributes(&mut headers, attributes, &Options::default())?;
    Ok(headers)
}
