//! Plays the corpora of the fuzz targets in `cargo test`, so that what fuzzing once found stays found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::{config, storage, transfer};

type Target = fn(&[u8]);

/// Every target by the name of its corpus.
const TARGETS: &[(&str, Target)] = &[
    ("address", storage::fuzzing::address),
    ("answers", storage::fuzzing::answers),
    ("config", config::fuzzing::config),
    ("filter", transfer::fuzzing::filter),
    ("headers", storage::fuzzing::headers),
    ("keys", storage::fuzzing::keys),
    ("listing", storage::fuzzing::listing),
    ("quantities", config::fuzzing::quantities),
    ("refusals", storage::fuzzing::refusals),
    ("stamp", transfer::fuzzing::stamp),
];

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn every_corpus_holds_what_its_target_promises() {
    for (name, target) in TARGETS {
        let corpus = files(&format!("corpus/{name}"));
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for file in corpus {
            println!("{}", file.display());
            target(&fs::read(&file).expect("readable"));
        }
    }
}

/// A few thousand neighbours of the seeds, the same each time: what fuzzing does for hours, for a moment. DRAGON_FUZZ_MUTANTS says how
/// many of each seed.
#[test]
fn the_neighbours_of_every_seed_hold_it_too() {
    let each: u32 = std::env::var("DRAGON_FUZZ_MUTANTS").map_or(100, |text| text.parse().expect("a number"));
    let chance = Clock::simulated(jiff::Timestamp::UNIX_EPOCH, 1);
    for (name, target) in TARGETS {
        let mut seeds: Vec<Vec<u8>> = files(&format!("corpus/{name}")).iter().map(|file| fs::read(file).expect("readable")).collect();
        seeds.sort_unstable();
        for seed in &seeds {
            for _ in 0..each {
                let mutant = mutate(seed, &seeds, &chance);
                let held = std::panic::catch_unwind(|| target(&mutant));
                assert!(held.is_ok(), "{name} breaks on {:?}", mutant.escape_ascii().to_string());
            }
        }
    }
}

/// One to four changes: a byte becomes another, a piece goes, or a piece of some seed comes in.
fn mutate(seed: &[u8], seeds: &[Vec<u8>], chance: &Clock) -> Vec<u8> {
    let below = |limit: usize| chance.random_below(limit as u64) as usize;
    let piece = |len: usize| {
        let start = below(len + 1);
        start..start + below((len - start + 1).min(40))
    };
    let mut mutant = seed.to_vec();
    for _ in 0..=below(4) {
        match below(4) {
            0 if !mutant.is_empty() => {
                let at = below(mutant.len());
                mutant[at] = below(256) as u8;
            }
            1 => drop(mutant.drain(piece(mutant.len()))),
            _ => {
                let donor = &seeds[below(seeds.len())];
                let at = below(mutant.len() + 1);
                mutant.splice(at..at, donor[piece(donor.len())].iter().copied());
            }
        }
    }
    mutant
}

#[test]
fn every_target_is_played() {
    let stems = |folder| files(folder).iter().map(|f| f.file_stem().expect("a name").to_string_lossy().into_owned()).collect::<BTreeSet<_>>();
    let played: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(played, stems("fuzz_targets"));
    assert_eq!(played, stems("corpus"));
}
