//! A page of a listing: one arena, borrowed entries.
//!
//! A listing of a million keys would be a million small allocations if each entry owned its strings. A page owns two arenas, one of
//! keys and one of text, and hands out entries that borrow from them.

use jiff::Timestamp;

use super::key::Key;
use super::object::Kind;

/// One page of a listing, in ascending byte order of its keys.
#[derive(Debug, Default)]
pub struct Page {
    keys: Vec<u8>,
    /// ETags and storage classes; a class that repeats the entry before is kept once.
    texts: String,
    entries: Vec<Row>,
    prefixes: Vec<Key>,
    last: bool,
}

#[derive(Debug)]
struct Row {
    key: Span,
    etag: Span,
    class: Span,
    size: u64,
    modified: Option<Timestamp>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// What is about to be appended to an arena. A page is at most a few thousand keys of about 1 KiB, far below 4 GiB.
    fn behind(arena_len: usize, len: usize) -> Self {
        let u32 = |n| u32::try_from(n).expect("a page below 4 GiB");
        Self { start: u32(arena_len), len: u32(len) }
    }
}

/// One entry of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The whole key, decoded.
    pub key: &'a [u8],
    /// Size in bytes.
    pub size: u64,
    /// ETag without quotes, empty where there is none.
    pub etag: &'a str,
    /// Last modification.
    pub modified: Option<Timestamp>,
    /// Storage class in the service's words, empty where there is none.
    pub storage_class: &'a str,
    /// How it came to be, or why it cannot be copied.
    pub kind: Kind,
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: Entry<'_>) {
        let key = Span::behind(self.keys.len(), entry.key.len());
        self.keys.extend_from_slice(entry.key);
        let etag = self.keep(entry.etag);
        let class = match self.entries.last() {
            Some(last) if self.text(last.class) == entry.storage_class => last.class,
            _ => self.keep(entry.storage_class),
        };
        self.entries.push(Row { key, etag, class, size: entry.size, modified: entry.modified, kind: entry.kind });
    }

    /// Appends a common prefix (only in a listing with a delimiter).
    pub fn push_prefix(&mut self, prefix: Key) {
        self.prefixes.push(prefix);
    }

    fn keep(&mut self, text: &str) -> Span {
        let span = Span::behind(self.texts.len(), text.len());
        self.texts.push_str(text);
        span
    }

    fn bytes(&self, span: Span) -> &[u8] {
        &self.keys[span.start as usize..][..span.len as usize]
    }

    fn text(&self, span: Span) -> &str {
        &self.texts[span.start as usize..][..span.len as usize]
    }

    /// Notes that the store has said that no page follows.
    pub fn mark_last(&mut self) {
        self.last = true;
    }

    /// Whether the store has said that no page follows. Where not, one may or may not.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is neither an entry nor a prefix.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.prefixes.is_empty()
    }

    /// The key at an index below [`Self::len`].
    pub fn key(&self, index: usize) -> &[u8] {
        self.bytes(self.entries[index].key)
    }

    /// The entry at an index below [`Self::len`].
    pub fn entry(&self, index: usize) -> Entry<'_> {
        let row = &self.entries[index];
        Entry {
            key: self.bytes(row.key),
            size: row.size,
            etag: self.text(row.etag),
            modified: row.modified,
            storage_class: self.text(row.class),
            kind: row.kind,
        }
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.len()).map(|i| self.entry(i))
    }

    /// The common prefixes.
    pub fn prefixes(&self) -> &[Key] {
        &self.prefixes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_pushed() {
        let mut page = Page::new();
        let entry = Entry { key: "中/a//b".as_bytes(), size: 7, etag: "e", modified: None, storage_class: "IA", kind: Kind::Object };
        page.push(entry);
        let others = [Entry { key: b"\xff", etag: "", ..entry }, Entry { storage_class: "", ..entry }, Entry { key: b"", storage_class: "Archive", ..entry }];
        others.into_iter().for_each(|other| page.push(other));
        assert_eq!((page.len(), page.entry(0), page.key(1)), (4, entry, &b"\xff"[..]));
        assert!(page.iter().skip(1).eq(others));
    }
}
