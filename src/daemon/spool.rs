//! Keys in a file, as the engine takes them: one after the other, a NUL byte behind each.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::journal::disk::{self, blocking};
use crate::storage::Key;

/// A file of keys, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Spool(PathBuf);

impl Spool {
    /// Writes keys into a file of this name in a state directory.
    pub(super) async fn write(state: &Path, name: &str, keys: impl IntoIterator<Item = Key>) -> Result<Self> {
        let text: Vec<u8> = keys.into_iter().flat_map(|key| [key.as_bytes(), b"\0"].concat()).collect();
        let spool = Self(state.join("daemon").join(format!("keys-{name}")));
        let path = spool.0.clone();
        blocking(move || std::fs::write(&path, &text).map_err(|e| disk::failed(&path, "the keys to compare cannot be written", &e))).await?;
        Ok(spool)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes what a daemon that was killed has left.
    pub(super) fn sweep(state: &Path) {
        let Ok(entries) = std::fs::read_dir(state.join("daemon")) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("keys-"))) {
            drop(Self(entry.path()));
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // One that stays is swept at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}
