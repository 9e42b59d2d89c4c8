//! One request to one bucket: built, signed, sent, and, where the answer says how to set it right, sent once more.
//!
//! A request is one attempt. What is set right here is not the weather but a mistake that the answer corrects: the bucket's
//! region, this machine's clock, an expired token. Each is corrected at most once a request.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderValue, Method, header};
use jiff::{SignedDuration, Timestamp};

use super::credentials::{CredentialCache, Held};
use super::endpoint::{self, Site};
use super::errors::{self, Refusal};
use super::{Options, sdk, sign};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::transport::endpoints::Endpoints;
use crate::storage::transport::target::Target;
use crate::storage::transport::{self, Response, Transport};
use crate::storage::{Key, Payload};

/// How far this machine's clock may be from the service's (protocol.md 1.4).
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(15);

/// What an account's buckets share: connections, credentials, what was learnt of the service.
pub(super) struct Client {
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) credentials: CredentialCache,
    pub(super) sdk: aws_sdk_s3::Client,
    pub(super) shared: aws_config::SdkConfig,
    /// The region to begin with.
    pub(super) region: String,
    /// Empty for AWS's own.
    pub(super) endpoints: Vec<String>,
    transport: Transport,
    agent: HeaderValue,
    health: Arc<Endpoints>,
    skew_millis: AtomicI64,
    checksums_refused: AtomicBool,
    checksums_unstated: AtomicBool,
}

impl Client {
    pub(super) async fn open(options: Options, clock: Clock) -> Result<Self> {
        options.check()?;
        let transport = Transport::new(&options.transport.for_endpoints(options.endpoints.len()))?;
        // The SDK's loaders make a large future.
        let found = Box::pin(sdk::find(&options, &transport, &clock)).await?;
        Ok(Self {
            agent: transport::agent(options.client_name.as_deref()),
            options,
            credentials: CredentialCache::new(found.provider, clock.clone()),
            health: Endpoints::new(found.endpoints.iter().cloned(), clock.clone()),
            clock,
            sdk: found.client,
            shared: found.shared,
            region: found.region,
            endpoints: found.endpoints,
            transport,
            skew_millis: AtomicI64::new(0),
            checksums_refused: AtomicBool::new(false),
            checksums_unstated: AtomicBool::new(false),
        })
    }

    /// Whether the service may be told CRC64NVME values.
    pub(super) fn knows_checksums(&self) -> bool {
        !self.checksums_refused.load(Ordering::Relaxed)
    }

    /// Notes, once, that the service refuses them: from now on Content-MD5 guards what is sent.
    pub(super) fn forget_checksums(&self, why: &Error) {
        if !self.checksums_refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(endpoint = self.name(), error = %why, "this S3 service does not know CRC64NVME checksums; Content-MD5 is sent instead");
        }
    }

    /// Notes, once, that the service took one and did not state it: it may never have looked (moto, rclone).
    pub(super) fn note_unstated(&self) {
        if !self.checksums_unstated.swap(true, Ordering::Relaxed) {
            tracing::info!(endpoint = self.name(), "this S3 service states no CRC64NVME of what it is sent; its ETags prove it where they are MD5s");
        }
    }

    fn name(&self) -> &str {
        self.endpoints.first().map_or("AWS", String::as_str)
    }

    /// The service's time as far as it is known.
    pub(super) fn service_time(&self) -> Timestamp {
        let skew = SignedDuration::from_millis(self.skew_millis.load(Ordering::Relaxed));
        self.clock.now().saturating_add(skew).unwrap_or(Timestamp::MAX)
    }
}

/// One bucket of a client.
pub(super) struct Bucket {
    pub(super) client: Arc<Client>,
    pub(super) name: String,
    place: RwLock<Place>,
    learning: tokio::sync::Mutex<()>,
}

struct Place {
    region: String,
    /// The site for `region`, and the index of the endpoint that it is of.
    site: Option<(usize, Arc<Site>)>,
}

/// A request before it has an address and a signature.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) key: Option<&'a Key>,
    /// In the order of the request line; `None` is a bare flag.
    pub(super) query: Vec<(&'static str, Option<String>)>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, key: Option<&'a Key>) -> Self {
        Self { method, key, query: Vec::new(), headers: HeaderMap::new(), payload: Payload::from_chunks(Vec::new()) }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, Some(value.to_string())));
        self
    }

    pub(super) fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn flag(mut self, name: &'static str) -> Self {
        self.query.push((name, None));
        self
    }

    pub(super) fn target(&self, site: &Site) -> Target {
        self.query.iter().fold(site.target(self.key), |target, (name, value)| match value {
            Some(value) => target.with(name, value),
            None => target.flag(name),
        })
    }
}

/// What has been set right for one request.
#[derive(Default)]
struct Corrected {
    region: bool,
    clock: bool,
    token: bool,
}

impl Bucket {
    pub(super) fn new(client: Arc<Client>, name: &str) -> Self {
        let region = client.region.clone();
        Self { client, name: name.to_owned(), place: RwLock::new(Place { region, site: None }), learning: tokio::sync::Mutex::default() }
    }

    /// Where the bucket is, as far as is known.
    pub(super) async fn site(&self) -> Result<Arc<Site>> {
        self.site_at(self.client.health.current()).await
    }

    /// The same at an endpoint of the list.
    async fn site_at(&self, index: usize) -> Result<Arc<Site>> {
        let region = {
            let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
            match &place.site {
                Some((of, site)) if *of == index => return Ok(site.clone()),
                _ => place.region.clone(),
            }
        };
        let endpoint = self.client.endpoints.get(index).map(String::as_str);
        let site = Arc::new(endpoint::resolve(&self.client.options, endpoint, &region, &self.name).await?);
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        if place.region == region {
            place.site = Some((index, site.clone()));
        }
        Ok(site)
    }

    /// Sends, and returns a successful answer. An error has what the service said; it does not yet name operation, key and store.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response> {
        let mut corrected = Corrected::default();
        loop {
            let endpoint = self.client.health.choose();
            let site = self.site_at(endpoint.index()).await?;
            let held = self.client.credentials.current().await?;
            let request = self.request(call, &site, held.as_deref()).await?;
            let response = self.client.transport.send_to(&endpoint, request).await?;
            if response.head.status.is_success() {
                endpoint.worked();
                return Ok(response);
            }
            let refusal = Refusal::read(response).await;
            endpoint.refused(&refusal.error);
            if self.set_right(&refusal, call, &site, held.as_ref(), &mut corrected).await? {
                continue;
            }
            return Err(if call.method == Method::HEAD { errors::of_head(refusal) } else { refusal.error });
        }
    }

    async fn request(&self, call: &Call<'_>, site: &Site, held: Option<&Held>) -> Result<http::Request<Payload>> {
        let client = &self.client;
        let mut request = http::Request::new(call.payload.clone());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.target(site).uri(&site.scheme, &site.authority)?;
        *request.headers_mut() = call.headers.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_str(&site.authority).map_err(|_| Error::invalid("the endpoint's host cannot stand in a header"))?);
        headers.insert(header::USER_AGENT, client.agent.clone());
        if client.options.request_payer {
            headers.insert("x-amz-request-payer", HeaderValue::from_static("requester"));
        }
        if let Some(held) = held {
            let hash = if client.options.sign_payload { Some(sign::payload_sha256(&call.payload).await?) } else { None };
            sign::sign_headers(&mut request, held, site, client.service_time(), hash.as_deref())?;
        }
        Ok(request)
    }

    /// Corrects what the answer says is wrong. True: the same request may work now.
    async fn set_right(&self, refusal: &Refusal, call: &Call<'_>, site: &Site, held: Option<&Arc<Held>>, corrected: &mut Corrected) -> Result<bool> {
        let mute = refusal.code.is_empty() && call.method == Method::HEAD;
        if let Some(at) = refusal.server_time.filter(|_| !corrected.clock && held.is_some()) {
            let off = at.duration_since(self.client.service_time());
            if refusal.code == "RequestTimeTooSkewed" || (mute && refusal.status == 403 && off.abs() > SKEW_MAX) {
                corrected.clock = true;
                let skew = at.duration_since(self.client.clock.now());
                tracing::warn!(seconds = skew.as_secs(), "this machine's clock is off; S3 requests are stamped with the service's time");
                self.client.skew_millis.store(i64::try_from(skew.as_millis()).unwrap_or(0), Ordering::Relaxed);
                return Ok(true);
            }
        }
        if let Some(held) = held.filter(|h| h.has_token() && !corrected.token) {
            let expired = refusal.error.kind() == ErrorKind::TokenExpired || matches!(refusal.code.as_str(), "InvalidAccessKeyId" | "InvalidToken");
            if expired || (mute && refusal.status == 400 && refusal.region.as_ref().is_none_or(|r| *r == site.region)) {
                corrected.token = true;
                let fresh = self.client.credentials.refresh(held).await?;
                return Ok(!Arc::ptr_eq(&fresh, held));
            }
        }
        if !corrected.region && self.is_elsewhere(refusal, site) {
            corrected.region = true;
            return self.learn_region(refusal, site).await;
        }
        Ok(false)
    }

    fn is_elsewhere(&self, refusal: &Refusal, site: &Site) -> bool {
        match &refusal.region {
            Some(region) => *region != site.region,
            None => matches!(refusal.status, 301 | 307) || refusal.code == "AuthorizationHeaderMalformed",
        }
    }

    /// Learns the bucket's region from a refusal, or by asking. Requests that come together share one question.
    async fn learn_region(&self, refusal: &Refusal, site: &Site) -> Result<bool> {
        let _one = self.learning.lock().await;
        let known = self.site().await?;
        if known.region != site.region {
            return Ok(true);
        }
        let region = match &refusal.region {
            Some(region) => Some(region.clone()),
            None => sdk::bucket_region(&self.client.sdk, &self.name).await,
        };
        let Some(region) = region.filter(|r| *r != site.region) else { return Ok(false) };
        tracing::info!(bucket = self.name, from = site.region, to = region, "the bucket is in another region; its requests go there");
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = Place { region, site: None };
        Ok(true)
    }
}
