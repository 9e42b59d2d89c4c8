//! When jobs run: schedules and windows. Pure: every answer follows from the moments that are handed in.
//!
//! # Invariants
//! - A run that was missed (the daemon was down, the window closed, the last run still going on) is caught up once, however many were.
//! - A clock that was set back does not hold a job up: a last begin in the future counts as if it were now.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

mod window;

pub use window::{Window, next_open};

/// Between two runs of a continuous job.
const BREATH: Duration = Duration::from_secs(10);
/// The shortest interval: below it a job is `continuous`.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Intervals are spread by up to a tenth of themselves, and no more than this.
const SPREAD_MAX: Duration = Duration::from_secs(60);

/// When a job runs.
#[derive(Debug, Clone)]
pub struct Schedule {
    words: String,
    rhythm: Rhythm,
}

#[derive(Debug, Clone)]
enum Rhythm {
    Every(Duration),
    Cron(Box<Cron>, TimeZone),
    Continuous,
}

/// When the next run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The moment; it may have passed.
    pub at: Timestamp,
    /// A run was missed: this one takes the place of all that were.
    pub is_catch_up: bool,
}

impl Schedule {
    /// Reads `every 5m`, `continuous`, or a cron expression of five or six fields (seconds first), with an optional time zone behind it:
    /// `0 3 * * * Asia/Shanghai`. Without one, local time. Says what is right where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let rhythm = match words.split_once(' ') {
            _ if words == "continuous" => Rhythm::Continuous,
            Some(("every", interval)) => {
                let interval: Duration = humantime::parse_duration(interval).map_err(|e| format!("'{interval}' is no interval such as 5m or 1h30m: {e}"))?;
                if interval < INTERVAL_MIN {
                    return Err(format!("'{words}' is too often: the least is every 1s; write continuous for one run after the other"));
                }
                Rhythm::Every(interval)
            }
            _ => cron(&words)?,
        };
        Ok(Self { words, rhythm })
    }

    /// When the next run is due, after runs that began and ended then; one that is new is due from `since` on. `spread` from 0 to 1 moves
    /// the first runs of intervals, so that many jobs of one interval do not begin in one moment.
    ///
    /// `None`: never again (a cron expression that names a day that has passed for good).
    pub fn due(&self, last_begin: Option<Timestamp>, last_end: Option<Timestamp>, since: Timestamp, now: Timestamp, spread: f64) -> Option<Due> {
        // A clock that was set back: what lies in the future did not happen there.
        let (last_begin, last_end, since) = (last_begin.map(|at| at.min(now)), last_end.map(|at| at.min(now)), since.min(now));
        match &self.rhythm {
            Rhythm::Continuous => Some(Due { at: last_end.map_or(since, |end| later(end, BREATH)), is_catch_up: false }),
            Rhythm::Every(interval) => {
                let spread = interval.mul_f64(0.1).min(SPREAD_MAX).mul_f64(spread.clamp(0.0, 1.0));
                let Some(begin) = last_begin else { return Some(Due { at: later(since, spread), is_catch_up: false }) };
                let at = later(begin, *interval);
                // One that is late by a whole interval was missed.
                Some(Due { at, is_catch_up: later(at, *interval) <= now })
            }
            Rhythm::Cron(cron, zone) => {
                let after = |at: Timestamp| cron.find_next_occurrence(&at.to_zoned(zone.clone()), false).ok().map(|next: Zoned| next.timestamp());
                let at = after(last_begin.unwrap_or(since))?;
                // Where another one has passed as well, more than one was missed; where only this one did and long ago, it was missed too.
                let missed = at + SignedDuration::from_secs(60) <= now;
                Some(Due { at, is_catch_up: missed })
            }
        }
    }

    /// The time zone of a cron expression: the one that it names, else local time.
    pub fn zone(&self) -> Option<&TimeZone> {
        match &self.rhythm {
            Rhythm::Cron(_, zone) => Some(zone),
            Rhythm::Every(_) | Rhythm::Continuous => None,
        }
    }

    /// Whether runs follow each other without an end.
    pub fn is_continuous(&self) -> bool {
        matches!(self.rhythm, Rhythm::Continuous)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// A cron expression, with a time zone where its last word is one.
fn cron(words: &str) -> Result<Rhythm, String> {
    let parse = |pattern: &str| CronParser::builder().seconds(Seconds::Optional).build().parse(pattern);
    let (pattern, zone) = match words.rsplit_once(' ') {
        Some((pattern, name)) if name.contains('/') && name.starts_with(|c: char| c.is_ascii_alphabetic()) || name_is_utc(words) => {
            (pattern, TimeZone::get(name).map_err(|_| format!("there is no time zone '{name}': write one such as Asia/Shanghai or UTC"))?)
        }
        _ => (words, TimeZone::system()),
    };
    let cron = parse(pattern)
        .map_err(|e| format!("'{words}' is no schedule ({e}): write \"every 5m\", \"continuous\", or a cron expression such as \"0 3 * * * Asia/Shanghai\""))?;
    Ok(Rhythm::Cron(Box::new(cron), zone))
}

fn name_is_utc(words: &str) -> bool {
    words.ends_with(" UTC")
}

/// A moment so much later, or the last there is.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn due(text: &str, last: Option<&str>, now: &str) -> (String, bool) {
        let due = schedule(text).due(last.map(at), last.map(at), at(now), at(now), 0.0).expect("due");
        (due.at.to_string(), due.is_catch_up)
    }

    #[test]
    fn an_interval_counts_from_the_last_begin() {
        let every = "every 5m";
        assert_eq!(due(every, None, "2026-01-01T00:00:00Z"), ("2026-01-01T00:00:00Z".into(), false), "at once");
        assert_eq!(due(every, Some("2026-01-01T00:00:00Z"), "2026-01-01T00:01:00Z"), ("2026-01-01T00:05:00Z".into(), false));
        assert_eq!(due(every, Some("2026-01-01T00:00:00Z"), "2026-01-01T03:00:00Z"), ("2026-01-01T00:05:00Z".into(), true), "missed, and due now");
    }

    #[test]
    fn cron_runs_in_its_zone_and_misses_once() {
        let nightly = "0 3 * * * Asia/Shanghai";
        assert_eq!(due(nightly, None, "2026-01-01T00:00:00Z"), ("2026-01-01T19:00:00Z".into(), false), "a job that is new waits for its time");
        assert_eq!(due(nightly, Some("2026-01-01T19:00:05Z"), "2026-01-02T10:00:00Z"), ("2026-01-02T19:00:00Z".into(), false));
        assert_eq!(due(nightly, Some("2026-01-01T19:00:05Z"), "2026-01-09T10:00:00Z"), ("2026-01-02T19:00:00Z".into(), true), "seven nights, one run");
        assert_eq!(due("30 3 * * * UTC", None, "2026-01-01T00:00:00Z").0, "2026-01-01T03:30:00Z");
        assert_eq!(due("*/10 * * * * * UTC", None, "2026-01-01T00:00:01Z").0, "2026-01-01T00:00:10Z", "six fields: seconds");
    }

    #[test]
    fn daylight_saving_neither_skips_nor_repeats_a_night() {
        let nightly = "30 2 * * * Europe/Berlin";
        // 29 March: 02:30 does not exist. 25 October: it comes twice.
        let mut last = "2026-03-27T12:00:00Z".to_owned();
        let mut days = Vec::new();
        for _ in 0..4 {
            last = due(nightly, Some(&last), &last).0;
            days.push(last.clone());
        }
        assert_eq!(days.len(), 4);
        assert!(days[1].starts_with("2026-03-29T01:"), "{days:?}");
        assert_eq!(days[2], "2026-03-30T00:30:00Z");
        let first = due(nightly, Some("2026-10-24T12:00:00Z"), "2026-10-24T12:00:00Z").0;
        let second = due(nightly, Some(&first), &first).0;
        assert!(first.starts_with("2026-10-25T0") && second == "2026-10-26T01:30:00Z", "{first} {second}");
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        assert_eq!(due("every 1h", Some("2030-01-01T00:00:00Z"), "2026-01-01T00:00:00Z").0, "2026-01-01T01:00:00Z");
        assert_eq!(due("0 3 * * * UTC", Some("2030-01-01T00:00:00Z"), "2026-01-01T00:00:00Z").0, "2026-01-01T03:00:00Z");
    }

    #[test]
    fn a_new_job_becomes_due_as_time_passes() {
        for text in ["every 5m", "continuous", "*/5 * * * * UTC"] {
            let (since, now) = (at("2026-01-01T00:00:30Z"), at("2026-01-01T00:10:00Z"));
            assert!(schedule(text).due(None, None, since, now, 0.5).expect("due").at < now, "{text}");
        }
    }

    #[test]
    fn continuous_takes_a_breath() {
        assert_eq!(due("continuous", None, "2026-01-01T00:00:00Z").0, "2026-01-01T00:00:00Z");
        assert_eq!(due("continuous", Some("2026-01-01T00:00:00Z"), "2026-01-01T00:00:01Z").0, "2026-01-01T00:00:10Z");
    }

    #[test]
    fn first_runs_of_one_interval_are_spread() {
        let now = at("2026-01-01T00:00:00Z");
        let first = |spread| schedule("every 5m").due(None, None, now, now, spread).expect("due").at;
        assert_eq!((first(0.0), first(0.5)), (now, now + SignedDuration::from_secs(15)));
        assert_eq!(schedule("every 7d").due(None, None, now, now, 1.0).expect("due").at, now + SignedDuration::from_secs(60));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            ("every", "every 5m"),
            ("every 5", "no interval"),
            ("every 10ms", "continuous"),
            ("hourly please", "cron expression"),
            ("0 3 * * * Asia/Beijing2", "no time zone"),
            ("99 3 * * *", "no schedule"),
        ] {
            let error = Schedule::parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
        assert_eq!(schedule("  every   5m ").to_string(), "every 5m");
    }

    proptest! {
        #[test]
        fn the_next_run_is_never_before_the_last(last in 0i64..4_000_000_000, gap in 0i64..10_000_000, which in 0usize..4) {
            let text = ["every 7m", "continuous", "*/5 * * * * Asia/Shanghai", "0 0 1 * * America/New_York"][which];
            let (last, now) = (Timestamp::from_second(last).expect("a time"), Timestamp::from_second(last + gap).expect("a time"));
            let due = schedule(text).due(Some(last), Some(last), now, now, 0.0).expect("due");
            prop_assert!(due.at > last);
        }
    }
}
