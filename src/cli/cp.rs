//! `dragon cp`: one object, a prefix, or a stream.

use clap::{Args, ValueHint};

use crate::config::residency;
use crate::config::stores::Opening;
use crate::error::{Error, Result};
use crate::storage::limit::Pipes;
use crate::storage::location::Address;

use super::exit::Outcome;
use super::flags::address;
use super::session::Session;
use super::transfer::{self, Flags, Run};
use super::{cat, stdio};

/// Copy one object, or with -r what is under a prefix
///
/// SRC and DST are NAME://BUCKET/KEY, ./PATH, /PATH, or - for standard input or output. Without -r, SRC is one exact key, and a
/// DST that ends in / or is a bucket keeps its base name. With -r, s3://b/a means what is under a/ (never ab).
#[derive(Debug, Args)]
pub(super) struct Cp {
    /// What to copy
    #[arg(value_name = "SRC", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) source: Address,
    /// Where to
    #[arg(value_name = "DST", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) destination: Address,
    /// Copy what is under SRC to under DST
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Cp {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut options = self.flags.options(session)?;
        self.flags.open_backup(session, &mut options).await?;
        if self.recursive {
            let (source, destination) = self.flags.trees(session, &self.source, &self.destination, &options).await?;
            self.flags.limit_cost(session, (&self.source, &source), (&self.destination, &destination), &mut options).await?;
            return transfer::run(session, &self.flags.running, Run::Sync, (&self.source, source), (&self.destination, destination), options).await;
        }
        if options.files_from.is_some() {
            return Err(Error::invalid("--files-from names objects under SRC").advise("add -r").into());
        }
        if self.flags.copying.max_cost.is_some() || self.flags.copying.thaw_max_cost.is_some() {
            return Err(Error::invalid("limits of cost are for what is under SRC").advise("add -r").into());
        }
        if options.shard.is_some() {
            return Err(Error::invalid("--shard divides what is under SRC").advise("add -r").into());
        }
        let give_up_after = self.flags.resources.give_up_after;
        match (&self.source, &self.destination) {
            (Address::Stdio, Address::Stdio) => Err(Error::invalid("- to - copies nothing to nowhere").into()),
            (Address::Stdio, destination) => stdio::upload(session, destination, &options, give_up_after).await,
            (source, destination @ Address::Stdio) => {
                residency::check(&session.config.stores, source, destination, &crate::transfer::Filter::default(), &[])?;
                cat::print(session, source, None).await
            }
            (source, destination) => {
                one_key(source)?;
                let destination = target(source, destination);
                // One exact key was asked for: filters have nothing to choose from.
                options.filter = crate::transfer::Filter::default();
                residency::check(&session.config.stores, source, &destination, &options.filter, &[])?;
                let Pipes { read, write } = session.pipes(&options);
                let follow_symlinks = self.flags.selection.follow_symlinks;
                let opening = Opening { follow_symlinks, make: false, pipes: vec![Pipes { read, write: None }], give_up_after, ..Opening::default() };
                let from = session.stores.object(source, &opening).await?;
                let opening = Opening { make: !options.dry_run, pipes: vec![Pipes { read: None, write }], give_up_after, ..Opening::default() };
                let to = session.stores.object(&destination, &opening).await?;
                transfer::run(session, &self.flags.running, Run::One, (source, from), (&destination, to), options).await
            }
        }
    }
}

/// Refuses what can only be a folder.
fn one_key(source: &Address) -> Result<()> {
    let is_directory = matches!(source, Address::Path(path) if path.is_dir());
    let is_bucket = matches!(source, Address::Store { key, .. } if key.is_empty());
    if is_directory || is_bucket {
        let what = if is_bucket { "bucket" } else { "directory" };
        return Err(Error::invalid(format!("{source} is a {what}, and cp copies one object")).advise("add -r to copy what is in it"));
    }
    Ok(())
}

/// Where exactly one object goes: a folder, a bucket or a directory keeps its base name.
fn target(source: &Address, destination: &Address) -> Address {
    let is_directory = matches!(destination, Address::Path(path) if path.is_dir());
    if destination.is_folder() || is_directory { destination.child(&base_name(source)) } else { destination.clone() }
}

/// The base name, that of a folder marker `a/b/` being `b/`.
fn base_name(source: &Address) -> crate::storage::Key {
    match source {
        Address::Store { key, .. } if key.is_folder() => {
            let trimmed = crate::storage::Key::from(&key.as_bytes()[..key.len() - 1]);
            trimmed.base_name().join(b"/")
        }
        other => other.base_name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_the_base_name() {
        let address = |text: &str| Address::parse(text).expect("an address");
        let to = |source: &str, destination: &str| target(&address(source), &address(destination)).to_string();
        assert_eq!(to("s3://b/x/k", "oss://c"), "oss://c/k");
        assert_eq!(to("s3://b/x/k", "oss://c/d/"), "oss://c/d/k");
        assert_eq!(to("s3://b/x/k", "oss://c/d"), "oss://c/d");
        assert_eq!(to("./x/k", "oss://c/d/"), "oss://c/d/k");
        assert_eq!(to("s3://b/x/", "oss://c/d/"), "oss://c/d/x/");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("utf-8");
        assert_eq!(to("s3://b/k", path), format!("{path}/k"));
        assert!(one_key(&address(path)).is_err() && one_key(&address("s3://b")).is_err() && one_key(&address("s3://b/a/")).is_ok());
    }
}
