//! The suite's own tests: whether what it measures with is true. Cargo runs no tests within a benchmark, so they have a target here.

#![allow(dead_code, reason = "the tests need not use everything that the suite has")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time, and its server's threads may sleep")]

mod backend;
mod chart;
mod floor;
mod install;
mod link;
mod machine;
mod measure;
mod peer;
mod run;
mod server;
mod service;
mod workload;
