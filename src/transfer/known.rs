//! What the journal knows, read in key order beside the two listings: a third sorted cursor, never a look-up for each key.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Result;
use crate::journal::{Journal, Proved};
use crate::storage::Key;

/// Rows that are read together: each read is a short one, so that it does not keep the journal from tidying up.
const PAGE_ROWS: usize = 1000;

/// A place in what was proved.
pub(crate) struct Known {
    journal: Arc<dyn Journal>,
    rows: VecDeque<(Key, Proved)>,
    /// The last key that was read.
    after: Option<Key>,
    ended: bool,
    /// Whether rows whose keys both listings have passed are forgotten.
    prunes: bool,
    /// The front row has met its key.
    met: bool,
}

impl Known {
    /// Everything after a key. With `prunes`, what neither end holds any more is forgotten on the way.
    pub(crate) fn open(journal: Arc<dyn Journal>, after: Option<Key>, prunes: bool) -> Self {
        let ended = !journal.keeps_proofs();
        Self { journal, rows: VecDeque::new(), after, ended, prunes, met: false }
    }

    /// Goes on to a key, which lies beyond all keys before it. Safe to drop.
    pub(crate) async fn reach(&mut self, key: &[u8]) -> Result<()> {
        loop {
            while let Some((front, _)) = self.rows.front().filter(|(front, _)| front.as_bytes() < key) {
                if self.prunes && !self.met {
                    self.journal.forget(front).await?;
                }
                self.rows.pop_front();
                self.met = false;
            }
            if !self.rows.is_empty() || self.ended {
                return Ok(());
            }
            let page = self.journal.proofs(self.after.as_ref(), PAGE_ROWS).await?;
            self.ended = page.len() < PAGE_ROWS;
            if let Some((last, _)) = page.last() {
                self.after = Some(last.clone());
            }
            self.rows = page.into();
        }
    }

    /// What was proved of a key that [`Self::reach`] has reached.
    pub(crate) fn of(&self, key: &[u8]) -> Option<&Proved> {
        self.rows.front().filter(|(front, _)| front.as_bytes() == key).map(|(_, proved)| proved)
    }

    /// Keeps the row that [`Self::of`] gave: its key is still there.
    pub(crate) fn meet(&mut self) {
        self.met = true;
    }
}
