//! What lies in an archive at the source: asked for within a budget, and copied when it is thawed.

use std::time::Duration;

use jiff::SignedDuration;

use super::remembering::Lasting;
use super::*;
use crate::storage::Attributes;
use crate::storage::thaw::Thaw;
use crate::transfer::loss::Attribute;

const HOUR: Duration = Duration::from_secs(3600);

/// A source whose restores take 12 hours, and a destination of the other cloud.
fn archive() -> Lasting {
    Lasting::with(MemoryOptions { restore_delay: SignedDuration::from_hours(12), ..MemoryOptions::like_s3() }, MemoryOptions::like_oss())
}

async fn freeze(lasting: &Lasting, keys: impl IntoIterator<Item = String>) {
    for key in keys {
        let attributes = Attributes { storage_class: Some("DEEP_ARCHIVE".into()), ..Attributes::default() };
        lasting.world.source.put(&Key::from(key.clone()), key.into_bytes().into(), Put { attributes, ..Put::default() }).await.expect("written");
    }
}

fn thawing(thaw: Thaw) -> Options {
    Options { thaw: Some(thaw), ..Options::default() }
}

#[tokio::test(start_paused = true)]
async fn a_deep_archive_is_copied_within_its_budget_over_a_week_of_restarts() {
    const OBJECTS: usize = 10_000;
    const A_DAY: u64 = 1500;
    let lasting = archive();
    freeze(&lasting, many("k", OBJECTS)).await;
    let world = &lasting.world;
    let (mut asked_today, mut today) = (0, 0);
    let mut copied = 0;
    for n in 0.. {
        assert!(n < 4 * 9, "{copied} copied after nine days");
        let day = world.clock.now().as_second() / (24 * 3600);
        if day != today {
            (today, asked_today) = (day, 0);
        }
        let before = world.source.calls(Operation::Restore);
        // Every third run is stopped midway.
        let job = world.job(thawing(Thaw { objects_max: Some(A_DAY), ..Thaw::default() }));
        let report = if n % 3 == 2 { lasting.run_stopped(job, 2000).await } else { lasting.run_job(job).await.0 };
        assert_eq!((report.failed, report.stopped.is_none()), (0, true), "{report:?}");
        asked_today += world.source.calls(Operation::Restore) - before;
        assert!(asked_today <= A_DAY, "{asked_today} asked for on one day");
        copied += report.copied;
        if copied == OBJECTS as u64 {
            break;
        }
        world.clock.sleep(6 * HOUR).await;
    }
    assert_eq!(world.source.calls(Operation::Restore), OBJECTS as u64, "each was asked for once");
    assert_eq!(world.destination.calls(Operation::Put), OBJECTS as u64, "each was written once");
    let (report, _) = lasting.run(Options::default()).await;
    assert_eq!((report.copied, report.skipped), (0, OBJECTS as u64));
}

#[tokio::test(start_paused = true)]
async fn what_has_frozen_again_is_asked_for_again() {
    let lasting = archive();
    freeze(&lasting, ["a".to_owned()]).await;
    let asked = |lasting: &Lasting| lasting.world.source.calls(Operation::Restore);
    let (report, events) = lasting.run(thawing(Thaw::default())).await;
    assert_eq!((report.thawing, report.failed, report.exit_code(), asked(&lasting)), (1, 0, 0, 1));
    assert!(told(&events, Action::Restore, Status::Planned).contains("a"));
    lasting.world.clock.sleep(72 * HOUR).await;
    assert_eq!((lasting.run(thawing(Thaw::default())).await.0.thawing, asked(&lasting)), (1, 2));
    lasting.world.clock.sleep(12 * HOUR).await;
    let (report, _) = lasting.run(thawing(Thaw::default())).await;
    assert_eq!((report.copied, report.verified, asked(&lasting)), (1, 1, 2));
    assert!(report.losses.iter().all(|(_, attribute, ..)| attribute == Attribute::StorageClass), "small: it stays in Standard");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_where_the_operator_did_not_say_so() {
    let lasting = archive();
    freeze(&lasting, ["a".to_owned()]).await;
    put(&*lasting.world.source, "b", "b").await;
    let (report, events) = lasting.run(Options::default()).await;
    assert_eq!((report.copied, report.failed, report.parked), (1, 1, 1));
    let error = events.iter().find_map(|event| if let Event::Object(object) = event { object.error.clone() } else { None }).expect("told");
    assert!(error.to_string().contains("DEEP_ARCHIVE") && error.to_string().contains("--thaw"), "{error}");
    assert_eq!(lasting.world.source.calls(Operation::Restore), 0);
    let (report, _) = lasting.run(Options { dry_run: true, ..thawing(Thaw::default()) }).await;
    assert_eq!((report.copied, lasting.world.source.calls(Operation::Restore)), (1, 0), "a dry run asks for nothing");
}
