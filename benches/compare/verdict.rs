//! What was asked for, and whether it was reached: each figure beside its bound, in the words of the issue that set it.

use std::fmt::Write;

use crate::chart::figure;
use crate::peer::Peer;
use crate::run::{Measured, Outcome, Sample, median};
use crate::workload::Scale;

/// A figure and its bound.
struct Bound {
    what: String,
    measured: f64,
    /// At most this; at least this, where `at_least`.
    bound: f64,
    at_least: bool,
}

impl Bound {
    fn holds(&self) -> bool {
        // Where something is missing, nothing holds.
        if self.at_least { self.measured >= self.bound } else { self.measured <= self.bound }
    }
}

/// The rest of a run, asked for by names.
struct Findings<'a>(&'a Outcome);

impl Findings<'_> {
    fn workload(&self, name: &str) -> Option<&Measured> {
        self.0.measured.iter().find(|measured| measured.workload.name == name)
    }

    /// The middle of all good runs of a client; not a number where there is none.
    fn of(&self, name: &str, peer: Peer, value: impl Fn(&Measured, &Sample) -> f64) -> f64 {
        let Some(measured) = self.workload(name) else { return f64::NAN };
        median(measured.rows.iter().filter(|row| row.peer == peer).flat_map(|row| row.good()).map(|sample| value(measured, sample)))
    }

    fn cost(&self, name: &str, peer: Peer) -> f64 {
        self.of(name, peer, |measured, sample| measured.workload.cost(sample))
    }

    /// The least that any peer costs.
    fn least(&self, name: &str, peers: &[Peer]) -> f64 {
        peers.iter().map(|peer| self.cost(name, *peer)).filter(|cost| !cost.is_nan()).fold(f64::NAN, f64::min)
    }
}

const PEERS: [Peer; 5] = [Peer::ObjectStore, Peer::AwsSdk, Peer::Rclone, Peer::RcloneTuned, Peer::S5cmd];

fn bounds(outcome: &Outcome) -> Vec<Bound> {
    let found = Findings(outcome);
    let rss = |_: &Measured, sample: &Sample| sample.usage.peak_rss_bytes as f64 / f64::from(1 << 20);
    let mut bounds = Vec::new();
    let mut bound = |names: &[&str], what: &str, measured: f64, bound: f64, at_least: bool| {
        if names.iter().all(|name| found.workload(name).is_some()) {
            bounds.push(Bound { what: format!("{}: {what}", names[0]), measured, bound, at_least });
        }
    };
    let floor = outcome.floor.cpu_seconds_per_gib();
    for (name, peers) in [("w1", "w1-peers"), ("w2", "w2-peers")] {
        bound(&[name], "CPU over F", found.cost(name, Peer::Dragon) / floor, 1.6, false);
        bound(&[name], "peak RSS, MiB", found.of(name, Peer::Dragon, rss), 150.0, false);
        bound(&[peers], "CPU over the best peer's", found.cost(peers, Peer::Dragon) / found.least(peers, &PEERS), 0.45, false);
    }
    let tls_floor = outcome.tls_floor.as_ref().map_or(f64::NAN, |floor| floor.cpu_seconds_per_gib());
    bound(&["w1-https"], "CPU over F with TLS", found.cost("w1-https", Peer::Dragon) / tls_floor, 1.6, false);
    let rclone = [Peer::Rclone, Peer::RcloneTuned];
    let requests = |measured: &Measured, sample: &Sample| sample.report.count.object_requests() as f64 / measured.workload.objects as f64;
    bound(&["w3"], "CPU µs an object", found.cost("w3", Peer::Dragon), 45.0, false);
    bound(&["w3"], "requests an object, listings apart", found.of("w3", Peer::Dragon, requests), 2.0, false);
    bound(&["w3-peers"], "CPU over rclone's, tuned", found.cost("w3-peers", Peer::Dragon) / found.least("w3-peers", &rclone), 0.15, false);
    let wall = |peer| found.of("w3-peers", peer, |_, sample| sample.usage.wall_seconds);
    let times = rclone.map(wall).into_iter().fold(f64::NAN, f64::min) / wall(Peer::Dragon);
    bound(&["w3-peers"], "throughput over rclone's best", times, 3.0, true);
    let cpu = |_: &Measured, sample: &Sample| sample.usage.cpu_seconds();
    let beside = |_: &Measured, sample: &Sample| sample.report.count.object_requests() as f64;
    for name in ["w4-tree", "w4-flat"] {
        bound(&[name], "CPU seconds", found.of(name, Peer::Dragon, cpu), 2.0, false);
        bound(&[name], "requests beside listings", found.of(name, Peer::Dragon, beside), 0.0, false);
    }
    for name in ["w4-tree", "w4-flat", "w4-ten-million"] {
        bound(&[name], "peak RSS, MiB", found.of(name, Peer::Dragon, rss), 64.0, false);
    }
    for name in ["w4-tree-60ms", "w4-flat-60ms"] {
        // One stream reads both sides page by page, one page ahead: a page's time for every thousand keys.
        let one_stream = |measured: &Measured, sample: &Sample| measured.workload.objects as f64 / 1000.0 * 0.06 / sample.usage.wall_seconds;
        bound(&[name], "faster than one stream", found.of(name, Peer::Dragon, one_stream), 8.0, true);
    }
    bounds
}

/// The bounds as a table. They are set for the full scale; on a small one nothing is judged.
pub(crate) fn table(scale: Scale, outcome: &Outcome) -> String {
    let bounds = bounds(outcome);
    if scale != Scale::Full || bounds.is_empty() {
        return String::new();
    }
    let mut out = String::from("## What was asked for\n\n| what | measured | bound | |\n|---|---|---|---|\n");
    for bound in bounds {
        let (sign, holds) = (if bound.at_least { ">=" } else { "<=" }, if bound.holds() { "holds" } else { "**missed**" });
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} | {} | {sign} {} | {holds} |", bound.what, figure(bound.measured), bound.bound);
    }
    out.push('\n');
    out
}
