//! The ranges against a model: two sets of keys, however they are paged and cut, break off or lose their order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::storage::fault::{Effect, Fault, FaultLayer};
use crate::storage::layer::Operation;
use crate::storage::location::Location;
use crate::storage::memory::{MemoryOptions, MemoryStore};
use crate::storage::weather::Weather;
use crate::storage::{Entry, Put, Storage};
use crate::transfer::join::Side;
use crate::transfer::testing::{nothing_known, open_at};

/// What goes wrong with a page.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Fails,
    IsReversed,
}

/// One end: its keys, the size of its pages, and what befalls the n-th of them.
#[derive(Debug, Clone)]
struct End {
    keys: BTreeSet<String>,
    page_keys: u32,
    trouble: Option<(u64, Trouble)>,
}

fn side() -> impl Strategy<Value = End> {
    let trouble = prop::option::weighted(0.3, (1..12_u64, prop::sample::select(vec![Trouble::Fails, Trouble::IsReversed])));
    (prop::collection::btree_set("[ab/]{1,3}", 0..24), 1..5_u32, trouble).prop_map(|(keys, page_keys, trouble)| End { keys, page_keys, trouble })
}

async fn store(side: &End, clock: &Clock) -> Arc<FaultLayer> {
    let store = MemoryStore::with("b", MemoryOptions { page_keys_max: side.page_keys, clock: clock.clone(), ..MemoryOptions::default() });
    for key in &side.keys {
        store.put(&Key::from(key.as_str()), "x".into(), Put::default()).await.expect("put");
    }
    let layer = FaultLayer::new(Arc::new(store), clock.clone(), []);
    layer.set_weather(Weather { latency_max: Duration::from_millis(40), ..Weather::default() });
    match side.trouble {
        Some((page, Trouble::Fails)) => layer.add(Fault::fail(Operation::List, ErrorKind::Unavailable).nth(page)),
        Some((page, Trouble::IsReversed)) => layer.add(Fault::on(Operation::List, Effect::Reverse).nth(page)),
        None => {}
    }
    Arc::new(layer)
}

/// What was said of a key: whether it is there, `None` where nothing is known.
type Said = Option<bool>;

fn said(side: &Side<Entry<'_>>) -> Said {
    match side {
        Side::Present(_) => Some(true),
        Side::Absent => Some(false),
        Side::Unknown(_) => None,
    }
}

struct Outcome {
    pairings: Vec<(String, Said, Said)>,
    licensed: bool,
    failed: bool,
    ranges: u32,
}

/// Joins both ends, cutting whichever range has its turn at some of the keys that are offered.
async fn joined(source: &End, destination: &End, cuts: &[String], to_the_end: bool, seed: u64) -> Outcome {
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), seed);
    let (source, destination) = (store(source, &clock).await, store(destination, &clock).await);
    let cursor = |store: &Arc<FaultLayer>| open_at(&Location::new(store.clone(), ""));
    let mut ranges = Ranges::new(Join::new(cursor(&source), cursor(&destination), nothing_known(), to_the_end, Arc::default()), 64);
    let (mut tide, mut pairings, mut cuts) = (Tide::default(), Vec::new(), cuts.iter());
    loop {
        ranges.arrive(&mut tide).await;
        if let Some(range) = ranges.active.get(ranges.turn)
            && range.join.rest().is_some()
            && let Some(cut) = cuts.next()
            && range.join.is_behind_all_that_came(cut.as_bytes())
        {
            ranges.split(Key::from(cut.as_str()), &mut tide);
        }
        let Some((_, pairing)) = ranges.pairing() else { break };
        pairings.push((Key::from(pairing.key).to_string(), said(&pairing.source), said(&pairing.destination)));
        ranges.advance();
    }
    Outcome { pairings, licensed: ranges.listings().license_deletes, failed: ranges.error().is_some(), ranges: ranges.ids }
}

fn check(source: &End, destination: &End, cuts: &[String], to_the_end: bool, seed: u64) -> std::result::Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let Outcome { pairings, licensed, failed, ranges } = runtime.block_on(joined(source, destination, cuts, to_the_end, seed));
    let (here, there) = (&source.keys, &destination.keys);
    let sound = source.trouble.is_none() && destination.trouble.is_none();
    let in_order = ![source, destination].iter().any(|end| matches!(end.trouble, Some((_, Trouble::IsReversed))));
    prop_assert!(!sound || !failed);
    prop_assert!(!sound || !to_the_end || licensed);
    prop_assert!(!failed || !licensed);

    let mut model: BTreeMap<&String, (Said, Said)> = BTreeMap::new();
    let (mut told, mut given) = (BTreeSet::new(), BTreeSet::new());
    for key in here.union(there) {
        model.insert(key, (Some(here.contains(key)), Some(there.contains(key))));
    }
    for (key, at_source, at_destination) in &pairings {
        // Out of order, a key may come as the destination's before it comes as the source's.
        let is_new = told.insert(key.clone()) || (!in_order && given.contains(key) != (*at_source == Some(true)));
        prop_assert!(is_new, "'{}' came twice in {} ranges", key, ranges + 1);
        if *at_source == Some(true) {
            given.insert(key.clone());
        }
        let Some((held, kept)) = model.get(key) else { return Err(TestCaseError::fail(format!("'{key}' is nowhere"))) };
        // In order, what is said is so; out of order, what is said to be there is.
        let so = |said: &Said, is: &Said| said == is || said.is_none() || (!in_order && !licensed && *said == Some(false));
        prop_assert!(so(at_source, held), "'{}': {:?} at the source", key, at_source);
        prop_assert!(so(at_destination, kept), "'{}': {:?} at the destination", key, at_destination);
    }
    if licensed {
        prop_assert_eq!(told, here.union(there).cloned().collect::<BTreeSet<_>>(), "in {} ranges", ranges + 1);
    } else if !failed {
        prop_assert!(told.is_superset(here), "every key of the source is judged");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_ranges_are_what_the_model_says(
        source in side(),
        destination in side(),
        cuts in prop::collection::vec("[ab/]{1,3}", 0..24),
        to_the_end in any::<bool>(),
        seed in any::<u64>(),
    ) {
        check(&source, &destination, &cuts, to_the_end, seed)?;
    }
}
