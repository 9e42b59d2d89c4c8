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
    Acl, Archive, Attributes, Capabilities, Checksums, Complete, CopyRange, Deleted, Details, ETag, Get, GetOutput, Identity, Key, List, Multipart, ObjectInfo,
    ObjectRef, OpenUpload, Page, Part, Payload, Presign, PresignMethod, Put, PutOutput, RestoreTier, Restoring, ServerCopy, Storage, StoredPart, Upload,
    UploadId,
};
use crate::clock::Clock;
use crate::error::{Error, Result, Retry};
use crate::metrics::Metrics;

/// A store that is counted. Cheap to clone. Stands below [`super::retry`], so that each attempt counts.
#[derive(Clone)]
pub struct Observe {
    inner: Arc<dyn Storage>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Observe {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Storage>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { inner, clock, metrics }
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
        match error {
            None => tracing::trace!(%operation, store = %self.inner, %key, ?took, "request done"),
            Some(error) => {
                request_errors.add(1);
                tracing::debug!(%operation, store = %self.inner, %key, ?took, %error, will_retry = error.retry() != Retry::Never, "request failed");
            }
        }
    }

    fn counted_payload(&self, payload: &Payload) {
        self.metrics.written_bytes.add(payload.len());
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
        let (store, prefix) = (self.clone(), list.prefix.clone());
        let pages = self.inner.list(list);
        futures::stream::unfold((pages, store, prefix), |(mut pages, store, prefix)| async move {
            let began = store.clock.instant();
            let page = pages.next().await?;
            store.count(Operation::List, &prefix, page.as_ref().err(), began.elapsed());
            Some((page, (pages, store, prefix)))
        })
        .boxed()
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.watched(Operation::Head, &object.key, self.inner.head(object)).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.watched(Operation::Head, &object.key, self.inner.stored_part(object, number)).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let mut output = self.watched(Operation::Get, &object.key, self.inner.get(object, get)).await?;
        output.body = counted(output.body, self.metrics.clone());
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.counted_payload(&payload);
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
}

fn counted(body: ByteStream, metrics: Arc<Metrics>) -> ByteStream {
    body.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            metrics.read_bytes.add(chunk.len() as u64);
        }
    })
    .boxed()
}

#[async_trait]
impl Multipart for Observe {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        self.watched(Operation::CreateUpload, key, layer::multipart(&*self.inner)?.create(key, attributes)).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        self.counted_payload(&payload);
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
}
