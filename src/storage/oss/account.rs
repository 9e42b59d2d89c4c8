//! An account: its buckets, and the way to open one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;

use super::OssStore;
use super::client::{Client, Home, Request, choose_region};
use super::copy::COPY_BYTES_MAX;
use super::credentials::{CredentialsProvider, Environment, chain};
use super::endpoint::{Endpoint, plain_region};
use super::headers::WriteDefaults;
use super::options::Options;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::capabilities::Service;
use crate::storage::transport::xml::list_buckets;
use crate::storage::{Account, BucketInfo, Identity, Storage};

/// Largest page of buckets that is read.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// One set of credentials at one or more endpoints.
#[derive(Debug, Clone)]
pub struct OssAccount {
    client: Arc<Client>,
    defaults: WriteDefaults,
    identity: Identity,
    copy_bytes_max: u64,
}

impl OssAccount {
    /// Opens an account with the process's environment. Reads configuration and certificate files; sends nothing.
    ///
    /// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where no endpoint or region is known or one is malformed, and with
    /// [`ErrorKind::Credentials`](crate::error::ErrorKind::Credentials) where a source of credentials is half configured.
    pub fn open(options: Options, clock: Clock) -> Result<Self> {
        Self::open_in(options, &Environment::of_process(), clock)
    }

    /// As [`OssAccount::open`], in another environment.
    pub fn open_in(options: Options, environment: &Environment, clock: Clock) -> Result<Self> {
        let listed = if options.endpoints.is_empty() { environment.var("OSS_ENDPOINT").into_iter().collect() } else { options.endpoints.clone() };
        let region = options.region.clone().or_else(|| environment.var("OSS_REGION"));
        let endpoints = Endpoint::all(&options, &listed, region.as_deref().map(plain_region))?;
        let region = choose_region(region.as_deref(), &endpoints, options.signature)?;
        let (provider, account) = match (&options.provider, options.anonymous) {
            (_, true) => (None, "anonymous".to_owned()),
            (Some(provider), false) => (Some(Arc::clone(provider)), format!("provider {:p}", Arc::as_ptr(provider))),
            (None, false) => {
                let chosen = chain(&options.credentials, environment, &options.transport, &clock)?;
                (Some(chosen.provider), chosen.account)
            }
        };
        let endpoint = endpoints.first().map(|e| e.host_and_port().to_owned()).unwrap_or_default();
        let client = Client::open(&options, endpoints, region, provider, clock)?;
        let identity = Identity { service: Service::Oss, endpoint, account, bucket: String::new() };
        Ok(Self {
            client: Arc::new(client),
            defaults: WriteDefaults::new(&options),
            identity,
            copy_bytes_max: options.copy_bytes_max.unwrap_or(COPY_BYTES_MAX),
        })
    }

    /// The region that requests are signed for: as given, else as the endpoint says.
    pub fn region(&self) -> &str {
        self.client.region()
    }

    /// Where its credentials come from, for Alibaba Cloud's other services; `None` where it is anonymous.
    pub fn credentials_provider(&self) -> Option<&Arc<dyn CredentialsProvider>> {
        self.client.provider()
    }

    /// Opens a bucket. Makes no request. Fails on a name that no bucket can have (protocol.md 2.3).
    pub fn store(&self, name: &str) -> Result<OssStore> {
        check_name(name)?;
        let identity = Identity { bucket: name.to_owned(), ..self.identity.clone() };
        Ok(OssStore::new(Arc::clone(&self.client), self.defaults.clone(), identity, self.copy_bytes_max))
    }
}

impl fmt::Display for OssAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oss at {}", self.identity.endpoint)
    }
}

#[async_trait]
impl Account for OssAccount {
    async fn list_buckets(&self) -> Result<Vec<BucketInfo>> {
        if self.client.is_cname() {
            return Err(Error::unsupported("the endpoint is a domain bound to one bucket, which cannot list buckets").advise("give the region's own endpoint"));
        }
        let mut buckets = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let request = Request::new("list buckets", Method::GET, None).with("max-keys", "1000").with_some("marker", marker.as_ref());
            let body = self.client.send(None, &request).await?.collect(PAGE_BYTES_MAX).await;
            let page = body.and_then(|body| list_buckets(&body)).map_err(|e| e.during(request.operation).in_store("oss://"))?;
            buckets.extend(page.buckets);
            match page.next {
                None => return Ok(buckets),
                next if next <= marker => return Err(Error::integrity("the list of buckets does not go on").during(request.operation).in_store("oss://")),
                next => marker = next,
            }
        }
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.client.send(Some(&Home::new(name)), &Request::new("make bucket", Method::PUT, None)).await?;
        Ok(())
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.client.send(Some(&Home::new(name)), &Request::new("remove bucket", Method::DELETE, None)).await?;
        Ok(())
    }

    fn bucket(&self, name: &str) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.store(name)?))
    }
}

fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if (3..=63).contains(&name.len()) && letters && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(Error::invalid(format!("'{}' is no OSS bucket name: 3 to 63 of a-z, 0-9 and hyphens, no hyphen at either end", name.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(options: Options, vars: &[(&str, &str)]) -> Result<OssAccount> {
        OssAccount::open_in(options, &Environment::of(vars), Clock::system())
    }

    const KEYS: &[(&str, &str)] = &[("OSS_ACCESS_KEY_ID", "id"), ("OSS_ACCESS_KEY_SECRET", "secret")];

    #[tokio::test]
    async fn endpoint_and_region_come_from_options_environment_or_each_other() {
        let with = |more: &[(&str, &str)]| open(Options::default(), &[KEYS, more].concat());
        assert_eq!(with(&[("OSS_REGION", "oss-cn-beijing")]).expect("opened").to_string(), "oss at oss-cn-beijing.aliyuncs.com");
        assert_eq!(with(&[("OSS_ENDPOINT", "http://127.0.0.1:9001")]).expect("opened").to_string(), "oss at 127.0.0.1:9001");
        assert!(with(&[]).expect_err("nothing known").advice().contains("OSS_REGION"));
        assert!(with(&[("OSS_ENDPOINT", "oss-accelerate.aliyuncs.com")]).expect_err("no region").advice().contains("region"));
        let options = Options { endpoints: vec!["oss-cn-a.aliyuncs.com".into()], ..Options::default() };
        assert_eq!(open(options, &[KEYS, &[("OSS_ENDPOINT", "x.example")]].concat()).expect("opened").identity.endpoint, "oss-cn-a.aliyuncs.com");
    }

    #[tokio::test]
    async fn one_account_is_known_by_its_key() {
        let account = open(Options { region: Some("cn-a".into()), ..Options::default() }, KEYS).expect("opened");
        let (a, b) = (account.bucket("aaa").expect("a"), account.bucket("bbb").expect("b"));
        assert_eq!(a.identity().account, "id");
        assert!(a.server_copy().expect("copies").can_copy_from(b.identity()));
        let other = open(Options { region: Some("cn-b".into()), ..Options::default() }, KEYS).expect("opened").bucket("aaa").expect("a");
        assert!(!a.server_copy().expect("copies").can_copy_from(other.identity()));
    }

    #[test]
    fn bucket_names_are_checked() {
        for bad in ["ab", "Upper", "dot.ted", "-a-", "abc-", "a/b", "a b", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("photos-cn").is_ok());
    }
}
