//! One multipart upload from the intent to the proof, as a checked state machine.
//!
//! ```text
//! Intent ──Created──► Created ──Part──► Filling ──Completing──► Completing ──Proved──► (gone, proof kept)
//!                                       ▲ Part                    │ Part: Complete did not take place, and a part is sent again
//!                                       └─────────────────────────┘
//! Created ──Completing──► Completing   (the service filled the parts by itself)
//! any open state ──Failed | Aborted──► (gone)
//! ```

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Crc64, Proof};
use crate::storage::{ETag, Key, UploadId};

/// Names a flight within its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(pub i64);

/// Where a flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// An upload is about to be begun. Whether the service has begun it is unknown.
    Intent,
    /// The service has given an id.
    Created,
    /// The service has acknowledged at least one part.
    Filling,
    /// The upload is about to be completed. Whether the service has done so is unknown.
    Completing,
    /// The object is there and proved.
    Proved,
    /// The copy was given up; the service holds no upload any more.
    Failed,
    /// The upload was thrown away.
    Aborted,
}

/// What moves a flight on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The service gave an id.
    Created(UploadId),
    /// The service acknowledged a part, whose bytes were held against what it states.
    Part(SentPart),
    /// The upload is about to be completed.
    Completing,
    /// The object is there and proved.
    Proved,
    /// The copy was given up, and the service holds no upload any more.
    Failed,
    /// The upload was thrown away.
    Aborted,
}

impl Event {
    /// The word in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Part(_) => "part",
            Self::Completing => "completing",
            Self::Proved => "proved",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }

    /// Whether the record must be on disk before the caller goes on, because what the caller does next cannot be undone.
    pub fn must_last(&self) -> bool {
        matches!(self, Self::Created(_) | Self::Completing)
    }
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Intent, Self::Created, Self::Filling, Self::Completing, Self::Proved, Self::Failed, Self::Aborted];

    /// The word on disk and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Created => "created",
            Self::Filling => "filling",
            Self::Completing => "completing",
            Self::Proved => "proved",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Proved | Self::Failed | Self::Aborted)
    }

    /// The state that an event leads to.
    ///
    /// Fails with [`ErrorKind::Unexpected`] where the event cannot happen here.
    pub fn next(self, event: &Event) -> Result<Self> {
        match (self, event) {
            (Self::Intent, Event::Created(_)) => Ok(Self::Created),
            (Self::Created | Self::Filling | Self::Completing, Event::Part(_)) => Ok(Self::Filling),
            (Self::Created | Self::Filling | Self::Completing, Event::Completing) => Ok(Self::Completing),
            (Self::Completing, Event::Proved) => Ok(Self::Proved),
            (Self::Intent | Self::Created | Self::Filling | Self::Completing, Event::Failed) => Ok(Self::Failed),
            (Self::Intent | Self::Created | Self::Filling | Self::Completing, Event::Aborted) => Ok(Self::Aborted),
            (state, event) => {
                Err(Error::new(ErrorKind::Unexpected, format!("the journal has an upload that is {}, which cannot become {}", state.as_str(), event.name()))
                    .advise("this is a bug in Dragon; nothing was changed"))
            }
        }
    }
}

/// The source object that a flight carries: if any of it differs, it carries another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cargo {
    /// Its ETag.
    pub etag: ETag,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// Its length in bytes.
    pub size: u64,
}

/// What is known before an upload is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The key relative to both ends.
    pub key: Key,
    /// The whole key at the destination.
    pub destination_key: Key,
    /// The source object.
    pub cargo: Cargo,
    /// The size of every part but the last, in bytes.
    pub part_size_bytes: u64,
    /// A digest of what travels with the object: with other attributes it is another upload.
    pub attributes: u64,
    /// When, by this machine's clock.
    pub begun: Timestamp,
}

/// A part that the destination has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPart {
    /// Its number, from 1.
    pub number: u32,
    /// The ETag that completing must repeat.
    pub etag: ETag,
    /// Length and CRC-64s of the source's bytes.
    pub crc: Crc64,
    /// What proved that the destination holds them.
    pub proof: Proof,
}

/// An upload in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Its id.
    pub id: FlightId,
    /// From the run's source to its destination; else the other way, by a run in that direction.
    pub outbound: bool,
    /// What was intended.
    pub intent: Intent,
    /// Where it is; never a final state.
    pub state: State,
    /// The service's id, from [`State::Created`] on.
    pub upload: Option<UploadId>,
    /// When the last part was acknowledged, or the upload begun.
    pub touched: Timestamp,
    /// The parts in part order; empty where flights are only listed.
    pub parts: Vec<SentPart>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events() -> impl Strategy<Value = Event> {
        let part = (1..5u32).prop_map(|number| Event::Part(SentPart { number, etag: ETag::new("e"), crc: Crc64::default(), proof: Proof::Crc64Xz }));
        prop_oneof![Just(Event::Created(UploadId("u".into()))), part, Just(Event::Completing), Just(Event::Proved), Just(Event::Failed), Just(Event::Aborted)]
    }

    proptest! {
        /// Whatever is tried: an id comes first, a proof only after completing, and a final state is the end.
        #[test]
        fn only_the_drawn_ways_are_open(tried in proptest::collection::vec(events(), 0..40)) {
            let (mut state, mut has_id, mut completing) = (State::Intent, false, false);
            for event in tried {
                let Ok(next) = state.next(&event) else {
                    prop_assert!(State::parse(state.as_str()) == Some(state));
                    continue;
                };
                prop_assert!(!state.is_final(), "nothing follows {state:?}");
                match event {
                    Event::Created(_) => { prop_assert!(!has_id); has_id = true; }
                    Event::Part(_) => { prop_assert!(has_id); completing = false; }
                    Event::Completing => { prop_assert!(has_id); completing = true; }
                    Event::Proved => prop_assert!(completing && next == State::Proved),
                    Event::Failed | Event::Aborted => prop_assert!(next.is_final()),
                }
                state = next;
            }
        }
    }

    #[test]
    fn what_cannot_happen_is_an_error_that_says_so() {
        let error = State::Intent.next(&Event::Proved).expect_err("illegal");
        assert!(error.kind() == ErrorKind::Unexpected && error.to_string().contains("intent") && error.to_string().contains("proved"), "{error}");
    }
}
