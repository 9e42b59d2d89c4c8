//! Forgets runs and deletes that nobody asks for any more, so that a journal of many years does not grow with them.
//!
//! Proofs stay as long as their object does: one whose run is forgotten still says what was proved, and when.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

/// For how long it is told who ran, and what was deleted.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);
/// Rows of each kind that the beginning of one run forgets at most, so that it never waits long.
const ROWS_MAX: u32 = 10_000;

/// Forgets the oldest rows. A file that has none so old is read at one row of each kind.
pub(super) fn prune(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN).as_microsecond();
    // Both are numbered in the order of their time: the search ends at the first that is young.
    for (table, time) in [("run", "started"), ("deletion", "at")] {
        let young = connection.query_row(
            &format!("SELECT coalesce((SELECT {table} FROM {table} WHERE {time} >= ?1 ORDER BY {table} LIMIT 1), (SELECT max({table}) + 1 FROM {table}))"),
            [before],
            |row| row.get::<_, Option<i64>>(0),
        )?;
        let Some(young) = young else { continue };
        connection.execute(
            &format!("DELETE FROM {table} WHERE {table} IN (SELECT {table} FROM {table} WHERE {table} < ?1 ORDER BY {table} LIMIT ?2)"),
            params![young, ROWS_MAX],
        )?;
    }
    Ok(())
}
