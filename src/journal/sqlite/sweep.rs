//! Ends flights whose uploads were thrown away between two runs.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{OptionalExtension, params};

use super::{Connected, database};
use crate::error::Result;
use crate::journal::FlightId;
use crate::journal::lock::Lock;
use crate::storage::UploadId;

/// A pair's journal under its lock: no run writes as long as this lives.
#[derive(Debug)]
pub struct Sweep {
    connection: Arc<Connected>,
    _lock: Lock,
}

impl Sweep {
    /// Opens a file under a lock that was taken. Blocks on the disk.
    pub(in crate::journal) fn open(path: &Path, lock: Lock) -> Result<Self> {
        let connection = Mutex::new(database::open(path)?);
        Ok(Self { connection: Arc::new(Connected { connection, path: path.into() }), _lock: lock })
    }

    /// Whether a flight is still open, with this upload: a run may have been at work since it was listed.
    pub async fn holds(&self, flight: FlightId, upload: &UploadId) -> Result<bool> {
        let upload = upload.0.clone();
        let found = self.connection.with(move |connection| {
            connection.query_row("SELECT 1 FROM flight WHERE flight = ?1 AND upload = ?2", params![flight.0, upload], |_| Ok(())).optional()
        });
        Ok(found.await?.is_some())
    }

    /// Notes that a flight's upload was thrown away: every open state allows it. Durable when it returns.
    pub async fn aborted(&self, flight: FlightId) -> Result<()> {
        let write = self.connection.with(move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM part WHERE flight = ?1", [flight.0])?;
            transaction.execute("DELETE FROM flight WHERE flight = ?1", [flight.0])?;
            transaction.commit()
        });
        write.await
    }
}
