//! The stage that makes the destination hold what the source holds: decides, copies, and keeps what is to be deleted for the end.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use jiff::{SignedDuration, Timestamp};

use super::backup::Backup;
use super::budget::MemoryBudget;
use super::concurrency::Streams;
use super::copy::{Copier, is_class_refused};
use super::event::{Action, Event, Foreseen, Notice, ObjectEvent, Status};
use super::job::{Context, Options};
use super::join::{Pairing, Side};
use super::loss::{Attribute, Change};
use super::parts::{Cutter, Shape};
use super::plan::{self, Decision, Evidence, Look, Rules};
use super::report::Report;
use super::schedule::{Stage, Step};
use super::spill::Spool;
use super::subject::{self, Ends, Subject};
use super::task::{Copied, CopyTask, Listed, Proof, Reason};
use super::thaw::{Frozen, Thawer};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{End, Proved};
use crate::storage::location::Location;
use crate::storage::thaw::Archived;
use crate::storage::{Key, Kind, ObjectInfo};

/// A store that refuses each of this many objects refuses all of them.
const DENIED_FIRST_MAX: u64 = 100;

/// Unfinished uploads that are remembered; what is beyond is left to the sweep.
const UNFINISHED_MAX: usize = 10_000;

/// Of these, so many are read at a time.
const FLIGHTS_AT_ONCE: usize = 1000;

/// An open upload that was not touched for so long belongs to nobody any more.
const ORPHANED_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Longest that aborting open uploads may hold up the end of a run.
const PUT_AWAY_MAX: Duration = Duration::from_secs(10);

/// What the tasks of one run share.
pub(crate) struct Engine {
    pub(crate) ends: Ends,
    pub(crate) options: Options,
    pub(crate) context: Context,
    /// The gate of all that moves at a time.
    pub(crate) streams: Streams,
    copier: Copier,
    backup: Option<Backup>,
    thawer: Thawer,
    /// Keys whose uploads earlier runs left in the journal.
    unfinished: HashSet<Box<[u8]>>,
}

impl Engine {
    pub(crate) fn new(ends: Ends, options: Options, mut context: Context, started: Timestamp) -> Self {
        // One budget for all that this run copies, backups included.
        context.memory.get_or_insert_with(|| MemoryBudget::new(options.memory_bytes));
        let streams = Streams::new(&options, &context);
        let backup = Backup::open(&ends.destination, &options, &context, started, &streams);
        let copier = Copier::new(ends.source.storage.clone(), &ends.destination, &options, &context, &streams);
        let thawer = Thawer::new(options.thaw.clone(), context.clock.clone());
        Self { ends, options, context, streams, copier, backup, thawer, unfinished: HashSet::new() }
    }

    /// Learns what earlier runs found of the path, and what they left open, so that a key that needs no copy any more ends its upload.
    pub(crate) async fn recall(&mut self) -> Result<()> {
        self.streams.recall(&*self.context.journal).await?;
        self.thawer.recall(&*self.context.journal).await?;
        let mut after = None;
        while self.unfinished.len() < UNFINISHED_MAX {
            let open = self.context.journal.flights(after, FLIGHTS_AT_ONCE).await?;
            let Some(last) = open.last() else { return Ok(()) };
            after = Some(last.id);
            self.unfinished.extend(open.into_iter().filter(|flight| flight.outbound).map(|flight| flight.intent.key.as_bytes().into()));
        }
        Ok(())
    }

    fn is_unfinished(&self, key: &[u8]) -> bool {
        self.unfinished.contains(key)
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        let service = |end: &Location| end.storage.capabilities().service;
        Rules { options: &self.options, source: service(&self.ends.source), destination: service(&self.ends.destination) }
    }

    /// Decides and copies. What was listed and is gone from the source by now has not failed.
    async fn settle(&self, subject: &mut Subject) -> Result<What> {
        let error = match self.decide_and_copy(subject).await {
            Err(error) if error.kind() == ErrorKind::NotFound && matches!(subject.source, Side::Present(_)) => error,
            other => return other,
        };
        match subject::head(&*self.ends.source.storage, &self.ends.source.key(subject.key.as_bytes())).await {
            Ok(None) => Ok(What::Vanished),
            _ => Err(error),
        }
    }

    /// Looks as often as it takes to decide, then copies where that is the decision.
    async fn decide_and_copy(&self, subject: &mut Subject) -> Result<What> {
        let mut looked = false;
        // The source is asked for a key that nobody listed; else its listing has spoken.
        if matches!(subject.source, Side::Unknown(_)) {
            looked = true;
            subject.recall(self.context.journal.proof(&subject.key).await?);
            self.look(subject, Look { source: true, destination: true, read: false }).await?;
            if matches!(subject.source, Side::Absent) {
                let key = self.ends.source.key(subject.key.as_bytes());
                return Err(Error::new(ErrorKind::NotFound, "there is no such object").on_key(key).in_store(&self.ends.source.storage));
            }
        }
        loop {
            match plan::decide(&self.rules(), &subject.pairing(), &subject.evidence()) {
                Decision::Look(look) => {
                    looked = true;
                    self.look(subject, look).await?;
                }
                Decision::Copy(reason) => {
                    let Side::Present(source) = &subject.source else { return Ok(What::Passed) };
                    if looked {
                        self.plan(source.size);
                    }
                    let replaced = if let Side::Present(destination) = &subject.destination { Some(destination) } else { None };
                    let task = self.task(source, reason);
                    return match (reason, subject.infos()) {
                        (Reason::Metadata, Some((here, there))) => self.renew(&task, replaced, here, there).await,
                        _ => self.carry(&task, replaced).await,
                    };
                }
                Decision::Skip => {
                    if self.options.check_metadata
                        && let Some(what) = self.check_metadata(subject).await?
                    {
                        return Ok(what);
                    }
                    if looked {
                        self.learn(subject).await?;
                    }
                    // Its upload died between its end and the record of it, or somebody else has written the object meanwhile.
                    if self.is_unfinished(subject.key.as_bytes()) {
                        self.copier.end_flight(&subject.key).await?;
                    }
                    return Ok(What::Skipped);
                }
                Decision::Warn(why) => return Ok(What::Warned(why)),
                Decision::LeaveLink => return Ok(What::LeftLink),
                Decision::Refuse(why) => return Err(refused(why)),
                // What a HEAD found licenses no delete: only the source's listing does.
                Decision::Pass | Decision::Delete => return Ok(What::Passed),
            }
        }
    }

    async fn look(&self, subject: &mut Subject, look: Look) -> Result<()> {
        let stream = self.streams.open().await?;
        subject.look(&self.ends, look).await?;
        stream.done(0);
        Ok(())
    }

    /// Counts an object that is to be copied.
    pub(crate) fn plan(&self, size: u64) {
        self.context.progress.planned_objects.fetch_add(1, Ordering::Relaxed);
        self.context.progress.planned_bytes.fetch_add(size, Ordering::Relaxed);
    }

    /// The copy of one source object.
    pub(crate) fn task(&self, source: &Listed, reason: Reason) -> CopyTask {
        CopyTask {
            key: source.key.clone(),
            source_key: self.ends.source.key(source.key.as_bytes()),
            source_version: None,
            destination_key: self.ends.destination.key(source.key.as_bytes()),
            size: source.size,
            etag: source.etag.clone(),
            modified: source.modified,
            storage_class: source.storage_class.clone(),
            kind: source.kind,
            reason,
        }
    }

    /// Records what a HEAD has shown to be unchanged, so that the next run need not ask.
    async fn learn(&self, subject: &Subject) -> Result<()> {
        let journal = &self.context.journal;
        let (Side::Present(source), Side::Present(destination)) = (&subject.source, &subject.destination) else { return Ok(()) };
        if !journal.keeps_proofs() || self.options.dry_run || source.etag.is_empty() || destination.etag.is_empty() {
            return Ok(());
        }
        match subject.learnt(self.context.clock.now()) {
            Some(proved) => journal.prove(&subject.key, proved).await,
            None => Ok(()),
        }
    }

    /// Keeps what the destination holds, where the operator wants that, before it is deleted or overwritten.
    pub(crate) async fn keep(&self, held: &Listed) -> Result<()> {
        match &self.backup {
            Some(backup) => backup.keep(held).await,
            None => Ok(()),
        }
    }

    /// Copies, or says that it would. `replaced` is what the destination holds.
    pub(crate) async fn carry(&self, task: &CopyTask, replaced: Option<&Listed>) -> Result<What> {
        if task.destination_key.is_empty() {
            return Err(Error::invalid("the destination's key would be empty").on_key(&task.source_key));
        }
        if self.options.dry_run {
            return self.foretell(task, replaced).await;
        }
        // To restore a link would thaw nothing: what it leads to may be archived.
        if task.kind != Kind::Symlink {
            let frozen = self.frozen(task).await?;
            if frozen != Frozen::Readable {
                return Ok(What::Frozen(frozen));
            }
        }
        let _claim = self.context.claims.take(&task.destination_key).await;
        if let Some(held) = replaced {
            self.keep(held).await?;
        }
        self.copy_claimed(task).await
    }

    /// Copies and records it. Whoever calls holds the key's claim.
    pub(crate) async fn copy_claimed(&self, task: &CopyTask) -> Result<What> {
        let copied = self.copier.copy(task).await?;
        self.done(task, copied).await
    }

    /// What a dry run says of a copy.
    pub(crate) async fn foretell(&self, task: &CopyTask, replaced: Option<&Listed>) -> Result<What> {
        let (class, changes) = self.foresee(task).await?;
        let parts = self.parts(task.size)?;
        let foreseen = Foreseen { source_class: task.storage_class.clone(), class, parts, replaced: replaced.map(Listed::replaced) };
        Ok(What::Planned(task.reason, Box::new(foreseen), changes))
    }

    /// Whether the source can be read now; where it lies in an archive it is asked for, as the operator wants that.
    pub(crate) async fn frozen(&self, task: &CopyTask) -> Result<Frozen> {
        let service = self.ends.source.storage.capabilities().service;
        let Some(archived) = Archived::of(service, task.source_key.as_bytes(), task.size, &task.storage_class) else { return Ok(Frozen::Readable) };
        let archived = Archived { version: task.source_version.clone(), ..archived };
        let stream = self.streams.open().await?;
        let frozen = self.see(&archived).await?;
        stream.done(0);
        Ok(frozen)
    }

    async fn see(&self, archived: &Archived) -> Result<Frozen> {
        let source = &self.ends.source.storage;
        let seen = self.thawer.see(&**source, archived, &*self.context.journal).await;
        seen.map_err(|error| error.during("copy").on_key(&archived.key).in_store(source))
    }

    /// Renews what stands beside a copy's bytes; sends them only where nothing else does it.
    async fn renew(&self, task: &CopyTask, replaced: Option<&Listed>, here: &ObjectInfo, there: &ObjectInfo) -> Result<What> {
        if self.copier.charges(there).is_some() {
            return Ok(What::Warned(
                "its metadata or class differs from the source's, but its class charges for a change by now: --touch-cold renews it all the same",
            ));
        }
        if self.options.dry_run || here.etag != task.etag {
            return self.carry(task, replaced).await;
        }
        let renewed = {
            let _claim = self.context.claims.take(&task.destination_key).await;
            if let Some(held) = replaced {
                self.keep(held).await?;
            }
            match self.copier.renew(task, here, there).await {
                Err(error) if is_class_refused(&error) => {
                    return Ok(What::Warned(
                        "the destination refuses the class that is like the source's: --class-map names another, --storage-class default none",
                    ));
                }
                renewed => renewed?,
            }
        };
        match renewed {
            Some(copied) => self.done(task, copied).await,
            // Bytes are not sent for the sake of a class: that would cost more than the class saves.
            None if self.copier.has_metadata_of(task, here, there).await? => Ok(What::Warned(
                "it sank to a colder class at the source, and the service cannot renew its copy by itself: it is too large, or nothing proves it",
            )),
            None => self.carry(task, replaced).await,
        }
    }

    /// Looks at what stands beside the bytes of both, and renews the copy where it differs. `None`: it does not.
    async fn check_metadata(&self, subject: &mut Subject) -> Result<Option<What>> {
        let (Side::Present(source), Side::Present(destination)) = (subject.source.clone(), subject.destination.clone()) else { return Ok(None) };
        if self.ends.source_is_local() || self.ends.destination_is_local() {
            return Ok(None);
        }
        if subject.infos().is_none() {
            self.look(subject, Look { source: true, destination: true, read: false }).await?;
        }
        let Some((here, there)) = subject.infos() else { return Ok(None) };
        let task = self.task(&source, Reason::Metadata);
        if here.etag != task.etag || self.copier.has_metadata_of(&task, here, there).await? {
            return Ok(None);
        }
        self.renew(&task, Some(&destination), here, there).await.map(Some)
    }

    /// Records a proved copy.
    async fn done(&self, task: &CopyTask, copied: Copied) -> Result<What> {
        if self.context.journal.keeps_proofs() {
            self.context.journal.prove(&task.key, proved(task, &copied, self.context.clock.now())).await?;
        }
        Ok(What::Copied(task.reason, Box::new(copied)))
    }

    /// The class that the copy asks for and what it would lose, which only the object itself tells. A local file has nothing that a listing does not show.
    async fn foresee(&self, task: &CopyTask) -> Result<(String, Vec<Change>)> {
        if self.ends.source_is_local() {
            return Ok((self.options.storage_class.named().unwrap_or_default().to_owned(), Vec::new()));
        }
        let stream = self.streams.open().await?;
        let info = self.ends.source.storage.head(&task.source()).await?;
        stream.done(0);
        self.copier.foresee(&info)
    }

    /// Aborts the uploads that dropped copies left open. What cannot be aborted is told in the log: it costs until the bucket's
    /// lifecycle, or `dragon uploads abort`, removes it.
    pub(crate) async fn put_away(&self) {
        let abort = async {
            self.copier.abort_abandoned().await?;
            match &self.backup {
                Some(backup) => backup.put_away().await,
                None => Ok(()),
            }
        };
        let aborted = tokio::select! {
            biased;
            aborted = abort => aborted,
            () = self.context.clock.sleep(PUT_AWAY_MAX) => Err(Error::new(ErrorKind::Unavailable, format!("no answer within {PUT_AWAY_MAX:?}"))),
        };
        if let Err(error) = aborted {
            tracing::warn!(%error, "an open multipart upload could not be aborted");
        }
    }

    /// Has the journal remember what was found of the path, for the next run. What fails costs that run its search.
    pub(crate) async fn learn_path(&self) {
        if let Err(error) = self.streams.learn(&*self.context.journal).await {
            tracing::warn!(%error, "what was found of the path is not remembered");
        }
    }

    /// Tells where what was overwritten or deleted is kept.
    pub(crate) async fn tell_kept(&self) {
        if let Some(message) = self.backup.as_ref().and_then(Backup::told) {
            self.context.tell(Event::Notice(Notice { key: None, message })).await;
        }
    }

    /// Throws away what the journal has open for this direction and nobody has touched for a week: its object was not to be copied any more.
    pub(crate) async fn sweep(&self, started: Timestamp) {
        if let Err(error) = self.copier.sweep(started.saturating_sub(ORPHANED_AFTER).unwrap_or(Timestamp::MIN)).await {
            tracing::warn!(%error, "an orphaned upload could not be removed; a later run, or `dragon uploads abort`, does it");
        }
    }

    /// In how many parts a copy of this size is sent; 0 is whole.
    fn parts(&self, size: u64) -> Result<u32> {
        let cutter = Cutter {
            destination: self.ends.destination.storage.capabilities(),
            memory_bytes: self.options.memory_bytes,
            part_size_bytes: self.options.part_size_bytes,
            speed: self.streams.speed(),
        };
        Ok(match cutter.shape(size)? {
            Shape::Whole | Shape::WholeStreamed => 0,
            Shape::Parts(parts) => parts.count(),
        })
    }
}

/// What the journal keeps of a copy. The listing's words are kept where they are of the object that was copied: a later run compares
/// with a listing, and HEAD says the same in other words.
fn proved(task: &CopyTask, copied: &Copied, when: Timestamp) -> Proved {
    let mut source = copied.source.clone();
    if source.etag == task.etag {
        (source.modified, source.storage_class) = (task.modified, task.storage_class.clone());
    }
    let destination = End { etag: copied.etag.clone(), version: copied.version.clone(), ..End::default() };
    Proved::new(copied.size, (source, destination), &copied.checksums, (copied.source_proof, copied.destination_proof), when)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Local, why)
}

/// How one key ended.
pub(crate) struct Ended {
    pub(crate) key: Key,
    pub(crate) size: u64,
    pub(crate) what: Result<What>,
}

/// What was done, or would be.
pub(crate) enum What {
    Copied(Reason, Box<Copied>),
    /// A dry run would copy it, and so changed.
    Planned(Reason, Box<Foreseen>, Vec<Change>),
    Skipped,
    /// It lies in an archive, and is not thawed yet.
    Frozen(Frozen),
    Passed,
    /// It was listed at the source and is gone.
    Vanished,
    Warned(&'static str),
    /// A symbolic link that is not followed.
    LeftLink,
    /// Only the destination holds it.
    Candidate(Box<Listed>),
    /// A delete marker was made, as one of the history that is copied: this version. A dry run would make it.
    Marked(Option<String>),
}

/// The stage, and the sum of what it did.
pub(crate) struct Sync {
    pub(crate) engine: Arc<Engine>,
    pub(crate) report: Report,
    /// What only the destination holds.
    pub(crate) candidates: Spool,
    /// Source keys that the filter's globs let through.
    pub(crate) source_keys_seen: u64,
    /// What the checkpoints of this run are for; `None` where there are none.
    pub(crate) fingerprint: Option<u64>,
    /// How many objects were refused without another end among them; `None` once there was one.
    denied_first: Option<u64>,
}

impl Sync {
    pub(crate) fn new(engine: Arc<Engine>, candidates: Spool) -> Self {
        Self { engine, report: Report::default(), candidates, source_keys_seen: 0, fingerprint: None, denied_first: Some(0) }
    }

    /// Counts and tells a copy that ended well.
    async fn copied(&mut self, key: Key, reason: Reason, copied: Copied) {
        self.denied_first = None;
        self.report.copied += 1;
        self.report.bytes += copied.size;
        self.report.resumed_bytes += copied.resumed_bytes;
        self.report.reread_bytes += copied.reread_bytes;
        self.report.verified += u64::from(copied.verified() > Proof::Size);
        self.report.stored += u64::from(copied.destination_proof > Proof::Size);
        let progress = &self.engine.context.progress;
        progress.copied_objects.fetch_add(1, Ordering::Relaxed);
        progress.copied_bytes.fetch_add(copied.size, Ordering::Relaxed);
        self.report.losses.add(&copied.changes);
        for change in copied.changes.iter().filter(|change| !change.detail.is_empty()) {
            self.engine.context.tell(Event::Notice(Notice { key: Some(key.clone()), message: change.to_string() })).await;
        }
        let mut event = ObjectEvent::new(Action::Copy, Status::Ok, key, copied.size);
        (event.reason, event.version) = (Some(reason), copied.version.clone());
        event.copied = Some(copied);
        self.engine.context.tell(Event::Object(Box::new(event))).await;
    }

    /// Counts and tells a key that failed, and judges whether the run can go on.
    pub(crate) async fn failed(&mut self, action: Action, key: Key, size: u64, error: Error) {
        // What the operator stopped has not failed.
        if error.kind() == ErrorKind::Interrupted && self.engine.context.cancel.is_cancelled() {
            return;
        }
        // One clear message for a store that is halted, not one for each object that was underway.
        if error.stops_store() && self.report.stopped.is_some() {
            return;
        }
        self.report.failed += 1;
        self.report.parked += u64::from(matches!(error.kind(), ErrorKind::Frozen | ErrorKind::Locked));
        self.engine.context.progress.failed_objects.fetch_add(1, Ordering::Relaxed);
        self.denied_first = self.denied_first.filter(|_| error.kind() == ErrorKind::Denied).map(|n| n + 1);
        if error.stops_store() {
            self.report.stopped.get_or_insert_with(|| error.clone());
        } else if self.denied_first.is_some_and(|n| n >= DENIED_FIRST_MAX) {
            let stop = Error::new(ErrorKind::Denied, format!("the first {DENIED_FIRST_MAX} objects were all refused; the last: {error}"));
            self.report.stopped.get_or_insert_with(|| stop.advise("run `dragon doctor` on both ends: it tries each permission"));
        }
        if let Some(max) = self.engine.options.errors_max.filter(|max| self.report.failed >= (*max).max(1)) {
            self.report.limited.get_or_insert_with(|| Error::new(ErrorKind::Interrupted, format!("{max} objects failed, as many as --max-errors allows")));
        }
        let mut event = ObjectEvent::new(action, Status::Failed, key, size);
        event.error = Some(error);
        self.engine.context.tell(Event::Object(Box::new(event))).await;
    }

    async fn skipped(&mut self, key: Key, size: u64) {
        self.count_skipped();
        if self.engine.options.report_unchanged {
            self.engine.context.tell(Event::Object(Box::new(ObjectEvent::new(Action::Skip, Status::Ok, key, size)))).await;
        }
    }

    fn count_skipped(&mut self) {
        self.report.skipped += 1;
        self.engine.context.progress.skipped_objects.fetch_add(1, Ordering::Relaxed);
    }
}

impl Stage for Sync {
    type Ended = Ended;

    fn decide(&mut self, pairing: &Pairing<'_>) -> Step<Ended> {
        if let Side::Present(source) = &pairing.source {
            self.source_keys_seen += u64::from(!self.engine.options.filter.hides_key(source.key));
        }
        let done = |what| {
            let size = match (&pairing.source, &pairing.destination) {
                (Side::Present(entry), _) | (_, Side::Present(entry)) => entry.size,
                _ => 0,
            };
            Step::Done(Ended { key: Key::from(pairing.key), size, what })
        };
        match plan::decide(&self.engine.rules(), pairing, &Evidence::default()) {
            Decision::Pass => Step::Pass,
            Decision::Skip if self.engine.options.check_metadata || self.engine.is_unfinished(pairing.key) => Step::Work(Box::new(Subject::listed(pairing))),
            Decision::Skip if self.engine.options.report_unchanged => done(Ok(What::Skipped)),
            Decision::Skip => {
                self.count_skipped();
                Step::Pass
            }
            Decision::Warn(why) => done(Ok(What::Warned(why))),
            Decision::LeaveLink => done(Ok(What::LeftLink)),
            Decision::Refuse(why) => done(Err(refused(why).on_key(Key::from(pairing.key)))),
            Decision::Delete => match &pairing.destination {
                Side::Present(entry) => done(Ok(What::Candidate(Box::new((*entry).into())))),
                _ => Step::Pass,
            },
            Decision::Copy(_) => {
                // The work decides again, by the same pure function, and does not count again.
                self.engine.plan(if let Side::Present(source) = &pairing.source { source.size } else { 0 });
                Step::Work(Box::new(Subject::listed(pairing)))
            }
            Decision::Look(_) => Step::Work(Box::new(Subject::listed(pairing))),
        }
    }

    fn work(&self, mut subject: Box<Subject>) -> BoxFuture<'static, Ended> {
        let engine = self.engine.clone();
        async move {
            let what = engine.settle(&mut subject).await;
            let size = match &subject.source {
                Side::Present(source) => source.size,
                _ => 0,
            };
            Ended { key: subject.key, size, what }
        }
        .boxed()
    }

    async fn ended(&mut self, ended: Ended) -> Result<()> {
        let Ended { key, size, what } = ended;
        match what {
            Ok(What::Copied(reason, copied)) => self.copied(key, reason, *copied).await,
            Ok(What::Planned(reason, foreseen, changes)) => {
                self.report.losses.add(&changes);
                self.report.copied += 1;
                self.report.bytes += size;
                // Read and write, or that for each part, with create and complete.
                self.report.requests += 2 + 2 * u64::from(foreseen.parts);
                let event = ObjectEvent { reason: Some(reason), foreseen: Some(foreseen), ..ObjectEvent::new(Action::Copy, Status::Planned, key, size) };
                self.engine.context.tell(Event::Object(Box::new(event))).await;
            }
            Ok(What::Skipped) => self.skipped(key, size).await,
            Ok(What::Passed) => {}
            Ok(What::Frozen(frozen)) => {
                if frozen == Frozen::OverBudget {
                    self.report.over_budget += 1;
                } else {
                    self.report.thawing += 1;
                }
                self.engine.context.tell(Event::Object(Box::new(ObjectEvent::new(Action::Restore, Status::Planned, key, size)))).await;
            }
            Ok(What::Vanished) => {
                self.report.vanished += 1;
                let message = "it was deleted at the source during the run".to_owned();
                self.engine.context.tell(Event::Notice(Notice { key: Some(key), message })).await;
            }
            Ok(What::Warned(why)) => self.engine.context.tell(Event::Notice(Notice { key: Some(key), message: why.to_owned() })).await,
            Ok(What::Marked(version)) => {
                self.report.markers += 1;
                let status = if self.engine.options.dry_run { Status::Planned } else { Status::Ok };
                let event = ObjectEvent { version, reason: Some(Reason::Version), ..ObjectEvent::new(Action::Delete, status, key, size) };
                self.engine.context.tell(Event::Object(Box::new(event))).await;
            }
            Ok(What::LeftLink) => {
                self.report.losses.add(&[Change::lost(Attribute::Link, "symbolic links are left out (--follow-symlinks copies what they lead to)")]);
                let message = "a symbolic link is not followed".to_owned();
                self.engine.context.tell(Event::Notice(Notice { key: Some(key), message })).await;
            }
            Ok(What::Candidate(listed)) => self.candidates.push(&listed.entry()).await?,
            Err(error) => self.failed(Action::Copy, key, size, error).await,
        }
        Ok(())
    }

    fn is_halted(&self) -> bool {
        self.report.stopped.is_some() || self.report.limited.is_some()
    }

    async fn settled(&mut self, after: Key, keys: u64) -> Result<()> {
        let Report { failed, thawing, over_budget, .. } = self.report;
        match self.fingerprint.filter(|_| failed + thawing + over_budget == 0) {
            Some(fingerprint) => self.engine.context.journal.checkpoint(fingerprint, &after, keys).await,
            None => Ok(()),
        }
    }
}
