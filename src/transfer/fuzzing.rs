//! What must hold of the engine's own parsers, whatever they read: see `storage::fuzzing`.

use std::collections::BTreeMap;

use super::filter::Filter;
use super::stamp::{Stamp, mtime};
use crate::storage::key::escape;

/// Rules, one a line, `+` or `-` before each; behind an empty line the keys that they judge.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (rules, keys) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut filter = Filter::default();
    let mut alone = Vec::new();
    for rule in rules.lines() {
        let (include, glob) = match rule.split_at_checked(1) {
            Some(("+", glob)) => (true, glob),
            Some(("-", glob)) => (false, glob),
            _ => continue,
        };
        let mut single = Filter::default();
        single.exclude(glob).inspect_err(|e| assert_eq!(escape(e.to_string().as_bytes()), e.to_string())).ok();
        let taken = if include { filter.include(glob) } else { filter.exclude(glob) };
        assert_eq!(taken.is_ok(), !single.is_empty(), "'{glob}' is a glob in one rule and none in the other");
        if taken.is_ok() {
            alone.push((include, single));
        }
    }
    let words = filter.to_string();
    assert_eq!(escape(words.as_bytes()), words, "the filter's words could forge output");
    for key in keys.lines().map(str::as_bytes) {
        let last = alone.iter().rfind(|(_, single)| single.hides_key(key));
        let hidden = match (last, alone.first()) {
            (Some((include, _)), _) => !include,
            (None, Some((first_includes, _))) => *first_includes,
            (None, None) => false,
        };
        assert_eq!(filter.hides_key(key), hidden, "the last rule that matches does not decide on '{}'", escape(key));
    }
}

/// User metadata, `name=value` a line.
pub fn stamp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut user: BTreeMap<String, String> = text.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let foreign = user.iter().filter(|(name, _)| !name.starts_with("dragon-")).count();
    mtime(&user);
    let Some(stamp) = Stamp::read(&user) else { return };
    stamp.write(&mut user);
    assert_eq!(user.iter().filter(|(name, _)| !name.starts_with("dragon-")).count(), foreign, "a stamp took metadata that is not Dragon's");
    // What no header can carry is left out of what is written: the first writing may lose it, the second loses nothing.
    let Some(written) = Stamp::read(&user) else { return };
    assert!(written.size == stamp.size && written.etag == stamp.etag && written.modified == stamp.modified && written.checksums == stamp.checksums);
    let mut again = BTreeMap::new();
    written.write(&mut again);
    assert_eq!(Stamp::read(&again), Some(written));
}
