//! Versioning: a bucket's state, and the list of its versions.

use s3s::dto::{
    self, CommonPrefix, GetBucketVersioningInput, GetBucketVersioningOutput, ListObjectVersionsInput, ListObjectVersionsOutput, PutBucketVersioningInput,
    PutBucketVersioningOutput,
};
use s3s::{S3Request, S3Response, S3Result};

use super::error::named;
use super::list::{Names, limit};
use super::{Bridge, checksum, int, owner, stamp};
use crate::devserver::store::{ENABLED, ListQuery, Object, SUSPENDED, Stored, VERSIONING, Version, VersionEntry, VersionPage};

/// The id of a version as it stands in an answer: only where versioning was ever set.
pub(super) fn told(stored: &Stored) -> Option<String> {
    stored.version_id.as_deref().map(str::to_owned)
}

impl Bridge {
    pub(super) fn get_versioning(&self, req: &S3Request<GetBucketVersioningInput>) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let status = self.store.bucket(&req.input.bucket)?.versioning().map(|status| status.to_owned().into());
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() }))
    }

    pub(super) fn put_versioning(&self, req: &S3Request<PutBucketVersioningInput>) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let status = match req.input.versioning_configuration.status.as_ref().map(|status| status.as_str()) {
            Some(ENABLED) => ENABLED,
            Some(SUSPENDED) => SUSPENDED,
            _ => {
                let message = "The Versioning element must be specified";
                return Err(named(http::StatusCode::BAD_REQUEST, "IllegalVersioningConfigurationException", message));
            }
        };
        self.store.set_bucket_property(&req.input.bucket, VERSIONING, Some(status.to_owned()))?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    pub(super) fn list_versions(&self, req: &S3Request<ListObjectVersionsInput>) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = &req.input;
        let (names, max) = (Names::new(input.encoding_type.as_ref())?, limit(input.max_keys)?);
        let (key_marker, version_marker) = (input.key_marker.as_deref().unwrap_or(""), input.version_id_marker.as_deref().unwrap_or(""));
        let prefix = input.prefix.as_deref().unwrap_or("");
        let delimiter = input.delimiter.as_deref().unwrap_or("");
        let query = ListQuery { prefix, after: key_marker, delimiter, limit: usize::try_from(max).unwrap_or(0) };
        let page = match max {
            // A page of none is never truncated.
            0 => self.store.bucket(&input.bucket).map(|_| VersionPage::default())?,
            _ => self.store.list_versions(&input.bucket, &query, version_marker)?,
        };
        let next = page.last().filter(|_| page.truncated);
        let mut output = ListObjectVersionsOutput {
            name: Some(input.bucket.clone()),
            prefix: Some(names.show(prefix)),
            key_marker: Some(names.show(key_marker)),
            version_id_marker: input.version_id_marker.clone(),
            delimiter: names.echo(input.delimiter.as_ref()),
            max_keys: Some(max),
            is_truncated: Some(page.truncated),
            next_key_marker: next.map(|(key, _)| names.show(key)),
            next_version_id_marker: next.map(|(_, id)| id.to_owned()).filter(|id| !id.is_empty()),
            encoding_type: input.encoding_type.clone(),
            ..ListObjectVersionsOutput::default()
        };
        let (mut versions, mut markers, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &page.entries {
            match entry {
                VersionEntry::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(names.show(prefix)) }),
                VersionEntry::Version(key, version, latest) => match &version.object {
                    Some(object) => versions.push(shown_version(names.show(key.as_str()), version, object, *latest)),
                    None => markers.push(dto::DeleteMarkerEntry {
                        key: Some(names.show(key.as_str())),
                        version_id: Some(version.id.to_string()),
                        is_latest: Some(*latest),
                        last_modified: Some(stamp(version.since)),
                        owner: Some(owner()),
                    }),
                },
            }
        }
        (output.versions, output.delete_markers, output.common_prefixes) = (Some(versions), Some(markers), Some(prefixes));
        Ok(S3Response::new(output))
    }
}

fn shown_version(key: String, version: &Version, object: &Object, latest: bool) -> dto::ObjectVersion {
    let checksum = checksum::of_object(object);
    dto::ObjectVersion {
        key: Some(key),
        version_id: Some(version.id.to_string()),
        is_latest: Some(latest),
        e_tag: Some(dto::ETag::Strong(object.etag.clone())),
        last_modified: Some(stamp(object.last_modified)),
        size: Some(int(object.size())),
        owner: Some(owner()),
        storage_class: Some(object.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".into()).into()),
        checksum_algorithm: Some(vec![checksum.algorithm.into()]),
        checksum_type: Some(checksum.scope.into()),
        ..dto::ObjectVersion::default()
    }
}
