use jiff::SignedDuration;

use super::*;
use crate::storage::Key;
use crate::storage::layer::Operation;

fn clock(at: &str) -> Clock {
    Clock::simulated(at.parse().expect("a time"), 1)
}

async fn open(state: &tempfile::TempDir, clock: &Clock) -> Arc<Usage> {
    Usage::open(state.path(), clock.clone()).await.expect("opened")
}

fn month(text: &str) -> Month {
    text.parse().expect("a month")
}

fn copied(usage: &MonthlyUsage) -> Vec<(String, String, u64)> {
    usage.rows.iter().map(|row| (row.job.clone(), row.prefix.clone(), row.sums.objects_copied)).collect()
}

fn row_of(job: &str, prefix: &str, count: u64) -> (String, String, u64) {
    (job.to_owned(), prefix.to_owned(), count)
}

#[tokio::test(start_paused = true)]
async fn a_month_goes_on_after_a_restart_and_is_closed_at_its_end() {
    let state = tempfile::tempdir().expect("a folder");
    let clock = clock("2026-11-30T23:50:00Z");
    let usage = open(&state, &clock).await;
    usage.meter("photos", 1).copied(&Key::from("a/1"), 10);
    usage.write().await.expect("written");
    // A crash: what was counted since is lost, and nothing else.
    usage.meter("photos", 1).copied(&Key::from("a/2"), 10);
    drop(usage);
    let usage = open(&state, &clock).await;
    let meter = usage.meter("photos", 1);
    meter.copied(&Key::from("a/3"), 5);
    meter.copied(&Key::from("b"), 1);
    assert_eq!(copied(&usage.month(None).await.expect("known")), [row_of("photos", "", 1), row_of("photos", "a/", 2)]);
    clock.sleep(Duration::from_secs(900)).await;
    // The new month begins with the first thing that counts in it, and the old one is written to its end.
    meter.deleted(&Key::from("a/3"));
    usage.write().await.expect("written");
    let now = usage.month(None).await.expect("known");
    assert_eq!((now.month.as_str(), copied(&now), now.rows[0].sums.objects_deleted), ("2026-12", vec![row_of("photos", "a/", 0)], 1));
    let before = read_month(state.path(), month("2026-11")).expect("known");
    assert_eq!(copied(&before), [row_of("photos", "", 1), row_of("photos", "a/", 2)]);
    assert_eq!(usage.month(Some(month("2026-11"))).await.expect("known"), before);
    assert_eq!(before.rows.iter().map(|row| row.sums.bytes_copied).sum::<u64>(), 16);
    let error = usage.month(Some(month("2026-10"))).await.expect_err("before it began");
    assert!(error.kind() == ErrorKind::NotFound && error.advice().contains("2026-11, 2026-12"), "{error}");
    let since_start = usage.since_start("photos");
    assert_eq!((since_start.objects_copied, since_start.objects_deleted), (2, 1), "of this daemon, whatever the month");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(state.path().join("usage/2026-12.csv")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!state.path().join("usage/2026-12.partial").exists());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_finds_each_month_where_it_left_it() {
    let state = tempfile::tempdir().expect("a folder");
    let real = clock("2026-11-10T00:00:00Z");
    let usage = open(&state, &real).await;
    usage.meter("a", 0).copied(&Key::from("k"), 1);
    usage.write().await.expect("written");
    drop(usage);
    // Started before the time was set, as on a machine without a clock of its own.
    let early = real.moved(SignedDuration::from_hours(-24 * 400));
    let usage = open(&state, &early).await;
    usage.meter("a", 0).copied(&Key::from("k"), 1);
    early.sleep(Duration::from_secs(400 * 86_400)).await;
    usage.meter("a", 0).copied(&Key::from("k"), 1);
    usage.write().await.expect("written");
    assert_eq!(copied(&read_month(state.path(), month("2026-11")).expect("known")), [row_of("a", "", 2)], "what stood there is not lost");
    assert_eq!(copied(&read_month(state.path(), month("2025-10")).expect("known")), [row_of("a", "", 1)]);
}

#[tokio::test(start_paused = true)]
async fn prefixes_are_bounded_and_the_rest_counts_together() {
    let state = tempfile::tempdir().expect("a folder");
    let usage = open(&state, &clock("2026-11-10T00:00:00Z")).await;
    let meter = usage.meter("many", 1);
    for n in 0..PREFIXES_MAX + 50 {
        meter.copied(&Key::from(format!("{n:05}/x").as_str()), 1);
    }
    meter.copied(&Key::from("00007/y"), 1);
    usage.meter("few", 1).copied(&Key::from("a/x"), 1);
    let rows = usage.month(None).await.expect("known").rows;
    let of_many: Vec<_> = rows.iter().filter(|row| row.job == "many").collect();
    assert_eq!(of_many.len(), PREFIXES_MAX + 1);
    let of = |prefix: &str| rows.iter().find(|row| row.prefix == prefix).map(|row| row.sums.objects_copied);
    assert_eq!((of(OTHER), of("00007/"), of("a/")), (Some(50), Some(2), Some(1)));
    usage.write().await.expect("written");
    drop(usage);
    let again = open(&state, &clock("2026-11-11T00:00:00Z")).await;
    again.meter("many", 1).copied(&Key::from("new/x"), 1);
    let rows = again.month(None).await.expect("known").rows;
    assert_eq!(rows.iter().find(|row| row.prefix == OTHER).map(|row| row.sums.objects_copied), Some(51));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_set_aside_and_old_months_go() {
    let state = tempfile::tempdir().expect("a folder");
    let dir = state.path().join("usage");
    std::fs::create_dir(&dir).expect("made");
    std::fs::write(dir.join("2026-11.csv"), "edited;by;hand\r\n").expect("written");
    for name in ["2023-11.csv", "2023-12.csv", "2023-10.damaged-20231001T000000Z.csv", "notes.txt"] {
        std::fs::write(dir.join(name), "month,job,prefix\r\n").expect("written");
    }
    let usage = open(&state, &clock("2026-11-27T15:00:00Z")).await;
    usage.meter("a", 0).copied(&Key::from("k"), 1);
    usage.write().await.expect("written");
    let mut names: Vec<String> = std::fs::read_dir(&dir).expect("there").map(|entry| entry.expect("read").file_name().into_string().expect("UTF-8")).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    assert_eq!(names, ["2023-12.csv", "2026-11.csv", "2026-11.damaged-20261127T150000Z.csv", "notes.txt"]);
    assert_eq!(std::fs::read_to_string(dir.join(&names[2])).expect("there"), "edited;by;hand\r\n");
    assert_eq!(copied(&usage.month(None).await.expect("known")), [row_of("a", "", 1)]);
    assert_eq!(usage.month(Some(month("2023-12"))).await.expect("known").rows, []);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_kept_and_written_later() {
    let state = tempfile::tempdir().expect("a folder");
    let usage = open(&state, &clock("2026-11-27T15:00:00Z")).await;
    usage.meter("a", 0).copied(&Key::from("k"), 1);
    // A directory is in the way.
    let draft = state.path().join("usage/2026-11.partial");
    std::fs::create_dir(&draft).expect("made");
    assert_eq!(usage.write().await.expect_err("in the way").kind(), ErrorKind::Disk);
    std::fs::remove_dir(&draft).expect("removed");
    usage.write().await.expect("written");
    assert_eq!(copied(&read_month(state.path(), month("2026-11")).expect("known")), [row_of("a", "", 1)]);
}

#[tokio::test(start_paused = true)]
async fn requests_count_for_their_end_their_kind_and_their_bucket() {
    let state = tempfile::tempdir().expect("a folder");
    let usage = open(&state, &clock("2026-11-27T15:00:00Z")).await;
    let meter = usage.meter("teams", 2).of_bucket(Some("team-a"));
    let (source, destination) = (meter.witness(End::Source, Key::from("in/")), meter.witness(End::Destination, Key::from("out/")));
    source.asked(Operation::List, &Key::from("in/"));
    source.asked(Operation::Get, &Key::from("in/x/y/1"));
    source.read(&Key::from("in/x/y/1"), 7);
    destination.asked(Operation::List, &Key::from("out/"));
    for operation in [Operation::CreateUpload, Operation::UploadPart, Operation::CompleteUpload, Operation::Head, Operation::AbortUpload, Operation::Presign] {
        destination.asked(operation, &Key::from("out/x/y/1"));
    }
    destination.written(&Key::from("out/x/y/1"), 7);
    meter.clone().undivided().witness(End::Destination, Key::from("attic/")).asked(Operation::Copy, &Key::from("attic/2026/x/1"));
    let rows = usage.month(None).await.expect("known").rows;
    let of = |prefix: &str| rows.iter().find(|row| row.prefix == prefix).map(|row| row.sums).expect("a row");
    assert_eq!(of(""), Sums { requests_destination: 1, requests_destination_write: 1, ..Sums::default() });
    let listings = Sums { requests_source: 1, requests_source_list: 1, requests_destination: 1, requests_destination_list: 1, ..Sums::default() };
    assert_eq!(of("team-a/"), listings);
    let wanted = Sums {
        bytes_read_source: 7,
        bytes_written_destination: 7,
        requests_source: 1,
        requests_source_read: 1,
        requests_destination: 5,
        requests_destination_read: 1,
        requests_destination_write: 3,
        requests_destination_delete: 1,
        ..Sums::default()
    };
    assert_eq!(of("team-a/x/"), wanted);
}
