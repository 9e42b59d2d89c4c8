//! Programmed faults: a store that misbehaves as told.
//!
//! A [`Fault`] says at which calls of which operation on which key what goes wrong. It is data, so that a test reads like the
//! incident it replays. A [`FaultLayer`] without faults changes nothing, and counts calls.

use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};

use super::layer::{self, Operation};
use super::payload::ByteStream;
use super::{
    Attributes, Capabilities, Checksums, Complete, Deleted, ETag, Get, GetOutput, Identity, Key, List, Multipart, ObjectInfo, ObjectRef, OpenUpload, Page,
    Part, Payload, Presign, PresignMethod, Put, PutOutput, ServerCopy, Storage, StoredPart, Upload, UploadId,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The call fails and nothing happens. A page of a listing: that page fails, and with it the rest.
    Fail(Error),
    /// The call is done, but its answer is lost.
    LoseAnswer(Error),
    /// The call waits first.
    Delay(Duration),
    /// The page's entries come in reverse order.
    Reverse,
    /// The body read fails after `at` bytes, or just ends there where no error is given.
    Truncate {
        /// Offset in the body.
        at: u64,
        /// What the reader sees.
        error: Option<Error>,
    },
    /// One bit of the body's byte `at` flips on the way. A body that is written keeps the checksums sent with it, so that the store can notice.
    Flip {
        /// Offset in the body.
        at: u64,
    },
    /// One bit of a written body's byte `at` flips behind the store's checks; the store states the checksums of what it holds.
    FlipStored {
        /// Offset in the body.
        at: u64,
    },
    /// The CRC-64s in the answer are off by one.
    WrongChecksums,
    /// Just before the call, somebody writes other bytes under the key.
    Overwrite(Bytes),
    /// Just before the call, somebody deletes the key.
    Vanish,
}

/// A fault and when it strikes.
#[derive(Debug, Clone)]
pub struct Fault {
    operation: Operation,
    key: Option<Key>,
    calls: RangeInclusive<u64>,
    effect: Effect,
}

impl Fault {
    /// Strikes every call of an operation.
    pub fn on(operation: Operation, effect: Effect) -> Self {
        Self { operation, key: None, calls: 1..=u64::MAX, effect }
    }

    /// Makes every call of an operation fail with an error of that kind.
    pub fn fail(operation: Operation, kind: ErrorKind) -> Self {
        Self::on(operation, Effect::Fail(Error::new(kind, "an injected fault")))
    }

    /// Only calls on this key (a listing: with this prefix).
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only the `n`-th such call, from 1. For a listing calls are pages, counted over all listings.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.calls = n..=n;
        self
    }

    /// Only such calls as come after the first `n`.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        self.calls = n + 1..=u64::MAX;
        self
    }

    /// Only the first `n` such calls.
    #[must_use]
    pub fn first(mut self, n: u64) -> Self {
        self.calls = 1..=n;
        self
    }
}

/// A store whose calls go wrong as programmed. Clones share the program and its counters.
#[derive(Clone)]
pub struct FaultLayer {
    inner: Arc<dyn Storage>,
    clock: Clock,
    program: Arc<Mutex<Program>>,
}

#[derive(Debug, Default)]
struct Program {
    /// Each with the number of calls it has matched.
    faults: Vec<(Fault, u64)>,
    calls: [u64; Operation::ALL.len()],
}

impl FaultLayer {
    /// Wraps a store; `clock` serves [`Effect::Delay`].
    pub fn new(inner: Arc<dyn Storage>, clock: Clock, faults: impl IntoIterator<Item = Fault>) -> Self {
        let program = Program { faults: faults.into_iter().map(|f| (f, 0)).collect(), ..Program::default() };
        Self { inner, clock, program: Arc::new(Mutex::new(program)) }
    }

    /// Adds a fault to the program.
    pub fn add(&self, fault: Fault) {
        self.program().faults.push((fault, 0));
    }

    /// Removes every fault from the program. Calls are counted on.
    pub fn clear(&self) {
        self.program().faults.clear();
    }

    /// How often an operation was called so far.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.program().calls[operation as usize]
    }

    fn program(&self) -> std::sync::MutexGuard<'_, Program> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and tells what goes wrong with it.
    fn strike(&self, operation: Operation, key: &Key) -> Vec<Effect> {
        let mut program = self.program();
        program.calls[operation as usize] += 1;
        let mut effects = Vec::new();
        for (fault, count) in &mut program.faults {
            if fault.operation == operation && fault.key.as_ref().is_none_or(|k| k == key) {
                *count += 1;
                if fault.calls.contains(count) {
                    effects.push(fault.effect.clone());
                }
            }
        }
        effects
    }

    /// Counts a call and does what goes wrong before it.
    async fn before(&self, operation: Operation, key: &Key) -> Result<Vec<Effect>> {
        let effects = self.strike(operation, key);
        for effect in &effects {
            match effect {
                Effect::Fail(e) => return Err(e.clone().during(operation.name()).on_key(key).in_store(self)),
                Effect::Delay(wait) => self.clock.sleep(*wait).await,
                Effect::Overwrite(bytes) => {
                    self.inner.put(key, bytes.clone().into(), Put::default()).await?;
                }
                Effect::Vanish => {
                    let gone: Vec<_> = self.inner.delete(stream::iter([key.into()]).boxed()).collect().await;
                    gone.into_iter().try_for_each(|(_, deleted)| deleted.map(drop))?;
                }
                _ => {}
            }
        }
        Ok(effects)
    }
}

/// Does what goes wrong after a call that worked.
fn after<T>(effects: &[Effect], output: T, spoil: impl FnOnce(&mut T)) -> Result<T> {
    let mut output = output;
    for effect in effects {
        match effect {
            Effect::LoseAnswer(e) => return Err(e.clone()),
            Effect::WrongChecksums => {
                spoil(&mut output);
                break;
            }
            _ => {}
        }
    }
    Ok(output)
}

fn off_by_one(checksums: &mut Checksums) {
    for value in [&mut checksums.crc64xz, &mut checksums.crc64nvme] {
        *value = value.map(|v| v.wrapping_add(1));
    }
}

/// Passes a body on, disturbed.
fn disturb(body: ByteStream, effects: &[Effect]) -> ByteStream {
    effects.iter().fold(body, |body, effect| match effect {
        Effect::Flip { at } | Effect::FlipStored { at } => flip(body, *at),
        Effect::Truncate { at, error } => truncate(body, *at, error.clone()),
        _ => body,
    })
}

fn flip(body: ByteStream, at: u64) -> ByteStream {
    let mut start = 0u64;
    body.map(move |chunk| {
        let chunk = chunk?;
        let (from, to) = (start, start + chunk.len() as u64);
        start = to;
        if !(from..to).contains(&at) {
            return Ok(chunk);
        }
        let mut flipped = BytesMut::from(&chunk[..]);
        flipped[(at - from) as usize] ^= 1;
        Ok(flipped.freeze())
    })
    .boxed()
}

fn truncate(body: ByteStream, at: u64, error: Option<Error>) -> ByteStream {
    let kept = body.scan(at, |left, chunk| {
        let kept = match chunk {
            Ok(_) if *left == 0 => None,
            Ok(mut chunk) => {
                chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= chunk.len() as u64;
                Some(Ok(chunk))
            }
            Err(e) => Some(Err(e)),
        };
        std::future::ready(kept)
    });
    kept.chain(stream::iter(error.map(Err))).boxed()
}

/// A payload that is disturbed each time it is sent.
fn disturbed(payload: Payload, effects: &[Effect]) -> Payload {
    if !effects.iter().any(|e| matches!(e, Effect::Flip { .. } | Effect::FlipStored { .. })) {
        return payload;
    }
    let effects: Arc<[Effect]> = effects.into();
    Payload::from_source(payload.len(), move || {
        let (payload, effects) = (payload.clone(), effects.clone());
        Box::pin(async move { Ok(disturb(payload.stream().await?, &effects)) })
    })
}

fn hides_checksums(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::FlipStored { .. }))
}

fn reversed(page: &Page) -> Page {
    let mut turned = Page::new();
    for index in (0..page.len()).rev() {
        turned.push(page.entry(index));
    }
    page.prefixes().iter().rev().for_each(|p| turned.push_prefix(p.clone()));
    turned
}

impl fmt::Debug for FaultLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultLayer").field(&self.inner).finish()
    }
}

impl fmt::Display for FaultLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl Storage for FaultLayer {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        let (layer, prefix) = (self.clone(), list.prefix.clone());
        let pages = self.inner.list(list).map(Some).chain(stream::iter([None]));
        let struck = pages.enumerate().filter_map(move |(index, page)| {
            let (layer, prefix) = (layer.clone(), prefix.clone());
            async move {
                // An empty listing is one request too, and can fail.
                if page.is_none() && index > 0 { None } else { layer.list_page(&prefix, page).await.transpose() }
            }
        });
        until_error(struck.boxed())
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        let effects = self.before(Operation::Head, &object.key).await?;
        after(&effects, self.inner.head(object).await?, |info| off_by_one(&mut info.checksums))
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        let effects = self.before(Operation::Head, &object.key).await?;
        after(&effects, self.inner.stored_part(object, number).await?, |_| ())
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let effects = self.before(Operation::Get, &object.key).await?;
        let mut output = after(&effects, self.inner.get(object, get).await?, |o| off_by_one(&mut o.info.checksums))?;
        output.body = disturb(output.body, &effects);
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, mut put: Put) -> Result<PutOutput> {
        let effects = self.before(Operation::Put, key).await?;
        if hides_checksums(&effects) {
            put.checksums = None;
        }
        after(&effects, self.inner.put(key, disturbed(payload, &effects), put).await?, |o| off_by_one(&mut o.checksums))
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        let layer = self.clone();
        objects
            .then(move |object| {
                let layer = layer.clone();
                async move {
                    let deleted = layer.delete_one(&object).await;
                    (object, deleted)
                }
            })
            .boxed()
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
}

impl FaultLayer {
    async fn list_page(&self, prefix: &Key, page: Option<Result<Page>>) -> Result<Option<Page>> {
        let effects = self.before(Operation::List, prefix).await?;
        let Some(page) = page.transpose()? else { return Ok(None) };
        let page = if effects.iter().any(|e| matches!(e, Effect::Reverse)) { reversed(&page) } else { page };
        after(&effects, Some(page), |_| {})
    }

    async fn delete_one(&self, object: &ObjectRef) -> Result<Deleted> {
        let effects = self.before(Operation::Delete, &object.key).await?;
        let answer = self.inner.delete(stream::iter([object.clone()]).boxed()).next().await;
        let (_, deleted) = answer.ok_or_else(|| Error::new(ErrorKind::Unexpected, "a delete was not answered").in_store(self))?;
        after(&effects, deleted?, |_| {})
    }
}

/// Ends a listing at its first error, which is final.
fn until_error<T: Send + 'static>(items: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
    stream::unfold(ControlFlow::Continue(items), |state| async move {
        let ControlFlow::Continue(mut items) = state else { return None };
        match items.next().await? {
            Ok(item) => Some((Ok(item), ControlFlow::Continue(items))),
            Err(e) => Some((Err(e), ControlFlow::Break(()))),
        }
    })
    .boxed()
}

#[async_trait]
impl Multipart for FaultLayer {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        let effects = self.before(Operation::CreateUpload, key).await?;
        after(&effects, layer::multipart(&*self.inner)?.create(key, attributes).await?, |_| {})
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        let effects = self.before(Operation::UploadPart, &upload.key).await?;
        let checksums = if hides_checksums(&effects) { None } else { checksums };
        let part = layer::multipart(&*self.inner)?.upload_part(upload, number, disturbed(payload, &effects), checksums).await?;
        after(&effects, part, |part| off_by_one(&mut part.checksums))
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let effects = self.before(Operation::ListParts, &upload.key).await?;
        let parts = layer::multipart(&*self.inner)?.list_parts(upload).await?;
        after(&effects, parts, |parts| parts.iter_mut().for_each(|part| off_by_one(&mut part.checksums)))
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        let effects = self.before(Operation::CompleteUpload, &upload.key).await?;
        let output = layer::multipart(&*self.inner)?.complete(upload, parts, complete).await?;
        after(&effects, output, |o| off_by_one(&mut o.checksums))
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let effects = self.before(Operation::AbortUpload, &upload.key).await?;
        layer::multipart(&*self.inner)?.abort(upload).await?;
        after(&effects, (), |()| {})
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        let (layer, below) = (self.clone(), layer::multipart(&*self.inner).map(|m| m.list_uploads(prefix.clone())));
        let start = stream::once(async move { layer.before(Operation::ListUploads, &prefix).await.and(below) });
        until_error(start.map(|started| started.unwrap_or_else(|e| stream::iter([Err(e)]).boxed())).flatten().boxed())
    }
}

#[async_trait]
impl ServerCopy for FaultLayer {
    fn can_copy_from(&self, source: &Identity) -> bool {
        layer::server_copy(&*self.inner).is_ok_and(|copy| copy.can_copy_from(source))
    }

    fn copy_bytes_max(&self) -> u64 {
        layer::server_copy(&*self.inner).map_or(0, |copy| copy.copy_bytes_max())
    }

    async fn copy(&self, bucket: &str, source: &ObjectRef, if_match: Option<&ETag>, key: &Key, attributes: &Attributes) -> Result<PutOutput> {
        let effects = self.before(Operation::Copy, key).await?;
        let output = layer::server_copy(&*self.inner)?.copy(bucket, source, if_match, key, attributes).await?;
        after(&effects, output, |o| off_by_one(&mut o.checksums))
    }
}

#[async_trait]
impl Presign for FaultLayer {
    async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
        let effects = self.before(Operation::Presign, &object.key).await?;
        after(&effects, layer::presign(&*self.inner)?.presign(method, object, expires_in).await?, |_| {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::checksum::Crc64;
    use crate::storage::memory::MemoryStore;

    async fn layer(faults: impl IntoIterator<Item = Fault>) -> FaultLayer {
        let store = MemoryStore::new("b");
        for name in ["a", "b", "c"] {
            store.put(&name.into(), Payload::from("0123456789"), Put::default()).await.expect("put");
        }
        FaultLayer::new(Arc::new(store), Clock::system(), faults)
    }

    async fn read(layer: &FaultLayer, key: &str) -> Result<Vec<u8>> {
        let mut body = layer.get(&Key::from(key).into(), Get::default()).await?.body;
        let mut all = Vec::new();
        while let Some(chunk) = body.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn faults_strike_the_call_and_the_key_they_name() {
        let layer = layer([Fault::fail(Operation::Get, ErrorKind::Unavailable).key("a").nth(2)]).await;
        assert!(read(&layer, "b").await.is_ok());
        assert!(read(&layer, "a").await.is_ok());
        assert_eq!(read(&layer, "a").await.expect_err("the second").kind(), ErrorKind::Unavailable);
        assert!(read(&layer, "a").await.is_ok());
        assert_eq!(layer.calls(Operation::Get), 4);
    }

    #[tokio::test]
    async fn bodies_are_truncated_and_flipped() {
        let cut = Effect::Truncate { at: 4, error: Some(Error::new(ErrorKind::Unavailable, "reset")) };
        let layer = layer([
            Fault::on(Operation::Get, Effect::Flip { at: 1 }).key("a"),
            Fault::on(Operation::Get, Effect::Truncate { at: 4, error: None }).key("b"),
            Fault::on(Operation::Get, cut).key("c"),
        ])
        .await;
        assert_eq!(read(&layer, "a").await.expect("read"), b"0023456789");
        assert_eq!(read(&layer, "b").await.expect("read"), b"0123");
        assert_eq!(read(&layer, "c").await.expect_err("reset").kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_flip_on_the_wire_is_refused_and_one_behind_the_checks_is_stored() {
        let crc = Crc64::of(b"x").checksums();
        let put = Put { checksums: Some(crc.clone()), ..Put::default() };
        let wire = layer([Fault::on(Operation::Put, Effect::Flip { at: 0 })]).await;
        assert_eq!(wire.put(&"k".into(), Payload::from("x"), put.clone()).await.expect_err("refused").kind(), ErrorKind::Integrity);
        let disk = layer([Fault::on(Operation::Put, Effect::FlipStored { at: 0 })]).await;
        assert_ne!(disk.put(&"k".into(), Payload::from("x"), put).await.expect("stored").checksums, crc);
        assert_eq!(read(&disk, "k").await.expect("read"), b"y");
    }

    #[tokio::test]
    async fn a_listing_fails_at_its_page_and_stays_failed() {
        let layer = layer([Fault::fail(Operation::List, ErrorKind::Unavailable).nth(2)]).await;
        let pages: Vec<_> = layer.list(List { page_keys: Some(1), ..List::default() }).collect().await;
        assert_eq!(pages.len(), 2);
        assert!(pages[0].is_ok() && pages[1].is_err());
        layer.add(Fault::fail(Operation::List, ErrorKind::Unavailable).key("absent/"));
        assert!(layer.list(List::under("absent/".into())).next().await.is_some_and(|page| page.is_err()), "an empty listing fails too");
    }

    #[tokio::test]
    async fn an_object_changes_or_vanishes_before_a_call() {
        let layer =
            layer([Fault::on(Operation::Get, Effect::Overwrite("new".into())).key("a").nth(2), Fault::on(Operation::Head, Effect::Vanish).key("b")]).await;
        let object = ObjectRef::from(Key::from("a"));
        let etag = layer.get(&object, Get::default()).await.expect("get").info.etag;
        let pinned = Get { if_match: Some(etag), ..Get::default() };
        assert_eq!(layer.get(&object, pinned).await.expect_err("changed").kind(), ErrorKind::Changed);
        assert_eq!(layer.head(&Key::from("b").into()).await.expect_err("gone").kind(), ErrorKind::NotFound);
    }
}
