//! `dragon verify`: compare two places.

use clap::{Args, ValueHint};

use crate::config::stores::Opening;
use crate::config::transfer::{Resources, Selection};
use crate::storage::location::Address;
use crate::transfer::Options;

use super::exit::Outcome;
use super::flags::address;
use super::session::Session;
use super::transfer::{self, Run, Running};

/// Compare what is under SRC and DST; --deep reads the bytes of both
///
/// Each key is the same, missing at one end, different, or unproved (sizes agree, and no checksum that both ends state proves more).
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// One end: NAME://BUCKET/PREFIX, ./PATH or /PATH
    #[arg(value_name = "SRC", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) source: Address,
    /// The other end
    #[arg(value_name = "DST", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) destination: Address,
    /// Read the bytes of both ends
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    resources: Resources,
}

impl Verify {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut options = Options { report_unchanged: session.output.verbose, ..Options::default() };
        self.selection.apply(&mut options, session.clock.now())?;
        self.resources.apply(&mut options, &session.config.engine);
        let opening = Opening {
            follow_symlinks: self.selection.follow_symlinks,
            // One pipe for both ends.
            pipes: vec![session.pipes(&options)],
            make: false,
            give_up_after: self.resources.give_up_after,
            witness: None,
        };
        transfer::refuse_file(&self.source)?;
        transfer::refuse_file(&self.destination)?;
        let source = session.stores.tree(&self.source, &opening).await?;
        let destination = session.stores.tree(&self.destination, &opening).await?;
        let run = Run::Verify { deep: self.deep };
        transfer::run(session, &self.running, run, (&self.source, source), (&self.destination, destination), options).await
    }
}
