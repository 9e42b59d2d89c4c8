//! Quantities as people write them. What has no unit, or one that tools read in different ways, is refused with the reason.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::engine::Evidence;
use crate::transfer::job::DeleteLimit;

/// What was read, or why it cannot be, in words.
pub type Parsed<T> = std::result::Result<T, String>;

/// A size in bytes: `512MiB`, `1.5GB`, `100B`, `0`.
pub fn parse_size(text: &str) -> Parsed<u64> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return if number == 0.0 { Ok(0) } else { Err(format!("'{text}' has no unit: write {text}B, {text}KiB, {text}MiB or {text}GiB")) };
    }
    let factor = byte_unit(unit).ok_or_else(|| unknown_size_unit(text, unit))?;
    whole(text, number * factor)
}

/// How fast bytes may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// As fast as they can.
    Off,
    /// So many a second.
    BytesPerSecond(u64),
}

impl Rate {
    /// The limit in bytes a second, if there is one.
    pub fn limit(self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::BytesPerSecond(bytes) => Some(bytes),
        }
    }
}

/// A rate: `10MiB/s`, `100Mbit`, `100Mbps`, or `off`.
pub fn parse_rate(text: &str) -> Parsed<Rate> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(Rate::Off);
    }
    let (number, unit) = split(text)?;
    if unit.is_empty() || matches!(unit.to_ascii_lowercase().as_str(), "k" | "m" | "g") {
        let n = format_number(number);
        return Err(format!(
            "'{text}' is ambiguous: rclone means KiB/s or MiB/s by such a number, juicefs Mbit/s; write {n}MiB/s, or {n}Mbit for megabits a second, or off"
        ));
    }
    let stem = unit.strip_suffix("/s").unwrap_or(unit);
    let factor = bit_unit(stem).or_else(|| byte_unit(stem)).ok_or_else(|| format!("'{text}': '{unit}' is no rate; write KiB/s, MiB/s, GiB/s, Mbit or Gbit"))?;
    match whole(text, number * factor)? {
        0 => Err(format!("'{text}' would let nothing pass; write off for no limit")),
        rate => Ok(Rate::BytesPerSecond(rate)),
    }
}

/// How long an outage is waited out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// However long it lasts.
    Never,
    /// So long.
    After(Duration),
}

impl GiveUp {
    /// The limit, if there is one.
    pub fn limit(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(limit) => Some(limit),
        }
    }
}

/// How long an outage is waited out: a duration such as `15m`, or `off`.
pub fn parse_give_up(text: &str) -> Parsed<GiveUp> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(GiveUp::Never);
    }
    parse_duration(text).map(GiveUp::After)
}

/// A span of time: `90s`, `1h30m`, `7d`, `2w`.
pub fn parse_duration(text: &str) -> Parsed<Duration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Err(format!("'{text}' has no unit: write {text}s, {text}m, {text}h or {text}d"));
    }
    humantime::parse_duration(text).map_err(|e| format!("'{text}' is no duration ({e}); write for example 90s, 1h30m or 7d"))
}

/// A moment, perhaps one that moves with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// So long ago, whenever that is asked.
    Ago(Duration),
    /// A fixed time.
    At(Timestamp),
}

impl Age {
    /// The moment, seen from `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::Ago(age) => SignedDuration::try_from(age).ok().and_then(|age| now.checked_sub(age).ok()).unwrap_or(Timestamp::MIN),
        }
    }
}

/// A moment: an age (`7d`), an RFC 3339 time (`2026-01-31T12:00:00Z`) or a date (`2026-01-31`, midnight UTC).
pub fn parse_age(text: &str) -> Parsed<Age> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(Age::At(moment));
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date.to_zoned(jiff::tz::TimeZone::UTC).map(|z| Age::At(z.timestamp())).map_err(|e| e.to_string());
    }
    parse_duration(text).map(Age::Ago).map_err(|_| format!("'{text}' is neither an age such as 7d or 12h nor a time such as 2026-01-31T12:00:00Z"))
}

/// Something that Dragon chooses by itself unless told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auto<T> {
    /// Dragon chooses.
    #[default]
    Auto,
    /// This much.
    Fixed(T),
}

impl<T> Auto<T> {
    /// What was fixed, if anything.
    pub fn fixed(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Fixed(value) => Some(value),
        }
    }
}

/// How many at a time: `auto`, or 1 to 4096.
pub fn parse_concurrency(text: &str) -> Parsed<Auto<usize>> {
    match text.parse() {
        _ if text == "auto" => Ok(Auto::Auto),
        Ok(count @ 1..=4096) => Ok(Auto::Fixed(count)),
        _ => Err(format!("'{text}' is neither auto nor a number from 1 to 4096")),
    }
}

/// Part size of uploads: `auto`, or 100 KiB (the least that OSS takes) to 5 GiB (the most that both take).
pub fn parse_part_size(text: &str) -> Parsed<Auto<u64>> {
    if text == "auto" {
        return Ok(Auto::Auto);
    }
    match parse_size(text)? {
        size if (100 << 10..=5 << 30).contains(&size) => Ok(Auto::Fixed(size)),
        _ => Err(format!("'{text}' is no part size: 100KiB to 5GiB are")),
    }
}

/// Memory for object bytes: 16 MiB or more.
pub fn parse_memory(text: &str) -> Parsed<u64> {
    match parse_size(text)? {
        size if size >= 16 << 20 => Ok(size),
        _ => Err(format!("'{text}' is too little to hold parts in: 16MiB is the least")),
    }
}

/// A limit of deletes: a number, or a percentage such as `10%`.
pub fn parse_delete_limit(text: &str) -> Parsed<DeleteLimit> {
    let limit = match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(DeleteLimit::Percent),
        None => text.parse().ok().map(DeleteLimit::Count),
    };
    limit.ok_or_else(|| format!("'{text}' is neither a number of deletes nor a percentage such as 10%"))
}

/// A size for people, in binary units: `1.5 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

fn split(text: &str) -> Parsed<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().map_err(|_| format!("'{text}' does not begin with a number"))?;
    Ok((number, text[end..].trim()))
}

fn whole(text: &str, value: f64) -> Parsed<u64> {
    // 2^53 bytes is 8 PiB, a thousand times the largest object: beyond that a float would round.
    if value > 9_007_199_254_740_992.0 { Err(format!("'{text}' is too large")) } else { Ok(value.round() as u64) }
}

fn format_number(number: f64) -> String {
    number.to_string()
}

fn byte_unit(unit: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 11] = [
        ("b", 1.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
        ("pb", 1e15),
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("tib", 1_099_511_627_776.0),
        ("pib", 1_125_899_906_842_624.0),
    ];
    // `Mb` is a megabit to some and a megabyte to others.
    if unit.len() == 2 && unit.ends_with('b') && unit != "kb" && unit != "mb" && unit != "gb" && unit != "tb" && unit != "pb" {
        return None;
    }
    UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)).map(|(_, factor)| *factor)
}

fn bit_unit(unit: &str) -> Option<f64> {
    let stem = unit.strip_suffix("bits").or_else(|| unit.strip_suffix("bit")).or_else(|| unit.strip_suffix("bps"))?;
    Some(match stem {
        "" => 0.125,
        "k" | "K" => 125.0,
        "M" | "m" => 125e3,
        "G" | "g" => 125e6,
        _ => return None,
    })
}

fn unknown_size_unit(text: &str, unit: &str) -> String {
    match unit.to_ascii_uppercase().as_str() {
        letter @ ("K" | "M" | "G" | "T" | "P") => {
            format!("'{text}': '{unit}' means 1000s to some tools and 1024s to others; write {letter}iB or {letter}B")
        }
        _ => format!("'{text}': '{unit}' is no unit of size; write B, KiB, MiB, GiB or TiB"),
    }
}

/// Reads what a journal keeps: `full`, `resume` or `none`.
pub fn parse_evidence(text: &str) -> Parsed<Evidence> {
    match text {
        "full" => Ok(Evidence::Full),
        "resume" => Ok(Evidence::Resume),
        "none" => Ok(Evidence::None),
        _ => Err(format!("'{text}' is not one of full, resume and none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("100b"), Ok(100));
        assert_eq!(parse_size("0"), Ok(0));
        for (text, says) in [("512", "512MiB"), ("5G", "GiB or GB"), ("5 parsecs", "unit of size"), ("x", "number"), ("99999PiB", "too large"), ("", "number")]
        {
            let error = parse_size(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn rates_need_a_unit() {
        assert_eq!(parse_rate("10MiB/s"), Ok(Rate::BytesPerSecond(10 << 20)));
        assert_eq!(parse_rate("100Mbit"), Ok(Rate::BytesPerSecond(12_500_000)));
        assert_eq!(parse_rate("1Gbps"), Ok(Rate::BytesPerSecond(125_000_000)));
        assert_eq!(parse_rate("8kbit/s"), Ok(Rate::BytesPerSecond(1000)));
        assert_eq!(parse_rate("off"), Ok(Rate::Off));
        for (text, says) in [("100", "ambiguous"), ("10M", "10MiB/s"), ("1Mb/s", "no rate"), ("0MiB/s", "nothing pass"), ("10 apples", "no rate")] {
            let error = parse_rate(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn ages_are_relative_or_absolute() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
        let at = |text: &str| parse_age(text).map(|age| age.moment(now).to_string());
        assert_eq!(at("7d"), Ok("2026-01-24T12:00:00Z".into()));
        assert_eq!(at("2025-06-01"), Ok("2025-06-01T00:00:00Z".into()));
        assert_eq!(at("2025-06-01T08:00:00+08:00"), Ok("2025-06-01T00:00:00Z".into()));
        assert!(at("yesterday").expect_err("words").contains("7d"));
        assert!(parse_duration("90").expect_err("bare").contains("90s"));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
    }

    #[test]
    fn limits_and_choices() {
        assert_eq!(parse_concurrency("auto"), Ok(Auto::Auto));
        assert_eq!(parse_concurrency("8"), Ok(Auto::Fixed(8)));
        assert!(parse_concurrency("0").is_err() && parse_concurrency("many").is_err());
        assert_eq!(parse_part_size("16MiB"), Ok(Auto::Fixed(16 << 20)));
        assert!(parse_part_size("1KiB").is_err() && parse_memory("1MiB").is_err());
        assert_eq!(parse_delete_limit("10%"), Ok(DeleteLimit::Percent(10.0)));
        assert_eq!(parse_delete_limit("0"), Ok(DeleteLimit::Count(0)));
        assert!(parse_delete_limit("101%").is_err() && parse_delete_limit("-1").is_err());
    }
}
