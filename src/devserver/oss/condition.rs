//! Preconditions of reads and of copy sources: `If-Match` and its three companions.

use jiff::Timestamp;

use super::error::{OssError, OssResult};
use super::request::Head;
use super::shown_etag;
use crate::devserver::store::Object;

/// The names of the four headers, which differ for a copy's source.
pub(super) struct Names {
    matches: &'static str,
    none_match: &'static str,
    unmodified_since: &'static str,
    modified_since: &'static str,
}

pub(super) const READ: Names =
    Names { matches: "if-match", none_match: "if-none-match", unmodified_since: "if-unmodified-since", modified_since: "if-modified-since" };

pub(super) const COPY_SOURCE: Names = Names {
    matches: "x-oss-copy-source-if-match",
    none_match: "x-oss-copy-source-if-none-match",
    unmodified_since: "x-oss-copy-source-if-unmodified-since",
    modified_since: "x-oss-copy-source-if-modified-since",
};

/// Whether the conditions hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    NotModified,
}

impl Names {
    /// Judges an object: 412 where a positive condition fails, [`Verdict::NotModified`] where a negative one does.
    pub(super) fn judge(&self, head: &Head, object: &Object, last_modified: Timestamp) -> OssResult<Verdict> {
        let etag = shown_etag(object);
        let lists = |name: &str| -> OssResult<Option<bool>> { Ok(head.header(name)?.map(|list| names_etag(list, &etag))) };
        let since = |name: &str| -> OssResult<Option<Timestamp>> {
            Ok(head.header(name)?.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()))
        };
        if lists(self.matches)? == Some(false) {
            return Err(OssError::precondition_failed("If-Match"));
        }
        if since(self.unmodified_since)?.is_some_and(|time| last_modified > time) {
            return Err(OssError::precondition_failed("If-Unmodified-Since"));
        }
        match lists(self.none_match)? {
            Some(true) => Ok(Verdict::NotModified),
            Some(false) => Ok(Verdict::Holds),
            None if since(self.modified_since)?.is_some_and(|time| last_modified <= time) => Ok(Verdict::NotModified),
            None => Ok(Verdict::Holds),
        }
    }
}

/// Whether a list such as `"A", "B"` or `*` names the ETag: letter for letter, for that is how a client got it.
fn names_etag(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|entry| entry == "*" || entry.trim_matches('"') == etag.trim_matches('"'))
}

/// PUT takes no `If-*` header at all (protocol.md 2.6): only `x-oss-forbid-overwrite`.
pub(super) fn refuse_on_write(head: &Head) -> OssResult<()> {
    match [READ.matches, READ.none_match, READ.unmodified_since, READ.modified_since].into_iter().find(|name| head.headers.contains_key(*name)) {
        Some(name) => Err(OssError::not_implemented(name).detail("Header", name)),
        None => Ok(()),
    }
}

/// `x-oss-forbid-overwrite: true` on an object that is there: 409 (protocol.md 2.6).
pub(super) fn check_overwrite(forbidden: bool, current: Option<&std::sync::Arc<Object>>) -> OssResult<()> {
    if forbidden && current.is_some() { Err(OssError::already_exists()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::names_etag;

    #[test]
    fn etags_are_compared_letter_for_letter_without_their_quotes() {
        assert!(names_etag("\"AB\"", "\"AB\""));
        assert!(names_etag("AB", "\"AB\""));
        assert!(names_etag("\"X\", \"AB\"", "\"AB\"") && names_etag("*", "\"AB\""));
        assert!(!names_etag("\"ab\"", "\"AB\"") && !names_etag("", "\"AB\""));
    }
}
