//! Renews what stands beside the bytes of a copy without sending them: the service copies the object onto itself.

use std::collections::BTreeMap;

use super::within::Original;
use super::{Copier, end_of};
use crate::error::{ErrorKind, Result};
use crate::storage::checksum::Agreement;
use crate::storage::class::Class;
use crate::storage::{Acl, ObjectInfo, ObjectRef, Service};
use crate::transfer::job::{AclChoice, EncryptionChoice};
use crate::transfer::plan::same_attributes;
use crate::transfer::stamp::known_checksums;
use crate::transfer::task::{Copied, CopyTask};

impl Copier {
    /// The class of a copy that charges for being changed now, unless the operator has agreed to that.
    pub(crate) fn charges(&self, there: &ObjectInfo) -> Option<&'static Class> {
        let class = self.class_of(there)?;
        (!self.options.touch_cold && class.charges_for_change(there.modified, self.context.clock.now())).then_some(class)
    }

    fn class_of(&self, there: &ObjectInfo) -> Option<&'static Class> {
        Class::find(self.writer.destination.capabilities().service, there.attributes.storage_class.as_deref().unwrap_or_default())
    }

    /// Whether a copy has what it would get of the source now. Class and encryption are left out: a rule or a bucket may have set them.
    pub(crate) async fn has_metadata_of(&self, task: &CopyTask, here: &ObjectInfo, there: &ObjectInfo) -> Result<bool> {
        let meant = self.carry_all(task, here, None).await?.attributes;
        let object = ObjectRef::from(&task.destination_key);
        let destination = &self.writer.destination;
        if !same_attributes(&meant, &there.attributes) {
            return Ok(false);
        }
        let Some(details) = destination.details() else { return Ok(true) };
        if let Some(tags) = &meant.tags {
            let held = if there.tags.is_some_and(|count| count > 0) || destination.capabilities().service != Service::Oss {
                details.tags(&object).await?
            } else {
                BTreeMap::new()
            };
            if held != *tags {
                return Ok(false);
            }
        }
        match &meant.acl {
            Some(acl) if self.options.acl == AclChoice::Keep => Ok(details.acl(&object).await? == Acl::Canned(acl.clone())),
            _ => Ok(true),
        }
    }

    /// Gives a copy what the source has by now. `None` where the bytes must be sent: nothing proves that they are the source's, or the
    /// service does not copy such an object onto itself.
    pub(crate) async fn renew(&self, task: &CopyTask, here: &ObjectInfo, there: &ObjectInfo) -> Result<Option<Copied>> {
        let destination = &self.writer.destination;
        let (known, stated) = (known_checksums(here), known_checksums(there));
        let Agreement::Equal(algorithm) = known.agreement(&stated) else { return Ok(None) };
        let mut carried = self.carry_all(task, here, None).await?;
        let attributes = &mut carried.attributes;
        let asked = Class::find(destination.capabilities().service, attributes.storage_class.as_deref().unwrap_or_default());
        if asked.zip(self.class_of(there)).is_none_or(|(asked, held)| asked.depth <= held.depth) {
            // Where a rule of the destination has moved it, it stays.
            attributes.storage_class.clone_from(&there.attributes.storage_class);
        }
        if self.options.encryption == EncryptionChoice::BucketDefault {
            attributes.encryption.clone_from(&there.attributes.encryption);
        }
        let (object, pin) = (ObjectRef::from(&task.destination_key), Some(&there.etag));
        let original = Original { store: destination, object, pin, info: there, stated: &stated };
        let made = match self.copy_by_service(task, &original, attributes).await {
            Ok(Some(made)) => made,
            Err(error) if error.kind() != ErrorKind::Changed => return Err(error),
            _ => return Ok(None),
        };
        let mut checksums = made.checksums;
        checksums.merge(&known);
        Ok(Some(Copied {
            size: task.size,
            source_proof: algorithm.into(),
            destination_proof: algorithm.into(),
            checksums,
            etag: made.output.etag,
            version: made.output.version,
            source: end_of(here),
            changes: carried.changes,
            ..Copied::default()
        }))
    }
}
