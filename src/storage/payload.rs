//! What is written: bytes that can be sent again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use crate::error::{Error, Result};

/// A stream of an object's bytes. It ends after exactly the promised length, or with an error; it never just stops short.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

type Open = dyn Fn() -> BoxFuture<'static, Result<ByteStream>> + Send + Sync;

/// The body of a write. Cheap to clone and replayable: every attempt calls [`Payload::stream`] anew.
#[derive(Clone)]
pub struct Payload {
    len: u64,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Buffered(Arc<[Bytes]>),
    Streamed(Arc<Open>),
}

impl Payload {
    /// A body that is whole in memory, in one or more pieces.
    pub fn from_chunks(chunks: Vec<Bytes>) -> Self {
        Self { len: chunks.iter().map(|c| c.len() as u64).sum(), body: Body::Buffered(chunks.into()) }
    }

    /// A body of `len` bytes that `open` reads anew for each attempt, because it is too large to keep.
    pub fn from_source(len: u64, open: impl Fn() -> BoxFuture<'static, Result<ByteStream>> + Send + Sync + 'static) -> Self {
        Self { len, body: Body::Streamed(Arc::new(open)) }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, where the body is whole in memory.
    pub fn chunks(&self) -> Option<&[Bytes]> {
        match &self.body {
            Body::Buffered(chunks) => Some(chunks),
            Body::Streamed(_) => None,
        }
    }

    /// The bytes from the start. Fails with an [`ErrorKind::Integrity`](crate::error::ErrorKind::Integrity) item where a source yields another length than it promised.
    pub async fn stream(&self) -> Result<ByteStream> {
        match &self.body {
            Body::Buffered(chunks) => {
                let chunks = chunks.clone();
                Ok(stream::iter(0..chunks.len()).map(move |i| Ok(chunks[i].clone())).boxed())
            }
            Body::Streamed(open) => Ok(exactly(open().await?, self.len)),
        }
    }

    /// All bytes as one piece. For small bodies and tests.
    pub async fn collect(&self) -> Result<Bytes> {
        if let Some([one]) = self.chunks() {
            return Ok(one.clone());
        }
        let mut all = Vec::with_capacity(usize::try_from(self.len).map_err(|_| Error::invalid("a body larger than memory"))?);
        let mut stream = self.stream().await?;
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.into())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::from_chunks(if bytes.is_empty() { Vec::new() } else { vec![bytes] })
    }
}

impl From<&'static str> for Payload {
    fn from(s: &'static str) -> Self {
        Bytes::from_static(s.as_bytes()).into()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match &self.body {
            Body::Buffered(_) => "buffered",
            Body::Streamed(_) => "streamed",
        };
        write!(f, "Payload({} bytes, {how})", self.len)
    }
}

/// Passes a stream on, and fails it where it is longer or shorter than `len`: a truncated body must never look complete.
pub fn exactly(inner: ByteStream, len: u64) -> ByteStream {
    stream::unfold(Some((inner, len)), |state| async move {
        let (mut inner, left) = state?;
        loop {
            return match inner.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) if chunk.len() as u64 > left => {
                    Some((Err(Error::integrity(format!("the body is at least {} bytes longer than promised", chunk.len() as u64 - left))), None))
                }
                Some(Ok(chunk)) => {
                    let left = left - chunk.len() as u64;
                    Some((Ok(chunk), Some((inner, left))))
                }
                Some(Err(e)) => Some((Err(e), None)),
                None if left > 0 => Some((Err(Error::new(crate::error::ErrorKind::Unavailable, format!("the body ended {left} bytes early"))), None)),
                None => None,
            };
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(chunks: &'static [&'static str]) -> ByteStream {
        stream::iter(chunks).map(|c| Ok(Bytes::from_static(c.as_bytes()))).boxed()
    }

    async fn read(stream: ByteStream) -> Result<Vec<u8>> {
        futures::TryStreamExt::try_fold(stream, Vec::new(), |mut all, c| async move {
            all.extend_from_slice(&c);
            Ok(all)
        })
        .await
    }

    #[tokio::test]
    async fn a_body_of_another_length_is_an_error() {
        assert_eq!(read(exactly(source(&["ab", "", "c"]), 3)).await.expect("whole"), b"abc");
        assert_eq!(read(exactly(source(&["ab"]), 3)).await.expect_err("short").kind(), crate::error::ErrorKind::Unavailable);
        assert_eq!(read(exactly(source(&["ab", "cd"]), 3)).await.expect_err("long").kind(), crate::error::ErrorKind::Integrity);
    }

    #[tokio::test]
    async fn a_payload_replays() {
        let p = Payload::from_source(3, || Box::pin(async { Ok(source(&["a", "bc"])) }));
        for _ in 0..2 {
            assert_eq!(p.collect().await.expect("whole"), "abc");
        }
        assert!(Payload::from(Bytes::new()).is_empty());
    }
}
