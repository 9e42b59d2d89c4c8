//! When temporary credentials are fetched anew: early enough that what they sign arrives in time, and not so early that short-lived ones
//! are fetched all the time.

use jiff::{SignedDuration, Timestamp};

/// Renewed at least this long before they run out (protocol.md section 6).
const LEAD_MIN: SignedDuration = SignedDuration::from_mins(5);
/// After a failed renewal the old ones serve this long before the next attempt, while they last.
pub(in crate::storage) const AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(30);

/// When to renew: after four fifths of the time, and five minutes before the end, but not before half the time is over.
pub(in crate::storage) fn due(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now);
    let lead = std::cmp::min(std::cmp::max(LEAD_MIN, life / 5), life / 2);
    expires.checked_sub(lead).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_life_is_not_all_lead() {
        let now = Timestamp::UNIX_EPOCH;
        let after = |minutes| now.checked_add(SignedDuration::from_mins(minutes)).expect("a time");
        assert_eq!(due(now, after(60)), after(48));
        assert_eq!(due(now, after(15)), after(10));
        assert_eq!(due(now, after(4)), after(2));
        assert!(due(now, after(-1)) <= now, "what has run out is due");
    }
}
