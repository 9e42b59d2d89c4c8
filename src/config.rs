//! dragon.toml.

pub mod engine;
pub mod rules;
pub mod secret;
mod section;
pub mod transfer;
pub mod units;
