//! Where a store's endpoint, region and credentials come from. Names only, never a secret.

use crate::cli::session::Session;
use crate::config::Environment;
use crate::config::store::{StoreConfig, StoreKind};
use crate::storage::{oss, s3};

/// A store in a line: type, endpoint, region, credentials, each with who says so.
pub(super) fn describe(session: &Session, store: &StoreConfig) -> String {
    match &store.kind {
        StoreKind::S3(options) => {
            let own = "AWS's own of the region";
            let endpoint = place(session, store, "endpoint", options.endpoints.first(), &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], own);
            let region = place(session, store, "region", options.region.as_ref(), &["AWS_REGION", "AWS_DEFAULT_REGION"], "of the AWS profile, else us-east-1");
            format!("s3, endpoint {endpoint}, region {region}, credentials {}", of_s3(session, store, options))
        }
        StoreKind::Oss(options) => {
            let endpoint = place(session, store, "endpoint", options.endpoints.first(), &["OSS_ENDPOINT"], "the region's public one");
            let region = place(session, store, "region", options.region.as_ref(), &["OSS_REGION"], "as the endpoint says");
            format!("oss, endpoint {endpoint}, region {region}, credentials {}", of_oss(session, store, options))
        }
        StoreKind::File { root } => format!("file, directories in {}", root.display()),
        StoreKind::ObjectStore { scheme, .. } => format!("object_store, {scheme}://"),
    }
}

fn place(session: &Session, store: &StoreConfig, key: &str, value: Option<&String>, variables: &[&str], otherwise: &str) -> String {
    if let Some(value) = value {
        return format!("{value} (of {})", session.config.origin(&store.name, key).unwrap_or_else(|| "the configuration".to_owned()));
    }
    let found = variables.iter().find_map(|name| Some((name, session.environment.get(name)?)));
    found.map_or_else(|| otherwise.to_owned(), |(name, value)| format!("{value} (of {name})"))
}

fn of_s3(session: &Session, store: &StoreConfig, options: &s3::Options) -> String {
    if options.anonymous {
        return "none: requests are not signed".to_owned();
    }
    let own = [
        ("access_key_id", options.access_key_id.is_some()),
        ("web_identity_token_file", options.web_identity_token_file.is_some()),
        ("credential_process", options.credential_process.is_some()),
        ("profile", options.profile.is_some()),
    ];
    let variables =
        ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    source(session, store, &own, &variables, options.role_arn.as_deref(), "of the AWS files, or the role of this machine")
}

fn of_oss(session: &Session, store: &StoreConfig, options: &oss::Options) -> String {
    if options.anonymous {
        return "none: requests are not signed".to_owned();
    }
    let keys = &options.credentials;
    let own = [
        ("access_key_id", keys.access_key_id.is_some()),
        ("credential_process", keys.credential_process.is_some()),
        ("web_identity_token_file", keys.web_identity_token_file.is_some()),
        ("ecs_role", keys.ecs_role.is_some()),
        ("profile", keys.profile.is_some()),
    ];
    let variables =
        ["OSS_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_OIDC_TOKEN_FILE", "ALIBABA_CLOUD_PROFILE", "ALIBABA_CLOUD_CREDENTIALS_URI"];
    source(session, store, &own, &variables, keys.role_arn.as_deref(), "of Alibaba's files, or the RAM role of this machine")
}

fn source(session: &Session, store: &StoreConfig, own: &[(&str, bool)], variables: &[&str], role: Option<&str>, otherwise: &str) -> String {
    let configured = own.iter().find(|(_, set)| *set).map(|(key, _)| {
        let origin = session.config.origin(&store.name, key).unwrap_or_else(|| "the configuration".to_owned());
        format!("by {key} of {origin}")
    });
    let found = configured.or_else(|| variable(&session.environment, variables)).unwrap_or_else(|| otherwise.to_owned());
    role.map_or_else(|| found.clone(), |role| format!("{found}, for the role {role}"))
}

fn variable(environment: &Environment, names: &[&str]) -> Option<String> {
    names.iter().find(|name| environment.get(name).is_some()).map(|name| format!("by {name}"))
}
