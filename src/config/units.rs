//! Quantities as people write them. What has no unit, or one that tools read in different ways, is refused with the reason.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

type Parsed<T> = std::result::Result<T, String>;

/// A size in bytes: `512MiB`, `1.5GB`, `100B`, `0`.
pub fn parse_size(text: &str) -> Parsed<u64> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return if number == 0.0 { Ok(0) } else { Err(format!("'{text}' has no unit: write {text}B, {text}KiB, {text}MiB or {text}GiB")) };
    }
    let factor = byte_unit(unit).ok_or_else(|| unknown_size_unit(text, unit))?;
    whole(text, number * factor)
}

/// A rate in bytes a second: `10MiB/s`, `100Mbit`, `100Mbps`; `off` is `None`.
pub fn parse_rate(text: &str) -> Parsed<Option<u64>> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
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
        rate => Ok(Some(rate)),
    }
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

/// A moment: an age before `now` (`7d`), an RFC 3339 time (`2026-01-31T12:00:00Z`) or a date (`2026-01-31`, midnight UTC).
pub fn parse_age(text: &str, now: Timestamp) -> Parsed<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date.to_zoned(jiff::tz::TimeZone::UTC).map(|z| z.timestamp()).map_err(|e| e.to_string());
    }
    let age = parse_duration(text).map_err(|_| format!("'{text}' is neither an age such as 7d or 12h nor a time such as 2026-01-31T12:00:00Z"))?;
    SignedDuration::try_from(age).ok().and_then(|age| now.checked_sub(age).ok()).ok_or_else(|| format!("'{text}' lies before the beginning of time"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("100b"), Ok(100));
        assert_eq!(parse_size("0"), Ok(0));
        for (text, says) in [("512", "512MiB"), ("5G", "GiB or GB"), ("5 parsecs", "unit of size"), ("x", "number"), ("99999PiB", "too large"), ("", "number")] {
            let error = parse_size(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn rates_need_a_unit() {
        assert_eq!(parse_rate("10MiB/s"), Ok(Some(10 << 20)));
        assert_eq!(parse_rate("100Mbit"), Ok(Some(12_500_000)));
        assert_eq!(parse_rate("1Gbps"), Ok(Some(125_000_000)));
        assert_eq!(parse_rate("8kbit/s"), Ok(Some(1000)));
        assert_eq!(parse_rate("off"), Ok(None));
        for (text, says) in [("100", "ambiguous"), ("10M", "10MiB/s"), ("1Mb/s", "no rate"), ("0MiB/s", "nothing pass"), ("10 apples", "no rate")] {
            let error = parse_rate(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn ages_are_relative_or_absolute() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
        let at = |text: &str| parse_age(text, now).map(|t| t.to_string());
        assert_eq!(at("7d"), Ok("2026-01-24T12:00:00Z".into()));
        assert_eq!(at("2025-06-01"), Ok("2025-06-01T00:00:00Z".into()));
        assert_eq!(at("2025-06-01T08:00:00+08:00"), Ok("2025-06-01T00:00:00Z".into()));
        assert!(at("yesterday").expect_err("words").contains("7d"));
        assert!(parse_duration("90").expect_err("bare").contains("90s"));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
    }
}
