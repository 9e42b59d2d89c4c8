//! `--bandwidth`: one rate, or rates by the time of the day.

use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::units::{Parsed, Rate, parse_rate};
use crate::storage::limit::{Timetable, Widths};

/// The least width, in bytes a second: with less, connections that wait for their turn would be taken for dead.
const BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// A bandwidth: a rate (`20Mbit`, `off`), one for each direction (`20Mbit:5Mbit`, read and written), or a timetable of them
/// (`08:00,20Mbit 20:00,off`), in local time unless a time zone stands before it (`Asia/Shanghai 08:00,20Mbit 20:00,off`).
pub fn parse_bandwidth(text: &str) -> Parsed<Timetable> {
    if !text.contains(',') {
        return parse_widths(text.trim()).map(Timetable::constant);
    }
    let mut words = text.split_whitespace().peekable();
    let zone = match words.next_if(|word| !word.contains(',')) {
        Some(name) => TimeZone::get(name).map_err(|_| format!("'{name}' is neither an entry such as 08:00,20Mbit nor a time zone such as Asia/Shanghai"))?,
        None => TimeZone::system(),
    };
    let mut entries: Vec<(Time, Widths)> = Vec::new();
    for word in words {
        let (at, widths) = word.split_once(',').ok_or_else(|| format!("'{word}' has no time: write 08:00,{word}"))?;
        let time = parse_time(at)?;
        if entries.iter().any(|(other, _)| *other == time) {
            return Err(format!("{at} stands there twice"));
        }
        entries.push((time, parse_widths(widths)?));
    }
    Timetable::daily(entries, zone).ok_or_else(|| format!("'{text}' has no entries: write for example 08:00,20Mbit 20:00,off"))
}

fn parse_time(text: &str) -> Parsed<Time> {
    let number = |digits: &str| (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten();
    let time = text.split_once(':').and_then(|(hour, minute)| Time::new(number(hour)?, number(minute)?, 0, 0).ok());
    time.ok_or_else(|| format!("'{text}' is no time of the day: write 08:00 or 23:30"))
}

fn parse_widths(text: &str) -> Parsed<Widths> {
    let width = |text: &str| match parse_rate(text)? {
        Rate::BytesPerSecond(rate) if rate < BYTES_PER_SECOND_MIN => {
            Err(format!("'{text}' is next to nothing, and connections would be taken for dead: write 1KiB/s or more; --max-duration ends a run in time"))
        }
        rate => Ok(rate.limit()),
    };
    match text.split_once(':') {
        Some((read, write)) => Ok(Widths { read: width(read)?, write: width(write)? }),
        None => Ok(Widths { read: width(text)?, write: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(table: &Timetable, time: &str) -> (Option<u64>, Option<u64>) {
        let widths = table.at(format!("2026-01-01T{time}:00Z").parse().expect("a time")).0;
        (widths.read, widths.write)
    }

    #[test]
    fn one_rate_holds_all_day() {
        assert_eq!(at(&parse_bandwidth("20Mbit").expect("a rate"), "12:00"), (Some(2_500_000), None));
        assert_eq!(at(&parse_bandwidth("off").expect("no limit"), "12:00"), (None, None));
        assert_eq!(at(&parse_bandwidth("10MiB/s:off").expect("a pair"), "12:00"), (Some(10 << 20), None));
        assert_eq!(at(&parse_bandwidth("off:5Mbit").expect("a pair"), "12:00"), (None, Some(625_000)));
    }

    #[test]
    fn a_timetable_holds_by_the_hour_of_its_zone() {
        let table = parse_bandwidth("Asia/Shanghai 08:00,20Mbit 20:00,off 23:30,10MiB/s:5Mbit").expect("a timetable");
        assert_eq!(at(&table, "00:00"), (Some(2_500_000), None));
        assert_eq!(at(&table, "12:00"), (None, None));
        assert_eq!(at(&table, "15:30"), (Some(10 << 20), Some(625_000)));
        assert_eq!(at(&table, "23:59"), (Some(10 << 20), Some(625_000)), "07:59");
        assert!(parse_bandwidth("08:00,20Mbit 20:00,off").is_ok(), "local time");
    }

    #[test]
    fn what_is_no_timetable_is_told() {
        for (text, says) in [
            ("08:00,20 20:00,off", "ambiguous"),
            ("8,20Mbit", "08:00"),
            ("24:00,20Mbit", "time of the day"),
            ("08:00,20Mbit 08:00,off", "twice"),
            ("08:00,20Mbit off", "has no time"),
            ("Mars/Olympus 08:00,20Mbit", "time zone"),
            ("20Mbit 08:00,off", "time zone"),
            ("08:00,0MiB/s", "nothing pass"),
            ("08:00,10B/s", "next to nothing"),
            ("20Mbit:fast", "number"),
            ("100", "ambiguous"),
            (",", "time of the day"),
        ] {
            let error = parse_bandwidth(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
