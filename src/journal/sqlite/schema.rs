//! The tables, and how a database of any version becomes one of this.

use rusqlite::{Connection, TransactionBehavior};

/// "Drgn": tells our databases from anybody else's (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i32 = 0x4472_676e;

/// One step a version, each run in a transaction of its own. A step that was ever released is never changed.
///
/// Times are microseconds since 1970. `turned` says that the run or flight goes from the pair's second end to its first.
const STEPS: &[&str] = &[
    "
    CREATE TABLE place (place INTEGER PRIMARY KEY, address TEXT NOT NULL);

    -- One row a run. `after` is how far its listing was settled.
    CREATE TABLE run (
        run INTEGER PRIMARY KEY AUTOINCREMENT,
        turned INTEGER NOT NULL,
        host TEXT NOT NULL, user TEXT NOT NULL, pid INTEGER NOT NULL, what TEXT NOT NULL,
        started INTEGER NOT NULL, ended INTEGER, outcome TEXT,
        fingerprint INTEGER, after BLOB, keys INTEGER
    );

    -- Open multipart uploads; a row goes when its flight ends.
    CREATE TABLE flight (
        flight INTEGER PRIMARY KEY AUTOINCREMENT,
        turned INTEGER NOT NULL, key BLOB NOT NULL, destination_key BLOB NOT NULL,
        etag TEXT NOT NULL, version TEXT, size INTEGER NOT NULL,
        part_size INTEGER NOT NULL, attributes INTEGER NOT NULL, begun INTEGER NOT NULL,
        state TEXT NOT NULL, upload TEXT, touched INTEGER NOT NULL,
        UNIQUE (turned, key)
    );
    CREATE TABLE part (
        flight INTEGER NOT NULL, number INTEGER NOT NULL,
        etag TEXT NOT NULL, size INTEGER NOT NULL, crc64xz INTEGER NOT NULL, crc64nvme INTEGER NOT NULL, proof INTEGER NOT NULL,
        PRIMARY KEY (flight, number)
    ) WITHOUT ROWID;

    -- What was proved; `row` as codec.rs writes it.
    CREATE TABLE proof (key BLOB PRIMARY KEY NOT NULL, row BLOB NOT NULL) WITHOUT ROWID;

    -- Keys that wait for their deletion, and the run that last said so.
    CREATE TABLE doomed (
        turned INTEGER NOT NULL, key BLOB NOT NULL, etag TEXT NOT NULL, since INTEGER NOT NULL, run INTEGER NOT NULL,
        PRIMARY KEY (turned, key)
    ) WITHOUT ROWID;

    CREATE TABLE deletion (deletion INTEGER PRIMARY KEY, run INTEGER NOT NULL, key BLOB NOT NULL, version TEXT, at INTEGER NOT NULL);
",
    "
    -- What runs of this direction found out about the path.
    CREATE TABLE learned (turned INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (turned, name)) WITHOUT ROWID;
",
];

/// The version that this program writes.
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// Brings a database of `version` up to date. What fails leaves the version that was reached.
pub(super) fn migrate(connection: &mut Connection, version: i32) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(0);
    for (step, version) in STEPS.iter().zip(1_i32..).skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_earlier_version_becomes_the_present_one() {
        for done in 0..STEPS.len() {
            let mut old = Connection::open_in_memory().expect("a database");
            STEPS[..done].iter().for_each(|step| old.execute_batch(step).expect("a step"));
            migrate(&mut old, done.try_into().expect("small")).expect("brought up to date");
            let version: i32 = old.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
            assert_eq!(version, VERSION);
            migrate(&mut old, version).expect("nothing left to do");
        }
    }
}
