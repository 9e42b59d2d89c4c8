//! What `cp`, `sync` and `verify` share: their flags, and running the engine with its events told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueHint};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::config::residency;
use crate::config::stores::Opening;
use crate::config::transfer::{Copying, Resources, Selection};
use crate::config::units;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Pair;
use crate::storage::limit::Pipes;
use crate::storage::location::{Address, Location};
use crate::transfer::{Context, Job, Options, Progress};

use super::estimate;
use super::exit::Outcome;
use super::progress::Watch;
use super::report::{Reporter, Told};
use super::session::Session;
use super::state::{Need, State};

/// Flags of every transfer that have no key in dragon.toml.
#[derive(Debug, Clone, Args)]
pub(super) struct Running {
    /// Write the keys that failed to this file, fit for --files-from
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(super) failed_to: Option<PathBuf>,
    /// Where no terminal is, print a status line so often; 0 for none. SIGUSR1 prints one now
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "1m", help_heading = "Output")]
    pub(super) stats: Duration,
    #[command(flatten)]
    pub(super) state: State,
}

/// The flags that say what is copied and how.
#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long, visible_alias = "dryrun")]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) running: Running,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) copying: Copying,
    #[command(flatten)]
    pub(super) resources: Resources,
    /// Compare from the first key, also where an interrupted run got further
    #[arg(long, help_heading = "State")]
    pub(super) from_start: bool,
}

impl Flags {
    /// The engine's options.
    pub(super) fn options(&self, session: &Session) -> Result<Options> {
        let mut options = Options { dry_run: self.dry_run, report_unchanged: session.output.verbose, from_start: self.from_start, ..Options::default() };
        self.selection.apply(&mut options, session.clock.now())?;
        self.copying.apply(&mut options);
        self.resources.apply(&mut options, &session.config.engine);
        Ok(options)
    }
}

impl Flags {
    /// Opens the place where what is overwritten or deleted is kept.
    pub(super) async fn open_backup(&self, session: &Session, options: &mut Options) -> Result<()> {
        if let Some(address) = &self.copying.backup_dir {
            refuse_file(address)?;
            options.backup = Some(session.stores.tree(address, &Opening { make: !self.dry_run, ..Opening::default() }).await?);
        }
        Ok(())
    }

    /// Opens both ends as trees. A local destination is made where it is not there; a dry run makes nothing.
    pub(super) async fn trees(&self, session: &Session, source: &Address, destination: &Address, options: &Options) -> Result<(Location, Location)> {
        residency::check(&session.config.stores, source, destination, &options.filter, &[])?;
        let Pipes { read, write } = session.pipes(options);
        let (follow_symlinks, give_up_after) = (self.selection.follow_symlinks, self.resources.give_up_after);
        refuse_file(source)?;
        let from = session
            .stores
            .tree(source, &Opening { follow_symlinks, make: false, pipes: vec![Pipes { read, write: None }], give_up_after, ..Opening::default() })
            .await?;
        let to = match (self.dry_run, destination) {
            (true, Address::Path(path)) => session.stores.planned_tree(path)?,
            // What is written was read: where one rate is given, limiting one end limits both, and leaves bodies in memory for a server
            // that wants their MD5.
            _ => {
                session
                    .stores
                    .tree(destination, &Opening { make: !self.dry_run, pipes: vec![Pipes { read: None, write }], give_up_after, ..Opening::default() })
                    .await?
            }
        };
        Ok((from, to))
    }
}

impl Flags {
    /// Holds a transfer to what it may cost, before anything of it begins.
    pub(super) async fn limit_cost(
        &self,
        session: &Session,
        (from, source): (&Address, &Location),
        (to, destination): (&Address, &Location),
        options: &mut Options,
    ) -> Result<()> {
        let prices = || estimate::table(session, None);
        let limit = self.copying.limit_cost(options, prices, estimate::store_names(from, to), source.storage.capabilities().service)?;
        let Some(limit) = limit else { return Ok(()) };
        let opened = self.running.state.open(session, Pair::of(&source.tree(), &destination.tree()).of_share(options.shard), Need::View).await?;
        let context = Context {
            clock: session.clock.clone(),
            cancel: session.cancel.clone(),
            spill_dir: self.running.state.spill_dir(session),
            journal: opened.journal(),
            ..Context::default()
        };
        let job = Job { source: source.clone(), destination: destination.clone(), options: options.clone() };
        limit.hold(&job, &context).await
    }
}

/// Refuses a local file where a place that holds objects is wanted.
pub(super) fn refuse_file(address: &Address) -> Result<()> {
    match address {
        Address::Path(path) if path.is_file() => {
            Err(Error::invalid(format!("{address} is a file, not a directory")).advise("use cp without -r for one object"))
        }
        _ => Ok(()),
    }
}

/// What to run.
pub(super) enum Run {
    /// Make one place hold what the other holds.
    Sync,
    /// Copy one object.
    One,
    /// Compare.
    Verify {
        /// Read the bytes of both.
        deep: bool,
    },
}

/// Runs the engine, shows its progress, tells its events and its end.
pub(super) async fn run(session: &Session, running: &Running, run: Run, from: (&Address, Location), to: (&Address, Location), options: Options) -> Outcome {
    let told = match run {
        Run::Verify { .. } => Told::Verified,
        _ if options.dry_run => Told::Planned { filter: options.filter.to_string(), deletes: options.delete },
        _ => Told::Done,
    };
    let (pair, need) = match run {
        Run::Verify { .. } => (Pair::of(&from.1.tree(), &to.1.tree()), Need::View),
        Run::Sync if options.dry_run => (Pair::of(&from.1.tree(), &to.1.tree()), Need::View),
        Run::Sync => (Pair::of(&from.1.tree(), &to.1.tree()), Need::Write("sync")),
        Run::One if options.dry_run => (Pair::of(&from.1, &to.1), Need::View),
        Run::One => (Pair::of(&from.1, &to.1), Need::Once("cp")),
    };
    let pair = pair.of_share(options.shard);
    let opened = running.state.open(session, pair, need).await?;
    let mut reporter = Reporter::new(session, from.0, to.0, told, running.failed_to.as_deref(), opened.outlives())?;
    let progress = Arc::new(Progress::default());
    let (sender, mut events) = mpsc::channel(1024);
    let context = Context {
        clock: session.clock.clone(),
        cancel: session.cancel.clone(),
        events: Some(sender),
        progress: progress.clone(),
        metrics: session.stores.metrics().clone(),
        spill_dir: running.state.spill_dir(session),
        journal: opened.journal(),
        ..Context::default()
    };
    let job = Job { source: from.1, destination: to.1, options };
    let watch = Watch::start(&session.output, progress, session.stores.metrics().clone(), running.stats, session.clock.clone())?;
    // A task of its own: on a worker, beside the driver of its sockets, and the thread that tells does not have to be woken for each
    // answer. The engine's sender goes with its context, so that the events end with it.
    let engine = AbortOnDropHandle::new(tokio::spawn(async move {
        match run {
            Run::Sync => crate::transfer::run(job, context).await,
            Run::One => crate::transfer::copy_one(job, context).await,
            Run::Verify { deep } => crate::transfer::verify(job, deep, context).await,
        }
    }));
    let telling = async {
        while let Some(event) = events.recv().await {
            reporter.tell(&event)?;
            if events.is_empty() {
                reporter.flush()?;
            }
        }
        Ok(())
    };
    let (report, told): (_, Result<()>) = futures::join!(engine, telling);
    watch.stop().await;
    told?;
    let mut report = report.unwrap_or_else(|e| match e.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(e) => Err(Error::new(ErrorKind::Interrupted, format!("the run was cut off: {e}"))),
    })?;
    opened.tidy().await?;
    // The engine counts what it sends again itself; the rest is counted where it happens.
    report.retries += session.stores.metrics().retries.get();
    reporter.conclude(&report)
}
