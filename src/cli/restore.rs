//! `dragon restore`: ask an archive for what lies in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueHint};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::config::prices::parse_money;
use crate::config::stores::Opening;
use crate::config::transfer::parse_tier;
use crate::config::units;
use crate::error::{Error, Result};
use crate::storage::location::{Address, Location};
use crate::storage::thaw::{Archived, Standing, Thaw, Thawed};
use crate::storage::{List, ObjectRef, RestoreTier, Restoring};
use crate::tier::price::Money;

use super::exit::{self, Failure, Outcome};
use super::flags::address;
use super::report::json_key;
use super::session::Session;
use super::{estimate, human, ls};

/// Ask an archive for one object, or with -r for what is under a prefix, so that it can be read for some days
///
/// Restoring takes minutes to days and is charged by the byte, and so is the copy while it lasts. Ask again to see how it stands: what is
/// being restored, or readable, is not asked for twice.
#[derive(Debug, Args)]
pub(super) struct RestoreCommand {
    /// NAME://BUCKET/KEY
    #[arg(value_name = "URL", value_parser = address(), value_hint = ValueHint::Url)]
    pub(super) url: Address,
    /// Restore everything under URL that needs it
    #[arg(short, long)]
    recursive: bool,
    /// For how many days it is to be readable
    #[arg(long, value_name = "N", default_value_t = 1)]
    days: u16,
    /// How fast, and how dear: expedited, standard or bulk [default: the service's usual pace]
    #[arg(long, value_name = "TIER", value_parser = parse_tier)]
    tier: Option<RestoreTier>,
    /// Ask for so many objects at the most
    #[arg(long, value_name = "N")]
    max_objects: Option<u64>,
    /// Ask for so much at the most, such as 100GiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    max_bytes: Option<u64>,
    /// Ask for as much as costs so much at the most, such as 5USD; needs a table of prices (prices in dragon.toml)
    #[arg(long, value_name = "MONEY", value_parser = parse_money)]
    max_cost: Option<Money>,
    /// Say what would be asked for, and ask for nothing
    #[arg(short = 'n', long, visible_alias = "dryrun")]
    dry_run: bool,
}

#[derive(serde::Serialize)]
struct Row {
    event: &'static str,
    action: &'static str,
    key: String,
    size: u64,
    status: &'static str,
    standing: String,
    storage_class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How many objects ended how, and how large those are that were asked for.
#[derive(Default)]
struct Sum {
    asked: u64,
    bytes: u64,
    ongoing: u64,
    readable: u64,
    left: u64,
    failed: u64,
}

impl RestoreCommand {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut thaw = self.thaw();
        thaw.check()?;
        let seen = Arc::<AtomicU64>::default();
        let (at, archived) = self.archived(session, seen.clone()).await?;
        if let Some(limit) = &self.max_cost {
            let (name, service) = (self.url.store().unwrap_or_default(), at.storage.capabilities().service);
            thaw.cost_max = Some(estimate::table(session, None)?.thaw_cost(name, service, thaw.tier, limit)?);
        }
        let mut sum = Sum::default();
        let mut thawed = thaw.ask(at.storage.clone(), archived);
        while let Some(thawed) = thawed.next().await {
            let thawed = thawed?;
            sum.add(&thawed);
            tell(session, &thawed)?;
            if let Err(error) = thawed.standing
                && error.stops_store()
            {
                return Err(error.into());
            }
        }
        if seen.load(Ordering::Relaxed) == 0 && !at.prefix.is_empty() {
            return Err(ls::not_there(&self.url.tree()).into());
        }
        if !session.output.quiet && !session.output.json {
            session.output.line(&sum.text(self.dry_run))?;
        }
        Ok(if sum.failed > 0 { exit::FAILED } else { exit::OK })
    }

    /// The objects that need it. How many are there at all is counted in `seen`.
    async fn archived(&self, session: &Session, seen: Arc<AtomicU64>) -> Result<(Location, BoxStream<'static, Result<Archived>>), Failure> {
        if !self.recursive {
            let at = session.stores.object(&self.url, &Opening::default()).await?;
            let service = at.storage.capabilities().service;
            let info = at.storage.head(&ObjectRef::from(&at.prefix)).await?;
            let class = info.attributes.storage_class.unwrap_or_default();
            let Some(archived) = Archived::of(service, at.prefix.as_bytes(), info.size, &class) else {
                let error =
                    Error::unsupported(format!("its storage class ({}) can be read without a restore", if class.is_empty() { "Standard" } else { &class }));
                return Err(error.during("restore").on_key(&at.prefix).in_store(&at.storage).into());
            };
            seen.store(1, Ordering::Relaxed);
            return Ok((at, stream::iter([Ok(archived)]).boxed()));
        }
        let address = self.url.tree();
        let at = session.stores.tree(&address, &Opening::default()).await?;
        let service = at.storage.capabilities().service;
        let archived = at.storage.list(List::under(at.prefix.clone())).map(move |page| match page {
            Ok(page) => {
                seen.fetch_add(page.len() as u64, Ordering::Relaxed);
                Archived::of_page(service, &page).into_iter().map(Ok).collect::<Vec<_>>()
            }
            Err(error) => vec![Err(error)],
        });
        Ok((at, archived.flat_map(stream::iter).boxed()))
    }

    fn thaw(&self) -> Thaw {
        Thaw { days: self.days, tier: self.tier, objects_max: self.max_objects, bytes_max: self.max_bytes, cost_max: None, dry_run: self.dry_run }
    }
}

impl Sum {
    fn add(&mut self, thawed: &Thawed) {
        match &thawed.standing {
            Ok(Standing::Asked(Restoring::Ongoing)) => self.ongoing += 1,
            Ok(Standing::Asked(Restoring::Begun | Restoring::Extended) | Standing::Planned) => {
                self.asked += 1;
                self.bytes += thawed.archived.size;
            }
            Ok(Standing::Readable(_)) => self.readable += 1,
            Ok(Standing::OverBudget) => self.left += 1,
            Err(_) => self.failed += 1,
        }
    }

    fn text(&self, is_planned: bool) -> String {
        let Self { asked, bytes, ongoing, readable, left, failed } = *self;
        let asked = human::plural(asked, "object");
        let mut text =
            if is_planned { format!("would ask for {asked} ({})", human::bytes(bytes)) } else { format!("asked for {asked} ({})", human::bytes(bytes)) };
        for (count, what) in [(ongoing, "being restored"), (readable, "readable"), (left, "left for later by the limit"), (failed, "failed")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }
}

fn tell(session: &Session, thawed: &Thawed) -> Result<(), Failure> {
    let Archived { key, size, class, .. } = &thawed.archived;
    let standing = match &thawed.standing {
        Ok(Standing::Asked(Restoring::Begun)) => "restore begun".to_owned(),
        Ok(Standing::Asked(Restoring::Ongoing)) => "being restored".to_owned(),
        Ok(Standing::Asked(Restoring::Extended)) => "readable for longer".to_owned(),
        Ok(Standing::Readable(None)) => "readable".to_owned(),
        Ok(Standing::Readable(Some(until))) => format!("readable until {until}"),
        Ok(Standing::Planned) => "would be restored".to_owned(),
        Ok(Standing::OverBudget) => "over the limit".to_owned(),
        Err(error) => error.to_string(),
    };
    if session.output.json {
        let status = match &thawed.standing {
            Ok(Standing::Planned | Standing::OverBudget) => "planned",
            Ok(_) => "ok",
            Err(_) => "failed",
        };
        let error = thawed.standing.as_ref().err().map(ToString::to_string);
        return session.output.object(&Row {
            event: "object",
            action: "restore",
            key: json_key(key),
            size: *size,
            status,
            standing,
            storage_class: class.word,
            error,
        });
    }
    match &thawed.standing {
        Err(_) => {
            session.output.note(&format!("! {key} ({standing})"));
            Ok(())
        }
        Ok(_) if session.output.quiet => Ok(()),
        Ok(_) => session.output.line(&format!("{key} ({}): {standing}", class.word)),
    }
}
