//! One connection's bytes, whatever lies below them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes both ways: TCP, TLS over TCP, TLS over a proxy's tunnel.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What a request may know of the connection it goes over.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// The address that was connected to: the proxy's, where there is one.
    pub(super) address: Option<SocketAddr>,
    /// Bytes that the kernel has taken, by all requests so far.
    written_bytes: Arc<AtomicU64>,
}

impl Line {
    /// Bytes that the kernel has taken, by all requests so far: it takes more only as the other side reads.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }
}

/// A connection on which a failed write does not hide the answer.
///
/// A service that refuses an upload often answers and then resets the connection while the body is still on its way. The write
/// fails first; hyper would report that, and a 503 would look like a broken pipe. So a failed write waits here until the peer's
/// side has been read to its end: either an answer comes, or the write's error does.
pub(super) struct Stream {
    wire: Box<dyn Wire>,
    line: Line,
    /// Bytes written here are counted already, further down.
    counted: bool,
    write_failure: Option<io::Error>,
    read_ended: bool,
}

impl Stream {
    pub(super) fn new(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), line: Line::default(), counted: false, write_failure: None, read_ended: false }
    }

    /// The same, connected to an address.
    pub(super) fn at(mut self, address: Option<SocketAddr>) -> Self {
        self.line.address = address;
        self
    }

    /// A connection within another one.
    pub(super) fn over(wire: impl Wire + 'static, line: Line) -> Self {
        Self { line, counted: true, ..Self::new(wire) }
    }

    /// What is known of it.
    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(bytes)), false) = (written, self.counted) {
            self.line.written_bytes.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }

    fn hold<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(e)) if !self.read_ended => {
                self.write_failure = Some(e);
                // hyper has read before it wrote: let it come round once more.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }

    /// What a write gets after one has failed; `None` while none has.
    fn held<T>(&mut self) -> Option<Poll<io::Result<T>>> {
        let failure = self.write_failure.as_ref()?;
        Some(if self.read_ended { Poll::Ready(Err(io::Error::new(failure.kind(), failure.to_string()))) } else { Poll::Pending })
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.wire).poll_read(cx, buf);
        let room = buf.remaining() > 0;
        match &read {
            Poll::Ready(Err(_)) => self.read_ended = true,
            Poll::Ready(Ok(())) if buf.filled().len() == before && room => self.read_ended = true,
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(held) = self.held() {
            return held;
        }
        let written = Pin::new(&mut self.wire).poll_write(cx, buf);
        self.count(&written);
        self.hold(written, cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(held) = self.held() {
            return held;
        }
        let written = Pin::new(&mut self.wire).poll_write_vectored(cx, bufs);
        self.count(&written);
        self.hold(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(held) = self.held() {
            return held;
        }
        let flushed = Pin::new(&mut self.wire).poll_flush(cx);
        self.hold(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};

    /// The worst order of events: the write fails first, and only then is the answer there to be read.
    struct Refuses {
        taken_bytes: usize,
        failed: bool,
        answer: &'static [u8],
    }

    impl AsyncRead for Refuses {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if !self.failed {
                return Poll::Pending;
            }
            buf.put_slice(self.answer);
            self.answer = b"";
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Refuses {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.taken_bytes > 100_000 {
                self.failed = true;
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let n = buf.len().min(4096);
            self.taken_bytes += n;
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn put(answer: &'static [u8]) -> hyper::Result<(u16, bytes::Bytes)> {
        let wire = Stream::new(Refuses { taken_bytes: 0, failed: false, answer });
        let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(wire)).await?;
        let connection = tokio::spawn(connection);
        let request = http::Request::put("/k").header("host", "h").body(Full::new(bytes::Bytes::from(vec![0; 1 << 20]))).expect("a request");
        let answer = sender.send_request(request).await?;
        let out = (answer.status().as_u16(), answer.into_body().collect().await?.to_bytes());
        connection.abort();
        Ok(out)
    }

    #[tokio::test]
    async fn the_answer_outlives_a_failed_write() {
        let (status, body) = put(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nslow").await.expect("the answer");
        assert_eq!((status, &body[..]), (503, &b"slow"[..]));
    }

    #[tokio::test]
    async fn without_an_answer_the_failure_stands() {
        put(b"").await.expect_err("nothing was answered");
    }
}
