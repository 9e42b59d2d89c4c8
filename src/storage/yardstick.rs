//! What the micro-benchmarks measure and nothing else reaches from outside.

use super::Page;
use super::transport::xml::{self, TokenEncoding};
use crate::error::Result;

/// Reads a page of a listing as every run does.
pub fn read_page(body: &[u8]) -> Result<Page> {
    Ok(xml::parse_listing(body, TokenEncoding::LikeKeys, None)?.page)
}

/// Reads a page of a listing by the general parser alone.
pub fn parse_page(body: &[u8]) -> Result<Page> {
    Ok(xml::walk_listing(body, TokenEncoding::LikeKeys, None)?.page)
}
