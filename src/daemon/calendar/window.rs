//! Windows: the times of the day, and days of the week, in which a job may run.

use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// When a job may run: from one time of the day to another, which may lie past midnight, on some days of the week. The day is that on
/// which it opens.
///
/// Where a change of the clock skips a time, it counts as so much later; where a time comes twice, the first one counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    words: String,
    /// From Monday on.
    days: [bool; 7],
    from: Time,
    /// `None` is 24:00.
    to: Option<Time>,
    zone: TimeZone,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Window {
    /// Reads `20:00-08:00`, with optional days before it and an optional time zone behind it: `Mon-Fri 20:00-08:00 Asia/Shanghai`,
    /// `Sat,Sun 00:00-24:00`. Without a zone, local time. Says what is right where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no window: write \"20:00-08:00 Asia/Shanghai\" or \"Mon-Fri 20:00-08:00\"");
        let mut words = text.split_whitespace().peekable();
        let days = match words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())) {
            Some(word) => days(word).ok_or_else(|| format!("'{word}' are no days: write Mon-Fri or Sat,Sun"))?,
            None => [true; 7],
        };
        let (from, to) = words.next().and_then(|span| span.split_once('-')).ok_or_else(wrong)?;
        let zone = match words.next() {
            Some(name) => TimeZone::get(name).map_err(|_| format!("there is no time zone '{name}': write one such as Asia/Shanghai or UTC"))?,
            None => TimeZone::system(),
        };
        if words.next().is_some() {
            return Err(wrong());
        }
        let (from, to) = (time(from).ok_or_else(wrong)?, if to == "24:00" { None } else { Some(time(to).ok_or_else(wrong)?) });
        if to == Some(from) {
            return Err(format!("'{text}' opens and closes at one time: write 00:00-24:00 for all day"));
        }
        Ok(Self { words: text.split_whitespace().collect::<Vec<_>>().join(" "), days, from, to, zone })
    }

    /// When it closes, if it is open at this moment.
    pub fn closes(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, -2, 1).filter(|(from, to)| *from <= at && at < *to).map(|(_, to)| to).max()
    }

    /// When it opens next; this moment, where it is open.
    pub fn opens(&self, at: Timestamp) -> Option<Timestamp> {
        if self.closes(at).is_some() {
            return Some(at);
        }
        self.spans(at, -1, 9).map(|(from, _)| from).filter(|from| *from > at).min()
    }

    /// The spans that begin on the days around a moment.
    fn spans(&self, at: Timestamp, first: i64, last: i64) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(at).date();
        (first..=last).filter_map(move |offset| self.span(today.checked_add(offset.days()).ok()?))
    }

    fn span(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days[day.weekday().to_monday_zero_offset() as usize] {
            return None;
        }
        let moment = |day: Date, time: Time| day.to_datetime(time).to_zoned(self.zone.clone()).ok().map(|zoned| zoned.timestamp());
        let tomorrow = day.checked_add(1.day()).ok()?;
        let to = match self.to {
            Some(to) if to > self.from => moment(day, to)?,
            Some(to) => moment(tomorrow, to)?,
            None => moment(tomorrow, Time::midnight())?,
        };
        let from = moment(day, self.from)?;
        (from < to).then_some((from, to))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// When a job with these windows may run next: `None` where it never may, and this moment where it may now, or has no windows.
pub fn next_open(windows: &[Window], at: Timestamp) -> Option<Timestamp> {
    if windows.is_empty() { Some(at) } else { windows.iter().filter_map(|window| window.opens(at)).min() }
}

fn days(word: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|day| name.to_ascii_lowercase().starts_with(day) && name.len() <= 9);
    let mut days = [false; 7];
    for part in word.split(',') {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (day(first)?, day(last)?);
                (0..7).map(|step| (first + step) % 7).take((last + 7 - first) % 7 + 1).for_each(|day| days[day] = true);
            }
            None => days[day(part)?] = true,
        }
    }
    Some(days)
}

fn time(text: &str) -> Option<Time> {
    let number = |digits: &str| (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten();
    text.split_once(':').and_then(|(hour, minute)| Time::new(number(hour)?, number(minute)?, 0, 0).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn window(text: &str) -> Window {
        Window::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn the_night_in_shanghai() {
        let night = window("20:00-08:00 Asia/Shanghai");
        assert_eq!(night.closes(at("2026-01-01T11:59:59Z")), None);
        assert_eq!(night.closes(at("2026-01-01T12:00:00Z")), Some(at("2026-01-02T00:00:00Z")));
        assert_eq!(night.closes(at("2026-01-01T23:59:59Z")), Some(at("2026-01-02T00:00:00Z")));
        assert_eq!(night.closes(at("2026-01-02T00:00:00Z")), None);
        assert_eq!(night.opens(at("2026-01-02T00:00:00Z")), Some(at("2026-01-02T12:00:00Z")));
        assert_eq!(night.to_string(), "20:00-08:00 Asia/Shanghai");
    }

    #[test]
    fn the_day_is_that_of_the_opening() {
        let nights = window("Mon-Fri 22:00-06:00 UTC");
        // 2026-01-02 is a Friday.
        assert!(nights.closes(at("2026-01-03T05:00:00Z")).is_some(), "Friday's night");
        assert!(nights.closes(at("2026-01-03T23:00:00Z")).is_none(), "Saturday");
        assert!(nights.closes(at("2026-01-05T05:00:00Z")).is_none(), "Sunday's night");
        assert_eq!(nights.opens(at("2026-01-03T06:00:00Z")), Some(at("2026-01-05T22:00:00Z")));
        let weekend = window("Sat,Sun 00:00-24:00 UTC");
        assert_eq!(weekend.closes(at("2026-01-03T12:00:00Z")), Some(at("2026-01-04T00:00:00Z")));
        assert_eq!(window("Fri-Mon 10:00-11:00 UTC").days, [true, false, false, false, true, true, true]);
    }

    #[test]
    fn hours_that_do_not_exist_or_come_twice() {
        // 02:00 becomes 03:00 on 29 March.
        let skipped = window("02:15-02:45 Europe/Berlin");
        assert_eq!(skipped.opens(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:15:00Z")));
        // 03:00 becomes 02:00 on 25 October: the window opens once.
        let twice = window("02:15-02:45 Europe/Berlin");
        assert_eq!(twice.closes(at("2026-10-25T00:20:00Z")), Some(at("2026-10-25T00:45:00Z")));
        assert_eq!(twice.closes(at("2026-10-25T01:20:00Z")), None);
        let across = window("01:00-04:00 Europe/Berlin");
        assert_eq!(across.closes(at("2026-10-25T00:00:00Z")), Some(at("2026-10-25T03:00:00Z")), "four hours long that night");
    }

    #[test]
    fn the_first_of_several_counts_and_none_means_always() {
        let now = at("2026-01-01T12:00:00Z");
        assert_eq!(next_open(&[], now), Some(now));
        let two = [window("14:00-15:00 UTC"), window("13:00-13:30 UTC")];
        assert_eq!(next_open(&two, now), Some(at("2026-01-01T13:00:00Z")));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            ("20:00", "Mon-Fri"),
            ("8:00-9:00", "no window"),
            ("Foo 08:00-09:00", "no days"),
            ("08:00-09:00 Mars/One", "no time zone"),
            ("08:00-08:00", "00:00-24:00"),
            ("25:00-26:00", "no window"),
        ] {
            let error = Window::parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn it_is_open_when_it_opens(second in 0i64..4_000_000_000, which in 0usize..4) {
            let window = window(["20:00-08:00 Asia/Shanghai", "Tue 02:15-02:45 Europe/Berlin", "Sat-Mon 23:00-24:00 America/New_York", "00:00-00:01 UTC"][which]);
            let now = Timestamp::from_second(second).expect("a time");
            let opens = window.opens(now).expect("within nine days");
            prop_assert!(opens >= now);
            let closes = window.closes(opens).expect("open");
            prop_assert!(closes > opens && window.opens(closes).is_some_and(|next| next >= closes));
        }
    }
}
