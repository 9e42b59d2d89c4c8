//! The one loop that waits: every attempt that may work a second time is made again here, and nowhere else.
//!
//! Backends make one attempt and judge its failure ([`Error::retry`]); this layer waits, exponentially and with full jitter, apart for
//! faults and for throttling, and gives up at a number of attempts, after a time, or when the run's retry budget is used up, so that an
//! outage is not answered with a multiple of the usual load. Where a service asks for a slower pace again and again, all requests of
//! its account keep to what it takes (`pace`). A store that is down altogether is waited for (`breaker`). A body that
//! breaks off is read on from where it stopped, pinned to the same ETag; a listing goes on after the last key it gave.
//!
//! What making a request again can leave behind: an upload begun twice, because the first answer was lost; it is looked for (`twin`).
//! A conditional write whose first answer was lost meets its own object; it is recognised by its checksums.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use super::checksum::Agreement;
use super::layer::{self, Operation};
use super::{
    Acl, Archive, Attributes, Capabilities, Checksums, Complete, CopyRange, Deleted, Details, ETag, Get, GetOutput, Identity, Key, Lifecycle, List, Multipart,
    ObjectInfo, ObjectRef, OpenUpload, Page, Part, Payload, Presign, PresignMethod, Put, PutOutput, RestoreTier, Restoring, ServerCopy, Storage, StoredPart,
    Upload, UploadId, Version, Versioning, Versions,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result, Retry as Verdict};
use crate::metrics::Metrics;

mod body;
mod breaker;
mod budget;
mod haste;
mod history;
mod pace;
mod twin;

use breaker::Breaker;
use budget::Budget;
use haste::Haste;
pub use pace::Pace;

/// Objects of one delete that are asked for, and asked for again, together.
const DELETE_CHUNK: usize = 1000;
/// Such groups in flight.
const DELETE_CHUNKS_IN_FLIGHT: usize = 4;
/// What one attempt counts at most towards `elapsed_max`: a large part on a slow line takes minutes, and breaking off at its end is no
/// sign of an outage.
const ATTEMPT_COUNTED_MAX: Duration = Duration::from_secs(30);
/// What the store is asked while it seems to be down: an object that nobody has.
const PROBE_KEY: &str = ".dragon/is-the-store-there";
/// How long an answer to that is waited for: time enough to connect, however long the road.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest wait that a service can impose.
const IMPOSED_WAIT_MAX: Duration = Duration::from_secs(120);

/// How patiently to try.
#[derive(Debug, Clone)]
pub struct Options {
    /// Attempts at one request, the first included.
    pub attempts_max: u32,
    /// First wait after a fault; doubles.
    pub fault_delay: Duration,
    /// First wait after a request for a slower pace that named no wait; doubles.
    pub throttle_delay: Duration,
    /// Longest wait between two attempts.
    pub delay_max: Duration,
    /// Longest time at one request, all attempts and waits together; an attempt counts for 30 s at most.
    pub elapsed_max: Duration,
    /// As `elapsed_max`, as long as the store has never answered: a mistyped endpoint must not hang.
    pub first_contact_max: Duration,
    /// Retries that a run may make ahead of its successes, each of which earns a tenth of one.
    pub budget: u32,
    /// How long a store that has answered before, and then is down, is waited for. `None` is without end; zero waits for no outage: each
    /// request gives up by itself.
    pub give_up_after: Option<Duration>,
    /// The rate of requests, which stores of one account at one service share. Default: one of its own.
    pub pace: Pace,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            fault_delay: Duration::from_millis(100),
            throttle_delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(20),
            elapsed_max: Duration::from_secs(180),
            first_contact_max: Duration::from_secs(10),
            budget: 500,
            give_up_after: Some(Duration::from_secs(15 * 60)),
            pace: Pace::default(),
        }
    }
}

/// A store that tries again. Cheap to clone; clones share the budget and the breaker.
#[derive(Clone)]
pub struct Retry(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Storage>,
    options: Options,
    clock: Clock,
    metrics: Arc<Metrics>,
    budget: Budget,
    breaker: Breaker,
    haste: Haste,
    /// Whether the service has ever answered, be it with an error.
    answered: AtomicBool,
}

impl Retry {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Storage>, options: Options, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let budget = Budget::new(options.budget);
        let breaker = Breaker::new(inner.to_string(), options.give_up_after, clock.clone(), metrics.clone());
        Self(Arc::new(Shared { inner, options, clock, metrics, budget, breaker, haste: Haste::new(), answered: AtomicBool::new(false) }))
    }

    fn inner(&self) -> &dyn Storage {
        &*self.0.inner
    }

    fn patience(&self) -> Patience<'_> {
        Patience { shared: &self.0, attempt_began: self.0.clock.instant(), spent: Duration::ZERO, failures: 0, made: 0 }
    }

    /// Runs `attempt` until it works, cannot work, or patience ends. It is told how many attempts were made before it.
    async fn until_done<T, F: Future<Output = Result<T>>>(&self, operation: Operation, attempt: impl FnMut(u32) -> F) -> Result<T> {
        self.until_sent(operation, 0, attempt).await
    }

    /// As [`Self::until_done`], where each attempt sends so many bytes.
    async fn until_sent<T, F: Future<Output = Result<T>>>(&self, operation: Operation, bytes: u64, mut attempt: impl FnMut(u32) -> F) -> Result<T> {
        let mut patience = self.patience();
        loop {
            patience.begin(operation).await?;
            match patience.hurry(operation, bytes, attempt(patience.made)).await {
                Some(Ok(output)) => {
                    self.0.succeeded();
                    return Ok(output);
                }
                Some(Err(error)) => patience.wait(operation, error).await?,
                None => {}
            }
        }
    }
}

impl Shared {
    fn succeeded(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.options.pace.worked();
        self.budget.earn();
        self.breaker.alive();
    }

    /// Learns from a failure whether the store is there.
    fn failed(&self, error: &Error, last_try: bool) {
        if error.is_outage() {
            // First contact does not wait: a mistyped endpoint is down for good.
            if self.answered.load(Ordering::Relaxed) {
                self.breaker.failed(error, last_try);
            }
        } else if is_answer(error) || error.kind() == ErrorKind::NotFound {
            self.breaker.alive();
        }
    }

    /// Asks whether the store is there.
    async fn probe(&self) -> Result<()> {
        let object = ObjectRef::from(Key::from(PROBE_KEY));
        tokio::select! {
            biased;
            answer = self.inner.head(&object) => answer.map(drop),
            () = self.clock.sleep(PROBE_TIMEOUT) => Err(Error::new(ErrorKind::Unavailable, format!("no answer within {PROBE_TIMEOUT:?}"))),
        }
    }
}

/// How long one request has been tried.
struct Patience<'a> {
    shared: &'a Shared,
    attempt_began: tokio::time::Instant,
    /// Time that counts towards `elapsed_max`.
    spent: Duration,
    /// Failures that count towards `attempts_max`.
    failures: u32,
    /// Attempts made, those during an outage included.
    made: u32,
}

impl Patience<'_> {
    /// Waits until the store takes requests, and begins an attempt.
    async fn begin(&mut self, operation: Operation) -> Result<()> {
        self.pass(operation).await?;
        self.shared.options.pace.turn(&self.shared.clock).await;
        self.attempt_began = self.shared.clock.instant();
        Ok(())
    }

    /// Waits for an attempt, but not for an answer that is overdue: `None`, and it is to be made again at once. That says nothing of an
    /// outage, and costs no try.
    async fn hurry<T>(&mut self, operation: Operation, bytes: u64, attempt: impl Future<Output = Result<T>>) -> Option<Result<T>> {
        let Shared { haste, clock, metrics, .. } = self.shared;
        let mut attempt = std::pin::pin!(attempt);
        let ended = match haste.limit(operation, bytes) {
            None => attempt.await,
            Some(limit) => {
                // An attempt that follows one that was cut off is given more time.
                let limit = limit * (1 << self.made.min(4));
                tokio::select! {
                    biased;
                    ended = &mut attempt => ended,
                    () = clock.sleep(limit) => {
                        if haste.cut(operation, bytes, limit) {
                            tracing::debug!(%operation, ?limit, "an answer is overdue: asking again");
                            metrics.overdue.add(1);
                            metrics.retries.add(1);
                            self.spent += limit.min(ATTEMPT_COUNTED_MAX);
                            self.made += 1;
                            return None;
                        }
                        attempt.await
                    }
                }
            }
        };
        if ended.is_ok() {
            haste.ended(operation, bytes, self.attempt_began.elapsed());
        }
        Some(ended)
    }

    /// Waits out an outage, if there is one: what failed until its end counts for nothing. True where there was one.
    async fn pass(&mut self, operation: Operation) -> Result<bool> {
        let shared = self.shared;
        let waited = shared.breaker.pass(|| shared.probe()).await.map_err(|e| e.during(operation.name()))?;
        if waited {
            (self.spent, self.failures) = (Duration::ZERO, 0);
            shared.budget.refill();
        }
        Ok(waited)
    }

    /// Waits before the next attempt, or gives the error back where there is to be none.
    async fn wait(&mut self, operation: Operation, error: Error) -> Result<()> {
        let Shared { options, clock, metrics, budget, answered, .. } = self.shared;
        if is_answer(&error) {
            answered.store(true, Ordering::Relaxed);
        }
        let verdict = error.retry();
        if matches!(verdict, Verdict::Slow { .. }) {
            metrics.throttled.add(1);
            options.pace.throttled(clock.instant());
        }
        let wait = delay(options, verdict, self.failures, clock.random_fraction());
        self.spent += self.attempt_began.elapsed().min(ATTEMPT_COUNTED_MAX) + wait;
        self.failures += 1;
        self.made += 1;
        let elapsed_max = if answered.load(Ordering::Relaxed) { options.elapsed_max } else { options.first_contact_max };
        let last_try = verdict == Verdict::Never || self.failures >= options.attempts_max || self.spent > elapsed_max || !budget.spend();
        self.shared.failed(&error, last_try);
        if self.pass(operation).await? {
            return Ok(());
        }
        if last_try {
            return Err(error);
        }
        metrics.retries.add(1);
        metrics.retry_wait.add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        tracing::debug!(%operation, %error, ?wait, failures = self.failures, "trying again");
        clock.sleep(wait).await;
        Ok(())
    }
}

/// Whether the service said this, and not the road to it.
fn is_answer(error: &Error) -> bool {
    error.answer().is_some_and(|answer| answer.http_status != 0)
}

/// The wait after `failures` earlier failures: full jitter over an exponential, and never less than what the service asked for.
fn delay(options: &Options, verdict: Verdict, failures: u32, fraction: f64) -> Duration {
    let grown = |base: Duration| base.saturating_mul(1 << failures.min(16)).min(options.delay_max).mul_f64(fraction);
    match verdict {
        Verdict::Slow { after: Some(after) } => after.min(IMPOSED_WAIT_MAX) + grown(options.fault_delay),
        Verdict::Slow { after: None } => grown(options.throttle_delay),
        Verdict::Soon | Verdict::Never => grown(options.fault_delay),
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retry").field(&self.0.inner).finish()
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.inner, f)
    }
}

#[async_trait]
impl Storage for Retry {
    fn capabilities(&self) -> &Capabilities {
        self.inner().capabilities()
    }

    fn identity(&self) -> &Identity {
        self.inner().identity()
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        body::listing(self.clone(), list)
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.until_done(Operation::Head, |_| self.inner().head(object)).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.until_done(Operation::Head, |_| self.inner().stored_part(object, number)).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let mut output = self.until_done(Operation::Get, |_| self.inner().get(object, get.clone())).await?;
        output.body = body::resumed(self.clone(), object.clone(), &output.info.etag, output.range.clone(), output.body);
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        let (payload, put) = (&payload, &put);
        self.until_sent(Operation::Put, payload.len(), |failures| async move {
            let written = self.inner().put(key, payload.clone(), put.clone()).await;
            match (written, put) {
                (Err(error), Put { condition: Some(_), checksums: Some(sent), .. }) if failures > 0 => self.own_write(key, sent, error).await,
                (written, _) => written,
            }
        })
        .await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        let store = self.clone();
        let group = move |objects| {
            let store = store.clone();
            async move { stream::iter(store.delete_group(objects).await) }
        };
        objects.chunks(DELETE_CHUNK).map(group).buffer_unordered(DELETE_CHUNKS_IN_FLIGHT).flatten().boxed()
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        self.inner().multipart().map(|_| self as &dyn Multipart)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        self.inner().server_copy().map(|_| self as &dyn ServerCopy)
    }

    fn presign(&self) -> Option<&dyn Presign> {
        self.inner().presign().map(|_| self as &dyn Presign)
    }

    fn details(&self) -> Option<&dyn Details> {
        self.inner().details().map(|_| self as &dyn Details)
    }

    fn archive(&self) -> Option<&dyn Archive> {
        self.inner().archive().map(|_| self as &dyn Archive)
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        self.inner().lifecycle().map(|_| self as &dyn Lifecycle)
    }

    fn versions(&self) -> Option<&dyn Versions> {
        self.inner().versions().map(|_| self as &dyn Versions)
    }
}

impl Retry {
    /// A conditional write that failed its condition at a second attempt may have met what the first one wrote.
    async fn own_write(&self, key: &Key, sent: &Checksums, error: Error) -> Result<PutOutput> {
        if !matches!(error.kind(), ErrorKind::Exists | ErrorKind::Changed) {
            return Err(error);
        }
        let Ok(info) = self.inner().head(&key.into()).await else { return Err(error) };
        match info.checksums.agreement(sent) {
            Agreement::Equal(_) => Ok(PutOutput { etag: info.etag, version: info.version, checksums: info.checksums, request_id: String::new() }),
            Agreement::Different(_) | Agreement::Unknown => Err(error),
        }
    }

    /// Deletes a group of objects, and those again whose failure may pass.
    async fn delete_group(&self, mut objects: Vec<ObjectRef>) -> Vec<(ObjectRef, Result<Deleted>)> {
        let mut done = Vec::with_capacity(objects.len());
        let mut patience = self.patience();
        loop {
            if let Err(down) = patience.begin(Operation::Delete).await {
                done.extend(objects.into_iter().map(|object| failed_in_outage(object, &down)));
                return done;
            }
            let mut failed: Vec<(ObjectRef, Error)> = Vec::new();
            let mut answers = self.inner().delete(stream::iter(objects).boxed());
            while let Some((object, deleted)) = answers.next().await {
                match deleted {
                    Err(error) if error.retry() != Verdict::Never => failed.push((object, error)),
                    deleted => done.push((object, deleted)),
                }
            }
            let Some((_, error)) = failed.first() else {
                self.0.succeeded();
                return done;
            };
            match patience.wait(Operation::Delete, error.clone()).await {
                Ok(()) => objects = failed.into_iter().map(|(object, _)| object).collect(),
                Err(down) if down.kind() == ErrorKind::Outage => {
                    done.extend(failed.into_iter().map(|(object, _)| failed_in_outage(object, &down)));
                    return done;
                }
                Err(_) => {
                    done.extend(failed.into_iter().map(|(object, error)| (object, Err(error))));
                    return done;
                }
            }
        }
    }
}

fn failed_in_outage(object: ObjectRef, down: &Error) -> (ObjectRef, Result<Deleted>) {
    let error = down.clone().on_key(&object.key);
    (object, Err(error))
}

#[async_trait]
impl Multipart for Retry {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        let below = layer::multipart(self.inner())?;
        self.until_done(Operation::CreateUpload, |before| async move {
            let id = below.create(key, attributes).await?;
            if before > 0 {
                twin::abort_twins(below, &Upload { key: key.clone(), id: id.clone() }, &self.0.clock).await;
            }
            Ok(id)
        })
        .await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        let below = layer::multipart(self.inner())?;
        self.until_sent(Operation::UploadPart, payload.len(), |_| below.upload_part(upload, number, payload.clone(), checksums)).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let below = layer::multipart(self.inner())?;
        self.until_done(Operation::ListParts, |_| below.list_parts(upload)).await
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        let below = layer::multipart(self.inner())?;
        self.until_done(Operation::CompleteUpload, |_| below.complete(upload, parts, complete.clone())).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let below = layer::multipart(self.inner())?;
        self.until_done(Operation::AbortUpload, |_| below.abort(upload)).await
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        body::uploads(self.clone(), prefix)
    }
}

#[async_trait]
impl ServerCopy for Retry {
    fn can_copy_from(&self, source: &Identity) -> bool {
        layer::server_copy(self.inner()).is_ok_and(|copy| copy.can_copy_from(source))
    }

    fn copy_bytes_max(&self) -> u64 {
        layer::server_copy(self.inner()).map_or(0, ServerCopy::copy_bytes_max)
    }

    async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
        let below = layer::server_copy(self.inner())?;
        self.until_done(Operation::Copy, |_| below.copy(bucket, source, if_match, key, attributes)).await
    }

    async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
        let below = layer::server_copy(self.inner())?;
        self.until_done(Operation::CopyPart, |_| below.copy_part(from, upload, number)).await
    }
}

#[async_trait]
impl Presign for Retry {
    async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
        let below = layer::presign(self.inner())?;
        self.until_done(Operation::Presign, |_| below.presign(method, object, expires_in)).await
    }
}

#[async_trait]
impl Details for Retry {
    async fn acl(&self, object: &ObjectRef) -> Result<Acl> {
        let below = layer::details(self.inner())?;
        self.until_done(Operation::Acl, |_| below.acl(object)).await
    }

    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
        let below = layer::details(self.inner())?;
        self.until_done(Operation::Tags, |_| below.tags(object)).await
    }
}

#[async_trait]
impl Archive for Retry {
    async fn restore(&self, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
        let below = layer::archive(self.inner())?;
        self.until_done(Operation::Restore, |_| below.restore(object, days, tier)).await
    }
}

#[async_trait]
impl Lifecycle for Retry {
    async fn lifecycle(&self) -> Result<Option<String>> {
        let below = layer::lifecycle(self.inner())?;
        self.until_done(Operation::Lifecycle, |_| below.lifecycle()).await
    }

    async fn set_lifecycle(&self, rules: Option<&str>, overlap: bool) -> Result<()> {
        let below = layer::lifecycle(self.inner())?;
        self.until_done(Operation::SetLifecycle, |_| below.set_lifecycle(rules, overlap)).await
    }
}

#[async_trait]
impl Versions for Retry {
    async fn versioning(&self) -> Result<Versioning> {
        let below = layer::versions(self.inner())?;
        self.until_done(Operation::Versioning, |_| below.versioning()).await
    }

    fn list_versions(&self, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
        history::versions(self.clone(), list)
    }
}

#[cfg(test)]
mod tests;
