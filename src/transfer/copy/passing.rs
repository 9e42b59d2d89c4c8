//! Bytes that pass through from the source as they are sent. Where memory can hold them they are kept as well, so that what must be sent
//! again is not read again.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::read::Reader;
use crate::error::{Error, Result};
use crate::storage::checksum::{Crc64, Crc64Hasher};
use crate::storage::{ByteStream, Payload};
use crate::transfer::prove::Digester;

/// What was computed over bytes that passed through, once they all did.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Passage>>);

#[derive(Default)]
enum Passage {
    #[default]
    Underway,
    Passed(Crc64, Option<Box<Digester>>),
    Broke(Error),
}

impl Seen {
    fn set(&self, passage: Passage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = passage;
    }

    /// What was computed. Fails where the writer says that it is done, but did not read to the end.
    pub(super) fn taken(&self) -> Result<(Crc64, Option<Digester>)> {
        match std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            Passage::Passed(crc, digester) => Ok((crc, digester.map(|d| *d))),
            Passage::Underway => Err(Error::integrity("the destination says that it is done, but has not read all bytes")),
            Passage::Broke(error) => Err(error),
        }
    }

    /// Why the source broke off, where it did.
    pub(super) fn failure(&self) -> Option<Error> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Passage::Broke(error) => Some(error.clone()),
            _ => None,
        }
    }
}

/// A body that was read to its end, for sending it again. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Option<Whole>>>);

/// All bytes, in the pieces they came in, and their CRCs.
type Whole = (Vec<Bytes>, Crc64);

impl Kept {
    fn whole(&self) -> Option<Whole> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, chunks: Vec<Bytes>, crc: Crc64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((chunks, crc));
    }
}

/// A payload that reads a part from the source as it is sent, and keeps it.
pub(super) fn passing_once(reader: Reader, range: Range<u64>, kept: &Kept) -> (Payload, Seen) {
    let (seen, kept) = (Seen::default(), kept.clone());
    let (outcome, len) = (seen.clone(), range.end - range.start);
    let payload = Payload::from_source(len, move || {
        let (reader, range, seen, kept) = (reader.clone(), range.clone(), outcome.clone(), kept.clone());
        Box::pin(async move {
            if let Some((chunks, crc)) = kept.whole() {
                seen.set(Passage::Passed(crc, None));
                return Ok(stream::iter(chunks.into_iter().map(Ok)).boxed());
            }
            open(reader, Some(range), None, |_: &Crc64, _: Option<&Digester>| Ok(()), seen, Some((kept, Vec::new()))).await
        })
    });
    (payload, seen)
}

async fn open(
    reader: Reader,
    range: Option<Range<u64>>,
    digester: Option<Digester>,
    end: impl Fn(&Crc64, Option<&Digester>) -> Result<()> + Send + 'static,
    seen: Seen,
    keeping: Option<(Kept, Vec<Bytes>)>,
) -> Result<ByteStream> {
    seen.set(Passage::Underway);
    match reader.open(range).await {
        Ok((_, body)) => Ok(watched(Watched { body, crc: Crc64Hasher::new(), digester, held_back: None, end, seen, keeping })),
        Err(error) => {
            seen.set(Passage::Broke(error.clone()));
            Err(error)
        }
    }
}

/// A payload that reads from the source as it is sent. The last piece is held back until `end` has approved of the whole, so that a
/// destination never gets a complete body that is not the right one.
pub(super) fn passing(
    reader: Reader,
    range: Option<Range<u64>>,
    digester: Option<Digester>,
    end: impl Fn(&Crc64, Option<&Digester>) -> Result<()> + Send + Sync + Clone + 'static,
) -> (Payload, Seen) {
    let seen = Seen::default();
    let len = range.as_ref().map_or(reader.size, |r| r.end - r.start);
    let outcome = seen.clone();
    let payload = Payload::from_source(len, move || {
        let (reader, range, digester, end, seen) = (reader.clone(), range.clone(), digester.clone(), end.clone(), outcome.clone());
        Box::pin(open(reader, range, digester, end, seen, None))
    });
    (payload, seen)
}

struct Watched<E> {
    body: ByteStream,
    crc: Crc64Hasher,
    digester: Option<Digester>,
    held_back: Option<Bytes>,
    end: E,
    seen: Seen,
    /// Where they are kept once all of them came, and those that came.
    keeping: Option<(Kept, Vec<Bytes>)>,
}

fn watched<E: Fn(&Crc64, Option<&Digester>) -> Result<()> + Send + 'static>(state: Watched<E>) -> ByteStream {
    stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(state))),
            Ok(None) => state.held_back.take().map(|last| (Ok(last), None)),
            Err(error) => {
                state.seen.set(Passage::Broke(error.clone()));
                Some((Err(error), None))
            }
        }
    })
    .boxed()
}

impl<E: Fn(&Crc64, Option<&Digester>) -> Result<()>> Watched<E> {
    /// The next piece but the last.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk?;
            self.crc.update(&chunk);
            if let Some(digester) = &mut self.digester {
                digester.absorb(std::slice::from_ref(&chunk)).await;
            }
            if let Some((_, chunks)) = &mut self.keeping {
                chunks.push(chunk.clone());
            }
            if let Some(before) = self.held_back.replace(chunk) {
                return Ok(Some(before));
            }
        }
        let crc = self.crc.finish();
        (self.end)(&crc, self.digester.as_ref())?;
        if let Some((kept, chunks)) = self.keeping.take() {
            kept.set(chunks, crc);
        }
        self.seen.set(Passage::Passed(crc, self.digester.take().map(Box::new)));
        Ok(None)
    }
}
