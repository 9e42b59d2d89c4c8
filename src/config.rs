//! dragon.toml.

mod section;
pub mod secret;
pub mod units;
