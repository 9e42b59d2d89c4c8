//! The journal of a run that keeps nothing: flights in memory, no proofs. Bounded by how many uploads are open at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Checkpoint, Event, Flight, FlightId, Intent, Journal, Outcome, Proved, State};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ETag, Key};

/// Flights in memory, and nothing else.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last_id: i64,
    flights: BTreeMap<FlightId, Flight>,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn is_durable(&self) -> bool {
        false
    }

    fn keeps_proofs(&self) -> bool {
        false
    }

    async fn intend(&self, intent: Intent) -> Result<FlightId> {
        let mut table = self.table();
        if table.flights.values().any(|flight| flight.intent.key == intent.key) {
            return Err(Error::new(ErrorKind::Unexpected, "an upload of this key is in flight already").on_key(&intent.key));
        }
        table.last_id += 1;
        let id = FlightId(table.last_id);
        let touched = intent.begun;
        table.flights.insert(id, Flight { id, outbound: true, intent, state: State::Intent, upload: None, touched, parts: Vec::new() });
        Ok(id)
    }

    async fn advance(&self, flight: FlightId, event: Event) -> Result<()> {
        let mut table = self.table();
        let unknown = || Error::new(ErrorKind::Unexpected, format!("the journal knows no open upload {}", flight.0));
        let row = table.flights.get_mut(&flight).ok_or_else(unknown)?;
        row.state = row.state.next(&event).map_err(|e| e.on_key(&row.intent.key))?;
        match event {
            Event::Created(upload) => row.upload = Some(upload),
            Event::Part(part) => match row.parts.binary_search_by_key(&part.number, |known| known.number) {
                Ok(at) => row.parts[at] = part,
                Err(at) => row.parts.insert(at, part),
            },
            _ => {}
        }
        if row.state.is_final() {
            table.flights.remove(&flight);
        }
        Ok(())
    }

    async fn flight(&self, key: &Key) -> Result<Option<Flight>> {
        Ok(self.table().flights.values().find(|flight| flight.intent.key == *key).cloned())
    }

    async fn flights(&self, after: Option<FlightId>, limit: usize) -> Result<Vec<Flight>> {
        let table = self.table();
        let rest = table.flights.values().filter(|flight| after.is_none_or(|after| flight.id > after));
        Ok(rest.take(limit).map(|flight| Flight { parts: Vec::new(), ..flight.clone() }).collect())
    }

    async fn prove(&self, _: &Key, _: Proved) -> Result<()> {
        Ok(())
    }

    async fn forget(&self, _: &Key) -> Result<()> {
        Ok(())
    }

    async fn proofs(&self, _: Option<&Key>, _: usize) -> Result<Vec<(Key, Proved)>> {
        Ok(Vec::new())
    }

    async fn proof(&self, _: &Key) -> Result<Option<Proved>> {
        Ok(None)
    }

    async fn interrupted(&self, _: u64) -> Result<Option<Checkpoint>> {
        Ok(None)
    }

    async fn checkpoint(&self, _: u64, _: &Key, _: u64) -> Result<()> {
        Ok(())
    }

    /// Nobody remembers how long a key has waited: each has waited since now.
    async fn doom(&self, keys: &[(Key, ETag)], now: Timestamp) -> Result<Vec<Timestamp>> {
        Ok(vec![now; keys.len()])
    }

    async fn spare(&self) -> Result<u64> {
        Ok(0)
    }

    async fn deleted(&self, _: &Key, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn end(&self, _: Outcome, _: Timestamp) -> Result<()> {
        Ok(())
    }
}
