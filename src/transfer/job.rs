//! What to do (a [`Job`] with its [`Options`]) and what a run may use (a [`Context`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::budget::MemoryBudget;
use super::claim::Claims;
use super::event::Event;
use super::filter::Filter;
use super::progress::Progress;
use super::shard::Shard;
use super::share::Share;
use crate::clock::Clock;
use crate::journal::{Journal, MemoryJournal};
use crate::metrics::Metrics;
use crate::storage::class::ClassMap;
use crate::storage::limit::Timetable;
use crate::storage::location::Location;
use crate::storage::object::Encryption;
use crate::storage::thaw::Thaw;

/// A transfer: make `destination` hold what `source` holds.
#[derive(Debug, Clone)]
pub struct Job {
    /// Where to read.
    pub source: Location,
    /// Where to write.
    pub destination: Location,
    /// How.
    pub options: Options,
}

impl Job {
    /// A job with default options.
    pub fn new(source: Location, destination: Location) -> Self {
        Self { source, destination, options: Options::default() }
    }
}

/// By what two objects of one key and size are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compare {
    /// ETags, the stamp of an earlier copy, stored checksums, and at last modification times.
    #[default]
    Default,
    /// Content checksums alone (`--checksum`); a local file is read for it.
    Checksum,
    /// Sizes alone (`--size-only`).
    SizeOnly,
}

/// How many deletes a run may make.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum DeleteLimit {
    /// Refuse where they are more than 100 and also more than 25 % of the destination keys seen.
    #[default]
    Default,
    /// Refuse where there are more than this; 0 allows none.
    Count(u64),
    /// Refuse where they are more than this part of the destination keys seen, in percent; 0 allows none.
    Percent(f64),
}

/// Which versions of an object are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VersionChoice {
    /// The one that is read without naming a version.
    #[default]
    Latest,
    /// Each that the source keeps, in the order in which they were made, delete markers included. Both buckets must keep versions.
    All,
}

/// A file of keys, relative to the source: only these are compared and copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The file; `-` is standard input.
    pub path: PathBuf,
    /// What ends a key: `\n`, or NUL.
    pub separator: u8,
}

/// Which storage class copies get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassChoice {
    /// By the source's class.
    Mapped(ClassMap),
    /// This one, in the destination's words.
    Named(String),
    /// The bucket's.
    BucketDefault,
}

impl ClassChoice {
    /// The class that the operator names for every copy.
    pub fn named(&self) -> Option<&str> {
        match self {
            Self::Named(word) => Some(word),
            Self::Mapped(_) | Self::BucketDefault => None,
        }
    }
}

impl AclChoice {
    /// The canned ACL that the operator names for every copy.
    pub fn named(&self) -> Option<&str> {
        match self {
            Self::Named(word) => Some(word),
            Self::BucketDefault | Self::Keep => None,
        }
    }
}

impl EncryptionChoice {
    /// The encryption that the operator names for every copy.
    pub fn named(&self) -> Option<&Encryption> {
        match self {
            Self::With(encryption) => Some(encryption),
            Self::BucketDefault | Self::Keep => None,
        }
    }
}

impl Default for ClassChoice {
    fn default() -> Self {
        Self::Mapped(ClassMap::default())
    }
}

/// Who may read and write copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AclChoice {
    /// As the bucket says.
    #[default]
    BucketDefault,
    /// As of the source, in the destination's words: a request more for each object.
    Keep,
    /// By this canned ACL, in the destination's words.
    Named(String),
}

/// How copies are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EncryptionChoice {
    /// As the bucket says.
    #[default]
    BucketDefault,
    /// As the source is, in the destination's words; by the service's default key where the source's is another cloud's.
    Keep,
    /// So.
    With(Encryption),
}

/// How to transfer. [`Options::default`] gives the documented defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// Delete what only the destination holds. Default: no.
    pub delete: bool,
    /// Also delete what the filter hides. Default: no.
    pub delete_excluded: bool,
    /// How many deletes are allowed.
    pub delete_limit: DeleteLimit,
    /// Let an empty source empty the destination. Default: no.
    pub allow_empty_source: bool,
    /// Decide and tell, but write nothing. Default: no.
    pub dry_run: bool,
    /// Which versions are copied. Default: the latest.
    pub versions: VersionChoice,
    /// By what objects of equal size are compared.
    pub compare: Compare,
    /// Leave alone what is newer at the destination (`--update`). Default: no.
    pub update: bool,
    /// Leave alone what is there at the destination, however it differs. Default: no.
    pub ignore_existing: bool,
    /// Which keys, sizes and ages take part.
    pub filter: Filter,
    /// Copy what links of OSS lead to, at one HEAD a link and run. Default: no, they are left out and counted. (A local tree follows its
    /// links where it was opened so.)
    pub follow_symlinks: bool,
    /// Only these keys, looked up one by one instead of listing. Never with `delete`.
    pub files_from: Option<KeyFile>,
    /// Only this share of the keys; other hosts do the others. Default: `None`, all of them.
    pub shard: Option<Shard>,
    /// Also send an event for each unchanged key (`-v`). Default: no.
    pub report_unchanged: bool,
    /// How many streams are underway at a time: small objects, and parts of large ones. Default: `None`, as many as pay on this path,
    /// found while it runs.
    pub concurrency: Option<usize>,
    /// In how many ranges of keys both ends are listed at a time, at most. Default: 16.
    pub list_ranges_max: usize,
    /// Part size of multipart uploads in bytes. Default: `None`, fitted to the object.
    pub part_size_bytes: Option<u64>,
    /// Most memory for object bytes, in bytes. Default: 512 MiB.
    pub memory_bytes: u64,
    /// Most bytes a second, over all copies: what opens the stores makes pipes of it ([`Pipes`](crate::storage::limit::Pipes)). Default:
    /// no limit.
    pub bandwidth: Option<Timetable>,
    /// Stop starting copies after this many failed. Default: no limit.
    pub errors_max: Option<u64>,
    /// Stop starting copies after this long. Default: no limit.
    pub duration_max: Option<Duration>,
    /// Storage class at the destination. Default: the one most like the source's.
    pub storage_class: ClassChoice,
    /// Encryption to ask the destination for. Default: the bucket's.
    pub encryption: EncryptionChoice,
    /// Who may read and write copies. Default: the bucket says it.
    pub acl: AclChoice,
    /// Also look at what stands beside the bytes of objects that are the same: two requests each, and one for tags at each end. Default: no,
    /// what a listing or the journal shows is enough.
    pub check_metadata: bool,
    /// Carry tags: a request more for an object that has some, or may have. Default: no.
    pub tags: bool,
    /// Ask for what lies in an archive at the source, within this budget a day; a later run copies it. Default: no, such objects are parked.
    pub thaw: Option<Thaw>,
    /// Copy no object of which the copy would lose something. Default: no, it is told.
    pub strict: bool,
    /// Change the metadata of copies also where their class charges for it. Default: no.
    pub touch_cold: bool,
    /// Keep `dragon-source` in the object's metadata, so that later runs know the copy without a journal. Default: yes.
    pub stamp: bool,
    /// Do not compute MD5, even where it is the only proof of the source (`--no-md5`). Default: no.
    pub no_md5: bool,
    /// What is deleted or overwritten goes there first, under the time of the run's start. Default: nowhere.
    pub backup: Option<Location>,
    /// Delete only what has been absent from the source for so long, seen by runs with the same journal. Default: at once.
    pub delete_after: Option<Duration>,
    /// Compare from the first key, also where the journal knows how far an interrupted run got. Default: no.
    pub from_start: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delete: false,
            follow_symlinks: false,
            delete_excluded: false,
            delete_limit: DeleteLimit::Default,
            allow_empty_source: false,
            dry_run: false,
            versions: VersionChoice::default(),
            compare: Compare::Default,
            update: false,
            ignore_existing: false,
            filter: Filter::default(),
            files_from: None,
            shard: None,
            report_unchanged: false,
            concurrency: None,
            list_ranges_max: 16,
            part_size_bytes: None,
            memory_bytes: 512 << 20,
            bandwidth: None,
            errors_max: None,
            duration_max: None,
            storage_class: ClassChoice::default(),
            encryption: EncryptionChoice::default(),
            acl: AclChoice::default(),
            check_metadata: false,
            tags: false,
            thaw: None,
            strict: false,
            touch_cold: false,
            stamp: true,
            no_md5: false,
            backup: None,
            delete_after: None,
            from_start: false,
        }
    }
}

/// What a run may use, and how it is watched and stopped. Cheap to clone.
///
/// Lifecycle is pushed ([`Event`]s), quantities are pulled ([`Progress`]).
#[derive(Debug, Clone)]
pub struct Context {
    /// Time and randomness.
    pub clock: Clock,
    /// Stops the run: nothing new is started, what runs is dropped.
    pub cancel: CancellationToken,
    /// Where events go. The run waits for a full channel, so it must be drained; a closed one is ignored.
    pub events: Option<mpsc::Sender<Event>>,
    /// The byte budget that this run shares with others of the process. `None` gives it one of its own, of [`Options::memory_bytes`].
    pub memory: Option<MemoryBudget>,
    /// This run's part of the streams that runs of the process share. `None`: it has as many as it finds that pay.
    pub share: Option<Arc<Share>>,
    /// The keys that are being copied, where other runs between the same two ends go on at a time.
    pub claims: Claims,
    /// Counters to look at while it runs.
    pub progress: Arc<Progress>,
    /// What the layers of the job's stores count: the search for the right concurrency looks there for throttles and broken requests that
    /// were made again. By default they are not seen, and only slow the run.
    pub metrics: Arc<Metrics>,
    /// Where delete candidates and unordered listings are spilled. `None` is the system's temporary directory.
    pub spill_dir: Option<PathBuf>,
    /// What is in flight and what was proved between the job's two ends. By default nothing outlives the run.
    pub journal: Arc<dyn Journal>,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            cancel: CancellationToken::default(),
            events: None,
            memory: None,
            share: None,
            claims: Claims::default(),
            progress: Arc::default(),
            metrics: Arc::default(),
            spill_dir: None,
            journal: Arc::new(MemoryJournal::new()),
        }
    }
}

impl Context {
    /// Tells whoever listens.
    pub(crate) async fn tell(&self, event: Event) {
        if let Some(events) = &self.events {
            // A listener that went away is no reason to stop copying.
            let _ = events.send(event).await;
        }
    }
}
