//! Copies one object, proving it on the way.

use std::sync::Arc;

use super::job::{Context, Options};
use super::task::{Copied, CopyTask, Proof};
use crate::error::{Error, Result};
use crate::storage::checksum::{Agreement, Crc64};
use crate::storage::{Get, ObjectRef, Payload, Put, Storage};

/// Copies objects from one store to another. Shared by all copies of a run; safe to drop at any await.
pub(crate) struct Copier {
    source: Arc<dyn Storage>,
    destination: Arc<dyn Storage>,
    context: Context,
}

impl Copier {
    /// A copier between two stores.
    pub(crate) fn new(source: Arc<dyn Storage>, destination: Arc<dyn Storage>, _options: &Options, context: &Context) -> Self {
        Self { source, destination, context: context.clone() }
    }

    /// Copies one object. Counts the bytes in the context's progress as they are acknowledged.
    pub(crate) async fn copy(&self, task: &CopyTask) -> Result<Copied> {
        let moving = self.context.progress.enter(task.source_key.clone(), task.size);
        let if_match = Some(task.etag.clone()).filter(|e| !e.is_empty());
        let got = self.source.get(&ObjectRef::from(&task.source_key), Get { range: None, if_match }).await?;
        let info = got.info.clone();
        let mut body = got.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = futures::StreamExt::next(&mut body).await {
            bytes.extend_from_slice(&chunk?);
        }
        let mut checksums = Crc64::of(&bytes).checksums();
        let source_proof = match checksums.agreement(&info.checksums) {
            Agreement::Different(a) => return Err(Error::integrity(format!("the bytes read do not match the source's {a}")).on_key(&task.source_key)),
            Agreement::Equal(a) => a.into(),
            Agreement::Unknown => Proof::None,
        };
        let put = Put { attributes: info.attributes, checksums: Some(checksums.clone()), condition: None };
        let size = bytes.len() as u64;
        let out = self.destination.put(&task.destination_key, Payload::from(bytes), put).await?;
        let destination_proof = match checksums.agreement(&out.checksums) {
            Agreement::Different(a) => return Err(Error::integrity(format!("the bytes stored do not match our {a}")).on_key(&task.destination_key)),
            Agreement::Equal(a) => a.into(),
            Agreement::Unknown => Proof::None,
        };
        moving.add(size);
        checksums.merge(&out.checksums);
        Ok(Copied { size, source_proof, destination_proof, checksums, etag: out.etag, version: out.version, ..Copied::default() })
    }
}
