//! An object larger than memory, to a destination without parts: its bytes pass through in one request.

use super::part::passing;
use super::read::Reader;
use super::whole::Held;
use super::{Copier, Setback};
use crate::error::ErrorKind;
use crate::storage::{Put, PutOutput};
use crate::transfer::parts::STREAM_WINDOW_BYTES;
use crate::transfer::prove::Witness;
use crate::transfer::task::{Copied, CopyTask, Proof};

impl Copier {
    /// The last piece is sent only when all bytes are proved to be the source's, so that what is wrong never becomes an object.
    pub(super) async fn copy_through(&self, task: &CopyTask, reader: &Reader) -> Result<Copied, Setback> {
        let info = self.look(task).await?;
        let reader = &Reader { etag: info.etag.clone(), ..reader.clone() };
        let mut witness = self.witness(&info);
        let cuts = self.source_cuts(reader, &witness).await?.unwrap_or_else(|| {
            witness = Witness::None;
            [].into()
        });
        let carried = self.carry(&info, None)?;
        let _reserved = self.budget.reserve(STREAM_WINDOW_BYTES).await?;
        let judge = witness.clone();
        let (payload, seen) = passing(reader.clone(), None, witness.digester(&cuts), move |crc, digester| judge.judge(crc, digester.cloned()).map(drop));
        let put = Put { attributes: carried.attributes, checksums: None, condition: None };
        let sent = put.attributes.clone();
        let output = match self.destination.put(&task.destination_key, payload, put).await {
            Ok(output) => output,
            Err(error) => return Err(start_over(seen.failure().unwrap_or(error))),
        };
        let (crc, digester) = seen.taken()?;
        let source_proof = witness.judge(&crc, digester)?;
        let destination_proof = self.prove_passed(task, &output, &sent, &mut Held::gone(crc)).await?;
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

    async fn prove_passed(&self, task: &CopyTask, output: &PutOutput, sent: &crate::storage::Attributes, held: &mut Held<'_>) -> Result<Proof, Setback> {
        match self.prove_put(&task.destination_key, output, sent, held).await {
            Err(error) if error.kind() == ErrorKind::Integrity => Err(Setback::StartOver(self.withdraw(&task.destination_key, output, error).await)),
            other => Ok(other?),
        }
    }
}

fn start_over(error: crate::error::Error) -> Setback {
    if error.kind() == ErrorKind::Integrity { Setback::StartOver(error) } else { error.into() }
}
