//! The engine: makes one place hold what another holds, and proves it.
//!
//! `list -> join -> plan -> copy -> prove`, as a stream: copying starts before the listings end, and no list of keys is ever held.
//! Deciding is pure; what is decided is data ([`task::CopyTask`], delete candidates); what happened is told through
//! [`event::Event`]s and summed up in a [`Report`].
//!
//! # Invariants
//! - An error is never an absence: only a key that a clean source listing has moved past may be deleted.
//! - Deletes come last: after both listings ended clean and every copy ended.
//! - Memory does not depend on how many objects there are.

mod attributes;
mod backup;
pub mod budget;
pub mod claim;
mod concurrency;
mod copy;
pub(crate) mod delete;
pub mod event;
mod feed;
pub mod filter;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod job;
pub mod join;
mod known;
mod lanes;
mod list;
pub mod loss;
pub mod parts;
pub mod plan;
pub mod progress;
mod prove;
mod ranges;
pub mod report;
mod run;
mod schedule;
pub mod shard;
pub mod share;
pub(crate) mod spill;
mod split;
pub(crate) mod stamp;
mod subject;
mod sync;
pub mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod thaw;
mod tide;
mod verify;
mod versions;

pub use event::Event;
pub use filter::Filter;
pub use job::{Context, Job, Options};
pub use progress::Progress;
pub use report::Report;
pub use run::{copy_one, run, verify};
pub use shard::Shard;
