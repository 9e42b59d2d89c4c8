//! The body of an answer: where it ends, and how its bytes get into large buffers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use tokio_util::io::poll_read_buf;

use super::{Connection, invalid};
use crate::storage::slab::{SLAB_BYTES, Slab, Slabs};

/// Longest line that introduces a chunk, and longest trailer, in bytes.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Most trailers.
const TRAILERS_MAX: usize = 64;

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked(Chunk),
    /// Where the other side closes the connection.
    Close,
    /// Here.
    Ended,
}

/// Where in a chunked body one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// Before a line that says how long the next is.
    Size,
    /// Within one, so many bytes before its end; at 0 the end of its line is still to come.
    Data(u64),
    /// Behind the last; so many trailers have been passed.
    Trailers(usize),
}

/// A body that is being read.
pub(in crate::storage::transport) struct Body {
    connection: Connection,
    framing: Framing,
    /// Whether another request may follow on this connection once the body has ended.
    reusable: bool,
    slab: Option<Slab>,
}

impl Body {
    pub(super) fn new(connection: Connection, answer: &http::response::Parts, bodiless: bool, whole: bool) -> io::Result<Self> {
        let framing = framing(answer, bodiless)?;
        let says = |word: &str| answer.headers.get_all(CONNECTION).iter().any(|v| v.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains(word)));
        let keeps = if answer.version == Version::HTTP_10 { says("keep-alive") } else { !says("close") };
        Ok(Self { connection, framing, reusable: whole && keeps && framing != Framing::Close, slab: None })
    }

    /// Whether all of it has been read.
    pub(in crate::storage::transport) fn has_ended(&self) -> bool {
        self.framing == Framing::Ended
    }

    /// The address at the other end.
    pub(in crate::storage::transport) fn address(&self) -> Option<std::net::SocketAddr> {
        self.connection.stream.address()
    }

    /// How many bytes are still to come, where that is known.
    pub(in crate::storage::transport) fn left(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            Framing::Ended => Some(0),
            Framing::Chunked(_) | Framing::Close => None,
        }
    }

    /// The connection, for the next request, once the body has ended.
    pub(in crate::storage::transport) fn into_connection(self) -> Option<Connection> {
        (self.has_ended() && self.reusable && self.connection.unread().is_empty()).then_some(self.connection)
    }

    /// Waits for a full buffer, or the end; `None` once everything has been given out. Safe to drop: what has arrived stays.
    pub(in crate::storage::transport) fn poll_buffer(&mut self, cx: &mut Context<'_>, slabs: &Slabs) -> Poll<io::Result<Option<Bytes>>> {
        let mut slab = match self.slab.take() {
            Some(slab) => slab,
            None if self.has_ended() => return Poll::Ready(Ok(None)),
            None => slabs.take(self.left().map_or(SLAB_BYTES, |left| usize::try_from(left).unwrap_or(SLAB_BYTES))),
        };
        match self.poll_fill(cx, slab.bytes()) {
            Poll::Pending => {
                self.slab = Some(slab);
                Poll::Pending
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) if slab.as_ref().is_empty() => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Some(slab.freeze()))),
        }
    }

    /// What has arrived of the buffer that is being filled.
    pub(in crate::storage::transport) fn arrived(&mut self) -> Option<Bytes> {
        let slab = self.slab.as_mut().filter(|slab| !slab.as_ref().is_empty())?;
        // The buffer stays: a slow line must not hold a large one for a few bytes.
        let bytes = Bytes::copy_from_slice(slab.bytes());
        slab.bytes().clear();
        Some(bytes)
    }

    /// Fills a buffer up to its capacity, or to the end of the body.
    pub(in crate::storage::transport) fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<()>> {
        while buffer.len() < buffer.capacity() {
            let left = match self.framing {
                Framing::Ended => return Poll::Ready(Ok(())),
                Framing::Length(left) => left,
                Framing::Close => u64::MAX,
                Framing::Chunked(Chunk::Data(left)) if left > 0 => left,
                Framing::Chunked(chunk) => {
                    ready!(self.poll_line(cx, chunk))?;
                    continue;
                }
            };
            match ready!(self.poll_some(cx, buffer, left))? as u64 {
                0 if self.framing == Framing::Close => self.framing = Framing::Ended,
                0 => return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed before the end"))),
                read => {
                    self.framing = match self.framing {
                        Framing::Length(left) if left == read => Framing::Ended,
                        Framing::Length(left) => Framing::Length(left - read),
                        Framing::Chunked(Chunk::Data(left)) => Framing::Chunked(Chunk::Data(left - read)),
                        other => other,
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Moves some bytes into a buffer: those that were read already, then straight from the connection. 0 at the end of the connection.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>, left: u64) -> Poll<io::Result<usize>> {
        let room = (buffer.capacity() - buffer.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        let unread = self.connection.unread();
        if !unread.is_empty() {
            let some = unread.len().min(room);
            buffer.extend_from_slice(&unread[..some]);
            self.connection.advance(some);
            return Poll::Ready(Ok(some));
        }
        poll_read_buf(Pin::new(&mut self.connection.stream), cx, &mut buffer.limit(room))
    }

    /// Passes one line between the data of a chunked body.
    fn poll_line(&mut self, cx: &mut Context<'_>, chunk: Chunk) -> Poll<io::Result<()>> {
        let end = loop {
            match memchr::memchr(b'\n', self.connection.unread()) {
                Some(end) => break end,
                None if self.connection.unread().len() > LINE_BYTES_MAX => return Poll::Ready(Err(invalid("a line of the chunked answer is too long"))),
                None => {
                    if ready!(self.connection.poll_more(cx))? == 0 {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed before the end")));
                    }
                }
            }
        };
        let line = self.connection.unread()[..end].trim_ascii_end();
        let next = match chunk {
            Chunk::Size => match size(line)? {
                0 => Chunk::Trailers(0),
                size => Chunk::Data(size),
            },
            Chunk::Data(_) if line.is_empty() => Chunk::Size,
            Chunk::Data(_) => return Poll::Ready(Err(invalid("a chunk of the answer is longer than it says"))),
            Chunk::Trailers(TRAILERS_MAX..) => return Poll::Ready(Err(invalid("the answer has too many trailers"))),
            Chunk::Trailers(passed) => Chunk::Trailers(passed + 1),
        };
        self.framing = if matches!(chunk, Chunk::Trailers(_)) && line.is_empty() { Framing::Ended } else { Framing::Chunked(next) };
        self.connection.advance(end + 1);
        Poll::Ready(Ok(()))
    }
}

/// Where the body of an answer ends (RFC 9112, 6.3).
fn framing(answer: &http::response::Parts, bodiless: bool) -> io::Result<Framing> {
    if bodiless || answer.status == StatusCode::NO_CONTENT || answer.status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::Ended);
    }
    let mut codings = answer.headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = answer.headers.get_all(CONTENT_LENGTH).iter();
    if let Some(coding) = codings.next() {
        // Two statements about the end could be meant for two readers.
        let only = codings.next().is_none() && lengths.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        return if only { Ok(Framing::Chunked(Chunk::Size)) } else { Err(invalid("the answer has a transfer encoding that is not known here")) };
    }
    let Some(length) = lengths.next() else { return Ok(Framing::Close) };
    if lengths.any(|other| other != length) {
        return Err(invalid("the answer states two lengths"));
    }
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse().ok()).ok_or_else(|| invalid("the answer's length is no number"))?;
    Ok(if length == 0 { Framing::Ended } else { Framing::Length(length) })
}

/// The size that introduces a chunk, its extensions left away.
fn size(line: &[u8]) -> io::Result<u64> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()));
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(|| invalid("a chunk of the answer has no size"))
}
