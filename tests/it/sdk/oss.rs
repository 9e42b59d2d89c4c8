//! Alibaba's own SDKs against the OSS side, unchanged; and what they wrote, Dragon reads, and the other way round.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use dragon::clock::Clock;
use dragon::devserver::{DevServer, Options};
use dragon::storage::oss::{self, OssAccount, OssStore, credentials};
use dragon::storage::{Account, Attributes, Complete, Get, Key, List, Put, Storage, Upload};
use futures::TryStreamExt;
use serde_json::json;

use crate::foreign;

/// A domain that is bound to the bucket `ali-oss-cname`.
const CNAME: &str = "ali-oss.example.com";

/// A client that others wrote: what runs its suite.
struct Party {
    program: PathBuf,
    script: &'static str,
    /// Where the program finds its packages.
    folder: PathBuf,
}

impl Party {
    async fn python(package: &'static str, script: &'static str) -> Self {
        let bin = tokio::task::spawn_blocking(move || foreign::python_venv(&[package])).await.expect("provisioning");
        Self { program: bin.join("python"), script, folder: bin }
    }

    async fn ali_oss() -> Self {
        let folder = tokio::task::spawn_blocking(|| foreign::node_modules(&["ali-oss"])).await.expect("provisioning");
        Self { program: "node".into(), script: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/ali_oss_suite.js"), folder }
    }

    async fn oss2() -> Self {
        Self::python("oss2", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/oss2_suite.py")).await
    }

    async fn oss_v2() -> Self {
        Self::python("alibabacloud-oss-v2", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/oss_v2_suite.py")).await
    }

    /// Runs the script, which fails the test where it fails, and counts the steps it reports.
    async fn run(&self, server: &DevServer, arguments: &[&str]) -> usize {
        let mut command = Command::new(&self.program);
        command.arg(self.script).args(arguments).current_dir(&self.folder).env("NO_PROXY", "*").env("PYTHONWARNINGS", "ignore");
        command.env("DRAGON_OSS_ENDPOINT", server.oss_endpoint()).env("DRAGON_OSS_CNAME", CNAME);
        command.env("DRAGON_OSS_KEY_ID", "dragon").env("DRAGON_OSS_KEY_SECRET", "dragon-secret");
        let said = tokio::task::spawn_blocking(move || foreign::run(&mut command)).await.expect("the suite");
        said.lines().filter(|line| line.starts_with("ok ")).count()
    }
}

async fn serve() -> DevServer {
    let mut options = Options::default();
    options.oss.cnames.insert(CNAME.to_owned(), "ali-oss-cname".to_owned());
    DevServer::start(options).await.expect("a free port")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oss2_works_unchanged_with_both_signatures() {
    if !foreign::enabled("oss2 against the dev server's OSS side") {
        return;
    }
    let (party, server) = (Party::oss2().await, serve().await);
    for version in ["v1", "v4"] {
        assert_eq!(party.run(&server, &["suite", version]).await, 10, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alibabacloud_oss_v2_works_unchanged() {
    if !foreign::enabled("alibabacloud-oss-v2 against the dev server's OSS side") {
        return;
    }
    let (party, server) = (Party::oss_v2().await, serve().await);
    assert_eq!(party.run(&server, &["suite"]).await, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ali_oss_works_unchanged_with_both_signatures_over_every_addressing() {
    if !foreign::enabled("ali-oss against the dev server's OSS side") {
        return;
    }
    let (party, server) = (Party::ali_oss().await, serve().await);
    for version in ["v1", "v4"] {
        for way in ["ip", "path", "virtual", "cname"] {
            assert_eq!(party.run(&server, &["suite", version, way]).await, 10, "{version} {way}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sdks_wrote_dragon_reads_and_the_other_way_round() {
    if !foreign::enabled("what Alibaba's SDKs wrote, read by Dragon, and the other way round") {
        return;
    }
    let server = serve().await;
    for (name, party) in [("oss2", Party::oss2().await), ("oss-v2", Party::oss_v2().await), ("ali-oss", Party::ali_oss().await)] {
        for (direction, signature) in [("from", oss::Signature::V4), ("to", oss::Signature::V1)] {
            let manifest = Manifest::new(&format!("{name}-{direction}-dragon"));
            let account = open(&server, signature);
            account.create_bucket(&manifest.bucket).await.expect("a bucket");
            let store = account.store(&manifest.bucket).expect("a store");
            let file = manifest.file();
            let path = file.path().to_str().expect("a path of ASCII");
            if direction == "from" {
                assert_eq!(party.run(&server, &["write", path]).await, 1);
                manifest.check(&store).await;
            } else {
                manifest.write(&store).await;
                assert_eq!(party.run(&server, &["read", path]).await, 1);
            }
        }
    }
}

fn open(server: &DevServer, signature: oss::Signature) -> OssAccount {
    let credentials =
        credentials::Options { access_key_id: Some("dragon".into()), access_key_secret: Some("dragon-secret".into()), ..credentials::Options::default() };
    let options =
        oss::Options { endpoints: vec![server.oss_endpoint()], region: Some("cn-hangzhou".into()), signature, credentials, ..oss::Options::default() };
    OssAccount::open(options, Clock::system()).expect("an account")
}

/// The objects that one side writes and the other reads.
struct Manifest {
    bucket: String,
    objects: Vec<Entry>,
}

struct Entry {
    key: &'static str,
    size: usize,
    /// 0 is a single PUT.
    part_size: usize,
    content_type: &'static str,
    metadata: BTreeMap<String, String>,
}

impl Entry {
    /// The bytes that the scripts make, too.
    fn body(&self) -> Vec<u8> {
        (0..self.size).map(|i| ((i * 7 + self.size) % 251) as u8).collect()
    }

    fn attributes(&self) -> Attributes {
        Attributes { content_type: Some(self.content_type.to_owned()), user: self.metadata.clone(), ..Attributes::default() }
    }
}

impl Manifest {
    fn new(bucket: &str) -> Self {
        let metadata = BTreeMap::from([("author".to_owned(), "王小明".to_owned()), ("mtime".to_owned(), "1700000000.5".to_owned())]);
        let plain = |key| Entry { key, size: 1000, part_size: 0, content_type: "text/x-test", metadata: metadata.clone() };
        let mut objects: Vec<Entry> = ["a b+c%2F&=?#", "quotes'\"<>", "a//b", "folder/", "中文/文件.txt", "🐉"].map(plain).into();
        objects.push(Entry { size: 0, ..plain("empty") });
        objects.push(Entry { size: 350_000, part_size: 102_400, content_type: "application/x-test", ..plain("multi/部分") });
        Self { bucket: bucket.to_owned(), objects }
    }

    fn file(&self) -> tempfile::NamedTempFile {
        let entry = |e: &Entry| json!({"key": e.key, "size": e.size, "part_size": e.part_size, "content_type": e.content_type, "metadata": e.metadata});
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        let document = json!({"bucket": self.bucket, "objects": self.objects.iter().map(entry).collect::<Vec<_>>()});
        std::fs::write(file.path(), document.to_string()).expect("a scratch file can be written");
        file
    }

    async fn write(&self, store: &OssStore) {
        for entry in &self.objects {
            let key = Key::from(entry.key);
            if entry.part_size == 0 {
                let put = Put { attributes: entry.attributes(), ..Put::default() };
                store.put(&key, entry.body().into(), put).await.unwrap_or_else(|e| panic!("{e}"));
                continue;
            }
            let multipart = store.multipart().expect("OSS has uploads");
            let upload = Upload { key: key.clone(), id: multipart.create(&key, &entry.attributes()).await.expect("an upload") };
            let mut parts = Vec::new();
            for (number, bytes) in (1..).zip(entry.body().chunks(entry.part_size)) {
                parts.push(multipart.upload_part(&upload, number, bytes.to_vec().into(), None).await.unwrap_or_else(|e| panic!("{e}")));
            }
            multipart.complete(&upload, &parts, Complete::default()).await.unwrap_or_else(|e| panic!("{e}"));
        }
    }

    async fn check(&self, store: &OssStore) {
        let pages: Vec<_> = store.list(List::default()).try_collect().await.expect("a listing");
        let listed: BTreeMap<Vec<u8>, u64> = pages.iter().flat_map(|page| page.iter()).map(|entry| (entry.key.to_vec(), entry.size)).collect();
        assert_eq!(listed, self.objects.iter().map(|entry| (entry.key.as_bytes().to_vec(), entry.size as u64)).collect());
        for entry in &self.objects {
            let output = store.get(&Key::from(entry.key).into(), Get::default()).await.unwrap_or_else(|e| panic!("{e}"));
            let info = output.info;
            let body = output.body.try_fold(Vec::new(), async |mut all, piece| {
                all.extend_from_slice(&piece);
                Ok(all)
            });
            assert_eq!(body.await.unwrap_or_else(|e| panic!("{e}")), entry.body(), "{}", entry.key);
            assert_eq!(info.attributes.content_type.as_deref(), Some(entry.content_type), "{}", entry.key);
            assert_eq!(info.attributes.user, entry.metadata, "{}", entry.key);
            assert_eq!(info.etag.multipart().map_or(0, |(_, parts)| parts), if entry.part_size == 0 { 0 } else { 4 }, "{}", entry.key);
            assert!(info.checksums.crc64xz.is_some(), "{}", entry.key);
        }
    }
}
