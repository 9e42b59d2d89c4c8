//! Ranges as OSS understands them: protocol.md 2.5.

use std::ops::Range;

use super::error::{OssError, OssResult};
use super::request::Head;

/// What of an object is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Part(Range<u64>),
}

/// Reads `Range` for an object of `size_bytes`.
///
/// A range that reaches past the end is answered with the entire object and 200, unless `x-oss-range-behavior: standard` asks
/// for HTTP's own rules (206 up to the end, or 416).
pub(super) fn read(head: &Head, size_bytes: u64) -> OssResult<Extent> {
    if head.ignores_range {
        return Ok(Extent::Whole);
    }
    let Some(bounds) = head.header("range")?.and_then(parse) else { return Ok(Extent::Whole) };
    let standard = head.header("x-oss-range-behavior")?.is_some_and(|value| value == "standard");
    let range = match bounds {
        (Some(first), Some(last)) => first..last.saturating_add(1),
        (Some(first), None) => first..size_bytes.max(first.saturating_add(1)),
        (None, Some(suffix)) if suffix > 0 && (suffix <= size_bytes || standard) => size_bytes.saturating_sub(suffix)..size_bytes,
        (None, _) => size_bytes..size_bytes.saturating_add(1),
    };
    if range.end <= size_bytes && range.start < range.end {
        return Ok(Extent::Part(range));
    }
    if !standard {
        return Ok(Extent::Whole);
    }
    if range.start >= size_bytes {
        let unsatisfied = http::HeaderValue::try_from(format!("bytes */{size_bytes}")).map_err(|_| OssError::internal("a length cannot stand in a header"))?;
        let error = OssError::new(416, "InvalidRange", "The requested range cannot be satisfied.").header("content-range", unsatisfied);
        return Err(error.detail("ActualObjectSize", size_bytes.to_string()));
    }
    Ok(Extent::Part(range.start..size_bytes))
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n`; anything else, several ranges included, counts as no range.
fn parse(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    match (number(first.trim())?, number(last.trim())?) {
        (None, None) => None,
        (Some(first), Some(last)) if first > last => None,
        bounds => Some(bounds),
    }
}

/// `x-oss-copy-source-range`, which must lie within the source: there is no second meaning here.
pub(super) fn of_copy_source(head: &Head, size_bytes: u64) -> OssResult<Range<u64>> {
    const NAME: &str = "x-oss-copy-source-range";
    let Some(text) = head.header(NAME)? else { return Ok(0..size_bytes) };
    let range = match parse(text) {
        Some((Some(first), Some(last))) => first..last.saturating_add(1),
        Some((Some(first), None)) => first..size_bytes,
        Some((None, Some(suffix))) => size_bytes.saturating_sub(suffix)..size_bytes,
        _ => return Err(OssError::bad_value(NAME, text, "The range must be bytes=first-last.")),
    };
    if range.start < range.end && range.end <= size_bytes {
        return Ok(range);
    }
    Err(OssError::new(416, "InvalidRange", "The requested range cannot be satisfied.").detail("ActualObjectSize", size_bytes.to_string()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::address::Addressing;
    use super::*;

    fn extent(range: &str, standard: bool) -> Result<Extent, u16> {
        let behavior = if standard { "standard" } else { "" };
        let request = Request::get("/bkt/k").header("host", "127.0.0.1").header("range", range).header("x-oss-range-behavior", behavior);
        let head = Head::read(request.body(()).unwrap().into_parts().0, &Addressing::default()).unwrap();
        read(&head, 10).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn a_range_past_the_end_is_the_entire_object_unless_standard_is_asked_for() {
        for (range, oss, standard) in [
            ("bytes=0-3", Ok(Extent::Part(0..4)), Ok(Extent::Part(0..4))),
            ("bytes=0-9", Ok(Extent::Part(0..10)), Ok(Extent::Part(0..10))),
            ("bytes=4-", Ok(Extent::Part(4..10)), Ok(Extent::Part(4..10))),
            ("bytes=-3", Ok(Extent::Part(7..10)), Ok(Extent::Part(7..10))),
            ("bytes=5-10", Ok(Extent::Whole), Ok(Extent::Part(5..10))),
            ("bytes=-11", Ok(Extent::Whole), Ok(Extent::Part(0..10))),
            ("bytes=10-12", Ok(Extent::Whole), Err(416)),
            ("bytes=10-", Ok(Extent::Whole), Err(416)),
            ("bytes=-0", Ok(Extent::Whole), Err(416)),
            ("bytes=3-1", Ok(Extent::Whole), Ok(Extent::Whole)),
            ("bytes=0-1,3-4", Ok(Extent::Whole), Ok(Extent::Whole)),
            ("items=0-1", Ok(Extent::Whole), Ok(Extent::Whole)),
        ] {
            assert_eq!(extent(range, false), oss, "{range}");
            assert_eq!(extent(range, true), standard, "{range}, standard");
        }
    }
}
