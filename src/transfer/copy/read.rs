//! Reads a source object that is pinned to one ETag, and goes on where a body broke.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::{BODY_WAIT, TRIES_MAX, pinned};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::storage::checksum::{Crc64, Crc64Hasher};
use crate::storage::{ByteStream, ETag, Get, GetOutput, ObjectInfo, ObjectRef, Storage};
use crate::transfer::progress::{Moving, Progress};

/// One object to read. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) source: Arc<dyn Storage>,
    pub(super) object: ObjectRef,
    /// The ETag it is pinned to; empty where the store gives none.
    pub(super) etag: ETag,
    /// Length of the whole in bytes.
    pub(super) size: u64,
    pub(super) clock: Clock,
    pub(super) progress: Arc<Progress>,
    pub(super) moving: Arc<Moving>,
    /// An earlier attempt read bytes that did not prove.
    pub(super) doubted: bool,
}

/// Bytes that were read, in the pieces they arrived in.
pub(super) struct Read {
    pub(super) info: ObjectInfo,
    pub(super) chunks: Vec<Bytes>,
    pub(super) crc: Crc64,
}

struct Body {
    reader: Reader,
    stream: ByteStream,
    left: Range<u64>,
    tried: u32,
}

impl Reader {
    /// Reads the whole object, or a range of it, into memory. Both CRC-64s are computed while the bytes arrive.
    pub(super) async fn read(&self, range: Option<Range<u64>>) -> Result<Read> {
        let (info, mut body) = self.open(range).await?;
        let (mut chunks, mut crc) = (Vec::new(), Crc64Hasher::new());
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            crc.update(&chunk);
            chunks.push(chunk);
        }
        Ok(Read { info, chunks, crc: crc.finish() })
    }

    /// Opens the whole object, or a range of it. The stream yields exactly those bytes or an error; where a body breaks midway it is
    /// asked for again from there on, a few times.
    ///
    /// Fails with [`ErrorKind::Changed`] where the object is not the pinned one.
    pub(super) async fn open(&self, range: Option<Range<u64>>) -> Result<(ObjectInfo, ByteStream)> {
        let left = range.clone().unwrap_or(0..self.size);
        let output = self.get(range).await?;
        let body = Body { reader: self.clone(), stream: output.body, left, tried: 1 };
        let stream = stream::unfold(Some(body), |body| async move {
            let mut body = body?;
            match body.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(body))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok((output.info, stream.boxed()))
    }

    async fn get(&self, range: Option<Range<u64>>) -> Result<GetOutput> {
        let if_match = Some(self.etag.clone()).filter(|e| !e.is_empty());
        let wanted = range.clone().unwrap_or(0..self.size);
        let output = self.source.get(&self.object, Get { range, if_match }).await?;
        pinned(&output.info, &self.etag, self.size)?;
        if output.range != wanted {
            let got = &output.range;
            return Err(Error::integrity(format!("bytes {}..{} were asked for, and {}..{} came", wanted.start, wanted.end, got.start, got.end)));
        }
        Ok(output)
    }
}

impl Body {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let error = match self.stream.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    let len = chunk.len() as u64;
                    if len > self.left.end - self.left.start {
                        return Err(Error::integrity("the body is longer than it was said to be"));
                    }
                    self.left.start += len;
                    self.reader.moving.add(len);
                    return Ok(Some(chunk));
                }
                None if self.left.is_empty() => return Ok(None),
                None => Error::new(ErrorKind::Unavailable, format!("the body ended {} bytes early", self.left.end - self.left.start)),
                Some(Err(error)) => error,
            };
            self.reopen(error).await?;
        }
    }

    /// Asks for the rest, unless `error` says that it is no use, or nothing pins what would come.
    async fn reopen(&mut self, error: Error) -> Result<()> {
        if error.retry() == Retry::Never || self.tried == TRIES_MAX || self.left.is_empty() || self.reader.etag.is_empty() {
            return Err(error);
        }
        let longest = BODY_WAIT * 2u32.pow(self.tried - 1);
        self.tried += 1;
        self.reader.progress.retries.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, left_bytes = self.left.end - self.left.start, "a body broke, asking for the rest");
        let wait = match error.retry() {
            Retry::Slow { after: Some(wait) } => wait,
            _ => longest.mul_f64(self.reader.clock.random_fraction()),
        };
        self.reader.clock.sleep(wait).await;
        self.stream = self.reader.get(Some(self.left.clone())).await?.body;
        Ok(())
    }
}
