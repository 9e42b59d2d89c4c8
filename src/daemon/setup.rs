//! What the daemon is told to do: the jobs and limits of one configuration, without knowing of any file.
//!
//! Whoever reads the configuration makes a [`Setup`] and puts it into a watch channel; each change of it is taken over without stopping
//! what runs. Opening stores is left to whoever made it, behind [`Opener`].

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::alert::AlertSettings;
use super::audit::KEEP_USUAL;
use super::calendar::{Schedule, Window};
use super::hints::HintSource;
use super::status::Trouble;
use super::usage::Meter;
use crate::error::Result;
use crate::journal::Pair;
use crate::metrics::Metrics;
use crate::storage::limit::Pipes;
use crate::tier::Place;
use crate::tier::forecast::CostLimit;
use crate::transfer::job::DeleteLimit;

/// One configuration, as far as the daemon is concerned.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// SHA-256 of the configuration's text, in hexadecimal digits: what the audit log calls it.
    pub revision: String,
    /// The file it came from, for the page.
    pub file: Option<PathBuf>,
    /// The jobs, each name once.
    pub jobs: Vec<Arc<JobSetup>>,
    /// What holds for all of them.
    pub settings: Settings,
    /// Why a newer text was refused, if one was: this one stays in force.
    pub refused: Option<Trouble>,
}

/// What holds for the whole daemon.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the page and the API listen. `None`: nowhere but on the Unix socket.
    pub listen: Option<SocketAddr>,
    /// The names under which the page may be asked for beside loopback's, the listening address and the machine's own: the Host header
    /// must be one of them.
    pub hosts: Vec<String>,
    /// Certificate chain and private key (PEM files) to listen with TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Who may ask for the page and the API over HTTP, read included. Must be true where `listen` is not loopback.
    pub token_required: bool,
    /// How many jobs run at a time; the others wait for their turn, by priority.
    pub jobs_at_a_time: usize,
    /// Streams that all running jobs share. `None`: as many as each finds that pay.
    pub streams_max: Option<usize>,
    /// The byte budget that all jobs share, in bytes.
    pub memory_bytes: u64,
    /// How long a drain may take until what still runs is dropped (it is resumable).
    pub drain: Duration,
    /// For how long full files of the audit log are kept, looked at when the daemon starts. `None`: for ever.
    pub audit_keep: Option<Duration>,
    /// Where to tell what needs a person.
    pub alerts: AlertSettings,
    /// What all jobs' bytes go through.
    pub pipes: Pipes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 3746))),
            hosts: Vec::new(),
            tls: None,
            token_required: false,
            jobs_at_a_time: 16,
            streams_max: None,
            memory_bytes: 512 << 20,
            drain: Duration::from_secs(60),
            audit_keep: Some(KEEP_USUAL),
            alerts: AlertSettings::default(),
            pipes: Pipes::default(),
        }
    }
}

/// One job.
#[derive(Debug, Clone)]
pub struct JobSetup {
    /// Its name, unique.
    pub name: String,
    /// Where it reads, as it was written.
    pub source: String,
    /// Where it writes, as it was written.
    pub destination: String,
    /// `sync` or `copy`.
    pub mode: &'static str,
    /// When it runs. `None`: only when told.
    pub schedule: Option<Schedule>,
    /// When it may run; empty: always.
    pub windows: Vec<Window>,
    /// Its share of what all jobs share, against the others': 1 to 100.
    pub priority: u32,
    /// How far behind it may be before somebody is told.
    pub lag_max: Option<Duration>,
    /// Where its change events come from, in words; none: only scans find changes.
    pub hints: Vec<String>,
    /// What whoever pushes events must show, where they are pushed.
    pub hint_token: Option<HintToken>,
    /// Whether it deletes what only the destination holds.
    pub deletes: bool,
    /// How many path segments of a key make the prefix under which its usage counts; 0: it counts as a whole.
    pub usage_depth: usize,
    /// A digest of everything that was configured of it and its stores: another one means another job.
    pub fingerprint: u64,
    /// Opens its ends.
    pub opener: Arc<dyn Opener>,
}

/// The SHA-256 of what whoever pushes change events must show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HintToken([u8; 32]);

impl HintToken {
    /// Of this secret.
    pub fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether this is it. Takes as long whether it is or not.
    pub fn is(&self, shown: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &Self::new(shown).0).is_ok()
    }
}

impl fmt::Debug for HintToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HintToken")
    }
}

/// What a run changes of its job, once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Override {
    /// A limit of deletes instead of the configured one.
    pub delete_limit: Option<DeleteLimit>,
}

/// One transfer of a job: the whole of it, or one bucket of a job over many.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The bucket, where the job has many.
    pub label: Option<String>,
    /// What to run.
    pub job: crate::transfer::Job,
    /// The two places, for the journal.
    pub pair: Pair,
    /// How what lies there ages.
    pub tiers: Vec<Place>,
    /// What a run may cost.
    pub cost: Option<CostLimit>,
    /// Counters of its stores' layers.
    pub metrics: Arc<Metrics>,
}

/// What a job's ends are opened for.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// When the run began: what the date in a destination is taken from.
    pub at: Timestamp,
    /// Counts the requests to its stores; `None`: nobody does.
    pub meter: Option<Meter>,
}

/// Opens the ends of a job, anew for each run, so that credentials and buckets are those of the moment.
#[async_trait]
pub trait Opener: fmt::Debug + Send + Sync {
    /// The transfers of the job as they stand now, a job over many buckets has one for each.
    ///
    /// Fails with [`ErrorKind::Guard`](crate::error::ErrorKind::Guard) where data would leave where it must stay, before anything moves.
    async fn open(&self, occasion: &Occasion) -> Result<Vec<Opened>>;

    /// Where a run writes that began then, where the destination has a date; `None` where it is always the same place.
    fn destination(&self, at: Timestamp) -> Option<String>;

    /// What this job's bytes go through, which can be made narrower while it runs.
    fn pipes(&self) -> &Pipes;

    /// Where its change events come from, opened.
    async fn hints(&self) -> Result<Vec<HintSource>>;
}
