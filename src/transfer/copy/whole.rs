//! An object that is whole in memory: one GET, one PUT, nothing else where both stores state checksums.

use super::read::{Read, Reader};
use super::write::InHand;
use super::{Copier, Setback, copied};
use crate::storage::{Payload, Put};
use crate::transfer::task::{Copied, CopyTask, Proof};

impl Copier {
    pub(super) async fn copy_whole(&self, task: &CopyTask, reader: &Reader) -> Result<Copied, Setback> {
        let _reserved = self.budget.reserve(task.size).await?;
        let read = reader.read(None).await?;
        let source_proof = self.prove_source(reader, &read).await?;
        let carried = self.carry_all(task, &read.info, Some(&read.crc)).await?;
        let put = Put { attributes: carried.attributes, checksums: Some(read.crc.checksums()), condition: None };
        let payload = Payload::from_chunks(read.chunks.clone());
        let mut held = InHand::new(&read.chunks, read.crc);
        let (output, destination_proof) = self.writer.put_proved(task, payload, put, &mut held).await?;
        Ok(copied(&read.info, read.crc, output, (source_proof, destination_proof), carried.changes))
    }

    /// Holds what was read against what the source states of it.
    async fn prove_source(&self, reader: &Reader, read: &Read) -> Result<Proof, Setback> {
        let (witness, cuts) = reader.witness(&read.info, self.options.no_md5).await?;
        let mut digester = witness.digester(&cuts);
        if let Some(digester) = &mut digester {
            digester.absorb(&read.chunks).await;
        }
        witness.judge(&read.crc, digester).map_err(Setback::StartOver)
    }
}
