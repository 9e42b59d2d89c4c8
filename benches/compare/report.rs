//! What a run found, as a table for people, a chart, and the raw numbers.

use std::fmt::Write;
use std::fs;
use std::io;

use serde_json::json;

use crate::chart::{self, Bar, Panel, figure};
use crate::machine::Machine;
use crate::peer::Peer;
use crate::run::{Floor, Measured, Options, Outcome, Row, Sample, median};
use crate::verdict;
use crate::workload::{Scale, Unit, Who, Workload};

/// Writes `loopback.md`, `loopback.svg` and `loopback.json` into the folder.
pub(crate) fn write(options: &Options, outcome: &Outcome) -> io::Result<()> {
    let mut peers: Vec<Peer> = outcome.measured.iter().flat_map(|measured| measured.rows.iter().map(|row| row.peer)).collect();
    peers.sort();
    peers.dedup();
    let machine = Machine::here(&peers, &options.dragon);
    fs::create_dir_all(&options.out)?;
    let table = table(options, outcome, &machine);
    fs::write(options.out.join("loopback.md"), &table)?;
    fs::write(options.out.join("loopback.svg"), chart::bars(&panels(outcome)))?;
    fs::write(options.out.join("loopback.json"), serde_json::to_string_pretty(&raw(options, outcome, &machine))?)?;
    println!("{table}");
    eprintln!("written to {}", options.out.display());
    Ok(())
}

impl Workload {
    /// What one run cost, in this workload's unit.
    pub(crate) fn cost(&self, sample: &Sample) -> f64 {
        let cpu = sample.usage.cpu_seconds();
        match self.unit() {
            Unit::Gib => cpu / (self.bytes() as f64 / f64::from(1 << 30)),
            Unit::Object | Unit::Key => cpu * 1e6 / self.objects as f64,
        }
    }

    /// Instructions that one run took, in thousands, by this workload's unit.
    fn instructions_thousands(&self, sample: &Sample) -> Option<f64> {
        let each = match self.unit() {
            Unit::Gib => self.bytes() as f64 / f64::from(1 << 30),
            Unit::Object | Unit::Key => self.objects as f64,
        };
        Some(sample.usage.instructions? as f64 / 1000.0 / each)
    }

    fn unit_name(&self) -> &'static str {
        match self.unit() {
            Unit::Gib => "CPU s/GiB",
            Unit::Object => "CPU µs/object",
            Unit::Key => "CPU µs/key",
        }
    }
}

/// Middle, least and most.
struct Range {
    median: f64,
    min: f64,
    max: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        Self { median: median(values.clone()), min: values.clone().fold(f64::INFINITY, f64::min), max: values.fold(f64::NEG_INFINITY, f64::max) }
    }

    fn show(&self) -> String {
        if self.median.is_nan() { "-".into() } else { format!("{} ({}-{})", figure(self.median), figure(self.min), figure(self.max)) }
    }
}

impl Row {
    /// The runs that count.
    pub(crate) fn good(&self) -> impl Iterator<Item = &Sample> + Clone {
        self.samples.iter().filter(|sample| sample.failure.is_none())
    }

    fn range(&self, value: impl Fn(&Sample) -> f64 + Clone) -> Range {
        Range::of(self.good().map(value))
    }
}

fn table(options: &Options, outcome: &Outcome, machine: &Machine) -> String {
    let mut out = String::from("# Dragon beside its peers, over loopback\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}\n", machine.describe());
    let _ = writeln!(
        out,
        "`cargo bench --bench compare -- {}--rounds {} --scale {}`: {} rounds in rotated order, medians (least-most); client on core 0, servers on core 1; \
         CPU is user and system time of the client's whole process tree. Every destination was compared with its source after every run.\n",
        options.workloads.iter().map(|name| format!("{name} ")).collect::<String>(),
        options.rounds(),
        if options.scale == Scale::Full { "full" } else { "small" },
        options.rounds(),
    );
    floor(&mut out, "Floor F, a socket relay", &outcome.floor);
    if let Some(floor_with_tls) = &outcome.tls_floor {
        floor(&mut out, "Floor with TLS on both legs (rustls)", floor_with_tls);
    }
    out.push_str(&summary(outcome));
    out.push_str(&verdict::table(options.scale, outcome));
    for measured in &outcome.measured {
        workload(&mut out, outcome, measured);
    }
    out
}

/// Everyone's CPU time on what everyone did, in one table: fit for a README.
fn summary(outcome: &Outcome) -> String {
    let compared: Vec<&Measured> = outcome.measured.iter().filter(|measured| measured.workload.who == Who::Everyone).collect();
    let mut peers: Vec<Peer> = compared.iter().flat_map(|measured| measured.rows.iter().map(|row| row.peer)).collect();
    peers.sort();
    peers.dedup();
    if compared.is_empty() {
        return String::new();
    }
    let cells = |cell: &dyn Fn(&Measured) -> String| compared.iter().map(|measured| format!(" {} |", cell(measured))).collect::<String>();
    let mut out = format!("| client |{}\n|---|{}\n", cells(&|measured| measured.workload.title.clone()), cells(&|_| "---".into()));
    out.push_str(&format!("| |{}\n", cells(&|measured| measured.workload.unit_name().into())));
    if compared.iter().any(|measured| measured.workload.unit() == Unit::Gib) {
        let relay = cells(&|measured| match measured.workload.unit() {
            Unit::Gib => figure(floor_of(outcome, &measured.workload).cpu_seconds_per_gib()),
            _ => String::new(),
        });
        out.push_str(&format!("| socket relay, the floor |{relay}\n"));
    }
    for peer in peers {
        let cost = |measured: &Measured| {
            let row = measured.rows.iter().find(|row| row.peer == peer)?;
            Some(row.range(|sample| measured.workload.cost(sample)).median)
        };
        let show = |measured: &Measured| match cost(measured) {
            None => String::new(),
            Some(cost) if cost.is_nan() => "failed".into(),
            Some(cost) if peer == Peer::Dragon => format!("**{}**", figure(cost)),
            Some(cost) => figure(cost),
        };
        out.push_str(&format!("| {} |{}\n", peer.title(), cells(&show)));
    }
    out + "\n"
}

/// The floor that a workload stands on.
fn floor_of<'a>(outcome: &'a Outcome, workload: &Workload) -> &'a Floor {
    outcome.tls_floor.as_ref().filter(|_| workload.tls).unwrap_or(&outcome.floor)
}

fn floor(out: &mut String, title: &str, floor: &Floor) {
    let _ = writeln!(
        out,
        "{title}: **{} CPU s/GiB**, {} wall s/GiB; it moved by {:+.0} % between the ends of the run.{}\n",
        figure(floor.cpu_seconds_per_gib()),
        figure(floor.wall_seconds_per_gib()),
        floor.drift() * 100.0,
        if floor.holds() { "" } else { " **THAT IS TOO MUCH: the machine was not quiet, and this run proves nothing.**" },
    );
}

fn workload(out: &mut String, outcome: &Outcome, measured: &Measured) {
    let workload = &measured.workload;
    let floor = floor_of(outcome, workload);
    let of_floor = workload.unit() == Unit::Gib;
    let _ = writeln!(out, "## {}\n", workload.title);
    let ratio_head = if of_floor { " / floor |" } else { "" };
    let _ = writeln!(
        out,
        "| client | {} |{ratio_head} 1,000 instructions | wall s | peak RSS MiB | requests {} | verified |",
        workload.unit_name(),
        workload.per()
    );
    let _ = writeln!(out, "|---|---|{}---|---|---|---|---|", if of_floor { "---|" } else { "" });
    if of_floor {
        let gib = workload.bytes() as f64 / f64::from(1 << 30);
        let cells = (figure(floor.cpu_seconds_per_gib()), figure(floor.wall_seconds_per_gib() * gib));
        let _ = writeln!(out, "| the floor | {} | 1 | | {} | | | |", cells.0, cells.1);
    }
    for row in &measured.rows {
        let cost = row.range(|sample| workload.cost(sample));
        let ratio = if of_floor { format!(" {:.2} |", cost.median / floor.cpu_seconds_per_gib()) } else { String::new() };
        let requests = row.range(|sample| workload.requests(&sample.report.count) as f64 / workload.per_how_many()).median;
        let failures: Vec<&str> = row.samples.iter().filter_map(|sample| sample.failure.as_deref()).collect();
        let verified = match failures.first() {
            None => format!("{} of {}", row.samples.len(), row.samples.len()),
            Some(first) => format!("**{} of {} runs FAILED**: {}", failures.len(), row.samples.len(), first.replace('|', "/")),
        };
        let _ = writeln!(
            out,
            "| {} | {} |{ratio} {} | {} | {} | {} | {verified} |",
            row.peer.title(),
            cost.show(),
            row.counted.as_ref().and_then(|sample| workload.instructions_thousands(sample)).map_or_else(|| "-".into(), figure),
            row.range(|sample| sample.usage.wall_seconds).show(),
            row.range(|sample| (sample.usage.peak_rss_bytes >> 20) as f64).show(),
            if requests > 0.0 { figure(requests) } else { "-".into() },
        );
    }
    for (peer, why) in &measured.missing {
        let _ = writeln!(out, "| {} | missing | {}| | | | {} |", peer.title(), if of_floor { "| " } else { "" }, why.replace('|', "/"));
    }
    out.push('\n');
}

fn panels(outcome: &Outcome) -> Vec<Panel> {
    let compared = outcome.measured.iter().filter(|measured| measured.workload.who == Who::Everyone);
    compared
        .map(|measured| {
            let workload = &measured.workload;
            let mut bars: Vec<Bar> = Vec::new();
            if workload.unit() == Unit::Gib {
                let floor = floor_of(outcome, workload);
                let value = floor.cpu_seconds_per_gib();
                bars.push(Bar { label: "socket relay (floor)".into(), value, min: value, max: value, ours: false });
            }
            bars.extend(measured.rows.iter().filter(|row| row.good().next().is_some()).map(|row| {
                let cost = row.range(|sample| workload.cost(sample));
                Bar { label: row.peer.title().trim_matches('*').to_owned(), value: cost.median, min: cost.min, max: cost.max, ours: row.peer == Peer::Dragon }
            }));
            Panel { title: workload.title.clone(), unit: workload.unit_name().into(), bars }
        })
        .collect()
}

fn raw(options: &Options, outcome: &Outcome, machine: &Machine) -> serde_json::Value {
    let workloads: Vec<_> = outcome.measured.iter().map(Measured::raw).collect();
    json!({ "machine": machine, "rounds": options.rounds(), "floor": outcome.floor, "tls_floor": outcome.tls_floor, "workloads": workloads })
}

impl Measured {
    /// Every figure of every run.
    pub(crate) fn raw(&self) -> serde_json::Value {
        let rows: Vec<_> =
            self.rows.iter().map(|row| json!({ "client": row.peer.title().trim_matches('*'), "samples": row.samples, "counted": row.counted })).collect();
        let workload = &self.workload;
        json!({ "name": workload.name, "title": workload.title, "objects": workload.objects, "size_bytes": workload.size_bytes, "rows": rows })
    }
}
