//! Faults on demand: what a bad road, a busy service or a broken disk does to a request.
//!
//! Faults act on HTTP, below both dialects, so each kind works on each cloud. They are programmed, matched in the order of their
//! injection, and drawn from a seed where they strike by chance: a test repeats itself. A [`Forecast`] is the same in words, with outages
//! and what befalls clocks and tokens.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::Cloud;
use crate::clock::Clock;

mod forecast;

pub use forecast::{Forecast, Outage};

/// A fault: which requests it strikes, how often, and what it does to them.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which requests.
    pub matching: Matching,
    /// Let so many of them pass first.
    pub skip: u64,
    /// Strike so many; `None` strikes until [`super::DevServer::clear_faults`].
    pub times: Option<u64>,
    /// The chance that a matching request is struck at all, 1.0 for certain.
    pub chance: f64,
    /// What happens.
    pub effect: Effect,
}

impl Fault {
    /// A fault that strikes every request, once.
    pub fn new(effect: Effect) -> Self {
        Self { matching: Matching::default(), skip: 0, times: Some(1), chance: 1.0, effect }
    }

    /// Only requests to this cloud.
    #[must_use]
    pub fn on(mut self, cloud: Cloud) -> Self {
        self.matching.cloud = Some(cloud);
        self
    }

    /// Only this operation, such as `GetObject` (see [`super::Traffic::operations`]).
    #[must_use]
    pub fn operation(mut self, name: &'static str) -> Self {
        self.matching.operation = Some(name);
        self
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.matching.method = Some(method);
        self
    }

    /// Only requests whose raw (percent-encoded) path contains this.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.matching.path_part = part.into();
        self
    }

    /// Only requests whose raw query contains this.
    #[must_use]
    pub fn query(mut self, part: impl Into<String>) -> Self {
        self.matching.query_part = part.into();
        self
    }

    /// Only requests that carry this header, with a value that contains `part`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, part: impl Into<String>) -> Self {
        self.matching.header = Some((name, part.into()));
        self
    }

    /// Let so many matching requests pass first.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Strike so many matching requests.
    #[must_use]
    pub fn times(mut self, requests: u64) -> Self {
        self.times = Some(requests);
        self
    }

    /// Strike until the faults are cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Strike with this chance only, from 0.0 to 1.0.
    #[must_use]
    pub fn chance(mut self, chance: f64) -> Self {
        self.chance = chance;
        self
    }
}

/// Which requests a fault strikes. What is not set matches everything.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    /// Requests to this cloud.
    pub cloud: Option<Cloud>,
    /// This operation.
    pub operation: Option<&'static str>,
    /// This method.
    pub method: Option<Method>,
    /// A part of the raw path.
    pub path_part: String,
    /// A part of the raw query.
    pub query_part: String,
    /// A header, and a part of its value.
    pub header: Option<(HeaderName, String)>,
}

impl Matching {
    fn holds(&self, cloud: Cloud, operation: &str, request: &Parts) -> bool {
        self.cloud.is_none_or(|wanted| wanted == cloud)
            && self.operation.is_none_or(|wanted| wanted == operation)
            && self.method.as_ref().is_none_or(|wanted| *wanted == request.method)
            && request.uri.path().contains(&self.path_part)
            && request.uri.query().unwrap_or("").contains(&self.query_part)
            && self
                .header
                .as_ref()
                .is_none_or(|(name, part)| request.headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(part.as_str()))))
    }
}

/// What a fault does. Byte positions count from 0 within the body as it goes over the wire.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Answers with the dialect's error, without doing anything.
    Answer {
        /// HTTP status.
        status: u16,
        /// Error code, such as `SlowDown`.
        code: String,
        /// Further headers, such as `Retry-After`.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// Waits before the request is looked at.
    Delay(Duration),
    /// Resets the connection without doing anything.
    ResetBeforeAnswer,
    /// Does what was asked, then resets the connection: the answer is lost.
    LoseAnswer,
    /// Resets the connection after so many bytes of the answer's body.
    ResetAnswerAt(u64),
    /// Closes the connection in an orderly way after so many bytes of the answer's body, which is shorter than promised then.
    TruncateAnswerAt(u64),
    /// Pauses after so many bytes of the answer's body.
    StallAnswerAt(u64, Duration),
    /// Inverts a bit of that byte of the answer's body.
    FlipAnswerByte(u64),
    /// Inverts a bit of that byte of the request's body before the dialect reads it.
    FlipRequestByte(u64),
    /// Sets a header of the answer.
    SetHeader(HeaderName, HeaderValue),
    /// Removes a header of the answer.
    RemoveHeader(HeaderName),
    /// Answers a ranged GET with the whole object and 200.
    IgnoreRange,
    /// Spoils the body at a place that is drawn when its length is known.
    Somewhere(Spoil),
}

/// What happens somewhere in a body: in the answer's to a GET, else in the request's.
#[derive(Debug, Clone)]
pub enum Spoil {
    /// The connection is reset midway; for a request other than GET before anything is done.
    Reset,
    /// A GET's answer ends early, in an orderly way.
    Truncate,
    /// A GET's answer pauses midway; any other request before it is looked at.
    Stall(Duration),
    /// A bit of an object's bytes flips. Nothing else is flipped: a listing carries no checksum that would show it.
    Flip,
}

impl Spoil {
    /// What it does to a request, or itself again where it waits for the answer.
    fn of_request(&self, operation: &str, request: &Parts, random: &mut fastrand::Rng) -> Option<Effect> {
        let reads = request.method == Method::GET;
        let writes = matches!(operation, "PutObject" | "UploadPart");
        match self {
            Self::Flip if writes => {
                let length = request.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
                (length > 0).then(|| Effect::FlipRequestByte(random.u64(0..length)))
            }
            Self::Flip if operation != "GetObject" => None,
            Self::Truncate if !reads => None,
            Self::Reset if !reads => Some(Effect::ResetBeforeAnswer),
            Self::Stall(pause) if !reads => Some(Effect::Delay(*pause)),
            _ => Some(Effect::Somewhere(self.clone())),
        }
    }

    /// What it does to an answer whose body has that length; an empty one has no place to spoil.
    fn of_answer(&self, length: u64, random: &mut fastrand::Rng) -> Option<Effect> {
        let at = (length > 0).then(|| random.u64(0..length))?;
        Some(match self {
            Self::Reset => Effect::ResetAnswerAt(at),
            Self::Truncate => Effect::TruncateAnswerAt(at),
            Self::Stall(pause) => Effect::StallAnswerAt(at, *pause),
            Self::Flip => Effect::FlipAnswerByte(at),
        })
    }
}

impl Effect {
    /// Answers with an error and no further headers.
    pub fn answer(status: u16, code: &str) -> Self {
        Self::Answer { status, code: code.to_owned(), headers: Vec::new() }
    }
}

/// Marks a request whose `Range` the dialect must not honour. (The header itself stays: it may be signed.)
#[derive(Debug, Clone, Copy)]
pub(super) struct IgnoreRange;

/// The faults and outages in force.
#[derive(Debug)]
pub(super) struct Weather {
    state: Mutex<State>,
    clock: Clock,
    began: Instant,
}

#[derive(Debug)]
struct State {
    faults: Vec<Fault>,
    outages: Vec<Outage>,
    random: fastrand::Rng,
}

impl Weather {
    /// The weather of a forecast, from now on.
    pub(super) fn new(forecast: &Forecast, clock: Clock) -> Self {
        let (faults, outages) = (forecast.faults.clone(), forecast.outages.clone());
        let state = State { faults, outages, random: fastrand::Rng::with_seed(forecast.seed) };
        Self { state: Mutex::new(state), began: clock.instant(), clock }
    }

    /// Adds a fault.
    pub(super) fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Removes every fault and outage.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.outages.clear();
    }

    /// Whether a cloud does not answer now.
    pub(super) fn is_out(&self, cloud: Cloud) -> bool {
        let age = self.began.elapsed();
        self.state().outages.iter().any(|outage| outage.holds(cloud, age))
    }

    /// Waits until an outage of a cloud begins.
    pub(super) async fn outage(&self, cloud: Cloud) {
        loop {
            let age = self.began.elapsed();
            let next = self.state().outages.iter().filter(|outage| outage.is_of(cloud) && outage.after > age).map(|outage| outage.after - age).min();
            match next {
                None => std::future::pending().await,
                Some(wait) => self.clock.sleep(wait).await,
            }
            if self.is_out(cloud) {
                return;
            }
        }
    }

    /// What a place that was drawn makes of the effects, once the answer's length is known.
    pub(super) fn place(&self, effects: Vec<Effect>, length: u64) -> Vec<Effect> {
        let placed = |effect| match effect {
            Effect::Somewhere(spoil) => spoil.of_answer(length, &mut self.state().random),
            effect => Some(effect),
        };
        effects.into_iter().filter_map(placed).collect()
    }

    /// What strikes this request.
    pub(super) fn effects(&self, cloud: Cloud, operation: &str, request: &Parts) -> Vec<Effect> {
        let State { faults, random, .. } = &mut *self.state();
        let mut effects = Vec::new();
        for fault in faults.iter_mut().filter(|fault| fault.matching.holds(cloud, operation, request)) {
            if fault.chance < 1.0 && random.f64() >= fault.chance {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times = times.saturating_sub(1);
            }
            effects.extend(match &fault.effect {
                Effect::Somewhere(spoil) => spoil.of_request(operation, request, random),
                effect => Some(effect.clone()),
            });
        }
        faults.retain(|fault| fault.times != Some(0));
        effects
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather(seed: u64) -> Weather {
        Weather::new(&Forecast { seed, ..Forecast::default() }, Clock::system())
    }

    fn request(method: Method, uri: &str) -> Parts {
        http::Request::builder().method(method).uri(uri).header("range", "bytes=0-4").body(()).expect("a valid request").into_parts().0
    }

    #[test]
    fn a_fault_skips_strikes_and_ends() {
        let weather = weather(0);
        weather.inject(Fault::new(Effect::answer(503, "SlowDown")).on(Cloud::S3).path("/b/").header(http::header::RANGE, "0-").skip(1).times(2));
        let get = request(Method::GET, "/b/k?versionId=1");
        let struck: Vec<usize> = (0..5).map(|_| weather.effects(Cloud::S3, "GetObject", &get).len()).collect();
        assert_eq!(struck, [0, 1, 1, 0, 0]);
        weather.inject(Fault::new(Effect::ResetBeforeAnswer).operation("PutObject").always());
        assert!(weather.effects(Cloud::S3, "GetObject", &get).is_empty());
        assert_eq!(weather.effects(Cloud::Oss, "PutObject", &request(Method::PUT, "/k")).len(), 1);
    }

    #[test]
    fn chance_repeats_with_its_seed() {
        let draw = |seed| {
            let weather = weather(seed);
            weather.inject(Fault::new(Effect::LoseAnswer).always().chance(0.5));
            (0..32).map(|_| weather.effects(Cloud::S3, "PutObject", &request(Method::PUT, "/b/k")).len()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!((4..28).contains(&draw(7).iter().sum::<usize>()));
    }

    #[test]
    fn a_place_is_drawn_within_the_body_that_is_spoilt() {
        let weather = weather(1);
        for spoil in [Spoil::Reset, Spoil::Truncate, Spoil::Stall(Duration::from_secs(1)), Spoil::Flip] {
            weather.inject(Fault::new(Effect::Somewhere(spoil)).always());
        }
        let strike = |operation, method, length: u64| {
            let mut request = request(method, "/b/k");
            request.headers.insert(http::header::CONTENT_LENGTH, 3.into());
            format!("{:?}", weather.place(weather.effects(Cloud::S3, operation, &request), length))
        };
        for _ in 0..20 {
            assert_eq!(strike("GetObject", Method::GET, 1), "[ResetAnswerAt(0), TruncateAnswerAt(0), StallAnswerAt(0, 1s), FlipAnswerByte(0)]");
            let put = strike("PutObject", Method::PUT, 0);
            assert!((0..3).any(|at| put == format!("[ResetBeforeAnswer, Delay(1s), FlipRequestByte({at})]")), "{put}");
        }
        assert_eq!(strike("ListObjectsV2", Method::GET, 1), "[ResetAnswerAt(0), TruncateAnswerAt(0), StallAnswerAt(0, 1s)]", "nothing would show a flip");
        assert_eq!(strike("GetObject", Method::GET, 0), "[]");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_for_and_passes() {
        let weather = Weather::new(&"outage=s3@30s+60s outage=oss@1s+1s".parse().expect("a forecast"), Clock::system());
        assert!(!weather.is_out(Cloud::S3));
        weather.outage(Cloud::S3).await;
        assert!(weather.is_out(Cloud::S3) && weather.began.elapsed() >= Duration::from_secs(30) && !weather.is_out(Cloud::Oss));
        weather.clock.sleep(Duration::from_secs(60)).await;
        assert!(!weather.is_out(Cloud::S3));
        let never = tokio::time::timeout(Duration::from_secs(3600), weather.outage(Cloud::S3));
        assert!(never.await.is_err(), "there is no other");
    }
}
