//! Deletes what rules have no more use for: last, looked at once more, and told.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{AT_ONCE, Due, Spared, Standing, Step, Sweep, Swept, What};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Proved;
use crate::storage::checksum::Proof;
use crate::storage::class::Class;
use crate::storage::{Key, ObjectRef};
use crate::tier::rule::By;
use crate::transfer::Context;
use crate::transfer::spill::Reader;
use crate::transfer::task::Listed;

/// Deletes that are looked at again, and then made, together.
const BATCH: usize = 500;

impl Sweep {
    pub(super) async fn delete(
        &self,
        mut candidates: Reader,
        rule: usize,
        now: Timestamp,
        context: &Context,
        swept: &mut Swept,
        told: &mpsc::Sender<Step>,
    ) -> Result<()> {
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(listed) = candidates.next().await?
            {
                batch.push(listed);
            }
            if batch.is_empty() {
                return Ok(());
            }
            if context.cancel.is_cancelled() {
                swept.interrupted = true;
                return Ok(());
            }
            let looked = stream::iter(batch).map(|listed| async move {
                let standing = self.may_go(&listed, now).await;
                (listed, standing)
            });
            let mut looked = looked.buffered(AT_ONCE);
            let mut going: BTreeMap<Key, Listed> = BTreeMap::new();
            while let Some((listed, standing)) = looked.next().await {
                let standing = match standing {
                    Ok(None) => {
                        going.insert(self.place.key(listed.key.as_bytes()), listed);
                        continue;
                    }
                    Ok(Some(standing)) => standing,
                    Err(error) => Standing::Failed(error),
                };
                let step = self.step(&listed, Due { rule, what: What::Delete }, standing);
                swept.note(step, told).await;
            }
            drop(looked);
            let objects: Vec<ObjectRef> = going.keys().map(ObjectRef::from).collect();
            let mut answers = self.place.storage.delete(stream::iter(objects).boxed());
            while let Some((object, answer)) = answers.next().await {
                let Some(listed) = going.remove(&object.key) else { continue };
                let (standing, version) = match answer {
                    Ok(deleted) => {
                        context.journal.deleted(&listed.key, deleted.version.as_deref()).await?;
                        (Standing::Done, deleted.version)
                    }
                    Err(error) => (Standing::Failed(error.during("delete").on_key(&object.key).in_store(&self.place.storage)), None),
                };
                let step = Step { version, ..self.step(&listed, Due { rule, what: What::Delete }, standing) };
                swept.note(step, told).await;
            }
            for (key, listed) in going {
                let error =
                    Error::new(ErrorKind::Unexpected, "the store gave no answer to the delete").during("delete").on_key(key).in_store(&self.place.storage);
                let step = self.step(&listed, Due { rule, what: What::Delete }, Standing::Failed(error));
                swept.note(step, told).await;
            }
        }
    }

    /// Whether an object may be deleted now: `None` is yes.
    async fn may_go(&self, listed: &Listed, now: Timestamp) -> Result<Option<Standing>> {
        let storage = &self.place.storage;
        let held = Class::find(storage.capabilities().service, &listed.storage_class);
        if self.by == By::Cloud {
            return Ok(Some(Standing::Planned));
        }
        if !self.touch_cold && held.is_some_and(|held| held.charges_for_change(listed.modified, now)) {
            return Ok(Some(Standing::Spared(Spared::MinimumDuration)));
        }
        if self.only_copied {
            let proved = match &self.proofs {
                Some(proofs) => proofs.proof(&listed.key).await?,
                None => None,
            };
            let is_copied = |proved: &Proved| {
                proved.source.etag == listed.etag && proved.size == listed.size && !proved.suspect && !matches!(proved.verified(), Proof::None | Proof::Size)
            };
            if !proved.as_ref().is_some_and(is_copied) {
                return Ok(Some(Standing::Spared(Spared::NotCopied)));
            }
        }
        if let Some(source) = &self.source {
            match source.storage.head(&ObjectRef::from(&source.key(listed.key.as_bytes()))).await {
                Ok(_) => return Ok(Some(Standing::Spared(Spared::AtSource))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if self.dry_run {
            return Ok(Some(Standing::Planned));
        }
        let object = ObjectRef::from(&self.place.key(listed.key.as_bytes()));
        Ok(match self.unchanged(listed, &object).await? {
            None => Some(Standing::Spared(Spared::Changed)),
            Some(info) if info.lock.is_some() => Some(Standing::Spared(Spared::Locked)),
            Some(_) => None,
        })
    }
}
