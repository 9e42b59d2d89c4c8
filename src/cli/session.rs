//! What every command works with.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Environment, Lookup, Stores};
use crate::storage::limit::Pipes;
use crate::transfer::Options;

use super::output::Output;

/// One run of the program.
pub(super) struct Session {
    /// What was configured.
    pub(super) config: Arc<Config>,
    /// The stores.
    pub(super) stores: Stores,
    /// Time and ids.
    pub(super) clock: Clock,
    /// Where results go.
    pub(super) output: Output,
    /// The process's environment.
    pub(super) environment: Environment,
    /// Where the configuration was looked for.
    pub(super) lookup: Lookup,
    /// Cancelled by a signal.
    pub(super) cancel: CancellationToken,
}

impl Session {
    /// The pipes of one transfer, as wide as its bandwidth says.
    pub(super) fn pipes(&self, options: &Options) -> Pipes {
        options.bandwidth.as_ref().map(|table| Pipes::new(&self.clock, table)).unwrap_or_default()
    }
}
