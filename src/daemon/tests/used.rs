//! What jobs use, as a daemon counts it.

use super::*;
use crate::daemon::usage::{MonthlyUsage, read_month};

async fn usage(bench: &Bench, month: Option<&str>) -> MonthlyUsage {
    bench.control.usage(month.map(|month| month.parse().expect("a month"))).await.expect("known")
}

fn of(usage: &MonthlyUsage, job: &str) -> Sums {
    usage.rows.iter().find(|row| row.job == job).unwrap_or_else(|| panic!("a row of {job}")).sums
}

#[tokio::test(start_paused = true)]
async fn each_job_counts_its_own_and_a_restart_goes_on() {
    let start = clock("2026-11-30T22:00:00Z");
    let (a, b) = (Place::new(&start, "a", 3, Duration::ZERO).await, Place::new(&start, "b", 1, Duration::ZERO).await);
    let jobs = || vec![a.job("a", Some("every 1h")), b.job("b", None)];
    let bench = Bench::start(&start, tempfile::tempdir().expect("a folder"), jobs(), Settings::default()).await;
    bench.pass(MINUTE + MINUTE).await;
    let first = usage(&bench, None).await;
    assert_eq!((first.month.as_str(), first.rows.len()), ("2026-11", 1), "b has not run");
    let sums = of(&first, "a");
    assert_eq!((sums.objects_copied, sums.bytes_copied, sums.bytes_read_source, sums.bytes_written_destination), (3, 24, 24, 24));
    assert!(sums.requests_source_list >= 1 && sums.requests_source_read >= 3 && sums.requests_destination_write >= 3, "{sums:?}");
    assert_eq!(sums.requests_source, sums.requests_source_list + sums.requests_source_read + sums.requests_source_write);
    assert_eq!(bench.job("a").usage, sums, "the metrics say the same");
    // It stands on disk once the run has ended, without the daemon's end.
    assert_eq!(read_month(bench.state.path(), "2026-11".parse().expect("a month")).expect("written"), first);
    let state = bench.end().await;
    let later = start.moved(SignedDuration::from_secs(600));
    let bench = Bench::start(&later, state, jobs(), Settings::default()).await;
    assert_eq!(of(&usage(&bench, None).await, "a"), sums, "known again");
    assert_eq!(bench.job("a").usage, Sums::default(), "counters begin with the process");
    bench.control.command(Actor { who: "test".into() }, Command::Run { job: "b".into(), max_delete: None }).await.expect("taken");
    bench.pass(5 * MINUTE).await;
    let second = usage(&bench, None).await;
    assert_eq!((of(&second, "b").objects_copied, of(&second, "a")), (1, sums), "what b asks is not a's");
    // The next month: a's runs find nothing to copy, and list all the same.
    bench.pass(3 * HOUR).await;
    let december = usage(&bench, None).await;
    assert_eq!((december.month.as_str(), of(&december, "a").objects_copied), ("2026-12", 0));
    assert!(of(&december, "a").requests_source_list >= 1);
    assert_eq!(of(&usage(&bench, Some("2026-11")).await, "a").objects_copied, 3);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_run_is_written_every_minute() {
    let clock = clock("2026-11-10T00:00:00Z");
    let place = Place::new(&clock, "long", 600, 10 * MINUTE).await;
    let settings = Settings { streams_max: Some(4), ..Settings::default() };
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), vec![place.job("long", Some("every 24h"))], settings).await;
    bench.pass(HOUR).await;
    assert_eq!(bench.job("long").state, JobState::Running);
    let (live, written) = (usage(&bench, None).await, read_month(bench.state.path(), "2026-11".parse().expect("a month")).expect("written"));
    let copied = of(&written, "long").objects_copied;
    assert!((4..=24).contains(&copied) && of(&live, "long").objects_copied >= copied, "{copied}");
    let state = bench.end().await;
    let ended = of(&read_month(state.path(), "2026-11".parse().expect("a month")).expect("written"), "long");
    assert!(ended.objects_copied >= copied, "the drain writes what came last");
}
