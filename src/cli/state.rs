//! The state directory of a transfer, and the journal of its pair in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};

use crate::config::engine::Evidence;
use crate::config::units;
use crate::error::{ErrorKind, Result};
use crate::journal::sqlite::viewer::Viewer;
use crate::journal::{Journal, Keep, MemoryJournal, Pair, RunInfo, SqliteJournal, StateDir};

use super::session::Session;

/// Flags that say what outlives a run, and where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "State")]
pub(super) struct State {
    /// Keep the journal here, or `none` [default: [state] dir, or the user's state directory]
    #[arg(long, value_name = "DIR|none", value_hint = ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
    /// What the journal keeps: full (also what was proved of each key), resume (what it takes to go on), none [default: full]
    #[arg(long, value_name = "WHAT", value_parser = units::parse_evidence)]
    evidence: Option<Evidence>,
}

/// What a run needs of its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It writes: what is in flight, and what was proved.
    Write(&'static str),
    /// It copies one object: what is in flight, and nothing once it is done.
    Once(&'static str),
    /// It only looks.
    View,
}

/// An opened journal.
pub(super) enum Opened {
    /// Nothing outlives the run.
    Nothing,
    /// It is only looked at.
    Viewed(Arc<Viewer>),
    /// This run writes it.
    Kept { journal: Arc<SqliteJournal>, dir: StateDir, pair: Pair, once: bool },
}

impl State {
    /// The directory for what is spilled; `None` is the system's temporary one.
    pub(super) fn spill_dir(&self, session: &Session) -> Option<PathBuf> {
        self.state_dir.clone().filter(|dir| !is_none(dir)).or_else(|| session.config.state.dir.clone())
    }

    /// Opens the journal of a pair. Where nobody has named a directory and the user's own takes no journal, the run goes on without, and
    /// says so.
    pub(super) async fn open(&self, session: &Session, pair: Pair, need: Need) -> Result<Opened> {
        let evidence = self.evidence.or(session.config.state.evidence).unwrap_or_default();
        let named = self.state_dir.clone().or_else(|| session.config.state.dir.clone());
        let (Some(dir), true) = (directory(session, self.state_dir.as_deref()), evidence != Evidence::None) else { return Ok(Opened::Nothing) };
        let (keep, once, what) = match need {
            Need::View => {
                return match dir.history(&pair.name()).await {
                    Ok(history) => Ok(Opened::Viewed(Arc::new(Viewer::new(history, &pair)))),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(Opened::Nothing),
                    Err(error) => Err(error),
                };
            }
            Need::Write(what) => (if evidence == Evidence::Full { Keep::Full } else { Keep::Resume }, false, what),
            Need::Once(what) => (Keep::Resume, true, what),
        };
        match dir.open(&pair, keep, RunInfo::of_process(what), session.clock.clone()).await {
            Ok(journal) => Ok(Opened::Kept { journal: Arc::new(journal), dir, pair, once }),
            // A journal that is there and cannot be read is another matter: going on without it would forget what is open.
            Err(error) if named.is_none() && error.kind() == ErrorKind::Disk && !dir.holds(&pair) => {
                session.output.note(&format!("dragon: note: {error}; going on without a journal, so an interrupted run starts its objects over"));
                Ok(Opened::Nothing)
            }
            Err(error) => Err(error.advise("choose another --state-dir, or --state-dir none to go without a journal")),
        }
    }
}

impl Opened {
    /// For the engine.
    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Nothing => Arc::new(MemoryJournal::new()),
            Self::Viewed(viewer) => viewer.clone(),
            Self::Kept { journal, .. } => journal.clone(),
        }
    }

    /// Whether an interrupted run can be gone on with.
    pub(super) fn outlives(&self) -> bool {
        matches!(self, Self::Kept { .. })
    }

    /// Removes what a copy of one object left, once nothing of it is in flight.
    pub(super) async fn tidy(self) -> Result<()> {
        match self {
            Self::Kept { journal, dir, pair, once: true } if journal.flights(None, 1).await?.is_empty() => dir.remove(&pair, journal).await,
            _ => Ok(()),
        }
    }
}

/// The state directory that a flag names, or the configuration, or the user's own; `None` where there is to be none.
pub(super) fn directory(session: &Session, flag: Option<&Path>) -> Option<StateDir> {
    let found = flag.map(Path::to_owned).or_else(|| session.config.state.directory(&session.environment));
    found.filter(|path| !is_none(path)).map(StateDir::new)
}

fn is_none(path: &Path) -> bool {
    path.as_os_str() == "none"
}
