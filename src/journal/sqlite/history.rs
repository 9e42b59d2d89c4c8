//! A journal as those see it who only look: no lock is taken, and a run may be writing.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{Connected, database, read};
use crate::error::Result;
use crate::journal::{Flight, FlightId, Proved};
use crate::storage::Key;

pub use read::{Deletion, Run};

/// What a pair's journal says. *First* and *second* are the pair's ends in its own order ([`Pair::ends`](crate::journal::Pair::ends)).
#[derive(Debug, Clone)]
pub struct History {
    reader: Arc<Connected>,
    ends: [String; 2],
}

impl History {
    /// Opens a file. Blocks on the disk.
    pub(in crate::journal) fn open(path: &Path) -> Result<Self> {
        let connection = database::open_to_read(path)?;
        let ends = read::ends(&connection).map_err(|e| database::failed(path, e))?;
        Ok(Self { reader: Arc::new(Connected { connection: Mutex::new(connection), path: path.into() }), ends })
    }

    /// Both ends as addresses, first and second.
    pub fn ends(&self) -> &[String; 2] {
        &self.ends
    }

    /// Source and destination of a run, or of what goes the same way.
    pub fn way(&self, turned: bool) -> (&str, &str) {
        let [first, second] = &self.ends;
        if turned { (second, first) } else { (first, second) }
    }

    /// Runs from the latest back: at most `limit` before the run of number `before`.
    pub async fn runs(&self, before: Option<u32>, limit: usize) -> Result<Vec<Run>> {
        self.reader.with(move |connection| read::runs(connection, before, limit)).await
    }

    /// What was proved, in key order: at most `limit` rows after `after`, seen as by a run from the first end to the second, or the
    /// other way where `turned`. A page of more than 1,000 keeps a run's log from being folded in.
    pub async fn proofs(&self, turned: bool, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Proved)>> {
        let after = after.cloned();
        self.reader.with(move |connection| read::proofs(connection, turned, after.as_ref(), limit)).await
    }

    /// What was proved of one key, seen as in [`Self::proofs`].
    pub async fn proof(&self, turned: bool, key: &Key) -> Result<Option<Proved>> {
        let key = key.clone();
        self.reader.with(move |connection| read::proof(connection, turned, &key)).await
    }

    /// Deletes in the order they were made: at most `limit` after the one of number `after`.
    pub async fn deletions(&self, after: Option<i64>, limit: usize) -> Result<Vec<Deletion>> {
        self.reader.with(move |connection| read::deletions(connection, after, limit)).await
    }

    /// Open uploads, without their parts: at most `limit` after `after`. *Outbound* is from the first end to the second.
    pub async fn flights(&self, after: Option<FlightId>, limit: usize) -> Result<Vec<Flight>> {
        self.reader.with(move |connection| read::flights(connection, false, after, limit)).await
    }
}
