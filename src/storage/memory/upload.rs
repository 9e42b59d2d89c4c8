//! Multipart uploads.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;

use super::object::{Body, Object, check_attributes, receive};
use super::{MemoryStore, Stated};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Agreement;
use crate::storage::{Attributes, Checksums, Complete, ETag, Key, Multipart, MultipartLimits, OpenUpload, Part, Payload, PutOutput, Storage, Upload, UploadId};

/// An open upload and the parts that arrived.
pub(super) struct OpenParts {
    key: Key,
    attributes: Attributes,
    initiated: Timestamp,
    parts: BTreeMap<u32, (Body, ETag, Timestamp)>,
}

impl OpenParts {
    fn part(&self, number: u32, stated: Stated) -> Option<Part> {
        let (body, etag, _) = self.parts.get(&number)?;
        Some(Part { number, etag: etag.clone(), size: body.len(), checksums: body.checksums(stated), modified: None })
    }

    fn listed(&self, stated: Stated) -> Vec<Part> {
        let dated = |(number, (_, _, modified)): (&u32, &(Body, ETag, Timestamp))| Some(Part { modified: Some(*modified), ..self.part(*number, stated)? });
        self.parts.iter().filter_map(dated).collect()
    }

    /// The bodies to join, if the caller's parts are those that are held, in ascending order and large enough.
    fn chosen(&self, parts: &[Part], limits: &MultipartLimits) -> Result<Vec<&Body>> {
        if parts.is_empty() {
            return Err(Error::invalid("an upload needs at least one part"));
        }
        if !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(Error::invalid("the parts are not in ascending order"));
        }
        let mut chosen = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let held = self.parts.get(&part.number).filter(|(_, etag, _)| *etag == part.etag);
            let (body, ..) = held.ok_or_else(|| Error::invalid(format!("part {} is not held, or has another ETag", part.number)))?;
            if index + 1 < parts.len() && body.len() < limits.part_bytes_min {
                return Err(Error::invalid(format!("part {} has {} bytes, and only the last may be below {}", part.number, body.len(), limits.part_bytes_min)));
            }
            chosen.push(body);
        }
        Ok(chosen)
    }
}

impl MemoryStore {
    fn upload<T>(&self, upload: &Upload, act: impl FnOnce(&mut OpenParts) -> Result<T>) -> Result<T> {
        self.locked(|bucket| act(bucket.uploads.get_mut(&upload.id.0).filter(|u| u.key == upload.key).ok_or_else(unknown_upload)?))
    }

    fn multipart_limits(&self) -> Result<MultipartLimits> {
        self.capabilities().multipart.ok_or_else(|| Error::unsupported("this store has no multipart uploads"))
    }

    fn check_part(&self, number: u32, len: u64) -> Result<()> {
        let limits = self.multipart_limits()?;
        if number == 0 || number > limits.parts_max {
            return Err(Error::invalid(format!("part number {number} is not within 1..={}", limits.parts_max)));
        }
        if len > limits.part_bytes_max {
            return Err(Error::invalid(format!("a part of {len} bytes is over the limit of {}", limits.part_bytes_max)));
        }
        Ok(())
    }
}

fn unknown_upload() -> Error {
    Error::new(ErrorKind::UploadNotFound, "there is no such upload")
}

#[async_trait]
impl Multipart for MemoryStore {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        let created = || {
            self.check_key(key)?;
            check_attributes(attributes, self.capabilities())?;
            let id = self.options.clock.random_id();
            let open = OpenParts { key: key.clone(), attributes: attributes.clone(), initiated: self.options.clock.now(), parts: BTreeMap::new() };
            self.locked(|bucket| {
                bucket.uploads.insert(id.clone(), open);
                Ok(UploadId(id))
            })
        };
        created().map_err(|e| self.told("create upload", key, e))
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        let sent = async {
            self.check_part(number, payload.len())?;
            self.upload(upload, |_| Ok(()))?;
            let body = receive(&payload, checksums).await?;
            let etag = body.etag(&self.options);
            self.upload(upload, |open| {
                open.parts.insert(number, (body, etag, self.options.clock.now()));
                open.part(number, self.options.stated).ok_or_else(unknown_upload)
            })
        };
        sent.await.map_err(|e| self.told("upload part", &upload.key, e))
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.upload(upload, |open| Ok(open.listed(self.options.stated))).map_err(|e| self.told("list parts", &upload.key, e))
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        let completed = || {
            let limits = self.multipart_limits()?;
            self.check_condition(complete.condition.as_ref())?;
            self.locked(|bucket| {
                let open = bucket.uploads.get(&upload.id.0).filter(|u| u.key == upload.key).ok_or_else(unknown_upload)?;
                let object = Object::from_parts(&open.chosen(parts, &limits)?, open.attributes.clone(), &self.options);
                if object.info.size > self.options.capabilities.object_bytes_max {
                    return Err(Error::invalid(format!("an object of {} bytes is over the limit", object.info.size)));
                }
                if let Some(Agreement::Different(algorithm)) = complete.checksums.as_ref().map(|c| c.agreement(&object.truth())) {
                    return Err(Error::integrity(format!("the parts do not make an object with the {algorithm} that was sent")));
                }
                let output = bucket.commit(&upload.key, object, complete.condition.as_ref())?;
                bucket.uploads.remove(&upload.id.0);
                Ok(output)
            })
        };
        completed().map_err(|e| self.told("complete upload", &upload.key, e))
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.locked(|bucket| {
            bucket.uploads.remove(&upload.id.0);
            Ok(())
        })
        .map_err(|e| self.told("abort upload", &upload.key, e))
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        let listed = self.locked(|bucket| {
            let under = bucket.uploads.iter().filter(|(_, open)| open.key.as_bytes().starts_with(prefix.as_bytes()));
            let mut uploads: Vec<_> = under
                .map(|(id, open)| OpenUpload {
                    upload: Upload { key: open.key.clone(), id: UploadId(id.clone()) },
                    initiated: Some(open.initiated),
                    storage_class: open.attributes.storage_class.clone(),
                })
                .collect();
            uploads.sort_by(|a, b| (&a.upload.key, a.initiated).cmp(&(&b.upload.key, b.initiated)));
            Ok(uploads)
        });
        match listed {
            Ok(uploads) => stream::iter(uploads).map(Ok).boxed(),
            Err(e) => stream::iter([Err(e.during("list uploads").in_store(self))]).boxed(),
        }
    }
}
