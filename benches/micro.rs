//! Micro-benchmarks of what every byte and every key passes through: `cargo bench`. Compare lines of one run, never of two.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dragon::storage::checksum::{Crc64, Crc64Combiner, NVME, XZ};
use dragon::storage::location::Location;
use dragon::storage::memory::MemoryStore;
use dragon::storage::{Entry, Key, Kind, Page, Payload, Put, Storage, yardstick};
use dragon::transfer::{self, Context, Job, Options};

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for size in [4 << 10, 1 << 20] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("both crc64s, {size} bytes"), |b| b.iter(|| Crc64::of(black_box(&bytes))));
        group.bench_function(format!("crc64fast xz alone, {size} bytes"), |b| {
            b.iter(|| {
                let mut digest = crc64fast::Digest::new();
                digest.write(black_box(&bytes));
                digest.sum64()
            });
        });
    }
    group.finish();
}

fn combine(c: &mut Criterion) {
    let mut group = c.benchmark_group("combine");
    let part = Crc64 { xz: 0x1234_5678_9abc_def0, nvme: 0x0fed_cba9_8765_4321, len: 8 << 20 };
    group.throughput(Throughput::Elements(1));
    group.bench_function("one part, power cached", |b| {
        let mut combiner = Crc64Combiner::default();
        b.iter(|| combiner.push(black_box(part)));
    });
    group.bench_function("one part, power computed", |b| {
        b.iter(|| (XZ.combine(part.xz, part.xz, black_box(part.len)), NVME.combine(part.nvme, part.nvme, part.len)))
    });
    group.bench_function("crc_fast, one polynomial", |b| {
        b.iter(|| crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc64Xz, part.xz, part.xz, black_box(part.len)));
    });
    group.finish();
}

fn pages(c: &mut Criterion) {
    let keys: Vec<String> = (0..1000).map(|i| format!("photos/2026/{i:08}.jpg")).collect();
    let mut group = c.benchmark_group("page");
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("fill and read 1000 entries", |b| {
        b.iter(|| {
            let mut page = Page::new();
            for key in &keys {
                page.push(Entry {
                    key: key.as_bytes(),
                    size: 1,
                    etag: "900150983cd24fb0d6963f7d28e17f72",
                    modified: None,
                    storage_class: "STANDARD",
                    kind: Kind::Object,
                });
            }
            page.iter().map(|entry| entry.key.len() + entry.etag.len()).sum::<usize>()
        });
    });
    group.finish();
}

/// A page as S3 writes it: 1000 keys, some 330 bytes each.
fn listing(c: &mut Criterion) {
    let mut body = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    body.push_str(
        "<Name>photos</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><KeyCount>1000</KeyCount><IsTruncated>false</IsTruncated>",
    );
    for i in 0..1000 {
        body.push_str(&format!(
            "<Contents><Key>photos/2026/archive/{i:08}.jpg</Key><LastModified>2026-11-26T02:{:02}:{:02}.000Z</LastModified><ETag>&quot;{i:032x}&quot;</ETag>\
             <ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            i / 60 % 60,
            i % 60,
            i * 977
        ));
    }
    body.push_str("</ListBucketResult>");
    let mut group = c.benchmark_group("listing");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 keys, scanned", |b| b.iter(|| yardstick::read_page(black_box(body.as_bytes())).expect("a page").len()));
    group.bench_function("1000 keys, parsed", |b| b.iter(|| yardstick::parse_page(black_box(body.as_bytes())).expect("a page").len()));
    group.finish();
}

/// A run that changes nothing: two listings from memory, merged and decided.
fn unchanged(c: &mut Criterion) {
    const KEYS: u64 = 10_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let filled = async |name| {
        let store = MemoryStore::new(name);
        for n in 0..KEYS {
            store.put(&Key::from(format!("photos/2026/{n:08}.jpg")), Payload::from("x"), Put::default()).await.expect("put");
        }
        Location::new(Arc::new(store), "")
    };
    let (source, destination) = runtime.block_on(async { (filled("source").await, filled("destination").await) });
    let job = Job { options: Options { dry_run: true, ..Options::default() }, ..Job::new(source, destination) };
    let mut group = c.benchmark_group("join");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("a run over 10000 unchanged keys", |b| {
        b.to_async(&runtime).iter(|| async {
            let report = transfer::run(job.clone(), Context::default()).await.expect("a run");
            assert_eq!(report.skipped, KEYS);
        });
    });
    group.finish();
}

criterion_group!(benches, checksums, combine, pages, listing, unchanged);
criterion_main!(benches);
