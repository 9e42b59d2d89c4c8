//! Listings of versions that go on where they broke off.

use futures::stream::{self, BoxStream, StreamExt};

use super::Retry;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::layer::{self, Operation};
use crate::storage::{Key, List, Version};

/// A listing of versions that goes on after the last one it gave. A listing can be entered at a key only, so the last key's versions
/// are read again from the newest on, and passed over up to the one that was given last.
pub(super) fn versions(store: Retry, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
    let state = Listing { store, list, pages: None, given: None, seeks: false };
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
    /// What is left, from the last key that was given on.
    list: List,
    pages: Option<BoxStream<'static, Result<Vec<Version>>>>,
    /// The last version that was given.
    given: Option<(Key, String)>,
    /// Whether what comes is to be passed over up to `given`.
    seeks: bool,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Vec<Version>>> {
        let store = self.store.clone();
        let mut patience = store.patience();
        loop {
            patience.begin(Operation::ListVersions).await?;
            let pages = match &mut self.pages {
                Some(pages) => pages,
                None => self.pages.insert(layer::versions(store.inner())?.list_versions(self.list.clone())),
            };
            match pages.next().await.transpose() {
                Ok(page) => {
                    store.0.succeeded();
                    let Some(page) = page else { return self.ended() };
                    let page = self.pass(page)?;
                    if !page.is_empty() {
                        self.note(&page);
                        return Ok(Some(page));
                    }
                }
                Err(error) => {
                    (self.pages, self.seeks) = (None, self.given.is_some());
                    patience.wait(Operation::ListVersions, error).await?;
                }
            }
        }
    }

    /// Remembers what is given, and from where on it is asked for again: after the last key that is whole.
    fn note(&mut self, page: &[Version]) {
        let Some(last) = page.last() else { return };
        let before = page.iter().rev().find(|version| version.key != last.key).map(|version| &version.key);
        let earlier = self.given.take().map(|(key, _)| key).filter(|key| *key != last.key);
        if let Some(whole) = before.or(earlier.as_ref()) {
            self.list.after = Some(whole.clone());
        }
        self.given = Some((last.key.clone(), last.version.clone()));
    }

    /// What of a page was not given yet.
    fn pass(&mut self, mut page: Vec<Version>) -> Result<Vec<Version>> {
        let Some((key, version)) = self.given.as_ref().filter(|_| self.seeks) else { return Ok(page) };
        if let Some(at) = page.iter().position(|one| one.key == *key && one.version == *version) {
            self.seeks = false;
            return Ok(page.split_off(at + 1));
        }
        if page.iter().all(|one| one.key <= *key) { Ok(Vec::new()) } else { Err(self.lost()) }
    }

    fn ended(&self) -> Result<Option<Vec<Version>>> {
        if self.seeks { Err(self.lost()) } else { Ok(None) }
    }

    /// Nothing tells any more which of the key's versions were given.
    fn lost(&self) -> Error {
        let key = self.given.as_ref().map(|(key, _)| key.clone()).unwrap_or_default();
        let why = "a listing of versions broke off, and the version where it did is gone";
        Error::new(ErrorKind::Changed, why).during(Operation::ListVersions.name()).on_key(&key).in_store(self.store.inner())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream::TryStreamExt;

    use super::*;
    use crate::clock::Clock;
    use crate::storage::fault::{Fault, FaultLayer};
    use crate::storage::memory::MemoryStore;
    use crate::storage::retry::Options;
    use crate::storage::{Put, Storage, Versioning, Versions};

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_breaks_anywhere_gives_each_version_once() {
        let store = MemoryStore::new("b");
        store.set_versioning(Versioning::Enabled).expect("enabled");
        for key in ["a", "b", "c", "b", "b", "d", "b", "a"] {
            store.put(&key.into(), "x".into(), Put::default()).await.expect("put");
        }
        for page_keys in 1..4 {
            let list = List { page_keys: Some(page_keys), ..List::default() };
            let whole = store.list_versions(list.clone()).try_concat().await.expect("listed");
            assert_eq!(whole.len(), 8);
            for broken in 1..12 {
                let fault = Fault::fail(Operation::ListVersions, ErrorKind::Unavailable).nth(broken);
                let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), broken);
                let layer = FaultLayer::new(Arc::new(store.clone()), clock.clone(), [fault]);
                let retry = Retry::new(Arc::new(layer), Options::default(), clock, Arc::default());
                let listed = retry.list_versions(list.clone()).try_concat().await.expect("listed");
                assert_eq!(listed, whole, "pages of {page_keys}, call {broken} broken");
            }
        }
    }
}
