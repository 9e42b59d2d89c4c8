//! Tests: doctor.
