//! The library's front door: a place by its address, with what the environment says, and with the layers that every store wears.

use std::sync::Arc;

use super::location::{Address, Location};
use super::observe::{Observe, Witness};
use super::retry::{self, Retry};
use super::{Key, Storage};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Opens an address such as `s3://bucket/prefix/`, `oss://bucket`, `./folder` or `gs://bucket`, as whom the environment says
/// (`AWS_*`, `OSS_*`, `ALIBABA_CLOUD_*`, the clouds' own files and roles). No request is made: what is wrong shows at first use.
///
/// Each `mem://` address is a new, empty store. For other endpoints and credentials, open an account with its own options
/// ([`s3::S3Account`](super::s3::S3Account), [`oss::OssAccount`](super::oss::OssAccount)) and wrap what it gives in [`layered`].
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where the address is none, or its store is not built into this library.
pub async fn open(address: &str) -> Result<Location> {
    let clock = Clock::system();
    let (storage, prefix) = bare(&Address::parse(address)?, &clock).await?;
    Ok(Location::new(layered(storage, retry::Options::default(), clock, Arc::default()), prefix))
}

/// Wraps a store as Dragon uses it: each attempt counted in `metrics`, and made again where that may help.
pub fn layered(storage: Arc<dyn Storage>, patience: retry::Options, clock: Clock, metrics: Arc<Metrics>) -> Arc<dyn Storage> {
    witnessed(storage, patience, clock, metrics, None)
}

/// As [`layered`], with each attempt seen by a witness too, who accounts for it by key.
pub fn witnessed(
    storage: Arc<dyn Storage>,
    patience: retry::Options,
    clock: Clock,
    metrics: Arc<Metrics>,
    witness: Option<Arc<dyn Witness>>,
) -> Arc<dyn Storage> {
    let observed = Arc::new(Observe::new(storage, clock.clone(), metrics.clone()).seen_by(witness));
    Arc::new(Retry::new(observed, patience, clock, metrics))
}

#[allow(clippy::unused_async, unused_variables, reason = "depends on which stores are built in")]
async fn bare(address: &Address, clock: &Clock) -> Result<(Arc<dyn Storage>, Key)> {
    let (store, bucket, key) = match address {
        #[cfg(feature = "local")]
        Address::Path(path) => {
            let options = super::local::LocalOptions { create_root: true, clock: clock.clone(), ..Default::default() };
            return Ok((Arc::new(super::local::LocalStore::open(path, options)?), Key::EMPTY));
        }
        Address::Store { store, bucket, key } if !bucket.is_empty() => (store.as_str(), bucket.as_str(), key.clone()),
        other => return Err(Error::invalid(format!("'{other}' names no place that can be opened")).advise("write STORE://BUCKET/PREFIX or ./PATH")),
    };
    let storage: Arc<dyn Storage> = match store {
        "mem" => Arc::new(super::memory::MemoryStore::new(bucket)),
        #[cfg(feature = "s3")]
        "s3" => super::Account::bucket(&super::s3::S3Account::open(super::s3::Options::default(), clock.clone()).await?, bucket)?,
        #[cfg(feature = "oss")]
        "oss" => super::Account::bucket(&super::oss::OssAccount::open(super::oss::Options::default(), clock.clone())?, bucket)?,
        #[cfg(feature = "object_store")]
        scheme if super::object_store::foreign::is_scheme(scheme) => {
            Arc::new(super::object_store::foreign::ForeignStore::open(&format!("{scheme}://{bucket}"), std::env::vars())?)
        }
        other => return Err(Error::invalid(format!("there is no store '{other}' in this build of Dragon"))),
    };
    Ok((storage, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_opens_a_place_that_works() {
        let place = open("mem://bucket/prefix").await.expect("a place");
        assert_eq!(place.tree().prefix, Key::from("prefix/"));
        place.storage.put(&place.tree().key(b"a"), "x".into(), super::super::Put::default()).await.expect("written");
    }

    #[tokio::test]
    async fn what_names_no_store_is_refused() {
        for address in ["nowhere://bucket/a", "mem://", "-"] {
            let error = open(address).await.expect_err(address);
            assert_eq!(error.kind(), crate::error::ErrorKind::Invalid, "{error}");
        }
    }
}
