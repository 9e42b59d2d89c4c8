//! A walk through a tree in the order of object listings.
//!
//! A directory `a` holds keys that begin with `a/`, so among its siblings it stands where `a/` sorts: after `a-b` and `a.txt`,
//! before `a0`. Each directory's names are sorted with that `/`, and a depth-first walk then yields keys in byte order. Memory is
//! the names of the directories on the way down, nothing more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, Stat, fstat, statat, unlinkat};
use rustix::io::Errno;

use super::name::temporary_id;
use super::read::{etag, modified, size};
use super::root::{Root, step};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Entry, Key, Kind, List, OWN_MARK, Page};

/// What a walk comes upon.
#[derive(Debug)]
pub(super) enum Found {
    /// A file, or what stands in a file's place, with its stat where it has bytes.
    Entry { key: Vec<u8>, kind: Kind, stat: Option<Box<Stat>> },
    /// A folded directory that holds at least one entry; its key ends in `/`.
    Folder(Vec<u8>),
    /// An open multipart upload: the key of the directory that its own stands in, and the name of its own.
    Upload { directory: Vec<u8>, name: Vec<u8> },
}

/// How to walk.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) list: List,
    pub(super) follow: bool,
    /// Temporary files last written before this are the leavings of a crash, and are removed.
    pub(super) stale_before: Option<Timestamp>,
}

/// A walk that stands somewhere in the tree.
#[derive(Debug)]
pub(super) struct Walk {
    way: Way,
    stack: Vec<Frame>,
    /// While looking whether a folded directory holds anything: its depth and key.
    folding: Option<(usize, Vec<u8>)>,
}

/// A directory on the way down.
#[derive(Debug)]
struct Frame {
    fd: OwnedFd,
    /// Device and inode, by which a loop is noticed.
    id: (u64, u64),
    /// The key of the directory, with its `/`; empty for the root.
    key: Vec<u8>,
    /// Names one after the other, directories with a `/`.
    arena: Vec<u8>,
    names: Vec<Name>,
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    start: u32,
    len: u16,
    file_type: FileType,
}

impl Frame {
    /// Reads what lies in a directory and in the listing's range.
    fn read(fd: OwnedFd, key: Vec<u8>, way: &Way) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        // A boundary within this directory leaves names out here already: where a listing is cut into ranges, each holds its own names only.
        let below = |bound: &Option<Key>| bound.as_ref().and_then(|bound| bound.as_bytes().strip_prefix(&key[..])).map(<[u8]>::to_vec);
        let (after, upto) = (below(&way.list.after), below(&way.list.upto));
        let is_outside = |name: &[u8]| {
            let before = after.as_ref().is_some_and(|after| name <= &after[..] && !(name.ends_with(b"/") && after.starts_with(name)));
            let beyond = upto.as_ref().is_some_and(|upto| name > &upto[..]);
            (before || beyond) && name != OWN_MARK.as_bytes()
        };
        let (mut arena, mut names) = (Vec::new(), Vec::new());
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let mut file_type = entry.file_type();
            if file_type == FileType::Unknown {
                file_type = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode));
            }
            if way.follow && file_type == FileType::Symlink {
                // A link that leads nowhere stays a link.
                file_type = statat(&fd, name, AtFlags::empty()).map_or(file_type, |stat| FileType::from_raw_mode(stat.st_mode));
            }
            let start = u32::try_from(arena.len()).map_err(|_| io::Error::other("a directory with more than 4 GiB of names"))?;
            arena.extend_from_slice(name);
            if file_type == FileType::Directory {
                arena.push(b'/');
            }
            if is_outside(&arena[start as usize..]) {
                arena.truncate(start as usize);
                continue;
            }
            names.push(Name { start, len: (arena.len() - start as usize) as u16, file_type });
        }
        names.sort_unstable_by(|a, b| slice(&arena, *a).cmp(slice(&arena, *b)));
        Ok(Self { fd, id: (stat.st_dev as u64, stat.st_ino as u64), key, arena, names, next: 0 })
    }

    /// Whether it is where Dragon keeps its state.
    fn is_own(&self) -> bool {
        self.names.binary_search_by(|name| slice(&self.arena, *name).cmp(OWN_MARK.as_bytes())).is_ok()
    }

    fn bare_name(&self, name: Name) -> &[u8] {
        let bytes = slice(&self.arena, name);
        bytes.strip_suffix(b"/").unwrap_or(bytes)
    }
}

fn slice(arena: &[u8], name: Name) -> &[u8] {
    &arena[name.start as usize..][..name.len as usize]
}

impl Walk {
    /// Stands at the root.
    pub(super) fn begin(root: &Root, way: Way) -> Result<Self> {
        if way.list.delimiter.is_some_and(|d| d != b'/') {
            return Err(Error::unsupported("a directory tree folds at '/' only"));
        }
        root.check_present()?;
        let frame = Frame::read(root.directory(b"", false)?, Vec::new(), &way)?;
        Ok(Self { way, stack: vec![frame], folding: None })
    }

    /// Fills a page; `true` where the walk has ended. Uploads are not objects and are left out.
    pub(super) fn page(&mut self, keys_max: usize) -> Result<(Page, bool)> {
        let mut page = Page::new();
        while page.len() + page.prefixes().len() < keys_max {
            match self.step()? {
                None => return Ok((page, true)),
                Some(Found::Upload { .. }) => {}
                Some(Found::Folder(key)) => page.push_prefix(Key::new(key)),
                Some(Found::Entry { key, kind, stat }) => {
                    let etag = stat.as_deref().map(etag).unwrap_or_default();
                    let (size, modified) = stat.as_deref().map_or((0, None), |stat| (size(stat), modified(stat)));
                    page.push(Entry { key: &key, size, etag: etag.as_str(), modified, storage_class: "", kind });
                }
            }
        }
        Ok((page, false))
    }

    /// Goes on to the next thing, in key order.
    pub(super) fn step(&mut self) -> Result<Option<Found>> {
        loop {
            let depth = self.stack.len();
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            if self.folding.as_ref().is_some_and(|(fold_depth, _)| *fold_depth == depth) {
                self.folding = None;
            }
            let Some(name) = frame.names.get(frame.next).copied() else {
                self.stack.pop();
                continue;
            };
            frame.next += 1;
            let key = [&frame.key[..], slice(&frame.arena, name)].concat();
            if self.way.list.upto.as_ref().is_some_and(|upto| key.as_slice() > upto.as_bytes()) {
                // Everything from here on is beyond.
                self.stack.clear();
                return Ok(None);
            }
            let found = match name.file_type {
                FileType::Directory => self.enter(key, name)?,
                _ => self.meet(key, name)?,
            };
            if let Some(found) = found {
                return Ok(Some(self.folded(found)));
            }
        }
    }

    /// An entry inside a directory that is being folded proves it not empty, and ends the look into it.
    fn folded(&mut self, found: Found) -> Found {
        if matches!(found, Found::Upload { .. }) {
            return found;
        }
        match self.folding.take() {
            Some((depth, key)) => {
                self.stack.truncate(depth);
                Found::Folder(key)
            }
            None => found,
        }
    }

    fn enter(&mut self, key: Vec<u8>, name: Name) -> Result<Option<Found>> {
        let list = &self.way.list;
        let prefix = list.prefix.as_bytes();
        let Some(frame) = self.stack.last() else { return Ok(None) };
        let bare = frame.bare_name(name);
        if temporary_id(bare).is_some() {
            return Ok(Some(Found::Upload { directory: frame.key.clone(), name: bare.to_vec() }));
        }
        let outside = !key.starts_with(prefix) && !prefix.starts_with(&key);
        let before = list.after.as_ref().is_some_and(|after| after.as_bytes() > key.as_slice() && !after.as_bytes().starts_with(&key));
        if outside || before {
            return Ok(None);
        }
        let opened = step(frame.fd.as_fd(), bare, self.way.follow).map_err(io::Error::from);
        let below = match opened.and_then(|fd| Frame::read(fd, key.clone(), &self.way)) {
            Ok(below) => below,
            // Gone since its parent was read: it is not there.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return self.unreadable(key, &e),
        };
        if below.is_own() {
            return Ok(None);
        }
        if self.stack.iter().any(|above| above.id == below.id) {
            let bare_key = key[..key.len() - 1].to_vec();
            return Ok(self.wanted(&bare_key).then_some(Found::Entry { key: bare_key, kind: Kind::Symlink, stat: None }));
        }
        if list.delimiter.is_some() && self.folding.is_none() && key.starts_with(prefix) && key.len() > prefix.len() {
            self.folding = Some((self.stack.len(), key));
        }
        self.stack.push(below);
        Ok(None)
    }

    fn meet(&self, key: Vec<u8>, name: Name) -> Result<Option<Found>> {
        let Some(frame) = self.stack.last() else { return Ok(None) };
        let bare = frame.bare_name(name);
        if temporary_id(bare).is_some() {
            self.sweep(frame, bare, &key);
            return Ok(None);
        }
        if !self.wanted(&key) {
            return Ok(None);
        }
        let kind = match name.file_type {
            FileType::RegularFile => Kind::Object,
            FileType::Symlink => Kind::Symlink,
            FileType::Unknown => Kind::Unreadable,
            _ => Kind::Special,
        };
        if kind != Kind::Object {
            return Ok(Some(Found::Entry { key, kind, stat: None }));
        }
        let flags = if self.way.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        match statat(&frame.fd, bare, flags) {
            Ok(stat) => Ok(Some(Found::Entry { key, kind, stat: Some(Box::new(stat)) })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => self.unreadable(key, &e.into()),
        }
    }

    /// Below here all is unknown. That is an entry of its own where it lies within the listing, and the listing's end where the
    /// listing lies within it.
    fn unreadable(&self, key: Vec<u8>, e: &io::Error) -> Result<Option<Found>> {
        let inside = key.starts_with(self.way.list.prefix.as_bytes());
        let exhausted = matches!(e.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM));
        if !inside || exhausted {
            let advice = if exhausted { "raise the limit of open files (ulimit -n)" } else { "give this user leave to read it" };
            let kind = if e.kind() == io::ErrorKind::PermissionDenied { ErrorKind::Denied } else { ErrorKind::Local };
            return Err(Error::new(kind, "a directory cannot be read").on_key(Key::new(key)).caused_by(io::Error::from(e.kind())).advise(advice));
        }
        tracing::warn!(key = %Key::from(&key[..]), error = %e, "cannot be read: what lies here is unknown");
        Ok(Some(Found::Entry { key, kind: Kind::Unreadable, stat: None }))
    }

    fn wanted(&self, key: &[u8]) -> bool {
        let list = &self.way.list;
        key.starts_with(list.prefix.as_bytes()) && list.after.as_ref().is_none_or(|after| key > after.as_bytes())
    }

    fn sweep(&self, frame: &Frame, name: &[u8], key: &[u8]) {
        let stat = statat(&frame.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let (Some(written), Some(limit)) = (stat.as_ref().and_then(modified), self.way.stale_before) else { return };
        if written < limit {
            match unlinkat(&frame.fd, name, AtFlags::empty()) {
                Ok(()) => tracing::info!(key = %Key::from(key), "removed a temporary file that a crash left behind"),
                Err(e) => tracing::debug!(key = %Key::from(key), error = %e, "a temporary file that a crash left behind stays"),
            }
        }
    }
}

/// How long a temporary file may rest before it counts as left behind: no write pauses for a day.
pub(super) const STALE_AFTER: Duration = Duration::from_hours(24);
