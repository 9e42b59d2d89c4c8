//! What is done with a store's objects: found, listed, written, amended, deleted, with their versions.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::list::{self, ListQuery, Listing};
use super::log::Record;
use super::object::{Attributes, Kind, Object, ObjectKey, Upload};
use super::versions::{Deleted, ENABLED, NULL, Stored, Version, VersionPage};
use super::{Content, Digests, Index, Refusal, Store, release_parts};

impl Store {
    /// An object.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, Refusal> {
        self.read_index().bucket(bucket)?.objects.get(key.as_bytes()).cloned().ok_or(Refusal::NoSuchKey)
    }

    /// An object with its version: the current one, or the one of that id.
    pub fn find(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<Stored, Refusal> {
        self.read_index().bucket(bucket)?.find(key, version)
    }

    /// Lists objects in byte order.
    pub fn list(&self, bucket: &str, query: &ListQuery<'_>) -> Result<Listing<Arc<Object>>, Refusal> {
        Ok(list::page(&self.read_index().bucket(bucket)?.objects, query))
    }

    /// Lists versions: keys in byte order, the newest of each first. Of `query.after`, those that follow `after_version` too, where
    /// one is named.
    pub fn list_versions(&self, bucket: &str, query: &ListQuery<'_>, after_version: &str) -> Result<VersionPage, Refusal> {
        Ok(self.read_index().bucket(bucket)?.version_page(query, after_version))
    }

    /// Shows every current object of a bucket, in byte order of the keys. Nothing is written meanwhile.
    pub(in crate::devserver) fn for_each_object(&self, bucket: &str, mut see: impl FnMut(&str, &Arc<Object>)) -> Result<(), Refusal> {
        self.read_index().bucket(bucket)?.objects.iter().for_each(|(key, object)| see(key.as_str(), object));
        Ok(())
    }

    /// Shows all versions, the newest first, of every key that has more to tell than one object called `null`.
    pub(in crate::devserver) fn for_each_history(&self, bucket: &str, mut see: impl FnMut(&str, &[Version])) -> Result<(), Refusal> {
        self.read_index().bucket(bucket)?.history.iter().for_each(|(key, versions)| see(key.as_str(), versions));
        Ok(())
    }

    /// How many objects a bucket holds, and their bytes. Former versions do not count.
    pub fn usage(&self, bucket: &str) -> Result<(usize, u64), Refusal> {
        let index = self.read_index();
        let objects = &index.bucket(bucket)?.objects;
        Ok((objects.len(), objects.values().map(|object| object.size()).sum()))
    }

    /// Writes an object: `make` sees what is there and answers with what shall be, or with a refusal that leaves everything as it was.
    /// With versioning, what is there stays as a former version. Atomic against every other call.
    pub fn write<E: From<Refusal>>(&self, bucket: &str, key: &str, make: impl FnOnce(Option<&Arc<Object>>) -> Result<Object, E>) -> Result<Stored, E> {
        let mut index = self.write_index();
        let object = self.settled(make(index.bucket(bucket)?.objects.get(key.as_bytes()))?);
        Ok(self.place(&mut index, bucket, key, object, None)?)
    }

    /// As [`Self::write`], but what is there is changed itself: how an append grows an object, of which there is no former version.
    pub fn grow<E: From<Refusal>>(&self, bucket: &str, key: &str, make: impl FnOnce(Option<&Arc<Object>>) -> Result<Object, E>) -> Result<Stored, E> {
        let mut index = self.write_index();
        let current = index.bucket(bucket)?.objects.get(key.as_bytes()).cloned();
        let object = self.settled(make(current.as_ref())?);
        match current {
            None => Ok(self.place(&mut index, bucket, key, object, None)?),
            Some(_) => Ok(replace(&mut index, bucket, key, None, object)?),
        }
    }

    /// Changes an object itself, the current one or the version of that id: `make` sees it and answers with what shall be.
    pub fn amend<E: From<Refusal>>(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        make: impl FnOnce(&Arc<Object>) -> Result<Object, E>,
    ) -> Result<Stored, E> {
        let mut index = self.write_index();
        let found = index.bucket(bucket)?.find(key, version)?;
        let object = self.settled(make(&found.object)?);
        Ok(replace(&mut index, bucket, key, version, object)?)
    }

    /// Writes an object of these bytes with plain attributes: for tests that fill a bucket.
    pub async fn put_bytes(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<Arc<Object>, Refusal> {
        let mut writer = self.writer();
        writer.write(&bytes).await?;
        let (content, digests) = writer.finish().await?;
        self.write(bucket, key, |_| Ok(self.normal_object(content, digests, Attributes::default()))).map(|stored| stored.object)
    }

    /// An object written in one request, now: its ETag is the MD5.
    pub fn normal_object(&self, content: Content, digests: Digests, attributes: Attributes) -> Object {
        Object {
            content,
            etag: digests.md5_hex(),
            last_modified: self.now(),
            kind: Kind::Normal,
            digests,
            checksum: None,
            parts: Vec::new(),
            attributes: Arc::new(attributes),
        }
    }

    /// Removes an object if `check` agrees to it, as [`Self::delete`] does without a version; returns what was there.
    pub fn remove<E: From<Refusal>>(
        &self,
        bucket: &str,
        key: &str,
        check: impl FnOnce(Option<&Arc<Object>>) -> Result<(), E>,
    ) -> Result<Option<Arc<Object>>, E> {
        self.delete(bucket, key, None, check).map(|deleted| deleted.object)
    }

    /// Deletes if `check`, which sees the current object, agrees to it. Without a version, the object goes where versioning was never
    /// set, and a delete marker hides it where it was. With one, that version goes for good, be it a marker or be it there at all.
    pub fn delete<E: From<Refusal>>(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        check: impl FnOnce(Option<&Arc<Object>>) -> Result<(), E>,
    ) -> Result<Deleted, E> {
        let mut index = self.write_index();
        let held = index.bucket(bucket)?;
        let current = held.objects.get(key.as_bytes()).cloned();
        check(current.as_ref())?;
        let versioned = held.info.versioning().is_some();
        match version {
            None if versioned => {
                let marker = Version { id: self.next_version(held.info.versioning()), since: self.now(), object: None };
                let id = Arc::clone(&marker.id);
                put_version(&mut index, bucket, key, marker, None)?;
                Ok(Deleted { object: current, version_id: Some(id), marker: true })
            }
            None => Ok(Deleted { object: take(&mut index, bucket, key, NULL)?.and_then(|gone| gone.object), ..Deleted::default() }),
            Some(id) => {
                let gone = take(&mut index, bucket, key, id)?;
                let marker = gone.as_ref().is_some_and(|version| version.object.is_none());
                Ok(Deleted { object: gone.and_then(|version| version.object), version_id: versioned.then(|| id.into()), marker })
            }
        }
    }

    /// Makes the object of an upload: `make` sees the object that is there now and the upload, and answers with what shall be.
    /// The upload is gone afterwards.
    pub fn complete<E: From<Refusal>>(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        make: impl FnOnce(Option<&Arc<Object>>, &Upload) -> Result<Object, E>,
    ) -> Result<Stored, E> {
        let mut index = self.write_index();
        let at = (key.to_owned(), id.to_owned());
        let held = index.bucket(bucket)?;
        let upload = held.uploads.get(&at).ok_or(Refusal::NoSuchUpload)?;
        let object = self.settled(make(held.objects.get(key.as_bytes()), upload)?);
        let stored = self.place(&mut index, bucket, key, object, Some(id))?;
        if let Some(upload) = index.bucket_mut(bucket)?.uploads.remove(&at) {
            release_parts(&upload);
        }
        Ok(stored)
    }

    /// The object as it is kept: the many that carry nothing of their own share one set of attributes.
    fn settled(&self, mut object: Object) -> Arc<Object> {
        if object.attributes == self.plain {
            object.attributes = Arc::clone(&self.plain);
        }
        Arc::new(object)
    }

    fn next_version(&self, versioning: Option<&str>) -> Arc<str> {
        if versioning == Some(ENABLED) { self.random_id().into() } else { NULL.into() }
    }

    fn place(&self, index: &mut Index, bucket: &str, key: &str, object: Arc<Object>, upload: Option<&str>) -> Result<Stored, Refusal> {
        let held = index.bucket_mut(bucket)?;
        let versioning = held.info.versioning();
        if versioning.is_some() {
            let version = Version { id: self.next_version(versioning), since: self.now(), object: Some(Arc::clone(&object)) };
            let version_id = Some(Arc::clone(&version.id));
            put_version(index, bucket, key, version, upload)?;
            return Ok(Stored { object, version_id });
        }
        index.append(Record::object(bucket, key, &object, upload))?;
        object.content.retain();
        let objects = &mut index.bucket_mut(bucket)?.objects;
        match objects.get_mut(key.as_bytes()) {
            Some(place) => std::mem::replace(place, Arc::clone(&object)).content.release(),
            None => drop(objects.insert(ObjectKey::from(key), Arc::clone(&object))),
        }
        Ok(Stored { object, version_id: None })
    }
}

fn put_version(index: &mut Index, bucket: &str, key: &str, version: Version, upload: Option<&str>) -> Result<(), Refusal> {
    index.append(Record::version(bucket, key, &version, upload))?;
    version.object.iter().for_each(|object| object.content.retain());
    let gone = index.bucket_mut(bucket)?.place(key, version);
    gone.iter().for_each(|object| object.content.release());
    Ok(())
}

/// Puts another object in the place of a version, or of the current one.
fn replace(index: &mut Index, bucket: &str, key: &str, version: Option<&str>, object: Arc<Object>) -> Result<Stored, Refusal> {
    let held = index.bucket(bucket)?;
    let version_id = held.find(key, version)?.version_id;
    let told = version_id.clone();
    let id = version.or(told.as_deref()).unwrap_or(NULL);
    if held.has_history(key) {
        index.append(Record::amended(bucket, key, id, &object))?;
    } else {
        index.append(Record::object(bucket, key, &object, None))?;
    }
    object.content.retain();
    let gone = index.bucket_mut(bucket)?.amend(key, id, Arc::clone(&object));
    gone.iter().for_each(|object| object.content.release());
    Ok(Stored { object, version_id })
}

/// Takes a version away, if it is there.
fn take(index: &mut Index, bucket: &str, key: &str, id: &str) -> Result<Option<Version>, Refusal> {
    let held = index.bucket(bucket)?;
    if !held.versions(key).iter().any(|version| &*version.id == id) {
        return Ok(None);
    }
    match held.has_history(key) {
        true => index.append(Record::VersionGone { bucket: bucket.into(), key: key.into(), id: id.into() })?,
        false => index.append(Record::ObjectGone { bucket: bucket.into(), key: key.into() })?,
    }
    let gone = index.bucket_mut(bucket)?.take(key, id);
    gone.iter().filter_map(|version| version.object.as_ref()).for_each(|object| object.content.release());
    Ok(gone)
}

/// A time in whole seconds.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
