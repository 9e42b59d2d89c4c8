//! Dragon beside its peers: whole processes, on the same work, in one run. benches/README.md tells how to use it and what it shows.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time, and its server's threads may sleep")]

use std::io;

use clap::{Parser, Subcommand};

mod floor;
mod install;
mod measure;
mod peer;
mod run;
mod server;
mod service;
mod workload;

/// Dragon beside its peers.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: run::Options,
}

/// What a process is that is not the run itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// The lean server, until it is killed
    Server(server::Options),
    /// The socket relay that everything is compared with
    #[command(subcommand)]
    Floor(floor::Role),
    /// Run a client and write what it used
    Measure(measure::Options),
}

fn main() -> io::Result<()> {
    // Cargo gives every benchmark this flag.
    let arguments = Arguments::parse_from(std::env::args_os().filter(|argument| argument != "--bench"));
    match &arguments.role {
        Some(Role::Server(options)) => server::run(options),
        Some(Role::Floor(role)) => floor::run(role),
        Some(Role::Measure(options)) => measure::run(options),
        None => run::run(&arguments.run).map(|_| ()),
    }
}
