//! Where a run's keys come from: two listings merged, or a file of keys.

use std::path::Path;
use std::pin::Pin;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::job::KeyFile;
use super::join::Pairing;
use super::ranges::{Listings, Ranges};
use super::shard::Shard;
use super::subject::Subject;
use super::tide::{RangeId, Tide};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Key;

/// No key of any store is longer, in bytes; what is longer is not a file of keys.
const KEY_BYTES_MAX: u64 = 4096;

/// The keys of a run, and how far they have got.
pub(crate) struct Feed {
    keys: Keys,
    pub(crate) tide: Tide,
}

/// Where keys come from.
enum Keys {
    /// All that is listed.
    Listed(Ranges),
    /// Those of a file; each is looked up at both ends.
    Named { reader: KeyReader, next: Option<Key> },
}

/// A key of the feed, decided.
pub(crate) struct Drawn<S> {
    pub(crate) decided: S,
    pub(crate) range: RangeId,
    /// The key, where a mark is due behind it.
    pub(crate) mark: Option<Key>,
}

impl Feed {
    /// The keys of two listings. The tide goes on behind so many keys that an earlier run settled.
    pub(crate) fn listed(ranges: Ranges, settled: u64) -> Self {
        Self { keys: Keys::Listed(ranges), tide: Tide::from(settled) }
    }

    /// The keys of a file.
    pub(crate) fn named(reader: KeyReader) -> Self {
        Self { keys: Keys::Named { reader, next: None }, tide: Tide::default() }
    }

    /// The listings, where there are some.
    pub(crate) fn ranges(&self) -> Option<&Ranges> {
        match &self.keys {
            Keys::Listed(ranges) => Some(ranges),
            Keys::Named { .. } => None,
        }
    }

    /// What came of the listings, where there were some.
    pub(crate) fn into_listings(self) -> Option<Listings> {
        self.ranges().map(Ranges::listings)
    }

    /// Waits until there is a key to draw, or there are no more. Safe to drop.
    pub(crate) async fn arrive(&mut self) -> Result<()> {
        match &mut self.keys {
            Keys::Listed(ranges) => ranges.arrive(&mut self.tide).await,
            Keys::Named { reader, next } if next.is_none() => *next = reader.next().await?,
            Keys::Named { .. } => {}
        }
        Ok(())
    }

    /// Takes the key that has [arrived](Self::arrive), decided by `decide` where listings say enough to begin with; `None` at the end.
    pub(crate) fn draw<S>(&mut self, decide: impl FnOnce(&Pairing<'_>) -> S, unlisted: impl FnOnce(Subject) -> S) -> Option<Drawn<S>> {
        match &mut self.keys {
            Keys::Listed(ranges) => {
                let (range, pairing) = ranges.pairing()?;
                let mark = self.tide.count(range).then(|| Key::from(pairing.key));
                let drawn = Drawn { decided: decide(&pairing), range, mark };
                ranges.advance();
                Some(drawn)
            }
            Keys::Named { next, .. } => next.take().map(|key| Drawn { decided: unlisted(Subject::unlisted(key)), range: RangeId::default(), mark: None }),
        }
    }
}

/// Reads keys from a file or standard input, one at a time.
pub(crate) struct KeyReader {
    input: Pin<Box<dyn AsyncBufRead + Send + Sync>>,
    separator: u8,
    name: String,
    shard: Option<Shard>,
    /// What was read of the next key: kept here, so that a dropped read loses nothing.
    partial: Vec<u8>,
}

impl KeyReader {
    /// Opens the file, of whose keys a share is wanted.
    pub(crate) async fn open(file: &KeyFile, shard: Option<Shard>) -> Result<Self> {
        let name = file.path.display().to_string();
        let input: Pin<Box<dyn AsyncBufRead + Send + Sync>> = if file.path == Path::new("-") {
            Box::pin(BufReader::new(tokio::io::stdin()))
        } else {
            let opened = tokio::fs::File::open(&file.path).await;
            Box::pin(BufReader::new(opened.map_err(|e| Error::invalid(format!("the file of keys '{name}' cannot be read: {e}")))?))
        };
        Ok(Self { input, separator: file.separator, name, shard, partial: Vec::new() })
    }

    /// The next key of the file. Safe to drop.
    pub(crate) async fn next(&mut self) -> Result<Option<Key>> {
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
                (false, _) if self.shard.is_some_and(|shard| !shard.holds(&key)) => {}
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
        let mut reader = KeyReader::open(&KeyFile { path, separator }, None).await?;
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
