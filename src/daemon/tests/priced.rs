//! A job that may cost so much.

use super::*;
use crate::storage::memory::MemoryOptions;
use crate::tier::forecast::CostLimit;
use crate::tier::price::{Item, Money, Price, PriceTable};

/// Copies one object from one cloud to another, at a price.
#[derive(Debug)]
struct Priced {
    from: Arc<MemoryStore>,
    to: Arc<MemoryStore>,
    prices: PriceTable,
    pipes: Pipes,
}

#[async_trait]
impl Opener for Priced {
    async fn open(&self, _: &Occasion) -> Result<Vec<Opened>> {
        let job = transfer::Job::new(Location::new(self.from.clone(), ""), Location::new(self.to.clone(), ""));
        let pair = Pair::of(&job.source, &job.destination);
        let limit = Money { currency: "USD".into(), nano: 5_000_000_000 };
        let cost = CostLimit { limit, prices: Arc::new(self.prices.clone()), stores: ["us".into(), "cn".into()] };
        Ok(vec![Opened { label: None, job, pair, tiers: Vec::new(), cost: Some(cost), metrics: Arc::default() }])
    }

    fn destination(&self, _: Timestamp) -> Option<String> {
        None
    }

    fn pipes(&self) -> &Pipes {
        &self.pipes
    }

    async fn hints(&self) -> Result<Vec<HintSource>> {
        Ok(Vec::new())
    }
}

/// Everything of that transfer at so many billionths apiece.
fn prices(nano: u64) -> PriceTable {
    let mut table = PriceTable::default();
    let class = |word: &str| word.to_owned();
    for (store, item) in [
        ("us", Item::Get { class: class("STANDARD") }),
        ("us", Item::Egress),
        ("us", Item::List),
        ("cn", Item::Put { class: class("Standard") }),
        ("cn", Item::List),
    ] {
        let price = Price { amount_nano: nano, per: 1, currency: "USD".into(), source: "this test".into(), date: jiff::civil::date(2026, 11, 27) };
        table.add(store, item, price);
    }
    table
}

#[tokio::test(start_paused = true)]
async fn a_run_that_would_cost_too_much_copies_nothing_and_the_page_says_what_it_costs() {
    // One get, one put, two pages, eight bytes: twelve things.
    for (nano, outcome, copied) in [(1_000_000_000, "refused", 0), (1_000_000, "done", 1), (0, "refused", 0)] {
        let clock = clock("2026-01-01T00:00:00Z");
        let from = MemoryStore::with("a", MemoryOptions { clock: clock.clone(), ..MemoryOptions::like_s3() });
        let to = MemoryStore::with("b", MemoryOptions { clock: clock.clone(), ..MemoryOptions::like_oss() });
        from.put(&"k".into(), vec![1; 8].into(), Put::default()).await.expect("written");
        let table = if nano == 0 { PriceTable::default() } else { prices(nano) };
        let opener = Arc::new(Priced { from: Arc::new(from), to: Arc::new(to), prices: table, pipes: Pipes::default() });
        let place = Place::new(&clock, "photos", 0, Duration::ZERO).await;
        let job = JobSetup { opener, ..place.job("photos", Some("every 6h")) };
        let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), vec![job], Settings::default()).await;
        bench.pass(5 * MINUTE).await;
        let job = bench.job("photos");
        assert_eq!((causes(&job)[0].1, job.totals.copied), (outcome, copied), "{nano}: {:?}", job.troubles);
        let forecast = job.forecast.clone().expect("planned");
        assert_eq!((forecast.limit.as_str(), forecast.unknown > 1), ("5.0000 USD", nano == 0));
        let page = crate::daemon::page::job(&bench.control.snapshot(), &job, false);
        assert!(page.contains("was going to cost") && page.contains(if nano == 0 { "have no known price" } else { "USD" }), "{page}");
        bench.end().await;
    }
}
