//! The follower of one job: compares the keys that change events name, beside the scans.
//!
//! A key that is gone is left to a scan: only a clean listing licenses a delete. What cannot be compared now waits, and its message is
//! not acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::calendar;
use super::common::Common;
use super::desk::{Desk, Guest};
use super::hints::{self, Change, HintQueue, Pending};
use super::run::{self, Tools};
use super::setup::{JobSetup, Occasion, Opened};
use super::spool::Spool;
use super::status::Trouble;
use super::usage::Meter;
use crate::error::{ErrorKind, Result};
use crate::storage::{Key, Service};
use crate::transfer::event::Status;
use crate::transfer::job::KeyFile;

/// Keys that are compared together.
const BATCH_MAX: usize = 1000;
/// How long keys gather before they are compared.
const GATHER: Duration = Duration::from_millis(200);
/// The waits after compares that failed.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(120);
/// For how long a job's ends stay open.
const OPEN_MAX: Duration = Duration::from_secs(600);
/// For how long a journal that is its own stays open while keys come.
const SEAT_MAX: Duration = Duration::from_secs(30);

/// Follows a job's change events.
pub(super) struct Follower {
    pub(super) common: Arc<Common>,
    pub(super) board: Arc<Board>,
    pub(super) setup: Arc<JobSetup>,
    pub(super) queue: HintQueue,
    /// Tells the keeper that a scan is wanted.
    pub(super) scan_wanted: Arc<Notify>,
}

/// The job's ends, opened.
struct Way {
    opened: Vec<Opened>,
    since: tokio::time::Instant,
}

impl Follower {
    /// Follows until it is cancelled.
    pub(super) async fn follow(self, cancel: CancellationToken) {
        let mut pumps = JoinSet::new();
        let following = async {
            self.start_pumps(&mut pumps, &cancel).await;
            self.work(&cancel).await;
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = following => {}
        }
        pumps.shutdown().await;
    }

    /// Begins to receive. A source that cannot be opened yet is tried again.
    async fn start_pumps(&self, pumps: &mut JoinSet<()>, cancel: &CancellationToken) {
        let clock = &self.common.clock;
        let mut pause = PAUSE_MIN;
        loop {
            match self.setup.opener.hints().await {
                Ok(sources) => {
                    for source in sources {
                        pumps.spawn(hints::pump(source, self.queue.clone(), clock.clone(), cancel.clone()));
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, job = self.setup.name, "change events cannot be received");
                    self.queue.failed(&error, clock.now());
                }
            }
            clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn work(&self, cancel: &CancellationToken) {
        let clock = &self.common.clock;
        let mut way: Option<Way> = None;
        let mut pause = Duration::ZERO;
        loop {
            self.queue.arrived().await;
            clock.sleep(GATHER.max(pause)).await;
            if self.queue.wants_scan() {
                self.scan_wanted.notify_one();
            }
            let now = clock.now();
            let is_closed = calendar::next_open(&self.setup.windows, now).is_none_or(|at| at > now);
            if self.board.face().record.paused || is_closed {
                pause = PAUSE_MIN;
                continue;
            }
            let ended = match self.open(&mut way).await {
                Ok(opened) => self.sitting(opened, cancel).await,
                Err(error) => Err(error),
            };
            pause = match ended {
                Ok(true) => Duration::ZERO,
                Ok(false) => (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX),
                Err(error) => {
                    way = None;
                    tracing::warn!(%error, job = self.setup.name, "what change events name cannot be compared now");
                    self.board.face().record.note_trouble(Trouble::of(&error, clock.now()));
                    (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX)
                }
            };
        }
    }

    async fn open<'w>(&self, way: &'w mut Option<Way>) -> Result<&'w [Opened]> {
        if way.as_ref().is_some_and(|way| way.since.elapsed() > OPEN_MAX) {
            *way = None;
        }
        if way.is_none() {
            let occasion = Occasion { at: self.common.clock.now(), meter: Some(self.meter()) };
            *way = Some(Way { opened: self.setup.opener.open(&occasion).await?, since: self.common.clock.instant() });
        }
        Ok(way.as_ref().map_or(&[], |way| &way.opened))
    }

    fn meter(&self) -> Meter {
        self.common.usage.meter(&self.setup.name, self.setup.usage_depth)
    }

    /// Compares as long as keys come. Whether all of it went well.
    async fn sitting(&self, opened: &[Opened], cancel: &CancellationToken) -> Result<bool> {
        let clock = &self.common.clock;
        let begun = clock.instant();
        let mut guests: HashMap<String, (Arc<Desk>, Guest)> = HashMap::new();
        let mut well = true;
        while begun.elapsed() < SEAT_MAX && well {
            let taken = self.queue.take(BATCH_MAX);
            if taken.is_empty() {
                break;
            }
            for (index, keys) in self.sorted(taken, opened) {
                let Some(opened) = opened.get(index) else { continue };
                let name = opened.pair.name();
                if !guests.contains_key(&name) {
                    let desk = self.common.desks.of(&opened.pair);
                    let guest = desk.guest(&format!("{} (events)", self.setup.name)).await?;
                    guests.insert(name.clone(), (desk, guest));
                }
                let Some((desk, guest)) = guests.get(&name) else { continue };
                well &= self.compare(opened.clone(), keys, desk, guest, cancel).await?;
            }
            // A scan waits for a journal that is ours alone.
            if self.board.face().live.is_some() && guests.values().any(|(_, guest)| guest.is_alone()) {
                break;
            }
            clock.sleep(GATHER).await;
        }
        for (_, guest) in guests.into_values() {
            guest.leave(clock.now()).await?;
        }
        Ok(well)
    }

    /// The keys by the bucket they are in, relative to the job's source. What concerns the job not at all is done.
    fn sorted(&self, taken: Vec<Pending>, opened: &[Opened]) -> HashMap<usize, HashMap<Key, Pending>> {
        let mut sorted: HashMap<usize, HashMap<Key, Pending>> = HashMap::new();
        for pending in taken {
            match opened.iter().enumerate().find_map(|(index, opened)| Some((index, relevant(&pending, opened)?))) {
                None => pending.done(),
                Some(_) if pending.hint().change == Change::Removed && self.setup.deletes => pending.leave_to_scan(),
                Some(_) if pending.hint().change == Change::Removed => pending.done(),
                Some((index, key)) => {
                    sorted.entry(index).or_default().insert(key, pending);
                }
            }
        }
        sorted
    }

    /// Compares keys, and copies what differs. Whether all went well.
    async fn compare(&self, mut opened: Opened, mut keys: HashMap<Key, Pending>, desk: &Desk, guest: &Guest, cancel: &CancellationToken) -> Result<bool> {
        let Common { clock, memory, audit, state, .. } = &*self.common;
        let id = clock.random_id();
        let spool = Spool::write(state.path(), &id, keys.keys().cloned()).await?;
        let options = &mut opened.job.options;
        options.delete = false;
        options.report_unchanged = true;
        // An event may tell of tags or an ACL alone, which no listing shows.
        options.check_metadata = true;
        options.files_from = Some(KeyFile { path: spool.path().to_owned(), separator: 0 });
        let progress = self.board.face().beside.clone();
        let tools = Tools {
            clock: clock.clone(),
            memory: memory.clone(),
            share: self.common.pool().share(self.setup.priority),
            claims: desk.claims.clone(),
            journal: guest.journal(),
            progress,
            spill_dir: state.path().to_owned(),
            audit: audit.clone(),
            meter: self.meter(),
            origin: self.common.origin(&self.setup.name, Some(&id)),
            cancel: cancel.child_token(),
        };
        let deletes = self.setup.deletes;
        let mut gone = 0;
        let mut outcome = run::run(opened, tools, |event| match (event.status, &event.error) {
            (Status::Ok, _) => {
                if let Some(pending) = keys.remove(&event.key) {
                    pending.done();
                }
            }
            // It waits for an archive; the event that says it is thawed, or a scan, comes later.
            (Status::Planned, _) => {
                if let Some(pending) = keys.remove(&event.key) {
                    pending.leave_to_scan();
                }
            }
            // It was deleted since: no failure.
            (Status::Failed, Some(error)) if error.kind() == ErrorKind::NotFound => {
                if let Some(pending) = keys.remove(&event.key) {
                    gone += 1;
                    if deletes { pending.leave_to_scan() } else { pending.done() }
                }
            }
            _ => {}
        })
        .await?;
        drop(spool);
        outcome.report.failed -= gone;
        {
            let mut face = self.board.face();
            face.note(&outcome);
            if outcome.report.failed > 0 {
                outcome.troubles.drain(..).for_each(|trouble| face.record.note_trouble(trouble));
            }
        }
        if let Some(error) = outcome.error() {
            return Err(error.clone());
        }
        // What the engine passed over in silence (a filter hides it) needs nothing; what failed waits again.
        let failed: Vec<Key> = outcome.failed.iter().filter_map(super::ledger::FailedKey::key).collect();
        let mut well = true;
        for (key, pending) in keys {
            if failed.contains(&key) {
                well = false;
                drop(pending);
            } else {
                pending.done();
            }
        }
        Ok(well)
    }
}

/// The key relative to a transfer's source, where the hint concerns it.
fn relevant(pending: &Pending, opened: &Opened) -> Option<Key> {
    let (hint, source) = (pending.hint(), opened.job.source.tree());
    let identity = source.storage.identity();
    if identity.service != Service::Local && identity.bucket != hint.bucket {
        return None;
    }
    hint.key.strip_prefix(&source.prefix).filter(|key| !key.is_empty())
}
