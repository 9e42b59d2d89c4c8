//! Telling a person: a webhook or a command, once for each trouble and again when it is over.
//!
//! # Invariants
//! - A job never waits for an alert: what cannot be queued or sent is logged and counted.
//! - The same trouble of the same job is told once, and again after [`Target::repeat`].

use std::collections::HashMap;
use std::fmt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// Alerts that wait to be sent.
const QUEUE_MAX: usize = 256;
/// How long one attempt may take.
const WEBHOOK_MAX: Duration = Duration::from_secs(10);
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// Attempts at one alert, and the wait before the second one, which doubles.
const ATTEMPTS_MAX: u32 = 4;
const WAIT: Duration = Duration::from_secs(2);

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// A job's runs fail.
    Failing,
    /// A mirror is further behind than it may be.
    Lagging,
    /// A guard refused: deletes, an empty source, data that must not leave.
    Refused,
    /// A store's account is in arrears or disabled.
    Arrears,
    /// Bytes did not prove.
    Proof,
    /// A new configuration was refused.
    Config,
    /// Somebody tries whether alerts arrive.
    Test,
}

impl AlertKind {
    /// Every kind that can be chosen, with its word.
    pub const ALL: [(&'static str, Self); 6] = [
        ("failing", Self::Failing),
        ("lagging", Self::Lagging),
        ("refused", Self::Refused),
        ("arrears", Self::Arrears),
        ("proof", Self::Proof),
        ("config", Self::Config),
    ];
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What about.
    pub kind: AlertKind,
    /// The job, where it is one's.
    pub job: Option<String>,
    /// It is over.
    pub recovered: bool,
    /// What happened, in a sentence.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The machine.
    pub host: String,
}

impl Alert {
    /// All of it in one line of text.
    pub fn text(&self) -> String {
        let subject = self.job.as_ref().map_or_else(|| "dragon".to_owned(), |job| format!("dragon job '{job}'"));
        let over = if self.recovered { "over: " } else { "" };
        let advice = self.advice.as_ref().map_or_else(String::new, |advice| format!("; {advice}"));
        format!("{subject} on {}: {over}{}{advice}", self.host, self.message)
    }
}

/// Where to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertSettings {
    /// Each is told what it asks for.
    pub targets: Vec<Target>,
}

/// One place that is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// How.
    pub way: Way,
    /// What; nothing else.
    pub on: Vec<AlertKind>,
    /// After how long a trouble that goes on is told again.
    pub repeat: Duration,
}

/// How a target is told.
#[derive(Clone, PartialEq)]
pub enum Way {
    /// A POST.
    Webhook {
        /// Where to; a secret, since most services put their token into it.
        url: String,
        /// What the body looks like.
        format: Format,
    },
    /// A program, with the alert as JSON on its standard input.
    Command {
        /// The program and its arguments.
        program: Vec<String>,
    },
}

/// What a webhook's body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The alert's fields, and `text`: all of it in a line, which Slack and Mattermost show.
    #[default]
    Generic,
    /// DingTalk and WeCom.
    DingTalk,
    /// Feishu.
    Feishu,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { url, .. } => {
                let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).and_then(|host| host.rsplit('@').next());
                write!(f, "webhook at {}", host.unwrap_or("?"))
            }
            Self::Command { program } => write!(f, "command {}", program.first().map_or("?", String::as_str)),
        }
    }
}

/// Sends alerts. Cheap to clone; clones share what was told.
#[derive(Debug, Clone)]
pub struct Alerts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    host: String,
    state: Mutex<State>,
    queue: mpsc::Sender<(Target, Alert)>,
    failed: AtomicU64,
}

/// What a trouble is of, and which job's.
type Subject = (AlertKind, Option<String>);

#[derive(Debug, Default)]
struct State {
    settings: AlertSettings,
    /// What goes on, and when each target was last told of it.
    raised: HashMap<Subject, Vec<(Way, Timestamp)>>,
}

impl Alerts {
    /// Begins to send, in a task of its own.
    pub fn start(settings: AlertSettings, host: &str, clock: Clock) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(Target, Alert)>(QUEUE_MAX);
        let state = Mutex::new(State { settings, raised: HashMap::new() });
        let alerts = Self(Arc::new(Shared { clock: clock.clone(), host: host.to_owned(), state, queue, failed: AtomicU64::new(0) }));
        let shared = Arc::downgrade(&alerts.0);
        tokio::spawn(async move {
            while let Some((target, alert)) = waiting.recv().await {
                if let Err(error) = patiently(&target.way, &alert, &clock).await {
                    tracing::warn!(%error, target = %target.way, "an alert was not delivered");
                    if let Some(shared) = shared.upgrade() {
                        shared.failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        alerts
    }

    /// Tells others from now on.
    pub fn configure(&self, settings: AlertSettings) {
        self.state().settings = settings;
    }

    /// Alerts that could not be delivered.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Tells of a trouble, to whoever has not been told of it or whose time it is to be reminded.
    pub fn raise(&self, kind: AlertKind, job: Option<&str>, message: impl Into<String>, advice: Option<String>) {
        let now = self.0.clock.now();
        let alert = Alert { kind, job: job.map(str::to_owned), recovered: false, message: message.into(), advice, at: now, host: self.0.host.clone() };
        let mut state = self.state();
        let State { settings, raised } = &mut *state;
        let told = raised.entry((kind, alert.job.clone())).or_default();
        for target in settings.targets.iter().filter(|target| target.on.contains(&kind)) {
            let due = |at: &Timestamp| Duration::try_from(now.duration_since(*at)).is_ok_and(|since| since >= target.repeat);
            match told.iter_mut().find(|(way, _)| *way == target.way) {
                Some((_, at)) if due(at) => *at = now,
                Some(_) => continue,
                None => told.push((target.way.clone(), now)),
            }
            self.send(target.clone(), alert.clone());
        }
    }

    /// Tells those who know of a trouble that it is over.
    pub fn clear(&self, kind: AlertKind, job: Option<&str>) {
        let mut state = self.state();
        let Some(told) = state.raised.remove(&(kind, job.map(str::to_owned))) else { return };
        let message = match kind {
            AlertKind::Lagging => "the mirror has caught up",
            AlertKind::Config => "the configuration is valid again",
            _ => "runs end well again",
        };
        let alert = Alert {
            kind,
            job: job.map(str::to_owned),
            recovered: true,
            message: message.into(),
            advice: None,
            at: self.0.clock.now(),
            host: self.0.host.clone(),
        };
        let targets: Vec<Target> = state.settings.targets.iter().filter(|target| told.iter().any(|(way, _)| *way == target.way)).cloned().collect();
        drop(state);
        targets.into_iter().for_each(|target| self.send(target, alert.clone()));
    }

    /// Sends a test to every target and tells how each took it.
    pub async fn test(&self) -> Vec<(String, Result<()>)> {
        let targets = self.state().settings.targets.clone();
        let alert = Alert {
            kind: AlertKind::Test,
            job: None,
            recovered: false,
            message: "this is a test: alerts arrive".into(),
            advice: None,
            at: self.0.clock.now(),
            host: self.0.host.clone(),
        };
        let tries = targets.into_iter().map(|target| {
            let alert = alert.clone();
            async move { (target.way.to_string(), deliver(&target.way, &alert).await) }
        });
        futures::future::join_all(tries).await
    }

    fn send(&self, target: Target, alert: Alert) {
        if self.0.queue.try_send((target, alert)).is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("an alert was dropped: too many wait to be delivered");
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn patiently(way: &Way, alert: &Alert, clock: &Clock) -> Result<()> {
    for tried in 1.. {
        match deliver(way, alert).await {
            Err(error) if tried < ATTEMPTS_MAX => {
                tracing::debug!(%error, "trying an alert again");
                clock.sleep(WAIT * 2u32.pow(tried - 1)).await;
            }
            ended => return ended,
        }
    }
    Ok(())
}

async fn deliver(way: &Way, alert: &Alert) -> Result<()> {
    match way {
        Way::Webhook { url, format } => post(url, &body(*format, alert)).await.map_err(|e| e.on_key(way)),
        Way::Command { program } => run(program, alert).await.map_err(|e| e.on_key(way)),
    }
}

fn body(format: Format, alert: &Alert) -> serde_json::Value {
    match format {
        Format::Generic => {
            let mut body = serde_json::to_value(alert).unwrap_or_default();
            body["text"] = alert.text().into();
            body
        }
        Format::DingTalk => serde_json::json!({ "msgtype": "text", "text": { "content": alert.text() } }),
        Format::Feishu => serde_json::json!({ "msg_type": "text", "content": { "text": alert.text() } }),
    }
}

async fn post(url: &str, body: &serde_json::Value) -> Result<()> {
    // An error of reqwest names the URL, which is a secret.
    let failed = |e: reqwest::Error| Error::new(ErrorKind::Unavailable, e.without_url().to_string());
    let client = reqwest::Client::builder().timeout(WEBHOOK_MAX).redirect(reqwest::redirect::Policy::none()).build().map_err(failed)?;
    let answer = client.post(url).json(body).send().await.map_err(failed)?;
    if answer.status().is_success() { Ok(()) } else { Err(Error::new(ErrorKind::Unavailable, format!("it answered HTTP {}", answer.status().as_u16()))) }
}

async fn run(program: &[String], alert: &Alert) -> Result<()> {
    let failed = |e: std::io::Error| Error::new(ErrorKind::Local, format!("it does not run: {e}"));
    let Some((program, arguments)) = program.split_first() else { return Err(Error::invalid("there is no command")) };
    let json = serde_json::to_vec(alert).map_err(|e| Error::new(ErrorKind::Unexpected, e.to_string()))?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("DRAGON_ALERT_JOB", alert.job.as_deref().unwrap_or_default())
        .env("DRAGON_ALERT_TEXT", alert.text())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut input = child.stdin.take();
    let ended = tokio::time::timeout(COMMAND_MAX, async {
        if let Some(input) = &mut input {
            // A program that reads nothing closes its end: that is its affair.
            let _ = input.write_all(&json).await;
        }
        drop(input);
        child.wait().await
    });
    let status = ended.await.map_err(|_| Error::new(ErrorKind::Local, format!("it had not ended after {COMMAND_MAX:?}")))?.map_err(failed)?;
    if status.success() { Ok(()) } else { Err(Error::new(ErrorKind::Local, format!("it ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::State as Shelf;
    use axum::routing::post as on_post;

    type Received = Arc<Mutex<Vec<serde_json::Value>>>;

    async fn hook() -> (String, Received) {
        let received = Received::default();
        let take = |Shelf(received): Shelf<Received>, axum::Json(body): axum::Json<serde_json::Value>| async move {
            received.lock().expect("no panic").push(body);
        };
        let router = Router::new().route("/hook", on_post(take)).with_state(received.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://token-abc@{}/hook", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, received)
    }

    fn target(url: &str, format: Format) -> Target {
        let way = Way::Webhook { url: url.into(), format };
        Target { way, on: vec![AlertKind::Failing], repeat: Duration::from_secs(3600) }
    }

    async fn until(received: &Received, count: usize) -> Vec<serde_json::Value> {
        for _ in 0..500 {
            if received.lock().expect("no panic").len() >= count {
                break;
            }
            Clock::system().sleep(Duration::from_millis(10)).await;
        }
        received.lock().expect("no panic").clone()
    }

    #[tokio::test]
    async fn a_trouble_is_told_once_and_when_it_is_over() {
        let (url, received) = hook().await;
        let alerts = Alerts::start(AlertSettings { targets: vec![target(&url, Format::Generic)] }, "here", Clock::system());
        for _ in 0..3 {
            alerts.raise(AlertKind::Failing, Some("photos"), "access denied", Some("check the key".into()));
            alerts.raise(AlertKind::Lagging, Some("photos"), "not asked for", None);
        }
        alerts.clear(AlertKind::Failing, Some("photos"));
        alerts.clear(AlertKind::Failing, Some("photos"));
        alerts.raise(AlertKind::Failing, Some("logs"), "access denied", None);
        let received = until(&received, 3).await;
        let told: Vec<_> = received.iter().map(|alert| (alert["job"].as_str().expect("a job"), alert["recovered"].as_bool().expect("known"))).collect();
        assert_eq!(told, [("photos", false), ("photos", true), ("logs", false)]);
        assert_eq!(received[0]["text"], "dragon job 'photos' on here: access denied; check the key");
    }

    #[tokio::test]
    async fn each_service_gets_its_own_shape() {
        let (url, received) = hook().await;
        let targets = vec![target(&url, Format::DingTalk), target(&url, Format::Feishu)];
        let alerts = Alerts::start(AlertSettings { targets }, "here", Clock::system());
        assert!(alerts.test().await.into_iter().all(|(_, sent)| sent.is_ok()));
        let mut received = until(&received, 2).await;
        received.sort_by_key(|body| body.to_string());
        assert!(received[0]["content"]["text"].as_str().is_some_and(|text| text.contains("this is a test")), "{received:?}");
        assert!(received[1]["text"]["content"].is_string());
    }

    #[tokio::test]
    async fn a_command_is_told_and_one_that_fails_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("told");
        let command =
            |script: String| Target { way: Way::Command { program: vec!["/bin/sh".into(), "-c".into(), script] }, on: vec![], repeat: Duration::ZERO };
        let targets = vec![
            command(format!("cat > {}", file.display())),
            command("exit 3".into()),
            Target { way: Way::Command { program: vec!["/nowhere/x".into()] }, on: vec![], repeat: Duration::ZERO },
        ];
        let told = Alerts::start(AlertSettings { targets }, "here", Clock::system()).test().await;
        assert!(told[0].1.is_ok(), "{:?}", told[0]);
        assert!(told[1].1.as_ref().is_err_and(|e| e.to_string().contains("exit status: 3")), "{:?}", told[1]);
        assert!(told[2].1.as_ref().is_err_and(|e| e.to_string().contains("does not run")), "{:?}", told[2]);
        assert!(std::fs::read_to_string(file).expect("written").contains("alerts arrive"));
    }

    #[tokio::test]
    async fn an_address_with_a_token_is_shown_nowhere() {
        let way = Way::Webhook { url: "https://hooks.example.com/services/T0/B0/secret".into(), format: Format::Generic };
        assert_eq!(format!("{way} {way:?}"), "webhook at hooks.example.com webhook at hooks.example.com");
        let alert =
            Alert { kind: AlertKind::Test, job: None, recovered: false, message: String::new(), advice: None, at: Timestamp::UNIX_EPOCH, host: String::new() };
        let nobody = Way::Webhook { url: "http://127.0.0.1:1/secret".into(), format: Format::Generic };
        let error = deliver(&nobody, &alert).await.expect_err("nobody is there").to_string();
        assert!(error.contains("127.0.0.1:1") && !error.contains("secret"), "{error}");
    }
}
