//! What counts for one job: its copies and deletes as the engine tells them, its requests as its stores see them.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Sums, Usage};
use crate::storage::Key;
use crate::storage::key::escape;
use crate::storage::layer::Operation;
use crate::storage::observe::Witness;

/// An end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where it reads.
    Source,
    /// Where it writes.
    Destination,
}

/// Counts for one job. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meter {
    usage: Arc<Usage>,
    job: Arc<str>,
    /// How many path segments of a key make its prefix.
    depth: usize,
    /// The bucket, where the job has many: the first of the segments.
    label: Option<Arc<str>>,
}

impl Meter {
    pub(super) fn new(usage: Arc<Usage>, job: &str, depth: usize) -> Self {
        Self { usage, job: job.into(), depth, label: None }
    }

    /// The same for one bucket of a job over many, whose name counts as the first path segment.
    #[must_use]
    pub fn of_bucket(self, label: Option<&str>) -> Self {
        Self { label: label.map(Arc::from), ..self }
    }

    /// The same without prefixes: for what keys do not tell, such as where overwritten objects are kept.
    #[must_use]
    pub fn undivided(self) -> Self {
        Self { depth: 0, ..self }
    }

    /// Sees the requests to one end. `base` is what stands before the relative keys there.
    pub fn witness(&self, end: End, base: Key) -> Arc<dyn Witness> {
        Arc::new(Requests { meter: self.clone(), end, base })
    }

    /// An object was copied.
    pub(in crate::daemon) fn copied(&self, key: &Key, bytes: u64) {
        self.add(key.as_bytes(), |sums| {
            sums.objects_copied += 1;
            sums.bytes_copied += bytes;
        });
    }

    /// An object was deleted.
    pub(in crate::daemon) fn deleted(&self, key: &Key) {
        self.add(key.as_bytes(), |sums| sums.objects_deleted += 1);
    }

    fn add(&self, key: &[u8], add: impl Fn(&mut Sums)) {
        match self.label.as_deref().filter(|_| self.depth > 0) {
            Some(label) => self.usage.add(&self.job, &format!("{label}/{}", prefix(key, self.depth - 1)), add),
            None => self.usage.add(&self.job, &prefix(key, self.depth), add),
        }
    }
}

/// The folders that a key lies in, `depth` of them at most, as they are shown. A spreadsheet takes a field that begins with `=`, `+`, `-` or
/// `@` for a formula, and keys are written by others: such a character is escaped like a control character.
fn prefix(key: &[u8], depth: usize) -> Cow<'_, str> {
    let end = memchr::memchr_iter(b'/', key).take(depth).last().map_or(0, |slash| slash + 1);
    let prefix = &key[..end];
    match (prefix, std::str::from_utf8(prefix)) {
        ([first @ (b'=' | b'+' | b'-' | b'@'), rest @ ..], _) => Cow::Owned(format!("\\x{first:02x}{}", escape(rest))),
        (_, Ok(text)) if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) => Cow::Borrowed(text),
        _ => Cow::Owned(escape(prefix)),
    }
}

/// The requests to one end of a job.
#[derive(Debug)]
struct Requests {
    meter: Meter,
    end: End,
    base: Key,
}

impl Requests {
    fn add(&self, key: &Key, add: impl Fn(&mut Sums)) {
        let relative = key.as_bytes().strip_prefix(self.base.as_bytes()).unwrap_or_default();
        self.meter.add(relative, add);
    }
}

impl Witness for Requests {
    fn asked(&self, operation: Operation, key: &Key) {
        let kind: fn(&mut Sums) -> &mut u64 = match (self.end, operation) {
            // Signing a link asks nobody.
            (_, Operation::Presign) => return,
            (End::Source, Operation::List | Operation::ListParts | Operation::ListUploads) => |sums| &mut sums.requests_source_list,
            (End::Source, Operation::Head | Operation::Get | Operation::Acl | Operation::Tags) => |sums| &mut sums.requests_source_read,
            (End::Source, _) => |sums| &mut sums.requests_source_write,
            (End::Destination, Operation::List | Operation::ListParts | Operation::ListUploads) => |sums| &mut sums.requests_destination_list,
            (End::Destination, Operation::Head | Operation::Get | Operation::Acl | Operation::Tags) => |sums| &mut sums.requests_destination_read,
            (End::Destination, Operation::Delete | Operation::AbortUpload) => |sums| &mut sums.requests_destination_delete,
            (End::Destination, _) => |sums| &mut sums.requests_destination_write,
        };
        self.add(key, |sums| {
            *kind(sums) += 1;
            match self.end {
                End::Source => sums.requests_source += 1,
                End::Destination => sums.requests_destination += 1,
            }
        });
    }

    fn read(&self, key: &Key, bytes: u64) {
        self.add(key, |sums| match self.end {
            End::Source => sums.bytes_read_source += bytes,
            End::Destination => sums.bytes_read_destination += bytes,
        });
    }

    fn written(&self, key: &Key, bytes: u64) {
        // Nothing writes at a source.
        if self.end == End::Destination {
            self.add(key, |sums| sums.bytes_written_destination += bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_folders_only_and_forges_nothing() {
        for (key, depth, wanted) in [
            (&b"a/b/c.jpg"[..], 0, ""),
            (b"a/b/c.jpg", 1, "a/"),
            (b"a/b/c.jpg", 2, "a/b/"),
            (b"a/b/c.jpg", 3, "a/b/"),
            (b"c.jpg", 2, ""),
            (b"a//b", 2, "a//"),
            (b"/a", 1, "/"),
            (b"a\n\xff/x", 1, "a\\n\\xff/"),
            ("中/x".as_bytes(), 1, "中/"),
            (b"=HYPERLINK(1)/x", 1, "\\x3dHYPERLINK(1)/"),
            (b"(other)/x", 1, "(other)/"),
        ] {
            assert_eq!(prefix(key, depth), wanted, "{key:?} {depth}");
        }
    }
}
