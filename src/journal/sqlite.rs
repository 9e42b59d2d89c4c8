//! The journal in SQLite: one file a pair, one run at a time.
//!
//! Whether an event is legal is decided at once, against the open flights that are held in memory; what follows from it goes through
//! the `ledger` to the disk. Reads take a second connection, which sees what was written before them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::disk::blocking;
use super::lock::Lock;
use super::{Checkpoint, Event, Flight, FlightId, Intent, Journal, Outcome, Pair, Proved, RunInfo, State};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ETag, Key};

mod batch;
mod codec;
mod database;
pub mod history;
mod ledger;
mod prune;
mod read;
mod schema;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod viewer;

use batch::{Op, Writer};
use ledger::{Ledger, Place};

/// Proofs that one transaction reads at most.
const PROOFS_READ_MAX: usize = 1000;

/// What a journal keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Everything.
    #[default]
    Full,
    /// What a run needs to go on where the last one stopped, and what was deleted; no proofs.
    Resume,
}

/// The journal of a pair in a [`StateDir`](super::StateDir), opened by one run.
///
/// What is queued when it is dropped without [`Journal::flush`] or [`Journal::end`] is lost, as in a crash.
#[derive(Debug)]
pub struct SqliteJournal {
    ledger: Arc<Ledger>,
    reader: Arc<Connected>,
    flights: Mutex<Flights>,
    writer: Writer,
    keep: Keep,
    clock: Clock,
}

/// A connection beside the one that a run writes with.
#[derive(Debug)]
struct Connected {
    connection: Mutex<Connection>,
    path: Box<Path>,
}

impl Connected {
    async fn with<T: Send + 'static>(self: &Arc<Self>, act: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static) -> Result<T> {
        let connected = self.clone();
        blocking(move || {
            let mut connection = connected.connection.lock().unwrap_or_else(PoisonError::into_inner);
            act(&mut connection).map_err(|e| database::failed(&connected.path, e))
        })
        .await
    }
}

/// The open flights: bounded by how many uploads were ever open at once.
#[derive(Debug, Default)]
struct Flights {
    last: i64,
    open: BTreeMap<FlightId, Open>,
    by_key: HashMap<Key, FlightId>,
}

#[derive(Debug)]
struct Open {
    key: Key,
    state: State,
    outbound: bool,
}

impl SqliteJournal {
    /// Opens a pair's file under a lock that was taken, and notes that a run begins. Blocks on the disk.
    pub(super) fn open(path: &Path, lock: Lock, pair: &Pair, keep: Keep, run: &RunInfo, clock: Clock) -> Result<Self> {
        let failed = |e| database::failed(path, e);
        let mut connection = database::open(path)?;
        database::own(&mut connection, path, pair)?;
        prune::prune(&connection, clock.now()).map_err(failed)?;
        let turned = pair.is_turned();
        let begin = "INSERT INTO run (turned, host, user, pid, what, started) VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING run";
        let began = params![turned, run.host, run.user, run.pid, run.what, clock.now().as_microsecond()];
        let run = connection.query_row(begin, began, |row| row.get(0)).map_err(failed)?;
        let mut flights = Flights { last: read::last_flight(&connection).map_err(failed)?, ..Flights::default() };
        for flight in read::flights(&connection, turned, None, usize::MAX).map_err(failed)? {
            flights.insert(flight.id, Open { key: flight.intent.key, state: flight.state, outbound: flight.outbound });
        }
        let reader = Connected { connection: Mutex::new(database::open_to_read(path)?), path: path.into() };
        let writer = Writer { run, turned };
        Ok(Self {
            ledger: Arc::new(Ledger::new(connection, path.to_owned(), lock, writer, clock.clone())),
            reader: Arc::new(reader),
            flights: Mutex::new(flights),
            writer,
            keep,
            clock,
        })
    }

    /// This run's number, as `dragon history` shows it.
    pub fn run(&self) -> u32 {
        self.writer.run
    }

    /// Changes the open flights and queues what follows from it, in one order for both.
    fn fly(&self, change: impl FnOnce(&mut Flights, &Ledger) -> Result<Place>) -> Result<Place> {
        change(&mut self.flights.lock().unwrap_or_else(PoisonError::into_inner), &self.ledger)
    }

    async fn queue(&self, op: Op) -> Result<()> {
        let place = self.ledger.push(op)?;
        self.ledger.relieve(place).await
    }

    async fn set_proof(&self, key: &Key, row: Option<Vec<u8>>) -> Result<()> {
        let place = self.ledger.prove(key.clone(), row)?;
        self.ledger.relieve(place).await
    }
}

impl Flights {
    fn insert(&mut self, id: FlightId, flight: Open) {
        if flight.outbound {
            self.by_key.insert(flight.key.clone(), id);
        }
        self.open.insert(id, flight);
    }

    fn remove(&mut self, id: FlightId) {
        if let Some(flight) = self.open.remove(&id).filter(|flight| flight.outbound) {
            self.by_key.remove(&flight.key);
        }
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    fn is_durable(&self) -> bool {
        true
    }

    fn keeps_proofs(&self) -> bool {
        self.keep == Keep::Full
    }

    async fn intend(&self, intent: Intent) -> Result<FlightId> {
        let mut id = FlightId(0);
        let place = self.fly(|flights, ledger| {
            if flights.by_key.contains_key(&intent.key) {
                return Err(Error::new(ErrorKind::Unexpected, "an upload of this key is in flight already").on_key(&intent.key));
            }
            id = FlightId(flights.last + 1);
            let flight = Open { key: intent.key.clone(), state: State::Intent, outbound: true };
            let place = ledger.push(Op::Intend { flight: id, intent })?;
            flights.last = id.0;
            flights.insert(id, flight);
            Ok(place)
        })?;
        self.ledger.settle(place).await?;
        Ok(id)
    }

    async fn advance(&self, flight: FlightId, event: Event) -> Result<()> {
        let must_last = event.must_last();
        let at = self.clock.now();
        let place = self.fly(|flights, ledger| {
            let unknown = || Error::new(ErrorKind::Unexpected, format!("the journal knows no open upload {}", flight.0));
            let open = flights.open.get_mut(&flight).ok_or_else(unknown)?;
            let next = open.state.next(&event).map_err(|e| e.on_key(&open.key))?;
            let place = ledger.push(match event {
                Event::Created(upload) => Op::Created { flight, upload, at },
                Event::Part(part) => Op::Part { flight, part, at },
                Event::Completing => Op::Completing { flight },
                Event::Proved | Event::Failed | Event::Aborted => Op::Landed { flight },
            })?;
            open.state = next;
            if next.is_final() {
                flights.remove(flight);
            }
            Ok(place)
        })?;
        if must_last { self.ledger.settle(place).await } else { self.ledger.relieve(place).await }
    }

    async fn flight(&self, key: &Key) -> Result<Option<Flight>> {
        // Most keys have none, and cost nothing.
        if !self.flights.lock().unwrap_or_else(PoisonError::into_inner).by_key.contains_key(key) {
            return Ok(None);
        }
        self.ledger.flush().await?;
        let (turned, key) = (self.writer.turned, key.clone());
        self.reader.with(move |connection| read::flight_of(connection, turned, &key)).await
    }

    async fn flights(&self, after: Option<FlightId>, limit: usize) -> Result<Vec<Flight>> {
        self.ledger.flush().await?;
        let turned = self.writer.turned;
        self.reader.with(move |connection| read::flights(connection, turned, after, limit)).await
    }

    async fn prove(&self, key: &Key, mut proved: Proved) -> Result<()> {
        // Where proofs are not kept, the one of the bytes that were there before is not true any more.
        let row = self.keeps_proofs().then(|| {
            if proved.run == 0 {
                proved.run = self.writer.run;
            }
            codec::encode(&proved, self.writer.turned)
        });
        self.set_proof(key, row).await
    }

    async fn forget(&self, key: &Key) -> Result<()> {
        self.set_proof(key, None).await
    }

    async fn proofs(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Proved)>> {
        if !self.keeps_proofs() {
            return Ok(Vec::new());
        }
        self.ledger.flush().await?;
        let turned = self.writer.turned;
        let mut proofs: Vec<(Key, Proved)> = Vec::new();
        loop {
            let after = proofs.last().map(|(key, _)| key).or(after).cloned();
            let asked = PROOFS_READ_MAX.min(limit - proofs.len());
            let page = self.reader.with(move |connection| read::proofs(connection, turned, after.as_ref(), asked)).await?;
            let is_last = page.len() < asked;
            proofs.extend(page);
            if is_last || proofs.len() == limit {
                return Ok(proofs);
            }
        }
    }

    async fn proof(&self, key: &Key) -> Result<Option<Proved>> {
        if !self.keeps_proofs() {
            return Ok(None);
        }
        if self.ledger.touches(key) {
            self.ledger.flush().await?;
        }
        let (turned, key) = (self.writer.turned, key.clone());
        self.reader.with(move |connection| read::proof(connection, turned, &key)).await
    }

    async fn interrupted(&self, fingerprint: u64) -> Result<Option<Checkpoint>> {
        let Writer { run, turned } = self.writer;
        self.reader.with(move |connection| read::interrupted(connection, run, turned, fingerprint)).await
    }

    async fn checkpoint(&self, fingerprint: u64, after: &Key, keys: u64) -> Result<()> {
        self.queue(Op::Checkpoint { fingerprint, after: after.clone(), keys }).await
    }

    async fn doom(&self, keys: &[(Key, ETag)], now: Timestamp) -> Result<Vec<Timestamp>> {
        self.ledger.flush().await?;
        let (turned, asked) = (self.writer.turned, keys.to_vec());
        let known = self
            .reader
            .with(move |connection| asked.iter().map(|(key, etag)| read::doomed(connection, turned, key, etag)).collect::<rusqlite::Result<Vec<_>>>());
        let since: Vec<Timestamp> = known.await?.into_iter().map(|since| since.unwrap_or(now)).collect();
        for ((key, etag), since) in keys.iter().zip(&since) {
            self.queue(Op::Doom { key: key.clone(), etag: etag.clone(), since: *since }).await?;
        }
        Ok(since)
    }

    async fn spare(&self) -> Result<u64> {
        self.ledger.flush().await?;
        let Writer { run, turned } = self.writer;
        let spared = self.reader.with(move |connection| read::spared(connection, run, turned)).await?;
        self.queue(Op::Spare).await?;
        Ok(spared)
    }

    async fn deleted(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.queue(Op::Deleted { key: key.clone(), version: version.map(str::to_owned), at: self.clock.now() }).await
    }

    async fn learned(&self, name: &str) -> Result<Option<u64>> {
        let (turned, name) = (self.writer.turned, name.to_owned());
        self.reader.with(move |connection| read::learned(connection, turned, &name)).await
    }

    async fn learn(&self, name: &str, value: u64) -> Result<()> {
        self.queue(Op::Learn { name: name.to_owned(), value }).await
    }

    async fn flush(&self) -> Result<()> {
        self.ledger.flush().await
    }

    async fn end(&self, outcome: Outcome, now: Timestamp) -> Result<()> {
        let place = self.ledger.push(Op::End { outcome, at: now })?;
        self.ledger.settle(place).await?;
        self.ledger.fold().await
    }
}
