//! dragon.toml.
