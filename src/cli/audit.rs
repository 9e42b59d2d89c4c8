//! `dragon audit`: who had the daemon do what, and whether the record is whole.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::daemon::audit::{self, Line};
use crate::error::{Error, ErrorKind};

use super::exit::{self, Failure, Outcome};
use super::session::Session;
use super::state;

/// Tell what stands in the daemon's audit log, or prove that nobody has changed it
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the log, oldest first, one JSON object a line
    Show {
        /// Only what is about this job
        #[arg(long, value_name = "NAME")]
        job: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Walk the chain of seals; ends with 4 where it is broken
    Verify(Place),
}

#[derive(Debug, Args)]
struct Place {
    /// The daemon's state directory [default: [state] dir, or the user's state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
}

impl Audit {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let (Action::Show { place, .. } | Action::Verify(place)) = &self.action;
        let nowhere = || Error::invalid("there is no state directory").advise("name it with --state-dir DIR");
        let state = state::directory(session, place.state_dir.as_deref()).ok_or_else(nowhere)?;
        if !state.path().join("audit").is_dir() {
            return Err(Error::new(ErrorKind::NotFound, format!("{} has no audit log", state.path().display()))
                .advise("a daemon keeps one in its state directory")
                .into());
        }
        match self.action {
            Action::Show { job, .. } => {
                let mut failure: Option<Failure> = None;
                audit::walk(state.path(), |_, _, text| {
                    let is_wanted = job.as_ref().is_none_or(|job| serde_json::from_slice::<Line>(text).is_ok_and(|line| line.origin.job.as_ref() == Some(job)));
                    if is_wanted {
                        failure = session.output.bytes(text).and_then(|()| session.output.bytes(b"\n")).err();
                    }
                    failure.is_none()
                })?;
                match failure {
                    Some(failure) => Err(failure),
                    None => Ok(exit::OK),
                }
            }
            Action::Verify(_) => {
                let check = audit::verify(state.path())?;
                if session.output.json {
                    session.output.object(&check)?;
                } else {
                    session.output.line(&match &check.broken {
                        None if check.pruned > 0 => format!(
                            "{} lines in {} files, every seal holds; {} older lines were thrown away for their age, as the log says",
                            check.lines, check.files, check.pruned
                        ),
                        None => format!("{} lines in {} files, every seal holds", check.lines, check.files),
                        Some(broken) => format!("BROKEN at {}:{}: {}; {} lines before it hold", broken.file.display(), broken.line, broken.why, check.lines),
                    })?;
                }
                Ok(if check.broken.is_some() { exit::DIFFERENT } else { exit::OK })
            }
        }
    }
}
