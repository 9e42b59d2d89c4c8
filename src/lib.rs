//! Dragon mirrors buckets between Amazon S3 and Alibaba Cloud OSS, and proves every copy.
//!
//! ```no_run
//! # async fn example() -> dragon::error::Result<()> {
//! use dragon::transfer::{self, Context, Job};
//!
//! let job = Job::new(dragon::open("s3://photos/2026/").await?, dragon::open("oss://photos-cn/2026/").await?);
//! let report = transfer::run(job, Context::default()).await?;
//! println!("{} copied, {} of them proved", report.copied, report.verified);
//! # Ok(())
//! # }
//! ```
//!
//! # The way of an object
//! ```text
//!  source                                                              destination
//!  list ──► cursor ──┐                                      ┌── cursor ◄── list
//!                    ├──► join ──► plan ──► schedule ──► copy ──► prove ──► (deletes, last)
//!                    │    pairs    decides   admits      GET, CRCs   compares with
//!                    │    by key   purely    boundedly   PUT/parts   both clouds
//! ```
//! It is one stream: copying starts before the listings end, no list of keys is held, and memory is a budget. Where there are many keys
//! both listings are cut into ranges with the same boundaries, each joined by itself; how many copies and parts are underway at a time is
//! found by what they move.
//!
//! # Code map
//! Imports go down only; `tests/it/layering.rs` fails on an upward one.
//!
//! | layer | module | what it knows |
//! |---|---|---|
//! | 6 | `main`, [`cli`] | one command a file; prints, catches signals, sets exit statuses: nothing below does |
//! | 5 | [`config`] | dragon.toml: composes each module's own options; nothing below knows of the file |
//! | 4 | [`daemon`] | jobs that run for years: schedules and windows, change events, the page and API, the audit log, alerts |
//! | 4 | [`devserver`] | two clouds on loopback; a side tower that shares no wire, signing or checksum code with [`storage`] |
//! | 3 | [`tier`] | how objects age and what that costs: rules, the clouds' lifecycle configurations, rolling backups, sweeps, forecasts |
//! | 3 | [`transfer`] | the engine: list in ranges, join, plan, schedule, find the right number of streams, copy, prove, delete |
//! | 2 | [`journal`] | what must survive a crash: uploads in flight, what was proved, how far a run got |
//! | 1 | [`storage`] | the contract, its backends (memory, local, s3, oss, object_store), layers (retry, limit, observe, fault: with weather), the classes of both clouds and what thaws their archives, and the lean road (HTTP/1.1, signatures, list pages) |
//! | 0 | [`error`], [`clock`], [`metrics`] | what everything leans on |
//!
//! # Invariants
//! - **An error is never an absence.** Only a key that a clean source listing has moved past may be deleted, after all copies.
//! - **No unproved success.** The source is compared before a write is made final, the destination after; what nothing proves is
//!   reported as such.
//! - **Keys are bytes.** Nothing normalises them; a store that cannot hold one refuses it by name.
//! - **What changes something is announced first.** An upload stands in the journal before it is begun and before it is completed; a
//!   run that died is taken up by the next, with the journal or without.
//! - **Everything has a bound.** Memory is reserved before a request is opened; queues, pages, retries and answers are limited.
//! - **One loop waits** ([`storage::retry`]). Backends make one attempt and judge its failure.
//! - **Nothing is lost in silence, and no cold copy is touched without consent.** What a copy has not as its object had it is counted and
//!   told ([`transfer::loss`]); a class that charges for a change, or for being read, is changed or read only where the operator said so.
//! - **Objects only sink, and no rule of somebody else's is touched.** A sweep moves nothing to a warmer class, and deletes on a source only what is
//!   proved at the destination; a bucket's foreign lifecycle rules are put back letter for letter.
//! - **A price that nobody wrote down is unknown**, and a limit of cost that needs it refuses.
//! - **A change event is a hint.** It leads to a compare of that key; only the compare decides, and only a scan deletes.
//! - **What somebody asked the daemon for stands in the audit log** before it is done.
//! - **Time, randomness and ids come through [`clock`]**, so that a run can be replayed.
//!
//! The library installs no log subscriber, signal handler or crypto provider, and never ends the process.

#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "dev-server")]
pub mod devserver;
pub mod error;
#[cfg(all(test, feature = "cli"))]
mod fuzzing;
pub mod journal;
pub mod metrics;
pub mod storage;
pub mod tier;
pub mod transfer;

pub use error::{Error, Result};
pub use storage::open::open;
