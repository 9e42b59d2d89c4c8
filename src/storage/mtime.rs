//! A file's modification time as metadata `mtime`, in rclone's words. The local backend writes and restores it, the engine compares it:
//! both read it here, so that neither believes a time that the other does not.

use jiff::Timestamp;

/// The name of the metadata, as rclone has it.
pub(crate) const NAME: &str = "mtime";

/// A stat's time: seconds since the epoch with as many decimals as are needed, as rclone writes them.
#[cfg(any(feature = "local", test))]
pub(crate) fn text(seconds: i64, nanos: u32) -> String {
    written(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

/// As [`text`], of a point in time.
pub(crate) fn of(time: Timestamp) -> String {
    written(time.as_nanosecond())
}

fn written(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (whole, decimals) = (nanoseconds.unsigned_abs() / 1_000_000_000, nanoseconds.unsigned_abs() % 1_000_000_000);
    let decimals = format!("{decimals:09}");
    match decimals.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        decimals => format!("{sign}{whole}.{decimals}"),
    }
}

/// Reads what [`text`] or rclone wrote: whole seconds rounded down, and nanoseconds.
pub(crate) fn parse(text: &str) -> Option<(i64, u32)> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(decimals) {
        return None;
    }
    let nanos: i128 = format!("{decimals:0<9}").get(..9)?.parse().ok()?;
    let total = sign * (i128::from(whole.parse::<i64>().ok()?) * 1_000_000_000 + nanos);
    Some((total.div_euclid(1_000_000_000).try_into().ok()?, total.rem_euclid(1_000_000_000).try_into().ok()?))
}

/// A stat's time as a timestamp, where it is within the calendar.
pub(crate) fn timestamp(seconds: i64, nanos: u32) -> Option<Timestamp> {
    Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rclone_writes_them_and_come_back() {
        for (time, words) in [
            ((0, 0), "0"),
            ((1_700_000_000, 123_456_789), "1700000000.123456789"),
            ((1_700_000_000, 500_000_000), "1700000000.5"),
            ((-1, 750_000_000), "-0.25"),
            ((-2, 0), "-2"),
        ] {
            assert_eq!(text(time.0, time.1), words);
            assert_eq!(parse(words), Some(time));
        }
        assert_eq!(parse("1.0000000019"), Some((1, 1)));
        for broken in ["", "-", ".5", "1e9", "2026-01-01", "1.x", "+1"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
