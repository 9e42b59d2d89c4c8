//! Objects move to colder classes as they age, and go when nobody needs them any more.
//!
//! A [rule](rule::Rule) of a job says which objects of which [`Place`], and what becomes of them. Two carry rules out: the cloud, by its own
//! [lifecycle configuration](lifecycle), and Dragon, which [looks through](sweep) the place, for what no cloud can express: ages that only
//! the job's journal knows, and [rolling backups](retention).

use std::sync::Arc;

use crate::journal::Journal;
use crate::storage::location::Location;
use crate::transfer::Job;

#[cfg(feature = "transport")]
pub mod cloud;
pub mod cost;
pub mod forecast;
#[cfg(feature = "transport")]
pub mod lifecycle;
pub mod price;
pub mod retention;
pub mod rule;
pub mod snapshot;
pub mod sweep;

use rule::{By, Rule};
use sweep::Sweep;

/// A place that a job's rules are about.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which of the job's places it is.
    pub end: End,
    /// The name under which a table of prices knows its store.
    pub store: String,
    /// Where.
    pub location: Location,
    /// What holds there.
    pub rules: Vec<Rule>,
}

/// Which of a job's places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Where it reads.
    Source,
    /// Where it writes.
    Destination,
    /// Another.
    Third,
}

impl Place {
    /// The rules that one of the two carries out.
    pub fn rules_by(&self, by: By) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.by == by)
    }

    /// How Dragon carries out its rules there, with what the job's options say of fees and deletes. `proofs` is the job's journal, if there
    /// is one.
    pub fn sweep(&self, job: &Job, proofs: Option<Arc<dyn Journal>>) -> Sweep {
        Sweep {
            place: self.location.clone(),
            rules: self.rules.clone(),
            by: By::Dragon,
            proofs: proofs.filter(|_| self.end != End::Third),
            only_copied: self.end == End::Source,
            source: (self.end == End::Destination).then(|| job.source.clone()),
            dry_run: job.options.dry_run,
            touch_cold: job.options.touch_cold,
            delete_limit: job.options.delete_limit,
        }
    }
}
