//! The way from the root to a directory, on which no link leads out.
//!
//! Every step opens one name relative to the directory before it with `O_NOFOLLOW`, so a link in the way is noticed rather than
//! followed, also where somebody puts it there at that moment. (openat2's RESOLVE_BENEATH would save system calls, but not every
//! kernel and sandbox has it, and two ways would have to be proved instead of one.)

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, fsync, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::name::{steps, temporary};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Key;

/// New directories are removed by a concurrent delete of their last file; making them again a few times wins in the end.
pub(super) const RACES_MAX: u32 = 16;

#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    pub(super) path: PathBuf,
    folds_case: OnceLock<bool>,
}

/// Why the root cannot be made: never an absence, nothing was looked for.
fn unmade(e: io::Error) -> Error {
    let why = match e.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "the directory cannot be made: a file is in its way",
        _ => "the directory cannot be made",
    };
    Error::new(ErrorKind::Local, why).caused_by(e).advise("check the path, and that this user may write there")
}

impl Root {
    pub(super) fn open(path: &Path, create: bool) -> Result<Self> {
        if create {
            std::fs::create_dir_all(path).map_err(unmade)?;
        }
        let path = path.canonicalize().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::new(ErrorKind::BucketNotFound, "there is no such directory"),
            _ => e.into(),
        })?;
        let fd = openat(CWD, &path, directory_flags(true), Mode::empty()).map_err(|e| match e {
            Errno::NOTDIR => Error::invalid("this is a file, not a directory"),
            _ => io::Error::from(e).into(),
        })?;
        Ok(Self { fd, path, folds_case: OnceLock::new() })
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.fd)?)
    }

    /// Fails where the root was removed since: its listing would look like an empty one.
    pub(super) fn check_present(&self) -> Result<()> {
        if self.stat()?.st_nlink == 0 {
            return Err(Error::new(ErrorKind::BucketNotFound, "the directory was removed while it was in use"));
        }
        Ok(())
    }

    /// Opens a directory that is there.
    pub(super) fn directory(&self, directory: &[u8], follow: bool) -> io::Result<OwnedFd> {
        let mut at = step(self.fd.as_fd(), b".", false)?;
        for name in steps(directory) {
            at = step(at.as_fd(), name, follow)?;
        }
        Ok(at)
    }

    /// Opens a directory for writing in it, and makes what is missing on the way.
    pub(super) fn made_directory(&self, directory: &[u8], id: &str) -> Result<OwnedFd> {
        let folds = self.folds_case(id)?;
        let mut races = 0;
        loop {
            match self.try_make(directory, folds) {
                Err(e) if e.kind() == ErrorKind::NotFound && races < RACES_MAX => races += 1,
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    self.check_present()?;
                    return Err(Error::new(ErrorKind::Local, "its directory is removed as often as it is made"));
                }
                other => return other,
            }
        }
    }

    fn try_make(&self, directory: &[u8], folds: bool) -> Result<OwnedFd> {
        let mut at = step(self.fd.as_fd(), b".", false).map_err(io::Error::from)?;
        for name in steps(directory) {
            at = match step(at.as_fd(), name, false) {
                Ok(next) => {
                    if folds {
                        refuse_other_spelling(at.as_fd(), name)?;
                    }
                    next
                }
                Err(Errno::NOENT) => {
                    match mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) => fsync(&at).map_err(io::Error::from)?,
                        Err(Errno::EXIST) => {}
                        Err(e) => return Err(io::Error::from(e).into()),
                    }
                    step(at.as_fd(), name, false).map_err(io::Error::from)?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(in_the_way(at.as_fd(), name)),
                Err(e) => return Err(io::Error::from(e).into()),
            };
        }
        Ok(at)
    }

    /// Removes directories that a delete left empty, from the deepest up: a prefix without keys does not exist.
    pub(super) fn prune(&self, directory: &[u8]) {
        let mut left = directory;
        while !left.is_empty() {
            let (parent, name) = match memchr::memrchr(b'/', left) {
                Some(at) => (&left[..at], &left[at + 1..]),
                None => (&b""[..], left),
            };
            // Any failure ends it: most often the directory is not empty.
            let removed = self.directory(parent, false).and_then(|at| Ok(unlinkat(&at, name, AtFlags::REMOVEDIR)?));
            if removed.is_err() {
                return;
            }
            left = parent;
        }
    }

    /// Whether the filesystem takes `a` and `A` for one name, found out by trying once.
    pub(super) fn folds_case(&self, id: &str) -> Result<bool> {
        if let Some(folds) = self.folds_case.get() {
            return Ok(*folds);
        }
        let lower = temporary(b"probe", id);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.fd, &lower[..], flags, Mode::from_raw_mode(0o600)) {
            // Somebody else probes under the same id, which is as good.
            Ok(_) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => {
                self.check_present()?;
                return Err(io::Error::from(Errno::NOENT).into());
            }
            Err(e) => return Err(io::Error::from(e).into()),
        }
        let folds = statat(&self.fd, lower.to_ascii_uppercase(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        unlinkat(&self.fd, &lower[..], AtFlags::empty()).map_err(io::Error::from)?;
        Ok(*self.folds_case.get_or_init(|| folds))
    }
}

fn directory_flags(follow: bool) -> OFlags {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if follow { flags } else { flags | OFlags::NOFOLLOW }
}

/// Opens one directory in another.
pub(super) fn step(at: BorrowedFd<'_>, name: &[u8], follow: bool) -> rustix::io::Result<OwnedFd> {
    openat(at, name, directory_flags(follow), Mode::empty())
}

/// Says what stands where a directory is needed.
fn in_the_way(at: BorrowedFd<'_>, name: &[u8]) -> Error {
    let name = Key::from(name);
    match statat(at, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Symlink) => Error::invalid(format!("'{name}' is a symbolic link, and writes never follow one"))
            .advise("put a directory in its place, or name the link's target as the destination"),
        _ => Error::invalid(format!("'{name}' is a file here, so that nothing can lie beneath it")),
    }
}

/// Where the filesystem folds case: refuses a name that is there in another spelling, which a write would replace.
pub(super) fn refuse_other_spelling(at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(io::Error::from(e).into()),
        Ok(_) => {}
    }
    let names = Dir::read_from(at).map_err(io::Error::from)?;
    spelled_so(name, names.map(|entry| Ok(entry.map_err(io::Error::from)?.file_name().to_bytes().to_vec())))
}

/// `name` was found; is it among the names as they are spelled?
fn spelled_so(name: &[u8], mut names: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let spelled = names.try_fold(false, |found, other| Ok::<_, Error>(found || other? == name))?;
    if spelled {
        return Ok(());
    }
    Err(Error::invalid(format!("the filesystem holds another spelling of '{}', and takes both for one name", Key::from(name)))
        .advise("use a filesystem that tells upper from lower case, or rename one of the objects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_spelling_is_refused() {
        let names = |names: &[&str]| names.iter().map(|n| Ok(n.as_bytes().to_vec())).collect::<Vec<_>>().into_iter();
        assert!(spelled_so(b"a", names(&["b", "a"])).is_ok());
        assert_eq!(spelled_so(b"a", names(&["b", "A"])).expect_err("refused").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn the_probe_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path(), false).expect("opened");
        let folds = root.folds_case("0123456789abcdef").expect("probed");
        assert_eq!(folds, folder.path().join("X").exists() && folder.path().join("x").exists());
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 0);
    }

    #[test]
    fn a_removed_root_is_no_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path(), false).expect("opened");
        folder.close().expect("removed");
        assert_eq!(root.check_present().expect_err("gone").kind(), ErrorKind::BucketNotFound);
        assert_eq!(root.made_directory(b"a", "0123456789abcdef").expect_err("gone").kind(), ErrorKind::BucketNotFound);
    }
}
