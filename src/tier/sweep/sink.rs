//! Moves one object into a colder class.

use jiff::{SignedDuration, Timestamp};

use super::{Spared, Standing, Sweep};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Agreement;
use crate::storage::class::{Class, Reading};
use crate::storage::{Acl, Kind, ObjectInfo, ObjectRef};
use crate::tier::rule::By;
use crate::transfer::Context;
use crate::transfer::stamp::known_checksums;
use crate::transfer::task::Listed;

impl Sweep {
    /// Moves one object into a colder class: the service copies it onto itself.
    pub(super) async fn sink(&self, listed: &Listed, class: &str, now: Timestamp, context: &Context) -> Result<Standing> {
        let storage = &self.place.storage;
        let (service, own) = (storage.capabilities().service, storage.identity());
        let (Some(held), Some(wanted)) = (Class::find(service, &listed.storage_class), Class::find(service, class)) else {
            return Ok(Standing::Spared(Spared::Unprovable));
        };
        let server = storage.server_copy().filter(|server| server.can_copy_from(own));
        let spared = match () {
            // The cloud asks nobody: it moves what is archived, and charges what there is to charge.
            () if self.by == By::Cloud => None,
            () if held.reading == Reading::AfterRestore => Some(Spared::Archived),
            () if wanted.is_dear_for(listed.size) => Some(Spared::Small),
            () if !self.touch_cold && held.charges_for_change(listed.modified, now) => Some(Spared::MinimumDuration),
            () if listed.kind == Kind::Appendable => Some(Spared::Appendable),
            () if server.is_none_or(|server| listed.size > server.copy_bytes_max()) => Some(Spared::Large),
            () => None,
        };
        if let Some(why) = spared {
            return Ok(Standing::Spared(why));
        }
        if self.dry_run || context.cancel.is_cancelled() {
            return Ok(Standing::Planned);
        }
        let Some(server) = server else { return Ok(Standing::Spared(Spared::Large)) };
        let object = ObjectRef::from(&self.place.key(listed.key.as_bytes()));
        let Some(info) = self.unchanged(listed, &object).await? else { return Ok(Standing::Spared(Spared::Changed)) };
        let stated = known_checksums(&info);
        if stated.is_empty() {
            return Ok(Standing::Spared(Spared::Unprovable));
        }
        let mut attributes = info.attributes.clone();
        attributes.storage_class = Some(wanted.word.to_owned());
        attributes.acl = match storage.details() {
            Some(details) => match details.acl(&object).await? {
                // What a copy gets by itself is not asked for: a bucket may take no ACLs at all.
                Acl::Bucket => None,
                Acl::Canned(acl) => Some(acl).filter(|acl| acl != "private"),
                Acl::Grants => return Ok(Standing::Spared(Spared::Grants)),
            },
            None => None,
        };
        match server.copy(&own.bucket, &object, Some(&info.etag), &object.key, &attributes).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Changed => return Ok(Standing::Spared(Spared::Changed)),
            Err(error) => return Err(error),
        }
        let made = storage.head(&object).await?;
        if made.size != info.size || !matches!(stated.agreement(&known_checksums(&made)), Agreement::Equal(_)) {
            let message = "the service moved it to another class, and nothing proves that its bytes are what they were";
            return Err(Error::integrity(message).on_key(&object.key).in_store(storage).advise("compare it with the other end: `dragon verify --deep`"));
        }
        Ok(Standing::Done)
    }

    /// What the service knows of an object, if it still is what was listed.
    pub(super) async fn unchanged(&self, listed: &Listed, object: &ObjectRef) -> Result<Option<ObjectInfo>> {
        match self.place.storage.head(object).await {
            Ok(info) if info.size == listed.size && info.etag == listed.etag && is_same_second(info.modified, listed.modified) => Ok(Some(info)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// HEAD tells whole seconds on both clouds, a listing perhaps more.
fn is_same_second(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.duration_since(b).abs() < SignedDuration::from_secs(1),
        _ => true,
    }
}
