//! Streams that go on where they broke off.

use std::ops::Range;

use futures::stream::{self, BoxStream, StreamExt};

use super::{Patience, Retry};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::layer::{self, Operation};
use crate::storage::payload::ByteStream;
use crate::storage::{ETag, Get, Key, List, ObjectRef, OpenUpload, Page};

/// A body that is opened again at the byte where it broke, as long as the object is the same. Without an ETag nothing pins it, and it
/// fails as it is.
pub(super) fn resumed(store: Retry, object: ObjectRef, etag: &ETag, range: Range<u64>, body: ByteStream) -> ByteStream {
    if etag.is_empty() {
        return body;
    }
    let state = Body { store, object, etag: etag.clone(), left: range, body: Some(body) };
    stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Body {
    store: Retry,
    object: ObjectRef,
    etag: ETag,
    left: Range<u64>,
    body: Option<ByteStream>,
}

impl Body {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>> {
        let store = self.store.clone();
        let mut patience = store.patience();
        loop {
            if self.body.is_none() {
                patience.begin(Operation::Get).await?;
            }
            let error = match self.attempt().await {
                Ok(Some(chunk)) if chunk.len() as u64 > self.left.end - self.left.start => {
                    return Err(Error::integrity("the body is longer than promised").during(Operation::Get.name()).on_key(&self.object.key));
                }
                Ok(Some(chunk)) => {
                    self.left.start += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(None) if self.left.is_empty() => return Ok(None),
                // No backend may just stop short; one that does all the same must not make a short object look whole.
                Ok(None) => Error::new(ErrorKind::Unavailable, "the body ended early").during(Operation::Get.name()).on_key(&self.object.key),
                Err(error) => error,
            };
            // What broke after the last byte took nothing away.
            if self.left.is_empty() && error.retry() != crate::error::Retry::Never {
                return Ok(None);
            }
            self.body = None;
            patience.wait(Operation::Get, error).await?;
        }
    }

    async fn attempt(&mut self) -> Result<Option<bytes::Bytes>> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let get = Get { range: Some(self.left.clone()), if_match: Some(self.etag.clone()) };
                let output = self.store.inner().get(&self.object, get).await?;
                self.store.0.succeeded();
                self.store.0.metrics.resumed_bodies.add(1);
                self.body.insert(output.body)
            }
        };
        body.next().await.transpose()
    }
}

/// A listing that goes on after the last key it gave. One with folders cannot be entered in the middle: it is tried again only as
/// long as it has given nothing.
pub(super) fn listing(store: Retry, list: List) -> BoxStream<'static, Result<Page>> {
    let state = Listing { store, list, pages: None, given: false };
    stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(page)) => Some((Ok(page), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Listing {
    store: Retry,
    list: List,
    pages: Option<BoxStream<'static, Result<Page>>>,
    given: bool,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Page>> {
        let store = self.store.clone();
        let mut patience = store.patience();
        loop {
            patience.begin(Operation::List).await?;
            let pages = self.pages.get_or_insert_with(|| store.inner().list(self.list.clone()));
            // What follows the last key is what was not given yet: not with folders, and not where keys come in no order.
            let can_be_asked_again = !self.given || self.list.delimiter.is_none() && store.inner().capabilities().ordered_list;
            let page = async { pages.next().await.transpose() };
            let answer = if can_be_asked_again { patience.hurry(Operation::List, 0, page).await } else { Some(page.await) };
            let Some(answer) = answer else {
                self.pages = None;
                continue;
            };
            match answer {
                Ok(page) => {
                    store.0.succeeded();
                    if let Some(page) = &page {
                        self.given = true;
                        if let Some(last) = page.len().checked_sub(1).map(|last| page.entry(last)) {
                            self.list.after = Some(Key::from(last.key));
                        }
                    }
                    return Ok(page);
                }
                Err(error) if !can_be_asked_again => return Err(error),
                Err(error) => {
                    self.pages = None;
                    patience.wait(Operation::List, error).await?;
                }
            }
        }
    }
}

/// The open uploads, tried again as long as none was given.
pub(super) fn uploads(store: Retry, prefix: Key) -> BoxStream<'static, Result<OpenUpload>> {
    let opened = async move {
        let mut patience: Patience<'_> = store.patience();
        loop {
            if let Err(error) = patience.begin(Operation::ListUploads).await {
                return one_error(error);
            }
            let mut uploads = match layer::multipart(store.inner()) {
                Ok(below) => below.list_uploads(prefix.clone()).fuse(),
                Err(error) => return one_error(error),
            };
            match uploads.next().await {
                Some(Err(error)) => {
                    if let Err(error) = patience.wait(Operation::ListUploads, error).await {
                        return one_error(error);
                    }
                }
                first => {
                    store.0.succeeded();
                    return stream::iter(first).chain(uploads).boxed();
                }
            }
        }
    };
    stream::once(opened).flatten().boxed()
}

fn one_error<T: Send + 'static>(error: Error) -> BoxStream<'static, Result<T>> {
    stream::iter([Err(error)]).boxed()
}
