//! A run over histories: lists both ends, has so many keys at work, and makes the deletes last.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::carry::{Carry, Told};
use super::histories::Pairs;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Outcome;
use crate::storage::location::Location;
use crate::storage::{Service, Versioning};
use crate::transfer::event::{Event, Notice};
use crate::transfer::feed::KeyReader;
use crate::transfer::job::{Compare, Context, Job, Options};
use crate::transfer::ranges::Listings;
use crate::transfer::report::Report;
use crate::transfer::run::{conclude, end, finish_deletes};
use crate::transfer::schedule::{DRAIN_MAX, Driven, FLUSH_EVERY, Stage, died};
use crate::transfer::spill::{SpillDir, Spool};
use crate::transfer::subject::Ends;
use crate::transfer::sync::{Engine, Sync};

/// What keys at work have told and nobody has counted yet.
const TOLD_MAX: usize = 100;

/// Makes the histories under the destination hold what those under the source hold.
///
/// Fails where it cannot start: options that say nothing of histories, a bucket that keeps none, a listing that fails at once. Whatever
/// happens later stands in the report.
pub(in crate::transfer) async fn run(job: Job, context: Context) -> Result<Report> {
    check(&job.options)?;
    let begun = context.clock.instant();
    let started = context.clock.now();
    let ends = Ends { source: job.source.tree(), destination: job.destination.tree() };
    let pairs = match open(&ends, &job.options, &context).await {
        Ok(pairs) => pairs,
        Err(error) => {
            context.journal.end(Outcome::Stopped, context.clock.now()).await?;
            return Err(error);
        }
    };
    let mut engine = Engine::new(ends, job.options, context.clone(), started);
    engine.recall().await?;
    let spill = SpillDir::new(context.spill_dir.as_deref(), context.clock.clone());
    let mut run = Run { sync: Sync::new(Arc::new(engine), Spool::new(spill)), source_keys: 0, destination_keys: 0, left_shown: 0 };
    let driven = run.drive(pairs).await;
    let Run { mut sync, source_keys, destination_keys, left_shown } = run;
    let engine = sync.engine.clone();
    engine.put_away().await;
    if left_shown > 0 {
        let message =
            format!("{left_shown} keys end in a delete marker at the source and are still shown at the destination: sync --delete makes the marker there too");
        context.tell(Event::Notice(Notice { key: None, message })).await;
    }
    let license_deletes = driven.is_ok() && sync.report.stopped.is_none() && engine.options.files_from.is_none();
    let listings = Listings { source_keys, destination_keys, error: None, unordered: Vec::new(), license_deletes };
    conclude(&mut sync.report, Some(&listings), driven, &context).await;
    if engine.options.delete {
        finish_deletes(&mut sync, &listings, started).await;
    }
    let mut report = sync.report;
    let whole = engine.options.files_from.is_none() && !engine.options.dry_run;
    if report.failed == 0 && report.stopped.is_none() && !report.interrupted && whole {
        engine.sweep(started).await;
    }
    engine.learn_path().await;
    end(&mut report, &context).await;
    report.retries = context.progress.retries.load(Ordering::Relaxed);
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// Refuses what would leave a history with holes, or says nothing of one.
fn check(options: &Options) -> Result<()> {
    let refuse = |flags: &str, why: &str| Err(Error::invalid(format!("--versions all cannot be used with {flags}: {why}")));
    if !options.stamp {
        return refuse("--no-stamp", "the stamp of the newest copy is what tells which versions the destination has");
    }
    if options.update || options.ignore_existing || options.compare != Compare::Default || options.check_metadata {
        return refuse("--update, --ignore-existing, --checksum, --size-only or --check-metadata", "what is missing is told by the histories alone");
    }
    let filter = &options.filter;
    if filter.size_bytes_min.is_some() || filter.size_bytes_max.is_some() || filter.newer_than.is_some() || filter.older_than.is_some() {
        return refuse("limits of size or age", "a history is copied whole");
    }
    if options.backup.is_some() {
        return refuse("--backup-dir", "the destination keeps what is overwritten or deleted as a version");
    }
    Ok(())
}

/// Opens the histories of both ends, where both keep them.
async fn open(ends: &Ends, options: &Options, context: &Context) -> Result<Pairs> {
    for end in [&ends.source, &ends.destination] {
        check_versioning(end, std::ptr::eq(end, &ends.destination)).await?;
    }
    if let Some(file) = &options.files_from {
        return Ok(Pairs::Named(KeyReader::open(file, options.shard).await?));
    }
    let mut pairs = Pairs::listed(&ends.source, &ends.destination, options.shard)?;
    let any = tokio::select! {
        biased;
        any = pairs.arrive() => any?,
        () = context.cancel.cancelled() => return Err(Error::new(ErrorKind::Interrupted, "interrupted before the first answer")),
    };
    if !any && !ends.source.prefix.is_empty() {
        context.tell(Event::Notice(Notice { key: None, message: format!("nothing is under {}", ends.source) })).await;
    }
    Ok(pairs)
}

/// Refuses a place that keeps no versions. A source that keeps no new ones has those that it kept.
async fn check_versioning(place: &Location, is_written: bool) -> Result<()> {
    let refuse = |why: &str| Error::unsupported(format!("--versions all needs versions at both ends, and {place} {why}")).in_store(&place.storage);
    let Some(versions) = place.storage.versions() else { return Err(refuse("cannot keep any")) };
    let (bucket, service) = (&place.storage.identity().bucket, place.storage.capabilities().service);
    let (action, enable) = match service {
        Service::Oss => ("oss:GetBucketVersioning", format!("ossutil bucket-versioning --method put oss://{bucket} enabled")),
        _ => ("s3:GetBucketVersioning", format!("aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled")),
    };
    let asked = versions.versioning().await;
    match asked.map_err(|error| if error.kind() == ErrorKind::Denied { error.advise(format!("grant {action}")) } else { error })? {
        Versioning::Enabled => Ok(()),
        Versioning::Suspended if !is_written => Ok(()),
        Versioning::Suspended => Err(refuse("does so no more: its versioning is suspended").advise(format!("enable it: {enable}"))),
        Versioning::Off => Err(refuse("keeps none: its versioning is off").advise(format!("enable it: {enable}"))),
    }
}

struct Run {
    sync: Sync,
    source_keys: u64,
    destination_keys: u64,
    /// Keys that the source hides and the destination shows.
    left_shown: u64,
}

impl Run {
    /// Has keys at work until there are no more, or no more may start. An error is one of the run itself.
    async fn drive(&mut self, mut pairs: Pairs) -> Result<Driven> {
        let engine = self.sync.engine.clone();
        let context = &engine.context;
        let (told, mut tells) = mpsc::channel(TOLD_MAX);
        let carry = Carry { engine: engine.clone(), stop: CancellationToken::new(), told };
        let mut work: JoinSet<()> = JoinSet::new();
        let (mut fed, mut driven) = (false, Driven::ToTheEnd);
        let mut limits = engine.streams.changes();
        let mut pulse = std::pin::pin!(engine.streams.look_after());
        let mut flush = std::pin::pin!(context.clock.sleep(FLUSH_EVERY));
        let mut deadline = std::pin::pin!(async {
            match engine.options.duration_max {
                Some(duration) => context.clock.sleep(duration).await,
                None => std::future::pending().await,
            }
        });
        loop {
            let admits = driven == Driven::ToTheEnd && !self.sync.is_halted();
            if !admits {
                carry.stop.cancel();
            }
            if work.is_empty() && tells.is_empty() && (fed || !admits) {
                return Ok(driven);
            }
            tokio::select! {
                biased;
                () = context.cancel.cancelled() => {
                    carry.stop.cancel();
                    self.wind_down(&mut work, &mut tells).await?;
                    return Ok(Driven::Interrupted);
                }
                Some(told) = tells.recv() => self.note(told).await?,
                Some(ended) = work.join_next() => ended.map_err(died)?,
                // There may be room for more.
                Ok(()) = limits.changed() => {}
                never = &mut pulse => match never {},
                () = &mut deadline, if driven == Driven::ToTheEnd => driven = Driven::TimeUp,
                () = &mut flush, if context.journal.is_durable() => {
                    context.journal.flush().await?;
                    flush.set(context.clock.sleep(FLUSH_EVERY));
                }
                pair = pairs.next(), if admits && !fed && work.len() < engine.streams.limit() => match pair {
                    Ok(Some(pair)) => {
                        work.spawn(carry.clone().carry(pair));
                    }
                    Ok(None) => {
                        fed = true;
                        context.progress.listing_done.store(true, Ordering::Relaxed);
                    }
                    Err(error) => {
                        self.sync.report.stopped.get_or_insert(error);
                    }
                },
            }
        }
    }

    /// Lets what is in flight put itself away, then aborts the rest.
    async fn wind_down(&mut self, work: &mut JoinSet<()>, tells: &mut mpsc::Receiver<Told>) -> Result<()> {
        let clock = self.sync.engine.context.clock.clone();
        let mut grace = std::pin::pin!(clock.sleep(DRAIN_MAX));
        while !work.is_empty() {
            tokio::select! {
                biased;
                Some(told) = tells.recv() => self.note(told).await?,
                Some(ended) = work.join_next() => ended.map_err(died)?,
                () = &mut grace => work.shutdown().await,
            }
        }
        while let Ok(told) = tells.try_recv() {
            self.note(told).await?;
        }
        Ok(())
    }

    async fn note(&mut self, told: Told) -> Result<()> {
        match told {
            Told::Ended(ended) => self.sync.ended(ended).await?,
            Told::Seen { shown_here, shown_there } => {
                self.source_keys += u64::from(shown_here);
                self.destination_keys += u64::from(shown_there);
                self.sync.source_keys_seen += u64::from(shown_here);
            }
            Told::LeftShown => self.left_shown += 1,
        }
        Ok(())
    }
}
