//! Tells a transfer's events and its end, as text or as JSON (design.md section 5).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::Key;
use crate::storage::location::Address;
use crate::transfer::Report;
use crate::transfer::event::{Action, Event, ObjectEvent, Status, Verdict, VerdictEvent};
use crate::transfer::loss::{Fate, Losses};
use crate::transfer::task::{Proof, Reason};

use super::exit::{Failure, Outcome};
use super::human;
use super::output::Output;
use super::session::Session;

/// What the run is, which decides the words of its end.
pub(super) enum Told {
    /// Objects are copied.
    Done,
    /// A dry run.
    Planned {
        /// The filter in words.
        filter: String,
        /// Whether it would delete.
        deletes: bool,
    },
    /// Objects are compared.
    Verified,
}

/// Tells events.
pub(super) struct Reporter<'a> {
    output: &'a Output,
    clock: Clock,
    stamp: Stamp,
    told: Told,
    failed: Option<BufWriter<File>>,
    /// Standard output was closed: the run goes on, untold.
    mute: bool,
    /// A journal remembers how far the run got.
    remembered: bool,
}

/// What stands on every line of JSON.
#[derive(Clone, Serialize)]
struct Stamp {
    run: String,
    source: String,
    destination: String,
}

#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(flatten)]
    fields: T,
    time: String,
    #[serde(flatten)]
    stamp: &'a Stamp,
}

#[derive(Serialize)]
struct ObjectLine<'a> {
    event: &'static str,
    action: &'static str,
    key: String,
    size: u64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_proof: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_proof: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc64xz: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<&'a str>,
    #[serde(flatten)]
    error: Option<ErrorFields<'a>>,
}

/// What `--json` says of an error.
#[derive(Serialize)]
struct ErrorFields<'a> {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ec: Option<&'a str>,
}

impl<'a> ErrorFields<'a> {
    fn of(error: &'a Error) -> Self {
        let answer = error.answer();
        let text = |value: &'a str| Some(value).filter(|v| !v.is_empty());
        Self {
            error: error.to_string(),
            code: answer.and_then(|a| text(&a.code)),
            http_status: answer.map(|a| a.http_status).filter(|s| *s != 0),
            request_id: answer.and_then(|a| text(&a.request_id)),
            ec: answer.and_then(|a| text(&a.ec)),
        }
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    event: &'static str,
    copied: u64,
    skipped: u64,
    deleted: u64,
    #[serde(skip_serializing_if = "is_zero")]
    markers: u64,
    failed: u64,
    bytes: u64,
    retries: u64,
    resumed_bytes: u64,
    reread_bytes: u64,
    parked: u64,
    vanished: u64,
    waiting_deletes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    thawing: u64,
    #[serde(skip_serializing_if = "is_zero")]
    over_budget: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    losses: Vec<LossLine>,
    seconds: f64,
    verified: u64,
    #[serde(skip_serializing_if = "is_zero")]
    differences: u64,
    #[serde(skip_serializing_if = "is_zero")]
    unproved: u64,
    #[serde(flatten)]
    error: Option<ErrorFields<'a>>,
    exit_status: u8,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A key as JSON says it: as it is where it is UTF-8, else with its other bytes escaped.
pub(super) fn json_key(key: &Key) -> String {
    key.as_str().map_or_else(|_| key.to_string(), str::to_owned)
}

impl<'a> Reporter<'a> {
    /// A teller for a run. Fails where the file of failed keys cannot be made.
    pub(super) fn new(session: &'a Session, source: &Address, destination: &Address, told: Told, failed_to: Option<&Path>, remembered: bool) -> Result<Self> {
        let failed = failed_to
            .map(|path| File::create(path).map(BufWriter::new).map_err(|e| Error::invalid(format!("--failed-to {} cannot be written: {e}", path.display()))));
        let stamp = Stamp { run: session.clock.random_id(), source: source.to_string(), destination: destination.to_string() };
        Ok(Self { output: &session.output, clock: session.clock.clone(), stamp, told, failed: failed.transpose()?, mute: false, remembered })
    }

    /// Tells an event.
    pub(super) fn tell(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Object(object) => {
                if object.status == Status::Failed {
                    self.keep_failed(&object.key)?;
                }
                if self.output.json { self.print_json(object_line(object)) } else { self.object(object) }
            }
            Event::Verdict(verdict) => {
                if verdict.error.is_some() {
                    self.keep_failed(&verdict.key)?;
                }
                if self.output.json { self.print_json(verdict_line(verdict)) } else { self.verdict(verdict) }
            }
            Event::Notice(notice) => {
                let key = notice.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
                self.output.note(&format!("dragon: note: {key}{}", notice.message));
                Ok(())
            }
        }
    }

    /// Hands on what was told.
    pub(super) fn flush(&mut self) -> Result<()> {
        let flushed = self.output.flush();
        self.heard(flushed)
    }

    fn keep_failed(&mut self, key: &Key) -> Result<()> {
        let Some(file) = &mut self.failed else { return Ok(()) };
        if key.as_bytes().contains(&b'\n') {
            self.output.note(&format!("dragon: note: the failed key '{key}' holds a line break, and does not fit into --failed-to"));
            return Ok(());
        }
        file.write_all(key.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(|e| Error::from(e).during("write --failed-to"))
    }

    fn object(&mut self, event: &ObjectEvent) -> Result<()> {
        let planned = matches!(self.told, Told::Planned { .. });
        let line = text_of(event);
        match event.status {
            Status::Failed if planned => self.print(&line),
            Status::Failed => {
                self.output.note(&line);
                Ok(())
            }
            _ if planned || self.output.verbose => self.print(&line),
            _ => Ok(()),
        }
    }

    fn verdict(&mut self, event: &VerdictEvent) -> Result<()> {
        let key = &event.key;
        match (&event.error, event.verdict) {
            (Some(error), _) => {
                self.output.note(&format!("! {key} ({error})"));
                Ok(())
            }
            (None, Some(Verdict::Same)) if !self.output.verbose => Ok(()),
            (None, Some(verdict)) => self.print(&format!("{} {key}", verdict.as_str())),
            (None, None) => Ok(()),
        }
    }

    fn print(&mut self, line: &str) -> Result<()> {
        if self.mute {
            return Ok(());
        }
        let printed = self.output.line(line);
        self.heard(printed)
    }

    fn print_json(&mut self, fields: impl Serialize) -> Result<()> {
        if self.mute {
            return Ok(());
        }
        let line = Line { fields, time: self.clock.now().to_string(), stamp: &self.stamp };
        let printed = self.output.object(&line);
        self.heard(printed)
    }

    /// A closed pipe is no reason to stop copying.
    fn heard(&mut self, printed: std::result::Result<(), Failure>) -> Result<()> {
        match printed {
            Err(Failure::PipeClosed) => self.mute = true,
            Err(Failure::Error(e)) => return Err(e),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Tells the end. The exit status is the report's.
    pub(super) fn conclude(mut self, report: &Report) -> Outcome {
        if let Some(mut file) = self.failed.take() {
            file.flush().map_err(|e| Error::from(e).during("write --failed-to"))?;
        }
        let status = report.exit_code();
        let ends = [&report.stopped, &report.refused, &report.limited];
        if self.output.json {
            let error = ends.iter().find_map(|e| e.as_ref());
            self.print_json(summary(report, error, status))?;
        } else if !self.output.quiet {
            for line in self.summary_text(report) {
                self.print(&line)?;
            }
        }
        self.flush()?;
        for error in ends.into_iter().flatten() {
            self.output.note(&format!("dragon: {error}"));
        }
        if report.interrupted || report.stopped.is_some() || report.limited.is_some() {
            let how = if self.remembered {
                "what is done stays done, and the same command goes on at the part where this one stopped"
            } else {
                "what is done stays done; the same command copies the rest"
            };
            self.output.note(&format!("dragon: {how}"));
        }
        Ok(status)
    }

    fn summary_text(&self, report: &Report) -> Vec<String> {
        let seconds = human::duration(std::time::Duration::try_from_secs_f64(report.seconds).unwrap_or_default());
        let bytes = human::bytes(report.bytes);
        match &self.told {
            Told::Verified => {
                let Report { verified, differences, unproved, failed, .. } = report;
                vec![format!(
                    "{} proved the same, {differences} different, {unproved} unproved, {failed} could not be judged, in {seconds}",
                    human::plural(*verified, "object")
                )]
            }
            Told::Planned { filter, deletes } => {
                let mut lines = vec![
                    format!(
                        "would copy {} ({bytes}) in {}, leave {} as they are",
                        human::plural(report.copied, "object"),
                        human::plural(report.requests, "request"),
                        report.skipped
                    ),
                    format!("what takes part: {filter}"),
                ];
                if *deletes {
                    let limit = if report.delete_limit.is_empty() { String::new() } else { format!("; the guard: {}", report.delete_limit) };
                    lines.push(format!(
                        "would delete {} of {} at the destination{limit}",
                        report.delete_candidates,
                        human::plural(report.destination_keys, "key")
                    ));
                }
                if report.failed > 0 {
                    lines.push(format!("cannot copy {}", human::plural(report.failed, "object")));
                }
                lines.extend(losses_text(&report.losses));
                lines
            }
            Told::Done => {
                let Report { skipped, deleted, failed, retries, verified, stored, .. } = report;
                let retried = if *retries > 0 { format!(", {}", human::plural(*retries, "retry").replace("retrys", "retries")) } else { String::new() };
                let resumed = match report.resumed_bytes {
                    0 => String::new(),
                    bytes => format!(", {} of it sent before", human::bytes(bytes)),
                };
                let stored = match stored.saturating_sub(*verified) {
                    0 => String::new(),
                    more => format!(", {more} proved as stored (the source states no checksum)"),
                };
                let mut lines = vec![format!(
                    "copied {} ({bytes}{resumed}), {verified} proved at both ends{stored}, {skipped} unchanged, {deleted} deleted, {failed} failed, in {seconds}{retried}",
                    human::plural(report.copied, "object")
                )];
                let more = [
                    (report.markers, "delete markers made within histories"),
                    (report.parked, "of the failed must be restored from an archive first, or are locked"),
                    (report.thawing, "are being restored from an archive: run this again to copy them"),
                    (report.over_budget, "lie in an archive and wait for another day's budget"),
                    (report.vanished, "were deleted at the source meanwhile"),
                    (report.waiting_deletes, "deletes wait (--delete-after)"),
                ];
                lines.extend(more.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
                lines.extend(losses_text(&report.losses));
                lines
            }
        }
    }
}

/// What copies have not as their objects had it, a line for each reason.
fn losses_text(losses: &Losses) -> impl Iterator<Item = String> {
    losses.iter().map(|(fate, attribute, why, objects)| {
        let fate = match fate {
            Fate::Lost => "lost",
            Fate::Mapped => "changed",
        };
        format!("{fate}: {attribute} of {} ({why})", human::plural(objects, "object"))
    })
}

/// One object's line of text: `+ new`, `* changed (why)`, `- deleted`, `= unchanged`, `! failed (why)`.
fn text_of(event: &ObjectEvent) -> String {
    let key = &event.key;
    match (&event.error, event.action, event.reason) {
        (Some(error), _, _) => format!("! {key} ({error})"),
        (None, Action::Delete, Some(Reason::Version)) => format!("- {key} (delete marker)"),
        (None, Action::Delete, _) => format!("- {key}"),
        (None, Action::Skip, _) => format!("= {key}"),
        (None, Action::Restore, _) => format!("~ {key} (being restored)"),
        (None, Action::Copy, None | Some(Reason::Absent | Reason::Version)) => format!("+ {key}"),
        (None, Action::Copy, Some(reason)) => format!("* {key} ({reason})"),
    }
}

fn object_line(event: &ObjectEvent) -> ObjectLine<'_> {
    let copied = event.copied.as_ref();
    ObjectLine {
        event: "object",
        action: event.action.as_str(),
        key: json_key(&event.key),
        size: event.size,
        status: event.status.as_str(),
        reason: event.reason.map(Reason::as_str),
        source_proof: copied.map(|c| c.source_proof.as_str()),
        destination_proof: copied.map(|c| c.destination_proof.as_str()),
        verified: copied.map(|c| c.verified().as_str()),
        crc64xz: copied.and_then(|c| c.checksums.crc64xz).map(|crc| crc.to_string()),
        version_id: event.version.as_deref(),
        error: event.error.as_ref().map(ErrorFields::of),
    }
}

#[derive(Serialize)]
struct VerdictLine<'a> {
    event: &'static str,
    action: &'static str,
    key: String,
    size: u64,
    status: &'static str,
    verified: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc64xz: Option<String>,
    #[serde(flatten)]
    error: Option<ErrorFields<'a>>,
}

fn verdict_line(event: &VerdictEvent) -> VerdictLine<'_> {
    VerdictLine {
        event: "object",
        action: "verify",
        key: json_key(&event.key),
        size: event.size,
        status: event.verdict.map_or(Status::Failed.as_str(), Verdict::as_str),
        verified: Proof::as_str(event.proof),
        crc64xz: event.crc64xz.map(|crc| crc.to_string()),
        error: event.error.as_ref().map(ErrorFields::of),
    }
}

/// One reason why copies have something not as their objects had it.
#[derive(Serialize)]
struct LossLine {
    attribute: &'static str,
    /// Else it is mapped, and a copy back restores it.
    is_lost: bool,
    why: &'static str,
    objects: u64,
}

fn summary<'a>(report: &Report, error: Option<&'a Error>, exit_status: u8) -> Summary<'a> {
    Summary {
        event: "summary",
        copied: report.copied,
        skipped: report.skipped,
        deleted: report.deleted,
        markers: report.markers,
        failed: report.failed,
        bytes: report.bytes,
        retries: report.retries,
        resumed_bytes: report.resumed_bytes,
        reread_bytes: report.reread_bytes,
        parked: report.parked,
        vanished: report.vanished,
        waiting_deletes: report.waiting_deletes,
        thawing: report.thawing,
        over_budget: report.over_budget,
        losses: report
            .losses
            .iter()
            .map(|(fate, attribute, why, objects)| LossLine { attribute: attribute.as_str(), is_lost: fate == Fate::Lost, why, objects })
            .collect(),
        seconds: report.seconds,
        verified: report.verified,
        differences: report.differences,
        unproved: report.unproved,
        error: error.map(ErrorFields::of),
        exit_status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CloudAnswer, ErrorKind};

    fn event(action: Action, status: Status, key: &str) -> ObjectEvent {
        ObjectEvent { action, status, key: Key::from(key), size: 3, reason: None, copied: None, version: None, error: None, foreseen: None }
    }

    #[test]
    fn text_lines_say_what_and_why_and_cannot_be_forged() {
        let mut changed = event(Action::Copy, Status::Planned, "a\n- b");
        changed.reason = Some(Reason::Size);
        assert_eq!(text_of(&changed), "* a\\n- b (size)");
        assert_eq!(text_of(&event(Action::Copy, Status::Planned, "a")), "+ a");
        assert_eq!(text_of(&event(Action::Delete, Status::Planned, "a")), "- a");
        let mut failed = event(Action::Copy, Status::Failed, "a");
        failed.error = Some(Error::invalid("too long"));
        assert_eq!(text_of(&failed), "! a (too long)");
    }

    #[test]
    fn json_lines_have_the_documented_fields() {
        let mut failed = event(Action::Copy, Status::Failed, "a\nb");
        let answer = CloudAnswer { http_status: 403, code: "AccessDenied".into(), request_id: "5F".into(), ec: "0003".into() };
        failed.error = Some(Error::new(ErrorKind::Denied, "no").answered(answer));
        let stamp = Stamp { run: "1".into(), source: "s3://a".into(), destination: "oss://b".into() };
        let line = Line { fields: object_line(&failed), time: "t".into(), stamp: &stamp };
        let json = serde_json::to_value(&line).expect("json");
        for (field, value) in [
            ("event", "object"),
            ("action", "copy"),
            ("key", "a\nb"),
            ("status", "failed"),
            ("code", "AccessDenied"),
            ("ec", "0003"),
            ("run", "1"),
            ("source", "s3://a"),
        ] {
            assert_eq!(json[field], value, "{field}");
        }
        assert_eq!(json["http_status"], 403);
        assert!(json.get("reason").is_none());
        let summary = serde_json::to_value(summary(&Report { copied: 2, ..Report::default() }, None, 0)).expect("json");
        for field in ["copied", "skipped", "deleted", "failed", "bytes", "retries", "resumed_bytes", "seconds", "verified"] {
            assert!(summary[field].is_number(), "{field}");
        }
    }
}
