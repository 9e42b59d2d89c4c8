//! Two clouds on loopback: one speaks S3, the other OSS. They share a program and nothing else.
//!
//! A library test starts them in its own process on free ports ([`DevServer::start`]), fills and inspects their stores, makes bad
//! weather ([`DevServer::inject`]) and counts what was asked of them ([`DevServer::traffic`]). `dragon dev-server` is the same from
//! the command line.
//!
//! A side tower: nothing here uses the clients' wire, signing or checksum code, so that a mistake on one side shows on the other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

mod auth;
pub mod calendar;
mod lifecycle;
mod listener;
mod oss;
mod s3;
pub mod store;
mod token;
mod traffic;
pub mod weather;
mod wire;

use calendar::Calendar;
use lifecycle::Lifecycle;
use listener::Listener;
pub use oss::{AccessKey, OssOptions, Token};
use store::Store;
pub use traffic::Traffic;
use weather::{Fault, Forecast};

/// A failure of a body.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request's or an answer's body.
type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Which of the two clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// The S3 side.
    S3,
    /// The OSS side.
    Oss,
}

/// How to start the dev server.
#[derive(Clone)]
pub struct Options {
    /// Where the S3 side listens; port 0 takes a free one.
    pub s3_listen: SocketAddr,
    /// Where the OSS side listens; port 0 takes a free one.
    pub oss_listen: SocketAddr,
    /// The directory that keeps both clouds' data; in memory where there is none.
    pub data: Option<PathBuf>,
    /// The one pair of keys that both clouds accept.
    pub credentials: Credentials,
    /// The S3 side's region.
    pub s3_region: String,
    /// The OSS side's region, without `oss-`.
    pub oss_region: String,
    /// What else the OSS side is told.
    pub oss: OssOptions,
    /// How long it takes until an archived object is restored, on both sides.
    pub restore_delay: Duration,
    /// How long a day lasts, by which lifecycle rules and restored copies count: a day as it is outside, or less, so that a client
    /// in another process sees objects age.
    pub day: Duration,
    /// The weather from the start; [`DevServer::inject`] adds to it.
    pub weather: Forecast,
    /// Time and ids.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            s3_listen: free_port,
            oss_listen: free_port,
            data: None,
            credentials: Credentials { access_key_id: "dragon".into(), access_key_secret: "dragon-secret".into() },
            s3_region: "us-east-1".into(),
            oss_region: "cn-hangzhou".into(),
            oss: OssOptions::default(),
            restore_delay: Duration::from_secs(1),
            day: calendar::DAY,
            weather: Forecast::default(),
            clock: Clock::system(),
        }
    }
}

/// A pair of keys.
#[derive(Clone)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub access_key_secret: String,
}

/// What turns one cloud's HTTP into calls on its store.
#[async_trait]
trait Dialect: Send + Sync + 'static {
    /// Names a request's operation, for counting and for the weather: see [`traffic::operation`].
    fn operation(&self, request: &Parts) -> &'static str;

    /// Answers a request. A request that carries [`weather::IgnoreRange`] among its extensions is answered as if it had no range.
    async fn answer(&self, request: Request<Body>) -> Response<Body>;

    /// An error in the dialect's own shape.
    fn error(&self, status: StatusCode, code: &str, request: &Parts) -> Response<Body>;
}

/// Both clouds, listening. Dropped, they stop at once; [`Self::shutdown`] lets requests in flight finish.
pub struct DevServer {
    s3: Side,
    oss: Side,
    weather: Arc<weather::Weather>,
    credentials: Credentials,
    calendar: Calendar,
}

struct Side {
    store: Arc<Store>,
    lifecycle: Arc<Lifecycle>,
    listener: Listener,
}

impl DevServer {
    /// Opens the stores and listens.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] where an address is taken or the data directory cannot be used.
    pub async fn start(options: Options) -> Result<Self> {
        let weather = Arc::new(weather::Weather::new(&options.weather, options.clock.clone()));
        let Forecast { skew, token_lifetime, .. } = options.weather;
        let clock = if skew.is_zero() { options.clock.clone() } else { options.clock.moved(skew) };
        let calendar = Calendar::new(options.clock.clone(), options.day);
        let s3_store = open_store(&options, "s3", &calendar).await?;
        let oss_store = open_store(&options, "oss", &calendar).await?;
        let s3 = Arc::new(s3::S3Dialect::new(
            Arc::clone(&s3_store),
            options.credentials.clone(),
            &options.s3_region,
            clock.clone(),
            token_lifetime,
            options.restore_delay,
        ));
        let oss = Arc::new(oss::OssDialect::new(
            Arc::clone(&oss_store),
            &options.credentials,
            options.oss_region.clone(),
            clock,
            OssOptions { token_lifetime, restore_delay: options.restore_delay, ..options.oss.clone() },
        ));
        let open = async |cloud, address, store: Arc<Store>, dialect: Arc<dyn Dialect>, rules| -> Result<Side> {
            let lifecycle = Arc::new(Lifecycle::new(Arc::clone(&store), rules));
            let listener = Listener::start(cloud, address, dialect, Arc::clone(&lifecycle), Arc::clone(&weather), options.clock.clone()).await?;
            Ok(Side { store, lifecycle, listener })
        };
        Ok(Self {
            s3: open(Cloud::S3, options.s3_listen, s3_store, s3, s3::rules_of).await?,
            oss: open(Cloud::Oss, options.oss_listen, oss_store, oss, oss::rules_of).await?,
            weather,
            credentials: options.credentials,
            calendar,
        })
    }

    /// `http://HOST:PORT` of the S3 side.
    pub fn s3_endpoint(&self) -> String {
        format!("http://{}", self.s3.listener.address())
    }

    /// `http://HOST:PORT` of the OSS side.
    pub fn oss_endpoint(&self) -> String {
        format!("http://{}", self.oss.listener.address())
    }

    /// The line that tells a waiting script that both clouds listen (design.md section 4).
    pub fn ready_line(&self) -> String {
        let Credentials { access_key_id, access_key_secret } = &self.credentials;
        format!("ready s3={} oss={} access_key_id={access_key_id} access_key_secret={access_key_secret}", self.s3_endpoint(), self.oss_endpoint())
    }

    /// What the S3 side holds.
    pub fn s3_store(&self) -> &Arc<Store> {
        &self.s3.store
    }

    /// What the OSS side holds.
    pub fn oss_store(&self) -> &Arc<Store> {
        &self.oss.store
    }

    /// Lets time pass for what both clouds hold, and carries out what is due then: objects age, move and expire by their buckets'
    /// lifecycle rules, and restored copies run out. What is written from now on bears the later time. Signatures stay on the
    /// clock, so no client is skewed.
    ///
    /// Days are counted as the services count them, to the midnight (UTC) after the last of them: of a rule of 30 days, all objects
    /// are sure to have moved when 31 days have passed.
    pub fn pass_time(&self, time: Duration) {
        self.calendar.pass(time);
        [Cloud::S3, Cloud::Oss].iter().for_each(|cloud| self.side(*cloud).lifecycle.round());
    }

    /// Makes bad weather.
    pub fn inject(&self, fault: Fault) {
        self.weather.inject(fault);
    }

    /// Makes fair weather again.
    pub fn clear_faults(&self) {
        self.weather.clear();
    }

    /// What was asked of one cloud since the start, or since [`Self::reset_traffic`].
    pub fn traffic(&self, cloud: Cloud) -> Traffic {
        self.side(cloud).listener.meter().traffic()
    }

    /// Counts from zero again, on both clouds.
    pub fn reset_traffic(&self) {
        [Cloud::S3, Cloud::Oss].iter().for_each(|cloud| self.side(*cloud).listener.meter().reset());
    }

    /// Stops listening, lets requests in flight finish for a moment, then ends every connection.
    pub async fn shutdown(self) {
        futures::join!(self.s3.listener.shutdown(), self.oss.listener.shutdown());
    }

    fn side(&self, cloud: Cloud) -> &Side {
        match cloud {
            Cloud::S3 => &self.s3,
            Cloud::Oss => &self.oss,
        }
    }
}

async fn open_store(options: &Options, name: &'static str, calendar: &Calendar) -> Result<Arc<Store>> {
    let Some(data) = &options.data else { return Ok(Arc::new(Store::in_memory(calendar.clone()))) };
    let (dir, calendar) = (data.join(name), calendar.clone());
    let shown = dir.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Store::open(&dir, calendar)).await.map_err(std::io::Error::other);
    opened.and_then(|store| store).map(Arc::new).map_err(|error| {
        Error::new(ErrorKind::Local, format!("cannot keep data in {shown}"))
            .during("start the dev server")
            .caused_by(error)
            .advise("give --data a directory that this user can write, or leave it out to keep data in memory")
    })
}
