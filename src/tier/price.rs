//! What services charge, as an operator wrote it down: each price with where it was read, and when.
//!
//! None is built in. Prices differ by region, contract and year, and one that was made up would be worse than none: what is not in the
//! table is unknown, and whoever adds up says so.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::class::{CLASSES, Reading};
use crate::storage::thaw::{ThawCharge, ThawCost};
use crate::storage::{RestoreTier, Service};

/// What is charged for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// Bytes kept for a month.
    Storage {
        /// Their class, in the service's word.
        class: String,
    },
    /// Bytes that a class charged for before its minimum duration was over: counted in byte-days, at a thirtieth of the month's price.
    EarlyDeletion {
        /// Their class.
        class: String,
    },
    /// Bytes read of a class that charges for it.
    Retrieval {
        /// Their class.
        class: String,
        /// How fast, where it is thawed first.
        tier: Option<Pace>,
    },
    /// Bytes that leave the cloud.
    Egress,
    /// Requests that write objects of a class: puts, parts, copies.
    Put {
        /// Their class.
        class: String,
    },
    /// Requests that read objects of a class.
    Get {
        /// Their class.
        class: String,
    },
    /// Pages of listings.
    List,
    /// Requests to thaw.
    Restore {
        /// The class.
        class: String,
        /// How fast.
        tier: Option<Pace>,
    },
    /// Objects that move to a class.
    Transition {
        /// The class.
        class: String,
    },
}

/// [`RestoreTier`], in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pace {
    /// The dearest.
    Expedited,
    /// The usual one.
    Standard,
    /// The cheapest.
    Bulk,
}

impl From<RestoreTier> for Pace {
    fn from(tier: RestoreTier) -> Self {
        match tier {
            RestoreTier::Expedited => Self::Expedited,
            RestoreTier::Standard => Self::Standard,
            RestoreTier::Bulk => Self::Bulk,
        }
    }
}

impl Item {
    /// Whether it is counted in bytes (or byte-days), not in requests.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::EarlyDeletion { .. } | Self::Retrieval { .. } | Self::Egress)
    }

    /// Whether it is charged month after month.
    pub fn is_monthly(&self) -> bool {
        matches!(self, Self::Storage { .. })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |tier: &Option<Pace>| tier.map(|tier| format!(" ({tier:?})")).unwrap_or_default();
        match self {
            Self::Storage { class } => write!(f, "storage {class}"),
            Self::EarlyDeletion { class } => write!(f, "early deletion {class}"),
            Self::Retrieval { class, tier } => write!(f, "retrieval {class}{}", at(tier)),
            Self::Egress => f.write_str("egress"),
            Self::Put { class } => write!(f, "put requests {class}"),
            Self::Get { class } => write!(f, "get requests {class}"),
            Self::List => f.write_str("list requests"),
            Self::Restore { class, tier } => write!(f, "restore requests {class}{}", at(tier)),
            Self::Transition { class } => write!(f, "transitions to {class}"),
        }
    }
}

/// What one thing costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// In billionths of the currency's unit, for `per` bytes or requests.
    pub amount_nano: u64,
    /// For how many bytes (kept a month, where it is storage) or requests.
    pub per: u64,
    /// `USD`, `CNY`. Never added to another.
    pub currency: String,
    /// Where it was read.
    pub source: String,
    /// When.
    pub date: Date,
}

/// An amount of one currency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    /// `USD`, `CNY`.
    pub currency: String,
    /// In billionths of its unit.
    pub nano: u128,
}

impl Price {
    /// What so many bytes or requests cost, rounded up.
    pub fn of(&self, quantity: u128) -> Money {
        let nano = (u128::from(self.amount_nano) * quantity).div_ceil(u128::from(self.per.max(1)));
        Money { currency: self.currency.clone(), nano }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNIT: u128 = 1_000_000_000;
        // Cents, and of less than a hundred of them a thousandth: what costs something is never shown as nothing.
        let digits = if self.nano >= 100 * UNIT { 2 } else { 4 };
        let step = UNIT / 10_u128.pow(digits);
        let rounded = self.nano.div_ceil(step);
        let scale = 10_u128.pow(digits);
        write!(f, "{}.{:0width$} {}", rounded / scale, rounded % scale, self.currency, width = digits as usize)
    }
}

/// Prices by store and item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceTable(BTreeMap<(String, Item), Price>);

impl PriceTable {
    /// Adds a price; false where the table has one for it already.
    pub fn add(&mut self, store: &str, item: Item, price: Price) -> bool {
        self.0.insert((store.to_owned(), item), price).is_none()
    }

    /// The price of something at a store. What a class charges for an early deletion follows from its storage.
    pub fn price(&self, store: &str, item: &Item) -> Option<Price> {
        if let Item::EarlyDeletion { class } = item {
            let month = self.0.get(&(store.to_owned(), Item::Storage { class: class.clone() }))?;
            return Some(Price { per: month.per.saturating_mul(30), ..month.clone() });
        }
        self.0.get(&(store.to_owned(), item.clone())).cloned()
    }

    /// What it costs to thaw objects of a service at a store, for a budget of `limit`.
    ///
    /// Fails with [`ErrorKind::Guard`] where a class of the service has no price, or one in another currency: nobody could hold the budget then.
    pub fn thaw_cost(&self, store: &str, service: Service, tier: Option<RestoreTier>, limit: &Money) -> Result<ThawCost> {
        let mut charges = Vec::new();
        let mut unknown = Vec::new();
        for class in CLASSES.iter().filter(|class| class.service == service && class.reading == Reading::AfterRestore) {
            // Where nobody says how fast, services go at the pace that they call Standard.
            let paces = [tier.map(Pace::from), tier.is_none().then_some(Pace::Standard), None];
            let find = |item: &dyn Fn(Option<Pace>) -> Item| paces.iter().find_map(|pace| self.price(store, &item(*pace)));
            let name = || class.word.to_owned();
            let request = find(&|tier| Item::Restore { class: name(), tier });
            let bytes = find(&|tier| Item::Retrieval { class: name(), tier });
            match (request, bytes) {
                (Some(request), Some(bytes)) => {
                    if let Some(other) = [&request, &bytes].into_iter().find(|price| price.currency != limit.currency) {
                        let message = format!("thawing {} at {store} is charged in {}, and the limit is {limit}", class.word, other.currency);
                        return Err(Error::new(ErrorKind::Guard, message).advise("name the limit in the currency of the prices"));
                    }
                    let request_nano = u64::try_from(request.of(1).nano).unwrap_or(u64::MAX);
                    charges.push(ThawCharge { class: class.word, request_nano, bytes_nano: bytes.amount_nano, per_bytes: bytes.per });
                }
                (request, _) => unknown.push(format!("{} of {}", if request.is_none() { "restore" } else { "retrieval" }, class.word)),
            }
        }
        if !unknown.is_empty() {
            let message = format!("a limit of what thawing costs cannot be held: the table has no price at {store} for {}", unknown.join(", "));
            return Err(Error::new(ErrorKind::Guard, message).advise("add these prices, with their source and date, to the table that `prices` names"));
        }
        Ok(ThawCost { nano_max: u64::try_from(limit.nano).unwrap_or(u64::MAX), charges })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_rounded_up_and_never_shown_as_nothing() {
        let price =
            Price { amount_nano: 23_000_000, per: 1_000_000_000, currency: "USD".into(), source: "a page".into(), date: jiff::civil::date(2026, 11, 1) };
        assert_eq!(price.of(1_000_000_000_000).to_string(), "23.0000 USD");
        assert_eq!(price.of(10_000_000_000_000).to_string(), "230.00 USD");
        assert_eq!((price.of(1).nano, price.of(1).to_string()), (1, "0.0001 USD".to_owned()));
        assert_eq!(price.of(0).to_string(), "0.0000 USD");
    }

    #[test]
    fn a_budget_for_thawing_needs_every_price() {
        let mut table = PriceTable::default();
        let price = |amount_nano, per| Price { amount_nano, per, currency: "USD".into(), source: "a page".into(), date: jiff::civil::date(2026, 11, 1) };
        let limit = Money { currency: "USD".into(), nano: 5_000_000_000 };
        let told = table.thaw_cost("us", Service::S3, None, &limit).expect_err("empty").to_string();
        assert!(told.contains("restore of GLACIER") && told.contains("restore of DEEP_ARCHIVE"), "{told}");
        for class in ["GLACIER", "DEEP_ARCHIVE"] {
            table.add("us", Item::Restore { class: class.into(), tier: Some(Pace::Standard) }, price(50_000_000, 1000));
            table.add("us", Item::Retrieval { class: class.into(), tier: Some(Pace::Standard) }, price(10_000_000, 1 << 30));
        }
        let cost = table.thaw_cost("us", Service::S3, None, &limit).expect("known");
        assert_eq!((cost.nano_max, cost.charges.len(), cost.charges[0].request_nano), (5_000_000_000, 2, 50_000));
        assert!(table.thaw_cost("us", Service::S3, Some(RestoreTier::Bulk), &limit).is_err(), "the price of another pace is none");
        let yuan = Money { currency: "CNY".into(), nano: 1 };
        assert!(table.thaw_cost("us", Service::S3, None, &yuan).expect_err("another currency").to_string().contains("charged in USD"));
    }

    #[test]
    fn an_early_deletion_costs_the_days_that_are_left() {
        let mut table = PriceTable::default();
        let price = Price { amount_nano: 30_000_000, per: 1_000, currency: "CNY".into(), source: "a page".into(), date: jiff::civil::date(2026, 11, 1) };
        assert!(table.add("oss", Item::Storage { class: "IA".into() }, price.clone()) && !table.add("oss", Item::Storage { class: "IA".into() }, price));
        let early = table.price("oss", &Item::EarlyDeletion { class: "IA".into() }).expect("follows");
        // A thousand bytes, ten days before their month is over.
        assert_eq!(early.of(1000 * 10).nano, 10_000_000);
        assert_eq!(table.price("s3", &Item::Egress), None);
    }
}
