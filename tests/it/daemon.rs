//! The real daemon, black box: the two clouds of a dev server, a configuration, and what a newcomer and an attacker would do.

#![allow(clippy::disallowed_methods, reason = "a black box runs in real time, and these tests on threads of their own")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod page;
mod queues;
mod soak;
mod usage;

/// A secret that must never show.
const SECRET: &str = "dragon-secret";

/// Two clouds and a place for a daemon.
struct World {
    dir: tempfile::TempDir,
    clouds: Child,
    s3: String,
    oss: String,
}

/// A daemon that runs.
struct Running {
    child: Child,
    page: String,
    socket: PathBuf,
    token: String,
}

impl World {
    fn new() -> Self {
        Self::with_weather("seed=1")
    }

    fn with_weather(weather: &str) -> Self {
        let mut clouds = Command::new(env!("CARGO_BIN_EXE_dragon"))
            .args(["dev-server", "--s3-listen", "127.0.0.1:0", "--oss-listen", "127.0.0.1:0", "--weather", weather])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(clouds.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let word = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
        let (s3, oss) = (word("s3="), word("oss="));
        let world = Self { dir: tempfile::tempdir().expect("a folder"), clouds, s3, oss };
        std::fs::write(world.path("secret"), SECRET).expect("written");
        world.configure("");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The stores, the state and the door of every configuration here.
    fn head(&self) -> String {
        format!(
            "[stores.us]\ntype = \"s3\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"dragon\"\nsecret_access_key = \"file:secret\"\n\
             [stores.cn]\ntype = \"oss\"\nendpoint = \"{}\"\nregion = \"cn-hangzhou\"\naccess_key_id = \"dragon\"\naccess_key_secret = \"file:secret\"\n\
             [state]\ndir = \"{}\"\n",
            self.s3,
            self.oss,
            self.path("state").display(),
        )
    }

    fn configure(&self, jobs: &str) {
        let daemon = if jobs.contains("[daemon]") { "" } else { "[daemon]\nlisten = \"127.0.0.1:0\"\n" };
        // As an editor does it.
        std::fs::write(self.path("draft"), format!("{}{daemon}{jobs}", self.head())).expect("written");
        std::fs::rename(self.path("draft"), self.path("dragon.toml")).expect("renamed");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dragon"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .env("DRAGON_SOCKET", self.path("dragon.sock"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it runs")
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn put(&self, address: &str, text: &str) {
        std::fs::write(self.path("put.tmp"), text).expect("written");
        self.ok(&["cp", "./put.tmp", address, "-q"]);
    }

    fn listing(&self, address: &str) -> Vec<String> {
        self.ok(&["ls", "-r", address, "--json"])
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["key"].as_str().expect("a key").to_owned())
            .collect()
    }

    fn start(&self) -> Running {
        self.start_with(&[])
    }

    fn start_with(&self, environment: &[(&str, &str)]) -> Running {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.path("daemon.log")).expect("a log");
        let mut child =
            self.command(&["daemon", "--log-level", "debug"]).envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let word = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned();
        assert!(line.starts_with("ready "), "{line}{}", self.log());
        let token = std::fs::read_to_string(word("token=")).expect("a token").trim().to_owned();
        Running { child, page: word("page="), socket: word("socket=").into(), token }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    fn status(&self) -> Value {
        // It ends with 1 where a mirror needs somebody.
        serde_json::from_slice(&self.run(&["status", "--json"]).stdout).unwrap_or_default()
    }

    fn job(&self, name: &str) -> Value {
        self.status()["jobs"].as_array().into_iter().flatten().find(|job| job["name"] == name).cloned().unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.clouds.kill();
        let _ = self.clouds.wait();
    }
}

/// What an HTTP server answered.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Running {
    fn host(&self) -> &str {
        self.page.trim_start_matches("http://").trim_end_matches('/')
    }

    /// One request, with these headers and nothing else.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_ask(method, path, headers, body).expect("it listens")
    }

    fn try_ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.host())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let host = if headers.iter().any(|(name, _)| *name == "host") { String::new() } else { format!("host: {}\r\n", self.host()) };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        // A body that is too large may be refused before it is read.
        let _ = stream.write_all(request.as_bytes());
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs").success());
    }

    fn end(mut self) -> i32 {
        self.signal("-TERM");
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it drains in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds, or tells what does not.
#[track_caller]
fn until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const PHOTOS: &str = "[[jobs]]\nname = \"photos\"\nsource = \"us://photos/\"\ndestination = \"cn://photos-cn/\"\ndelete = true\n";

#[test]
fn a_mirror_follows_its_schedule_and_its_events() {
    let world = World::new();
    world.ok(&["mb", "us://photos"]);
    world.ok(&["mb", "cn://photos-cn"]);
    world.put("us://photos/a.txt", "a");
    world.configure(&format!("{PHOTOS}schedule = \"every 1h\"\nlag_max = \"2h\"\n[[jobs.events]]\ntype = \"webhook\"\ntoken = \"hint-token\"\n"));
    world.ok(&["config", "check"]);
    let daemon = world.start();
    assert!(world.ok(&["jobs", "run", "photos"]).contains("runs now"));
    until("the first run copies", 30, || world.listing("cn://photos-cn") == ["a.txt"]);
    until("it is in sync", 30, || world.job("photos")["state"] == "in-sync");
    // An event, well before the next run.
    world.put("us://photos/new/b c.txt", "b");
    let event = r#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"photos"},"object":{"key":"new/b+c.txt","sequencer":"0A"}}}]}"#;
    assert_eq!(daemon.ask("POST", "/api/v1/hints/photos", &[("authorization", "Bearer wrong")], event).status, 401);
    assert_eq!(daemon.ask("POST", "/api/v1/hints/photos", &[("authorization", "Bearer hint-token")], event).status, 200);
    until("the event's object is copied", 20, || world.listing("cn://photos-cn").len() == 2);
    until("its delay is known", 20, || world.job("photos")["hints"]["delay_median_ms"].is_u64());
    // The same again is old news; one for another bucket is nobody's.
    assert_eq!(daemon.ask("POST", "/api/v1/hints/photos", &[("authorization", "hint-token")], event).status, 200);
    until("old news is counted", 20, || world.job("photos")["hints"]["duplicates"] == 1);
    // A deletion: a scan finds that it is gone.
    world.ok(&["rm", "us://photos/a.txt"]);
    let gone = r#"{"Records":[{"eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"photos"},"object":{"key":"a.txt","sequencer":"0B"}}}]}"#;
    assert_eq!(daemon.ask("POST", "/api/v1/hints/photos", &[("authorization", "Bearer hint-token")], gone).status, 200);
    until("the mirror loses it as well", 40, || world.listing("cn://photos-cn") == ["new/b c.txt"]);
    // The page says it, and the trail is whole.
    let page = daemon.ask("GET", "/", &[], "");
    assert!(page.status == 200 && page.body.contains("All is well with 1 mirror") && page.body.contains("in sync as of"), "{}", page.body);
    assert!(world.ok(&["audit", "show", "--job", "photos"]).contains("\"event\":\"deleted\",\"key\":\"a.txt\""));
    assert_eq!(daemon.end(), 0, "{}", world.log());
    assert!(world.ok(&["audit", "verify"]).contains("every seal holds"));
    assert!(!world.path("dragon.sock").exists(), "the socket goes with the daemon");
}

#[test]
fn a_local_tree_is_followed() {
    let world = World::new();
    world.ok(&["mb", "cn://docs"]);
    std::fs::create_dir(world.path("docs")).expect("made");
    std::fs::write(world.path("docs/a"), "a").expect("written");
    world.configure(&format!(
        "[[jobs]]\nname = \"docs\"\nsource = \"{}/\"\ndestination = \"cn://docs/\"\nschedule = \"every 1h\"\nevents = \"notify\"\n",
        world.path("docs").display()
    ));
    let daemon = world.start();
    until("what was there is copied", 30, || world.listing("cn://docs") == ["a"]);
    std::fs::write(world.path("docs/b"), "b").expect("written");
    until("what comes is copied", 20, || world.listing("cn://docs") == ["a", "b"]);
    assert_eq!(daemon.end(), 0);
}

#[test]
fn a_broken_configuration_changes_nothing_and_a_new_job_disturbs_nobody() {
    let world = World::new();
    for bucket in ["us://photos", "cn://photos-cn", "us://logs", "cn://logs-cn"] {
        world.ok(&["mb", bucket]);
    }
    world.put("us://photos/a", "a");
    world.put("us://logs/l", "l");
    world.configure(&format!("{PHOTOS}schedule = \"every 1h\"\n"));
    let daemon = world.start();
    world.ok(&["jobs", "run", "photos"]);
    until("it runs", 30, || world.job("photos")["state"] == "in-sync");
    let revision = world.status()["config"]["revision"].clone();
    world.configure(&format!("{PHOTOS}schedul = \"every 1h\"\n"));
    daemon.signal("-HUP");
    until("the mistake is told", 20, || world.status()["config"]["refused"]["message"].as_str().is_some_and(|told| told.contains("schedul")));
    assert_eq!(world.status()["config"]["revision"], revision);
    assert_eq!(world.job("photos")["state"], "in-sync");
    assert!(daemon.ask("GET", "/", &[], "").body.contains("A new configuration was refused"));
    assert_eq!(daemon.ask("GET", "/readyz", &[], "").status, 200);
    // Mended, with a second job.
    world.configure(&format!(
        "{PHOTOS}schedule = \"every 1h\"\n[[jobs]]\nname = \"logs\"\nsource = \"us://logs/\"\ndestination = \"cn://logs-cn/\"\nschedule = \"every 2s\"\n"
    ));
    until("the new job runs", 30, || world.listing("cn://logs-cn") == ["l"]);
    assert!(world.status()["config"]["refused"].is_null());
    assert_eq!(world.job("photos")["recent_runs"].as_array().map(Vec::len), Some(1), "the other was left alone");
    // Gone again: it drains.
    world.configure(&format!("{PHOTOS}schedule = \"every 1h\"\n"));
    until("the job is gone", 20, || world.job("logs").is_null());
    assert_eq!(daemon.end(), 0);
    let again = world.start();
    until("what was known is known again", 20, || world.job("photos")["state"] == "in-sync");
    drop(again);
}

#[test]
fn at_three_in_the_morning() {
    let world = World::new();
    for bucket in ["us://photos", "cn://photos-cn"] {
        world.ok(&["mb", bucket]);
    }
    (0..4).for_each(|n| world.put(&format!("us://photos/{n}"), "x"));
    world.configure(&format!(
        "{PHOTOS}max_delete = 1\nschedule = \"every 1h\"\n[[jobs]]\nname = \"lost\"\nsource = \"us://nowhere/\"\ndestination = \"cn://elsewhere/\"\n"
    ));
    let daemon = world.start();
    world.ok(&["jobs", "run", "photos"]);
    until("in sync", 30, || world.job("photos")["state"] == "in-sync");
    (0..3).for_each(|n| drop(world.ok(&["rm", &format!("us://photos/{n}")])));
    world.ok(&["jobs", "run", "photos"]);
    until("the guard refuses", 30, || world.job("photos")["state"] == "refused");
    assert_eq!(world.run(&["status"]).status.code(), Some(1));
    assert_eq!(world.listing("cn://photos-cn").len(), 4, "nothing was deleted");
    world.ok(&["jobs", "run", "photos", "--max-delete", "3"]);
    until("once, it may", 30, || world.listing("cn://photos-cn") == ["3"]);
    let trail = world.ok(&["audit", "show"]);
    assert!(trail.contains("\"event\":\"refused\"") && trail.contains("max_delete = 3, by socket uid"), "{trail}");
    // A job that cannot work keeps its reason and takes nobody down.
    world.ok(&["jobs", "run", "lost"]);
    until("its reason is kept", 30, || world.job("lost")["why"].as_str().is_some_and(|why| why.contains("NoSuchBucket")));
    assert!(world.ok(&["jobs", "pause", "--all"]).contains("2 jobs are paused"));
    until("paused", 10, || world.job("photos")["state"] == "paused");
    assert!(world.ok(&["jobs", "resume", "photos"]).contains("resumed"));
    assert!(world.ok(&["limit", "photos", "1MiB/s", "--for", "2h"]).contains("at most 1048576 bytes a second until"));
    assert_eq!(world.job("photos")["limit"]["bytes_per_second"], 1 << 20);
    assert!(world.ok(&["limit", "photos", "off"]).contains("as configured"));
    for (args, told) in [
        (&["jobs", "run", "foto"][..], "there is no job 'foto'; there are: lost, photos"),
        (&["jobs", "cancel", "photos"], "does not run"),
        (&["jobs", "retry", "photos", "--failed"], "nothing of job 'photos' failed"),
        (&["limit", "photos", "20"], "ambiguous"),
        (&["alert", "test"], "there are no alerts"),
    ] {
        let output = world.run(args);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(told), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(daemon.end(), 0);
    let output = world.run(&["status"]);
    assert!(output.status.code() == Some(3) && String::from_utf8_lossy(&output.stderr).contains("is it running?"), "{output:?}");
}

#[test]
fn strangers_change_nothing_and_see_no_secret() {
    let world = World::new();
    world.ok(&["mb", "us://photos"]);
    world.ok(&["mb", "cn://photos-cn"]);
    world.put("us://photos/a", "a");
    world.configure(
        &format!("{PHOTOS}[[jobs.events]]\ntype = \"webhook\"\ntoken = \"hint-token-xyz\"\n[[daemon.alerts]]\nwebhook = \"http://127.0.0.1:9/hook-secret\"\n")
            .replace("[[daemon", "[daemon]\nlisten = \"127.0.0.1:0\"\n[[daemon"),
    );
    let daemon = world.start();
    let run = r#"{"action":"run","job":"photos"}"#;
    let json = ("content-type", "application/json");
    let bearer = daemon.bearer();
    let owner = ("authorization", bearer.as_str());
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| daemon.ask(method, path, headers, body).status;
    assert_eq!(ask("POST", "/api/v1/commands", &[json], run), 401, "without the token");
    assert_eq!(ask("POST", "/api/v1/commands", &[json, ("authorization", "Bearer x")], run), 401);
    assert_eq!(ask("POST", "/jobs/photos/run", &[], ""), 401);
    assert_eq!(ask("POST", "/api/v1/commands", &[json, owner, ("origin", "http://evil.example")], run), 403, "from another site");
    assert_eq!(ask("POST", "/api/v1/commands", &[json, owner, ("sec-fetch-site", "cross-site")], run), 403);
    assert_eq!(ask("GET", "/api/v1/status", &[("host", "evil.example")], ""), 421, "by another name");
    assert_eq!(ask("POST", "/api/v1/commands", &[owner], run), 415, "not declared as JSON");
    assert_eq!(ask("POST", "/api/v1/commands", &[json, owner], "{"), 400);
    assert_eq!(ask("POST", "/api/v1/commands", &[json, owner], r#"{"action":"explode"}"#), 422);
    assert_eq!(ask("POST", "/api/v1/commands", &[json, owner], r#"{"action":"run","job":"x"}"#), 404);
    assert_eq!(ask("POST", "/api/v1/commands", &[json, owner], &format!("\"{}\"", "x".repeat(100_000))), 413);
    assert_eq!(ask("DELETE", "/api/v1/status", &[owner], ""), 405);
    assert_eq!(ask("GET", "/api/v1/jobs/%00", &[], ""), 404);
    assert_eq!(ask("GET", "/nothing", &[], ""), 404);
    assert_eq!(ask("POST", "/api/v1/commands", &[json, owner], run), 200);
    until("it ran", 30, || world.job("photos")["state"] == "in-sync");
    // A browser's session: by the token, for our own pages.
    let form = ("content-type", "application/x-www-form-urlencoded");
    let same = ("sec-fetch-site", "same-origin");
    assert_eq!(ask("POST", "/login", &[form, same], "token=wrong"), 401);
    let login = daemon.ask("POST", "/login", &[form, same], &format!("token={}", daemon.token));
    let cookie = login.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(login.status == 303 && cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{}", login.head);
    let cookie = ("cookie", cookie.split(';').next().expect("a pair"));
    assert_eq!(ask("POST", "/jobs/photos/pause", &[cookie, same], ""), 303);
    assert_eq!(ask("POST", "/jobs/photos/pause", &[cookie, ("sec-fetch-site", "cross-site")], ""), 403);
    assert!(daemon.ask("GET", "/", &[cookie], "").body.contains("Log out"));
    // Who says nothing is cut off.
    let mut silent = TcpStream::connect(daemon.host()).expect("it listens");
    silent.set_read_timeout(Some(Duration::from_secs(25))).expect("set");
    silent.write_all(b"GET / HTTP/1.1\r\nhost: ").expect("sent");
    let began = Instant::now();
    let _ = silent.read(&mut [0; 512]);
    assert!(began.elapsed() < Duration::from_secs(20), "a client that is slow holds its place for no longer");
    // No secret anywhere.
    let mut seen = world.log();
    for path in [
        "/",
        "/jobs/photos",
        "/login",
        "/api/v1/status",
        "/api/v1/jobs",
        "/api/v1/jobs/photos",
        "/api/v1/usage",
        "/api/v1/usage.csv",
        "/api/v1/openapi.json",
        "/metrics",
        "/healthz",
        "/readyz",
        "/assets/live.js",
    ] {
        let answer = daemon.ask("GET", path, &[owner], "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.head.contains("content-security-policy: default-src 'none'") && answer.head.contains("x-content-type-options: nosniff"),
            "{path}: {}",
            answer.head
        );
        seen += &answer.body;
    }
    seen += &world.ok(&["audit", "show"]);
    seen += &world.ok(&["config", "show"]);
    for secret in [SECRET, "hint-token-xyz", "hook-secret", &daemon.token] {
        assert!(!seen.contains(secret), "'{secret}' shows");
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&daemon.socket).expect("there").permissions().mode() & 0o777, 0o600);
    // A second daemon is told who has the place.
    let second = world.run(&["daemon"]);
    assert!(second.status.code() == Some(3) && String::from_utf8_lossy(&second.stderr).contains("is at work"), "{second:?}");
    assert_eq!(daemon.end(), 0);
}

#[test]
fn many_buckets_are_one_job_and_what_must_not_leave_stays() {
    let world = World::new();
    for bucket in ["us://team-a", "us://team-b", "us://other", "cn://team-a-cn", "cn://team-b-cn"] {
        world.ok(&["mb", bucket]);
    }
    world.put("us://team-a/1", "1");
    world.put("us://team-b/2", "2");
    world.put("us://other/3", "3");
    let lock = "[[stores.us.residency]]\nunder = \"other/\"\n[daemon]\nlisten = \"127.0.0.1:0\"\n";
    world.configure(&format!(
        "{lock}[[jobs]]\nname = \"teams\"\nsource = \"us://team-*\"\ndestination = \"cn://{{bucket}}-cn\"\n\
         [[jobs]]\nname = \"leak\"\nsource = \"us://other/\"\ndestination = \"cn://elsewhere/\"\n"
    ));
    let daemon = world.start();
    world.ok(&["jobs", "run", "teams"]);
    until("both buckets are copied", 30, || world.listing("cn://team-a-cn") == ["1"] && world.listing("cn://team-b-cn") == ["2"]);
    world.ok(&["jobs", "run", "leak"]);
    until("it is refused", 30, || world.job("leak")["state"] == "refused");
    assert!(world.job("leak")["why"].as_str().is_some_and(|why| why.contains("must not leave")));
    assert!(world.ok(&["audit", "show", "--job", "leak"]).contains("\"event\":\"refused\""));
    // The same lock holds for one-shot commands.
    for args in [&["sync", "us://other/", "cn://team-a-cn/x/"][..], &["cp", "us://other/3", "./here"], &["sync", "us://other/", "./there/"]] {
        let output = world.run(args);
        assert!(output.status.code() == Some(5) && String::from_utf8_lossy(&output.stderr).contains("must not leave"), "{args:?}: {output:?}");
    }
    assert_eq!(daemon.end(), 0);
}
