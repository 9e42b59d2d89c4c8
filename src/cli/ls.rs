//! `dragon ls`: stores, buckets, keys.

use clap::{Args, ValueHint};
use futures::StreamExt;
use serde::Serialize;

use crate::config::stores::Opening;
use crate::storage::location::{Address, Location};
use crate::storage::{BucketInfo, Entry, Key, Kind, List};

use super::exit::{self, Failure, Outcome};
use super::flags::address;
use super::human;
use super::report::json_key;
use super::session::Session;

/// List stores, buckets or keys
///
/// Without a URL the stores; with NAME:// its buckets; with a prefix what is under it, one level deep (-r: all of it). A prefix
/// that does not end in / shows every key that begins with it.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// NAME://[BUCKET[/PREFIX]], ./PATH or /PATH
    #[arg(value_name = "URL", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) url: Option<Address>,
    /// All levels
    #[arg(short, long)]
    recursive: bool,
}

#[derive(Serialize)]
struct ObjectRow<'a> {
    key: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    etag: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    storage_class: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

#[derive(Serialize)]
struct BucketRow<'a> {
    bucket: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
}

impl Ls {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        match &self.url {
            None => stores(session)?,
            Some(Address::Store { store, bucket, key }) if bucket.is_empty() && key.is_empty() => buckets(session, store).await?,
            Some(address) => self.keys(session, address).await?,
        }
        Ok(exit::OK)
    }

    async fn keys(&self, session: &Session, address: &Address) -> Result<(), Failure> {
        let at = open(session, address).await?;
        let delimiter = (!self.recursive).then_some(b'/');
        let mut list = List { prefix: at.prefix.clone(), delimiter, ..List::default() };
        // `ls s3://b/a` where only `a/` is: what is in it, as one expects of a folder.
        if delimiter.is_some() && !at.prefix.is_empty() && !at.prefix.is_folder() && is_folder_only(&at).await? {
            list.prefix = at.prefix.join(b"/");
        }
        let mut pages = at.storage.list(list);
        let mut any = at.prefix.is_empty();
        while let Some(page) = pages.next().await {
            let page = page?;
            any |= !page.is_empty();
            let mut prefixes = page.prefixes().iter().peekable();
            for entry in page.iter() {
                while let Some(prefix) = prefixes.next_if(|p| p.as_bytes() < entry.key) {
                    print_prefix(session, prefix)?;
                }
                print_entry(session, &entry)?;
            }
            prefixes.try_for_each(|prefix| print_prefix(session, prefix))?;
            session.output.flush()?;
        }
        // An empty answer to a question about something: it is not there.
        if any { Ok(()) } else { Err(not_there(address).into()) }
    }
}

/// The error for a prefix under which nothing is.
pub(super) fn not_there(address: &Address) -> crate::error::Error {
    crate::error::Error::new(crate::error::ErrorKind::NotFound, format!("nothing is there: {address}"))
}

/// Opens what an address names, as a prefix that is taken as it stands; a local file is itself.
pub(super) async fn open(session: &Session, address: &Address) -> Result<Location, Failure> {
    let opening = Opening::default();
    let location = match address {
        Address::Path(path) if !path.is_file() => session.stores.tree(address, &opening).await,
        Address::Store { store, bucket, key } => session.stores.bucket(store, bucket, &opening).await.map(|storage| Location::new(storage, key.clone())),
        other => session.stores.object(other, &opening).await,
    };
    Ok(location?)
}

async fn is_folder_only(at: &Location) -> Result<bool, Failure> {
    let mut pages = at.storage.list(List { prefix: at.prefix.clone(), delimiter: Some(b'/'), page_keys: Some(2), ..List::default() });
    let Some(page) = pages.next().await else { return Ok(false) };
    let page = page?;
    Ok(page.iter().next().is_none() && matches!(page.prefixes(), [only] if *only == at.prefix.join(b"/")))
}

fn print_entry(session: &Session, entry: &Entry<'_>) -> Result<(), Failure> {
    let key = Key::from(entry.key);
    let kind = kind_word(entry.kind);
    if session.output.json {
        let modified = entry.modified.map(|t| t.to_string());
        return session.output.object(&ObjectRow {
            key: json_key(&key),
            size: entry.size,
            modified,
            etag: entry.etag,
            storage_class: entry.storage_class,
            kind,
        });
    }
    let note = kind.map(|k| format!("  ({k})")).unwrap_or_default();
    session.output.line(&format!("{}  {:>12}  {key}{note}", human::time(entry.modified), entry.size))
}

/// What an entry is, where it is no ordinary object.
pub(super) fn kind_word(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Object => None,
        Kind::Appendable => Some("appendable"),
        Kind::Symlink => Some("symlink"),
        Kind::Special => Some("special"),
        Kind::Unreadable => Some("unreadable"),
    }
}

fn print_prefix(session: &Session, prefix: &Key) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row {
        prefix: String,
    }
    if session.output.json {
        return session.output.object(&Row { prefix: json_key(prefix) });
    }
    session.output.line(&format!("{:19}  {:>12}  {prefix}", "", "-"))
}

async fn buckets(session: &Session, store: &str) -> Result<(), Failure> {
    for BucketInfo { name, region, created } in session.stores.account(store).await?.list_buckets().await? {
        if session.output.json {
            session.output.object(&BucketRow { bucket: &name, region: region.as_deref(), created: created.map(|t| t.to_string()) })?;
        } else {
            session.output.line(&format!("{}  {store}://{name}  {}", human::time(created), region.unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// The stores that addresses can name. None is asked anything: a store that does not answer would hide the others.
fn stores(session: &Session) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row<'a> {
        store: &'a str,
        r#type: &'static str,
        place: String,
    }
    for store in session.config.stores.values() {
        let (r#type, place) = store.place();
        if session.output.json {
            session.output.object(&Row { store: &store.name, r#type, place })?;
        } else {
            let name = format!("{}://", store.name);
            session.output.line(format!("{name:20}  {type:12}  {place}").trim_end())?;
        }
    }
    Ok(())
}
