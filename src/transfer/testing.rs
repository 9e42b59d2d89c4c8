//! A store for tests whose listing is what a script says, and nothing else works.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;

use super::known::Known;
use super::list::Cursor;
use super::spill::SpillDir;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::MemoryJournal;
use crate::storage::location::Location;
use crate::storage::memory::MemoryStore;
use crate::storage::{
    Archive, Capabilities, Deleted, Details, Entry, Get, GetOutput, Identity, Key, Kind, Lifecycle, List, Multipart, ObjectInfo, ObjectRef, Page, Payload,
    Presign, Put, PutOutput, ServerCopy, Storage, StoredPart, Versions,
};

/// One listing: the pages, made one by one.
pub(super) struct Script {
    name: &'static str,
    pages: Arc<dyn Fn(usize) -> Option<Result<Page>> + Send + Sync>,
    /// For what a script does not tell.
    empty: MemoryStore,
}

/// Pages of keys with blanks between them: `k?` is unreadable, `k@` a link; the page `!` is an error.
pub(super) fn script(pages: &[&str]) -> Script {
    let pages: Vec<String> = pages.iter().map(ToString::to_string).collect();
    Script::of("script", move |index| {
        let text = pages.get(index)?;
        if text == "!" {
            return Some(Err(Error::new(ErrorKind::Unavailable, "a page that fails")));
        }
        let mut page = Page::new();
        for word in text.split_whitespace() {
            let kind = match word.as_bytes().last() {
                Some(b'?') => Kind::Unreadable,
                Some(b'@') => Kind::Symlink,
                _ => Kind::Object,
            };
            let key = word.trim_end_matches(['?', '@']).as_bytes();
            page.push(Entry { key, size: 1, etag: "e", modified: Some(Timestamp::UNIX_EPOCH), storage_class: "", kind });
        }
        Some(Ok(page))
    })
}

/// A cursor over a script.
pub(super) fn open(script: Script) -> Cursor {
    open_at(&Script::location(script))
}

/// A cursor over a place.
pub(super) fn open_at(location: &Location) -> Cursor {
    Cursor::open(location, None, None, SpillDir::new(None, Clock::system()))
}

/// The cursor over a journal that knows nothing.
pub(super) fn nothing_known() -> Known {
    Known::open(Arc::new(MemoryJournal::new()), None, false, None)
}

impl Script {
    /// A store whose listing has the pages that a function gives until it gives none.
    pub(super) fn of(name: &'static str, pages: impl Fn(usize) -> Option<Result<Page>> + Send + Sync + 'static) -> Self {
        Self { name, pages: Arc::new(pages), empty: MemoryStore::new(name) }
    }

    /// The whole of it.
    pub(super) fn location(self) -> Location {
        Location::new(Arc::new(self), "")
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[async_trait]
impl Storage for Script {
    fn capabilities(&self) -> &Capabilities {
        self.empty.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.empty.identity()
    }

    fn list(&self, _: List) -> BoxStream<'static, Result<Page>> {
        let pages = self.pages.clone();
        stream::iter(0..).map(move |index| pages(index)).take_while(|page| std::future::ready(page.is_some())).filter_map(std::future::ready).boxed()
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.empty.head(object).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.empty.stored_part(object, number).await
    }

    async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        self.empty.get(object, get).await
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.empty.put(key, payload, put).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        self.empty.delete(objects)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        None
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
