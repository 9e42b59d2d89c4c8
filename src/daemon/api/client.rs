//! The command line's side of the Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use crate::daemon::control::Command;
use crate::daemon::usage::{Month, MonthlyUsage};
use crate::error::{Error, ErrorKind, Result};

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(45);

/// A daemon behind a socket.
#[derive(Debug, Clone)]
pub struct DaemonClient {
    socket: PathBuf,
}

impl DaemonClient {
    /// Names the socket; nothing is asked yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// How everything stands: a [`Snapshot`](crate::daemon::status::Snapshot) as JSON.
    ///
    /// Fails with [`ErrorKind::Unavailable`] where no daemon answers.
    pub async fn status(&self) -> Result<serde_json::Value> {
        self.ask(http::Method::GET, "/api/v1/status", None).await
    }

    /// What the jobs used in a month; in the present one where none is named.
    ///
    /// Fails with [`ErrorKind::NotFound`] where nothing is known of that month, with [`ErrorKind::Unavailable`] where no daemon answers.
    pub async fn usage(&self, month: Option<Month>) -> Result<MonthlyUsage> {
        let path = month.map_or_else(|| "/api/v1/usage".to_owned(), |month| format!("/api/v1/usage?month={month}"));
        let usage = self.ask(http::Method::GET, &path, None).await?;
        serde_json::from_value(usage).map_err(|e| Error::new(ErrorKind::Unavailable, format!("the daemon speaks of usage in another way: {e}")))
    }

    /// Has something done, and says in a sentence what was.
    ///
    /// Fails as [`Control::command`](crate::daemon::Control::command) does, and with [`ErrorKind::Unavailable`] where no daemon answers.
    pub async fn command(&self, command: &Command) -> Result<String> {
        let body = serde_json::to_vec(command).map_err(|e| Error::new(ErrorKind::Unexpected, e.to_string()))?;
        let answer = self.ask(http::Method::POST, "/api/v1/commands", Some(body)).await?;
        Ok(answer["message"].as_str().unwrap_or_default().to_owned())
    }

    async fn ask(&self, method: http::Method, path: &str, body: Option<Vec<u8>>) -> Result<serde_json::Value> {
        let asked = tokio::time::timeout(ANSWER_MAX, self.exchange(method, path, body)).await;
        asked.map_err(|_| Error::new(ErrorKind::Unavailable, format!("the daemon at {} does not answer", self.socket.display())))?
    }

    async fn exchange(&self, method: http::Method, path: &str, body: Option<Vec<u8>>) -> Result<serde_json::Value> {
        let broken = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Unavailable, format!("the daemon at {} broke off: {e}", self.socket.display()));
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| absent(&self.socket, &e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = http::Request::builder().method(method).uri(path).header("host", "localhost");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(|e| broken(&e))?;
        let answer: http::Response<Incoming> = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|e| broken(&e))?.to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&body).map_err(|e| broken(&e))?;
        if status.is_success() {
            return Ok(value);
        }
        let text = |name: &str| value["error"][name].as_str().unwrap_or_default().to_owned();
        let kind = match status.as_u16() {
            404 => ErrorKind::NotFound,
            503 => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        };
        Err(Error::new(kind, text("message")).advise(text("advice")))
    }
}

fn absent(socket: &Path, e: &std::io::Error) -> Error {
    let error = Error::new(ErrorKind::Unavailable, format!("no daemon answers at {}: {e}", socket.display()));
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => error.advise("ask as the user that the daemon runs as, or as root"),
        _ => error.advise("is it running? systemctl status dragon; DRAGON_SOCKET names another socket"),
    }
}
