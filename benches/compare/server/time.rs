//! Times as the clouds write them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::store::SYNTHETIC_MODIFIED;

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// As listings say it.
pub(super) fn iso8601(seconds: u64) -> std::borrow::Cow<'static, str> {
    match seconds {
        SYNTHETIC_MODIFIED => "2026-01-01T00:00:00.000Z".into(),
        seconds => timestamp(seconds).strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string().into(),
    }
}

/// As headers say it.
pub(super) fn http_date(seconds: u64) -> String {
    match seconds {
        SYNTHETIC_MODIFIED => "Thu, 01 Jan 2026 00:00:00 GMT".into(),
        seconds => timestamp(seconds).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
    }
}
