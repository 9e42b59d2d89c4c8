//! Bounds the bytes a second that stores are read and written with, evenly rather than in bursts.
//!
//! A [`Bandwidth`] is one pipe; every store and direction that shares it shares its width. Whoever moves bytes books the time they take
//! up and waits for its turn, in the order of booking, so that many streams share fairly without a queue of their own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use super::payload::ByteStream;
use super::{
    Attributes, Capabilities, Checksums, Complete, Deleted, Get, GetOutput, Identity, Key, List, Multipart, ObjectInfo, ObjectRef, OpenUpload, Page, Part,
    Payload, Presign, Put, PutOutput, ServerCopy, Storage, StoredPart, Upload, UploadId, layer,
};
use crate::clock::Clock;
use crate::error::Result;

/// Bodies are passed on in pieces of at most this size, so that a narrow pipe is not blocked by one of them.
const PIECE_BYTES: usize = 64 << 10;
/// Time that may be saved up while nothing moves: short, so that a pause is not followed by a burst.
const SAVED_MAX: Duration = Duration::from_millis(100);

/// A pipe of some width. Cheap to clone; clones share it. Its width can change while it is in use.
#[derive(Debug, Clone)]
pub struct Bandwidth(Arc<Pipe>);

#[derive(Debug)]
struct Pipe {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None`: no limit.
    bytes_per_second: Option<u64>,
    /// Up to when the pipe is booked.
    booked: Instant,
}

impl Bandwidth {
    /// A pipe that carries so many bytes a second, or any number. Must be called within a tokio runtime.
    pub fn new(clock: Clock, bytes_per_second: Option<u64>) -> Self {
        let booked = clock.instant();
        Self(Arc::new(Pipe { clock, state: Mutex::new(State { bytes_per_second, booked }) }))
    }

    /// Changes the width for all bytes that are not booked yet.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        self.state().bytes_per_second = bytes_per_second;
    }

    /// Waits until `bytes` may move. Dropped while it waits, its booking stays: a little less moves, never more.
    pub async fn take(&self, bytes: usize) {
        let wait = self.book(bytes);
        if !wait.is_zero() {
            self.0.clock.sleep(wait).await;
        }
    }

    fn book(&self, bytes: usize) -> Duration {
        let now = self.0.clock.instant();
        let mut state = self.state();
        let Some(width) = state.bytes_per_second else { return Duration::ZERO };
        let begin = state.booked.max(now.checked_sub(SAVED_MAX).unwrap_or(now));
        state.booked = begin + Duration::from_secs_f64(bytes as f64 / width.max(1) as f64);
        begin.saturating_duration_since(now)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self, body: ByteStream) -> ByteStream {
        stream::unfold((body, Bytes::new(), self.clone()), |(mut body, mut rest, pipe)| async move {
            if rest.is_empty() {
                rest = match body.next().await? {
                    Ok(chunk) => chunk,
                    Err(error) => return Some((Err(error), (body, rest, pipe))),
                };
            }
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            pipe.take(piece.len()).await;
            Some((Ok(piece), (body, rest, pipe)))
        })
        .boxed()
    }

    fn payload(&self, payload: Payload) -> Payload {
        let pipe = self.clone();
        Payload::from_source(payload.len(), move || {
            let (pipe, payload) = (pipe.clone(), payload.clone());
            Box::pin(async move { Ok(pipe.stream(payload.stream().await?)) })
        })
    }
}

/// A store whose bodies go through a pipe, in either direction. Requests themselves are not delayed.
#[derive(Clone)]
pub struct Limit {
    inner: Arc<dyn Storage>,
    read: Option<Bandwidth>,
    write: Option<Bandwidth>,
}

impl Limit {
    /// Wraps a store. Stands below [`super::retry`]: what is sent again takes its time again, since the limit is for bytes on the wire.
    pub fn new(inner: Arc<dyn Storage>, read: Option<Bandwidth>, write: Option<Bandwidth>) -> Self {
        Self { inner, read, write }
    }

    fn outgoing(&self, payload: Payload) -> Payload {
        match &self.write {
            Some(pipe) => pipe.payload(payload),
            None => payload,
        }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limit").field(&self.inner).finish()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl Storage for Limit {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        self.inner.list(list)
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.inner.head(object).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.inner.stored_part(object, number).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let mut output = self.inner.get(object, get).await?;
        if let Some(pipe) = &self.read {
            output.body = pipe.stream(output.body);
        }
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.inner.put(key, self.outgoing(payload), put).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        self.inner.delete(objects)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        self.inner.multipart().map(|_| self as &dyn Multipart)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        self.inner.server_copy()
    }

    fn presign(&self) -> Option<&dyn Presign> {
        self.inner.presign()
    }
}

#[async_trait]
impl Multipart for Limit {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        layer::multipart(&*self.inner)?.create(key, attributes).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        layer::multipart(&*self.inner)?.upload_part(upload, number, self.outgoing(payload), checksums).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        layer::multipart(&*self.inner)?.list_parts(upload).await
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        layer::multipart(&*self.inner)?.complete(upload, parts, complete).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        layer::multipart(&*self.inner)?.abort(upload).await
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        match layer::multipart(&*self.inner) {
            Ok(below) => below.list_uploads(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStore;

    async fn copy(store: &Limit, key: &str, len: usize) {
        store.put(&key.into(), vec![0; len].into(), Put::default()).await.expect("written");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_over_many_streams() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let pipe = Bandwidth::new(clock.clone(), Some(1_000_000));
        let store = Limit::new(Arc::new(MemoryStore::new("b")), Some(pipe.clone()), Some(pipe.clone()));
        let began = clock.instant();
        futures::future::join_all((0..10).map(|i| copy(&store, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][i], 1_000_000))).await;
        let took = began.elapsed().as_secs_f64();
        assert!((9.5..10.5).contains(&took), "10 MB at 1 MB/s took {took} s");
        pipe.set(None);
        let began = clock.instant();
        copy(&store, "k", 5_000_000).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "the limit was lifted while in use");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_followed_by_a_burst() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let pipe = Bandwidth::new(clock.clone(), Some(1_000_000));
        clock.sleep(Duration::from_secs(60)).await;
        let began = clock.instant();
        for _ in 0..20 {
            pipe.take(50_000).await;
        }
        pipe.take(1).await;
        assert!(began.elapsed() >= Duration::from_millis(900), "1 MB took {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn the_layer_keeps_the_contract() {
        let wide = Bandwidth::new(Clock::system(), Some(u64::MAX));
        let limit = Limit::new(Arc::new(MemoryStore::new("b")), Some(wide.clone()), Some(wide));
        conformance::suite(Arc::new(limit), &Key::EMPTY).await.expect("the contract holds");
    }
}
