//! `dragon man`: the manual, written from the same words as --help.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::Error;

use super::exit::{self, Outcome};
use super::output::Output;

/// Print the manual page (of a command), or write all pages to a directory
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The command, such as sync; without it dragon itself
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write dragon.1 and a page for each command to this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "command")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, output: &Output) -> Outcome {
        let mut root = super::command();
        root.build();
        if let Some(dir) = self.dir {
            let failed = |e: std::io::Error| Error::from(e).during("write the manual").on_key(dir.display());
            std::fs::create_dir_all(&dir).map_err(failed)?;
            clap_mangen::generate_to(root, &dir).map_err(failed)?;
            return Ok(exit::OK);
        }
        let page = match self.command {
            None => root,
            Some(name) => match root.find_subcommand(&name) {
                Some(command) => command.clone().name(format!("dragon-{}", command.get_name())),
                None => return Err(Error::invalid(format!("there is no command '{name}'")).advise("dragon --help lists them").into()),
            },
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text)?;
        output.bytes(&text)?;
        output.flush()?;
        Ok(exit::OK)
    }
}
