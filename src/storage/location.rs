//! Addresses: how a person names an object, a prefix or a bucket; and what they resolve to, a [`Location`].
//!
//! `NAME://bucket/key` where NAME is a store, `./path` or `/path` for local files, `-` for standard input or output. What
//! follows the bucket is the key, byte for byte: nothing is decoded, collapsed or normalised.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

use super::Storage;
use super::key::{Key, escape};

/// What a person typed to name a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A store, its bucket and a key or prefix in it. An empty bucket is the store's account: all its buckets.
    Store {
        /// The store's name: `s3`, `oss`, or one that dragon.toml defines.
        store: String,
        /// The bucket.
        bucket: String,
        /// The key or prefix; empty is the whole bucket.
        key: Key,
    },
    /// A local path. A trailing `/` is kept, because it says "a directory".
    Path(PathBuf),
    /// Standard input or output.
    Stdio,
}

impl Address {
    /// Reads an address. Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) and says what was probably meant.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self> {
        let text = text.as_ref();
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stdio);
        }
        if bytes.contains(&0) {
            return Err(invalid(bytes, "an address cannot contain a NUL byte"));
        }
        if is_path(bytes) {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        let Some(at) = memchr::memmem::find(bytes, b"://") else {
            return Err(no_scheme(bytes));
        };
        let (scheme, rest) = (&bytes[..at], &bytes[at + 3..]);
        let store = match std::str::from_utf8(scheme) {
            Ok(name) if is_store_name(name) => name,
            Ok(name) if is_store_name(&name.to_ascii_lowercase()) => {
                return Err(invalid(bytes, format!("store names are lower case: {}://", name.to_ascii_lowercase())));
            }
            _ => return Err(invalid(bytes, "what stands before :// must be a store's name (letters a-z, digits and hyphens)")),
        };
        if store == "file" {
            return match rest.first() {
                Some(b'/') => Ok(Self::Path(PathBuf::from(OsStr::from_bytes(rest)))),
                _ => Err(invalid(bytes, "file:// takes an absolute path, as in file:///data; write ./path for a relative one")),
            };
        }
        let (bucket, key) = match memchr::memchr(b'/', rest) {
            Some(slash) => (&rest[..slash], &rest[slash + 1..]),
            None => (rest, &rest[..0]),
        };
        let bucket = std::str::from_utf8(bucket).map_err(|_| invalid(bytes, "the bucket's name is not valid UTF-8"))?;
        if bucket.is_empty() && !rest.is_empty() {
            return Err(invalid(bytes, format!("the bucket is missing: write {store}://BUCKET/KEY")));
        }
        Ok(Self::Store { store: store.into(), bucket: bucket.into(), key: Key::from(key) })
    }

    /// The store's name; local paths belong to `file`, standard input and output to none.
    pub fn store(&self) -> Option<&str> {
        match self {
            Self::Store { store, .. } => Some(store),
            Self::Path(_) => Some("file"),
            Self::Stdio => None,
        }
    }

    /// Whether the address can only name a place that holds objects: it ends in `/`, or is a bucket, or is `.` or `..`.
    pub fn is_folder(&self) -> bool {
        match self {
            Self::Store { key, .. } => key.is_empty() || key.is_folder(),
            Self::Path(path) => {
                let bytes = path.as_os_str().as_bytes();
                bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes.ends_with(b"/..") || matches!(bytes, b"." | b"..")
            }
            Self::Stdio => false,
        }
    }

    /// What follows the last `/`: the name that a copy into a folder keeps. Empty for a bucket or a folder.
    pub fn base_name(&self) -> Key {
        match self {
            Self::Store { key, .. } => key.base_name(),
            Self::Path(_) if self.is_folder() => Key::EMPTY,
            Self::Path(path) => path.file_name().map_or(Key::EMPTY, |name| Key::from(name.as_bytes())),
            Self::Stdio => Key::EMPTY,
        }
    }

    /// The address of an object called `name` in this folder.
    #[must_use]
    pub fn child(&self, name: &Key) -> Self {
        match self {
            Self::Store { store, bucket, key } => Self::Store { store: store.clone(), bucket: bucket.clone(), key: key.join(name.as_bytes()) },
            Self::Path(path) => Self::Path(path.join(OsStr::from_bytes(name.as_bytes()))),
            Self::Stdio => Self::Stdio,
        }
    }

    /// The same place as a tree: `s3://b/a` becomes the prefix `a/` (never `ab`), a bucket stays all of it.
    #[must_use]
    pub fn tree(&self) -> Self {
        match self {
            Self::Store { store, bucket, key } if !key.is_empty() && !key.is_folder() => {
                Self::Store { store: store.clone(), bucket: bucket.clone(), key: key.join(b"/") }
            }
            other => other.clone(),
        }
    }

    /// Whether the two name overlapping places: one is the other, or lies in it. Compares names, not what they resolve to.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.tree(), other.tree()) {
            (Self::Store { store: a, bucket: x, key: p }, Self::Store { store: b, bucket: y, key: q }) => {
                a == b && x == y && (p.as_bytes().starts_with(q.as_bytes()) || q.as_bytes().starts_with(p.as_bytes()))
            }
            (Self::Path(a), Self::Path(b)) => a.starts_with(&b) || b.starts_with(&a),
            _ => false,
        }
    }
}

/// Whether a name can stand before `://`.
pub fn is_store_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_path(bytes: &[u8]) -> bool {
    bytes.starts_with(b"/") || matches!(bytes, b"." | b"..") || bytes.starts_with(b"./") || bytes.starts_with(b"../")
}

fn no_scheme(bytes: &[u8]) -> Error {
    if bytes.is_empty() {
        return Error::invalid("an address is empty").advise("write s3://BUCKET/KEY, oss://BUCKET/KEY, ./PATH or -");
    }
    let text = escape(bytes);
    if bytes.starts_with(b"~") {
        return invalid(bytes, "the shell expands ~, and it was quoted here; write $HOME, or ./~ for a file of that name");
    }
    // `remote:bucket/path` is how rclone and mc users write it.
    if let Some((name, rest)) = text.split_once(':').filter(|(name, _)| is_store_name(name)) {
        return invalid(bytes, format!("write {name}://{}, or ./{text} for a local file of that name", rest.trim_start_matches('/')));
    }
    invalid(bytes, format!("write ./{text} for a local path, or NAME://BUCKET/KEY for an object"))
}

fn invalid(bytes: &[u8], advice: impl Into<String>) -> Error {
    Error::invalid(format!("'{}' is not an address", escape(bytes))).advise(advice)
}

/// Shows the address with control characters escaped.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { store, bucket, key } if bucket.is_empty() => write!(f, "{store}://{key}"),
            Self::Store { store, bucket, key } if key.is_empty() => write!(f, "{store}://{}", escape(bucket.as_bytes())),
            Self::Store { store, bucket, key } => write!(f, "{store}://{}/{key}", escape(bucket.as_bytes())),
            Self::Path(path) => f.write_str(&escape(path.as_os_str().as_bytes())),
            Self::Stdio => f.write_str("-"),
        }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Path(path.into())
    }
}

/// An opened place: a store, and a prefix in it (or, where one object is meant, its key).
#[derive(Debug, Clone)]
pub struct Location {
    /// The bucket or local root.
    pub storage: Arc<dyn Storage>,
    /// What is under it is meant; empty is the whole bucket.
    pub prefix: Key,
}

impl Location {
    /// A place in a store.
    pub fn new(storage: Arc<dyn Storage>, prefix: impl Into<Key>) -> Self {
        Self { storage, prefix: prefix.into() }
    }

    /// The same place as a tree: `a` becomes `a/` (never `ab`), the empty prefix stays empty.
    #[must_use]
    pub fn tree(&self) -> Self {
        let prefix = if self.prefix.is_empty() || self.prefix.is_folder() { self.prefix.clone() } else { self.prefix.join(b"/") };
        Self { storage: self.storage.clone(), prefix }
    }

    /// The whole key of what is called `relative` under this place.
    pub fn key(&self, relative: &[u8]) -> Key {
        self.prefix.join(relative)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix.is_empty() { write!(f, "{}", self.storage) } else { write!(f, "{}/{}", self.storage, self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(store: &str, bucket: &str, key: &str) -> Address {
        Address::Store { store: store.into(), bucket: bucket.into(), key: Key::from(key) }
    }

    fn parse(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    #[test]
    fn a_key_is_taken_byte_for_byte() {
        assert_eq!(parse("s3://b"), at("s3", "b", ""));
        assert_eq!(parse("s3://b/"), at("s3", "b", ""));
        assert_eq!(parse("s3://b//a"), at("s3", "b", "/a"));
        assert_eq!(parse("aws-us2://b/a/../c%20d+e?f#g://h"), at("aws-us2", "b", "a/../c%20d+e?f#g://h"));
        assert_eq!(parse("oss://"), at("oss", "", ""));
        let odd = Address::parse(OsStr::from_bytes(b"s3://b/\xff\n")).expect("bytes");
        assert_eq!(odd.to_string(), "s3://b/\\xff\\n");
    }

    #[test]
    fn paths_and_stdio() {
        for path in ["./a", "/a/b/", "..", ".", "../x", "/"] {
            assert_eq!(parse(path), Address::Path(path.into()));
            assert_eq!(parse(path).to_string(), path);
        }
        assert_eq!(parse("file:///a b"), Address::Path("/a b".into()));
        assert_eq!(parse("-"), Address::Stdio);
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, advice) in [
            ("photos/2026", "./photos/2026"),
            ("s3:photos/a", "s3://photos/a"),
            ("S3://photos", "s3://"),
            ("s_3://photos", "store's name"),
            ("s3:///key", "s3://BUCKET/KEY"),
            ("file://a", "file:///data"),
            ("~/x", "$HOME"),
            ("", "s3://BUCKET/KEY"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
            assert!(error.advice().contains(advice), "{text}: {error}");
        }
    }

    #[test]
    fn folders_trees_and_children() {
        assert!(parse("s3://b").is_folder() && parse("s3://b/a/").is_folder() && parse("./a/").is_folder() && parse(".").is_folder());
        assert!(!parse("s3://b/a").is_folder() && !parse("./a").is_folder());
        assert_eq!(parse("s3://b/a").tree(), at("s3", "b", "a/"));
        assert_eq!(parse("s3://b").tree(), at("s3", "b", ""));
        assert_eq!(parse("s3://b/a/").child(&parse("/x/y").base_name()), at("s3", "b", "a/y"));
        assert_eq!(parse("./a").child(&Key::from("k")), Address::Path("./a/k".into()));
    }

    #[test]
    fn overlap_is_by_segments() {
        assert!(parse("s3://b/a").overlaps(&parse("s3://b/a/b/")));
        assert!(parse("s3://b").overlaps(&parse("s3://b/x")));
        assert!(!parse("s3://b/a").overlaps(&parse("s3://b/ab")));
        assert!(!parse("s3://b/a").overlaps(&parse("oss://b/a")));
        assert!(parse("/a/").overlaps(&parse("/a/b")) && !parse("/a").overlaps(&parse("/ab")));
    }
}
