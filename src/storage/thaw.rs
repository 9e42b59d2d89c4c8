//! Asks archives for what lies in them, within a budget.
//!
//! A restore makes a temporary copy that can be read for some days and is charged for beside the archived one. Nothing is held open while
//! it goes on: whoever comes back later asks again, and is told how it stands.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::class::{Class, Reading};
use super::{Get, Key, ObjectRef, Page, Restore, RestoreTier, Restoring, Service, Storage};
use crate::error::{Error, ErrorKind, Result};

/// Requests that are underway at a time.
const AT_ONCE: usize = 32;

/// How to restore. [`Thaw::default`] asks for one day, at the service's usual pace, without a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thaw {
    /// For how many days the copies are to be readable.
    pub days: u16,
    /// How fast; `None` is the service's usual pace. OSS's class Archive knows one pace only.
    pub tier: Option<RestoreTier>,
    /// Most objects to ask for.
    pub objects_max: Option<u64>,
    /// Most bytes to ask for: retrieval is charged by the byte.
    pub bytes_max: Option<u64>,
    /// Most that asking may cost.
    pub cost_max: Option<ThawCost>,
    /// Say what would be asked for, and ask for nothing.
    pub dry_run: bool,
}

/// How much thawing may cost, and what it costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThawCost {
    /// The most, in billionths of the currency's unit.
    pub nano_max: u64,
    /// What each class charges. An object of another class is never asked for.
    pub charges: Vec<ThawCharge>,
}

/// What a class charges for thawing one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThawCharge {
    /// The class.
    pub class: &'static str,
    /// For the request, in billionths.
    pub request_nano: u64,
    /// For so many bytes, in billionths.
    pub bytes_nano: u64,
    /// How many bytes that is for.
    pub per_bytes: u64,
}

impl ThawCost {
    /// What an object costs, rounded up; `None` where its class has no charge.
    fn of(&self, archived: &Archived) -> Option<u64> {
        let charge = self.charges.iter().find(|charge| charge.class == archived.class.word)?;
        let bytes = (u128::from(charge.bytes_nano) * u128::from(archived.size)).div_ceil(u128::from(charge.per_bytes.max(1)));
        Some(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(charge.request_nano))
    }
}

impl Default for Thaw {
    fn default() -> Self {
        Self { days: 1, tier: None, objects_max: None, bytes_max: None, cost_max: None, dry_run: false }
    }
}

/// One archived object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Its key.
    pub key: Key,
    /// Which version of it; `None` is the latest.
    pub version: Option<String>,
    /// Its length in bytes.
    pub size: u64,
    /// The class that it lies in.
    pub class: &'static Class,
}

impl Archived {
    /// What must be restored before it is read, among what a listing shows.
    pub fn of_page(service: Service, page: &Page) -> Vec<Self> {
        let archived = |entry: super::Entry<'_>| Self::of(service, entry.key, entry.size, entry.storage_class);
        page.iter().filter_map(archived).collect()
    }

    /// The same for one object; `None` where it can be read at once.
    pub fn of(service: Service, key: &[u8], size: u64, class: &str) -> Option<Self> {
        let class = Class::find(service, class).filter(|class| class.reading == Reading::AfterRestore)?;
        Some(Self { key: Key::from(key), version: None, size, class })
    }

    /// What a request for it names.
    pub fn object(&self) -> ObjectRef {
        ObjectRef { key: self.key.clone(), version: self.version.clone() }
    }
}

/// How one object stands after it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was asked for, with this answer.
    Asked(Restoring),
    /// It can be read already, until then where the service says it.
    Readable(Option<Timestamp>),
    /// It would be asked for.
    Planned,
    /// The budget was used up before its turn.
    OverBudget,
}

/// One object, and what came of it.
#[derive(Debug)]
pub struct Thawed {
    /// The object.
    pub archived: Archived,
    /// How it stands, or why nobody knows.
    pub standing: Result<Standing>,
}

impl Thaw {
    /// Refuses what no service would take, before the first request.
    pub fn check(&self) -> Result<()> {
        match self.days {
            1..=365 => Ok(()),
            days => Err(Error::invalid(format!("a restored copy is kept for 1 to 365 days, not {days}"))),
        }
    }

    /// Asks for each object that is not readable yet, in the order in which they come, until the budget is used up. What is readable, or being
    /// restored, costs nothing and counts for nothing. An error among the objects is handed on; what came before it is asked for.
    pub fn ask(self, storage: Arc<dyn Storage>, objects: BoxStream<'static, Result<Archived>>) -> BoxStream<'static, Result<Thawed>> {
        let (days, tier) = (self.days, self.tier);
        let store = storage.clone();
        let looked = objects.map(move |found| {
            let store = store.clone();
            async move {
                let archived = found?;
                let state = store.head(&archived.object()).await.map(|info| info.restore);
                Ok::<_, Error>((archived, state))
            }
        });
        let mut spent = Spent::default();
        let judged = looked.buffered(AT_ONCE).map_ok(move |(archived, state)| {
            let settled = match state {
                Err(error) => Some(Err(error)),
                Ok(Restore::Restored { until }) => Some(Ok(Standing::Readable(until))),
                Ok(Restore::Ongoing) => Some(Ok(Standing::Asked(Restoring::Ongoing))),
                Ok(Restore::None) if !spent.admit(&self, &archived) => Some(Ok(Standing::OverBudget)),
                Ok(Restore::None) => self.dry_run.then_some(Ok(Standing::Planned)),
            };
            (archived, settled)
        });
        let asked = judged.map(move |judged| {
            let storage = storage.clone();
            async move {
                let (archived, settled) = judged?;
                let standing = match settled {
                    Some(standing) => standing,
                    None => ask_for(&*storage, &archived, days, tier).await.map(Standing::Asked),
                };
                Ok(Thawed { archived, standing })
            }
        });
        asked.buffer_unordered(AT_ONCE).boxed()
    }
}

/// What was asked for so far, of a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    pub(crate) nano: u64,
}

impl Spent {
    /// Whether an object still fits; counts it if so.
    pub(crate) fn admit(&mut self, thaw: &Thaw, archived: &Archived) -> bool {
        let nano = match &thaw.cost_max {
            Some(cost) => match cost.of(archived) {
                Some(nano) => nano,
                None => return false,
            },
            None => 0,
        };
        let more = Self { objects: self.objects + 1, bytes: self.bytes.saturating_add(archived.size), nano: self.nano.saturating_add(nano) };
        let fits = thaw.objects_max.is_none_or(|max| more.objects <= max)
            && thaw.bytes_max.is_none_or(|max| more.bytes <= max)
            && thaw.cost_max.as_ref().is_none_or(|cost| more.nano <= cost.nano_max);
        if fits {
            *self = more;
        }
        fits
    }
}

/// Whether an archived object can be read now. OSS's class Archive can where its bucket grants real-time access, which only reading shows.
pub(crate) async fn is_readable(storage: &dyn Storage, archived: &Archived, restore: Restore) -> Result<bool> {
    match restore {
        Restore::Restored { .. } => Ok(true),
        Restore::None if archived.class.word == "Archive" && archived.size > 0 => {
            let first = Get { range: Some(0..1), ..Get::default() };
            match storage.get(&archived.object(), first).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::Frozen => Ok(false),
                Err(error) => Err(error),
            }
        }
        Restore::None | Restore::Ongoing => Ok(false),
    }
}

/// Asks for one object.
pub(crate) async fn ask_for(storage: &dyn Storage, archived: &Archived, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
    let told = |error: Error| error.during("restore").on_key(&archived.key).in_store(storage);
    let archive = storage.archive().ok_or_else(|| told(Error::unsupported("this store has no archives")))?;
    // The class Archive is restored within a minute, and refuses to be told how fast (protocol.md section 4).
    let tier = tier.filter(|_| archived.class.word != "Archive");
    if archived.class.word == "DEEP_ARCHIVE" && tier == Some(RestoreTier::Expedited) {
        let error = Error::new(ErrorKind::Invalid, "nothing in DEEP_ARCHIVE is restored at the tier Expedited");
        return Err(told(error.advise("ask for Standard (12 hours) or Bulk (48 hours)")));
    }
    archive.restore(&archived.object(), days, tier).await.map_err(told)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;
    use jiff::SignedDuration;

    use super::*;
    use crate::clock::Clock;
    use crate::storage::memory::{MemoryOptions, MemoryStore};
    use crate::storage::{Attributes, Get, List, Put};

    async fn store(clock: &Clock) -> Arc<MemoryStore> {
        let options = MemoryOptions { restore_delay: SignedDuration::from_hours(12), clock: clock.clone(), ..MemoryOptions::like_s3() };
        let store = MemoryStore::with("b", options);
        for (key, class) in [("a", "DEEP_ARCHIVE"), ("b", "STANDARD_IA"), ("c", "GLACIER"), ("d", "DEEP_ARCHIVE")] {
            let attributes = Attributes { storage_class: Some(class.into()), ..Attributes::default() };
            store.put(&key.into(), "four".into(), Put { attributes, ..Put::default() }).await.expect("written");
        }
        Arc::new(store)
    }

    async fn ask(store: &Arc<MemoryStore>, thaw: Thaw) -> Vec<(String, Standing)> {
        let mut archived = Vec::new();
        let mut pages = store.list(List::default());
        while let Some(page) = pages.next().await {
            archived.extend(Archived::of_page(Service::S3, &page.expect("a page")));
        }
        let thawed: Vec<Thawed> = thaw.ask(store.clone(), stream::iter(archived.into_iter().map(Ok)).boxed()).try_collect().await.expect("no listing to fail");
        let mut told: Vec<_> = thawed.into_iter().map(|thawed| (thawed.archived.key.to_string(), thawed.standing.expect("asked"))).collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        told
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_frozen_is_asked_for_once_and_read_when_it_is_thawed() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let store = store(&clock).await;
        let frozen = store.get(&Key::from("a").into(), Get::default()).await.expect_err("frozen");
        assert_eq!(frozen.kind(), ErrorKind::Frozen);
        let planned = ask(&store, Thaw { dry_run: true, ..Thaw::default() }).await;
        assert_eq!(planned, ["a", "c", "d"].map(|key| (key.to_owned(), Standing::Planned)));
        let begun = Standing::Asked(Restoring::Begun);
        let first = ask(&store, Thaw { objects_max: Some(2), ..Thaw::default() }).await;
        assert_eq!(first, [("a".to_owned(), begun), ("c".to_owned(), begun), ("d".to_owned(), Standing::OverBudget)]);
        // What is underway does not count against the next budget.
        let second = ask(&store, Thaw { bytes_max: Some(4), ..Thaw::default() }).await;
        let ongoing = Standing::Asked(Restoring::Ongoing);
        assert_eq!(second, [("a".to_owned(), ongoing), ("c".to_owned(), ongoing), ("d".to_owned(), begun)]);
        clock.sleep(Duration::from_secs(12 * 3600)).await;
        let third = ask(&store, Thaw::default()).await;
        let until = "2026-01-02T12:00:00Z".parse().ok();
        assert_eq!(third, ["a", "c", "d"].map(|key| (key.to_owned(), Standing::Readable(until))));
        assert!(store.get(&Key::from("a").into(), Get::default()).await.is_ok());
        clock.sleep(Duration::from_secs(25 * 3600)).await;
        assert_eq!(store.get(&Key::from("a").into(), Get::default()).await.expect_err("frozen again").kind(), ErrorKind::Frozen);
    }

    #[tokio::test]
    async fn money_is_a_budget_too_and_what_has_no_price_is_not_asked_for() {
        let store = store(&Clock::system()).await;
        // Two billionths a request and one a byte: six for an object of four bytes.
        let charge = ThawCharge { class: "DEEP_ARCHIVE", request_nano: 2, bytes_nano: 1000, per_bytes: 1000 };
        let cost = |nano_max| Thaw { cost_max: Some(ThawCost { nano_max, charges: vec![charge.clone()] }), dry_run: true, ..Thaw::default() };
        let planned =
            |told: Vec<(String, Standing)>| told.into_iter().filter(|(_, standing)| *standing == Standing::Planned).map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(planned(ask(&store, cost(5)).await), [""; 0]);
        assert_eq!(planned(ask(&store, cost(11)).await), ["a"]);
        assert_eq!(planned(ask(&store, cost(12)).await), ["a", "d"], "c lies in a class without a price");
    }

    #[tokio::test]
    async fn what_no_service_does_is_refused_before_it_is_asked() {
        let store = store(&Clock::system()).await;
        let thaw = Thaw { tier: Some(RestoreTier::Expedited), ..Thaw::default() };
        let deep = Archived::of(Service::S3, b"a", 4, "DEEP_ARCHIVE").expect("archived");
        let thawed: Vec<Thawed> = thaw.ask(store, stream::iter([Ok(deep)]).boxed()).try_collect().await.expect("no listing to fail");
        assert_eq!(thawed[0].standing.as_ref().expect_err("refused").kind(), ErrorKind::Invalid);
        assert!(Thaw { days: 0, ..Thaw::default() }.check().is_err() && Thaw { days: 366, ..Thaw::default() }.check().is_err());
    }
}
