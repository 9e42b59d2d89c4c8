//! Refusals whose reason was lost on the way.
//!
//! 400 and 403 mean anything from a key that is not allowed to a token that has just expired: which of them only the body says. Where it
//! broke off nothing is known, and the request may be made again. Every other status speaks for itself.

use crate::error::{CloudAnswer, Error, ErrorKind};

/// Whether a refusal of that status means nothing without the body that could not be read.
pub(in crate::storage) fn is_unreasoned(status: u16, reading: &Error) -> bool {
    matches!(status, 400 | 403) && reading.kind() == ErrorKind::Unavailable
}

/// What is known of such a refusal.
pub(in crate::storage) fn unreasoned(service: &str, status: u16, reading: Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{service} refused with HTTP status {status}, and the reason was lost on the way"))
        .answered(CloudAnswer { http_status: status, ..CloudAnswer::default() })
        .caused_by(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    #[test]
    fn only_a_status_that_needs_its_reason_is_tried_again_without_it() {
        let broken = Error::new(ErrorKind::Unavailable, "reset");
        assert!(is_unreasoned(403, &broken) && is_unreasoned(400, &broken));
        assert!(!is_unreasoned(404, &broken) && !is_unreasoned(409, &broken));
        assert!(!is_unreasoned(403, &Error::new(ErrorKind::Unexpected, "too large")));
        let error = unreasoned("OSS", 403, broken);
        assert_eq!(error.retry(), Retry::Soon);
        assert!(error.to_string().contains("OSS refused with HTTP status 403, and the reason was lost on the way (HTTP 403): reset"), "{error}");
    }
}
