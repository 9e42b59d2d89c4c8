//! How much memory a run takes, however many keys there are, and however large an object is.
//!
//! Each run is made by a process of its own, so that its peak is not that of the other tests, nor that of the clouds.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dragon::error::{Error, Result};
use dragon::storage::Key;
use dragon::storage::location::Location;
use dragon::storage::memory::MemoryStore;
use dragon::storage::{
    Archive, Capabilities, Deleted, Details, Entry, Get, GetOutput, Identity, Kind, Lifecycle, List, Multipart, ObjectInfo, ObjectRef, Page, Payload, Presign,
    Put, PutOutput, ServerCopy, Storage, StoredPart, Versions,
};
use dragon::transfer::{Context, Job, Options, run};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

const CHILD: &str = "DRAGON_TEST_MEMORY_KEYS";
const PAGE_KEYS: usize = 1000;
/// Far less than a million keys take, and more than a process that holds none.
const PEAK_KIB_MAX: u64 = 64 << 10;

/// A bucket of so many keys that are made while they are listed; every `gap`-th is missing.
struct Numbers {
    keys: usize,
    gap: usize,
    bucket: MemoryStore,
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bucket, f)
    }
}

fn key(number: usize) -> String {
    format!("photos/2026/{number:09}/original.jpg")
}

fn page(numbers: Range<usize>, gap: usize) -> Page {
    let mut page = Page::new();
    for number in numbers.filter(|number| gap == 0 || number % gap != 1) {
        let key = key(number);
        let etag = "900150983cd24fb0d6963f7d28e17f72";
        let modified = Some(jiff::Timestamp::UNIX_EPOCH);
        page.push(Entry { key: key.as_bytes(), size: 7, etag, modified, storage_class: "STANDARD", kind: Kind::Object });
    }
    page
}

impl Numbers {
    /// How many keys lie up to this one.
    fn upto(&self, bound: &Key) -> usize {
        let (mut low, mut high) = (0, self.keys);
        while low < high {
            let middle = low.midpoint(high);
            if key(middle).as_bytes() <= bound.as_bytes() { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[async_trait]
impl Storage for Numbers {
    fn capabilities(&self) -> &Capabilities {
        self.bucket.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.bucket.identity()
    }

    fn list(&self, list: List) -> BoxStream<'static, Result<Page>> {
        let (first, end) = (list.after.map_or(0, |after| self.upto(&after)), list.upto.map_or(self.keys, |upto| self.upto(&upto)));
        let gap = self.gap;
        stream::iter((first..end).step_by(PAGE_KEYS)).map(move |first| Ok(page(first..end.min(first + PAGE_KEYS), gap))).boxed()
    }

    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.bucket.head(object).await
    }

    async fn stored_part(&self, object: &ObjectRef, number: u32) -> Result<Option<StoredPart>> {
        self.bucket.stored_part(object, number).await
    }

    async fn get(&self, _: &ObjectRef, _: Get) -> Result<GetOutput> {
        Err(Error::unsupported("these objects are numbers"))
    }

    async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.bucket.put(key, payload, put).await
    }

    fn delete(&self, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
        self.bucket.delete(objects)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        None
    }

    fn server_copy(&self) -> Option<&dyn ServerCopy> {
        None
    }

    fn presign(&self) -> Option<&dyn Presign> {
        None
    }

    fn details(&self) -> Option<&dyn Details> {
        None
    }

    fn archive(&self) -> Option<&dyn Archive> {
        None
    }

    fn lifecycle(&self) -> Option<&dyn Lifecycle> {
        None
    }

    fn versions(&self) -> Option<&dyn Versions> {
        None
    }
}

/// Compares so many keys, deletes each twentieth, and gives the peak of this process's memory in KiB.
fn compare(keys: usize) -> u64 {
    let place = |name, gap| Location::new(Arc::new(Numbers { keys, gap, bucket: MemoryStore::new(name) }), "");
    let options = Options { delete: true, ..Options::default() };
    let job = Job { options, ..Job::new(place("source", 20), place("destination", 0)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let report = runtime.block_on(run(job, Context::default())).expect("a run");
    assert_eq!((report.skipped, report.deleted, report.exit_code()), ((keys - keys / 20) as u64, (keys / 20) as u64, 0));
    assert_eq!(report.destination_keys, keys as u64);
    peak_kib("self").expect("this process lives")
}

/// The peak of a process's memory so far, in KiB. `None` where it has ended.
fn peak_kib(process: &str) -> Option<u64> {
    status_kib(process, "VmHWM:")
}

/// What a process has allocated now: without the pages of its binary, of which a debug build has many, and which the kernel takes back at will.
fn allocated_kib(process: &str) -> Option<u64> {
    status_kib(process, "RssAnon:")
}

fn status_kib(process: &str, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().trim_end_matches("kB").trim().parse().expect("a number"))
}

#[test]
fn keys_are_compared_in_constant_memory() {
    if let Ok(keys) = std::env::var(CHILD) {
        let peak = compare(keys.parse().expect("a number"));
        println!("peak={peak}KiB");
        assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
        return;
    }
    // A million takes a debug build some ten seconds: that is for CI.
    let keys = if std::env::var_os("DRAGON_TEST_FOREIGN").is_some() { 1_000_000 } else { 100_000 };
    let test = "memory::keys_are_compared_in_constant_memory";
    let child = Command::new(std::env::current_exe().expect("this binary")).args(["--exact", test, "--nocapture"]).env(CHILD, keys.to_string()).output();
    let output = child.expect("a child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("peak="), "{said}");
    let peak = said.lines().find_map(|line| line.split("peak=").nth(1)).expect("a peak");
    println!("{keys} keys on each side: peak {peak}");
}

/// Both clouds on disk, in a process that ends with the test.
struct Clouds {
    process: Child,
    s3: String,
    oss: String,
}

impl Drop for Clouds {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Clouds {
    fn start(data: &std::path::Path) -> Self {
        let mut command = crate::dragon("", "");
        command.args(["dev-server", "--s3-listen", "127.0.0.1:0", "--oss-listen", "127.0.0.1:0", "--data"]).arg(data).stdout(Stdio::piped());
        let mut clouds = Self { process: command.spawn().expect("started"), s3: String::new(), oss: String::new() };
        let mut ready = String::new();
        BufReader::new(clouds.process.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
        let endpoint =
            |name: &str| ready.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("not ready: {ready}")).to_owned();
        (clouds.s3, clouds.oss) = (endpoint("s3="), endpoint("oss="));
        clouds
    }

    /// Runs Dragon to its good end, and gives the peak of what it allocated, in KiB.
    #[allow(clippy::disallowed_methods, reason = "a process outside is watched: no clock of ours is there")]
    fn run<const N: usize>(&self, args: [&str; N]) -> u64 {
        let mut child = crate::dragon(&self.s3, &self.oss).args(args).spawn().expect("started");
        let (process, mut peak) = (child.id().to_string(), 0);
        let status = loop {
            peak = allocated_kib(&process).unwrap_or(0).max(peak);
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert!(status.success(), "{args:?}: {status}");
        peak
    }
}

#[test]
fn a_large_object_is_copied_within_the_memory_given() {
    const BUDGET_KIB: u64 = 64 << 10;
    const MIB: u64 = 1 << 20;
    // 2 GiB take debug builds of Dragon and of the clouds minutes: that is for CI.
    let full = ["CI", "DRAGON_TEST_FOREIGN"].iter().any(|name| std::env::var_os(name).is_some());
    let size_mib = if full { 2048 } else { 256 };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large");
    let large = File::create(&path).expect("a folder of ours");
    large.set_len(size_mib * MIB).expect("a sparse file");
    for number in 0..size_mib {
        // No two MiB alike, so that parts which change places would show.
        large.write_all_at(&number.to_be_bytes(), number * MIB).expect("written");
    }
    let clouds = Clouds::start(&folder.path().join("clouds"));
    clouds.run(["mb", "s3://large"]);
    clouds.run(["mb", "oss://large"]);
    let up = clouds.run(["cp", "--memory", "64MiB", path.to_str().expect("UTF-8"), "s3://large/object"]);
    let over = clouds.run(["cp", "--memory", "64MiB", "s3://large/object", "oss://large/object"]);
    let compared = clouds.run(["verify", "--deep", "--memory", "64MiB", "s3://large", "oss://large"]);
    println!("{size_mib} MiB with --memory 64MiB: peak {up} KiB from a file to S3, {over} KiB from S3 to OSS, {compared} KiB to compare them deeply");
    assert!(over > 0 && up.max(over).max(compared) < BUDGET_KIB + (64 << 10), "{up}, {over} and {compared} KiB");
}
