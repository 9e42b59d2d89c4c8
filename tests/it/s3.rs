//! Tests: s3.
