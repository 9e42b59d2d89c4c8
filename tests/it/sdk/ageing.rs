//! The clouds' own SDKs against clouds whose days last seconds: lifecycle rules, restored copies, versions.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dragon::devserver::{DevServer, Options};

use crate::foreign;

/// How long a day lasts: long enough that a suite sees what was before it is over.
const DAY: Duration = Duration::from_secs(2);

/// Runs a suite of `tests/foreign` and counts the steps that it reports.
async fn run(package: &'static str, script: &'static str) -> usize {
    let python: PathBuf = tokio::task::spawn_blocking(move || foreign::python_venv(&[package]).join("python")).await.expect("provisioning");
    let server = DevServer::start(Options { day: DAY, ..Options::default() }).await.expect("a free port");
    let mut command = Command::new(python);
    command.arg(format!("{}/tests/foreign/{script}", env!("CARGO_MANIFEST_DIR")));
    if package == "boto3" {
        command.args([&server.s3_endpoint(), "dragon", "dragon-secret"]);
    }
    command.arg(DAY.as_secs().to_string()).env("NO_PROXY", "*").env("AWS_EC2_METADATA_DISABLED", "true").env("PYTHONWARNINGS", "ignore");
    command.env("DRAGON_OSS_ENDPOINT", server.oss_endpoint()).env("DRAGON_OSS_KEY_ID", "dragon").env("DRAGON_OSS_KEY_SECRET", "dragon-secret");
    let said = tokio::task::spawn_blocking(move || foreign::run(&mut command)).await.expect("the suite");
    said.lines().filter(|line| line.starts_with("ok ")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_sees_objects_age() {
    if foreign::enabled("boto3 against an S3 side of short days") {
        assert_eq!(run("boto3", "boto3_ageing.py").await, 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oss2_sees_objects_age() {
    if foreign::enabled("oss2 against an OSS side of short days") {
        assert_eq!(run("oss2", "oss2_ageing.py").await, 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_oss_sdk_sees_objects_age() {
    if foreign::enabled("alibabacloud-oss-v2 against an OSS side of short days") {
        assert_eq!(run("alibabacloud-oss-v2", "oss_v2_ageing.py").await, 2);
    }
}
