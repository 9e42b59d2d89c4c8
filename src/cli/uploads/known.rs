//! Which open uploads the journals of this machine know.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::error::Result;
use crate::journal::{FlightId, Pair, StateDir};
use crate::storage::location::Location;
use crate::storage::{Key, Upload, UploadId};

/// Flights that are read from a journal at once.
const FLIGHTS_READ: usize = 1000;

/// The uploads to one bucket that the journals here know.
#[derive(Debug, Default)]
pub(super) struct Journals {
    pub(super) dir: Option<StateDir>,
    known: HashMap<(Key, UploadId), Known>,
}

/// An upload that a journal knows.
#[derive(Debug)]
pub(super) struct Known {
    /// The pair's name in the state directory.
    pub(super) pair: String,
    /// Source and destination, in words.
    pub(super) way: String,
    pub(super) flight: FlightId,
    /// When the journal last noted something of it.
    pub(super) touched: Timestamp,
}

impl Journals {
    /// Reads what is in flight towards the bucket of a place.
    pub(super) async fn read(dir: Option<StateDir>, at: &Location) -> Result<Self> {
        let Some(dir) = dir else { return Ok(Self::default()) };
        let bucket = Location::new(at.storage.clone(), Key::EMPTY);
        let bucket = Pair::of(&bucket, &bucket).destination();
        let mut known = HashMap::new();
        for pair in dir.pairs().await? {
            let history = dir.history(&pair).await?;
            let mut after = None;
            loop {
                let flights = history.flights(after, FLIGHTS_READ).await?;
                let Some(last) = flights.last() else { break };
                after = Some(last.id);
                for flight in flights {
                    let (source, destination) = history.way(!flight.outbound);
                    let is_here = destination.strip_prefix(&bucket).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                    if let Some(upload) = flight.upload.filter(|_| is_here) {
                        let way = format!("{source} -> {destination}");
                        known.insert((flight.intent.destination_key, upload), Known { pair: pair.clone(), way, flight: flight.id, touched: flight.touched });
                    }
                }
            }
        }
        Ok(Self { dir: Some(dir), known })
    }

    /// What is known of an upload.
    pub(super) fn know(&self, upload: &Upload) -> Option<&Known> {
        self.known.get(&(upload.key.clone(), upload.id.clone()))
    }
}
