//! How long listings take, in round trips, and how many requests.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::storage::Storage;
use crate::storage::fault::{Effect, Fault, FaultLayer};
use crate::storage::layer::Operation;
use crate::storage::location::Location;
use crate::storage::memory::{MemoryOptions, MemoryStore};
use crate::transfer::testing::{nothing_known, open_at};

/// A round trip: what a page takes.
const ROUND_TRIP: Duration = Duration::from_millis(60);
const PAGE_KEYS: u32 = 50;
const PAGES: u64 = 400;

/// A store whose every page takes a round trip.
async fn slow(keys: &[String], clock: &Clock) -> Arc<FaultLayer> {
    let store = MemoryStore::with("slow", MemoryOptions { page_keys_max: PAGE_KEYS, clock: clock.clone(), ..MemoryOptions::default() });
    for key in keys {
        store.put(&Key::from(key.as_str()), "x".into(), crate::storage::Put::default()).await.expect("put");
    }
    Arc::new(FaultLayer::new(Arc::new(store), clock.clone(), [Fault::on(Operation::List, Effect::Delay(ROUND_TRIP))]))
}

/// What listing both ends took.
#[derive(Debug)]
struct Took {
    /// The longest chain of round trips.
    round_trips: f64,
    /// Pages asked for at source and destination.
    requests: (u64, u64),
    pairings: usize,
    /// The most ranges at a time.
    ranges: usize,
}

async fn list(source: &[String], destination: &[String], ranges_max: usize) -> Took {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 7);
    let (source, destination) = (slow(source, &clock).await, slow(destination, &clock).await);
    let cursor = |store: &Arc<FaultLayer>| open_at(&Location::new(store.clone(), ""));
    let mut ranges = Ranges::new(Join::new(cursor(&source), cursor(&destination), nothing_known(), true, Arc::default()), ranges_max);
    let mut tide = Tide::default();
    let begun = clock.instant();
    let mut took = Took { round_trips: 0.0, requests: (0, 0), pairings: 0, ranges: 0 };
    loop {
        ranges.arrive(&mut tide).await;
        took.ranges = took.ranges.max(ranges.active.len());
        if ranges.pairing().is_none() {
            break;
        }
        took.pairings += 1;
        ranges.advance();
    }
    assert!(ranges.listings().license_deletes);
    took.round_trips = begun.elapsed().as_secs_f64() / ROUND_TRIP.as_secs_f64();
    took.requests = (source.calls(Operation::List), destination.calls(Operation::List));
    took
}

fn flat() -> Vec<String> {
    (0..PAGES * u64::from(PAGE_KEYS)).map(|n| format!("img_{n:07}.jpg")).collect()
}

fn tree() -> Vec<String> {
    (0..PAGES * u64::from(PAGE_KEYS)).map(|n| format!("photos/{}/{:03}/{:02}.jpg", 2020 + n / 4000, n / 20 % 200, n % 20)).collect()
}

/// Names without any order of their own.
fn hashed() -> Vec<String> {
    let mut keys: Vec<String> = (0..PAGES * u64::from(PAGE_KEYS)).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    keys.sort();
    keys
}

/// Logs: a path of dates, few names in each folder, and a word before all.
fn dated() -> Vec<String> {
    (0..PAGES * u64::from(PAGE_KEYS))
        .map(|n| format!("logs/app-{}/2026/{:02}/{:02}/{:05}.gz", ["api", "db", "web"][(n / 6700) as usize], n / 560 % 12 + 1, n / 20 % 28 + 1, n % 20))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn many_pages_take_few_round_trips_whatever_the_names() {
    for (name, mut keys, most, wasted) in [("flat", flat(), 1.5, 0.2), ("tree", tree(), 1.5, 0.2), ("hashed", hashed(), 1.5, 0.2), ("dated", dated(), 2.0, 0.5)]
    {
        keys.sort();
        keys.dedup();
        let took = list(&keys, &keys, 16).await;
        println!("{name}: {took:?}");
        let pages = keys.len().div_ceil(PAGE_KEYS as usize) as u64;
        let ideal = pages as f64 / 16.0;
        assert_eq!(took.pairings, keys.len(), "{name}");
        assert!(took.ranges <= 16, "{name}: {took:?}");
        assert!(took.round_trips <= ideal * most, "{name}: {took:?}, and {ideal} would be ideal");
        assert!(took.round_trips * 8.0 <= pages as f64, "{name}: {took:?}");
        // A piece begins with a page that is not full, and some find nothing.
        let requests_max = (pages as f64 * (1.0 + wasted)) as u64;
        assert!(took.requests.0 <= requests_max && took.requests.1 <= requests_max, "{name}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_range_is_one_chain() {
    let took = list(&flat(), &flat(), 1).await;
    assert_eq!((took.round_trips.round() as u64, took.requests, took.ranges), (PAGES, (PAGES, PAGES), 1));
}

#[tokio::test(start_paused = true)]
async fn small_listings_cost_no_request_more() {
    for (keys, pages) in [(0, 1), (1, 1), (50, 1), (75, 2), (100, 2), (150, 3)] {
        let keys = &flat()[..keys];
        let took = list(keys, keys, 16).await;
        assert_eq!((took.requests, took.ranges.max(1)), ((pages, pages), 1), "{} keys", keys.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_has_no_more_keys_is_not_asked_again() {
    let took = list(&flat(), &[], 16).await;
    assert_eq!(took.requests.1, 1);
    assert!(took.round_trips <= PAGES as f64 / 16.0 * 1.5);
    let took = list(&[], &flat(), 16).await;
    assert_eq!(took.requests.0, 1);
    assert!(took.round_trips <= PAGES as f64 / 16.0 * 1.5, "{took:?}");
}
