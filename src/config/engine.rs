//! `[engine]`, `[state]` and `[daemon]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Environment;
use super::section::Section;
use super::transfer::Resources;

/// `[engine]`: defaults for every transfer.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    /// Concurrency, part size, memory, bandwidth and patience, which flags of the same names override.
    pub resources: Resources,
    /// How often a request is tried again. `None` is the retry layer's default.
    pub retries: Option<u32>,
    /// Longest wait for a connection. `None` is the transport's default.
    pub connect_timeout: Option<Duration>,
    /// Longest silence of a connection in use. `None` is the transport's default.
    pub read_timeout: Option<Duration>,
    /// The congestion control that is asked for on each connection, or `system`. `None` is the transport's default.
    pub congestion_control: Option<String>,
}

impl Engine {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            resources: Resources::read(section),
            retries: section.parsed("retries", "a number", &["integer"], |text| match text.parse() {
                Ok(retries @ 0..=1000) => Ok(retries),
                _ => Err(format!("'{text}' is no number from 0 to 1000")),
            }),
            connect_timeout: timeout(section, "connect_timeout"),
            read_timeout: timeout(section, "read_timeout"),
            congestion_control: section.text("congestion_control"),
        }
    }
}

fn timeout(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    let timeout = section.duration(key)?;
    if timeout < Duration::from_secs(1) {
        section.problem(key, "a timeout below 1s fails on every slow road", "");
        return None;
    }
    Some(timeout)
}

/// `[state]`: where Dragon keeps what must outlive a run.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The directory. `None` is the user's own.
    pub dir: Option<PathBuf>,
    /// What journals keep. `None` is everything.
    pub evidence: Option<Evidence>,
}

/// What a journal keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evidence {
    /// What is in flight, and what was proved of each key.
    #[default]
    Full,
    /// What it takes to go on where a run stopped.
    Resume,
    /// Nothing: there is no journal.
    None,
}

impl State {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            dir: section.path("dir"),
            evidence: section.choice("evidence", &[("full", Evidence::Full), ("resume", Evidence::Resume), ("none", Evidence::None)]),
        }
    }

    /// The directory that is named here, else the user's own: `$XDG_STATE_HOME/dragon`, or `~/.local/state/dragon`. `None` where there
    /// is no home.
    pub fn directory(&self, environment: &Environment) -> Option<PathBuf> {
        let own = || environment.path("XDG_STATE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("dragon"));
        let home = || environment.path("HOME").map(|path| path.join(".local/state/dragon"));
        self.dir.clone().or_else(own).or_else(home)
    }
}

/// `[daemon]`.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Where its API and status page listen.
    pub listen: SocketAddr,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 3746)) }
    }
}

impl Daemon {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let listen = section.parsed("listen", "an address such as \"127.0.0.1:3746\"", &[], |text| {
            text.parse().map_err(|_| format!("'{text}' is no address and port such as 127.0.0.1:3746"))
        });
        listen.map_or_else(Self::default, |listen| Self { listen })
    }
}
