//! How many streams are underway, over stores that take their time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::storage::fault::Moment;

const SECOND: Duration = Duration::from_secs(1);

/// A world with so many small objects, whose writes take a second each, also those of parts.
async fn slow(objects: usize) -> World {
    let world = World::new();
    for number in 0..objects {
        put(&*world.source, &format!("{number:05}"), "x").await;
    }
    world.destination.add(Fault::on(Operation::Put, Effect::Delay(SECOND)));
    world.destination.add(Fault::on(Operation::UploadPart, Effect::Delay(SECOND)));
    world
}

#[tokio::test(start_paused = true)]
async fn small_objects_find_how_many_move_at_a_time() {
    let (report, _) = slow(4000).await.run(Options::default()).await.expect("a run");
    assert_eq!((report.copied, report.failed), (4000, 0));
    assert!(report.seconds < 60.0, "{} s: 67 at a time would take that", report.seconds);
}

#[tokio::test(start_paused = true)]
async fn so_do_the_parts_of_one_large_object() {
    let world = slow(0).await;
    put(&*world.source, "large", &"x".repeat(400_000)).await;
    let (report, _) = world.run(Options { part_size_bytes: Some(1000), ..Options::default() }).await.expect("a run");
    assert_eq!((report.copied, report.failed), (1, 0));
    assert!(report.seconds < 25.0, "{} s for 400 parts: 16 at a time would take that", report.seconds);
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_says_bounds_objects_and_parts_together() {
    let world = slow(60).await;
    for name in ["00010-large", "00020-large"] {
        put(&*world.source, name, &"x".repeat(40_000)).await;
    }
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (now.clone(), most.clone());
    world.destination.watch(move |operation, _, moment| {
        if matches!(operation, Operation::Put | Operation::UploadPart) {
            match moment {
                Moment::Begun(_) => peak.fetch_max(counted.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed),
                _ => counted.fetch_sub(1, Ordering::Relaxed),
            };
        }
    });
    let (report, _) = world.run(Options { part_size_bytes: Some(1000), concurrency: Some(5), ..Options::default() }).await.expect("a run");
    assert_eq!((report.copied, report.failed), (62, 0));
    assert_eq!((now.load(Ordering::Relaxed), most.load(Ordering::Relaxed)), (0, 5));
    assert!((27.0..32.0).contains(&report.seconds), "{} s for 60 objects and 80 parts", report.seconds);
}
