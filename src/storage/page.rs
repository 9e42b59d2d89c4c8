//! A page of a listing: one arena, borrowed entries.
//!
//! A listing of a million keys would be a million small allocations if each entry owned its strings. A page owns two byte
//! arenas and hands out entries that borrow from them.

use jiff::Timestamp;

use super::key::Key;
use super::object::Kind;

/// One page of a listing, in ascending byte order of its keys.
#[derive(Debug, Default)]
pub struct Page {
    arena: Vec<u8>,
    entries: Vec<Row>,
    prefixes: Vec<Key>,
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
        let row = Row {
            key: self.keep(entry.key),
            etag: self.keep(entry.etag.as_bytes()),
            class: self.keep(entry.storage_class.as_bytes()),
            size: entry.size,
            modified: entry.modified,
            kind: entry.kind,
        };
        self.entries.push(row);
    }

    /// Appends a common prefix (only in a listing with a delimiter).
    pub fn push_prefix(&mut self, prefix: Key) {
        self.prefixes.push(prefix);
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        // A page is at most a few thousand keys of about 1 KiB, far below 4 GiB.
        let start = u32::try_from(self.arena.len()).expect("a page below 4 GiB");
        self.arena.extend_from_slice(bytes);
        Span { start, len: u32::try_from(bytes.len()).expect("a key below 4 GiB") }
    }

    fn bytes(&self, span: Span) -> &[u8] {
        &self.arena[span.start as usize..][..span.len as usize]
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).expect("pushed as str")
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is neither an entry nor a prefix.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.prefixes.is_empty()
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
        page.push(Entry { key: b"\xff", etag: "", ..entry });
        assert_eq!(page.len(), 2);
        assert_eq!(page.entry(0), entry);
        assert_eq!(page.iter().last().map(|e| e.key), Some(&b"\xff"[..]));
    }
}
