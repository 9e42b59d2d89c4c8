//! dragon.toml: what stores there are, how the engine behaves, which jobs the daemon runs.
//!
//! Reading is strict: an unknown key, a number without a unit, two jobs that fight are errors that name the file, the line, the
//! column, the key and the nearest right word. A missing secret is an error only once its store is used. Nothing below this
//! layer knows of the file: each module's own options are composed here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::location::{Address, is_store_name};
use crate::tier::price::PriceTable;

pub mod bandwidth;
pub mod daemon;
pub mod dated;
pub mod engine;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod import;
pub mod job;
pub mod prices;
pub mod residency;
pub mod rules;
pub mod secret;
mod section;
pub mod setting;
pub mod show;
pub mod store;
pub mod stores;
pub mod tier;
pub mod transfer;
pub mod units;
pub mod watch;

pub use secret::{Environment, Secret};
pub use setting::Setting;
pub use stores::Stores;

use engine::{Daemon, Engine, State};
use job::Job;
use section::{Document, Origin, Section, suggest};
use store::StoreConfig;
use tier::On;

/// Everything that was configured.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Its text, which may hold secrets.
    text: Secret,
    /// What flags set.
    settings: Vec<Setting>,
    /// A digest of the stores, their secrets and the engine's settings.
    stores_digest: [u8; 32],
    /// The stores by name, `s3` and `oss` always among them.
    pub stores: BTreeMap<String, StoreConfig>,
    /// Defaults for transfers.
    pub engine: Engine,
    /// Where state is kept.
    pub state: State,
    /// The daemon.
    pub daemon: Daemon,
    /// The file of prices.
    pub prices: Option<PathBuf>,
    /// The jobs, in the file's order.
    pub jobs: Vec<Job>,
}

/// Where to look for configuration.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    /// `--config`: this file and no other.
    pub file: Option<PathBuf>,
    /// What flags set, later ones before earlier ones.
    pub settings: Vec<Setting>,
    /// The environment.
    pub environment: Environment,
    /// The current directory.
    pub directory: PathBuf,
}

/// The largest dragon.toml that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Config {
    /// Finds and reads the configuration. Without a file there are only the built-in stores.
    ///
    /// Fails with [`ErrorKind::Invalid`]; where several things are wrong, the error tells the first and how many more there are.
    pub fn load(lookup: &Lookup) -> Result<Self> {
        Self::load_all(lookup).map_err(|mut problems| {
            let first = problems.remove(0);
            if problems.is_empty() { first } else { Error::invalid(first.to_string()).advise(format!("{} more: see dragon config check", problems.len())) }
        })
    }

    /// As [`Self::load`], with everything that is wrong. The list is never empty.
    pub fn load_all(lookup: &Lookup) -> Result<Self, Vec<Error>> {
        let file = find(lookup).map_err(|e| vec![e])?;
        let text = match &file {
            Some(file) => read(&lookup.directory, file).map_err(|e| vec![e])?,
            None => String::new(),
        };
        let base = file.as_deref().and_then(Path::parent).map(|p| lookup.directory.join(p)).unwrap_or_else(|| lookup.directory.clone());
        let name = file.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
        let mut config = Self::parse(&name, &text, base, &lookup.settings, &lookup.environment)?;
        config.file = file;
        Ok(config)
    }

    /// Reads a text. `name` is what errors call it, `base` where its relative paths start.
    pub fn parse(name: &str, text: &str, base: PathBuf, settings: &[Setting], environment: &Environment) -> Result<Self, Vec<Error>> {
        let document = Document { name, text, base, environment, problems: RefCell::default(), resolved: RefCell::default() };
        let parsed = match DeTable::parse(text) {
            Ok(table) => table,
            Err(e) => {
                let message = format!("this is not TOML: {}", e.message().replace('\n', ", "));
                return Err(vec![document.error(&Origin::Span(e.span().unwrap_or(0..0)), "", message, "")]);
            }
        };
        let mut root = Section::new(&document, "", parsed.get_ref(), Origin::Span(0..0));
        let engine = read_table(&mut root, "engine", Engine::read);
        let stores = read_stores(&document, &mut root, settings, &engine);
        for (name, lock) in stores.iter().flat_map(|(name, store)| store.residency.iter().map(move |lock| (name, lock))) {
            for (unknown, advice) in lock.unknown(&stores) {
                let path = format!("stores.{name}.residency.may_go_to");
                document.problem(&Origin::Span(0..0), &path, format!("there is no store '{unknown}'"), advice);
            }
        }
        let mut config = Self {
            stores,
            engine,
            state: read_table(&mut root, "state", State::read),
            daemon: read_table(&mut root, "daemon", Daemon::read),
            ..Self::default()
        };
        config.prices = root.path("prices");
        config.jobs = read_jobs(&mut root, &config.stores);
        let missing = root.finish();
        let mut problems = document.problems.into_inner();
        problems.sort_by_key(|(place, _)| *place);
        let problems: Vec<Error> = problems.into_iter().map(|(_, problem)| problem).chain(missing).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut digest = document.resolved.into_inner();
        digest.update(format!("{:?} {:?} {:?} {settings:?}", config.stores, config.engine, config.state));
        config.stores_digest = digest.finalize().into();
        config.text = Secret::new(text);
        config.settings = settings.to_vec();
        Ok(config)
    }

    /// The table of prices that `prices` names; an empty one where it names none.
    ///
    /// Fails where the file cannot be read, or something in it is wrong.
    pub fn price_table(&self) -> Result<PriceTable> {
        self.prices.as_deref().map_or_else(|| Ok(PriceTable::default()), |file| prices::load(Path::new(""), file, &Environment::default()))
    }

    /// SHA-256 of the text, in hexadecimal digits.
    pub fn revision(&self) -> String {
        hex::encode(Sha256::digest(self.text.expose().as_bytes()))
    }

    /// Says so where the file holds secrets and others can read it.
    pub fn exposed(&self) -> Option<String> {
        use std::os::unix::fs::PermissionsExt;
        let file = self.file.as_ref()?;
        let open = std::fs::metadata(file).is_ok_and(|m| m.permissions().mode() & 0o044 != 0);
        (open && self.show().contains(secret::REDACTED)).then(|| format!("{} holds secrets and others can read it; chmod 600 it", file.display()))
    }

    /// What does not resolve in this environment: an error once it is used, and what `config check` tells beforehand.
    pub fn missing(&self) -> impl Iterator<Item = &Error> {
        let stores = self.stores.values().flat_map(|store| &store.missing);
        stores.chain(&self.daemon.missing).chain(self.jobs.iter().flat_map(|job| &job.missing))
    }
}

/// `--config`, DRAGON_CONFIG, ./dragon.toml, the XDG folder, /etc/dragon/dragon.toml. A file that was named must be there.
fn find(lookup: &Lookup) -> Result<Option<PathBuf>> {
    if let Some(file) = lookup.file.clone().or_else(|| lookup.environment.path("DRAGON_CONFIG")) {
        return Ok(Some(file));
    }
    let xdg = lookup.environment.path("XDG_CONFIG_HOME").or_else(|| lookup.environment.path("HOME").map(|home| home.join(".config")));
    let places = [Some(PathBuf::from("dragon.toml")), xdg.map(|xdg| xdg.join("dragon/dragon.toml")), Some("/etc/dragon/dragon.toml".into())];
    for place in places.into_iter().flatten() {
        match std::fs::metadata(lookup.directory.join(&place)) {
            Ok(_) => return Ok(Some(place)),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
            Err(e) => return Err(unreadable(&place, &e)),
        }
    }
    Ok(None)
}

fn read(directory: &Path, file: &Path) -> Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(directory.join(file)).and_then(|f| f.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)).map_err(|e| unreadable(file, &e))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::invalid(format!("the configuration file {} is larger than 4 MiB", file.display())));
    }
    Ok(text)
}

fn unreadable(file: &Path, e: &std::io::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("the configuration file {} cannot be read: {e}", file.display()))
}

fn read_table<T: Default>(root: &mut Section<'_>, key: &'static str, read: fn(&mut Section<'_>) -> T) -> T {
    let Some(mut section) = root.table(key) else { return T::default() };
    let value = read(&mut section);
    let missing = section.finish();
    root.missing.extend(missing);
    value
}

fn read_stores(document: &Document<'_>, root: &mut Section<'_>, settings: &[Setting], engine: &Engine) -> BTreeMap<String, StoreConfig> {
    let table = root.table("stores");
    let mut names: Vec<String> = table.iter().flat_map(Section::names).chain(settings.iter().map(|s| s.store.clone())).collect();
    names.extend(["s3".to_owned(), "oss".to_owned()]);
    names.sort_unstable();
    names.dedup();
    let mut stores = BTreeMap::new();
    for name in names {
        let from_file = table.as_ref().filter(|t| t.has(&name));
        let flag = settings.iter().find(|s| s.store == name).map(|s| Origin::Flag(s.flag.clone()));
        let section = match from_file {
            Some(table) => table.child(&name),
            None => Some(Section::empty(document, format!("stores.{name}"), flag.unwrap_or(Origin::Span(0..0)))),
        };
        let Some(mut section) = section else { continue };
        if matches!(name.as_str(), "file" | "mem") || !is_store_name(&name) {
            let why = if is_store_name(&name) { "is built in" } else { "is no store name" };
            section.problem("", format!("'{name}' {why}"), "use another name, of letters a-z, digits and hyphens");
            continue;
        }
        for setting in settings.iter().filter(|s| s.store == name) {
            section.overlay(setting);
        }
        if let Some(store) = StoreConfig::read(&name, section, engine, document.environment) {
            stores.insert(name, store);
        }
    }
    stores
}

fn read_jobs(root: &mut Section<'_>, stores: &BTreeMap<String, StoreConfig>) -> Vec<Job> {
    // Names of stores that are one service become one name, so that two names of one bucket are seen.
    let place = |address: &Address| match address {
        Address::Store { store, bucket, key } if stores.contains_key(store) => {
            Address::Store { store: stores[store].service(), bucket: bucket.clone(), key: key.clone() }
        }
        other => other.clone(),
    };
    let mut jobs: Vec<Job> = Vec::new();
    let sections = root.tables("jobs");
    for mut section in sections {
        let job = Job::read(&mut section);
        if let Some(job) = job {
            for (key, address) in [("source", &job.source), ("destination", &job.destination)] {
                for store in job.events.iter().filter_map(|events| events.store()).filter(|store| !stores.contains_key(*store)) {
                    section.problem("events", format!("there is no store '{store}'"), suggest(store, stores.keys().map(String::as_str)));
                }
                if let Address::Store { store, .. } = address
                    && !stores.contains_key(store)
                    && store != "mem"
                    && !crate::storage::object_store::foreign::is_scheme(store)
                {
                    section.problem(key, format!("there is no store '{store}'"), suggest(store, stores.keys().map(String::as_str)));
                }
            }
            for tier in &job.tier {
                if let On::Place(Address::Store { store, .. }) = &tier.on
                    && !stores.contains_key(store)
                    && store != "mem"
                {
                    section.problem("tier", format!("there is no store '{store}'"), suggest(store, stores.keys().map(String::as_str)));
                }
            }
            if job::overlap(&place(&job.source), &place(&job.destination)) {
                section.problem("destination", "it overlaps the source", "copying a place into itself never ends");
            }
            for other in &jobs {
                if other.name == job.name {
                    section.problem("name", format!("there is another job of the name '{}'", job.name), "");
                } else if let Some(conflict) = job::conflict(other, &job, place) {
                    section.problem("destination", conflict, "");
                }
            }
            jobs.push(job);
        }
        let missing = section.finish();
        root.missing.extend(missing);
    }
    jobs
}

#[cfg(test)]
mod tests;
