//! Two clouds on loopback.
