//! How the daemon is looked at and told what to do: what the socket, the API, the page and signals share.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::hints::{Hint, Pushed};
use super::status::Snapshot;
use super::usage::{Month, MonthlyUsage, Usage};
use crate::error::{Error, ErrorKind, Result};

/// Who asks, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// `socket uid 1000`, `token`, `signal`, `daemon`.
    pub who: String,
}

/// What can be asked of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Run a job now, whatever its schedule and windows.
    Run {
        /// The job.
        job: String,
        /// A limit of deletes for this run alone: a number, or a percentage with `%`.
        #[serde(default)]
        max_delete: Option<String>,
    },
    /// Try the objects again that failed in the job's last run.
    Retry {
        /// The job.
        job: String,
    },
    /// Begin no more runs, and stop what runs in an orderly way. `None`: all jobs.
    Pause {
        /// The job.
        #[serde(default)]
        job: Option<String>,
    },
    /// Undo a pause.
    Resume {
        /// The job.
        #[serde(default)]
        job: Option<String>,
    },
    /// Stop the job's run, and leave its schedule.
    Cancel {
        /// The job.
        job: String,
    },
    /// Limit a job, or all of them together, over what is configured.
    Limit {
        /// The job.
        #[serde(default)]
        job: Option<String>,
        /// Most bytes a second; nothing here goes back to what is configured.
        #[serde(default)]
        bytes_per_second: Option<u64>,
        /// For how long, in seconds; else until it is changed or the daemon ends.
        #[serde(default)]
        seconds: Option<u64>,
    },
    /// Read the configuration again.
    Reload {},
    /// Send a test message to all alerts.
    AlertTest {},
}

/// A command underway to the daemon, and where its answer goes.
#[derive(Debug)]
pub struct Order {
    /// Who asks.
    pub actor: Actor,
    /// What.
    pub command: Command,
    /// What was done, in a sentence.
    pub answer: oneshot::Sender<Result<String>>,
}

/// A handle on the running daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    /// Commands, to the daemon.
    orders: mpsc::Sender<Order>,
    /// The state, renewed about once a second while anybody looks.
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Hints that came by push.
    pushes: mpsc::Sender<(String, Vec<Hint>)>,
    usage: Arc<Usage>,
}

/// The other ends of a [`Control`].
pub(super) struct Ends {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) pushes: mpsc::Receiver<(String, Vec<Hint>)>,
}

/// Commands, and pushed messages, that wait.
const ORDERS_MAX: usize = 64;
const PUSHES_MAX: usize = 1000;

/// How long a command may wait for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

impl Control {
    /// A handle, and the ends of it that the daemon holds.
    pub(super) fn new(first: Snapshot, usage: Arc<Usage>) -> (Self, Ends) {
        let (order, orders) = mpsc::channel(ORDERS_MAX);
        let (snapshots, snapshot) = watch::channel(Arc::new(first));
        let (push, pushes) = mpsc::channel(PUSHES_MAX);
        (Self { orders: order, snapshots: snapshot, pushes: push, usage }, Ends { orders, snapshots, pushes })
    }

    /// The state as it was last seen.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Tells of each new state.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Has a command carried out; the answer says in a sentence what was done.
    ///
    /// Fails with [`ErrorKind::NotFound`] where there is no such job, [`ErrorKind::Invalid`] where the command makes no sense,
    /// [`ErrorKind::Unavailable`] where the daemon is ending.
    pub async fn command(&self, actor: Actor, command: Command) -> Result<String> {
        let gone = || Error::new(ErrorKind::Unavailable, "the daemon is ending");
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { actor, command, answer }).await.map_err(|_| gone())?;
        tokio::time::timeout(ANSWER_MAX, answered).await.map_err(|_| Error::new(ErrorKind::Unavailable, "the daemon does not answer"))?.map_err(|_| gone())?
    }

    /// What the jobs used in a month; in the present one where none is named.
    ///
    /// Fails as [`Usage::month`] does.
    pub async fn usage(&self, month: Option<Month>) -> Result<MonthlyUsage> {
        self.usage.month(month).await
    }

    /// Hands over hints of a job that came by push. Where the queue is full they are dropped and the job is scanned instead.
    pub fn push(&self, job: &str, hints: Vec<Hint>) -> Pushed {
        match self.pushes.try_send((job.to_owned(), hints)) {
            Ok(()) => Pushed::Taken,
            Err(_) => Pushed::Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_takes_what_it_does_not_know() {
        for known in [
            r#"{"action": "run", "job": "a"}"#,
            r#"{"action": "retry", "job": "a"}"#,
            r#"{"action": "pause"}"#,
            r#"{"action": "resume"}"#,
            r#"{"action": "cancel", "job": "a"}"#,
            r#"{"action": "limit", "seconds": 1}"#,
            r#"{"action": "reload"}"#,
            r#"{"action": "alert-test"}"#,
        ] {
            serde_json::from_str::<Command>(known).unwrap_or_else(|e| panic!("{known}: {e}"));
            // A misspelt key must not become a command for all jobs.
            let misspelt = known.replace('}', r#", "jbo": "a"}"#);
            assert!(serde_json::from_str::<Command>(&misspelt).is_err(), "{misspelt}");
        }
    }
}
