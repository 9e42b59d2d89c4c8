//! What a person says about an OSS store.

use std::sync::Arc;

use super::credentials::{self, CredentialsProvider};
use crate::storage::transport;

/// How to reach OSS, as whom, and with which defaults.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Endpoints, with or without `https://`, tried in order: the next is taken where one cannot be reached.
    /// Empty: `OSS_ENDPOINT`, else the public endpoint of the region.
    pub endpoints: Vec<String>,
    /// Region such as `cn-hangzhou` (`oss-cn-hangzhou` is understood). `None`: `OSS_REGION`, else what the endpoint says.
    pub region: Option<String>,
    /// How a bucket stands in an address. `None` decides by the endpoint: path style for IP addresses and localhost, else virtual host.
    pub addressing: Option<Addressing>,
    /// Signature version.
    pub signature: Signature,
    /// Use the region's dual-stack (IPv4 and IPv6) endpoint, where no endpoint is given.
    pub use_dualstack: bool,
    /// Use the transfer acceleration endpoint, where no endpoint is given. The region is then that of the bucket and must be given.
    pub accelerate: bool,
    /// Send requests unsigned, for public buckets.
    pub anonymous: bool,
    /// Where the access key comes from.
    pub credentials: credentials::Options,
    /// A caller's own source of credentials; it takes the place of `credentials`.
    pub provider: Option<Arc<dyn CredentialsProvider>>,
    /// Largest object that one copy request is asked for, in bytes; a larger one is copied in parts. `None`: 1 GiB, which OSS itself takes.
    pub copy_bytes_max: Option<u64>,
    /// Who asks, in the user agent: a job and its host.
    pub client_name: Option<String>,
    /// Agree to pay for requests to buckets whose owner does not (`x-oss-request-payer`).
    pub request_payer: bool,
    /// Server-side encryption of what is written, unless an object says otherwise: `AES256`, `KMS`, `SM4`.
    pub sse: Option<String>,
    /// KMS key for `sse = "KMS"`.
    pub sse_kms_key_id: Option<String>,
    /// Canned ACL of what is written, unless an object says otherwise: `private`, `public-read`, `public-read-write`, `default`.
    pub acl: Option<String>,
    /// Proxies, certificates, timeouts.
    pub transport: transport::Options,
}

/// How a bucket stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://bucket.endpoint/key`: what the public service insists on.
    Virtual,
    /// `https://endpoint/bucket/key`: private clouds, dev servers.
    Path,
    /// `https://endpoint/key`: the endpoint is a domain of one's own, bound to one bucket. New mainland buckets need it (protocol.md 2.1).
    Cname,
}

/// Signature version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signature {
    /// `OSS4-HMAC-SHA256`.
    #[default]
    V4,
    /// HMAC-SHA1, refused to new accounts and buckets since 2025; for private clouds.
    V1,
}
