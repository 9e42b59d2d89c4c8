//! Numbers and moments, as people say them.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::daemon::status::{JobState, JobStatus, LimitStatus};

/// The first line of the page.
pub(super) fn summary(jobs: &[JobStatus], troubled: usize) -> String {
    let all = jobs.len();
    let count = |state: JobState| jobs.iter().filter(|job| job.state == state).count();
    match (all, troubled) {
        (0, _) => "There is nothing to mirror.".to_owned(),
        (_, 0) => {
            let (running, paused) = (count(JobState::Running), count(JobState::Paused));
            let also = |n: usize, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
            format!("All is well with {all} {}{}{}.", if all == 1 { "mirror" } else { "mirrors" }, also(running, "running now"), also(paused, "paused"))
        }
        (_, 1) => format!("1 of {all} mirrors needs you."),
        _ => format!("{troubled} of {all} mirrors need you."),
    }
}

/// A moment in UTC; the script adds the local time.
pub(super) fn moment(at: Timestamp) -> Markup {
    let machine = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(machine) { (at.strftime("%Y-%m-%d %H:%M UTC")) } }
}

/// A length of time.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A number of bytes.
pub(super) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string()
}

/// A number, its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How far behind a mirror is.
pub(super) fn lag(job: &JobStatus, now: Timestamp) -> Markup {
    let ago = |at: Timestamp| span(u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0));
    html! {
        @match job.synced_until {
            Some(until) => { "in sync as of " (moment(until)) ", " (ago(until)) " ago" }
            None => "it has never been in sync"
        }
        @if let Some(pending) = job.oldest_pending { "; the oldest known change waits since " (ago(pending)) }
    }
}

/// A limit that was set by hand.
pub(super) fn limit(limit: &LimitStatus) -> String {
    let rate = limit.bytes_per_second.map_or_else(|| "no limit".to_owned(), |rate| format!("{}/s", bytes(rate)));
    match limit.until {
        Some(until) => format!("{rate} until {}", until.strftime("%Y-%m-%d %H:%M UTC")),
        None => rate,
    }
}

/// A long text with its middle left out.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let length = text.chars().count();
    if length <= MOST {
        return text.to_owned();
    }
    let (head, tail): (String, String) = (text.chars().take(MOST / 2).collect(), text.chars().skip(length - MOST / 2).collect());
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_it() {
        assert_eq!([span(5), span(65), span(7300), span(200_000)], ["5 s", "1 min", "2 h 1 min", "2 d 7 h"]);
        assert_eq!([number(5), number(1234), number(12_034_567)], ["5", "1,234", "12,034,567"]);
        assert_eq!(shortened(&"中".repeat(100)).chars().count(), 61);
    }
}
