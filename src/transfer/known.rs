//! What the journal knows, read in key order beside the two listings: a third sorted cursor, never a look-up for each key.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::shard::Shard;
use crate::error::Result;
use crate::journal::{Journal, Proved};
use crate::storage::Key;

/// Rows that are read together: each read is a short one, so that it does not keep the journal from tidying up.
const PAGE_ROWS: usize = 500;

/// Rows to forget that gather; then they are forgotten before any more are read.
const STALE_MAX: usize = 1000;

type Rows = Vec<(Key, Proved)>;

/// A place in what was proved.
pub(crate) struct Known {
    journal: Arc<dyn Journal>,
    /// The page to come; `None` where there is no more. It is kept here, so that a read that is waited for in turns is made once.
    page: Option<BoxFuture<'static, Result<Rows>>>,
    rows: VecDeque<(Key, Proved)>,
    /// Whether rows whose keys both listings have passed are forgotten, and of which keys there may be rows.
    prunes: bool,
    shard: Option<Shard>,
    /// Rows to forget.
    stale: Vec<Key>,
    /// The front row has met its key.
    met: bool,
}

impl Known {
    /// Everything after a key. With `prunes`, what neither end holds any more of that share is forgotten on the way.
    pub(crate) fn open(journal: Arc<dyn Journal>, after: Option<Key>, prunes: bool, shard: Option<Shard>) -> Self {
        let page = journal.keeps_proofs().then(|| read(journal.clone(), after));
        Self { journal, page, rows: VecDeque::new(), prunes, shard, stale: Vec::new(), met: false }
    }

    /// What lies behind a key, read by another cursor; this one is not to go beyond it.
    pub(crate) fn split(&self, at: Key) -> Self {
        Self::open(self.journal.clone(), Some(at), self.prunes, self.shard)
    }

    /// Goes on to a key, which lies beyond all keys before it. False: rows are to be [forgotten](Self::forget) first. Safe to drop.
    pub(crate) async fn reach(&mut self, key: &[u8]) -> Result<bool> {
        while self.stale.len() < STALE_MAX {
            while let Some((front, _)) = self.rows.pop_front_if(|(front, _)| front.as_bytes() < key) {
                let met = std::mem::take(&mut self.met);
                if self.prunes && !met && self.shard.is_none_or(|shard| shard.holds(front.as_bytes())) {
                    self.stale.push(front);
                }
            }
            let Some(page) = self.page.as_mut().filter(|_| self.rows.is_empty()) else { return Ok(true) };
            let rows = page.await;
            self.page = None;
            self.rows = rows?.into();
            if let Some((last, _)) = self.rows.back().filter(|_| self.rows.len() == PAGE_ROWS) {
                self.page = Some(read(self.journal.clone(), Some(last.clone())));
            }
        }
        Ok(false)
    }

    /// What was proved of a key that [`Self::reach`] has reached.
    pub(crate) fn of(&self, key: &[u8]) -> Option<&Proved> {
        self.rows.front().filter(|(front, _)| front.as_bytes() == key).map(|(_, proved)| proved)
    }

    /// Keeps the row that [`Self::of`] gave: its key is still there.
    pub(crate) fn meet(&mut self) {
        self.met = true;
    }

    /// Whether rows are to be forgotten.
    pub(crate) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Forgets them. Dropped, it forgets some, and the rest when it is called again.
    pub(crate) async fn forget(&mut self) -> Result<()> {
        while let Some(key) = self.stale.last() {
            self.journal.forget(key).await?;
            self.stale.pop();
        }
        Ok(())
    }
}

fn read(journal: Arc<dyn Journal>, after: Option<Key>) -> BoxFuture<'static, Result<Rows>> {
    async move { journal.proofs(after.as_ref(), PAGE_ROWS).await }.boxed()
}
