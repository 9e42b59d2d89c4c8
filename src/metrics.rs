//! What is counted, under which name: one table, so that a log line, the summary and a scrape say the same.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident = $name:literal;)+) => {
        /// The counters of one process, or of one run: whoever opens stores makes it and shares it with their layers.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: Counter,)+
        }

        impl Metrics {
            /// Every counter with its name (unit last), what it means and its value.
            pub fn table(&self) -> Vec<Row> {
                vec![$(Row { name: $name, help: concat!($($help),+).trim_ascii(), value: self.$field.get() },)+]
            }
        }
    };
}

/// One counter, for whoever prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The name, with its unit at the end.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// The sum so far.
    pub value: u64,
}

metrics! {
    /// Requests to stores, each attempt counted.
    requests = "dragon_requests_total";
    /// Requests that failed, each attempt counted.
    request_errors = "dragon_request_errors_total";
    /// Requests that the service answered by asking for a slower pace.
    throttled = "dragon_throttled_total";
    /// Time that requests took until their answer began, in microseconds.
    request_time = "dragon_request_time_microseconds_total";
    /// Requests that were made again.
    retries = "dragon_retries_total";
    /// Requests whose answer was overdue, and that were made again for it.
    overdue = "dragon_overdue_total";
    /// Time spent waiting before making a request again, in milliseconds.
    retry_wait = "dragon_retry_wait_milliseconds_total";
    /// Outages: times when a store answered nothing and everything that needed it waited.
    outages = "dragon_outages_total";
    /// Time for which stores were down, in milliseconds.
    outage_time = "dragon_outage_milliseconds_total";
    /// Questions whether a store is back.
    outage_probes = "dragon_outage_probes_total";
    /// Bodies that broke off and were read on from where they stopped.
    resumed_bodies = "dragon_resumed_bodies_total";
    /// Bytes of bodies read from stores.
    read_bytes = "dragon_read_bytes_total";
    /// Bytes of bodies handed to stores, each attempt counted.
    written_bytes = "dragon_written_bytes_total";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own_and_a_meaning() {
        let metrics = Metrics::default();
        metrics.retries.add(2);
        let table = metrics.table();
        let names: std::collections::BTreeSet<_> = table.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), table.len());
        assert!(table.iter().all(|row| row.name.starts_with("dragon_") && row.name.ends_with("_total") && row.help.ends_with('.')));
        assert!(table.contains(&Row { name: "dragon_retries_total", help: "Requests that were made again.", value: 2 }));
    }
}
