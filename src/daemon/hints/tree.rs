//! Changes of a local tree, as the system tells them.
//!
//! A file that is being written changes many times: it is hinted at when it has been quiet for `QUIET`, or has not been for `PATIENCE`.
//! A directory that comes or goes takes unknown keys with it, and the system may lose events: both are left to a scan.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Change, Hint, HintQueue};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Key;

/// How long a file is left alone after its last change, and how long at the most.
const QUIET: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);
/// How often quiet files are looked for.
const TICK: Duration = Duration::from_millis(100);
/// Events of the system that wait, and files that are not quiet yet.
const EVENTS_MAX: usize = 10_000;
const FILES_MAX: usize = 100_000;

/// Watches a tree until that fails.
///
/// Fails with [`ErrorKind::Local`] where the system watches no more (its limit of watches, a tree that is gone).
pub(super) async fn watch(root: &Path, queue: &HintQueue, clock: &Clock) -> Result<()> {
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let lost = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let dropped = lost.clone();
    let send = move |event: notify::Result<notify::Event>| {
        if sender.try_send(event).is_err() {
            dropped.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let root = tokio::fs::canonicalize(root).await.map_err(|e| Error::new(ErrorKind::Local, format!("{} cannot be watched: {e}", root.display())))?;
    let watched = root.clone();
    // It walks the tree.
    let watcher = tokio::task::spawn_blocking(move || {
        let mut watcher = notify::recommended_watcher(send)?;
        watcher.watch(&watched, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    let _watcher = watcher.await.map_err(|e| Error::new(ErrorKind::Unexpected, e.to_string()))?.map_err(|e| failed(&root, &e))?;
    // What happened before the watch is a scan's affair.
    queue.want_scan();
    let mut restless: HashMap<PathBuf, Restless> = HashMap::new();
    loop {
        let tick = tokio::select! {
            event = events.recv() => {
                let event = event.ok_or_else(|| Error::new(ErrorKind::Local, format!("{} is watched no more", root.display())))?;
                take(event.map_err(|e| failed(&root, &e))?, &mut restless, queue, clock);
                false
            }
            () = clock.sleep(TICK), if !restless.is_empty() => true,
        };
        if lost.swap(false, std::sync::atomic::Ordering::Relaxed) || restless.len() > FILES_MAX {
            restless.clear();
            queue.want_scan();
        }
        if tick {
            settle(&root, &mut restless, queue, clock);
        }
    }
}

/// A file that changes.
struct Restless {
    first: Instant,
    last: Instant,
    at: jiff::Timestamp,
}

fn take(event: notify::Event, restless: &mut HashMap<PathBuf, Restless>, queue: &HintQueue, clock: &Clock) {
    // The system has lost events.
    if event.need_rescan() {
        queue.want_scan();
    }
    let is_change = match event.kind {
        EventKind::Access(_) | EventKind::Any | EventKind::Other => false,
        // A directory that is moved takes along what is in it; one that is made may hold something by the time it is watched.
        EventKind::Create(notify::event::CreateKind::Folder) | EventKind::Remove(notify::event::RemoveKind::Folder) => {
            queue.want_scan();
            false
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) if event.paths.iter().any(|path| path.is_dir()) => {
            queue.want_scan();
            false
        }
        _ => true,
    };
    if !is_change {
        return;
    }
    let now = clock.instant();
    for path in event.paths {
        let file = restless.entry(path).or_insert_with(|| Restless { first: now, last: now, at: clock.now() });
        file.last = now;
    }
}

/// Hints at the files that have become quiet.
fn settle(root: &Path, restless: &mut HashMap<PathBuf, Restless>, queue: &HintQueue, clock: &Clock) {
    let now = clock.instant();
    let mut hints = Vec::new();
    restless.retain(|path, file| {
        let is_quiet = now.duration_since(file.last) >= QUIET || now.duration_since(file.first) >= PATIENCE;
        if is_quiet {
            hints.extend(hint(root, path, file.at, queue));
        }
        !is_quiet
    });
    if !hints.is_empty() {
        // Nobody waits for an acknowledgement.
        drop(queue.offer(hints));
    }
}

fn hint(root: &Path, path: &Path, at: jiff::Timestamp, queue: &HintQueue) -> Option<Hint> {
    let key = path.strip_prefix(root).ok().filter(|key| !key.as_os_str().is_empty())?;
    let name = path.file_name().unwrap_or_default().as_bytes();
    // What Dragon itself writes on the way to a file.
    if name.starts_with(b".") && name.ends_with(b".partial") {
        return None;
    }
    let change = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            queue.want_scan();
            return None;
        }
        Ok(_) => Change::Written,
        Err(_) => Change::Removed,
    };
    Some(Hint { bucket: String::new(), key: Key::from(key.as_os_str().as_bytes()), change, at: Some(at), sequencer: None, etag: None })
}

fn failed(root: &Path, e: &notify::Error) -> Error {
    let error = Error::new(ErrorKind::Local, format!("{} cannot be watched: {e}", root.display()));
    match e.kind {
        notify::ErrorKind::MaxFilesWatch => error.advise("raise fs.inotify.max_user_watches; until then scans find what changed"),
        _ => error.advise("until it can be, scans find what changed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn hinted(queue: &HintQueue, clock: &Clock) -> Vec<(String, Change)> {
        let mut all = Vec::new();
        for _ in 0..200 {
            clock.sleep(Duration::from_millis(20)).await;
            let taken = queue.take(100);
            all.extend(taken.iter().map(|pending| (pending.hint().key.to_string(), pending.hint().change)));
            taken.into_iter().for_each(super::super::Pending::done);
            if !all.is_empty() && queue.status().pending == 0 {
                break;
            }
        }
        all.sort();
        all
    }

    #[tokio::test]
    async fn files_are_hinted_at_once_they_are_quiet() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("sub")).expect("made");
        let (clock, root) = (Clock::system(), dir.path().to_owned());
        let queue = HintQueue::new("test".into(), clock.clone());
        let watching = tokio::spawn({
            let (queue, clock) = (queue.clone(), clock.clone());
            async move { watch(&root, &queue, &clock).await }
        });
        while !queue.wants_scan() {
            clock.sleep(Duration::from_millis(10)).await;
        }
        queue.scan_begins().clean();
        for n in 0..10 {
            std::fs::write(dir.path().join("sub/a"), vec![0; n]).expect("written");
        }
        std::fs::write(dir.path().join("sub/.a.dragon-1.partial"), b"x").expect("written");
        assert_eq!(hinted(&queue, &clock).await, [("sub/a".to_owned(), Change::Written)]);
        std::fs::rename(dir.path().join("sub/a"), dir.path().join("b")).expect("moved");
        assert_eq!(hinted(&queue, &clock).await, [("b".to_owned(), Change::Written), ("sub/a".to_owned(), Change::Removed)]);
        assert!(!queue.wants_scan());
        std::fs::create_dir(dir.path().join("new")).expect("made");
        std::fs::write(dir.path().join("new/c"), b"x").expect("written");
        for _ in 0..200 {
            if queue.wants_scan() {
                break;
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
        assert!(queue.wants_scan(), "what is in a directory that comes is a scan's affair");
        watching.abort();
    }

    #[tokio::test]
    async fn a_tree_that_is_not_there_is_told() {
        let clock = Clock::system();
        let error = watch(Path::new("/nowhere/at/all"), &HintQueue::new("test".into(), clock.clone()), &clock).await.expect_err("nothing");
        assert!(error.to_string().contains("/nowhere/at/all cannot be watched"), "{error}");
    }
}
