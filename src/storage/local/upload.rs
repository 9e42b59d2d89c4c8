//! Multipart uploads into a directory tree, which survive a restart.
//!
//! An upload is a directory with a temporary name beside the object's place. It holds `upload` (when it began, the metadata
//! `mtime`, the key), `slot` (the length of the part that came first), `data`, and for each part a record named by its number.
//! Part n of at most a slot's length lies in `data` at offset (n-1) x slot, so parts arrive in any order and from any process
//! with no shared memory. A longer part has a file of its own. Where all parts but the last fill their slots, which is how the
//! engine cuts, completing is one rename; any other geometry is joined in order first, which costs a copy on this disk.
//! A part's record appears after its bytes are flushed: what is listed is on disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fdatasync, fsync, ftruncate, linkat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::name::{Place, is_id, temporary, temporary_id};
use super::read;
use super::root::{RACES_MAX, Root, step};
use super::write::{check_target, install, refuse_wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Crc64, Crc64Hasher};
use crate::storage::{Attributes, Checksums, Complete, ETag, Key, OpenUpload, Part, PutOutput, Upload, UploadId, mtime};

const MANIFEST: &[u8] = b"upload";
const SLOT: &[u8] = b"slot";
const DATA: &[u8] = b"data";
const JOINED: &[u8] = b"joined";

/// An open upload's directory, and the directory that the object will stand in.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    parent: OwnedFd,
    own: OwnedFd,
}

/// What is on disk of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    crc64: Crc64,
    /// In `data`, at its slot; else in a file of its own.
    in_slot: bool,
}

fn unknown() -> Error {
    Error::new(ErrorKind::UploadNotFound, "there is no such upload")
}

fn io_error(e: Errno) -> Error {
    io::Error::from(e).into()
}

fn open_file(at: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<File> {
    Ok(openat(at, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))?.into())
}

/// Writes a small file whole: a crash leaves the old one or the new one.
fn write_record(at: &OwnedFd, name: &[u8], bytes: &[u8]) -> Result<()> {
    let growing = [name, b".new"].concat();
    let mut file = open_file(at, &growing, OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY).map_err(io_error)?;
    file.write_all(bytes)?;
    fdatasync(&file).map_err(io_error)?;
    renameat(at, &growing[..], at, name).map_err(io_error)?;
    fsync(at).map_err(io_error)
}

fn read_record(at: &OwnedFd, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match open_file(at, name, OFlags::RDONLY) {
        Ok(file) => file.take(64 << 10).read_to_end(&mut bytes).map(|_| Some(bytes)).map_err(Error::from),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(io_error(e)),
    }
}

fn number_name(number: u32) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn own_name(number: u32) -> Vec<u8> {
    format!("{number}.own").into_bytes()
}

impl Record {
    fn text(self) -> String {
        format!("{} {:016x} {:016x} {}", self.crc64.len, self.crc64.xz, self.crc64.nvme, if self.in_slot { "slot" } else { "own" })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let len = words.next()?.parse().ok()?;
        let mut hex = || u64::from_str_radix(words.next()?, 16).ok();
        let crc64 = Crc64 { xz: hex()?, nvme: hex()?, len };
        let in_slot = match words.next()? {
            "slot" => true,
            "own" => false,
            _ => return None,
        };
        Some(Self { crc64, in_slot })
    }

    fn part(self, number: u32) -> Part {
        let etag = ETag::new(&format!("{}-{:016x}", self.crc64.len, self.crc64.xz));
        Part { number, etag, size: self.crc64.len, checksums: self.crc64.checksums(), modified: None }
    }
}

/// Begins an upload.
pub(super) fn create(root: &Root, key: &Key, attributes: &Attributes, id: &str, now: Timestamp) -> Result<UploadId> {
    let place = Place::of(key)?;
    if place.name.is_empty() {
        return Err(Error::invalid("a key that ends in '/' is a directory here, and has no bytes"));
    }
    let name = temporary(place.name, id);
    let mut races = 0;
    let parent = loop {
        let parent = root.made_directory(place.directory, id)?;
        check_target(root, &parent, place.name, id)?;
        match mkdirat(&parent, &name[..], Mode::from_raw_mode(0o700)) {
            Ok(()) => break parent,
            Err(Errno::NOENT) if races < RACES_MAX => races += 1,
            Err(e) => return Err(io_error(e)),
        }
    };
    let own = step(parent.as_fd(), &name, false).map_err(io_error)?;
    let time = attributes.user.get(mtime::NAME).filter(|text| mtime::parse(text).is_some()).map_or("", String::as_str);
    write_record(&own, MANIFEST, &[format!("{now}\n{time}\n").as_bytes(), key.as_bytes()].concat())?;
    fsync(&parent).map_err(io_error)?;
    Ok(UploadId(id.to_owned()))
}

impl OpenDirectory {
    pub(super) fn open(root: &Root, upload: &Upload) -> Result<Self> {
        if !is_id(&upload.id.0) {
            return Err(unknown());
        }
        let place = Place::of(&upload.key)?;
        let opened = root.directory(place.directory, false).and_then(|parent| {
            let own = step(parent.as_fd(), &temporary(place.name, &upload.id.0), false)?;
            Ok(Self { parent, own })
        });
        let open = opened.map_err(|e| match e.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => unknown(),
            _ => e.into(),
        })?;
        match open.manifest()? {
            Some(manifest) if manifest.key == upload.key => Ok(open),
            _ => Err(unknown()),
        }
    }

    fn manifest(&self) -> Result<Option<Manifest>> {
        Ok(read_record(&self.own, MANIFEST)?.as_deref().and_then(Manifest::parse))
    }

    /// The slot's length: that of whichever part asks first, also among processes.
    fn slot(&self, len: u64, id: &str) -> Result<u64> {
        loop {
            if let Some(bytes) = read_record(&self.own, SLOT)? {
                let slot = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
                return slot.ok_or_else(|| Error::new(ErrorKind::Unexpected, "the upload's slot file is broken").advise("abort the upload and start over"));
            }
            let claim = format!("slot.{id}");
            write_record(&self.own, claim.as_bytes(), len.to_string().as_bytes())?;
            // A link, unlike a rename, fails where another was first.
            match linkat(&self.own, claim.as_bytes(), &self.own, SLOT, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(io_error(e)),
            }
            unlinkat(&self.own, claim.as_bytes(), AtFlags::empty()).map_err(io_error)?;
        }
    }

    fn record(&self, number: u32) -> Result<Option<Record>> {
        match read_record(&self.own, &number_name(number))? {
            None => Ok(None),
            Some(bytes) => Record::parse(&bytes).map(Some).ok_or_else(|| Error::new(ErrorKind::Unexpected, format!("the record of part {number} is broken"))),
        }
    }

    pub(super) fn parts(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for entry in Dir::read_from(&self.own).map_err(io_error)? {
            let entry = entry.map_err(io_error)?;
            let number = entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok());
            if let Some(number) = number
                && let Some(record) = self.record(number)?
            {
                let stat = statat(&self.own, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(io_error)?;
                let modified = read::modified(&stat);
                parts.push(Part { modified, ..record.part(number) });
            }
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Makes the object of its parts and puts it in place.
    pub(super) fn complete(self, root: &Root, upload: &Upload, parts: &[Part], complete: &Complete, id: &str) -> Result<PutOutput> {
        let chosen = self.chosen(parts)?;
        let whole = chosen.iter().fold(Crc64::default(), |whole, (_, record)| whole.then(record.crc64));
        refuse_wrong(complete.checksums.as_ref(), &whole.checksums())?;
        let slot = self.slot(0, id)?;
        let gapless = chosen
            .iter()
            .zip(1..)
            .all(|((number, record), expected)| *number == expected && record.in_slot && (record.crc64.len == slot || expected as usize == chosen.len()));
        let (file, name) = if gapless { (self.data()?, DATA) } else { (self.join(&chosen, slot)?, JOINED) };
        ftruncate(&file, whole.len).map_err(io_error)?;
        let place = Place::of(&upload.key)?;
        check_target(root, &self.parent, place.name, id)?;
        let time = self.manifest()?.ok_or_else(unknown)?.mtime;
        let user = time.map(|time| (mtime::NAME.to_owned(), time)).into_iter().collect();
        let attributes = Attributes { user, ..Attributes::default() };
        let stat = install(&file, &self.own, name, &self.parent, place.name, &attributes, complete.condition.as_ref())?;
        self.remove(place, &upload.id.0)?;
        Ok(PutOutput { etag: read::etag(&stat), checksums: whole.checksums(), ..PutOutput::default() })
    }

    fn chosen(&self, parts: &[Part]) -> Result<Vec<(u32, Record)>> {
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(Error::invalid("an upload is completed with at least one part, in ascending order"));
        }
        let held = |part: &Part| {
            let record = self.record(part.number)?.filter(|record| record.part(part.number).etag == part.etag);
            record.map(|record| (part.number, record)).ok_or_else(|| Error::invalid(format!("part {} is not held, or has another ETag", part.number)))
        };
        parts.iter().map(held).collect()
    }

    fn data(&self) -> Result<File> {
        open_file(&self.own, DATA, OFlags::CREATE | OFlags::RDWR).map_err(io_error)
    }

    fn join(&self, chosen: &[(u32, Record)], slot: u64) -> Result<File> {
        let mut joined = open_file(&self.own, JOINED, OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR).map_err(io_error)?;
        let mut data = self.data()?;
        for (number, record) in chosen {
            let copied = if record.in_slot {
                data.seek(SeekFrom::Start(u64::from(number - 1) * slot))?;
                io::copy(&mut Read::by_ref(&mut data).take(record.crc64.len), &mut joined)?
            } else {
                io::copy(&mut open_file(&self.own, &own_name(*number), OFlags::RDONLY).map_err(io_error)?, &mut joined)?
            };
            if copied != record.crc64.len {
                return Err(Error::integrity(format!("part {number} has {copied} bytes on disk, and {} were written", record.crc64.len)));
            }
        }
        Ok(joined)
    }

    /// Removes the upload's directory; its manifest last, so that a removal that broke off can be repeated.
    pub(super) fn remove(self, place: Place<'_>, id: &str) -> Result<()> {
        for entry in Dir::read_from(&self.own).map_err(io_error)? {
            let entry = entry.map_err(io_error)?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b".." | MANIFEST) {
                gone(unlinkat(&self.own, name, AtFlags::empty()))?;
            }
        }
        gone(unlinkat(&self.own, MANIFEST, AtFlags::empty()))?;
        gone(unlinkat(&self.parent, &temporary(place.name, id)[..], AtFlags::REMOVEDIR))
    }
}

fn gone(removed: rustix::io::Result<()>) -> Result<()> {
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(io_error(e)),
    }
}

/// Throws an upload away; one that is gone is thrown away already.
pub(super) fn abort(root: &Root, upload: &Upload) -> Result<()> {
    let place = Place::of(&upload.key)?;
    match OpenDirectory::open(root, upload) {
        Ok(open) => open.remove(place, &upload.id.0)?,
        Err(e) if e.kind() == ErrorKind::UploadNotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    root.prune(place.directory);
    Ok(())
}

/// What the upload in the directory `name` says of itself; `None` where it says nothing, because it was never begun whole.
pub(super) fn describe(root: &Root, directory: &[u8], name: &[u8]) -> Result<Option<OpenUpload>> {
    let opened = root.directory(directory, false).and_then(|parent| Ok(step(parent.as_fd(), name, false)?));
    let own = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let manifest = read_record(&own, MANIFEST)?.as_deref().and_then(Manifest::parse);
    Ok(manifest.zip(temporary_id(name)).map(|(manifest, id)| OpenUpload {
        upload: Upload { key: manifest.key, id: UploadId(id.to_owned()) },
        initiated: Some(manifest.initiated),
        storage_class: None,
    }))
}

struct Manifest {
    initiated: Timestamp,
    mtime: Option<String>,
    key: Key,
}

impl Manifest {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.splitn(3, |b| *b == b'\n');
        let mut text = || std::str::from_utf8(lines.next()?).ok();
        let (initiated, mtime) = (text()?.parse().ok()?, text()?);
        let key = Key::from(lines.next()?);
        Some(Self { initiated, mtime: (!mtime.is_empty()).then(|| mtime.to_owned()), key })
    }
}

/// A part on its way to disk.
#[derive(Debug)]
pub(super) struct PartWriter {
    open: OpenDirectory,
    number: u32,
    file: File,
    offset: u64,
    in_slot: bool,
    crc64: Crc64Hasher,
}

impl PartWriter {
    pub(super) fn begin(root: &Root, upload: &Upload, number: u32, len: u64, id: &str) -> Result<Self> {
        let open = OpenDirectory::open(root, upload)?;
        let slot = open.slot(len, id)?;
        // An earlier try of this part stops counting before its bytes are overwritten.
        gone(unlinkat(&open.own, number_name(number), AtFlags::empty()))?;
        let in_slot = len <= slot;
        let (file, offset) = if in_slot {
            (open.data()?, u64::from(number - 1) * slot)
        } else {
            (open_file(&open.own, &own_name(number), OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY).map_err(io_error)?, 0)
        };
        Ok(Self { open, number, file, offset, in_slot, crc64: Crc64Hasher::new() })
    }

    pub(super) fn write(&mut self, chunks: &[Bytes]) -> Result<()> {
        for chunk in chunks {
            self.crc64.update(chunk);
            self.file.write_all_at(chunk, self.offset)?;
            self.offset += chunk.len() as u64;
        }
        Ok(())
    }

    pub(super) fn finish(self, claimed: Option<&Checksums>) -> Result<Part> {
        let record = Record { crc64: self.crc64.finish(), in_slot: self.in_slot };
        refuse_wrong(claimed, &record.crc64.checksums())?;
        fdatasync(&self.file).map_err(io_error)?;
        write_record(&self.open.own, &number_name(self.number), record.text().as_bytes())?;
        Ok(record.part(self.number))
    }
}
