//! A fuse that stops a run for good at one of its steps: a store and a journal that count, and at the given count never answer again.
//!
//! A step lies before and behind every remote call that changes something, and behind every write of the journal: between any two of
//! these a process may die.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use dragon::error::Result;
use dragon::journal::{Checkpoint, Event, Flight, FlightId, Intent, Journal, Outcome, Proved};
use dragon::storage::checksum::Checksums;
use dragon::storage::{
    Archive, Attributes, Capabilities, Complete, Deleted, Details, ETag, Get, GetOutput, Identity, Key, Lifecycle, List, Multipart, ObjectInfo, ObjectRef,
    OpenUpload, Page, Part, Payload, Presign, Put, PutOutput, ServerCopy, Storage, StoredPart, Upload, UploadId, Versions,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// Clones are one fuse.
#[derive(Debug, Clone)]
pub(super) struct Fuse(Arc<State>);

#[derive(Debug)]
struct State {
    steps: AtomicU64,
    blows_at: u64,
    blown: CancellationToken,
    /// Bytes that were sent to the destination.
    sent_bytes: AtomicU64,
}

impl Fuse {
    /// A fuse that blows at the `n`-th step, counted from 1.
    pub(super) fn new(n: u64) -> Self {
        Self(Arc::new(State { steps: AtomicU64::new(0), blows_at: n, blown: CancellationToken::new(), sent_bytes: AtomicU64::new(0) }))
    }

    /// A fuse that holds.
    pub(super) fn none() -> Self {
        Self::new(u64::MAX)
    }

    /// Waits until it has blown.
    pub(super) async fn blown(&self) {
        self.0.blown.cancelled().await;
    }

    pub(super) fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::Relaxed)
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.0.sent_bytes.load(Ordering::Relaxed)
    }

    /// One step. Never returns from the one at which the fuse blows, nor from any later one.
    async fn step(&self) {
        if self.0.steps.fetch_add(1, Ordering::Relaxed) + 1 >= self.0.blows_at {
            self.0.blown.cancel();
            std::future::pending::<()>().await;
        }
    }

    /// A remote call that changes something, between its two steps.
    async fn change<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.step().await;
        let output = call.await;
        self.step().await;
        output
    }

    /// A write of the journal, before its step.
    async fn note<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let output = call.await;
        self.step().await;
        output
    }

    fn sends(&self, payload: &Payload) {
        self.0.sent_bytes.fetch_add(payload.len(), Ordering::Relaxed);
    }
}

/// A destination on a fuse.
#[derive(Debug, Clone)]
pub(super) struct FusedStore {
    pub(super) inner: Arc<dyn Storage>,
    pub(super) fuse: Fuse,
}

impl FusedStore {
    fn parts(&self) -> &dyn Multipart {
        self.inner.multipart().expect("a store with parts")
    }
}

impl fmt::Display for FusedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Storage for FusedStore {
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
        self.inner.get(object, get).await
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.fuse.sends(&payload);
        self.fuse.change(self.inner.put(key, payload, put)).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        let this = self.clone();
        let one = move |object: ObjectRef| {
            let this = this.clone();
            async move {
                let call = async { Ok(this.inner.delete(stream::iter([object]).boxed()).next().await.expect("an answer for every object")) };
                this.fuse.change(call).await.expect("no error of its own")
            }
        };
        objects.then(one).boxed()
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(self)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        None
    }

    fn presign(&self) -> Option<&dyn Presign> {
        None
    }

    fn details(&self) -> Option<&dyn Details> {
        None
    }

    fn archive(&self) -> Option<&dyn Archive> {
        None
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        None
    }

    fn versions(&self) -> Option<&dyn Versions> {
        None
    }
}

#[async_trait]
impl Multipart for FusedStore {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        self.fuse.change(self.parts().create(key, attributes)).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        self.fuse.sends(&payload);
        self.fuse.change(self.parts().upload_part(upload, number, payload, checksums)).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.parts().list_parts(upload).await
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        self.fuse.change(self.parts().complete(upload, parts, complete)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.fuse.change(self.parts().abort(upload)).await
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        self.parts().list_uploads(prefix)
    }
}

/// A journal on a fuse.
#[derive(Debug)]
pub(super) struct FusedJournal {
    pub(super) inner: Arc<dyn Journal>,
    pub(super) fuse: Fuse,
}

#[async_trait]
impl Journal for FusedJournal {
    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn keeps_proofs(&self) -> bool {
        self.inner.keeps_proofs()
    }

    async fn intend(&self, intent: Intent) -> Result<FlightId> {
        self.fuse.note(self.inner.intend(intent)).await
    }

    async fn advance(&self, flight: FlightId, event: Event) -> Result<()> {
        self.fuse.note(self.inner.advance(flight, event)).await
    }

    async fn flight(&self, key: &Key) -> Result<Option<Flight>> {
        self.inner.flight(key).await
    }

    async fn flights(&self, after: Option<FlightId>, limit: usize) -> Result<Vec<Flight>> {
        self.inner.flights(after, limit).await
    }

    async fn prove(&self, key: &Key, proved: Proved) -> Result<()> {
        self.fuse.note(self.inner.prove(key, proved)).await
    }

    async fn forget(&self, key: &Key) -> Result<()> {
        self.fuse.note(self.inner.forget(key)).await
    }

    async fn proofs(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Proved)>> {
        self.inner.proofs(after, limit).await
    }

    async fn proof(&self, key: &Key) -> Result<Option<Proved>> {
        self.inner.proof(key).await
    }

    async fn interrupted(&self, fingerprint: u64) -> Result<Option<Checkpoint>> {
        self.inner.interrupted(fingerprint).await
    }

    async fn checkpoint(&self, fingerprint: u64, after: &Key, keys: u64) -> Result<()> {
        self.fuse.note(self.inner.checkpoint(fingerprint, after, keys)).await
    }

    async fn doom(&self, keys: &[(Key, ETag)], now: Timestamp) -> Result<Vec<Timestamp>> {
        self.fuse.note(self.inner.doom(keys, now)).await
    }

    async fn spare(&self) -> Result<u64> {
        self.fuse.note(self.inner.spare()).await
    }

    async fn deleted(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.fuse.note(self.inner.deleted(key, version)).await
    }

    async fn flush(&self) -> Result<()> {
        self.fuse.note(self.inner.flush()).await
    }

    async fn end(&self, outcome: Outcome, now: Timestamp) -> Result<()> {
        self.fuse.note(self.inner.end(outcome, now)).await
    }
}
