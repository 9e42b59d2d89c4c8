//! One error type for everything Dragon does.
//!
//! A kind exists only where a caller would act differently; what happened, to which object, in which store, and what to do
//! next stand in the fields, so that a person woken at night needs nothing but the message. Secrets never enter an error.

use std::fmt;
use std::time::Duration;

/// The result of anything that can fail in Dragon.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the sense of what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object or version is not there. The only kind that means absence.
    NotFound,
    /// The bucket (or the local root) is not there: nothing in this store can work.
    BucketNotFound,
    /// The multipart upload is unknown to the service: it was completed, aborted or expired.
    UploadNotFound,
    /// A precondition failed: the object is not the version that was asked for.
    Changed,
    /// A create-only write found an object in its place.
    Exists,
    /// The service refuses this key to this caller; others may work.
    Denied,
    /// The service refuses who we are (key, signature, token): nothing in this store can work.
    Credentials,
    /// The temporary token has expired; fresh credentials may work.
    TokenExpired,
    /// The account or bucket is halted (arrears, disabled, endpoint forbidden): a person must act.
    Account,
    /// The clock of this machine is too far from the service's.
    ClockSkew,
    /// The bucket lives at another endpoint or in another region.
    WrongEndpoint,
    /// The service asks for fewer requests.
    Throttled,
    /// The service or the road to it failed; the same request may work soon.
    Unavailable,
    /// The service or the road to it has been down for longer than the run was to wait: nothing in this store works now.
    Outage,
    /// Bytes, lengths or checksums are not what they must be.
    Integrity,
    /// The object rests in an archive class and must be restored before it can be read.
    Frozen,
    /// The object cannot be changed now (retention, legal hold, WORM).
    Locked,
    /// This backend cannot do that.
    Unsupported,
    /// The request itself is wrong: a key the backend cannot hold, a bad flag, a broken configuration.
    Invalid,
    /// A safety guard refused (delete limits, empty source).
    Guard,
    /// The operator or a deadline stopped the run.
    Interrupted,
    /// This machine failed at one thing: a permission, a broken file.
    Local,
    /// A disk of this machine takes no more writes (full, over quota, read-only, a broken journal): nothing that writes there can work.
    Disk,
    /// An answer that no sane service gives, or a bug in Dragon.
    Unexpected,
}

/// What a retry loop may do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request would fail again.
    Never,
    /// The same request may work after a short, jittered wait.
    Soon,
    /// The service asked for a slower pace, and perhaps said how long to wait.
    Slow {
        /// The wait that the service named.
        after: Option<Duration>,
    },
}

/// What the cloud said of a failed request, for its support desk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudAnswer {
    /// HTTP status, 0 where there was no answer.
    pub http_status: u16,
    /// The service's error code, such as `NoSuchKey`.
    pub code: String,
    /// `x-amz-request-id` or `x-oss-request-id`.
    pub request_id: String,
    /// OSS's fine-grained error code (`x-oss-ec`), empty elsewhere.
    pub ec: String,
}

/// An error with everything a person needs at 3 a.m.
#[derive(Clone)]
pub struct Error(Box<Fields>);

#[derive(Debug, Clone)]
struct Fields {
    kind: ErrorKind,
    message: String,
    operation: &'static str,
    store: String,
    key: Option<String>,
    advice: String,
    answer: Option<CloudAnswer>,
    retry_after: Option<Duration>,
    endpoint: Option<String>,
    source: Option<std::sync::Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of a kind with a message in plain words.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Fields {
            kind,
            message: message.into(),
            operation: "",
            store: String::new(),
            key: None,
            advice: String::new(),
            answer: None,
            retry_after: None,
            endpoint: None,
            source: None,
        }))
    }

    /// Makes an [`ErrorKind::Invalid`] error: the request, flag or configuration is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Makes an [`ErrorKind::Unsupported`] error.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Makes an [`ErrorKind::Integrity`] error.
    pub fn integrity(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Integrity, message)
    }

    /// Names the operation, such as `upload part`.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        if self.0.operation.is_empty() {
            self.0.operation = operation;
        }
        self
    }

    /// Names the store, such as `oss://photos-cn`.
    #[must_use]
    pub fn in_store(mut self, store: impl fmt::Display) -> Self {
        if self.0.store.is_empty() {
            self.0.store = store.to_string();
        }
        self
    }

    /// Names the object.
    #[must_use]
    pub fn on_key(mut self, key: impl fmt::Display) -> Self {
        if self.0.key.is_none() {
            self.0.key = Some(key.to_string());
        }
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        if self.0.advice.is_empty() {
            self.0.advice = advice.into();
        }
        self
    }

    /// Keeps what the cloud answered.
    #[must_use]
    pub fn answered(mut self, answer: CloudAnswer) -> Self {
        self.0.answer = Some(answer);
        self
    }

    /// Keeps the wait that the service asked for.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Keeps the endpoint or region that the service named as the right one.
    #[must_use]
    pub fn at_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.0.endpoint = Some(endpoint.into());
        self
    }

    /// Keeps the underlying error.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(std::sync::Arc::new(source));
        self
    }

    /// The kind: what to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without its surroundings.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The object concerned, escaped for display.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// What the cloud answered, where there was an answer.
    pub fn answer(&self) -> Option<&CloudAnswer> {
        self.0.answer.as_ref()
    }

    /// The endpoint or region that the service named as the right one.
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    /// What to do next, empty where the message says it all.
    pub fn advice(&self) -> &str {
        &self.0.advice
    }

    /// Judges whether, and how, the same request may be tried again.
    pub fn retry(&self) -> Retry {
        match self.0.kind {
            ErrorKind::Throttled => Retry::Slow { after: self.0.retry_after },
            ErrorKind::Unavailable => match self.0.retry_after {
                Some(after) => Retry::Slow { after: Some(after) },
                None => Retry::Soon,
            },
            _ => Retry::Never,
        }
    }

    /// Whether this may mean that the service, or the road to it, is down. Throttling does not; but a 503 that names no reason to slow
    /// down, as every refused HEAD is, does not say that it throttles.
    pub fn is_outage(&self) -> bool {
        match self.0.kind {
            ErrorKind::Unavailable => true,
            ErrorKind::Throttled => self.0.answer.as_ref().is_some_and(|a| a.http_status == 503 && matches!(a.code.as_str(), "" | "ServiceUnavailable")),
            _ => false,
        }
    }

    /// Whether everything that follows would fail the same way, in this store or on this machine.
    pub fn stops_store(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::BucketNotFound
                | ErrorKind::Credentials
                | ErrorKind::TokenExpired
                | ErrorKind::Account
                | ErrorKind::ClockSkew
                | ErrorKind::WrongEndpoint
                | ErrorKind::Outage
                | ErrorKind::Disk
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        let mut lead = false;
        if !e.operation.is_empty() {
            f.write_str(e.operation)?;
            lead = true;
        }
        if let Some(key) = &e.key {
            write!(f, "{}'{key}'", if lead { " " } else { "" })?;
            lead = true;
        }
        if !e.store.is_empty() {
            write!(f, "{}{}", if lead { " in " } else { "" }, e.store)?;
            lead = true;
        }
        if lead {
            f.write_str(": ")?;
        }
        f.write_str(&e.message)?;
        if let Some(a) = &e.answer {
            let mut parts = Vec::new();
            if a.http_status != 0 {
                parts.push(format!("HTTP {}", a.http_status));
            }
            for (name, value) in [("code", &a.code), ("request id", &a.request_id), ("EC", &a.ec)] {
                if !value.is_empty() {
                    parts.push(format!("{name} {value}"));
                }
            }
            if !parts.is_empty() {
                write!(f, " ({})", parts.join(", "))?;
            }
        }
        // The chain is printed here, once, so that `{error}` alone tells the whole story.
        let mut source = e.source.as_ref().map(|s| &**s as &dyn std::error::Error);
        while let Some(s) = source {
            let text = s.to_string();
            if !e.message.contains(&text) {
                write!(f, ": {text}")?;
            }
            source = s.source();
        }
        if !e.advice.is_empty() {
            write!(f, "; {}", e.advice)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, advice) = match e.kind() {
            Io::NotFound => (ErrorKind::NotFound, ""),
            Io::PermissionDenied => (ErrorKind::Denied, ""),
            Io::StorageFull | Io::QuotaExceeded => (ErrorKind::Disk, "free some space, then run the same command again"),
            Io::ReadOnlyFilesystem => (ErrorKind::Disk, "the file system is mounted read-only"),
            _ => (ErrorKind::Local, ""),
        };
        Self::new(kind, e.to_string()).advise(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_says_what_where_and_what_next() {
        let e = Error::new(ErrorKind::Account, "the account is in arrears")
            .during("put")
            .on_key("a b")
            .in_store("oss://photos-cn")
            .answered(CloudAnswer { http_status: 403, code: "InDebt".into(), request_id: "5F01".into(), ec: "0003-00000806".into() })
            .advise("top up the balance");
        assert_eq!(
            e.to_string(),
            "put 'a b' in oss://photos-cn: the account is in arrears (HTTP 403, code InDebt, request id 5F01, EC 0003-00000806); top up the balance"
        );
        assert!(e.stops_store());
        assert_eq!(e.retry(), Retry::Never);
    }

    #[test]
    fn only_throttling_and_outages_are_retried() {
        let wait = Duration::from_millis(30);
        assert_eq!(Error::new(ErrorKind::Throttled, "x").retry_after(wait).retry(), Retry::Slow { after: Some(wait) });
        assert_eq!(Error::new(ErrorKind::Unavailable, "x").retry(), Retry::Soon);
        assert_eq!(Error::integrity("x").retry(), Retry::Never);
    }

    #[test]
    fn throttling_is_no_outage() {
        let throttled =
            |http_status, code: &str| Error::new(ErrorKind::Throttled, "x").answered(CloudAnswer { http_status, code: code.into(), ..CloudAnswer::default() });
        assert!(!throttled(503, "SlowDown").is_outage());
        assert!(!throttled(429, "").is_outage());
        assert!(throttled(503, "").is_outage(), "a HEAD cannot say why");
        assert!(Error::new(ErrorKind::Unavailable, "reset").is_outage());
        assert!(!Error::new(ErrorKind::Denied, "no").is_outage());
    }
}
