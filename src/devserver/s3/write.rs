//! Writing: PutObject, CopyObject, deletes, tags and ACLs.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::{
    self, CopyObjectInput, CopyObjectOutput, CopySource, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETag, PutObjectInput,
    PutObjectOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::attributes::{encryption_headers, from_headers};
use super::body::{BODY_BYTES_MAX, disk, receive};
use super::checksum::{self, Algorithm, FULL_OBJECT, set_checksum};
use super::condition::{ReadCondition, WriteCondition};
use super::read::{put_checksum, value};
use super::{Bridge, stamp, versions};
use crate::devserver::store::{Attributes, Checksum, Deleted, Digests, Object, Refusal, Stored};

/// The most keys that one DeleteObjects names.
const DELETE_KEYS_MAX: usize = 1000;

impl Bridge {
    pub(super) async fn put(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, content_length, if_match, if_none_match, .. } = req.input;
        let condition = WriteCondition { if_match, if_none_match };
        // Refused before the body is taken where it is refused already; the write below decides.
        condition.check(self.present(&bucket, &key)?.as_ref())?;
        let attributes = from_headers(&req.headers)?;
        let received = receive(&self.store, &req.headers, body, req.trailing_headers, content_length).await?;
        let checksum = received.object_checksum();
        let mut object = self.store.normal_object(received.content, received.digests, attributes);
        object.etag = etag(&object.digests, &object.attributes);
        object.checksum = checksum;
        let object = self.store.write(&bucket, &key, |current| condition.check(current).map(|()| object))?;
        let mut headers = HeaderMap::new();
        let told = checksum::of_object(&object);
        put_checksum(&mut headers, &told)?;
        headers.insert("x-amz-checksum-type", value(&told.scope)?);
        for (name, text) in encryption_headers(&object.attributes) {
            headers.insert(name, value(text)?);
        }
        let output = PutObjectOutput { e_tag: Some(ETag::Strong(object.etag.clone())), version_id: versions::told(&object), ..PutObjectOutput::default() };
        Ok(S3Response::with_headers(output, headers))
    }

    /// The object at a key, if any; an error where there is no such bucket.
    pub(super) fn present(&self, bucket: &str, key: &str) -> S3Result<Option<Arc<Object>>> {
        match self.store.object(bucket, key) {
            Ok(object) => Ok(Some(object)),
            Err(Refusal::NoSuchKey) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The source of a copy, under its conditions.
    pub(super) fn copy_source(&self, source: &CopySource, condition: &ReadCondition) -> S3Result<(String, String, Stored)> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(NotImplemented, "Only a bucket and a key name the source of a copy here."));
        };
        let object = match self.store.find(bucket, key, version_id.as_deref()) {
            Err(Refusal::DeleteMarker { asked: true, .. }) => {
                return Err(s3_error!(InvalidRequest, "The source of a copy request may not specifically refer to a delete marker by version id."));
            }
            found => found?,
        };
        condition.check_source(&object)?;
        self.thawed(&object)?;
        Ok((bucket.to_string(), key.to_string(), object))
    }

    pub(super) async fn copy(&self, mut req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let condition = source_condition!(req.input);
        let input = &req.input;
        let (source_bucket, source_key, source) = self.copy_source(&input.copy_source, &condition)?;
        if source.size() > BODY_BYTES_MAX {
            let message = "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120";
            return Err(s3_error!(InvalidRequest, "{message}"));
        }
        let write_condition = WriteCondition::in_headers(&req.headers)?;
        let attributes = copied_attributes(&source, input, &req.headers)?;
        let former = matches!(&input.copy_source, CopySource::Bucket { version_id: Some(_), .. });
        if !former && source_bucket == input.bucket && source_key == input.key && *source.attributes == attributes && input.metadata_directive.is_none() {
            let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
            return Err(s3_error!(InvalidRequest, "{message}"));
        }
        let digests = match source.digests.md5 {
            Some(_) => source.digests,
            // The copy is one piece, whose ETag is the MD5 of the whole: it must be read.
            None => source.content.digests().await.map_err(disk)?,
        };
        let checksum = self.copied_checksum(&source, input).await?;
        let mut object = self.store.normal_object(source.content.clone(), digests, attributes);
        object.etag = etag(&digests, &object.attributes);
        object.checksum = checksum;
        let object = self.store.write(&input.bucket, &input.key, |current| write_condition.check(current).map(|()| object))?;
        let told = checksum::of_object(&object);
        let mut result = dto::CopyObjectResult {
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(stamp(object.last_modified)),
            checksum_type: Some(told.scope.clone().into()),
            ..dto::CopyObjectResult::default()
        };
        set_checksum!(result, &told);
        let (version_id, copy_source_version_id) = (versions::told(&object), versions::told(&source));
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), version_id, copy_source_version_id, ..CopyObjectOutput::default() }))
    }

    /// A copy keeps the algorithm of its source unless it names another; a composite becomes a full checksum, for it is one piece now.
    async fn copied_checksum(&self, source: &Object, input: &CopyObjectInput) -> S3Result<Option<Box<Checksum>>> {
        let kept = source.checksum.as_ref().map(|checksum| Algorithm::named(&checksum.algorithm)).transpose()?;
        let wanted = input.checksum_algorithm.as_ref().map(|algorithm| Algorithm::named(algorithm.as_str())).transpose()?.or(kept);
        let Some(wanted) = wanted.filter(|wanted| *wanted != Algorithm::Crc64Nvme) else { return Ok(None) };
        match &source.checksum {
            Some(checksum) if kept == Some(wanted) && checksum.scope == FULL_OBJECT => Ok(Some(checksum.clone())),
            _ => Ok(Some(Box::new(wanted.over(&source.content, &source.digests).await.map_err(disk)?))),
        }
    }

    pub(super) fn delete(&self, req: &S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let DeleteObjectInput { bucket, key, if_match, version_id, .. } = &req.input;
        let condition = WriteCondition { if_match: if_match.clone(), if_none_match: None };
        let Deleted { version_id, marker, .. } = self.store.delete(bucket, key, version_id.as_deref(), |current| condition.check(current))?;
        let version_id = version_id.as_deref().map(str::to_owned);
        Ok(S3Response::new(DeleteObjectOutput { delete_marker: marker.then_some(true), version_id, ..DeleteObjectOutput::default() }))
    }

    pub(super) fn delete_many(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        self.store.bucket(&bucket)?;
        if delete.objects.is_empty() || delete.objects.len() > DELETE_KEYS_MAX {
            return Err(s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for dto::ObjectIdentifier { key, version_id, e_tag, .. } in delete.objects {
            let condition = WriteCondition { if_match: e_tag.map(dto::ETagCondition::ETag), if_none_match: None };
            match self.store.delete(&bucket, &key, version_id.as_deref(), |current| condition.check(current)) {
                Ok(done) => deleted.push(dto::DeletedObject {
                    key: Some(key),
                    version_id,
                    delete_marker: done.marker.then_some(true),
                    delete_marker_version_id: done.version_id.filter(|_| done.marker).map(|id| id.to_string()),
                }),
                Err(error) => errors.push(delete_error(key, version_id, &error)),
            }
        }
        let quiet = delete.quiet.unwrap_or(false);
        let output =
            DeleteObjectsOutput { deleted: (!quiet).then_some(deleted), errors: (!errors.is_empty()).then_some(errors), ..DeleteObjectsOutput::default() };
        Ok(S3Response::new(output))
    }

    /// Changes what travels with an object, and nothing else: the service leaves ETag and last modification as they were.
    pub(super) fn amend(&self, bucket: &str, key: &str, version: Option<&str>, change: impl FnOnce(&mut Attributes)) -> S3Result<Stored> {
        self.store.amend(bucket, key, version, |current| {
            let mut object = Object::clone(current);
            change(Arc::make_mut(&mut object.attributes));
            Ok(object)
        })
    }
}

fn delete_error(key: String, version_id: Option<String>, error: &S3Error) -> dto::Error {
    dto::Error { code: Some(error.code().as_str().to_owned()), message: error.message().map(str::to_owned), key: Some(key), version_id }
}

/// Collects the conditions on a copy's source.
macro_rules! source_condition {
    ($input:expr) => {
        $crate::devserver::s3::condition::ReadCondition {
            if_match: $input.copy_source_if_match.take(),
            if_none_match: $input.copy_source_if_none_match.take(),
            if_modified_since: $input.copy_source_if_modified_since.take(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.take(),
        }
    };
}
pub(super) use source_condition;

/// MD5, save under KMS, where the ETag is something else (protocol.md 3).
pub(super) fn etag(digests: &Digests, attributes: &Attributes) -> String {
    match &attributes.encryption {
        Some(encryption) if encryption.algorithm.starts_with("aws:kms") => Digests::of(format!("kms:{}", digests.md5_hex()).as_bytes()).md5_hex(),
        _ => digests.md5_hex(),
    }
}

/// What a copy carries: the source's metadata and tags, or the request's, as its directives say. Class, ACL and encryption are
/// always the request's.
fn copied_attributes(source: &Object, input: &CopyObjectInput, headers: &HeaderMap) -> S3Result<Attributes> {
    let asked = from_headers(headers)?;
    let replaces = |directive: Option<&str>| directive.is_some_and(|directive| directive == "REPLACE");
    let base = if replaces(input.metadata_directive.as_ref().map(|directive| directive.as_str())) { asked.clone() } else { (*source.attributes).clone() };
    let tags = if replaces(input.tagging_directive.as_ref().map(|directive| directive.as_str())) { asked.tags } else { source.attributes.tags.clone() };
    Ok(Attributes { tags, storage_class: asked.storage_class, acl: asked.acl, encryption: asked.encryption, restore: None, transitioned_seconds: None, ..base })
}
