//! What a store of type `s3` can be told.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::storage::transport;

/// How to reach an S3 service, and as whom. The default is the AWS chain: environment, profile, roles, instance metadata.
#[derive(Clone, Default)]
pub struct Options {
    /// Endpoints, `https://HOST[:PORT]`, the first that answers serves; empty means AWS's own, or AWS_ENDPOINT_URL_S3, or AWS_ENDPOINT_URL.
    pub endpoints: Vec<String>,
    /// Region; `None` reads AWS_REGION, AWS_DEFAULT_REGION and the profile, and is us-east-1 otherwise. A bucket's own region is learnt at first use.
    pub region: Option<String>,
    /// Whether the bucket stands in the path; `None` means yes where the endpoint's host is an IP address or localhost.
    pub path_style: Option<bool>,
    /// Access key id, with [`Self::secret_access_key`].
    pub access_key_id: Option<String>,
    /// Secret access key.
    pub secret_access_key: Option<String>,
    /// Session token of temporary keys.
    pub session_token: Option<String>,
    /// Profile of the shared AWS files; `None` reads AWS_PROFILE.
    pub profile: Option<String>,
    /// Role to assume with the credentials found, or with [`Self::web_identity_token_file`].
    pub role_arn: Option<String>,
    /// External id that the role asks for.
    pub external_id: Option<String>,
    /// Name of the role's session.
    pub session_name: Option<String>,
    /// File with the OIDC token that the role trusts; read anew at each refresh.
    pub web_identity_token_file: Option<PathBuf>,
    /// Command that prints credentials as JSON, as in the shared AWS files.
    pub credential_process: Option<String>,
    /// Sign nothing.
    pub anonymous: bool,
    /// This caller pays for requests to buckets that demand it.
    pub request_payer: bool,
    /// Server-side encryption of what is written where the object names none: `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub sse: Option<String>,
    /// KMS key for it.
    pub sse_kms_key_id: Option<String>,
    /// Canned ACL of what is written where the object names none.
    pub acl: Option<String>,
    /// FIPS endpoints.
    pub use_fips: bool,
    /// Dual-stack (IPv6) endpoints.
    pub use_dualstack: bool,
    /// Transfer acceleration.
    pub accelerate: bool,
    /// Sign the SHA-256 of each body, for http endpoints that insist. It costs twice the transfer itself (performance.md section 0).
    pub sign_payload: bool,
    /// Largest object that one copy request is asked for, in bytes; a larger one is copied in parts. `None`: 5 GiB, which S3 itself takes.
    pub copy_bytes_max: Option<u64>,
    /// Who asks, in the user agent: a job and its host.
    pub client_name: Option<String>,
    /// Connections, proxy, authorities, timeouts.
    pub transport: transport::Options,
}

impl Options {
    /// Refuses what contradicts itself.
    pub(super) fn check(&self) -> Result<()> {
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(Error::invalid("access_key_id and secret_access_key belong together: only one of them is set"));
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return Err(Error::invalid("session_token needs access_key_id and secret_access_key"));
        }
        if self.web_identity_token_file.is_some() && self.role_arn.is_none() {
            return Err(Error::invalid("web_identity_token_file needs role_arn: the token is traded for that role"));
        }
        if self.external_id.is_some() && self.role_arn.is_none() {
            return Err(Error::invalid("external_id needs role_arn"));
        }
        if self.sse_kms_key_id.is_some() && !self.sse.as_deref().is_none_or(|s| s.starts_with("aws:kms")) {
            return Err(Error::invalid("sse_kms_key_id needs sse = \"aws:kms\" or \"aws:kms:dsse\""));
        }
        if let Some(endpoint) = self.endpoints.iter().find(|e| !is_endpoint(e)) {
            return Err(Error::invalid(format!("'{endpoint}' is no endpoint")).advise("write it as https://HOST or http://HOST:PORT"));
        }
        Ok(())
    }
}

fn is_endpoint(text: &str) -> bool {
    text.parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty()) && uri.query().is_none())
}

/// Secrets are named, never shown.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |o: &Option<String>| o.as_ref().map(|_| "set");
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &set(&self.secret_access_key))
            .field("session_token", &set(&self.session_token))
            .field("profile", &self.profile)
            .field("role_arn", &self.role_arn)
            .field("external_id", &set(&self.external_id))
            .field("credential_process", &set(&self.credential_process))
            .field("anonymous", &self.anonymous)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused_and_secrets_are_not_shown() {
        let some = |s: &str| Some(s.to_owned());
        let full = Options {
            access_key_id: some("AKID"),
            secret_access_key: some("hush"),
            session_token: some("hush"),
            endpoints: vec!["http://127.0.0.1:9000".into()],
            ..Options::default()
        };
        full.check().expect("valid");
        assert!(format!("{full:?}").contains("AKID") && !format!("{full:?}").contains("hush"));
        for bad in [
            Options { access_key_id: some("x"), ..Options::default() },
            Options { session_token: some("x"), ..Options::default() },
            Options { web_identity_token_file: Some("f".into()), ..Options::default() },
            Options { external_id: some("x"), ..Options::default() },
            Options { sse: some("AES256"), sse_kms_key_id: some("k"), ..Options::default() },
            Options { endpoints: vec!["127.0.0.1:9000".into()], ..Options::default() },
            Options { endpoints: vec!["ftp://h".into()], ..Options::default() },
        ] {
            assert_eq!(bad.check().expect_err("refused").kind(), crate::error::ErrorKind::Invalid, "{bad:?}");
        }
    }
}
