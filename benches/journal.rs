//! What a proved key costs: `cargo bench --bench journal -- KEYS` (10,000 by default, so that a test run of it is short).
//!
//! Keys come nearly in order, as the engine's copiers finish them, through the whole of the journal. Prints one JSON line: bytes of
//! disk a key once the run has ended, CPU time and wall time a record, and the same for reading all proofs back.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dragon::clock::Clock;
use dragon::journal::{End, Journal, Keep, Outcome, Pair, Proved, RunInfo, StateDir};
use dragon::storage::checksum::Proof;
use dragon::storage::location::Location;
use dragon::storage::memory::MemoryStore;
use dragon::storage::{ETag, Key};

/// How far from its place a key may be recorded: copies in flight at once. A power of two.
const DISORDER: u64 = 64;

/// Clock ticks a second in /proc (always 100 for programs).
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let keys = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(keys));
}

async fn measure(keys: u64) {
    let folder = std::env::var_os("DRAGON_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from).join("dragon-bench-journal");
    let clock = Clock::system();
    let place = |bucket: &str| Location::new(Arc::new(MemoryStore::new(bucket)), "");
    let pair = Pair::of(&place("a"), &place("b"));
    let journal = StateDir::new(&folder).open(&pair, Keep::Full, RunInfo::default(), clock.clone()).await.expect("a journal");
    // What it costs to make the records is not the journal's.
    let cpu = cpu_seconds();
    for i in 0..keys {
        black_box((key(i), proved(i, &clock)));
    }
    let made_cpu = cpu_seconds() - cpu;
    let (cpu, started) = (cpu_seconds(), clock.instant());
    let mut disorder = 0;
    for i in 0..keys {
        if i % DISORDER == 0 {
            disorder = clock.random_below(DISORDER);
        }
        let i = i ^ disorder;
        journal.prove(&key(i), proved(i, &clock)).await.expect("recorded");
    }
    journal.end(Outcome::Done, clock.now()).await.expect("ended");
    let (write_cpu, write_wall) = (cpu_seconds() - cpu - made_cpu, started.elapsed().as_secs_f64());
    let (cpu, mut read, mut after) = (cpu_seconds(), 0_u64, None);
    loop {
        let page = journal.proofs(after.as_ref(), 1000).await.expect("read");
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        read += page.len() as u64;
    }
    let read_cpu = cpu_seconds() - cpu;
    drop(journal);
    let disk_bytes = bytes_below(&folder);
    let per = |seconds: f64, count: u64| seconds * 1e6 / count as f64;
    println!(
        r#"{{"keys":{read},"disk_bytes_per_key":{:.1},"write_cpu_us_per_record":{:.2},"write_wall_us_per_record":{:.2},"read_cpu_us_per_record":{:.2}}}"#,
        disk_bytes as f64 / read as f64,
        per(write_cpu, keys),
        per(write_wall, keys),
        per(read_cpu, read),
    );
    std::fs::remove_dir_all(&folder).expect("removed");
}

fn key(i: u64) -> Key {
    Key::from(format!("photos/2026/{:02}/{:02}/IMG_{i:010}_edit.jpg", i / 1_000_000 % 12 + 1, i / 30_000 % 30 + 1))
}

fn proved(i: u64, clock: &Clock) -> Proved {
    let hash = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let md5 = format!("{hash:016x}{:016x}", hash.rotate_left(29));
    let end = |etag: &str, class: &str| End { etag: ETag::new(etag), version: None, modified: Some(clock.now()), storage_class: class.into() };
    Proved {
        size: hash % 5_000_000,
        source: end(&md5, "STANDARD"),
        destination: End { modified: None, ..end(&md5.to_uppercase(), "Standard") },
        reversed: false,
        crc64xz: Some(hash),
        crc64nvme: Some(!hash),
        source_proof: Proof::Md5,
        destination_proof: Proof::Crc64Xz,
        suspect: false,
        when: clock.now(),
        run: 0,
    }
}

/// User and system time of this process, from /proc.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, which may hold anything, ends at the last parenthesis; utime and stime are fields 14 and 15.
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { bytes_below(&entry.path()) } else { entry.metadata().map_or(0, |file| file.len()) }).sum()
}
