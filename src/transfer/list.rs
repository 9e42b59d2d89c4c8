//! A cursor over one place's listing: pages fetched one ahead, keys relative, order watched.
//!
//! # Invariants
//! - [`End::Clean`] is said only where the store said that there is no more; everything else is [`End::Failed`].
//! - A key that is not beyond all keys before it is *late*: it is given out as such, and the listing licenses no delete from there
//!   on. A store that promises no order at all is read to its end and sorted on disk first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::spill::{Sorter, SpillDir};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::location::Location;
use crate::storage::{Entry, Key, List, Page, Storage};

/// Entries of a page that is built from sorted ones.
const SORTED_PAGE_ENTRIES: usize = 1000;

/// How a listing ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// That was all.
    Clean,
    /// The rest is unknown.
    Failed(Arc<Error>),
}

enum Message {
    Page(Page),
    End(End),
}

/// A place in a listing.
pub(crate) struct Cursor {
    messages: mpsc::Receiver<Message>,
    _producer: AbortOnDropHandle<()>,
    prefix: Key,
    page: Page,
    index: usize,
    /// The greatest key so far, relative; `None` before the first.
    greatest: Option<Vec<u8>>,
    /// The entry at `index` has been looked at.
    arrived: bool,
    late: bool,
    /// The store promises order.
    promised: bool,
    /// A key has come late.
    disordered: bool,
    end: Option<End>,
    listed: u64,
}

impl Cursor {
    /// Opens a listing of everything under a place, or of what lies there behind a key (relative to it).
    pub(crate) fn open(location: &Location, after: Option<&Key>, spill: SpillDir) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let promised = location.storage.capabilities().ordered_list;
        let list = List { after: after.map(|key| location.key(key.as_bytes())), ..List::under(location.prefix.clone()) };
        let producer = produce(location.storage.clone(), list, promised, spill, sender);
        Self {
            messages,
            _producer: AbortOnDropHandle::new(tokio::spawn(producer)),
            prefix: location.prefix.clone(),
            page: Page::new(),
            index: 0,
            greatest: None,
            arrived: false,
            late: false,
            promised,
            disordered: false,
            end: None,
            listed: 0,
        }
    }

    /// Waits until there is a current entry, or the end. Safe to drop.
    pub(crate) async fn arrive(&mut self, counter: &AtomicU64) {
        while self.end.is_none() && !self.arrived {
            if self.index == self.page.len() {
                match self.messages.recv().await {
                    Some(Message::Page(page)) => (self.page, self.index) = (page, 0),
                    Some(Message::End(end)) => self.end = Some(end),
                    None => self.end = Some(End::Failed(Arc::new(Error::new(ErrorKind::Unexpected, "the listing broke off without an end")))),
                }
            } else {
                self.look(counter);
            }
        }
    }

    /// Judges the entry at `index`.
    fn look(&mut self, counter: &AtomicU64) {
        let key = self.page.entry(self.index).key;
        let Some(relative) = key.strip_prefix(self.prefix.as_bytes()) else {
            let message = format!("a listing of '{}' contains '{}'", self.prefix, Key::from(key));
            self.end = Some(End::Failed(Arc::new(Error::new(ErrorKind::Unexpected, message))));
            return;
        };
        // A folder's own marker is not in the folder.
        if relative.is_empty() {
            self.index += 1;
            return;
        }
        self.late = self.greatest.as_deref().is_some_and(|greatest| relative <= greatest);
        if self.late {
            self.disordered = true;
        } else {
            let greatest = self.greatest.get_or_insert_default();
            greatest.clear();
            greatest.extend_from_slice(relative);
        }
        self.arrived = true;
        self.listed += 1;
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The current entry, its key relative. `None` at the end, and before [`Self::arrive`].
    pub(crate) fn entry(&self) -> Option<Entry<'_>> {
        let entry = (self.arrived && self.end.is_none()).then(|| self.page.entry(self.index))?;
        Some(Entry { key: &entry.key[self.prefix.len()..], ..entry })
    }

    /// Whether the current entry comes after a greater one.
    pub(crate) fn is_late(&self) -> bool {
        self.late
    }

    /// Moves on from the current entry.
    pub(crate) fn advance(&mut self) {
        if std::mem::take(&mut self.arrived) {
            self.index += 1;
        }
    }

    /// How it ended, once it has.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether all keys so far came in order from a store that promises it.
    pub(crate) fn is_ordered(&self) -> bool {
        self.promised && !self.disordered
    }

    /// Whether a key has come late, so that a key passed over may still come.
    pub(crate) fn is_disordered(&self) -> bool {
        self.disordered
    }

    /// How many keys so far.
    pub(crate) fn listed(&self) -> u64 {
        self.listed
    }
}

/// Feeds the channel; the receiver's going away ends it.
async fn produce(storage: Arc<dyn Storage>, list: List, ordered: bool, spill: SpillDir, sender: mpsc::Sender<Message>) {
    let result = if ordered { forward(&*storage, list, &sender).await } else { sort(&*storage, list, spill, &sender).await };
    let end = match result {
        Ok(()) => End::Clean,
        Err(error) => End::Failed(Arc::new(error.during("list").in_store(&storage))),
    };
    // A receiver that went away wants no end either.
    let _ = sender.send(Message::End(end)).await;
}

async fn forward(storage: &dyn Storage, list: List, sender: &mpsc::Sender<Message>) -> Result<()> {
    let mut pages = storage.list(list);
    while let Some(page) = pages.next().await {
        if sender.send(Message::Page(page?)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads all, sorts it on disk, then feeds it in order. A listing that fails midway gives nothing: what is missing could be anywhere.
async fn sort(storage: &dyn Storage, list: List, spill: SpillDir, sender: &mpsc::Sender<Message>) -> Result<()> {
    let mut sorter = Sorter::new(spill);
    let mut pages = storage.list(list);
    while let Some(page) = pages.next().await {
        for entry in page?.iter() {
            sorter.push(&entry).await?;
        }
        if sender.is_closed() {
            return Ok(());
        }
    }
    let mut sorted = sorter.finish().await?;
    loop {
        let mut page = Page::new();
        while page.len() < SORTED_PAGE_ENTRIES {
            let Some(entry) = sorted.next().await? else { break };
            page.push(entry.entry());
        }
        if page.is_empty() || sender.send(Message::Page(page)).await.is_err() {
            return Ok(());
        }
    }
}
