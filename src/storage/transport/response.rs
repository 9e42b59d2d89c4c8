//! Answers, and when an answer's body counts as stalled.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::endpoints::Choice;
use super::stream::Line;
use super::{RATE_MIN, Transport};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::payload::ByteStream;

/// The head of an answer, and its body to come.
pub struct Response {
    /// Status and headers.
    pub head: http::response::Parts,
    body: Incoming,
    way: Way,
}

/// Which way an answer came.
struct Way {
    transport: Transport,
    host: Arc<str>,
    line: Option<Line>,
    endpoint: Option<Choice>,
}

impl Response {
    pub(super) fn new(transport: &Transport, answer: http::Response<Incoming>, host: Arc<str>) -> Self {
        let (mut head, body) = answer.into_parts();
        let line = head.extensions.remove();
        Self { head, body, way: Way { transport: transport.clone(), host, line, endpoint: None } }
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

    /// The body as a stream. One that falls silent for the read timeout, or trickles for as long, breaks off with
    /// [`ErrorKind::Unavailable`]; time in which nobody asks for bytes does not count.
    pub fn into_stream(self) -> ByteStream {
        let trickle = Trickle::new(self.way.transport.read_timeout);
        futures::stream::unfold(Some((self.body, self.way, trickle)), |state| async move {
            let (mut body, way, mut trickle) = state?;
            loop {
                let asked = trickle.clock.instant();
                return match tokio::time::timeout(trickle.window, body.frame()).await {
                    Err(_) => Some((Err(way.broke(way.stalled())), None)),
                    Ok(None) => {
                        way.ended();
                        None
                    }
                    Ok(Some(Err(e))) => {
                        let broken = Error::new(ErrorKind::Unavailable, format!("the answer of {} broke off", way.host)).caused_by(e);
                        Some((Err(way.broke(broken)), None))
                    }
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) if trickle.is_too_slow(asked.elapsed(), data.len()) => Some((Err(way.broke(way.stalled())), None)),
                        Ok(data) => Some((Ok(data), Some((body, way, trickle)))),
                        Err(_) => continue,
                    },
                };
            }
        })
        .boxed()
    }

    /// The whole body, refused beyond `limit` bytes.
    pub async fn collect(self, limit: usize) -> Result<Bytes> {
        let mut stream = self.into_stream();
        let mut all = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if all.is_empty() && chunk.len() <= limit {
                // The usual answer is one frame: keep it without a copy.
                match stream.next().await {
                    None => return Ok(chunk),
                    Some(next) => {
                        all.extend_from_slice(&chunk);
                        all.extend_from_slice(&next?);
                    }
                }
            } else {
                all.extend_from_slice(&chunk);
            }
            if all.len() > limit {
                return Err(Error::new(ErrorKind::Unexpected, format!("the answer is larger than {limit} bytes")));
            }
        }
        Ok(all.freeze())
    }
}

impl Way {
    fn stalled(&self) -> Error {
        self.transport.silence(&self.host, self.line.clone()).error
    }

    fn broke(&self, why: Error) -> Error {
        if let Some(endpoint) = &self.endpoint {
            endpoint.body_broke(&why);
        }
        why
    }

    fn ended(&self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.body_ended();
        }
    }
}

/// Bytes over the time that was spent waiting for them.
struct Trickle {
    clock: Clock,
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Trickle {
    fn new(window: Duration) -> Self {
        Self { clock: Clock::system(), window, waited: Duration::ZERO, bytes: 0 }
    }

    /// Counts a chunk, and judges once a window has been waited for.
    fn is_too_slow(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return false;
        }
        let slow = self.bytes < RATE_MIN.saturating_mul(self.waited.as_secs().max(1));
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_told_from_a_slow_line_and_from_our_own_slowness() {
        let minute = Duration::from_secs(60);
        let mut drops = Trickle::new(minute);
        assert!((0..59).all(|_| !drops.is_too_slow(Duration::from_secs(1), 1)), "too early to judge");
        assert!(drops.is_too_slow(Duration::from_secs(1), 1));
        let mut slow = Trickle::new(minute);
        assert!((0..600).all(|_| !slow.is_too_slow(Duration::from_secs(1), 1024)), "a slow line is a line");
        let mut unasked = Trickle::new(minute);
        assert!((0..1000).all(|_| !unasked.is_too_slow(Duration::ZERO, 1)), "who is not asked is not slow");
    }
}
