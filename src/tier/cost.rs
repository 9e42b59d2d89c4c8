//! What something will cost, as far as prices are known: quantities first, and money where a table says how much.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::price::{Item, Money, Pace, PriceTable};
use super::rule::By;
use super::sweep::{Step, What};
use crate::storage::Service;
use crate::storage::class::{Class, CountedFrom, Reading};
use crate::transfer::event::{Action, ObjectEvent};

/// How much of what is used, at which store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(String, Item), u128>);

/// The two ends of a transfer; `None` is one that charges nothing, such as a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The source's store by its name, and what it speaks.
    pub source: Option<(String, Service)>,
    /// The destination's.
    pub destination: Option<(String, Service)>,
    /// How fast archives are asked.
    pub pace: Option<Pace>,
    /// Whether bytes leave the source's cloud.
    pub leaves: bool,
}

/// One line of an estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The store, by its name.
    pub store: String,
    /// What.
    pub item: Item,
    /// How much: bytes, byte-days or requests.
    pub quantity: u128,
    /// What that costs; `None`: no price is known.
    pub cost: Option<Money>,
}

/// What it all costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// By store and item.
    pub lines: Vec<Line>,
}

impl Tally {
    /// Adds so much of something.
    pub fn add(&mut self, store: &str, item: Item, quantity: impl Into<u128>) {
        let quantity = quantity.into();
        if quantity > 0 {
            *self.0.entry((store.to_owned(), item)).or_default() += quantity;
        }
    }

    /// Adds an object that is kept in a class. A class counts a small object as a larger one.
    pub fn keep(&mut self, store: &str, service: Service, class: &str, bytes: u64) {
        let billed = Class::find(service, class).map_or(bytes, |class| bytes.max(class.bytes_min));
        self.add(store, Item::Storage { class: word(service, class) }, billed);
    }

    /// Adds what it costs that an object of a class goes, moves or is overwritten now: the rest of its minimum duration. Where nobody knows
    /// since when it is in the class, all of it.
    pub fn end_early(&mut self, store: &str, service: Service, class: &str, bytes: u64, modified: Option<Timestamp>, now: Timestamp) {
        let Some(known) = Class::find(service, class).filter(|class| class.charges_for_change(modified, now)) else { return };
        let passed = match (known.counted_from, modified) {
            (CountedFrom::Modified, Some(modified)) => u64::try_from(now.duration_since(modified).as_hours() / 24).unwrap_or(0),
            _ => 0,
        };
        let left = u64::from(known.days_min).saturating_sub(passed);
        self.add(store, Item::EarlyDeletion { class: known.word.to_owned() }, u128::from(bytes.max(known.bytes_min)) * u128::from(left));
    }

    /// Adds what a planned move or delete by a rule takes: by the cloud a transition, by Dragon a copy of the object onto itself.
    pub fn age(&mut self, store: &str, service: Service, by: By, step: &Step, now: Timestamp) {
        self.end_early(store, service, &step.class, step.size, step.modified, now);
        let What::Move { class } = &step.what else { return };
        match by {
            By::Cloud => self.add(store, Item::Transition { class: class.clone() }, 1_u64),
            By::Dragon => {
                self.add(store, Item::Put { class: class.clone() }, 1_u64);
                if Class::find(service, &step.class).is_some_and(|class| class.reading == Reading::Paid) {
                    self.add(store, Item::Retrieval { class: step.class.clone(), tier: None }, step.size);
                }
            }
        }
        self.keep(store, service, class, step.size);
    }

    /// Adds what a planned copy or delete of one object takes at both ends.
    pub fn foresee(&mut self, ends: &Ends, event: &ObjectEvent, now: Timestamp) {
        let Some(foreseen) = &event.foreseen else { return };
        let Ends { source, destination, pace, leaves } = ends;
        if let (Some(replaced), Some((name, service))) = (&foreseen.replaced, destination) {
            self.end_early(name, *service, &replaced.class, replaced.size, replaced.modified, now);
        }
        if event.action != Action::Copy {
            return;
        }
        let (size, parts) = (event.size, u64::from(foreseen.parts));
        if let Some((name, service)) = source {
            let class = word(*service, &foreseen.source_class);
            match Class::find(*service, &class).map(|class| class.reading) {
                Some(Reading::Paid) => self.add(name, Item::Retrieval { class: class.clone(), tier: None }, size),
                Some(Reading::AfterRestore) => {
                    self.add(name, Item::Restore { class: class.clone(), tier: *pace }, 1_u64);
                    self.add(name, Item::Retrieval { class: class.clone(), tier: *pace }, size);
                }
                Some(Reading::Free) | None => {}
            }
            self.add(name, Item::Get { class }, parts.max(1));
            if *leaves {
                self.add(name, Item::Egress, size);
            }
        }
        if let Some((name, service)) = destination {
            let class = word(*service, &foreseen.class);
            self.keep(name, *service, &class, size);
            // Begun and completed, where it has parts.
            self.add(name, Item::Put { class }, if parts == 0 { 1 } else { parts + 2 });
        }
    }

    /// What it costs.
    pub fn estimate(&self, prices: &PriceTable) -> Estimate {
        let line = |((store, item), quantity): (&(String, Item), &u128)| {
            let cost = prices.price(store, item).map(|price| price.of(*quantity));
            Line { store: store.clone(), item: item.clone(), quantity: *quantity, cost }
        };
        Estimate { lines: self.0.iter().map(line).collect() }
    }
}

/// The service's own word of a class that it does not always name.
pub fn word(service: Service, class: &str) -> String {
    Class::find(service, class).map_or(class, |class| class.word).to_owned()
}

impl Estimate {
    /// What is charged once (or, with `monthly`, every month), by currency, of what has a price.
    pub fn total(&self, monthly: bool) -> Vec<Money> {
        let mut totals: BTreeMap<&str, u128> = BTreeMap::new();
        for cost in self.lines.iter().filter(|line| line.item.is_monthly() == monthly).filter_map(|line| line.cost.as_ref()) {
            *totals.entry(&cost.currency).or_default() += cost.nano;
        }
        totals.into_iter().map(|(currency, nano)| Money { currency: currency.to_owned(), nano }).collect()
    }

    /// What has no price.
    pub fn unknown(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.cost.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::price::Price;
    use proptest::prelude::*;

    fn put() -> Item {
        Item::Put { class: "Standard".into() }
    }

    fn get() -> Item {
        Item::Get { class: "Standard".into() }
    }

    fn price(amount_nano: u64, currency: &str) -> Price {
        Price { amount_nano, per: 1000, currency: currency.into(), source: "a page".into(), date: jiff::civil::date(2026, 11, 1) }
    }

    #[test]
    fn currencies_are_never_added_and_the_unknown_is_never_nothing() {
        let mut table = PriceTable::default();
        table.add("us", put(), price(5_000_000, "USD"));
        table.add("cn", get(), price(10_000_000, "CNY"));
        table.add("cn", Item::Storage { class: "IA".into() }, price(1_000, "CNY"));
        let mut tally = Tally::default();
        tally.add("us", put(), 2000_u64);
        tally.add("cn", get(), 1000_u64);
        tally.add("us", Item::Egress, 5_u64);
        tally.keep("cn", Service::Oss, "IA", 1);
        let estimate = tally.estimate(&table);
        let totals: Vec<String> = estimate.total(false).iter().map(ToString::to_string).collect();
        assert_eq!(totals, ["0.0100 CNY", "0.0100 USD"]);
        assert_eq!(estimate.total(true).len(), 1);
        let unknown: Vec<String> = estimate.unknown().map(|line| format!("{} {}", line.store, line.item)).collect();
        assert_eq!(unknown, ["us egress"]);
        let kept = estimate.lines.iter().find(|line| line.item.is_monthly()).expect("kept");
        assert_eq!(kept.quantity, 64 << 10, "a small object is billed as a larger one");
    }

    #[test]
    fn the_rest_of_a_minimum_duration_is_charged() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let mut tally = Tally::default();
        let (made, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-21T00:00:00Z"));
        tally.end_early("s3", Service::S3, "STANDARD_IA", 1 << 20, Some(made), now);
        tally.end_early("s3", Service::S3, "STANDARD", 1 << 20, Some(made), now);
        tally.end_early("oss", Service::Oss, "ColdArchive", 1 << 20, Some(made), at("2030-01-01T00:00:00Z"));
        let lines = tally.estimate(&PriceTable::default()).lines;
        let quantities: Vec<u128> = lines.iter().map(|line| line.quantity).collect();
        assert_eq!(quantities, [180 << 20, 10 << 20], "nobody knows since when it is in ColdArchive; ten days are left of thirty");
    }

    proptest! {
        #[test]
        fn more_never_costs_less(amounts in proptest::collection::vec((0u64..1_000_000, 0u64..1_000_000), 1..20)) {
            let mut table = PriceTable::default();
            table.add("s", get(), price(7, "USD"));
            let (mut tally, mut before) = (Tally::default(), 0);
            for (gets, puts) in amounts {
                tally.add("s", get(), gets);
                tally.add("s", put(), puts);
                let estimate = tally.estimate(&table);
                let total = estimate.total(false).first().map_or(0, |money| money.nano);
                prop_assert!(total >= before);
                prop_assert_eq!(estimate.unknown().count(), estimate.lines.iter().filter(|line| line.item == put()).count());
                before = total;
            }
        }
    }
}
