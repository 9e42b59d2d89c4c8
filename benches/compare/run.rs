//! One run: every chosen workload by every chosen client, round by round in a rotated order, the floor first and last.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde::Serialize;

use crate::backend::Backend;
use crate::measure::Usage;
use crate::peer::{Invocation, Peer, Place};
use crate::service::{Report, Service};
use crate::workload::{Scale, Task, Workload};

/// Core of the client, and of what serves it.
const CLIENT_CORE: usize = 0;
pub(crate) const SERVER_CORE: usize = 1;
/// Bytes that the floor relays, and how often at each end of a run.
const FLOOR_BYTES: u64 = 4 << 30;
const FLOOR_ROUNDS: usize = 3;
/// How far the floor may move within a run.
const DRIFT_MAX: f64 = 0.15;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// w1, w1-https, w2, w3, w4 (and what begins with such a name, as w4-flat), growth, w5, w6, w7, w9; w1 to w4 where none is named
    pub(crate) workloads: Vec<String>,
    /// Rounds: five, but one of the small scale
    #[arg(long)]
    rounds: Option<usize>,
    /// How large
    #[arg(long, value_enum, default_value_t = Scale::Small)]
    pub(crate) scale: Scale,
    /// Run everything once more, not timed, under `perf stat`: instructions are the same on a machine that is not quiet
    #[arg(long)]
    pub(crate) instructions: bool,
    /// Only these clients
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) peers: Vec<Peer>,
    /// Another binary than the one that Cargo built
    #[arg(long, default_value = option_env!("CARGO_BIN_EXE_dragon").unwrap_or("dragon"))]
    pub(crate) dragon: PathBuf,
    /// Where table, chart and raw numbers go
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results"))]
    pub(crate) out: PathBuf,
}

impl Options {
    /// How often everyone does everything.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.scale == Scale::Full { 5 } else { 1 })
    }

    /// The same for one client, in so many rounds at most.
    pub(crate) fn alone(&self, peer: Peer, rounds_max: usize) -> Self {
        Self { rounds: Some(self.rounds().min(rounds_max)), peers: vec![peer], ..self.clone() }
    }
}

/// What one client did in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) usage: Usage,
    pub(crate) report: Report,
    /// Why the run does not count.
    pub(crate) failure: Option<String>,
}

/// All rounds of one client on one workload.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) peer: Peer,
    pub(crate) samples: Vec<Sample>,
    /// The run whose instructions were counted. Its times count nowhere.
    pub(crate) counted: Option<Sample>,
}

/// One workload, done.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    pub(crate) rows: Vec<Row>,
    /// Clients that are not there, and why.
    pub(crate) missing: Vec<(Peer, String)>,
}

/// What a GiB costs a relay: CPU seconds and wall seconds, of every measurement.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Floor {
    pub(crate) first: Vec<Usage>,
    pub(crate) last: Vec<Usage>,
}

impl Floor {
    /// CPU seconds a GiB, of all measurements.
    pub(crate) fn cpu_seconds_per_gib(&self) -> f64 {
        median(self.first.iter().chain(&self.last).map(|usage| usage.cpu_seconds() / (FLOOR_BYTES >> 30) as f64))
    }

    pub(crate) fn wall_seconds_per_gib(&self) -> f64 {
        median(self.first.iter().chain(&self.last).map(|usage| usage.wall_seconds / (FLOOR_BYTES >> 30) as f64))
    }

    /// How far it moved between the ends of the run.
    pub(crate) fn drift(&self) -> f64 {
        let of = |usages: &[Usage]| median(usages.iter().map(Usage::cpu_seconds));
        of(&self.last) / of(&self.first) - 1.0
    }

    pub(crate) fn holds(&self) -> bool {
        self.drift().abs() <= DRIFT_MAX
    }
}

/// Everything that was measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) floor: Floor,
    pub(crate) tls_floor: Option<Floor>,
    pub(crate) measured: Vec<Measured>,
}

/// The middle value; not a number where there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Measures the chosen workloads.
pub(crate) fn run(options: &Options, chosen: &[Workload]) -> io::Result<Outcome> {
    let tls = chosen.iter().any(|workload| workload.tls);
    let mut outcome = Outcome { tls_floor: tls.then(Floor::default), ..Outcome::default() };
    let relay = |outcome: &mut Outcome, last: bool| -> io::Result<()> {
        for (floor, tls) in std::iter::once((&mut outcome.floor, false)).chain(outcome.tls_floor.as_mut().map(|floor| (floor, true))) {
            let usages = measure_floor(tls)?;
            *if last { &mut floor.last } else { &mut floor.first } = usages;
            eprintln!(
                "floor{}: {:.3} CPU s/GiB",
                if tls { " with TLS" } else { "" },
                median(if last { &floor.last } else { &floor.first }.iter().map(Usage::cpu_seconds)) / (FLOOR_BYTES >> 30) as f64
            );
        }
        Ok(())
    };
    relay(&mut outcome, false)?;
    for workload in chosen {
        outcome.measured.push(measure_workload(options, workload)?);
    }
    relay(&mut outcome, true)?;
    Ok(outcome)
}

/// The workloads over loopback that the options name.
pub(crate) fn chosen(options: &Options) -> Vec<Workload> {
    let named = |workload: &Workload| {
        options.workloads.is_empty() || options.workloads.iter().any(|name| workload.name == *name || workload.name.starts_with(&format!("{name}-")))
    };
    Workload::all(options.scale).into_iter().filter(named).collect()
}

fn measure_floor(tls: bool) -> io::Result<Vec<Usage>> {
    let scratch = tempfile::tempdir()?;
    let certificate = scratch.path().join("floor.pem");
    let trust = if tls { vec!["--tls".to_owned(), certificate.display().to_string()] } else { Vec::new() };
    let core = ["--core".to_owned(), SERVER_CORE.to_string()];
    let far = Service::role(["floor", "serve"].map(String::from).into_iter().chain(core).chain(trust.clone()))?;
    let relay = ["floor", "relay", "--to", far.ready("floor"), "--bytes", &format!("{FLOOR_BYTES}B")].map(String::from);
    let own = std::env::current_exe()?;
    let invocation = Invocation::own(&own, relay.into_iter().chain(trust));
    (0..FLOOR_ROUNDS).map(|_| measured(&invocation, scratch.path(), None, false)).collect()
}

/// Runs a program to its end and says what it used. Its words go to `said`.
fn measured(invocation: &Invocation, scratch: &Path, said: Option<&Path>, instructions: bool) -> io::Result<Usage> {
    let out = scratch.join("usage.json");
    // Of an earlier program.
    let _ = fs::remove_file(&out);
    let output = || said.map_or(Ok(Stdio::inherit()), |file| fs::File::options().append(true).create(true).open(file).map(Stdio::from));
    let status = Command::new(std::env::current_exe()?)
        .args(["measure", "--core", &CLIENT_CORE.to_string(), "--out"])
        .arg(&out)
        .args(instructions.then_some("--instructions"))
        .arg("--")
        .args(&invocation.command)
        .env_clear()
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?)
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("measuring {:?} failed: {status}", invocation.command)));
    }
    Usage::read(&out)
}

/// All rounds of one workload.
pub(crate) fn measure_workload(options: &Options, workload: &Workload) -> io::Result<Measured> {
    eprintln!("{}", workload.title);
    let lasting = tempfile::tempdir()?;
    let certificate = workload.tls.then(|| lasting.path().join("server.pem"));
    let backend = Backend::start(workload, &options.dragon, certificate.as_deref())?;
    let everyone = [Peer::Dragon, Peer::ObjectStore, Peer::AwsSdk, Peer::Rclone, Peer::RcloneTuned, Peer::S5cmd];
    let wanted = everyone.into_iter().filter(|peer| options.peers.is_empty() || options.peers.contains(peer));
    let wanted = wanted.filter(|peer| workload.asks(*peer) && peer.can(workload));
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    for peer in wanted {
        match peer.version(&options.dragon) {
            Ok(_) => rows.push(Row { peer, samples: Vec::new(), counted: None }),
            Err(why) => missing.push((peer, why)),
        }
    }
    let warm = matches!(workload.task, Task::Compare { .. }) && rows.iter().any(|row| row.peer == Peer::Dragon);
    if warm {
        // Dragon remembers what it proved: what is measured is the sync after the first.
        let sample = once(options, workload, Peer::Dragon, &backend, lasting.path(), certificate.as_deref(), false)?;
        tell("dragon, first sync", &sample);
    }
    for round in 0..options.rounds() {
        for place in 0..rows.len() {
            let at = (place + round) % rows.len();
            let peer = rows[at].peer;
            let sample = once(options, workload, peer, &backend, lasting.path(), certificate.as_deref(), false)?;
            tell(peer.title(), &sample);
            rows[at].samples.push(sample);
        }
    }
    if options.instructions {
        for row in &mut rows {
            row.counted = Some(once(options, workload, row.peer, &backend, lasting.path(), certificate.as_deref(), true)?);
        }
    }
    Ok(Measured { workload: workload.clone(), rows, missing })
}

fn tell(who: &str, sample: &Sample) {
    let usage = &sample.usage;
    let failure = sample.failure.as_deref().map(|failure| format!("  FAILED: {failure}")).unwrap_or_default();
    eprintln!(
        "  {who:24} {:8.2} s wall {:8.3} s CPU {:6} MiB {:9} requests{failure}",
        usage.wall_seconds,
        usage.cpu_seconds(),
        usage.peak_rss_bytes >> 20,
        sample.report.count.requests,
    );
}

/// One client, once.
fn once(
    options: &Options,
    workload: &Workload,
    peer: Peer,
    backend: &Backend,
    lasting: &Path,
    certificate: Option<&Path>,
    instructions: bool,
) -> io::Result<Sample> {
    backend.reset(workload)?;
    // In memory where there is such a folder, so that no disk is measured.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
    let place = Place {
        s3: backend.s3().to_owned(),
        target_s3: backend.s3().to_owned(),
        oss: backend.oss().to_owned(),
        certificate: certificate.map(Path::to_owned),
        lasting: lasting.to_owned(),
        scratch: scratch.path().to_owned(),
    };
    let said = lasting.join("said.txt");
    let _ = fs::remove_file(&said);
    let mut usage = Usage::default();
    let mut failure = None;
    for invocation in peer.invocations(workload, &place, &options.dragon).map_err(io::Error::other)? {
        usage = usage.then(measured(&invocation, lasting, Some(&said), instructions)?);
    }
    let report = backend.report(workload, if peer == Peer::Dragon { "oss" } else { "s3" })?;
    if usage.status != 0 {
        let said = fs::read(&said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        failure = Some(format!("exit status {}: {}", usage.status, said.lines().last().unwrap_or_default()));
    } else if !report.is_complete() {
        failure = Some(format!("{} objects differ and {} are missing", report.target.different, report.target.missing));
    }
    Ok(Sample { usage, report, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!((median([3.0, 1.0, 2.0]), median([4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_floor_that_moves_does_not_hold() {
        let usage = |seconds| Usage { user_seconds: seconds, ..Usage::default() };
        let floor = |last| Floor { first: vec![usage(1.0)], last: vec![usage(last)] };
        assert!(floor(1.14).holds() && floor(0.86).holds());
        assert!(!floor(1.16).holds() && !floor(0.84).holds());
    }
}
