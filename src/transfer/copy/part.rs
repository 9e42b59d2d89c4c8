//! One part of a multipart upload: read, sent, and held against what the destination states of it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::watch;

use super::read::Reader;
use super::whole::Held;
use super::{Copier, TRIES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Crc64, Crc64Hasher};
use crate::storage::{ByteStream, Multipart, Part, Payload, Upload};
use crate::transfer::budget::Reservation;
use crate::transfer::parts::Parts;
use crate::transfer::prove::{Digester, judge};
use crate::transfer::task::Proof;

/// A part that the destination holds.
pub(super) struct Sent {
    pub(super) part: Part,
    pub(super) crc: Crc64,
    pub(super) proof: Proof,
}

/// An upload that is being filled.
pub(super) struct Filling<'a> {
    pub(super) reader: &'a Reader,
    pub(super) multipart: &'a dyn Multipart,
    pub(super) upload: &'a Upload,
    pub(super) parts: Parts,
    pub(super) in_order: Option<InOrder>,
    /// A part's ETag is an MD5, if it looks like one, and may be computed.
    pub(super) md5_etags: bool,
}

/// Lets the digest see the parts in order, in whatever order they arrive. The part whose turn it is never waits for another, and the
/// parts are begun in order, so that waiting always ends.
pub(super) struct InOrder {
    next: watch::Sender<u32>,
    digester: tokio::sync::Mutex<Digester>,
}

impl InOrder {
    pub(super) fn new(digester: Digester) -> Self {
        Self { next: watch::Sender::new(1), digester: tokio::sync::Mutex::new(digester) }
    }

    async fn absorb(&self, number: u32, chunks: &[Bytes]) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.next.subscribe().wait_for(|next| *next == number).await;
        self.digester.lock().await.absorb(chunks).await;
        self.next.send_replace(number + 1);
    }

    pub(super) fn finish(self) -> Digester {
        self.digester.into_inner()
    }
}

impl Copier {
    /// Moves a part through memory: read once, kept until it is acknowledged.
    pub(super) async fn move_part(&self, filling: &Filling<'_>, number: u32, reserved: Reservation) -> Result<Sent> {
        let read = filling.reader.read(Some(filling.parts.range(number))).await?;
        let hash = async {
            if let Some(in_order) = &filling.in_order {
                in_order.absorb(number, &read.chunks).await;
            }
        };
        let (sent, ()) = futures::join!(self.send_part(filling, number, &read.chunks, read.crc), hash);
        drop(reserved);
        sent
    }

    async fn send_part(&self, filling: &Filling<'_>, number: u32, chunks: &[Bytes], crc: Crc64) -> Result<Sent> {
        let payload = Payload::from_chunks(chunks.to_vec());
        let mut held = Held::new(chunks, crc);
        for tried in 1.. {
            let outcome = match filling.multipart.upload_part(filling.upload, number, payload.clone(), Some(&crc.checksums())).await {
                Ok(part) => prove_part(&part, &mut held, filling.md5_etags).await.map(|proof| Sent { part, crc, proof }),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.kind() == ErrorKind::Integrity && tried < TRIES_MAX => self.count_retry(&error, "a part was damaged, sending it again"),
                outcome => return outcome.map_err(|e| e.during("upload part").on_key(&filling.upload.key).in_store(&self.destination)),
            }
        }
        unreachable!("the loop ends with a return")
    }

    /// Moves a part that memory cannot hold: it passes through, and is read again where it must be sent again.
    pub(super) async fn stream_part(&self, filling: &Filling<'_>, number: u32, reserved: Reservation) -> Result<Sent> {
        let range = filling.parts.range(number);
        for tried in 1.. {
            let before = match &filling.in_order {
                Some(in_order) => Some(in_order.digester.lock().await.clone()),
                None => None,
            };
            let (payload, seen) = passing(filling.reader.clone(), Some(range.clone()), before, |_, _| Ok(()));
            let outcome = match filling.multipart.upload_part(filling.upload, number, payload, None).await {
                Ok(part) => {
                    let (crc, digester) = seen.taken()?;
                    let proved = judge(&part.checksums, &crc, "sent", "the destination").map(Option::unwrap_or_default);
                    if let (Ok(_), Some(in_order), Some(digester)) = (&proved, &filling.in_order, digester) {
                        *in_order.digester.lock().await = digester;
                    }
                    proved.map(|proof| Sent { part, crc, proof: proof.max(Proof::Size) })
                }
                // The destination only knows that the body broke; the source says why.
                Err(error) => Err(seen.failure().unwrap_or(error)),
            };
            match outcome {
                Err(error) if error.kind() == ErrorKind::Integrity && tried < TRIES_MAX => self.count_retry(&error, "a part was damaged, sending it again"),
                outcome => {
                    drop(reserved);
                    return outcome.map_err(|e| e.during("upload part").on_key(&filling.upload.key));
                }
            }
        }
        unreachable!("the loop ends with a return")
    }
}

async fn prove_part(part: &Part, held: &mut Held<'_>, md5: bool) -> Result<Proof> {
    if part.size != held.crc.len {
        return Err(Error::integrity(format!("{} bytes were sent as part {}, and the destination states {}", held.crc.len, part.number, part.size)));
    }
    match judge(&part.checksums, &held.crc, "sent", "the destination")? {
        Some(proof) => Ok(proof),
        None => held.judge_etag(&part.etag, md5).await.unwrap_or(Ok(Proof::Size)),
    }
}

/// What was computed over bytes that passed through, once they all did.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Passage>>);

#[derive(Default)]
enum Passage {
    #[default]
    Underway,
    Passed(Crc64, Option<Digester>),
    Broke(Error),
}

impl Seen {
    fn set(&self, passage: Passage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = passage;
    }

    /// What was computed. Fails where the writer says that it is done, but did not read to the end.
    pub(super) fn taken(&self) -> Result<(Crc64, Option<Digester>)> {
        match std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            Passage::Passed(crc, digester) => Ok((crc, digester)),
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

/// A payload that reads from the source as it is sent. The last piece is held back until `end` has approved of the whole, so that a
/// destination never gets a complete body that is not the right one.
pub(super) fn passing(
    reader: Reader,
    range: Option<std::ops::Range<u64>>,
    digester: Option<Digester>,
    end: impl Fn(&Crc64, Option<&Digester>) -> Result<()> + Send + Sync + Clone + 'static,
) -> (Payload, Seen) {
    let seen = Seen::default();
    let len = range.as_ref().map_or(reader.size, |r| r.end - r.start);
    let outcome = seen.clone();
    let payload = Payload::from_source(len, move || {
        let (reader, range, digester, end, seen) = (reader.clone(), range.clone(), digester.clone(), end.clone(), outcome.clone());
        Box::pin(async move {
            seen.set(Passage::Underway);
            match reader.open(range).await {
                Ok((_, body)) => Ok(watched(body, digester, end, seen)),
                Err(error) => {
                    seen.set(Passage::Broke(error.clone()));
                    Err(error)
                }
            }
        })
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
}

fn watched(body: ByteStream, digester: Option<Digester>, end: impl Fn(&Crc64, Option<&Digester>) -> Result<()> + Send + 'static, seen: Seen) -> ByteStream {
    let state = Watched { body, crc: Crc64Hasher::new(), digester, held_back: None, end, seen };
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
            if let Some(before) = self.held_back.replace(chunk) {
                return Ok(Some(before));
            }
        }
        let crc = self.crc.finish();
        (self.end)(&crc, self.digester.as_ref())?;
        self.seen.set(Passage::Passed(crc, self.digester.take()));
        Ok(None)
    }
}
