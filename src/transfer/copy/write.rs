//! Writes objects to the destination, holds what it states of them against what was sent, and takes back what is known to be wrong.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::OnceCell;

use super::resume::OpenUploads;
use super::{TRIES_MAX, count_retry};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{End, Journal, Proved};
use crate::storage::checksum::Crc64;
use crate::storage::location::Location;
use crate::storage::{Attributes, ETag, Encryption, Key, ObjectRef, Payload, Put, PutOutput, Storage};
use crate::transfer::job::Context;
use crate::transfer::progress::Progress;
use crate::transfer::prove::{judge, judge_md5, md5_of};
use crate::transfer::stamp::Stamp;
use crate::transfer::task::{CopyTask, Proof};

/// The writing end.
pub(super) struct Writer {
    pub(super) destination: Arc<dyn Storage>,
    pub(super) progress: Arc<Progress>,
    /// Do not compute MD5, even where it is the only proof.
    pub(super) no_md5: bool,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Clock,
    /// Under which open uploads are looked for: nothing outside is written.
    pub(super) prefix: Key,
    /// What was open when the first object of this run travelled in parts.
    pub(super) open_uploads: OnceCell<OpenUploads>,
}

/// Bytes in memory (or gone by) and what was computed over them; MD5 only of bytes in memory, and only when somebody asks.
pub(super) struct InHand<'a> {
    chunks: Option<&'a [Bytes]>,
    pub(super) crc: Crc64,
    md5: Option<[u8; 16]>,
}

impl<'a> InHand<'a> {
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

impl Writer {
    pub(super) fn new(destination: &Location, no_md5: bool, context: &Context) -> Self {
        Self {
            destination: destination.storage.clone(),
            progress: context.progress.clone(),
            no_md5,
            journal: context.journal.clone(),
            clock: context.clock.clone(),
            prefix: destination.prefix.clone(),
            open_uploads: OnceCell::new(),
        }
    }

    /// Puts an object and holds what the destination states of it against what was sent. What was stored wrong is sent again a few times.
    pub(super) async fn put_proved(&self, task: &CopyTask, payload: Payload, put: Put, held: &mut InHand<'_>) -> Result<(PutOutput, Proof)> {
        let key = &task.destination_key;
        for tried in 1.. {
            let written = match self.destination.put(key, payload.clone(), put.clone()).await {
                Err(error) => self.landed(key, &error, &put.attributes).await.ok_or(error),
                written => written,
            };
            let (error, stored) = match written {
                Ok(output) => match self.prove_put(key, &output, &put.attributes, held).await {
                    Ok(proof) => return Ok((output, proof)),
                    Err(error) => (error, Some(output)),
                },
                Err(error) => (error, None),
            };
            if let Some(output) = &stored {
                self.suspect(task, output, held.crc).await?;
            }
            if error.kind() == ErrorKind::Integrity && tried < TRIES_MAX {
                count_retry(&self.progress, &error, "the object was damaged on its way to the destination, sending it again");
                // Where versions are kept the next write would not replace it, and it would stand in the history.
                if let Some(output) = stored.filter(|output| output.version.is_some()) {
                    self.try_withdraw(key, &output).await?;
                }
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

    /// Looks whether a PUT whose answer was lost was done all the same: what bears our stamp is held against what was sent.
    async fn landed(&self, key: &Key, error: &Error, sent: &Attributes) -> Option<PutOutput> {
        let stamp = Stamp::read(&sent.user).filter(|_| error.kind() == ErrorKind::Unavailable)?;
        let info = self.destination.head(&ObjectRef::from(key)).await.ok()?;
        let ours = Stamp::read(&info.attributes.user) == Some(stamp);
        ours.then(|| PutOutput { etag: info.etag, version: info.version, checksums: info.checksums, request_id: String::new() })
    }

    /// Notes, before anything else can happen, that what was committed is not known to be right: its stamp says otherwise.
    async fn suspect(&self, task: &CopyTask, written: &PutOutput, crc: Crc64) -> Result<()> {
        if !self.journal.keeps_proofs() {
            return Ok(());
        }
        let source = End { etag: task.etag.clone(), ..End::default() };
        let destination = End { etag: written.etag.clone(), version: written.version.clone(), ..End::default() };
        let sent = Proved::new(crc.len, (source, destination), &crc.checksums(), (Proof::None, Proof::None), self.clock.now());
        self.journal.prove(&task.key, Proved { suspect: true, ..sent }).await?;
        self.journal.flush().await
    }

    /// Proves a committed object: by the checksums in the answer, else by its ETag, else by what HEAD says.
    pub(super) async fn prove_put(&self, key: &Key, output: &PutOutput, sent: &Attributes, held: &mut InHand<'_>) -> Result<Proof> {
        if let Some(proof) = judge(&output.checksums, &held.crc, "sent", "the destination")? {
            return Ok(proof);
        }
        let md5 = !self.no_md5;
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

    /// Removes an object that was just written and is known to be wrong, so that no later run takes it for the copy it says it is.
    /// Only that version, or only where the object is still the one we wrote. Returns `error`, which says so if that failed too.
    pub(super) async fn withdraw(&self, key: &Key, written: &PutOutput, error: Error) -> Error {
        match self.try_withdraw(key, written).await {
            Ok(()) => error,
            Err(failed) => Error::integrity(format!("{}; the wrong object is still there, because removing it failed: {failed}", error.message()))
                .during("put")
                .on_key(key)
                .in_store(&self.destination)
                .advise("delete the object at the destination, then copy it again"),
        }
    }

    async fn try_withdraw(&self, key: &Key, written: &PutOutput) -> Result<()> {
        let object = ObjectRef { key: key.clone(), version: written.version.clone() };
        if written.version.is_none() {
            match self.destination.head(&object).await {
                Ok(info) if info.etag != written.etag => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                other => other.map(drop)?,
            }
        }
        let deleted: Vec<_> = self.destination.delete(stream::iter([object]).boxed()).collect().await;
        deleted.into_iter().try_for_each(|(_, outcome)| outcome.map(drop))
    }
}
