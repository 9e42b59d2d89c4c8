//! Metadata names that a store cannot hold, escaped so that nothing is lost and no two names meet.
//!
//! A byte that the store does not allow becomes `-xNN-` (two lower-case hexadecimal digits): `my_key` is `my-x5f-key` on OSS, whose
//! names have letters, digits and hyphens only. A hyphen that would begin such a sequence by itself is escaped too (`-x2d-`), so
//! reading back is unambiguous, also for names that look escaped.

use crate::storage::MetadataRule;

/// The name in a form that `rule` allows.
pub(super) fn escape(name: &str, rule: MetadataRule) -> String {
    use std::fmt::Write;
    let allows = allowed(rule);
    let bytes = name.as_bytes();
    if bytes.iter().all(|b| allows(*b)) && !bytes.windows(5).any(is_escape) {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len() + 8);
    for (at, &byte) in bytes.iter().enumerate() {
        // The hyphen that closes a false sequence may be the first of an escape that follows.
        let looks_escaped =
            byte == b'-' && bytes.len() > at + 4 && is_escape(&[b'-', bytes[at + 1], bytes[at + 2], bytes[at + 3], hyphen_of(bytes[at + 4], allows)]);
        if allows(byte) && !looks_escaped {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "-x{byte:02x}-");
        }
    }
    out
}

/// The name that [`escape`] made `name` of, where it was one; `rule` is that of the store it was read from.
pub(super) fn unescape(name: &str, rule: MetadataRule) -> String {
    if rule == MetadataRule::Any {
        return name.to_owned();
    }
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].len() >= 5 && is_escape(&bytes[at..at + 5]) {
            out.push(hex(bytes[at + 2]) << 4 | hex(bytes[at + 3]));
            at += 5;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    // Bytes that are no text were not made by `escape`: the name stays as it is.
    String::from_utf8(out).unwrap_or_else(|_| name.to_owned())
}

fn allowed(rule: MetadataRule) -> fn(u8) -> bool {
    match rule {
        MetadataRule::LettersDigitsHyphen => |b| b.is_ascii_alphanumeric() || b == b'-',
        MetadataRule::HeaderToken => |b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b),
        MetadataRule::MtimeOnly | MetadataRule::Any => |_| true,
    }
}

fn hyphen_of(byte: u8, allows: fn(u8) -> bool) -> u8 {
    if allows(byte) { byte } else { b'-' }
}

/// Whether five bytes are `-xNN-`.
fn is_escape(five: &[u8]) -> bool {
    let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    matches!(five, [b'-', b'x', high, low, b'-'] if digit(*high) && digit(*low))
}

fn hex(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OSS: MetadataRule = MetadataRule::LettersDigitsHyphen;
    const S3: MetadataRule = MetadataRule::HeaderToken;

    #[test]
    fn what_a_store_holds_stays_and_the_rest_is_escaped() {
        assert_eq!(escape("plain-name-7", OSS), "plain-name-7");
        assert_eq!(escape("my_key", OSS), "my-x5f-key");
        assert_eq!(escape("my_key", S3), "my_key");
        assert_eq!(escape("a b", S3), "a-x20-b");
        assert_eq!(escape("a-x5f-b", OSS), "a-x2d-x5f-b");
        assert_eq!(escape("-x2d_", OSS), "-x2d-x2d-x5f-");
        assert_eq!(unescape("my-x5f-key", OSS), "my_key");
        assert_eq!(unescape("a-xff-b", OSS), "a-xff-b");
    }

    proptest! {
        /// Which also says that no two names meet.
        #[test]
        fn every_name_comes_back(name in "[a-c0-2xf_.é-]{0,12}|(-x|[0-9a-f]|_|-){0,14}|\\PC{0,8}", rule in prop_oneof![Just(OSS), Just(S3)]) {
            let escaped = escape(&name, rule);
            prop_assert!(escaped.bytes().all(allowed(rule)), "{}", escaped);
            prop_assert_eq!(unescape(&escaped, rule), name);
        }
    }
}
