//! How a run ended, and the exit status that says so.

use super::loss::Losses;
use crate::error::{Error, ErrorKind};

/// Every object copied (and every delete made) that could be.
pub const EXIT_OK: u8 = 0;
/// Finished, but some objects failed, or a limit of errors or time ended the run early.
pub const EXIT_FAILED: u8 = 1;
/// Usage or configuration.
pub const EXIT_USAGE: u8 = 2;
/// Could not start or go on.
pub const EXIT_STOPPED: u8 = 3;
/// `verify` found differences.
pub const EXIT_DIFFERENT: u8 = 4;
/// A safety guard refused.
pub const EXIT_REFUSED: u8 = 5;
/// Interrupted. A process that took SIGTERM says 143 instead.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The sum of a run. In a dry run, `copied`, `bytes` and `deleted` say what would be done.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Objects copied and proved.
    pub copied: u64,
    /// Objects found unchanged, or left alone because of a flag.
    pub skipped: u64,
    /// Objects deleted at the destination.
    pub deleted: u64,
    /// Delete markers made as part of the histories that were copied (`--versions all`); those that hid an object are among `deleted`.
    pub markers: u64,
    /// Objects that failed; each had its event.
    pub failed: u64,
    /// Bytes of the objects copied.
    pub bytes: u64,
    /// Requests made again.
    pub retries: u64,
    /// Bytes that earlier runs had sent already.
    pub resumed_bytes: u64,
    /// Of these, bytes that were read again at the source to prove them.
    pub reread_bytes: u64,
    /// Of the failed, objects that must be restored from an archive first, or are locked by a retention.
    pub parked: u64,
    /// Objects of the source that are being restored from an archive: a later run copies them.
    pub thawing: u64,
    /// Objects in an archive that were not asked for, because the day's budget is spent.
    pub over_budget: u64,
    /// Objects that were listed and deleted at the source before they could be copied.
    pub vanished: u64,
    /// Deletes that wait until their key has been absent for long enough.
    pub waiting_deletes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Objects whose bytes are proved at both ends: copied ones with more than their size, or those that `verify` found the same.
    pub verified: u64,
    /// Objects copied whose bytes are proved at the destination, also where the source states no checksum (a local file).
    pub stored: u64,
    /// Keys listed at the source.
    pub source_keys: u64,
    /// Keys listed at the destination.
    pub destination_keys: u64,
    /// Requests that copying would take (dry run only), without retries and listings.
    pub requests: u64,
    /// Keys that only the destination holds and that were to be deleted.
    pub delete_candidates: u64,
    /// The limit that applied to them, in words; empty where nothing was to be deleted.
    pub delete_limit: String,
    /// Keys that `verify` found different or missing.
    pub differences: u64,
    /// Keys of which `verify` could neither prove that they are the same nor that they differ.
    pub unproved: u64,
    /// What copies have not as their objects had it.
    pub losses: Losses,
    /// The operator stopped the run.
    pub interrupted: bool,
    /// A listing or a whole store failed: the rest is unknown.
    pub stopped: Option<Error>,
    /// A guard refused the deletes.
    pub refused: Option<Error>,
    /// A limit of errors or time ended the run early.
    pub limited: Option<Error>,
}

impl Report {
    /// The exit status: where several apply, the first of 130, 3, 5, 1, 4.
    pub fn exit_code(&self) -> u8 {
        if self.interrupted {
            EXIT_INTERRUPTED
        } else if self.stopped.is_some() {
            EXIT_STOPPED
        } else if self.refused.is_some() {
            EXIT_REFUSED
        } else if self.failed > 0 || self.limited.is_some() {
            EXIT_FAILED
        } else if self.differences > 0 || self.unproved > 0 {
            EXIT_DIFFERENT
        } else {
            EXIT_OK
        }
    }
}

/// The exit status for an error that ended a command.
pub fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Unsupported => EXIT_USAGE,
        ErrorKind::Guard => EXIT_REFUSED,
        ErrorKind::Interrupted => EXIT_INTERRUPTED,
        ErrorKind::BucketNotFound
        | ErrorKind::Denied
        | ErrorKind::Credentials
        | ErrorKind::TokenExpired
        | ErrorKind::Account
        | ErrorKind::ClockSkew
        | ErrorKind::WrongEndpoint
        | ErrorKind::Throttled
        | ErrorKind::Unavailable
        | ErrorKind::Outage
        | ErrorKind::Local
        | ErrorKind::Disk => EXIT_STOPPED,
        _ => EXIT_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_ends_is_told() {
        let mut report = Report::default();
        assert_eq!(report.exit_code(), EXIT_OK);
        report.differences = 1;
        assert_eq!(report.exit_code(), EXIT_DIFFERENT);
        report.failed = 1;
        assert_eq!(report.exit_code(), EXIT_FAILED);
        report.refused = Some(Error::new(ErrorKind::Guard, "too many deletes"));
        assert_eq!(report.exit_code(), EXIT_REFUSED);
        report.stopped = Some(Error::new(ErrorKind::Credentials, "no"));
        assert_eq!(report.exit_code(), EXIT_STOPPED);
        report.interrupted = true;
        assert_eq!(report.exit_code(), EXIT_INTERRUPTED);
    }

    #[test]
    fn an_error_has_the_status_of_what_a_person_must_do() {
        assert_eq!(exit_code(&Error::invalid("bad flag")), EXIT_USAGE);
        assert_eq!(exit_code(&Error::new(ErrorKind::NotFound, "no such key")), EXIT_FAILED);
        assert_eq!(exit_code(&Error::new(ErrorKind::Unavailable, "no route")), EXIT_STOPPED);
    }
}
