//! Multipart uploads at the destination: each part, and the whole they make, held against what was sent.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::resume::Held;
use super::write::{InHand, Writer};
use super::{Setback, TRIES_MAX, count_retry};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Event, Flight, FlightId, SentPart};
use crate::storage::checksum::{Crc64, Crc64Combiner};
use crate::storage::{Attributes, Complete, Key, Multipart, ObjectRef, Part, Payload, PutOutput, Upload};
use crate::transfer::parts::Parts;
use crate::transfer::prove::judge;
use crate::transfer::stamp::Stamp;
use crate::transfer::task::Proof;

/// Flights that are looked at together.
const FLIGHTS_AT_ONCE: usize = 100;

/// An open upload.
pub(super) struct Target<'a> {
    pub(super) multipart: &'a dyn Multipart,
    pub(super) upload: Upload,
    /// What the object is written with.
    pub(super) attributes: &'a Attributes,
    /// A part's ETag is an MD5, if it looks like one, and may be computed.
    pub(super) md5_etags: bool,
    pub(super) flight: FlightId,
    /// How it is cut: an open upload keeps its part size.
    pub(super) parts: Parts,
    /// What the service held when we came.
    pub(super) held: BTreeMap<u32, Held>,
    /// An earlier run began it, or somebody else did.
    pub(super) taken_up: bool,
    /// Its parts had been proved to be the source's before.
    pub(super) source_proved: bool,
}

impl Target<'_> {
    /// Whether every part was there and proved when we came.
    pub(super) fn is_whole(&self) -> bool {
        self.held.len() == self.parts.count() as usize && self.held.values().all(|held| matches!(held, Held::Proved(_)))
    }
}

/// A part that the destination holds.
#[derive(Clone)]
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
    /// Ends the flight of a key whose copy was given up. What a later run can go on with stays open, where somebody remembers it.
    pub(super) async fn leave(&self, key: &Key, keep: bool) {
        let left = async {
            match self.journal.flight(key).await? {
                Some(flight) if !(keep && self.journal.is_durable()) => self.throw_away(&flight).await,
                _ => Ok(()),
            }
        };
        if let Err(error) = left.await {
            tracing::warn!(%error, "could not put an open upload away, its parts stay until a later run, or `dragon uploads abort`, removes them");
        }
    }

    /// Aborts what is open, where nobody would find it again. Tells the last error.
    pub(super) async fn abort_all(&self) -> Result<()> {
        if self.journal.is_durable() { Ok(()) } else { self.throw_away_all(|_| true).await }
    }

    /// Throws away the flights that are chosen. Tells the last error.
    pub(super) async fn throw_away_all(&self, chosen: impl Fn(&Flight) -> bool) -> Result<()> {
        let (mut after, mut outcome) = (None, Ok(()));
        loop {
            let open = self.journal.flights(after, FLIGHTS_AT_ONCE).await?;
            let Some(last) = open.last() else { return outcome };
            after = Some(last.id);
            for flight in open.iter().filter(|flight| chosen(flight)) {
                if let Err(error) = self.throw_away(flight).await {
                    outcome = Err(error);
                }
            }
        }
    }

    /// Sends a part from memory, a few times where it was damaged.
    pub(super) async fn send_part(&self, target: &Target<'_>, number: u32, chunks: &[Bytes], crc: Crc64) -> Result<Sent> {
        let payload = Payload::from_chunks(chunks.to_vec());
        let mut held = InHand::new(chunks, crc);
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

    /// Notes a part that the service holds.
    pub(super) async fn note(&self, target: &Target<'_>, sent: &Sent) -> Result<()> {
        let part = SentPart { number: sent.part.number, etag: sent.part.etag.clone(), crc: sent.crc, proof: sent.proof };
        self.journal.advance(target.flight, Event::Part(part)).await
    }

    /// Makes the object of its parts, and holds what the destination states of it against what was sent.
    pub(super) async fn complete(&self, target: &Target<'_>, filled: &Filled) -> Result<(PutOutput, Proof), Setback> {
        let complete = Complete { checksums: Some(filled.crc.checksums()), condition: None };
        self.journal.advance(target.flight, Event::Completing).await?;
        let output = match target.multipart.complete(&target.upload, &filled.parts, complete).await {
            Ok(output) => output,
            // The answer to a Complete that worked may be lost, and the upload is gone when it is asked for again (protocol.md 2.8).
            Err(error) if matches!(error.kind(), ErrorKind::UploadNotFound | ErrorKind::Unavailable) => {
                match self.already_complete(target, filled, error).await {
                    Ok(output) => output,
                    Err(error) => {
                        if error.kind() == ErrorKind::UploadNotFound {
                            self.journal.advance(target.flight, Event::Failed).await?;
                        }
                        return Err(error.into());
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::Integrity => return Err(Setback::StartOver(error)),
            Err(error) => return Err(Setback::Final(error)),
        };
        let key = &target.upload.key;
        match self.prove_completed(target, &output, filled).await {
            Ok(proof) => {
                self.journal.advance(target.flight, Event::Proved).await?;
                Ok((output, proof))
            }
            Err(error) if error.kind() == ErrorKind::Integrity => {
                self.journal.advance(target.flight, Event::Failed).await?;
                Err(Setback::StartOver(self.withdraw(key, &output, error).await))
            }
            Err(error) => Err(Setback::Final(error)),
        }
    }

    async fn prove_completed(&self, target: &Target<'_>, output: &PutOutput, filled: &Filled) -> Result<Proof> {
        let key = &target.upload.key;
        if target.taken_up {
            self.prove_taken_up(key, target.attributes).await?;
        }
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

pub(super) async fn prove_part(part: &Part, held: &mut InHand<'_>, md5: bool) -> Result<Proof> {
    if part.size != held.crc.len {
        return Err(Error::integrity(format!("{} bytes were sent as part {}, and the destination states {}", held.crc.len, part.number, part.size)));
    }
    match judge(&part.checksums, &held.crc, "sent", "the destination")? {
        Some(proof) => Ok(proof),
        None => held.judge_etag(&part.etag, md5).await.unwrap_or(Ok(Proof::Size)),
    }
}
