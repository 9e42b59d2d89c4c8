//! Heads of requests and answers.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, Version};

use super::invalid;

/// Most headers of an answer.
const HEADERS_MAX: usize = 128;

/// The request line and the headers, as they go out.
pub(super) fn encode(request: &http::request::Parts) -> Bytes {
    let target = request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let headers: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut head = BytesMut::with_capacity(request.method.as_str().len() + target.len() + headers + 16);
    head.put_slice(request.method.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(target.as_bytes());
    head.put_slice(b" HTTP/1.1\r\n");
    for (name, value) in &request.headers {
        head.put_slice(name.as_str().as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

/// The head at the beginning of what was read, and its length; `None` where it is not all there yet.
pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<(usize, http::response::Parts)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(|| invalid("the answer has no status"))?;
    head.version = if answer.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    head.headers.reserve(answer.headers.len());
    // One allocation holds all values.
    let all = Bytes::copy_from_slice(&bytes[..length]);
    for header in answer.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| invalid("a header of the answer has no name"))?;
        let value = HeaderValue::from_maybe_shared(all.slice(place(bytes, header.value)));
        head.headers.append(name, value.map_err(|_| invalid("a header of the answer has no text"))?);
    }
    Ok(Some((length, head)))
}

/// Where a part of some bytes stands in them.
fn place(bytes: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    // An empty part may stand anywhere.
    let start = if part.is_empty() { 0 } else { part.as_ptr().addr() - bytes.as_ptr().addr() };
    start..start + part.len()
}
