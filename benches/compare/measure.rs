//! What a process and all its children cost: wall time, CPU time, peak memory.
//!
//! A process of our own (`compare measure`) starts the client, waits for it, and asks the kernel what its children used. It has no
//! other children, so that the figures are of that client alone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Args;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// What to run and measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Run on this core
    #[arg(long)]
    core: Option<usize>,
    /// Write the figures here, as JSON; the client's process id to the same path with `.pid`
    #[arg(long)]
    out: PathBuf,
    /// Count instructions too, by `perf`, whose own time is then in the figures
    #[arg(long)]
    instructions: bool,
    /// The client
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// What a client used.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) wall_seconds: f64,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    /// The client's exit status; -1 where a signal ended it.
    pub(crate) status: i32,
    /// Instructions of user and kernel, where they were counted.
    pub(crate) instructions: Option<u64>,
}

impl Usage {
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    /// This and then the other.
    pub(crate) fn then(self, next: Self) -> Self {
        Self {
            wall_seconds: self.wall_seconds + next.wall_seconds,
            user_seconds: self.user_seconds + next.user_seconds,
            system_seconds: self.system_seconds + next.system_seconds,
            peak_rss_bytes: self.peak_rss_bytes.max(next.peak_rss_bytes),
            status: if self.status == 0 { next.status } else { self.status },
            instructions: next.instructions.map(|instructions| instructions + self.instructions.unwrap_or(0)),
        }
    }

    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(file)?).map_err(io::Error::other)
    }
}

/// Where the client's process id is written.
pub(crate) fn pid_file(out: &Path) -> PathBuf {
    out.with_extension("pid")
}

/// Keeps this process and its children on one core, where there are several.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// What to become.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pinned {
    /// Run on this core
    #[arg(long)]
    core: usize,
    /// The program
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the program. Returns only where that fails.
pub(crate) fn become_pinned(options: &Pinned) -> io::Result<()> {
    pin(options.core)?;
    let (program, arguments) = options.command.split_first().ok_or_else(|| io::Error::other("no program to run"))?;
    Err(std::os::unix::process::CommandExt::exec(Command::new(program).args(arguments)))
}

/// Runs the client and writes what it used.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    if let Some(core) = options.core {
        pin(core)?;
    }
    let (program, arguments) = options.command.split_first().ok_or_else(|| io::Error::other("no client to run"))?;
    let counts = options.out.with_extension("perf");
    let mut command = if options.instructions {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", "instructions", "-o"]).arg(&counts).arg("--").arg(program);
        perf
    } else {
        Command::new(program)
    };
    let started = Instant::now();
    let mut client = command.args(arguments).spawn()?;
    fs::write(pid_file(&options.out), client.id().to_string())?;
    let status = client.wait()?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    let usage = Usage {
        wall_seconds,
        user_seconds: seconds(used.user_time()),
        system_seconds: seconds(used.system_time()),
        // The kernel counts KiB.
        peak_rss_bytes: u64::try_from(used.max_rss()).unwrap_or(0) << 10,
        status: status.code().unwrap_or(-1),
        instructions: options.instructions.then(|| counted(&counts)).flatten(),
    };
    fs::write(&options.out, serde_json::to_vec(&usage)?)
}

/// What `perf stat -x ,` wrote: a count and the event's name.
fn counted(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find(|line| line.contains(",instructions"))?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_one_behind_the_other_add_up() {
        let first = Usage { wall_seconds: 1.0, user_seconds: 0.5, system_seconds: 0.25, peak_rss_bytes: 7, ..Usage::default() };
        let both = first.then(Usage { peak_rss_bytes: 9, status: 3, ..first });
        assert_eq!((both.instructions, first.then(Usage { instructions: Some(4), ..first }).instructions), (None, Some(4)));
        assert_eq!((both.wall_seconds, both.cpu_seconds(), both.peak_rss_bytes, both.status), (2.0, 1.5, 9, 3));
    }
}
