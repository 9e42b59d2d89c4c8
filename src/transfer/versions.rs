//! Copies histories: every version of each key, oldest first, delete markers included (`--versions all`).
//!
//! Nothing remembers how far a history has got but the destination itself: its newest version that is no marker bears a stamp
//! ([`stamp`](super::stamp)) that names the source version it is a copy of. What the source has on top of that one is missing, but for
//! the delete markers that were made on top already. So a run that was stopped between any two versions is taken up by the next one.
//!
//! # Invariants
//! - A key's versions are written one after the other, and nobody else writes to the key meanwhile ([`claim`](super::claim)); what the
//!   destination holds of it is read again once the key is claimed.
//! - Both histories of a key are known before anything is written to it: a listing that fails ends the run, and says of no version
//!   that it is absent.
//! - A marker that hides what the destination shows is a delete: it waits for the end of the run, its guard and its limit. One between
//!   two versions hides nothing for long, and is made once the next version can be read.
//! - No version is ever removed from a history.

mod carry;
mod histories;
mod run;
#[cfg(test)]
mod tests;

pub(super) use run::run;

use crate::storage::Version;
use crate::transfer::stamp::Stamp;

/// Versions of one key that are looked through; a key with more is refused by name.
pub(super) const VERSIONS_MAX: usize = 10_000;

/// How many of a source's versions (newest first) are newer than the one that a stamp means.
///
/// Where that one is gone from the source, its last modification decides; what is as old as it, to the second, is taken for newer: a
/// version too many is better than one too few.
fn newer_than(source: &[Version], stamp: &Stamp) -> usize {
    let means = |version: &Version| {
        let same = version.size == stamp.size && version.etag == stamp.etag;
        !version.is_marker && same && stamp.version.as_deref().unwrap_or("null") == version.version
    };
    if let Some(at) = source.iter().position(means) {
        return at;
    }
    let Some(modified) = stamp.modified else { return source.len() };
    source.iter().take_while(|version| version.modified.is_none_or(|one| one >= modified)).count()
}

/// What a destination needs on top of its history of a key: indices into the source's versions (newest first), in the order in which
/// they are to be made.
///
/// `newer` is how many of the source's versions are newer than the destination's newest data, and `markers` how many delete markers
/// lie upon that data already.
fn missing(source: &[Version], newer: usize, markers: usize) -> Vec<usize> {
    let mut steps: Vec<usize> = (0..newer).rev().collect();
    let made = steps.iter().take(markers).take_while(|at| source[**at].is_marker).count();
    steps.drain(..made);
    // Somebody has hidden at the destination what the source shows.
    if newer == 0 && markers > 0 && source.first().is_some_and(|latest| !latest.is_marker) {
        steps.push(0);
    }
    steps
}

/// The markers at the end of some steps: upon them lies nothing more.
fn tail(source: &[Version], steps: &[usize]) -> usize {
    steps.iter().rev().take_while(|at| source[**at].is_marker).count()
}

/// Whether what is read without naming a version is there.
fn is_shown(history: &[Version]) -> bool {
    history.first().is_some_and(|latest| !latest.is_marker)
}
