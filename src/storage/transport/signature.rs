//! What the V4 signatures of both clouds have in common: a key for a day, a region and a service, derived from the secret by a chain of
//! keyed hashes (protocol.md 1.1), and how times and digests are written. Both sign every request, so it is made cheap: the key is kept.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use http::HeaderValue;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, ErrorKind, Result};

/// The words by which the dialects differ.
#[derive(Debug)]
pub(in crate::storage) struct Dialect {
    /// Names the signature.
    pub(in crate::storage) algorithm: &'static str,
    /// Stands before the secret.
    pub(in crate::storage) prefix: &'static str,
    /// Ends a scope.
    pub(in crate::storage) terminator: &'static str,
}

/// A moment and what a signature is good for.
#[derive(Debug)]
pub(in crate::storage) struct Scope<'a> {
    dialect: &'static Dialect,
    time: String,
    region: &'a str,
    service: &'a str,
}

impl<'a> Scope<'a> {
    /// A signature of this moment for a region and a service.
    pub(in crate::storage) fn new(dialect: &'static Dialect, at: Timestamp, region: &'a str, service: &'a str) -> Self {
        Self { dialect, time: basic_time(at), region, service }
    }

    /// The moment, `20260101T000000Z`.
    pub(in crate::storage) fn time(&self) -> &str {
        &self.time
    }

    /// `20260101/cn-hangzhou/oss/aliyun_v4_request`.
    pub(in crate::storage) fn text(&self) -> String {
        [&self.time[..8], self.region, self.service, self.dialect.terminator].join("/")
    }

    /// The signature of a canonical request, in hexadecimal.
    pub(in crate::storage) fn sign(&self, keys: &SigningKeys, secret: &str, canonical: &[u8]) -> String {
        let digest = hex::encode(digest(&SHA256, canonical).as_ref());
        let to_sign = [self.dialect.algorithm, &self.time, &self.text(), &digest].join("\n");
        hex::encode(hmac::sign(&keys.of(self, secret), to_sign.as_bytes()).as_ref())
    }
}

/// The key that credentials sign with, as long as day, region and service stay. Belongs to one secret.
#[derive(Default)]
pub(in crate::storage) struct SigningKeys(Mutex<Option<Kept>>);

struct Kept {
    day: String,
    region: String,
    service: String,
    key: hmac::Key,
}

impl SigningKeys {
    fn of(&self, scope: &Scope<'_>, secret: &str) -> hmac::Key {
        let day = &scope.time[..8];
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.day == day && kept.region == scope.region && kept.service == scope.service) {
            return kept.key.clone();
        }
        let first = hmac::Key::new(HMAC_SHA256, [scope.dialect.prefix, secret].concat().as_bytes());
        let steps = [day, scope.region, scope.service, scope.dialect.terminator];
        let key = steps.iter().fold(first, |key, step| hmac::Key::new(HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref()));
        *kept = Some(Kept { day: day.to_owned(), region: scope.region.to_owned(), service: scope.service.to_owned(), key: key.clone() });
        key
    }
}

/// Keys do not tell credentials apart.
impl PartialEq for SigningKeys {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SigningKeys {}

/// A moment in ISO 8601's basic form, to the second.
fn basic_time(at: Timestamp) -> String {
    let at = TimeZone::UTC.to_datetime(at);
    let mut text = String::with_capacity(16);
    let mut number = |value: i32, digits: u32, behind: &str| {
        for place in (0..digits).rev() {
            text.push(char::from(b'0' + (value / 10_i32.pow(place) % 10).unsigned_abs() as u8));
        }
        text.push_str(behind);
    };
    number(i32::from(at.year()), 4, "");
    number(i32::from(at.month()), 2, "");
    number(i32::from(at.day()), 2, "T");
    number(i32::from(at.hour()), 2, "");
    number(i32::from(at.minute()), 2, "");
    number(i32::from(at.second()), 2, "Z");
    text
}

/// A header value.
pub(in crate::storage) fn plain_value(text: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(|e| Error::invalid("a value cannot stand in an HTTP header").caused_by(e))
}

/// A header value that `Debug` does not show.
pub(in crate::storage) fn secret_value(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Error::new(ErrorKind::Credentials, "the access key id or security token holds characters that no HTTP header can")
            .advise("look for a line break or a space where the credentials come from")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_digests_are_written_as_the_clouds_read_them() {
        assert_eq!(basic_time("2026-01-02T03:04:05.678Z".parse().expect("a time")), "20260102T030405Z");
        assert_eq!(basic_time("0987-12-31T23:59:59Z".parse().expect("a time")), "09871231T235959Z");
    }

    #[test]
    fn a_kept_key_serves_its_own_scope_only() {
        static DIALECT: Dialect = Dialect { algorithm: "A", prefix: "P", terminator: "t" };
        let keys = SigningKeys::default();
        let sign = |keys: &SigningKeys, at: &str, region: &str, service: &str| {
            Scope::new(&DIALECT, at.parse().expect("a time"), region, service).sign(keys, "secret", b"request")
        };
        let scopes = [
            ("2026-01-01T00:00:00Z", "r", "s"),
            ("2026-01-02T00:00:00Z", "r", "s"),
            ("2026-01-02T00:00:00Z", "q", "s"),
            ("2026-01-02T00:00:00Z", "q", "u"),
            ("2026-01-01T00:00:00Z", "r", "s"),
        ];
        for (at, region, service) in scopes {
            assert_eq!(sign(&keys, at, region, service), sign(&SigningKeys::default(), at, region, service));
        }
    }
}
