//! `dragon usage`: what each job of the daemon used in a month, for whoever shares out the bill.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::daemon::usage::{self, Month, MonthlyUsage, UsageRow};
use crate::error::{Error, ErrorKind};
use crate::journal::disk::blocking;
use crate::storage::key::escape;

use super::exit::{self, Failure, Outcome};
use super::session::Session;
use super::{human, socket, state};

/// Tell what each job of the daemon used in a month: objects and bytes copied, requests to either end
///
/// Asks the daemon; where none answers, or a state directory is named, what the daemon wrote there: the last minute before a crash may be
/// missing. With usage_depth in a job, each prefix has a row of its own.
#[derive(Debug, Args)]
pub(super) struct UsageCommand {
    /// Of this month, in UTC, such as 2026-11 [default: the present one]
    #[arg(long, value_name = "YYYY-MM")]
    month: Option<Month>,
    /// How [default: text; --json is short for json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The daemon's state directory [default: the daemon that runs, or else [state] dir, or the user's state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
}

/// How usage is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// RFC 4180, with a line of names: every sum there is.
    Csv,
}

impl UsageCommand {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let usage = self.find(session).await?;
        let output = &session.output;
        match self.format.unwrap_or(if output.json { Format::Json } else { Format::Text }) {
            Format::Json => output.object(&usage)?,
            Format::Csv => output.bytes(usage.csv().as_bytes())?,
            Format::Text => lines(&usage).iter().try_for_each(|line| output.line(line))?,
        }
        Ok(exit::OK)
    }

    async fn find(&self, session: &Session) -> Result<MonthlyUsage, Failure> {
        if self.state_dir.is_none() {
            match socket::client(session).usage(self.month).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::debug!(%error, "no daemon answers: what it wrote is read");
                }
                answer => return Ok(answer?),
            }
        }
        let nowhere = || Error::invalid("there is no state directory").advise("name it with --state-dir DIR");
        let state = state::directory(session, self.state_dir.as_deref()).ok_or_else(nowhere)?;
        let month = self.month.unwrap_or_else(|| Month::of(session.clock.now()));
        Ok(blocking(move || usage::read_month(state.path(), month)).await?)
    }
}

fn lines(usage: &MonthlyUsage) -> Vec<String> {
    // A file may have been edited by anybody.
    let name = |row: &UsageRow| escape(if row.prefix.is_empty() { row.job.clone() } else { format!("{}  {}", row.job, row.prefix) }.as_bytes());
    let width = usage.rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).max(8);
    let mut lines = vec![format!(
        "{:width$}  {:>10}  {:>10}  {:>8}  {:>15}  {:>20}",
        usage.month, "objects", "bytes", "deleted", "source requests", "destination requests"
    )];
    for row in &usage.rows {
        let sums = &row.sums;
        lines.push(format!(
            "{:width$}  {:>10}  {:>10}  {:>8}  {:>15}  {:>20}",
            name(row),
            sums.objects_copied,
            human::bytes(sums.bytes_copied),
            sums.objects_deleted,
            sums.requests_source,
            sums.requests_destination
        ));
    }
    if usage.rows.is_empty() {
        lines.push("nothing was counted yet".to_owned());
    }
    lines
}
