//! `dragon doctor`: what it finds, what it advises, and that it leaves nothing behind.

use std::time::{Duration, Instant};

use dragon::devserver::Cloud;

use crate::stage::Stage;

/// Two clouds, each with a bucket, and one object in the S3 one.
async fn set() -> Stage {
    let stage = Stage::empty().await;
    std::fs::write(stage.folder.path().join("one.jpg"), "one picture").expect("a file");
    for command in [&["mb", "s3://photos"][..], &["mb", "oss://photos-cn"], &["cp", "./one.jpg", "s3://photos/2026/one.jpg"]] {
        let (status, printed) = stage.dragon(command).await;
        assert_eq!(status, 0, "{command:?} printed\n{printed}");
    }
    stage
}

impl Stage {
    /// Runs the doctor: its exit status and what it printed.
    async fn doctor(&self, arguments: &[&str]) -> (i32, String) {
        self.dragon(&[&["doctor"], arguments].concat()).await
    }
}

/// The line of a check.
fn line<'a>(printed: &'a str, check: &str) -> &'a str {
    printed.lines().find(|line| line.contains(&format!("{check}:"))).unwrap_or_else(|| panic!("no line of '{check}' in\n{printed}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_each_permission_was_tried_and_nothing_is_left() {
    let stage = set().await;
    stage.server.reset_traffic();
    let (status, printed) = stage.doctor(&["s3://photos/2026/", "oss://photos-cn/2026/"]).await;
    assert_eq!(status, 0, "{printed}");
    for check in ["source credentials", "source list", "source head", "source get", "destination put", "destination head", "destination get"] {
        assert!(line(&printed, check).starts_with("ok "), "{printed}");
    }
    for check in ["multipart create", "multipart part", "multipart complete", "multipart abort", "destination delete", "destination clock"] {
        assert!(line(&printed, check).starts_with("ok "), "{printed}");
    }
    assert!(line(&printed, "destination put").contains("crc64ecma"), "{printed}");
    assert!(printed.contains("machine congestion control:") && !printed.contains("dragon-secret"), "{printed}");
    for part in ["arn:aws:s3:::photos/2026/*", "acs:oss:*:*:photos-cn/2026/*", "oss:AbortMultipartUpload"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let source = stage.server.traffic(Cloud::S3);
    assert!(!source.operations.keys().any(|o| ["Put", "Delete", "Create", "Upload", "Complete", "Abort"].iter().any(|verb| o.starts_with(verb))), "{source:?}");
    let left = stage.dragon(&["ls", "-r", "oss://photos-cn"]).await;
    assert_eq!(left, (0, String::new()));
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_as_a_destination_states_crc64nvme_and_json_is_one_object_a_line() {
    let stage = set().await;
    let (status, printed) = stage.doctor(&["--json", "./", "s3://photos/copy/"]).await;
    assert_eq!(status, 0, "{printed}");
    let rows: Vec<serde_json::Value> = printed.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    let put = rows.iter().find(|r| r["about"] == "destination" && r["check"] == "put").expect("the put");
    assert_eq!(put["status"], "ok");
    assert!(put["detail"].as_str().is_some_and(|d| d.contains("crc64nvme")), "{put}");
    assert!(rows.iter().any(|r| r["policy"] == "IAM" && r["document"]["Version"] == "2012-10-17"), "{printed}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_told_with_advice_and_never_shown() {
    let stage = set().await.with("OSS_ACCESS_KEY_SECRET", "not-the-secret").with("AWS_SECRET_ACCESS_KEY", "not-the-secret");
    let (status, printed) = stage.doctor(&["s3://photos/2026/", "oss://photos-cn/2026/"]).await;
    assert_eq!(status, 3, "{printed}");
    for end in ["source", "destination"] {
        let told = line(&printed, &format!("{end} credentials"));
        assert!(told.starts_with("FAIL") && told.contains("SignatureDoesNotMatch") && told.contains("request id") && told.contains("; "), "{told}");
    }
    assert!(!printed.contains("not-the-secret"), "{printed}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_does_not_hide_the_other_end() {
    let stage = set().await;
    let (status, printed) = stage.doctor(&["s3://nowhere/2026/", "oss://photos-cn/2026/"]).await;
    assert_eq!(status, 3, "{printed}");
    assert!(line(&printed, "source credentials").starts_with("ok "), "{printed}");
    assert!(line(&printed, "source bucket").starts_with("FAIL") && line(&printed, "source bucket").contains("NoSuchBucket"), "{printed}");
    assert!(line(&printed, "destination delete").starts_with("ok "), "{printed}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_endpoint_is_told_soon() {
    let stage = set().await.with("OSS_ENDPOINT", "http://127.0.0.1:1");
    #[allow(clippy::disallowed_methods, reason = "the test waits in real time")]
    let started = Instant::now();
    let (status, printed) = stage.doctor(&["oss://photos-cn/"]).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(status, 3, "{printed}");
    let told = line(&printed, "source network");
    assert!(told.starts_with("FAIL") && told.contains("127.0.0.1:1") && told.contains("check the endpoint"), "{told}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aws_key_given_to_oss_is_named() {
    let stage = set().await.with("OSS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
    let (status, printed) = stage.doctor(&["oss://photos-cn/"]).await;
    assert_eq!(status, 3, "{printed}");
    assert!(line(&printed, "access key").contains("one of AWS, and this is OSS"), "{printed}");
    assert!(line(&printed, "source credentials").contains("InvalidAccessKeyId"), "{printed}");
    assert!(line(&printed, "source store").contains("AKIAIOSF...") && !printed.contains("AKIAIOSFODNN7EXAMPLE:"), "{printed}");
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_permission_fails_alone_and_what_was_written_is_removed() {
    use dragon::devserver::weather::{Effect, Fault};
    let stage = set().await;
    stage.server.inject(Fault::new(Effect::answer(403, "AccessDenied")).on(Cloud::Oss).operation("CompleteMultipartUpload").always());
    let (status, printed) = stage.doctor(&["./", "oss://photos-cn/2026/"]).await;
    assert_eq!(status, 3, "{printed}");
    assert_eq!(printed.lines().filter(|l| l.starts_with("FAIL")).count(), 1, "{printed}");
    assert!(line(&printed, "multipart complete").contains("AccessDenied"), "{printed}");
    let left = stage.dragon(&["ls", "-r", "oss://photos-cn"]).await;
    assert_eq!(left, (0, String::new()));
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_it_looks_at_configuration_and_machine() {
    let stage = set().await;
    let (status, printed) = stage.doctor(&[]).await;
    assert_eq!(status, 0, "{printed}");
    assert!(line(&printed, "store s3").contains("credentials by AWS_ACCESS_KEY_ID"), "{printed}");
    assert!(line(&printed, "store oss").contains("(of OSS_ENDPOINT)"), "{printed}");
    assert!(printed.contains("congestion control:"), "{printed}");
    stage.server.shutdown().await;
}
