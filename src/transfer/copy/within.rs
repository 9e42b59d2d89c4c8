//! Copies within one service: the bytes do not pass through here.

use super::read::Reader;
use super::{Copier, Setback, count_retry, end_of};
use crate::error::{Error, ErrorKind};
use crate::storage::checksum::Agreement;
use crate::storage::{ObjectInfo, ObjectRef};
use crate::transfer::stamp::known_checksums;
use crate::transfer::task::{Copied, CopyTask};

impl Copier {
    /// Lets the service copy, where both ends are one account's and both state a checksum of the whole. `None` where the bytes must pass through here.
    pub(super) async fn copy_within(&self, task: &CopyTask, reader: &Reader) -> Result<Option<Copied>, Setback> {
        let from = self.source.identity();
        let Some(server) = self.writer.destination.server_copy().filter(|s| s.can_copy_from(from) && task.size <= s.copy_bytes_max()) else { return Ok(None) };
        let info = reader.look().await?;
        let stated = known_checksums(&info);
        if stated.is_empty() {
            return Ok(None);
        }
        // The service copies tags by itself.
        let carried = self.carry(&ObjectInfo { tags: None, ..info.clone() }, None)?;
        let carried = self.with_acl(task, carried).await?;
        let pin = Some(&task.etag).filter(|e| !e.is_empty());
        let stream = self.streams.open().await?;
        let output = match server.copy(&from.bucket, &task.source(), pin, &task.destination_key, &carried.attributes).await {
            Ok(output) => output,
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => {
                tracing::info!(%error, key = %task.source_key, "the service does not copy by itself, the bytes pass through here");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        stream.done(0);
        let made = ObjectRef { key: task.destination_key.clone(), version: output.version.clone() };
        let mut checksums = output.checksums.clone();
        if stated.agreement(&checksums) == Agreement::Unknown {
            checksums = known_checksums(&self.writer.destination.head(&made).await?);
        }
        match stated.agreement(&checksums) {
            Agreement::Equal(algorithm) => Ok(Some(Copied {
                size: task.size,
                source_proof: algorithm.into(),
                destination_proof: algorithm.into(),
                checksums,
                etag: output.etag,
                version: output.version,
                source: end_of(&info),
                changes: carried.changes,
                ..Copied::default()
            })),
            Agreement::Different(algorithm) => {
                let error = Error::integrity(format!("the service copied the object, and its {algorithm} differs from the source's"));
                count_retry(&self.context.progress, &error, "a copy within the service went wrong, sending the bytes over it");
                Ok(None)
            }
            Agreement::Unknown => Ok(None),
        }
    }
}
