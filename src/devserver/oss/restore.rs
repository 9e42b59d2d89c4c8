//! Archive classes: what cannot be read until it is restored (protocol.md 4).

use http::{HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};

use super::attributes::value_of;
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::operation::Target;
use super::read::class_of;
use super::reply::Reply;
use super::request::Head;
use super::xml::Element;
use super::{OssDialect, http_date, versions, write};
use crate::devserver::store::{Object, Restore};

/// Where a restored copy of an archived object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Frozen,
    Ongoing,
    Ready,
}

fn is_archived(object: &Object) -> bool {
    matches!(class_of(object), "Archive" | "ColdArchive" | "DeepColdArchive")
}

fn phase(object: &Object, now: Timestamp) -> Phase {
    match &object.attributes.restore {
        Some(restore) if now < restore.ready => Phase::Ongoing,
        Some(restore) if now < restore.expiry => Phase::Ready,
        _ => Phase::Frozen,
    }
}

/// `x-oss-restore` and `RestoreInfo`; `None` where nothing was asked for, or the copy has expired.
pub(super) fn state(object: &Object, now: Timestamp) -> Option<String> {
    match (phase(object, now), &object.attributes.restore) {
        (Phase::Ongoing, _) => Some("ongoing-request=\"true\"".to_owned()),
        (Phase::Ready, Some(restore)) => Some(format!("ongoing-request=\"false\", expiry-date=\"{}\"", http_date(restore.expiry))),
        _ => None,
    }
}

/// Refuses to read an archived object that is not restored.
pub(super) fn check_readable(object: &Object, now: Timestamp) -> OssResult<()> {
    if is_archived(object) && phase(object, now) != Phase::Ready {
        let message = "The operation is not valid for the object's state.";
        return Err(OssError::new(403, "InvalidObjectState", message).ec("0016-00000404").detail("StorageClass", class_of(object)));
    }
    Ok(())
}

impl OssDialect {
    /// RestoreObject: 202 the first time, 200 where the copy is there (its days count anew), 409 in between.
    pub(super) async fn restore_object(&self, target: &Target, head: &Head, body: Body) -> OssResult<Reply> {
        let (days, tier) = read_request(&intake::document(head, body).await?)?;
        let now = self.store.now();
        let delay = SignedDuration::try_from(self.restore_delay).unwrap_or(SignedDuration::MAX);
        let mut status = StatusCode::ACCEPTED;
        let object = self.store.amend(&target.bucket, &target.key, versions::named(head)?, |object| {
            if !is_archived(object) {
                return Err(
                    OssError::new(400, "OperationNotSupported", "The operation is not supported for this resource.").detail("Resource", class_of(object))
                );
            }
            check_days(class_of(object), days)?;
            if class_of(object) == "Archive" && tier.is_some() {
                return Err(OssError::malformed_xml());
            }
            let ready = match phase(object, now) {
                Phase::Ongoing => return Err(OssError::new(409, "RestoreAlreadyInProgress", "The restore operation is in progress.")),
                Phase::Ready => {
                    status = StatusCode::OK;
                    object.attributes.restore.as_ref().map_or(now, |restore| restore.ready)
                }
                Phase::Frozen => now.saturating_add(delay).unwrap_or(Timestamp::MAX),
            };
            let expiry = ready.max(now).saturating_add(self.store.calendar().days(days)).unwrap_or(Timestamp::MAX);
            Ok(write::changed(object, |attributes| attributes.restore = Some(Restore { ready, expiry })))
        })?;
        let reply = Reply::empty(status).of_version(object.version_id.as_deref())?;
        Ok(match tier {
            Some(tier) => reply.with("x-oss-object-restore-priority", value_of(&tier)?),
            None => reply.with("x-oss-object-restore-priority", HeaderValue::from_static("Standard")),
        })
    }

    /// CleanRestoredObject: the copy is gone at once.
    pub(super) fn clean_restored(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let now = self.store.now();
        self.store.amend(&target.bucket, &target.key, versions::named(head)?, |object| {
            if phase(object, now) != Phase::Ready {
                return Err(OssError::new(409, "ArchiveRestoreFileStale", "The object is not restored."));
            }
            Ok(write::changed(object, |attributes| attributes.restore = None))
        })?;
        Ok(Reply::ok())
    }
}

/// `Days` and `Tier` of a `RestoreRequest`, which may be missing: one day then.
fn read_request(document: &[u8]) -> OssResult<(i64, Option<String>)> {
    if document.is_empty() {
        return Ok((1, None));
    }
    let root = Element::parse(document, "RestoreRequest")?;
    let days = root.value("Days").map_or(Some(1), |text| text.parse().ok()).ok_or_else(OssError::malformed_xml)?;
    match root.child("JobParameters").and_then(|parameters| parameters.value("Tier")) {
        None => Ok((days, None)),
        Some(tier @ ("Expedited" | "Standard" | "Bulk")) => Ok((days, Some(tier.to_owned()))),
        Some(tier) => Err(OssError::bad_value("Tier", tier, "The tier must be Expedited, Standard or Bulk.")),
    }
}

/// Archive 1 to 7 days, the colder classes 1 to 365.
fn check_days(class: &str, days: i64) -> OssResult<()> {
    let days_max = if class == "Archive" { 7 } else { 365 };
    if (1..=days_max).contains(&days) {
        return Ok(());
    }
    Err(OssError::bad_value("Days", days.to_string(), format!("Days must be between 1 and {days_max} for {class}.")))
}
