//! Jobs that run for years.
//!
//! ```text
//!  config ──watch──► Setup ──► supervisor ──► one keeper a job ──► runs of the engine ──► journal, audit, alerts
//!                                  ▲   │            ▲
//!             socket, API, page ───┘   │            └── calendar (schedules, windows), hints (change events)
//!                  ▲                   ▼
//!                  └────────────── snapshot
//! ```
//! Nothing in here knows of dragon.toml: a [`Setup`](setup::Setup) comes through a watch channel, and stores are opened through
//! [`Opener`](setup::Opener).
//!
//! # Invariants
//! - A job that fails keeps its reason, waits, and takes no other down.
//! - A change event is a hint: it leads to a compare of that key, and only the compare decides.
//! - What somebody asked for stands in the audit log before it is done.
//! - A request counts for the job that made it, and what was counted outlives the daemon ([`usage`]).
//! - No secret is in a [`Snapshot`](status::Snapshot).

pub mod alert;
pub mod api;
pub mod audit;
mod board;
pub mod calendar;
mod common;
pub mod control;
mod desk;
mod follower;
pub mod hints;
mod keeper;
mod ledger;
pub mod page;
mod run;
pub mod setup;
mod spool;
pub mod status;
mod supervisor;
#[cfg(test)]
mod tests;
mod tiering;
mod turns;
pub mod usage;

pub use control::Control;
pub use supervisor::{Daemon, Options};
