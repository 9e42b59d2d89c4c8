//! The directory that a journal lies in: made, looked at before anything is written there, and its failures told.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::OWN_MARK;

/// What stands in the file that marks the directory.
const MARK_TEXT: &str = "Dragon keeps its journals here; it never copies or deletes this directory.\n";

/// What must be free before a run begins, in bytes: the write-ahead log at its largest (16 MiB, and as much again while it is folded
/// in) with room for a few hundred thousand proofs. A run that begins with less would stop midway.
const FREE_MIN_BYTES: u64 = 64 << 20;

/// What to do where a directory of this machine takes no journal.
pub(crate) const ADVICE: &str = "name another directory with --state-dir DIR, or keep no state with --state-dir none";

/// File systems of another machine, by Linux's `f_type` (statfs(2), linux/magic.h). SQLite's write-ahead log lives in memory that
/// processes share, which these do not give (sqlite.org/wal.html), and their locks are known to lie.
const REMOTE: [(i64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9P"),
];

/// Makes a directory for this user alone, with those above it, and makes their names last.
pub(crate) fn make(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make(parent)?;
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            made => made.map_err(|e| failed(dir, "the state directory cannot be made", &e))?,
        }
        return sync(parent);
    }
    DirBuilder::new().mode(0o700).create(dir).map_err(|e| failed(dir, "the state directory cannot be made", &e))
}

/// Makes the names in a directory last.
pub(crate) fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| failed(dir, "the state directory cannot be written", &e))
}

/// Refuses a directory that is on another machine, or nearly full.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let look = |e: rustix::io::Errno| failed(dir, "the state directory cannot be looked at", &e.into());
    #[cfg(target_os = "linux")]
    if let Some(name) = remote(rustix::fs::statfs(dir).map_err(look)?.f_type as i64) {
        let message = format!("the state directory {} is on another machine ({name}), where a journal cannot be kept safely", dir.display());
        return Err(Error::new(ErrorKind::Disk, message)
            .advise("name a directory on a disk of this machine with --state-dir DIR, or keep no state with --state-dir none"));
    }
    let space = rustix::fs::statvfs(dir).map_err(look)?;
    free_enough(dir, space.f_bavail.saturating_mul(space.f_frsize))
}

/// Whether a file can be made there: permission bits alone do not tell.
pub(crate) fn probe(dir: &Path) -> Result<()> {
    // Two processes may do so at once; the name is the same and the file empty.
    let path = dir.join(".probe");
    let made = File::create(&path).and_then(|_| match std::fs::remove_file(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    });
    // A run that copies or empties the tree around it is not to find its own journal there.
    let mark = dir.join(OWN_MARK);
    let marked = made.and_then(|()| if mark.exists() { Ok(()) } else { std::fs::write(&mark, MARK_TEXT) });
    marked.map_err(|e| failed(dir, "the state directory cannot be written", &e))
}

/// The name of a remote file system.
fn remote(f_type: i64) -> Option<&'static str> {
    // Some architectures give 32 bits, with the sign extended.
    let f_type = f_type & 0xffff_ffff;
    REMOTE.iter().find(|(known, _)| *known == f_type).map(|(_, name)| *name)
}

fn free_enough(dir: &Path, free_bytes: u64) -> Result<()> {
    if free_bytes >= FREE_MIN_BYTES {
        return Ok(());
    }
    let message = format!("the disk of the state directory {} has {} MiB left, and a run wants {}", dir.display(), free_bytes >> 20, FREE_MIN_BYTES >> 20);
    Err(Error::new(ErrorKind::Disk, message).advise(format!("free some space, {ADVICE}")))
}

/// Tells why the directory or a file of it does not serve.
pub(crate) fn failed(path: &Path, what: &str, e: &io::Error) -> Error {
    let place = path.display();
    let (why, advice) = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ("the disk is full".to_owned(), format!("free some space, {ADVICE}")),
        io::ErrorKind::ReadOnlyFilesystem => ("the file system is mounted read-only".to_owned(), ADVICE.to_owned()),
        io::ErrorKind::PermissionDenied => (denied(path), ADVICE.to_owned()),
        _ => (e.to_string(), ADVICE.to_owned()),
    };
    Error::new(ErrorKind::Disk, format!("{what}: {place}: {why}")).advise(advice)
}

/// Who owns what this process may not touch: the usual reason is an earlier run as another user.
fn denied(path: &Path) -> String {
    let own = rustix::process::geteuid().as_raw();
    let owner = path.ancestors().find_map(|known| Some((known, known.metadata().ok()?.uid())));
    match owner {
        Some((known, uid)) if uid != own => format!("permission denied: {} belongs to the user with id {uid}, and this process runs as {own}", known.display()),
        _ => "permission denied".to_owned(),
    }
}

/// Runs what blocks on the disk where it blocks nobody.
pub(crate) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(|e| Error::new(ErrorKind::Unexpected, "a task that reads or writes the journal died").caused_by(e))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_another_machine_is_known_by_its_number() {
        assert_eq!(remote(0x6969), Some("NFS"));
        assert_eq!(remote(i64::from(0xff53_4d42_u32.cast_signed())), Some("CIFS"), "as 32-bit machines tell it");
        for local in [0xef53, 0x0102_1994, 0x9123_683e, 0x5846_5342, 0x794c_7630, 0x2fc1_2fc1] {
            assert_eq!(remote(local), None, "{local:x}");
        }
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_refused_before_the_run_begins() {
        let dir = Path::new("/var/lib/dragon");
        assert!(free_enough(dir, FREE_MIN_BYTES).is_ok());
        let error = free_enough(dir, 3 << 20).expect_err("refused");
        let text = error.to_string();
        assert!(error.kind() == ErrorKind::Disk && text.contains("3 MiB left") && text.contains("/var/lib/dragon") && text.contains("--state-dir"), "{text}");
    }

    #[test]
    fn a_directory_is_made_for_its_owner_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let deep = root.path().join("a/b");
        make(&deep).expect("made");
        make(&deep).expect("there already");
        assert_eq!(deep.metadata().expect("there").mode() & 0o777, 0o700);
        std::fs::write(root.path().join("file"), "").expect("a file");
        let error = make(&root.path().join("file/c")).expect_err("a file is in the way");
        assert!(error.kind() == ErrorKind::Disk && error.to_string().contains("file"), "{error}");
    }
}
