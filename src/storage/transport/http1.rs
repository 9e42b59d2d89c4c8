//! HTTP/1.1 from the client's side, on one connection: a request out, the head of its answer in, then its body.
//!
//! It does what the hot path needs and no more: heads in one write with the body behind them, bodies read straight into large buffers
//! that are used again, no task of its own for a connection. What a service may send is bounded, and what cannot be told for sure (two
//! lengths, an unknown coding) is an error, never a guess.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::stream::StreamExt;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::stream::Stream;
use crate::error::Error;
use crate::storage::payload::{ByteStream, Payload};

mod body;
mod head;

pub(super) use body::Body;

/// Room for what is read behind a head, in bytes.
const READ_BYTES: usize = 16 << 10;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How much of a body is offered to the connection at a time, in bytes: between two offers an early answer is seen.
const OFFER_BYTES: usize = 1 << 20;
/// Most pieces of one write.
const PIECES_MAX: usize = 16;

/// A connection on which one exchange at a time takes place.
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// What was read and not used yet.
    read: Vec<u8>,
    /// How much of `read` is used.
    used: usize,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, read: Vec::with_capacity(READ_BYTES), used: 0 }
    }

    /// Whether an unused connection can still be used: the other side has neither closed it nor said anything.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.unread().is_empty() && self.poll_more(&mut cx).is_pending()
    }

    /// What was read and not used yet.
    fn unread(&self) -> &[u8] {
        &self.read[self.used..]
    }

    /// Uses some of it.
    fn advance(&mut self, bytes: usize) {
        self.used += bytes;
        if self.used == self.read.len() {
            self.read.clear();
            self.used = 0;
        }
    }

    /// Reads more; 0 at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.len() == self.read.capacity() {
            self.read.drain(..std::mem::take(&mut self.used));
            self.read.reserve(READ_BYTES);
        }
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)
    }
}

/// Why an exchange came to no answer.
pub(super) enum Broken {
    /// The connection failed, or what came over it is no answer.
    Connection(io::Error),
    /// The request's own source failed: its error, as it is.
    Source(Error),
}

impl From<io::Error> for Broken {
    fn from(e: io::Error) -> Self {
        Self::Connection(e)
    }
}

/// The body of a request, piece by piece.
enum Source {
    Held { payload: Payload, next: usize },
    Streamed(ByteStream),
}

/// A request on its way, until the head of its answer is there.
///
/// # Invariant
/// A failed write does not hide the answer. A service that refuses an upload often answers and then resets the connection while the body
/// is still on its way. So a failed write is kept until the peer's side has been read to its end: either an answer comes, or the write's
/// error does.
pub(super) struct Exchange {
    connection: Connection,
    head: Bytes,
    source: Source,
    pieces: VecDeque<Bytes>,
    /// Bytes of the body that are still to come from the source.
    left: u64,
    /// Bytes that the connection has taken: it takes more only as the other side reads.
    pub(super) written_bytes: u64,
    /// The connection waits for us, not we for it.
    pub(super) starving: bool,
    write_failure: Option<io::Error>,
    /// The request is a HEAD, whose answer has no body whatever it says.
    bodiless: bool,
}

impl Exchange {
    /// Sends a request over a connection. Its Content-Length is set already.
    pub(super) async fn new(connection: Connection, request: &http::request::Parts, payload: &Payload) -> Result<Self, Error> {
        let source = match payload.chunks() {
            Some(_) => Source::Held { payload: payload.clone(), next: 0 },
            None => Source::Streamed(payload.stream().await?),
        };
        Ok(Self {
            connection,
            head: head::encode(request),
            source,
            pieces: VecDeque::new(),
            left: payload.len(),
            written_bytes: 0,
            starving: false,
            write_failure: None,
            bodiless: request.method == http::Method::HEAD,
        })
    }

    /// The address at the other end.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.connection.stream.address()
    }

    /// Sends on, and looks for the answer. Safe to stop and call again until it is ready once.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::response::Parts, Broken>> {
        loop {
            // Read first: an answer that is there says more than a write that fails.
            if let Poll::Ready(answer) = self.poll_head(cx)? {
                return Poll::Ready(Ok(answer));
            }
            if self.write_failure.is_some() || !ready!(self.poll_offer(cx))? {
                return Poll::Pending;
            }
        }
    }

    /// Looks for the head of the answer.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::response::Parts, Broken>> {
        loop {
            match head::parse(self.connection.unread())? {
                Some((used, answer)) => {
                    self.connection.advance(used);
                    // What is announced by 1xx is still to come.
                    if !answer.status.is_informational() {
                        return Poll::Ready(Ok(answer));
                    }
                }
                None if self.connection.unread().len() >= HEAD_BYTES_MAX => return Poll::Ready(Err(invalid("the head of the answer is too long").into())),
                None => match ready!(self.connection.poll_more(cx)) {
                    Ok(0) | Err(_) if self.write_failure.is_some() => {
                        return Poll::Ready(Err(self.write_failure.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()).into()));
                    }
                    Ok(0) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed without an answer").into())),
                    Ok(_) => {}
                    Err(e) => return Poll::Ready(Err(e.into())),
                },
            }
        }
    }

    /// Offers the connection what it may take at once. False where there is nothing more to send.
    fn poll_offer(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        self.poll_source(cx)?;
        if self.head.is_empty() && self.pieces.is_empty() {
            if self.left > 0 {
                return Poll::Pending;
            }
            // All is handed over; TLS may still hold some of it.
            self.write_failure = ready!(Pin::new(&mut self.connection.stream).poll_flush(cx)).err();
            return Poll::Ready(Ok(self.write_failure.is_some()));
        }
        let mut slices = [io::IoSlice::new(&[]); PIECES_MAX + 1];
        let (mut count, mut room) = (0, OFFER_BYTES);
        for piece in std::iter::once(&self.head).chain(&self.pieces).filter(|piece| !piece.is_empty()).take(PIECES_MAX + 1) {
            let len = piece.len().min(room);
            slices[count] = io::IoSlice::new(&piece[..len]);
            (count, room) = (count + 1, room - len);
            if room == 0 {
                break;
            }
        }
        match ready!(Pin::new(&mut self.connection.stream).poll_write_vectored(cx, &slices[..count])) {
            Ok(0) => self.write_failure = Some(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                self.written_bytes += bytes as u64;
                self.take(bytes);
                return Poll::Ready(Ok(true));
            }
            Err(e) => self.write_failure = Some(e),
        }
        // What the peer may have said meanwhile is read before the failure counts.
        Poll::Ready(Ok(true))
    }

    /// Gathers pieces of the body, as long as the source has some at hand.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        self.starving = false;
        while self.left > 0 && self.pieces.len() < PIECES_MAX {
            let piece = match &mut self.source {
                Source::Held { payload, next } => {
                    *next += 1;
                    payload.chunks().and_then(|chunks| chunks.get(*next - 1)).cloned()
                }
                // What is at hand is sent before more is asked for.
                Source::Streamed(_) if !self.head.is_empty() || !self.pieces.is_empty() => break,
                Source::Streamed(stream) => match stream.poll_next_unpin(cx) {
                    Poll::Pending => {
                        self.starving = true;
                        break;
                    }
                    Poll::Ready(next) => next.transpose().map_err(Broken::Source)?,
                },
            };
            let Some(piece) = piece else {
                return Err(Broken::Source(Error::integrity(format!("the body ended {} bytes early", self.left))));
            };
            self.left = self.left.saturating_sub(piece.len() as u64);
            self.pieces.push_back(piece);
        }
        Ok(())
    }

    /// Takes note of what the connection took.
    fn take(&mut self, mut bytes: usize) {
        let of_head = bytes.min(self.head.len());
        self.head.advance(of_head);
        bytes -= of_head;
        while bytes > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let taken = bytes.min(piece.len());
            piece.advance(taken);
            bytes -= taken;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// The body that follows the head of the answer.
    pub(super) fn into_body(self, answer: &http::response::Parts) -> io::Result<Body> {
        // After an answer to half a request nobody knows what the rest would be taken for.
        let whole = self.left == 0 && self.head.is_empty() && self.pieces.is_empty() && self.write_failure.is_none();
        Body::new(self.connection, answer, self.bodiless, whole)
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests;
