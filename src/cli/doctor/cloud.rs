//! A bucket of S3 or OSS as configured, and the mistakes that show before anything is sent.

use std::sync::Arc;

use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::config::store::{StoreKind, partition};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::open::layered;
use crate::storage::oss::OssAccount;
use crate::storage::s3::S3Account;
use crate::storage::{Service, Storage, retry, transport};

use super::findings::Findings;

/// A bucket of one of the clouds.
pub(super) struct Cloud {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) service: Service,
    /// `scheme://host[:port]`.
    pub(super) address: String,
    pub(super) region: String,
    /// The access key id, or what the credentials are known by; empty where requests are not signed.
    pub(super) account: String,
    pub(super) transport: transport::Options,
}

impl Cloud {
    /// Opens a store's bucket. Asks sources of credentials, but not the store.
    pub(super) async fn open(session: &Session, kind: &StoreKind, bucket: &str) -> Result<Self> {
        let clock = session.clock.clone();
        Ok(match kind {
            StoreKind::S3(options) => {
                let account = S3Account::open((**options).clone(), clock).await?;
                let store = account.store(bucket)?;
                Self {
                    address: store.address().await?,
                    service: Service::S3,
                    region: account.region().to_owned(),
                    account: store.identity().account.clone(),
                    storage: patient(session, Arc::new(store)),
                    transport: options.transport.clone(),
                }
            }
            StoreKind::Oss(options) => {
                let account = OssAccount::open((**options).clone(), clock)?;
                let store = account.store(bucket)?;
                Self {
                    address: store.address(),
                    service: Service::Oss,
                    region: account.region().to_owned(),
                    account: if options.anonymous { String::new() } else { store.identity().account.clone() },
                    storage: patient(session, Arc::new(store)),
                    transport: options.transport.clone(),
                }
            }
            StoreKind::File { .. } | StoreKind::ObjectStore { .. } => return Err(Error::unsupported("this store is neither S3 nor OSS")),
        })
    }

    /// Who we are there, shortened: `AKIAIOSF...`.
    pub(super) fn caller(&self) -> String {
        match self.account.char_indices().nth(8) {
            _ if self.account.is_empty() => "nobody (requests are not signed)".to_owned(),
            Some((at, _)) => format!("{}...", &self.account[..at]),
            None => self.account.clone(),
        }
    }

    /// Tells what is configured, and the mistakes of partition that it holds.
    pub(super) fn judge(&self, findings: &mut Findings<'_>) -> Result<(), Failure> {
        let host = self.address.split("://").last().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        let (name, at_home) = match self.service {
            Service::Oss => ("oss", host.ends_with(".aliyuncs.com")),
            _ => ("s3", host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")),
        };
        findings.fine("store", format_args!("{name} at {}, region {}, as {}", self.address, self.region, self.caller()))?;
        match foreign_key(self.service, &self.account) {
            Some(e) if at_home => findings.fail("access key", &e)?,
            // OSS speaks S3 too, with its own keys.
            Some(e) if !host.ends_with(".aliyuncs.com") => findings.warn("access key", &e)?,
            _ => {}
        }
        if let Some(e) = strayed_region(self.service, host, &self.region) {
            findings.fail("region", &e)?;
        }
        Ok(())
    }
}

/// A store that tries again, but not for long: a person is watching.
fn patient(session: &Session, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    let seconds = std::time::Duration::from_secs;
    let patience = retry::Options {
        attempts_max: 3,
        delay_max: seconds(2),
        elapsed_max: seconds(15),
        first_contact_max: seconds(8),
        give_up_after: Some(std::time::Duration::ZERO),
        ..retry::Options::default()
    };
    layered(storage, patience, session.clock.clone(), Arc::default())
}

/// An access key of the other cloud, by how its id begins.
fn foreign_key(service: Service, id: &str) -> Option<Error> {
    let (theirs, ours, advice) = match service {
        Service::Oss if id.starts_with("AKIA") || id.starts_with("ASIA") => {
            ("AWS", "OSS", "Alibaba's begin with LTAI (or STS.): set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, or the store's own")
        }
        Service::S3 if id.starts_with("LTAI") || id.starts_with("STS.") => {
            ("Alibaba Cloud", "S3", "AWS's begin with AKIA (or ASIA): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the store's own")
        }
        _ => return None,
    };
    Some(Error::new(ErrorKind::Credentials, format!("the access key id is one of {theirs}, and this is {ours}")).advise(advice))
}

/// A region that the endpoint's own name contradicts.
fn strayed_region(service: Service, host: &str, region: &str) -> Option<Error> {
    let wrong = |message: String, advice: &str| Some(Error::new(ErrorKind::WrongEndpoint, message).advise(advice));
    match service {
        Service::S3 => {
            let theirs = match host {
                h if h.ends_with(".amazonaws.com.cn") => "aws-cn",
                h if h.ends_with(".amazonaws.com") && !h.contains("us-gov-") => "aws",
                _ => return None,
            };
            let ours = partition(region);
            let same = theirs == ours || (theirs == "aws" && ours != "aws-cn");
            if same {
                return None;
            }
            wrong(
                format!("the endpoint {host} is of the partition {theirs}, the region {region} of {ours}"),
                "set a region and an endpoint of one partition, with its own keys; leave out the endpoint for AWS's own",
            )
        }
        Service::Oss => {
            let named = host.strip_suffix(".aliyuncs.com")?.split('.').find_map(|label| label.strip_prefix("oss-"))?;
            let named = named.strip_suffix("-internal").unwrap_or(named);
            if named == region || named.starts_with("accelerate") || named.starts_with("cloudbox") {
                return None;
            }
            wrong(
                format!("the endpoint {host} is of the region {named}, and requests are signed for {region}"),
                "set the store's region to that of its endpoint, or leave it out",
            )
        }
        _ => None,
    }
}

/// The region as far as it is known without opening the store.
pub(super) fn region_asked(session: &Session, kind: &StoreKind) -> String {
    let var = |name| session.environment.get(name).map(str::to_owned);
    match kind {
        StoreKind::S3(options) => options.region.clone().or_else(|| var("AWS_REGION")).or_else(|| var("AWS_DEFAULT_REGION")),
        StoreKind::Oss(options) => options.region.clone().or_else(|| var("OSS_REGION")),
        StoreKind::File { .. } | StoreKind::ObjectStore { .. } => None,
    }
    .unwrap_or_default()
}

/// At which step an error belongs.
pub(super) fn step_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Credentials | ErrorKind::TokenExpired => "credentials",
        ErrorKind::ClockSkew => "clock",
        ErrorKind::WrongEndpoint => "region",
        ErrorKind::BucketNotFound => "bucket",
        ErrorKind::Account => "account",
        _ => "store",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_other_cloud_are_named() {
        assert!(foreign_key(Service::Oss, "AKIAIOSFODNN7EXAMPLE").expect("foreign").to_string().contains("one of AWS"));
        assert!(foreign_key(Service::S3, "LTAI5tEXAMPLE").expect("foreign").to_string().contains("one of Alibaba"));
        assert!(foreign_key(Service::S3, "AKIAIOSFODNN7EXAMPLE").is_none() && foreign_key(Service::Oss, "dragon").is_none());
    }

    #[test]
    fn regions_that_the_endpoint_contradicts_are_named() {
        for (service, host, region, wrong) in [
            (Service::S3, "b.s3.us-east-1.amazonaws.com", "cn-north-1", true),
            (Service::S3, "s3.cn-north-1.amazonaws.com.cn", "us-east-1", true),
            (Service::S3, "b.s3.cn-north-1.amazonaws.com.cn", "cn-north-1", false),
            (Service::S3, "b.s3.eu-west-1.amazonaws.com", "eu-west-1", false),
            (Service::S3, "minio.example", "cn-north-1", false),
            (Service::Oss, "b.oss-cn-beijing.aliyuncs.com", "cn-hangzhou", true),
            (Service::Oss, "b.oss-cn-beijing-internal.aliyuncs.com", "cn-beijing", false),
            (Service::Oss, "b.oss-accelerate.aliyuncs.com", "cn-beijing", false),
            (Service::Oss, "img.example.com", "cn-beijing", false),
        ] {
            assert_eq!(strayed_region(service, host, region).is_some(), wrong, "{host} {region}");
        }
    }
}
