//! `[stores.NAME]`: how to reach a store, and as whom.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::storage::{oss, s3, transport};

use super::engine::Engine;
use super::residency::Lock;
use super::secret::{Environment, Secret};
use super::section::Section;

/// One store of dragon.toml, or a built-in one.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Its name: what stands before `://`.
    pub name: String,
    /// What it is.
    pub kind: StoreKind,
    /// What of it must not leave it.
    pub residency: Vec<Lock>,
    /// References to environment variables and files that did not resolve: they matter once the store is used.
    pub missing: Vec<Error>,
}

/// What a store is, with the options of its backend.
#[derive(Debug, Clone)]
pub enum StoreKind {
    /// Anything that speaks S3.
    S3(Box<s3::Options>),
    /// Alibaba Cloud OSS.
    Oss(Box<oss::Options>),
    /// Local directories: each bucket is a directory in the root.
    File {
        /// The root.
        root: PathBuf,
    },
    /// What the object_store crate opens.
    ObjectStore {
        /// Its URL scheme, such as `gs`.
        scheme: String,
        /// That crate's own options.
        options: BTreeMap<String, Secret>,
    },
}

#[derive(Debug, Clone, Copy)]
enum Type {
    S3,
    Oss,
    File,
    ObjectStore,
}

const TYPES: [(&str, Type); 4] = [("s3", Type::S3), ("oss", Type::Oss), ("file", Type::File), ("object_store", Type::ObjectStore)];

impl StoreConfig {
    /// Reads a store. `None` where its type is unknown, which is told as a problem.
    pub(super) fn read(name: &str, mut section: Section<'_>, engine: &Engine, environment: &Environment) -> Option<Self> {
        let built_in = match name {
            "s3" => Some(Type::S3),
            "oss" => Some(Type::Oss),
            _ => None,
        };
        if built_in.is_none() && !section.has("type") {
            section.problem("", "the store has no type", "add type = \"s3\" or type = \"oss\"");
        }
        let kind = match section.choice("type", &TYPES).or(built_in)? {
            Type::S3 => StoreKind::S3(Box::new(read_s3(&mut section, engine))),
            Type::Oss => StoreKind::Oss(Box::new(read_oss(&mut section, engine))),
            Type::File => {
                let root = section.path("root");
                if root.is_none() && !section.has("root") {
                    section.problem("", "a file store needs a root", "add root = \"/a/directory\"");
                }
                StoreKind::File { root: root.unwrap_or_default() }
            }
            Type::ObjectStore => {
                let scheme = section.text("scheme");
                if scheme.is_none() && !section.has("scheme") {
                    section.problem("", "an object_store store needs a scheme", "add scheme = \"gs\", for example");
                }
                StoreKind::ObjectStore { scheme: scheme.unwrap_or_default(), options: section.map("options") }
            }
        };
        if built_in.is_none()
            && let StoreKind::S3(options) = &kind
            && let Some((theirs, ours)) = borrowed_partition(options, environment)
        {
            let message = format!("it is in the partition {ours} and has no credentials of its own; those of the environment belong to {theirs}");
            section.problem("", message, "add access_key_id and secret_access_key, a profile or a role of that partition");
        }
        let residency = Lock::read(&mut section);
        Some(Self { name: name.into(), kind, residency, missing: section.finish() })
    }

    /// Its type and where it is, for people.
    pub fn place(&self) -> (&'static str, String) {
        let cloud = |endpoints: &[String], region: &Option<String>| endpoints.first().or(region.as_ref()).cloned().unwrap_or_default();
        match &self.kind {
            StoreKind::S3(options) => ("s3", cloud(&options.endpoints, &options.region)),
            StoreKind::Oss(options) => ("oss", cloud(&options.endpoints, &options.region)),
            StoreKind::File { root } => ("file", root.display().to_string()),
            StoreKind::ObjectStore { scheme, .. } => ("object_store", format!("{scheme}://")),
        }
    }

    /// The service behind the name: equal for two stores in which one bucket name is one bucket.
    pub(super) fn service(&self) -> String {
        let at = |endpoints: &[String], domain: &str, public: String| match endpoints.first() {
            Some(endpoint) if !endpoint.contains(domain) => endpoint.trim_end_matches('/').to_lowercase(),
            _ => public,
        };
        match &self.kind {
            StoreKind::S3(options) => at(&options.endpoints, "amazonaws.com", partition(options.region.as_deref().unwrap_or_default()).into()),
            StoreKind::Oss(options) => at(&options.endpoints, "aliyuncs.com", "alibaba".into()),
            StoreKind::File { root } => root.display().to_string(),
            StoreKind::ObjectStore { scheme, .. } => scheme.clone(),
        }
    }
}

/// The partition of an AWS region: credentials of one are unknown in another.
pub fn partition(region: &str) -> &'static str {
    match region {
        r if r.starts_with("cn-") => "aws-cn",
        r if r.starts_with("us-gov-") => "aws-us-gov",
        r if r.starts_with("us-iso") || r.starts_with("eu-iso") => "aws-iso",
        r if r.starts_with("eusc-") => "aws-eusc",
        _ => "aws",
    }
}

/// Whether a store would sign with the environment's keys although they are meant for another partition: theirs, and its own.
fn borrowed_partition(options: &s3::Options, environment: &Environment) -> Option<(&'static str, &'static str)> {
    let has_its_own = options.anonymous
        || options.access_key_id.is_some()
        || options.profile.is_some()
        || options.credential_process.is_some()
        || options.web_identity_token_file.is_some();
    if has_its_own || environment.get("AWS_ACCESS_KEY_ID").is_none() {
        return None;
    }
    let ambient = environment.get("AWS_REGION").or_else(|| environment.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1");
    let own = match options.endpoints.iter().find(|e| e.contains("aliyuncs.com")) {
        Some(_) => "alibaba",
        None if options.endpoints.iter().any(|e| !e.contains("amazonaws.com")) => return None,
        None => partition(options.region.as_deref()?),
    };
    (partition(ambient) != own).then(|| (partition(ambient), own))
}

fn expose(secret: Option<Secret>) -> Option<String> {
    secret.map(|s| s.expose().to_owned())
}

fn read_s3(section: &mut Section<'_>, engine: &Engine) -> s3::Options {
    let addressing = section.choice("addressing", &[("virtual", false), ("path", true)]);
    let path_style = section.boolean("path_style");
    if addressing.is_some() && path_style.is_some() {
        section.problem("path_style", "it says the same as addressing: write one of them", "");
    }
    let options = s3::Options {
        endpoints: section.texts("endpoint"),
        region: section.text("region"),
        path_style: path_style.or(addressing),
        access_key_id: section.text("access_key_id"),
        secret_access_key: expose(section.secret("secret_access_key")),
        session_token: expose(section.secret("session_token")),
        profile: section.text("profile"),
        role_arn: section.text("role_arn"),
        external_id: section.text("external_id"),
        session_name: section.text("session_name"),
        web_identity_token_file: section.path("web_identity_token_file"),
        credential_process: section.text("credential_process"),
        anonymous: section.flag("anonymous"),
        request_payer: section.flag("request_payer"),
        sse: section.text("sse"),
        sse_kms_key_id: section.text("sse_kms_key_id"),
        acl: section.text("acl"),
        use_fips: section.flag("use_fips"),
        use_dualstack: section.flag("use_dualstack"),
        accelerate: section.flag("accelerate"),
        sign_payload: section.flag("sign_payload"),
        copy_bytes_max: None,
        client_name: None,
        transport: read_transport(section, engine),
    };
    pair(section, "access_key_id", "secret_access_key");
    options
}

fn read_oss(section: &mut Section<'_>, engine: &Engine) -> oss::Options {
    use oss::{Addressing, Signature};
    let words = [("virtual", Addressing::Virtual), ("path", Addressing::Path), ("cname", Addressing::Cname)];
    let addressing = section.choice("addressing", &words);
    let path_style = section.boolean("path_style").map(|path| if path { Addressing::Path } else { Addressing::Virtual });
    if addressing.is_some() && path_style.is_some() {
        section.problem("path_style", "it says the same as addressing: write one of them", "");
    }
    let options = oss::Options {
        endpoints: section.texts("endpoint"),
        region: section.text("region"),
        addressing: addressing.or(path_style),
        signature: section.choice("signature", &[("v4", Signature::V4), ("v1", Signature::V1)]).unwrap_or_default(),
        use_dualstack: section.flag("use_dualstack"),
        accelerate: section.flag("accelerate"),
        anonymous: section.flag("anonymous"),
        credentials: oss::credentials::Options {
            access_key_id: section.text("access_key_id"),
            access_key_secret: expose(section.secret("access_key_secret")),
            session_token: expose(section.secret("session_token")),
            profile: section.text("profile"),
            role_arn: section.text("role_arn"),
            external_id: section.text("external_id"),
            session_name: section.text("session_name"),
            web_identity_token_file: section.path("web_identity_token_file"),
            oidc_provider_arn: section.text("oidc_provider_arn"),
            ecs_role: section.text("ecs_role"),
            credential_process: section.text("credential_process"),
            sts_endpoint: section.text("sts_endpoint"),
            metadata_endpoint: section.text("metadata_endpoint"),
        },
        provider: None,
        copy_bytes_max: None,
        client_name: None,
        request_payer: section.flag("request_payer"),
        sse: section.text("sse"),
        sse_kms_key_id: section.text("sse_kms_key_id"),
        acl: section.text("acl"),
        transport: read_transport(section, engine),
    };
    pair(section, "access_key_id", "access_key_secret");
    options
}

fn pair(section: &mut Section<'_>, id: &str, secret: &str) {
    match (section.has(id), section.has(secret)) {
        (true, false) => section.problem(id, format!("it needs {secret} beside it"), ""),
        (false, true) => section.problem(secret, format!("it needs {id} beside it"), ""),
        _ => {}
    }
}

fn read_transport(section: &mut Section<'_>, engine: &Engine) -> transport::Options {
    let defaults = transport::Options::default();
    let congestion_control = match engine.congestion_control.as_deref() {
        Some("system") => None,
        Some(name) => Some(name.to_owned()),
        None => defaults.congestion_control.clone(),
    };
    let or = |own: Option<Duration>, engine: Option<Duration>, default| own.or(engine).unwrap_or(default);
    transport::Options {
        // A proxy's URL may hold a password.
        proxy: section.text("proxy"),
        no_proxy: section.text("no_proxy"),
        ca_file: section.path("ca_file"),
        connect_timeout: or(section.duration("connect_timeout"), engine.connect_timeout, defaults.connect_timeout),
        read_timeout: or(section.duration("read_timeout"), engine.read_timeout, defaults.read_timeout),
        congestion_control,
        ..defaults
    }
}
