//! Dated snapshots: what of a key says which backup it belongs to, and when that was taken.
//!
//! The first segment of the key behind a rule's prefix is looked at: `2026-11-27/`, `db-20261127T0300Z.dump`, `2026-W48/`, `2026-11/`,
//! `2026-Q4/`. What stands around the date names the series, so that `db-2026-11-27` and `web-2026-11-27` are kept each by itself. A segment
//! without a date belongs to no series, and nothing of it ever goes.

use jiff::civil::{Date, ISOWeekDate, Weekday};

use super::retention::Moment;

/// Longest segment that is looked at, in bytes.
const SEGMENT_BYTES_MAX: usize = 1024;

/// One backup of a series: ordered by its date, and of one date by its name, which holds the time of the day where there is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    /// The first day that it stands for, UTC.
    pub date: Date,
    /// The segment, whole.
    pub name: Vec<u8>,
}

impl Moment for Snapshot {
    fn date(&self) -> Date {
        self.date
    }
}

/// The snapshot that a key behind the rule's prefix belongs to, and the series: what of the segment is no date. `None` where there is none.
pub fn of_key(behind: &[u8]) -> Option<(Vec<u8>, Snapshot)> {
    let segment = behind.split(|byte| *byte == b'/').next().filter(|segment| segment.len() <= SEGMENT_BYTES_MAX)?;
    let (at, len, date) = (0..segment.len()).find_map(|at| {
        // A date begins where digits do: of `12026-11-27` nobody knows what it means.
        let begins = segment[at].is_ascii_digit() && (at == 0 || !segment[at - 1].is_ascii_digit());
        begins.then(|| date_at(&segment[at..])).flatten().map(|(len, date)| (at, len, date))
    })?;
    let mut series = segment[..at].to_vec();
    // A slash stands in no segment.
    series.push(b'/');
    series.extend_from_slice(&segment[at + len + time_len(&segment[at + len..])..]);
    Some((series, Snapshot { date, name: segment.to_vec() }))
}

/// A date at the beginning of a text, and its length.
fn date_at(text: &[u8]) -> Option<(usize, Date)> {
    let number = |from: usize, len: usize| -> Option<i16> {
        let digits = text.get(from..from + len).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let small = |number: i16| i8::try_from(number).ok();
    let year = number(0, 4)?;
    match text.get(4) {
        Some(b'-') => match text.get(5) {
            Some(b'W') => {
                let week = ISOWeekDate::new(year, small(number(6, 2)?)?, Weekday::Monday).ok()?;
                (!is_digit(8)).then(|| (8, week.date()))
            }
            Some(b'Q') => {
                let quarter = number(6, 1).filter(|quarter| (1..=4).contains(quarter) && !is_digit(7))?;
                Date::new(year, small(quarter * 3 - 2)?, 1).ok().map(|date| (7, date))
            }
            _ => {
                let month = small(number(5, 2)?)?;
                match (text.get(7), number(8, 2)) {
                    (Some(b'-'), Some(day)) if !is_digit(10) => Date::new(year, month, small(day)?).ok().map(|date| (10, date)),
                    // With a third number behind it, it is a date that is none.
                    _ if !(is_digit(7) || text.get(7) == Some(&b'-') && is_digit(8)) => Date::new(year, month, 1).ok().map(|date| (7, date)),
                    _ => None,
                }
            }
        },
        // 20261127, perhaps with the time right behind it: 20261127030000.
        Some(byte) if byte.is_ascii_digit() => {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let date = Date::new(year, small(number(4, 2)?)?, small(number(6, 2)?)?).ok()?;
            matches!(digits, 8 | 12 | 14).then_some((8, date))
        }
        _ => None,
    }
}

/// The length of a time of the day right behind a date: `T0300Z`, `-03-00-00`, `_030000`, `T03:00:00Z`, `030000`. It belongs to the snapshot, not to the series.
fn time_len(text: &[u8]) -> usize {
    let lead = usize::from(text.first().is_some_and(|byte| matches!(byte, b'T' | b't' | b'-' | b'_' | b' ')));
    let mut at = lead;
    let mut digits = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'0'..=b'9' => digits += 1,
            b':' | b'-' | b'.' if digits > 0 && digits % 2 == 0 && text.get(at + 1).is_some_and(u8::is_ascii_digit) => {}
            _ => break,
        }
        at += 1;
    }
    match digits {
        4 | 6 => at + usize::from(text.get(at).is_some_and(|byte| matches!(byte, b'Z' | b'z'))),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(key: &str) -> Option<(String, String)> {
        of_key(key.as_bytes()).map(|(series, snapshot)| (String::from_utf8_lossy(&series).into_owned(), snapshot.date.to_string()))
    }

    #[test]
    fn dates_as_people_and_jobs_write_them() {
        for (key, series, date) in [
            ("2026-11-27/a/b.txt", "/", "2026-11-27"),
            ("2026-11-27", "/", "2026-11-27"),
            ("db-2026-11-27.dump", "db-/.dump", "2026-11-27"),
            ("db-20261127.dump", "db-/.dump", "2026-11-27"),
            ("20261127T030000Z-5f01/x", "/-5f01", "2026-11-27"),
            ("20261127030000/x", "/", "2026-11-27"),
            ("db-2026-11-27T03:00:00Z.gz", "db-/.gz", "2026-11-27"),
            ("db-2026-11-27-03-00-00.gz", "db-/.gz", "2026-11-27"),
            ("db_2026-11-27_0300.gz", "db_/.gz", "2026-11-27"),
            ("2026-11/x", "/", "2026-11-01"),
            ("2026-W48/x", "/", "2026-11-23"),
            ("2026-Q4/x", "/", "2026-10-01"),
            ("v2-2026-11-27", "v2-/", "2026-11-27"),
        ] {
            assert_eq!(read(key), Some((series.to_owned(), date.to_owned())), "{key}");
        }
        for key in [
            "",
            "latest/x",
            "2026",
            "2026/11/27",
            "2026-13-01",
            "2026-11-31",
            "12026-11-27",
            "2026-11-277",
            "2026112",
            "202611270",
            "2026-Q5",
            "2026-W54",
            "1234567890",
        ] {
            assert_eq!(read(key), None, "{key}");
        }
    }

    #[test]
    fn two_of_a_day_are_in_the_order_of_their_names() {
        let of = |key: &str| of_key(key.as_bytes()).expect("a date").1;
        assert!(of("db-2026-11-27T0300.gz") < of("db-2026-11-27T1500.gz"));
        assert!(of("db-2026-11-27T1500.gz") < of("db-2026-11-28T0300.gz"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not_but_never_a_panic(key in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = of_key(&key);
        }

        #[test]
        fn every_date_is_found(days in 0i32..40_000, lead in "[a-z]{0,5}-?", tail in "(/.*)?") {
            let date = jiff::civil::date(1990, 1, 1).checked_add(jiff::Span::new().days(days)).expect("a date");
            prop_assert_eq!(of_key(format!("{lead}{date}{tail}").as_bytes()).expect("found").1.date, date);
            prop_assert_eq!(of_key(format!("{lead}{}{tail}", date.strftime("%Y%m%d")).as_bytes()).expect("found").1.date, date);
        }
    }
}
