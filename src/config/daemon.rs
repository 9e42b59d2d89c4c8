//! What a configuration means for the daemon: its jobs, each with what opens its ends.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

use super::Config;
use super::dated;
use super::job::{self, BUCKET, Events, Job, Mode};
use super::residency;
use super::store::StoreKind;
use super::stores::{Opening, Stores};
use super::tier::On;
use crate::clock::Clock;
use crate::daemon::alert::AlertSettings;
use crate::daemon::hints::HintSource;
use crate::daemon::setup::{HintToken, JobSetup, Occasion, Opened, Opener, Settings, Setup};
use crate::daemon::usage;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Pair;
use crate::metrics::Metrics;
use crate::storage::Key;
use crate::storage::checksum::Crc64;
use crate::storage::limit::Pipes;
use crate::storage::location::Address;
use crate::tier::{End, Place};
use crate::transfer::Options;

/// Buckets that one job may have.
const BUCKETS_MAX: usize = 1000;

/// The daemon's setup of a configuration. `metrics` count what all jobs' stores do. Must be called within a tokio runtime.
pub fn setup(config: &Arc<Config>, clock: &Clock, metrics: &Arc<Metrics>) -> Setup {
    let engine = &config.engine.resources;
    let pipes = Pipes::adjustable(clock, engine.bandwidth.as_ref());
    let daemon = &config.daemon;
    let usual = Settings::default();
    let settings = Settings {
        listen: daemon.listen,
        hosts: daemon.hosts.clone(),
        tls: daemon.tls.clone(),
        token_required: daemon.token,
        jobs_at_a_time: daemon.jobs_at_a_time,
        streams_max: engine.concurrency.and_then(super::units::Auto::fixed),
        memory_bytes: engine.memory.unwrap_or(usual.memory_bytes),
        drain: daemon.drain,
        audit_keep: daemon.audit_keep,
        alerts: AlertSettings { targets: daemon.alerts.clone() },
        pipes: pipes.clone(),
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let jobs = config.jobs.iter().map(|job| {
        let stores = Arc::new(Stores::named(config.clone(), clock.clone(), metrics.clone(), &format!("{}@{host}", job.name)));
        let own = Pipes::adjustable(clock, job.resources.bandwidth.as_ref());
        let opener = JobOpener { config: config.clone(), stores, job: job.clone(), own, shared: pipes.clone(), clock: clock.clone() };
        Arc::new(JobSetup {
            name: job.name.clone(),
            source: job.source.to_string(),
            destination: job.destination.to_string(),
            mode: if job.mode == Mode::Sync { "sync" } else { "copy" },
            schedule: job.schedule.clone(),
            windows: job.windows.clone(),
            priority: job.priority,
            lag_max: job.lag_max,
            hints: job.events.iter().map(in_words).collect(),
            hint_token: job.events.iter().find_map(|events| if let Events::Webhook { token } = events { Some(HintToken::new(token.expose())) } else { None }),
            deletes: job.deleting.delete,
            usage_depth: job.usage_depth,
            fingerprint: fingerprint(config, job),
            opener: Arc::new(opener),
        })
    });
    Setup { revision: config.revision(), file: config.file.clone(), jobs: jobs.collect(), settings, refused: None }
}

fn in_words(events: &Events) -> String {
    match events {
        Events::Notify => "notify".to_owned(),
        Events::Sqs { queue, .. } => format!("SQS {}", queue.rsplit('/').next().unwrap_or_default()),
        Events::Smq { queue, .. } => format!("SMQ {queue}"),
        Events::Webhook { .. } => "webhook".to_owned(),
    }
}

/// Of everything that is configured of a job and of all stores, secrets included.
fn fingerprint(config: &Config, job: &Job) -> u64 {
    let tokens: String = job.events.iter().filter_map(|events| if let Events::Webhook { token } = events { Some(token.expose()) } else { None }).collect();
    Crc64::of(format!("{job:?} {tokens} {:?}", config.stores_digest).as_bytes()).xz
}

/// Opens a job's ends.
struct JobOpener {
    config: Arc<Config>,
    stores: Arc<Stores>,
    job: Job,
    /// What this job's bytes go through, and then those of all jobs.
    own: Pipes,
    shared: Pipes,
    clock: Clock,
}

impl fmt::Debug for JobOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobOpener").field("job", &self.job.name).finish_non_exhaustive()
    }
}

impl JobOpener {
    fn options(&self) -> Result<Options> {
        let mut options = Options::default();
        self.job.selection.apply(&mut options, self.clock.now())?;
        self.job.copying.apply(&mut options);
        if self.job.mode == Mode::Sync {
            self.job.deleting.apply(&mut options);
        }
        self.job.resources.apply(&mut options, &self.config.engine);
        // The pipes see to that.
        options.bandwidth = None;
        Ok(options)
    }

    /// The day that it is then where the job is.
    fn day(&self, at: Timestamp) -> Date {
        at.to_zoned(self.job.zone()).date()
    }

    /// Opens the transfer of the job, or of one bucket of a job over many.
    async fn one(&self, occasion: &Occasion, label: Option<String>) -> Result<Opened> {
        let mut options = self.options()?;
        let (mut source, mut written) = (self.job.source.clone(), self.job.destination.clone());
        if let Some(name) = &label {
            if let Address::Store { bucket, .. } = &mut source {
                bucket.clone_from(name);
            }
            if let Address::Store { bucket, .. } = &mut written {
                *bucket = bucket.replace(BUCKET, name);
            }
        }
        let destination = dated::fill(&written, self.day(occasion.at));
        residency::check(&self.config.stores, &source, &destination, &options.filter, &self.job.residency)?;
        let give_up_after = self.job.resources.give_up_after;
        let pipes = |read: bool| {
            let half = |pipes: &Pipes| Pipes { read: pipes.read.clone().filter(|_| read), write: pipes.write.clone().filter(|_| !read) };
            vec![half(&self.own), half(&self.shared)]
        };
        let meter = occasion.meter.clone().map(|meter| meter.of_bucket(label.as_deref()));
        let witness = |end: usage::End, at: &Address| meter.as_ref().map(|meter| meter.witness(end, base(at)));
        let follow_symlinks = self.job.selection.follow_symlinks;
        let from = Opening { make: false, follow_symlinks, pipes: pipes(true), give_up_after, witness: witness(usage::End::Source, &source) };
        let to = Opening { make: true, follow_symlinks: false, pipes: pipes(false), give_up_after, witness: witness(usage::End::Destination, &destination) };
        if let Some(backup) = &self.job.copying.backup_dir {
            // What is overwritten at the destination goes there, of whichever day it is.
            residency::check(&self.config.stores, &dated::folder(&written), backup, &options.filter, &[])?;
            let witness = meter.clone().map(|meter| meter.undivided().witness(usage::End::Destination, base(backup)));
            options.backup = Some(self.stores.tree(backup, &Opening { make: true, witness, ..Opening::default() }).await?);
        }
        let mut job =
            crate::transfer::Job { source: self.stores.tree(&source, &from).await?, destination: self.stores.tree(&destination, &to).await?, options };
        let pair = Pair::of(&job.source.tree(), &job.destination.tree()).of_share(job.options.shard);
        let stores = [&source, &destination].map(|address| address.store().unwrap_or_default().to_owned());
        let service = job.source.storage.capabilities().service;
        let cost = self.job.copying.limit_cost(&mut job.options, || self.config.price_table(), stores, service)?;
        let tiers = self.tiers(&job, &written).await?;
        Ok(Opened { label, job, pair, tiers, cost, metrics: self.stores.metrics().clone() })
    }

    /// The places that the job's rules are about. Of a destination with a date that is the folder in which all dates lie.
    async fn tiers(&self, job: &crate::transfer::Job, written: &Address) -> Result<Vec<Place>> {
        let mut places: Vec<(&On, Place)> = Vec::new();
        for tier in &self.job.tier {
            if let Some((_, place)) = places.iter_mut().find(|(on, _)| **on == tier.on) {
                place.rules.push(tier.rule.clone());
                continue;
            }
            let (end, location) = match &tier.on {
                On::Source => (End::Source, job.source.tree()),
                On::Destination if dated::is_dated(written) => {
                    (End::Third, self.stores.tree(&dated::folder(written), &Opening { make: true, ..Opening::default() }).await?.tree())
                }
                On::Destination => (End::Destination, job.destination.tree()),
                On::Place(address) => (End::Third, self.stores.tree(address, &Opening::default()).await?.tree()),
            };
            let store = tier.on.address(&self.job).store().unwrap_or_default().to_owned();
            places.push((&tier.on, Place { end, store, location, rules: vec![tier.rule.clone()] }));
        }
        Ok(places.into_iter().map(|(_, place)| place).collect())
    }

    /// The buckets that a pattern means now.
    async fn buckets(&self, store: &str, pattern: &str) -> Result<Vec<String>> {
        let all = self.stores.account(store).await?.list_buckets().await?;
        let mut names: Vec<String> = all.into_iter().map(|bucket| bucket.name).filter(|name| job::matches_bucket(pattern, name)).collect();
        names.sort_unstable();
        if names.len() > BUCKETS_MAX {
            return Err(
                Error::invalid(format!("{} buckets match {store}://{pattern}, and a job takes {BUCKETS_MAX}", names.len())).advise("write several jobs")
            );
        }
        if names.is_empty() {
            return Err(Error::new(ErrorKind::BucketNotFound, format!("no bucket matches {store}://{pattern}")));
        }
        Ok(names)
    }
}

#[async_trait]
impl Opener for JobOpener {
    async fn open(&self, occasion: &Occasion) -> Result<Vec<Opened>> {
        let Address::Store { store, bucket, .. } = &self.job.source else { return Ok(vec![self.one(occasion, None).await?]) };
        if !job::is_pattern(&self.job.source) {
            return Ok(vec![self.one(occasion, None).await?]);
        }
        let mut opened = Vec::new();
        for name in self.buckets(store, bucket).await? {
            opened.push(self.one(occasion, Some(name)).await?);
        }
        Ok(opened)
    }

    fn destination(&self, at: Timestamp) -> Option<String> {
        dated::is_dated(&self.job.destination).then(|| dated::fill(&self.job.destination, self.day(at)).to_string())
    }

    fn pipes(&self) -> &Pipes {
        &self.own
    }

    async fn hints(&self) -> Result<Vec<HintSource>> {
        let mut sources = Vec::new();
        for events in &self.job.events {
            let store_of = |named: &Option<String>| named.clone().or_else(|| self.job.source.store().map(str::to_owned)).unwrap_or_default();
            sources.push(match events {
                Events::Notify => match &self.job.source {
                    Address::Path(path) => HintSource::Tree { root: path.clone() },
                    Address::Store { .. } | Address::Stdio => return Err(Error::invalid("only a local directory can be watched")),
                },
                Events::Sqs { queue, store } => HintSource::Sqs { queue_url: queue.clone(), config: Box::new(self.stores.aws_config(&store_of(store)).await?) },
                Events::Smq { endpoint, queue, store } => {
                    HintSource::Smq { endpoint: endpoint.clone(), queue: queue.clone(), credentials: self.stores.alibaba_credentials(&store_of(store)).await? }
                }
                Events::Webhook { token } => HintSource::Webhook { token: token.expose().to_owned() },
            });
        }
        Ok(sources)
    }
}

/// What stands before the relative keys at an address.
fn base(address: &Address) -> Key {
    match address.tree() {
        Address::Store { key, .. } => key,
        Address::Path(_) | Address::Stdio => Key::EMPTY,
    }
}

/// The files that secrets come from, for whoever watches them: paths of `file:` references as they are written.
pub(super) fn secret_files(text: &str) -> Vec<PathBuf> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter_map(|value| value.strip_prefix("file:")).filter(|path| !path.starts_with("//")).map(PathBuf::from).collect()
}

/// Whether a store is of a kind, for an error that says so.
pub(super) fn wrong_kind(name: &str, wanted: &str, kind: &StoreKind) -> Error {
    let is = match kind {
        StoreKind::S3(_) => "an S3 store",
        StoreKind::Oss(_) => "an OSS store",
        StoreKind::File { .. } => "a file store",
        StoreKind::ObjectStore { .. } => "a store of the object_store crate",
    };
    Error::invalid(format!("the store '{name}' is {is}, and these events need the credentials of {wanted}")).advise("name another one with store = \"...\"")
}
