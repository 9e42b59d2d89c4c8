//! Tests: oss.
