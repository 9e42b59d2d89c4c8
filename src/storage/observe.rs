//! Counts what a store is asked and how it answers, into [`Metrics`], and tells it at debug level. It changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};

use super::layer::{self, Operation};
use super::payload::ByteStream;
use super::{
    Acl, Archive, Attributes, Capabilities, Checksums, Complete, CopyRange, Deleted, Details, ETag, Get, GetOutput, Identity, Key, Lifecycle, List, Multipart,
    ObjectInfo, ObjectRef, OpenUpload, Page, Part, Payload, Presign, PresignMethod, Put, PutOutput, RestoreTier, Restoring, ServerCopy, Storage, StoredPart,
    Upload, UploadId, Version, Versioning, Versions,
};
use crate::clock::Clock;
use crate::error::{Error, Result, Retry};
use crate::metrics::Metrics;

/// Sees each request to a store and what its bodies hold, to account for them by key. It is asked in the middle of a transfer: it must not wait.
pub trait Witness: fmt::Debug + Send + Sync + 'static {
    /// A request was answered or failed, each attempt counted. `key` is the prefix where it is a listing.
    fn asked(&self, operation: Operation, key: &Key);

    /// So many bytes of the body of an object arrived.
    fn read(&self, key: &Key, bytes: u64);

    /// So many bytes of a body are handed over, each attempt counted.
    fn written(&self, key: &Key, bytes: u64);
}

/// A store that is counted. Cheap to clone. Stands below [`super::retry`], so that each attempt counts.
#[derive(Clone)]
pub struct Observe {
    inner: Arc<dyn Storage>,
    clock: Clock,
    metrics: Arc<Metrics>,
    witness: Option<Arc<dyn Witness>>,
}

impl Observe {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Storage>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { inner, clock, metrics, witness: None }
    }

    /// The same, seen by a witness as well.
    #[must_use]
    pub fn seen_by(self, witness: Option<Arc<dyn Witness>>) -> Self {
        Self { witness, ..self }
    }

    async fn watched<T>(&self, operation: Operation, key: &Key, request: impl Future<Output = Result<T>>) -> Result<T> {
        let began = self.clock.instant();
        let result = request.await;
        self.count(operation, key, result.as_ref().err(), began.elapsed());
        result
    }

    fn count(&self, operation: Operation, key: &Key, error: Option<&Error>, took: Duration) {
        let Metrics { requests, request_errors, request_time, .. } = &*self.metrics;
        requests.add(1);
        request_time.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if let Some(witness) = &self.witness {
            witness.asked(operation, key);
        }
        match error {
            None => tracing::trace!(%operation, store = %self.inner, %key, ?took, "request done"),
            Some(error) => {
                request_errors.add(1);
                tracing::debug!(%operation, store = %self.inner, %key, ?took, %error, will_retry = error.retry() != Retry::Never, "request failed");
            }
        }
    }

    /// Pages of a listing, each of which is one request.
    fn counted_pages<T: Send + 'static>(&self, operation: Operation, prefix: Key, pages: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let store = self.clone();
        futures::stream::unfold((pages, store, prefix), move |(mut pages, store, prefix)| async move {
            let began = store.clock.instant();
            let page = pages.next().await?;
            store.count(operation, &prefix, page.as_ref().err(), began.elapsed());
            Some((page, (pages, store, prefix)))
        })
        .boxed()
    }

    fn counted_payload(&self, key: &Key, payload: &Payload) {
        self.metrics.written_bytes.add(payload.len());
        if let Some(witness) = &self.witness {
            witness.written(key, payload.len());
        }
    }

    fn counted_body(&self, key: &Key, body: ByteStream) -> ByteStream {
        let (metrics, witness) = (self.metrics.clone(), self.witness.clone().map(|witness| (witness, key.clone())));
        body.inspect(move |chunk| {
            let Ok(chunk) = chunk else { return };
            metrics.read_bytes.add(chunk.len() as u64);
            if let Some((witness, key)) = &witness {
                witness.read(key, chunk.len() as u64);
            }
        })
        .boxed()
    }
}

impl fmt::Debug for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observe").field(&self.inner).finish()
    }
}

impl fmt::Display for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl Storage for Observe {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        let prefix = list.prefix.clone();
        self.counted_pages(Operation::List, prefix, self.inner.list(list))
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.watched(Operation::Head, &object.key, self.inner.head(object)).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.watched(Operation::Head, &object.key, self.inner.stored_part(object, number)).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let mut output = self.watched(Operation::Get, &object.key, self.inner.get(object, get)).await?;
        output.body = self.counted_body(&object.key, output.body);
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.counted_payload(key, &payload);
        self.watched(Operation::Put, key, self.inner.put(key, payload, put)).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        let store = self.clone();
        let answers = self.inner.delete(objects);
        answers.inspect(move |(object, deleted)| store.count(Operation::Delete, &object.key, deleted.as_ref().err(), Duration::ZERO)).boxed()
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        self.inner.multipart().map(|_| self as &dyn Multipart)
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        self.inner.server_copy().map(|_| self as &dyn ServerCopy)
    }

    fn presign(&self) -> Option<&dyn Presign> {
        self.inner.presign().map(|_| self as &dyn Presign)
    }

    fn details(&self) -> Option<&dyn Details> {
        self.inner.details().map(|_| self as &dyn Details)
    }

    fn archive(&self) -> Option<&dyn Archive> {
        self.inner.archive().map(|_| self as &dyn Archive)
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        self.inner.lifecycle().map(|_| self as &dyn Lifecycle)
    }

    fn versions(&self) -> Option<&dyn Versions> {
        self.inner.versions().map(|_| self as &dyn Versions)
    }
}

#[async_trait]
impl Multipart for Observe {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        self.watched(Operation::CreateUpload, key, layer::multipart(&*self.inner)?.create(key, attributes)).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        self.counted_payload(&upload.key, &payload);
        let below = layer::multipart(&*self.inner)?;
        self.watched(Operation::UploadPart, &upload.key, below.upload_part(upload, number, payload, checksums)).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        self.watched(Operation::ListParts, &upload.key, layer::multipart(&*self.inner)?.list_parts(upload)).await
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        self.watched(Operation::CompleteUpload, &upload.key, layer::multipart(&*self.inner)?.complete(upload, parts, complete)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.watched(Operation::AbortUpload, &upload.key, layer::multipart(&*self.inner)?.abort(upload)).await
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        match layer::multipart(&*self.inner) {
            Ok(below) => below.list_uploads(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }
}

#[async_trait]
impl ServerCopy for Observe {
    fn can_copy_from(&self, source: &Identity) -> bool {
        layer::server_copy(&*self.inner).is_ok_and(|copy| copy.can_copy_from(source))
    }

    fn copy_bytes_max(&self) -> u64 {
        layer::server_copy(&*self.inner).map_or(0, ServerCopy::copy_bytes_max)
    }

    async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
        self.watched(Operation::Copy, key, layer::server_copy(&*self.inner)?.copy(bucket, source, if_match, key, attributes)).await
    }

    async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
        self.watched(Operation::CopyPart, &upload.key, layer::server_copy(&*self.inner)?.copy_part(from, upload, number)).await
    }
}

#[async_trait]
impl Presign for Observe {
    async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
        self.watched(Operation::Presign, &object.key, layer::presign(&*self.inner)?.presign(method, object, expires_in)).await
    }
}

#[async_trait]
impl Details for Observe {
    async fn acl(&self, object: &ObjectRef) -> Result<Acl> {
        self.watched(Operation::Acl, &object.key, layer::details(&*self.inner)?.acl(object)).await
    }

    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
        self.watched(Operation::Tags, &object.key, layer::details(&*self.inner)?.tags(object)).await
    }
}

#[async_trait]
impl Archive for Observe {
    async fn restore(&self, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
        self.watched(Operation::Restore, &object.key, layer::archive(&*self.inner)?.restore(object, days, tier)).await
    }
}

#[async_trait]
impl Lifecycle for Observe {
    async fn lifecycle(&self) -> Result<Option<String>> {
        self.watched(Operation::Lifecycle, &Key::EMPTY, layer::lifecycle(&*self.inner)?.lifecycle()).await
    }

    async fn set_lifecycle(&self, rules: Option<&str>, overlap: bool) -> Result<()> {
        self.watched(Operation::SetLifecycle, &Key::EMPTY, layer::lifecycle(&*self.inner)?.set_lifecycle(rules, overlap)).await
    }
}

#[async_trait]
impl Versions for Observe {
    async fn versioning(&self) -> Result<Versioning> {
        self.watched(Operation::Versioning, &Key::EMPTY, layer::versions(&*self.inner)?.versioning()).await
    }

    fn list_versions(&self, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
        let prefix = list.prefix.clone();
        match layer::versions(&*self.inner) {
            Ok(below) => self.counted_pages(Operation::ListVersions, prefix, below.list_versions(list)),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStore;

    #[tokio::test]
    async fn the_layer_keeps_the_contract() {
        let observe = Observe::new(Arc::new(MemoryStore::new("b")), Clock::system(), Arc::default());
        conformance::suite(Arc::new(observe), &Key::EMPTY).await.expect("the contract holds");
    }

    #[tokio::test]
    async fn requests_errors_and_bytes_are_counted() {
        let metrics = Arc::<Metrics>::default();
        let store = Observe::new(Arc::new(MemoryStore::new("b")), Clock::system(), metrics.clone());
        store.put(&"a".into(), "four".into(), Put::default()).await.expect("written");
        let output = store.get(&Key::from("a").into(), Get::default()).await.expect("there");
        let read: Vec<_> = output.body.collect().await;
        assert!(read.iter().all(Result::is_ok));
        store.head(&Key::from("b").into()).await.expect_err("absent");
        assert_eq!((metrics.requests.get(), metrics.request_errors.get()), (3, 1));
        assert_eq!((metrics.read_bytes.get(), metrics.written_bytes.get()), (4, 4));
    }

    #[derive(Debug, Default)]
    struct Notes(std::sync::Mutex<Vec<String>>);

    impl Witness for Notes {
        fn asked(&self, operation: Operation, key: &Key) {
            self.0.lock().expect("unharmed").push(format!("{operation} {key}"));
        }

        fn read(&self, key: &Key, bytes: u64) {
            self.0.lock().expect("unharmed").push(format!("read {bytes} of {key}"));
        }

        fn written(&self, key: &Key, bytes: u64) {
            self.0.lock().expect("unharmed").push(format!("wrote {bytes} of {key}"));
        }
    }

    #[tokio::test]
    async fn a_witness_sees_each_request_with_its_key() {
        let notes = Arc::<Notes>::default();
        let store = Observe::new(Arc::new(MemoryStore::new("b")), Clock::system(), Arc::default()).seen_by(Some(notes.clone()));
        store.put(&"a".into(), "four".into(), Put::default()).await.expect("written");
        let body: Vec<_> = store.get(&Key::from("a").into(), Get::default()).await.expect("there").body.collect().await;
        store.head(&Key::from("b").into()).await.expect_err("absent");
        assert_eq!(body.len(), 1);
        assert_eq!(*notes.0.lock().expect("unharmed"), ["wrote 4 of a", "put a", "get a", "read 4 of a", "head b"]);
    }
}
