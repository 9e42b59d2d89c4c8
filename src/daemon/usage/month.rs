//! A month of the calendar, in UTC.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// A month in UTC, written `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: u16,
    /// From 1 to 12.
    month: u8,
}

impl Month {
    /// The month of a moment.
    pub fn of(at: Timestamp) -> Self {
        let at = at.to_zoned(TimeZone::UTC);
        Self { year: u16::try_from(at.year()).unwrap_or(0), month: at.month().unsigned_abs() }
    }

    /// How many months this is after another.
    pub(super) fn since(self, other: Self) -> i32 {
        let months = |month: Self| i32::from(month.year) * 12 + i32::from(month.month);
        months(self) - months(other)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = Error;

    /// Reads `2026-11`. Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where it is anything else.
    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (year, month) = text.split_once('-')?;
            let is_number = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = Self { year: year.parse().ok()?, month: month.parse().ok()? };
            (is_number(year, 4) && is_number(month, 2) && (1..=12).contains(&parsed.month)).then_some(parsed)
        };
        parse().ok_or_else(|| Error::invalid(format!("'{}' is no month", text.escape_debug())).advise("write a year and a month, such as 2026-11"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_of_utc_and_written_one_way() {
        let month = Month::of("2026-11-30T23:59:59.9Z".parse().expect("a time"));
        assert_eq!((month.to_string().as_str(), "2026-11".parse::<Month>().expect("a month")), ("2026-11", month));
        let next = Month::of("2026-12-01T00:00:00Z".parse().expect("a time"));
        assert!(month < next && next.since(month) == 1 && "2029-11".parse::<Month>().expect("a month").since(month) == 36);
        for wrong in ["", "2026", "2026-13", "2026-00", "26-11", "2026-1", "+026-11", "2026-11-27", "2026-\n1", "2026-é"] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
    }
}
