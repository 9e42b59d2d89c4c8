//! The S3 backend against the dev server: the contract, and the SDK's road beside ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, GlacierJobParameters, ObjectCannedAcl, ObjectIdentifier, RestoreRequest, Tier,
};
use bytes::Bytes;
use dragon::clock::Clock;
use dragon::devserver::{self, DevServer};
use dragon::error::ErrorKind;
use dragon::storage::checksum::Crc64;
use dragon::storage::s3::{Options, S3Account, S3Store};
use dragon::storage::{
    Account, Acl, Attributes, Checksums, Complete, Condition, ETag, Get, Key, List, Multipart, ObjectRef, Part, Payload, Presign, PresignMethod, Put, Restore,
    RestoreTier, Restoring, ServerCopy, Storage, Upload, conformance, transport,
};
use futures::{StreamExt, TryStreamExt, stream};

const BUCKET: &str = "photos-2026";

/// Keys that other clients mangle.
const ODD_KEYS: [&str; 12] = ["a/../c", "a//b", "/lead", "%2e%2e", "😀/中", "a+b c", "tail/", "..", "./x", "a?b#c&d=e", "q\"'<>&", "~-._"];

fn options(server: &DevServer) -> Options {
    Options {
        endpoints: vec![server.s3_endpoint()],
        region: Some("us-east-1".into()),
        access_key_id: Some("dragon".into()),
        secret_access_key: Some("dragon-secret".into()),
        transport: transport::Options { no_proxy: Some("*".into()), ..transport::Options::default() },
        ..Options::default()
    }
}

async fn served() -> (DevServer, S3Store) {
    let server = DevServer::start(devserver::Options::default()).await.expect("listening");
    let account = Box::pin(S3Account::open(options(&server), Clock::system())).await.expect("opened");
    account.create_bucket(BUCKET).await.expect("made");
    let store = account.store(BUCKET).expect("a store");
    (server, store)
}

/// The AWS SDK, set up by itself: it shares nothing with our client.
fn sdk(server: &DevServer) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(server.s3_endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::new("dragon", "dragon-secret", None, None, "test"))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

async fn read(store: &dyn Storage, key: &str) -> Vec<u8> {
    let output = store.get(&Key::from(key).into(), Get::default()).await.expect("found");
    output.body.map_ok(|c| c.to_vec()).try_concat().await.expect("bytes")
}

async fn keys(store: &dyn Storage, list: List) -> Vec<String> {
    let pages = store.list(list).try_collect::<Vec<_>>().await.expect("a listing");
    pages.iter().flat_map(|p| p.iter().map(|e| String::from_utf8_lossy(e.key).into_owned()).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn the_contract_holds() {
    let (_server, store) = served().await;
    let store: Arc<dyn Storage> = Arc::new(store);
    let mut broken = Vec::new();
    for case in conformance::CASES {
        if let Err(e) = conformance::run(store.clone(), &"conformance/".into(), case).await {
            broken.push(e.to_string());
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test]
async fn both_roads_see_the_same_objects() {
    let (server, store) = served().await;
    let sdk = sdk(&server);
    for key in ODD_KEYS {
        // Written here, read there; and the other way round.
        let ours = Put {
            attributes: Attributes { content_type: Some("text/x-odd".into()), user: [("name".into(), "中".into())].into(), ..Attributes::default() },
            ..Put::default()
        };
        let put = store.put(&key.into(), Payload::from(key.as_bytes().to_vec()), ours).await.expect(key);
        let got = sdk.get_object().bucket(BUCKET).key(key).checksum_mode(ChecksumMode::Enabled).send().await.expect(key);
        assert_eq!(got.e_tag().map(ETag::new), Some(put.etag.clone()), "{key}");
        assert_eq!(
            (got.content_type(), got.metadata().and_then(|m| m.get("name")).map(String::as_str)),
            (Some("text/x-odd"), Some("=?UTF-8?B?5Lit?=")),
            "{key}"
        );
        assert_eq!(got.body.collect().await.expect("bytes").into_bytes(), key.as_bytes(), "{key}");

        let theirs = format!("theirs of {key}");
        let put = sdk.put_object().bucket(BUCKET).key(key).body(ByteStream::from(theirs.clone().into_bytes())).metadata("m", "v").send().await.expect(key);
        assert_eq!(read(&store, key).await, theirs.as_bytes(), "{key}");
        let info = store.head(&Key::from(key).into()).await.expect(key);
        let head = sdk.head_object().bucket(BUCKET).key(key).send().await.expect(key);
        assert_eq!((Some(info.etag.clone()), Some(info.size as i64)), (put.e_tag().map(ETag::new), head.content_length()), "{key}");
        assert_eq!(info.attributes.user.get("m").map(String::as_str), Some("v"), "{key}");
        assert_eq!(info.modified.map(|t| t.as_second()), head.last_modified().map(|t| t.secs()), "{key}");
    }

    let theirs = sdk.list_objects_v2().bucket(BUCKET).send().await.expect("a listing");
    let theirs: Vec<String> = theirs.contents().iter().filter_map(|o| o.key().map(str::to_owned)).collect();
    assert_eq!(keys(&store, List::default()).await, theirs);
    assert_eq!(keys(&store, List { page_keys: Some(5), ..List::default() }).await, theirs);

    let copied = store.copy(BUCKET, &Key::from("a+b c").into(), None, &"copy/ours".into(), &Attributes::default()).await.expect("copied");
    let source = format!("{BUCKET}/a%2Bb%20c");
    let theirs = sdk.copy_object().bucket(BUCKET).key("copy/theirs").copy_source(source).send().await.expect("copied");
    assert_eq!(theirs.copy_object_result().and_then(|r| r.e_tag()).map(ETag::new), Some(copied.etag));
    assert_eq!(read(&store, "copy/ours").await, read(&store, "copy/theirs").await);

    let gone: Vec<ObjectRef> = ODD_KEYS[..6].iter().map(|k| Key::from(*k).into()).collect();
    let answers: Vec<_> = store.delete(stream::iter(gone).boxed()).collect().await;
    assert!(answers.iter().all(|(_, a)| a.is_ok()), "{answers:?}");
    let rest = ODD_KEYS[6..].iter().map(|k| ObjectIdentifier::builder().key(*k).build().expect("a key"));
    sdk.delete_objects().bucket(BUCKET).delete(Delete::builder().set_objects(Some(rest.collect())).build().expect("keys")).send().await.expect("deleted");
    assert_eq!(keys(&store, List::default()).await, ["copy/ours", "copy/theirs"]);
}

#[tokio::test]
async fn both_roads_see_the_same_tags_acls_and_restores() {
    let (server, store) = served().await;
    let sdk = sdk(&server);
    let object = ObjectRef::from(Key::from("a+b c"));
    let tags = BTreeMap::from([("team".to_owned(), "data + more=1".to_owned()), ("empty".to_owned(), String::new())]);
    let attributes =
        Attributes { tags: Some(tags.clone()), acl: Some("public-read".into()), storage_class: Some("DEEP_ARCHIVE".into()), ..Attributes::default() };
    store.put(&object.key, "four".into(), Put { attributes, ..Put::default() }).await.expect("written");
    let seen = sdk.get_object_tagging().bucket(BUCKET).key("a+b c").send().await.expect("the SDK's road");
    let seen: BTreeMap<String, String> = seen.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
    let details = store.details().expect("details");
    assert_eq!((&seen, details.tags(&object).await.expect("the lean road")), (&tags, tags.clone()));
    assert_eq!(details.acl(&object).await.expect("the lean road"), Acl::Canned("public-read".into()));
    for (canned, word) in [
        (ObjectCannedAcl::Private, "private"),
        (ObjectCannedAcl::AuthenticatedRead, "authenticated-read"),
        (ObjectCannedAcl::PublicReadWrite, "public-read-write"),
    ] {
        sdk.put_object_acl().bucket(BUCKET).key("a+b c").acl(canned).send().await.expect("the SDK's road");
        assert_eq!(details.acl(&object).await.expect("the lean road"), Acl::Canned(word.into()));
    }
    let archive = store.archive().expect("an archive");
    store
        .put(
            &"frozen".into(),
            "four".into(),
            Put { attributes: Attributes { storage_class: Some("GLACIER".into()), ..Attributes::default() }, ..Put::default() },
        )
        .await
        .expect("written");
    assert_eq!(archive.restore(&Key::from("frozen").into(), 1, None).await.expect("asked"), Restoring::Begun);
    let tier = GlacierJobParameters::builder().tier(Tier::Bulk).build().expect("parameters");
    let request = RestoreRequest::builder().days(2).glacier_job_parameters(tier).build();
    sdk.restore_object().bucket(BUCKET).key("a+b c").restore_request(request).send().await.expect("the SDK's road");
    assert_eq!(archive.restore(&object, 2, None).await.expect("the lean road"), Restoring::Ongoing);
    assert_eq!(store.head(&object).await.expect("there").restore, Restore::Ongoing);
    let head = sdk.head_object().bucket(BUCKET).key("a+b c").send().await.expect("the SDK's road");
    assert_eq!((head.restore(), head.storage_class().map(|class| class.as_str())), (Some("ongoing-request=\"true\""), Some("DEEP_ARCHIVE")));
    store.put(&"warm".into(), "four".into(), Put::default()).await.expect("written");
    let refused = archive.restore(&Key::from("warm").into(), 1, Some(RestoreTier::Bulk)).await.expect_err("it needs none");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn tags_acls_and_restores_work_on_moto() {
    if !crate::foreign::enabled("tags, ACLs and restores against moto") {
        return;
    }
    let server = crate::foreign::server::moto();
    let store = foreign(&server.url).await;
    let object = ObjectRef::from(Key::from("k"));
    let tags = BTreeMap::from([("team".to_owned(), "data".to_owned())]);
    let attributes = Attributes { tags: Some(tags.clone()), acl: Some("public-read".into()), ..Attributes::default() };
    store.put(&object.key, "four".into(), Put { attributes, ..Put::default() }).await.expect("written");
    let details = store.details().expect("details");
    assert_eq!(details.tags(&object).await.expect("tags"), tags);
    assert_eq!(details.acl(&object).await.expect("an ACL"), Acl::Canned("public-read".into()));
    // Another one: its own tags moto shows of no archived object.
    let object = ObjectRef::from(Key::from("frozen"));
    let attributes = Attributes { storage_class: Some("GLACIER".into()), ..Attributes::default() };
    store.put(&object.key, "four".into(), Put { attributes, ..Put::default() }).await.expect("written");
    assert_eq!(store.archive().expect("an archive").restore(&object, 1, Some(RestoreTier::Standard)).await.expect("asked"), Restoring::Begun);
    assert_ne!(store.head(&object).await.expect("there").restore, Restore::None);
}

#[tokio::test]
async fn both_roads_make_the_same_upload() {
    let (server, store) = served().await;
    let sdk = sdk(&server);
    let parts = [Bytes::from(vec![1; 5 << 20]), Bytes::from(vec![2; 1000])];
    let whole = Crc64::of(&parts.concat());

    let id = store.create(&"ours".into(), &Attributes::default()).await.expect("created");
    let upload = Upload { key: "ours".into(), id };
    let mut sent = Vec::new();
    for (number, bytes) in (1..).zip(&parts) {
        let sums = Crc64::of(bytes).checksums();
        let part = store.upload_part(&upload, number, bytes.clone().into(), Some(&sums)).await.expect("a part");
        assert_eq!(part.checksums.crc64nvme, sums.crc64nvme, "the service echoes what it checked");
        sent.push(part);
    }
    let listed = store.list_parts(&upload).await.expect("parts");
    assert!(listed.iter().all(|part| part.modified.is_some()), "{listed:?}");
    assert_eq!(listed.into_iter().map(|part| Part { modified: None, ..part }).collect::<Vec<_>>(), sent);
    let ours = store.complete(&upload, &sent, Complete { checksums: Some(whole.checksums()), condition: None }).await.expect("completed");
    assert_eq!(ours.checksums.crc64nvme, Some(whole.nvme));

    let upload = sdk.create_multipart_upload().bucket(BUCKET).key("theirs").send().await.expect("created");
    let id = upload.upload_id().expect("an id");
    let mut done = Vec::new();
    for (number, bytes) in (1..).zip(&parts) {
        let part = sdk.upload_part().bucket(BUCKET).key("theirs").upload_id(id).part_number(number).body(bytes.clone().into()).send().await.expect("a part");
        done.push(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let done = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
    let theirs = sdk.complete_multipart_upload().bucket(BUCKET).key("theirs").upload_id(id).multipart_upload(done).send().await.expect("completed");
    assert_eq!(theirs.e_tag().map(ETag::new), Some(ours.etag));

    let info = store.head(&Key::from("ours").into()).await.expect("info");
    assert_eq!((info.size, info.checksums.crc64nvme), (whole.len, Some(whole.nvme)));
    let part = store.stored_part(&Key::from("ours").into(), 1).await.expect("told").expect("has parts");
    assert_eq!((part.size_bytes, part.parts), (5 << 20, 2));
    assert_eq!(read(&store, "ours").await, parts.concat());
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_name() {
    let (server, store) = served().await;
    let wrong = Put { checksums: Some(Checksums { crc64nvme: Some(1), ..Checksums::default() }), ..Put::default() };
    assert_eq!(store.put(&"k".into(), "x".into(), wrong).await.expect_err("a wrong checksum").kind(), ErrorKind::Integrity);

    let absent = || Put { condition: Some(Condition::Absent), ..Put::default() };
    store.put(&"k".into(), "x".into(), absent()).await.expect("the first");
    assert_eq!(store.put(&"k".into(), "y".into(), absent()).await.expect_err("the second").kind(), ErrorKind::Exists);

    for (change, kind) in [
        (Options { secret_access_key: Some("wrong".into()), ..options(&server) }, ErrorKind::Credentials),
        (Options { access_key_id: Some("nobody".into()), ..options(&server) }, ErrorKind::Credentials),
        (Options { anonymous: true, access_key_id: None, secret_access_key: None, ..options(&server) }, ErrorKind::Denied),
    ] {
        let account = Box::pin(S3Account::open(change, Clock::system())).await.expect("opened");
        let e = account.store(BUCKET).expect("a store").list(List::default()).next().await.expect("an answer").expect_err("refused");
        assert_eq!(e.kind(), kind, "{e}");
        assert!(!e.to_string().contains("wrong"), "{e}");
    }
    let account = Box::pin(S3Account::open(options(&server), Clock::system())).await.expect("opened");
    let e = account.store("absent").expect("a store").list(List::default()).next().await.expect("an answer").expect_err("no bucket");
    assert_eq!(e.kind(), ErrorKind::BucketNotFound, "{e}");
    assert_eq!(account.list_buckets().await.expect("buckets").iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), [BUCKET]);
}

#[tokio::test]
async fn a_link_reads_and_writes_without_credentials() {
    let (_server, store) = served().await;
    let object: ObjectRef = Key::from("a/../b c+中").into();
    let life = std::time::Duration::from_secs(60);
    let put = Storage::presign(&store).expect("links").presign(PresignMethod::Put, &object, life).await.expect("a link");
    let http = reqwest_by_transport(&put, "PUT", "linked").await;
    assert_eq!(http.0, 200, "{}", http.1);
    let get = Presign::presign(&store, PresignMethod::Get, &object, life).await.expect("a link");
    assert_eq!(reqwest_by_transport(&get, "GET", "").await, (200, "linked".to_owned()));
    let forged = get.replace("X-Amz-Expires=60", "X-Amz-Expires=61");
    assert_eq!(reqwest_by_transport(&forged, "GET", "").await.0, 403);
}

/// Uses a link as anyone would.
async fn reqwest_by_transport(url: &str, method: &str, body: &'static str) -> (u16, String) {
    let uri: http::Uri = url.parse().expect("a URI");
    let host = uri.authority().expect("absolute").to_string();
    let request = http::Request::builder().method(method).uri(uri).header("host", host).body(Payload::from(body)).expect("a request");
    let direct = transport::Options { no_proxy: Some("*".into()), ..transport::Options::default() };
    let response = transport::Transport::new(&direct).expect("a transport").send(request).await.expect("an answer");
    let status = response.status();
    (status, String::from_utf8_lossy(&response.collect(1 << 20).await.expect("a body")).into_owned())
}

#[tokio::test]
async fn a_strict_store_and_a_wrong_clock_work_too() {
    let (server, _) = served().await;
    let strict = Box::pin(S3Account::open(Options { sign_payload: true, ..options(&server) }, Clock::system())).await.expect("opened");
    let store = strict.store(BUCKET).expect("a store");
    store.put(&"k".into(), "signed".into(), Put::default()).await.expect("put");
    assert_eq!(read(&store, "k").await, b"signed");
    let late = Clock::system_with_offset(jiff::SignedDuration::from_hours(-1));
    let account = Box::pin(S3Account::open(options(&server), late)).await.expect("opened");
    let store = account.store(BUCKET).expect("a store");
    assert_eq!(read(&store, "k").await, b"signed", "the clock is corrected from the answer");
}

/// Credentials, buckets and objects, all through one proxy and under one authority of our own.
#[tokio::test]
async fn both_roads_pass_a_connect_proxy_and_a_private_authority() {
    use crate::transport::{Seen, authority, listen, serve_connect};
    let (server, _) = served().await;
    let authority = authority("cloud.test");
    let plain: std::net::SocketAddr = server.s3_endpoint().trim_start_matches("http://").parse().expect("an address");
    let acceptor = authority.acceptor.clone();
    let upstream = listen(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            let (Ok(mut tls), Ok(mut to)) = (acceptor.accept(tcp).await, tokio::net::TcpStream::connect(plain).await) else { return };
            let _ = tokio::io::copy_bidirectional(&mut tls, &mut to).await;
        }
    })
    .await;
    let seen = Seen::default();
    let proxy = listen({
        let seen = seen.clone();
        move |tcp| serve_connect(tcp, upstream, seen.clone())
    })
    .await;
    let through = Options {
        endpoints: vec!["https://cloud.test".into()],
        path_style: Some(true),
        transport: transport::Options {
            proxy: Some(format!("http://u:p@{proxy}")),
            no_proxy: Some(String::new()),
            ca_file: Some(authority.ca_file.path().into()),
            ..transport::Options::default()
        },
        ..options(&server)
    };
    let account = Box::pin(S3Account::open(through, Clock::system())).await.expect("opened");
    assert_eq!(account.list_buckets().await.expect("the SDK's road").len(), 1);
    let sdk_road = seen.lock().expect("lock").len();
    assert!(sdk_road >= 1);
    let store = account.store(BUCKET).expect("a store");
    store.put(&"k".into(), "through".into(), Put::default()).await.expect("the lean road");
    assert_eq!(read(&store, "k").await, b"through");
    assert!(seen.lock().expect("lock").iter().all(|head| head.starts_with("CONNECT cloud.test:443 ")));
}

/// Runs the contract's cases, and returns the names of those that do not hold on a server that others wrote.
async fn broken(url: &str) -> Vec<&'static str> {
    let store = foreign(url).await;
    let mut broken = Vec::new();
    for case in conformance::CASES {
        if let Err(e) = conformance::run(store.clone(), &"conformance/".into(), case).await {
            println!("{e}");
            broken.push(case.0);
        }
    }
    broken
}

/// A new bucket of a server that others wrote.
async fn foreign(url: &str) -> Arc<dyn Storage> {
    let options = Options {
        endpoints: vec![url.to_owned()],
        region: Some("us-east-1".into()),
        access_key_id: Some("dragon".into()),
        secret_access_key: Some("dragon-secret".into()),
        transport: transport::Options { no_proxy: Some("*".into()), ..transport::Options::default() },
        ..Options::default()
    };
    let account = Box::pin(S3Account::open(options, Clock::system())).await.expect("opened");
    account.create_bucket(BUCKET).await.expect("made");
    Arc::new(account.store(BUCKET).expect("a store"))
}

#[tokio::test]
async fn the_contract_holds_on_moto() {
    if !crate::foreign::enabled("the S3 backend against moto") {
        return;
    }
    let server = crate::foreign::server::moto();
    // Its own: it ignores x-amz-copy-source-if-match (of parts as well), has no route for a line feed, and fails on a part of an aborted upload.
    let known = ["writing-copies_are_pinned", "keys-odd_keys_are_kept_or_refused", "multipart-an_abort_leaves_nothing", "multipart-parts_are_copied"];
    assert_eq!(broken(&server.url).await, known);
}

#[tokio::test]
async fn the_contract_holds_on_rclone() {
    if !crate::foreign::enabled("the S3 backend against rclone serve s3") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = crate::foreign::server::rclone(folder.path());
    // Its own: it keeps no Expires, knows no condition, holds names of 255 bytes at most, takes a part once, lists no open uploads, copies no parts.
    let known = [
        "reading-attributes_travel",
        "writing-create_only_writes_have_one_winner",
        "writing-compare_and_swap_has_one_winner",
        "writing-copies_are_pinned",
        "keys-odd_keys_are_kept_or_refused",
        "multipart-parts_make_the_object",
        "multipart-a_part_can_be_sent_again",
        "multipart-an_abort_leaves_nothing",
        "multipart-open_uploads_are_listed",
        "multipart-attributes_travel",
        "multipart-create_only_completion",
        "multipart-parts_are_copied",
    ];
    let broken = broken(&server.url).await;
    assert!(broken.iter().all(|case| known.contains(case)), "{broken:?}");
}
