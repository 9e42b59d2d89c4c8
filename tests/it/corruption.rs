//! Tests: corruption.
