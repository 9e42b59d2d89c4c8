//! Tests: adapters.
