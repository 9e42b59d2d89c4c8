//! Notices when the configuration changes: the file itself, however an editor or Kubernetes replaces it, and the files that its secrets come
//! from.
//!
//! Directories are watched, since a file that is replaced is another file; and every so often the contents are looked at, for file systems
//! that tell nothing. What counts is the content: a file that was only touched has not changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::daemon::secret_files;
use super::{Config, Lookup};
use crate::clock::Clock;
use crate::error::Error;

/// How long files are left alone after they changed.
const QUIET: Duration = Duration::from_millis(300);
/// How often contents are looked at where nothing tells.
const POLL: Duration = Duration::from_secs(30);

/// A configuration that is watched.
pub struct ConfigWatch {
    lookup: Lookup,
    clock: Clock,
    /// What was last seen, valid or not.
    seen: [u8; 32],
    changes: mpsc::Receiver<()>,
    /// Told to look again.
    nudge: mpsc::Sender<()>,
    /// `None` where the system watches nothing.
    _watcher: Option<notify::RecommendedWatcher>,
}

impl ConfigWatch {
    /// Begins to watch what a lookup finds; `config` is what it has found.
    pub fn new(mut lookup: Lookup, config: &Config, clock: Clock) -> Self {
        // From now on that file and no other, so that one that is away for a moment does not make another one count.
        lookup.file = config.file.clone().or(lookup.file);
        let (nudge, changes) = mpsc::channel(1);
        let send = nudge.clone();
        let seen = contents(&lookup);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // One that waits already is enough.
                let _ = send.try_send(());
            }
        });
        let watched = watcher.and_then(|mut watcher| {
            for dir in directories(&lookup) {
                watcher.watch(&dir, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let watcher = watched.map_err(|error| tracing::warn!(%error, "changes of the configuration are not told; it is looked at every 30 s")).ok();
        Self { lookup, clock, seen, changes, nudge, _watcher: watcher }
    }

    /// What tells it to look again, as SIGHUP does.
    pub fn nudge(&self) -> mpsc::Sender<()> {
        self.nudge.clone()
    }

    /// Waits until the content is another one, and reads it. Safe to drop.
    ///
    /// An error is what is wrong with it: the old one stays in force.
    pub async fn changed(&mut self) -> Result<Arc<Config>, Vec<Error>> {
        loop {
            tokio::select! {
                _ = self.changes.recv() => {}
                () = self.clock.sleep(POLL) => {}
            }
            self.clock.sleep(QUIET).await;
            while self.changes.try_recv().is_ok() {}
            let lookup = self.lookup.clone();
            let now = tokio::task::spawn_blocking(move || contents(&lookup)).await.unwrap_or(self.seen);
            if now != self.seen {
                self.seen = now;
                return self.read().await;
            }
        }
    }

    /// Reads it now.
    pub async fn read(&mut self) -> Result<Arc<Config>, Vec<Error>> {
        let lookup = self.lookup.clone();
        let read = tokio::task::spawn_blocking(move || Config::load_all(&lookup)).await;
        read.map_err(|e| vec![Error::invalid(format!("the configuration could not be read: {e}"))])?.map(Arc::new)
    }
}

/// A digest of the text, and of the secrets' files.
fn contents(lookup: &Lookup) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in files(lookup) {
        // A file that is not there is another content than an empty one.
        match std::fs::read(&file) {
            Ok(bytes) => {
                digest.update((bytes.len() as u64).to_le_bytes());
                digest.update(bytes);
            }
            Err(_) => digest.update([0xff]),
        }
    }
    digest.finalize().into()
}

/// The configuration's file, and those that its secrets come from.
fn files(lookup: &Lookup) -> Vec<PathBuf> {
    let Some(file) = lookup.file.as_ref().map(|file| lookup.directory.join(file)) else { return Vec::new() };
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let credentials = lookup.environment.path("CREDENTIALS_DIRECTORY");
    let secrets = secret_files(&text).into_iter().filter_map(|path| match path.strip_prefix("${CREDENTIALS_DIRECTORY}") {
        Ok(rest) => credentials.as_ref().map(|dir| dir.join(rest)),
        Err(_) => Some(base.join(path)),
    });
    std::iter::once(file.clone()).chain(secrets).collect()
}

/// The directories in which these files, and what they are links to, are replaced.
fn directories(lookup: &Lookup) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = files(lookup)
        .into_iter()
        .flat_map(|file| [Some(file.clone()), std::fs::canonicalize(&file).ok()])
        .flatten()
        .filter_map(|file| file.parent().map(|dir| if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_owned() }))
        .filter(|dir| dir.is_dir())
        .collect();
    dirs.sort_unstable();
    dirs.dedup();
    dirs
}

#[cfg(test)]
mod tests {
    use super::super::secret::Environment;
    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
        watch: ConfigWatch,
    }

    const ONE: &str = "[stores.a]\ntype = \"s3\"\nregion = \"us-east-1\"\naccess_key_id = \"x\"\nsecret_access_key = \"file:secret\"\n";

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::write(dir.path().join("secret"), "one").expect("written");
            std::fs::write(dir.path().join("dragon.toml"), ONE).expect("written");
            let lookup = Lookup { file: Some(dir.path().join("dragon.toml")), settings: vec![], environment: Environment::default(), directory: "/".into() };
            let config = Config::load(&lookup).expect("valid");
            Self { watch: ConfigWatch::new(lookup, &config, Clock::system()), dir }
        }

        async fn next(&mut self) -> Result<usize, String> {
            let changed = tokio::time::timeout(Duration::from_secs(20), self.watch.changed()).await.expect("noticed");
            changed.map(|config| config.stores.len()).map_err(|errors| errors[0].to_string())
        }
    }

    #[tokio::test]
    async fn whatever_way_it_changes_it_is_noticed() {
        let mut bench = Bench::new();
        let path = bench.dir.path().join("dragon.toml");
        // An editor that renames.
        std::fs::write(bench.dir.path().join("draft"), format!("{ONE}[stores.b]\ntype = \"oss\"\nregion = \"cn-beijing\"\n")).expect("written");
        std::fs::rename(bench.dir.path().join("draft"), &path).expect("renamed");
        assert_eq!(bench.next().await, Ok(4));
        std::fs::write(&path, "[stores.a]\ntyp = 1\n").expect("written");
        assert!(bench.next().await.is_err_and(|error| error.contains("stores.a")), "broken");
        std::fs::write(&path, ONE).expect("written");
        assert_eq!(bench.next().await, Ok(3), "mended");
        std::fs::write(bench.dir.path().join("secret"), "two").expect("written");
        assert_eq!(bench.next().await, Ok(3), "a secret alone");
        bench.watch.nudge().try_send(()).expect("room");
        let unchanged = tokio::time::timeout(Duration::from_millis(800), bench.watch.changed()).await;
        assert!(unchanged.is_err(), "the same content is no change");
    }

    #[tokio::test]
    async fn links_that_are_swapped_are_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in [("v1", ONE), ("v2", "[stores.c]\ntype = \"s3\"\nregion = \"us-east-1\"\n[stores.d]\ntype = \"s3\"\nregion = \"us-east-1\"\n")] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
            std::fs::write(dir.path().join(name).join("secret"), "x").expect("written");
            std::fs::write(dir.path().join(name).join("dragon.toml"), text).expect("written");
        }
        // As Kubernetes mounts it: dragon.toml -> ..data/dragon.toml, ..data -> v1.
        std::os::unix::fs::symlink("v1", dir.path().join("..data")).expect("linked");
        std::os::unix::fs::symlink("..data/dragon.toml", dir.path().join("dragon.toml")).expect("linked");
        std::os::unix::fs::symlink("..data/secret", dir.path().join("secret")).expect("linked");
        let lookup = Lookup { file: Some(dir.path().join("dragon.toml")), settings: vec![], environment: Environment::default(), directory: "/".into() };
        let config = Config::load(&lookup).expect("valid");
        let mut bench = Bench { watch: ConfigWatch::new(lookup, &config, Clock::system()), dir };
        std::os::unix::fs::symlink("v2", bench.dir.path().join("..next")).expect("linked");
        std::fs::rename(bench.dir.path().join("..next"), bench.dir.path().join("..data")).expect("swapped");
        assert_eq!(bench.next().await, Ok(4));
    }
}
