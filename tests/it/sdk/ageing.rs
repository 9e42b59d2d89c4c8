//! The clouds' own SDKs against clouds whose days last seconds: lifecycle rules, restored copies, versions.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter, RestoreRequest, StorageClass, Transition,
    TransitionDefaultMinimumObjectSize, TransitionStorageClass,
};
use dragon::devserver::{DevServer, Options};
use dragon::storage::Account;

use crate::foreign;

/// How long a day lasts: long enough that a suite sees what was before it is over.
const DAY: Duration = Duration::from_secs(2);

/// A day as it is outside.
const DAYS: Duration = Duration::from_secs(24 * 60 * 60);

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_pass_at_once_for_what_is_stored_and_for_nobody_else() {
    let server = DevServer::start(Options::default()).await.expect("a free port");
    let s3 = super::aws_client(&server, "us-east-1");
    s3.create_bucket().bucket("age").send().await.expect("a new bucket");
    let put = async |key: &str| s3.put_object().bucket("age").key(key).body(vec![7; 128 << 10].into()).send().await.expect("put");
    put("cold/k").await;
    let cold = Transition::builder().days(30).storage_class(TransitionStorageClass::Glacier).build();
    let rule = LifecycleRule::builder().status(ExpirationStatus::Enabled).filter(LifecycleRuleFilter::builder().prefix("cold/").build()).transitions(cold);
    let rules = BucketLifecycleConfiguration::builder().rules(rule.build().expect("a rule")).build().expect("rules");
    s3.put_bucket_lifecycle_configuration().bucket("age").lifecycle_configuration(rules).send().await.expect("rules");
    let head = async || s3.head_object().bucket("age").key("cold/k").send().await.expect("there");
    let written = head().await.last_modified;
    server.pass_time(DAYS * 29);
    assert_eq!(head().await.storage_class, None);
    server.pass_time(DAYS * 2);
    // The client's signature is taken although a month has passed.
    let moved = head().await;
    assert_eq!((moved.storage_class, moved.last_modified), (Some(StorageClass::Glacier), written));
    let later = put("cold/later").await;
    assert!(later.e_tag.is_some());
    server.pass_time(DAYS);
    assert_eq!(s3.head_object().bucket("age").key("cold/later").send().await.expect("there").storage_class, None, "it is a day old");

    let thaw = RestoreRequest::builder().days(1).build();
    s3.restore_object().bucket("age").key("cold/k").restore_request(thaw).send().await.expect("accepted");
    server.pass_time(Duration::from_secs(60));
    s3.get_object().bucket("age").key("cold/k").send().await.expect("thawed");
    server.pass_time(DAYS * 2);
    let frozen = s3.get_object().bucket("age").key("cold/k").send().await.expect_err("the copy has run out");
    assert!(frozen.into_service_error().is_invalid_object_state());
}

/// The setting travels beside the rules: who puts rules without it sets it back, and other people's rules take other objects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn putting_rules_leaves_the_buckets_smallest_size_as_it_was() {
    let server = DevServer::start(Options::default()).await.expect("a free port");
    let s3 = super::aws_client(&server, "us-east-1");
    s3.create_bucket().bucket("age").send().await.expect("a new bucket");
    let cold = Transition::builder().days(30).storage_class(TransitionStorageClass::Glacier).build();
    let theirs =
        LifecycleRule::builder().id("theirs").status(ExpirationStatus::Enabled).filter(LifecycleRuleFilter::builder().prefix("x/").build()).transitions(cold);
    let rules = BucketLifecycleConfiguration::builder().rules(theirs.build().expect("a rule")).build().expect("rules");
    let varies = TransitionDefaultMinimumObjectSize::VariesByStorageClass;
    let put = s3.put_bucket_lifecycle_configuration().bucket("age").lifecycle_configuration(rules).transition_default_minimum_object_size(varies.clone());
    put.send().await.expect("rules");
    let store = crate::stage::amazon(&server).await.bucket("age").expect("a store");
    let own = store.lifecycle().expect("rules");
    let held = own.lifecycle().await.expect("read").expect("rules");
    own.set_lifecycle(Some(&held.replace("<ID>theirs</ID>", "<ID>still-theirs</ID>")), false).await.expect("put");
    let shown = s3.get_bucket_lifecycle_configuration().bucket("age").send().await.expect("read");
    assert_eq!((shown.rules()[0].id(), shown.transition_default_minimum_object_size()), (Some("still-theirs"), Some(&varies)));
}
