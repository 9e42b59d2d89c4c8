//! Credentials that this machine's surroundings hand out: the ECS metadata service, and a URI on the local network.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;

use super::road::Road;
use super::{Credentials, Source, from_json, refuse};
use crate::error::{Error, ErrorKind, Result};

/// The metadata service is on the same host: a second is long.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const METADATA: &str = "http://100.100.100.200";
pub(super) const WHOM: &str = "the ECS metadata service";

/// The RAM role of an ECS instance.
#[derive(Debug)]
pub(super) struct EcsRole {
    /// URL of the metadata service.
    pub(super) endpoint: String,
    /// `None` asks the service.
    pub(super) role: Option<String>,
    /// Whether the older protocol, without a token, may be used.
    pub(super) allow_v1: bool,
    pub(super) road: Road,
}

impl EcsRole {
    /// A session token of the newer protocol; `None` where this instance speaks only the older one.
    async fn token(&self) -> Result<Option<String>> {
        let url = format!("{}/latest/api/token", self.endpoint);
        match self.road.text(Method::PUT, &url, &[("x-aliyun-ecs-metadata-token-ttl-seconds", "21600")], String::new()).await {
            Ok((200, token)) if !token.trim().is_empty() => Ok(Some(token.trim().to_owned())),
            Ok(_) if self.allow_v1 => Ok(None),
            Ok((status, _)) => Err(refuse(format!("{WHOM} gave no session token (HTTP {status}), and the older protocol is disabled"))),
            Err(e) => Err(e),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/latest/meta-data/ram/security-credentials/{path}", self.endpoint)
    }

    async fn role(&self, session: &[(&'static str, &str)]) -> Result<String> {
        if let Some(role) = &self.role {
            return Ok(role.clone());
        }
        let (status, body) = self.road.text(Method::GET, &self.url(""), session, String::new()).await?;
        let role = body.lines().next().unwrap_or_default().trim();
        if status != 200 || role.is_empty() || role.contains(['/', '<', ' ']) {
            return Err(refuse(format!("{WHOM} knows no RAM role of this instance (HTTP {status})")).advise("attach a RAM role to the instance"));
        }
        Ok(role.to_owned())
    }
}

#[async_trait]
impl Source for EcsRole {
    async fn fetch(&self) -> Result<Credentials> {
        let token = self.token().await?;
        let session: Vec<_> = token.iter().map(|t| ("x-aliyun-ecs-metadata-token", t.as_str())).collect();
        let role = self.role(&session).await?;
        let answer = self.road.json(Method::GET, &self.url(&role), &session, String::new()).await?;
        match answer["Code"].as_str() {
            Some("Success") => from_json(&answer, WHOM),
            other => Err(refuse(format!("{WHOM} gave no credentials for the role '{role}': {}", other.unwrap_or("no code")))),
        }
    }
}

/// `ALIBABA_CLOUD_CREDENTIALS_URI`.
#[derive(Debug)]
pub(super) struct FromUri {
    pub(super) uri: String,
    pub(super) road: Road,
}

#[async_trait]
impl Source for FromUri {
    async fn fetch(&self) -> Result<Credentials> {
        from_json(&self.road.json(Method::GET, &self.uri, &[], String::new()).await?, self.road.whom())
    }
}

/// The first source that gives something.
#[derive(Debug)]
pub(super) struct FirstOf(pub(super) Vec<Box<dyn Source>>);

#[async_trait]
impl Source for FirstOf {
    async fn fetch(&self) -> Result<Credentials> {
        let mut failures = Vec::new();
        for source in &self.0 {
            match source.fetch().await {
                Ok(credentials) => return Ok(credentials),
                Err(e) => failures.push(e.to_string()),
            }
        }
        let looked = "no access key in the options, OSS_*, ALIBABA_CLOUD_*, ~/.aliyun/config.json, ~/.alibabacloud/credentials.ini or ~/.ossutilconfig";
        Err(Error::new(ErrorKind::Credentials, [&[looked.to_owned()], &failures[..]].concat().join("; "))
            .advise("set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, or give the store access_key_id and access_key_secret"))
    }
}
