//! A journal that outlives a killed run, as the one on disk does, without a disk: flights, proofs and the checkpoint.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use async_trait::async_trait;
use dragon::error::Result;
use dragon::journal::{Checkpoint, Event, Flight, FlightId, Intent, Journal, MemoryJournal, Outcome, Proved};
use dragon::storage::{ETag, Key};
use jiff::Timestamp;

/// Shared by all runs of one world.
#[derive(Debug, Default)]
pub(super) struct Kept {
    flights: MemoryJournal,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    proofs: BTreeMap<Key, Proved>,
    checkpoint: Option<(u64, Checkpoint)>,
    waiting: BTreeMap<Key, (ETag, Timestamp)>,
    doomed: BTreeMap<Key, (ETag, Timestamp)>,
}

impl Kept {
    fn rest<T>(&self, act: impl FnOnce(&mut Rest) -> T) -> T {
        act(&mut self.rest.lock().expect("no test panics with it"))
    }
}

#[async_trait]
impl Journal for Kept {
    fn is_durable(&self) -> bool {
        true
    }

    fn keeps_proofs(&self) -> bool {
        true
    }

    async fn intend(&self, intent: Intent) -> Result<FlightId> {
        self.flights.intend(intent).await
    }

    async fn advance(&self, flight: FlightId, event: Event) -> Result<()> {
        self.flights.advance(flight, event).await
    }

    async fn flight(&self, key: &Key) -> Result<Option<Flight>> {
        self.flights.flight(key).await
    }

    async fn flights(&self, after: Option<FlightId>, limit: usize) -> Result<Vec<Flight>> {
        self.flights.flights(after, limit).await
    }

    async fn prove(&self, key: &Key, proved: Proved) -> Result<()> {
        self.rest(|rest| rest.proofs.insert(key.clone(), proved));
        Ok(())
    }

    async fn forget(&self, key: &Key) -> Result<()> {
        self.rest(|rest| rest.proofs.remove(key));
        Ok(())
    }

    async fn proofs(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Proved)>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.rest(|rest| rest.proofs.range::<Key, _>((from, Bound::Unbounded)).take(limit).map(|(key, proved)| (key.clone(), proved.clone())).collect()))
    }

    async fn proof(&self, key: &Key) -> Result<Option<Proved>> {
        Ok(self.rest(|rest| rest.proofs.get(key).cloned()))
    }

    async fn interrupted(&self, fingerprint: u64) -> Result<Option<Checkpoint>> {
        Ok(self.rest(|rest| rest.checkpoint.clone().filter(|(of, _)| *of == fingerprint).map(|(_, checkpoint)| checkpoint)))
    }

    async fn checkpoint(&self, fingerprint: u64, after: &Key, keys: u64) -> Result<()> {
        let checkpoint = Checkpoint { after: after.clone(), keys, started: Timestamp::UNIX_EPOCH };
        self.rest(|rest| rest.checkpoint = Some((fingerprint, checkpoint)));
        Ok(())
    }

    async fn doom(&self, keys: &[(Key, ETag)], now: Timestamp) -> Result<Vec<Timestamp>> {
        Ok(self.rest(|rest| {
            let since = |(key, etag): &(Key, ETag)| {
                let since = rest.waiting.get(key).filter(|(known, _)| known == etag).map_or(now, |(_, since)| *since);
                rest.doomed.insert(key.clone(), (etag.clone(), since));
                since
            };
            keys.iter().map(since).collect()
        }))
    }

    async fn spare(&self) -> Result<u64> {
        Ok(self.rest(|rest| {
            let before = std::mem::replace(&mut rest.waiting, std::mem::take(&mut rest.doomed));
            before.keys().filter(|key| !rest.waiting.contains_key(*key)).count() as u64
        }))
    }

    async fn deleted(&self, key: &Key, _: Option<&str>) -> Result<()> {
        self.rest(|rest| {
            rest.proofs.remove(key);
            rest.waiting.remove(key);
            rest.doomed.remove(key);
        });
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn end(&self, outcome: Outcome, _: Timestamp) -> Result<()> {
        if outcome != Outcome::Stopped {
            self.rest(|rest| rest.checkpoint = None);
        }
        Ok(())
    }
}
