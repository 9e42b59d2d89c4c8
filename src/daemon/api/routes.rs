//! What each path does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Form, Json, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use futures::Stream;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use super::guard::{self, Access, COOKIE, Visitor};
use super::{metrics, openapi};
use crate::clock::Clock;
use crate::daemon::control::{Command, Control};
use crate::daemon::hints::{Pushed, message};
use crate::daemon::page;
use crate::daemon::setup::Setup;
use crate::daemon::usage::MonthlyUsage;
use crate::error::{Error, ErrorKind};

/// The largest body: of a command, and of pushed events.
const BODY_BYTES_MAX: usize = 64 << 10;
const HINTS_BYTES_MAX: usize = 1 << 20;
/// Pages that are followed live at a time.
const LISTENERS_MAX: usize = 64;
/// Between two states that a live page is shown.
const LIVE_EVERY: Duration = Duration::from_secs(1);

/// What all routes work with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) control: Control,
    pub(super) access: Arc<Access>,
    pub(super) clock: Clock,
    /// For the tokens of those who push events.
    setups: watch::Receiver<Arc<Setup>>,
    listeners: Arc<Semaphore>,
}

/// All routes, behind the guard.
pub fn router(control: Control, setups: watch::Receiver<Arc<Setup>>, access: Access, clock: Clock) -> Router {
    let door = Door { control, access: Arc::new(access), clock, setups, listeners: Arc::new(Semaphore::new(LISTENERS_MAX)) };
    Router::new()
        .route("/", get(overview))
        .route("/jobs/{job}", get(one_job))
        .route("/jobs/{job}/{action}", post(act))
        .route("/events", get(events))
        .route("/login", get(login_page).post(log_in))
        .route("/logout", post(log_out))
        .route("/assets/style.css", get(|| async { asset("text/css; charset=utf-8", page::STYLE) }))
        .route("/assets/live.js", get(|| async { asset("text/javascript; charset=utf-8", page::SCRIPT) }))
        .route("/api/v1/status", get(status))
        .route("/api/v1/jobs", get(jobs))
        .route("/api/v1/jobs/{job}", get(job))
        .route("/api/v1/commands", post(command))
        .route("/api/v1/hints/{job}", post(hints).layer(DefaultBodyLimit::max(HINTS_BYTES_MAX)))
        .route("/api/v1/usage", get(usage))
        .route("/api/v1/usage.csv", get(usage_csv))
        .route("/api/v1/openapi.json", get(|| async { Json(openapi::document()) }))
        .route("/metrics", get(scrape))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "there is nothing here", "/api/v1/openapi.json says what there is") })
        .method_not_allowed_fallback(|| async { failure(StatusCode::METHOD_NOT_ALLOWED, "that is not done this way", "/api/v1/openapi.json says how") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(door.clone(), guard::guard))
        .with_state(door)
}

/// An answer that says what is wrong.
pub(super) fn failure(status: StatusCode, message: &str, advice: &str) -> Response {
    (status, Json(serde_json::json!({ "error": { "message": message, "advice": advice } }))).into_response()
}

fn refusal(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Invalid | ErrorKind::Unsupported => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    failure(status, error.message(), error.advice())
}

fn no_job(job: &str) -> Response {
    failure(StatusCode::NOT_FOUND, &format!("there is no job '{}'", job.escape_default()), "GET /api/v1/jobs lists them")
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

fn html(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], text).into_response()
}

async fn overview(State(door): State<Door>, Extension(visitor): Extension<Visitor>) -> Response {
    html(page::overview(&door.control.snapshot(), visitor.owner.is_some()))
}

async fn one_job(State(door): State<Door>, Extension(visitor): Extension<Visitor>, job: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(job)) = job else { return no_job("") };
    let snapshot = door.control.snapshot();
    match snapshot.jobs.iter().find(|known| known.name == job) {
        Some(known) => html(page::job(&snapshot, known, visitor.owner.is_some())),
        None => no_job(&job),
    }
}

async fn act(State(door): State<Door>, Extension(visitor): Extension<Visitor>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let Ok(Path((job, action))) = path else { return no_job("") };
    let Some(actor) = visitor.owner else { return failure(StatusCode::UNAUTHORIZED, "this needs the token", "log in") };
    let back = format!("/jobs/{job}");
    let command = match action.as_str() {
        "run" => Command::Run { job, max_delete: None },
        "retry" => Command::Retry { job },
        "pause" => Command::Pause { job: Some(job) },
        "resume" => Command::Resume { job: Some(job) },
        "cancel" => Command::Cancel { job },
        _ => return failure(StatusCode::NOT_FOUND, "there is no such action", "run, retry, pause, resume, cancel"),
    };
    match door.control.command(actor, command).await {
        Ok(_) => Redirect::to(&back).into_response(),
        Err(error) => refusal(&error),
    }
}

/// The live part of the page, again and again as long as somebody looks.
async fn events(State(door): State<Door>, Extension(visitor): Extension<Visitor>) -> Response {
    let Ok(seat) = door.listeners.clone().try_acquire_owned() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "too many pages are followed live", "close some");
    };
    let can_act = visitor.owner.is_some();
    let (mut changes, clock) = (door.control.changes(), door.clock.clone());
    let live = async_stream::stream! {
        let _seat = seat;
        loop {
            let snapshot = changes.borrow_and_update().clone();
            yield Ok::<_, Infallible>(Event::default().event("state").data(page::live(&snapshot, can_act)));
            if snapshot.draining || changes.changed().await.is_err() {
                break;
            }
            clock.sleep(LIVE_EVERY).await;
        }
    };
    stream(live)
}

fn stream(live: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(live).keep_alive(KeepAlive::default()).into_response()
}

async fn login_page() -> Response {
    html(page::login(None))
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn log_in(State(door): State<Door>, form: Result<Form<Login>, FormRejection>) -> Response {
    let Ok(Form(Login { token })) = form else { return failure(StatusCode::BAD_REQUEST, "the form has no token", "") };
    match door.access.log_in(&token, door.clock.instant()) {
        Ok(Some(id)) => {
            let mut answer = Redirect::to("/").into_response();
            if let Ok(cookie) = HeaderValue::from_str(&format!("{COOKIE}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200")) {
                answer.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            answer
        }
        Ok(None) => {
            tracing::warn!("somebody tried to log in with a wrong token");
            // Whoever guesses is slowed down.
            door.clock.sleep(Duration::from_secs(1)).await;
            (StatusCode::UNAUTHORIZED, html(page::login(Some("that is not the token")))).into_response()
        }
        Err(error) => refusal(&error),
    }
}

async fn log_out(State(door): State<Door>, headers: HeaderMap) -> Response {
    door.access.log_out(&headers);
    Redirect::to("/").into_response()
}

async fn status(State(door): State<Door>) -> Response {
    Json(&*door.control.snapshot()).into_response()
}

async fn jobs(State(door): State<Door>) -> Response {
    Json(&door.control.snapshot().jobs).into_response()
}

async fn job(State(door): State<Door>, job: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(job)) = job else { return no_job("") };
    match door.control.snapshot().jobs.iter().find(|known| known.name == job) {
        Some(known) => Json(known).into_response(),
        None => no_job(&job),
    }
}

/// What `/api/v1/usage` is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageOf {
    month: Option<String>,
}

/// As JSON, or as CSV for whoever would rather have that.
async fn usage(State(door): State<Door>, headers: HeaderMap, query: Result<Query<UsageOf>, QueryRejection>) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wants_csv = accepted.split([',', ';']).map(str::trim).find(|kind| matches!(*kind, "text/csv" | "application/json")) == Some("text/csv");
    match used(&door, query).await {
        Ok(usage) if wants_csv => csv(&usage),
        Ok(usage) => Json(usage).into_response(),
        Err(answer) => *answer,
    }
}

async fn usage_csv(State(door): State<Door>, query: Result<Query<UsageOf>, QueryRejection>) -> Response {
    match used(&door, query).await {
        Ok(usage) => csv(&usage),
        Err(answer) => *answer,
    }
}

async fn used(door: &Door, query: Result<Query<UsageOf>, QueryRejection>) -> Result<MonthlyUsage, Box<Response>> {
    let query = query.map_err(|rejected| failure(StatusCode::BAD_REQUEST, &rejected.body_text(), "write ?month=2026-11, or nothing"))?;
    let month = query.0.month.map(|month| month.parse()).transpose();
    let month = month.map_err(|error: Error| failure(StatusCode::BAD_REQUEST, error.message(), error.advice()))?;
    door.control.usage(month).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Box::new(refusal(&error)),
        _ => Box::new(failure(StatusCode::SERVICE_UNAVAILABLE, error.message(), error.advice())),
    })
}

fn csv(usage: &MonthlyUsage) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"))], usage.csv()).into_response()
}

async fn command(State(door): State<Door>, Extension(visitor): Extension<Visitor>, body: Result<Json<Command>, JsonRejection>) -> Response {
    let command = match body {
        Ok(Json(command)) => command,
        Err(rejected) => return failure(rejected.status(), &rejected.body_text(), "/api/v1/openapi.json says what a command looks like"),
    };
    let Some(actor) = visitor.owner else { return failure(StatusCode::UNAUTHORIZED, "this needs the token", "") };
    match door.control.command(actor, command).await {
        Ok(message) => Json(serde_json::json!({ "message": message })).into_response(),
        Err(error) => refusal(&error),
    }
}

async fn hints(
    State(door): State<Door>,
    job: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Ok(Path(job)) = job else { return no_job("") };
    let setup = door.setups.borrow().clone();
    let token = setup.jobs.iter().find(|known| known.name == job).and_then(|job| job.hint_token);
    // MinIO sends what it was given, with or without the word.
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let shown = shown.strip_prefix("Bearer ").unwrap_or(shown).trim();
    // A job that takes none answers as one whose token is wrong: names are not told.
    if !token.is_some_and(|token| token.is(shown)) {
        return failure(StatusCode::UNAUTHORIZED, "that is not this job's token", "events of type \"webhook\" have a token in the configuration");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejected) => return failure(rejected.status(), &rejected.body_text(), ""),
    };
    // MinIO looks first whether anybody is there.
    if body.is_empty() {
        return Json(serde_json::json!({ "taken": 0 })).into_response();
    }
    match message::parse(&body) {
        Ok(hints) => {
            let taken = hints.len();
            match door.control.push(&job, hints) {
                Pushed::Taken => Json(serde_json::json!({ "taken": taken })).into_response(),
                Pushed::Dropped => failure(StatusCode::SERVICE_UNAVAILABLE, "too many events wait", "send it again"),
            }
        }
        Err(error) => failure(StatusCode::BAD_REQUEST, error.message(), ""),
    }
}

async fn scrape(State(door): State<Door>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], metrics::text(&door.control.snapshot())).into_response()
}

async fn ready(State(door): State<Door>) -> Response {
    if door.control.snapshot().draining { failure(StatusCode::SERVICE_UNAVAILABLE, "the daemon drains", "") } else { "ready\n".into_response() }
}
