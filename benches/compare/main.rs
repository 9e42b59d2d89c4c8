//! Dragon beside its peers: whole processes, on the same work, in one run. benches/README.md tells how to use it and what it shows.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time, and its server's threads may sleep")]
#![cfg_attr(test, allow(unused_imports, dead_code, reason = "Cargo compiles a benchmark's tests and leaves them out: tests.rs runs them"))]

use std::io;

use clap::{Parser, Subcommand};

mod backend;
mod chart;
mod floor;
mod growth;
mod install;
mod link;
mod machine;
mod measure;
mod peer;
mod report;
mod run;
mod server;
mod service;
mod trouble;
mod verdict;
mod wan;
mod workload;
mod yardstick;

/// Dragon beside its peers.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: run::Options,
    #[command(flatten)]
    wan: wan::WanOptions,
    #[command(flatten)]
    trouble: trouble::TroubleOptions,
}

/// What a process is that is not the run itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// The lean server, until it is killed
    Server(server::Options),
    /// The socket relay that everything is compared with
    #[command(subcommand)]
    Floor(floor::Role),
    /// Become another program, on one core
    Pinned(measure::Pinned),
    /// Run a client and write what it used
    Measure(measure::Options),
    /// Pass packets between two namespaces as a long-haul link does
    Link(link::Options),
    /// Ask a server's control port
    Ask {
        /// HOST:PORT
        control: String,
        /// What
        path: String,
    },
    /// Copy a bucket with the crate object_store
    ObjectStore(yardstick::Options),
    /// Copy a bucket with the crate aws-sdk-s3
    AwsSdk(yardstick::Options),
}

fn main() -> io::Result<()> {
    // Cargo gives every benchmark this flag.
    let arguments = Arguments::parse_from(std::env::args_os().filter(|argument| argument != "--bench"));
    match &arguments.role {
        Some(Role::Server(options)) => server::run(options),
        Some(Role::Floor(role)) => floor::run(role),
        Some(Role::Pinned(options)) => measure::become_pinned(options),
        Some(Role::Measure(options)) => measure::run(options),
        Some(Role::Link(options)) => link::run(options),
        Some(Role::Ask { control, path }) => wan::ask_here(control, path),
        Some(Role::ObjectStore(options)) => yardstick::object_store(options),
        Some(Role::AwsSdk(options)) => yardstick::aws_sdk(options),
        None => measure_all(&arguments),
    }
}

/// Every chosen workload. Those over loopback share a table and a floor; the others have a file each.
fn measure_all(Arguments { run: options, wan, trouble, .. }: &Arguments) -> io::Result<()> {
    let chosen = |name: &str| options.workloads.iter().any(|workload| workload == name);
    let loopback = run::chosen(options);
    if !loopback.is_empty() {
        report::write(options, &run::run(options, &loopback)?)?;
    }
    if chosen("growth") {
        growth::run(options)?;
    }
    if chosen("w5") {
        wan::run(options, wan)?;
    }
    if chosen("w6") {
        trouble::flaky(options, trouble)?;
    }
    if chosen("w7") {
        trouble::killed(options, trouble)?;
    }
    if chosen("w9") {
        trouble::largest(options, trouble)?;
    }
    Ok(())
}
