//! An object in parts: read and sent several at a time under the byte budget, put together only when the source is proved.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::watch;

use super::assemble::{Filled, Sent, Target, prove_part};
use super::passing::{Kept, passing, passing_once};
use super::read::Reader;
use super::resume::{Freight, Held};
use super::write::InHand;
use super::{Copier, Setback, TRIES_MAX, copied, count_retry};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::flight::Cargo;
use crate::storage::Part;
use crate::storage::checksum::Crc64Hasher;
use crate::transfer::concurrency::STREAMS_MAX;
use crate::transfer::parts::{Parts, STREAM_WINDOW_BYTES};
use crate::transfer::prove::{Digester, judge};
use crate::transfer::task::{Copied, CopyTask, Proof};

/// How many parts of one object move at a time: as many as its streams are let through.
pub(super) const PARTS_AT_ONCE: usize = STREAMS_MAX;

/// An upload that is being filled.
struct Filling<'a> {
    reader: &'a Reader,
    target: &'a Target<'a>,
    in_order: Option<InOrder>,
    /// Parts are sent as they are read: the first byte arrives a part's length sooner, and what passes is still in the processor's caches (a
    /// quarter less CPU time). They are kept all the same, where memory can hold them, so that one that fails is not read again.
    passing: bool,
    /// Bytes that were there and were not sent again.
    resumed_bytes: AtomicU64,
    /// Of these, bytes that were read again.
    reread_bytes: AtomicU64,
}

/// Lets the digest see the parts in order, in whatever order they arrive. The part whose turn it is never waits for another, and the
/// parts are begun in order, so that waiting always ends.
struct InOrder {
    next: watch::Sender<u32>,
    digester: tokio::sync::Mutex<Digester>,
}

impl InOrder {
    fn new(digester: Digester) -> Self {
        Self { next: watch::Sender::new(1), digester: tokio::sync::Mutex::new(digester) }
    }

    /// Waits for a part's turn.
    async fn turn(&self, number: u32) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.next.subscribe().wait_for(|next| *next == number).await;
    }

    async fn absorb(&self, number: u32, chunks: &[Bytes]) {
        self.turn(number).await;
        self.digester.lock().await.absorb(chunks).await;
        self.next.send_replace(number + 1);
    }

    fn finish(self) -> Digester {
        self.digester.into_inner()
    }
}

impl Copier {
    pub(super) async fn copy_parts(&self, task: &CopyTask, reader: &Reader, parts: Parts) -> Result<Copied, Setback> {
        let info = reader.look().await?;
        let reader = &Reader { etag: info.etag.clone(), ..reader.clone() };
        let (witness, cuts) = reader.witness(&info, self.options.no_md5).await?;
        let carried = self.carry_all(task, &info, None).await?;
        let freight = Freight {
            key: &task.key,
            destination_key: &task.destination_key,
            cargo: Cargo { etag: info.etag.clone(), version: info.version.clone(), size: task.size },
            modified: info.modified,
            attributes: &carried.attributes,
            cutter: self.cutter(),
            parts,
            doubted: reader.doubted,
        };
        let target = self.writer.board(&freight).await?;
        // All of it had been proved before it was about to be completed: nobody has to see the bytes again.
        let trusted = target.source_proved && target.is_whole();
        let in_order = if trusted { None } else { witness.digester(&cuts).map(InOrder::new) };
        // What is hashed in order is read first, so that parts need not wait for each other; and so is what only its MD5 proves.
        let passing = parts.streamed || in_order.is_none() && !target.md5_etags && self.writer.destination.capabilities().streamed_bodies;
        let filling = Filling { reader, target: &target, in_order, passing, resumed_bytes: AtomicU64::new(0), reread_bytes: AtomicU64::new(0) };
        let filled = self.fill(&filling).await?;
        let digester = filling.in_order.map(InOrder::finish);
        let judged = witness.judge(&filled.crc, digester).map_err(Setback::StartOver)?;
        let source_proof = if trusted { witness.kind() } else { judged };
        let (output, destination_proof) = self.writer.complete(&target, &filled).await?;
        let copied = copied(&info, filled.crc, output, (source_proof, destination_proof), carried.changes);
        Ok(Copied { resumed_bytes: filling.resumed_bytes.into_inner(), reread_bytes: filling.reread_bytes.into_inner(), ..copied })
    }

    /// Moves all parts that are not there. They are begun in order, each after its bytes are reserved. Once the run is to stop none is
    /// begun any more; what is underway ends.
    async fn fill(&self, filling: &Filling<'_>) -> Result<Filled> {
        let parts = filling.target.parts;
        // What must be hashed in order and cannot be kept goes one part at a time.
        let at_once = if filling.passing && filling.in_order.is_some() { 1 } else { PARTS_AT_ONCE };
        let numbers = stream::iter(1..=parts.count()).take_until(self.context.cancel.cancelled());
        let begun = numbers.then(|number| async move {
            if filling.needs_nothing(number) {
                return Ok(Some((number, None)));
            }
            let stream = self.streams.open().await?;
            let range = parts.range(number);
            let reserved = self.budget.reserve(if parts.streamed { STREAM_WINDOW_BYTES } else { range.end - range.start }).await?;
            // It may have waited long for its turn.
            Ok::<_, Error>(Some((number, Some((stream, reserved)))).filter(|_| !self.context.cancel.is_cancelled()))
        });
        let mut sent: Vec<Option<Sent>> = (0..parts.count()).map(|_| None).collect();
        let mut moved = begun
            .map(|begun| async {
                let Some((number, admitted)) = begun? else { return Ok(None) };
                let sent = self.bring(filling, number).await?;
                if let Some((stream, _reserved)) = admitted {
                    stream.done(sent.crc.len);
                }
                Ok::<_, Error>(Some((number, sent)))
            })
            .buffer_unordered(at_once)
            .boxed();
        while let Some(brought) = moved.try_next().await? {
            if let Some((number, part)) = brought {
                sent[number as usize - 1] = Some(part);
            }
        }
        drop(moved);
        let there = sent.iter().flatten().count();
        if there < sent.len() {
            return Err(Error::new(ErrorKind::Interrupted, format!("interrupted when {there} of {} parts were there", sent.len())));
        }
        Ok(Filled::of(sent.into_iter().flatten()))
    }

    /// Sees to it that the destination holds a part.
    async fn bring(&self, filling: &Filling<'_>, number: u32) -> Result<Sent> {
        let target = filling.target;
        let sent = match target.held.get(&number) {
            Some(Held::Proved(sent)) => {
                if filling.in_order.is_some() {
                    filling.read_again(number, sent).await?;
                }
                filling.resumed(sent, filling.in_order.is_some());
                return Ok(sent.clone());
            }
            Some(Held::Doubted(part)) if !filling.passes(number) => self.move_part(filling, number, Some(part)).await?,
            _ if filling.passes(number) => self.stream_part(filling, number).await?,
            _ => self.move_part(filling, number, None).await?,
        };
        self.writer.note(target, &sent).await?;
        Ok(sent)
    }

    /// Moves a part through memory: read once, kept until it is acknowledged. What the destination holds of it already is not sent
    /// again where it is the same.
    async fn move_part(&self, filling: &Filling<'_>, number: u32, doubted: Option<&Part>) -> Result<Sent> {
        let target = filling.target;
        let read = filling.reader.read(Some(target.parts.range(number))).await?;
        let hash = async {
            if let Some(in_order) = &filling.in_order {
                in_order.absorb(number, &read.chunks).await;
            }
        };
        let send = async {
            if let Some(part) = doubted
                && let Ok(proof) = prove_part(part, &mut InHand::new(&read.chunks, read.crc), target.md5_etags).await
                && proof > Proof::Size
            {
                let sent = Sent { part: part.clone(), crc: read.crc, proof };
                filling.resumed(&sent, true);
                return Ok(sent);
            }
            self.writer.send_part(target, number, &read.chunks, read.crc).await
        };
        let (sent, ()) = futures::join!(send, hash);
        sent
    }

    /// Moves a part through: it is sent as it is read. What memory cannot hold is read again where it must be sent again.
    async fn stream_part(&self, filling: &Filling<'_>, number: u32) -> Result<Sent> {
        let target = filling.target;
        let range = target.parts.range(number);
        let kept = Kept::default();
        for tried in 1.. {
            let (payload, seen) = if target.parts.streamed {
                let before = match &filling.in_order {
                    Some(in_order) => Some(in_order.digester.lock().await.clone()),
                    None => None,
                };
                passing(filling.reader.clone(), Some(range.clone()), before, |_, _| Ok(()))
            } else {
                passing_once(filling.reader.clone(), range.clone(), &kept)
            };
            let outcome = match target.multipart.upload_part(&target.upload, number, payload, None).await {
                Ok(part) => {
                    let (crc, digester) = seen.taken()?;
                    let proved = judge(&part.checksums, &crc, "sent", "the destination").map(Option::unwrap_or_default);
                    if let (Ok(_), Some(in_order), Some(digester)) = (&proved, &filling.in_order, digester) {
                        *in_order.digester.lock().await = digester;
                        in_order.next.send_replace(number + 1);
                    }
                    proved.map(|proof| Sent { part, crc, proof: proof.max(Proof::Size) })
                }
                // The destination only knows that the body broke; the source says why.
                Err(error) => Err(seen.failure().unwrap_or(error)),
            };
            match outcome {
                Err(error) if error.kind() == ErrorKind::Integrity && tried < TRIES_MAX => {
                    count_retry(&self.context.progress, &error, "a part was damaged, sending it again")
                }
                outcome => return outcome.map_err(|e| e.during("upload part").on_key(&target.upload.key)),
            }
        }
        unreachable!("the loop ends with a return")
    }
}

impl Filling<'_> {
    /// Whether a part is sent as it is read. One that is there, and may be right, is read first, where memory can hold it.
    fn passes(&self, number: u32) -> bool {
        let is_doubted = matches!(self.target.held.get(&number), Some(Held::Doubted(_)));
        self.passing && (self.target.parts.streamed || !is_doubted)
    }

    /// Whether a part is there, proved, and nobody has to see its bytes.
    fn needs_nothing(&self, number: u32) -> bool {
        self.in_order.is_none() && matches!(self.target.held.get(&number), Some(Held::Proved(_)))
    }

    /// Counts a part that was not sent.
    fn resumed(&self, sent: &Sent, read_again: bool) {
        self.resumed_bytes.fetch_add(sent.crc.len, Ordering::Relaxed);
        if read_again {
            self.reread_bytes.fetch_add(sent.crc.len, Ordering::Relaxed);
        } else {
            self.reader.moving.found(sent.crc.len);
        }
    }

    /// Reads a part that was sent before, for the digest over all bytes.
    async fn read_again(&self, number: u32, sent: &Sent) -> Result<()> {
        let Some(in_order) = &self.in_order else { return Ok(()) };
        in_order.turn(number).await;
        let (_, mut body) = self.reader.open(Some(self.target.parts.range(number))).await?;
        let mut crc = Crc64Hasher::new();
        while let Some(chunk) = body.try_next().await? {
            crc.update(&chunk);
            in_order.digester.lock().await.absorb(std::slice::from_ref(&chunk)).await;
        }
        if crc.finish() != sent.crc {
            return Err(Error::new(ErrorKind::Changed, format!("part {number} of the source has other bytes than when it was sent")));
        }
        in_order.next.send_replace(number + 1);
        Ok(())
    }
}
