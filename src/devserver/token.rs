//! Temporary keys that any process can make: the token says until when it holds.
//!
//! Where the weather has `token=10s`, both clouds take the server's pair of keys only with a session token `until-SECONDS`, a Unix time
//! that is not past and lies no further ahead than the token may last. Nothing else is signed into it: whoever holds the secret could
//! sign anything, and the request's own signature covers the token. So a test's `credential_process` needs no service to get one from:
//!
//! ```text
//! printf '{"Version":1,"AccessKeyId":"dragon","SecretAccessKey":"dragon-secret","SessionToken":"until-%s"}' $(($(date +%s)+10))
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is none.
    Missing,
    /// It is no token of this server, or holds longer than any does.
    Invalid,
    /// Its time is over.
    Expired,
}

/// Judges the token of a request.
pub(super) fn judge(token: Option<&str>, lifetime: Duration, now: Timestamp) -> Result<(), Fault> {
    let until = token.ok_or(Fault::Missing)?.strip_prefix("until-").and_then(|seconds| seconds.parse().ok());
    let until = until.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or(Fault::Invalid)?;
    if until <= now {
        return Err(Fault::Expired);
    }
    // Whole seconds: a token that was made for ten may hold for eleven.
    let longest = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX).saturating_add(SignedDuration::from_secs(1));
    if until.duration_since(now) > longest { Err(Fault::Invalid) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_until_its_time_and_no_longer_than_any() {
        let now = Timestamp::from_second(1000).expect("a time");
        let judge = |token| judge(token, Duration::from_secs(10), now);
        assert_eq!(judge(Some("until-1010")), Ok(()));
        assert_eq!(judge(Some("until-1001")), Ok(()));
        assert_eq!(judge(Some("until-1000")), Err(Fault::Expired));
        assert_eq!(judge(Some("until-1012")), Err(Fault::Invalid));
        assert_eq!(judge(Some("until-soon")), Err(Fault::Invalid));
        assert_eq!(judge(None), Err(Fault::Missing));
    }
}
