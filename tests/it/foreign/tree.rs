//! A real tree of files goes file -> S3 -> OSS -> S3 -> file byte for byte, with the real binary: against the dev server, and with
//! the S3 legs against servers that others wrote.
//!
//! The files are the Rust toolchain's documentation (`DRAGON_TEST_TREE=PATH` names another tree, of which nothing is left out).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use dragon::devserver::{DevServer, Options};
use serde_json::Value;
use tempfile::TempDir;

use super::{enabled, run, server};

/// So many files take a debug build less than a minute.
const FILES_MAX: usize = 3000;
/// Of what a foreign server is given, which is slower.
const FOREIGN_FILES_MAX: usize = 300;
/// A file that is sent in parts.
const LARGE_FILE_BYTES: usize = 20 << 20;

/// The binary, with two clouds and a folder of its own.
struct Dragon {
    clouds: DevServer,
    /// The S3 side; the OSS side is the dev server's.
    s3_endpoint: String,
    _runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

impl Dragon {
    /// With the S3 side on a server that others wrote, or else on the dev server.
    fn new(s3: Option<&server::Server>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let options = Options { data: Some(folder.path().join("clouds")), ..Options::default() };
        let clouds = runtime.block_on(DevServer::start(options)).expect("listening");
        let s3_endpoint = s3.map_or_else(|| clouds.s3_endpoint(), |server| server.url.clone());
        Self { clouds, s3_endpoint, _runtime: runtime, folder }
    }

    /// Runs it to its good end, and returns what it printed as JSON: the objects, and the summary. It logs to the file `log`.
    fn run<const N: usize>(&self, args: [&str; N]) -> (Vec<Value>, Option<Value>) {
        let mut command = crate::dragon(&self.s3_endpoint, &self.clouds.oss_endpoint());
        let printed = run(command.current_dir(self.folder.path()).args(["--json", "--log-file", "log"]).args(args));
        let lines = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"));
        let (mut objects, others): (Vec<_>, Vec<_>) = lines.partition(|line| line["event"] == "object");
        objects.retain(|object| object["action"] != "skip");
        (objects, others.into_iter().find(|line| line["event"] == "summary"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }
}

/// What proved a leg's copies: of the source, and of the destination.
type Proofs = BTreeSet<(String, String)>;

/// Takes a tree through both clouds and back, holds it against what came back, and returns each leg's proofs.
fn round_trip(dragon: &Dragon, tree: &Path) -> [Proofs; 4] {
    let files = files(tree);
    for bucket in ["s3://tree-out", "oss://tree", "s3://tree-back"] {
        dragon.run(["mb", bucket]);
    }
    let stations = [tree.to_str().expect("UTF-8"), "s3://tree-out", "oss://tree", "s3://tree-back", "./back"];
    let proofs = [0, 1, 2, 3].map(|leg| {
        let (copies, summary) = dragon.run(["sync", stations[leg], stations[leg + 1]]);
        let summary = summary.expect("a summary");
        assert_eq!((summary["copied"].as_u64(), summary["failed"].as_u64()), (Some(files.len() as u64), Some(0)), "{summary}");
        println!("{} -> {}: {} files, {} bytes in {} s", stations[leg], stations[leg + 1], files.len(), summary["bytes"], summary["seconds"]);
        let proof = |copy: &Value, of: &str| copy[of].as_str().unwrap_or_else(|| panic!("no {of}: {copy}")).to_owned();
        copies.iter().map(|copy| (proof(copy, "source_proof"), proof(copy, "destination_proof"))).collect()
    });
    for (from, to) in [(tree.to_str().expect("UTF-8"), "./back"), ("s3://tree-out", "oss://tree"), ("oss://tree", "s3://tree-back")] {
        let (verdicts, _) = dragon.run(["verify", "--deep", "-v", from, to]);
        assert!(verdicts.len() == files.len() && verdicts.iter().all(|verdict| verdict["status"] == "same"), "{from} {to}: {} verdicts", verdicts.len());
    }
    same(tree, &files, &dragon.folder.path().join("back"));
    proofs
}

/// Holds two trees against each other without Dragon: names, bytes, times.
fn same(tree: &Path, expected: &BTreeMap<PathBuf, fs::Metadata>, back: &Path) {
    let returned = files(back);
    assert_eq!(returned.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, metadata) in expected {
        assert!(fs::read(tree.join(name)).expect("a file") == fs::read(back.join(name)).expect("a file"), "{} differs", name.display());
        assert_eq!(returned[name].modified().expect("a time"), metadata.modified().expect("a time"), "{}", name.display());
    }
}

/// Every file below a folder, by its path in it.
fn files(root: &Path) -> BTreeMap<PathBuf, fs::Metadata> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.path().strip_prefix(root).expect("below").to_owned(), entry.metadata().expect("metadata"));
            }
        }
    }
    found
}

/// A folder with the first files of the toolchain's documentation, or, where it has none, of the sources of the crates we use; and
/// with one large file.
fn real_files(files_max: usize) -> TempDir {
    let sysroot = PathBuf::from(run(Command::new("rustc").args(["--print", "sysroot"])).trim());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo"))).expect("a home");
    let places = [sysroot.join("share/doc/rust/html"), home.join("registry/src")];
    let place = places.iter().find(|place| place.is_dir()).expect("rust-docs, or crates from a registry; or else DRAGON_TEST_TREE");
    let folder = tempfile::tempdir().expect("a folder");
    for name in files(place).keys().take(files_max) {
        let copy = folder.path().join(name);
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder of ours");
        fs::copy(place.join(name), copy).expect("a copy");
    }
    let mut large = fs::File::create(folder.path().join("large.bin")).expect("a folder of ours");
    for number in 0..LARGE_FILE_BYTES as u64 / 8 {
        large.write_all(&number.to_be_bytes()).expect("written");
    }
    folder
}

fn proofs<const N: usize>(pairs: [(&str, &str); N]) -> Proofs {
    pairs.map(|(source, destination)| (source.to_owned(), destination.to_owned())).into()
}

#[test]
fn a_real_tree_goes_through_both_clouds_and_back() {
    if !enabled("a real tree of files through both clouds and back") {
        return;
    }
    let dragon = Dragon::new(None);
    let legs = match std::env::var_os("DRAGON_TEST_TREE") {
        Some(tree) => round_trip(&dragon, Path::new(&tree)),
        None => round_trip(&dragon, real_files(FILES_MAX).path()),
    };
    // A file states nothing of itself before it is read.
    let expected = [[("none", "crc64nvme")], [("crc64nvme", "crc64xz")], [("crc64xz", "crc64nvme")], [("crc64nvme", "crc64xz")]];
    assert_eq!(legs, expected.map(proofs));
}

/// moto states no CRC-64 of what it stores, so that its MD5s prove the copies: of an object, or over its parts.
#[test]
fn a_real_tree_goes_through_moto_and_back() {
    if !enabled("a real tree of files through moto and back") {
        return;
    }
    let moto = server::moto();
    let dragon = Dragon::new(Some(&moto));
    let legs = round_trip(&dragon, real_files(FOREIGN_FILES_MAX).path());
    let from_moto = || proofs([("md5", "crc64xz"), ("composite", "crc64xz")]);
    assert_eq!(legs, [proofs([("none", "md5")]), from_moto(), proofs([("crc64xz", "md5")]), from_moto()]);
    said_once_a_run(&dragon);
}

/// rclone keeps the CRC-64 that it is sent of a small object beside it, unchecked; what it computes itself is the MD5.
#[test]
fn a_real_tree_goes_through_rclone_and_back() {
    if !enabled("a real tree of files through rclone serve s3 and back") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let rclone = server::rclone(folder.path());
    let dragon = Dragon::new(Some(&rclone));
    let legs = round_trip(&dragon, real_files(FOREIGN_FILES_MAX).path());
    let from_rclone = || proofs([("crc64nvme", "crc64xz"), ("md5", "crc64xz")]);
    assert_eq!(legs, [proofs([("none", "md5")]), from_rclone(), proofs([("crc64xz", "md5")]), from_rclone()]);
    said_once_a_run(&dragon);
}

/// That the server states no CRC-64 is said once by each of the two runs that write to it.
fn said_once_a_run(dragon: &Dragon) {
    let log = dragon.log();
    assert_eq!(log.matches("states no CRC64NVME").count(), 2, "{log}");
}
