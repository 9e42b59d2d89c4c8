//! How many copies run at a time.

use std::time::Duration;

/// One thing that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    /// Bytes that it moved.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// It failed because a store asked for a slower pace.
    pub(crate) throttled: bool,
}

/// Decides how many copies run at a time, from what the ended ones showed.
pub(crate) trait Concurrency: Send {
    /// How many may run now; at least 1.
    fn target(&self) -> usize;

    /// Takes note of one that ended.
    fn on_completion(&mut self, completion: Completion);
}

/// As many as the operator says.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) usize);

impl Concurrency for Fixed {
    fn target(&self) -> usize {
        self.0.max(1)
    }

    fn on_completion(&mut self, completion: Completion) {
        tracing::trace!(bytes = completion.bytes, elapsed = ?completion.elapsed, throttled = completion.throttled, "one ended");
    }
}
