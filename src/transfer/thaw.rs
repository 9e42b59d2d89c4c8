//! Objects of the source that lie in an archive: asked for within a day's budget, left until they are thawed, copied by the run that finds
//! them so.
//!
//! Nothing is held open while they thaw, and nothing but the day's spending is remembered: how an object stands is asked of the service.

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::storage::thaw::{Archived, Spent, Thaw, ask_for, is_readable};
use crate::storage::{Restore, Storage};

/// What the journal remembers under these names.
const LEARNED_DAY: &str = "thaw_day";
const LEARNED_OBJECTS: &str = "thaw_objects";
const LEARNED_BYTES: &str = "thaw_bytes";
const LEARNED_NANO: &str = "thaw_cost";

/// How an archived object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frozen {
    /// It can be read.
    Readable,
    /// It was asked for, just now or before.
    Thawing,
    /// The day's budget is spent: it is asked for another day.
    OverBudget,
}

/// Asks for what is frozen. Shared by all copies of a run.
#[derive(Debug)]
pub(crate) struct Thawer {
    thaw: Option<Thaw>,
    clock: Clock,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    /// Days since 1970, UTC.
    day: u64,
    spent: Spent,
}

impl Thawer {
    pub(crate) fn new(thaw: Option<Thaw>, clock: Clock) -> Self {
        Self { thaw, clock, today: Mutex::default() }
    }

    /// Goes on with the day's budget where an earlier run has left it.
    pub(crate) async fn recall(&self, journal: &dyn Journal) -> Result<()> {
        if self.thaw.is_none() {
            return Ok(());
        }
        let (day, objects, bytes) = (journal.learned(LEARNED_DAY).await?, journal.learned(LEARNED_OBJECTS).await?, journal.learned(LEARNED_BYTES).await?);
        let nano = journal.learned(LEARNED_NANO).await?;
        let spent = Spent { objects: objects.unwrap_or_default(), bytes: bytes.unwrap_or_default(), nano: nano.unwrap_or_default() };
        *self.today.lock().await = Today { day: day.unwrap_or_default(), spent };
        Ok(())
    }

    /// Looks how an object stands, and asks for it where it is frozen, nobody has asked yet, and the operator wants that.
    pub(crate) async fn see(&self, storage: &dyn Storage, archived: &Archived, journal: &dyn Journal) -> Result<Frozen> {
        let restore = storage.head(&archived.object()).await?.restore;
        if restore == Restore::Ongoing {
            return Ok(Frozen::Thawing);
        }
        if is_readable(storage, archived, restore).await? {
            return Ok(Frozen::Readable);
        }
        let Some(thaw) = &self.thaw else {
            let error = Error::new(ErrorKind::Frozen, format!("it lies in {}, and must be restored before it can be read", archived.class.word));
            return Err(error.advise("--thaw asks for it, and a later run copies it; or `dragon restore`"));
        };
        if !self.admit(thaw, archived, journal).await? {
            return Ok(Frozen::OverBudget);
        }
        // Whatever the answer: what can be read by now is copied by the next run.
        ask_for(storage, archived, thaw.days, thaw.tier).await?;
        Ok(Frozen::Thawing)
    }

    /// Counts an object against the day's budget; false where it does not fit. What is counted is on disk before anything is asked for: a
    /// crash in between spends too much of the budget, never too little.
    async fn admit(&self, thaw: &Thaw, archived: &Archived, journal: &dyn Journal) -> Result<bool> {
        let day = u64::try_from(self.clock.now().as_second()).unwrap_or_default() / (24 * 3600);
        {
            // Held until it is written, so that a smaller sum does not come after a larger one.
            let mut today = self.today.lock().await;
            if today.day != day {
                *today = Today { day, spent: Spent::default() };
            }
            if !today.spent.admit(thaw, archived) {
                return Ok(false);
            }
            // The day last: until then the sums of the day before are not taken for this one's.
            let Spent { objects, bytes, nano } = today.spent;
            for (name, value) in [(LEARNED_OBJECTS, objects), (LEARNED_BYTES, bytes), (LEARNED_NANO, nano), (LEARNED_DAY, day)] {
                journal.learn(name, value).await?;
            }
        }
        journal.flush().await?;
        Ok(true)
    }
}
