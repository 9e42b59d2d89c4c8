//! Integration tests, in one binary so that the clouds' clients are linked once.

mod adapters;
mod bad_input;
mod cli;
mod corruption;
mod crash;
mod daemon;
mod devserver;
mod disk;
mod docs;
mod doctor;
mod estimate;
mod faults;
mod features;
mod fidelity;
#[allow(dead_code, reason = "which parts are used depends on the features tested")]
mod foreign;
mod journal;
mod layering;
mod memory;
mod oss;
mod s3;
mod sdk;
mod simulation;
mod stage;
mod tier;
mod transport;
mod versions;
mod weather;

/// The binary, told by its environment where both clouds are, and nothing else of this machine: no keys, no proxy.
fn dragon(s3_endpoint: &str, oss_endpoint: &str) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dragon"));
    let s3 = [("AWS_ENDPOINT_URL_S3", s3_endpoint), ("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "dragon"), ("AWS_SECRET_ACCESS_KEY", "dragon-secret")];
    let oss = [("OSS_ENDPOINT", oss_endpoint), ("OSS_REGION", "cn-hangzhou"), ("OSS_ACCESS_KEY_ID", "dragon"), ("OSS_ACCESS_KEY_SECRET", "dragon-secret")];
    command.env_clear().envs(s3).envs(oss);
    command
}
