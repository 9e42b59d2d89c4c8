//! What Prometheus scrapes: every name, unit and label in one table. A label is a job's name, an outcome, a state, an end or a kind of
//! request, never a key, a prefix or a bucket.

use std::fmt::Write;

use crate::daemon::status::{JobState, JobStatus, Snapshot};

/// The media type of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One family of metrics.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    rows: fn(&Snapshot, &mut Rows),
}

/// Collects a family's rows.
struct Rows {
    name: &'static str,
    text: String,
}

impl Rows {
    fn add(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}

/// One row a job.
macro_rules! of_jobs {
    ($value:expr) => {
        |snapshot, rows| {
            for job in &snapshot.jobs {
                let value: fn(&JobStatus) -> Option<f64> = $value;
                if let Some(value) = value(job) {
                    rows.add(&[("job", &job.name)], value);
                }
            }
        }
    };
}

const STATES: [JobState; 9] = [
    JobState::InSync,
    JobState::New,
    JobState::Running,
    JobState::Waiting,
    JobState::Paused,
    JobState::Behind,
    JobState::Failing,
    JobState::Refused,
    JobState::Halted,
];

const FAMILIES: &[Family] = &[
    Family {
        name: "dragon_build_info",
        kind: "gauge",
        help: "1, with the version as a label.",
        rows: |snapshot, rows| rows.add(&[("version", snapshot.version)], 1),
    },
    Family {
        name: "dragon_start_time_seconds",
        kind: "gauge",
        help: "When the daemon began, in seconds since 1970.",
        rows: |snapshot, rows| rows.add(&[], snapshot.started.as_second()),
    },
    Family {
        name: "dragon_config_valid",
        kind: "gauge",
        help: "Whether the newest configuration is in force; 0 where it was refused.",
        rows: |snapshot, rows| rows.add(&[], u8::from(snapshot.config.refused.is_none())),
    },
    Family {
        name: "dragon_job_state",
        kind: "gauge",
        help: "1 for the state that a job is in, 0 for the others.",
        rows: |snapshot, rows| {
            for job in &snapshot.jobs {
                for state in STATES {
                    rows.add(&[("job", &job.name), ("state", state.as_str())], u8::from(job.state == state));
                }
            }
        },
    },
    Family {
        name: "dragon_job_lag_seconds",
        kind: "gauge",
        help: "How far behind the mirror can be: the age of the oldest change that may not be at the destination.",
        rows: of_jobs!(|job| job.lag_seconds.map(|lag| lag as f64)),
    },
    Family {
        name: "dragon_job_lag_max_seconds",
        kind: "gauge",
        help: "How far behind the mirror may be.",
        rows: of_jobs!(|job| job.lag_max_seconds.map(|lag| lag as f64)),
    },
    Family {
        name: "dragon_job_last_clean_start_time_seconds",
        kind: "gauge",
        help: "When the last run began that ended clean, in seconds since 1970.",
        rows: of_jobs!(|job| job.synced_until.map(|at| at.as_second() as f64)),
    },
    Family {
        name: "dragon_job_failures_in_row",
        kind: "gauge",
        help: "Runs in a row that failed.",
        rows: of_jobs!(|job| Some(f64::from(job.failures_in_row))),
    },
    Family {
        name: "dragon_job_failed_objects",
        kind: "gauge",
        help: "Objects that failed in the last run.",
        rows: of_jobs!(|job| Some(job.failed_keys as f64)),
    },
    Family {
        name: "dragon_job_runs_total",
        kind: "counter",
        help: "Runs that ended, by outcome.",
        rows: |snapshot, rows| {
            for job in &snapshot.jobs {
                for (outcome, runs) in &job.totals.runs {
                    rows.add(&[("job", &job.name), ("outcome", outcome)], runs);
                }
            }
        },
    },
    Family {
        name: "dragon_job_copied_objects_total",
        kind: "counter",
        help: "Objects copied and proved.",
        rows: of_jobs!(|job| Some(job.totals.copied as f64)),
    },
    Family { name: "dragon_job_copied_bytes_total", kind: "counter", help: "Bytes of them.", rows: of_jobs!(|job| Some(job.totals.bytes as f64)) },
    Family {
        name: "dragon_job_verified_objects_total",
        kind: "counter",
        help: "Of the copied objects, those whose bytes are proved at both ends.",
        rows: of_jobs!(|job| Some(job.totals.verified as f64)),
    },
    Family {
        name: "dragon_job_deleted_objects_total",
        kind: "counter",
        help: "Objects deleted at the destination.",
        rows: of_jobs!(|job| Some(job.totals.deleted as f64)),
    },
    Family {
        name: "dragon_job_failed_objects_total",
        kind: "counter",
        help: "Objects that failed, each try counted.",
        rows: of_jobs!(|job| Some(job.totals.failed as f64)),
    },
    Family {
        name: "dragon_job_usage_copied_objects_total",
        kind: "counter",
        help: "Objects copied, counted as they are: what usage is told by.",
        rows: of_jobs!(|job| Some(job.usage.objects_copied as f64)),
    },
    Family { name: "dragon_job_usage_copied_bytes_total", kind: "counter", help: "Bytes of them.", rows: of_jobs!(|job| Some(job.usage.bytes_copied as f64)) },
    Family {
        name: "dragon_job_usage_deleted_objects_total",
        kind: "counter",
        help: "Objects deleted at the destination, counted as they are.",
        rows: of_jobs!(|job| Some(job.usage.objects_deleted as f64)),
    },
    Family {
        name: "dragon_job_usage_read_bytes_total",
        kind: "counter",
        help: "Bytes of bodies read at either end, each attempt counted.",
        rows: |snapshot, rows| {
            for job in &snapshot.jobs {
                rows.add(&[("job", &job.name), ("end", "source")], job.usage.bytes_read_source);
                rows.add(&[("job", &job.name), ("end", "destination")], job.usage.bytes_read_destination);
            }
        },
    },
    Family {
        name: "dragon_job_usage_written_bytes_total",
        kind: "counter",
        help: "Bytes of bodies handed to the destination, each attempt counted.",
        rows: of_jobs!(|job| Some(job.usage.bytes_written_destination as f64)),
    },
    Family {
        name: "dragon_job_usage_requests_total",
        kind: "counter",
        help: "Requests to either end by kind, each attempt counted.",
        rows: |snapshot, rows| {
            for job in &snapshot.jobs {
                let used = &job.usage;
                for (end, kind, requests) in [
                    ("source", "list", used.requests_source_list),
                    ("source", "read", used.requests_source_read),
                    ("source", "write", used.requests_source_write),
                    ("destination", "list", used.requests_destination_list),
                    ("destination", "read", used.requests_destination_read),
                    ("destination", "write", used.requests_destination_write),
                    ("destination", "delete", used.requests_destination_delete),
                ] {
                    rows.add(&[("job", &job.name), ("end", end), ("kind", kind)], requests);
                }
            }
        },
    },
    Family {
        name: "dragon_job_moving_bytes_per_second",
        kind: "gauge",
        help: "Bytes a second that the job's run moves now.",
        rows: of_jobs!(|job| Some(job.current.as_ref().map_or(0.0, |run| run.bytes_per_second as f64))),
    },
    Family {
        name: "dragon_job_events_received_total",
        kind: "counter",
        help: "Change events taken.",
        rows: of_jobs!(|job| job.hints.as_ref().map(|hints| hints.received as f64)),
    },
    Family {
        name: "dragon_job_events_duplicate_total",
        kind: "counter",
        help: "Change events that told nothing new.",
        rows: of_jobs!(|job| job.hints.as_ref().map(|hints| hints.duplicates as f64)),
    },
    Family {
        name: "dragon_job_events_rescans_total",
        kind: "counter",
        help: "Scans that became necessary because events were lost or too many.",
        rows: of_jobs!(|job| job.hints.as_ref().map(|hints| hints.rescans as f64)),
    },
    Family {
        name: "dragon_job_events_pending",
        kind: "gauge",
        help: "Keys that wait for their compare.",
        rows: of_jobs!(|job| job.hints.as_ref().map(|hints| hints.pending as f64)),
    },
    Family {
        name: "dragon_job_events_connected",
        kind: "gauge",
        help: "Whether the source of change events answers.",
        rows: of_jobs!(|job| job.hints.as_ref().map(|hints| f64::from(u8::from(hints.connected)))),
    },
    Family {
        name: "dragon_job_events_delay_seconds",
        kind: "gauge",
        help: "From a change to its proof at the destination: the median of the last hundred.",
        rows: of_jobs!(|job| job.hints.as_ref().and_then(|hints| hints.delay_median_ms).map(|ms| ms as f64 / 1000.0)),
    },
    Family {
        name: "dragon_job_events_delay_worst_seconds",
        kind: "gauge",
        help: "The same: the worst of the last hundred.",
        rows: of_jobs!(|job| job.hints.as_ref().and_then(|hints| hints.delay_worst_ms).map(|ms| ms as f64 / 1000.0)),
    },
    Family {
        name: "dragon_memory_budget_bytes",
        kind: "gauge",
        help: "Most memory for object bytes.",
        rows: |snapshot, rows| rows.add(&[], snapshot.memory_bytes),
    },
    Family { name: "dragon_memory_in_use_bytes", kind: "gauge", help: "Of it, in use.", rows: |snapshot, rows| rows.add(&[], snapshot.memory_in_use_bytes) },
    Family {
        name: "process_resident_memory_bytes",
        kind: "gauge",
        help: "Resident memory of the process.",
        rows: |_, rows| {
            if let Some(pages) = proc_text("/proc/self/statm").and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok()) {
                rows.add(&[], pages * rustix::param::page_size() as u64);
            }
        },
    },
    Family {
        name: "process_cpu_seconds_total",
        kind: "counter",
        help: "CPU time of the process, user and system.",
        rows: |_, rows| {
            let ticks = proc_text("/proc/self/stat").and_then(|text| {
                let fields: Vec<u64> = text.rsplit_once(')')?.1.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
                Some(fields.iter().sum::<u64>())
            });
            if let Some(ticks) = ticks {
                rows.add(&[], ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
            }
        },
    },
    Family {
        name: "process_open_fds",
        kind: "gauge",
        help: "Open descriptors of the process.",
        rows: |_, rows| {
            if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
                rows.add(&[], entries.count());
            }
        },
    },
];

fn proc_text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Every name in the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

/// The text of a scrape.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut family = |name: &'static str, kind: &str, help: &str, rows: &dyn Fn(&mut Rows)| {
        let mut collected = Rows { name, text: String::new() };
        rows(&mut collected);
        if !collected.text.is_empty() {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{}", collected.text);
        }
    };
    for Family { name, kind, help, rows } in FAMILIES {
        family(name, kind, help, &|collected| rows(snapshot, collected));
    }
    for count in &snapshot.counters {
        family(count.name, "counter", count.help, &|rows| rows.add(&[], count.value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::sample;

    #[test]
    fn the_dashboard_shows_what_there_is() {
        let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../../packaging/grafana.json")).expect("JSON");
        let counters = crate::metrics::Metrics::default().table();
        let mut shown = 0;
        let text = dashboard.to_string();
        for (at, _) in text.match_indices("dragon_") {
            let name = text[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().expect("a name");
            assert!(names().any(|known| known == name) || counters.iter().any(|row| row.name == name), "{name}");
            shown += 1;
        }
        assert!(shown >= 10, "{shown}");
    }

    #[test]
    fn what_is_scraped_is_well_formed() {
        let text = text(&sample());
        let mut seen = std::collections::HashSet::new();
        let mut kinds = std::collections::HashMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} stands there twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = series.split('{').next().expect("a name");
                assert!(kinds.contains_key(name), "{line}");
                assert!(seen.insert(series.to_owned()), "{series} stands there twice");
            }
        }
        assert!(text.contains("dragon_job_state{job=\"photos\",state=\"in sync\"} 1"), "{text}");
        assert!(text.contains("process_resident_memory_bytes ") && text.contains("process_cpu_seconds_total "));
        assert!(!text.contains("2026/01/a.jpg"), "no keys");
    }
}
