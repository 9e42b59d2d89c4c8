//! The AWS SDK's road: credentials, buckets, regions. It runs over our own transport, so that proxies, authorities, timeouts and
//! name resolution are the same on both roads.

use std::sync::Arc;
use std::time::SystemTime;

use aws_config::credential_process::CredentialProcessProvider;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;

use super::credentials::system_time;
use super::errors::Refusal;
use super::{Options, endpoint};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Payload;
use crate::storage::transport::Transport;
use crate::storage::transport::xml::ErrorDocument;

/// Longest answer on this road, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where to go where neither the store, nor the environment, nor the profile says it. A bucket elsewhere says so itself.
const DEFAULT_REGION: &str = "us-east-1";

/// What the chain found.
pub(super) struct Found {
    pub(super) region: String,
    pub(super) endpoints: Vec<String>,
    /// `None` where nothing is signed.
    pub(super) provider: Option<SharedCredentialsProvider>,
    pub(super) client: aws_sdk_s3::Client,
    /// The same account's access to AWS's other services.
    pub(super) shared: SdkConfig,
}

/// Reads environment and profile, and makes the SDK's client. Makes no request but those of the credentials' sources.
pub(super) async fn find(options: &Options, transport: &Transport, clock: &Clock) -> Result<Found> {
    let region = region(options).await;
    let base = base_config(options, transport, clock, &region).await;
    let endpoints = if options.endpoints.is_empty() {
        env_endpoint().or_else(|| base.endpoint_url().map(str::to_owned)).into_iter().collect()
    } else {
        options.endpoints.clone()
    };
    let provider = provider(options, &base, transport, clock, &region).await?;
    let endpoint = endpoints.first().map(String::as_str);
    let mut config =
        aws_sdk_s3::config::Builder::from(&base).force_path_style(endpoint::is_path_style(options, endpoint)).disable_s3_express_session_auth(true);
    config.set_endpoint_url(endpoint.map(str::to_owned));
    config = match &provider {
        Some(provider) => config.credentials_provider(provider.clone()),
        None => config.allow_no_auth(),
    };
    let shared = base.to_builder();
    let shared = match &provider {
        Some(provider) => shared.credentials_provider(provider.clone()).build(),
        None => shared.build(),
    };
    Ok(Found { region, endpoints, provider, client: aws_sdk_s3::Client::from_conf(config.build()), shared })
}

/// AWS's own chain but for instance metadata, which would cost seconds off EC2 and is not needed: a bucket says where it is.
async fn region(options: &Options) -> String {
    if let Some(region) = &options.region {
        return region.clone();
    }
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = &options.profile {
        profile = profile.profile_name(name);
    }
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile.build()).or_else(Region::from_static(DEFAULT_REGION));
    chain.region().await.map_or_else(|| DEFAULT_REGION.to_owned(), |r| r.to_string())
}

fn env_endpoint() -> Option<String> {
    std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|v| !v.is_empty())
}

/// No retries, no stalled-stream protection: both are ours (design.md section 3).
async fn base_config(options: &Options, transport: &Transport, clock: &Clock, region: &str) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(SharedHttpClient::new(Road(transport.clone())))
        .time_source(Time(clock.clone()))
        .region(Region::new(region.to_owned()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .use_fips(options.use_fips)
        .use_dual_stack(options.use_dualstack);
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

async fn provider(options: &Options, base: &SdkConfig, transport: &Transport, clock: &Clock, region: &str) -> Result<Option<SharedCredentialsProvider>> {
    if options.anonymous {
        return Ok(None);
    }
    let session_name = options.session_name.clone().unwrap_or_else(|| "dragon".to_owned());
    if let (Some(token_file), Some(role_arn)) = (&options.web_identity_token_file, &options.role_arn) {
        let config = ProviderConfig::without_region()
            .with_region(Some(Region::new(region.to_owned())))
            .with_http_client(SharedHttpClient::new(Road(transport.clone())))
            .with_time_source(Time(clock.clone()));
        let identity = StaticConfiguration { web_identity_token_file: token_file.clone(), role_arn: role_arn.clone(), session_name };
        let provider = WebIdentityTokenCredentialsProvider::builder().configure(&config).static_configuration(identity).build();
        return Ok(Some(SharedCredentialsProvider::new(provider)));
    }
    let found = if let (Some(id), Some(secret)) = (&options.access_key_id, &options.secret_access_key) {
        SharedCredentialsProvider::new(Credentials::new(id, secret, options.session_token.clone(), None, "dragon.toml"))
    } else if let Some(command) = &options.credential_process {
        SharedCredentialsProvider::new(CredentialProcessProvider::new(command.clone()))
    } else {
        let none = || Error::new(ErrorKind::Credentials, "no source of S3 credentials");
        base.credentials_provider().ok_or_else(none)?
    };
    let Some(role_arn) = &options.role_arn else { return Ok(Some(found)) };
    let mut role = AssumeRoleProvider::builder(role_arn).configure(base).session_name(session_name);
    if let Some(id) = &options.external_id {
        role = role.external_id(id);
    }
    Ok(Some(SharedCredentialsProvider::new(role.build_from_provider(found).await)))
}

/// Our transport as the SDK's HTTP client. A redirect is not followed, a body is whole in memory: only small requests go this way.
#[derive(Debug, Clone)]
struct Road(Transport);

impl HttpClient for Road {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Road {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.0.clone();
        HttpConnectorFuture::new(async move { exchange(&transport, request).await })
    }
}

async fn exchange(transport: &Transport, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let failed = |e: Error| ConnectorError::io(e.into());
    let (mut head, body) = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?.into_parts();
    let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
    if !head.headers.contains_key(http::header::HOST) {
        let host = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        head.headers.insert(http::header::HOST, host.parse().map_err(|e: http::header::InvalidHeaderValue| ConnectorError::user(e.into()))?);
    }
    let answer = transport.send(http::Request::from_parts(head, Payload::from(body))).await.map_err(failed)?;
    let mut response = http::Response::new(SdkBody::empty());
    *response.status_mut() = answer.head.status;
    *response.headers_mut() = answer.head.headers.clone();
    *response.body_mut() = SdkBody::from(answer.collect(ANSWER_BYTES_MAX).await.map_err(failed)?);
    HttpResponse::try_from(response).map_err(|e| ConnectorError::other(e.into(), None))
}

/// Our clock as the SDK's.
#[derive(Debug)]
struct Time(Clock);

impl TimeSource for Time {
    fn now(&self) -> SystemTime {
        system_time(self.0.now())
    }
}

/// An SDK error as ours: what the service said, or what befell the request on its way.
pub(super) fn explain<E>(e: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if let Some(raw) = e.raw_response() {
        let status = raw.status().as_u16();
        let request_id = raw.headers().get("x-amz-request-id").unwrap_or_default().to_owned();
        let words = |w: Option<&str>| w.unwrap_or_default().to_owned();
        let meta = e.as_service_error().map(|e| e.meta());
        let document = ErrorDocument { code: words(meta.and_then(|m| m.code())), message: words(meta.and_then(|m| m.message())), ..ErrorDocument::default() };
        return Refusal::of(status, request_id, document, false).error;
    }
    let ours = std::iter::successors(std::error::Error::source(&e), |e| e.source()).find_map(|e| e.downcast_ref::<Error>());
    ours.cloned().unwrap_or_else(|| Error::new(ErrorKind::Unexpected, "the AWS SDK cannot send the request").caused_by(Arc::new(e)))
}

/// Asks where a bucket is: HeadBucket names the region even where it refuses, GetBucketLocation for services that know only that.
pub(super) async fn bucket_region(client: &aws_sdk_s3::Client, bucket: &str) -> Option<String> {
    let header = |raw: &HttpResponse| raw.headers().get("x-amz-bucket-region").map(str::to_owned);
    let named = match client.head_bucket().bucket(bucket).send().await {
        Ok(output) => output.bucket_region().map(str::to_owned),
        Err(e) => e.raw_response().and_then(header),
    };
    if named.is_some() {
        return named;
    }
    let location = client.get_bucket_location().bucket(bucket).send().await.ok()?;
    Some(match location.location_constraint().map(|l| l.as_str()) {
        None | Some("") => DEFAULT_REGION.to_owned(),
        Some("EU") => "eu-west-1".to_owned(),
        Some(region) => region.to_owned(),
    })
}
