//! `dragon completions`: for the shell.

use clap::Args;
use clap_complete::Shell;

use super::exit::{self, Outcome};
use super::output::Output;

/// Print a shell's completion script
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, output: &Output) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "dragon", &mut script);
        output.bytes(&script)?;
        output.flush()?;
        Ok(exit::OK)
    }
}
