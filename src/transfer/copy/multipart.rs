//! An object in parts: read and sent several at a time under the byte budget, put together only when the source is proved.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::watch;

use super::assemble::{Filled, Sent, Target};
use super::passing::passing;
use super::read::Reader;
use super::{Copier, Setback, TRIES_MAX, copied, count_retry};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::PutOutput;
use crate::storage::checksum::Crc64;
use crate::transfer::budget::Reservation;
use crate::transfer::parts::{Parts, STREAM_WINDOW_BYTES};
use crate::transfer::prove::{Digester, Witness, judge};
use crate::transfer::task::{Copied, CopyTask, Proof};

/// How many parts of one object move at a time.
pub(super) const PARTS_AT_ONCE: usize = 16;

/// An upload that is being filled.
struct Filling<'a> {
    reader: &'a Reader,
    target: &'a Target<'a>,
    parts: Parts,
    in_order: Option<InOrder>,
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

    async fn absorb(&self, number: u32, chunks: &[Bytes]) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.next.subscribe().wait_for(|next| *next == number).await;
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
        let carried = self.carry(&info, None)?;
        let target = self.writer.begin(&task.destination_key, &carried.attributes).await?;
        let in_order = witness.digester(&cuts).map(InOrder::new);
        let done = self.fill_and_complete(Filling { reader, target: &target, parts, in_order }, &witness).await;
        self.writer.end(&target, done.is_err()).await;
        let (output, crc, source_proof, destination_proof) = done?;
        Ok(copied(crc, output, source_proof, destination_proof, carried.warnings))
    }

    async fn fill_and_complete(&self, filling: Filling<'_>, witness: &Witness) -> Result<(PutOutput, Crc64, Proof, Proof), Setback> {
        let target = filling.target;
        let (filled, digester) = self.fill(filling).await?;
        let source_proof = witness.judge(&filled.crc, digester).map_err(Setback::StartOver)?;
        let (output, destination_proof) = self.writer.complete(target, &filled).await?;
        Ok((output, filled.crc, source_proof, destination_proof))
    }

    /// Moves all parts. They are begun in order, each after its bytes are reserved.
    async fn fill(&self, filling: Filling<'_>) -> Result<(Filled, Option<Digester>)> {
        let parts = filling.parts;
        // What must be hashed in order and cannot be kept goes one part at a time.
        let at_once = if parts.streamed && filling.in_order.is_some() { 1 } else { PARTS_AT_ONCE };
        let begun = stream::iter(1..=parts.count()).then(|number| async move {
            let slot = self.part_slots.acquire().await.map_err(|e| Error::new(ErrorKind::Unexpected, "the copier was closed").caused_by(e))?;
            let range = parts.range(number);
            let bytes = if parts.streamed { STREAM_WINDOW_BYTES } else { range.end - range.start };
            Ok::<_, Error>((number, slot, self.budget.reserve(bytes).await?))
        });
        let mut sent: Vec<Option<Sent>> = (0..parts.count()).map(|_| None).collect();
        let mut moved = begun
            .map(|begun| async {
                let (number, _slot, reserved): (u32, _, Reservation) = begun?;
                let sent =
                    if parts.streamed { self.stream_part(&filling, number, reserved).await? } else { self.move_part(&filling, number, reserved).await? };
                Ok::<_, Error>((number, sent))
            })
            .buffer_unordered(at_once)
            .boxed();
        while let Some((number, part)) = moved.try_next().await? {
            sent[number as usize - 1] = Some(part);
        }
        drop(moved);
        Ok((Filled::of(sent.into_iter().flatten()), filling.in_order.map(InOrder::finish)))
    }

    /// Moves a part through memory: read once, kept until it is acknowledged.
    async fn move_part(&self, filling: &Filling<'_>, number: u32, reserved: Reservation) -> Result<Sent> {
        let read = filling.reader.read(Some(filling.parts.range(number))).await?;
        let hash = async {
            if let Some(in_order) = &filling.in_order {
                in_order.absorb(number, &read.chunks).await;
            }
        };
        let (sent, ()) = futures::join!(self.writer.send_part(filling.target, number, &read.chunks, read.crc), hash);
        drop(reserved);
        sent
    }

    /// Moves a part that memory cannot hold: it passes through, and is read again where it must be sent again.
    async fn stream_part(&self, filling: &Filling<'_>, number: u32, reserved: Reservation) -> Result<Sent> {
        let (target, range) = (filling.target, filling.parts.range(number));
        for tried in 1.. {
            let before = match &filling.in_order {
                Some(in_order) => Some(in_order.digester.lock().await.clone()),
                None => None,
            };
            let (payload, seen) = passing(filling.reader.clone(), Some(range.clone()), before, |_, _| Ok(()));
            let outcome = match target.multipart.upload_part(&target.upload, number, payload, None).await {
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
                Err(error) if error.kind() == ErrorKind::Integrity && tried < TRIES_MAX => {
                    count_retry(&self.context.progress, &error, "a part was damaged, sending it again")
                }
                outcome => {
                    drop(reserved);
                    return outcome.map_err(|e| e.during("upload part").on_key(&target.upload.key));
                }
            }
        }
        unreachable!("the loop ends with a return")
    }
}
