//! Multipart uploads at the destination: each part, and the whole they make, held against what was sent.

use bytes::Bytes;

use super::write::{Held, Writer};
use super::{Setback, TRIES_MAX, count_retry};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Crc64, Crc64Combiner};
use crate::storage::{Attributes, Complete, Encryption, Key, Multipart, ObjectRef, Part, Payload, PutOutput, Upload};
use crate::transfer::prove::judge;
use crate::transfer::stamp::Stamp;
use crate::transfer::task::Proof;

/// An open upload.
pub(super) struct Target<'a> {
    pub(super) multipart: &'a dyn Multipart,
    pub(super) upload: Upload,
    /// What the object is written with.
    attributes: &'a Attributes,
    /// A part's ETag is an MD5, if it looks like one, and may be computed.
    md5_etags: bool,
}

/// A part that the destination holds.
pub(super) struct Sent {
    pub(super) part: Part,
    pub(super) crc: Crc64,
    pub(super) proof: Proof,
}

/// All parts of an object, held by the destination.
pub(super) struct Filled {
    pub(super) parts: Vec<Part>,
    pub(super) crc: Crc64,
    /// What proves the least proved part.
    pub(super) proof: Proof,
}

impl Filled {
    /// Combines parts that come in part order.
    pub(super) fn of(sent: impl Iterator<Item = Sent>) -> Self {
        let (mut parts, mut crc, mut proof) = (Vec::new(), Crc64Combiner::default(), Proof::Sha256);
        for sent in sent {
            crc.push(sent.crc);
            proof = proof.min(sent.proof);
            parts.push(sent.part);
        }
        Self { parts, crc: crc.finish(), proof }
    }
}

impl Writer {
    /// Begins an upload, and remembers it until [`Self::end`].
    pub(super) async fn begin<'a>(&'a self, key: &Key, attributes: &'a Attributes) -> Result<Target<'a>> {
        let unsupported = || Error::unsupported("the destination has no multipart uploads").in_store(&self.destination);
        let multipart = self.destination.multipart().ok_or_else(unsupported)?;
        let upload = Upload { key: key.clone(), id: multipart.create(key, attributes).await? };
        self.uploads().push(upload.clone());
        let md5_etags = !self.no_md5 && attributes.encryption.as_ref().is_none_or(Encryption::keeps_md5_etag);
        Ok(Target { multipart, upload, attributes, md5_etags })
    }

    /// Forgets an upload that is complete, or aborts one that failed. Where that fails too it stays for [`Self::abort_all`].
    pub(super) async fn end(&self, target: &Target<'_>, failed: bool) {
        if failed && let Err(error) = target.multipart.abort(&target.upload).await {
            tracing::warn!(%error, key = %target.upload.key, upload = %target.upload.id.0, "could not abort an upload, its parts stay until the end of the run");
            return;
        }
        self.uploads().retain(|open| *open != target.upload);
    }

    /// Aborts all open uploads. Tells the last error.
    pub(super) async fn abort_all(&self) -> Result<()> {
        let Some(multipart) = self.destination.multipart() else { return Ok(()) };
        let open = self.uploads().clone();
        let mut outcome = Ok(());
        for upload in open {
            match multipart.abort(&upload).await {
                Ok(()) => self.uploads().retain(|other| *other != upload),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Sends a part from memory, a few times where it was damaged.
    pub(super) async fn send_part(&self, target: &Target<'_>, number: u32, chunks: &[Bytes], crc: Crc64) -> Result<Sent> {
        let payload = Payload::from_chunks(chunks.to_vec());
        let mut held = Held::new(chunks, crc);
        for tried in 1.. {
            let outcome = match target.multipart.upload_part(&target.upload, number, payload.clone(), Some(&crc.checksums())).await {
                Ok(part) => prove_part(&part, &mut held, target.md5_etags).await.map(|proof| Sent { part, crc, proof }),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.kind() == ErrorKind::Integrity && tried < TRIES_MAX => {
                    count_retry(&self.progress, &error, "a part was damaged, sending it again");
                }
                outcome => return outcome.map_err(|e| e.during("upload part").on_key(&target.upload.key).in_store(&self.destination)),
            }
        }
        unreachable!("the loop ends with a return")
    }

    /// Makes the object of its parts, and holds what the destination states of it against what was sent.
    pub(super) async fn complete(&self, target: &Target<'_>, filled: &Filled) -> Result<(PutOutput, Proof), Setback> {
        let complete = Complete { checksums: Some(filled.crc.checksums()), condition: None };
        let output = match target.multipart.complete(&target.upload, &filled.parts, complete).await {
            Ok(output) => output,
            // The answer to a Complete that worked may be lost, and the upload is gone when it is asked for again (protocol.md 2.8).
            Err(error) if matches!(error.kind(), ErrorKind::UploadNotFound | ErrorKind::Unavailable) => self.already_complete(target, filled, error).await?,
            Err(error) if error.kind() == ErrorKind::Integrity => return Err(Setback::StartOver(error)),
            Err(error) => return Err(Setback::Final(error)),
        };
        let key = &target.upload.key;
        match self.prove_completed(key, &output, filled).await {
            Ok(proof) => Ok((output, proof)),
            Err(error) if error.kind() == ErrorKind::Integrity => Err(Setback::StartOver(self.withdraw(key, &output, error).await)),
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
    async fn already_complete(&self, target: &Target<'_>, filled: &Filled, error: Error) -> Result<PutOutput> {
        let Ok(info) = self.destination.head(&ObjectRef::from(&target.upload.key)).await else { return Err(error) };
        let proved = judge(&info.checksums, &filled.crc, "sent", "the destination").is_ok_and(|proof| proof.is_some());
        let stamped = Stamp::read(&target.attributes.user).is_some_and(|stamp| Stamp::read(&info.attributes.user) == Some(stamp));
        let gone = error.kind() == ErrorKind::UploadNotFound;
        // Where nothing is stated: an upload that is gone and an object of that size from the same source can only be ours.
        let ours = proved || gone && stamped && info.size == filled.crc.len;
        if !ours {
            return Err(error);
        }
        if !gone {
            // The same bytes may have been there before, and the upload may still be open.
            target.multipart.abort(&target.upload).await?;
        }
        count_retry(&self.progress, &error, "the upload was complete already");
        Ok(PutOutput { etag: info.etag, version: info.version, checksums: info.checksums, request_id: String::new() })
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
