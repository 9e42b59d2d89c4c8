//! A stored object: its bytes, and what is said of them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use md5::{Digest, Md5};

use super::{CHUNK_BYTES_MAX, MemoryOptions, Stated};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Agreement, Algorithm, Composite, Crc64, Crc64Hasher};
use crate::storage::class::{Class, Reading};
use crate::storage::{
    Attributes, Capabilities, Checksums, ETag, Entry, Get, GetOutput, Key, MetadataRule, ObjectInfo, Payload, Restore, Restoring, StoredPart,
};

/// Bytes that arrived whole, and their true checksums.
#[derive(Debug, Clone)]
pub(super) struct Body {
    chunks: Vec<Bytes>,
    crc64: Crc64,
    pub(super) md5: [u8; 16],
    crc32c: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    chunks: Vec<Bytes>,
    crc64: Crc64,
    part_lens: Vec<u64>,
    pub(super) info: ObjectInfo,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) acl: Option<String>,
    /// From when until when a restored copy can be read.
    thawed: Option<(Timestamp, Timestamp)>,
}

/// Takes a body whole, and refuses it where it is not what the sender says it is.
pub(super) async fn receive(payload: &Payload, claimed: Option<&Checksums>) -> Result<Body> {
    let mut stream = payload.stream().await?;
    let (mut crc64, mut md5, mut crc32c) = (Crc64Hasher::new(), Md5::new(), crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi));
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        crc64.update(&chunk);
        md5.update(&chunk);
        crc32c.update(&chunk);
        chunks.push(chunk);
    }
    let body = Body { chunks, crc64: crc64.finish(), md5: md5.finalize().into(), crc32c: crc32c.finalize() as u32 };
    let truth = Checksums { md5: Some(body.md5), crc32c: Some(body.crc32c), ..body.crc64.checksums() };
    if let Some(Agreement::Different(algorithm)) = claimed.map(|c| c.agreement(&truth)) {
        return Err(Error::integrity(format!("the bytes that arrived do not have the {algorithm} that was sent with them")));
    }
    Ok(body)
}

impl Body {
    pub(super) fn len(&self) -> u64 {
        self.crc64.len
    }

    /// What is said of this body as a single object or a part.
    pub(super) fn checksums(&self, stated: Stated) -> Checksums {
        match stated {
            Stated::Crc64 => self.crc64.checksums(),
            Stated::Composite => Checksums { crc32c: Some(self.crc32c), ..Checksums::default() },
            Stated::Md5 | Stated::Nothing => Checksums::default(),
        }
    }

    pub(super) fn etag(&self, options: &MemoryOptions) -> ETag {
        match options.stated {
            Stated::Crc64 | Stated::Md5 => ETag::new(&hex::encode(self.md5)),
            Stated::Composite | Stated::Nothing => opaque_etag(options),
        }
    }
}

impl Object {
    pub(super) fn from_body(body: Body, attributes: Attributes, options: &MemoryOptions) -> Self {
        let (checksums, etag) = (body.checksums(options.stated), body.etag(options));
        Self::new(body.chunks, body.crc64, checksums, etag, attributes, options)
    }

    /// The object that parts make, in the given order.
    pub(super) fn from_parts(parts: &[&Body], attributes: Attributes, options: &MemoryOptions) -> Self {
        let crc64 = parts.iter().fold(Crc64::default(), |whole, part| whole.then(part.crc64));
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let checksums = match options.stated {
            Stated::Crc64 => crc64.checksums(),
            Stated::Composite => {
                let digests: Vec<u8> = parts.iter().flat_map(|p| p.crc32c.to_be_bytes()).collect();
                let digest = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &digests) as u32;
                let composite = Composite { algorithm: Algorithm::Crc32c, digest: digest.to_be_bytes().to_vec(), parts: count };
                Checksums { composite: Some(composite), ..Checksums::default() }
            }
            Stated::Md5 | Stated::Nothing => Checksums::default(),
        };
        let etag = match options.stated {
            Stated::Crc64 | Stated::Md5 => {
                let digests: Vec<u8> = parts.iter().flat_map(|p| p.md5).collect();
                ETag::new(&format!("{}-{count}", hex::encode(Md5::digest(digests))))
            }
            Stated::Composite | Stated::Nothing => opaque_etag(options),
        };
        let chunks = parts.iter().flat_map(|p| p.chunks.iter().cloned()).collect();
        let mut object = Self::new(chunks, crc64, checksums, etag, attributes, options);
        object.info.parts = Some(count);
        object.part_lens = parts.iter().map(|p| p.len()).collect();
        object
    }

    /// This object's bytes with other attributes, as a copy makes it.
    pub(super) fn copied(&self, attributes: Attributes, options: &MemoryOptions) -> Self {
        let (checksums, etag) = (self.info.checksums.clone(), self.info.etag.clone());
        let keeps_tags = attributes.tags.is_none();
        let mut copy = Self::new(self.chunks.clone(), self.crc64, checksums, etag, attributes, options);
        if keeps_tags {
            copy.tags.clone_from(&self.tags);
        }
        copy
    }

    /// What HEAD says of it now.
    pub(super) fn told(&self, now: Timestamp) -> ObjectInfo {
        let restore = match self.thawed {
            Some((ready, _)) if now < ready => Restore::Ongoing,
            Some((_, until)) if now < until => Restore::Restored { until: Some(until) },
            _ => Restore::None,
        };
        let tags = u32::try_from(self.tags.len()).ok().filter(|count| *count > 0);
        ObjectInfo { restore, tags, ..self.info.clone() }
    }

    fn is_archived(&self, options: &MemoryOptions) -> bool {
        let class = self.info.attributes.storage_class.as_deref().unwrap_or_default();
        Class::find(options.capabilities.service, class).is_some_and(|class| class.reading == Reading::AfterRestore)
    }

    /// Refuses to read what is frozen.
    pub(super) fn check_readable(&self, options: &MemoryOptions) -> Result<()> {
        let readable = !self.is_archived(options) || matches!(self.told(options.clock.now()).restore, Restore::Restored { .. });
        if readable { Ok(()) } else { Err(Error::new(ErrorKind::Frozen, "it is archived, and must be restored first")) }
    }

    pub(super) fn restore(&mut self, days: u16, options: &MemoryOptions) -> Result<Restoring> {
        if !self.is_archived(options) {
            return Err(Error::unsupported("its storage class needs no restore"));
        }
        let now = options.clock.now();
        let (ready, restoring) = match (self.told(now).restore, self.thawed) {
            (Restore::Ongoing, _) => return Ok(Restoring::Ongoing),
            (Restore::Restored { .. }, Some((ready, _))) => (ready, Restoring::Extended),
            _ => (now.saturating_add(options.restore_delay).unwrap_or(Timestamp::MAX), Restoring::Begun),
        };
        let until = ready.max(now).saturating_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX);
        self.thawed = Some((ready, until));
        Ok(restoring)
    }

    fn new(chunks: Vec<Bytes>, crc64: Crc64, checksums: Checksums, etag: ETag, mut attributes: Attributes, options: &MemoryOptions) -> Self {
        // Both are read apart.
        let acl = attributes.acl.take();
        let tags = attributes.tags.take().unwrap_or_default();
        let modified = Some(whole_second(options.clock.now()));
        let info = ObjectInfo { size: crc64.len, etag, modified, checksums, attributes, ..ObjectInfo::default() };
        Self { chunks, crc64, part_lens: Vec::new(), info, tags, acl, thawed: None }
    }

    /// How large one of the parts is that made this object.
    pub(super) fn stored_part(&self, number: u32) -> Option<StoredPart> {
        let size_bytes = *self.part_lens.get(number.checked_sub(1)? as usize)?;
        Some(StoredPart { size_bytes, parts: self.info.parts? })
    }

    /// The CRC-64s of the bytes, whatever is stated of them.
    pub(super) fn truth(&self) -> Checksums {
        self.crc64.checksums()
    }

    pub(super) fn entry<'a>(&'a self, key: &'a Key) -> Entry<'a> {
        Entry {
            key: key.as_bytes(),
            size: self.info.size,
            etag: self.info.etag.as_str(),
            modified: self.info.modified,
            storage_class: self.info.attributes.storage_class.as_deref().unwrap_or_default(),
            kind: self.info.kind,
        }
    }

    pub(super) fn open(&self, get: &Get, options: &MemoryOptions) -> Result<GetOutput> {
        let body = stream::iter(self.pieces(get, options)?).map(Ok).boxed();
        Ok(GetOutput { info: self.told(options.clock.now()), range: get.range.clone().unwrap_or(0..self.info.size), body })
    }

    /// The bytes that a reader asks for.
    pub(super) fn pieces(&self, get: &Get, options: &MemoryOptions) -> Result<Vec<Bytes>> {
        check_match(&self.info, get.if_match.as_ref())?;
        self.check_readable(options)?;
        let range = get.range.clone().unwrap_or(0..self.info.size);
        if get.range.is_some() && (range.is_empty() || range.end > self.info.size) {
            return Err(Error::invalid(format!("the range {}..{} is not within {} bytes", range.start, range.end, self.info.size)));
        }
        Ok(self.slices(&range))
    }

    fn slices(&self, range: &Range<u64>) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut start = 0u64;
        for chunk in &self.chunks {
            let end = start + chunk.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let mut rest = chunk.slice((from - start) as usize..(to - start) as usize);
                while rest.len() > CHUNK_BYTES_MAX {
                    slices.push(rest.split_to(CHUNK_BYTES_MAX));
                }
                slices.push(rest);
            }
            start = end;
        }
        slices
    }
}

/// Refuses to read another object than the one that was meant.
pub(super) fn check_match(info: &ObjectInfo, if_match: Option<&ETag>) -> Result<()> {
    match if_match {
        Some(etag) if *etag != info.etag => Err(Error::new(ErrorKind::Changed, format!("the object is {}, not {etag}", info.etag))),
        _ => Ok(()),
    }
}

/// Refuses metadata that the service would refuse.
pub(super) fn check_attributes(attributes: &Attributes, limits: &Capabilities) -> Result<()> {
    let bytes: usize = attributes.user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > limits.metadata_bytes_max {
        return Err(Error::invalid(format!("the metadata has {bytes} bytes, and the limit is {}", limits.metadata_bytes_max)));
    }
    let allowed = |b: u8| match limits.metadata {
        MetadataRule::LettersDigitsHyphen => b.is_ascii_alphanumeric() || b == b'-',
        MetadataRule::HeaderToken => b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b),
        MetadataRule::MtimeOnly | MetadataRule::Any => true,
    };
    match attributes.user.keys().find(|name| name.is_empty() || !name.bytes().all(allowed)) {
        Some(name) => Err(Error::invalid(format!("the metadata name '{}' is not allowed here", name.escape_default()))),
        None => Ok(()),
    }
}

fn opaque_etag(options: &MemoryOptions) -> ETag {
    ETag::new(&format!("opaque-{}", options.clock.random_id()))
}

/// Both clouds keep last-modified to the second.
pub(super) fn whole_second(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc)).unwrap_or(time)
}
