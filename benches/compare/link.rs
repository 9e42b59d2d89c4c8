//! A long-haul link on one machine: two network namespaces, `near` and `far`, with delay, loss, a rate and a queue between them.
//!
//! The kernel's netem makes it where there is one; else two TUN devices and a process of ours (`compare link`) that passes packets
//! between them. It is the kernel's real TCP either way, and each end has its own congestion control. It needs root and nothing
//! else, and leaves the machine as it was.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;

use crate::service::Service;

mod emulate;
mod tun;

/// Addresses of the two ends.
pub(crate) const NEAR: &str = "10.99.0.1";
pub(crate) const FAR: &str = "10.99.0.2";
const MTU_BYTES: u64 = 1500;

/// What lies between the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Args)]
pub(crate) struct Path {
    /// Delay each way
    #[arg(long, default_value = "125ms", value_parser = humantime::parse_duration)]
    pub(crate) delay: Duration,
    /// Percent of the packets from near to far that are lost
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss_out: f64,
    /// Percent of the packets from far to near that are lost
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss_back: f64,
    /// Mbit/s each way
    #[arg(long, default_value_t = 200.0)]
    pub(crate) rate_mbit: f64,
    /// What the queue before the link holds, in time
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    pub(crate) queue: Duration,
}

/// The process that passes packets.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Names of the two namespaces, which exist
    #[arg(long)]
    pub(super) near: String,
    #[arg(long)]
    pub(super) far: String,
    #[command(flatten)]
    pub(super) path: Path,
}

pub(crate) fn run(options: &Options) -> io::Result<()> {
    emulate::run(options)
}

/// The link, until it is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) near: Namespace,
    pub(crate) far: Namespace,
    /// How it is made: for the report.
    pub(crate) made_by: &'static str,
    _emulator: Option<Service>,
}

impl Link {
    /// Makes the link. Fails, and says why, where this machine cannot.
    pub(crate) fn new(path: Path, congestion_near: &str, congestion_far: &str) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("the link emulator makes network namespaces, which needs root"));
        }
        let (near, far) = (Namespace::new("near")?, Namespace::new("far")?);
        near.ip(&["link", "set", "lo", "up"])?;
        far.ip(&["link", "set", "lo", "up"])?;
        near.congestion(congestion_near)?;
        far.congestion(congestion_far)?;
        let (emulator, made_by) = match netem(&near, &far, path) {
            Ok(()) => (None, "netem"),
            Err(_) => (Some(emulator(&near, &far, path)?), "TUN"),
        };
        Ok(Self { near, far, made_by, _emulator: emulator })
    }
}

fn netem(near: &Namespace, far: &Namespace, path: Path) -> io::Result<()> {
    near.ip(&["link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", &far.name])?;
    let ends = [(near, "near0", NEAR, path.loss_out), (far, "far0", FAR, path.loss_back)];
    let shaped = ends.into_iter().try_for_each(|(end, device, address, loss)| {
        end.ip(&["addr", "add", &format!("{address}/30"), "dev", device])?;
        end.ip(&["link", "set", device, "up"])?;
        let held = path.rate_mbit * 1e6 / 8.0 * (path.delay + path.queue).as_secs_f64() / MTU_BYTES as f64;
        let [delay, loss, rate, limit] =
            [format!("{}ms", path.delay.as_millis()), format!("{loss}%"), format!("{}mbit", path.rate_mbit), format!("{}", held.ceil() as u64)];
        end.exec(&["tc", "qdisc", "add", "dev", device, "root", "netem", "delay", &delay, "loss", &loss, "rate", &rate, "limit", &limit])
    });
    if shaped.is_err() {
        near.ip(&["link", "del", "near0"])?;
    }
    shaped
}

fn emulator(near: &Namespace, far: &Namespace, path: Path) -> io::Result<Service> {
    let of = |duration: Duration| format!("{}ms", duration.as_millis());
    let arguments = [
        "link".to_owned(),
        "--near".to_owned(),
        near.name.clone(),
        "--far".to_owned(),
        far.name.clone(),
        "--delay".to_owned(),
        of(path.delay),
        "--loss-out".to_owned(),
        path.loss_out.to_string(),
        "--loss-back".to_owned(),
        path.loss_back.to_string(),
        "--rate-mbit".to_owned(),
        path.rate_mbit.to_string(),
        "--queue".to_owned(),
        of(path.queue),
    ];
    let service = Service::role(arguments)?;
    for (end, device, address, peer) in [(near, "near0", NEAR, FAR), (far, "far0", FAR, NEAR)] {
        end.ip(&["addr", "add", address, "peer", peer, "dev", device])?;
        end.ip(&["link", "set", device, "mtu", &MTU_BYTES.to_string(), "up", "txqueuelen", "10000"])?;
    }
    Ok(service)
}

/// A network namespace that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    fn new(end: &str) -> io::Result<Self> {
        let name = format!("dragon-bench-{}-{end}", std::process::id());
        run_quietly(Command::new("ip").args(["netns", "add", &name]))?;
        Ok(Self { name })
    }

    fn ip(&self, arguments: &[&str]) -> io::Result<()> {
        run_quietly(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    fn exec(&self, command: &[&str]) -> io::Result<()> {
        run_quietly(Command::new("ip").args(["netns", "exec", &self.name]).args(command))
    }

    /// What new connections of this end send with.
    fn congestion(&self, algorithm: &str) -> io::Result<()> {
        let _allowed = Allowed::also(algorithm)?;
        self.exec(&["sysctl", "-q", "-w", &format!("net.ipv4.tcp_congestion_control={algorithm}")])
    }

    /// A command that runs in this namespace.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }
}

/// The machine's list of what any namespace may choose, put back when this is dropped.
struct Allowed {
    before: String,
}

impl Allowed {
    const FILE: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

    fn also(algorithm: &str) -> io::Result<Self> {
        let before = std::fs::read_to_string(Self::FILE)?;
        if !before.split_whitespace().any(|allowed| allowed == algorithm) {
            let explain = |error| io::Error::other(format!("the kernel has no congestion control '{algorithm}': {error}"));
            std::fs::write(Self::FILE, format!("{} {algorithm}", before.trim())).map_err(explain)?;
        }
        Ok(Self { before })
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        // It was written a moment ago; if it cannot be now, no more is lost than a longer list.
        let _ = std::fs::write(Self::FILE, &self.before);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be removed is of no harm, and is named so that a person knows it.
        if let Err(error) = run_quietly(Command::new("ip").args(["netns", "del", &self.name])) {
            eprintln!("the namespace {} stays: {error}", self.name);
        }
    }
}

fn run_quietly(command: &mut Command) -> io::Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    match child.wait()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("{command:?}: {status}: {}", said.trim()))),
    }
}
