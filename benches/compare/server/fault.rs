//! What goes wrong on purpose: throttling, and the flaky service of W6.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// "Slow down."
    Throttle,
    /// The connection is reset in the middle of the body.
    Reset,
    /// Nothing comes for a minute, then the answer.
    Stall,
    /// One byte of the body is another.
    Corrupt,
    /// The body ends early.
    Truncate,
}

/// How long a stall lasts.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// The shares of W6 (performance.md section 11), in requests of a hundred thousand.
const FLAKY: [(u32, Fault); 5] = [(1000, Fault::Throttle), (500, Fault::Reset), (200, Fault::Stall), (5, Fault::Corrupt), (5, Fault::Truncate)];

/// Decides what goes wrong.
pub(super) struct Faults {
    flaky: bool,
    bucket: Option<Mutex<TokenBucket>>,
    dice: Mutex<fastrand::Rng>,
}

/// Requests a second that are let through.
struct TokenBucket {
    rate: f64,
    tokens: f64,
    filled: Instant,
}

impl Faults {
    /// `requests_per_second` throttles; `flaky` fails as W6 says, in an order that is the same each time.
    pub(super) fn new(flaky: bool, requests_per_second: Option<u32>) -> Self {
        let bucket = requests_per_second.map(|rate| Mutex::new(TokenBucket { rate: f64::from(rate), tokens: f64::from(rate) / 10.0, filled: Instant::now() }));
        Self { flaky, bucket, dice: Mutex::new(fastrand::Rng::with_seed(7)) }
    }

    /// What happens to the next request.
    pub(super) fn next(&self) -> Fault {
        if self.bucket.as_ref().is_some_and(|bucket| !bucket.lock().expect("no thread panics here").take()) {
            return Fault::Throttle;
        }
        if !self.flaky {
            return Fault::None;
        }
        let mut roll = self.dice.lock().expect("no thread panics here").u32(..100_000);
        for (share, fault) in FLAKY {
            if roll < share {
                return fault;
            }
            roll -= share;
        }
        Fault::None
    }
}

impl TokenBucket {
    fn take(&mut self) -> bool {
        let now = Instant::now();
        // A tenth of a second's worth may come at once.
        self.tokens = (self.tokens + now.duration_since(self.filled).as_secs_f64() * self.rate).min(self.rate / 10.0);
        self.filled = now;
        let there = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(there));
        there
    }
}
