//! What an object has besides its bytes, carried between both clouds over HTTP: carried, mapped or told, never silently lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dragon::clock::Clock;
use dragon::devserver::weather::{Effect, Fault};
use dragon::devserver::{self, Cloud, DevServer};
use dragon::storage::location::Location;
use dragon::storage::{Account, Acl, Attributes, Encryption, Key, ObjectInfo, ObjectRef, Put, Storage};
use dragon::transfer::job::{AclChoice, ClassChoice, EncryptionChoice};
use dragon::transfer::loss::{Attribute, Fate};
use dragon::transfer::{Context, Event, Filter, Job, Options, Report, run};
use futures::StreamExt;

use crate::stage::{Stage, alibaba, alibaba_that_copies, amazon, amazon_that_copies};

mod links;
mod matrix;
mod ranges;

/// Both clouds, with buckets `first` and `last` at S3 and `middle` at OSS.
struct Clouds {
    server: DevServer,
    first: Arc<dyn Storage>,
    middle: Arc<dyn Storage>,
    last: Arc<dyn Storage>,
}

impl Clouds {
    async fn new() -> Self {
        let server = DevServer::start(devserver::Options { restore_delay: Duration::ZERO, ..devserver::Options::default() }).await.expect("a dev server");
        let (amazon, alibaba) = (amazon(&server).await, alibaba(&server));
        for bucket in ["first", "last"] {
            amazon.create_bucket(bucket).await.expect("a bucket");
        }
        alibaba.create_bucket("middle").await.expect("a bucket");
        let (first, middle, last) = (amazon.bucket("first"), alibaba.bucket("middle"), amazon.bucket("last"));
        Self { server, first: first.expect("a store"), middle: middle.expect("a store"), last: last.expect("a store") }
    }

    async fn sync(&self, source: &Arc<dyn Storage>, destination: &Arc<dyn Storage>, options: Options) -> Report {
        self.sync_told(source, destination, options).await.0
    }

    /// The same, with what was said of the objects that failed.
    async fn sync_told(&self, source: &Arc<dyn Storage>, destination: &Arc<dyn Storage>, options: Options) -> (Report, Vec<String>) {
        let place = |store: &Arc<dyn Storage>| Location::new(store.clone(), Key::EMPTY);
        let job = Job { options, ..Job::new(place(source), place(destination)) };
        let (events, mut told) = tokio::sync::mpsc::channel(1024);
        let report = Box::pin(run(job, Context { events: Some(events), ..Context::default() })).await.expect("a run");
        let mut errors = Vec::new();
        while let Some(event) = told.recv().await {
            if let Event::Object(object) = event
                && let Some(error) = object.error
            {
                println!("{}: {error}", object.key);
                errors.push(error.to_string());
            }
        }
        (report, errors)
    }
}

async fn write(store: &Arc<dyn Storage>, key: &str, bytes: usize, attributes: Attributes) {
    store.put(&Key::from(key.to_owned()), vec![7; bytes].into(), Put { attributes, ..Put::default() }).await.expect("written");
}

async fn head(store: &Arc<dyn Storage>, key: &str) -> ObjectInfo {
    store.head(&ObjectRef::from(Key::from(key.to_owned()))).await.expect("there")
}

async fn tags(store: &Arc<dyn Storage>, key: &str) -> BTreeMap<String, String> {
    store.details().expect("tags").tags(&ObjectRef::from(Key::from(key.to_owned()))).await.expect("read")
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn everything(class: &str) -> Attributes {
    Attributes {
        content_type: Some("text/x-dragon".into()),
        cache_control: Some("max-age=60".into()),
        content_disposition: Some("attachment; filename=\"a b\"".into()),
        content_encoding: Some("identity".into()),
        content_language: Some("zh".into()),
        expires: Some("Thu, 01 Jan 2037 00:00:00 GMT".into()),
        user: map(&[("plain", "a b"), ("under_score", "中"), ("dotted.name", "=?odd?=")]),
        storage_class: Some(class.to_owned()).filter(|class| class != "STANDARD"),
        encryption: Some(Encryption { algorithm: "aws:kms".into(), key_id: None }),
        acl: None,
        tags: Some(map(&[("team", "data + more=1"), ("empty", ""), ("a/b:c", "d.e_f-g")])),
    }
}

fn only(key: &str) -> Filter {
    let mut filter = Filter::default();
    filter.include(key).expect("a glob");
    filter
}

/// Everything that S3 can list of an object, without what Dragon has noted for itself.
fn listed(info: &ObjectInfo) -> Attributes {
    let mut attributes = info.attributes.clone();
    attributes.user.retain(|name, _| !name.starts_with("dragon-"));
    attributes
}

#[tokio::test]
async fn a_round_trip_by_way_of_the_other_cloud_keeps_everything() {
    let clouds = Clouds::new().await;
    let classes = ["STANDARD", "STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY"];
    for class in classes {
        for (size, bytes) in [("small", 100), ("large", 200 << 10)] {
            write(&clouds.first, &format!("{class}/{size}"), bytes, everything(class)).await;
        }
    }
    let options = || Options { tags: true, encryption: EncryptionChoice::Keep, strict: true, ..Options::default() };
    let away = clouds.sync(&clouds.first, &clouds.middle, options()).await;
    assert_eq!((away.copied, away.failed), (12, 0), "nothing is lost, which --strict would refuse");
    let mapped: Vec<_> = away.losses.iter().filter(|(fate, ..)| *fate == Fate::Mapped).map(|(_, attribute, _, count)| (attribute, count)).collect();
    assert!(mapped.contains(&(Attribute::Metadata, 12)), "{mapped:?}");
    assert_eq!(head(&clouds.middle, "GLACIER_IR/large").await.attributes.storage_class.as_deref(), Some("IA"));
    assert_eq!(head(&clouds.middle, "GLACIER_IR/small").await.attributes.storage_class.as_deref(), Some("Standard"));
    assert_eq!(head(&clouds.middle, "STANDARD/small").await.attributes.encryption.expect("encrypted").algorithm, "KMS");
    let back = clouds.sync(&clouds.middle, &clouds.last, options()).await;
    assert_eq!((back.copied, back.failed), (12, 0));
    for class in classes {
        for size in ["small", "large"] {
            let key = format!("{class}/{size}");
            assert_eq!(listed(&head(&clouds.last, &key).await), listed(&head(&clouds.first, &key).await), "{key}");
            assert_eq!(tags(&clouds.last, &key).await, tags(&clouds.first, &key).await, "{key}");
            assert_eq!(tags(&clouds.middle, &key).await.len(), 3, "{key}");
        }
    }
    let again = clouds.sync(&clouds.middle, &clouds.last, options()).await;
    assert_eq!((again.copied, again.skipped), (0, 12));
}

#[tokio::test]
async fn what_would_be_lost_is_foretold_and_refused_by_strict() {
    let clouds = Clouds::new().await;
    write(&clouds.first, "tagged", 10, Attributes { tags: Some(map(&[("a", "b")])), ..Attributes::default() }).await;
    write(&clouds.first, "plain", 10, Attributes::default()).await;
    let foretold = clouds.sync(&clouds.first, &clouds.middle, Options { dry_run: true, ..Options::default() }).await;
    let lost: Vec<_> = foretold.losses.iter().map(|(fate, attribute, _, count)| (fate, attribute, count)).collect();
    assert_eq!((foretold.copied, lost), (2, vec![(Fate::Lost, Attribute::Tags, 1)]));
    let strict = clouds.sync(&clouds.first, &clouds.middle, Options { strict: true, ..Options::default() }).await;
    assert_eq!((strict.copied, strict.failed), (1, 1));
    write(&clouds.first, "odd", 10, Attributes { tags: Some(map(&[("区", "1"), ("plain", "2")])), ..Attributes::default() }).await;
    let odd = clouds.sync(&clouds.first, &clouds.middle, Options { tags: true, filter: only("odd"), ..Options::default() }).await;
    assert_eq!((odd.copied, odd.losses.iter().map(|(_, attribute, ..)| attribute).collect::<Vec<_>>()), (1, vec![Attribute::Tags]));
    assert_eq!(tags(&clouds.middle, "odd").await, map(&[("plain", "2")]), "OSS holds no other letters");
    let told = clouds.sync(&clouds.first, &clouds.middle, Options::default()).await;
    assert_eq!((told.copied, told.losses.iter().map(|(.., count)| count).sum::<u64>()), (1, 1));
}

#[tokio::test]
async fn a_change_of_metadata_or_class_sends_no_bytes_and_cold_copies_are_left_alone() {
    let clouds = Clouds::new().await;
    let with = |colour: &str, class: Option<&str>| Attributes {
        user: map(&[("colour", colour)]),
        storage_class: class.map(str::to_owned),
        tags: Some(map(&[("kept", "yes")])),
        ..Attributes::default()
    };
    for (key, class) in [("warm", None), ("cold", Some("STANDARD_IA")), ("sinks", None)] {
        write(&clouds.first, key, 200 << 10, with("red", class)).await;
    }
    let stage = Stage::of(clouds.server);
    let sync = async |flags: &[&str]| {
        let (status, printed) = stage.dragon(&[&["sync", "s3://first", "oss://middle", "--tags"], flags].concat()).await;
        assert_eq!(status, 0, "{printed}");
        printed
    };
    assert!(sync(&[]).await.contains("copied 3 objects"));
    // Times are kept to the second.
    Clock::system().sleep(Duration::from_millis(1100)).await;
    let renew = async |key: &str, attributes: Attributes| {
        let key = Key::from(key.to_owned());
        let copy = clouds.first.server_copy().expect("S3 copies");
        copy.copy("first", &ObjectRef::from(&key), None, &key, &attributes).await.expect("copied onto itself");
    };
    renew("warm", with("blue", None)).await;
    renew("cold", with("blue", Some("STANDARD_IA"))).await;
    renew("sinks", with("red", Some("GLACIER_IR"))).await;
    stage.server.reset_traffic();
    let printed = sync(&[]).await;
    assert!(printed.contains("copied 2 objects") && printed.contains("--touch-cold"), "{printed}");
    let read = stage.server.traffic(Cloud::S3);
    assert_eq!(read.operation("GetObject"), 0, "no bytes were read: {read:?}");
    assert_eq!(head(&clouds.middle, "warm").await.attributes.user["colour"], "blue");
    assert_eq!(tags(&clouds.middle, "warm").await, map(&[("kept", "yes")]));
    assert_eq!(head(&clouds.middle, "cold").await.attributes.user["colour"], "red", "IA charges for 30 days");
    let sunk = head(&clouds.middle, "sinks").await;
    assert_eq!(sunk.attributes.storage_class.as_deref(), Some("IA"));
    assert!(sync(&["--touch-cold"]).await.contains("copied 1 object"));
    let cold = head(&clouds.middle, "cold").await.attributes;
    assert_eq!((cold.user["colour"].as_str(), cold.storage_class.as_deref()), ("blue", Some("IA")));
    let printed = sync(&[]).await;
    assert!(printed.contains("copied 0 objects") && printed.contains("3 unchanged"), "{printed}");
}

#[tokio::test]
async fn a_service_without_such_classes_gets_the_objects_all_the_same() {
    let clouds = Clouds::new().await;
    for key in ["a", "b", "c"] {
        write(&clouds.middle, key, 200 << 10, Attributes { storage_class: Some("IA".into()), ..Attributes::default() }).await;
    }
    let refusal = Effect::answer(400, "InvalidStorageClass");
    clouds.server.inject(Fault::new(refusal).on(Cloud::S3).operation("PutObject").times(1));
    let one_by_one = |storage_class| Options { concurrency: Some(1), storage_class, ..Options::default() };
    let report = clouds.sync(&clouds.middle, &clouds.last, one_by_one(ClassChoice::default())).await;
    let lost: Vec<_> = report.losses.iter().map(|(fate, attribute, _, count)| (fate, attribute, count)).collect();
    assert_eq!((report.copied, report.failed, lost), (3, 0, vec![(Fate::Lost, Attribute::StorageClass, 3)]));
    assert_eq!(head(&clouds.last, "c").await.attributes.storage_class, None);
    let refusal = Effect::answer(400, "InvalidStorageClass");
    clouds.server.inject(Fault::new(refusal).on(Cloud::S3).operation("PutObject").times(1));
    let named = clouds.sync(&clouds.middle, &clouds.first, one_by_one(ClassChoice::Named("STANDARD_IA".into()))).await;
    assert_eq!((named.copied, named.failed), (2, 1), "what the operator names is not given up");
}

#[tokio::test]
async fn no_bytes_are_sent_for_the_sake_of_a_class() {
    let clouds = Clouds::new().await;
    write(&clouds.first, "a", 200 << 10, Attributes::default()).await;
    assert_eq!(clouds.sync(&clouds.first, &clouds.middle, Options::default()).await.copied, 1);
    let key = Key::from("a");
    let colder = Attributes { storage_class: Some("GLACIER_IR".into()), ..Attributes::default() };
    clouds.first.server_copy().expect("S3 copies").copy("first", &ObjectRef::from(&key), None, &key, &colder).await.expect("copied onto itself");
    clouds.server.inject(Fault::new(Effect::answer(501, "NotImplemented")).on(Cloud::Oss).operation("CopyObject").always());
    clouds.server.reset_traffic();
    let report = clouds.sync(&clouds.first, &clouds.middle, Options::default()).await;
    assert_eq!((report.copied, report.failed, clouds.server.traffic(Cloud::S3).operation("GetObject")), (0, 0, 0));
    clouds.server.clear_faults();
    assert_eq!(clouds.sync(&clouds.first, &clouds.middle, Options::default()).await.copied, 1);
    assert_eq!(head(&clouds.middle, "a").await.attributes.storage_class.as_deref(), Some("IA"));
}

#[tokio::test]
async fn acls_are_kept_in_the_other_clouds_words() {
    let clouds = Clouds::new().await;
    for word in ["private", "public-read", "public-read-write", "authenticated-read"] {
        write(&clouds.first, word, 10, Attributes { acl: Some(word.into()), ..Attributes::default() }).await;
    }
    let options = || Options { acl: AclChoice::Keep, ..Options::default() };
    let away = clouds.sync(&clouds.first, &clouds.middle, options()).await;
    assert_eq!((away.copied, away.losses.iter().map(|(_, attribute, _, count)| (attribute, count)).collect::<Vec<_>>()), (4, vec![(Attribute::Acl, 1)]));
    assert_eq!(clouds.sync(&clouds.middle, &clouds.last, options()).await.copied, 4);
    let acl =
        async |store: &Arc<dyn Storage>, key: &str| store.details().expect("details").acl(&ObjectRef::from(Key::from(key.to_owned()))).await.expect("read");
    for word in ["private", "public-read", "public-read-write"] {
        assert_eq!(acl(&clouds.middle, word).await, Acl::Canned(word.into()));
        assert_eq!(acl(&clouds.last, word).await, Acl::Canned(word.into()));
    }
    assert_eq!(acl(&clouds.middle, "authenticated-read").await, Acl::Bucket);
}

#[tokio::test]
async fn what_no_listing_shows_is_found_by_looking() {
    let clouds = Clouds::new().await;
    let with = |colour: &str, team: &str| Attributes { user: map(&[("under_score", colour)]), tags: Some(map(&[("team", team)])), ..Attributes::default() };
    for key in ["metadata", "tags", "cleared", "same"] {
        write(&clouds.first, key, 10, with("red", "a")).await;
    }
    let options = |check_metadata| Options { tags: true, check_metadata, ..Options::default() };
    assert_eq!(clouds.sync(&clouds.first, &clouds.middle, options(false)).await.copied, 4);
    assert_eq!(clouds.sync(&clouds.first, &clouds.middle, options(true)).await.copied, 0, "nothing has changed");
    let renew = async |key: &str, attributes: Attributes| {
        let key = Key::from(key.to_owned());
        clouds.first.server_copy().expect("S3 copies").copy("first", &ObjectRef::from(&key), None, &key, &attributes).await.expect("copied onto itself");
    };
    renew("metadata", with("blue", "a")).await;
    renew("tags", with("red", "b")).await;
    renew("cleared", Attributes { tags: Some(BTreeMap::new()), ..with("red", "a") }).await;
    clouds.server.reset_traffic();
    assert_eq!(clouds.sync(&clouds.first, &clouds.middle, options(false)).await.copied, 0, "their ETags are the same");
    assert_eq!(clouds.sync(&clouds.first, &clouds.middle, options(true)).await.copied, 3);
    assert_eq!(clouds.server.traffic(Cloud::S3).operation("GetObject"), 0, "no bytes were read");
    assert_eq!(head(&clouds.middle, "metadata").await.attributes.user["under-x5f-score"], "blue");
    assert_eq!(tags(&clouds.middle, "tags").await, map(&[("team", "b")]));
    assert_eq!(tags(&clouds.middle, "cleared").await, map(&[]));
    assert_eq!(clouds.sync(&clouds.first, &clouds.middle, options(true)).await.copied, 0);
}

#[tokio::test]
async fn the_operator_names_classes() {
    let clouds = Clouds::new().await;
    let options = |storage_class| Options { storage_class, ..Options::default() };
    write(&clouds.first, "deep", 200 << 10, Attributes { storage_class: Some("STANDARD_IA".into()), ..Attributes::default() }).await;
    for (choice, class) in [
        (ClassChoice::Named("Archive".into()), "Archive"),
        (ClassChoice::BucketDefault, "Standard"),
        (ClassChoice::Mapped(dragon::storage::class::ClassMap { named: map(&[("STANDARD_IA", "ColdArchive")]) }), "ColdArchive"),
    ] {
        clouds.middle.delete(Box::pin(futures::stream::iter([ObjectRef::from(Key::from("deep"))]))).collect::<Vec<_>>().await;
        assert_eq!(clouds.sync(&clouds.first, &clouds.middle, options(choice)).await.copied, 1);
        assert_eq!(head(&clouds.middle, "deep").await.attributes.storage_class.as_deref(), Some(class));
    }
}

#[tokio::test]
async fn archives_of_both_clouds_are_read_after_a_restore() {
    let clouds = Clouds::new().await;
    let archived = |class: &str| Attributes { storage_class: Some(class.into()), ..Attributes::default() };
    write(&clouds.first, "a/deep", 10, archived("DEEP_ARCHIVE")).await;
    write(&clouds.first, "a/glacier", 10, archived("GLACIER")).await;
    write(&clouds.first, "a/warm", 10, Attributes::default()).await;
    write(&clouds.middle, "a/cold", 10, archived("ColdArchive")).await;
    write(&clouds.middle, "a/archive", 10, archived("Archive")).await;
    let stage = Stage::of(clouds.server);
    let (status, printed) = stage.dragon(&["cp", "s3://first/a/deep", "./deep"]).await;
    assert!(status == 1 && printed.contains("restore"), "{status} {printed}");
    let (status, printed) = stage.dragon(&["restore", "-r", "--dry-run", "s3://first/a/"]).await;
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains("would ask for 2 objects (20 B)"), "{printed}");
    for (url, expected) in [("s3://first/a/", "asked for 2 objects"), ("oss://middle/a/", "asked for 2 objects")] {
        let (status, printed) = stage.dragon(&["restore", "-r", "--tier", "bulk", "--days", "2", url]).await;
        assert!(status == 0 && printed.contains(expected), "{status} {printed}");
        let (status, printed) = stage.dragon(&["restore", "-r", url]).await;
        assert!(status == 0 && printed.contains("asked for 0 objects (0 B), 2 readable"), "{status} {printed}");
    }
    for url in ["s3://first/a/deep", "s3://first/a/glacier", "oss://middle/a/cold", "oss://middle/a/archive"] {
        let (status, printed) = stage.dragon(&["cp", url, "./thawed/"]).await;
        assert_eq!(status, 0, "{printed}");
    }
    for url in ["oss://middle/nothing/", "s3://first/nothing/"] {
        let (status, printed) = stage.dragon(&["restore", "-r", url]).await;
        assert!(status == 1 && printed.contains("nothing is there"), "{status} {printed}");
    }
    let (status, printed) = stage.dragon(&["sync", "s3://first/a/", "oss://middle/b/", "--thaw", "--thaw-days", "900"]).await;
    assert!(status == 2 && printed.contains("1 to 365 days"), "{status} {printed}");
    let (status, printed) = stage.dragon(&["restore", "s3://first/a/warm"]).await;
    assert!(status == 2 && printed.contains("can be read without a restore"), "{status} {printed}");
    let (status, printed) = stage.dragon(&["restore", "s3://first/a/nothing"]).await;
    assert!(status == 1 && printed.contains("NoSuchKey") || printed.contains("nothing"), "{status} {printed}");
}
