//! Standard output: results, as text or as one JSON object a line.

use std::io::{BufWriter, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::exit::Failure;

/// Where results go.
pub(super) struct Output {
    stdout: Mutex<BufWriter<Stdout>>,
    bars: MultiProgress,
    /// JSON instead of text.
    pub(super) json: bool,
    /// No progress, no summary.
    pub(super) quiet: bool,
    /// Name each object.
    pub(super) verbose: bool,
}

impl Output {
    /// Output in the form that the flags ask for. Progress bars are drawn on a terminal only.
    pub(super) fn new(json: bool, quiet: bool, verbose: u8) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { stdout: Mutex::new(BufWriter::new(std::io::stdout())), bars: MultiProgress::with_draw_target(target), json, quiet, verbose: verbose > 0 }
    }

    /// The progress bars, which step aside for whatever else is printed on the terminal.
    pub(super) fn bars(&self) -> MultiProgress {
        self.bars.clone()
    }

    fn stdout(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stdout().write_all(bytes)?)
    }

    /// Prints a line.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.write_all(b"\n")?)
    }

    /// Prints an object as a line of JSON.
    pub(super) fn object(&self, object: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(object).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// Hands on what was printed.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        if self.bars.is_hidden() {
            return Ok(self.stdout().flush()?);
        }
        // On a terminal both streams share the lines.
        Ok(self.bars.suspend(|| self.stdout().flush())?)
    }

    /// Prints a line on standard error.
    #[allow(clippy::print_stderr, reason = "this is the program's voice")]
    pub(super) fn note(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }
}
