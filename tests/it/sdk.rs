//! Tests: sdk.
