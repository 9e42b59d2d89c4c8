//! `dragon rm`: delete one key, or what is under a prefix.

use clap::{Args, ValueHint};
use futures::StreamExt;

use crate::config::stores::Opening;
use crate::error::{Error, ErrorKind};
use crate::storage::location::{Address, Location};
use crate::storage::{Kind, List, ObjectRef};

use super::confirm::confirm;
use super::exit::{self, Failure, Outcome};
use super::flags::address;
use super::report::json_key;
use super::session::Session;
use super::{human, ls};

/// Delete one key, or with -r what is under a prefix
///
/// s3://b/a with -r means what is under a/ (never ab). -r asks on a terminal, and needs --force elsewhere.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// NAME://BUCKET/KEY, ./PATH or /PATH
    #[arg(value_name = "URL", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) url: Address,
    /// Delete everything under URL
    #[arg(short, long)]
    recursive: bool,
    /// Say what would be deleted, and delete nothing
    #[arg(short = 'n', long, visible_alias = "dryrun")]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

#[derive(serde::Serialize)]
struct Row {
    event: &'static str,
    action: &'static str,
    key: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Rm {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        if !self.recursive {
            return self.one(session).await;
        }
        let address = self.url.tree();
        let at = session.stores.tree(&address, &Opening::default()).await?;
        if !self.dry_run && !self.force {
            let nobody = format!("nobody is there to say whether everything under {address} may be deleted");
            confirm(&format!("delete everything under {address}?"), &nobody, "--dry-run shows what would be deleted, --force deletes it")?;
        }
        self.all(session, &address, &at).await
    }

    async fn one(&self, session: &Session) -> Outcome {
        let at = session.stores.object(&self.url, &Opening::default()).await?;
        // Deleting what is not there succeeds on both clouds; a person who mistyped a key wants to know.
        let object = ObjectRef::from(&at.prefix);
        match at.storage.head(&object).await {
            Err(e) if e.kind() == ErrorKind::NotFound && !self.url.is_folder() => {
                return Err(e.advise("a prefix is deleted with -r").into());
            }
            found => found?,
        };
        if self.dry_run {
            tell(session, &object, "planned", None)?;
            return Ok(exit::OK);
        }
        let mut deleted = at.storage.delete(futures::stream::iter([object]).boxed());
        while let Some((object, result)) = deleted.next().await {
            result?;
            tell(session, &object, "ok", None)?;
        }
        Ok(exit::OK)
    }

    async fn all(&self, session: &Session, address: &Address, at: &Location) -> Outcome {
        let (mut found, mut failed) = (0_u64, 0_u64);
        let mut pages = at.storage.list(List::under(at.prefix.clone()));
        while let Some(page) = pages.next().await {
            let page = page?;
            let objects: Vec<ObjectRef> =
                page.iter().filter(|e| e.kind != Kind::Unreadable).map(|e| ObjectRef::from(crate::storage::Key::from(e.key))).collect();
            found += objects.len() as u64;
            if self.dry_run {
                objects.iter().try_for_each(|object| tell(session, object, "planned", None))?;
                continue;
            }
            let mut results = at.storage.delete(futures::stream::iter(objects).boxed());
            while let Some((object, result)) = results.next().await {
                match result {
                    Ok(_) => tell(session, &object, "ok", None)?,
                    Err(e) => {
                        failed += 1;
                        tell(session, &object, "failed", Some(&e))?;
                        if e.stops_store() {
                            return Err(e.into());
                        }
                    }
                }
            }
            session.output.flush()?;
        }
        if found == 0 && !at.prefix.is_empty() {
            return Err(ls::not_there(address).into());
        }
        if !session.output.quiet && !session.output.json {
            let verb = if self.dry_run { "would delete" } else { "deleted" };
            let rest = if failed > 0 { format!(", {failed} failed") } else { String::new() };
            session.output.line(&format!("{verb} {}{rest}", human::plural(found - failed, "object")))?;
        }
        Ok(if failed > 0 { exit::FAILED } else { exit::OK })
    }
}

fn tell(session: &Session, object: &ObjectRef, status: &'static str, error: Option<&Error>) -> Result<(), Failure> {
    let key = &object.key;
    if session.output.json {
        return session.output.object(&Row { event: "object", action: "delete", key: json_key(key), status, error: error.map(ToString::to_string) });
    }
    match error {
        Some(error) => {
            session.output.note(&format!("! {key} ({error})"));
            Ok(())
        }
        None if session.output.quiet => Ok(()),
        None => session.output.line(&format!("- {key}")),
    }
}
