//! Whether the cost grows as it should: what an object costs from ten thousand to a million of them, and a key to ten million.

use std::io;

use crate::chart::{self, Series, figure};
use crate::machine::Machine;
use crate::peer::Peer;
use crate::run::{self, Measured, Options, median};
use crate::server::Shape;
use crate::workload::{Scale, Workload, count};

/// Rounds of the largest counts: they take long, and vary little.
const LARGE_ROUNDS: usize = 2;

/// Measures both series and writes `growth.md`, `growth.svg` and `growth.json`.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let most = if options.scale == Scale::Full { 7 } else { 5 };
    let objects = (4..=most.min(6)).map(|power| Workload::copy("growth", "Copying small objects", 10_u64.pow(power), 4 << 10));
    let keys = (4..=most).map(|power| Workload::compare("growth", "Nothing to do", 10_u64.pow(power), Shape::Flat));
    let measure = |workload: Workload| {
        let rounds_max = if workload.objects >= 1_000_000 { LARGE_ROUNDS } else { usize::MAX };
        run::measure_workload(&options.alone(Peer::Dragon, rounds_max), &workload)
    };
    let copied: Vec<Measured> = objects.map(measure).collect::<io::Result<_>>()?;
    let compared: Vec<Measured> = keys.map(measure).collect::<io::Result<_>>()?;
    let series = [("an object copied", &copied), ("a key compared", &compared)];
    let machine = Machine::here(&[Peer::Dragon], &options.dragon);
    let mut table =
        format!("# What one costs, of many\n\n{}\n\n| work | how many | CPU µs each | peak RSS MiB | wall s |\n|---|---|---|---|---|\n", machine.describe());
    for (name, measured) in series {
        for measured in measured {
            let of = |value: &dyn Fn(&run::Sample) -> f64| median(measured.rows.iter().flat_map(|row| row.good()).map(value));
            table.push_str(&format!(
                "| {name} | {} | {} | {} | {} |\n",
                count(measured.workload.objects),
                figure(cost(measured)),
                figure(of(&|sample| (sample.usage.peak_rss_bytes >> 20) as f64)),
                figure(of(&|sample| sample.usage.wall_seconds)),
            ));
        }
    }
    let points = |measured: &Vec<Measured>| measured.iter().map(|measured| (measured.workload.objects as f64, cost(measured))).collect();
    let lines = series.map(|(label, measured)| Series { label: label.into(), points: points(measured) });
    std::fs::create_dir_all(&options.out)?;
    std::fs::write(options.out.join("growth.md"), &table)?;
    std::fs::write(options.out.join("growth.svg"), chart::lines("CPU time of one, of many", "CPU µs for each, over how many there are", &lines))?;
    let raw: Vec<_> = copied.iter().chain(&compared).map(Measured::raw).collect();
    std::fs::write(options.out.join("growth.json"), serde_json::to_string_pretty(&serde_json::json!({ "machine": machine, "workloads": raw }))?)?;
    println!("{table}");
    Ok(())
}

fn cost(measured: &Measured) -> f64 {
    median(measured.rows.iter().flat_map(|row| row.good()).map(|sample| measured.workload.cost(sample)))
}
