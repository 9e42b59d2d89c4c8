//! One key on its way through deciding: what the listings said of it, and what was looked at since.

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use md5::Digest;

use super::join::{Pairing, Side};
use super::plan::{Evidence, Look};
use super::progress::Moving;
use super::stamp;
use super::task::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{End, Proved};
use crate::storage::checksum::{Agreement, Checksums, Crc64Hasher, Proof};
use crate::storage::location::Location;
use crate::storage::{ETag, Get, Key, Kind, ObjectInfo, ObjectRef, Service, Storage};

/// The two places of a transfer.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) source: Location,
    pub(crate) destination: Location,
}

impl Ends {
    pub(crate) fn source_is_local(&self) -> bool {
        is_local(&self.source)
    }

    pub(crate) fn destination_is_local(&self) -> bool {
        is_local(&self.destination)
    }
}

fn is_local(location: &Location) -> bool {
    location.storage.capabilities().service == Service::Local
}

/// A pairing that outlives its pages, with the evidence gathered for it.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The key relative to both ends.
    pub(crate) key: Key,
    pub(crate) source: Side<Listed>,
    pub(crate) destination: Side<Listed>,
    here: Option<ObjectInfo>,
    there: Option<ObjectInfo>,
    destination_looked: bool,
    read: bool,
    /// What the journal knows of it.
    proved: Option<Box<Proved>>,
}

impl Subject {
    /// What the listings said.
    pub(crate) fn listed(pairing: &Pairing<'_>) -> Self {
        fn own(side: &Side<crate::storage::Entry<'_>>) -> Side<Listed> {
            match side {
                Side::Present(entry) => Side::Present((*entry).into()),
                Side::Absent => Side::Absent,
                Side::Unknown(error) => Side::Unknown(error.clone()),
            }
        }
        let proved = pairing.proved.cloned().map(Box::new);
        Self { source: own(&pairing.source), destination: own(&pairing.destination), proved, ..Self::unlisted(Key::from(pairing.key)) }
    }

    /// A key that nobody listed: both ends are yet to be looked at.
    pub(crate) fn unlisted(key: Key) -> Self {
        let unknown = || Side::Unknown(Arc::new(Error::new(ErrorKind::Unexpected, "not looked at yet")));
        Self { key, source: unknown(), destination: unknown(), here: None, there: None, destination_looked: false, read: false, proved: None }
    }

    /// Takes what the journal knows of a key that nobody listed.
    pub(crate) fn recall(&mut self, proved: Option<Proved>) {
        self.proved = proved.map(Box::new);
    }

    /// As the pure functions want it.
    pub(crate) fn pairing(&self) -> Pairing<'_> {
        fn lend(side: &Side<Listed>) -> Side<crate::storage::Entry<'_>> {
            match side {
                Side::Present(listed) => Side::Present(listed.entry()),
                Side::Absent => Side::Absent,
                Side::Unknown(error) => Side::Unknown(error.clone()),
            }
        }
        Pairing { key: self.key.as_bytes(), source: lend(&self.source), destination: lend(&self.destination), proved: self.proved.as_deref() }
    }

    /// What was looked at so far.
    pub(crate) fn evidence(&self) -> Evidence<'_> {
        Evidence { source: self.here.as_ref(), destination: self.there.as_ref(), destination_looked: self.destination_looked, read: self.read }
    }

    /// What HEAD said of both ends, where both were looked at.
    pub(crate) fn infos(&self) -> Option<(&ObjectInfo, &ObjectInfo)> {
        self.here.as_ref().zip(self.there.as_ref())
    }

    /// What looking has shown of an unchanged object, for the journal. `None` where an end is not what its listing said any more.
    pub(crate) fn learnt(&self, when: Timestamp) -> Option<Proved> {
        let (Side::Present(source), Side::Present(destination)) = (&self.source, &self.destination) else { return None };
        let is = |info: &Option<ObjectInfo>, listed: &Listed| info.as_ref().is_none_or(|info| info.etag == listed.etag);
        if !is(&self.here, source) || !is(&self.there, destination) {
            return None;
        }
        let checksums = |info: &Option<ObjectInfo>| info.as_ref().map(stamp::known_checksums).unwrap_or_default();
        let (here, there) = (checksums(&self.here), checksums(&self.there));
        let proof = match here.agreement(&there) {
            Agreement::Equal(algorithm) => Proof::from(algorithm),
            Agreement::Different(_) => return None,
            // The stamp says whose copy it is, or the times do.
            Agreement::Unknown => Proof::None,
        };
        let end = |listed: &Listed| End { etag: listed.etag.clone(), version: None, modified: listed.modified, storage_class: listed.storage_class.clone() };
        let mut known = here;
        if proof != Proof::None {
            known.merge(&there);
        }
        let destination = End { modified: None, storage_class: String::new(), ..end(destination) };
        Some(Proved::new(source.size, (end(source), destination), &known, (proof, proof), when))
    }

    /// Looks at what is asked for. A source object that was listed and is gone is an error, since it was to be copied; only a key
    /// that nobody listed may turn out absent there.
    pub(crate) async fn look(&mut self, ends: &Ends, look: Look) -> Result<()> {
        let (source, destination) = (ends.source.key(self.key.as_bytes()), ends.destination.key(self.key.as_bytes()));
        let (here, there) = tokio::join!(head_if(look.source, &ends.source, &source), head_if(look.destination, &ends.destination, &destination));
        if look.source {
            match here? {
                Some(info) => {
                    // A link's listing tells of the link, HEAD of what it leads to.
                    if !matches!(&self.source, Side::Present(listed) if listed.kind != Kind::Symlink) {
                        self.source = Side::Present(Listed::of(self.key.clone(), &info));
                    }
                    self.here = Some(info);
                }
                None if matches!(self.source, Side::Present(_)) => {
                    return Err(Error::new(ErrorKind::NotFound, "it was listed and is gone now").on_key(&source).in_store(&ends.source.storage));
                }
                None => self.source = Side::Absent,
            }
        }
        if look.destination {
            self.there = there?;
            self.destination_looked = true;
            match &self.there {
                Some(info) if !matches!(self.destination, Side::Present(_)) => self.destination = Side::Present(Listed::of(self.key.clone(), info)),
                Some(_) => {}
                None => self.destination = Side::Absent,
            }
        }
        if look.read {
            self.read(ends, &source, &destination).await?;
        }
        Ok(())
    }

    /// Computes the checksums of what lies on local ends, by the algorithm that the other end can be held against.
    async fn read(&mut self, ends: &Ends, source: &Key, destination: &Key) -> Result<()> {
        self.read = true;
        let (Some(here), Some(there)) = (&mut self.here, &mut self.there) else { return Ok(()) };
        if ends.source_is_local() {
            here.checksums = digest(&*ends.source.storage, source, &here.etag, only_md5(there), None).await?;
        }
        if ends.destination_is_local() {
            there.checksums = digest(&*ends.destination.storage, destination, &there.etag, only_md5(here), None).await?;
        }
        Ok(())
    }
}

/// Whether an MD5 is all that can be compared with.
fn only_md5(info: &ObjectInfo) -> bool {
    let known = stamp::known_checksums(info);
    known.md5.is_some() && known.crc64xz.is_none() && known.crc64nvme.is_none()
}

async fn head_if(wanted: bool, location: &Location, key: &Key) -> Result<Option<ObjectInfo>> {
    if wanted { head(&*location.storage, key).await } else { Ok(None) }
}

/// What a store says of a key; `None` where it says that there is none.
pub(crate) async fn head(storage: &dyn Storage, key: &Key) -> Result<Option<ObjectInfo>> {
    match storage.head(&ObjectRef::from(key)).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.during("look at").on_key(key).in_store(storage)),
    }
}

/// Reads an object, pinned to its ETag where one is given, and computes both CRC-64s, and MD5 where that is asked for.
/// Bytes that are not what the store itself states are an [`ErrorKind::Integrity`] error.
/// Bytes are counted as they come, where a place to count them is given.
pub(crate) async fn digest(storage: &dyn Storage, key: &Key, etag: &ETag, with_md5: bool, moving: Option<&Moving>) -> Result<Checksums> {
    let read = async {
        let if_match = Some(etag.clone()).filter(|etag| !etag.is_empty());
        let opened = storage.get(&ObjectRef::from(key), Get { range: None, if_match }).await?;
        let mut body = opened.body;
        let mut crc = Crc64Hasher::new();
        let mut md5 = with_md5.then(md5::Md5::new);
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            crc.update(&chunk);
            if let Some(moving) = moving {
                moving.add(chunk.len() as u64);
            }
            if let Some(md5) = &mut md5 {
                md5.update(&chunk);
            }
        }
        let read = Checksums { md5: md5.map(|md5| md5.finalize().into()), ..crc.finish().checksums() };
        match read.agreement(&opened.info.checksums) {
            Agreement::Different(algorithm) => Err(Error::integrity(format!("the bytes read have another {algorithm} than the store states"))),
            Agreement::Equal(_) | Agreement::Unknown => Ok(read),
        }
    };
    read.await.map_err(|error: Error| error.during("read").on_key(key).in_store(storage))
}
