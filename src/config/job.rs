//! `[[jobs]]`: transfers with a name, for the daemon. Here they are read and held against each other.

use crate::storage::location::{Address, is_store_name};

use super::section::Section;
use super::transfer::{Copying, Deleting, Resources, Selection};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Make the destination hold what the source holds.
    #[default]
    Sync,
    /// Copy, and never delete.
    Copy,
}

/// A named transfer.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name, unique, of the characters a store's name may have.
    pub name: String,
    /// Where to read.
    pub source: Address,
    /// Where to write.
    pub destination: Address,
    /// What it does.
    pub mode: Mode,
    /// When it runs, in the daemon's words; `None` is only when told.
    pub schedule: Option<String>,
    /// What takes part.
    pub selection: Selection,
    /// How it is written.
    pub copying: Copying,
    /// What may be deleted.
    pub deleting: Deleting,
    /// What it may take.
    pub resources: Resources,
}

impl Job {
    /// Reads one job; `None` where it lacks what a job must have, which is told as a problem.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.text("name");
        match &name {
            Some(name) if is_store_name(name) => section.rename(format!("jobs.{name}")),
            Some(name) => section.problem("name", format!("'{name}' is no job name"), "use letters a-z, digits and hyphens"),
            None => section.problem("", "a job needs a name", "add name = \"...\""),
        }
        let source = address(section, "source");
        let destination = address(section, "destination");
        let job = Self {
            name: name.unwrap_or_default(),
            source: source.clone().unwrap_or(Address::Stdio),
            destination: destination.clone().unwrap_or(Address::Stdio),
            mode: section.choice("mode", &[("sync", Mode::Sync), ("copy", Mode::Copy)]).unwrap_or_default(),
            schedule: section.text("schedule"),
            selection: Selection::read(section),
            copying: Copying::read(section),
            deleting: Deleting::read(section),
            resources: Resources::read(section),
        };
        if job.mode == Mode::Copy && job.deleting.delete {
            section.problem("delete", "a job of mode \"copy\" never deletes", "write mode = \"sync\", or leave delete out");
        }
        (source.is_some() && destination.is_some()).then_some(job)
    }
}

fn address(section: &mut Section<'_>, key: &'static str) -> Option<Address> {
    if !section.has(key) {
        section.text(key);
        section.problem("", format!("a job needs a {key}"), format!("add {key} = \"NAME://BUCKET/PREFIX\""));
        return None;
    }
    let address = section.parsed(key, "an address such as \"s3://bucket/prefix\"", &[], |text| Address::parse(text).map_err(|e| e.to_string()))?;
    match &address {
        Address::Stdio => section.problem(key, "a job has no standard input or output", ""),
        Address::Store { bucket, .. } if bucket.is_empty() => section.problem(key, "the bucket is missing", ""),
        Address::Path(path) if path.is_relative() => section.problem(key, "a job's path must be absolute: a daemon has no directory of its own", ""),
        _ => return Some(address),
    }
    None
}

/// Why two jobs cannot both be, if so. `place` resolves names of stores that are one service, so that two names of one bucket are seen.
pub(super) fn conflict(a: &Job, b: &Job, place: impl Fn(&Address) -> Address) -> Option<String> {
    let [a_source, a_destination, b_source, b_destination] = [&a.source, &a.destination, &b.source, &b.destination].map(place);
    if a_destination.overlaps(&b_destination) {
        return Some(format!("jobs '{}' and '{}' write to the same place: {} and {}", a.name, b.name, a.destination, b.destination));
    }
    if a_destination.overlaps(&b_source) && b_destination.overlaps(&a_source) {
        return Some(format!("jobs '{}' and '{}' copy in a circle: each reads where the other writes", a.name, b.name));
    }
    None
}
