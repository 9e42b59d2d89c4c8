//! An object larger than memory, to a destination without parts: its bytes pass through in one request.

use super::passing::passing;
use super::read::Reader;
use super::write::InHand;
use super::{Copier, Setback, copied};
use crate::error::{Error, ErrorKind};
use crate::storage::{Attributes, Put, PutOutput};
use crate::transfer::parts::STREAM_WINDOW_BYTES;
use crate::transfer::task::{Copied, CopyTask, Proof};

impl Copier {
    /// The last piece is sent only when all bytes are proved to be the source's, so that what is wrong never becomes an object.
    pub(super) async fn copy_through(&self, task: &CopyTask, reader: &Reader) -> Result<Copied, Setback> {
        let info = reader.look().await?;
        let reader = &Reader { etag: info.etag.clone(), ..reader.clone() };
        let (witness, cuts) = reader.witness(&info, self.options.no_md5).await?;
        let carried = self.carry_all(task, &info, None).await?;
        let _reserved = self.budget.reserve(STREAM_WINDOW_BYTES).await?;
        let judge = witness.clone();
        let (payload, seen) = passing(reader.clone(), None, witness.digester(&cuts), move |crc, digester| judge.judge(crc, digester.cloned()).map(drop));
        let put = Put { attributes: carried.attributes, checksums: None, condition: None };
        let sent = put.attributes.clone();
        let output = match self.writer.destination.put(&task.destination_key, payload, put).await {
            Ok(output) => output,
            Err(error) => return Err(start_over(seen.failure().unwrap_or(error))),
        };
        let (crc, digester) = seen.taken()?;
        let source_proof = witness.judge(&crc, digester)?;
        let destination_proof = self.prove_passed(task, &output, &sent, &mut InHand::gone(crc)).await?;
        Ok(copied(&info, crc, output, (source_proof, destination_proof), carried.changes))
    }

    async fn prove_passed(&self, task: &CopyTask, output: &PutOutput, sent: &Attributes, held: &mut InHand<'_>) -> Result<Proof, Setback> {
        match self.writer.prove_put(&task.destination_key, output, sent, held).await {
            Err(error) if error.kind() == ErrorKind::Integrity => Err(Setback::StartOver(self.writer.withdraw(&task.destination_key, output, error).await)),
            other => Ok(other?),
        }
    }
}

fn start_over(error: Error) -> Setback {
    if error.kind() == ErrorKind::Integrity { Setback::StartOver(error) } else { error.into() }
}
