//! `dragon history`: what the journals of this machine say. Who, when, and what proof.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::config::stores::Opening;
use crate::error::{Error, ErrorKind};
use crate::journal::sqlite::history::{History, Run};
use crate::journal::{Pair, StateDir};
use crate::storage::location::Address;

use super::exit::{self, Failure, Outcome};
use super::flags::address;
use super::session::Session;
use super::state;

mod record;

use record::{Deleted, Evidence, Ran, Record};

/// Runs that are told of each pair.
const RUNS_TOLD: usize = 5;

/// Rows that are read at once.
const ROWS_READ: usize = 1000;

/// Runs whose names are kept while rows that they made are told.
const RUNS_KEPT: usize = 1000;

/// Tell what was done: runs, and of each key who copied it, when, and what proved it
///
/// Without addresses the pairs that have a journal here, with their last runs. With two addresses what was proved of each key between them,
/// in key order, whichever of the two was the source then. A run may be at work meanwhile.
#[derive(Debug, Args)]
pub(super) struct Told {
    /// NAME://BUCKET[/PREFIX], ./PATH or /PATH
    #[arg(value_name = "SRC", value_parser = address(), value_hint = ValueHint::AnyPath, requires = "destination")]
    pub(super) source: Option<Address>,
    /// NAME://BUCKET[/PREFIX], ./PATH or /PATH
    #[arg(value_name = "DST", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) destination: Option<Address>,
    /// Tell the deletes instead, with the versions or delete markers that they left
    #[arg(long, requires = "destination")]
    deletes: bool,
    /// How [default: text; --json is short for json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Look for journals here [default: [state] dir, or the user's state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
}

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// RFC 4180, with a line of names.
    Csv,
}

impl Told {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let nowhere = || Error::invalid("there is no state directory").advise("name it with --state-dir DIR");
        let dir = state::directory(session, self.state_dir.as_deref()).ok_or_else(nowhere)?;
        let format = self.format.unwrap_or(if session.output.json { Format::Json } else { Format::Text });
        let teller = Teller { session, format };
        match (&self.source, &self.destination) {
            (Some(source), Some(destination)) => {
                let (history, turned) = open(session, &dir, source, destination).await?;
                if self.deletes { teller.deletes(&history).await? } else { teller.proofs(&history, turned).await? }
            }
            _ => teller.runs(&dir).await?,
        }
        Ok(exit::OK)
    }
}

/// The journal of two places, and whether the first of them is its second end.
async fn open(session: &Session, dir: &StateDir, source: &Address, destination: &Address) -> Result<(History, bool), Failure> {
    let open = async |address: &Address| session.stores.tree(address, &Opening::default()).await.map(|at| at.tree());
    let pair = Pair::of(&open(source).await?, &open(destination).await?);
    match dir.history(&pair.name()).await {
        Ok(history) => Ok((history, pair.is_turned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("{} has no journal of {} and {}", dir.path().display(), pair.source(), pair.destination());
            Err(Error::new(ErrorKind::NotFound, message).advise("dragon history without addresses tells which pairs there are").into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints records in one form.
struct Teller<'a> {
    session: &'a Session,
    format: Format,
}

impl Teller<'_> {
    async fn runs(&self, dir: &StateDir) -> Result<(), Failure> {
        self.begin::<Ran<'_>>()?;
        for name in dir.pairs().await? {
            let history = dir.history(&name).await?;
            let runs = history.runs(None, RUNS_TOLD).await?;
            for run in &runs {
                let (source, destination) = history.way(run.turned);
                self.tell(&Ran { run, source, destination })?;
            }
            self.session.output.flush()?;
        }
        Ok(())
    }

    async fn proofs(&self, history: &History, turned: bool) -> Result<(), Failure> {
        self.begin::<Evidence<'_>>()?;
        let mut runs = Runs::default();
        let mut after = None;
        loop {
            let page = history.proofs(turned, after.as_ref(), ROWS_READ).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, proved) in &page {
                self.tell(&Evidence { key, proved, run: runs.find(history, proved.run).await? })?;
            }
            self.session.output.flush()?;
        }
    }

    async fn deletes(&self, history: &History) -> Result<(), Failure> {
        self.begin::<Deleted<'_>>()?;
        let mut runs = Runs::default();
        let mut after = None;
        loop {
            let page = history.deletions(after, ROWS_READ).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.number);
            for deletion in &page {
                let run = runs.find(history, deletion.run).await?;
                self.tell(&Deleted { deletion, run, destination: run.map(|run| history.way(run.turned).1) })?;
            }
            self.session.output.flush()?;
        }
    }

    fn begin<R: Record>(&self) -> Result<(), Failure> {
        match self.format {
            Format::Csv => self.session.output.line(&R::NAMES.join(",")),
            Format::Text | Format::Json => Ok(()),
        }
    }

    fn tell<R: Record>(&self, record: &R) -> Result<(), Failure> {
        let output = &self.session.output;
        match self.format {
            Format::Text => output.line(&record.text()),
            Format::Json => output.object(&record.json()),
            Format::Csv => output.line(&record.fields().iter().map(|field| quote(field)).collect::<Vec<_>>().join(",")),
        }
    }
}

/// Runs by their number, as rows name them.
#[derive(Default)]
struct Runs(HashMap<u32, Option<Run>>);

impl Runs {
    async fn find(&mut self, history: &History, number: u32) -> Result<Option<&Run>, Failure> {
        if !self.0.contains_key(&number) {
            if self.0.len() == RUNS_KEPT {
                self.0.clear();
            }
            let found = history.runs(Some(number.saturating_add(1)), 1).await?.pop().filter(|run| run.number == number);
            self.0.insert(number, found);
        }
        Ok(self.0.get(&number).and_then(Option::as_ref))
    }
}

/// A field as RFC 4180 wants it.
fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_would_break_a_line_are_quoted() {
        assert_eq!(quote("plain key.jpg"), "plain key.jpg");
        assert_eq!(quote("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
