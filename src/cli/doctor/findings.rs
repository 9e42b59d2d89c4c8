//! What was found, told line by line as it is found.

use std::fmt::Display;

use serde::Serialize;

use crate::cli::exit::Failure;
use crate::cli::human::plural;
use crate::cli::output::Output;
use crate::error::Error;

/// Tells findings and counts them.
pub(super) struct Findings<'a> {
    output: &'a Output,
    about: &'static str,
    fine: u64,
    warnings: u64,
    failures: u64,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Row<'a> {
    about: &'static str,
    check: &'a str,
    status: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "str::is_empty")]
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ec: &'a str,
}

impl<'a> Findings<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output, about: "", fine: 0, warnings: 0, failures: 0 }
    }

    /// What the next findings concern.
    pub(super) fn about(&mut self, subject: &'static str) {
        self.about = subject;
    }

    /// Something works.
    pub(super) fn fine(&mut self, check: &str, detail: impl Display) -> Result<(), Failure> {
        self.fine += 1;
        self.tell("ok", check, &detail.to_string(), None)
    }

    /// Something works for now, or could not be tried.
    pub(super) fn warn(&mut self, check: &str, detail: impl Display) -> Result<(), Failure> {
        self.warnings += 1;
        self.tell("warn", check, &detail.to_string(), None)
    }

    /// Something does not work.
    pub(super) fn fail(&mut self, check: &str, error: &Error) -> Result<(), Failure> {
        self.failures += 1;
        self.tell("FAIL", check, &error.to_string(), Some(error))
    }

    /// How something went.
    pub(super) fn settle(&mut self, check: &str, result: Result<String, Error>) -> Result<(), Failure> {
        match result {
            Ok(detail) => self.fine(check, detail),
            Err(error) => self.fail(check, &error),
        }
    }

    /// Whether anything does not work.
    pub(super) fn failed(&self) -> bool {
        self.failures > 0
    }

    /// The last line: how many of each.
    pub(super) fn conclude(&self) -> Result<(), Failure> {
        if self.output.json || self.output.quiet {
            return Ok(());
        }
        let Self { fine, warnings, failures, .. } = *self;
        self.output.line(&format!("{} ok, {}, {}", fine, plural(warnings, "warning"), plural(failures, "failure")))
    }

    fn tell(&self, status: &'static str, check: &str, detail: &str, error: Option<&Error>) -> Result<(), Failure> {
        if self.output.json {
            let answer = error.and_then(Error::answer);
            self.output.object(&Row {
                about: self.about,
                check,
                status,
                detail,
                advice: error.map_or("", Error::advice),
                http_status: answer.map(|a| a.http_status).filter(|s| *s != 0),
                code: answer.map_or("", |a| &a.code),
                request_id: answer.map_or("", |a| &a.request_id),
                ec: answer.map_or("", |a| &a.ec),
            })?;
        } else {
            self.output.line(&format!("{status:4}  {} {check}: {detail}", self.about))?;
        }
        // The next step may wait for a network that is not there.
        self.output.flush()
    }
}
