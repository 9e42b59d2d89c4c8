//! Bad input: each mistake ends with the right exit status and a message that says what, where, and what next.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dragon::clock::Clock;
use dragon::storage::oss::{self, OssAccount};
use dragon::storage::s3::{self, S3Account};
use dragon::storage::{Account, Key, Payload, Put, Storage};
use jiff::SignedDuration;

use crate::stage::Stage;

/// Two clouds with a bucket each and one object in the S3 one.
async fn set() -> Stage {
    let stage = Stage::empty().await;
    let (s3, oss) = stage.buckets(Clock::system()).await;
    s3.0.create_bucket("photos").await.expect("a bucket");
    oss.0.create_bucket("photos-cn").await.expect("a bucket");
    stage.fill(&*s3.1, &["2026/one.jpg"]).await;
    stage
}

impl Stage {
    /// Both accounts and their bucket, as a library opens them.
    async fn buckets(&self, clock: Clock) -> ((S3Account, std::sync::Arc<dyn Storage>), (OssAccount, std::sync::Arc<dyn Storage>)) {
        let keys = || (Some("dragon".to_owned()), Some("dragon-secret".to_owned()));
        let (access_key_id, secret_access_key) = keys();
        let options = s3::Options {
            endpoints: vec![self.server.s3_endpoint()],
            region: Some("us-east-1".into()),
            access_key_id,
            secret_access_key,
            ..s3::Options::default()
        };
        let s3 = S3Account::open(options, clock.clone()).await.expect("an account");
        let (access_key_id, access_key_secret) = keys();
        let credentials = oss::credentials::Options { access_key_id, access_key_secret, ..oss::credentials::Options::default() };
        let oss =
            OssAccount::open(oss::Options { endpoints: vec![self.server.oss_endpoint()], credentials, ..oss::Options::default() }, clock).expect("an account");
        let buckets = (s3.bucket("photos").expect("a bucket"), oss.bucket("photos-cn").expect("a bucket"));
        ((s3, buckets.0), (oss, buckets.1))
    }

    async fn fill(&self, storage: &dyn Storage, keys: &[&str]) {
        for key in keys {
            storage.put(&Key::from(*key), Payload::from(Bytes::from(format!("bytes of {key}"))), Put::default()).await.expect("an object");
        }
    }

    /// Runs dragon and holds it to an exit status and to words that its output must contain.
    async fn expect(&self, arguments: &[&str], status: i32, words: &[&str]) -> String {
        let (ended, printed) = self.dragon(arguments).await;
        assert_eq!(ended, status, "{arguments:?} printed\n{printed}");
        for word in words {
            assert!(printed.contains(word), "'{word}' is missing in what {arguments:?} printed\n{printed}");
        }
        printed
    }

    async fn keys(&self, url: &str) -> Vec<String> {
        let printed = self.expect(&["ls", "-r", "--json", url], 0, &[]).await;
        printed.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON")["key"].as_str().expect("a key").to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_scheme_is_a_matter_of_usage() {
    let stage = set().await;
    stage.expect(&["sync", "s4://photos", "oss://photos-cn"], 2, &["there is no store 's4'", "did you mean 's3'"]).await;
    stage.expect(&["sync", "s3://photos", "photos-cn"], 2, &["photos-cn", "./photos-cn"]).await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_stops_the_run_at_either_end() {
    let stage = set().await;
    stage.expect(&["sync", "s3://nowhere", "oss://photos-cn"], 3, &["s3://nowhere", "NoSuchBucket"]).await;
    stage.expect(&["sync", "s3://photos", "oss://nowhere"], 3, &["oss://nowhere", "NoSuchBucket", "check the bucket's name"]).await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_stops_the_run_and_is_not_shown() {
    let wrong = [("AWS_SECRET_ACCESS_KEY", "s3"), ("OSS_ACCESS_KEY_SECRET", "oss")];
    for (name, store) in wrong {
        let stage = set().await.with(name, "not-the-secret");
        let printed = stage.expect(&["sync", "s3://photos", "oss://photos-cn"], 3, &["SignatureDoesNotMatch", store, "secret"]).await;
        assert!(!printed.contains("not-the-secret"), "{printed}");
        stage.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_region_is_learnt_where_the_service_names_it_and_else_told() {
    let stage = set().await.with("AWS_REGION", "eu-west-1");
    stage.expect(&["sync", "s3://photos", "oss://photos-cn"], 0, &[]).await;
    assert_eq!(stage.keys("oss://photos-cn").await, ["2026/one.jpg"]);
    let stage = stage.with("OSS_REGION", "cn-beijing");
    stage.expect(&["sync", "s3://photos", "oss://photos-cn"], 3, &["oss://photos-cn", "set the store's region"]).await;
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_an_hour_off_corrects_itself_on_both_clouds() {
    let stage = set().await;
    for hours in [1, -1] {
        let ((_, s3), (_, oss)) = stage.buckets(Clock::system_with_offset(SignedDuration::from_hours(hours))).await;
        for storage in [s3, oss] {
            stage.fill(&*storage, &["late"]).await;
            let info = storage.head(&Key::from("late").into()).await.expect("the object");
            assert_eq!(info.size, "bytes of late".len() as u64, "{storage} with a clock {hours} h off");
        }
    }
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_endpoint_stops_the_run_soon() {
    let stage = set().await.with("OSS_ENDPOINT", "http://127.0.0.1:1");
    #[allow(clippy::disallowed_methods, reason = "the test waits in real time")]
    let started = Instant::now();
    stage.expect(&["sync", "s3://photos", "oss://photos-cn"], 3, &["cannot connect to 127.0.0.1:1", "check the endpoint"]).await;
    // Ten seconds of patience, and a busy machine's.
    assert!(started.elapsed() < Duration::from_secs(16), "{:?}", started.elapsed());
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwritable_target_stops_the_run() {
    let stage = set().await;
    std::fs::write(stage.folder.path().join("file"), "in the way").expect("a file");
    // Not even root can make a directory in /proc.
    for (target, named) in [("./file/", "./file"), ("./file/below", "./file/below"), ("/proc/dragon", "/proc/dragon")] {
        stage.expect(&["sync", "s3://photos", target], 3, &[named, "the directory cannot be made", "check the path"]).await;
    }
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_too_long_for_oss_fails_alone() {
    let stage = set().await;
    let long = "k".repeat(1024);
    let ((_, s3), _) = stage.buckets(Clock::system()).await;
    stage.fill(&*s3, &[&long, "last.jpg"]).await;
    let printed = stage.expect(&["sync", "s3://photos", "oss://photos-cn"], 1, &[&long, "1023 bytes"]).await;
    assert!(!printed.contains("panicked"), "{printed}");
    assert_eq!(stage.keys("oss://photos-cn").await, ["2026/one.jpg", "last.jpg"]);
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_prefix_is_no_error() {
    let stage = set().await;
    stage.expect(&["sync", "s3://photos/none/", "oss://photos-cn/none/"], 0, &["nothing"]).await;
    // To be asked for what is not there is another matter.
    stage.expect(&["ls", "s3://photos/none/"], 1, &["nothing is there: s3://photos/none/"]).await;
    assert!(stage.keys("oss://photos-cn").await.is_empty());
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_is_also_an_object_means_what_is_under_it() {
    let stage = set().await;
    let ((_, s3), _) = stage.buckets(Clock::system()).await;
    stage.fill(&*s3, &["a", "a/x", "ab"]).await;
    stage.expect(&["sync", "s3://photos/a", "oss://photos-cn/under/"], 0, &[]).await;
    assert_eq!(stage.keys("oss://photos-cn/under/").await, ["under/x"]);
    stage.expect(&["cp", "s3://photos/a", "oss://photos-cn/alone/a"], 0, &[]).await;
    assert_eq!(stage.keys("oss://photos-cn/alone/").await, ["alone/a"]);
    // Both go to a cloud. A directory can hold only one of the two: the other fails by name, the rest is copied.
    stage.expect(&["sync", "s3://photos", "oss://photos-cn/all/"], 0, &[]).await;
    assert_eq!(stage.keys("oss://photos-cn/all/").await, ["all/2026/one.jpg", "all/a", "all/a/x", "all/ab"]);
    stage.expect(&["sync", "s3://photos", "./tree"], 1, &["'a"]).await;
    assert!(Path::new(&stage.folder.path().join("tree/ab")).is_file());
    stage.server.shutdown().await;
}
