//! What is to be written together: gathered in memory, applied in one transaction.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::codec;
use crate::journal::{FlightId, Intent, Outcome, SentPart, State};
use crate::storage::{ETag, Key, UploadId};

/// What a record takes beside its texts, in bytes, roughly: rows, map nodes and allocations.
const RECORD_BYTES: usize = 128;

/// One change of anything but a proof.
#[derive(Debug)]
pub(super) enum Op {
    Intend {
        flight: FlightId,
        intent: Intent,
    },
    Created {
        flight: FlightId,
        upload: UploadId,
        at: Timestamp,
    },
    Part {
        flight: FlightId,
        part: SentPart,
        at: Timestamp,
    },
    Completing {
        flight: FlightId,
    },
    /// The flight has ended: its row goes.
    Landed {
        flight: FlightId,
    },
    Checkpoint {
        fingerprint: u64,
        after: Key,
        keys: u64,
    },
    Doom {
        key: Key,
        etag: ETag,
        since: Timestamp,
    },
    Spare,
    Deleted {
        key: Key,
        version: Option<String>,
        at: Timestamp,
    },
    Learn {
        name: String,
        value: u64,
    },
    End {
        outcome: Outcome,
        at: Timestamp,
    },
}

/// Who writes, and which way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    pub(super) run: u32,
    pub(super) turned: bool,
}

/// Changes in the order they came; of each key's proof the last one only, in key order, which is how SQLite takes them fastest.
#[derive(Debug, Default)]
pub(super) struct Batch {
    ops: Vec<Op>,
    /// The row, or that there is to be none.
    proofs: BTreeMap<Key, Option<Vec<u8>>>,
    bytes: usize,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len() + self.proofs.len()
    }

    /// Its size in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, op: Op) {
        self.bytes += RECORD_BYTES + op.texts_bytes();
        if let Op::Deleted { key, .. } = &op {
            self.prove(key.clone(), None);
        }
        self.ops.push(op);
    }

    /// Sets a key's proof, or that it has none.
    pub(super) fn prove(&mut self, key: Key, row: Option<Vec<u8>>) {
        self.bytes += RECORD_BYTES + key.len() + row.as_ref().map_or(0, Vec::len);
        self.proofs.insert(key, row);
    }

    /// Whether it says something of this key's proof.
    pub(super) fn touches(&self, key: &Key) -> bool {
        self.proofs.contains_key(key)
    }

    /// Writes everything, or nothing.
    pub(super) fn apply(&self, connection: &mut Connection, writer: Writer) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for op in &self.ops {
            op.apply(&transaction, writer)?;
        }
        {
            let mut put = transaction.prepare_cached("INSERT INTO proof VALUES (?1, ?2) ON CONFLICT DO UPDATE SET row = excluded.row")?;
            let mut drop = transaction.prepare_cached("DELETE FROM proof WHERE key = ?1")?;
            for (key, row) in &self.proofs {
                match row {
                    Some(row) => put.execute(params![key.as_bytes(), row])?,
                    None => drop.execute([key.as_bytes()])?,
                };
            }
        }
        transaction.commit()
    }
}

impl Op {
    /// The bytes of its texts.
    fn texts_bytes(&self) -> usize {
        match self {
            Self::Intend { intent, .. } => intent.key.len() + intent.destination_key.len() + intent.cargo.etag.as_str().len(),
            Self::Created { upload, .. } => upload.0.len(),
            Self::Part { part, .. } => part.etag.as_str().len(),
            Self::Checkpoint { after, .. } => after.len(),
            Self::Doom { key, etag, .. } => key.len() + etag.as_str().len(),
            Self::Deleted { key, version, .. } => key.len() + version.as_ref().map_or(0, String::len),
            Self::Learn { name, .. } => name.len(),
            Self::Completing { .. } | Self::Landed { .. } | Self::Spare | Self::End { .. } => 0,
        }
    }

    fn apply(&self, transaction: &Transaction<'_>, writer: Writer) -> rusqlite::Result<()> {
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(values).map(drop);
        match self {
            Self::Intend { flight, intent } => run(
                "INSERT INTO flight VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL, ?10)",
                params![
                    flight.0,
                    writer.turned,
                    intent.key.as_bytes(),
                    intent.destination_key.as_bytes(),
                    intent.cargo.etag.as_str(),
                    intent.cargo.version,
                    intent.cargo.size.cast_signed(),
                    intent.part_size_bytes.cast_signed(),
                    intent.attributes.cast_signed(),
                    intent.begun.as_microsecond(),
                    State::Intent.as_str()
                ],
            ),
            Self::Created { flight, upload, at } => run(
                "UPDATE flight SET state = ?2, upload = ?3, touched = ?4 WHERE flight = ?1",
                params![flight.0, State::Created.as_str(), upload.0, at.as_microsecond()],
            ),
            Self::Part { flight, part, at } => {
                let SentPart { number, etag, crc, proof } = part;
                run(
                    "INSERT OR REPLACE INTO part VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![flight.0, number, etag.as_str(), crc.len.cast_signed(), crc.xz.cast_signed(), crc.nvme.cast_signed(), codec::proof_code(*proof)],
                )?;
                run("UPDATE flight SET state = ?2, touched = ?3 WHERE flight = ?1", params![flight.0, State::Filling.as_str(), at.as_microsecond()])
            }
            Self::Completing { flight } => run("UPDATE flight SET state = ?2 WHERE flight = ?1", params![flight.0, State::Completing.as_str()]),
            Self::Landed { flight } => {
                run("DELETE FROM part WHERE flight = ?1", params![flight.0])?;
                run("DELETE FROM flight WHERE flight = ?1", params![flight.0])
            }
            Self::Checkpoint { fingerprint, after, keys } => run(
                "UPDATE run SET fingerprint = ?2, after = ?3, keys = ?4 WHERE run = ?1",
                params![writer.run, fingerprint.cast_signed(), after.as_bytes(), keys.cast_signed()],
            ),
            Self::Doom { key, etag, since } => run(
                "INSERT OR REPLACE INTO doomed VALUES (?1, ?2, ?3, ?4, ?5)",
                params![writer.turned, key.as_bytes(), etag.as_str(), since.as_microsecond(), writer.run],
            ),
            Self::Spare => run("DELETE FROM doomed WHERE turned = ?1 AND run <> ?2", params![writer.turned, writer.run]),
            Self::Deleted { key, version, at } => {
                run("DELETE FROM doomed WHERE turned = ?1 AND key = ?2", params![writer.turned, key.as_bytes()])?;
                run("INSERT INTO deletion (run, key, version, at) VALUES (?1, ?2, ?3, ?4)", params![writer.run, key.as_bytes(), version, at.as_microsecond()])
            }
            Self::Learn { name, value } => run("INSERT OR REPLACE INTO learned VALUES (?1, ?2, ?3)", params![writer.turned, name, value.cast_signed()]),
            Self::End { outcome, at } => {
                run("UPDATE run SET outcome = ?2, ended = ?3 WHERE run = ?1", params![writer.run, outcome.as_str(), at.as_microsecond()])
            }
        }
    }
}
