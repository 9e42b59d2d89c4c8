//! `dragon mb` and `dragon rb`: make and remove buckets.

use clap::Args;

use crate::error::{Error, Result};
use crate::storage::location::Address;

use super::exit::{self, Outcome};
use super::flags::address;
use super::session::Session;

/// Make a bucket, or a local directory
#[derive(Debug, Args)]
pub(super) struct Mb {
    /// NAME://BUCKET, ./PATH or /PATH
    #[arg(value_name = "URL", value_parser = address())]
    pub(super) url: Address,
}

/// Remove an empty bucket, or an empty local directory
#[derive(Debug, Args)]
pub(super) struct Rb {
    /// NAME://BUCKET, ./PATH or /PATH
    #[arg(value_name = "URL", value_parser = address())]
    pub(super) url: Address,
}

impl Mb {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        match &self.url {
            Address::Path(path) => std::fs::create_dir(path).map_err(|e| Error::from(e).during("make").on_key(&self.url))?,
            other => {
                let (store, bucket) = bucket_of(other)?;
                session.stores.account(store).await?.create_bucket(bucket).await?;
            }
        }
        Ok(exit::OK)
    }
}

impl Rb {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        match &self.url {
            Address::Path(path) => std::fs::remove_dir(path).map_err(|e| Error::from(e).during("remove").on_key(&self.url))?,
            other => {
                let (store, bucket) = bucket_of(other)?;
                session.stores.account(store).await?.delete_bucket(bucket).await?;
            }
        }
        Ok(exit::OK)
    }
}

fn bucket_of(address: &Address) -> Result<(&str, &str)> {
    match address {
        Address::Store { store, bucket, key } if !bucket.is_empty() && key.is_empty() => Ok((store, bucket)),
        other => Err(Error::invalid(format!("{other} is no bucket")).advise("write NAME://BUCKET")),
    }
}
