//! Change events: hints that shorten the delay, never facts.
//!
//! A hint says that something may have happened to a key. It leads to a compare of that key; what it says beside the key decides
//! nothing. Hints that are lost cost delay until the next scan, those that come twice or out of order cost a compare.
//!
//! ```text
//!  notify, SQS, SMQ, webhook ──► message ──► HintQueue ──► compare of the key ──► done ──► the message is acknowledged
//!                                               └─ flood, loss, deletion ──► scan ──► rescanned
//! ```

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::Key;
use crate::storage::oss::credentials::CredentialsProvider;

pub mod message;
mod oss;
pub mod queue;
mod s3;
pub mod smq;
pub mod sqs;
pub mod tree;

pub use queue::{HintQueue, Pending};

/// Where the change events of a job come from.
#[derive(Clone)]
pub enum HintSource {
    /// A local tree, watched by the system.
    Tree {
        /// Its root.
        root: PathBuf,
    },
    /// A queue of Amazon's, to which the bucket (or SNS, or EventBridge) sends.
    Sqs {
        /// The queue's URL.
        queue_url: String,
        /// Credentials and region.
        config: Box<aws_config::SdkConfig>,
    },
    /// A queue of Alibaba's SMQ (MNS), to which the bucket's notification rule sends.
    Smq {
        /// `https://ACCOUNT.mns.REGION.aliyuncs.com`.
        endpoint: String,
        /// The queue's name.
        queue: String,
        /// Who asks.
        credentials: Arc<dyn CredentialsProvider>,
    },
    /// `POST /api/v1/hints/JOB`.
    Webhook {
        /// What the sender must show.
        token: String,
    },
}

impl fmt::Debug for HintSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HintSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree { root } => write!(f, "{}", root.display()),
            Self::Sqs { queue_url, .. } => write!(f, "SQS {}", queue_url.rsplit('/').next().unwrap_or_default()),
            Self::Smq { queue, .. } => write!(f, "SMQ {queue}"),
            Self::Webhook { .. } => f.write_str("webhook"),
        }
    }
}

/// What happened to a key, as far as the event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It was written, or its attributes were.
    Written,
    /// It was deleted, or a delete marker was put over it.
    Removed,
    /// It was restored from an archive.
    Restored,
}

/// Something may have happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The bucket; empty for a local tree.
    pub bucket: String,
    /// The whole key in that bucket; relative to the root for a local tree.
    pub key: Key,
    /// What.
    pub change: Change,
    /// When it happened, by the service's clock.
    pub at: Option<Timestamp>,
    /// What orders the events of one key, where the service says.
    pub sequencer: Option<String>,
    /// The ETag after the change, for telling duplicates.
    pub etag: Option<String>,
}

/// What became of hints that were pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// They wait for their compare.
    Taken,
    /// There was no room: the job is scanned instead.
    Dropped,
}

/// The waits after a source that does not answer.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Takes hints from a source into a queue until it is cancelled. A source that fails is tried again, and meanwhile its trouble stands in
/// the queue's status.
pub async fn pump(source: HintSource, queue: HintQueue, clock: Clock, cancel: CancellationToken) {
    let mut pause = PAUSE_MIN;
    loop {
        let begun = clock.instant();
        let received = async {
            match &source {
                HintSource::Tree { root } => tree::watch(root, &queue, &clock).await,
                HintSource::Sqs { queue_url, config } => sqs::receive(queue_url, config, &queue, &clock).await,
                HintSource::Smq { endpoint, queue: name, credentials } => smq::receive(endpoint, name, credentials, &queue, &clock).await,
                // What is pushed comes through the API.
                HintSource::Webhook { .. } => std::future::pending().await,
            }
        };
        let ended: Result<()> = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            ended = received => ended,
        };
        let error = ended.err().unwrap_or_else(|| Error::invalid("the source of events ended"));
        tracing::warn!(%error, %source, "change events do not come; scans find what changed");
        queue.failed(&error, clock.now());
        // Nobody knows what happened meanwhile.
        queue.want_scan();
        if begun.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = clock.sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
