//! Two clouds on loopback.

pub mod store;
