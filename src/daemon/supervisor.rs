//! The daemon as a whole: one keeper a job, the configuration as it changes, commands, and the snapshot.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::alert::{AlertKind, Alerts};
use super::audit::{Audit, Origin, Record};
use super::board::Board;
use super::common::Common;
use super::control::{Actor, Command, Control, Ends, Order};
use super::desk::Desks;
use super::follower::Follower;
use super::hints::{Hint, HintQueue};
use super::keeper::{self, Keeper, Told};
use super::ledger::Ledger;
use super::setup::{JobSetup, Override, Settings, Setup};
use super::spool::Spool;
use super::status::{ConfigStatus, Count, LimitStatus, Snapshot, StoreStatus, Throughput};
use super::turns::Turns;
use super::usage::{self, Usage};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Keep, RunInfo, StateDir};
use crate::metrics::Metrics;
use crate::transfer::budget::MemoryBudget;
use crate::transfer::share::Pool;

/// How often the state is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often mirrors are looked at that may lag.
const LAG_EVERY: Duration = Duration::from_secs(15);
/// Orders of one job that wait.
const TOLD_MAX: usize = 16;
const MINUTES: usize = 60;
const QUARTERS: usize = 96;

/// What a daemon works with.
#[derive(Debug)]
pub struct Options {
    /// Where it keeps its state.
    pub state: StateDir,
    /// What journals keep; `None` is nothing.
    pub keep: Option<Keep>,
    /// Time and ids.
    pub clock: Clock,
    /// The configuration, as it changes.
    pub setups: watch::Receiver<Arc<Setup>>,
    /// Told when somebody asks to read the configuration again.
    pub reload: mpsc::Sender<()>,
    /// What the layers of all stores count.
    pub metrics: Arc<Metrics>,
}

/// A daemon that is ready to run.
pub struct Daemon {
    common: Arc<Common>,
    setups: watch::Receiver<Arc<Setup>>,
    setup: Arc<Setup>,
    reload: mpsc::Sender<()>,
    metrics: Arc<Metrics>,
    ends: Ends,
    jobs: BTreeMap<String, Job>,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
    started: Timestamp,
    loaded: Timestamp,
    limit: Option<LimitStatus>,
    meter: Meter,
}

/// A job that is kept.
struct Job {
    setup: Arc<JobSetup>,
    board: Arc<Board>,
    told: mpsc::Sender<Told>,
    drain: CancellationToken,
    follower: Option<CancellationToken>,
    queue: Option<HintQueue>,
    scan_wanted: Arc<Notify>,
}

impl Daemon {
    /// Opens the state and makes the jobs ready; nothing runs yet.
    ///
    /// Fails with [`ErrorKind::Local`] where another daemon has the state directory, with [`ErrorKind::Disk`] where nothing can be kept there.
    pub async fn open(options: Options) -> Result<(Self, Control)> {
        let Options { state, keep, clock, setups, reload, metrics } = options;
        let info = RunInfo::of_process("daemon");
        let setup = setups.borrow().clone();
        let settings = &setup.settings;
        let (path, host) = (state.path().to_owned(), info.host.clone());
        let (ledger, audit) = crate::journal::disk::blocking({
            let (clock, host, keep_audit) = (clock.clone(), host.clone(), settings.audit_keep);
            move || {
                let ledger = Ledger::open(&path, &info)?;
                Spool::sweep(&path);
                Ok((ledger, Audit::open(&path, &host, clock, keep_audit)?))
            }
        })
        .await?;
        let usage = Usage::open(state.path(), clock.clone()).await?;
        let common = Arc::new(Common {
            clock: clock.clone(),
            memory: MemoryBudget::new(settings.memory_bytes),
            turns: Turns::new(settings.jobs_at_a_time),
            desks: Desks::new(state.clone(), keep, clock.clone()),
            ledger,
            audit,
            usage: usage.clone(),
            alerts: Alerts::start(settings.alerts.clone(), &host, clock.clone()),
            pool: RwLock::new(Pool::new(settings.streams_max)),
            revision: RwLock::new(setup.revision.clone()),
            state,
        });
        let now = clock.now();
        let first = Snapshot {
            now,
            version: env!("CARGO_PKG_VERSION"),
            host,
            started: now,
            config: ConfigStatus::default(),
            jobs: Vec::new(),
            stores: Vec::new(),
            throughput: Throughput::default(),
            counters: Vec::new(),
            memory_bytes: settings.memory_bytes,
            memory_in_use_bytes: 0,
            limit: None,
            draining: false,
        };
        let (control, ends) = Control::new(first, usage);
        let mut daemon = Self {
            common,
            setups,
            setup: Arc::default(),
            reload,
            metrics,
            ends,
            jobs: BTreeMap::new(),
            tasks: JoinSet::new(),
            cancel: CancellationToken::new(),
            started: now,
            loaded: now,
            limit: None,
            meter: Meter::new(now),
        };
        let started = Record::Started { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() };
        daemon.common.audit.record(daemon.common.origin("", None), started).await?;
        daemon.take_over(setup).await?;
        daemon.publish(false);
        Ok((daemon, control))
    }

    /// Runs until `cancel`, then drains: runs are stopped in an orderly way, and what has not ended after the configured time is dropped.
    ///
    /// Fails where the audit log cannot be written any more.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let clock = self.common.clock.clone();
        let (mut sampled, mut lag_looked, mut usage_written) = (clock.instant(), clock.instant(), clock.instant());
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                changed = self.setups.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let setup = self.setups.borrow_and_update().clone();
                    self.take_over(setup).await?;
                    self.publish(false);
                }
                Some(order) = self.ends.orders.recv() => {
                    self.obey(order).await?;
                    self.publish(false);
                }
                Some((job, hints)) = self.ends.pushes.recv() => self.pushed(&job, hints),
                Some(ended) = self.tasks.join_next() => {
                    // A keeper that panicked is a bug; its job stands still, and everything else goes on.
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "the keeper of a job broke down");
                    }
                }
                () = clock.sleep(TICK.saturating_sub(sampled.elapsed())) => {
                    let seconds = sampled.elapsed().as_secs_f64();
                    sampled = clock.instant();
                    let moved = self.jobs.values().map(|job| job.board.sample(seconds)).sum();
                    self.meter.count(moved, seconds, clock.now());
                    if lag_looked.elapsed() >= LAG_EVERY {
                        lag_looked = clock.instant();
                        self.look_at_lags();
                    }
                    if usage_written.elapsed() >= usage::WRITE_EVERY {
                        usage_written = clock.instant();
                        self.common.write_usage().await;
                    }
                    self.lift_limits();
                    self.publish(false);
                }
            }
        }
        self.drain().await
    }

    async fn drain(mut self) -> Result<()> {
        let clock = self.common.clock.clone();
        let limit = self.setup.settings.drain;
        tracing::info!(limit_seconds = limit.as_secs(), "draining: what is underway is put away");
        self.publish(true);
        self.jobs.values().for_each(Job::stop);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let in_time = tokio::select! {
            () = all => true,
            () = clock.sleep(limit) => false,
        };
        if !in_time {
            tracing::warn!("runs that did not end in time are dropped; the next ones go on where they were");
            self.tasks.shutdown().await;
        }
        self.common.write_usage().await;
        self.common.audit.record(self.common.origin("", None), Record::Ended {}).await
    }

    /// Puts a configuration into force.
    async fn take_over(&mut self, setup: Arc<Setup>) -> Result<()> {
        let common = self.common.clone();
        if let Some(refused) = &setup.refused {
            if self.setup.refused.as_ref() != Some(refused) {
                common.audit.record(common.origin("", None), Record::Misconfigured { why: refused.message.clone() }).await?;
                common.alerts.raise(AlertKind::Config, None, format!("a new configuration was refused, the old one stays: {}", refused.message), None);
            }
        } else {
            common.alerts.clear(AlertKind::Config, None);
        }
        let is_new = self.setup.revision != setup.revision || self.jobs.is_empty();
        if is_new {
            *common.revision.write().unwrap_or_else(PoisonError::into_inner) = setup.revision.clone();
            let file = setup.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            common.audit.record(common.origin("", None), Record::Configured { file, jobs: setup.jobs.len() }).await?;
            self.loaded = common.clock.now();
        }
        if self.setup.settings.streams_max != setup.settings.streams_max {
            *common.pool.write().unwrap_or_else(PoisonError::into_inner) = Pool::new(setup.settings.streams_max);
        }
        let (old, new) = (&self.setup.settings, &setup.settings);
        let doors = |settings: &Settings| (settings.listen, settings.hosts.clone(), settings.tls.clone(), settings.token_required, settings.memory_bytes);
        if !self.jobs.is_empty() && doors(old) != doors(new) {
            tracing::warn!("listen, hosts, TLS, token and memory are taken over at the next start only");
        }
        common.turns.resize(setup.settings.jobs_at_a_time);
        common.alerts.configure(setup.settings.alerts.clone());
        for gone in self.jobs.keys().filter(|name| setup.jobs.iter().all(|job| job.name != **name)).cloned().collect::<Vec<_>>() {
            if let Some(job) = self.jobs.remove(&gone) {
                tracing::info!(job = gone, "the job is not configured any more: it drains");
                job.stop();
            }
        }
        for job in &setup.jobs {
            match self.jobs.get(&job.name) {
                Some(known) if known.setup.fingerprint == job.fingerprint => {}
                Some(_) => self.change(job.clone()).await,
                None => self.add(job.clone()).await?,
            }
        }
        self.setup = setup;
        Ok(())
    }

    async fn add(&mut self, setup: Arc<JobSetup>) -> Result<()> {
        let record = self.common.ledger.read(&setup.name).await?;
        let board = Arc::new(Board::new(setup.clone(), record, self.common.usage.clone()));
        let (told, orders) = mpsc::channel(TOLD_MAX);
        let (drain, scan_wanted) = (self.cancel.child_token(), Arc::new(Notify::new()));
        let mut job =
            Job { setup: setup.clone(), board: board.clone(), told, drain: drain.clone(), follower: None, queue: None, scan_wanted: scan_wanted.clone() };
        self.start_follower(&mut job);
        let keeper = Keeper::new(self.common.clone(), board, setup.clone(), scan_wanted);
        self.tasks.spawn(keeper.keep(orders, drain));
        self.jobs.insert(setup.name.clone(), job);
        Ok(())
    }

    /// A job is another one from its next run on.
    async fn change(&mut self, setup: Arc<JobSetup>) {
        let Some(mut job) = self.jobs.remove(&setup.name) else { return };
        tracing::info!(job = setup.name, "the job's configuration has changed");
        job.setup = setup.clone();
        if let Some(follower) = job.follower.take() {
            follower.cancel();
        }
        self.start_follower(&mut job);
        // A keeper that takes nothing is busy putting a run away.
        if job.told.send(Told::Setup(setup.clone())).await.is_err() {
            tracing::error!(job = setup.name, "the keeper of the job is gone");
        }
        self.jobs.insert(setup.name.clone(), job);
    }

    fn start_follower(&mut self, job: &mut Job) {
        let setup = job.setup.clone();
        if setup.hints.is_empty() {
            job.queue = None;
            job.board.face().hints = None;
            return;
        }
        // What waits goes on waiting where events still come from the same place.
        let words = setup.hints.join(", ");
        let known = job.queue.take().filter(|queue| queue.status().source == words);
        let queue = known.unwrap_or_else(|| HintQueue::new(words, self.common.clock.clone()));
        let cancel = job.drain.child_token();
        job.board.face().hints = Some(queue.clone());
        let follower = Follower { common: self.common.clone(), board: job.board.clone(), setup, queue: queue.clone(), scan_wanted: job.scan_wanted.clone() };
        self.tasks.spawn(follower.follow(cancel.clone()));
        (job.follower, job.queue) = (Some(cancel), Some(queue));
    }

    fn pushed(&self, job: &str, hints: Vec<Hint>) {
        if let Some(queue) = self.jobs.get(job).and_then(|job| job.queue.as_ref()) {
            // A push has no acknowledgement beyond its answer; what is lost later a scan finds.
            drop(queue.offer(hints));
        }
    }

    /// Has a command carried out and answers it.
    async fn obey(&mut self, order: Order) -> Result<()> {
        let Order { actor, command, answer } = order;
        let job = match &command {
            Command::Run { job, .. } | Command::Retry { job } | Command::Cancel { job } => Some(job.clone()),
            Command::Pause { job } | Command::Resume { job } | Command::Limit { job, .. } => job.clone(),
            Command::Reload {} | Command::AlertTest {} => None,
        };
        if let Some(name) = job.as_ref().filter(|name| !self.jobs.contains_key(*name)) {
            let known: Vec<&str> = self.jobs.keys().map(String::as_str).collect();
            let error = Error::new(ErrorKind::NotFound, format!("there is no job '{name}'")).advise(format!("there are: {}", known.join(", ")));
            let _ = answer.send(Err(error));
            return Ok(());
        }
        let origin = Origin { who: actor.who.clone(), ..self.common.origin(job.as_deref().unwrap_or_default(), None) };
        let words = serde_json::to_value(&command).unwrap_or_default();
        self.common.audit.record(origin, Record::Commanded { command: words }).await?;
        match command {
            Command::Run { job, max_delete } => {
                let delete_limit = match max_delete.as_deref().map(keeper::delete_limit).transpose() {
                    Ok(limit) => limit,
                    Err(error) => {
                        let _ = answer.send(Err(error));
                        return Ok(());
                    }
                };
                let words = max_delete.map(|limit| format!("max_delete = {limit}, by {}", actor.who));
                self.tell(&job, |answer| Told::Run { changed: Override { delete_limit }, words, answer }, answer).await;
            }
            Command::Retry { job } => self.tell(&job, |answer| Told::Retry { answer }, answer).await,
            Command::Cancel { job } => self.tell(&job, |answer| Told::Cancel { answer }, answer).await,
            Command::Pause { job } => {
                let _ = answer.send(Ok(self.tell_all(job.as_deref(), || Told::Pause, "paused").await));
            }
            Command::Resume { job } => {
                let _ = answer.send(Ok(self.tell_all(job.as_deref(), || Told::Resume, "resumed").await));
            }
            Command::Limit { job, bytes_per_second, seconds } => {
                let _ = answer.send(self.limit(job.as_deref(), bytes_per_second, seconds));
            }
            Command::Reload {} => {
                // One that waits already is enough.
                let _ = self.reload.try_send(());
                let _ = answer.send(Ok("the configuration is being read again".to_owned()));
            }
            Command::AlertTest {} => self.test_alerts(answer),
        }
        Ok(())
    }

    async fn tell(&self, job: &str, order: impl FnOnce(oneshot::Sender<Result<String>>) -> Told, answer: oneshot::Sender<Result<String>>) {
        if let Some(job) = self.jobs.get(job) {
            // The answer is dropped with an order that nobody takes, and the caller told so.
            let _ = job.told.send(order(answer)).await;
        }
    }

    async fn tell_all(&self, job: Option<&str>, order: impl Fn() -> Told, what: &str) -> String {
        let names: Vec<&String> = self.jobs.keys().filter(|name| job.is_none_or(|job| job == name.as_str())).collect();
        for name in &names {
            if let Some(job) = self.jobs.get(*name) {
                let _ = job.told.send(order()).await;
            }
        }
        match job {
            Some(job) => format!("job '{job}' is {what}"),
            None => format!("{} jobs are {what}", names.len()),
        }
    }

    fn limit(&mut self, job: Option<&str>, bytes_per_second: Option<u64>, seconds: Option<u64>) -> Result<String> {
        let until = seconds.and_then(|seconds| self.common.clock.now().checked_add(SignedDuration::from_secs(seconds.min(u64::from(u32::MAX)) as i64)).ok());
        if bytes_per_second == Some(0) {
            return Err(Error::invalid("a limit of nothing stops everything").advise("pause the job instead"));
        }
        let status = bytes_per_second.map(|limit| LimitStatus { bytes_per_second: Some(limit), until });
        let pipes = match job.and_then(|job| self.jobs.get(job)) {
            Some(job) => {
                job.board.face().limit.clone_from(&status);
                job.setup.opener.pipes().clone()
            }
            None => {
                self.limit.clone_from(&status);
                self.setup.settings.pipes.clone()
            }
        };
        let whom = job.map_or_else(|| "all jobs together".to_owned(), |job| format!("job '{job}'"));
        Ok(match bytes_per_second {
            Some(limit) => {
                pipes.set(Some(limit));
                let end = until.map_or_else(|| "until it is changed".to_owned(), |until| format!("until {until}"));
                format!("{whom}: at most {limit} bytes a second {end}")
            }
            None => {
                pipes.reset();
                format!("{whom}: as configured")
            }
        })
    }

    /// Undoes the limits whose time is up.
    fn lift_limits(&mut self) {
        let now = self.common.clock.now();
        let is_over = |limit: &Option<LimitStatus>| limit.as_ref().and_then(|limit| limit.until).is_some_and(|until| until <= now);
        if is_over(&self.limit) {
            self.limit = None;
            self.setup.settings.pipes.reset();
        }
        for job in self.jobs.values() {
            let mut face = job.board.face();
            if is_over(&face.limit) {
                face.limit = None;
                job.setup.opener.pipes().reset();
            }
        }
    }

    fn test_alerts(&mut self, answer: oneshot::Sender<Result<String>>) {
        let alerts = self.common.alerts.clone();
        // Not of a job, and not waited for: its targets may be slow.
        self.tasks.spawn(async move {
            let told = alerts.test().await;
            let lines: Vec<String> =
                told.iter().map(|(target, sent)| format!("{target}: {}", sent.as_ref().map_or_else(ToString::to_string, |()| "delivered".into()))).collect();
            let _ = answer.send(match () {
                () if told.is_empty() => {
                    Err(Error::invalid("nobody is told of anything: there are no alerts").advise("add [[daemon.alerts]] to the configuration"))
                }
                () if told.iter().any(|(_, sent)| sent.is_err()) => Err(Error::new(ErrorKind::Unavailable, lines.join("; "))),
                () => Ok(lines.join("; ")),
            });
        });
    }

    fn look_at_lags(&self) {
        let now = self.common.clock.now();
        for (name, job) in &self.jobs {
            let status = job.board.status(now);
            let Some(most) = status.lag_max_seconds else { continue };
            match status.lag_seconds {
                Some(lag) if lag > most => {
                    let message = format!("the mirror is {lag} s behind, and may be {most} s{}", status.why.map_or_else(String::new, |why| format!(": {why}")));
                    self.common.alerts.raise(AlertKind::Lagging, Some(name), message, None);
                }
                Some(_) => self.common.alerts.clear(AlertKind::Lagging, Some(name)),
                None => {}
            }
        }
    }

    /// Shows how everything stands.
    fn publish(&self, draining: bool) {
        let now = self.common.clock.now();
        let jobs: Vec<_> = self.setup.jobs.iter().filter_map(|job| self.jobs.get(&job.name)).map(|job| job.board.status(now)).collect();
        let config = ConfigStatus {
            file: self.setup.file.as_ref().map(|file| file.display().to_string()),
            revision: self.setup.revision.clone(),
            loaded: Some(self.loaded),
            refused: self.setup.refused.clone(),
        };
        let counters = self.metrics.table().into_iter().map(|row| Count { name: row.name, help: row.help, value: row.value }).collect();
        let last = self.ends.snapshots.borrow().clone();
        self.ends.snapshots.send_replace(Arc::new(Snapshot {
            now,
            version: last.version,
            host: last.host.clone(),
            started: self.started,
            config,
            stores: stores(&jobs),
            jobs,
            throughput: self.meter.throughput(),
            counters,
            memory_bytes: self.common.memory.capacity_bytes(),
            memory_in_use_bytes: self.common.memory.in_use_bytes(),
            limit: self.limit.clone(),
            draining,
        }));
    }
}

impl Job {
    fn stop(&self) {
        self.drain.cancel();
    }
}

/// The stores, as the last runs of their jobs found them.
fn stores(jobs: &[super::status::JobStatus]) -> Vec<StoreStatus> {
    let mut stores: BTreeMap<&str, StoreStatus> = BTreeMap::new();
    for job in jobs {
        let trouble = job.recent_runs.first().filter(|run| matches!(run.outcome.as_str(), "stopped" | "halted"));
        for address in [&job.source, &job.destination] {
            let name = address.split_once("://").map_or("file", |(name, _)| name);
            let store = stores.entry(name).or_insert_with(|| StoreStatus { name: name.to_owned(), health: "ok", why: None });
            // An error names the bucket where it is a store's.
            let bucket = address.split("://").nth(1).and_then(|rest| rest.split('/').next()).filter(|bucket| !bucket.is_empty());
            let is_its = |message: &str| bucket.is_some_and(|bucket| message.contains(&format!("://{bucket}:")) || message.contains(&format!("://{bucket}/")));
            if let Some((run, error)) = trouble.and_then(|run| run.error.as_ref().map(|error| (run, error))).filter(|(_, error)| is_its(&error.message)) {
                store.health = if run.outcome == "halted" { "halted" } else { "down" };
                store.why = Some(error.message.clone());
            }
        }
    }
    stores.into_values().collect()
}

/// What moved, by the minute and by the quarter of an hour.
struct Meter {
    bytes_per_second: u64,
    minutes: VecDeque<u64>,
    quarters: VecDeque<u64>,
    minute: i64,
    quarter: i64,
}

impl Meter {
    fn new(now: Timestamp) -> Self {
        let (minute, quarter) = (now.as_second().div_euclid(60), now.as_second().div_euclid(900));
        Self { bytes_per_second: 0, minutes: VecDeque::from(vec![0; MINUTES]), quarters: VecDeque::from(vec![0; QUARTERS]), minute, quarter }
    }

    fn count(&mut self, bytes: u64, seconds: f64, now: Timestamp) {
        let turn = |row: &mut VecDeque<u64>, at: &mut i64, now: i64| {
            // A clock that jumps leaves a gap at the most.
            let passed = usize::try_from(now - *at).unwrap_or(0).min(row.len());
            row.rotate_left(passed);
            let len = row.len();
            row.iter_mut().skip(len - passed).for_each(|sum| *sum = 0);
            *at = now;
            if let Some(last) = row.back_mut() {
                *last += bytes;
            }
        };
        turn(&mut self.minutes, &mut self.minute, now.as_second().div_euclid(60));
        turn(&mut self.quarters, &mut self.quarter, now.as_second().div_euclid(900));
        self.bytes_per_second = (self.bytes_per_second + (bytes as f64 / seconds.max(0.01)) as u64) / 2;
    }

    fn throughput(&self) -> Throughput {
        Throughput {
            bytes_per_second: self.bytes_per_second,
            minutes: self.minutes.iter().copied().collect(),
            quarters: self.quarters.iter().copied().collect(),
        }
    }
}

impl Actor {
    /// The daemon's own signals.
    pub fn signal() -> Self {
        Self { who: "signal".to_owned() }
    }
}
