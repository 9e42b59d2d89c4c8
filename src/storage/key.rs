//! Object keys: bytes that nothing normalises.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;

use crate::error::{Error, Result};

/// An object's key: arbitrary bytes, ordered as bytes, which is the order of every listing.
///
/// `a//b`, `a/../b` and `a/b/` are three different objects; a backend that cannot hold a key refuses it by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Bytes);

impl Key {
    /// The empty key, which is the empty prefix.
    pub const EMPTY: Self = Self(Bytes::new());

    /// Wraps bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, or an [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) error: both clouds take UTF-8 only.
    pub fn as_str(&self) -> Result<&str> {
        std::str::from_utf8(&self.0).map_err(|_| Error::invalid("the key is not valid UTF-8, which both clouds require").on_key(self))
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the empty key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This key with `rest` behind it.
    #[must_use]
    pub fn join(&self, rest: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + rest.len());
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(rest);
        Self(bytes.into())
    }

    /// What follows `prefix`, if this key begins with it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        self.0.starts_with(&prefix.0).then(|| Self(self.0.slice(prefix.0.len()..)))
    }

    /// What follows the last `/`: the name in a listing.
    #[must_use]
    pub fn base_name(&self) -> Self {
        let start = memchr::memrchr(b'/', &self.0).map_or(0, |i| i + 1);
        Self(self.0.slice(start..))
    }

    /// Whether this key ends in `/`: a folder marker where its size is 0, a folder where it is a prefix.
    pub fn is_folder(&self) -> bool {
        self.0.ends_with(b"/")
    }
}

impl From<&str> for Key {
    fn from(s: &str) -> Self {
        Self(Bytes::copy_from_slice(s.as_bytes()))
    }
}

impl From<String> for Key {
    fn from(s: String) -> Self {
        Self(s.into_bytes().into())
    }
}

impl From<&[u8]> for Key {
    fn from(b: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(b))
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Shows the key as text, with control characters and bytes that are not UTF-8 escaped, so that no key can forge output.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Shows bytes as text: control characters as `\n`, `\t` or `\u{..}`, broken UTF-8 as `\xNN`, all else as it is.
pub fn escape(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Besides controls: bidirectional overrides, which reorder what a terminal shows.
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_normalised_and_sort_as_bytes() {
        let keys = ["a//b", "a/../b", "a/b", "a/b/"];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(Key::from(*a), Key::from(*b));
            }
        }
        assert!(Key::from("\u{ffff}") < Key::from("\u{1f600}"), "byte order, not UTF-16 order");
    }

    #[test]
    fn display_escapes_what_could_forge_output() {
        assert_eq!(Key::from("a\n\u{1b}[31m中").to_string(), "a\\n\\u{1b}[31m中");
        assert_eq!(Key::new(&b"a\xff"[..]).to_string(), "a\\xff");
    }

    #[test]
    fn base_name_and_prefix() {
        assert_eq!(Key::from("a/b/c").base_name(), Key::from("c"));
        assert_eq!(Key::from("c").base_name(), Key::from("c"));
        assert_eq!(Key::from("a/b").strip_prefix(&Key::from("a/")), Some(Key::from("b")));
        assert_eq!(Key::from("ab").strip_prefix(&Key::from("a/")), None);
    }
}
