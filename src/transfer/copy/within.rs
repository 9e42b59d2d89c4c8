//! Copies within one service: the bytes do not pass through here.

use std::sync::Arc;

use super::read::Reader;
use super::{Copier, Setback, count_retry, end_of};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Event;
use crate::storage::checksum::{Agreement, Algorithm};
use crate::storage::{Attributes, Checksums, ETag, Identity, Kind, ObjectInfo, ObjectRef, PutOutput, ServerCopy, Storage};
use crate::transfer::stamp::known_checksums;
use crate::transfer::task::{Copied, CopyTask};

/// What the service is to copy.
pub(super) struct Original<'a> {
    pub(super) store: &'a Arc<dyn Storage>,
    pub(super) object: ObjectRef,
    /// The copy is made of this one or of none.
    pub(super) pin: Option<&'a ETag>,
    pub(super) info: &'a ObjectInfo,
    /// What is known of its bytes: what the copy is held against.
    pub(super) stated: &'a Checksums,
}

impl Original<'_> {
    /// The bucket that holds it.
    pub(super) fn bucket(&self) -> &str {
        &self.store.identity().bucket
    }
}

/// What the service made, and what proves it.
pub(super) struct Made {
    pub(super) output: PutOutput,
    pub(super) checksums: Checksums,
    pub(super) algorithm: Algorithm,
}

impl Copier {
    /// Lets the service copy, where both ends are one account's and both state a checksum of the whole. `None` where the bytes must pass through here.
    pub(super) async fn copy_within(&self, task: &CopyTask, reader: &Reader) -> Result<Option<Copied>, Setback> {
        if self.copies_from(self.source.identity()).is_none() {
            return Ok(None);
        }
        let info = reader.look().await?;
        let stated = known_checksums(&info);
        // The service would copy a link as such, and refuses to copy ranges of one (EC 0042-00000308).
        if info.kind == Kind::Symlink || stated.agreement(&stated) == Agreement::Unknown {
            return Ok(None);
        }
        // The service copies tags by itself.
        let carried = self.carry(&ObjectInfo { tags: None, ..info.clone() }, None)?;
        let carried = self.with_acl(task, carried).await?;
        let pin = Some(&task.etag).filter(|e| !e.is_empty());
        let original = Original { store: &self.source, object: task.source(), pin, info: &info, stated: &stated };
        let made = self.copy_by_service(task, &original, &carried.attributes).await?;
        Ok(made.map(|made| Copied {
            size: task.size,
            source_proof: made.algorithm.into(),
            destination_proof: made.algorithm.into(),
            checksums: made.checksums,
            etag: made.output.etag,
            version: made.output.version,
            source: end_of(&info),
            changes: carried.changes,
            ..Copied::default()
        }))
    }

    /// The destination's own copying, where it reaches that store.
    fn copies_from(&self, from: &Identity) -> Option<&dyn ServerCopy> {
        self.writer.destination.server_copy().filter(|server| server.can_copy_from(from))
    }

    /// Has the service copy an object, in parts where it is over one request's limit, and proves what it made. `None` where the service
    /// does not do it, or where nothing proves that it did: the bytes are sent then.
    pub(super) async fn copy_by_service(&self, task: &CopyTask, original: &Original<'_>, attributes: &Attributes) -> Result<Option<Made>> {
        let Some(server) = self.copies_from(original.store.identity()) else { return Ok(None) };
        let made = if original.info.size <= server.copy_bytes_max() {
            let stream = self.streams.open().await?;
            let made = server.copy(original.bucket(), &original.object, original.pin, &task.destination_key, attributes).await;
            stream.done(0);
            made.map(|output| (output, None))
        } else {
            self.copy_ranges(task, server, original, attributes).await.map(|(output, flight)| (output, Some(flight)))
        };
        let (output, flight) = match made {
            Ok(made) => made,
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => {
                tracing::info!(%error, key = %task.key, "the service does not copy it by itself, the bytes pass through here");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let proved = self.prove_made(task, original, output).await;
        if let Some(flight) = flight {
            // Proved or not, no upload is left.
            let event = if matches!(proved, Ok(Some(_))) { Event::Proved } else { Event::Failed };
            self.writer.journal.advance(flight, event).await?;
        }
        proved
    }

    /// Holds what the service states of its copy against what is known of the original.
    async fn prove_made(&self, task: &CopyTask, original: &Original<'_>, output: PutOutput) -> Result<Option<Made>> {
        let mut checksums = output.checksums.clone();
        if original.stated.agreement(&checksums) == Agreement::Unknown {
            let made = ObjectRef { key: task.destination_key.clone(), version: output.version.clone() };
            checksums = known_checksums(&self.writer.destination.head(&made).await?);
        }
        Ok(match original.stated.agreement(&checksums) {
            Agreement::Equal(algorithm) => Some(Made { output, checksums, algorithm }),
            Agreement::Different(algorithm) => {
                let error = Error::integrity(format!("the service copied the object, and its {algorithm} differs from the original's"));
                count_retry(&self.context.progress, &error, "a copy within the service went wrong, sending the bytes over it");
                None
            }
            Agreement::Unknown => None,
        })
    }
}
