//! Who may come in, and who may change something.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::routes::{Door, failure};
use super::token::{self, Token};
use crate::daemon::control::Actor;
use crate::error::Result;

/// How long a browser stays logged in, and how many do at a time.
const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);
const SESSIONS_MAX: usize = 64;
/// The longest that a request may take, its body included. What streams to the client is not meant.
const REQUEST_MAX: Duration = Duration::from_secs(40);
pub(super) const COOKIE: &str = "dragon_session";

/// Who is let in.
#[derive(Debug)]
pub struct Access {
    token: Token,
    /// Also to read.
    token_required: bool,
    /// Names under which we may be asked for, without ports.
    hosts: Vec<String>,
    sessions: Mutex<HashMap<String, Instant>>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Over TCP.
    Network,
    /// Over the Unix socket, by a user who may do everything.
    Owner(u32),
}

/// What a request may do: this is in its extensions once it is let in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// `None` may only look.
    pub(super) owner: Option<Actor>,
}

impl Access {
    /// `hosts` are names under which the door may be asked for beside `localhost` and addresses of loopback: the listening address, the
    /// machine's own name, and those that were configured.
    pub fn new(token: Token, token_required: bool, hosts: Vec<String>) -> Self {
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { token, token_required, hosts, sessions: Mutex::default() }
    }

    /// Whether a Host header names us.
    fn is_us(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        // An IPv6 address stands in brackets.
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.split(':').next().unwrap_or_default(),
        };
        let is_loopback = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback || self.hosts.iter().any(|known| known == name)
    }

    /// A new session for whoever shows the token; its id.
    pub(super) fn log_in(&self, shown: &str, now: Instant) -> Result<Option<String>> {
        if !self.token.is(shown) {
            return Ok(None);
        }
        let id = token::random()?;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, until| *until > now);
        if sessions.len() >= SESSIONS_MAX
            && let Some(oldest) = sessions.iter().min_by_key(|(_, until)| **until).map(|(id, _)| id.clone())
        {
            sessions.remove(&oldest);
        }
        sessions.insert(id.clone(), now + SESSION_MAX);
        Ok(Some(id))
    }

    pub(super) fn log_out(&self, headers: &HeaderMap) {
        if let Some(id) = cookie(headers) {
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        }
    }

    fn owner(&self, headers: &HeaderMap, now: Instant) -> Option<Actor> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
        if let Some(shown) = shown {
            return self.token.is(shown.trim()).then(|| Actor { who: "token".to_owned() });
        }
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = cookie(headers).and_then(|id| sessions.get(id)).is_some_and(|until| *until > now);
        is_open.then(|| Actor { who: "browser".to_owned() })
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether a browser sends this from a page of ours. What is no browser says nothing, and is no danger: it has no cookies.
fn is_same_site(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        (None, None) => true,
    }
}

/// Lets a request in, or says why not.
pub(super) async fn guard(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Network);
    let path = request.uri().path();
    let is_open = matches!(path, "/healthz" | "/login") || path.starts_with("/assets/");
    let is_push = path.starts_with("/api/v1/hints/");
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers();
    let owner = match peer {
        Peer::Owner(uid) => Some(Actor { who: format!("socket uid {uid}") }),
        Peer::Network => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
            if path != "/healthz" && !is_push && !door.access.is_us(&host) {
                return refused(
                    StatusCode::MISDIRECTED_REQUEST,
                    &format!("'{}' is not a name of this daemon", host.escape_default()),
                    "add it to [daemon] hosts",
                );
            }
            if !is_read && !is_push && !is_same_site(headers, &host) {
                return refused(StatusCode::FORBIDDEN, "another site's page may not do that", "use the page of this daemon");
            }
            door.access.owner(headers, door.clock.instant())
        }
    };
    let may_look = owner.is_some() || !door.access.token_required;
    let may_do = owner.is_some() || is_read || path == "/login";
    // What pushes events shows its job's own token.
    let may_pass = is_open || is_push || may_look && may_do;
    if !may_pass {
        if is_read && wants_html(headers) {
            return axum::response::Redirect::to("/login").into_response();
        }
        let mut answer =
            refused(StatusCode::UNAUTHORIZED, "this needs the token", "send Authorization: Bearer with what the file `token` in the state directory holds");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return answer;
    }
    request.extensions_mut().insert(Visitor { owner });
    let late = door.clock.sleep(REQUEST_MAX);
    let mut answer = tokio::select! {
        biased;
        answer = next.run(request) => answer,
        () = late => refused(StatusCode::REQUEST_TIMEOUT, "the request took too long", ""),
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

pub(super) fn refused(status: StatusCode, message: &str, advice: &str) -> Response {
    failure(status, message, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let access = Access::new(Token::new("x"), false, vec!["Dragon.example.com".into(), "10.0.0.5".into()]);
        for host in ["localhost", "localhost:3746", "127.0.0.1:3746", "[::1]:3746", "dragon.example.com", "DRAGON.example.com:80", "10.0.0.5:3746"] {
            assert!(access.is_us(host), "{host}");
        }
        for host in ["", "evil.example.com", "localhost.evil.com", "127.0.0.1.nip.io", "10.0.0.6"] {
            assert!(!access.is_us(host), "{host}");
        }
    }

    #[test]
    fn sessions_are_bounded_and_end() {
        let access = Access::new(Token::new("right"), false, vec![]);
        let now = crate::clock::Clock::system().instant();
        assert!(access.log_in("wrong", now).expect("randomness").is_none());
        let ids: Vec<String> =
            (0..SESSIONS_MAX as u64 + 5).map(|n| access.log_in("right", now + Duration::from_secs(n)).expect("randomness").expect("right")).collect();
        let with = |id: &str| HeaderMap::from_iter([(header::COOKIE, format!("a=b; {COOKIE}={id}").parse().expect("a cookie"))]);
        assert!(access.owner(&with(&ids[0]), now).is_none(), "the oldest made room");
        let last = ids.last().expect("some");
        assert!(access.owner(&with(last), now).is_some());
        assert!(access.owner(&with(last), now + SESSION_MAX * 2).is_none());
        access.log_out(&with(last));
        assert!(access.owner(&with(last), now).is_none());
    }
}
