//! Opens a URL with string options, as users of DataFusion, delta-rs and Lance write them.

use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::location::{Address, Location};
use crate::storage::open::{layered, open};
use crate::storage::{Account, retry};

/// Opens `url` with that crate's kind of options: `access_key_id`, `secret_access_key` (or `access_key_secret`), `session_token` (or
/// `security_token`), `endpoint`, `region`, with or without `aws_` or `oss_` before them, in any case. What is not given comes from the
/// environment, as for [`open`]. The location's prefix is what follows the bucket.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where the URL or an option is not understood: an option that is ignored in silence is how a table is
/// written to the wrong place.
pub async fn open_with_options(url: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Location> {
    let given: Vec<(String, String)> = options.into_iter().collect();
    let address = Address::parse(url)?;
    let (storage, key) = match &address {
        _ if given.is_empty() => return open(url).await,
        #[cfg(feature = "oss")]
        Address::Store { store, bucket, key } if store == "oss" => {
            let mut oss = crate::storage::oss::Options::default();
            for (name, value) in given {
                match plain(&name, "oss_").as_str() {
                    "access_key_id" => oss.credentials.access_key_id = Some(value),
                    "access_key_secret" | "secret_access_key" => oss.credentials.access_key_secret = Some(value),
                    "session_token" | "security_token" => oss.credentials.session_token = Some(value),
                    "endpoint" => oss.endpoints = vec![value],
                    "region" => oss.region = Some(value),
                    _ => return Err(unknown(&name)),
                }
            }
            (crate::storage::oss::OssAccount::open(oss, Clock::system())?.bucket(bucket)?, key)
        }
        #[cfg(feature = "s3")]
        Address::Store { store, bucket, key } if store == "s3" => {
            let mut s3 = crate::storage::s3::Options::default();
            for (name, value) in given {
                match plain(&name, "aws_").as_str() {
                    "access_key_id" => s3.access_key_id = Some(value),
                    "secret_access_key" => s3.secret_access_key = Some(value),
                    "session_token" => s3.session_token = Some(value),
                    "endpoint" | "endpoint_url" => s3.endpoints = vec![value],
                    "region" | "default_region" => s3.region = Some(value),
                    // Dragon takes http where the endpoint says it.
                    "allow_http" => {}
                    _ => return Err(unknown(&name)),
                }
            }
            (crate::storage::s3::S3Account::open(s3, Clock::system()).await?.bucket(bucket)?, key)
        }
        _ => return Err(Error::invalid(format!("'{url}' takes no options"))),
    };
    Ok(Location::new(layered(storage, retry::Options::default(), Clock::system(), Arc::default()), key.clone()))
}

fn plain(name: &str, prefix: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix(prefix).map_or(name.clone(), str::to_owned)
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!("the store option '{name}' is not understood"))
        .advise("known are access_key_id, secret_access_key, session_token, endpoint and region")
}
