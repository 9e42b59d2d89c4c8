//! Deletes what only the destination holds: last, and only past its guards.
//!
//! By the time this runs every copy has ended, and [`licence`] has seen that both listings ended clean and in order and that
//! nothing failed. A failed copy holds every delete back: under a new name the object may be what an old name is deleted for.

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::event::{Action, Event, Foreseen, ObjectEvent, Status};
use super::job::{DeleteLimit, Options};
use super::spill::Reader;
use super::subject;
use super::sync::Sync;
use super::task::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ETag, Key, ObjectRef};

/// Candidates that are checked and deleted together.
const BATCH: usize = 1000;
/// A destination object younger than the run's start less this may have been copied by somebody after our source page was read.
const YOUNG: SignedDuration = SignedDuration::from_mins(15);
/// Up to so many deletes are never too many, unless a limit is given.
const COUNT_ALWAYS: u64 = 100;
/// Beyond [`COUNT_ALWAYS`], up to this part of the destination is not too much, unless a limit is given. In percent.
const PERCENT_DEFAULT: f64 = 25.0;

/// What the guards look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// How many deletes there would be.
    pub(crate) candidates: u64,
    /// How many keys the destination was seen to hold.
    pub(crate) destination_keys: u64,
    /// How many keys the source was seen to hold that the filter's globs let through.
    pub(crate) source_keys: u64,
}

/// The limit in words.
pub(crate) fn limit_in_words(limit: DeleteLimit) -> String {
    match limit {
        DeleteLimit::Default => format!("{COUNT_ALWAYS} objects or {PERCENT_DEFAULT} % of the destination, whichever is more"),
        DeleteLimit::Count(count) => format!("{count} objects"),
        DeleteLimit::Percent(percent) => format!("{percent} % of the destination"),
    }
}

/// Whether so many deletes among so many keys are more than allowed.
pub(crate) fn exceeds(limit: DeleteLimit, candidates: u64, keys: u64) -> bool {
    let beyond = |percent: f64| candidates as f64 > keys as f64 * percent / 100.0;
    match limit {
        DeleteLimit::Default => candidates > COUNT_ALWAYS && beyond(PERCENT_DEFAULT),
        DeleteLimit::Count(count) => candidates > count,
        DeleteLimit::Percent(percent) => beyond(percent),
    }
}

/// Refuses with [`ErrorKind::Guard`] where the deletes are more than a person would expect.
pub(crate) fn guard(options: &Options, claim: Claim) -> Result<()> {
    if claim.candidates == 0 {
        return Ok(());
    }
    if claim.source_keys == 0 && !options.allow_empty_source {
        let message = format!("the source is empty, and {} objects of the destination would be deleted: none was", claim.candidates);
        return Err(Error::new(ErrorKind::Guard, message).advise("check the source's address; if it is meant to be empty, add --allow-empty-source"));
    }
    if exceeds(options.delete_limit, claim.candidates, claim.destination_keys) {
        let message = format!(
            "{} of {} destination objects would be deleted, and the limit is {}: none was",
            claim.candidates,
            claim.destination_keys,
            limit_in_words(options.delete_limit)
        );
        return Err(Error::new(ErrorKind::Guard, message).advise("look at --dry-run; if it is right, allow it with --max-delete N or --max-delete P%"));
    }
    Ok(())
}

impl Sync {
    /// Deletes the candidates, or in a dry run says that it would. Answers end each key; an error is one of the run itself.
    pub(crate) async fn delete(&mut self, mut candidates: Reader, started: Timestamp) -> Result<()> {
        let young_since = started.saturating_sub(YOUNG).unwrap_or(Timestamp::MIN);
        let mut again: Option<Listed> = None;
        loop {
            let mut batch: Vec<Listed> = again.take().into_iter().collect();
            while batch.len() < BATCH
                && let Some(candidate) = candidates.next().await?
            {
                // A history may have several markers on top: they are made one after the other.
                if batch.last().is_some_and(|last| last.key == candidate.key) {
                    again = Some(candidate);
                    break;
                }
                batch.push(candidate);
            }
            if batch.is_empty() || self.report.stopped.is_some() {
                return Ok(());
            }
            if self.engine.context.cancel.is_cancelled() {
                self.report.interrupted = true;
                return Ok(());
            }
            let licensed = self.without_reappeared(batch, young_since).await;
            let licensed = self.without_waiting(licensed, started).await?;
            if self.engine.options.dry_run {
                for candidate in licensed {
                    self.report.deleted += 1;
                    let foreseen = Foreseen { replaced: Some(candidate.replaced()), ..Foreseen::default() };
                    let event =
                        ObjectEvent { foreseen: Some(Box::new(foreseen)), ..ObjectEvent::new(Action::Delete, Status::Planned, candidate.key, candidate.size) };
                    self.engine.context.tell(Event::Object(Box::new(event))).await;
                }
            } else {
                let kept = self.keep_first(licensed).await;
                self.delete_batch(kept).await?;
            }
        }
    }

    /// Keeps those candidates that have been absent for as long as the operator wants. The others wait in the journal.
    async fn without_waiting(&mut self, batch: Vec<Listed>, now: Timestamp) -> Result<Vec<Listed>> {
        let Some(wait) = self.engine.options.delete_after.filter(|_| !self.engine.options.dry_run) else { return Ok(batch) };
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let keys: Vec<(Key, ETag)> = batch.iter().map(|candidate| (candidate.key.clone(), candidate.etag.clone())).collect();
        let since = self.engine.context.journal.doom(&keys, now).await?;
        let total = batch.len();
        let due: Vec<Listed> = batch.into_iter().zip(since).filter(|(_, since)| now.duration_since(*since) >= wait).map(|(candidate, _)| candidate).collect();
        self.report.waiting_deletes += (total - due.len()) as u64;
        Ok(due)
    }

    /// Keeps copies of what is to be deleted, where the operator wants that; what could not be kept is not deleted.
    async fn keep_first(&mut self, batch: Vec<Listed>) -> Vec<Listed> {
        let engine = self.engine.clone();
        let kept = futures::stream::iter(batch).map(|candidate| {
            let engine = engine.clone();
            async move {
                let kept = engine.keep(&candidate).await;
                (candidate, kept)
            }
        });
        let mut kept = kept.buffered(engine.streams.limit());
        let mut safe = Vec::new();
        while let Some((candidate, outcome)) = kept.next().await {
            match outcome {
                Ok(()) => safe.push(candidate),
                Err(error) => self.failed(Action::Delete, candidate.key, candidate.size, error).await,
            }
        }
        safe
    }

    /// Keeps those candidates that are old, and those young ones of which the source says now that it has no such object.
    async fn without_reappeared(&mut self, batch: Vec<Listed>, young_since: Timestamp) -> Vec<Listed> {
        let engine = self.engine.clone();
        let is_old = |candidate: &Listed| candidate.modified.is_some_and(|modified| modified < young_since);
        let checks = futures::stream::iter(batch).map(|candidate| {
            let engine = engine.clone();
            async move {
                if is_old(&candidate) {
                    return (candidate, Ok(None));
                }
                let source = &engine.ends.source;
                let found = subject::head(&*source.storage, &source.key(candidate.key.as_bytes())).await;
                (candidate, found)
            }
        });
        let mut checks = checks.buffered(engine.streams.limit());
        let mut licensed = Vec::new();
        while let Some((candidate, found)) = checks.next().await {
            match found {
                Ok(None) => licensed.push(candidate),
                Ok(Some(_)) => tracing::info!(key = %candidate.key, "appeared at the source during the run; not deleted"),
                Err(error) => self.failed(Action::Delete, candidate.key, candidate.size, error).await,
            }
        }
        licensed
    }

    /// Deletes one batch, and holds the answers against what was asked.
    async fn delete_batch(&mut self, batch: Vec<Listed>) -> Result<()> {
        let destination = self.engine.ends.destination.clone();
        let mut asked: std::collections::BTreeMap<Key, Listed> =
            batch.into_iter().map(|candidate| (destination.key(candidate.key.as_bytes()), candidate)).collect();
        let objects: Vec<ObjectRef> = asked.keys().map(ObjectRef::from).collect();
        let mut answers = destination.storage.delete(futures::stream::iter(objects).boxed());
        while let Some((object, answer)) = answers.next().await {
            let Some(candidate) = asked.remove(&object.key) else {
                tracing::warn!(key = %object.key, "an answer to a delete that nobody asked for");
                continue;
            };
            match answer {
                Ok(deleted) => {
                    self.engine.context.journal.deleted(&candidate.key, deleted.version.as_deref()).await?;
                    self.report.deleted += 1;
                    self.engine.context.progress.deleted_objects.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let event = ObjectEvent { version: deleted.version, ..ObjectEvent::new(Action::Delete, Status::Ok, candidate.key, candidate.size) };
                    self.engine.context.tell(Event::Object(Box::new(event))).await;
                }
                Err(error) => {
                    let error = error.during("delete").on_key(&object.key).in_store(&destination.storage);
                    self.failed(Action::Delete, candidate.key, candidate.size, error).await;
                }
            }
        }
        for (key, candidate) in asked {
            let error = Error::new(ErrorKind::Unexpected, "the store gave no answer to the delete").during("delete").on_key(key).in_store(&destination.storage);
            self.failed(Action::Delete, candidate.key, candidate.size, error).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(limit: DeleteLimit, candidates: u64, destination_keys: u64) -> bool {
        let options = Options { delete_limit: limit, ..Options::default() };
        guard(&options, Claim { candidates, destination_keys, source_keys: 1 }).is_err()
    }

    #[test]
    fn the_default_needs_both_a_count_and_a_part() {
        assert!(!refuses(DeleteLimit::Default, 100, 100));
        assert!(refuses(DeleteLimit::Default, 101, 403));
        assert!(!refuses(DeleteLimit::Default, 101, 404));
        assert!(!refuses(DeleteLimit::Default, 0, 0));
    }

    #[test]
    fn a_limit_replaces_the_default() {
        assert!(!refuses(DeleteLimit::Count(500), 500, 500) && refuses(DeleteLimit::Count(500), 501, 1_000_000));
        assert!(refuses(DeleteLimit::Count(0), 1, 1000));
        assert!(!refuses(DeleteLimit::Percent(10.0), 1, 10) && refuses(DeleteLimit::Percent(10.0), 2, 10));
        assert!(refuses(DeleteLimit::Percent(0.0), 1, 1_000_000));
    }

    #[test]
    fn an_empty_source_licenses_none_unless_told() {
        let claim = Claim { candidates: 1, destination_keys: 10, source_keys: 0 };
        let error = guard(&Options::default(), claim).expect_err("refused");
        assert!(error.kind() == ErrorKind::Guard && error.to_string().contains("--allow-empty-source"));
        assert!(guard(&Options { allow_empty_source: true, ..Options::default() }, claim).is_ok());
    }
}
