//! One run at a time on a pair: an advisory lock that dies with its process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{RunInfo, disk};
use crate::error::{Error, ErrorKind, Result};

/// Held as long as it lives; the kernel lets it go when the process dies, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, and says in the file who has it.
    ///
    /// Fails with [`ErrorKind::Local`] where somebody else has it, by their process id.
    pub(crate) fn take(path: &Path, run: &RunInfo) -> Result<Self> {
        let failed = |e: std::io::Error| disk::failed(path, "the pair's lock cannot be written", &e);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = open.map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Its holder may have removed the whole journal meanwhile: a file that has no name any more keeps nobody out.
            Ok(()) if is_at(&file, path) => {}
            Ok(()) | Err(Errno::WOULDBLOCK) => return Err(held(file)),
            Err(e) => return Err(failed(e.into())),
        }
        let name = format!("process {} of {} on {}\n", run.pid, run.user, run.host);
        file.set_len(0).and_then(|()| file.write_all(name.as_bytes())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Whether a file is the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().ok().map(identity) == path.metadata().ok().map(identity)
}

/// Names the holder. The holder may be just about to write its name.
fn held(file: File) -> Error {
    let mut name = String::new();
    let holder = match file.take(1024).read_to_string(&mut name) {
        Ok(_) if !name.trim().is_empty() => name.trim(),
        _ => "another process",
    };
    Error::new(ErrorKind::Local, format!("{holder} is at work between the same two places"))
        .advise("wait for it, or end it: what it has done stays done, and its lock goes with it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is_and_gets_the_lock_after_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let run = |pid| RunInfo { host: "bj-1".into(), user: "ops".into(), pid, what: "sync".into() };
        let first = Lock::take(&path, &run(71_234)).expect("free");
        let error = Lock::take(&path, &run(2)).expect_err("taken");
        assert!(error.kind() == ErrorKind::Local && error.to_string().contains("process 71234 of ops on bj-1"), "{error}");
        drop(first);
        let _second = Lock::take(&path, &run(2)).expect("free again");
        assert!(Lock::take(&path, &run(3)).expect_err("taken").to_string().contains("process 2 "));
    }
}
