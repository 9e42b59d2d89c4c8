//! The index of a store in a directory: one line of JSON a change, replayed and rewritten when the store is opened.
//!
//! `index.jsonl` beside `blobs/`. A blob is complete before a line names it, so a line that was cut off by a kill loses one
//! unanswered request and nothing else. Blobs that no line names are swept at the start.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::{BlobFile, Content, FileSpan};
use super::object::{Object, ObjectKey, Part, Upload};
use super::versions::Version;
use super::{Bucket, BucketInfo};

const INDEX_NAME: &str = "index.jsonl";
const BLOBS_NAME: &str = "blobs";

/// One change.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a record lives for as long as its line is written or applied")]
pub(super) enum Record<'a> {
    /// A bucket is there, with these properties.
    Bucket { name: Cow<'a, str>, created_seconds: i64, properties: Cow<'a, BTreeMap<String, String>> },
    /// A bucket is gone, with its uploads.
    BucketGone { name: Cow<'a, str> },
    /// An object is there; the upload it was completed from is gone.
    Object { bucket: Cow<'a, str>, key: Cow<'a, str>, object: Cow<'a, Object>, blobs: Vec<Blob>, upload: Option<Cow<'a, str>> },
    /// An object is gone.
    ObjectGone { bucket: Cow<'a, str>, key: Cow<'a, str> },
    /// A version is there, on top of the key's others; without an object it is a delete marker. The upload it was completed from is gone.
    Version {
        bucket: Cow<'a, str>,
        key: Cow<'a, str>,
        id: Cow<'a, str>,
        since_seconds: i64,
        object: Option<Cow<'a, Object>>,
        blobs: Vec<Blob>,
        upload: Option<Cow<'a, str>>,
    },
    /// A version holds another object now.
    Amended { bucket: Cow<'a, str>, key: Cow<'a, str>, id: Cow<'a, str>, object: Cow<'a, Object>, blobs: Vec<Blob> },
    /// A version is gone.
    VersionGone { bucket: Cow<'a, str>, key: Cow<'a, str>, id: Cow<'a, str> },
    /// An upload was begun.
    Upload { bucket: Cow<'a, str>, upload: Cow<'a, Upload> },
    /// A part is there.
    Part { bucket: Cow<'a, str>, key: Cow<'a, str>, id: Cow<'a, str>, number: u32, part: Cow<'a, Part>, blobs: Vec<Blob> },
    /// An upload was aborted.
    UploadGone { bucket: Cow<'a, str>, key: Cow<'a, str>, id: Cow<'a, str> },
}

/// A span of a file of the blob directory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Blob {
    id: String,
    start: u64,
    len: u64,
}

impl<'a> Record<'a> {
    pub(super) fn bucket(info: &'a BucketInfo) -> Self {
        Self::Bucket { name: (&info.name).into(), created_seconds: info.created.as_second(), properties: Cow::Borrowed(&info.properties) }
    }

    pub(super) fn object(bucket: &'a str, key: &'a str, object: &'a Object, upload: Option<&'a str>) -> Self {
        Self::Object { bucket: bucket.into(), key: key.into(), object: Cow::Borrowed(object), blobs: blobs(&object.content), upload: upload.map(Cow::Borrowed) }
    }

    pub(super) fn version(bucket: &'a str, key: &'a str, version: &'a Version, upload: Option<&'a str>) -> Self {
        let object = version.object.as_deref();
        Self::Version {
            bucket: bucket.into(),
            key: key.into(),
            id: Cow::Borrowed(&version.id),
            since_seconds: version.since.as_second(),
            object: object.map(Cow::Borrowed),
            blobs: object.map(|object| blobs(&object.content)).unwrap_or_default(),
            upload: upload.map(Cow::Borrowed),
        }
    }

    pub(super) fn amended(bucket: &'a str, key: &'a str, id: &'a str, object: &'a Object) -> Self {
        Self::Amended { bucket: bucket.into(), key: key.into(), id: id.into(), object: Cow::Borrowed(object), blobs: blobs(&object.content) }
    }

    pub(super) fn upload(bucket: &'a str, upload: &'a Upload) -> Self {
        Self::Upload { bucket: bucket.into(), upload: Cow::Borrowed(upload) }
    }

    pub(super) fn part(bucket: &'a str, key: &'a str, id: &'a str, number: u32, part: &'a Part) -> Self {
        Self::Part { bucket: bucket.into(), key: key.into(), id: id.into(), number, part: Cow::Borrowed(part), blobs: blobs(&part.content) }
    }
}

fn blobs(content: &Content) -> Vec<Blob> {
    content.files().map(|span| Blob { id: span.file.id.clone(), start: span.start, len: span.len }).collect()
}

/// The open log.
pub(super) struct Log(File);

impl Log {
    /// Adds a line. Handed to the kernel before this returns, so it survives the end of the process.
    pub(super) fn append(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// Opens a directory: replays its log, writes it anew without what is past, and sweeps blobs that nothing names.
pub(super) fn open(dir: &Path) -> io::Result<(BTreeMap<String, Bucket>, Log, Arc<Path>)> {
    let blob_dir: Arc<Path> = dir.join(BLOBS_NAME).into();
    std::fs::create_dir_all(&blob_dir)?;
    let index_path = dir.join(INDEX_NAME);
    let mut replay = Replay { blob_dir: Arc::clone(&blob_dir), files: HashMap::new(), buckets: BTreeMap::new() };
    match File::open(&index_path) {
        Ok(file) => replay.read(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let Replay { buckets, files, .. } = replay;
    // Files that were named once and are no longer remove themselves here; the sweep finds those that never were.
    drop(files);
    sweep(&blob_dir, &named_blobs(&buckets))?;

    let fresh_path = dir.join("index.jsonl.new");
    let mut fresh = BufWriter::new(File::create(&fresh_path)?);
    for record in snapshot(&buckets) {
        serde_json::to_writer(&mut fresh, &record)?;
        fresh.write_all(b"\n")?;
    }
    fresh.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&fresh_path, &index_path)?;
    Ok((buckets, Log(OpenOptions::new().append(true).open(&index_path)?), blob_dir))
}

fn named_blobs(buckets: &BTreeMap<String, Bucket>) -> HashSet<String> {
    let objects = buckets.values().flat_map(|bucket| bucket.all_objects().map(|object| &object.content));
    let parts = buckets.values().flat_map(|bucket| bucket.uploads.values()).flat_map(|upload| upload.parts.values().map(|part| &part.content));
    objects.chain(parts).flat_map(|content| content.files().map(|span| span.file.id.clone())).collect()
}

fn sweep(blob_dir: &Path, named: &HashSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(blob_dir)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| named.contains(name)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The records that make these buckets from nothing.
fn snapshot(buckets: &BTreeMap<String, Bucket>) -> impl Iterator<Item = Record<'_>> {
    buckets.iter().flat_map(|(name, bucket)| {
        let plain = bucket.objects.iter().filter(|(key, _)| !bucket.has_history(key.as_str()));
        let objects = plain.map(move |(key, object)| Record::object(name, key.as_str(), object, None));
        // The oldest first: each is put on top of those before it.
        let history = bucket.history.iter();
        let versions = history.flat_map(move |(key, versions)| versions.iter().rev().map(move |version| Record::version(name, key.as_str(), version, None)));
        let uploads = bucket.uploads.values().flat_map(move |upload| {
            let parts = upload.parts.iter().map(move |(number, part)| Record::part(name, &upload.key, &upload.id, *number, part));
            std::iter::once(Record::upload(name, upload)).chain(parts)
        });
        std::iter::once(Record::bucket(&bucket.info)).chain(objects).chain(versions).chain(uploads)
    })
}

struct Replay {
    blob_dir: Arc<Path>,
    files: HashMap<String, Arc<BlobFile>>,
    buckets: BTreeMap<String, Bucket>,
}

impl Replay {
    fn read(&mut self, file: File) -> io::Result<()> {
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1u64.. {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                break; // The end, or a line that was cut off: its request was never answered.
            }
            let record = serde_json::from_slice(&line)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("line {number} of {INDEX_NAME} is damaged: {error}")))?;
            self.apply(record);
        }
        // Releases during the replay must not remove files that a later line names, so the index takes hold only now.
        for bucket in self.buckets.values() {
            bucket.all_objects().for_each(|object| object.content.retain());
            bucket.uploads.values().flat_map(|upload| upload.parts.values()).for_each(|part| part.content.retain());
        }
        Ok(())
    }

    fn content(&mut self, blobs: Vec<Blob>) -> Content {
        let span = |Blob { id, start, len }: Blob| {
            let dir = &self.blob_dir;
            let file = Arc::clone(self.files.entry(id).or_insert_with_key(|id| Arc::new(BlobFile::new(dir, id.clone()))));
            FileSpan { file, start, len }
        };
        Content::from_files(blobs.into_iter().map(span).collect())
    }

    fn apply(&mut self, record: Record<'_>) {
        match record {
            Record::Bucket { name, created_seconds, properties } => {
                let created = Timestamp::from_second(created_seconds).unwrap_or_default();
                let info = BucketInfo { name: name.to_string(), created, properties: properties.into_owned() };
                match self.buckets.get_mut(name.as_ref()) {
                    Some(bucket) => bucket.info = info,
                    None => {
                        self.buckets.insert(name.into_owned(), Bucket::new(info));
                    }
                }
            }
            Record::BucketGone { name } => {
                self.buckets.remove(name.as_ref());
            }
            Record::Object { bucket, key, object, blobs, upload } => {
                let object = Object { content: self.content(blobs), ..object.into_owned() };
                if let Some(bucket) = self.buckets.get_mut(bucket.as_ref()) {
                    bucket.objects.insert(ObjectKey::from(key.as_ref()), Arc::new(object));
                    if let Some(id) = upload {
                        bucket.uploads.remove(&(key.into_owned(), id.into_owned()));
                    }
                }
            }
            Record::ObjectGone { bucket, key } => {
                if let Some(bucket) = self.buckets.get_mut(bucket.as_ref()) {
                    bucket.objects.remove(key.as_bytes());
                }
            }
            Record::Version { bucket, key, id, since_seconds, object, blobs, upload } => {
                let content = self.content(blobs);
                let object = object.map(|object| Arc::new(Object { content, ..object.into_owned() }));
                let since = Timestamp::from_second(since_seconds).unwrap_or_default();
                if let Some(bucket) = self.buckets.get_mut(bucket.as_ref()) {
                    bucket.place(&key, Version { id: id.into(), since, object });
                    if let Some(id) = upload {
                        bucket.uploads.remove(&(key.into_owned(), id.into_owned()));
                    }
                }
            }
            Record::Amended { bucket, key, id, object, blobs } => {
                let object = Object { content: self.content(blobs), ..object.into_owned() };
                if let Some(bucket) = self.buckets.get_mut(bucket.as_ref()) {
                    bucket.amend(&key, &id, Arc::new(object));
                }
            }
            Record::VersionGone { bucket, key, id } => {
                if let Some(bucket) = self.buckets.get_mut(bucket.as_ref()) {
                    bucket.take(&key, &id);
                }
            }
            Record::Upload { bucket, upload } => {
                if let Some(bucket) = self.buckets.get_mut(bucket.as_ref()) {
                    bucket.uploads.insert((upload.key.clone(), upload.id.clone()), Arc::new(upload.into_owned()));
                }
            }
            Record::Part { bucket, key, id, number, part, blobs } => {
                let part = Part { content: self.content(blobs), ..part.into_owned() };
                let upload = self.buckets.get_mut(bucket.as_ref()).and_then(|bucket| bucket.uploads.get_mut(&(key.into_owned(), id.into_owned())));
                if let Some(upload) = upload {
                    Arc::make_mut(upload).parts.insert(number, part);
                }
            }
            Record::UploadGone { bucket, key, id } => {
                if let Some(bucket) = self.buckets.get_mut(bucket.as_ref()) {
                    bucket.uploads.remove(&(key.into_owned(), id.into_owned()));
                }
            }
        }
    }
}
