//! `dragon uploads`: multipart uploads that were begun and never ended. Their parts are paid for, and no listing of objects shows them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use futures::{Stream, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::stores::Opening;
use crate::error::{Error, ErrorKind};
use crate::storage::location::{Address, Location};
use crate::storage::{Key, Multipart, Upload};

use super::exit::{self, Failure, Outcome};
use super::flags::address;
use super::report::json_key;
use super::session::Session;
use super::{human, state};

mod abort;
mod known;

use known::{Journals, Known};

/// Uploads whose parts are asked for at once.
const LISTED_AT_ONCE: usize = 8;

/// List or abort multipart uploads that were begun and never ended
#[derive(Debug, Args)]
pub(super) struct Uploads {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Abort(abort::Abort),
}

/// List open uploads under a prefix, with what the journals here know of them
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    place: Place,
}

/// Which uploads.
#[derive(Debug, Args)]
struct Place {
    /// NAME://BUCKET[/PREFIX], ./PATH or /PATH: s3://b/a means the key a and what is under a/ (never ab)
    #[arg(value_name = "URL", value_parser = address(), value_hint = ValueHint::AnyPath)]
    url: Address,
    /// Look for journals here, or `none` [default: [state] dir, or the user's state directory]
    #[arg(long, value_name = "DIR|none", value_hint = ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
}

/// An upload as the service shows it.
#[derive(Debug, Clone)]
struct Open {
    upload: Upload,
    initiated: Option<Timestamp>,
    parts: usize,
    bytes: u64,
    /// When the service took the latest part.
    newest_part: Option<Timestamp>,
}

#[derive(Serialize)]
struct Row<'a> {
    key: String,
    upload_id: &'a str,
    initiated: Option<String>,
    parts: usize,
    bytes: u64,
    newest_part: Option<String>,
    /// Source and destination of the journal that knows it.
    known: Option<&'a str>,
}

impl Uploads {
    /// The place that the command names.
    pub(super) fn url(&self) -> &Address {
        match &self.action {
            Action::List(list) => &list.place.url,
            Action::Abort(abort) => abort.url(),
        }
    }

    pub(super) async fn run(self, session: &Session) -> Outcome {
        match self.action {
            Action::List(list) => list.run(session).await,
            Action::Abort(abort) => abort.run(session).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Outcome {
        let (at, journals) = self.place.open(session).await?;
        let mut uploads = std::pin::pin!(open_uploads(&at)?);
        while let Some(open) = uploads.try_next().await? {
            let known = journals.know(&open.upload).map(|known| known.way.as_str());
            if session.output.json {
                session.output.object(&open.row(known))?;
            } else {
                session.output.line(&open.line(known))?;
            }
            session.output.flush()?;
        }
        Ok(exit::OK)
    }
}

impl Place {
    async fn open(&self, session: &Session) -> Result<(Location, Journals), Failure> {
        let at = session.stores.tree(&self.url, &Opening::default()).await?;
        let journals = Journals::read(state::directory(session, self.state_dir.as_deref()), &at).await?;
        Ok((at, journals))
    }
}

impl Open {
    /// Since when nothing has happened to it, as far as the service tells.
    fn touched(&self) -> Option<Timestamp> {
        self.initiated.max(self.newest_part)
    }

    fn row<'a>(&'a self, known: Option<&'a str>) -> Row<'a> {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Row {
            key: json_key(&self.upload.key),
            upload_id: &self.upload.id.0,
            initiated: text(self.initiated),
            parts: self.parts,
            bytes: self.bytes,
            newest_part: text(self.newest_part),
            known,
        }
    }

    fn line(&self, known: Option<&str>) -> String {
        let size = format!("{} in {}", human::bytes(self.bytes), human::plural(self.parts as u64, "part"));
        let known = known.map(|way| format!("  ({way})")).unwrap_or_default();
        format!("{}  {size:>22}  {}  {}{known}", human::time(self.touched()), self.upload.key, Key::from(self.upload.id.0.as_str()))
    }
}

/// The open uploads of a key, or of what is under it. One that ends while it is looked at is left out.
fn open_uploads(at: &Location) -> Result<impl Stream<Item = crate::error::Result<Open>> + '_, Failure> {
    let multipart = multipart(at)?;
    let listed = multipart.list_uploads(at.prefix.clone()).try_filter(move |open| std::future::ready(is_under(&at.prefix, &open.upload.key)));
    let looked_into = listed.map_ok(move |open| async move {
        let parts = match multipart.list_parts(&open.upload).await {
            Err(error) if error.kind() == ErrorKind::UploadNotFound => return Ok(None),
            parts => parts.map_err(|e| e.during("list parts").on_key(&open.upload.key).in_store(&at.storage))?,
        };
        let bytes = parts.iter().map(|part| part.size).sum();
        let newest_part = parts.iter().filter_map(|part| part.modified).max();
        Ok::<_, Error>(Some(Open { upload: open.upload, initiated: open.initiated, parts: parts.len(), bytes, newest_part }))
    });
    Ok(looked_into.try_buffered(LISTED_AT_ONCE).try_filter_map(|open| std::future::ready(Ok(open))))
}

/// Whether a key is what a prefix names, or lies under it.
fn is_under(prefix: &Key, key: &Key) -> bool {
    let is_whole = |rest: Key| prefix.is_empty() || prefix.is_folder() || rest.is_empty() || rest.as_bytes().starts_with(b"/");
    key.strip_prefix(prefix).is_some_and(is_whole)
}

fn multipart(at: &Location) -> Result<&dyn Multipart, Failure> {
    Ok(at.storage.multipart().ok_or_else(|| Error::unsupported("there are no multipart uploads here").in_store(&at.storage))?)
}
