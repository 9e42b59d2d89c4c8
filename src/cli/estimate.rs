//! `dragon estimate`: what a sync would take, and what that costs as far as prices are known.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde::Serialize;

use crate::config::prices;
use crate::config::transfer::Deleting;
use crate::error::Result;
use crate::journal::Pair;
use crate::storage::location::Address;
use crate::tier::cost::Estimate;
use crate::tier::forecast::forecast;
use crate::tier::price::{Item, Money, PriceTable};
use crate::transfer::{Context, Event, Job, Report};

use super::exit::{self, Outcome};
use super::flags::address;
use super::human;
use super::session::Session;
use super::state::Need;
use super::transfer::{Flags, refuse_file};

/// Say what a sync would take: requests, traffic, storage by class, retrieval, early deletions. Copies and deletes nothing
///
/// Both ends are listed, and each object that would be copied is looked at. What things cost stands in a table of prices (--prices, or prices
/// in dragon.toml); what is not in it is unknown, and told as such.
#[derive(Debug, Args)]
pub(super) struct EstimateCommand {
    /// What would be copied: NAME://BUCKET/PREFIX, ./PATH or /PATH
    #[arg(value_name = "SRC", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) source: Address,
    /// Where to
    #[arg(value_name = "DST", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) destination: Address,
    /// The table of prices [default: prices in dragon.toml]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    prices: Option<PathBuf>,
    #[command(flatten)]
    deleting: Deleting,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Serialize)]
struct Row<'a> {
    event: &'static str,
    store: &'a str,
    item: String,
    quantity: u128,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<String>,
    monthly: bool,
}

#[derive(Serialize)]
struct Summary {
    event: &'static str,
    objects: u64,
    bytes: u64,
    deletes: u64,
    failed: u64,
    once: Vec<String>,
    monthly: Vec<String>,
    unknown: usize,
}

impl EstimateCommand {
    pub(super) async fn run(mut self, session: &Session) -> Outcome {
        self.flags.dry_run = true;
        let table = table(session, self.prices.as_deref())?;
        let mut options = self.flags.options(session)?;
        self.deleting.apply(&mut options);
        refuse_file(&self.source)?;
        let (source, destination) = self.flags.trees(session, &self.source, &self.destination, &options).await?;
        let opened = self.flags.running.state.open(session, Pair::of(&source.tree(), &destination.tree()).of_share(options.shard), Need::View).await?;
        let context = Context {
            clock: session.clock.clone(),
            cancel: session.cancel.clone(),
            metrics: session.stores.metrics().clone(),
            spill_dir: self.flags.running.state.spill_dir(session),
            journal: opened.journal(),
            ..Context::default()
        };
        let job = Job { source, destination, options };
        let stores = store_names(&self.source, &self.destination);
        let (tally, report) = forecast(job, &stores, context, |event| match event {
            Event::Object(object) => {
                if let Some(error) = &object.error {
                    session.output.note(&format!("! {} ({error})", object.key));
                }
            }
            Event::Notice(notice) => session.output.note(&notice.message),
            Event::Verdict(_) => {}
        })
        .await?;
        let estimate = tally.estimate(&table);
        tell(session, &estimate, &report)?;
        for error in report.stopped.iter().chain(&report.limited) {
            exit::complain(&error.to_string());
        }
        Ok(report.exit_code())
    }
}

/// The names under which a table of prices knows two ends.
pub(super) fn store_names(source: &Address, destination: &Address) -> [String; 2] {
    [source, destination].map(|address| address.store().unwrap_or_default().to_owned())
}

/// The prices that a flag names, or the configuration; none are built in.
pub(super) fn table(session: &Session, flag: Option<&std::path::Path>) -> Result<PriceTable> {
    let Some(file) = flag.map(std::path::Path::to_owned).or_else(|| session.config.prices.clone()) else { return Ok(PriceTable::default()) };
    prices::load(&session.lookup.directory, &file, &session.environment)
}

fn tell(session: &Session, estimate: &Estimate, report: &Report) -> Outcome {
    let output = &session.output;
    let unit = |item: &Item| match item {
        Item::Storage { .. } => "bytes for a month",
        Item::EarlyDeletion { .. } => "byte-days",
        item if item.is_bytes() => "bytes",
        _ => "requests",
    };
    let (once, monthly, unknown) = (words(estimate.total(false)), words(estimate.total(true)), estimate.unknown().count());
    if output.json {
        for line in &estimate.lines {
            let cost = line.cost.as_ref().map(ToString::to_string);
            let (item, quantity, monthly) = (line.item.to_string(), line.quantity, line.item.is_monthly());
            output.object(&Row { event: "cost", store: &line.store, item, quantity, unit: unit(&line.item), cost, monthly })?;
        }
        let Report { copied, bytes, deleted, failed, .. } = *report;
        output.object(&Summary { event: "summary", objects: copied, bytes, deletes: deleted, failed, once, monthly, unknown })?;
        return Ok(exit::OK);
    }
    output.line(&format!(
        "{} to copy ({}), {} to delete",
        human::plural(report.copied, "object"),
        human::bytes(report.bytes),
        human::plural(report.deleted, "object")
    ))?;
    for line in in_words(estimate) {
        output.line(&line)?;
    }
    Ok(exit::OK)
}

/// An estimate as aligned lines.
pub(super) fn in_words(estimate: &Estimate) -> Vec<String> {
    let mut lines = Vec::new();
    let quantity = |line: &crate::tier::cost::Line| {
        let small = u64::try_from(line.quantity).unwrap_or(u64::MAX);
        match &line.item {
            Item::EarlyDeletion { .. } => format!("{} x days", human::bytes(small)),
            item if item.is_bytes() => human::bytes(small),
            _ => human::count(small),
        }
    };
    let rows: Vec<[String; 4]> = estimate
        .lines
        .iter()
        .map(|line| {
            let cost = line.cost.as_ref().map_or("unknown".to_owned(), ToString::to_string);
            let cost = if line.item.is_monthly() { format!("{cost} a month") } else { cost };
            [line.store.clone(), line.item.to_string(), quantity(line), cost]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [store, item, amount] = [0, 1, 2].map(width);
    for row in &rows {
        lines.push(format!("  {:store$}  {:item$}  {:>amount$}  {}", row[0], row[1], row[2], row[3]));
    }
    let sum = |what: &str, all: &[String]| if all.is_empty() { None } else { Some(format!("{what}: {}", all.join(" and "))) };
    lines.extend([sum("once", &words(estimate.total(false))), sum("a month", &words(estimate.total(true)))].into_iter().flatten());
    let unknown = estimate.unknown().count();
    if unknown > 0 {
        let advice = "write their prices into a table, each with its source and date, and name it with --prices";
        lines.push(format!("{} of these {} no known price, and nothing is added for them: {advice}", unknown, if unknown == 1 { "has" } else { "have" }));
    }
    lines
}

fn words(all: Vec<Money>) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
