//! Who writes a journal, and how far they got.

use jiff::Timestamp;

use crate::storage::Key;

/// Who runs, for the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// The machine.
    pub host: String,
    /// The user.
    pub user: String,
    /// The process.
    pub pid: u32,
    /// What was asked for, in words: `sync`, a job's name. Never a secret, never a whole command line.
    pub what: String,
}

impl RunInfo {
    /// This process.
    #[cfg(feature = "journal")]
    pub fn of_process(what: &str) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
        Self { host, user, pid: std::process::id(), what: what.to_owned() }
    }
}

/// How far an unfinished run's listing got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every key up to this one was settled.
    pub after: Key,
    /// How many keys that were.
    pub keys: u64,
    /// When the run began.
    pub started: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Everything that was listed is done.
    Done,
    /// It came to its end, but some objects failed, or a guard refused.
    Partly,
    /// It was stopped before its end.
    Stopped,
}

impl Outcome {
    /// The word on disk and in `dragon history`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partly => "partly",
            Self::Stopped => "stopped",
        }
    }

    /// The outcome of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Done, Self::Partly, Self::Stopped].into_iter().find(|outcome| outcome.as_str() == word)
    }
}
