//! Storage classes over time: what is to sink into which class, and how archives are read.
//!
//! The classes themselves, and the way from one cloud's to the other's, are [`storage::class`](crate::storage::class).

pub mod restore;
