//! `dragon du`: how much is there.

use clap::{Args, ValueHint};
use futures::StreamExt;
use serde::Serialize;

use crate::storage::location::Address;
use crate::storage::{Kind, List};

use super::exit::{self, Outcome};
use super::flags::address;
use super::session::Session;
use super::{human, ls};

/// Count the objects under a prefix and their bytes
///
/// s3://b/a means what is under a/ (never ab); a local file or a bucket is itself.
#[derive(Debug, Args)]
pub(super) struct Du {
    /// NAME://BUCKET[/PREFIX], ./PATH or /PATH
    #[arg(value_name = "URL", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) url: Address,
}

#[derive(Serialize, Default)]
struct Sum {
    objects: u64,
    bytes: u64,
}

impl Du {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let address = self.url.tree();
        let at = ls::open(session, &address).await?;
        let mut sum = Sum::default();
        let mut pages = at.storage.list(List::under(at.prefix.clone()));
        while let Some(page) = pages.next().await {
            for entry in page?.iter().filter(|e| matches!(e.kind, Kind::Object | Kind::Appendable)) {
                sum.objects += 1;
                sum.bytes += entry.size;
            }
        }
        if sum.objects == 0 && !at.prefix.is_empty() {
            return Err(ls::not_there(&self.url).into());
        }
        if session.output.json {
            session.output.object(&sum)?;
        } else {
            session.output.line(&format!("{} in {} ({})", human::bytes(sum.bytes), human::plural(sum.objects, "object"), human::plural(sum.bytes, "byte")))?;
        }
        Ok(exit::OK)
    }
}
