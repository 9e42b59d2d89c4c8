//! An object in parts: read and sent several at a time under the byte budget, put together only when the source is proved.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::part::{Filling, InOrder, Sent};
use super::read::Reader;
use super::{Copier, Setback};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Crc64, Crc64Combiner};
use crate::storage::{Attributes, Complete, Encryption, Key, Multipart, ObjectRef, Part, PutOutput, Upload};
use crate::transfer::budget::Reservation;
use crate::transfer::parts::{Parts, STREAM_WINDOW_BYTES};
use crate::transfer::prove::{Digester, Witness, judge};
use crate::transfer::stamp::Stamp;
use crate::transfer::task::{Copied, CopyTask, Proof};

/// How many parts of one object move at a time.
const PARTS_AT_ONCE: usize = 16;

/// All parts of an object, held by the destination.
pub(super) struct Filled {
    pub(super) parts: Vec<Part>,
    pub(super) crc: Crc64,
    pub(super) digester: Option<Digester>,
    /// What proves the least proved part.
    pub(super) proof: Proof,
}

impl Copier {
    pub(super) async fn copy_parts(&self, task: &CopyTask, reader: &Reader, parts: Parts) -> Result<Copied, Setback> {
        let info = self.look(task).await?;
        let reader = &Reader { etag: info.etag.clone(), ..reader.clone() };
        let mut witness = self.witness(&info);
        let cuts = self.source_cuts(reader, &witness).await?.unwrap_or_else(|| {
            witness = Witness::None;
            [].into()
        });
        let carried = self.carry(&info, None)?;
        let multipart = self.multipart()?;
        let upload = self.begin(multipart, &task.destination_key, &carried.attributes).await?;
        let filling = Filling {
            reader,
            multipart,
            upload: &upload,
            parts,
            in_order: witness.digester(&cuts).map(InOrder::new),
            md5_etags: !self.options.no_md5 && carried.attributes.encryption.as_ref().is_none_or(Encryption::keeps_md5_etag),
        };
        let done = self.fill_and_complete(filling, &witness, &carried.attributes).await;
        self.end(multipart, &upload, done.is_err()).await;
        let (output, crc, source_proof, destination_proof) = done?;
        let mut checksums = crc.checksums();
        checksums.merge(&output.checksums);
        Ok(Copied {
            size: task.size,
            source_proof,
            destination_proof,
            checksums,
            etag: output.etag,
            version: output.version,
            warnings: carried.warnings,
            ..Copied::default()
        })
    }

    async fn fill_and_complete(&self, filling: Filling<'_>, witness: &Witness, attributes: &Attributes) -> Result<(PutOutput, Crc64, Proof, Proof), Setback> {
        let (multipart, upload) = (filling.multipart, filling.upload);
        let filled = self.fill(filling).await?;
        let source_proof = witness.judge(&filled.crc, filled.digester.clone()).map_err(Setback::StartOver)?;
        let (output, destination_proof) = self.complete(multipart, upload, &filled, attributes).await?;
        Ok((output, filled.crc, source_proof, destination_proof))
    }

    /// Moves all parts. They are begun in order, each after its bytes are reserved.
    async fn fill(&self, filling: Filling<'_>) -> Result<Filled> {
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
        Ok(put_together(sent.into_iter().flatten(), filling.in_order.map(InOrder::finish)))
    }

    /// Makes the object of its parts, and holds what the destination states of it against what was sent.
    pub(super) async fn complete(&self, multipart: &dyn Multipart, upload: &Upload, filled: &Filled, sent: &Attributes) -> Result<(PutOutput, Proof), Setback> {
        let complete = Complete { checksums: Some(filled.crc.checksums()), condition: None };
        let output = match multipart.complete(upload, &filled.parts, complete).await {
            Ok(output) => output,
            // The answer to a Complete that worked may be lost, and the upload is gone when it is asked for again (protocol.md 2.8).
            Err(error) if matches!(error.kind(), ErrorKind::UploadNotFound | ErrorKind::Unavailable) => {
                self.already_complete(upload, filled, sent, error).await?
            }
            Err(error) if error.kind() == ErrorKind::Integrity => return Err(Setback::StartOver(error)),
            Err(error) => return Err(Setback::Final(error)),
        };
        match self.prove_completed(&upload.key, &output, filled).await {
            Ok(proof) => Ok((output, proof)),
            Err(error) if error.kind() == ErrorKind::Integrity => Err(Setback::StartOver(self.withdraw(&upload.key, &output, error).await)),
            Err(error) => Err(Setback::Final(error)),
        }
    }

    async fn prove_completed(&self, key: &Key, output: &PutOutput, filled: &Filled) -> Result<Proof> {
        if let Some(proof) = judge(&output.checksums, &filled.crc, "sent", "the destination")? {
            return Ok(proof);
        }
        let info = match self.destination.head(&ObjectRef { key: key.clone(), version: output.version.clone() }).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::integrity("the destination put the object together, and then did not have it").caused_by(error));
            }
            other => other?,
        };
        if let Some(proof) = judge(&info.checksums, &filled.crc, "sent", "the destination")? {
            return Ok(proof);
        }
        if info.size != filled.crc.len {
            return Err(Error::integrity(format!("{} bytes were sent, and the destination states {}", filled.crc.len, info.size)));
        }
        // Each part was proved when it arrived, and Complete named them all.
        Ok(filled.proof)
    }

    /// Looks whether the object is there already, as we made it; else tells `error`.
    async fn already_complete(&self, upload: &Upload, filled: &Filled, sent: &Attributes, error: Error) -> Result<PutOutput> {
        let Ok(info) = self.destination.head(&ObjectRef::from(&upload.key)).await else { return Err(error) };
        let proved = judge(&info.checksums, &filled.crc, "sent", "the destination").is_ok_and(|proof| proof.is_some());
        let stamped = Stamp::read(&sent.user).is_some_and(|stamp| Stamp::read(&info.attributes.user) == Some(stamp));
        // An upload that is gone and an object of that size from the same source can only be ours.
        let ours = proved || stamped && error.kind() == ErrorKind::UploadNotFound && info.size == filled.crc.len;
        if !ours {
            return Err(error);
        }
        self.count_retry(&error, "the upload was complete already");
        Ok(PutOutput { etag: info.etag, version: info.version, checksums: info.checksums, request_id: String::new() })
    }

    pub(super) fn multipart(&self) -> Result<&dyn Multipart> {
        self.destination.multipart().ok_or_else(|| Error::unsupported("the destination has no multipart uploads").in_store(&self.destination))
    }

    /// Begins an upload, and remembers it until [`Self::end`].
    pub(super) async fn begin(&self, multipart: &dyn Multipart, key: &Key, attributes: &Attributes) -> Result<Upload> {
        let upload = Upload { key: key.clone(), id: multipart.create(key, attributes).await? };
        self.uploads().push(upload.clone());
        Ok(upload)
    }

    /// Forgets an upload that is complete, or aborts one that failed. Where that fails too it stays for [`Self::abort_abandoned`].
    pub(super) async fn end(&self, multipart: &dyn Multipart, upload: &Upload, failed: bool) {
        if failed && let Err(error) = multipart.abort(upload).await {
            tracing::warn!(%error, key = %upload.key, upload = %upload.id.0, "could not abort an upload, its parts stay until the end of the run");
            return;
        }
        self.uploads().retain(|open| open != upload);
    }
}

/// Combines parts that come in part order.
pub(super) fn put_together(sent: impl Iterator<Item = Sent>, digester: Option<Digester>) -> Filled {
    let (mut parts, mut crc, mut proof) = (Vec::new(), Crc64Combiner::default(), Proof::Sha256);
    for sent in sent {
        crc.push(sent.crc);
        proof = proof.min(sent.proof);
        parts.push(sent.part);
    }
    Filled { parts, crc: crc.finish(), digester, proof }
}
