//! `dragon cat`: an object's bytes on standard output.

use std::ops::Range;

use clap::{Args, ValueHint};
use futures::StreamExt;

use crate::config::stores::Opening;
use crate::error::{Error, ErrorKind};
use crate::storage::checksum::{Agreement, Crc64Hasher};
use crate::storage::location::Address;
use crate::storage::{Get, ObjectRef};

use super::exit::{self, Outcome};
use super::flags::address;
use super::session::Session;

/// Print an object
///
/// The bytes are checked against the store's checksum as they pass; where they differ, the exit status says so.
#[derive(Debug, Args)]
pub(super) struct Cat {
    /// NAME://BUCKET/KEY, ./PATH or /PATH
    #[arg(value_name = "URL", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) url: Address,
    /// Only these bytes, from 0 and both included: 0-99, 100-, -100 (the last hundred)
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_span, allow_hyphen_values = true)]
    range: Option<Span>,
}

/// A range as HTTP writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// From a byte, to another or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

fn parse_span(text: &str) -> Result<Span, String> {
    let wrong = || format!("'{text}' is no range: write 0-99, 100- or -100");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Err(wrong()),
        (true, false) => Ok(Span::Last(number(last)?)),
        (false, true) => Ok(Span::From(number(first)?, None)),
        (false, false) => match (number(first)?, number(last)?) {
            (first, last) if first <= last => Ok(Span::From(first, Some(last))),
            _ => Err(wrong()),
        },
    }
}

impl Span {
    /// The bytes of an object of that size; `None` where there are none.
    fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

impl Cat {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        print(session, &self.url, self.range).await
    }
}

/// Prints an object, or a part of it.
pub(super) async fn print(session: &Session, address: &Address, span: Option<Span>) -> Outcome {
    let at = session.stores.object(address, &Opening::default()).await?;
    let object = ObjectRef::from(&at.prefix);
    let mut get = Get::default();
    if let Some(span) = span {
        let info = at.storage.head(&object).await?;
        let Some(range) = span.of(info.size) else {
            return Err(Error::invalid(format!("the range lies beyond the object's {} bytes", info.size)).on_key(&at.prefix).into());
        };
        get = Get { range: Some(range), if_match: Some(info.etag).filter(|e| !e.is_empty()) };
    }
    let got = at.storage.get(&object, get).await?;
    let (mut body, mut hasher) = (got.body, Crc64Hasher::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        hasher.update(&chunk);
        session.output.bytes(&chunk)?;
    }
    session.output.flush()?;
    // A part has no checksum of its own.
    if got.range == (0..got.info.size)
        && let Agreement::Different(algorithm) = hasher.finish().checksums().agreement(&got.info.checksums)
    {
        let error = Error::new(ErrorKind::Integrity, format!("the bytes printed do not have the {algorithm} that the store states"));
        return Err(error.on_key(&at.prefix).in_store(&at.storage).advise("throw them away and read again").into());
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        assert_eq!(parse_span("0-99").map(|s| s.of(50)), Ok(Some(0..50)));
        assert_eq!(parse_span("10-19").map(|s| s.of(50)), Ok(Some(10..20)));
        assert_eq!(parse_span("40-").map(|s| s.of(50)), Ok(Some(40..50)));
        assert_eq!(parse_span("-10").map(|s| s.of(50)), Ok(Some(40..50)));
        assert_eq!(parse_span("50-").map(|s| s.of(50)), Ok(None));
        assert!(parse_span("9-0").is_err() && parse_span("-").is_err() && parse_span("x-1").is_err() && parse_span("5").is_err());
    }
}
