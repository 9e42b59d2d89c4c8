//! The real binary, black box: commands, exit statuses, output, secrets.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A directory to work in, and an environment with nothing else in it.
struct Place {
    dir: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// How a command ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit status"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "'{text}' is not in stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
    }
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().to_str().expect("UTF-8").to_owned();
        Self { dir, environment: vec![("HOME".into(), home)] }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
        self
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dragon"));
        command.args(args).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().expect("the binary runs"))
    }

    fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        child.stdin.take().expect("piped").write_all(input).expect("it reads");
        Ended::of(child.wait_with_output().expect("it ends"))
    }
}

/// A tree with two files, one of them odd.
fn two_files() -> Place {
    let place = Place::new();
    place.write("a/x", "hello").write("a/d/y z+%", "world");
    place
}

#[test]
fn a_tree_is_synced_and_a_second_time_nothing_is() {
    let place = two_files();
    place.run(&["sync", "./a", "./b", "-n"]).ends(0).says("+ d/y z+%").says("+ x").says("would copy 2 objects");
    assert!(!place.path("b").exists(), "a dry run makes nothing");
    place.run(&["sync", "./a", "./b"]).ends(0).says("copied 2 objects");
    assert_eq!(place.read("b/d/y z+%"), "world");
    place.run(&["sync", "./a", "./b", "-v"]).ends(0).says("copied 0 objects").says("= x");
    place.write("a/x", "changed");
    place.run(&["sync", "./a", "./b", "--dryrun"]).ends(0).says("* x (size)");
    place.run(&["cp", "-r", "./a", "./b", "--quiet"]).ends(0);
    assert_eq!(place.read("b/x"), "changed");
    place.run(&["verify", "./a", "./b", "--deep"]).ends(0).says("2 objects proved the same");
}

#[test]
fn shares_of_a_sync_do_the_whole_job_one_after_the_other_or_at_once() {
    let place = Place::new();
    for n in 0..20 {
        place.write(&format!("a/d{}/{n}", n % 3), "new").write(&format!("b/old/{n}"), "old");
    }
    let share = |k| place.command(&["sync", "./a", "./b", "--delete", "--state-dir", "./state", "--shard", k]).output().expect("the binary runs");
    let outputs = std::thread::scope(|scope| ["1/3", "2/3", "3/3"].map(|k| scope.spawn(move || share(k))).map(|thread| thread.join().expect("it ends")));
    let counts = outputs.map(|output| Ended::of(output).ends(0).stdout);
    assert!(counts.iter().all(|told| !told.contains("copied 20 objects") && !told.contains("copied 0 objects")), "{counts:?}");
    assert!((0..20).all(|n| place.read(&format!("b/d{}/{n}", n % 3)) == "new" && !place.path(&format!("b/old/{n}")).exists()));
    place.run(&["sync", "./a", "./b", "--delete"]).ends(0).says("copied 0 objects");
    place.run(&["verify", "./a", "./b", "--shard", "1/3"]).ends(0);
    for bad in ["0/4", "5/4", "x"] {
        place.run(&["sync", "./a", "./b", "--shard", bad]).ends(2).says("no share");
    }
    place.run(&["cp", "./a/d0/0", "./c", "--shard", "1/2"]).ends(2).says("add -r");
}

#[test]
fn json_is_one_object_a_line_with_the_documented_fields() {
    let place = two_files();
    let ended = place.run(&["sync", "./a", "./b", "--json"]).ends(0);
    let lines = ended.json();
    assert_eq!(lines.len(), 3, "{}", ended.stdout);
    for line in &lines {
        for field in ["event", "time", "run", "source", "destination"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
        assert_eq!(line["source"], "./a");
    }
    let object = lines.iter().find(|l| l["key"] == "x").expect("a line for x");
    assert_eq!((&object["event"], &object["action"], &object["status"], &object["reason"]), (&"object".into(), &"copy".into(), &"ok".into(), &"absent".into()));
    assert_eq!(object["size"], 5);
    let summary = lines.last().expect("a summary");
    assert_eq!((&summary["event"], &summary["copied"], &summary["failed"], &summary["bytes"]), (&"summary".into(), &2.into(), &0.into(), &10.into()));
    let again = place.run(&["verify", "./a", "./b", "--json", "-v"]).ends(0).json();
    assert!(again.iter().filter(|l| l["status"] == "same").count() == 2, "{again:?}");
}

#[test]
fn deletes_are_guarded() {
    let place = Place::new();
    place.write("a/keep", "x");
    for i in 0..150 {
        place.write(&format!("b/{i:03}"), "x");
    }
    place.run(&["sync", "./a", "./b"]).ends(0);
    assert!(place.path("b/000").exists(), "sync without --delete deletes nothing");
    place.run(&["sync", "./a", "./b", "--delete"]).ends(5);
    assert!(place.path("b/000").exists() && place.path("b/keep").exists(), "refused as a whole, and the copies are made");
    place.run(&["sync", "./a", "./b", "--delete", "--max-delete", "0"]).ends(5);
    place.run(&["sync", "./a", "./b", "--delete", "-n", "--max-delete", "200"]).ends(0).says("- 000").says("would delete 150");
    place.run(&["sync", "./a", "./b", "--delete", "--max-delete", "100%", "--exclude", "00*"]).ends(0).says("140 deleted");
    assert!(place.path("b/000").exists(), "what the filter hides is not deleted");
    std::fs::create_dir(place.path("empty")).expect("made");
    place.run(&["sync", "./empty", "./b", "--delete", "--max-delete", "100%"]).ends(5).says("--allow-empty-source");
    place.run(&["cp", "-r", "./a", "./b", "--delete"]).ends(2);
}

#[test]
fn one_key_is_copied_exactly() {
    let place = two_files();
    place.run(&["cp", "./a/x", "./c/"]).ends(0);
    assert_eq!(place.read("c/x"), "hello");
    place.run(&["cp", "./a/x", "./c/z"]).ends(0);
    assert_eq!(place.read("c/z"), "hello");
    place.run(&["cp", "./a", "./c/"]).ends(2).says("add -r");
    place.run(&["cp", "./a/absent", "./c/"]).ends(1).says("absent");
    place.run(&["sync", "./a/x", "./d"]).ends(2).says("use cp");
    place.run(&["verify", "./a/x", "./d"]).ends(2).says("use cp");
    assert_eq!(place.run(&["cp", "./a/x", "-"]).ends(0).stdout, "hello");
    place.run_with_input(&["cp", "-", "./c/in"], b"from a pipe").ends(0);
    assert_eq!(place.read("c/in"), "from a pipe");
}

#[test]
fn looking_and_removing() {
    let place = two_files();
    place.run(&["ls"]).ends(0).says("s3://").says("oss://");
    place.run(&["ls", "./a"]).ends(0).says("d/").says("x");
    let keys: Vec<Value> = place.run(&["ls", "-r", "./a", "--json"]).ends(0).json().into_iter().map(|l| l["key"].clone()).collect();
    assert_eq!(keys, ["d/y z+%", "x"]);
    place.run(&["du", "./a"]).ends(0).says("2 objects");
    assert_eq!(place.run(&["du", "./a", "--json"]).ends(0).json()[0]["bytes"], 10);
    let stat = &place.run(&["stat", "./a/x", "--json"]).ends(0).json()[0];
    assert_eq!((&stat["size"], &stat["key"]), (&5.into(), &"x".into()));
    assert!(stat["etag"].is_string() && stat["modified"].is_string());
    assert_eq!(place.run(&["cat", "./a/x", "--range", "1-2"]).ends(0).stdout, "el");
    assert_eq!(place.run(&["cat", "./a/x", "--range", "-2"]).ends(0).stdout, "lo");
    place.run(&["cat", "./a/absent"]).ends(1);
    place.run(&["rm", "./a/absent"]).ends(1);
    place.run(&["rm", "./a/x", "-n"]).ends(0).says("- x");
    place.run(&["rm", "-r", "./a"]).ends(2).says("--force");
    place.run(&["rm", "-r", "./a", "--dry-run"]).ends(0).says("would delete 2 objects");
    assert!(place.path("a/x").exists());
    place.run(&["rm", "./a/x"]).ends(0);
    place.run(&["rm", "-r", "./a", "--force"]).ends(0).says("deleted 1 object");
    assert!(!place.path("a/d/y z+%").exists());
    place.run(&["mb", "./new"]).ends(0);
    place.run(&["rb", "./new"]).ends(0);
    assert!(!place.path("new").exists());
}

#[test]
fn mistakes_end_with_2_and_say_what_was_meant() {
    let place = Place::new();
    for (args, says) in [
        (&["ls", "photos"][..], "./photos"),
        (&["ls", "s4://photos"], "s3"),
        (&["ls", "s3:photos"], "s3://photos"),
        (&["snyc", "./a", "./b"], "sync"),
        (&["sync", "./a", "./b", "--dry-rum"], "--dry-run"),
        (&["sync", "./a", "./b", "--bandwidth", "100"], "Mbit"),
        (&["sync", "./a", "./b", "--min-size", "5G"], "GiB"),
        (&["sync", "./a", "./b", "--delete", "--files-from", "x"], "--files-from"),
        (&["sync", "./a", "./b", "--region", "x"], "names neither"),
        (&["sync", "s3://a", "oss://b", "--endpoint-url", "http://x"], "names both"),
        (&["ls", "--set", "stores.s3.secret_access_key=hunter2"], "env:NAME"),
        (&["presign", "s3://b/k", "--expires", "30d"], "7d"),
        (&["sync", "./a", "./b", "--config", "absent.toml"], "absent.toml"),
    ] {
        let ended = place.run(args).ends(2).says(says);
        assert!(!ended.stderr.contains("RUST_BACKTRACE"), "{args:?}");
    }
}

#[test]
fn the_configuration_is_checked_and_shown_without_secrets() {
    let place = Place::new().set("KEY", "from-env-hunter2");
    place.write("dragon.toml", "[stores.a]\ntype = \"s3\"\nregoin = \"x\"\n\n[engine]\nmemory = 512\n");
    place
        .run(&["config", "check"])
        .ends(2)
        .says("dragon.toml:3:1: stores.a.regoin: no such key; did you mean 'region'?")
        .says("dragon.toml:6:10: engine.memory");
    place.run(&["ls"]).ends(2).says("dragon.toml:3:1").says("1 more");
    place.write(
        "dragon.toml",
        "[stores.a]\ntype = \"oss\"\nregion = \"cn-beijing\"\naccess_key_id = \"AK1\"\naccess_key_secret = \"literal-hunter2\"\nsession_token = \"env:KEY\"\n",
    );
    place.run(&["config", "check"]).ends(0).says("3 stores");
    let shown = place.run(&["config", "show"]).ends(0).says("AK1").says("env:KEY");
    assert!(!shown.stdout.contains("hunter2"), "{}", shown.stdout);
    place.write("dragon.toml", "[stores.a]\ntype = \"oss\"\naccess_key_id = \"AK1\"\naccess_key_secret = \"env:NOT_SET\"\n");
    place.run(&["config", "check"]).ends(2).says("NOT_SET is not set");
    place.run(&["ls", "a://b"]).ends(2).says("dragon.toml:4:21").says("NOT_SET is not set");
    place.run(&["ls"]).ends(0).says("a://");
}

#[test]
fn the_example_configuration_is_right() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("dragon.toml.example");
    Place::new().run(&["config", "show", "--config", example.to_str().expect("UTF-8")]).ends(0).says("aliyun-bj");
}

#[test]
fn help_completions_and_manual_are_printed() {
    let place = Place::new();
    for command in ["cp", "sync", "verify", "ls", "du", "stat", "cat", "rm", "mb", "rb", "presign", "config", "dev-server", "completions", "man"] {
        place.run(&[command, "--help"]).ends(0).says("Exit status:");
    }
    for shell in ["bash", "zsh", "fish"] {
        place.run(&["completions", shell]).ends(0).says("dev-server");
    }
    place.run(&["man"]).ends(0).says(".TH dragon 1");
    place.run(&["man", "sync"]).ends(0).says("max\\-delete");
    place.run(&["man", "--dir", "pages"]).ends(0);
    assert!(place.path("pages/dragon-sync.1").exists());
    place.run(&["--version"]).ends(0).says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn keys_cannot_forge_output() {
    let place = Place::new();
    place.write("a/x\n- y\u{1b}[31m", "z");
    let ended = place.run(&["sync", "./a", "./b", "-n"]).ends(0).says("+ x\\n- y\\u{1b}[31m");
    assert!(!ended.stdout.contains('\u{1b}'));
}

#[test]
fn a_pipe_that_closes_is_success() {
    let place = Place::new();
    for i in 0..3000 {
        place.write(&format!("a/{i:05}-{}", "long".repeat(20)), "");
    }
    let mut child = place.command(&["ls", "-r", "./a"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut line = String::new();
    // Dropped after one line, like `head -1`.
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
    assert_eq!(child.wait().expect("ends").code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn failed_keys_are_kept_for_another_run() {
    let place = Place::new();
    place.write("a/good", "x").write("a/bad", "x").write("list", "good\nbad\nabsent\n");
    place.run(&["sync", "./a", "./b", "--files-from", "list", "--failed-to", "failed"]).ends(1).says("absent");
    assert_eq!(place.read("failed"), "absent\n");
    assert_eq!(place.read("b/good"), "x");
}

/// `dragon dev-server` on free ports; killed when dropped.
struct Served {
    child: Child,
    s3: String,
    oss: String,
}

impl Served {
    fn start(place: &Place) -> Self {
        let args = ["dev-server", "--s3-listen", "127.0.0.1:0", "--oss-listen", "127.0.0.1:0"];
        let mut child = place.command(&args).env("DRAGON_DEV_ACCESS_KEY_SECRET", SECRET).stdout(Stdio::piped()).spawn().expect("runs");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut ready).expect("a line");
        let word = |name: &str| ready.split_whitespace().find_map(|w| w.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {ready}")).to_owned();
        assert!(ready.starts_with("ready s3=http://127.0.0.1:"), "{ready}");
        assert_eq!((word("access_key_id="), word("access_key_secret=")), ("dragon".into(), SECRET.into()));
        Self { child, s3: word("s3="), oss: word("oss=") }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SECRET: &str = "hunter2-secret-of-the-dev-server";

fn with_clouds(place: Place, served: &Served) -> Place {
    place
        .set("AWS_ACCESS_KEY_ID", "dragon")
        .set("AWS_SECRET_ACCESS_KEY", SECRET)
        .set("AWS_REGION", "us-east-1")
        .set("AWS_ENDPOINT_URL_S3", &served.s3)
        .set("AWS_EC2_METADATA_DISABLED", "true")
        .set("OSS_ACCESS_KEY_ID", "dragon")
        .set("OSS_ACCESS_KEY_SECRET", SECRET)
        .set("OSS_REGION", "cn-hangzhou")
        .set("OSS_ENDPOINT", &served.oss)
}

#[test]
fn both_clouds_are_reached_and_no_secret_is_told() {
    let served = Served::start(&Place::new());
    let place = with_clouds(two_files(), &served);
    place.write("dragon.toml", "[engine]\nretries = 2\n");
    let mut told = String::new();
    let mut run = |args: &[&str], code: i32| {
        let ended = place.run(&[args, &["--log-level", "trace"]].concat()).ends(code);
        told += &ended.stdout;
        told += &ended.stderr;
        ended
    };
    run(&["mb", "s3://photos"], 0);
    run(&["mb", "oss://photos-cn"], 0);
    run(&["ls", "s3://"], 0).says("s3://photos");
    run(&["sync", "./a", "s3://photos/p"], 0).says("copied 2 objects");
    let synced = run(&["sync", "s3://photos/p", "oss://photos-cn/q", "--json"], 0);
    let object = synced.json().into_iter().find(|l| l["key"] == "x").expect("a line for x");
    assert!(object["crc64xz"].is_string() && object["destination_proof"] == "crc64xz", "{object}");
    run(&["sync", "s3://photos/p", "oss://photos-cn/q"], 0).says("copied 0 objects");
    run(&["verify", "s3://photos/p", "oss://photos-cn/q", "--deep"], 0).says("2 objects proved the same");
    run(&["sync", "s3://photos/p/x", "oss://photos-cn/q"], 2).says("use cp");
    run(&["rm", "oss://photos-cn/q/x"], 0);
    run(&["verify", "s3://photos/p", "oss://photos-cn/q"], 4).says("missing_destination x");
    run(&["stat", "oss://photos-cn/q/d/y z+%"], 0).says("checksum crc64xz");
    run(&["stat", "oss://photos-cn/q/x"], 1);
    run(&["ls", "oss://no-such-bucket"], 3);
    run(&["ls", "oss://photos-cn/q"], 0).says("q/d/");
    run(&["presign", "oss://photos-cn/q/x", "--expires", "15m"], 0).says("http://");
    run(&["ls", "s3://photos", "--endpoint-url", "http://127.0.0.1:1"], 3);
    run(&["cp", "s3://photos/p/x", "./back/"], 0);
    assert_eq!(place.read("back/x"), "hello");
    let input = place.run_with_input(&["cp", "-", "oss://photos-cn/piped"], b"piped bytes").ends(0);
    assert_eq!(place.run(&["cat", "oss://photos-cn/piped"]).ends(0).stdout, "piped bytes");
    told += &input.stderr;
    let wrong = place.command(&["ls", "s3://photos", "--log-level", "trace"]).env("AWS_SECRET_ACCESS_KEY", "hunter2-wrong").output().expect("runs");
    let wrong = Ended::of(wrong).ends(3);
    told += &wrong.stderr;
    assert!(!told.contains("hunter2"), "a secret was told");
}

#[test]
fn a_signal_ends_the_dev_server_cleanly() {
    let place = Place::new();
    let mut served = Served::start(&place);
    let pid = served.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert_eq!(served.child.wait().expect("ends").code(), Some(0));
}

/// Starts a copy that takes minutes, and sends it a signal once it moves.
fn interrupted_by(signal: &str) -> Ended {
    let place = Place::new();
    place.write("a/large", &"x".repeat(1 << 20));
    let args = ["sync", "./a", "./b", "--bandwidth", "4KiB/s", "--stats", "1h"];
    let mut child = place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let send = |signal: &str| assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs").success());
    // SIGUSR1 is answered once the run watches for it; before, it would end the process.
    while std::fs::read_to_string(format!("/proc/{}/status", child.id())).is_ok_and(|status| !catches_usr1(&status)) {
        std::thread::yield_now();
    }
    send("-USR1");
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a status line");
    assert!(line.contains("objects") && line.contains("/s"), "{line}");
    send(signal);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    let output = child.wait_with_output().expect("ends");
    let left: Vec<_> = std::fs::read_dir(place.path("b")).expect("made").map(|e| e.expect("an entry").file_name()).collect();
    assert!(left.is_empty(), "an interrupted copy leaves nothing half done: {left:?}");
    Ended { code: output.status.code().expect("an exit status"), stdout: String::from_utf8(output.stdout).expect("UTF-8"), stderr: rest }
}

/// Whether a process handles SIGUSR1 (signal 10), by its `SigCgt` mask.
fn catches_usr1(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask").trim();
    u64::from_str_radix(mask, 16).expect("hexadecimal") & (1 << 9) != 0
}

#[test]
fn an_interrupted_run_ends_with_the_signals_status() {
    interrupted_by("-INT").ends(130);
    interrupted_by("-TERM").ends(143);
}
