//! Histories of versions, carried over HTTP.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use dragon::clock::Clock;
use dragon::devserver::{self, DevServer};
use dragon::storage::location::Location;
use dragon::storage::s3::{Options as S3Options, S3Account};
use dragon::storage::{Account, Attributes, Get, Key, List, ObjectRef, Put, Storage, conformance, transport};
use dragon::transfer::job::VersionChoice;
use dragon::transfer::{Context, Event, Job, Options, Report, run};
use futures::{StreamExt, TryStreamExt, stream};

use crate::foreign::{enabled, server};
use crate::stage::{self, Stage};

async fn put(store: &dyn Storage, key: &str, body: &str) {
    store.put(&Key::from(key.to_owned()), body.to_owned().into_bytes().into(), Put::default()).await.expect("put");
}

async fn hide(store: &dyn Storage, key: &str) {
    let object = ObjectRef::from(Key::from(key.to_owned()));
    let deleted = store.delete(stream::iter([object]).boxed()).next().await.expect("an answer").1.expect("deleted");
    assert!(deleted.delete_marker && deleted.version.is_some(), "{deleted:?}");
}

/// Every history, newest first: `key=body`, or `key` for a marker.
async fn histories(store: &dyn Storage) -> Vec<String> {
    let versions = store.versions().expect("versions").list_versions(List::default()).try_concat().await.expect("listed");
    let mut told = Vec::new();
    for version in versions {
        if version.is_marker {
            told.push(version.key.to_string());
            continue;
        }
        let body = store.get(&version.object(), Get::default()).await.expect("opened").body;
        let bytes = body.map_ok(|chunk| chunk.to_vec()).try_concat().await.expect("read");
        told.push(format!("{}={}", version.key, String::from_utf8_lossy(&bytes[..bytes.len().min(20)])));
    }
    told
}

async fn carry(source: &Arc<dyn Storage>, destination: &Arc<dyn Storage>, options: Options) -> Report {
    carry_until(source, destination, options, usize::MAX).await
}

/// Stops the run when it has told of so many steps.
async fn carry_until(source: &Arc<dyn Storage>, destination: &Arc<dyn Storage>, options: Options, steps: usize) -> Report {
    let place = |store: &Arc<dyn Storage>| Location::new(store.clone(), Key::EMPTY);
    let options = Options { versions: VersionChoice::All, ..options };
    let (events, mut told) = tokio::sync::mpsc::channel(1);
    let job = Job { options, ..Job::new(place(source), place(destination)) };
    let context = Context { events: Some(events), ..Context::default() };
    let cancel = context.cancel.clone();
    let listen = async {
        let mut seen = 0;
        while let Some(event) = told.recv().await {
            if let Event::Object(object) = event {
                seen += 1;
                println!("{} {} {} {:?} {:?}", object.action, object.key, object.status.as_str(), object.version, object.error);
            }
            if seen >= steps {
                cancel.cancel();
            }
        }
    };
    tokio::join!(Box::pin(run(job, context)), listen).0.expect("a run")
}

/// The AWS SDK, which shares nothing with our client: it has a bucket keep versions.
async fn keep_versions(endpoint: &str, bucket: &str) {
    let config = aws_sdk_s3::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(Credentials::new("dragon", "dragon-secret", None, None, "test"))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let client = aws_sdk_s3::Client::from_conf(config);
    client.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled).send().await.expect("it keeps versions");
}

async fn amazon(endpoint: &str) -> S3Account {
    let options = S3Options {
        endpoints: vec![endpoint.to_owned()],
        region: Some("us-east-1".into()),
        access_key_id: Some("dragon".into()),
        secret_access_key: Some("dragon-secret".into()),
        transport: transport::Options { no_proxy: Some("*".into()), ..transport::Options::default() },
        ..S3Options::default()
    };
    Box::pin(S3Account::open(options, Clock::system())).await.expect("opened")
}

/// moto lists the versions of a page before its markers: a marker between two versions of a key is misplaced there, so none is asked of it.
#[tokio::test]
async fn a_history_goes_through_moto() {
    if !enabled("histories of versions through moto") {
        return;
    }
    let moto = server::moto();
    let account = amazon(&moto.url).await;
    let mut stores: Vec<Arc<dyn Storage>> = Vec::new();
    for bucket in ["first", "second"] {
        account.create_bucket(bucket).await.expect("made");
        stores.push(account.bucket(bucket).expect("a store"));
    }
    let (first, second) = (&stores[0], &stores[1]);
    let refused = Job {
        options: Options { versions: VersionChoice::All, ..Options::default() },
        ..Job::new(Location::new(first.clone(), ""), Location::new(second.clone(), ""))
    };
    let error = Box::pin(run(refused, Context::default())).await.expect_err("versions are off");
    assert!(error.to_string().contains("put-bucket-versioning --bucket first"), "{error}");
    for bucket in ["first", "second"] {
        keep_versions(&moto.url, bucket).await;
    }
    for (key, body) in [("a/b", "1"), ("a/b", "22"), ("c+d %/中", "1"), ("a/b", "333")] {
        put(&**first, key, body).await;
    }
    hide(&**first, "c+d %/中").await;
    let report = carry(first, second, Options::default()).await;
    assert_eq!((report.copied, report.verified, report.markers, report.failed), (4, 4, 1, 0));
    let expected = ["a/b=333", "a/b=22", "a/b=1", "c+d %/中", "c+d %/中=1"];
    assert_eq!(histories(&**second).await, expected);
    let report = carry(first, second, Options::default()).await;
    assert_eq!((report.copied, report.markers, report.skipped, report.failed), (0, 0, 2, 0));
    put(&**first, "a/b", "4").await;
    let report = carry(first, second, Options::default()).await;
    assert_eq!((report.copied, report.failed), (1, 0));
    assert_eq!(histories(&**second).await[..2], ["a/b=4", "a/b=333"]);
}

/// Both clouds, each with a bucket that keeps versions.
struct Clouds {
    server: DevServer,
    amazon: Arc<dyn Storage>,
    alibaba: Arc<dyn Storage>,
    back: Arc<dyn Storage>,
}

impl Clouds {
    async fn new() -> Self {
        let server = DevServer::start(devserver::Options::default()).await.expect("a dev server");
        let (amazon, alibaba) = (stage::amazon(&server).await, stage::alibaba(&server));
        for bucket in ["first", "last"] {
            amazon.create_bucket(bucket).await.expect("a bucket");
            keep_versions(&server.s3_endpoint(), bucket).await;
        }
        alibaba.create_bucket("middle").await.expect("a bucket");
        server.oss_store().set_bucket_property("middle", "versioning", Some("Enabled".into())).expect("a bucket");
        let (first, middle, last) = (amazon.bucket("first"), alibaba.bucket("middle"), amazon.bucket("last"));
        Self { server, amazon: first.expect("a store"), alibaba: middle.expect("a store"), back: last.expect("a store") }
    }
}

#[tokio::test]
async fn the_contract_holds_where_versions_are_kept() {
    let clouds = Clouds::new().await;
    let mut broken = Vec::new();
    for store in [&clouds.amazon, &clouds.alibaba] {
        for case in conformance::CASES {
            if let Err(e) = conformance::run(store.clone(), &"conformance/".into(), case).await {
                broken.push(e.to_string());
            }
        }
        assert!(histories(&**store).await.is_empty(), "nothing is left behind");
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What becomes of a few keys: `key=body`, or `key` for a delete marker.
const WRITES: [&str; 13] = ["a/b=1", "c+d %/中=1", "a/b=22", "e=1", "a/b", "f", "a/b=333", "e", "c+d %/中", "c+d %/中", "c+d %/中=2", "f=1", "g=1"];

/// Writes them, a second apart: the dev server's S3 side lists markers apart from versions, and only their times tell their order.
async fn write(server: &DevServer, store: &dyn Storage, writes: &[&str]) {
    for write in writes {
        server.pass_time(Duration::from_secs(1));
        match write.split_once('=') {
            Some((key, body)) => put(store, key, body).await,
            None => hide(store, write).await,
        }
    }
}

#[tokio::test]
async fn histories_go_from_s3_to_oss_and_back() {
    let clouds = Clouds::new().await;
    write(&clouds.server, &*clouds.amazon, &WRITES).await;
    let large: Vec<u8> = (0..17usize << 20).map(|i| (i % 253) as u8).collect();
    let attributes =
        Attributes { content_type: Some("image/jpeg".into()), tags: Some([("tint".to_owned(), "red".to_owned())].into()), ..Attributes::default() };
    clouds.amazon.put(&"large".into(), large.into(), Put { attributes, ..Put::default() }).await.expect("put");
    put(&*clouds.amazon, "large", "small by now").await;
    let expected = histories(&*clouds.amazon).await;
    let tags = || Options { tags: true, ..Options::default() };
    for (source, destination) in [(&clouds.amazon, &clouds.alibaba), (&clouds.alibaba, &clouds.back)] {
        println!("to {destination}");
        let report = carry(source, destination, tags()).await;
        assert_eq!((report.copied, report.verified, report.markers, report.failed), (10, 10, 5, 0));
        assert_eq!(histories(&**destination).await, expected);
        let report = carry(source, destination, tags()).await;
        assert_eq!((report.copied, report.markers, report.skipped, report.failed), (0, 0, 6, 0));
    }
    let versions = clouds.back.versions().expect("versions").list_versions(List::under("large".into())).try_concat().await.expect("listed");
    let old = versions.last().expect("two versions").object();
    let info = clouds.back.head(&old).await.expect("there");
    assert_eq!((info.size, info.attributes.content_type.as_deref()), (17 << 20, Some("image/jpeg")));
    let tagged = clouds.back.details().expect("tags").tags(&old).await.expect("tags");
    assert_eq!(tagged.get("tint").map(String::as_str), Some("red"));
    // The source goes on: a delete that hides an object needs the flag.
    write(&clouds.server, &*clouds.amazon, &["a/b=4444", "g"]).await;
    let report = carry(&clouds.amazon, &clouds.alibaba, Options { delete: true, ..Options::default() }).await;
    assert_eq!((report.copied, report.deleted, report.failed), (1, 1, 0));
    assert_eq!(histories(&*clouds.alibaba).await, histories(&*clouds.amazon).await);
}

#[tokio::test]
async fn a_run_that_is_stopped_anywhere_is_taken_up() {
    for steps in [1, 2, 4, 7, 10] {
        let clouds = Clouds::new().await;
        write(&clouds.server, &*clouds.amazon, &WRITES).await;
        let one = || Options { concurrency: Some(1), delete: true, ..Options::default() };
        let report = carry_until(&clouds.amazon, &clouds.alibaba, one(), steps).await;
        assert!(report.interrupted, "stopped after {steps}");
        let report = carry(&clouds.amazon, &clouds.alibaba, one()).await;
        assert_eq!((report.failed, report.exit_code()), (0, 0));
        assert_eq!(histories(&*clouds.alibaba).await, histories(&*clouds.amazon).await, "stopped after {steps}");
    }
}

#[tokio::test]
async fn the_command_line_says_what_is_missing_and_carries_histories() {
    let clouds = Clouds::new().await;
    write(&clouds.server, &*clouds.alibaba, &["a=1", "a", "a=2", "b=1", "b"]).await;
    let stage = Stage::of(clouds.server);
    let (status, printed) = stage.dragon(&["mb", "s3://plain"]).await;
    assert_eq!(status, 0, "{printed}");
    let (status, printed) = stage.dragon(&["sync", "oss://middle/", "s3://plain/", "--versions", "all"]).await;
    assert!(status == 2 && printed.contains("put-bucket-versioning --bucket plain"), "{status}: {printed}");
    let (status, printed) = stage.dragon(&["sync", "oss://middle/", "s3://first/", "--versions", "all", "--dry-run"]).await;
    assert!(status == 0 && histories(&*clouds.amazon).await.is_empty(), "{status}: {printed}");
    let (status, printed) = stage.dragon(&["cp", "-r", "oss://middle/", "s3://first/", "--versions", "all"]).await;
    assert!(status == 0 && printed.contains("2 delete markers made within histories"), "{status}: {printed}");
    assert_eq!(histories(&*clouds.amazon).await, ["a=2", "a", "a=1", "b", "b=1"]);
}
