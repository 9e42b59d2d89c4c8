//! The command line: parses, dispatches, and maps how it ended to an exit status. One command per file.
//!
//! Results go to standard output, everything else to standard error. Nothing below this layer prints, catches signals,
//! installs a log subscriber or ends the process.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};

use crate::clock::Clock;
use crate::config::{Config, Environment, Lookup, Setting, Stores};
use crate::storage::location::Address;

mod audit;
mod bucket;
mod cat;
mod completions;
mod config;
mod confirm;
mod cp;
mod daemon;
mod demo;
mod dev_server;

mod doctor;
mod du;
mod estimate;
mod exit;
mod flags;
mod history;
mod human;
mod jobs;
mod log;
mod ls;
mod man;
mod output;
mod presign;
mod progress;
mod report;
mod restore;
mod rm;
mod session;
mod signal;
mod socket;
mod stat;
mod state;
mod status;
mod stdio;
mod sync;
mod tier;
mod transfer;
mod uploads;
mod usage;
mod verify;

use exit::Outcome;
use session::Session;

/// Mirrors buckets between Amazon S3 and Alibaba Cloud OSS, and proves every copy.
#[derive(Debug, Parser)]
#[command(name = "dragon", version, arg_required_else_help = true, subcommand_required = true, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
struct Globals {
    /// Read this configuration and no other [default: $DRAGON_CONFIG, ./dragon.toml, $XDG_CONFIG_HOME/dragon/dragon.toml, /etc/dragon/dragon.toml]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Configuration")]
    config: Option<PathBuf>,
    /// Set a value of a store, such as stores.minio.path_style=true; never a secret
    #[arg(long, global = true, value_name = "stores.NAME.KEY=VALUE", value_parser = Setting::parse, help_heading = "Configuration")]
    set: Vec<Setting>,
    #[command(flatten)]
    reach: flags::Reach,
    /// Print one JSON object a line
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// Print results and errors only: no progress, no summary
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,
    /// Also name each object, and those left unchanged; twice also logs at level info
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    verbose: u8,
    #[command(flatten)]
    log: log::Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    Cp(cp::Cp),
    Sync(sync::Sync),
    #[command(visible_alias = "check")]
    Verify(verify::Verify),
    Ls(ls::Ls),
    Du(du::Du),
    Stat(stat::Stat),
    Cat(cat::Cat),
    Rm(rm::Rm),
    Mb(bucket::Mb),
    Rb(bucket::Rb),
    Presign(presign::Presign),
    Restore(restore::RestoreCommand),
    Uploads(uploads::Uploads),
    Tier(tier::TierCommand),
    Estimate(estimate::EstimateCommand),
    History(history::Told),
    Doctor(doctor::Doctor),
    Daemon(daemon::DaemonCommand),
    Jobs(jobs::Jobs),
    Status(status::Status),
    Limit(jobs::Limit),
    Alert(jobs::Alert),
    Audit(audit::Audit),
    Usage(usage::UsageCommand),
    Config(config::ConfigCommand),
    DevServer(dev_server::DevServerCommand),
    Demo(demo::Demo),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(e) => {
            // Help went to a pipe that closed: nobody is left to tell.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return exit::tell(&format!("the runtime does not start: {e}"), exit::STOPPED),
    };
    let code = runtime.block_on(execute(cli));
    // A read of standard input cannot be cancelled: do not wait for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// The whole command, with the exit status in every help text.
fn command() -> clap::Command {
    let command = Cli::command().after_help(exit::TABLE);
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, |c| c.after_help(exit::TABLE)))
}

async fn execute(cli: Cli) -> u8 {
    let Cli { globals, command } = cli;
    let output = output::Output::new(globals.json, globals.quiet, globals.verbose);
    // Who reads a service's log was not there.
    let is_service = matches!(command, Command::Daemon(_));
    if let Err(e) = log::install(&globals.log, globals.verbose, is_service, output.bars()) {
        return exit::report(e.into());
    }
    let outcome = match command {
        // These need neither a configuration nor a store.
        Command::Completions(c) => c.run(&output),
        Command::Man(c) => c.run(&output),
        Command::Config(c) => c.run(&globals, &output),
        command => with_session(globals, command, output).await,
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => exit::report(failure),
    }
}

async fn with_session(globals: Globals, command: Command, output: output::Output) -> Outcome {
    let clock = Clock::system();
    let signals = signal::Signals::listen(clock.clone())?;
    let lookup = globals.lookup(&command.addresses())?;
    let config = Arc::new(match Config::load(&lookup) {
        // A configuration that is broken is the very moment to ask the daemon how it stands.
        Err(error) if command.asks_daemon() => {
            output.note(&format!("dragon: note: {error}"));
            Config::default()
        }
        loaded => loaded?,
    });
    let stores = Stores::new(config.clone(), clock.clone());
    let grace = command.grace(&config);
    let session = Session { config, stores, clock, output, environment: lookup.environment.clone(), lookup, cancel: signals.token() };
    let outcome = signals.guard(grace, command.run(&session)).await;
    session.output.flush()?;
    outcome
}

impl Globals {
    /// Where the configuration is looked for, with flags such as `--region` put in place of the built-in stores' keys.
    fn lookup(&self, addresses: &[&Address]) -> crate::error::Result<Lookup> {
        let mut settings = self.set.clone();
        settings.extend(self.reach.settings(addresses)?);
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Ok(Lookup { file: self.config.clone(), settings, environment: Environment::process(), directory })
    }
}

impl Command {
    /// The addresses on the command line.
    fn addresses(&self) -> Vec<&Address> {
        match self {
            Self::Cp(c) => vec![&c.source, &c.destination],
            Self::Sync(c) => vec![&c.source, &c.destination],
            Self::Verify(c) => vec![&c.source, &c.destination],
            Self::Ls(c) => c.url.iter().collect(),
            Self::Du(c) => vec![&c.url],
            Self::Stat(c) => vec![&c.url],
            Self::Cat(c) => vec![&c.url],
            Self::Rm(c) => vec![&c.url],
            Self::Mb(c) => vec![&c.url],
            Self::Rb(c) => vec![&c.url],
            Self::Presign(c) => vec![&c.url],
            Self::Restore(c) => vec![&c.url],
            Self::Uploads(c) => vec![c.url()],
            Self::Estimate(c) => vec![&c.source, &c.destination],
            Self::History(c) => c.source.iter().chain(&c.destination).collect(),
            Self::Doctor(c) => c.source.iter().chain(&c.destination).collect(),
            Self::Tier(_) | Self::Daemon(_) | Self::Jobs(_) | Self::Status(_) | Self::Limit(_) | Self::Alert(_) | Self::Audit(_) | Self::Usage(_) => Vec::new(),
            Self::Config(_) | Self::DevServer(_) | Self::Demo(_) | Self::Completions(_) | Self::Man(_) => Vec::new(),
        }
    }

    /// Whether the command only speaks to the daemon.
    fn asks_daemon(&self) -> bool {
        matches!(self, Self::Jobs(_) | Self::Status(_) | Self::Limit(_) | Self::Alert(_) | Self::Usage(_))
    }

    /// How long the command may take to stop in an orderly way by itself when it is told to; at once where it does not.
    fn grace(&self, config: &Config) -> Duration {
        match self {
            Self::Daemon(_) => config.daemon.drain + signal::GRACE,
            Self::Cp(_) | Self::Sync(_) | Self::Verify(_) | Self::Tier(_) | Self::Estimate(_) | Self::Doctor(_) | Self::DevServer(_) | Self::Demo(_) => {
                signal::GRACE
            }
            _ => Duration::ZERO,
        }
    }

    async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Cp(c) => Box::pin(c.run(session)).await,
            Self::Sync(c) => Box::pin(c.run(session)).await,
            Self::Verify(c) => Box::pin(c.run(session)).await,
            Self::Ls(c) => c.run(session).await,
            Self::Du(c) => c.run(session).await,
            Self::Stat(c) => c.run(session).await,
            Self::Cat(c) => c.run(session).await,
            Self::Rm(c) => c.run(session).await,
            Self::Mb(c) => c.run(session).await,
            Self::Rb(c) => c.run(session).await,
            Self::Presign(c) => c.run(session).await,
            Self::Restore(c) => c.run(session).await,
            Self::Uploads(c) => Box::pin(c.run(session)).await,
            Self::Tier(c) => Box::pin(c.run(session)).await,
            Self::Estimate(c) => Box::pin(c.run(session)).await,
            Self::History(c) => Box::pin(c.run(session)).await,
            Self::Doctor(c) => Box::pin(c.run(session)).await,
            Self::Daemon(c) => Box::pin(c.run(session)).await,
            Self::Jobs(c) => c.run(session).await,
            Self::Status(c) => c.run(session).await,
            Self::Limit(c) => c.run(session).await,
            Self::Alert(c) => c.run(session).await,
            Self::Audit(c) => c.run(session).await,
            Self::Usage(c) => c.run(session).await,
            Self::DevServer(c) => c.run(session).await,
            Self::Demo(c) => Box::pin(c.run(session)).await,
            Self::Config(_) | Self::Completions(_) | Self::Man(_) => Ok(exit::OK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_the_exit_status() {
        for sub in command().get_subcommands_mut() {
            let help = sub.render_long_help().to_string();
            assert!(help.contains("Exit status:") && help.contains("143"), "{}", sub.get_name());
        }
    }

    #[test]
    fn familiar_spellings_work() {
        let parse = |args: &[&str]| Cli::from_arg_matches(&command().try_get_matches_from(args)?);
        for args in [
            &["dragon", "sync", "s3://a", "oss://b", "-n", "--bwlimit", "10MiB/s", "--max-age", "7d", "--min-age", "1h"][..],
            &["dragon", "sync", "s3://a", "oss://b", "--dryrun", "--delete", "--max-delete", "10%"],
            &["dragon", "cp", "--recursive", "./a", "s3://b"],
            &["dragon", "check", "s3://a", "oss://b", "--deep"],
            &["dragon", "ls"],
        ] {
            parse(args).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        }
        for args in [
            &["dragon", "cp", "./a", "s3://b", "--delete"][..],
            &["dragon", "sync", "s3://a", "oss://b", "--bandwidth", "100"],
            &["dragon", "sync", "s3://a", "oss://b", "--delete", "--files-from", "x"],
            &["dragon", "sync", "s3://a", "oss://b", "--max-delete", "5"],
            &["dragon", "sync", "photos", "oss://b"],
            &["dragon", "ls", "--set", "stores.s3.secret_access_key=x"],
        ] {
            assert_eq!(parse(args).map(|_| ()).expect_err("refused").exit_code(), 2, "{args:?}");
        }
    }
}
