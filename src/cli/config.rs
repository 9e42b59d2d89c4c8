//! `dragon config`: what is configured, and whether it is right.

use clap::{Args, Subcommand};

use crate::config::Config;

use super::Globals;
use super::exit::{self, Outcome};
use super::output::Output;

/// Check or show the configuration
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read the configuration and say everything that is wrong with it
    Check,
    /// Print the configuration in force, without secrets
    Show,
}

impl ConfigCommand {
    pub(super) fn run(self, globals: &Globals, output: &Output) -> Outcome {
        let config = match Config::load_all(&globals.lookup(&[])?) {
            Ok(config) => config,
            Err(problems) => {
                problems.iter().for_each(|problem| exit::complain(&problem.to_string()));
                return Ok(exit::USAGE);
            }
        };
        let file = config.file.as_ref().map(|f| f.display().to_string());
        match self.action {
            Action::Show => {
                output.line(&format!("# {}", file.as_deref().unwrap_or("no configuration file: only s3://, oss://, mem:// and local paths")))?;
                output.bytes(config.show().as_bytes())?;
                output.flush()?;
                Ok(exit::OK)
            }
            Action::Check => {
                let mut status = exit::OK;
                for missing in config.missing() {
                    exit::complain(&missing.to_string());
                    status = exit::USAGE;
                }
                if let Some(warning) = config.exposed() {
                    output.note(&format!("dragon: note: {warning}"));
                }
                if status == exit::OK && !output.quiet {
                    let (stores, jobs) = (config.stores.len(), config.jobs.len());
                    output.line(&format!("{}: {stores} stores, {jobs} jobs, nothing wrong", file.as_deref().unwrap_or("no configuration file")))?;
                    output.flush()?;
                }
                Ok(status)
            }
        }
    }
}
