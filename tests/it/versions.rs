//! Histories of versions, carried over HTTP.

use std::sync::Arc;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use dragon::clock::Clock;
use dragon::storage::location::Location;
use dragon::storage::s3::{Options as S3Options, S3Account};
use dragon::storage::{Account, Get, Key, List, ObjectRef, Put, Storage, transport};
use dragon::transfer::job::VersionChoice;
use dragon::transfer::{Context, Event, Job, Options, Report, run};
use futures::{StreamExt, TryStreamExt, stream};

use crate::foreign::{enabled, server};

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
    let place = |store: &Arc<dyn Storage>| Location::new(store.clone(), Key::EMPTY);
    let options = Options { versions: VersionChoice::All, ..options };
    let (events, mut told) = tokio::sync::mpsc::channel(1024);
    let job = Job { options, ..Job::new(place(source), place(destination)) };
    let report = Box::pin(run(job, Context { events: Some(events), ..Context::default() })).await.expect("a run");
    while let Some(event) = told.recv().await {
        if let Event::Object(object) = event
            && let Some(error) = object.error
        {
            println!("{}: {error}", object.key);
        }
    }
    report
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
