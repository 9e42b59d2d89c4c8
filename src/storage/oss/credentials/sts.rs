//! Roles: AssumeRole with a key, AssumeRoleWithOIDC with a token that a cluster hands to its pods (RRSA). protocol.md section 6.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::road::Road;
use super::{Credentials, CredentialsProvider, Source, from_json, refuse};
use crate::clock::Clock;
use crate::error::Result;
use crate::storage::transport::target::encode_query;

const VERSION: &str = "2015-04-01";
/// How long an assumed role is asked for.
const SESSION_SECONDS: &str = "3600";

/// Which role, at which STS.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session_name: String,
    pub(super) external_id: Option<String>,
    /// URL of the service, without a path.
    pub(super) endpoint: String,
    pub(super) road: Road,
}

impl Role {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("RoleArn", self.arn.clone()), ("RoleSessionName", self.session_name.clone()), ("DurationSeconds", SESSION_SECONDS.to_owned())];
        all.extend(self.external_id.clone().map(|id| ("ExternalId", id)));
        all
    }

    async fn ask(&self, query: &[(&'static str, String)], form: &[(&'static str, String)]) -> Result<Credentials> {
        let url = format!("{}/?{}", self.endpoint.trim_end_matches('/'), encode(query));
        let form_type = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.road.json(http::Method::POST, &url, &form_type, encode(form)).await;
        let answer = answer.map_err(|e| e.advise(format!("check that the role {} exists and trusts this caller", self.arn)))?;
        from_json(&answer["Credentials"], self.road.whom())
    }
}

/// Assumes a role with the key that another provider gives.
#[derive(Debug)]
pub(super) struct AssumeRole {
    pub(super) base: Arc<dyn CredentialsProvider>,
    pub(super) role: Role,
    pub(super) clock: Clock,
}

#[async_trait]
impl Source for AssumeRole {
    async fn fetch(&self) -> Result<Credentials> {
        let base = self.base.credentials().await?;
        let mut query = vec![
            ("Action", "AssumeRole".to_owned()),
            ("Format", "JSON".to_owned()),
            ("Version", VERSION.to_owned()),
            ("AccessKeyId", base.access_key_id().to_owned()),
            ("SignatureMethod", "HMAC-SHA1".to_owned()),
            ("SignatureVersion", "1.0".to_owned()),
            ("SignatureNonce", format!("{}{}", self.clock.random_id(), self.clock.random_id())),
            ("Timestamp", self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ];
        query.extend(base.security_token().map(|t| ("SecurityToken", t.to_owned())));
        let form = self.role.parameters();
        query.push(("Signature", signature("POST", query.iter().chain(&form), base.access_key_secret())));
        self.role.ask(&query, &form).await
    }
}

/// Assumes a role with an OIDC token, which is read anew each time because the cluster replaces it.
#[derive(Debug)]
pub(super) struct AssumeRoleWithOidc {
    pub(super) role: Role,
    pub(super) provider_arn: String,
    pub(super) token_file: PathBuf,
    pub(super) clock: Clock,
}

#[async_trait]
impl Source for AssumeRoleWithOidc {
    async fn fetch(&self) -> Result<Credentials> {
        let token = tokio::fs::read_to_string(&self.token_file)
            .await
            .map_err(|e| refuse(format!("cannot read the OIDC token in {}", self.token_file.display())).caused_by(e))?;
        let query = [
            ("Action", "AssumeRoleWithOIDC".to_owned()),
            ("Format", "JSON".to_owned()),
            ("Version", VERSION.to_owned()),
            ("SignatureNonce", format!("{}{}", self.clock.random_id(), self.clock.random_id())),
            ("Timestamp", self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ];
        let mut form = self.role.parameters();
        form.push(("OIDCProviderArn", self.provider_arn.clone()));
        form.push(("OIDCToken", token.trim().to_owned()));
        self.role.ask(&query, &form).await
    }
}

fn encode(parameters: &[(&'static str, String)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(|(n, v)| format!("{n}={}", encode_query(v.as_bytes()))).collect();
    pairs.join("&")
}

/// Alibaba's RPC signature V1: over all parameters, of the query and of the form, sorted by name.
fn signature<'a>(method: &str, parameters: impl Iterator<Item = &'a (&'static str, String)>, secret: &str) -> String {
    let mut pairs: Vec<(String, String)> = parameters.map(|(n, v)| (encode_query(n.as_bytes()), encode_query(v.as_bytes()))).collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(n, v)| format!("{n}={v}")).collect();
    let to_sign = format!("{method}&%2F&{}", encode_query(pairs.join("&").as_bytes()));
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{secret}&").as_bytes()).expect("HMAC takes a key of any length");
    mac.update(to_sign.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    /// DescribeRegions of "Request signatures" in the manual of ECS.
    #[test]
    fn the_rpc_signature_is_that_of_alibabas_manual() {
        let parameters = [
            ("Timestamp", "2016-02-23T12:46:24Z"),
            ("Format", "XML"),
            ("AccessKeyId", "testid"),
            ("Action", "DescribeRegions"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"),
            ("Version", "2014-05-26"),
            ("SignatureVersion", "1.0"),
        ]
        .map(|(n, v)| (n, v.to_owned()));
        assert_eq!(super::signature("GET", parameters.iter(), "testsecret"), "OLeaidS1JvxuMvnyHOwuJ+uX5qY=");
    }
}
