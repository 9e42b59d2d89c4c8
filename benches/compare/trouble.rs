//! W6, W7 and W9: a flaky service, a client that is killed halfway, and an object as large as there may be.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::machine::Machine;
use crate::measure::Usage;
use crate::peer::{Invocation, Peer, Place};
use crate::run::Options;
use crate::service::{self, Report, Service};
use crate::workload::{Scale, Workload};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// How often the server is asked how far a client got.
const POLL: Duration = Duration::from_millis(20);

/// How W6, W7 and W9 are run.
#[derive(Debug, Clone, Args)]
pub(crate) struct TroubleOptions {
    /// W6, W7: how long a client may take
    #[arg(long, default_value = "4m", value_parser = humantime::parse_duration)]
    give_up_after: Duration,
    /// W9: parts of the 5 TiB object that are copied
    #[arg(long, default_value_t = 40)]
    parts: u64,
}

/// When to kill a client.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// Never: it ends by itself, or its time is over.
    End(Duration),
    /// So many bytes have arrived.
    Arrived(u64),
}

/// What came of one client.
struct Ending {
    usage: Usage,
    report: Report,
    /// It was ended because its time was over.
    late: bool,
}

/// A server for a workload, and where clients find it.
struct Rig {
    server: Service,
    place: Place,
    workload: Workload,
    folder: tempfile::TempDir,
    dragon: PathBuf,
}

impl Rig {
    fn new(options: &Options, workload: Workload, more: &[&str]) -> io::Result<Self> {
        let folder = tempfile::tempdir_in(if PathBuf::from("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() })?;
        let server = Service::role(workload.server_arguments().iter().map(String::as_str).chain(more.iter().copied()))?;
        let place = Place {
            s3: server.ready("s3").to_owned(),
            target_s3: server.ready("s3").to_owned(),
            oss: server.ready("oss").to_owned(),
            certificate: None,
            lasting: folder.path().to_owned(),
            scratch: folder.path().to_owned(),
        };
        Ok(Self { server, place, workload, folder, dragon: options.dragon.clone() })
    }

    /// Runs a client until it ends or is killed.
    fn run(&self, peer: Peer, until: Until) -> io::Result<Ending> {
        let invocations = peer.invocations(&self.workload, &self.place, &self.dragon).map_err(io::Error::other)?;
        let Some(Invocation { command, environment }) = invocations.first() else { return Err(io::Error::other("nothing to run")) };
        let out = self.folder.path().join("usage.json");
        // Of the run before.
        let _ = fs::remove_file(crate::measure::pid_file(&out));
        let mut measuring = Command::new(std::env::current_exe()?)
            .args(["measure", "--out"])
            .arg(&out)
            .arg("--")
            .args(command)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let (started, mut late) = (Instant::now(), false);
        while measuring.try_wait()?.is_none() {
            std::thread::sleep(POLL);
            let report = service::report(&self.server, "target")?;
            let over = match until {
                Until::End(time) => {
                    late = started.elapsed() > time;
                    late
                }
                Until::Arrived(bytes) => report.count.bytes_in >= bytes,
            };
            if over {
                // The process of this id is the client, which its parent has not waited for yet.
                let pid = fs::read_to_string(crate::measure::pid_file(&out))?;
                let _ = Command::new("kill").args(["-9", pid.trim()]).status()?;
                break;
            }
        }
        measuring.wait()?;
        Ok(Ending { usage: Usage::read(&out)?, report: service::report(&self.server, "target")?, late })
    }
}

fn state(complete: bool) -> &'static str {
    if complete { "all proved equal" } else { "**NOT COMPLETE**" }
}

fn peers(options: &Options) -> impl Iterator<Item = Peer> {
    [Peer::Dragon, Peer::Rclone].into_iter().filter(|peer| options.peers.is_empty() || options.peers.contains(peer))
}

fn write(options: &Options, name: &str, table: &str) -> io::Result<()> {
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join(name), table)?;
    println!("{table}");
    Ok(())
}

/// W6: the same copy from a service that is well and from one that is not.
pub(crate) fn flaky(options: &Options, trouble: &TroubleOptions) -> io::Result<()> {
    let objects = if options.scale == Scale::Full { 20_000 } else { 2_000 };
    let workload = || Workload::copy("w6", "W6: a flaky service", objects, 64 * KIB);
    let needed = 2 * workload().bytes();
    let machine = Machine::here(&[Peer::Dragon, Peer::Rclone], &options.dragon);
    let mut table = format!(
        "# W6: {objects} x 64 KiB, and a service where 1 % of requests are throttled, 0.5 % reset, 0.2 % stall for a minute, 0.01 % come corrupt or cut short\n\n{}\n\n\
         | client | service | wall s | exit status | objects missing | objects corrupt | bytes beyond what was needed | result |\n|---|---|---|---|---|---|---|---|\n",
        machine.describe(),
    );
    for peer in peers(options) {
        for (service, more) in [("well", &[][..]), ("flaky", &["--flaky"][..])] {
            let rig = Rig::new(options, workload(), more)?;
            let ending = rig.run(peer, Until::End(trouble.give_up_after))?;
            let moved = ending.report.count.bytes_in + ending.report.count.bytes_out;
            let status = if ending.late { "ended by us: too long".to_owned() } else { ending.usage.status.to_string() };
            table.push_str(&format!(
                "| {} | {service} | {:.1} | {status} | {} | {} | {:+.2} % | {} |\n",
                peer.title(),
                ending.usage.wall_seconds,
                ending.report.target.missing,
                ending.report.target.different,
                100.0 * (moved as f64 / needed as f64 - 1.0),
                state(ending.report.is_complete()),
            ));
        }
    }
    write(options, "w6.md", &table)
}

/// W7: killed without warning at half the bytes, and run again.
pub(crate) fn killed(options: &Options, trouble: &TroubleOptions) -> io::Result<()> {
    let full = options.scale == Scale::Full;
    let machine = Machine::here(&[Peer::Dragon, Peer::Rclone], &options.dragon);
    let mut table = format!(
        "# W7: kill -9 at half the bytes, then the same command again\n\n{}\n\n\
         | work | client | bytes sent twice | of the work | second run wall s | result |\n|---|---|---|---|---|---|\n",
        machine.describe(),
    );
    let works = [(1, if full { 10 * GIB } else { GIB }), (if full { 20_000 } else { 5_000 }, 4 * KIB)];
    for (objects, size_bytes) in works {
        for peer in peers(options) {
            let rig = Rig::new(options, Workload::copy("w7", "W7", objects, size_bytes), &[])?;
            rig.run(peer, Until::Arrived(objects * size_bytes / 2))?;
            let ending = rig.run(peer, Until::End(trouble.give_up_after))?;
            let twice = ending.report.count.bytes_in.saturating_sub(objects * size_bytes);
            table.push_str(&format!(
                "| {} | {} | {:.1} MiB | {:.1} % | {:.1} | {} |\n",
                rig.workload.title,
                peer.title(),
                twice as f64 / MIB as f64,
                100.0 * twice as f64 / (objects * size_bytes) as f64,
                ending.usage.wall_seconds,
                state(ending.report.is_complete()),
            ));
        }
    }
    write(options, "w7.md", &table)
}

/// W9: the first parts of 5 TiB, at a service that takes 3,500 requests a second.
pub(crate) fn largest(options: &Options, trouble: &TroubleOptions) -> io::Result<()> {
    let size_bytes = 5 << 40;
    let rig = Rig::new(options, Workload::copy("w9", "W9", 1, size_bytes), &["--throttle", "3500"])?;
    // No cloud takes more than 10,000 parts, so they are at least this large.
    let part_bytes = size_bytes / 10_000;
    let ending = rig.run(Peer::Dragon, Until::Arrived(trouble.parts * part_bytes))?;
    let count = &ending.report.count;
    let machine = Machine::here(&[Peer::Dragon], &options.dragon);
    let table = format!(
        "# W9: the first parts of one object of 5 TiB\n\n{}\n\n| parts begun | GiB sent | peak RSS MiB | CPU s/GiB | throttled | connections |\n|---|---|---|---|---|---|\n\
         | {} | {:.1} | {} | {:.3} | {:.2} % | {} |\n",
        machine.describe(),
        count.operations.get("upload_part").copied().unwrap_or(0),
        count.bytes_in as f64 / GIB as f64,
        ending.usage.peak_rss_bytes / MIB,
        ending.usage.cpu_seconds() / (count.bytes_in as f64 / GIB as f64),
        100.0 * count.throttled as f64 / count.requests as f64,
        count.open_max,
    );
    write(options, "w9.md", &table)
}
