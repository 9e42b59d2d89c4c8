//! `[engine]`, `[state]` and `[daemon]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Environment;
use super::section::{Section, suggest};
use super::transfer::Resources;
use super::units::{self, GiveUp};
use crate::daemon::alert::{AlertKind, Format, Target, Way};
use crate::daemon::setup::Settings;
use crate::error::Error;

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
    /// Where its API and status page listen; `None` is nowhere but on the Unix socket.
    pub listen: Option<SocketAddr>,
    /// Names under which the page may be asked for, beside those that are known.
    pub hosts: Vec<String>,
    /// Certificate chain and key (PEM).
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether the token is needed to read as well.
    pub token: bool,
    /// How many jobs run at a time.
    pub jobs_at_a_time: usize,
    /// How long a drain may take.
    pub drain: Duration,
    /// For how long full files of the audit log are kept; `None` is for ever.
    pub audit_keep: Option<Duration>,
    /// Who is told what.
    pub alerts: Vec<Target>,
    /// References of its alerts to variables and files that did not resolve: those alerts reach nobody.
    pub missing: Vec<Error>,
}

impl Default for Daemon {
    fn default() -> Self {
        let Settings { listen, jobs_at_a_time, drain, audit_keep, .. } = Settings::default();
        Self { listen, hosts: Vec::new(), tls: None, token: false, jobs_at_a_time, drain, audit_keep, alerts: Vec::new(), missing: Vec::new() }
    }
}

impl Daemon {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let usual = Self::default();
        let listen = section.parsed("listen", "an address such as \"127.0.0.1:3746\"", &[], |text| match text {
            "off" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| format!("'{text}' is no address and port such as 127.0.0.1:3746, nor off")),
        });
        let tls = match (section.path("tls_certificate"), section.path("tls_key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                section.problem("", "tls_certificate and tls_key go together", "");
                None
            }
        };
        let token = section.boolean("token");
        let listen = listen.unwrap_or(usual.listen);
        let is_public = listen.is_some_and(|listen| !listen.ip().is_loopback());
        if is_public && token == Some(false) {
            section.problem("token", "whoever reaches this address could read everything", "leave it out: there the token is needed, or listen on 127.0.0.1");
        }
        let jobs_at_a_time = section.number("jobs_at_a_time");
        if jobs_at_a_time == Some(0) {
            section.problem("jobs_at_a_time", "no job would ever run", "");
        }
        let mut missing = Vec::new();
        Self {
            listen,
            hosts: section.texts("hosts"),
            tls,
            token: token.unwrap_or(is_public),
            jobs_at_a_time: jobs_at_a_time.and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or(usual.jobs_at_a_time),
            drain: section.duration("drain").unwrap_or(usual.drain),
            audit_keep: section
                .parsed("audit_keep", "a duration such as \"400d\", or \"off\"", &[], units::parse_give_up)
                .map_or(usual.audit_keep, GiveUp::limit),
            alerts: read_alerts(section, &mut missing),
            missing,
        }
    }
}

/// `[[daemon.alerts]]`.
fn read_alerts(section: &mut Section<'_>, missing: &mut Vec<Error>) -> Vec<Target> {
    /// How often a trouble that goes on is told of.
    const REPEAT: Duration = Duration::from_secs(24 * 3600);
    let mut targets = Vec::new();
    for mut alert in section.tables("alerts") {
        let (url, command) = (alert.secret("webhook"), alert.texts("command"));
        let format =
            alert.choice("format", &[("generic", Format::Generic), ("slack", Format::Generic), ("dingtalk", Format::DingTalk), ("feishu", Format::Feishu)]);
        let way = match (url, command) {
            (Some(url), command) if command.is_empty() => Some(Way::Webhook { url: url.expose().to_owned(), format: format.unwrap_or_default() }),
            (None, program) if !program.is_empty() => Some(Way::Command { program }),
            _ => {
                if !alert.has("webhook") || alert.has("command") {
                    alert.problem("", "an alert goes either to a webhook or to a command", "add webhook = \"env:NAME\" or command = [\"/path\"]");
                }
                None
            }
        };
        let words = alert.texts("on");
        let known = |word: &String| AlertKind::ALL.iter().find(|(name, _)| name == word).map(|(_, kind)| *kind);
        for word in words.iter().filter(|word| known(word).is_none()) {
            alert.problem("on", format!("nothing is told of '{word}'"), suggest(word, AlertKind::ALL.iter().map(|(name, _)| *name)));
        }
        let on = if words.is_empty() { AlertKind::ALL.iter().map(|(_, kind)| *kind).collect() } else { words.iter().filter_map(known).collect() };
        let repeat = alert.duration("repeat").unwrap_or(REPEAT);
        targets.extend(way.map(|way| Target { way, on, repeat }));
        missing.extend(alert.finish());
    }
    targets
}
