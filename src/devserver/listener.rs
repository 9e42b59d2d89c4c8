//! One cloud's door: accepts connections, lets the weather at each request, and hands it to the dialect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::lifecycle::Lifecycle;
use super::traffic::Meter;
use super::weather::{Effect, IgnoreRange, Weather};
use super::wire::{Cut, Damage, ShapedBody, Stop, Wire};
use super::{Body, Cloud, Dialect};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How long requests in flight may go on once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(1);

/// A listening cloud. Dropped, it takes its connections with it.
pub(super) struct Listener {
    address: SocketAddr,
    door: Arc<Door>,
    stop: CancellationToken,
    accepting: AbortOnDropHandle<()>,
}

/// What every request passes through.
struct Door {
    cloud: Cloud,
    dialect: Arc<dyn Dialect>,
    lifecycle: Arc<Lifecycle>,
    weather: Arc<Weather>,
    meter: Meter,
    clock: Clock,
}

impl Listener {
    pub(super) async fn start(
        cloud: Cloud,
        address: SocketAddr,
        dialect: Arc<dyn Dialect>,
        lifecycle: Arc<Lifecycle>,
        weather: Arc<Weather>,
        clock: Clock,
    ) -> Result<Self> {
        let refuse = |error: std::io::Error| {
            Error::new(ErrorKind::Local, format!("cannot listen on {address}"))
                .during("start the dev server")
                .caused_by(error)
                .advise("choose another address with --s3-listen and --oss-listen; port 0 takes a free one")
        };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let door = Arc::new(Door { cloud, dialect, lifecycle, weather, meter: Meter::default(), clock });
        let stop = CancellationToken::new();
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::clone(&door), stop.clone())));
        Ok(Self { address, door, stop, accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.door.meter
    }

    pub(super) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the dev server's listener failed");
        }
    }
}

async fn accept(listener: TcpListener, door: Arc<Door>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection of the dev server failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if door.weather.is_out(door.cloud) => refuse(&stream),
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&door), stop.clone()));
                }
                Err(error) => {
                    // Too many open files, most likely: connections that end make room.
                    tracing::warn!(%error, "cannot accept a connection");
                    door.clock.sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => {}
        () = door.clock.sleep(GRACE) => {}
    }
}

/// Lets the connection go with a reset, as a host does on which nothing listens.
fn refuse(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "the connection is closed rather than reset");
    }
}

async fn serve(stream: TcpStream, door: Arc<Door>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let (wire, reset) = Wire::new(stream);
    let reset_by_outage = Arc::clone(&reset);
    let service = service_fn(|request| {
        let (door, reset) = (Arc::clone(&door), Arc::clone(&reset));
        async move { door.handle(request, &reset).await }
    });
    let connection = hyper::server::conn::http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(wire), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = door.weather.outage(door.cloud) => {
            reset_by_outage.store(true, Ordering::Release);
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Door {
    async fn handle(&self, request: Request<Incoming>, reset: &Arc<AtomicBool>) -> std::result::Result<Response<Body>, Cut> {
        let (mut parts, body) = request.into_parts();
        let operation = self.dialect.operation(&parts);
        let is_head = parts.method == Method::HEAD;
        self.meter.count(operation, &parts.method);
        let effects = self.weather.effects(self.cloud, operation, &parts);
        let mut flips = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Delay(wait) => self.clock.sleep(*wait).await,
                Effect::ResetBeforeAnswer => return Err(cut(reset)),
                Effect::FlipRequestByte(at) => flips.push(*at),
                Effect::IgnoreRange => {
                    parts.extensions.insert(IgnoreRange);
                }
                Effect::Answer { status, code, headers } => {
                    let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    let mut answer = self.dialect.error(status, code, &parts);
                    answer.headers_mut().extend(headers.iter().cloned());
                    return Ok(self.shape(answer, Damage::default()));
                }
                _ => {}
            }
        }
        let damage = Damage { flips, stop: None };
        let body = ShapedBody::new(body.map_err(Into::into).boxed_unsync(), Arc::clone(&self.meter.bytes_in), damage, self.clock.clone());
        let taken = body.taken();
        self.lifecycle.tick();
        let mut answer = self.dialect.answer(Request::from_parts(parts, body.boxed_unsync())).await;
        if !taken.load(Ordering::Acquire) {
            // The rest of a body that was refused may still be on its way: what follows on this connection could not be told from it.
            answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        // A HEAD's length is not that of a body.
        let length = if is_head { 0 } else { answer.body().size_hint().exact().unwrap_or(0) };
        let mut damage = Damage::default();
        for effect in self.weather.place(effects, length) {
            match effect {
                Effect::LoseAnswer => return Err(cut(reset)),
                Effect::ResetAnswerAt(at) => damage.stop = Some((at, Stop::Reset(Arc::clone(reset)))),
                Effect::TruncateAnswerAt(at) => damage.stop = Some((at, Stop::Close)),
                Effect::StallAnswerAt(at, pause) => damage.stop = Some((at, Stop::Stall(pause))),
                Effect::FlipAnswerByte(at) => damage.flips.push(at),
                Effect::SetHeader(name, value) => {
                    answer.headers_mut().insert(name, value);
                }
                Effect::RemoveHeader(name) => {
                    answer.headers_mut().remove(name);
                }
                Effect::Delay(_)
                | Effect::ResetBeforeAnswer
                | Effect::FlipRequestByte(_)
                | Effect::IgnoreRange
                | Effect::Somewhere(_)
                | Effect::Answer { .. } => {}
            }
        }
        Ok(self.shape(answer, damage))
    }

    fn shape(&self, answer: Response<Body>, damage: Damage) -> Response<Body> {
        answer.map(|body| ShapedBody::new(body, Arc::clone(&self.meter.bytes_out), damage, self.clock.clone()).boxed_unsync())
    }
}

fn cut(reset: &AtomicBool) -> Cut {
    reset.store(true, Ordering::Release);
    Cut
}
