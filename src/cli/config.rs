//! `dragon config`: what is configured, and whether it is right.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::import::{Imported, Tool};
use crate::config::{self, Config};
use crate::error::Error;

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
    /// Print [stores.NAME] tables made of what rclone, mc, ossutil or the AWS tools have
    Import {
        /// Whose configuration
        tool: ToolName,
        /// The file, or - for standard input [default: where that tool keeps it]
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Print secrets too, instead of naming the variables that they are to stand in
        #[arg(long)]
        with_secrets: bool,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ToolName {
    Rclone,
    Mc,
    Ossutil,
    Aws,
}

impl From<ToolName> for Tool {
    fn from(name: ToolName) -> Self {
        match name {
            ToolName::Rclone => Self::Rclone,
            ToolName::Mc => Self::Mc,
            ToolName::Ossutil => Self::Ossutil,
            ToolName::Aws => Self::Aws,
        }
    }
}

/// Prints what is made of another tool's configuration; what is left out is told beside it.
fn import(tool: Tool, file: Option<PathBuf>, with_secrets: bool, output: &Output) -> Outcome {
    let file = file.or_else(|| std::env::home_dir().map(|home| home.join(tool.usual_file()))).unwrap_or_else(|| tool.usual_file().into());
    let read = if file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(&file) };
    let text = read.map_err(|e| Error::invalid(format!("{} cannot be read: {e}", file.display())))?;
    let Imported { text, left_out } = config::import::import(tool, &text, with_secrets)?;
    left_out.iter().for_each(|told| output.note(&format!("dragon: left out: {told}")));
    if with_secrets {
        output.note("dragon: note: this holds secrets: keep it in a file that only you can read");
    }
    output.bytes(text.as_bytes())?;
    output.flush()?;
    Ok(exit::OK)
}

impl ConfigCommand {
    pub(super) fn run(self, globals: &Globals, output: &Output) -> Outcome {
        if let Action::Import { tool, file, with_secrets } = self.action {
            return import(tool.into(), file, with_secrets, output);
        }
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
            Action::Import { .. } => Ok(exit::OK),
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
