//! Flags that several commands share.

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::config::Setting;
use crate::error::{Error, Result};
use crate::storage::location::Address;

/// Reads an address from the command line, whose keys need not be UTF-8.
pub(super) fn address() -> impl TypedValueParser<Value = Address> {
    OsStringValueParser::new().try_map(Address::parse)
}

/// Flags that are short for keys of the built-in stores `s3` and `oss`. They act on those of the two that the command names;
/// stores of dragon.toml have their own keys, which --set changes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reaching s3:// and oss:// (stores of dragon.toml have keys for these)")]
pub(super) struct Reach {
    /// Endpoint of the built-in store that the command names
    #[arg(long, global = true, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Region of the built-in store that the command names
    #[arg(long, global = true, value_name = "REGION")]
    region: Option<String>,
    /// Profile of the built-in store that the command names
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// Sign nothing: for public buckets
    #[arg(long, global = true)]
    no_sign_request: bool,
    /// Agree to pay for requests where the bucket's owner does not
    #[arg(long, global = true, value_name = "requester", num_args = 0..=1, default_missing_value = "requester", value_parser = ["requester"])]
    request_payer: Option<String>,
    /// Proxy: http://, https:// or socks5h://; a password belongs into HTTPS_PROXY instead
    #[arg(long, global = true, value_name = "URL", value_parser = proxy)]
    proxy: Option<String>,
}

/// Every process can read a command line: a password there is refused.
fn proxy(text: &str) -> std::result::Result<String, String> {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    if authority.split('/').next().is_some_and(|a| a.contains('@')) {
        return Err("a password never goes on the command line: set HTTPS_PROXY, or proxy = \"env:NAME\" of a store".into());
    }
    Ok(text.into())
}

impl Reach {
    /// The settings that the flags are short for.
    pub(super) fn settings(&self, addresses: &[&Address]) -> Result<Vec<Setting>> {
        let named: Vec<&str> = ["s3", "oss"].into_iter().filter(|name| addresses.iter().any(|a| a.store() == Some(name))).collect();
        let one = [("--endpoint-url", "endpoint", &self.endpoint_url), ("--region", "region", &self.region), ("--profile", "profile", &self.profile)];
        let mut settings = Vec::new();
        for (flag, key, value) in one {
            let Some(value) = value else { continue };
            match named[..] {
                [store] => settings.push(Setting::of_flag(flag, store, key, value)),
                [] => return Err(Error::invalid(format!("{flag} acts on s3:// and oss://, and the command names neither")).advise(set(key))),
                _ => return Err(Error::invalid(format!("{flag} could mean s3:// or oss://, and the command names both")).advise(set(key))),
            }
        }
        let request_payer = self.request_payer.as_ref().map(|_| "true");
        let both = [
            ("--no-sign-request", "anonymous", self.no_sign_request.then_some("true")),
            ("--request-payer", "request_payer", request_payer),
            ("--proxy", "proxy", self.proxy.as_deref()),
        ];
        for (flag, key, value) in both {
            let Some(value) = value else { continue };
            if named.is_empty() {
                return Err(Error::invalid(format!("{flag} acts on s3:// and oss://, and the command names neither")).advise(set(key)));
            }
            settings.extend(named.iter().map(|store| Setting::of_flag(flag, store, key, value)));
        }
        Ok(settings)
    }
}

fn set(key: &str) -> String {
    format!("write --set stores.NAME.{key}=VALUE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_act_on_the_built_in_store_that_is_named() {
        let reach = Reach { endpoint_url: Some("http://e".into()), region: None, profile: None, no_sign_request: true, request_payer: None, proxy: None };
        let address = |text: &str| Address::parse(text).expect("an address");
        let settings = reach.settings(&[&address("s3://a"), &address("./b")]).expect("one store");
        assert_eq!(settings.iter().map(|s| format!("{}.{}={}", s.store, s.key, s.value)).collect::<Vec<_>>(), ["s3.endpoint=http://e", "s3.anonymous=true"]);
        assert!(reach.settings(&[&address("s3://a"), &address("oss://b")]).expect_err("two").to_string().contains("--set stores.NAME.endpoint=VALUE"));
        assert!(reach.settings(&[&address("mine://a")]).is_err());
        assert!(proxy("http://u:p@h:1").is_err() && proxy("http://h:1").is_ok());
    }
}
