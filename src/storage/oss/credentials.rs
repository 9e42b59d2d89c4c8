//! Who we are: access keys, where they come from, and how long they last.
//!
//! A source is anything that implements [`CredentialsProvider`]. A secret's `Debug` shows nothing, and no error carries one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::transport::signature::SigningKeys;

mod cache;
mod chain;
mod environment;
mod files;
mod instance;
mod process;
mod road;
mod sts;
#[cfg(test)]
mod tests;

pub(super) use chain::chain;
pub use environment::Environment;

/// A source of credentials. Asked before every request, so it keeps what it has until that runs out.
#[async_trait]
pub trait CredentialsProvider: fmt::Debug + Send + Sync + 'static {
    /// The credentials to sign with now. An error is of kind [`ErrorKind::Credentials`] or passing.
    async fn credentials(&self) -> Result<Credentials>;

    /// Says that the service refused these as expired or unknown: do not hand them out again if others can be had.
    fn refused(&self, credentials: &Credentials);
}

/// An access key, perhaps a temporary one. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Arc<Fields>);

#[derive(PartialEq, Eq)]
struct Fields {
    access_key_id: String,
    access_key_secret: String,
    security_token: Option<String>,
    expires: Option<Timestamp>,
    signing_keys: SigningKeys,
}

impl Credentials {
    /// A key that does not expire by itself; with a security token where it is an STS one.
    pub fn new(access_key_id: impl Into<String>, access_key_secret: impl Into<String>, security_token: Option<impl Into<String>>) -> Self {
        Self::temporary(access_key_id, access_key_secret, security_token, None)
    }

    /// A key that expires.
    pub fn temporary(
        access_key_id: impl Into<String>,
        access_key_secret: impl Into<String>,
        security_token: Option<impl Into<String>>,
        expires: Option<Timestamp>,
    ) -> Self {
        Self(Arc::new(Fields {
            access_key_id: access_key_id.into(),
            access_key_secret: access_key_secret.into(),
            security_token: security_token.map(Into::into).filter(|t: &String| !t.is_empty()),
            expires,
            signing_keys: SigningKeys::default(),
        }))
    }

    /// The access key id, which is no secret.
    pub fn access_key_id(&self) -> &str {
        &self.0.access_key_id
    }

    /// The secret.
    pub fn access_key_secret(&self) -> &str {
        &self.0.access_key_secret
    }

    /// What is derived from the secret for a while.
    pub(super) fn signing_keys(&self) -> &SigningKeys {
        &self.0.signing_keys
    }

    /// The STS token that goes with a temporary key.
    pub fn security_token(&self) -> Option<&str> {
        self.0.security_token.as_deref()
    }

    /// When the key stops working, where that is known.
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.0.access_key_id).field("expires", &self.0.expires).finish_non_exhaustive()
    }
}

/// Where the access key comes from. What is set here comes before every environment variable and file.
#[derive(Clone, Default)]
pub struct Options {
    /// Access key id.
    pub access_key_id: Option<String>,
    /// Access key secret.
    pub access_key_secret: Option<String>,
    /// STS token of a temporary key.
    pub session_token: Option<String>,
    /// Profile of `~/.aliyun/config.json` or `~/.alibabacloud/credentials.ini`.
    pub profile: Option<String>,
    /// Role to assume with whatever key was found.
    pub role_arn: Option<String>,
    /// External id for the role.
    pub external_id: Option<String>,
    /// Session name for the role; `dragon` where none is given.
    pub session_name: Option<String>,
    /// File with an OIDC token (RRSA), read anew at each renewal; with `oidc_provider_arn` and `role_arn`.
    pub web_identity_token_file: Option<std::path::PathBuf>,
    /// OIDC provider for `web_identity_token_file`.
    pub oidc_provider_arn: Option<String>,
    /// RAM role of this ECS instance; `Some("")` asks the metadata service for its name.
    pub ecs_role: Option<String>,
    /// Command whose standard output is `{"AccessKeyId":..,"AccessKeySecret":..,"SecurityToken":..,"Expiration":..}`.
    pub credential_process: Option<String>,
    /// URL of the security token service. `None`: `https://sts.aliyuncs.com`, or that of `ALIBABA_CLOUD_STS_REGION`.
    pub sts_endpoint: Option<String>,
    /// URL of the ECS metadata service. `None`: `http://100.100.100.200`.
    pub metadata_endpoint: Option<String>,
}

/// Shows which fields are set, and no secret.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("access_key_id", &self.access_key_id)
            .field("profile", &self.profile)
            .field("role_arn", &self.role_arn)
            .field("web_identity_token_file", &self.web_identity_token_file)
            .field("ecs_role", &self.ecs_role)
            .finish_non_exhaustive()
    }
}

/// Fetches credentials anew each time it is asked; a [`cache::Cached`] keeps what it fetched.
#[async_trait]
trait Source: fmt::Debug + Send + Sync + 'static {
    async fn fetch(&self) -> Result<Credentials>;
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Credentials, message)
}

/// The form in which the metadata service, STS, a process and a URI all state a temporary key.
fn from_json(json: &serde_json::Value, whence: &str) -> Result<Credentials> {
    let text = |names: &[&str]| names.iter().find_map(|n| json[*n].as_str()).filter(|t| !t.is_empty()).map(str::to_owned);
    let need = |name: &str, value: Option<String>| value.ok_or_else(|| refuse(format!("{whence} gave no {name}")));
    let id = need("AccessKeyId", text(&["AccessKeyId", "access_key_id"]))?;
    let secret = need("AccessKeySecret", text(&["AccessKeySecret", "access_key_secret"]))?;
    let expires = match text(&["Expiration"]) {
        None => None,
        Some(at) => Some(at.parse().map_err(|_| refuse(format!("{whence} gave an expiration that is no time: {}", at.escape_debug())))?),
    };
    Ok(Credentials::temporary(id, secret, text(&["SecurityToken", "sts_token", "StsToken"]), expires))
}
