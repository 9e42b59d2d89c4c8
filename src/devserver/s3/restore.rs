//! RestoreObject: what lies in an archive can be read some time after it was asked for (protocol.md section 4).

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use s3s::dto::{RestoreObjectInput, RestoreObjectOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::read::FROZEN_CLASSES;
use super::{Bridge, Status};
use crate::devserver::store::Restore;

impl Bridge {
    /// 202 the first time, 200 where the copy is there (its days count anew), 409 in between.
    pub(super) fn restore(&self, req: &S3Request<RestoreObjectInput>) -> S3Result<S3Response<RestoreObjectOutput>> {
        let RestoreObjectInput { bucket, key, version_id, restore_request, .. } = &req.input;
        let asked = restore_request.as_ref().ok_or_else(|| s3_error!(MalformedXML, "a RestoreRequest is missing"))?;
        let days = asked.days.filter(|days| *days >= 1).ok_or_else(|| s3_error!(MalformedXML, "Days must be at least 1"))?;
        let tier = asked
            .glacier_job_parameters
            .as_ref()
            .map(|parameters| parameters.tier.as_str().to_owned())
            .or_else(|| asked.tier.as_ref().map(|tier| tier.as_str().to_owned()));
        let now = self.store.now();
        let object = self.readable(bucket, key, version_id.as_deref())?;
        let class = object.attributes.storage_class.as_deref().unwrap_or("STANDARD");
        if !FROZEN_CLASSES.contains(&class) {
            return Err(s3_error!(InvalidObjectState, "Restore is not allowed for the object's current storage class"));
        }
        if class == "DEEP_ARCHIVE" && tier.as_deref() == Some("Expedited") {
            return Err(s3_error!(InvalidArgument, "Retrieval option is not supported by this storage class"));
        }
        let (ready, status) = match &object.attributes.restore {
            Some(restore) if now < restore.ready => return Err(s3_error!(RestoreAlreadyInProgress, "Object restore is already in progress")),
            Some(restore) if now < restore.expiry => (restore.ready, StatusCode::OK),
            _ => {
                let delay = SignedDuration::try_from(self.restore_delay).unwrap_or(SignedDuration::MAX);
                (now.saturating_add(delay).unwrap_or(Timestamp::MAX), StatusCode::ACCEPTED)
            }
        };
        let expiry = ready.max(now).saturating_add(self.store.calendar().days(i64::from(days))).unwrap_or(Timestamp::MAX);
        self.amend(bucket, key, version_id.as_deref(), |attributes| attributes.restore = Some(Restore { ready, expiry }))?;
        let mut response = S3Response::new(RestoreObjectOutput::default());
        response.extensions.insert(Status(status));
        Ok(response)
    }
}
