//! Wires the stages: list, join, plan, copy, and at the end the deletes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::concurrency::Streams;
use super::delete::{self, Claim};
use super::event::{Action, Event, Notice};
use super::feed::{Feed, KeyReader};
use super::job::{Context, Job, Options, VersionChoice};
use super::join::Join;
use super::known::Known;
use super::list::Cursor;
use super::ranges::{Listings, Ranges};
use super::report::{self, Report};
use super::schedule::{self, Driven, Stage};
use super::spill::{SpillDir, Spool};
use super::subject::{self, Ends};
use super::sync::{Ended, Engine, Sync, What};
use super::task::{Listed, Reason};
use super::verify::Verify;
use super::versions;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Checkpoint, Outcome};
use crate::storage::checksum::Crc64;
use crate::storage::location::Location;
use crate::storage::thaw::Thaw;
use crate::storage::{Key, ObjectInfo, ObjectRef, Service};

/// Makes what is under the destination hold what is under the source (both prefixes are taken as trees: `a` means `a/`).
///
/// Fails where it cannot start: a listing that fails at once, contradictory options, a source that is one object. Whatever happens
/// later stands in the report. Dropping the future stops everything at once; cancelling lets work put itself away.
pub async fn run(job: Job, context: Context) -> Result<Report> {
    check(&job)?;
    check_undo(&job, &context)?;
    check_thaw(&job.options)?;
    if job.options.versions == VersionChoice::All {
        return Box::pin(versions::run(job, context)).await;
    }
    let begun = context.clock.instant();
    let started = context.clock.now();
    let spill = SpillDir::new(context.spill_dir.as_deref(), context.clock.clone());
    let fingerprint = fingerprint(&job);
    let checkpoint = match fingerprint.filter(|_| !job.options.from_start) {
        Some(fingerprint) => context.journal.interrupted(fingerprint).await?,
        None => None,
    };
    let mut feed = match open(&job, &context, &spill, checkpoint.as_ref(), job.options.delete).await {
        Ok(feed) => feed,
        Err(error) => {
            // It could not start, and that is what is to stand in the record.
            context.journal.end(Outcome::Stopped, context.clock.now()).await?;
            return Err(error);
        }
    };
    let ends = Ends { source: job.source.tree(), destination: job.destination.tree() };
    let mut engine = Engine::new(ends, job.options, context.clone(), started);
    engine.recall().await?;
    let engine = Arc::new(engine);
    let mut sync = Sync::new(engine.clone(), Spool::new(spill));
    sync.fingerprint = fingerprint;
    let driven = schedule::drive(&mut feed, &mut sync, &engine.streams, &context, engine.options.duration_max).await;
    let listings = feed.into_listings();
    engine.put_away().await;
    conclude(&mut sync.report, listings.as_ref(), driven, &context).await;
    if engine.options.delete
        && let Some(listings) = listings
    {
        finish_deletes(&mut sync, &listings, started).await;
    }
    let mut report = sync.report;
    // Some keys by name are no occasion to look through all open uploads.
    let whole = engine.options.files_from.is_none() && !engine.options.dry_run;
    if report.failed == 0 && report.stopped.is_none() && !report.interrupted && whole {
        engine.sweep(started).await;
    }
    engine.learn_path().await;
    engine.tell_kept().await;
    end(&mut report, &context).await;
    report.retries = context.progress.retries.load(Ordering::Relaxed);
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// Writes how the run ended into the journal. What cannot be written is a reason to tell that the run did not end well.
pub(super) async fn end(report: &mut Report, context: &Context) {
    let outcome = match report.exit_code() {
        report::EXIT_OK => Outcome::Done,
        report::EXIT_INTERRUPTED | report::EXIT_STOPPED => Outcome::Stopped,
        _ if report.limited.is_some() => Outcome::Stopped,
        _ => Outcome::Partly,
    };
    if let Err(error) = context.journal.end(outcome, context.clock.now()).await {
        report.stopped.get_or_insert(error);
    }
}

/// What an interrupted run must have in common with this one for its checkpoint to hold. `None` where no run goes on in the middle:
/// deletes need a listing from end to end, and a file of keys is no listing.
fn fingerprint(job: &Job) -> Option<u64> {
    let options = &job.options;
    let ordered = [&job.source, &job.destination].iter().all(|end| end.storage.capabilities().ordered_list);
    if options.delete || options.dry_run || options.files_from.is_some() || !ordered {
        return None;
    }
    let Options { compare, update, ignore_existing, follow_symlinks, filter, shard, storage_class, encryption, acl, tags, stamp, .. } = options;
    let text = format!("{compare:?} {update} {ignore_existing} {follow_symlinks} {filter:?} {shard:?} {storage_class:?} {encryption:?} {acl:?} {tags} {stamp}");
    Some(Crc64::of(text.as_bytes()).xz)
}

/// Compares what is under two places, key by key; `deep` reads the bytes of both. Writes nothing.
///
/// Fails where it cannot start; a listing that fails later stands in the report, and what was not compared is not called the same.
pub async fn verify(job: Job, deep: bool, context: Context) -> Result<Report> {
    check(&job)?;
    let begun = context.clock.instant();
    let spill = SpillDir::new(context.spill_dir.as_deref(), context.clock.clone());
    let mut feed = open(&job, &context, &spill, None, true).await?;
    let ends = Ends { source: job.source.tree(), destination: job.destination.tree() };
    let streams = Streams::new(&job.options, &context);
    let duration_max = job.options.duration_max;
    let mut stage = Verify::new(ends, job.options, deep, context.clone(), streams.clone());
    let driven = schedule::drive(&mut feed, &mut stage, &streams, &context, duration_max).await;
    let mut report = stage.report;
    conclude(&mut report, feed.into_listings().as_ref(), driven, &context).await;
    report.retries = context.progress.retries.load(Ordering::Relaxed);
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// Copies exactly one object: the prefixes of the job's ends are whole keys, and a destination that is empty or ends in `/` keeps
/// the base name. It is copied whatever the destination holds, unless `ignore_existing` or `update` say otherwise.
///
/// Fails where the source cannot be looked at; a copy that failed stands in the report.
pub async fn copy_one(job: Job, context: Context) -> Result<Report> {
    check_undo(&job, &context)?;
    if job.options.versions == VersionChoice::All {
        return Err(Error::invalid("--versions all copies the histories of a tree, and this is one object").advise("use sync, or cp -r"));
    }
    let begun = context.clock.instant();
    let started = context.clock.now();
    let Job { source, mut destination, options } = job;
    if destination.prefix.is_empty() || destination.prefix.is_folder() {
        destination.prefix = destination.prefix.join(source.prefix.base_name().as_bytes());
    }
    let info = source.storage.head(&ObjectRef::from(&source.prefix)).await.map_err(|e| e.during("look at").on_key(&source.prefix).in_store(&source.storage))?;
    let asked = options.ignore_existing || options.update || options.backup.is_some();
    let there = if asked { subject::head(&*destination.storage, &destination.prefix).await? } else { None };
    let newer = |there: &ObjectInfo| options.update && there.modified.zip(info.modified).is_some_and(|(there, here)| there > here);
    let left_alone = there.as_ref().is_some_and(|there| options.ignore_existing || newer(there));
    let replaced = there.map(|there| Listed::of(Key::EMPTY, &there));
    let key = source.prefix.clone();
    let engine = Arc::new(Engine::new(Ends { source, destination }, options, context.clone(), started));
    let spill = SpillDir::new(context.spill_dir.as_deref(), context.clock.clone());
    let mut sync = Sync::new(engine.clone(), Spool::new(spill));
    // The ends are whole keys, so what is under them has the empty name.
    let task = engine.task(&Listed::of(Key::EMPTY, &info), Reason::Absent);
    let what = if left_alone {
        Ok(What::Skipped)
    } else {
        engine.plan(info.size);
        let late = async {
            context.cancel.cancelled().await;
            context.clock.sleep(schedule::DRAIN_MAX).await;
        };
        tokio::select! {
            biased;
            what = engine.carry(&task, replaced.as_ref()) => what,
            never = engine.streams.look_after() => match never {},
            () = late => Err(Error::new(ErrorKind::Interrupted, "interrupted").on_key(&key)),
        }
    };
    engine.put_away().await;
    sync.ended(Ended { key, size: info.size, what }).await?;
    let mut report = sync.report;
    report.interrupted = context.cancel.is_cancelled() && report.copied == 0;
    engine.tell_kept().await;
    end(&mut report, &context).await;
    report.retries = context.progress.retries.load(Ordering::Relaxed);
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// Refuses contradictions before the first request.
fn check(job: &Job) -> Result<()> {
    let options = &job.options;
    if options.delete && options.files_from.is_some() {
        return Err(Error::invalid("--delete cannot be used with --files-from: what the file does not name is not absent"));
    }
    check_thaw(options)?;
    if options.delete_excluded && !options.delete {
        return Err(Error::invalid("--delete-excluded means something only with --delete"));
    }
    let (source, destination) = (job.source.tree(), job.destination.tree());
    let (a, b) = (source.prefix.as_bytes(), destination.prefix.as_bytes());
    if source.storage.identity() == destination.storage.identity() && (a.starts_with(b) || b.starts_with(a)) {
        return Err(Error::invalid(format!("{source} and {destination} overlap: a run would find its own copies"))
            .advise("choose places that do not lie in each other"));
    }
    Ok(())
}

fn check_thaw(options: &Options) -> Result<()> {
    options.thaw.as_ref().map_or(Ok(()), Thaw::check)
}

/// Refuses what could not be undone as asked.
fn check_undo(job: &Job, context: &Context) -> Result<()> {
    if job.options.delete_after.is_some() && !job.options.dry_run && !context.journal.is_durable() {
        return Err(Error::invalid("--delete-after needs the journal, which remembers since when a key has been absent").advise("give a --state-dir"));
    }
    let Some(backup) = &job.options.backup else { return Ok(()) };
    let backup = backup.tree();
    for end in [&job.source, &job.destination] {
        let (a, b) = (end.tree().prefix, &backup.prefix);
        if end.storage.identity() == backup.storage.identity() && (a.as_bytes().starts_with(b.as_bytes()) || b.as_bytes().starts_with(a.as_bytes())) {
            return Err(Error::invalid(format!("the --backup-dir {backup} overlaps {end}: what is kept there would be copied or deleted itself"))
                .advise("choose a prefix beside it, or another bucket"));
        }
    }
    Ok(())
}

/// Opens the feed and waits for the first answer of both ends, so that a typo does not look like an empty bucket.
async fn open(job: &Job, context: &Context, spill: &SpillDir, checkpoint: Option<&Checkpoint>, to_the_end: bool) -> Result<Feed> {
    let options = &job.options;
    if let Some(file) = &options.files_from {
        return Ok(Feed::named(KeyReader::open(file, options.shard).await?));
    }
    let after = checkpoint.map(|checkpoint| &checkpoint.after);
    if let Some(Checkpoint { after, keys, started }) = checkpoint {
        let message = format!("going on behind '{after}', up to where the run of {started} had settled {keys} keys; --from-start compares them again");
        context.tell(Event::Notice(Notice { key: None, message })).await;
    }
    let cursor = |location: &Location| Cursor::open(&location.tree(), after, options.shard, spill.clone());
    let known = Known::open(context.journal.clone(), after.cloned(), !options.dry_run, options.shard);
    let join = Join::new(cursor(&job.source), cursor(&job.destination), known, to_the_end, context.progress.clone());
    let ranges_max = options.list_ranges_max.min(ranges_max([&job.source, &job.destination].map(|end| end.storage.capabilities().service)));
    let settled = checkpoint.map_or(0, |checkpoint| checkpoint.keys);
    let mut feed = Feed::listed(Ranges::new(join, ranges_max), settled);
    tokio::select! {
        biased;
        arrived = feed.arrive() => arrived?,
        () = context.cancel.cancelled() => return Err(Error::new(ErrorKind::Interrupted, "interrupted before the first answer")),
    }
    if let Some(error) = feed.ranges().and_then(Ranges::error) {
        return Err(Error::clone(error));
    }
    let is_empty = feed.ranges().is_some_and(Ranges::source_is_empty);
    if is_empty && !job.source.prefix.is_empty() && checkpoint.is_none() {
        let what = format!("nothing is under {}", job.source.tree());
        if !job.source.prefix.is_folder() && subject::head(&*job.source.storage, &job.source.prefix).await?.is_some() {
            return Err(Error::invalid(format!("{} is an object, not a prefix", job.source)).advise("use cp to copy one object"));
        }
        context.tell(Event::Notice(Notice { key: None, message: what })).await;
    }
    Ok(feed)
}

/// In how many ranges it is worth listing two places.
fn ranges_max(services: [Service; 2]) -> usize {
    match services {
        // object_store begins at the first key for some services, whatever key the range lies behind.
        [Service::ObjectStore, _] | [_, Service::ObjectStore] => 1,
        // Two trees on one machine's disks gain nothing by being walked in several places at once.
        [Service::Local, Service::Local] => 1,
        // Each piece of a tree reads anew the directories that lead to it.
        [Service::Local, _] | [_, Service::Local] => 4,
        _ => usize::MAX,
    }
}

/// Puts into the report how the drive and the listings ended.
pub(super) async fn conclude(report: &mut Report, listings: Option<&Listings>, driven: Result<Driven>, context: &Context) {
    match driven {
        Ok(Driven::ToTheEnd) => {}
        Ok(Driven::Interrupted) => report.interrupted = true,
        Ok(Driven::TimeUp) => {
            report.limited.get_or_insert_with(|| Error::new(ErrorKind::Interrupted, "the time that --max-duration allows was up"));
        }
        Err(error) => {
            report.stopped.get_or_insert(error);
        }
    }
    if let Some(listings) = listings {
        (report.source_keys, report.destination_keys) = (listings.source_keys, listings.destination_keys);
        if let Some(error) = &listings.error {
            report.stopped.get_or_insert_with(|| Error::clone(error));
        }
        for side in &listings.unordered {
            let message = format!("the {side}'s listing is not in the order of its keys: nothing is deleted on its word");
            context.tell(Event::Notice(Notice { key: None, message })).await;
        }
    }
}

/// Makes the deletes if everything licenses them; says why not where there were some to make.
pub(super) async fn finish_deletes(sync: &mut Sync, listings: &Listings, started: jiff::Timestamp) {
    let Listings { destination_keys, unordered, license_deletes, .. } = listings;
    let spill = SpillDir::new(sync.engine.context.spill_dir.as_deref(), sync.engine.context.clock.clone());
    let candidates = std::mem::replace(&mut sync.candidates, Spool::new(spill));
    let claim = Claim { candidates: candidates.len(), destination_keys: *destination_keys, source_keys: sync.source_keys_seen };
    sync.report.delete_candidates = claim.candidates;
    let ended_early = sync.report.interrupted || sync.report.stopped.is_some() || sync.report.limited.is_some();
    if !license_deletes && !ended_early && !unordered.is_empty() {
        let message = format!("the listing of the {} is out of order, so it does not say what is absent: nothing was deleted", unordered.join(" and the "));
        sync.report.refused = Some(Error::new(ErrorKind::Guard, message).advise("report the service; without --delete the copies are right"));
        return;
    }
    let held_back = ended_early || !license_deletes || sync.report.failed > 0;
    if claim.candidates > 0 {
        sync.report.delete_limit = delete::limit_in_words(sync.engine.options.delete_limit);
    } else if held_back {
        return;
    }
    if held_back {
        let why = if sync.report.failed > 0 { "some objects failed" } else { "the run did not come to its end" };
        let message = format!("{} deletes are held back, because {why}", claim.candidates);
        sync.engine.context.tell(Event::Notice(Notice { key: None, message })).await;
        return;
    }
    if let Err(refusal) = delete::guard(&sync.engine.options, claim) {
        sync.report.refused = Some(refusal);
        return;
    }
    let done = async {
        sync.delete(candidates.into_reader(), started).await?;
        let waits = sync.engine.options.delete_after.is_some() && !sync.engine.options.dry_run;
        if waits && sync.report.stopped.is_none() && !sync.report.interrupted {
            // Every key that is absent has been named by now: what waited and was not has come back.
            let spared = sync.engine.context.journal.spare().await?;
            tracing::info!(spared, "keys that waited for their deletion have come back");
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = done.await {
        sync.failed(Action::Delete, Key::EMPTY, 0, error.clone()).await;
        sync.report.stopped.get_or_insert(error);
    }
}
