//! One seed: two stores, their weather, and the runs between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use dragon::clock::Clock;
use dragon::error::Result;
use dragon::journal::{Journal, MemoryJournal};
use dragon::metrics::Metrics;
use dragon::storage::checksum::Crc64;
use dragon::storage::fault::FaultLayer;
use dragon::storage::location::Location;
use dragon::storage::memory::{MemoryOptions, MemoryStore};
use dragon::storage::retry::{self, Retry};
use dragon::storage::weather::Weather;
use dragon::storage::{Attributes, Complete, Get, Key, List, ObjectRef, Put, Storage, Upload};
use dragon::transfer::budget::MemoryBudget;
use dragon::transfer::job::DeleteLimit;
use dragon::transfer::{Context, Job, Options, Report, run, verify};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::dice::{Dice, PART_BYTES, Trip, without_limits};
use super::journal::Kept;
use super::ledger::{Ledger, Tally, Watched};

/// What no run may take, however bad the weather: one that needs longer hangs.
const RUN_MAX: Duration = Duration::from_secs(48 * 3600);

/// How a run ends, unless it ends by itself before.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Lives,
    Cancelled(Duration),
    Killed(Duration),
}

/// A store, the weather before it, and the place in it.
struct End {
    store: Arc<MemoryStore>,
    weather: FaultLayer,
    prefix: Key,
}

pub(super) struct World {
    clock: Clock,
    dice: Dice,
    trip: Trip,
    source: End,
    destination: End,
    /// What runs keep of what they delete or overwrite; the weather is calm there.
    backups: End,
    ledger: Arc<Mutex<Ledger>>,
    /// `None`: each run has a journal in memory, which dies with it.
    journal: Option<Arc<Kept>>,
    /// Keys beside the destination's place, which nobody may touch.
    beside: BTreeMap<Key, u64>,
}

impl End {
    fn new(options: MemoryOptions, clock: &Clock, prefix: Key) -> Self {
        let store = Arc::new(MemoryStore::with("b", MemoryOptions { clock: clock.clone(), ..options }));
        Self { weather: FaultLayer::new(store.clone(), clock.clone(), []), store, prefix }
    }

    /// Writes an object as somebody else does, in parts where `part_bytes` says so.
    async fn write(&self, key: &Key, body: Bytes, attributes: Attributes, part_bytes: Option<usize>) {
        let Some(part_bytes) = part_bytes.filter(|_| !body.is_empty()) else {
            self.store.put(key, body.into(), Put { attributes, ..Put::default() }).await.expect("put");
            return;
        };
        let multipart = self.store.multipart().expect("parts");
        let upload = Upload { key: key.clone(), id: multipart.create(key, &attributes).await.expect("created") };
        let mut parts = Vec::new();
        for (number, start) in (1..).zip((0..body.len()).step_by(part_bytes)) {
            let part = body.slice(start..body.len().min(start + part_bytes));
            parts.push(multipart.upload_part(&upload, number, part.into(), None).await.expect("a part"));
        }
        multipart.complete(&upload, &parts, Complete::default()).await.expect("completed");
    }

    /// The CRC-64/XZ of the bytes of an object.
    async fn crc(&self, key: &Key) -> Option<u64> {
        let body = self.store.get(&ObjectRef::from(key), Get::default()).await.ok()?.body;
        let chunks: Vec<Bytes> = body.try_collect().await.expect("memory does not fail");
        Some(Crc64::of(&chunks.concat()).xz)
    }

    /// Everything in the bucket, with its CRC-64/XZ.
    async fn everything(&self) -> BTreeMap<Key, u64> {
        let pages: Vec<_> = self.store.list(List::default()).try_collect().await.expect("memory does not fail");
        let mut all = BTreeMap::new();
        for key in pages.iter().flat_map(|page| page.iter().map(|entry| Key::from(entry.key))) {
            let crc = self.crc(&key).await.expect("it was listed");
            all.insert(key, crc);
        }
        all
    }

    /// What is in the place, by keys relative to it.
    async fn held(&self) -> BTreeMap<Key, u64> {
        self.everything().await.into_iter().filter_map(|(key, crc)| Some((key.strip_prefix(&self.prefix)?, crc))).collect()
    }
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let start = "2026-01-01T00:00:00Z".parse().expect("a time");
        let clock = Clock::simulated(start, seed);
        let dice = Dice::new(Clock::simulated(start, !seed));
        let trip = dice.trip();
        let [from, to] = trip.ends.clone();
        let mut world = Self {
            source: End::new(from, &clock, dice.place()),
            destination: End::new(to, &clock, dice.place()),
            backups: End::new(MemoryOptions::default(), &clock, Key::EMPTY),
            ledger: Arc::default(),
            journal: trip.journal_lasts.then(Arc::default),
            beside: BTreeMap::new(),
            clock,
            dice,
            trip,
        };
        world.fill().await;
        world.watch();
        world
    }

    /// Lives through some storms, then checks that all is well at rest. The log of what happened, and how much that was.
    pub(super) async fn live(self) -> (String, Tally) {
        for _ in 0..1 + self.dice.below(3) {
            self.source.weather.set_weather(self.dice.weather(&self.trip, true));
            self.destination.weather.set_weather(self.dice.weather(&self.trip, false));
            let options = Options { backup: self.dice.one_in(4).then(|| self.location(&self.backups)), ..self.dice.options(&self.trip) };
            self.live_through(&options, self.dice.fate(), true).await;
            self.clock.sleep(self.dice.up_to(Duration::from_secs(7200))).await;
        }
        self.come_to_rest().await;
        self.note(&format!("at rest after {:?}", self.clock.now()));
        let mut ledger = self.ledger();
        (std::mem::take(&mut ledger.log), ledger.tally)
    }

    /// Calm weather, a source that rests: everything is put right, and then there is nothing left to do.
    async fn come_to_rest(&self) {
        for end in [&self.source, &self.destination] {
            end.weather.set_weather(Weather::default());
        }
        let all = DeleteLimit::Percent(100.0);
        let options = Options { delete: true, delete_limit: all, allow_empty_source: true, ..without_limits(self.dice.options(&self.trip)) };
        let report = self.live_through(&options, Fate::Lives, false).await.expect("it lives").expect("calm weather");
        self.hold(report.exit_code() == 0, || format!("in calm weather: {report:?}"));
        let held = self.destination.held().await;
        let wanted = self.ledger().history.now();
        self.hold(wanted == held, || format!("at rest the source holds\n{wanted:?}\nand the destination\n{held:?}"));
        self.check_uploads().await;
        let report = self.live_through(&options, Fate::Lives, false).await.expect("it lives").expect("calm weather");
        self.hold((report.copied, report.deleted, report.exit_code()) == (0, 0, 0), || format!("nothing was left to do: {report:?}"));
        let report = Box::pin(verify(self.job(&options), true, self.context(MemoryBudget::new(0)))).await.expect("calm weather");
        self.hold(report.exit_code() == 0 && report.verified == wanted.len() as u64, || format!("of {} objects: {report:?}", wanted.len()));
    }

    /// One run, and what must hold after it. `None` where it was killed.
    async fn live_through(&self, options: &Options, fate: Fate, source_changes: bool) -> Option<Result<Report>> {
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let (tasks_before, begun) = (tasks(), self.clock.instant());
        self.note(&format!("-- a run, {fate:?}: {options:?}"));
        self.ledger().begin(options, begun);
        let memory = MemoryBudget::new(options.memory_bytes);
        let held = if options.backup.is_some() { self.destination.held().await } else { BTreeMap::new() };
        let outcome = self.run(options, fate, source_changes, memory.clone()).await;
        // A task that was aborted ends when it is next looked at.
        for _ in 0..1000 {
            if tasks() == tasks_before {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.note(&match &outcome {
            None => "-- killed".to_owned(),
            Some(Ok(report)) => format!("-- exit {}: {report:?}", report.exit_code()),
            Some(Err(error)) => format!("-- could not go on: {error}"),
        });
        self.hold(tasks() == tasks_before, || format!("{} tasks before the run, {} after it", tasks_before, tasks()));
        self.hold(memory.in_use_bytes() == 0, || format!("{} bytes were never given back", memory.in_use_bytes()));
        self.hold(memory.peak_bytes() <= memory.capacity_bytes(), || format!("peak {} of {} bytes", memory.peak_bytes(), memory.capacity_bytes()));
        {
            let mut ledger = self.ledger();
            let stopped = outcome.as_ref().is_none_or(|outcome| outcome.as_ref().map_or(true, |report| report.interrupted || report.stopped.is_some()));
            ledger.forgotten |= self.journal.is_none() && stopped;
            ledger.tally.runs += 1;
            match &outcome {
                None => ledger.tally.killed += 1,
                Some(Ok(report)) => {
                    ledger.tally.cancelled += u64::from(report.interrupted);
                    ledger.tally.held_back += report.delete_candidates.saturating_sub(report.deleted);
                }
                Some(Err(_)) => {}
            }
        }
        self.check_backups(&held).await;
        self.check(options, outcome.as_ref().and_then(|outcome| outcome.as_ref().ok())).await;
        outcome
    }

    async fn run(&self, options: &Options, fate: Fate, source_changes: bool, memory: MemoryBudget) -> Option<Result<Report>> {
        let (events, mut heard) = mpsc::channel(4);
        let context = Context { events: Some(events), ..self.context(memory) };
        let (job, cancel) = (self.job(options), context.cancel.clone());
        let listen = async {
            while let Some(event) = heard.recv().await {
                self.ledger().hear(event);
            }
        };
        // The run owns the sender, so whoever listens ends with it.
        let running = async { tokio::join!(Box::pin(run(job, context)), listen).0 };
        let killed = async {
            match fate {
                Fate::Lives => {}
                Fate::Killed(after) => return self.clock.sleep(after).await,
                Fate::Cancelled(after) => {
                    self.clock.sleep(after).await;
                    self.note("-- cancelled");
                    cancel.cancel();
                }
            }
            std::future::pending().await
        };
        let changes = async {
            if !source_changes {
                std::future::pending::<()>().await;
            }
            loop {
                self.clock.sleep(self.dice.up_to(Duration::from_secs(3))).await;
                self.change_source().await;
            }
        };
        tokio::select! {
            biased;
            ended = tokio::time::timeout(RUN_MAX, running) => match ended {
                Ok(outcome) => Some(outcome),
                Err(_) => self.fail(&format!("the run did not end within {RUN_MAX:?}")),
            },
            () = killed => None,
            () = changes => None,
        }
    }

    fn job(&self, options: &Options) -> Job {
        Job { source: self.location(&self.source), destination: self.location(&self.destination), options: options.clone() }
    }

    fn context(&self, memory: MemoryBudget) -> Context {
        let journal: Arc<dyn Journal> = match &self.journal {
            Some(kept) => kept.clone(),
            None => Arc::new(MemoryJournal::new()),
        };
        Context { clock: self.clock.clone(), memory: Some(memory), journal, ..Context::default() }
    }

    fn location(&self, end: &End) -> Location {
        let retry = Retry::new(Arc::new(end.weather.clone()), retry::Options::default(), self.clock.clone(), Arc::<Metrics>::default());
        Location { storage: Arc::new(retry), prefix: end.prefix.clone() }
    }

    /// Fills both ends before anybody watches, and lets some time pass.
    async fn fill(&mut self) {
        let names = self.dice.names();
        for name in &names {
            let body = self.dice.body();
            let (at_source, at_destination) = (self.dice.one_in(2) || self.dice.one_in(2), self.dice.one_in(3));
            if at_source {
                self.write_source(name, body.clone()).await;
            }
            if at_destination {
                let body = if self.dice.one_in(2) { body } else { self.dice.other_body(&self.trip, &body) };
                self.destination.write(&self.destination.prefix.join(name.as_bytes()), body, Attributes::default(), None).await;
            }
        }
        if !self.destination.prefix.is_empty() {
            for name in ["to", "to0", "tn/x"] {
                self.destination.write(&name.into(), Bytes::from_static(b"beside"), Attributes::default(), None).await;
            }
            self.beside = self.destination.everything().await.into_iter().filter(|(key, _)| key.strip_prefix(&self.destination.prefix).is_none()).collect();
        }
        self.clock.sleep(self.dice.up_to(Duration::from_secs(2 * 24 * 3600))).await;
    }

    /// Somebody writes or deletes an object of the source.
    async fn change_source(&self) {
        let known: Vec<Key> = self.ledger().history.keys();
        let name = if known.is_empty() || self.dice.one_in(4) { self.dice.name() } else { known[self.dice.below(known.len() as u64) as usize].clone() };
        if self.dice.one_in(3) {
            let key = self.source.prefix.join(name.as_bytes());
            let gone: Vec<_> = self.source.store.delete(futures::stream::iter([ObjectRef::from(key)]).boxed()).collect().await;
            assert!(gone.iter().all(|(_, gone)| gone.is_ok()));
            self.ledger().changed(&name, None, self.clock.instant());
        } else {
            let body = self.dice.body();
            self.write_source(&name, body).await;
        }
    }

    async fn write_source(&self, name: &Key, body: Bytes) {
        let part_bytes = (body.len() as u64 > PART_BYTES && self.dice.one_in(2)).then_some(PART_BYTES as usize);
        let crc = Crc64::of(&body).xz;
        self.source.write(&self.source.prefix.join(name.as_bytes()), body, self.dice.attributes(), part_bytes).await;
        self.ledger().changed(name, Some(crc), self.clock.instant());
    }

    fn watch(&self) {
        for (end, watched) in [(&self.source, Watched::Source), (&self.destination, Watched::Destination)] {
            let (ledger, clock, prefix) = (self.ledger.clone(), self.clock.clone(), end.prefix.clone());
            end.weather.watch(move |operation, key, moment| {
                ledger.lock().expect("no panic").see(clock.instant(), watched, operation, key, &prefix, moment);
            });
        }
    }

    /// Holds what a run did and says against what both ends hold.
    async fn check(&self, options: &Options, report: Option<&Report>) {
        let (wrong, claims, during) = self.ledger().verdict(self.clock.instant());
        self.hold(wrong.is_empty(), || wrong.join("\n"));
        if let Some(report) = report.filter(|_| !options.dry_run) {
            self.hold(report.copied == claims.len() as u64, || format!("{} copied, and {} told", report.copied, claims.len()));
        }
        for (key, crc) in claims {
            let held = self.destination.crc(&self.destination.prefix.join(key.as_bytes())).await;
            let right = match crc {
                Some(crc) => held == Some(crc),
                None => held.is_some_and(|held| self.ledger().source_held(&key, held, &during)),
            };
            self.hold(right, || format!("'{key}' was copied as {crc:x?}, and the destination holds {held:x?}"));
        }
        let everything = self.destination.everything().await;
        for (key, crc) in &self.beside {
            self.hold(everything.get(key) == Some(crc), || format!("'{key}' lies beside the destination and was touched"));
        }
    }

    /// What the destination held before the run is there still, or lies among the backups.
    async fn check_backups(&self, before: &BTreeMap<Key, u64>) {
        if before.is_empty() {
            return;
        }
        let (now, kept) = (self.destination.held().await, self.backups.everything().await);
        for (key, crc) in before.iter().filter(|(key, crc)| now.get(*key) != Some(*crc)) {
            let found = kept.iter().any(|(name, kept)| kept == crc && name.as_bytes().ends_with(key.as_bytes()));
            self.hold(found, || format!("'{key}' was deleted or overwritten, and not kept first"));
        }
    }

    /// Every upload that is open is known to the journal, unless nobody could have known it.
    async fn check_uploads(&self) {
        let open: Vec<_> = self.destination.store.multipart().expect("parts").list_uploads(Key::EMPTY).try_collect().await.expect("memory does not fail");
        let known = match &self.journal {
            Some(kept) => kept.flights(None, usize::MAX).await.expect("flights").into_iter().filter_map(|flight| flight.upload).collect(),
            None => Vec::new(),
        };
        for upload in open.iter().map(|open| &open.upload) {
            let excused = self.ledger().excuses(&upload.key);
            self.hold(excused || known.contains(&upload.id), || format!("the upload of '{}' is open, and nobody knows it", upload.key));
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no panic")
    }

    fn note(&self, line: &str) {
        self.ledger().note(self.clock.instant(), line);
    }

    fn hold(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.fail(&otherwise());
        }
    }

    /// Prints the log's end (all of it where one seed is replayed), and fails.
    fn fail(&self, why: &str) -> ! {
        let log = std::mem::take(&mut self.ledger().log);
        let lines: Vec<&str> = log.lines().collect();
        let shown = if std::env::var_os("DRAGON_SIM_SEED").is_some() { &lines[..] } else { &lines[lines.len().saturating_sub(60)..] };
        panic!("{:?}\n{}\n{why}", self.trip, shown.join("\n"));
    }
}
