//! `dragon jobs`, `dragon limit` and `dragon alert`: what a person tells the daemon, at 3 a.m. if need be.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::units::{self, Rate};
use crate::daemon::control::Command;
use crate::error::Error;

use super::exit::{self, Outcome};
use super::session::Session;
use super::{socket, status};

/// List the daemon's jobs, or have it run, pause, resume or cancel one
#[derive(Debug, Args)]
pub(super) struct Jobs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// How each job stands (the default)
    List,
    /// Run a job now, whatever its schedule and windows
    Run {
        /// The job
        name: String,
        /// Allow this run so many deletes: N, or P% of the destination; once, and it stands in the audit log
        #[arg(long, value_name = "N|P%", value_parser = deletes)]
        max_delete: Option<String>,
    },
    /// Try the objects again that failed in the last run
    Retry {
        /// The job
        name: String,
        /// Only those that failed: there is nothing else to try
        #[arg(long)]
        failed: bool,
    },
    /// Begin no more runs, and stop what runs in an orderly way
    Pause(Which),
    /// Undo a pause
    Resume(Which),
    /// Stop the run underway; the schedule stays
    Cancel {
        /// The job
        name: String,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The job
    #[arg(required_unless_present = "all")]
    name: Option<String>,
    /// All jobs
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

fn deletes(text: &str) -> Result<String, String> {
    units::parse_delete_limit(text).map(|_| text.to_owned())
}

impl Jobs {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let command = match self.action {
            None | Some(Action::List) => return status::list(session).await,
            Some(Action::Run { name, max_delete }) => Command::Run { job: name, max_delete },
            Some(Action::Retry { name, .. }) => Command::Retry { job: name },
            Some(Action::Pause(which)) => Command::Pause { job: which.name },
            Some(Action::Resume(which)) => Command::Resume { job: which.name },
            Some(Action::Cancel { name }) => Command::Cancel { job: name },
        };
        tell(session, &command).await
    }
}

/// Limit a job, or all of them together, over what is configured
#[derive(Debug, Args)]
pub(super) struct Limit {
    /// JOB RATE, or RATE for all jobs together: 20Mbit, 10MiB/s, or off for what is configured
    #[arg(value_name = "[JOB] RATE", num_args = 1..=2, required = true)]
    words: Vec<String>,
    /// For so long, such as 2h; else until it is changed or the daemon ends
    #[arg(long = "for", value_name = "DURATION", value_parser = units::parse_duration)]
    length: Option<Duration>,
}

impl Limit {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let (job, rate) = match &self.words[..] {
            [job, rate] => (Some(job.clone()), rate),
            [rate] => (None, rate),
            _ => return Err(Error::invalid("a limit is a rate, with a job before it or without").into()),
        };
        let bytes_per_second = match units::parse_rate(rate).map_err(Error::invalid)? {
            Rate::BytesPerSecond(rate) => Some(rate),
            Rate::Off => None,
        };
        tell(session, &Command::Limit { job, bytes_per_second, seconds: self.length.map(|length| length.as_secs()) }).await
    }
}

/// Try whether alerts arrive
#[derive(Debug, Args)]
pub(super) struct Alert {
    #[command(subcommand)]
    action: AlertAction,
}

#[derive(Debug, Subcommand)]
enum AlertAction {
    /// Send a test message to every [[daemon.alerts]], and say how each took it
    Test,
}

impl Alert {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let AlertAction::Test = self.action;
        tell(session, &Command::AlertTest {}).await
    }
}

async fn tell(session: &Session, command: &Command) -> Outcome {
    let message = socket::client(session).command(command).await?;
    if session.output.json {
        session.output.object(&serde_json::json!({ "message": message }))?;
    } else {
        session.output.line(&message)?;
    }
    Ok(exit::OK)
}
