//! What the daemon's tests share, and tests of it as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::calendar::{Schedule, Window};
use super::control::{Actor, Command, Control};
use super::hints::HintSource;
use super::setup::{JobSetup, Occasion, Opened, Opener, Settings, Setup};
use super::status::{
    ConfigStatus, Count, CurrentRun, HintStatus, JobState, JobStatus, LimitStatus, MovingObject, RunStatus, Snapshot, StoreStatus, Throughput, Totals, Trouble,
};
use super::usage::{End, Sums};
use super::{Daemon, Options};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Keep, Pair, StateDir};
use crate::storage::fault::{Effect, Fault, FaultLayer};
use crate::storage::layer::Operation;
use crate::storage::limit::Pipes;
use crate::storage::location::Location;
use crate::storage::memory::MemoryStore;
use crate::storage::observe::Observe;
use crate::storage::{Key, List, Put, Storage};
use crate::transfer;

/// A snapshot with something of everything on it.
pub(super) fn sample() -> Snapshot {
    let now: Timestamp = "2026-11-26T12:00:00Z".parse().expect("a time");
    let ago = |minutes: i64| now - SignedDuration::from_mins(minutes);
    let trouble = Trouble {
        at: ago(3),
        message: "put 'a.jpg' in oss://photos-cn: access denied (HTTP 403, code AccessDenied, request id REQ-123)".into(),
        advice: Some("check the key's policy: dragon doctor oss://photos-cn".into()),
        key: Some("a.jpg".into()),
        code: Some("AccessDenied".into()),
        request_id: Some("REQ-123".into()),
    };
    let run = |minutes: i64, outcome: &str, error: Option<Trouble>| RunStatus {
        id: format!("run{minutes}"),
        cause: "schedule".into(),
        started: ago(minutes),
        ended: ago(minutes - 1),
        outcome: outcome.into(),
        copied: 1200,
        skipped: 34_000,
        deleted: 2,
        failed: u64::from(error.is_some()),
        thawing: 0,
        bytes: 5 << 30,
        verified: 1200,
        destination: None,
        error,
    };
    let photos = JobStatus {
        name: "photos".into(),
        source: "aws-us://photos/2026/".into(),
        destination: "aliyun-bj://photos-cn/2026/".into(),
        dated_destination: None,
        forecast: None,
        mode: "sync",
        state: JobState::InSync,
        why: None,
        schedule: Some("every 5m".into()),
        windows: vec!["20:00-08:00 Asia/Shanghai".into()],
        next_run: Some(now + SignedDuration::from_mins(2)),
        priority: 10,
        synced_until: Some(ago(4)),
        lag_seconds: Some(240),
        lag_max_seconds: Some(3600),
        oldest_pending: None,
        current: None,
        recent_runs: vec![run(4, "done", None), run(9, "done", None)],
        failures_in_row: 0,
        troubles: Vec::new(),
        hints: Some(HintStatus {
            source: "SQS photos-events".into(),
            connected: true,
            pending: 3,
            received: 12_034,
            duplicates: 34,
            rescans: 1,
            last: Some(ago(1)),
            delay_median_ms: Some(1400),
            delay_worst_ms: Some(5200),
            trouble: None,
        }),
        totals: Totals { runs: BTreeMap::from([("done".into(), 288)]), copied: 345_600, bytes: 5 << 40, verified: 345_590, deleted: 12, failed: 3 },
        usage: Sums { objects_copied: 1200, bytes_copied: 5 << 30, requests_source: 90, requests_source_list: 90, ..Sums::default() },
        limit: Some(LimitStatus { bytes_per_second: Some(20_000_000 / 8), until: Some(now + SignedDuration::from_hours(2)) }),
        failed_keys: 0,
    };
    let archive = JobStatus {
        name: "archive".into(),
        state: JobState::Failing,
        why: Some(trouble.message.clone()),
        recent_runs: vec![run(4, "stopped", Some(trouble.clone()))],
        failures_in_row: 4,
        troubles: vec![trouble.clone()],
        hints: None,
        limit: None,
        failed_keys: 7,
        schedule: Some("0 3 * * * Asia/Shanghai".into()),
        synced_until: Some(ago(3000)),
        lag_seconds: Some(180_000),
        destination: "oss://photos-cn/archive/".into(),
        ..photos.clone()
    };
    let logs = JobStatus {
        name: "logs".into(),
        state: JobState::Running,
        current: Some(CurrentRun {
            id: "run1".into(),
            started: ago(2),
            cause: "schedule".into(),
            listed: 1_200_000,
            listing_done: true,
            planned_objects: 4000,
            planned_bytes: 12 << 30,
            copied_objects: 1500,
            copied_bytes: 5 << 30,
            failed_objects: 1,
            skipped_objects: 1_100_000,
            bytes_per_second: 23 << 20,
            moving: vec![MovingObject { key: "2026/01/a.jpg".into(), size: 1 << 30, done: 400 << 20 }],
        }),
        hints: None,
        limit: None,
        ..photos.clone()
    };
    Snapshot {
        now,
        version: "0.1.0",
        host: "bridge-1".into(),
        started: ago(5000),
        config: ConfigStatus {
            file: Some("/etc/dragon/dragon.toml".into()),
            revision: "0f".repeat(32),
            loaded: Some(ago(100)),
            refused: Some(Trouble {
                message: "dragon.toml:12:1: jobs.photos.schedul: there is no such key".into(),
                advice: None,
                key: None,
                code: None,
                request_id: None,
                at: now,
            }),
        },
        jobs: vec![photos, archive, logs],
        stores: vec![
            StoreStatus { name: "aws-us".into(), health: "ok", why: None },
            StoreStatus { name: "oss".into(), health: "down", why: Some(trouble.message.clone()) },
        ],
        throughput: Throughput {
            bytes_per_second: 23 << 20,
            minutes: (0..60).map(|n| n * (1 << 24)).collect(),
            quarters: (0..96).map(|n| (n % 13) << 30).collect(),
        },
        counters: vec![Count { name: "dragon_requests_total", help: "Requests to stores, each attempt counted.", value: 12 }],
        memory_bytes: 512 << 20,
        memory_in_use_bytes: 80 << 20,
        limit: None,
        draining: false,
    }
}

/// Two places in memory, and how often they were opened.
#[derive(Debug)]
struct Place {
    from: Arc<MemoryStore>,
    to: Arc<FaultLayer>,
    opened: AtomicU64,
    fails: AtomicBool,
    /// A folder for each day, in this zone.
    dated: Option<TimeZone>,
    clock: Clock,
    pipes: Pipes,
}

impl Place {
    /// So many objects, each of which takes so long to write.
    async fn new(clock: &Clock, name: &str, objects: usize, takes: Duration) -> Arc<Self> {
        let from = Arc::new(MemoryStore::new(&format!("{name}-from")));
        for n in 0..objects {
            from.put(&Key::from(format!("{n:05}").as_str()), vec![1; 8].into(), Put::default()).await.expect("written");
        }
        let slow = [Fault::on(Operation::Put, Effect::Delay(takes))];
        let to = Arc::new(FaultLayer::new(Arc::new(MemoryStore::new(&format!("{name}-to"))), clock.clone(), slow));
        let clock = clock.clone();
        Arc::new(Self { from, to, opened: AtomicU64::new(0), fails: AtomicBool::new(false), dated: None, clock, pipes: Pipes::default() })
    }

    /// The same with a folder for each day.
    fn dated(self: Arc<Self>, zone: &str) -> Arc<Self> {
        let place = Arc::into_inner(self).expect("the only one");
        Arc::new(Self { dated: Some(TimeZone::get(zone).expect("a zone")), ..place })
    }

    /// The keys at the destination.
    async fn keys(&self) -> Vec<String> {
        let pages: Vec<_> = self.to.list(List::default()).collect().await;
        pages.into_iter().flat_map(|page| page.expect("listed").iter().map(|entry| Key::from(entry.key).to_string()).collect::<Vec<_>>()).collect()
    }

    fn job(self: &Arc<Self>, name: &str, schedule: Option<&str>) -> JobSetup {
        JobSetup {
            name: name.into(),
            source: format!("mem://{name}-from"),
            destination: format!("mem://{name}-to"),
            mode: "sync",
            schedule: schedule.map(|words| Schedule::parse(words).expect("a schedule")),
            windows: Vec::new(),
            priority: 10,
            lag_max: None,
            hints: Vec::new(),
            hint_token: None,
            deletes: false,
            usage_depth: 0,
            fingerprint: 1,
            opener: self.clone(),
        }
    }
}

#[async_trait]
impl Opener for Place {
    async fn open(&self, occasion: &Occasion) -> Result<Vec<Opened>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Credentials, "no credentials").advise("get some"));
        }
        let seen = |storage: Arc<dyn Storage>, end, base: &str| -> Arc<dyn Storage> {
            let witness = occasion.meter.as_ref().map(|meter| meter.witness(end, Key::from(base)));
            Arc::new(Observe::new(storage, self.clock.clone(), Arc::default()).seen_by(witness))
        };
        let prefix = self.destination(occasion.at).unwrap_or_default();
        let (from, to) = (seen(self.from.clone(), End::Source, ""), seen(self.to.clone(), End::Destination, &prefix));
        let job = transfer::Job::new(Location::new(from, ""), Location::new(to, prefix.as_str()));
        let pair = Pair::of(&job.source, &job.destination);
        Ok(vec![Opened { label: None, job, pair, tiers: Vec::new(), cost: None, metrics: Arc::default() }])
    }

    fn destination(&self, at: Timestamp) -> Option<String> {
        self.dated.as_ref().map(|zone| format!("{}/", at.to_zoned(zone.clone()).date()))
    }

    fn pipes(&self) -> &Pipes {
        &self.pipes
    }

    async fn hints(&self) -> Result<Vec<HintSource>> {
        Ok(Vec::new())
    }
}

/// A daemon in paused time.
struct Bench {
    clock: Clock,
    setups: watch::Sender<Arc<Setup>>,
    control: Control,
    cancel: CancellationToken,
    running: JoinHandle<Result<()>>,
    state: tempfile::TempDir,
}

impl Bench {
    async fn start(clock: &Clock, state: tempfile::TempDir, jobs: Vec<JobSetup>, settings: Settings) -> Self {
        Self::keeping(None, clock, state, jobs, settings).await
    }

    /// The same with journals on disk.
    async fn keeping(keep: Option<Keep>, clock: &Clock, state: tempfile::TempDir, jobs: Vec<JobSetup>, settings: Settings) -> Self {
        let setup = Setup { revision: "1".into(), jobs: jobs.into_iter().map(Arc::new).collect(), settings, ..Setup::default() };
        let (setups, receiver) = watch::channel(Arc::new(setup));
        let (reload, _) = mpsc::channel(1);
        let options = Options { state: StateDir::new(state.path()), keep, clock: clock.clone(), setups: receiver, reload, metrics: Arc::default() };
        let (daemon, control) = Daemon::open(options).await.expect("opened");
        let cancel = CancellationToken::new();
        let running = tokio::spawn(daemon.run(cancel.clone()));
        Self { clock: clock.clone(), setups, control, cancel, running, state }
    }

    async fn pass(&self, length: Duration) {
        self.clock.sleep(length).await;
    }

    fn job(&self, name: &str) -> JobStatus {
        self.control.snapshot().jobs.iter().find(|job| job.name == name).cloned().expect("a job")
    }

    async fn end(self) -> tempfile::TempDir {
        self.cancel.cancel();
        self.running.await.expect("no panic").expect("drained");
        self.state
    }
}

fn clock(at: &str) -> Clock {
    Clock::simulated(at.parse().expect("a time"), 1)
}

fn causes(job: &JobStatus) -> Vec<(&str, &str)> {
    job.recent_runs.iter().rev().map(|run| (run.cause.as_str(), run.outcome.as_str())).collect()
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_large_job_does_not_starve_a_small_one() {
    let clock = clock("2026-01-01T00:00:00Z");
    // Ten hours of work on four streams, and four seconds of it.
    let (large, small) =
        (Place::new(&clock, "large", 144_000 / 10, Duration::from_secs(10)).await, Place::new(&clock, "small", 8, Duration::from_secs(1)).await);
    let settings = Settings { streams_max: Some(4), ..Settings::default() };
    let bench = Bench::start(
        &clock,
        tempfile::tempdir().expect("a folder"),
        vec![large.job("large", Some("every 24h")), small.job("small", Some("every 10m"))],
        settings,
    )
    .await;
    bench.pass(5 * MINUTE).await;
    let (large, small) = (bench.job("large"), bench.job("small"));
    assert_eq!((large.state, causes(&small)), (JobState::Running, vec![("schedule", "done")]));
    let took = small.recent_runs[0].ended.duration_since(small.recent_runs[0].started);
    assert!(took < SignedDuration::from_mins(2), "{took:?}");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_fires_while_a_run_is_on_is_made_up_for_once() {
    let clock = clock("2026-01-01T00:00:00Z");
    let place = Place::new(&clock, "slow", 1, 3 * HOUR + 30 * MINUTE).await;
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), vec![place.job("slow", Some("every 1h"))], Settings::default()).await;
    bench.pass(3 * HOUR).await;
    assert_eq!(bench.job("slow").state, JobState::Running);
    bench.pass(HOUR).await;
    // Missed at one, two and three o'clock: one run takes their place, and the next is an hour after it.
    assert_eq!(causes(&bench.job("slow")), [("schedule", "done"), ("catch-up", "done")]);
    bench.pass(40 * MINUTE).await;
    assert_eq!(bench.job("slow").recent_runs.len(), 3, "{:?}", causes(&bench.job("slow")));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_the_daemon_was_away_is_caught_up_once() {
    let start = clock("2026-01-01T00:00:00Z");
    let place = Place::new(&start, "a", 2, Duration::ZERO).await;
    let bench = Bench::start(&start, tempfile::tempdir().expect("a folder"), vec![place.job("a", Some("0 * * * * UTC"))], Settings::default()).await;
    bench.pass(HOUR + MINUTE).await;
    assert_eq!(causes(&bench.job("a")), [("schedule", "done")]);
    let state = bench.end().await;
    let later = start.moved(SignedDuration::from_hours(30));
    let bench = Bench::start(&later, state, vec![place.job("a", Some("0 * * * * UTC"))], Settings::default()).await;
    assert_eq!(bench.job("a").state, JobState::InSync, "it is known how it stood");
    bench.pass(MINUTE).await;
    assert_eq!(causes(&bench.job("a")), [("schedule", "done"), ("catch-up", "done")]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_opens_and_closes_in_its_zone() {
    let clock = clock("2026-01-01T10:00:00Z");
    let place = Place::new(&clock, "night", 2000, 10 * MINUTE).await;
    let mut job = place.job("night", Some("every 1h"));
    job.windows = vec![Window::parse("20:00-21:00 Asia/Shanghai").expect("a window")];
    let settings = Settings { streams_max: Some(4), ..Settings::default() };
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), vec![job], settings).await;
    bench.pass(HOUR).await;
    let waits = bench.job("night");
    assert_eq!((waits.state, waits.next_run), (JobState::Waiting, Some("2026-01-01T12:00:00Z".parse().expect("a time"))));
    assert!(waits.why.as_deref().is_some_and(|why| why.contains("window opens")));
    // Twelve o'clock here is eight in the evening there.
    bench.pass(HOUR + 10 * MINUTE).await;
    assert_eq!(bench.job("night").state, JobState::Running);
    bench.pass(HOUR + MINUTE).await;
    let closed = bench.job("night");
    assert_eq!((causes(&closed), closed.current.is_none()), (vec![("schedule", "interrupted")], true));
    let copied = closed.recent_runs[0].copied;
    assert!((12..40).contains(&copied), "{copied} of an hour, four at a time, ten minutes each");
    // The next evening it goes on. By hand it runs whatever the window says.
    bench.pass(23 * HOUR).await;
    assert_eq!(bench.job("night").state, JobState::Running);
    bench.pass(2 * HOUR).await;
    let actor = || Actor { who: "test".into() };
    bench.control.command(actor(), Command::Run { job: "night".into(), max_delete: None }).await.expect("taken");
    bench.pass(MINUTE).await;
    assert_eq!(bench.job("night").state, JobState::Running);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_waits_longer_each_time_and_takes_no_other_down() {
    let clock = clock("2026-01-01T00:00:00Z");
    let (bad, good) = (Place::new(&clock, "bad", 1, Duration::ZERO).await, Place::new(&clock, "good", 1, Duration::ZERO).await);
    bad.fails.store(true, Ordering::Relaxed);
    let jobs = vec![bad.job("bad", Some("every 5s")), good.job("good", Some("every 1m"))];
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), jobs, Settings::default()).await;
    bench.pass(2 * HOUR).await;
    let tries = bad.opened.load(Ordering::Relaxed);
    // 30 s, 1, 2, 4, 8, 16, 32 minutes, an hour.
    assert!((7..=9).contains(&tries), "{tries} tries");
    let status = bench.job("bad");
    assert_eq!((status.state, status.why.as_deref(), status.failures_in_row), (JobState::Failing, Some("no credentials; get some"), tries as u32));
    assert!(good.opened.load(Ordering::Relaxed) >= 115);
    bad.fails.store(false, Ordering::Relaxed);
    bench.pass(2 * HOUR).await;
    assert_eq!((bench.job("bad").state, bench.job("bad").failures_in_row), (JobState::InSync, 0));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn turns_are_taken_by_priority_and_pauses_hold() {
    let clock = clock("2026-01-01T00:00:00Z");
    let mut jobs = Vec::new();
    for (name, priority) in [("first", 10), ("low", 1), ("high", 90)] {
        let place = Place::new(&clock, name, 1, 10 * MINUTE).await;
        jobs.push(JobSetup { priority, ..place.job(name, None) });
    }
    let settings = Settings { jobs_at_a_time: 1, ..Settings::default() };
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), jobs, settings).await;
    let actor = || Actor { who: "test".into() };
    for job in ["first", "low", "high"] {
        bench.control.command(actor(), Command::Run { job: job.into(), max_delete: None }).await.expect("taken");
        bench.pass(Duration::from_secs(2)).await;
    }
    bench.pass(11 * MINUTE).await;
    assert_eq!((bench.job("first").state, bench.job("high").state, bench.job("low").state), (JobState::InSync, JobState::Running, JobState::Waiting));
    bench.control.command(actor(), Command::Pause { job: None }).await.expect("taken");
    bench.pass(MINUTE).await;
    assert_eq!(bench.job("high").state, JobState::Paused);
    bench.control.command(actor(), Command::Resume { job: None }).await.expect("taken");
    // A configuration without a job: it is gone, and the others are left alone.
    let setup = bench.setups.borrow().clone();
    let fewer = Setup { revision: "2".into(), jobs: setup.jobs.iter().filter(|job| job.name != "first").cloned().collect(), ..(*setup).clone() };
    bench.setups.send_replace(Arc::new(fewer));
    bench.pass(MINUTE).await;
    assert_eq!(bench.control.snapshot().jobs.len(), 2);
    bench.end().await;
}

mod dated;
mod priced;
mod tiered;
mod used;
