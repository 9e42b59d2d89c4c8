//! Figures for people.

use std::time::Duration;

use jiff::Timestamp;

/// A size: `1.5 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    crate::config::units::human_bytes(bytes)
}

/// A count with a short unit: `950`, `12.3k`, `4.5M`.
pub(super) fn count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}G", count as f64 / 1e9),
    }
}

/// A duration: `850 ms`, `12.3 s`, `4m 05s`, `2h 03m`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A time in UTC, to the second: `2026-01-31 12:00:00`.
pub(super) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".repeat(10), |t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A count and its noun: `1 object`, `2 objects`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(count(9999), "9999");
        assert_eq!(count(12_345), "12.3k");
        assert_eq!(count(12_345_678), "12.3M");
        assert_eq!(duration(Duration::from_secs(245)), "4m 05s");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(plural(1, "object"), "1 object");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
