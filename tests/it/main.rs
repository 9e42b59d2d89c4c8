//! Integration tests, in one binary so that the clouds' clients are linked once.

mod adapters;
mod bad_input;
mod cli;
mod corruption;
mod devserver;
mod docs;
mod doctor;
mod features;
#[allow(dead_code, reason = "which parts are used depends on the features tested")]
mod foreign;
mod layering;
mod memory;
mod oss;
mod s3;
mod sdk;
mod transport;
