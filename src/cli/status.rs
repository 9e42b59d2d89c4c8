//! `dragon status`: how far behind each mirror of the daemon is, and why.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::exit::{self, Failure, Outcome};
use super::session::Session;
use super::socket;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Tell how far behind each mirror of the daemon is, and why
///
/// Ends with 0 where all is well, and with 1 where a mirror needs a person.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Tell it again every 2 s
    #[arg(long, short)]
    watch: bool,
}

impl Status {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        loop {
            let status = show(session).await?;
            if !self.watch {
                return Ok(status);
            }
            tokio::select! {
                () = session.cancel.cancelled() => return Ok(exit::OK),
                () = session.clock.sleep(EVERY) => {}
            }
        }
    }
}

/// The same, as `jobs list` prints it.
pub(super) async fn list(session: &Session) -> Outcome {
    show(session).await.map(|_| exit::OK)
}

async fn show(session: &Session) -> Result<u8, Failure> {
    let snapshot = socket::client(session).status().await?;
    let empty = Vec::new();
    let jobs = snapshot["jobs"].as_array().unwrap_or(&empty);
    let troubled = jobs.iter().filter(|job| is_trouble(job)).count();
    if session.output.json {
        session.output.object(&snapshot)?;
    } else {
        for line in lines(&snapshot, jobs) {
            session.output.line(&line)?;
        }
    }
    session.output.flush()?;
    Ok(if troubled > 0 { exit::FAILED } else { exit::OK })
}

fn is_trouble(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("behind" | "failing" | "refused" | "halted"))
        || job["lag_seconds"].as_u64() > job["lag_max_seconds"].as_u64().or(Some(u64::MAX))
}

fn lines(snapshot: &Value, jobs: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let width = jobs.iter().map(|job| text(&job["name"]).len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    if let Some(refused) = snapshot["config"]["refused"]["message"].as_str() {
        lines.push(format!("! a new configuration was refused: {refused}"));
    }
    for job in jobs {
        let lag = match job["lag_seconds"].as_u64() {
            Some(seconds) => format!("in sync as of {} ({} ago)", text(&job["synced_until"]), humantime::format_duration(Duration::from_secs(seconds))),
            None => "never in sync".to_owned(),
        };
        let mark = if is_trouble(job) { '!' } else { ' ' };
        lines.push(format!("{mark} {:width$}  {:<8} {lag}", text(&job["name"]), text(&job["state"])));
        if let Some(why) = job["why"].as_str() {
            lines.push(format!("  {:width$}  {why}", ""));
        }
        if let Some(run) = job["current"].as_object() {
            let number = |name: &str| run.get(name).and_then(Value::as_u64).unwrap_or(0);
            let bytes = |name: &str| bytesize::ByteSize(number(name));
            lines.push(format!(
                "  {:width$}  {} of {} objects, {} of {}, {}/s",
                "",
                number("copied_objects"),
                number("planned_objects"),
                bytes("copied_bytes"),
                bytes("planned_bytes"),
                bytes("bytes_per_second"),
            ));
        } else if let Some(next) = job["next_run"].as_str() {
            lines.push(format!("  {:width$}  next run {next}", ""));
        }
    }
    if jobs.is_empty() {
        lines.push("no jobs are configured".to_owned());
    }
    lines
}
