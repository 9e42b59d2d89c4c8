//! A daemon under load and bad weather: events lost, doubled and out of order, stores that fail, a configuration that keeps changing, and the
//! process killed and ended at random. At the end the destination is the source, and nothing has grown.
//!
//! `DRAGON_SOAK_SECONDS` says how long (`scripts/soak`); else it is a short one. What was sampled goes to `target/soak/`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dragon::clock::Clock;
use dragon::storage::s3::{Options, S3Account};
use dragon::storage::{Key, ObjectRef, Put, Storage};
use futures::StreamExt;

use super::{Running, World, until};

/// Changes a second that are asked for.
const CHANGES_PER_SECOND: u64 = 200;
/// Keys that are written again and again.
const KEYS: u64 = 400;

/// What was seen of the process.
#[derive(Debug, Clone, Copy)]
struct Sample {
    second: u64,
    rss_kib: u64,
    descriptors: u64,
    /// Without the audit log.
    state_kib: u64,
    /// It grows by a line for each object that was overwritten or deleted: that is what it is for.
    audit_kib: u64,
    pending: u64,
}

#[test]
fn a_soak_ends_with_destination_and_source_the_same() {
    let seconds: u64 = std::env::var("DRAGON_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let world = World::with_weather("seed=7 503=0.5% reset=0.3% lost=0.1% latency=1ms");
    world.ok(&["mb", "us://photos"]);
    world.ok(&["mb", "cn://photos-cn"]);
    let configure = |turn: u64| {
        world.configure(&format!(
            "[[jobs]]\nname = \"photos\"\nsource = \"us://photos/\"\ndestination = \"cn://photos-cn/\"\ndelete = true\nmax_delete = \"100%\"\nallow_empty_source = true\n\
             schedule = \"every {}s\"\n[[jobs.events]]\ntype = \"webhook\"\ntoken = \"hint\"\n",
            5 + turn % 2
        ));
    };
    configure(0);
    let stop = Arc::new(AtomicBool::new(false));
    let (events, receiver) = std::sync::mpsc::sync_channel::<String>(10_000);
    let writer = std::thread::spawn({
        let (stop, endpoint) = (stop.clone(), world.s3.clone());
        move || write(&endpoint, &stop, &events)
    });
    let mut daemon = world.start();
    let mut dice = fastrand::Rng::with_seed(11);
    let (began, mut samples, mut turns, mut ends, mut changes) = (Instant::now(), Vec::new(), 0, (0, 0), 0u64);
    let mut next_sample = Instant::now();
    let mut next_end = Instant::now() + Duration::from_secs(7);
    let mut next_turn = Instant::now() + Duration::from_secs(5);
    while began.elapsed() < Duration::from_secs(seconds) {
        // The courier: events lost, doubled, and out of order.
        let mut bag: Vec<String> = receiver.try_iter().take(50).collect();
        changes += bag.len() as u64;
        dice.shuffle(&mut bag);
        bag.retain(|_| dice.u32(..100) >= 20);
        let doubles: Vec<String> = bag.iter().filter(|_| dice.u32(..100) < 20).cloned().collect();
        bag.extend(doubles);
        if !bag.is_empty() {
            // One that comes while the daemon is away is lost as well.
            let _ = daemon.try_ask("POST", "/api/v1/hints/photos", &[("authorization", "Bearer hint")], &format!("{{\"Records\":[{}]}}", bag.join(",")));
        }
        if Instant::now() >= next_turn {
            next_turn += Duration::from_secs(seconds.clamp(5, 60));
            turns += 1;
            configure(turns);
        }
        if Instant::now() >= next_end {
            next_end += Duration::from_secs(dice.u64(6..12) * (seconds / 60).clamp(1, 5));
            if dice.bool() {
                ends.0 += 1;
                drop(daemon);
            } else {
                ends.1 += 1;
                assert_eq!(daemon.end(), 0, "{}", world.log());
            }
            daemon = world.start();
        }
        if Instant::now() >= next_sample {
            next_sample += Duration::from_secs((seconds / 100).max(1));
            samples.extend(sample(&world, &daemon, began.elapsed().as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    // Whoever waits for room in the channel is let go.
    while !writer.is_finished() {
        receiver.try_iter().for_each(drop);
        std::thread::sleep(Duration::from_millis(10));
    }
    let written = writer.join().expect("the writer ended");
    keep(&samples, seconds);
    // Whatever was lost on the way, a scan finds.
    world.ok(&["jobs", "run", "photos"]);
    until("destination and source are the same", 120, || {
        let there: BTreeMap<String, u64> = listing(&world, "cn://photos-cn");
        there == written && listing(&world, "us://photos") == written
    });
    until("it says so", 60, || world.job("photos")["state"] == "in-sync");
    let verified = world.run(&["verify", "us://photos/", "cn://photos-cn/", "--state-dir", "none"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let totals = world.job("photos")["totals"].clone();
    assert_eq!(totals["copied"], totals["verified"], "every copy is proved at both ends");
    assert!(world.ok(&["audit", "verify"]).contains("every seal holds"));
    assert!(changes > seconds * 20, "{changes} changes in {seconds} s are no load");
    assert!(ends.0 + ends.1 > 0, "it was ended on the way");
    let log = world.log();
    assert!(!log.contains("panicked"), "{log}");
    flat("descriptors", &samples, |sample| sample.descriptors, 64);
    flat("resident memory, KiB", &samples, |sample| sample.rss_kib, 40 << 10);
    flat("state on disk without the audit log, KiB", &samples, |sample| sample.state_kib, 8 << 10);
    eprintln!("soak: {seconds} s, {changes} changes, {} killed, {} ended, {} configurations, last {:?}", ends.0, ends.1, turns, samples.last());
    assert_eq!(daemon.end(), 0);
}

/// Writes and deletes until it is told to stop, telling of each change; what is there at the end.
fn write(endpoint: &str, stop: &AtomicBool, events: &std::sync::mpsc::SyncSender<String>) -> BTreeMap<String, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = Options {
            endpoints: vec![endpoint.to_owned()],
            region: Some("us-east-1".into()),
            access_key_id: Some("dragon".into()),
            secret_access_key: Some("dragon-secret".into()),
            ..Options::default()
        };
        let store = S3Account::open(options, Clock::system()).await.expect("an account").store("photos").expect("a bucket");
        let (mut there, mut dice, mut sequence) = (BTreeMap::new(), fastrand::Rng::with_seed(3), 0u64);
        let began = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let key = format!("d{}/{}", dice.u64(..7), dice.u64(..KEYS));
            sequence += 1;
            let removed = dice.u32(..100) < 15;
            // A request that failed may have been carried out: only what is known for certain is counted on.
            let done = loop {
                let done = if removed {
                    let objects = futures::stream::iter([ObjectRef::from(Key::from(key.as_str()))]).boxed();
                    store.delete(objects).all(|(_, deleted)| async move { deleted.is_ok() }).await
                } else {
                    let body = vec![b'x'; (sequence % 5000) as usize];
                    store.put(&Key::from(key.as_str()), body.into(), Put::default()).await.is_ok()
                };
                if done || stop.load(Ordering::Relaxed) {
                    break done;
                }
            };
            if !done {
                // It may or may not have been carried out: made certain.
                let object = ObjectRef::from(Key::from(key.as_str()));
                loop {
                    match store.head(&object).await {
                        Ok(info) => _ = there.insert(key.clone(), info.size),
                        Err(error) if error.kind() == dragon::error::ErrorKind::NotFound => _ = there.remove(&key),
                        Err(_) => continue,
                    }
                    break;
                }
                continue;
            }
            if removed {
                there.remove(&key)
            } else {
                there.insert(key.clone(), sequence % 5000)
            };
            let name = if removed { "ObjectRemoved:Delete" } else { "ObjectCreated:Put" };
            let event = format!(
                "{{\"eventName\":\"{name}\",\"s3\":{{\"bucket\":{{\"name\":\"photos\"}},\"object\":{{\"key\":\"{key}\",\"sequencer\":\"{sequence:016X}\"}}}}}}"
            );
            // What nobody takes is an event that was lost.
            let _ = events.try_send(event);
            let due = Duration::from_millis(sequence * 1000 / CHANGES_PER_SECOND);
            if let Some(early) = due.checked_sub(began.elapsed()) {
                Clock::system().sleep(early).await;
            }
        }
        there
    })
}

fn listing(world: &World, address: &str) -> BTreeMap<String, u64> {
    let output = world.run(&["ls", "-r", address, "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| Some((line["key"].as_str()?.to_owned(), line["size"].as_u64()?)))
        .collect()
}

fn sample(world: &World, daemon: &Running, second: u64) -> Option<Sample> {
    let proc = format!("/proc/{}", daemon.child.id());
    let status = std::fs::read_to_string(format!("{proc}/status")).ok()?;
    let rss_kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB").parse().ok()?;
    let descriptors = std::fs::read_dir(format!("{proc}/fd")).ok()?.count() as u64;
    let pending = world.job("photos")["hints"]["pending"].as_u64().unwrap_or(0);
    let audit = size(&world.path("state/audit"));
    let state = size(&world.path("state")).saturating_sub(audit);
    Some(Sample { second, rss_kib, descriptors, state_kib: state / 1024, audit_kib: audit / 1024, pending })
}

fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.metadata().map_or(0, |meta| if meta.is_dir() { size(&entry.path()) } else { meta.len() })).sum()
}

/// The last third is not above the middle one by more than that: a process that has warmed up does not grow.
fn flat(what: &str, samples: &[Sample], of: fn(&Sample) -> u64, slack: u64) {
    let third = samples.len() / 3;
    if third < 3 {
        return;
    }
    let most = |part: &[Sample]| part.iter().map(of).max().unwrap_or(0);
    let (middle, last) = (most(&samples[third..2 * third]), most(&samples[2 * third..]));
    assert!(last <= middle + slack, "{what} grows: {middle}, then {last}: {samples:?}");
}

/// Writes the samples down, and draws them.
fn keep(samples: &[Sample], seconds: u64) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak");
    std::fs::create_dir_all(&dir).expect("made");
    let mut table = std::fs::File::create(dir.join("samples.csv")).expect("made");
    writeln!(table, "second,rss_kib,descriptors,state_kib,audit_kib,pending").expect("written");
    for Sample { second, rss_kib, descriptors, state_kib, audit_kib, pending } in samples {
        writeln!(table, "{second},{rss_kib},{descriptors},{state_kib},{audit_kib},{pending}").expect("written");
    }
    let line = |of: fn(&Sample) -> u64, colour: &str, name: &str, row: usize| {
        let most = samples.iter().map(of).max().unwrap_or(1).max(1);
        let points: String =
            samples.iter().map(|s| format!("{:.0},{:.0} ", s.second as f64 / seconds as f64 * 600.0, 180.0 - of(s) as f64 / most as f64 * 150.0)).collect();
        format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{points}\"/><text x=\"4\" y=\"{}\" fill=\"{colour}\">{name}, at most {most}</text>",
            14 + 14 * row
        )
    };
    let lines = [
        line(|s| s.rss_kib, "#2f6fd0", "resident memory, KiB", 0),
        line(|s| s.descriptors, "#116329", "descriptors", 1),
        line(|s| s.state_kib, "#a40e26", "state on disk without the audit log, KiB", 2),
        line(|s| s.audit_kib, "#8a6d00", "audit log, KiB", 3),
    ];
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 600 190\" font-family=\"sans-serif\" font-size=\"11\"><rect width=\"600\" height=\"190\" fill=\"#fff\"/>{}</svg>",
        lines.concat()
    );
    std::fs::write(dir.join("soak.svg"), svg).expect("written");
}
