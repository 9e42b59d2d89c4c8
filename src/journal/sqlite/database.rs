//! One database file: opened with care, and its failures told.
//!
//! Whatever is wrong with a file, it is left as it is: nothing is deleted, renamed or repaired here.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::schema;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Pair, disk};

/// How long to wait for somebody who looks into the file with another program.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages of 4 KiB that the write-ahead log gathers before it is folded in: 16 MiB, so that a page is folded in once for many groups.
const WAL_PAGES: u32 = 4096;

/// What a writer keeps of the file in memory, in KiB.
const WRITER_CACHE_KIB: i32 = 8 << 10;

/// Opens a file to write, makes it where there is none, and brings it up to date.
pub(super) fn open(path: &Path) -> Result<Connection> {
    // An empty file is what a crash leaves in the very first moment.
    if path.metadata().is_ok_and(|file| file.len() > 0) {
        // The version is looked at by a connection that cannot write: a file that is not ours stays as it is.
        open_to_read(path)?;
    }
    let failed = |e| failed(path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let message = format!("the file system of {} gives a journal no write-ahead log", path.display());
        return Err(Error::new(ErrorKind::Disk, message).advise(disk::ADVICE));
    }
    let settings =
        [("wal_autocheckpoint", i64::from(WAL_PAGES)), ("journal_size_limit", i64::from(WAL_PAGES) << 12), ("cache_size", -i64::from(WRITER_CACHE_KIB))];
    for (name, value) in settings {
        connection.pragma_update(None, name, value).map_err(failed)?;
    }
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    let version = version(&connection).map_err(failed)?;
    schema::migrate(&mut connection, version).map_err(failed)?;
    Ok(connection)
}

/// Opens a file to read only, whoever writes it.
pub(super) fn open_to_read(path: &Path) -> Result<Connection> {
    let failed = |e| failed(path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let version = version(&connection).map_err(failed)?;
    let is_new = application == 0 && version == 0 && tables(&connection).map_err(failed)? == 0;
    if application != schema::APPLICATION_ID && !is_new {
        return Err(unusable(path, "is a database of another program"));
    }
    if version > schema::VERSION {
        let message = format!("{} was written by a newer Dragon (format {version}; this one knows {})", path.display(), schema::VERSION);
        return Err(Error::new(ErrorKind::Disk, message).advise("update this Dragon; nothing was changed"));
    }
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Take nothing in the file on trust.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

/// Writes the pair's ends, or refuses a file that was put in another pair's place: its proofs are about other objects.
pub(super) fn own(connection: &mut Connection, path: &Path, pair: &Pair) -> Result<()> {
    let failed = |e| failed(path, e);
    let transaction = connection.transaction().map_err(failed)?;
    for (place, address) in pair.ends().iter().enumerate() {
        let place = i64::try_from(place).unwrap_or_default();
        let known = transaction.query_row("SELECT address FROM place WHERE place = ?1", [place], |row| row.get::<_, String>(0)).optional();
        match known.map_err(failed)? {
            None => {
                transaction.execute("INSERT INTO place VALUES (?1, ?2)", params![place, address]).map_err(failed)?;
            }
            Some(known) if known == *address => {}
            Some(known) => return Err(unusable(path, &format!("is the journal of another pair ({known} stands for {address})"))),
        }
    }
    transaction.commit().map_err(failed)
}

/// A file that cannot be used as it is.
pub(super) fn unusable(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Disk, format!("{} {why}", path.display())).advise(format!(
        "move it away, with its -wal and -shm: no object is lost by that, copies are known again by their stamps and open uploads are found by listing; or {}",
        disk::ADVICE
    ))
}

/// Tells why a database does not serve.
pub(super) fn failed(path: &Path, e: rusqlite::Error) -> Error {
    let unreadable = matches!(
        e,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::Utf8Error(..)
    );
    let (why, advice) = match e.sqlite_error_code() {
        None if unreadable => return unusable(path, "is damaged").caused_by(e),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => return unusable(path, "is damaged, or no journal").caused_by(e),
        Some(ErrorCode::DiskFull) => ("cannot be written (what was recorded before is intact)", format!("free some space, {}", disk::ADVICE)),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => ("cannot be opened or written", disk::ADVICE.to_owned()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ("is held by another program", "end the program that has the file open".to_owned()),
        _ => ("cannot be read or written", disk::ADVICE.to_owned()),
    };
    Error::new(ErrorKind::Disk, format!("the journal {} {why}", path.display())).caused_by(e).advise(advice)
}
