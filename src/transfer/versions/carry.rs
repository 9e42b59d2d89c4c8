//! One key: finds what its history lacks at the destination, and makes it, oldest first.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::histories::{History, Pair};
use super::{VERSIONS_MAX, is_shown, missing, newer_than, tail};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Agreement;
use crate::storage::{Deleted, Key, Kind, ObjectRef, Version};
use crate::transfer::event::{Event, Notice};
use crate::transfer::join::{Pairing, Side};
use crate::transfer::plan::{self, Decision, Evidence};
use crate::transfer::stamp::{Stamp, known_checksums};
use crate::transfer::sync::{Ended, Engine, What};
use crate::transfer::task::{CopyTask, Listed, Reason};
use crate::transfer::thaw::Frozen;

/// What the work on one key tells while it goes.
pub(super) enum Told {
    /// One of its steps ended.
    Ended(Ended),
    /// The source shows the key, or keeps only what is past of it, hidden.
    Seen { shown_here: bool, shown_there: bool },
    /// The source hides the key under a marker, and without `--delete` the destination goes on showing it.
    LeftShown,
}

/// Works on keys. Cheap to clone.
#[derive(Clone)]
pub(super) struct Carry {
    pub(super) engine: Arc<Engine>,
    /// No further version is begun once this is cancelled.
    pub(super) stop: CancellationToken,
    pub(super) told: mpsc::Sender<Told>,
}

impl Carry {
    /// Makes a key's history whole. What fails is told of the key.
    pub(super) async fn carry(self, pair: Pair) {
        let key = pair.key.clone();
        if let Err(error) = self.try_carry(pair).await {
            self.end(&key, 0, Err(error)).await;
        }
    }

    async fn try_carry(&self, pair: Pair) -> Result<()> {
        let key = &pair.key;
        let ends = &self.engine.ends;
        let (here, there) = match pair.listed {
            Some(listed) => listed,
            None => {
                let (source, destination) = (ends.source.key(key.as_bytes()), ends.destination.key(key.as_bytes()));
                let histories = tokio::try_join!(History::of(&ends.source, &source), History::of(&ends.destination, &destination))?;
                if histories.0.versions.is_empty() {
                    return Err(Error::new(ErrorKind::NotFound, "there is no such object").on_key(source).in_store(&ends.source.storage));
                }
                histories
            }
        };
        let is_hidden = self.engine.options.filter.hides_key(key.as_bytes());
        let seen = Told::Seen { shown_here: is_shown(&here.versions) && !is_hidden, shown_there: is_shown(&there.versions) };
        // A closed channel is a run that is over.
        let _ = self.told.send(seen).await;
        if is_hidden || here.versions.is_empty() {
            return self.consider_delete(key, &here.versions, &there.versions).await;
        }
        for (history, store) in [(&here, &ends.source.storage), (&there, &ends.destination.storage)] {
            if history.is_too_long {
                let why = format!("the key has more than {VERSIONS_MAX} versions, which is more than a history is followed through");
                let advice = "remove old versions by a lifecycle rule, or copy the key without --versions all";
                return Err(Error::unsupported(why).during("copy").on_key(ends.source.key(key.as_bytes())).in_store(store).advise(advice));
            }
        }
        let source = self.without_links(key, here.versions).await;
        let steps = self.steps(key, &source, &there.versions).await?;
        if steps.is_empty() {
            self.end(key, source.first().map_or(0, |latest| latest.size), Ok(What::Skipped)).await;
            return Ok(());
        }
        if self.engine.options.dry_run {
            return self.make(key, &source, &there.versions, steps).await;
        }
        let whole = ends.destination.key(key.as_bytes());
        let _claim = self.engine.context.claims.take(&whole).await;
        // Somebody may have written to the key since it was listed: another run that held the claim, or this one before it was stopped.
        let there = History::of(&ends.destination, &whole).await?;
        let steps = self.steps(key, &source, &there.versions).await?;
        self.make(key, &source, &there.versions, steps).await
    }

    /// Leaves out what is no object and cannot be copied; says so.
    async fn without_links(&self, key: &Key, mut source: Vec<Version>) -> Vec<Version> {
        let whole = source.len();
        source.retain(|version| version.is_marker || matches!(version.kind, Kind::Object | Kind::Appendable));
        if source.len() < whole {
            self.notice(key, format!("{} of its versions are symbolic links, which are not followed", whole - source.len())).await;
        }
        source
    }

    /// What is missing at the destination, in the order in which it is to be made.
    async fn steps(&self, key: &Key, source: &[Version], destination: &[Version]) -> Result<Vec<usize>> {
        let markers = destination.iter().take_while(|version| version.is_marker).count();
        let newer = match destination.get(markers) {
            None => source.len(),
            Some(newest) => self.newer(key, source, newest).await?,
        };
        Ok(missing(source, newer, markers))
    }

    /// How many of the source's versions are newer than the destination's newest data.
    async fn newer(&self, key: &Key, source: &[Version], newest: &Version) -> Result<usize> {
        if let Some(proved) = self.engine.context.journal.proof(key).await?
            && !proved.suspect
            && proved.destination.version.as_deref() == Some(&newest.version)
            && let Some(at) = source.iter().position(|version| proved.source.version.as_deref() == Some(&version.version) && version.etag == proved.source.etag)
        {
            return Ok(at);
        }
        let stream = self.engine.streams.open().await?;
        let there = self.engine.ends.destination.storage.head(&newest.object()).await?;
        stream.done(0);
        if let Some(stamp) = Stamp::read(&there.attributes.user) {
            return Ok(newer_than(source, &stamp));
        }
        // Somebody else's. Where it is what the source has by now, there is nothing to add to it.
        if let Some(at) = source.iter().position(|version| !version.is_marker)
            && source[at].size == there.size
        {
            let here = self.engine.ends.source.storage.head(&source[at].object()).await?;
            if matches!(known_checksums(&here).agreement(&known_checksums(&there)), Agreement::Equal(_)) {
                return Ok(at);
            }
        }
        self.notice(key, "the destination's newest version is not a copy that Dragon made: the whole history of the source is put on top of it").await;
        Ok(source.len())
    }

    /// Makes what is missing. A step that fails ends the key: what is newer must not stand below what is older.
    async fn make(&self, key: &Key, source: &[Version], destination: &[Version], steps: Vec<usize>) -> Result<()> {
        let (inner, upper) = steps.split_at(steps.len() - tail(source, &steps));
        for at in inner.iter().filter(|at| !source[**at].is_marker) {
            self.engine.plan(source[*at].size);
        }
        let mut markers = 0;
        for (index, at) in inner.iter().enumerate() {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let version = &source[*at];
            if version.is_marker {
                markers += 1;
                continue;
            }
            let task = self.task(key, version);
            if self.engine.options.dry_run {
                self.mark(key, std::mem::take(&mut markers)).await?;
                self.end(key, version.size, self.engine.foretell(&task, None).await).await;
                continue;
            }
            match self.engine.frozen(&task).await? {
                Frozen::Readable => {}
                frozen => {
                    self.end(key, version.size, Ok(What::Frozen(frozen))).await;
                    // All that is archived thaws at a time.
                    for later in inner[index + 1..].iter().map(|at| &source[*at]).filter(|version| !version.is_marker) {
                        let frozen = self.engine.frozen(&self.task(key, later)).await?;
                        if frozen != Frozen::Readable {
                            self.end(key, later.size, Ok(What::Frozen(frozen))).await;
                        }
                    }
                    return Ok(());
                }
            }
            self.mark(key, std::mem::take(&mut markers)).await?;
            let what = self.engine.copy_claimed(&task).await?;
            self.end(key, version.size, Ok(what)).await;
        }
        if !is_shown(destination) {
            return self.mark(key, upper.len()).await;
        }
        if upper.is_empty() {
            return Ok(());
        }
        if !self.engine.options.delete {
            let _ = self.told.send(Told::LeftShown).await;
            return Ok(());
        }
        for _ in upper {
            let shown = destination.first().map(|latest| listed(key, latest));
            self.end(key, 0, Ok(shown.map_or(What::Passed, |shown| What::Candidate(Box::new(shown))))).await;
        }
        Ok(())
    }

    /// The copy of one version.
    fn task(&self, key: &Key, version: &Version) -> CopyTask {
        let task = self.engine.task(&listed(key, version), Reason::Version);
        CopyTask { source_version: Some(version.version.clone()), ..task }
    }

    /// Makes so many delete markers on top of a key.
    async fn mark(&self, key: &Key, markers: usize) -> Result<()> {
        for _ in 0..markers {
            if self.engine.options.dry_run {
                self.end(key, 0, Ok(What::Marked(None))).await;
                continue;
            }
            let place = &self.engine.ends.destination;
            let object = ObjectRef::from(place.key(key.as_bytes()));
            let unanswered = || Err(Error::new(ErrorKind::Unexpected, "the store gave no answer to the delete"));
            let answer = place.storage.delete(stream::iter([object.clone()]).boxed()).next().await;
            let told = |error: Error| error.during("make a delete marker").on_key(&object.key).in_store(&place.storage);
            let Deleted { version, delete_marker } = answer.map_or_else(unanswered, |(_, deleted)| deleted).map_err(told)?;
            if !delete_marker {
                let error = Error::integrity("the destination deleted without a delete marker: does the bucket still keep versions?");
                return Err(told(error).advise("look at the bucket's versioning"));
            }
            self.engine.context.journal.deleted(key, version.as_deref()).await?;
            self.end(key, 0, Ok(What::Marked(version))).await;
        }
        Ok(())
    }

    /// A key that only the destination has, or that the filter hides: a delete where the options have one made.
    async fn consider_delete(&self, key: &Key, source: &[Version], destination: &[Version]) -> Result<()> {
        let side = |history: &[Version]| match history.first().filter(|latest| !latest.is_marker) {
            Some(latest) => Side::Present(listed(key, latest)),
            None => Side::Absent,
        };
        let (here, there) = (side(source), side(destination));
        let Side::Present(shown) = &there else { return Ok(()) };
        let source = if let Side::Present(here) = &here { Side::Present(here.entry()) } else { Side::Absent };
        let pairing = Pairing { key: key.as_bytes(), source, destination: Side::Present(shown.entry()), proved: None };
        if plan::decide(&self.engine.rules(), &pairing, &Evidence::default()) == Decision::Delete {
            self.end(key, shown.size, Ok(What::Candidate(Box::new(shown.clone())))).await;
        }
        Ok(())
    }

    async fn end(&self, key: &Key, size: u64, what: Result<What>) {
        let _ = self.told.send(Told::Ended(Ended { key: key.clone(), size, what })).await;
    }

    async fn notice(&self, key: &Key, message: impl Into<String>) {
        self.engine.context.tell(Event::Notice(Notice { key: Some(key.clone()), message: message.into() })).await;
    }
}

/// A version as a listing of objects would show it.
fn listed(key: &Key, version: &Version) -> Listed {
    Listed {
        key: key.clone(),
        size: version.size,
        etag: version.etag.clone(),
        modified: version.modified,
        storage_class: version.storage_class.clone().unwrap_or_default(),
        kind: version.kind,
    }
}
