//! Counters and gauges, by name.
