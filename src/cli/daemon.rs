//! `dragon daemon`: jobs that run for years, with their page, API and socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueHint};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::daemon as composed;
use crate::config::engine::Evidence;
use crate::config::watch::ConfigWatch;
use crate::daemon::api::{self, Access, Token};
use crate::daemon::setup::{Settings, Setup};
use crate::daemon::status::Trouble;
use crate::daemon::{Control, Daemon, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Keep, StateDir};
use crate::metrics::Metrics;

use super::exit::{self, Outcome};
use super::session::Session;
use super::socket;
use super::state;

/// How long the state may stand still before the watchdog is not told any more that all is well.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// Run the jobs of the configuration, each by its schedule, until SIGTERM
///
/// Reads the configuration again when it changes and on SIGHUP: what is valid applies without stopping what runs, what is not is refused and
/// the old one stays. The page and the API listen where [daemon] says; dragon jobs and dragon status speak to the socket.
#[derive(Debug, Args)]
pub(super) struct DaemonCommand {
    /// Keep journals, the audit log and the token here [default: [state] dir, or the user's state directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "State")]
    state_dir: Option<PathBuf>,
}

impl DaemonCommand {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let nowhere = || Error::invalid("a daemon needs a state directory").advise("name it with --state-dir DIR, or [state] dir");
        let state = state::directory(session, self.state_dir.as_deref()).ok_or_else(nowhere)?;
        if session.config.file.is_none() {
            return Err(Error::invalid("there is no configuration, and so there are no jobs")
                .advise("write dragon.toml, or name it with --config; dragon.toml.example shows all of it")
                .into());
        }
        for missing in session.config.missing() {
            tracing::warn!(%missing, "what the configuration refers to is not there: what needs it does not work until it is");
        }
        let metrics = Arc::new(Metrics::default());
        let first = composed::setup(&session.config, &session.clock, &metrics);
        let settings = first.settings.clone();
        let (setups, receiver) = watch::channel(Arc::new(first));
        let (reload, reloads) = mpsc::channel(1);
        let keep = match session.config.state.evidence.unwrap_or_default() {
            Evidence::Full => Some(Keep::Full),
            Evidence::Resume => Some(Keep::Resume),
            Evidence::None => None,
        };
        let options = Options { state: state.clone(), keep, clock: session.clock.clone(), setups: receiver.clone(), reload, metrics: metrics.clone() };
        let (daemon, control) = Daemon::open(options).await?;
        let ending = CancellationToken::new();
        let doors = open_doors(session, &state, &settings, control.clone(), receiver, &ending).await?;
        let watcher = ConfigWatch::new(session.lookup.clone(), &session.config, session.clock.clone());
        let _reloading = AbortOnDropHandle::new(tokio::spawn(follow_config(session.clock.clone(), watcher, setups, reloads, metrics)));
        let _watchdog = AbortOnDropHandle::new(tokio::spawn(tell_systemd(control, session.clock.clone())));
        notify(&[NotifyState::Ready]);
        let stopping = async {
            session.cancel.cancelled().await;
            notify(&[NotifyState::Stopping, NotifyState::Status("putting away what is underway")]);
        };
        let (ended, ()) = tokio::join!(daemon.run(session.cancel.clone()), async {
            tokio::select! {
                () = stopping => {}
                () = ending.cancelled() => {}
            }
        });
        ending.cancel();
        for door in doors {
            // Each ends by itself once it is told.
            let _ = door.await;
        }
        ended?;
        Ok(exit::OK)
    }
}

/// Opens the socket and, where one is configured, the address.
async fn open_doors(
    session: &Session,
    state: &StateDir,
    settings: &Settings,
    control: Control,
    setups: watch::Receiver<Arc<Setup>>,
    ending: &CancellationToken,
) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let (token, token_file) = Token::of(state.path())?;
    let mut hosts = settings.hosts.clone();
    hosts.push(rustix::system::uname().nodename().to_string_lossy().into_owned());
    hosts.extend(settings.listen.map(|listen| listen.ip().to_string()));
    let router = api::router(control, setups, Access::new(token, settings.token_required, hosts), session.clock.clone());
    let mut doors = Vec::new();
    let path = socket::own(&session.environment, state);
    let (at, served, clock, cancel) = (path.clone(), router.clone(), session.clock.clone(), ending.clone());
    let listener = api::Socket::bind(&path).await?;
    doors.push(tokio::spawn(async move { api::serve_socket(listener, served, clock, cancel).await }));
    tracing::info!(socket = %at.display(), "the command line is answered here");
    if let Some(address) = settings.listen {
        let cannot = |e: std::io::Error| Error::new(ErrorKind::Local, format!("the page cannot listen on {address}: {e}")).advise("change listen in [daemon]");
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let tls = settings.tls.as_ref().map(|(certificate, key)| api::tls(certificate, key)).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        // On standard output, so that a script that chose port 0 knows.
        session
            .output
            .line(&format!("ready page={scheme}://{bound}/ socket={} token={}", at.display(), token_file.display()))
            .map_err(|_| Error::new(ErrorKind::Local, "standard output is closed"))?;
        let (clock, cancel) = (session.clock.clone(), ending.clone());
        doors.push(tokio::spawn(api::serve(listener, tls, router, clock, cancel)));
    } else {
        session
            .output
            .line(&format!("ready socket={} token={}", at.display(), token_file.display()))
            .map_err(|_| Error::new(ErrorKind::Local, "standard output is closed"))?;
    }
    session.output.flush().map_err(|_| Error::new(ErrorKind::Local, "standard output is closed"))?;
    Ok(doors)
}

/// Takes over each new configuration that is valid, and tells of one that is not.
async fn follow_config(
    clock: crate::clock::Clock,
    mut watcher: ConfigWatch,
    setups: watch::Sender<Arc<Setup>>,
    mut reloads: mpsc::Receiver<()>,
    metrics: Arc<Metrics>,
) {
    // A process without SIGHUP has the file's changes still.
    let mut hangups = signal(SignalKind::hangup()).ok();
    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => {
                    hangups.recv().await;
                }
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            changed = watcher.changed() => changed,
            () = hangup => watcher.read().await,
            Some(()) = reloads.recv() => watcher.read().await,
        };
        notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Status("reading the configuration"))]);
        match read {
            Ok(config) => {
                tracing::info!(revision = config.revision(), "a new configuration is in force");
                setups.send_replace(Arc::new(composed::setup(&config, &clock, &metrics)));
            }
            Err(errors) => {
                let first = errors.first().map(ToString::to_string).unwrap_or_default();
                let more = if errors.len() > 1 { format!(" ({} more: see dragon config check)", errors.len() - 1) } else { String::new() };
                tracing::error!(error = first, "the new configuration is refused, the old one stays in force");
                let refused = Trouble {
                    at: clock.now(),
                    message: format!("{first}{more}"),
                    advice: Some("dragon config check says all of it".into()),
                    key: None,
                    code: None,
                    request_id: None,
                };
                let old = setups.borrow().clone();
                setups.send_replace(Arc::new(Setup { refused: Some(refused), ..(*old).clone() }));
            }
        }
        notify(&[NotifyState::Ready]);
    }
}

/// Tells systemd how it goes, and that all is well as long as the state is looked at.
async fn tell_systemd(control: Control, clock: crate::clock::Clock) {
    let every = sd_notify::watchdog_enabled().map_or(Duration::from_secs(10), |limit| limit / 3);
    let mut changes = control.changes();
    let mut seen = clock.instant();
    loop {
        clock.sleep(every).await;
        if changes.has_changed().unwrap_or(false) {
            seen = clock.instant();
        }
        let snapshot = changes.borrow_and_update().clone();
        let count = |wanted: fn(&crate::daemon::status::JobStatus) -> bool| snapshot.jobs.iter().filter(|job| wanted(job)).count();
        let status =
            format!("{} jobs, {} running, {} in trouble", snapshot.jobs.len(), count(|job| job.current.is_some()), count(|job| job.state.is_trouble()));
        notify(&[NotifyState::Status(&status)]);
        if seen.elapsed() < STALE_AFTER {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

/// Tells systemd. Where there is none, nobody hears it.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
