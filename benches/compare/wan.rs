//! W5: a link of 200 Mbit/s and 250 ms with loss, and who fills it.
//!
//! Uploads: the client is `near`, beside its source, and the target is `far`. Downloads: the source is far, and sends with CUBIC. A
//! client is left to itself for a while and then killed; what counts is the goodput once it has had 30 s to find its way, as the
//! receiving server counts it. Loss is in the direction that the data takes, as it was measured into China.

use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::link::{self, FAR, Link};
use crate::machine::Machine;
use crate::peer::{Peer, Place};
use crate::run::Options;
use crate::service::{self, Service};
use crate::workload::Workload;

const MIB: u64 = 1 << 20;
/// When a client must have found its way.
const SETTLED: Duration = Duration::from_secs(30);
/// Goodput of so many seconds is looked at for when 90 % are reached.
const WINDOW_SECONDS: usize = 5;

/// How W5 is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct WanOptions {
    /// W5: percent of the packets that are lost
    #[arg(long, value_delimiter = ',', default_value = "0,1,3,15")]
    losses: Vec<f64>,
    /// W5: at these losses Dragon's peers are measured too
    #[arg(long, value_delimiter = ',', default_value = "1")]
    peer_losses: Vec<f64>,
    /// W5: which way the data goes
    #[arg(long, value_enum, value_delimiter = ',', default_value = "up,down")]
    legs: Vec<Leg>,
    /// W5: what the client's host sends with
    #[arg(long, value_delimiter = ',', default_value = "cubic,bbr")]
    hosts: Vec<String>,
    /// W5: seconds that a client has
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// W5: rate of the link
    #[arg(long, default_value_t = 200.0)]
    rate_mbit: f64,
}

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub(crate) enum Leg {
    /// From near to far
    Up,
    /// From far to near
    Down,
}

/// One client on one link.
#[derive(Debug, Clone, Serialize)]
struct Trial {
    leg: Leg,
    loss_percent: f64,
    /// What the client's host sends with.
    host: String,
    client: &'static str,
    /// Bytes that had arrived, each second.
    arrived: Vec<u64>,
    connections: u64,
    failure: Option<String>,
}

impl Trial {
    /// Mbit/s of object bytes from `SETTLED` on.
    fn goodput_mbit(&self) -> f64 {
        let from = (SETTLED.as_secs() as usize).min(self.arrived.len() / 2);
        rate_mbit(&self.arrived[from..])
    }

    /// Seconds until a window's goodput reached 90 % of the rate.
    fn seconds_to_90_percent(&self, of_mbit: f64) -> Option<usize> {
        self.arrived.windows(WINDOW_SECONDS + 1).position(|window| rate_mbit(window) >= 0.9 * of_mbit).map(|at| at + WINDOW_SECONDS)
    }
}

/// Mbit/s over readings that are a second apart.
fn rate_mbit(readings: &[u64]) -> f64 {
    match readings {
        [first, .., last] => (last - first) as f64 * 8e-6 / (readings.len() - 1) as f64,
        _ => 0.0,
    }
}

/// Runs W5 and writes `w5.md` and `w5.json`.
pub(crate) fn run(options: &Options, wan: &WanOptions) -> io::Result<()> {
    let mut trials = Vec::new();
    let mut made_by = "";
    for (leg, host, loss_percent, peer) in cases(options, wan) {
        // A far host is a cloud's: what it sends with is not ours to choose.
        let (loss_out, loss_back) = if leg == Leg::Up { (loss_percent, 0.0) } else { (0.0, loss_percent) };
        let path = link::Path { delay: Duration::from_millis(125), loss_out, loss_back, rate_mbit: wan.rate_mbit, queue: Duration::from_millis(100) };
        let link = match Link::new(path, &host, "cubic") {
            Ok(link) => link,
            Err(why) => {
                eprintln!("W5 CANNOT RUN HERE: {why}");
                return Ok(());
            }
        };
        made_by = link.made_by;
        let trial = trial(options, wan, &link, leg, loss_percent, &host, peer)?;
        eprintln!(
            "W5 {leg:?} {loss_percent} % loss, host {host}, {}: {:.1} Mbit/s after {} s, {} connections {}",
            trial.client,
            trial.goodput_mbit(),
            SETTLED.as_secs(),
            trial.connections,
            trial.failure.as_deref().unwrap_or_default(),
        );
        trials.push(trial);
    }
    let machine = Machine::here(&[Peer::Dragon, Peer::Rclone], &options.dragon);
    std::fs::create_dir_all(&options.out)?;
    let table = table(wan, &trials, &machine, made_by);
    std::fs::write(options.out.join("w5.md"), &table)?;
    let raw = serde_json::json!({ "machine": machine, "link": made_by, "rate_mbit": wan.rate_mbit, "trials": trials });
    std::fs::write(options.out.join("w5.json"), serde_json::to_string_pretty(&raw)?)?;
    println!("{table}");
    Ok(())
}

fn cases(options: &Options, wan: &WanOptions) -> Vec<(Leg, String, f64, Peer)> {
    let peers = [Peer::Dragon, Peer::DragonSystem, Peer::Rclone, Peer::RcloneTuned];
    let mut cases = Vec::new();
    for leg in &wan.legs {
        for (at, host) in wan.hosts.iter().enumerate() {
            // What the near host sends with matters little where it only receives.
            if *leg == Leg::Down && at > 0 {
                continue;
            }
            for loss in wan.losses.iter().filter(|loss| *leg == Leg::Up || wan.peer_losses.contains(loss)) {
                let here = peers.iter().filter(|peer| options.peers.is_empty() || options.peers.contains(peer));
                let here = here.filter(|peer| **peer == Peer::Dragon && at == 0 || wan.peer_losses.contains(loss));
                // It chooses for what it sends, and differs only where the host has no BBR.
                let here = here.filter(|peer| **peer != Peer::DragonSystem || *leg == Leg::Up && host != "bbr");
                cases.extend(here.map(|peer| (*leg, host.clone(), *loss, *peer)));
            }
        }
    }
    cases
}

fn trial(options: &Options, wan: &WanOptions, link: &Link, leg: Leg, loss_percent: f64, host: &str, peer: Peer) -> io::Result<Trial> {
    // More than the link carries in the time.
    let workload = Workload::copy("w5", "W5", (wan.rate_mbit / 8.0 * wan.seconds as f64 / 200.0).ceil() as u64 + 2, 256 * MIB);
    let own = std::env::current_exe()?;
    let serve = |end: &link::Namespace, address: &str| {
        let listen = format!("{address}:0");
        Service::start(end.command().arg(&own).args(workload.server_arguments()).args(["--s3-listen", &listen, "--oss-listen", &listen]))
    };
    let (near, far) = (serve(&link.near, "127.0.0.1")?, serve(&link.far, FAR)?);
    let (source, target, target_end) = if leg == Leg::Up { (&near, &far, &link.far) } else { (&far, &near, &link.near) };
    let scratch = tempfile::tempdir()?;
    let place = Place {
        s3: source.ready("s3").to_owned(),
        target_s3: target.ready("s3").to_owned(),
        oss: target.ready("oss").to_owned(),
        certificate: None,
        lasting: scratch.path().to_owned(),
        scratch: scratch.path().to_owned(),
    };
    let said = scratch.path().join("said.txt");
    let invocations = peer.invocations(&workload, &place, &options.dragon).map_err(io::Error::other)?;
    let Some(invocation) = invocations.first() else { return Err(io::Error::other("nothing to run")) };
    let output = || std::fs::File::options().append(true).create(true).open(&said).map(Stdio::from);
    let mut client = link.near.command();
    client.args(&invocation.command).env_clear().envs(invocation.environment.iter().map(|(name, value)| (name, value)));
    let mut client = client.stdin(Stdio::null()).stdout(output()?).stderr(output()?).spawn()?;
    let (started, mut arrived, mut failure) = (Instant::now(), Vec::new(), None);
    for second in 0..=wan.seconds {
        std::thread::sleep((started + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        arrived.push(ask(target_end, target)?.count.bytes_in);
        if let Some(status) = client.try_wait()? {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            failure = Some(format!("ended early, {status}: {}", said.lines().last().unwrap_or_default()));
            break;
        }
    }
    // It may have ended by itself.
    let _ = client.kill();
    client.wait()?;
    let connections = ask(target_end, target)?.count.open_max.max(1);
    Ok(Trial { leg, loss_percent, host: host.to_owned(), client: peer.title(), arrived, connections, failure })
}

/// Asks a server within a namespace.
fn ask(end: &link::Namespace, server: &Service) -> io::Result<service::Report> {
    let own = std::env::current_exe()?;
    let output = end.command().arg(own).args(["ask", server.ready("control"), "report"]).stderr(Stdio::inherit()).output()?;
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

fn table(wan: &WanOptions, trials: &[Trial], machine: &Machine, made_by: &str) -> String {
    let mut out = format!(
        "# W5: a link of {} Mbit/s, 250 ms round trip, 100 ms of queue, made by {made_by}\n\n{}\n\nGoodput of object bytes from {} to {} s after the start, as the \
         receiving server counts it; the far server sends with CUBIC. A full link carries {:.0} Mbit/s of them: the rest is TCP's and IP's.\n\n\
         | leg | loss | near host sends with | client | goodput Mbit/s | of the link | 90 % after | connections |\n|---|---|---|---|---|---|---|---|\n",
        wan.rate_mbit,
        machine.describe(),
        SETTLED.as_secs().min(wan.seconds / 2),
        wan.seconds,
        wan.rate_mbit * 1448.0 / 1500.0,
    );
    for trial in trials {
        let leg = if trial.leg == Leg::Up { "upload" } else { "download" };
        let goodput = trial.goodput_mbit();
        let soon = trial.seconds_to_90_percent(wan.rate_mbit).map_or("never".to_owned(), |seconds| format!("{seconds} s"));
        let failure = trial.failure.as_deref().map(|failure| format!(" **FAILED**: {failure}")).unwrap_or_default();
        out.push_str(&format!(
            "| {leg} | {} % | {} | {} | {goodput:.1}{failure} | {:.0} % | {soon} | {} |\n",
            trial.loss_percent,
            trial.host,
            trial.client,
            100.0 * goodput / wan.rate_mbit,
            trial.connections,
        ));
    }
    out
}

/// Role of a process within a namespace: asks a control port and prints the answer.
pub(crate) fn ask_here(control: &str, path: &str) -> io::Result<()> {
    use io::Write;
    io::stdout().write_all(&service::ask(control, path)?)
}
