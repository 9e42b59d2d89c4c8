//! The documents, held to what they promise: every command of the README runs, both READMEs give the same commands, and the
//! library example is the one that compiles.

use std::path::Path;
use std::process::Command;

use crate::stage::Stage;

const README: &str = include_str!("../../README.md");
const README_ZH: &str = include_str!("../../README.zh-CN.md");

/// The bodies of the fenced blocks of one language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let mut found = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find(&fence) {
        let body = &rest[start + fence.len()..];
        let end = body.find("```").expect("a closed block");
        found.push(&body[..end]);
        rest = &body[end + 3..];
    }
    found
}

fn commands(document: &str) -> Vec<&str> {
    blocks(document, "sh").into_iter().flat_map(str::lines).filter(|line| !line.trim().is_empty()).collect()
}

/// A stage for the README's story: both clouds with its buckets, and a folder of pictures.
async fn set() -> Stage {
    let binary = Path::new(env!("CARGO_BIN_EXE_dragon")).parent().expect("a folder");
    let stage = Stage::empty().await.with("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", binary.display()));
    std::fs::create_dir(stage.folder.path().join("pictures")).expect("a folder");
    for name in ["one.jpg", "two words.jpg", "三.jpg"] {
        std::fs::write(stage.folder.path().join("pictures").join(name), name.repeat(100)).expect("a picture");
    }
    for command in [
        "dragon mb s3://photos",
        "dragon mb oss://photos-cn",
        "dragon cp ./pictures/one.jpg s3://photos/2026/a.jpg",
        "dragon cp -r ./pictures s3://photos/2026/",
    ] {
        stage.run(command).await;
    }
    stage
}

impl Stage {
    /// Runs a line as a shell does and expects success.
    async fn run(&self, line: &str) {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", line]);
        let output = self.output(command).await;
        assert!(
            output.status.success(),
            "'{line}' ended with {}\nstdout: {}\nstderr: {}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Runs the README's daemon, with the configuration that it shows, until it is dropped.
struct Daemon(std::process::Child);

impl Daemon {
    fn start(stage: &Stage) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dragon"));
        stage.prepare(&mut command);
        let mut child = command.arg("daemon").stdout(std::process::Stdio::piped()).spawn().expect("it starts");
        let mut ready = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut ready).expect("a line");
        assert!(ready.starts_with("ready page=http://127.0.0.1:"), "{ready}");
        Self(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_runs() {
    let stage = set().await;
    // On any free port: the README's may be taken here.
    let configuration = blocks(README, "toml").into_iter().filter(|block| block.contains("[[jobs")).collect::<String>().replace(":3746", ":0");
    let (mut ran, mut daemon) = (0, None);
    for line in commands(README) {
        match line.split(' ').next() {
            Some("dragon") if line == "dragon config check" => {
                std::fs::write(stage.folder.path().join("dragon.toml"), &configuration).expect("written");
                stage.run(line).await;
            }
            Some("dragon") if line == "dragon daemon" => daemon = Some(Daemon::start(&stage)),
            Some("dragon") => {
                stage.run(line).await;
                ran += 1;
            }
            // The stage gives the same variables other values.
            Some("export") => assert!(line.contains("ACCESS_KEY_ID=..."), "a new export: give it to the stage too: {line}"),
            // Both are run by .ci/run as they stand here: the first as a step, the second as the test command.
            Some("cargo") => assert!(matches!(line, "cargo run --release -- demo" | "cargo test"), "a cargo command that nothing runs: {line}"),
            _ => panic!("a command that nothing runs: {line}"),
        }
    }
    assert!(ran > 15 && daemon.is_some(), "the commands were found");
    drop(daemon);
    let copied = std::fs::read(stage.folder.path().join("a.jpg")).expect("what `dragon cp` fetched");
    assert_eq!(copied, b"one.jpg".repeat(100));
    stage.server.shutdown().await;
}

#[test]
fn both_readmes_give_the_same_commands_and_code() {
    for language in ["sh", "toml", "rust"] {
        assert_eq!(blocks(README, language), blocks(README_ZH, language), "{language}");
    }
    let tables = |document: &str| document.lines().filter(|l| l.starts_with('|')).count();
    assert_eq!(tables(README), tables(README_ZH), "rows of tables");
}

#[test]
fn the_readmes_library_example_is_the_one_that_compiles() {
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sync.rs")).expect("the example");
    let code = &example[example.find("use ").expect("code")..];
    assert_eq!(blocks(README, "rust"), [code]);
    assert!(example.lines().count() < 30, "the example stays under 30 lines");
}

#[test]
fn ci_runs_the_readmes_demo() {
    assert!(include_str!("../../.ci/run").contains("cargo run --release -- demo"));
}
