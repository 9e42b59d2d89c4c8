//! Which keys, sizes and ages take part in a transfer.
//!
//! Globs are matched against the key relative to the source, as bytes; `*` crosses `/`. Later rules win; what no rule matches is
//! in where the first rule is an exclude, out where it is an include. What a filter hides is not there for the transfer, but it
//! is not absent either: it licenses no delete unless `delete_excluded` says so.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use globset::{GlobBuilder, GlobMatcher};
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::storage::key::escape;

/// Include and exclude globs, sizes and ages.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    rules: Vec<Rule>,
    /// Smallest size in bytes that takes part.
    pub size_bytes_min: Option<u64>,
    /// Largest size in bytes that takes part.
    pub size_bytes_max: Option<u64>,
    /// Only what was modified at this time or later.
    pub newer_than: Option<Timestamp>,
    /// Only what was modified at this time or earlier.
    pub older_than: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Rule {
    include: bool,
    glob: String,
    matcher: GlobMatcher,
}

impl Filter {
    /// Adds an include rule. Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) on a glob that is none.
    pub fn include(&mut self, glob: &str) -> Result<()> {
        self.push(true, glob)
    }

    /// Adds an exclude rule. Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) on a glob that is none.
    pub fn exclude(&mut self, glob: &str) -> Result<()> {
        self.push(false, glob)
    }

    fn push(&mut self, include: bool, glob: &str) -> Result<()> {
        // `logs/` names a folder, as users of rclone and gitignore write it: everything in it is meant.
        let pattern = if glob.ends_with('/') { format!("{glob}*") } else { glob.to_owned() };
        let matcher = GlobBuilder::new(&pattern)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .map_err(|e| {
                Error::invalid(format!("'{}' is not a glob: {}", escape(glob.as_bytes()), escape(e.kind().to_string().as_bytes())))
                    .advise("write \\* for a star that is meant literally")
            })?
            .compile_matcher();
        self.rules.push(Rule { include, glob: glob.to_owned(), matcher });
        Ok(())
    }

    /// Whether everything takes part.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.size_bytes_min.is_none() && self.size_bytes_max.is_none() && self.newer_than.is_none() && self.older_than.is_none()
    }

    /// Whether the globs hide a key.
    pub fn hides_key(&self, relative: &[u8]) -> bool {
        let Some(first) = self.rules.first() else { return false };
        // A glob sees a path, and a path of bytes is what an `OsStr` is here: nothing is decoded.
        let path = OsStr::from_bytes(relative);
        let last = self.rules.iter().rev().find(|rule| rule.matcher.is_match(path));
        !last.map_or(!first.include, |rule| rule.include)
    }

    /// Whether the globs hide everything under a prefix for certain. False says nothing.
    pub fn hides_all_under(&self, prefix: &[u8]) -> bool {
        for rule in self.rules.iter().rev() {
            let stem: &[u8] = rule.glob.trim_end_matches('*').as_bytes();
            let is_plain = !rule.glob.trim_end_matches('*').contains(['*', '?', '[', '{', '\\']);
            if rule.include {
                // One that may show something of it ends the search, unless it is about something else.
                let is_elsewhere = is_plain && !stem.starts_with(prefix) && !prefix.starts_with(stem);
                if !is_elsewhere {
                    return false;
                }
            } else if is_plain && (rule.glob.ends_with('*') || rule.glob.ends_with('/')) && prefix.starts_with(stem) {
                return true;
            }
        }
        // What no rule matches is out where the first one is an include.
        self.rules.first().is_some_and(|first| first.include)
    }

    /// Whether the bounds of size and age hide an object. An unknown time is not hidden.
    pub fn hides_object(&self, size: u64, modified: Option<Timestamp>) -> bool {
        self.size_bytes_min.is_some_and(|min| size < min)
            || self.size_bytes_max.is_some_and(|max| size > max)
            || modified.is_some_and(|m| self.newer_than.is_some_and(|t| m < t) || self.older_than.is_some_and(|t| m > t))
    }
}

/// Says the filter in words, as `--dry-run` shows it.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if let Some(first) = self.rules.first() {
            let mut text = if first.include { "nothing".to_owned() } else { "everything".to_owned() };
            for rule in &self.rules {
                text += &format!(", {} '{}'", if rule.include { "but with" } else { "but without" }, escape(rule.glob.as_bytes()));
            }
            words.push(text);
        }
        if let Some(min) = self.size_bytes_min {
            words.push(format!("at least {min} bytes"));
        }
        if let Some(max) = self.size_bytes_max {
            words.push(format!("at most {max} bytes"));
        }
        if let Some(time) = self.newer_than {
            words.push(format!("modified since {time}"));
        }
        if let Some(time) = self.older_than {
            words.push(format!("modified until {time}"));
        }
        f.write_str(&if words.is_empty() { "everything".to_owned() } else { words.join("; ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for rule in rules {
            match rule.split_at(1) {
                ("+", glob) => filter.include(glob).expect("a glob"),
                (_, glob) => filter.exclude(glob).expect("a glob"),
            }
        }
        filter
    }

    fn seen(rules: &[&str], keys: &[&str]) -> Vec<String> {
        let filter = filter(rules);
        keys.iter().filter(|k| !filter.hides_key(k.as_bytes())).map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_rule_says_what_the_rest_is_and_later_ones_win() {
        let keys = ["a.jpg", "a.txt", "d/b.jpg", "d/c.txt"];
        assert_eq!(seen(&[], &keys), keys);
        assert_eq!(seen(&["+*.jpg"], &keys), ["a.jpg", "d/b.jpg"]);
        assert_eq!(seen(&["-*.jpg"], &keys), ["a.txt", "d/c.txt"]);
        assert_eq!(seen(&["-*", "+*.jpg"], &keys), ["a.jpg", "d/b.jpg"]);
        assert_eq!(seen(&["+*.jpg", "-d/*"], &keys), ["a.jpg"]);
        assert_eq!(seen(&["-d/", "+d/b.*"], &keys), ["a.jpg", "a.txt", "d/b.jpg"]);
    }

    #[test]
    fn keys_are_matched_as_bytes() {
        let filter = filter(&["-a//*", "-x/../*", "-\u{4e2d}?"]);
        assert!(filter.hides_key(b"a//b") && !filter.hides_key(b"a/b"));
        assert!(filter.hides_key(b"x/../y") && !filter.hides_key(b"y"));
        assert!(filter.hides_key("中x".as_bytes()));
        assert!(!filter.hides_key(b"\xff\xfe"));
    }

    #[test]
    fn sizes_and_ages_bound_both_ways() {
        let time = |s: &str| s.parse::<Timestamp>().expect("a time");
        let filter = Filter { size_bytes_min: Some(2), size_bytes_max: Some(4), newer_than: Some(time("2026-01-01T00:00:00Z")), ..Filter::default() };
        assert!(filter.hides_object(1, None) && filter.hides_object(5, None) && !filter.hides_object(2, None) && !filter.hides_object(4, None));
        assert!(filter.hides_object(3, Some(time("2025-12-31T23:59:59Z"))));
        assert!(!filter.hides_object(3, Some(time("2026-01-01T00:00:00Z"))));
    }

    #[test]
    fn a_filter_is_told_in_words() {
        let mut filter = filter(&["+*.jpg", "-d/*"]);
        filter.size_bytes_min = Some(1);
        assert_eq!(filter.to_string(), "nothing, but with '*.jpg', but without 'd/*'; at least 1 bytes");
        assert_eq!(Filter::default().to_string(), "everything");
        assert_eq!(Filter::default().include("[").expect_err("no glob").kind(), crate::error::ErrorKind::Invalid);
    }
}
