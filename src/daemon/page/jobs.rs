//! A mirror: on its card, and on its own page.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words;
use crate::daemon::status::{CurrentRun, JobState, JobStatus, RunStatus, Trouble};

/// The card of a job among the others.
pub(super) fn card(job: &JobStatus, now: Timestamp, can_act: bool) -> Markup {
    html! {
        section .card #{ "job-" (job.name) } {
            h2 { a href={ "/jobs/" (job.name) } { (job.name) } " " span class={ "state " (class(job.state)) } { (job.state.as_str()) } }
            p .ends { (job.source) " → " (destination(job)) }
            p { (words::lag(job, now)) @if is_late(job) { ", " strong { "and may be " (words::span(job.lag_max_seconds.unwrap_or(0))) } } }
            (why(job))
            @if let Some(run) = &job.current { (current(run, now)) }
            (next(job))
            @if job.state.is_trouble() { @for trouble in job.troubles.iter().filter(|trouble| job.why.as_ref() != Some(&trouble.message) || trouble.advice.as_ref().is_some_and(|advice| !trouble.message.contains(advice.as_str()))).take(2) { (told(trouble)) } }
            @if can_act { (buttons(job)) }
        }
    }
}

/// All that there is to say of a job.
pub(super) fn whole(job: &JobStatus, now: Timestamp, can_act: bool) -> Markup {
    html! {
        div #live {
            section .card {
                h2 { (job.name) " " span class={ "state " (class(job.state)) } { (job.state.as_str()) } }
                p .ends { (job.source) " → " (job.destination) " (" (job.mode) ")" }
                @if let Some(dated) = &job.dated_destination { p .ends { "Now, or last: " (dated) } }
                p { (words::lag(job, now)) }
                (why(job))
                (next(job))
                @if let Some(limit) = &job.limit { p .notice { "Limited by hand: " (words::limit(limit)) } }
                @if let Some(run) = &job.current { (current(run, now)) }
                @if can_act { (buttons(job)) }
            }
            section .card {
                h2 { "Proofs" }
                p {
                    (words::number(job.totals.copied)) " objects (" (words::bytes(job.totals.bytes)) ") copied since the daemon began, "
                    (words::number(job.totals.verified)) " of them proved at both ends; "
                    (words::number(job.totals.deleted)) " deleted, " (words::number(job.totals.failed)) " failures."
                }
                @if job.failed_keys > 0 { p { (words::number(job.failed_keys)) " objects failed in the last run: dragon jobs retry " (job.name) " --failed" } }
            }
            @if let Some(forecast) = &job.forecast {
                section .card {
                    h2 { "Cost" }
                    p {
                        "The run of " (words::moment(forecast.at)) " was going to cost " (sum(&forecast.once)) ", and " (sum(&forecast.monthly))
                        " a month from then on; the limit is " (forecast.limit) "."
                        @if forecast.unknown > 0 { " " strong { (forecast.unknown) " things have no known price" } " and are not in it." }
                    }
                }
            }
            @if let Some(hints) = &job.hints {
                section .card {
                    h2 { "Change events" }
                    p {
                        (hints.source) ": " @if hints.connected { "received" } @else { strong { "not received" } }
                        ". " (words::number(hints.received)) " events, " (words::number(hints.duplicates)) " of them old news; "
                        (words::number(hints.pending)) " keys wait; " (words::number(hints.rescans)) " scans became necessary."
                    }
                    @if let Some((median, worst)) = hints.delay_median_ms.zip(hints.delay_worst_ms) {
                        p { "From change to proof: " (format!("{:.1}", median as f64 / 1000.0)) " s in the middle, " (format!("{:.1}", worst as f64 / 1000.0)) " s at the worst of the last hundred." }
                    }
                    @if let Some(trouble) = &hints.trouble { (told(trouble)) }
                }
            }
            section .card {
                h2 { "Last errors" }
                @for trouble in &job.troubles { (told(trouble)) }
                @if job.troubles.is_empty() { p .quiet { "None." } }
            }
            section .card {
                h2 { "Recent runs" }
                table {
                    thead { tr { th { "began" } th { "why" } th { "ended" } th { "took" } th .n { "copied" } th .n { "bytes" } th .n { "deleted" } th .n { "failed" } } }
                    tbody { @for run in &job.recent_runs { (row(run)) } }
                }
            }
        }
    }
}

fn why(job: &JobStatus) -> Markup {
    html! {
        @if let Some(why) = &job.why {
            p .why { (why) }
            @if job.state == JobState::Refused && why.contains("--max-delete") {
                p { "If the deletes are right, allow them once: " code { "dragon jobs run " (job.name) " --max-delete N" } }
            }
        }
    }
}

fn row(run: &RunStatus) -> Markup {
    let took = u64::try_from(run.ended.duration_since(run.started).as_secs()).unwrap_or(0);
    html! {
        tr {
            td { (words::moment(run.started)) @if let Some(destination) = &run.destination { br; span .quiet { (destination) } } } td { (run.cause) } td { (run.outcome) } td { (words::span(took)) }
            td .n { (words::number(run.copied)) } td .n { (words::bytes(run.bytes)) } td .n { (words::number(run.deleted)) } td .n { (words::number(run.failed)) }
        }
    }
}

fn current(run: &CurrentRun, now: Timestamp) -> Markup {
    let left = run.planned_bytes.saturating_sub(run.copied_bytes);
    let eta = (run.listing_done && run.bytes_per_second > 0).then(|| words::span(left / run.bytes_per_second));
    let took = u64::try_from(now.duration_since(run.started).as_secs()).unwrap_or(0);
    html! {
        div .current {
            p {
                "Running for " (words::span(took)) " (" (run.cause) "): " (words::number(run.copied_objects)) " of " (words::number(run.planned_objects))
                " objects, " (words::bytes(run.copied_bytes)) " of " (words::bytes(run.planned_bytes)) ", " (words::bytes(run.bytes_per_second)) "/s"
                @if !run.listing_done { "; " (words::number(run.listed)) " keys listed so far" }
                @if let Some(eta) = eta { "; about " (eta) " left" }
                @if run.failed_objects > 0 { "; " strong { (words::number(run.failed_objects)) " failed" } }
            }
            @if run.planned_bytes > 0 { progress max=(run.planned_bytes) value=(run.copied_bytes.min(run.planned_bytes)) aria-label="bytes copied" {} }
            @if !run.moving.is_empty() {
                ul .moving {
                    @for object in &run.moving {
                        li { span .key title=(object.key) { (words::shortened(&object.key)) } " " span .quiet { (words::bytes(object.done)) " of " (words::bytes(object.size)) } }
                    }
                }
            }
        }
    }
}

fn next(job: &JobStatus) -> Markup {
    html! {
        p .quiet {
            @match &job.schedule { Some(schedule) => { (schedule) } None => "only when told" }
            @for window in &job.windows { ", within " (window) }
            @if let Some(next) = job.next_run.filter(|_| job.current.is_none()) { "; next run " (words::moment(next)) }
            @if let Some(hints) = &job.hints { "; events from " (hints.source) @if hints.pending > 0 { " (" (words::number(hints.pending)) " keys wait)" } }
            @if job.failures_in_row > 1 { "; " (job.failures_in_row) " failures in a row" }
        }
    }
}

fn told(trouble: &Trouble) -> Markup {
    html! {
        div .trouble {
            p { (words::moment(trouble.at)) ": " (trouble.message) }
            @if let Some(advice) = trouble.advice.as_ref().filter(|advice| !trouble.message.contains(advice.as_str())) { p { strong { "What to do: " } (advice) } }
            @if let Some(id) = trouble.request_id.as_ref().filter(|id| !trouble.message.contains(id.as_str())) { p .quiet { "Request id " (id) } }
        }
    }
}

fn buttons(job: &JobStatus) -> Markup {
    let mut actions = Vec::new();
    if job.current.is_some() {
        actions.push(("cancel", "Stop this run"));
    } else {
        actions.push(("run", "Run now"));
    }
    if job.failed_keys > 0 && job.current.is_none() {
        actions.push(("retry", "Try failed objects again"));
    }
    actions.push(if job.state == JobState::Paused { ("resume", "Resume") } else { ("pause", "Pause") });
    html! {
        div .actions {
            @for (action, label) in actions {
                form method="post" action={ "/jobs/" (job.name) "/" (action) } { button { (label) } }
            }
        }
    }
}

/// Amounts of several currencies, which nobody adds.
fn sum(amounts: &[String]) -> String {
    if amounts.is_empty() { "nothing that is known".to_owned() } else { amounts.join(" and ") }
}

/// Where it writes: with the date of the run underway or the last one, where it has one.
fn destination(job: &JobStatus) -> &str {
    job.dated_destination.as_deref().unwrap_or(&job.destination)
}

fn is_late(job: &JobStatus) -> bool {
    job.lag_seconds.zip(job.lag_max_seconds).is_some_and(|(lag, most)| lag > most)
}

/// The colour goes with the word.
fn class(state: JobState) -> &'static str {
    match state {
        JobState::InSync => "ok",
        JobState::Running => "running",
        JobState::New | JobState::Waiting | JobState::Paused => "idle",
        JobState::Behind => "slow",
        JobState::Failing | JobState::Refused | JobState::Halted => "down",
    }
}
