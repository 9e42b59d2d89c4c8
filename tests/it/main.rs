//! Integration tests, in one binary so that the clouds' clients are linked once.

mod adapters;
mod bad_input;
mod cli;
mod corruption;
mod docs;
mod doctor;
mod foreign;
mod layering;
mod memory;
mod oss;
mod s3;
mod sdk;
mod transport;
