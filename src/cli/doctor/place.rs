//! A local end: whether the directory is there, can be read or written, and how much fits.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::session::Session;
use crate::error::{Error, ErrorKind, Result};

use super::Role;
use super::findings::Findings;

/// Examines a directory.
pub(super) fn examine(session: &Session, role: Role, directory: &Path, findings: &mut Findings<'_>) -> Result<(), Failure> {
    let shown = directory.display();
    let missing = || Error::new(ErrorKind::BucketNotFound, format!("there is no directory {shown}"));
    match std::fs::metadata(directory) {
        Ok(found) if !found.is_dir() => {
            return findings
                .fail("directory", &Error::invalid(format!("{shown} is no directory")).advise("name the directory that it is in, or use cp for one file"));
        }
        Ok(_) => findings.fine("directory", format_args!("{shown} is there"))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && role == Role::Destination => findings.fine("directory", format_args!("{shown} will be made"))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return findings.fail("directory", &missing().advise("check the path")),
        Err(e) => return findings.fail("directory", &Error::from(e).during("look at").on_key(shown)),
    }
    match role {
        Role::Source => {
            findings.settle("read", std::fs::read_dir(directory).map(|_| "allowed".to_owned()).map_err(|e| Error::from(e).during("read").on_key(shown)))
        }
        Role::Destination => {
            // What is not there will be made in the nearest directory that is.
            let there = directory.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("."));
            findings.settle("write", write(session, there).map(|()| format!("allowed in {}", there.display())))?;
            findings.settle("space", free_bytes(there).map(|bytes| format!("{} free", human::bytes(bytes))))
        }
    }
}

/// Makes a file and removes it.
fn write(session: &Session, directory: &Path) -> Result<()> {
    let file = directory.join(format!(".dragon-doctor-{}", session.clock.random_id()));
    let named = |operation, e: std::io::Error| Error::from(e).during(operation).on_key(file.display()).advise("give this user the right to write there");
    std::fs::write(&file, b"dragon doctor").map_err(|e| named("write", e))?;
    std::fs::remove_file(&file).map_err(|e| named("remove", e))
}

fn free_bytes(directory: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(directory).map_err(|e| Error::from(std::io::Error::from(e)).during("look at").on_key(directory.display()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
