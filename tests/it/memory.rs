//! How much memory a run takes, however many keys there are.
//!
//! The run is made by a process of its own (this binary, started again), so that its peak is not that of the other tests.

use std::fmt;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use dragon::error::{Error, Result};
use dragon::storage::Key;
use dragon::storage::location::Location;
use dragon::storage::memory::MemoryStore;
use dragon::storage::{
    Capabilities, Deleted, Entry, Get, GetOutput, Identity, Kind, List, Multipart, ObjectInfo, ObjectRef, Page, Payload, Presign, Put, PutOutput, ServerCopy,
    Storage, StoredPart,
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

fn page(first: usize, gap: usize) -> Page {
    let mut page = Page::new();
    for number in (first..first + PAGE_KEYS).filter(|number| gap == 0 || number % gap != 1) {
        let key = format!("photos/2026/{number:09}/original.jpg");
        let etag = "900150983cd24fb0d6963f7d28e17f72";
        let modified = Some(jiff::Timestamp::UNIX_EPOCH);
        page.push(Entry { key: key.as_bytes(), size: 7, etag, modified, storage_class: "STANDARD", kind: Kind::Object });
    }
    page
}

#[async_trait]
impl Storage for Numbers {
    fn capabilities(&self) -> &Capabilities {
        self.bucket.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.bucket.identity()
    }

    fn list(&self, _: List) -> BoxStream<'static, Result<Page>> {
        let gap = self.gap;
        stream::iter((0..self.keys).step_by(PAGE_KEYS)).map(move |first| Ok(page(first, gap))).boxed()
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
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's word on this process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches("kB").trim().parse().expect("a number")
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
