//! Faults: a store that misbehaves as told, or by chance.
//!
//! A [`Fault`] says at which calls of which operation on which key what goes wrong. It is data, so that a test reads like the
//! incident it replays; [`Weather`] is what goes wrong by chance. A [`FaultLayer`] without either changes nothing, and counts calls.
//! Somebody can watch it: told what is asked of the store and what comes of it, in order, a test knows what a run did.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use super::layer::{self, Operation};
use super::weather::Weather;
use super::{
    Acl, Archive, Attributes, Capabilities, Checksums, Complete, CopyRange, Deleted, Details, ETag, Get, GetOutput, Identity, Key, Lifecycle, List, Multipart,
    ObjectInfo, ObjectRef, OpenUpload, Page, Part, Payload, Presign, PresignMethod, Put, PutOutput, RestoreTier, Restoring, ServerCopy, Storage, StoredPart,
    Upload, UploadId, Version, Versioning, Versions,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

mod body;
mod program;

use body::{disturb, disturbed, hides_checksums, reversed, until_error};
pub use program::{Effect, Fault};

/// What a watcher is told of a call.
#[derive(Debug, Clone, Copy)]
pub enum Moment<'a> {
    /// It was made, and this befalls it.
    Begun(&'a [Effect]),
    /// It was done, and the caller is told so.
    Done,
    /// It failed, or its answer was lost.
    Failed(&'a Error),
    /// The page before was a listing's last.
    ListingEnded,
}

/// Sees each call with its key (a listing: its prefix).
type Watcher = Arc<dyn Fn(Operation, &Key, Moment<'_>) + Send + Sync>;

/// A store whose calls go wrong as programmed, and as the weather is. Clones share the program and its counters.
#[derive(Clone)]
pub struct FaultLayer {
    inner: Arc<dyn Storage>,
    clock: Clock,
    program: Arc<Mutex<Program>>,
}

struct Program {
    /// Each with the number of calls it has matched.
    faults: Vec<(Fault, u64)>,
    calls: [u64; Operation::ALL.len()],
    weather: Weather,
    weather_began: Instant,
    watcher: Option<Watcher>,
}

impl FaultLayer {
    /// Wraps a store in calm weather; `clock` serves delays, and the weather's chances.
    pub fn new(inner: Arc<dyn Storage>, clock: Clock, faults: impl IntoIterator<Item = Fault>) -> Self {
        let program = Program {
            faults: faults.into_iter().map(|f| (f, 0)).collect(),
            calls: Default::default(),
            weather: Weather::default(),
            weather_began: clock.instant(),
            watcher: None,
        };
        Self { inner, clock, program: Arc::new(Mutex::new(program)) }
    }

    /// Adds a fault to the program.
    pub fn add(&self, fault: Fault) {
        self.program().faults.push((fault, 0));
    }

    /// Makes other weather, which begins now.
    pub fn set_weather(&self, weather: Weather) {
        let mut program = self.program();
        (program.weather, program.weather_began) = (weather, self.clock.instant());
    }

    /// Tells `watcher` of each call from now on, instead of an earlier one. It must not call this store.
    pub fn watch(&self, watcher: impl Fn(Operation, &Key, Moment<'_>) + Send + Sync + 'static) {
        self.program().watcher = Some(Arc::new(watcher));
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

    fn tell(&self, operation: Operation, key: &Key, moment: Moment<'_>) {
        let watcher = self.program().watcher.clone();
        if let Some(watcher) = watcher {
            watcher(operation, key, moment);
        }
    }

    /// Counts a call and tells what goes wrong with it.
    fn strike(&self, operation: Operation, key: &Key) -> Vec<Effect> {
        let mut program = self.program();
        program.calls[operation as usize] += 1;
        let mut effects = program.weather.strike(program.weather_began.elapsed(), &self.clock);
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

    /// Begins a call that carries a body of `len` bytes to the store.
    async fn begin_write<'a>(&'a self, operation: Operation, key: &'a Key, len: u64) -> Result<Call<'a>> {
        let mut effects = self.strike(operation, key);
        effects.extend(self.program().weather.strike_write(len, &self.clock));
        self.begin_struck(operation, key, effects).await
    }

    /// Begins a call: counts it, and does what goes wrong before it.
    async fn begin<'a>(&'a self, operation: Operation, key: &'a Key) -> Result<Call<'a>> {
        self.begin_struck(operation, key, self.strike(operation, key)).await
    }

    async fn begin_struck<'a>(&'a self, operation: Operation, key: &'a Key, effects: Vec<Effect>) -> Result<Call<'a>> {
        let call = Call { layer: self, operation, key, effects };
        self.tell(operation, key, Moment::Begun(&call.effects));
        match call.before().await {
            Ok(()) => Ok(call),
            Err(error) => {
                let error = error.during(operation.name()).on_key(key).in_store(self);
                self.tell(operation, key, Moment::Failed(&error));
                Err(error)
            }
        }
    }
}

/// A call on its way through the layer.
struct Call<'a> {
    layer: &'a FaultLayer,
    operation: Operation,
    key: &'a Key,
    effects: Vec<Effect>,
}

impl Call<'_> {
    /// Does what goes wrong before the call.
    async fn before(&self) -> Result<()> {
        let FaultLayer { inner, clock, .. } = self.layer;
        for effect in &self.effects {
            match effect {
                Effect::Fail(error) => return Err(error.clone()),
                Effect::Delay(wait) => clock.sleep(*wait).await,
                Effect::Overwrite(bytes) => {
                    inner.put(self.key, bytes.clone().into(), Put::default()).await?;
                }
                Effect::Vanish => {
                    let gone: Vec<_> = inner.delete(stream::iter([self.key.into()]).boxed()).collect().await;
                    gone.into_iter().try_for_each(|(_, deleted)| deleted.map(drop))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends the call: does what goes wrong after one that worked.
    async fn end<T>(&self, result: Result<T>, spoil: impl FnOnce(&mut T)) -> Result<T> {
        let result = match result {
            Ok(output) => self.after(output, spoil).await,
            Err(error) => Err(error),
        };
        self.layer.tell(self.operation, self.key, result.as_ref().map_or_else(Moment::Failed, |_| Moment::Done));
        result
    }

    async fn after<T>(&self, mut output: T, spoil: impl FnOnce(&mut T)) -> Result<T> {
        for effect in &self.effects {
            if let Effect::Late(wait) = effect {
                self.layer.clock.sleep(*wait).await;
            }
        }
        if let Some(error) = self.effects.iter().find_map(|effect| if let Effect::LoseAnswer(error) = effect { Some(error) } else { None }) {
            return Err(error.clone());
        }
        if self.effects.iter().any(|effect| matches!(effect, Effect::WrongChecksums)) {
            spoil(&mut output);
        }
        Ok(output)
    }
}

fn off_by_one(checksums: &mut Checksums) {
    for value in [&mut checksums.crc64xz, &mut checksums.crc64nvme] {
        *value = value.map(|v| v.wrapping_add(1));
    }
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
                let ended = page.is_none();
                // An empty listing is one request too, and can fail.
                let page = if ended && index > 0 { None } else { layer.list_page(&prefix, page).await.transpose() };
                if ended && page.is_none() {
                    layer.tell(Operation::List, &prefix, Moment::ListingEnded);
                }
                page
            }
        });
        until_error(struck.boxed())
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        let call = self.begin(Operation::Head, &object.key).await?;
        call.end(self.inner.head(object).await, |info| off_by_one(&mut info.checksums)).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        let call = self.begin(Operation::Head, &object.key).await?;
        call.end(self.inner.stored_part(object, number).await, |_| ()).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        let mut call = self.begin(Operation::Get, &object.key).await?;
        let mut output = call.end(self.inner.get(object, get).await, |o| off_by_one(&mut o.info.checksums)).await?;
        call.effects.extend(self.program().weather.strike_read(output.range.end - output.range.start, &self.clock));
        output.body = disturb(output.body, &call.effects);
        Ok(output)
    }

    async fn put(&self, key: &Key, payload: Payload, mut put: Put) -> Result<PutOutput> {
        let call = self.begin_write(Operation::Put, key, payload.len()).await?;
        if hides_checksums(&call.effects) {
            put.checksums = None;
        }
        call.end(self.inner.put(key, disturbed(payload, &call.effects), put).await, |o| off_by_one(&mut o.checksums)).await
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

impl FaultLayer {
    /// A page, or `None` for a listing that is empty.
    async fn list_page(&self, prefix: &Key, page: Option<Result<Page>>) -> Result<Option<Page>> {
        let call = self.begin(Operation::List, prefix).await?;
        let page = call.end(page.transpose(), |_| ()).await?;
        let reverses = call.effects.iter().any(|effect| matches!(effect, Effect::Reverse));
        Ok(page.map(|page| if reverses { reversed(&page) } else { page }))
    }

    async fn delete_one(&self, object: &ObjectRef) -> Result<Deleted> {
        let call = self.begin(Operation::Delete, &object.key).await?;
        let answer = self.inner.delete(stream::iter([object.clone()]).boxed()).next().await;
        let unanswered = || Err(Error::new(ErrorKind::Unexpected, "a delete was not answered").in_store(self));
        call.end(answer.map_or_else(unanswered, |(_, deleted)| deleted), |_| ()).await
    }
}

#[async_trait]
impl Multipart for FaultLayer {
    async fn create(&self, key: &Key, attributes: &Attributes) -> Result<UploadId> {
        let call = self.begin(Operation::CreateUpload, key).await?;
        call.end(layer::multipart(&*self.inner)?.create(key, attributes).await, |_| ()).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, payload: Payload, checksums: Option<&Checksums>) -> Result<Part> {
        let call = self.begin_write(Operation::UploadPart, &upload.key, payload.len()).await?;
        let checksums = if hides_checksums(&call.effects) { None } else { checksums };
        let part = layer::multipart(&*self.inner)?.upload_part(upload, number, disturbed(payload, &call.effects), checksums).await;
        call.end(part, |part| off_by_one(&mut part.checksums)).await
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>> {
        let call = self.begin(Operation::ListParts, &upload.key).await?;
        let parts = layer::multipart(&*self.inner)?.list_parts(upload).await;
        call.end(parts, |parts| parts.iter_mut().for_each(|part| off_by_one(&mut part.checksums))).await
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], complete: Complete) -> Result<PutOutput> {
        let call = self.begin(Operation::CompleteUpload, &upload.key).await?;
        let output = layer::multipart(&*self.inner)?.complete(upload, parts, complete).await;
        call.end(output, |o| off_by_one(&mut o.checksums)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let call = self.begin(Operation::AbortUpload, &upload.key).await?;
        call.end(layer::multipart(&*self.inner)?.abort(upload).await, |()| ()).await
    }

    fn list_uploads(&self, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
        let layer = self.clone();
        let start = stream::once(async move {
            let call = layer.begin(Operation::ListUploads, &prefix).await?;
            call.end(layer::multipart(&*layer.inner).map(|below| below.list_uploads(prefix.clone())), |_| ()).await
        });
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
        let call = self.begin(Operation::Copy, key).await?;
        let output = layer::server_copy(&*self.inner)?.copy(bucket, source, if_match, key, attributes).await;
        call.end(output, |o| off_by_one(&mut o.checksums)).await
    }

    async fn copy_part(&self, from: &CopyRange<'_>, upload: &Upload, number: u32) -> Result<Part> {
        let call = self.begin(Operation::CopyPart, &upload.key).await?;
        let part = layer::server_copy(&*self.inner)?.copy_part(from, upload, number).await;
        call.end(part, |part| off_by_one(&mut part.checksums)).await
    }
}

#[async_trait]
impl Presign for FaultLayer {
    async fn presign(&self, method: PresignMethod, object: &ObjectRef, expires_in: Duration) -> Result<String> {
        let call = self.begin(Operation::Presign, &object.key).await?;
        call.end(layer::presign(&*self.inner)?.presign(method, object, expires_in).await, |_| ()).await
    }
}

#[async_trait]
impl Details for FaultLayer {
    async fn acl(&self, object: &ObjectRef) -> Result<Acl> {
        let call = self.begin(Operation::Acl, &object.key).await?;
        call.end(layer::details(&*self.inner)?.acl(object).await, |_| ()).await
    }

    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
        let call = self.begin(Operation::Tags, &object.key).await?;
        call.end(layer::details(&*self.inner)?.tags(object).await, |_| ()).await
    }
}

#[async_trait]
impl Archive for FaultLayer {
    async fn restore(&self, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
        let call = self.begin(Operation::Restore, &object.key).await?;
        call.end(layer::archive(&*self.inner)?.restore(object, days, tier).await, |_| ()).await
    }
}

#[async_trait]
impl Lifecycle for FaultLayer {
    async fn lifecycle(&self) -> Result<Option<String>> {
        let (key, operation) = (Key::EMPTY, Operation::Lifecycle);
        let call = self.begin(operation, &key).await?;
        call.end(layer::lifecycle(&*self.inner)?.lifecycle().await, |_| ()).await
    }

    async fn set_lifecycle(&self, rules: Option<&str>, overlap: bool) -> Result<()> {
        let (key, operation) = (Key::EMPTY, Operation::SetLifecycle);
        let call = self.begin(operation, &key).await?;
        call.end(layer::lifecycle(&*self.inner)?.set_lifecycle(rules, overlap).await, |_| ()).await
    }
}

#[async_trait]
impl Versions for FaultLayer {
    async fn versioning(&self) -> Result<Versioning> {
        let whole = Key::EMPTY;
        let call = self.begin(Operation::Versioning, &whole).await?;
        call.end(layer::versions(&*self.inner)?.versioning().await, |_| ()).await
    }

    fn list_versions(&self, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
        let (layer, prefix) = (self.clone(), list.prefix.clone());
        let pages = match layer::versions(&*self.inner) {
            Ok(below) => below.list_versions(list),
            Err(error) => stream::iter([Err(error)]).boxed(),
        };
        let struck = pages.then(move |page| {
            let (layer, prefix) = (layer.clone(), prefix.clone());
            async move {
                let call = layer.begin(Operation::ListVersions, &prefix).await?;
                call.end(page, |_| ()).await
            }
        });
        until_error(struck.boxed())
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
