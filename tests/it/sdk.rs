//! The clouds' own SDKs against the dev server, unchanged.

#![allow(clippy::disallowed_methods, reason = "tests of foreign clients live on the wall clock")]

use std::process::Command;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use dragon::devserver::{Cloud, DevServer, Options};

use crate::foreign;

mod ageing;
mod oss;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_works_unchanged() {
    if !foreign::enabled("boto3 against the dev server's S3 side") {
        return;
    }
    let python = tokio::task::spawn_blocking(|| foreign::python_venv(&["boto3"]).join("python")).await.expect("provisioning");
    let server = DevServer::start(Options::default()).await.expect("a free port");
    let endpoint = server.s3_endpoint();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/boto3_suite.py");
    let said = tokio::task::spawn_blocking(move || {
        foreign::run(Command::new(python).args([script, &endpoint, "dragon", "dragon-secret"]).env("NO_PROXY", "*").env("AWS_EC2_METADATA_DISABLED", "true"))
    });
    let said = said.await.expect("the suite");
    assert!(said.ends_with("all well\n"), "{said}");
}

fn aws_client(server: &DevServer, region: &'static str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(server.s3_endpoint())
        .region(Region::new(region))
        .credentials_provider(Credentials::new("dragon", "dragon-secret", None, None, "test"))
        .force_path_style(true)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_puts_gets_lists_and_deletes_odd_keys() {
    let server = DevServer::start(Options::default()).await.expect("a free port");
    let s3 = aws_client(&server, "us-east-1");
    s3.create_bucket().bucket("rust").send().await.expect("create bucket");
    let keys = ["a b+c", "a//b", "a/../b", "/lead", "中文/龙 🐉"];
    for key in keys {
        s3.put_object().bucket("rust").key(key).body(ByteStream::from(key.as_bytes().to_vec())).send().await.expect(key);
        let got = s3.get_object().bucket("rust").key(key).send().await.expect(key);
        assert_eq!(got.body.collect().await.expect(key).to_vec(), key.as_bytes());
        assert!(server.s3_store().object("rust", key).is_ok(), "{key} is stored under another name");
    }
    let listed = s3.list_objects_v2().bucket("rust").send().await.expect("list");
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(listed.contents().iter().filter_map(|object| object.key()).collect::<Vec<_>>(), sorted);
    assert_eq!(server.traffic(Cloud::S3).operation("PutObject"), keys.len() as u64);
    let doomed = keys.iter().map(|key| ObjectIdentifier::builder().key(*key).build().expect("a key")).collect();
    let delete = Delete::builder().set_objects(Some(doomed)).build().expect("keys");
    let deleted = s3.delete_objects().bucket("rust").delete(delete).send().await.expect("delete");
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (keys.len(), 0));
    s3.delete_bucket().bucket("rust").send().await.expect("empty now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_uploads_in_parts_with_full_object_crc64nvme() {
    let server = DevServer::start(Options::default()).await.expect("a free port");
    let s3 = aws_client(&server, "us-east-1");
    s3.create_bucket().bucket("rust").send().await.expect("create bucket");
    let parts = [vec![1u8; 5 << 20], vec![2u8; 99]];
    let algorithm = ChecksumAlgorithm::Crc64Nvme;
    let upload = s3.create_multipart_upload().bucket("rust").key("big").checksum_algorithm(algorithm.clone()).send().await.expect("create");
    let id = upload.upload_id().expect("an id");
    let mut done = Vec::new();
    for (number, bytes) in (1..).zip(&parts) {
        let body = ByteStream::from(bytes.clone());
        let request = s3.upload_part().bucket("rust").key("big").upload_id(id).part_number(number).checksum_algorithm(algorithm.clone()).body(body);
        let part = request.send().await.expect("part");
        assert!(part.checksum_crc64_nvme().is_some());
        let completed = CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).set_checksum_crc64_nvme(part.checksum_crc64_nvme);
        done.push(completed.build());
    }
    let listed = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
    let completed = s3.complete_multipart_upload().bucket("rust").key("big").upload_id(id).multipart_upload(listed).send().await.expect("complete");
    let whole = dragon::devserver::store::Digests::of(&parts.concat());
    let head = s3.head_object().bucket("rust").key("big").checksum_mode(ChecksumMode::Enabled).send().await.expect("head");
    assert_eq!(head.checksum_crc64_nvme(), completed.checksum_crc64_nvme());
    assert_eq!(head.checksum_type().map(|scope| scope.as_str()), Some("FULL_OBJECT"));
    assert_eq!(server.s3_store().object("rust", "big").expect("there").digests.crc64_nvme, whole.crc64_nvme);
    // A GET in checksum mode makes the SDK check what arrives.
    let got = s3.get_object().bucket("rust").key("big").checksum_mode(ChecksumMode::Enabled).send().await.expect("get");
    assert_eq!(got.body.collect().await.expect("the whole, proved").into_bytes(), parts.concat());
}
