//! Copies within one service, and takes back what is known to be wrong.

use futures::stream::{self, StreamExt};

use super::{Copier, Setback};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Agreement;
use crate::storage::{Key, ObjectRef, PutOutput};
use crate::transfer::stamp::known_checksums;
use crate::transfer::task::{Copied, CopyTask};

impl Copier {
    /// Lets the service copy, where both ends are one account's and both state a checksum of the whole. `None` where the bytes must pass through here.
    pub(super) async fn copy_within(&self, task: &CopyTask) -> Result<Option<Copied>, Setback> {
        let from = self.source.identity();
        let Some(server) = self.destination.server_copy().filter(|s| s.can_copy_from(from) && task.size <= s.copy_bytes_max()) else { return Ok(None) };
        let info = self.look(task).await?;
        let stated = known_checksums(&info);
        if stated.is_empty() {
            return Ok(None);
        }
        let carried = self.carry(&info, None)?;
        let pin = Some(&task.etag).filter(|e| !e.is_empty());
        let output = match server.copy(&from.bucket, &ObjectRef::from(&task.source_key), pin, &task.destination_key, &carried.attributes).await {
            Ok(output) => output,
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => {
                tracing::info!(%error, key = %task.source_key, "the service does not copy by itself, the bytes pass through here");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let made = ObjectRef { key: task.destination_key.clone(), version: output.version.clone() };
        let mut checksums = output.checksums.clone();
        if stated.agreement(&checksums) == Agreement::Unknown {
            checksums = known_checksums(&self.destination.head(&made).await?);
        }
        match stated.agreement(&checksums) {
            Agreement::Equal(algorithm) => Ok(Some(Copied {
                size: task.size,
                source_proof: algorithm.into(),
                destination_proof: algorithm.into(),
                checksums,
                etag: output.etag,
                version: output.version,
                warnings: carried.warnings,
                ..Copied::default()
            })),
            Agreement::Different(algorithm) => {
                let error = Error::integrity(format!("the service copied the object, and its {algorithm} differs from the source's"));
                self.count_retry(&error, "a copy within the service went wrong, sending the bytes over it");
                Ok(None)
            }
            Agreement::Unknown => Ok(None),
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
