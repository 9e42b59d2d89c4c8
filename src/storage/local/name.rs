//! Which keys a filesystem can hold, and the names of what is not finished yet.

use crate::error::{Error, Result};
use crate::storage::Key;

/// Longest name that a directory entry can have, on every filesystem in use.
const NAME_BYTES_MAX: usize = 255;
const TEMPORARY_MIDDLE: &[u8] = b".dragon-";
const TEMPORARY_END: &[u8] = b".partial";
const ID_LEN: usize = 16;

/// A key as a way through directories.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The directory part without its last `/`; empty at the root.
    pub(super) directory: &'a [u8],
    /// The file's name; empty for a key that ends in `/`, which is the directory itself.
    pub(super) name: &'a [u8],
}

impl<'a> Place<'a> {
    /// Finds the place of a key, or refuses it by name.
    pub(super) fn of(key: &'a Key) -> Result<Self> {
        let bytes = key.as_bytes();
        let refuse = |why: String| Err(Error::invalid(format!("a filesystem cannot hold this key: {why}")).on_key(key));
        if bytes.is_empty() {
            return refuse("it is empty".into());
        }
        if bytes.contains(&0) {
            return refuse("it contains a NUL byte".into());
        }
        for part in bytes.strip_suffix(b"/").unwrap_or(bytes).split(|b| *b == b'/') {
            match part {
                b"" => return refuse("it has an empty name between, or before, its slashes".into()),
                b"." | b".." => return refuse(format!("'{}' means a directory, not a name", Key::from(part))),
                _ if part.len() > NAME_BYTES_MAX => return refuse(format!("a name of {} bytes, where {NAME_BYTES_MAX} are the most", part.len())),
                _ if temporary_id(part).is_some() => return refuse("its name is that of Dragon's own temporary files".into()),
                _ => {}
            }
        }
        Ok(match memchr::memrchr(b'/', bytes) {
            Some(at) => Self { directory: &bytes[..at], name: &bytes[at + 1..] },
            None => Self { directory: b"", name: bytes },
        })
    }
}

/// The names of a directory part, from the root down.
pub(super) fn steps(directory: &[u8]) -> impl Iterator<Item = &[u8]> {
    directory.split(|b| *b == b'/').filter(|step| !step.is_empty())
}

/// The name under which `name` grows: beside it, so that a rename finishes it, hidden, and never longer than a name can be.
pub(super) fn temporary(name: &[u8], id: &str) -> Vec<u8> {
    let room = NAME_BYTES_MAX - 1 - TEMPORARY_MIDDLE.len() - ID_LEN - TEMPORARY_END.len();
    let mut kept = &name[..name.len().min(room)];
    if let (Ok(_), Err(cut)) = (std::str::from_utf8(name), std::str::from_utf8(kept)) {
        kept = &kept[..cut.valid_up_to()];
    }
    [b".", kept, TEMPORARY_MIDDLE, id.as_bytes(), TEMPORARY_END].concat()
}

/// The id in a temporary name; `None` where the name is anything else.
pub(super) fn temporary_id(name: &[u8]) -> Option<&str> {
    let rest = name.strip_prefix(b".")?.strip_suffix(TEMPORARY_END)?;
    let (kept, id) = rest.split_at_checked(rest.len().checked_sub(ID_LEN)?)?;
    let id = std::str::from_utf8(id).ok().filter(|id| is_id(id))?;
    kept.ends_with(TEMPORARY_MIDDLE).then_some(id)
}

/// Whether this is an id as [`Clock::random_id`](crate::clock::Clock::random_id) makes them, and so fit for a name.
pub(super) fn is_id(id: &str) -> bool {
    id.len() == ID_LEN && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn keys_without_a_place_are_refused_by_name() {
        let long = "n".repeat(256);
        for key in ["", "/a", "a//b", "a//", "/", ".", "..", "a/../b", "a/./b", "a/..", "a\0b", &long, ".x.dragon-0123456789abcdef.partial"] {
            let key = Key::from(key);
            let e = Place::of(&key).expect_err("refused");
            assert_eq!((e.kind(), e.key()), (ErrorKind::Invalid, Some(&*key.to_string())), "{key}");
        }
        for key in ["a", "a/b", "a/", "...", "a/..b", "中", &long[1..], ".x.dragon-0123.partial"] {
            assert!(Place::of(&Key::from(key)).is_ok(), "{key}");
        }
    }

    #[test]
    fn temporary_names_fit_and_are_known_again() {
        let id = "0123456789abcdef";
        for name in ["a".to_owned(), "x".repeat(255), "中".repeat(85)] {
            let temporary = temporary(name.as_bytes(), id);
            assert!(temporary.len() <= NAME_BYTES_MAX && std::str::from_utf8(&temporary).is_ok());
            assert_eq!(temporary_id(&temporary), Some(id));
        }
        assert_eq!(temporary_id(b".a.dragon-0123456789ABCDEF.partial"), None);
        assert_eq!(temporary_id(b".partial"), None);
    }
}
