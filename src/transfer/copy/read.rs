//! Reads a source object that is pinned to one ETag. (Going on where a body broke is the business of the retry layer below.)

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::pinned;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Crc64, Crc64Hasher};
use crate::storage::{ByteStream, ETag, Get, GetOutput, ObjectInfo, ObjectRef, Storage};
use crate::transfer::progress::Moving;
use crate::transfer::prove::Witness;

/// Of so many source parts each is asked for its length, so many at a time; of more only two are.
const CUTS_ASKED_MAX: u32 = 16;

/// One object to read. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) source: Arc<dyn Storage>,
    pub(super) object: ObjectRef,
    /// The ETag it is pinned to; empty where the store gives none.
    pub(super) etag: ETag,
    /// Length of the whole in bytes.
    pub(super) size: u64,
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
    moving: Arc<Moving>,
    stream: ByteStream,
    left: Range<u64>,
}

impl Reader {
    /// Looks at the object, and fails with [`ErrorKind::Changed`] where it is not the pinned one.
    pub(super) async fn look(&self) -> Result<ObjectInfo> {
        let info = self.source.head(&self.object).await?;
        pinned(&info, &self.etag, self.size)?;
        Ok(info)
    }

    /// What the object's bytes are to be held against, and the lengths of the parts it was written in where that needs them.
    pub(super) async fn witness(&self, info: &ObjectInfo, no_md5: bool) -> Result<(Witness, Arc<[u64]>)> {
        let witness = Witness::of(info, !no_md5);
        Ok(match self.cuts(&witness).await? {
            Some(cuts) => (witness, cuts),
            None => (Witness::None, Arc::new([])),
        })
    }

    /// The lengths of the parts that the source was written in, where its witness is a digest over theirs. `None` where they cannot be
    /// learnt, so that nothing can be recomputed.
    ///
    /// Nearly always all parts but the last are of one length: of many parts only the first and the last but one are asked for. Where
    /// the digest then differs, `self.doubted` has each of them asked for before the object is called wrong.
    async fn cuts(&self, witness: &Witness) -> Result<Option<Arc<[u64]>>> {
        let Witness::Composite(_, _, parts) = *witness else { return Ok(Some(Arc::new([]))) };
        if parts == 1 {
            return Ok(Some(Arc::new([self.size])));
        }
        let ask = |number: u32| async move {
            let part = self.source.stored_part(&self.object, number).await?;
            Ok::<_, Error>(part.filter(|part| part.parts == parts).map(|part| part.size_bytes))
        };
        if parts > CUTS_ASKED_MAX && !self.doubted {
            let (Some(first), Some(late)) = (ask(1).await?, ask(parts - 1).await?) else { return Ok(None) };
            let last = self.size.checked_sub(first.saturating_mul(u64::from(parts - 1)));
            if let Some(last) = last.filter(|last| first == late && (1..=first).contains(last)) {
                return Ok(Some((1..parts).map(|_| first).chain([last]).collect()));
            }
        }
        let lengths: Option<Vec<u64>> = stream::iter(1..=parts).map(ask).buffered(CUTS_ASKED_MAX as usize).try_collect::<Vec<_>>().await?.into_iter().collect();
        Ok(lengths.filter(|lengths| lengths.iter().sum::<u64>() == self.size).map(Into::into))
    }

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

    /// Opens the whole object, or a range of it. The stream yields exactly those bytes or an error.
    ///
    /// Fails with [`ErrorKind::Changed`] where the object is not the pinned one.
    pub(super) async fn open(&self, range: Option<Range<u64>>) -> Result<(ObjectInfo, ByteStream)> {
        let left = range.clone().unwrap_or(0..self.size);
        let output = self.get(range).await?;
        let body = Body { moving: self.moving.clone(), stream: output.body, left };
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
        let left = self.left.end - self.left.start;
        match self.stream.next().await.transpose()? {
            Some(chunk) if chunk.len() as u64 > left => Err(Error::integrity("the body is longer than it was said to be")),
            Some(chunk) => {
                self.left.start += chunk.len() as u64;
                self.moving.add(chunk.len() as u64);
                Ok(Some(chunk))
            }
            None if left > 0 => Err(Error::new(ErrorKind::Unavailable, format!("the body ended {left} bytes early"))),
            None => Ok(None),
        }
    }
}
