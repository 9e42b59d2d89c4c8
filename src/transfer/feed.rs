//! Where a run's keys come from: two listings merged, or a file of keys.

use std::path::Path;
use std::pin::Pin;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::job::KeyFile;
use super::join::{Join, Pairing};
use super::subject::Subject;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Key;

/// No key of any store is longer, in bytes; what is longer is not a file of keys.
const KEY_BYTES_MAX: u64 = 4096;

/// The keys of a run.
pub(crate) enum Feed {
    /// All that is listed.
    Join(Box<Join>),
    /// Those of a file; each is looked up at both ends.
    Keys(KeyReader),
}

impl Feed {
    /// The next key, decided by `decide` where listings say enough to begin with; `None` at the end. Safe to drop.
    pub(crate) async fn next<S>(&mut self, decide: impl FnOnce(&Pairing<'_>) -> S, unlisted: impl FnOnce(Subject) -> S) -> Result<Option<S>> {
        match self {
            Self::Join(join) => Ok(join.next().await.map(|pairing| decide(&pairing))),
            Self::Keys(keys) => Ok(keys.next().await?.map(|key| unlisted(Subject::unlisted(key)))),
        }
    }
}

/// Reads keys from a file or standard input, one at a time.
pub(crate) struct KeyReader {
    input: Pin<Box<dyn AsyncBufRead + Send + Sync>>,
    separator: u8,
    name: String,
    /// What was read of the next key: kept here, so that a dropped read loses nothing.
    partial: Vec<u8>,
}

impl KeyReader {
    /// Opens the file.
    pub(crate) async fn open(file: &KeyFile) -> Result<Self> {
        let name = file.path.display().to_string();
        let input: Pin<Box<dyn AsyncBufRead + Send + Sync>> = if file.path == Path::new("-") {
            Box::pin(BufReader::new(tokio::io::stdin()))
        } else {
            let opened = tokio::fs::File::open(&file.path).await;
            Box::pin(BufReader::new(opened.map_err(|e| Error::invalid(format!("the file of keys '{name}' cannot be read: {e}")))?))
        };
        Ok(Self { input, separator: file.separator, name, partial: Vec::new() })
    }

    async fn next(&mut self) -> Result<Option<Key>> {
        loop {
            let room = (KEY_BYTES_MAX + 1).saturating_sub(self.partial.len() as u64);
            let read = (&mut self.input).take(room).read_until(self.separator, &mut self.partial).await;
            let read = read.map_err(|e| Error::new(ErrorKind::Local, format!("the file of keys '{}' cannot be read: {e}", self.name)))?;
            let ended = self.partial.last() == Some(&self.separator);
            if !ended && self.partial.len() as u64 > KEY_BYTES_MAX {
                return Err(Error::invalid(format!("'{}' has a key of more than {KEY_BYTES_MAX} bytes: is it a file of keys?", self.name)));
            }
            if !ended && read > 0 {
                continue;
            }
            let mut key = std::mem::take(&mut self.partial);
            if ended {
                key.pop();
            }
            if self.separator == b'\n' && key.last() == Some(&b'\r') {
                key.pop();
            }
            match (key.is_empty(), ended) {
                (false, _) => return Ok(Some(Key::new(key))),
                (true, true) => {}
                (true, false) => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keys(content: &[u8], separator: u8) -> Result<Vec<Key>> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys");
        std::fs::write(&path, content).expect("written");
        let mut reader = KeyReader::open(&KeyFile { path, separator }).await?;
        let mut keys = Vec::new();
        while let Some(key) = reader.next().await? {
            keys.push(key);
        }
        Ok(keys)
    }

    #[tokio::test]
    async fn keys_are_read_byte_for_byte() {
        assert_eq!(keys(b"a\n\nb c\r\n#d\nlast", b'\n').await.expect("keys"), ["a", "b c", "#d", "last"].map(Key::from));
        assert_eq!(keys(b"a\nb\0c\r\0", 0).await.expect("keys"), ["a\nb", "c\r"].map(Key::from));
        assert_eq!(keys(b"", b'\n').await.expect("keys"), []);
        assert_eq!(keys(&[b'x'; 4097], b'\n').await.expect_err("too long").kind(), ErrorKind::Invalid);
        assert_eq!(keys(&[b'x'; 4096], b'\n').await.expect("a long key").len(), 1);
    }
}
