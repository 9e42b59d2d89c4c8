//! What must survive a crash: what is in flight between two places, and what was proved there.
//!
//! One journal belongs to one pair of places ([`Pair`]), whichever of them is the source: failing back uses what was proved on the
//! way out. It holds
//! - *flights*: multipart uploads from the intent to the proof, each a checked state machine ([`flight::State`]);
//! - *proofs*: of each key, what both ends held when the copy was proved ([`Proved`]), in key order;
//! - the *run* that writes, how far its listing got ([`Checkpoint`]), what it deleted, and what waits for deletion;
//! - what was *learned* of the path: how many streams it carries, and how fast.
//!
//! # Invariants
//! - What [`Journal::intend`] and the durable events of [`Journal::advance`] return for is on disk: a remote call that changes
//!   something comes after the record that says so. Everything else is queued and written in groups; a crash loses at most the last
//!   moment of it, which costs a HEAD or a part sent again, never a wrong answer.
//! - An illegal transition is an error.
//! - An ETag, a checksum and a key are in here; a secret never is.

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::Result;
use crate::storage::{ETag, Key};

#[cfg(feature = "journal")]
pub(crate) mod disk;
pub mod flight;
#[cfg(feature = "journal")]
pub(crate) mod lock;
mod memory;
pub mod pair;
pub mod proved;
pub mod run;
#[cfg(feature = "journal")]
pub mod sqlite;
#[cfg(feature = "journal")]
pub mod state_dir;

pub use flight::{Event, Flight, FlightId, Intent, SentPart, State};
pub use memory::MemoryJournal;
pub use pair::Pair;
pub use proved::{End, Proved};
pub use run::{Checkpoint, Outcome, RunInfo};
#[cfg(feature = "journal")]
pub use sqlite::{Keep, SqliteJournal};
#[cfg(feature = "journal")]
pub use state_dir::StateDir;

/// The record of one pair of places, as one run sees it: *source* and *destination* are that run's.
///
/// Methods are safe to drop: what was handed over is written or not, never half. An error is of this machine
/// ([`ErrorKind::Disk`](crate::error::ErrorKind::Disk): full, read-only, damaged) and means that the run cannot go on safely.
#[async_trait]
pub trait Journal: Debug + Send + Sync + 'static {
    /// Whether it outlives the process. Where not, an upload that is left open is one that nobody finds again.
    fn is_durable(&self) -> bool;

    /// Whether proofs are kept and can be read back.
    fn keeps_proofs(&self) -> bool;

    /// Notes the intent to upload an object in parts. Durable when it returns.
    ///
    /// Fails with [`ErrorKind::Unexpected`](crate::error::ErrorKind::Unexpected) where a flight of this key and direction is open already.
    async fn intend(&self, intent: Intent) -> Result<FlightId>;

    /// Moves a flight on. Durable when it returns for [`Event::Created`] and [`Event::Completing`]; a final event removes the flight.
    ///
    /// Fails with [`ErrorKind::Unexpected`](crate::error::ErrorKind::Unexpected) where the flight's state does not allow the event.
    async fn advance(&self, flight: FlightId, event: Event) -> Result<()>;

    /// The open flight of a key from this run's source to its destination, with its parts in part order.
    async fn flight(&self, key: &Key) -> Result<Option<Flight>>;

    /// Open flights in both directions, without their parts, in the order of their ids: at most `limit` after `after`.
    async fn flights(&self, after: Option<FlightId>, limit: usize) -> Result<Vec<Flight>>;

    /// Keeps what was proved of a key, over what was known before. Queued.
    async fn prove(&self, key: &Key, proved: Proved) -> Result<()>;

    /// Forgets what was proved of a key: it is gone from the destination, or what is there is known to be something else. Queued.
    async fn forget(&self, key: &Key) -> Result<()>;

    /// What was proved, in key order: at most `limit` rows after `after`. Sees what is still queued.
    async fn proofs(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Proved)>>;

    /// What was proved of one key.
    async fn proof(&self, key: &Key) -> Result<Option<Proved>>;

    /// The checkpoint of the last run, if that run did not come to its end and its job had this fingerprint.
    async fn interrupted(&self, fingerprint: u64) -> Result<Option<Checkpoint>>;

    /// Notes that every key up to `after` has been settled in this run. Queued.
    async fn checkpoint(&self, fingerprint: u64, after: &Key, keys: u64) -> Result<()>;

    /// Says of each key, with its destination ETag, since when it has been waiting for its deletion: since now, where it was not, or
    /// where the ETag is another. A key that is not named in this run by the time of [`Self::spare`] waits no longer.
    async fn doom(&self, keys: &[(Key, ETag)], now: Timestamp) -> Result<Vec<Timestamp>>;

    /// Drops from the wait every key that this run did not doom: it has come back. Tells how many.
    async fn spare(&self) -> Result<u64>;

    /// Notes a delete at the destination, and the delete marker's or the removed version's id where there is one; forgets the proof
    /// and ends the wait. Queued.
    async fn deleted(&self, key: &Key, version: Option<&str>) -> Result<()>;

    /// What an earlier run in this direction learned of the path under this name. A journal that remembers nothing costs a search.
    async fn learned(&self, _name: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Remembers a number for later runs in this direction, over what was remembered under this name. Queued.
    async fn learn(&self, _name: &str, _value: u64) -> Result<()> {
        Ok(())
    }

    /// Writes what is queued. Durable when it returns.
    async fn flush(&self) -> Result<()>;

    /// Ends the run: writes what is queued and how it ended.
    async fn end(&self, outcome: Outcome, now: Timestamp) -> Result<()>;
}
