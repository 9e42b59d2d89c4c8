//! Reading files that may change meanwhile.

use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::{Errno, pread};

use super::blocking;
use super::name::Place;
use super::root::Root;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::mtime;
use crate::storage::payload::ByteStream;
use crate::storage::slab::{SLAB_BYTES, Slab, Slabs};
use crate::storage::{Attributes, ETag, Get, GetOutput, Key, Kind, ObjectInfo};

/// The ETag of a directory that stands for a folder marker: its own times change with every file in it.
const DIRECTORY_ETAG: &str = "directory";

/// Size, times and inode: what changes when a file does. The inode change time cannot be set back by a program.
pub(super) fn etag(stat: &Stat) -> ETag {
    let nanos = |seconds: i64, nanos: u32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (modified, changed) = (nanos(seconds(stat), subsecond(stat)), nanos(stat.st_ctime, stat.st_ctime_nsec as u32));
    ETag::new(&format!("{}-{modified}-{changed}-{}", stat.st_size, stat.st_ino))
}

fn seconds(stat: &Stat) -> i64 {
    stat.st_mtime
}

fn subsecond(stat: &Stat) -> u32 {
    stat.st_mtime_nsec as u32
}

pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

pub(super) fn modified(stat: &Stat) -> Option<jiff::Timestamp> {
    mtime::timestamp(seconds(stat), subsecond(stat))
}

/// What is known of a file.
pub(super) fn info(stat: &Stat) -> ObjectInfo {
    let user = [(mtime::NAME.to_owned(), mtime::text(seconds(stat), subsecond(stat)))].into();
    let attributes = Attributes { user, ..Attributes::default() };
    ObjectInfo { size: size(stat), etag: etag(stat), modified: modified(stat), attributes, ..ObjectInfo::default() }
}

/// What is known of a folder marker.
pub(super) fn directory_info(stat: &Stat) -> ObjectInfo {
    ObjectInfo { etag: ETag::new(DIRECTORY_ETAG), modified: modified(stat), ..ObjectInfo::default() }
}

fn absent() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such file")
}

/// What a failed look means to a reader: a name that cannot be is not there.
fn reading(e: impl Into<io::Error>) -> Error {
    let e: io::Error = e.into();
    match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => absent(),
        Some(Errno::ACCESS | Errno::PERM) => Error::from(e).advise("give this user leave to read it"),
        _ => e.into(),
    }
}

fn flags(follow: bool) -> AtFlags {
    if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
}

pub(super) fn head(root: &Root, key: &Key, follow: bool) -> Result<ObjectInfo> {
    let Ok(place) = Place::of(key) else { return Err(absent()) };
    let directory = root.directory(place.directory, follow).map_err(reading)?;
    if place.name.is_empty() {
        return Ok(directory_info(&fstat(&directory).map_err(reading)?));
    }
    let stat = statat(&directory, place.name, flags(follow)).map_err(reading)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(info(&stat)),
        FileType::Directory => Err(absent()),
        FileType::Symlink => Ok(ObjectInfo { kind: Kind::Symlink, modified: modified(&stat), ..ObjectInfo::default() }),
        _ => Ok(ObjectInfo { kind: Kind::Special, modified: modified(&stat), ..ObjectInfo::default() }),
    }
}

/// Opens a file and reads the first chunk: a small file costs one hop to a blocking thread.
pub(super) fn get(root: &Root, key: &Key, get: &Get, follow: bool, slabs: &Slabs) -> Result<GetOutput> {
    let info = head(root, key, follow)?;
    match info.kind {
        Kind::Symlink => return Err(Error::unsupported("this is a symbolic link").advise("--follow-symlinks reads what it leads to")),
        Kind::Special => return Err(Error::unsupported("this is a device, socket or pipe")),
        _ if key.is_folder() => {
            let info = matching(info, get)?;
            return Ok(GetOutput { info, range: 0..0, body: stream::empty().boxed() });
        }
        _ => {}
    }
    let place = Place::of(key)?;
    let directory = root.directory(place.directory, follow).map_err(reading)?;
    // Should a pipe have taken its place meanwhile, opening it must not wait for a writer.
    let open = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = if follow { open } else { open | OFlags::NOFOLLOW };
    let file = File::from(openat(&directory, place.name, open, Mode::empty()).map_err(reading)?);
    let stat = fstat(&file).map_err(reading)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(absent());
    }
    let info = matching(self::info(&stat), get)?;
    let range = get.range.clone().unwrap_or(0..info.size);
    if get.range.is_some() && (range.is_empty() || range.end > info.size) {
        return Err(Error::invalid(format!("the range {}..{} is not within {} bytes", range.start, range.end, info.size)));
    }
    let mut reader = Reader { file, etag: info.etag.clone(), left: range.clone() };
    let first = reader.read(reader.slab(slabs))?;
    Ok(GetOutput { info, range, body: body(reader, first, slabs.clone()) })
}

fn matching(info: ObjectInfo, get: &Get) -> Result<ObjectInfo> {
    match &get.if_match {
        Some(etag) if *etag != info.etag => Err(Error::new(ErrorKind::Changed, format!("the file is {}, not {etag}", info.etag))),
        _ => Ok(info),
    }
}

/// What is left to read of a file that must stay as it is.
struct Reader {
    file: File,
    etag: ETag,
    left: Range<u64>,
}

impl Reader {
    /// A buffer for the next bytes: one that is large enough that a hop to a blocking thread does not show.
    fn slab(&self, slabs: &Slabs) -> Slab {
        slabs.take(usize::try_from(self.left.end - self.left.start).unwrap_or(SLAB_BYTES))
    }

    /// Fills the buffer, or as much of it as there are bytes left. The file is looked at again after its last byte was read.
    fn read(&mut self, mut slab: Slab) -> Result<Bytes> {
        let bytes = slab.bytes();
        let len = bytes.capacity().min(usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX));
        while bytes.len() < len {
            let at = self.left.start + bytes.len() as u64;
            match pread(&self.file, spare_capacity(bytes), at) {
                Ok(0) => return Err(changed("it became shorter")),
                Ok(_) | Err(Errno::INTR) => bytes.truncate(len),
                Err(e) => return Err(io::Error::from(e).into()),
            }
        }
        self.left.start += len as u64;
        if self.left.is_empty() {
            let now = etag(&fstat(&self.file).map_err(io::Error::from)?);
            if now != self.etag {
                return Err(changed(&format!("it was {} and is {now}", self.etag)));
            }
        }
        Ok(slab.freeze())
    }
}

fn changed(how: &str) -> Error {
    Error::new(ErrorKind::Changed, format!("the file changed while it was read: {how}"))
}

fn body(reader: Reader, first: Bytes, slabs: Slabs) -> ByteStream {
    // A file that was replaced has a new inode and this one is read to its end, unlinked; one that is written in place is noticed.
    let rest = stream::try_unfold((reader, slabs), |(mut reader, slabs)| async move {
        if reader.left.is_empty() {
            return Ok(None);
        }
        // Taken here: what a thread for blocking work allocates stays with it for long after it is freed.
        let slab = reader.slab(&slabs);
        blocking(move || Ok(Some((reader.read(slab)?, (reader, slabs))))).await
    });
    stream::iter((!first.is_empty()).then_some(Ok(first))).chain(rest).boxed()
}
