//! A cursor over one place's listing, or a range of it: pages fetched one ahead, keys relative, order watched.
//!
//! # Invariants
//! - [`End::Clean`] is said only where the store said that there is no more, or gave a key beyond the range; everything else is
//!   [`End::Failed`].
//! - A key that is not beyond all keys before it, and beyond the key that the range lies behind, is *late*: it is given out as such, and
//!   the listing licenses no delete from there on; if it is a piece of one that was cut, it fails. A store that promises no order at all is
//!   read to its end and sorted on disk first.
//! - Keys of another share are not given out. What cannot be looked into is: it stands for keys of every share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::shard::Shard;
use super::spill::{Sorter, SpillDir};
use super::split::Seen;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::location::Location;
use crate::storage::{Entry, Key, Kind, List, Page, Storage};

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
    location: Location,
    spill: SpillDir,
    shard: Option<Shard>,
    /// `None` where nothing is listed any more.
    pages: Option<Pages>,
    page: Page,
    index: usize,
    /// How many pages came.
    page_count: u64,
    /// The first key that came, relative; empty before it.
    first: Vec<u8>,
    /// The greatest key so far, relative; `None` before the first.
    greatest: Option<Vec<u8>>,
    /// The last key of the range, relative.
    upto: Option<Key>,
    /// The listing is a piece of one that was cut, so that order is all that says which keys are in it.
    is_piece: bool,
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

struct Pages {
    messages: mpsc::Receiver<Message>,
    _producer: AbortOnDropHandle<()>,
}

impl Cursor {
    /// Opens a listing of everything under a place, or of what lies there behind a key (relative to it), of which a share is wanted.
    pub(crate) fn open(location: &Location, after: Option<&Key>, shard: Option<Shard>, spill: SpillDir) -> Self {
        Self::open_range(location, (after, None), shard, spill)
    }

    fn open_range(location: &Location, (after, upto): (Option<&Key>, Option<&Key>), shard: Option<Shard>, spill: SpillDir) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let whole = |key: Option<&Key>| key.map(|key| location.key(key.as_bytes()));
        let list = List { after: whole(after), upto: whole(upto), ..List::under(location.prefix.clone()) };
        let ordered = location.storage.capabilities().ordered_list;
        let producer = produce(location.storage.clone(), list, ordered, spill.clone(), sender);
        let pages = Pages { messages, _producer: AbortOnDropHandle::new(tokio::spawn(producer)) };
        let greatest = after.map(|after| after.as_bytes().to_vec());
        Self { pages: Some(pages), greatest, upto: upto.cloned(), end: None, ..Self::ended(location, shard, spill) }
    }

    /// A listing of nothing, which has ended.
    fn ended(location: &Location, shard: Option<Shard>, spill: SpillDir) -> Self {
        Self {
            location: location.clone(),
            spill,
            shard,
            pages: None,
            page: Page::new(),
            index: 0,
            page_count: 0,
            first: Vec::new(),
            greatest: None,
            upto: None,
            is_piece: false,
            arrived: false,
            late: false,
            promised: location.storage.capabilities().ordered_list,
            disordered: false,
            end: Some(End::Clean),
            listed: 0,
        }
    }

    /// Cuts the range at a key behind everything that came so far: what lies behind it is listed by the cursor that is returned.
    pub(crate) fn split(&mut self, at: &Key) -> Self {
        let upto = self.upto.replace(at.clone());
        self.is_piece = true;
        let (location, spill) = (&self.location, self.spill.clone());
        let split =
            if self.is_whole() { Self::ended(location, self.shard, spill) } else { Self::open_range(location, (Some(at), upto.as_ref()), self.shard, spill) };
        Self { is_piece: true, ..split }
    }

    /// Whether the store has said that nothing follows what came so far.
    pub(crate) fn is_whole(&self) -> bool {
        self.page.is_last() || matches!(self.end, Some(End::Clean))
    }

    /// What came so far; `None` before the first page.
    pub(crate) fn seen(&self) -> Option<Seen<'_>> {
        // The greatest is behind the page's last only where there is no order; but what was given out is never given out again.
        let last = self.page.len().checked_sub(1).map(|last| self.relative(last)).max(self.greatest.as_deref())?;
        (self.page_count > 0).then(|| Seen { first: &self.first, last, end: self.upto.as_ref().map(Key::as_bytes), pages: self.page_count })
    }

    /// The keys of the page that came last, relative.
    pub(crate) fn page_keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.page.len()).map(|index| self.relative(index))
    }

    /// How many pages came so far.
    pub(crate) fn page_count(&self) -> u64 {
        self.page_count
    }

    fn relative(&self, index: usize) -> &[u8] {
        self.page.key(index).get(self.location.prefix.len()..).unwrap_or_default()
    }

    /// Waits until there is a current entry, or the end. Safe to drop.
    pub(crate) async fn arrive(&mut self, counter: &AtomicU64) {
        while self.end.is_none() && !self.arrived {
            if self.index < self.page.len() {
                self.look(counter);
                continue;
            }
            let message = match &mut self.pages {
                Some(pages) => pages.messages.recv().await,
                None => None,
            };
            match message {
                Some(Message::Page(page)) => self.turn(page),
                Some(Message::End(end)) => self.close(end),
                None => self.close(End::Failed(Arc::new(Error::new(ErrorKind::Unexpected, "the listing broke off without an end")))),
            }
        }
    }

    fn turn(&mut self, page: Page) {
        (self.page, self.index) = (page, 0);
        self.page_count += 1;
        if self.first.is_empty() && !self.page.is_empty() {
            self.first = self.relative(0).to_vec();
        }
    }

    fn close(&mut self, end: End) {
        self.end = Some(end);
        (self.page, self.index, self.pages) = (Page::new(), 0, None);
    }

    /// Judges the entry at `index`.
    fn look(&mut self, counter: &AtomicU64) {
        let key = self.page.key(self.index);
        let Some(relative) = key.strip_prefix(self.location.prefix.as_bytes()) else {
            let message = format!("a listing of '{}' contains '{}'", self.location.prefix, Key::from(key));
            self.close(End::Failed(Arc::new(Error::new(ErrorKind::Unexpected, message))));
            return;
        };
        if self.upto.as_ref().is_some_and(|upto| relative > upto.as_bytes()) {
            // What is dropped must not hold what was to come.
            let in_order = self.page_keys().skip(self.index).is_sorted_by(|a, b| a < b);
            self.close(if in_order { End::Clean } else { out_of_order(relative) });
            return;
        }
        // A folder's own marker is not in the folder.
        if relative.is_empty() {
            self.index += 1;
            return;
        }
        self.late = self.greatest.as_deref().is_some_and(|greatest| relative <= greatest);
        if self.late && self.is_piece {
            // It may be another range's, and what is to be here may have been passed over elsewhere.
            self.close(out_of_order(relative));
            return;
        }
        if self.late {
            self.disordered = true;
        } else {
            let greatest = self.greatest.get_or_insert_default();
            greatest.clear();
            greatest.extend_from_slice(relative);
        }
        let is_closed = || matches!(self.page.entry(self.index).kind, Kind::Unreadable | Kind::Symlink);
        if self.shard.is_some_and(|shard| !shard.holds(relative)) && !is_closed() {
            self.index += 1;
            return;
        }
        self.arrived = true;
        self.listed += 1;
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The key of the current entry, relative. `None` at the end, and before [`Self::arrive`].
    pub(crate) fn key(&self) -> Option<&[u8]> {
        (self.arrived && self.end.is_none()).then(|| self.relative(self.index))
    }

    /// The current entry, its key relative. `None` at the end, and before [`Self::arrive`].
    pub(crate) fn entry(&self) -> Option<Entry<'_>> {
        let entry = (self.arrived && self.end.is_none()).then(|| self.page.entry(self.index))?;
        Some(Entry { key: &entry.key[self.location.prefix.len()..], ..entry })
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

    /// Whether the page that came last has been used up, and the next is not here yet.
    pub(crate) fn has_spent_page(&self) -> bool {
        !self.page.is_empty() && self.index == self.page.len()
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

fn out_of_order(relative: &[u8]) -> End {
    let error = Error::integrity("the listing is out of order, so that nobody knows what a part of it holds").on_key(Key::from(relative));
    End::Failed(Arc::new(error.advise("report the service; nothing was deleted on the strength of this listing")))
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

/// Asks for a page when the one before has been taken: two pages are held for a cursor, and no more.
async fn forward(storage: &dyn Storage, list: List, sender: &mpsc::Sender<Message>) -> Result<()> {
    let mut pages = storage.list(list);
    while let Ok(permit) = sender.reserve().await {
        let Some(page) = pages.next().await else { return Ok(()) };
        permit.send(Message::Page(page?));
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
