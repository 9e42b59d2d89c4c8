//! What a database says, read in short transactions: a long reader would keep the write-ahead log from being folded in.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec;
use crate::journal::flight::Cargo;
use crate::journal::{Checkpoint, Flight, FlightId, Intent, Outcome, Proved, RunInfo, SentPart, State};
use crate::storage::checksum::Crc64;
use crate::storage::{ETag, Key, UploadId};

/// A run as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number in this journal, from 1.
    pub number: u32,
    /// From the pair's second end to its first.
    pub turned: bool,
    /// Who ran.
    pub info: RunInfo,
    /// When it began.
    pub started: Timestamp,
    /// When and how it ended; `None` while it runs, and where it was killed.
    pub ended: Option<(Timestamp, Outcome)>,
}

/// A delete that a run made at its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its number, in the order of deletes.
    pub number: i64,
    /// The run that made it.
    pub run: u32,
    /// The key, relative to both ends.
    pub key: Key,
    /// The delete marker's or the removed version's id, where there was one.
    pub version: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A value that cannot stand there: the file is damaged.
#[derive(Debug, thiserror::Error)]
#[error("{0} that cannot be")]
struct Damaged(&'static str);

fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(Damaged(what)))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|_| damaged(column, "a time"))
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<Key> {
    row.get::<_, Vec<u8>>(column).map(Key::new)
}

fn etag(row: &Row<'_>, column: usize) -> rusqlite::Result<ETag> {
    row.get_ref(column)?.as_str().map(codec::verbatim).map_err(|_| damaged(column, "an ETag"))
}

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

const FLIGHT: &str = "SELECT flight, turned, key, destination_key, etag, version, size, part_size, attributes, begun, state, upload, touched FROM flight";

fn flight(row: &Row<'_>, turned: bool) -> rusqlite::Result<Flight> {
    let state = row.get_ref(10)?.as_str().ok().and_then(State::parse).filter(|state| !state.is_final());
    Ok(Flight {
        id: FlightId(row.get(0)?),
        outbound: row.get::<_, bool>(1)? == turned,
        intent: Intent {
            key: key(row, 2)?,
            destination_key: key(row, 3)?,
            cargo: Cargo { etag: etag(row, 4)?, version: row.get(5)?, size: number(row, 6)? },
            part_size_bytes: number(row, 7)?,
            attributes: number(row, 8)?,
            begun: time(row, 9)?,
        },
        state: state.ok_or_else(|| damaged(10, "a state"))?,
        upload: row.get::<_, Option<String>>(11)?.map(UploadId),
        touched: time(row, 12)?,
        parts: Vec::new(),
    })
}

/// The open flight of a key that goes this way, with its parts.
pub(super) fn flight_of(connection: &mut Connection, turned: bool, key: &Key) -> rusqlite::Result<Option<Flight>> {
    let transaction = connection.transaction()?;
    let found = transaction
        .prepare_cached(&format!("{FLIGHT} WHERE turned = ?1 AND key = ?2"))?
        .query_row(params![turned, key.as_bytes()], |row| flight(row, turned))
        .optional()?;
    let Some(mut found) = found else { return Ok(None) };
    let mut parts = transaction.prepare_cached("SELECT number, etag, size, crc64xz, crc64nvme, proof FROM part WHERE flight = ?1 ORDER BY number")?;
    let parts = parts.query_map([found.id.0], |row| {
        let crc = Crc64 { len: number(row, 2)?, xz: number(row, 3)?, nvme: number(row, 4)? };
        let proof = codec::proof_of(row.get(5)?).ok_or_else(|| damaged(5, "a proof"))?;
        Ok(SentPart { number: row.get(0)?, etag: etag(row, 1)?, crc, proof })
    })?;
    found.parts = parts.collect::<rusqlite::Result<_>>()?;
    Ok(Some(found))
}

/// Open flights both ways, without their parts.
pub(super) fn flights(connection: &Connection, turned: bool, after: Option<FlightId>, limit: usize) -> rusqlite::Result<Vec<Flight>> {
    let mut rows = connection.prepare_cached(&format!("{FLIGHT} WHERE flight > ?1 ORDER BY flight LIMIT ?2"))?;
    rows.query_map(params![after.map_or(i64::MIN, |after| after.0), limited(limit)], |row| flight(row, turned))?.collect()
}

/// The largest id that a flight ever had.
pub(super) fn last_flight(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'flight'", [], |row| row.get(0))
}

fn proved(row: &Row<'_>, column: usize, turned: bool) -> rusqlite::Result<Proved> {
    let bytes = row.get_ref(column)?.as_blob().map_err(|_| damaged(column, "a proof"))?;
    codec::decode(bytes, turned).ok_or_else(|| damaged(column, "a proof"))
}

/// Proofs in key order.
pub(super) fn proofs(connection: &Connection, turned: bool, after: Option<&Key>, limit: usize) -> rusqlite::Result<Vec<(Key, Proved)>> {
    // Two statements, so that each is a plain walk along the key.
    let read = |row: &Row<'_>| Ok((key(row, 0)?, proved(row, 1, turned)?));
    match after {
        Some(after) => {
            let mut rows = connection.prepare_cached("SELECT key, row FROM proof WHERE key > ?1 ORDER BY key LIMIT ?2")?;
            rows.query_map(params![after.as_bytes(), limited(limit)], read)?.collect()
        }
        None => connection.prepare_cached("SELECT key, row FROM proof ORDER BY key LIMIT ?1")?.query_map([limited(limit)], read)?.collect(),
    }
}

/// The proof of one key.
pub(super) fn proof(connection: &Connection, turned: bool, key: &Key) -> rusqlite::Result<Option<Proved>> {
    let mut row = connection.prepare_cached("SELECT row FROM proof WHERE key = ?1")?;
    row.query_row([key.as_bytes()], |row| proved(row, 0, turned)).optional()
}

/// Where the last run before `run` got, if it went the same way, with the same fingerprint, and did not come to its end. A run that
/// was stopped before its first checkpoint settled nothing, and is passed over.
pub(super) fn interrupted(connection: &Connection, run: u32, turned: bool, fingerprint: u64) -> rusqlite::Result<Option<Checkpoint>> {
    let mut last = connection.prepare_cached(
        "SELECT turned = ?2 AND fingerprint = ?3 AND after IS NOT NULL AND coalesce(outcome, ?4) = ?4, after, keys, started FROM run
         WHERE run < ?1 AND NOT (turned = ?2 AND after IS NULL AND coalesce(outcome, ?4) = ?4) ORDER BY run DESC LIMIT 1",
    )?;
    let found = last.query_row(params![run, turned, fingerprint.cast_signed(), Outcome::Stopped.as_str()], |row| {
        let fits = row.get::<_, Option<bool>>(0)?.unwrap_or(false);
        Ok(if fits { Some(Checkpoint { after: key(row, 1)?, keys: number(row, 2)?, started: time(row, 3)? }) } else { None })
    });
    Ok(found.optional()?.flatten())
}

/// Since when a key with this ETag has been waiting for its deletion.
pub(super) fn doomed(connection: &Connection, turned: bool, key: &Key, with: &ETag) -> rusqlite::Result<Option<Timestamp>> {
    let mut row = connection.prepare_cached("SELECT etag, since FROM doomed WHERE turned = ?1 AND key = ?2")?;
    let found = row.query_row(params![turned, key.as_bytes()], |row| Ok((etag(row, 0)?, time(row, 1)?))).optional()?;
    Ok(found.filter(|(etag, _)| etag == with).map(|(_, since)| since))
}

/// How many keys wait that this run did not name.
pub(super) fn spared(connection: &Connection, run: u32, turned: bool) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM doomed WHERE turned = ?1 AND run <> ?2", params![turned, run], |row| number(row, 0))
}

/// What runs of this direction learned under a name.
pub(super) fn learned(connection: &Connection, turned: bool, name: &str) -> rusqlite::Result<Option<u64>> {
    let mut row = connection.prepare_cached("SELECT value FROM learned WHERE turned = ?1 AND name = ?2")?;
    row.query_row(params![turned, name], |row| number(row, 0)).optional()
}

/// Both ends in the pair's own order, as addresses.
pub(super) fn ends(connection: &Connection) -> rusqlite::Result<[String; 2]> {
    let end = |place: i64| connection.query_row("SELECT address FROM place WHERE place = ?1", [place], |row| row.get(0));
    Ok([end(0)?, end(1)?])
}

/// Runs from the latest back, at most `limit` before `before`.
pub(super) fn runs(connection: &Connection, before: Option<u32>, limit: usize) -> rusqlite::Result<Vec<Run>> {
    const SQL: &str = "SELECT run, turned, host, user, pid, what, started, ended, outcome FROM run WHERE run < ?1 ORDER BY run DESC LIMIT ?2";
    let mut rows = connection.prepare_cached(SQL)?;
    let read = |row: &Row<'_>| {
        let outcome = row.get::<_, Option<String>>(8)?.map(|word| Outcome::parse(&word).ok_or_else(|| damaged(8, "an outcome"))).transpose()?;
        Ok(Run {
            number: row.get(0)?,
            turned: row.get(1)?,
            info: RunInfo { host: row.get(2)?, user: row.get(3)?, pid: row.get(4)?, what: row.get(5)? },
            started: time(row, 6)?,
            ended: outcome.map(|outcome| Ok::<_, rusqlite::Error>((time(row, 7)?, outcome))).transpose()?,
        })
    };
    rows.query_map(params![before.map_or(i64::MAX, i64::from), limited(limit)], read)?.collect()
}

/// Deletes in the order they were made, at most `limit` after `after`.
pub(super) fn deletions(connection: &Connection, after: Option<i64>, limit: usize) -> rusqlite::Result<Vec<Deletion>> {
    let mut rows = connection.prepare_cached("SELECT deletion, run, key, version, at FROM deletion WHERE deletion > ?1 ORDER BY deletion LIMIT ?2")?;
    let read = |row: &Row<'_>| Ok(Deletion { number: row.get(0)?, run: row.get(1)?, key: key(row, 2)?, version: row.get(3)?, at: time(row, 4)? });
    rows.query_map(params![after.unwrap_or(i64::MIN), limited(limit)], read)?.collect()
}
