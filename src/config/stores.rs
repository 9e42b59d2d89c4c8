//! Opening what addresses name: accounts once, by name, when they are first used; layers on top.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::storage::limit::{Limit, Pipes};
use crate::storage::local::{LocalOptions, LocalStore};
use crate::storage::location::{Address, Location};
use crate::storage::memory::{MemoryAccount, MemoryOptions};
use crate::storage::object_store::foreign::{self, ForeignStore};
use crate::storage::observe::Witness;
use crate::storage::oss::credentials::CredentialsProvider;
use crate::storage::oss::{self, OssAccount};
use crate::storage::retry::Pace;
use crate::storage::s3::{self, S3Account};
use crate::storage::{Account, Key, Storage, open, retry};

use super::Config;
use super::daemon::wrong_kind;
use super::section::suggest;
use super::store::{StoreConfig, StoreKind};
use super::units::GiveUp;

/// What a place is opened for.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// Make a local directory that is not there: for a destination that is written.
    pub make: bool,
    /// Read what a local tree's symbolic links lead to.
    pub follow_symlinks: bool,
    /// The pipes that what moves to and from it goes through, one after the other.
    pub pipes: Vec<Pipes>,
    /// How long an outage is waited out; what is not said here, `[engine]` says.
    pub give_up_after: Option<GiveUp>,
    /// Who accounts for each request, beside the counters.
    pub witness: Option<Arc<dyn Witness>>,
}

/// The stores of a configuration, each opened at first use.
#[derive(Debug)]
pub struct Stores {
    config: Arc<Config>,
    /// Who asks, for the clouds' trails.
    name: Option<String>,
    clock: Clock,
    metrics: Arc<Metrics>,
    accounts: Mutex<HashMap<String, Arc<dyn Account>>>,
    /// The pace of each store's requests, whatever its bucket.
    paces: std::sync::Mutex<HashMap<String, Pace>>,
}

impl Stores {
    /// The stores of a configuration. Opens none.
    pub fn new(config: Arc<Config>, clock: Clock) -> Self {
        Self { config, name: None, clock, metrics: Arc::default(), accounts: Mutex::default(), paces: std::sync::Mutex::default() }
    }

    /// The same under a name of its own, which requests carry in their user agent, and roles that are assumed in their session's name: so
    /// that a cloud's trail says which job on which host did what. What is counted goes to `metrics`.
    pub fn named(config: Arc<Config>, clock: Clock, metrics: Arc<Metrics>, name: &str) -> Self {
        Self { name: Some(name.to_owned()), metrics, ..Self::new(config, clock) }
    }

    /// What is counted of all that is opened here.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The account behind a store's name. Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where there is no such store, where a
    /// value that it needs is missing, or where it has no buckets to list.
    pub async fn account(&self, name: &str) -> Result<Arc<dyn Account>> {
        // Held while it opens: two ends of one account open it once.
        let mut accounts = self.accounts.lock().await;
        if let Some(account) = accounts.get(name) {
            return Ok(account.clone());
        }
        let account: Arc<dyn Account> = match name {
            "mem" => Arc::new(MemoryAccount::new(MemoryOptions { clock: self.clock.clone(), ..MemoryOptions::default() })),
            _ => match &self.configured(name)?.kind {
                StoreKind::S3(options) => Arc::new(S3Account::open(self.s3_options(options), self.clock.clone()).await?),
                StoreKind::Oss(options) => Arc::new(OssAccount::open(self.oss_options(options), self.clock.clone())?),
                StoreKind::File { .. } | StoreKind::ObjectStore { .. } => {
                    return Err(Error::unsupported(format!("{name}:// has no buckets of its own to list, make or remove")));
                }
            },
        };
        accounts.insert(name.into(), account.clone());
        Ok(account)
    }

    fn s3_options(&self, options: &s3::Options) -> s3::Options {
        let mut options = options.clone();
        if let Some(name) = &self.name {
            options.session_name.get_or_insert_with(|| session_name(name));
            options.client_name = Some(name.clone());
        }
        options
    }

    fn oss_options(&self, options: &oss::Options) -> oss::Options {
        let mut options = options.clone();
        if let Some(name) = &self.name {
            options.credentials.session_name.get_or_insert_with(|| session_name(name));
            options.client_name = Some(name.clone());
        }
        options
    }

    /// Access to AWS's other services with the credentials of an S3 store.
    pub async fn aws_config(&self, name: &str) -> Result<aws_config::SdkConfig> {
        match &self.configured(name)?.kind {
            StoreKind::S3(options) => Ok(S3Account::open(self.s3_options(options), self.clock.clone()).await?.shared_config().clone()),
            other => Err(wrong_kind(name, "an S3 store", other)),
        }
    }

    /// The credentials of an OSS store, for Alibaba Cloud's other services.
    pub async fn alibaba_credentials(&self, name: &str) -> Result<Arc<dyn CredentialsProvider>> {
        match &self.configured(name)?.kind {
            StoreKind::Oss(options) => {
                let account = OssAccount::open(self.oss_options(options), self.clock.clone())?;
                account
                    .credentials_provider()
                    .cloned()
                    .ok_or_else(|| Error::invalid(format!("the store '{name}' is anonymous, and a queue wants to know who asks")))
            }
            other => Err(wrong_kind(name, "an OSS store", other)),
        }
    }

    /// A store that is configured, and of which nothing is missing.
    fn configured(&self, name: &str) -> Result<&StoreConfig> {
        let Some(store) = self.config.stores.get(name) else {
            let names: Vec<&str> = self.config.stores.keys().map(String::as_str).chain(["file", "mem"]).collect();
            let file = self.config.file.as_ref().map_or_else(|| "dragon.toml".to_owned(), |f| f.display().to_string());
            let advice = format!("{}; [stores.{name}] in {file} would define it; a local path begins with ./", suggest(name, names));
            return Err(Error::invalid(format!("there is no store '{name}'")).advise(advice));
        };
        match store.missing.first() {
            Some(missing) => Err(missing.clone()),
            None => Ok(store),
        }
    }

    /// Opens the place that holds what is under an address. The prefix is kept as it was typed: the engine takes `s3://b/a` as `a/`,
    /// and says so where `a` is an object.
    pub async fn tree(&self, address: &Address, opening: &Opening) -> Result<Location> {
        match address {
            Address::Path(path) => Ok(Location::new(self.layered(self.local(path, opening)?, opening, Pace::default()), Key::EMPTY)),
            Address::Store { store, bucket, key } => Ok(Location::new(self.bucket(store, bucket, opening).await?, key.clone())),
            Address::Stdio => Err(Error::invalid("- is one stream, not a place that holds objects").advise("cp without -r takes it")),
        }
    }

    /// Opens the place of exactly one object: the location's prefix is its key.
    pub async fn object(&self, address: &Address, opening: &Opening) -> Result<Location> {
        match address {
            Address::Path(path) => {
                let name = address.base_name();
                if name.is_empty() {
                    return Err(Error::invalid(format!("'{address}' is a directory, not a file")));
                }
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                Ok(Location::new(self.layered(self.local(parent, opening)?, opening, Pace::default()), name))
            }
            Address::Store { store, bucket, key } => {
                if key.is_empty() {
                    return Err(Error::invalid(format!("{address} is a bucket, not an object")).advise("add a key, or -r for all of it"));
                }
                Ok(Location::new(self.bucket(store, bucket, opening).await?, key.clone()))
            }
            Address::Stdio => Err(Error::invalid("- is a stream, not an object")),
        }
    }

    /// Opens a bucket, with the layers that every store wears.
    pub async fn bucket(&self, store: &str, bucket: &str, opening: &Opening) -> Result<Arc<dyn Storage>> {
        let bare = self.bare(store, bucket, opening).await?;
        let pace = self.paces.lock().unwrap_or_else(PoisonError::into_inner).entry(store.into()).or_default().clone();
        Ok(self.layered(bare, opening, pace))
    }

    fn layered(&self, storage: Arc<dyn Storage>, opening: &Opening, pace: Pace) -> Arc<dyn Storage> {
        let mut patience = retry::Options { pace, ..retry::Options::default() };
        if let Some(retries) = self.config.engine.retries {
            patience.attempts_max = retries + 1;
        }
        if let Some(give_up) = opening.give_up_after.or(self.config.engine.resources.give_up_after) {
            patience.give_up_after = give_up.limit();
        }
        let storage = opening.pipes.iter().cloned().fold(storage, |storage, Pipes { read, write }| {
            if read.is_some() || write.is_some() { Arc::new(Limit::new(storage, read, write)) as Arc<dyn Storage> } else { storage }
        });
        open::witnessed(storage, patience, self.clock.clone(), self.metrics.clone(), opening.witness.clone())
    }

    async fn bare(&self, store: &str, bucket: &str, opening: &Opening) -> Result<Arc<dyn Storage>> {
        if bucket.is_empty() {
            return Err(Error::invalid(format!("{store}:// names no bucket")).advise(format!("write {store}://BUCKET")));
        }
        if let Some(config) = self.config.stores.get(store) {
            match &config.kind {
                StoreKind::File { root } => {
                    self.configured(store)?;
                    return self.local(&directory_of(root, bucket)?, opening);
                }
                StoreKind::ObjectStore { scheme, options } => {
                    self.configured(store)?;
                    return open_foreign(scheme, bucket, options.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
                }
                StoreKind::S3(_) | StoreKind::Oss(_) => {}
            }
        } else if foreign::is_scheme(store) {
            return open_foreign(store, bucket, std::iter::empty());
        }
        self.account(store).await?.bucket(bucket)
    }

    /// Opens a directory that need not be there yet, and makes nothing: as a prefix in the nearest one that is.
    pub fn planned_tree(&self, path: &Path) -> Result<Location> {
        let there = path.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("."));
        let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
        let prefix = if rest.as_os_str().is_empty() { Key::EMPTY } else { Key::from(rest.as_os_str().as_bytes()).join(b"/") };
        Ok(Location::new(self.layered(self.local(there, &Opening::default())?, &Opening::default(), Pace::default()), prefix))
    }

    fn local(&self, root: &Path, opening: &Opening) -> Result<Arc<dyn Storage>> {
        let Opening { make, follow_symlinks, .. } = *opening;
        let options = LocalOptions { create_root: make, follow_symlinks, clock: self.clock.clone(), ..LocalOptions::default() };
        Ok(Arc::new(LocalStore::open(root, options)?))
    }
}

/// What a role's session may be called: letters, digits and `=,.@-`, up to 64 of them; Alibaba takes no `=` and `,`.
fn session_name(name: &str) -> String {
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '@' | '-') { c } else { '-' });
    format!("dragon-{}", plain.take(57).collect::<String>())
}

/// The directory of a bucket in a file store. A bucket is one plain name, so that no address leads out of the root.
fn directory_of(root: &Path, bucket: &str) -> Result<PathBuf> {
    if matches!(bucket, "." | "..") || bucket.contains('\0') {
        return Err(Error::invalid(format!("'{bucket}' is no bucket: in a file store it is a directory in {}", root.display())));
    }
    Ok(root.join(OsStr::from_bytes(bucket.as_bytes())))
}

fn open_foreign(scheme: &str, bucket: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Arc<dyn Storage>> {
    Ok(Arc::new(ForeignStore::open(&format!("{scheme}://{bucket}"), options)?))
}
