//! Writing files whole: a temporary file beside the place, flushed, then renamed into it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, fdatasync, fstat, fsync, futimens, linkat, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::name::{Place, temporary};
use super::read;
use super::root::{RACES_MAX, Root, refuse_other_spelling};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Agreement, Crc64Hasher};
use crate::storage::{Attributes, Checksums, Condition, Key, PutOutput, mtime};

/// A file that grows under a temporary name, and is removed unless it is finished.
#[derive(Debug)]
pub(super) struct Partial {
    directory: OwnedFd,
    temporary: Vec<u8>,
    file: File,
    crc64: Crc64Hasher,
}

impl Partial {
    pub(super) fn create(root: &Root, key: &Key, id: &str) -> Result<Self> {
        let place = Place::of(key)?;
        let temporary = temporary(place.name, id);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut races = 0;
        loop {
            let directory = root.made_directory(place.directory, id)?;
            check_target(root, &directory, place.name, id)?;
            match openat(&directory, &temporary[..], flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => return Ok(Self { directory, temporary, file: file.into(), crc64: Crc64Hasher::new() }),
                // A delete of the directory's last file removed it under our hands.
                Err(Errno::NOENT) if races < RACES_MAX => races += 1,
                Err(e) => return Err(io::Error::from(e).into()),
            }
        }
    }

    pub(super) fn write(&mut self, chunks: &[Bytes]) -> Result<()> {
        for chunk in chunks {
            self.crc64.update(chunk);
            self.file.write_all(chunk)?;
        }
        Ok(())
    }

    /// Puts the file in its place. The output's checksums are those of the bytes that were handed to the kernel and flushed.
    pub(super) fn finish(self, key: &Key, attributes: &Attributes, claimed: Option<&Checksums>, condition: Option<&Condition>) -> Result<PutOutput> {
        let checksums = self.crc64.finish().checksums();
        refuse_wrong(claimed, &checksums)?;
        let stat = install(&self.file, &self.directory, &self.temporary, &self.directory, Place::of(key)?.name, attributes, condition)?;
        Ok(PutOutput { etag: read::etag(&stat), checksums, ..PutOutput::default() })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename the name is gone; otherwise nothing may be left of a write that broke off.
        match unlinkat(&self.directory, &self.temporary[..], AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => tracing::warn!(name = %Key::from(&self.temporary[..]), error = %e, "a temporary file stays behind"),
        }
    }
}

/// Fails where the sender's checksums are not those of what arrived.
pub(super) fn refuse_wrong(claimed: Option<&Checksums>, truth: &Checksums) -> Result<()> {
    match claimed.map(|c| c.agreement(truth)) {
        Some(Agreement::Different(algorithm)) => Err(Error::integrity(format!("the bytes that arrived do not have the {algorithm} that was sent with them"))),
        _ => Ok(()),
    }
}

/// Refuses a place that a file cannot take.
pub(super) fn check_target(root: &Root, directory: &OwnedFd, name: &[u8], id: &str) -> Result<()> {
    if root.folds_case(id)? {
        refuse_other_spelling(directory.as_fd(), name)?;
    }
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Directory) => Err(Error::invalid("a directory of that name is here, and a filesystem cannot hold both")),
        _ => Ok(()),
    }
}

/// Flushes a file and gives it its name; its stat afterwards. The directory is flushed too: what is reported as done survives a
/// power cut.
pub(super) fn install(
    file: &File,
    from: &OwnedFd,
    temporary: &[u8],
    directory: &OwnedFd,
    name: &[u8],
    attributes: &Attributes,
    condition: Option<&Condition>,
) -> Result<Stat> {
    if let Some(text) = attributes.user.get(mtime::NAME) {
        match mtime::parse(text) {
            Some((seconds, nanos)) => set_modified(file, seconds, nanos)?,
            None => tracing::warn!(key = %Key::from(name), mtime = text.escape_default().to_string(), "the metadata mtime is no time, and is left out"),
        }
    }
    fdatasync(file).map_err(io::Error::from)?;
    match condition {
        Some(Condition::Absent) => rename_new(from, temporary, directory, name)?,
        Some(Condition::Matches(_)) => return Err(Error::unsupported("compare-and-swap writes are not atomic on a filesystem")),
        None => renameat(from, temporary, directory, name).map_err(io::Error::from)?,
    }
    fsync(directory).map_err(io::Error::from)?;
    Ok(fstat(file).map_err(io::Error::from)?)
}

fn set_modified(file: &File, seconds: i64, nanos: u32) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    futimens(file, &Timestamps { last_access: time, last_modification: time }).map_err(io::Error::from)?;
    Ok(())
}

/// Renames only where nothing is there: in one call, or by a hard link where the filesystem does not know that call.
fn rename_new(from: &OwnedFd, temporary: &[u8], directory: &OwnedFd, name: &[u8]) -> Result<()> {
    let renamed = match renameat_with(from, temporary, directory, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            linkat(from, temporary, directory, name, AtFlags::empty()).and_then(|()| unlinkat(from, temporary, AtFlags::empty()))
        }
        other => other,
    };
    renamed.map_err(|e| match e {
        Errno::EXIST => Error::new(ErrorKind::Exists, "a file is there already"),
        e => io::Error::from(e).into(),
    })
}

/// Makes the directory that stands for a folder marker.
pub(super) fn make_folder(root: &Root, key: &Key, id: &str, condition: Option<&Condition>) -> Result<PutOutput> {
    let place = Place::of(key)?;
    if condition == Some(&Condition::Absent) && root.directory(place.directory, false).is_ok() {
        return Err(Error::new(ErrorKind::Exists, "the directory is there already"));
    }
    let stat = fstat(root.made_directory(place.directory, id)?).map_err(io::Error::from)?;
    let checksums = Crc64Hasher::new().finish().checksums();
    Ok(PutOutput { etag: read::directory_info(&stat).etag, checksums, ..PutOutput::default() })
}

/// Removes a file, or the directory of a folder marker if it is empty, and what directories that leaves empty.
pub(super) fn delete(root: &Root, key: &Key) -> Result<()> {
    let Ok(place) = Place::of(key) else { return Ok(()) };
    if place.name.is_empty() {
        root.prune(place.directory);
        return Ok(());
    }
    let directory = match root.directory(place.directory, false) {
        Ok(directory) => directory,
        Err(e) => return gone_already(e.raw_os_error().map(Errno::from_raw_os_error), e.into()),
    };
    match unlinkat(&directory, place.name, AtFlags::empty()) {
        Ok(()) => {
            drop(directory);
            root.prune(place.directory);
            Ok(())
        }
        // A directory is no object under this key.
        Err(Errno::ISDIR) => Ok(()),
        Err(Errno::PERM) if is_directory(&directory, place.name) => Ok(()),
        Err(e) => gone_already(Some(e), io::Error::from(e).into()),
    }
}

fn is_directory(directory: &OwnedFd, name: &[u8]) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn gone_already(errno: Option<Errno>, e: Error) -> Result<()> {
    match errno {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(()),
        _ => Err(e.advise("give this user leave to write in its directory")),
    }
}
