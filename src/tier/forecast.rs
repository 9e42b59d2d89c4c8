//! What a transfer will take, found by planning it: both ends are listed, what would be copied is looked at, and nothing is written.

use std::sync::Arc;

use futures::future::join;
use tokio::sync::mpsc;

use super::cost::{Ends, Estimate, Tally};
use super::price::{Item, Money, PriceTable};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Service;
use crate::storage::location::Location;
use crate::transfer::{Context, Event, Job, Options, Report};

/// Keys that one page of a listing has.
const PAGE_KEYS: u64 = 1000;
/// Events that wait.
const EVENTS_MAX: usize = 1024;

/// How much a transfer may cost.
#[derive(Debug, Clone)]
pub struct CostLimit {
    /// The most, of what is charged once.
    pub limit: Money,
    /// What things cost.
    pub prices: Arc<PriceTable>,
    /// The names under which the table knows source and destination.
    pub stores: [String; 2],
}

impl CostLimit {
    /// Plans a transfer, and refuses where it would cost more, or where nobody can tell.
    ///
    /// Fails with [`ErrorKind::Guard`] then, and as the transfer itself would where it cannot be planned.
    pub async fn hold(&self, job: &Job, context: &Context) -> Result<()> {
        self.judge(&self.forecast(job, context).await?)
    }

    /// Plans a transfer, and says what it would cost.
    ///
    /// Fails as the transfer itself would where it cannot be planned.
    pub async fn forecast(&self, job: &Job, context: &Context) -> Result<Estimate> {
        let (tally, report) = forecast(job.clone(), &self.stores, context.clone(), |_| {}).await?;
        match report.stopped.or(report.limited) {
            Some(error) => Err(error),
            None => Ok(tally.estimate(&self.prices)),
        }
    }

    /// Refuses an estimate that is over the limit, or has gaps.
    ///
    /// Fails with [`ErrorKind::Guard`].
    pub fn judge(&self, estimate: &Estimate) -> Result<()> {
        let limit = &self.limit;
        let refused = |message: String| Err(Error::new(ErrorKind::Guard, message).advise("look at `dragon estimate`; if it is right, raise the limit"));
        // What is kept is charged month after month, and the limit is of what the transfer costs.
        let unknown: Vec<String> = estimate.unknown().filter(|line| !line.item.is_monthly()).map(|line| format!("{} at {}", line.item, line.store)).collect();
        if !unknown.is_empty() {
            return refused(format!("whether it costs more than {limit} cannot be told, and nothing was copied: no price is known of {}", unknown.join(", ")));
        }
        for money in estimate.total(false) {
            if money.currency != limit.currency {
                return refused(format!("some of it is charged in {}, of which the limit of {limit} says nothing, and nothing was copied", money.currency));
            }
            if money.nano > limit.nano {
                return refused(format!("it would cost {money}, the limit is {limit}, and nothing was copied"));
            }
        }
        Ok(())
    }
}

/// Plans a transfer, and counts what it would take. `stores` are the names of source and destination in a table of prices; `told` sees every
/// event of the plan.
///
/// Fails as the transfer would where it cannot start.
pub async fn forecast(job: Job, stores: &[String; 2], context: Context, mut told: impl FnMut(&Event)) -> Result<(Tally, Report)> {
    let ends = ends(&job, stores);
    let (now, has_listed) = (context.clock.now(), job.options.files_from.is_none());
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let context = Context { events: Some(sender), progress: Arc::default(), ..context };
    let job = Job { options: Options { dry_run: true, backup: None, ..job.options.clone() }, ..job };
    let counting = async {
        let mut events = events;
        let mut tally = Tally::default();
        while let Some(event) = events.recv().await {
            if let Event::Object(object) = &event {
                tally.foresee(&ends, object, now);
            }
            told(&event);
        }
        tally
    };
    let (report, mut tally) = join(Box::pin(crate::transfer::run(job, context)), counting).await;
    let report = report?;
    for (end, keys) in [(&ends.source, report.source_keys), (&ends.destination, report.destination_keys)] {
        if let Some((name, _)) = end.as_ref().filter(|_| has_listed) {
            // One page also where there is nothing.
            tally.add(name, Item::List, keys.div_ceil(PAGE_KEYS).max(1));
        }
    }
    Ok((tally, report))
}

fn ends(job: &Job, [source, destination]: &[String; 2]) -> Ends {
    let cloud = |location: &Location, name: &String| {
        let service = location.storage.capabilities().service;
        matches!(service, Service::S3 | Service::Oss | Service::ObjectStore).then(|| (name.clone(), service))
    };
    let (a, b) = (job.source.storage.identity(), job.destination.storage.identity());
    Ends {
        source: cloud(&job.source, source),
        destination: cloud(&job.destination, destination),
        pace: job.options.thaw.as_ref().and_then(|thaw| thaw.tier).map(Into::into),
        // One account's service copies by itself.
        leaves: (a.service, &a.endpoint, &a.account) != (b.service, &b.endpoint, &b.account),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::class::Class;
    use crate::storage::memory::{MemoryOptions, MemoryStore};
    use crate::storage::{Attributes, Key, Put, Storage};
    use crate::tier::price::Price;

    async fn world() -> (Job, MemoryStore) {
        let (from, to) = (MemoryStore::with("a", MemoryOptions::like_s3()), MemoryStore::with("b", MemoryOptions::like_oss()));
        for (key, bytes, class) in [("plain", 1000, None), ("ia", 200 << 10, Some("STANDARD_IA")), ("cold", 300 << 10, Some("DEEP_ARCHIVE"))] {
            let attributes = Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() };
            from.put(&Key::from(key), vec![1; bytes].into(), Put { attributes, ..Put::default() }).await.expect("written");
        }
        let old = Attributes { storage_class: Some("Archive".into()), ..Attributes::default() };
        to.put(&"plain".into(), vec![1; 100 << 10].into(), Put { attributes: old, ..Put::default() }).await.expect("written");
        (Job::new(Location::new(Arc::new(from), ""), Location::new(Arc::new(to.clone()), "")), to)
    }

    fn quantity(estimate: &Estimate, store: &str, item: &str) -> u128 {
        estimate.lines.iter().find(|line| line.store == store && line.item.to_string() == item).map_or(0, |line| line.quantity)
    }

    #[tokio::test]
    async fn everything_that_is_charged_is_counted_and_nothing_is_written() {
        let (job, to) = world().await;
        let stores = ["us".to_owned(), "cn".to_owned()];
        let (tally, report) = forecast(job, &stores, Context::default(), |_| {}).await.expect("planned");
        assert_eq!((report.copied, report.failed), (3, 0));
        let estimate = tally.estimate(&PriceTable::default());
        let all = (1000 + (200 << 10) + (300 << 10)) as u128;
        let kib = |kib: u128| kib << 10;
        for (store, item, wanted) in [
            ("us", "egress", all),
            ("us", "get requests STANDARD", 1),
            ("us", "list requests", 1),
            ("us", "retrieval STANDARD_IA", kib(200)),
            ("us", "retrieval DEEP_ARCHIVE", kib(300)),
            ("us", "restore requests DEEP_ARCHIVE", 1),
            ("cn", "put requests Standard", 1),
            ("cn", "put requests IA", 1),
            ("cn", "storage DeepColdArchive", kib(300)),
            ("cn", "storage Standard", 1000),
            // What is overwritten had its whole minimum duration before it.
            ("cn", "early deletion Archive", kib(100) * 60),
        ] {
            assert_eq!(quantity(&estimate, store, item), wanted, "{store} {item}: {estimate:#?}");
        }
        assert_eq!(to.head(&Key::from("plain").into()).await.expect("there").size, 100 << 10, "nothing was written");
        assert!(to.head(&Key::from("ia").into()).await.is_err());
        assert_eq!(Class::find(Service::Oss, "Archive").map(|class| class.days_min), Some(60));
    }

    #[tokio::test]
    async fn a_limit_holds_and_what_nobody_can_tell_is_no_licence() {
        let (job, _) = world().await;
        let mut prices = PriceTable::default();
        let limit = |nano: u128, prices: &PriceTable, currency: &str| CostLimit {
            limit: Money { currency: currency.into(), nano },
            prices: Arc::new(prices.clone()),
            stores: ["us".to_owned(), "cn".to_owned()],
        };
        let refused = async |limit: CostLimit| {
            let error = limit.hold(&job, &Context::default()).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Guard);
            error.to_string()
        };
        assert!(refused(limit(u128::MAX, &prices, "USD")).await.contains("no price is known of"), "an empty table");
        let (tally, _) = forecast(job.clone(), &["us".to_owned(), "cn".to_owned()], Context::default(), |_| {}).await.expect("planned");
        for line in tally.estimate(&prices).lines {
            let item = match line.item {
                Item::EarlyDeletion { class } => Item::Storage { class },
                item => item,
            };
            let price = Price { amount_nano: 1_000_000_000, per: 1 << 30, currency: "USD".into(), source: "here".into(), date: jiff::civil::date(2026, 11, 1) };
            prices.add(&line.store, item, price);
        }
        limit(1_000_000_000, &prices, "USD").hold(&job, &Context::default()).await.expect("less than a dollar");
        assert!(refused(limit(1000, &prices, "USD")).await.contains("the limit is 0.0001 USD"));
        assert!(refused(limit(u128::MAX, &prices, "CNY")).await.contains("charged in USD"));
    }
}
