//! A table of prices: a TOML file of `[[price]]`, each with its source and date.

use std::cell::RefCell;
use std::path::Path;

use jiff::civil::Date;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::secret::Environment;
use super::section::{Document, Origin, Section, suggest};
use super::transfer::parse_tier;
use crate::error::{Error, Result};
use crate::storage::class::CLASSES;
use crate::tier::price::{Item, Pace, Price, PriceTable};

/// Items by their word; the second says whether a class goes with it, the third whether a pace may.
const ITEMS: [(&str, bool, bool); 8] = [
    ("storage", true, false),
    ("retrieval", true, true),
    ("egress", false, false),
    ("put", true, false),
    ("get", true, false),
    ("list", false, false),
    ("restore", true, true),
    ("transition", true, false),
];

/// Reads a file of prices. Without a problem it is the whole table; the first problem names file, line and key.
pub fn load(directory: &Path, file: &Path, environment: &Environment) -> Result<PriceTable> {
    let text = super::read(directory, file)?;
    read(&file.display().to_string(), &text, environment).map_err(|mut problems| {
        let first = problems.remove(0);
        if problems.is_empty() { first } else { Error::invalid(first.to_string()).advise(format!("{} more of that table are wrong", problems.len())) }
    })
}

/// Reads a text of prices. The list of problems is never empty.
pub fn read(name: &str, text: &str, environment: &Environment) -> Result<PriceTable, Vec<Error>> {
    let document = Document { name, text, base: "/".into(), environment, problems: RefCell::default(), resolved: RefCell::new(Sha256::new()) };
    let parsed = match DeTable::parse(text) {
        Ok(table) => table,
        Err(e) => {
            let message = format!("this is not TOML: {}", e.message().replace('\n', ", "));
            return Err(vec![document.error(&Origin::Span(e.span().unwrap_or(0..0)), "", message, "")]);
        }
    };
    let mut root = Section::new(&document, "", parsed.get_ref(), Origin::Span(0..0));
    let mut table = PriceTable::default();
    for mut section in root.tables("price") {
        if let Some((store, item, price)) = one(&mut section) {
            let what = format!("{store}: {item}");
            if !table.add(&store, item, price) {
                section.problem("item", format!("there are two prices of {what}"), "");
            }
        }
        root.missing.extend(section.finish());
    }
    let missing = root.finish();
    let mut problems = document.problems.into_inner();
    problems.sort_by_key(|(place, _)| *place);
    let problems: Vec<Error> = problems.into_iter().map(|(_, problem)| problem).chain(missing).collect();
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

fn one(section: &mut Section<'_>) -> Option<(String, Item, Price)> {
    let needed = |section: &mut Section<'_>, key: &'static str| {
        if !section.has(key) {
            section.problem("", format!("a price needs {key}"), "");
        }
        section.text(key)
    };
    let store = needed(section, "store");
    let word = needed(section, "item");
    let class = section.text("class");
    let pace: Option<Pace> = section.parsed("tier", "expedited, standard or bulk", &[], parse_tier).map(Pace::from);
    let amount = section.parsed("amount", "an amount such as \"0.0125\"", &["float", "integer"], nano);
    if amount.is_none() && !section.has("amount") {
        section.problem("", "a price needs amount", "what is not known is left out of the table: it is unknown then, and an estimate says so");
    }
    let currency =
        section.parsed("currency", "a currency such as \"USD\"", &[], |text| match text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            true => Ok(text.to_owned()),
            false => Err(format!("'{text}' is no currency: write three capital letters, as in USD or CNY")),
        });
    let per = section.text("per");
    let source = needed(section, "source");
    let date = section
        .parsed("date", "a date such as \"2026-11-27\"", &[], |text| text.parse::<Date>().map_err(|_| format!("'{text}' is no date such as 2026-11-27")));
    for key in ["currency", "per", "date"] {
        if !section.has(key) {
            section.problem("", format!("a price needs {key}"), "");
        }
    }
    let word = word?;
    let Some((_, takes_class, takes_pace)) = ITEMS.iter().find(|(name, ..)| *name == word) else {
        section.problem("item", format!("nothing is charged for '{word}'"), suggest(&word, ITEMS.map(|(name, ..)| name)));
        return None;
    };
    match (&class, takes_class) {
        (None, true) => section.problem("item", format!("the price of {word} depends on the class"), "add class = \"...\""),
        (Some(_), false) => section.problem("class", format!("the price of {word} depends on no class"), ""),
        (Some(class), true) if !CLASSES.iter().any(|known| known.word == class) => {
            section.problem("class", format!("no cloud has a class '{class}'"), suggest(class, CLASSES.iter().map(|known| known.word)));
        }
        _ => {}
    }
    if pace.is_some() && !takes_pace {
        section.problem("tier", format!("the price of {word} depends on no tier"), "");
    }
    let class = class.unwrap_or_default();
    let item = match word.as_str() {
        "storage" => Item::Storage { class },
        "retrieval" => Item::Retrieval { class, tier: pace },
        "egress" => Item::Egress,
        "put" => Item::Put { class },
        "get" => Item::Get { class },
        "list" => Item::List,
        "restore" => Item::Restore { class, tier: pace },
        _ => Item::Transition { class },
    };
    let per = per.and_then(|text| match unit(&text, &item) {
        Ok(per) => Some(per),
        Err(why) => {
            section.problem("per", why, "");
            None
        }
    });
    Some((store?, item, Price { amount_nano: amount?, per: per?, currency: currency?, source: source?, date: date? }))
}

/// For how much a price is.
fn unit(text: &str, item: &Item) -> Result<u64, String> {
    let (unit, is_monthly) = match text.strip_suffix("-month") {
        Some(unit) => (unit, true),
        None => (text, false),
    };
    if item.is_bytes() {
        let bytes = match unit {
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            "TB" => 1_000_000_000_000,
            "TiB" => 1 << 40,
            _ => return Err(format!("'{text}' is no unit of bytes: GB, GiB, TB or TiB, and for storage with -month behind it")),
        };
        return match (is_monthly, item.is_monthly()) {
            (true, true) | (false, false) => Ok(bytes),
            (false, true) => Err(format!("storage is charged by the month: write {unit}-month")),
            (true, false) => Err(format!("only storage is charged by the month: write {unit}")),
        };
    }
    match text {
        "1" | "request" => Ok(1),
        "1000" | "1000 requests" => Ok(1000),
        "10000" | "10000 requests" => Ok(10_000),
        "1000000" | "1000000 requests" => Ok(1_000_000),
        _ => Err(format!("'{text}' is no number of requests: 1, 1000, 10000 or 1000000")),
    }
}

/// A decimal number as billionths, without a detour through binary fractions.
fn nano(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no amount such as 0.0125, of at most nine digits behind the point");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 || whole.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    Ok(whole * 1_000_000_000 + fraction)
}

/// An amount of money that a limit names: `20USD`, `0.50 CNY`.
pub fn parse_money(text: &str) -> Result<crate::tier::price::Money, String> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (amount, currency) = (text[..at].trim(), &text[at..]);
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(format!("'{text}' is no amount of a currency: write for example 20USD or 150CNY"));
    }
    Ok(crate::tier::price::Money { currency: currency.to_owned(), nano: nano(amount)?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<PriceTable, String> {
        read("prices.toml", text, &Environment::default()).map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    const WHOLE: &str = "[[price]]\nstore = \"us\"\nitem = \"storage\"\nclass = \"STANDARD_IA\"\namount = \"0.0125\"\ncurrency = \"USD\"\nper = \"GB-month\"\nsource = \"https://example.com\"\ndate = \"2026-11-01\"\n";

    #[test]
    fn a_price_is_read_with_all_that_belongs_to_it() {
        let table = table(WHOLE).expect("valid");
        let price = table.price("us", &Item::Storage { class: "STANDARD_IA".into() }).expect("known");
        assert_eq!((price.amount_nano, price.per, price.currency.as_str()), (12_500_000, 1_000_000_000, "USD"));
        assert_eq!(nano("0.0000004"), Ok(400));
        for bad in ["", "-1", "1e3", "0.1234567890", ".5", "1.2.3", "9999999999"] {
            nano(bad).expect_err(bad);
        }
        assert_eq!(parse_money("20USD").map(|money| (money.nano, money.currency)), Ok((20_000_000_000, "USD".into())));
        for bad in ["20", "USD", "20usd", "20USDX", "-1USD"] {
            parse_money(bad).expect_err(bad);
        }
    }

    #[test]
    fn a_price_without_its_source_or_unit_is_refused() {
        for (from, to, told) in [
            ("source = \"https://example.com\"\n", "", "a price needs source"),
            ("date = \"2026-11-01\"\n", "", "a price needs date"),
            ("\"GB-month\"", "\"GB\"", "write GB-month"),
            ("\"storage\"", "\"storrage\"", "did you mean 'storage'?"),
            ("\"STANDARD_IA\"", "\"STANDARD_AI\"", "did you mean 'STANDARD_IA'?"),
            ("class = \"STANDARD_IA\"\n", "", "depends on the class"),
            ("\"0.0125\"", "\"cheap\"", "no amount"),
            ("\"USD\"", "\"dollars\"", "no currency"),
        ] {
            let problem = table(&WHOLE.replace(from, to)).expect_err(told);
            assert!(problem.contains(told) && problem.contains("prices.toml:"), "{problem}");
        }
        assert!(table(&WHOLE.repeat(2)).expect_err("twice").contains("two prices of us: storage STANDARD_IA"));
    }
}
