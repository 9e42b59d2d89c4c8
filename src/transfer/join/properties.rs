//! The join against a model: two sets of keys, however their listings are paged, break off, or lose their order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::storage::Page;
use crate::transfer::testing::{Script, nothing_known, open};

/// A listing as the model sees it.
#[derive(Debug, Clone)]
struct Listing {
    pages: Vec<Vec<String>>,
    /// The page in whose place an error comes; beyond the last, none does.
    fails_at: usize,
}

impl Listing {
    fn script(&self) -> Script {
        let this = self.clone();
        Script::of("script", move |index| {
            if index == this.fails_at {
                return Some(Err(Error::new(ErrorKind::Unavailable, "a page that fails")));
            }
            let mut page = Page::new();
            for key in this.pages.get(index)? {
                page.push(Entry { key: key.as_bytes(), size: 1, etag: "e", modified: None, storage_class: "", kind: Kind::Object });
            }
            Some(Ok(page))
        })
    }

    fn fails(&self) -> bool {
        self.fails_at <= self.pages.len()
    }

    /// The keys that come before the failure.
    fn told(&self) -> Vec<String> {
        self.pages.iter().take(self.fails_at).flatten().cloned().collect()
    }

    /// All keys that are really there.
    fn held(&self) -> BTreeSet<String> {
        self.pages.iter().flatten().cloned().collect()
    }

    /// Whether the store keeps its promise, also in what an error keeps it from telling.
    fn is_in_order(&self) -> bool {
        self.pages.iter().flatten().is_sorted_by(|a, b| a < b)
    }

    fn is_clean(&self) -> bool {
        !self.fails() && self.is_in_order()
    }
}

/// Sorted keys in pages of any size, empty ones among them; one in three listings breaks off, one in three has two keys change places.
fn listing() -> impl Strategy<Value = Listing> {
    let keys = proptest::collection::btree_set("[ab/]{1,3}", 0..14);
    (keys, proptest::collection::vec(0..5usize, 12), proptest::option::weighted(0.3, 0..5usize), proptest::option::weighted(0.3, (0..14usize, 0..14usize)))
        .prop_map(|(keys, sizes, fails_at, swap)| {
            let mut keys: Vec<String> = keys.into_iter().collect();
            if let Some((a, b)) = swap.filter(|(a, b)| a.max(b) < &keys.len()) {
                keys.swap(a, b);
            }
            let mut pages: Vec<Vec<String>> = Vec::new();
            for size in sizes {
                pages.push(keys.drain(..size.min(keys.len())).collect());
            }
            pages.push(keys);
            Listing { pages, fails_at: fails_at.unwrap_or(usize::MAX) }
        })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    There,
    Absent,
    Unknown,
}

/// What was said of each key by both ends, in the order of the pairings, and whether deletes are licensed.
async fn joined(source: &Listing, destination: &Listing) -> (Vec<(String, Said, Said)>, bool) {
    let mut join = Join::new(open(source.script()), open(destination.script()), nothing_known(), true, Arc::default());
    let said = |side: &Side<Entry<'_>>| match side {
        Side::Present(_) => Said::There,
        Side::Absent => Said::Absent,
        Side::Unknown(_) => Said::Unknown,
    };
    let mut all = Vec::new();
    loop {
        join.arrive().await;
        let Some(pairing) = join.pairing() else { break };
        all.push((Key::from(pairing.key).to_string(), said(&pairing.source), said(&pairing.destination)));
        join.advance();
    }
    (all, join.licenses_deletes())
}

fn check(source: &Listing, destination: &Listing) -> std::result::Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (pairings, licensed) = runtime.block_on(joined(source, destination));
    prop_assert_eq!(licensed, source.is_clean() && destination.is_clean());

    let (here, there) = (source.held(), destination.held());
    if licensed {
        let mut model: BTreeMap<String, (Said, Said)> = BTreeMap::new();
        for key in here.union(&there) {
            let says = |keys: &BTreeSet<String>| if keys.contains(key) { Said::There } else { Said::Absent };
            model.insert(key.clone(), (says(&here), says(&there)));
        }
        let model: Vec<_> = model.into_iter().map(|(key, (source, destination))| (key, source, destination)).collect();
        prop_assert_eq!(pairings, model);
        return Ok(());
    }

    let mut given = BTreeSet::new();
    for (key, at_source, at_destination) in &pairings {
        prop_assert!(at_source != &Said::There || given.insert(key.clone()), "'{}' of the source came twice", key);
        prop_assert!(at_source != &Said::There || here.contains(key));
        prop_assert!(at_destination != &Said::There || there.contains(key));
    }
    let told = source.told();
    if source.is_in_order() {
        // An absence is told of keys that the source's listing has moved past, and of no other.
        let past = told.last().filter(|_| source.fails());
        for (key, at_source, _) in &pairings {
            let absent = at_source == &Said::Absent;
            prop_assert!(!absent || !here.contains(key), "'{}' is there", key);
            prop_assert!(!absent || !source.fails() || past.is_some_and(|last| key < last), "nothing is known of '{}'", key);
        }
    }
    if !destination.fails() {
        prop_assert_eq!(given, told.into_iter().collect(), "every key that the source told of must be judged");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_join_is_what_the_model_says(source in listing(), destination in listing()) {
        check(&source, &destination)?;
    }
}
