//! Request targets: an object's key as the path of an HTTP request, encoded once and never normalised.
//!
//! A URL library turns `/a/../c` and `/a/%2e%2e/c` into `/c`, which is another object. A [`Target`] holds the encoded path and query
//! exactly as they go on the wire and as they are signed; [`Target::uri`] hands both to [`http::Uri`], which keeps them as they are.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::error::{Error, Result};

/// All but `A-Za-z0-9-._~`: what both clouds' canonical requests escape in a query (protocol.md 1.1).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As [`QUERY`], but `/` stays: what they escape in a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Encodes raw bytes for a path: `/` stays, everything else but the unreserved characters is escaped.
pub(in crate::storage) fn encode_path(bytes: &[u8]) -> String {
    percent_encode(bytes, PATH).to_string()
}

/// Encodes raw bytes for a query: `/` becomes `%2F` and a space `%20`, never `+`.
pub(in crate::storage) fn encode_query(bytes: &[u8]) -> String {
    percent_encode(bytes, QUERY).to_string()
}

/// The path and query of a request, in their encoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) struct Target {
    path: String,
    query: Vec<(String, Option<String>)>,
}

impl Target {
    /// A path from raw bytes, which begin with `/` on the wire whether or not `path` does: `x` and `/x` are the targets `/x` and `//x`.
    pub(in crate::storage) fn new(path: &[u8]) -> Self {
        Self { path: format!("/{}", encode_path(path)), query: Vec::new() }
    }

    /// Adds a parameter, encoding both sides.
    #[must_use]
    pub(in crate::storage) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.query.push((encode_query(name.as_bytes()), Some(encode_query(value.as_ref()))));
        self
    }

    /// Adds a parameter where there is a value.
    #[must_use]
    pub(in crate::storage) fn with_some(self, name: &str, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a bare flag, such as `?acl`: no `=` follows it.
    #[must_use]
    pub(in crate::storage) fn flag(mut self, name: &str) -> Self {
        self.query.push((encode_query(name.as_bytes()), None));
        self
    }

    /// Appends parameters that are encoded already, such as a signature.
    #[must_use]
    pub(in crate::storage) fn and(mut self, encoded: Vec<(String, Option<String>)>) -> Self {
        self.query.extend(encoded);
        self
    }

    /// The same parameters at another path.
    #[must_use]
    pub(in crate::storage) fn at(&self, path: &[u8]) -> Self {
        Self { query: self.query.clone(), ..Self::new(path) }
    }

    /// The encoded parameters in the order they were added.
    pub(in crate::storage) fn query(&self) -> &[(String, Option<String>)] {
        &self.query
    }

    /// Path and query as they stand in the request line.
    pub(in crate::storage) fn path_and_query(&self) -> String {
        let mut out = self.path.clone();
        for (i, (name, value)) in self.query.iter().enumerate() {
            out.push(if i == 0 { '?' } else { '&' });
            out.push_str(name);
            if let Some(value) = value {
                out.push('=');
                out.push_str(value);
            }
        }
        out
    }

    /// The absolute URI at an authority (`host` or `host:port`). Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where that is none.
    pub(in crate::storage) fn uri(&self, scheme: &str, authority: &str) -> Result<Uri> {
        Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(self.path_and_query())
            .build()
            .map_err(|e| Error::invalid(format!("'{scheme}://{authority}' is no address that a request can go to")).caused_by(e))
    }
}

/// Decodes `%XX` escapes. `None` where an escape is broken.
pub(in crate::storage) fn decode_percent(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    decode_into(text.as_bytes(), false, &mut out).then_some(out)
}

/// Decodes what `encoding-type=url` encoded, by form rules: `+` is a space (protocol.md 2.7). `None` where an escape is broken.
pub(in crate::storage) fn decode_form(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    decode_form_into(text, &mut out).then_some(out)
}

/// As [`decode_form`], appending to a buffer that a listing reuses. False where an escape is broken.
pub(in crate::storage) fn decode_form_into(text: &str, out: &mut Vec<u8>) -> bool {
    decode_into(text.as_bytes(), true, out)
}

fn decode_into(mut rest: &[u8], plus_is_space: bool, out: &mut Vec<u8>) -> bool {
    let digit = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
    while let Some(at) = if plus_is_space { memchr::memchr2(b'%', b'+', rest) } else { memchr::memchr(b'%', rest) } {
        out.extend_from_slice(&rest[..at]);
        if rest[at] == b'+' {
            out.push(b' ');
            rest = &rest[at + 1..];
            continue;
        }
        let (Some(high), Some(low)) = (digit(rest.get(at + 1)), digit(rest.get(at + 2))) else { return false };
        // Two hexadecimal digits are at most 255.
        out.push((high << 4 | low) as u8);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_reach_the_wire_as_they_are() {
        for (key, path) in [
            ("a/../c", "/a/../c"),
            ("a//b", "/a//b"),
            ("/lead", "//lead"),
            ("./x/.", "/./x/."),
            ("a b+c%2F?#&=", "/a%20b%2Bc%252F%3F%23%26%3D"),
            ("中/😀", "/%E4%B8%AD/%F0%9F%98%80"),
            ("~-._", "/~-._"),
            ("\u{1}\n", "/%01%0A"),
            ("", "/"),
        ] {
            let uri = Target::new(key.as_bytes()).uri("https", "b.example.com:8443").expect("a URI");
            assert_eq!(uri.path(), path, "{key:?}");
            assert_eq!(uri.to_string(), format!("https://b.example.com:8443{path}"));
        }
    }

    #[test]
    fn a_query_has_bare_flags_and_no_plus() {
        let target = Target::new(b"k").flag("acl").with("prefix", "a b/+").with_some("none", None::<&str>).with("max-keys", "1000");
        assert_eq!(target.path_and_query(), "/k?acl&prefix=a%20b%2F%2B&max-keys=1000");
        assert_eq!(target.uri("http", "[::1]:80").expect("a URI").query(), Some("acl&prefix=a%20b%2F%2B&max-keys=1000"));
        assert_eq!(target.uri("http", "a b").expect_err("no host").kind(), crate::error::ErrorKind::Invalid);
    }

    #[test]
    fn form_rules_differ_from_percent_rules_in_the_plus() {
        assert_eq!(decode_form("a+b%2Bc").as_deref(), Some(&b"a b+c"[..]));
        assert_eq!(decode_percent("a+b%2Bc").as_deref(), Some(&b"a+b+c"[..]));
        for broken in ["%", "%4", "%zz", "a%2"] {
            assert_eq!(decode_form(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_both_encodings(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode_percent(&encode_path(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode_form(&encode_query(&bytes)), Some(bytes.clone()));
            let uri = Target::new(&bytes).with("k", &bytes).uri("http", "h").expect("a URI");
            prop_assert_eq!(decode_percent(&uri.path()[1..]), Some(bytes));
        }
    }
}
