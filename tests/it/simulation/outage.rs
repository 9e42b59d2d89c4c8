//! A destination that is down for a day in the middle of a run.

use std::sync::Arc;
use std::time::Duration;

use dragon::clock::Clock;
use dragon::metrics::Metrics;
use dragon::storage::fault::FaultLayer;
use dragon::storage::layer::Operation;
use dragon::storage::location::Location;
use dragon::storage::memory::{MemoryOptions, MemoryStore};
use dragon::storage::retry::{self, Retry};
use dragon::storage::weather::{Outage, Weather};
use dragon::storage::{Key, Put, Storage};
use dragon::transfer::{Context, Job, Options, run};

const DAY: Duration = Duration::from_secs(24 * 3600);
const OBJECTS: u64 = 300;

#[tokio::test(start_paused = true)]
async fn a_run_waits_out_a_day_without_its_destination_and_goes_on_by_itself() {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 7);
    let store = || Arc::new(MemoryStore::with("b", MemoryOptions { clock: clock.clone(), ..MemoryOptions::default() }));
    let (source, destination) = (store(), store());
    for number in 0..OBJECTS {
        let key = Key::new(format!("{number:04}").into_bytes());
        source.put(&key, format!("object {number}").into_bytes().into(), Put::default()).await.expect("put");
    }
    let weather = FaultLayer::new(destination, clock.clone(), []);
    let outage = Outage { after: Duration::from_secs(1), length: DAY };
    weather.set_weather(Weather { latency_max: Duration::from_millis(400), outages: vec![outage], ..Weather::default() });
    let patient = retry::Options { give_up_after: None, ..retry::Options::default() };
    let to = Retry::new(Arc::new(weather.clone()), patient, clock.clone(), Arc::<Metrics>::default());
    let begun = clock.instant();
    let job = Job { options: Options::default(), ..Job::new(Location::new(source, ""), Location::new(Arc::new(to), "")) };
    let report = Box::pin(run(job, Context { clock: clock.clone(), ..Context::default() })).await.expect("a run");
    assert_eq!((report.copied, report.verified, report.failed, report.exit_code()), (OBJECTS, OBJECTS, 0, 0));
    assert!(begun.elapsed() > DAY && begun.elapsed() < DAY + Duration::from_secs(300), "{:?}", begun.elapsed());
    let probes = weather.calls(Operation::Head);
    assert!(weather.calls(Operation::Put) < 2 * OBJECTS && probes < 6000, "{} writes and {probes} probes", weather.calls(Operation::Put));
}
