//! Bodies and connections as the weather shapes them.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::store::Content;
use super::{Body, BoxError};
use crate::clock::Clock;

/// Time for bytes already handed over to leave before the connection is cut behind them.
const DRAIN_TIME: Duration = Duration::from_millis(20);

/// The connection ends here, on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the weather cut the connection")]
pub(super) struct Cut;

/// A connection that can end in a reset (RST) rather than in an orderly close (FIN).
pub(super) struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<AtomicBool>) {
        let reset = Arc::new(AtomicBool::new(false));
        (Self { stream, reset: Arc::clone(&reset) }, reset)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "the connection is closed rather than reset");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly shutdown would come before the reset and spoil it.
        if self.reset.load(Ordering::Acquire) { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_shutdown(cx) }
    }
}

/// Stored bytes on their way out. Its length is known, whatever it is read from.
pub(super) struct ContentBody {
    pieces: BoxStream<'static, io::Result<Bytes>>,
    remaining: u64,
}

impl ContentBody {
    /// The bytes of `range`, which must lie within the content.
    pub(super) fn new(content: &Content, range: Range<u64>) -> Self {
        let remaining = range.end - range.start;
        Self { pieces: content.read(range), remaining }
    }
}

impl http_body::Body for ContentBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(self.pieces.as_mut().poll_next(cx)) {
            Some(Ok(piece)) => {
                self.remaining = self.remaining.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// How a body is spoilt on its way.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Bytes to flip a bit of.
    pub(super) flips: Vec<u64>,
    /// Where the body stops, and how it goes on.
    pub(super) stop: Option<(u64, Stop)>,
}

/// What happens where a body stops.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// The connection is reset.
    Reset(Arc<AtomicBool>),
    /// The connection is closed.
    Close,
    /// The rest follows after a pause.
    Stall(Duration),
}

/// A body that is counted, and perhaps damaged.
pub(super) struct ShapedBody {
    inner: Body,
    counter: Arc<AtomicU64>,
    damage: Damage,
    clock: Clock,
    position: u64,
    rest: Bytes,
    pause: Option<BoxFuture<'static, ()>>,
    taken: Arc<AtomicBool>,
}

impl ShapedBody {
    pub(super) fn new(inner: Body, counter: Arc<AtomicU64>, damage: Damage, clock: Clock) -> Self {
        Self { inner, counter, damage, clock, position: 0, rest: Bytes::new(), pause: None, taken: Arc::default() }
    }

    /// Becomes true once the body was read to its end.
    pub(super) fn taken(&self) -> Arc<AtomicBool> {
        self.taken.store(self.inner.is_end_stream(), Ordering::Release);
        Arc::clone(&self.taken)
    }

    fn pass(&mut self, bytes: Bytes) -> Bytes {
        let bytes = self.flipped(bytes);
        self.position += bytes.len() as u64;
        self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes
    }

    #[expect(clippy::cast_possible_truncation, reason = "the offset lies within bytes held in memory")]
    fn flipped(&self, bytes: Bytes) -> Bytes {
        let span = self.position..self.position + bytes.len() as u64;
        let mut hits = self.damage.flips.iter().filter(|flip| span.contains(flip)).peekable();
        if hits.peek().is_none() {
            return bytes;
        }
        let mut damaged = BytesMut::from(&bytes[..]);
        hits.for_each(|flip| damaged[(flip - span.start) as usize] ^= 1);
        damaged.freeze()
    }

    /// At the place where the body stops: waits, then cuts the connection or goes on.
    fn poll_stop(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let Some((_, stop)) = self.damage.stop.clone() else { return Poll::Ready(Ok(())) };
        let wait = if let Stop::Stall(pause) = stop { pause } else { DRAIN_TIME };
        let clock = self.clock.clone();
        let pause = self.pause.get_or_insert_with(|| Box::pin(async move { clock.sleep(wait).await }));
        ready!(pause.as_mut().poll(cx));
        self.pause = None;
        self.damage.stop = None;
        match stop {
            Stop::Stall(_) => Poll::Ready(Ok(())),
            Stop::Close => Poll::Ready(Err(Cut.into())),
            Stop::Reset(reset) => {
                reset.store(true, Ordering::Release);
                Poll::Ready(Err(Cut.into()))
            }
        }
    }
}

impl http_body::Body for ShapedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let stop_at = self.damage.stop.as_ref().map(|(at, _)| *at);
        if stop_at == Some(self.position)
            && let Err(cut) = ready!(self.poll_stop(cx))
        {
            return Poll::Ready(Some(Err(cut)));
        }
        let mut bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            bytes = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => {
                    self.taken.store(end.is_none(), Ordering::Release);
                    return Poll::Ready(end);
                }
            };
        }
        if let Some(at) = self.damage.stop.as_ref().map(|(at, _)| *at)
            && at > self.position
            && at < self.position + bytes.len() as u64
        {
            self.rest = bytes.split_off(usize::try_from(at - self.position)?);
        }
        let bytes = self.pass(bytes);
        if self.is_end_stream() {
            self.taken.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Only asked before the first frame, to make the Content-Length that a cut body then breaks.
        self.inner.size_hint()
    }
}
