//! What services charge, as an operator wrote it down: each price with where it was read, and when.
//!
//! None is built in. Prices differ by region, contract and year, and one that was made up would be worse than none: what is not in the
//! table is unknown, and whoever adds up says so.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;

use crate::storage::RestoreTier;

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
