//! Destinations with a date, as runs begin, break off and fail around midnight.

use super::*;

fn run_destinations(job: &JobStatus) -> Vec<(&str, &str, &str)> {
    let of = |run: &'_ RunStatus| run.destination.is_some();
    assert!(job.recent_runs.iter().all(of));
    job.recent_runs.iter().rev().map(|run| (run.cause.as_str(), run.outcome.as_str(), run.destination.as_deref().unwrap_or_default())).collect()
}

async fn days(place: &Place) -> Vec<(String, usize)> {
    let mut days: BTreeMap<String, usize> = BTreeMap::new();
    for key in place.keys().await {
        *days.entry(key.split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    days.into_iter().collect()
}

fn journals(state: &std::path::Path) -> usize {
    std::fs::read_dir(state.join("pairs")).map_or(0, |pairs| pairs.flatten().filter(|pair| pair.path().join("journal.db").is_file()).count())
}

fn day(name: &str, objects: usize) -> (String, usize) {
    (name.to_owned(), objects)
}

#[tokio::test(start_paused = true)]
async fn each_day_has_its_place_in_the_jobs_zone_and_old_journals_go() {
    // Six in the evening here is two in the morning of the next day there.
    let clock = clock("2026-11-25T17:30:00Z");
    let place = Place::new(&clock, "db", 2, Duration::ZERO).await.dated("Asia/Shanghai");
    let bench =
        Bench::keeping(Some(Keep::Full), &clock, tempfile::tempdir().expect("a folder"), vec![place.job("db", Some("0 18 * * * UTC"))], Settings::default())
            .await;
    for _ in 0..4 {
        bench.pass(24 * HOUR).await;
    }
    assert_eq!(days(&place).await, [day("2026-11-26", 2), day("2026-11-27", 2), day("2026-11-28", 2), day("2026-11-29", 2)]);
    let job = bench.job("db");
    assert_eq!(job.dated_destination.as_deref(), Some("2026-11-29/"));
    assert_eq!(job.destination, "mem://db-to");
    assert_eq!(run_destinations(&job)[0], ("schedule", "done", "2026-11-26/"));
    assert_eq!(journals(bench.state.path()), 2, "those of the latest two dates");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_broken_off_is_finished_under_its_own_date_before_todays_begins() {
    let start = clock("2026-11-26T22:00:00Z");
    // Ten minutes an object, four at a time: 100 minutes.
    let place = Place::new(&start, "db", 40, 10 * MINUTE).await.dated("UTC");
    let job = || JobSetup { windows: vec![Window::parse("22:00-23:00 UTC").expect("a window")], ..place.job("db", Some("0 22 * * * UTC")) };
    let settings = || Settings { streams_max: Some(4), ..Settings::default() };
    let before = start.moved(SignedDuration::from_mins(-5));
    let bench = Bench::start(&before, tempfile::tempdir().expect("a folder"), vec![job()], settings()).await;
    bench.pass(90 * MINUTE).await;
    assert_eq!(run_destinations(&bench.job("db")), [("schedule", "interrupted", "2026-11-26/")]);
    let begun = days(&place).await[0].1;
    assert!((12..40).contains(&begun), "{begun}");
    // The daemon ends too, and comes back the next evening; at ten both the rest of yesterday and today are due.
    let state = bench.end().await;
    let after = start.moved(SignedDuration::from_mins(22 * 60 + 25));
    let bench = Bench::start(&after, state, vec![job()], settings()).await;
    bench.pass(110 * MINUTE).await;
    let status = bench.job("db");
    assert_eq!(
        run_destinations(&status),
        [("schedule", "interrupted", "2026-11-26/"), ("schedule", "done", "2026-11-26/"), ("catch-up", "interrupted", "2026-11-27/")]
    );
    assert_eq!(days(&place).await[0], day("2026-11-26", 40), "what was begun is whole");
    assert_eq!(days(&place).await.len(), 2, "and today's has begun in what was left of the window");
    assert_eq!(status.dated_destination.as_deref(), Some("2026-11-27/"));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_forgets_no_date() {
    let start = clock("2026-11-26T23:30:00Z");
    let place = Place::new(&start, "db", 40, 10 * MINUTE).await.dated("UTC");
    let settings = || Settings { streams_max: Some(4), ..Settings::default() };
    let jobs = || vec![place.job("db", Some("45 23 * * * UTC"))];
    let bench = Bench::start(&start, tempfile::tempdir().expect("a folder"), jobs(), settings()).await;
    bench.pass(30 * MINUTE).await;
    assert_eq!((bench.job("db").state, bench.job("db").dated_destination.as_deref()), (JobState::Running, Some("2026-11-26/")));
    // Killed: nothing is put away, and nothing says how the run ended.
    let Bench { running, state, .. } = bench;
    running.abort();
    assert!(running.await.is_err());
    let later = start.moved(SignedDuration::from_hours(2));
    let bench = Bench::start(&later, state, jobs(), settings()).await;
    bench.pass(3 * HOUR).await;
    assert_eq!(run_destinations(&bench.job("db")), [("catch-up", "done", "2026-11-26/")]);
    assert_eq!(days(&place).await, [day("2026-11-26", 40)]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_under_its_date_until_the_next_is_due() {
    let clock = clock("2026-11-26T23:50:00Z");
    let place = Place::new(&clock, "db", 2, Duration::ZERO).await.dated("UTC");
    place.fails.store(true, Ordering::Relaxed);
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), vec![place.job("db", Some("55 23 * * * UTC"))], Settings::default()).await;
    bench.pass(20 * MINUTE).await;
    let runs = bench.job("db").recent_runs.len();
    assert!(runs >= 3, "{runs}");
    // Past midnight the store is back: yesterday's backup is made.
    place.fails.store(false, Ordering::Relaxed);
    bench.pass(HOUR).await;
    assert_eq!(run_destinations(&bench.job("db")).last(), Some(&("after a failure", "done", "2026-11-26/")));
    // It fails for more than a day: the night that was missed is given up once the next is due.
    place.fails.store(true, Ordering::Relaxed);
    bench.pass(24 * HOUR).await;
    assert_eq!(bench.job("db").dated_destination.as_deref(), Some("2026-11-27/"));
    bench.pass(24 * HOUR).await;
    place.fails.store(false, Ordering::Relaxed);
    bench.pass(22 * HOUR).await;
    let status = bench.job("db");
    assert_eq!(status.state, JobState::InSync, "{:?}", run_destinations(&status));
    assert_eq!(days(&place).await, [day("2026-11-26", 2), day("2026-11-28", 2)]);
    // By hand, today is today.
    bench.control.command(Actor { who: "test".into() }, Command::Run { job: "db".into(), max_delete: None }).await.expect("taken");
    bench.pass(MINUTE).await;
    assert_eq!(run_destinations(&bench.job("db")).last(), Some(&("by hand", "done", "2026-11-29/")));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_somebody_cancels_gives_its_date_up() {
    let clock = clock("2026-11-26T23:30:00Z");
    let place = Place::new(&clock, "db", 40, 10 * MINUTE).await.dated("UTC");
    let settings = Settings { streams_max: Some(4), ..Settings::default() };
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), vec![place.job("db", None)], settings).await;
    let actor = || Actor { who: "test".into() };
    bench.control.command(actor(), Command::Run { job: "db".into(), max_delete: None }).await.expect("taken");
    bench.pass(15 * MINUTE).await;
    bench.control.command(actor(), Command::Cancel { job: "db".into() }).await.expect("taken");
    bench.pass(HOUR).await;
    bench.control.command(actor(), Command::Run { job: "db".into(), max_delete: None }).await.expect("taken");
    bench.pass(3 * HOUR).await;
    assert_eq!(run_destinations(&bench.job("db")), [("by hand", "cancelled", "2026-11-26/"), ("by hand", "done", "2026-11-27/")]);
    bench.end().await;
}
