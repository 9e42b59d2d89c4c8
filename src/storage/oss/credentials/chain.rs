//! In which order credentials are looked for (protocol.md section 6).
//!
//! Which source is used is settled when the store is opened, from options, variables and files; only where none of these says
//! anything are the metadata service and the credentials URI asked, when the first request needs a key.

use std::sync::Arc;

use async_trait::async_trait;

use super::cache::{Cached, Fixed};
use super::environment::Environment;
use super::files::{self, Profile};
use super::instance::{self, EcsRole, FirstOf, FromUri};
use super::process::Process;
use super::road::{REQUEST_MAX, Road};
use super::sts::{AssumeRole, AssumeRoleWithOidc, Role};
use super::{Credentials, CredentialsProvider, Options, Source, refuse};
use crate::clock::Clock;
use crate::error::Result;
use crate::storage::transport;

/// A provider, and a name by which two stores know that they act as the same account.
#[derive(Debug)]
pub(in crate::storage::oss) struct Chosen {
    pub(in crate::storage::oss) provider: Arc<dyn CredentialsProvider>,
    /// The access key id where it is fixed, else the role or the kind of source.
    pub(in crate::storage::oss) account: String,
}

/// Chooses the source of credentials. Fails where one is half configured, or a file cannot be read; never falls through to another account.
pub(in crate::storage::oss) fn chain(options: &Options, environment: &Environment, transport: &transport::Options, clock: &Clock) -> Result<Chosen> {
    let chain = Chain { options, environment, transport, clock };
    let profile = match chain.options_say()? {
        Some(profile) => Some(profile),
        None => match chain.variables_say()? {
            Some(profile) => Some(profile),
            None => files_say(environment)?,
        },
    };
    let chosen = match profile {
        Some(profile) => chain.build(profile)?,
        None => chain.surroundings()?,
    };
    match &options.role_arn {
        Some(arn) if options.web_identity_token_file.is_none() => {
            let role = chain.role(arn.clone(), options.session_name.clone(), options.external_id.clone())?;
            Ok(chain.cached(AssumeRole { base: chosen.provider, role, clock: clock.clone() }, arn.clone()))
        }
        _ => Ok(chosen),
    }
}

struct Chain<'a> {
    options: &'a Options,
    environment: &'a Environment,
    transport: &'a transport::Options,
    clock: &'a Clock,
}

impl Chain<'_> {
    fn options_say(&self) -> Result<Option<Profile>> {
        let o = self.options;
        if let Some(key) = pair(o.access_key_id.clone(), o.access_key_secret.clone(), o.session_token.clone(), ["access_key_id", "access_key_secret"])? {
            return Ok(Some(key));
        }
        if let Some(command) = &o.credential_process {
            return Ok(Some(Profile::Process(command.clone())));
        }
        if let Some(file) = &o.web_identity_token_file {
            let (Some(arn), Some(provider_arn)) = (o.role_arn.clone(), o.oidc_provider_arn.clone()) else {
                return Err(refuse("web_identity_token_file needs role_arn and oidc_provider_arn beside it"));
            };
            return Ok(Some(Profile::Oidc { arn, session_name: o.session_name.clone(), provider_arn, token_file: file.clone() }));
        }
        if let Some(role) = &o.ecs_role {
            return Ok(Some(Profile::Ecs { role: Some(role.clone()).filter(|r| !r.is_empty()) }));
        }
        match &o.profile {
            None => Ok(None),
            Some(name) => match profile(self.environment, Some(name))? {
                Some(profile) => Ok(Some(profile)),
                None => {
                    Err(refuse(format!("no profile '{}' with a key stands in ~/.aliyun/config.json or ~/.alibabacloud/credentials.ini", name.escape_debug())))
                }
            },
        }
    }

    fn variables_say(&self) -> Result<Option<Profile>> {
        let var = |name| self.environment.var(name);
        let oss = ["OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"];
        if let Some(key) = pair(var(oss[0]), var(oss[1]), var("OSS_SESSION_TOKEN"), oss)? {
            return Ok(Some(key));
        }
        let alibaba = ["ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"];
        if let Some(key) = pair(var(alibaba[0]), var(alibaba[1]), var("ALIBABA_CLOUD_SECURITY_TOKEN"), alibaba)? {
            return Ok(Some(key));
        }
        let rrsa = (var("ALIBABA_CLOUD_ROLE_ARN"), var("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"), var("ALIBABA_CLOUD_OIDC_TOKEN_FILE"));
        Ok(match rrsa {
            (Some(arn), Some(provider_arn), Some(file)) => {
                Some(Profile::Oidc { arn, session_name: var("ALIBABA_CLOUD_ROLE_SESSION_NAME"), provider_arn, token_file: file.into() })
            }
            _ => None,
        })
    }

    fn build(&self, profile: Profile) -> Result<Chosen> {
        Ok(match profile {
            Profile::KeyInFile(credentials) => {
                let account = credentials.access_key_id().to_owned();
                let name = self.options.profile.clone();
                self.cached(KeyInFile { environment: self.environment.clone(), name }, account)
            }
            Profile::Key(credentials) => {
                let account = credentials.access_key_id().to_owned();
                Chosen { provider: Arc::new(Fixed(credentials)), account }
            }
            Profile::Role { base, arn, session_name, external_id } => {
                let base = self.build(*base)?.provider;
                let role = self.role(arn.clone(), session_name, external_id)?;
                self.cached(AssumeRole { base, role, clock: self.clock.clone() }, arn)
            }
            Profile::Oidc { arn, session_name, provider_arn, token_file } => {
                let role = self.role(arn.clone(), session_name, None)?;
                self.cached(AssumeRoleWithOidc { role, provider_arn, token_file, clock: self.clock.clone() }, arn)
            }
            Profile::Ecs { role } => {
                let account = format!("ECS role {}", role.as_deref().unwrap_or("of this instance"));
                self.cached(self.ecs(role)?, account)
            }
            Profile::Process(command) => self.cached(Process(command), "credential process".to_owned()),
            Profile::Uri(uri) => self.cached(self.uri(uri)?, "credentials URI".to_owned()),
        })
    }

    /// What to ask when nothing is configured.
    fn surroundings(&self) -> Result<Chosen> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        if !self.environment.is_true("ALIBABA_CLOUD_ECS_METADATA_DISABLED") {
            sources.push(Box::new(self.ecs(self.environment.var("ALIBABA_CLOUD_ECS_METADATA"))?));
        }
        if let Some(uri) = self.environment.var("ALIBABA_CLOUD_CREDENTIALS_URI") {
            sources.push(Box::new(self.uri(uri)?));
        }
        Ok(self.cached(FirstOf(sources), "this machine's role".to_owned()))
    }

    fn cached(&self, source: impl Source, account: String) -> Chosen {
        Chosen { provider: Arc::new(Cached::new(source, self.clock.clone())), account }
    }

    fn ecs(&self, role: Option<String>) -> Result<EcsRole> {
        let endpoint = self.options.metadata_endpoint.as_deref().unwrap_or(instance::METADATA).trim_end_matches('/').to_owned();
        let allow_v1 = !self.environment.is_true("ALIBABA_CLOUD_IMDSV1_DISABLED");
        Ok(EcsRole { endpoint, role, allow_v1, road: Road::direct(instance::WHOM, self.transport, instance::TIMEOUT)? })
    }

    fn uri(&self, uri: String) -> Result<FromUri> {
        Ok(FromUri { uri, road: Road::direct("the address in ALIBABA_CLOUD_CREDENTIALS_URI", self.transport, REQUEST_MAX)? })
    }

    fn role(&self, arn: String, session_name: Option<String>, external_id: Option<String>) -> Result<Role> {
        let var = |name| self.environment.var(name);
        let endpoint = self.options.sts_endpoint.clone().unwrap_or_else(|| {
            let vpc = if self.environment.is_true("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED") { "-vpc" } else { "" };
            var("ALIBABA_CLOUD_STS_REGION").map_or_else(|| "https://sts.aliyuncs.com".to_owned(), |r| format!("https://sts{vpc}.{r}.aliyuncs.com"))
        });
        let session_name = session_name.or_else(|| var("ALIBABA_CLOUD_ROLE_SESSION_NAME")).unwrap_or_else(|| "dragon".to_owned());
        let external_id = external_id.or_else(|| var("ALIBABA_CLOUD_EXTERNAL_ID"));
        Ok(Role { arn, session_name, external_id, endpoint, road: Road::proxied("STS", self.transport)? })
    }
}

/// The key of `~/.aliyun/config.json`, `~/.alibabacloud/credentials.ini` or `~/.ossutilconfig`, in this order.
fn files_say(environment: &Environment) -> Result<Option<Profile>> {
    if let Some(profile) = profile(environment, environment.var("ALIBABA_CLOUD_PROFILE").as_deref())? {
        return Ok(Some(profile));
    }
    let Some(path) = environment.file(None, ".ossutilconfig") else { return Ok(None) };
    Ok(files::read(&path)?.as_deref().and_then(files::ossutil))
}

/// The profile of that name, or the current one, of the two files that have profiles.
fn profile(environment: &Environment, name: Option<&str>) -> Result<Option<Profile>> {
    if let Some(path) = environment.file(Some("ALIBABA_CLOUD_CONFIG_FILE"), ".aliyun/config.json")
        && let Some(text) = files::read(&path)?
        && let Some(profile) = files::cli_config(&text, &path, name)?
    {
        return Ok(Some(profile));
    }
    let Some(path) = environment.file(Some("ALIBABA_CLOUD_CREDENTIALS_FILE"), ".alibabacloud/credentials.ini") else { return Ok(None) };
    match files::read(&path)? {
        Some(text) => files::credentials_ini(&text, &path, name),
        None => Ok(None),
    }
}

/// A temporary key that stands in a file: read again when OSS refuses the last one.
#[derive(Debug)]
struct KeyInFile {
    environment: Environment,
    /// The profile that the options name.
    name: Option<String>,
}

#[async_trait]
impl Source for KeyInFile {
    async fn fetch(&self) -> Result<Credentials> {
        let found = match &self.name {
            Some(name) => profile(&self.environment, Some(name))?,
            None => files_say(&self.environment)?,
        };
        match found {
            Some(Profile::Key(credentials) | Profile::KeyInFile(credentials)) => Ok(credentials),
            _ => Err(refuse("the file that held the temporary access key holds it no more")),
        }
    }
}

/// A key of two halves; one without the other is a mistake, not a reason to look elsewhere.
fn pair(id: Option<String>, secret: Option<String>, token: Option<String>, names: [&str; 2]) -> Result<Option<Profile>> {
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Profile::Key(Credentials::new(id.trim(), secret.trim(), token)))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(refuse(format!("{} is set and {} is not", names[0], names[1]))),
        (None, Some(_)) => Err(refuse(format!("{} is set and {} is not", names[1], names[0]))),
    }
}
