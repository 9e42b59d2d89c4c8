//! How a command ended: the one place that maps errors to exit statuses.

use std::process::ExitCode;

use crate::error::{Error, ErrorKind};
use crate::transfer::report;

/// All done.
pub(super) const OK: u8 = report::EXIT_OK;
/// Usage or configuration.
pub(super) const USAGE: u8 = report::EXIT_USAGE;
/// Could not start or go on.
pub(super) const STOPPED: u8 = report::EXIT_STOPPED;
/// `verify` found differences.
pub(super) const DIFFERENT: u8 = report::EXIT_DIFFERENT;
/// Finished, but some objects failed.
pub(super) const FAILED: u8 = report::EXIT_FAILED;

/// What every help text ends with.
pub(super) const TABLE: &str = "\
Exit status:
  0    all done
  1    finished, but some objects failed (each is named), or the key is not there
  2    usage or configuration
  3    could not start or go on: credentials, endpoint, bucket
  4    verify found differences
  5    a safety guard refused: too many deletes (the copies were made), or too high a cost (nothing was)
  130  interrupted (SIGINT); 143: terminated (SIGTERM)
Where several apply, the first of 130/143, 3, 5, 1, 4.";

/// Why a command did not come to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something went wrong.
    Error(Error),
    /// Whoever read standard output has read enough.
    PipeClosed,
}

/// The exit status, or why there is none of the command's own.
pub(super) type Outcome = Result<u8, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::PipeClosed,
            _ => Self::Error(Error::new(ErrorKind::Local, format!("standard output cannot be written: {error}"))),
        }
    }
}

/// Tells a person why a command failed; returns the exit status.
pub(super) fn report(failure: Failure) -> u8 {
    match failure {
        Failure::PipeClosed => OK,
        Failure::Error(error) => {
            let status = report::exit_code(&error);
            tracing::debug!(kind = ?error.kind(), status, "the command failed");
            tell(&error.to_string(), status);
            status
        }
    }
}

/// Prints an error on standard error.
pub(super) fn tell(message: &str, status: u8) -> ExitCode {
    complain(message);
    ExitCode::from(status)
}

/// Prints an error on standard error.
#[allow(clippy::print_stderr, reason = "this is the program's voice")]
pub(super) fn complain(message: &str) {
    eprintln!("dragon: {message}");
}
