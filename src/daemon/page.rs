//! The status page: says at a glance how far behind each mirror is, and why.
//!
//! Rendered here, complete without a script; a small one renews the live part as the daemon tells (`/events`). What is said in colour is
//! said in words as well. Nothing comes from elsewhere.

use maud::{DOCTYPE, Markup, html};

use super::status::{JobStatus, Snapshot};

mod chart;
mod jobs;
mod words;

/// How it looks, light and dark.
pub(super) const STYLE: &str = include_str!("page/style.css");
/// What renews it.
pub(super) const SCRIPT: &str = include_str!("page/live.js");

/// The page of all jobs.
pub(super) fn overview(snapshot: &Snapshot, can_act: bool) -> String {
    frame("Dragon", can_act, &live_part(snapshot, can_act)).into_string()
}

/// What of it is renewed.
pub(super) fn live(snapshot: &Snapshot, can_act: bool) -> String {
    live_part(snapshot, can_act).into_string()
}

/// The page of one job.
pub(super) fn job(snapshot: &Snapshot, job: &JobStatus, can_act: bool) -> String {
    let content = html! {
        p { a href="/" { "← all mirrors" } }
        (jobs::whole(job, snapshot.now, can_act))
    };
    frame(&format!("{} · Dragon", job.name), can_act, &content).into_string()
}

/// The page that asks for the token.
pub(super) fn login(problem: Option<&str>) -> String {
    let content = html! {
        section .card {
            h2 { "Log in" }
            @if let Some(problem) = problem { p .trouble role="alert" { (problem) } }
            form method="post" action="/login" {
                label { "Token " input type="password" name="token" autocomplete="current-password" required; }
                " " button { "Log in" }
            }
            p .quiet { "It stands in the file " code { "token" } " in the daemon's state directory." }
        }
    };
    frame("Log in · Dragon", false, &content).into_string()
}

fn frame(title: &str, can_act: bool, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href="/assets/style.css";
                script src="/assets/live.js" defer {}
                noscript { meta http-equiv="refresh" content="15"; }
            }
            body {
                header {
                    h1 { a href="/" { "Dragon" } }
                    nav {
                        @if can_act {
                            form method="post" action="/logout" { button .plain { "Log out" } }
                        } @else {
                            a href="/login" { "Log in" }
                        }
                    }
                }
                main { (content) }
            }
        }
    }
}

fn live_part(snapshot: &Snapshot, can_act: bool) -> Markup {
    let mut jobs: Vec<&JobStatus> = snapshot.jobs.iter().collect();
    // Those that need a person come first; a sort that is stable keeps the configuration's order.
    jobs.sort_by_key(|job| !needs_a_person(job));
    let troubled = jobs.iter().filter(|job| needs_a_person(job)).count();
    html! {
        div #live {
            p .summary .bad[troubled > 0] role="status" {
                (words::summary(&snapshot.jobs, troubled))
                @if snapshot.draining { " The daemon is ending: what is underway is put away." }
            }
            @if let Some(refused) = &snapshot.config.refused {
                section .card .trouble role="alert" {
                    h2 { "A new configuration was refused" }
                    p { (refused.message) }
                    p .quiet { "The one of " (words::moment(snapshot.config.loaded.unwrap_or(snapshot.started))) " stays in force." }
                }
            }
            @if let Some(limit) = &snapshot.limit {
                p .notice { "All jobs together are limited by hand: " (words::limit(limit)) }
            }
            @for job in &jobs { (jobs::card(job, snapshot.now, can_act)) }
            @if jobs.is_empty() { p .notice { "No jobs are configured: add [[jobs]] to the configuration." } }
            section .card {
                h2 { "Throughput" }
                p { (words::bytes(snapshot.throughput.bytes_per_second)) "/s now" }
                (chart::bars("the last hour", &snapshot.throughput.minutes, 60.0, &["60 min ago", "now"]))
                (chart::bars("the last day", &snapshot.throughput.quarters, 900.0, &["24 h ago", "now"]))
            }
            section .card {
                h2 { "Stores" }
                table {
                    thead { tr { th { "store" } th { "health" } th { "why" } } }
                    tbody {
                        @for store in &snapshot.stores {
                            tr { td { (store.name) } td { span class={ "state " (store.health) } { (store.health) } } td { (store.why.as_deref().unwrap_or("")) } }
                        }
                    }
                }
            }
            footer .quiet {
                p {
                    "Dragon " (snapshot.version) " on " (snapshot.host) ", since " (words::moment(snapshot.started)) ". "
                    "Memory for object bytes: " (words::bytes(snapshot.memory_in_use_bytes)) " of " (words::bytes(snapshot.memory_bytes)) ". "
                    @if let Some(file) = &snapshot.config.file { "Configuration: " (file) " (" (snapshot.config.revision.get(..12).unwrap_or_default()) "). " }
                    "Seen " (words::moment(snapshot.now)) "."
                }
                p { a href="/metrics" { "metrics" } " · " a href="/api/v1/status" { "status as JSON" } " · " a href="/api/v1/openapi.json" { "API" } }
            }
        }
    }
}

fn needs_a_person(job: &JobStatus) -> bool {
    job.state.is_trouble() || job.lag_seconds.zip(job.lag_max_seconds).is_some_and(|(lag, most)| lag > most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::sample;

    #[test]
    fn trouble_comes_first_and_says_what_to_do() {
        let page = overview(&sample(), true);
        let (bad, good) = (page.find("job-archive").expect("there"), page.find("job-photos").expect("there"));
        assert!(bad < good, "what needs a person comes first");
        for told in ["1 of 3 mirrors needs you", "access denied", "check the key", "REQ-123", "in sync", "refused", "every 5m"] {
            assert!(page.contains(told), "{told}: {page}");
        }
    }

    #[test]
    fn what_others_named_is_text() {
        let mut snapshot = sample();
        snapshot.jobs[0].why = Some("<script>alert(1)</script>".into());
        if let Some(run) = &mut snapshot.jobs[0].current {
            run.moving[0].key = "\"><img src=x>".into();
        }
        let page = overview(&snapshot, true);
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
    }

    #[test]
    fn buttons_are_for_owners() {
        let (reader, owner) = (overview(&sample(), false), overview(&sample(), true));
        assert!(!reader.contains("/jobs/photos/run") && owner.contains("/jobs/photos/run"));
    }

    #[test]
    fn many_jobs_make_a_small_page() {
        let mut snapshot = sample();
        let job = snapshot.jobs[0].clone();
        snapshot.jobs = (0..200).map(|n| JobStatus { name: format!("job-{n}"), ..job.clone() }).collect();
        assert!(overview(&snapshot, true).len() < 1 << 20);
    }
}
