//! Logs: on standard error or in a file, as text or JSON.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::{Args, ValueEnum, ValueHint};
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriter};

use crate::error::{Error, Result};

/// How to log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Flags {
    /// What to log [default: warn; info with --log-file or -vv]
    #[arg(long, global = true, value_name = "LEVEL", value_enum)]
    log_level: Option<Level>,
    /// How to log
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value = "text", hide_default_value = true)]
    log_format: Format,
    /// Log to this file, appending, instead of standard error
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    log_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Installs the subscriber. Fails where the log file cannot be opened.
pub(super) fn install(flags: &Flags, verbose: u8, is_service: bool, bars: MultiProgress) -> Result<()> {
    let level = flags.log_level.unwrap_or(match (verbose, &flags.log_file) {
        (2.., _) | (_, Some(_)) => Level::Info,
        _ if is_service => Level::Info,
        _ => Level::Warn,
    });
    // The dev server's s3s logs each refused request as an error: the client tells. Other crates may log requests with their headers at debug and trace: those hold tokens, and are never asked for.
    let filter = EnvFilter::new(match level {
        Level::Error => "error,s3s=off",
        Level::Warn => "warn,aws_config=error,s3s=off",
        Level::Info => "warn,dragon=info,s3s=off",
        Level::Debug => "warn,dragon=debug",
        Level::Trace => "info,dragon=trace",
    });
    let writer = match &flags.log_file {
        Some(file) => {
            let opened = OpenOptions::new().create(true).append(true).open(file);
            let opened = opened.map_err(|e| Error::invalid(format!("the log file {} cannot be opened: {e}", file.display())))?;
            BoxMakeWriter::new(Mutex::new(opened))
        }
        None => BoxMakeWriter::new(Aside(bars)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(flags.log_file.is_none() && is_terminal());
    match flags.log_format {
        Format::Text => builder.init(),
        Format::Json => builder.json().init(),
    }
    Ok(())
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none()
}

/// Standard error, with the progress bars stepping aside.
struct Aside(MultiProgress);

impl<'a> MakeWriter<'a> for Aside {
    type Writer = AsideWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        AsideWriter { bars: &self.0, line: Vec::new() }
    }
}

struct AsideWriter<'a> {
    bars: &'a MultiProgress,
    line: Vec<u8>,
}

impl Write for AsideWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for AsideWriter<'_> {
    fn drop(&mut self) {
        // Standard error that is closed takes no complaint about itself.
        self.bars.suspend(|| _ = std::io::stderr().write_all(&self.line));
    }
}
