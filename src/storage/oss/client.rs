//! Sends signed requests: picks the endpoint, keeps the service's clock, follows a bucket home, and judges refusals.
//!
//! Where OSS served a request late, to hold the account to its limits, the next ones keep the wait that it named: it is the pace that
//! the account may go, and no failure.
//!
//! One call is one attempt in the sense of the contract. Within it a request goes out again only where the answer itself said
//! how to correct it: the right time, the right endpoint, a fresh token; each at most once.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};

use super::credentials::{Credentials, CredentialsProvider};
use super::endpoint::{Endpoint, plain_region};
use super::error::Refusal;
use super::options::{Options, Signature};
use super::sign::{Signer, Subject};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::key::Key;
use crate::storage::payload::Payload;
use crate::storage::transport::endpoints::{Choice, Endpoints};
use crate::storage::transport::refusal::{is_unreasoned, unreasoned};
use crate::storage::transport::target::Target;
use crate::storage::transport::{self, Response, Transport};

/// Largest error document that is read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Longest wait that an answer of success can impose.
const PACE_MAX: Duration = Duration::from_secs(5);

/// One request, before it has an address and a signature.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// `None` for requests to the bucket or the service.
    pub(super) key: Option<&'a Key>,
    /// Parameters; the path is filled in when the endpoint is known.
    pub(super) query: Target,
    pub(super) headers: HeaderMap,
    pub(super) body: Payload,
}

impl<'a> Request<'a> {
    pub(super) fn new(operation: &'static str, method: Method, key: Option<&'a Key>) -> Self {
        Self { operation, method, key, query: Target::new(b""), headers: HeaderMap::new(), body: Bytes::new().into() }
    }

    /// Adds a header that is known to be valid.
    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Adds a parameter.
    pub(super) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.query = self.query.with(name, value);
        self
    }

    /// Adds a parameter where there is a value.
    pub(super) fn with_some(mut self, name: &str, value: Option<impl AsRef<[u8]>>) -> Self {
        self.query = self.query.with_some(name, value);
        self
    }

    /// Adds a bare flag.
    pub(super) fn flag(mut self, name: &str) -> Self {
        self.query = self.query.flag(name);
        self
    }
}

/// An account's way to the service.
#[derive(Debug)]
pub(super) struct Client {
    endpoints: Vec<Endpoint>,
    health: Arc<Endpoints>,
    region: String,
    signature: Signature,
    /// `None`: requests go out unsigned.
    agent: HeaderValue,
    provider: Option<Arc<dyn CredentialsProvider>>,
    request_payer: bool,
    transport: Transport,
    clock: Clock,
    /// The service's clock minus ours, in seconds.
    offset_seconds: AtomicI64,
    /// Until when OSS asked for a slower pace.
    paced_until: Mutex<Option<tokio::time::Instant>>,
}

/// A bucket as seen by its client: where it was found to live.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) name: String,
    /// Endpoint and region that the service named, where the configured ones were wrong.
    moved: Mutex<Option<(Endpoint, String)>>,
    /// Whether an answer has shown a version id: the bucket is versioned.
    pub(super) shows_versions: AtomicBool,
}

impl Home {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), moved: Mutex::new(None), shows_versions: AtomicBool::new(false) }
    }
}

impl Home {
    fn move_to(&self, place: Option<(Endpoint, String)>) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn moved(&self) -> Option<(Endpoint, String)> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Address and region of one attempt.
struct Way {
    endpoint: Endpoint,
    region: String,
    /// The choice from the list, where it comes from there.
    listed: Option<Choice>,
}

impl Client {
    pub(super) fn open(
        options: &Options,
        endpoints: Vec<Endpoint>,
        region: String,
        provider: Option<Arc<dyn CredentialsProvider>>,
        clock: Clock,
    ) -> Result<Self> {
        let transport = Transport::new(&options.transport.for_endpoints(endpoints.len()))?;
        Ok(Self {
            health: Endpoints::new(endpoints.iter().map(ToString::to_string), clock.clone()),
            endpoints,
            region,
            signature: options.signature,
            agent: transport::agent(options.client_name.as_deref()),
            provider,
            request_payer: options.request_payer,
            transport,
            clock,
            offset_seconds: AtomicI64::new(0),
            paced_until: Mutex::new(None),
        })
    }

    /// Whether the endpoint belongs to one bucket, so that the service itself cannot be asked.
    pub(super) fn is_cname(&self) -> bool {
        self.endpoints.iter().all(Endpoint::is_cname)
    }

    /// `scheme://host[:port]` of a bucket's requests, as configured.
    pub(super) fn address(&self, bucket: &str) -> String {
        let endpoint = &self.endpoints[self.health.current()];
        format!("{}://{}", endpoint.scheme(), endpoint.authority(Some(bucket)))
    }

    /// The region that is signed for, as configured.
    pub(super) fn provider(&self) -> Option<&Arc<dyn CredentialsProvider>> {
        self.provider.as_ref()
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Sends a request and returns the answer of a status below 300, or the refusal as an error.
    pub(super) async fn send(&self, home: Option<&Home>, request: &Request<'_>) -> Result<Response> {
        let place = |e: Error| {
            let e = e.during(request.operation).in_store(home.map_or_else(|| "oss://".to_owned(), |h| format!("oss://{}", h.name)));
            match request.key {
                Some(key) => e.on_key(key),
                None => e,
            }
        };
        let mut corrected = Corrected::default();
        self.keep_pace().await;
        loop {
            let credentials = self.credentials().await.map_err(place)?;
            let way = self.way(home);
            let response = self.attempt(home, request, &way, credentials.as_ref()).await.map_err(place)?;
            if response.status() < 300 {
                if let Some(endpoint) = &way.listed {
                    endpoint.worked();
                }
                if let Some(home) = home.filter(|_| response.head.headers.contains_key("x-oss-version-id")) {
                    home.shows_versions.store(true, Ordering::Relaxed);
                }
                if let Some(delay) = response.header("x-oss-qos-delay-time").and_then(|ms| ms.parse().ok()).map(Duration::from_millis) {
                    tracing::debug!(operation = request.operation, ?delay, "OSS served the request late, to hold the account to its limits");
                    *self.paced_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.instant() + delay.min(PACE_MAX));
                }
                return Ok(response);
            }
            let date = response.header("date").and_then(parse_date);
            let headers = response.head.headers.clone();
            let status = response.status();
            let body = match response.collect(ERROR_BYTES_MAX).await {
                Err(error) if is_unreasoned(status, &error) => return Err(place(unreasoned("OSS", status, error))),
                // Any other status is an answer even where the rest of it is lost.
                body => body.unwrap_or_default(),
            };
            let with_token = credentials.as_ref().is_some_and(|c| c.security_token().is_some());
            let refusal = Refusal { on_object: request.key.is_some(), with_token, ..Refusal::new(status, &headers, &body) };
            let service_time = refusal.document.as_ref().and_then(|d| d.server_time).or(date);
            let error = refusal.into_error();
            if let Some(endpoint) = &way.listed {
                endpoint.refused(&error);
            }
            if !self.correct(&error, &mut corrected, home, &way, credentials.as_ref(), service_time) {
                return Err(place(error));
            }
        }
    }

    async fn keep_pace(&self) {
        let until = *self.paced_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            self.clock.sleep(until.saturating_duration_since(self.clock.instant())).await;
        }
    }

    async fn credentials(&self) -> Result<Option<Credentials>> {
        match &self.provider {
            None => Ok(None),
            Some(provider) => provider.credentials().await.map(Some),
        }
    }

    /// Where to send next: the bucket's found home, else the endpoint of the list that is well.
    fn way(&self, home: Option<&Home>) -> Way {
        if let Some((endpoint, region)) = home.and_then(Home::moved) {
            return Way { endpoint, region, listed: None };
        }
        let choice = self.health.choose();
        Way { endpoint: self.endpoints[choice.index()].clone(), region: self.region.clone(), listed: Some(choice) }
    }

    async fn attempt(&self, home: Option<&Home>, request: &Request<'_>, way: &Way, credentials: Option<&Credentials>) -> Result<Response> {
        let bucket = home.map(|h| h.name.as_str());
        let key = request.key.map(Key::as_bytes);
        let target = request.query.at(&way.endpoint.path(bucket, key.unwrap_or_default()));
        let authority = way.endpoint.authority(bucket);
        let mut headers = request.headers.clone();
        headers.insert(http::header::HOST, HeaderValue::try_from(&authority).map_err(|e| Error::invalid("the endpoint is no host").caused_by(e))?);
        headers.insert(http::header::USER_AGENT, self.agent.clone());
        if self.request_payer && home.is_some() {
            headers.insert("x-oss-request-payer", HeaderValue::from_static("requester"));
        }
        if let Some(credentials) = credentials {
            let subject = Subject { method: &request.method, bucket, key, query: target.query() };
            self.signer(credentials, &way.region).sign_headers(subject, &mut headers, &[])?;
        }
        let mut message = http::Request::new(request.body.clone());
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = target.uri(way.endpoint.scheme(), &authority)?;
        *message.headers_mut() = headers;
        match &way.listed {
            Some(endpoint) => self.transport.send_to(endpoint, message).await,
            // Where the service led it no longer answers: the list says anew where to begin.
            None => self.transport.send(message).await.inspect_err(|e| {
                if let Some(home) = home.filter(|_| e.is_outage()) {
                    home.move_to(None);
                }
            }),
        }
    }

    fn signer<'a>(&self, credentials: &'a Credentials, region: &'a str) -> Signer<'a> {
        let offset = SignedDuration::from_secs(self.offset_seconds.load(Ordering::Relaxed));
        let time = self.clock.now().saturating_add(offset).unwrap_or_else(|_| self.clock.now());
        Signer { version: self.signature, credentials, region, time }
    }

    /// Applies what a refusal said would help. False where nothing would, or it was tried before.
    fn correct(
        &self,
        error: &Error,
        corrected: &mut Corrected,
        home: Option<&Home>,
        way: &Way,
        credentials: Option<&Credentials>,
        service_time: Option<Timestamp>,
    ) -> bool {
        match error.kind() {
            ErrorKind::ClockSkew if !corrected.time => {
                let Some(service_time) = service_time else { return false };
                corrected.time = true;
                let offset = service_time.as_second() - self.clock.now().as_second();
                self.offset_seconds.store(offset, Ordering::Relaxed);
                tracing::warn!(offset_seconds = offset, "this machine's clock is off; requests are signed with OSS's time");
                true
            }
            ErrorKind::WrongEndpoint if !corrected.place => {
                corrected.place = true;
                let (Some(home), Some(named)) = (home, error.endpoint()) else { return false };
                self.follow(home, way, named)
            }
            ErrorKind::TokenExpired if !corrected.token => {
                corrected.token = true;
                let (Some(provider), Some(credentials)) = (&self.provider, credentials) else { return false };
                tracing::info!(access_key_id = credentials.access_key_id(), "OSS refused the temporary credentials; asking for new ones");
                provider.refused(credentials);
                true
            }
            _ => false,
        }
    }

    /// Moves to an endpoint that the service named, if keys may be shown to it.
    fn follow(&self, home: &Home, way: &Way, named: &str) -> bool {
        let Ok(endpoint) = way.endpoint.moved_to(named) else { return false };
        let listed = self.endpoints.iter().find(|e| e.host_and_port() == endpoint.host_and_port());
        let from_aliyun = way.endpoint.is_aliyun() && endpoint.is_aliyun();
        if endpoint == way.endpoint || way.endpoint.is_cname() || !(from_aliyun || listed.is_some()) {
            tracing::warn!(
                bucket = home.name,
                endpoint = named,
                "OSS named another endpoint; it is neither Alibaba's nor in the store's list, so it is not followed"
            );
            return false;
        }
        // One of the list is reached as the list says.
        let endpoint = listed.cloned().unwrap_or(endpoint);
        let region = endpoint.region().unwrap_or_else(|| way.region.clone());
        tracing::warn!(bucket = home.name, %endpoint, region, "the bucket lives elsewhere; following it there. Set the store's endpoint and region to these");
        home.move_to(Some((endpoint, region)));
        true
    }

    /// A link for a request, signed in its query.
    pub(super) async fn presign(&self, home: &Home, request: &Request<'_>, expires_in: Duration) -> Result<String> {
        let credentials = self.credentials().await?.ok_or_else(|| Error::unsupported("an anonymous store cannot sign links"))?;
        let way = self.way(Some(home));
        let bucket = Some(home.name.as_str());
        let key = request.key.map(Key::as_bytes);
        let target = request.query.at(&way.endpoint.path(bucket, key.unwrap_or_default()));
        let subject = Subject { method: &request.method, bucket, key, query: target.query() };
        let signature = self.signer(&credentials, &way.region).sign_query(subject, &request.headers, expires_in, &[])?;
        let authority = way.endpoint.authority(bucket);
        Ok(format!("{}://{authority}{}", way.endpoint.scheme(), target.and(signature).path_and_query()))
    }
}

/// What has been corrected within one call.
#[derive(Default)]
struct Corrected {
    time: bool,
    place: bool,
    token: bool,
}

/// An HTTP date.
pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The region to sign for: as given, else as the first endpoint says, else (bare addresses only) OSS's own first region.
pub(super) fn choose_region(given: Option<&str>, endpoints: &[Endpoint], signature: Signature) -> Result<String> {
    if let Some(region) = given {
        return Ok(plain_region(region).to_owned());
    }
    if let Some(region) = endpoints.iter().find_map(Endpoint::region) {
        return Ok(region);
    }
    // Dev servers and appliances have no region; this is what Alibaba's samples and ours use. V1 does not sign it at all.
    if signature == Signature::V1 || endpoints.iter().all(Endpoint::is_bare) {
        return Ok("cn-hangzhou".to_owned());
    }
    let host = endpoints.first().map_or("", Endpoint::host_and_port);
    Err(Error::invalid(format!("the endpoint '{host}' does not say in which region the bucket lives"))
        .advise("set region (or OSS_REGION), for example cn-hangzhou"))
}
