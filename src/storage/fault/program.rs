//! Which calls are struck, and what goes wrong with them.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, ErrorKind};
use crate::storage::Key;
use crate::storage::layer::Operation;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The call fails and nothing happens. A page of a listing: that page fails, and with it the rest.
    Fail(Error),
    /// The call is done, but its answer is lost.
    LoseAnswer(Error),
    /// The call waits first.
    Delay(Duration),
    /// The call is done, and its answer comes so much later.
    Late(Duration),
    /// The page's entries come in reverse order.
    Reverse,
    /// The body read fails after `at` bytes, or just ends there where no error is given.
    Truncate {
        /// Offset in the body.
        at: u64,
        /// What the reader sees.
        error: Option<Error>,
    },
    /// One bit of the body's byte `at` flips on the way. A body that is written keeps the checksums sent with it, so that the store can notice.
    Flip {
        /// Offset in the body.
        at: u64,
    },
    /// One bit of a written body's byte `at` flips behind the store's checks; the store states the checksums of what it holds.
    FlipStored {
        /// Offset in the body.
        at: u64,
    },
    /// The CRC-64s in the answer are off by one.
    WrongChecksums,
    /// Just before the call, somebody writes other bytes under the key.
    Overwrite(Bytes),
    /// Just before the call, somebody deletes the key.
    Vanish,
}

/// A fault and when it strikes.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(super) operation: Operation,
    pub(super) key: Option<Key>,
    /// Which of the calls that match, from 1.
    pub(super) calls: RangeInclusive<u64>,
    pub(super) effect: Effect,
}

impl Fault {
    /// Strikes every call of an operation.
    pub fn on(operation: Operation, effect: Effect) -> Self {
        Self { operation, key: None, calls: 1..=u64::MAX, effect }
    }

    /// Makes every call of an operation fail with an error of that kind.
    pub fn fail(operation: Operation, kind: ErrorKind) -> Self {
        Self::on(operation, Effect::Fail(Error::new(kind, "an injected fault")))
    }

    /// Only calls on this key (a listing: with this prefix).
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only the `n`-th such call, from 1. For a listing calls are pages, counted over all listings.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.calls = n..=n;
        self
    }

    /// Only such calls as come after the first `n`.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        self.calls = n + 1..=u64::MAX;
        self
    }

    /// Only the first `n` such calls.
    #[must_use]
    pub fn first(mut self, n: u64) -> Self {
        self.calls = 1..=n;
        self
    }
}
