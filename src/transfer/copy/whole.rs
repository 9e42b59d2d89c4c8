//! An object that is whole in memory: one GET, one PUT, nothing else where both stores state checksums.

use bytes::Bytes;

use super::read::{Read, Reader};
use super::{Copier, Setback, TRIES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Crc64;
use crate::storage::{Attributes, ETag, Encryption, Key, ObjectRef, Payload, Put, PutOutput};
use crate::transfer::prove::{Witness, judge, judge_md5, md5_of};
use crate::transfer::task::{Copied, CopyTask, Proof};

/// Bytes in memory (or gone by) and what was computed over them; MD5 only of bytes in memory, and only when somebody asks.
pub(super) struct Held<'a> {
    chunks: Option<&'a [Bytes]>,
    pub(super) crc: Crc64,
    md5: Option<[u8; 16]>,
}

impl<'a> Held<'a> {
    pub(super) fn new(chunks: &'a [Bytes], crc: Crc64) -> Self {
        Self { chunks: Some(chunks), crc, md5: None }
    }

    /// Bytes that passed through and are no longer here.
    pub(super) fn gone(crc: Crc64) -> Self {
        Self { chunks: None, crc, md5: None }
    }

    /// Compares with an ETag that may be an MD5; `None` where it is none, or where MD5 cannot or is not to be computed.
    pub(super) async fn judge_etag(&mut self, etag: &ETag, md5: bool) -> Option<Result<Proof>> {
        let chunks = self.chunks.filter(|_| md5 && etag.md5().is_some())?;
        let ours = match self.md5 {
            Some(known) => known,
            None => *self.md5.insert(md5_of(chunks).await),
        };
        Some(judge_md5(etag, &ours))
    }
}

impl Copier {
    pub(super) async fn copy_whole(&self, task: &CopyTask, reader: &Reader) -> Result<Copied, Setback> {
        let _reserved = self.budget.reserve(task.size).await?;
        let read = reader.read(None).await?;
        let source_proof = self.prove_source(reader, &read).await?;
        let carried = self.carry(&read.info, Some(&read.crc))?;
        let put = Put { attributes: carried.attributes, checksums: Some(read.crc.checksums()), condition: None };
        let payload = Payload::from_chunks(read.chunks.clone());
        let mut held = Held::new(&read.chunks, read.crc);
        let (output, destination_proof) = self.put_proved(&task.destination_key, payload, put, &mut held).await?;
        let mut checksums = read.crc.checksums();
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

    /// Holds what was read against what the source states of it.
    async fn prove_source(&self, reader: &Reader, read: &Read) -> Result<Proof, Setback> {
        let mut witness = self.witness(&read.info);
        let cuts = self.source_cuts(reader, &witness).await?.unwrap_or_else(|| {
            witness = Witness::None;
            [].into()
        });
        let mut digester = witness.digester(&cuts);
        if let Some(digester) = &mut digester {
            digester.absorb(&read.chunks).await;
        }
        witness.judge(&read.crc, digester).map_err(Setback::StartOver)
    }

    /// Puts an object and holds what the destination states of it against what was sent. What was stored wrong is sent again a few times.
    async fn put_proved(&self, key: &Key, payload: Payload, put: Put, held: &mut Held<'_>) -> Result<(PutOutput, Proof)> {
        for tried in 1.. {
            let (error, stored) = match self.destination.put(key, payload.clone(), put.clone()).await {
                Ok(output) => match self.prove_put(key, &output, &put.attributes, held).await {
                    Ok(proof) => return Ok((output, proof)),
                    Err(error) => (error, Some(output)),
                },
                Err(error) => (error, None),
            };
            if error.kind() == ErrorKind::Integrity && tried < TRIES_MAX {
                self.count_retry(&error, "the object was damaged on its way to the destination, sending it again");
                continue;
            }
            let error = error.during("put").on_key(key).in_store(&self.destination);
            return Err(match stored {
                Some(output) if error.kind() == ErrorKind::Integrity => self.withdraw(key, &output, error).await,
                _ => error,
            });
        }
        unreachable!("the loop ends with a return")
    }

    /// Proves a committed object: by the checksums in the answer, else by its ETag, else by what HEAD says.
    pub(super) async fn prove_put(&self, key: &Key, output: &PutOutput, sent: &Attributes, held: &mut Held<'_>) -> Result<Proof> {
        if let Some(proof) = judge(&output.checksums, &held.crc, "sent", "the destination")? {
            return Ok(proof);
        }
        let md5 = !self.options.no_md5;
        if sent.encryption.as_ref().is_none_or(Encryption::keeps_md5_etag)
            && let Some(Ok(proof)) = held.judge_etag(&output.etag, md5).await
        {
            return Ok(proof);
        }
        // An ETag that is no MD5 of ours may still be right: a bucket that encrypts by default says so only in HEAD.
        let info = match self.destination.head(&ObjectRef { key: key.clone(), version: output.version.clone() }).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::integrity("the destination took the object, and then did not have it").caused_by(error));
            }
            other => other?,
        };
        if let Some(proof) = judge(&info.checksums, &held.crc, "sent", "the destination")? {
            return Ok(proof);
        }
        if info.size != held.crc.len {
            return Err(Error::integrity(format!("{} bytes were sent, and the destination states {}", held.crc.len, info.size)));
        }
        match info.etag_md5() {
            Some(_) => held.judge_etag(&info.etag, md5).await.unwrap_or(Ok(Proof::Size)),
            None => Ok(Proof::Size),
        }
    }
}
