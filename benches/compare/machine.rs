//! On what machine, with which versions, a run was made.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::install;
use crate::peer::Peer;

/// All that a reader must know to judge the figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// The congestion control that new connections have.
    pub(crate) congestion: String,
    pub(crate) date: String,
    /// Dragon's commit, where there is a repository.
    pub(crate) commit: String,
    /// Versions of the clients.
    pub(crate) versions: Vec<(String, String)>,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
}

impl Machine {
    pub(crate) fn here(peers: &[Peer], dragon: &Path) -> Self {
        let memory_kib = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or_default();
        let versions = peers.iter().map(|peer| {
            let version = peer.version(dragon).unwrap_or_else(|why| format!("missing: {why}"));
            (peer.title().trim_matches('*').to_owned(), version)
        });
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_kib / (1 << 20) as f64,
            kernel: read("/proc/sys/kernel/osrelease"),
            congestion: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            commit: install::first_line(Path::new("git"), &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]).unwrap_or_default(),
            versions: versions.collect(),
        }
    }

    /// As a paragraph of Markdown.
    pub(crate) fn describe(&self) -> String {
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name}: {version}")).collect();
        format!(
            "{}, {} cores ({:.0} GiB), Linux {}, {} by default, {}, Dragon at {}. {}.",
            self.processor,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.congestion,
            self.date,
            self.commit,
            versions.join("; "),
        )
    }
}
