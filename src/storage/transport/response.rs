//! Answers, and when an answer's body counts as stalled.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt;

use super::endpoints::Choice;
use super::http1::Body;
use super::pool::Origin;
use super::{RATE_MIN, SILENT_TICKS, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::payload::ByteStream;

/// How long a buffer is waited for until what has arrived of it is passed on.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// First room for an answer of unknown length, in bytes.
const ROOM_BYTES: usize = 64 << 10;

/// The head of an answer, and its body to come.
pub struct Response {
    /// Status and headers.
    pub head: http::response::Parts,
    way: Way,
}

/// An answer's body, and which way it came.
struct Way {
    /// `None` once it has ended.
    body: Option<Body>,
    transport: Transport,
    origin: Origin,
    host: Arc<str>,
    endpoint: Option<Choice>,
    trickle: Trickle,
}

impl Response {
    pub(super) fn new(transport: &Transport, head: http::response::Parts, body: Body, origin: Origin, host: Arc<str>) -> Self {
        let trickle = Trickle::new(transport.read_timeout);
        let mut way = Way { body: Some(body), transport: transport.clone(), origin, host, endpoint: None, trickle };
        way.end();
        Self { head, way }
    }

    /// The same, by an endpoint that is told how the body went.
    pub(super) fn of(mut self, endpoint: Choice) -> Self {
        self.way.endpoint = Some(endpoint);
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A header as text, `None` where it is absent or not visible ASCII/UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.head.headers.get(name)?.as_bytes()).ok()
    }

    /// The body as a stream of large pieces. One that falls silent for the read timeout, or trickles for as long, breaks off with
    /// [`ErrorKind::Unavailable`]; time in which nobody asks for bytes does not count.
    pub fn into_stream(self) -> ByteStream {
        futures::stream::unfold(Some(self.way), |way| async move {
            let mut way = way?;
            match way.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(way))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// The whole body, refused beyond `limit` bytes.
    pub async fn collect(self, limit: usize) -> Result<Bytes> {
        let mut way = self.way;
        let too_large = || Error::new(ErrorKind::Unexpected, format!("the answer is larger than {limit} bytes"));
        let stated = way.body.as_ref().and_then(Body::left);
        let room = stated.map_or(ROOM_BYTES, |left| usize::try_from(left).unwrap_or(usize::MAX));
        if stated.is_some() && room > limit {
            return Err(too_large());
        }
        let mut all = Vec::with_capacity(room);
        while way.body.is_some() {
            if all.len() == all.capacity() {
                all.reserve(all.len().max(ROOM_BYTES));
            }
            way.fill(&mut all).await?;
            if all.len() > limit {
                return Err(too_large());
            }
        }
        Ok(all.into())
    }
}

impl Way {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            let slabs = &self.transport.slabs;
            let asked = self.transport.clock.instant();
            let bytes = match tokio::time::timeout(self.trickle.step(), poll_fn(|cx| body.poll_buffer(cx, slabs))).await {
                Ok(Ok(bytes)) => {
                    self.end();
                    let Some(bytes) = bytes else { return Ok(None) };
                    Some(bytes)
                }
                Ok(Err(e)) => return Err(self.broke(e)),
                // A slow line: what has come is passed on.
                Err(_) => body.arrived(),
            };
            if self.trickle.is_stalled(asked.elapsed(), bytes.as_ref().map_or(0, Bytes::len)) {
                return Err(self.stalled());
            }
            if bytes.is_some() {
                return Ok(bytes);
            }
        }
    }

    /// Reads on until a buffer is full, or the body has ended.
    async fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        while let Some(body) = &mut self.body {
            let before = buffer.len();
            let asked = self.transport.clock.instant();
            match tokio::time::timeout(self.trickle.step(), poll_fn(|cx| body.poll_fill(cx, buffer))).await {
                Ok(Ok(())) => {
                    self.end();
                    return Ok(());
                }
                Ok(Err(e)) => return Err(self.broke(e)),
                Err(_) if self.trickle.is_stalled(asked.elapsed(), buffer.len() - before) => return Err(self.stalled()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Gives the connection back where the body has ended.
    fn end(&mut self) {
        let Some(body) = self.body.take_if(|body| body.has_ended()) else { return };
        if let Some(connection) = body.into_connection() {
            self.transport.pool.put(&self.origin, connection);
        }
        if let Some(endpoint) = &self.endpoint {
            endpoint.body_ended();
        }
    }

    fn stalled(&mut self) -> Error {
        let address = self.body.as_ref().and_then(Body::address);
        let why = self.transport.silence(&self.host, address);
        self.left(why)
    }

    fn broke(&mut self, e: std::io::Error) -> Error {
        let why = Error::new(ErrorKind::Unavailable, format!("the answer of {} broke off", self.host)).caused_by(e);
        self.left(why)
    }

    fn left(&mut self, why: Error) -> Error {
        self.body = None;
        if let Some(endpoint) = &self.endpoint {
            endpoint.body_broke(&why);
        }
        why
    }
}
/// Bytes over the time that was spent waiting for them.
struct Trickle {
    window: Duration,
    waited: Duration,
    bytes: u64,
    /// Since when nothing came at all.
    silent: Duration,
}

impl Trickle {
    fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0, silent: Duration::ZERO }
    }

    /// How long a buffer is waited for until what has arrived of it is passed on.
    fn step(&self) -> Duration {
        (self.window / SILENT_TICKS).min(PATIENCE_MAX)
    }

    /// Counts what came. True after a window of silence, or one in which hardly anything came.
    fn is_stalled(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        self.silent = if bytes > 0 { Duration::ZERO } else { self.silent + waited };
        if self.waited < self.window {
            return false;
        }
        let slow = self.bytes < RATE_MIN.saturating_mul(self.waited.as_secs().max(1));
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow || self.silent >= self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_told_from_a_slow_line_and_from_our_own_slowness() {
        let minute = Duration::from_secs(60);
        let mut drops = Trickle::new(minute);
        assert!((0..59).all(|_| !drops.is_stalled(Duration::from_secs(1), 1)), "too early to judge");
        assert!(drops.is_stalled(Duration::from_secs(1), 1));
        let mut slow = Trickle::new(minute);
        assert!((0..600).all(|_| !slow.is_stalled(Duration::from_secs(1), 1024)), "a slow line is a line");
        let mut unasked = Trickle::new(minute);
        assert!((0..1000).all(|_| !unasked.is_stalled(Duration::ZERO, 1)), "who is not asked is not slow");
    }
}
