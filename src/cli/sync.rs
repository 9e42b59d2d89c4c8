//! `dragon sync`: make one place hold what another holds.

use clap::{Args, ValueHint};

use crate::config::transfer::Deleting;
use crate::storage::location::Address;

use super::exit::Outcome;
use super::flags::address;
use super::session::Session;
use super::transfer::{self, Flags, Run};

/// Make DST hold what SRC holds; deletes nothing without --delete
///
/// What is under SRC goes to under DST: s3://b/a means what is under a/ (never ab), a bucket all of it.
#[derive(Debug, Args)]
pub(super) struct Sync {
    /// What to copy: NAME://BUCKET/PREFIX, ./PATH or /PATH
    #[arg(value_name = "SRC", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) source: Address,
    /// Where to
    #[arg(value_name = "DST", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) destination: Address,
    #[command(flatten)]
    deleting: Deleting,
    #[command(flatten)]
    flags: Flags,
}

impl Sync {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut options = self.flags.options(session)?;
        self.deleting.apply(&mut options);
        self.flags.open_backup(session, &mut options).await?;
        let (source, destination) = self.flags.trees(session, &self.source, &self.destination, &options).await?;
        self.flags.limit_cost(session, (&self.source, &source), (&self.destination, &destination), &mut options).await?;
        transfer::run(session, &self.flags.running, Run::Sync, (&self.source, source), (&self.destination, destination), options).await
    }
}
