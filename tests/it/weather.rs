//! A sync by the real binary through the dev server's bad weather: nothing wrong, nothing missing, little sent twice.
//!
//! One endpoint of a store that lists two dies midway and comes back; tokens expire every four seconds (a real run's ten, to scale, as
//! the endpoint's minute is three seconds); requests are refused, reset, stalled, and bodies corrupted and truncated.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use bytes::Bytes;
use dragon::clock::Clock;
use dragon::devserver::store::{ListEntry, ListQuery, Store};
use dragon::devserver::{Cloud, DevServer, Options, Traffic};

mod road;
mod server;

use road::Road;

/// What `--concurrency` and `--part-size` are told.
const CONCURRENCY: u64 = 4;
const PART_BYTES: u64 = 5 << 20;
/// Small objects, and large ones of three parts each.
const SMALL: u64 = 300;
const LARGE: u64 = 12;
const LARGE_BYTES: u64 = 2 * PART_BYTES + (1 << 20);
/// After how many bytes over the first endpoint it dies, and for how long.
const ROAD_BYTES: u64 = 12 << 20;
const ROAD_GONE: Duration = Duration::from_secs(3);

/// Issue 3's weather, but for the endpoint.
const STORMY: &str = "seed=7 503=1%/200ms reset=0.5% stall=0.2%/60s corrupt=0.01% truncate=0.01% token=4s";
/// The same with what damages bodies made so frequent that it surely strikes.
const DAMAGING: &str = "seed=8 503=1%/200ms reset=0.5% corrupt=2% truncate=2% lost=0.5%";

/// Prints temporary keys that end in four seconds: with the names of a cloud, and with their end or without.
const KEYS: &str = r#"
until=$(($(date +%s)+4))
if [ "$3" = dated ]; then end=",\"Expiration\":\"$(date -u -d "@$until" +%Y-%m-%dT%H:%M:%SZ)\""; fi
printf '{"Version":1,"AccessKeyId":"dragon","%s":"dragon-secret","%s":"until-%s"%s}' "$1" "$2" "$until" "$end"
"#;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    OverToOss,
    BackToS3,
}

impl Way {
    fn ends(self) -> [Cloud; 2] {
        match self {
            Self::OverToOss => [Cloud::S3, Cloud::Oss],
            Self::BackToS3 => [Cloud::Oss, Cloud::S3],
        }
    }
}

/// What a run cost.
struct Cost {
    seconds: f64,
    read_bytes: u64,
    written_bytes: u64,
    traffic: [Traffic; 2],
}

fn store(server: &DevServer, cloud: Cloud) -> &Store {
    match cloud {
        Cloud::S3 => server.s3_store(),
        Cloud::Oss => server.oss_store(),
    }
}

async fn fill(store: &Store) {
    store.create_bucket("tree", BTreeMap::default()).expect("a new bucket");
    let random = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 3);
    // Of 13 words, so that no two parts of an object are alike.
    let body = |len: u64| -> Bytes {
        let words: Vec<u8> = (0..13).flat_map(|_| random.random_below(u64::MAX).to_le_bytes()).collect();
        let mut bytes = words.repeat(len as usize / words.len() + 1);
        bytes.truncate(len as usize);
        bytes.into()
    };
    for number in 0..SMALL {
        let len = random.random_below(16 << 10);
        store.put_bytes("tree", &format!("small/{:02}/{number:04}", number % 10), body(len)).await.expect("put");
    }
    for number in 0..LARGE {
        store.put_bytes("tree", &format!("large/{number}"), body(LARGE_BYTES + number)).await.expect("put");
    }
}

/// Every object, with its bytes' length and both their CRC-64s.
fn held(store: &Store) -> BTreeMap<String, (u64, u64, u64)> {
    let listing = store.list("tree", &ListQuery { limit: 10_000, ..Default::default() }).expect("a bucket");
    let objects = listing.entries.into_iter().filter_map(|entry| if let ListEntry::Item(key, object) = entry { Some((key, object)) } else { None });
    objects.map(|(key, object)| (key.as_str().to_owned(), (object.size(), object.digests.crc64_xz, object.digests.crc64_nvme))).collect()
}

/// Syncs one way in some weather. The first endpoint of the S3 store dies midway, where `dies` says so.
async fn sync(way: Way, weather: &str, dies: bool) -> Cost {
    let server = DevServer::start(Options { weather: weather.parse().expect("a forecast"), ..Options::default() }).await.expect("two clouds");
    let [from, to] = way.ends();
    fill(store(&server, from)).await;
    store(&server, to).create_bucket("tree", BTreeMap::default()).expect("a new bucket");
    let road = Road::open(server.s3_endpoint().trim_start_matches("http://").parse().expect("an address"), dies.then_some((ROAD_BYTES, ROAD_GONE))).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("keys"), KEYS).expect("a file");
    // Who reads is not told when its keys end, and learns it by refusals. Who writes is: a refused part has been sent for nothing.
    let keys = |cloud: Cloud, secret: &str, names: &str| match weather.contains("token=") {
        true => format!("credential_process = \"sh {} {names} {}\"", folder.path().join("keys").display(), if cloud == to { "dated" } else { "undated" }),
        false => format!("access_key_id = \"dragon\"\n{secret} = \"dragon-secret\""),
    };
    let s3_keys = keys(Cloud::S3, "secret_access_key", "SecretAccessKey SessionToken");
    let oss_keys = keys(Cloud::Oss, "access_key_secret", "AccessKeySecret SecurityToken");
    let config = format!(
        "[engine]\nread_timeout = \"2s\"\n
        [stores.s3]\nregion = \"us-east-1\"\nendpoint = [\"http://{}\", \"{}\"]\n{s3_keys}\n
        [stores.oss]\nregion = \"cn-hangzhou\"\nendpoint = \"{}\"\n{oss_keys}\n",
        road.address(),
        server.s3_endpoint(),
        server.oss_endpoint(),
    );
    std::fs::write(folder.path().join("dragon.toml"), config).expect("a file");
    let begun = Clock::system().instant();
    let output = dragon(&folder, way).await;
    let seconds = begun.elapsed().as_secs_f64();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert_eq!(road.died(), dies, "the endpoint was to die midway");
    let (wanted, found) = (held(store(&server, from)), held(store(&server, to)));
    assert_eq!(wanted.len() as u64, SMALL + LARGE);
    assert!(wanted == found, "wrong or missing: {:?}", wanted.iter().filter(|(name, object)| found.get(*name) != Some(*object)).collect::<Vec<_>>());
    let open = store(&server, to).uploads("tree", "", ("", ""), 100).expect("a bucket");
    assert!(open.is_empty() || weather.contains("lost="), "{} uploads lie open", open.len());
    let traffic = [server.traffic(from), server.traffic(to)];
    let cost = Cost { seconds, read_bytes: traffic[0].bytes_out, written_bytes: traffic[1].bytes_in, traffic };
    server.shutdown().await;
    cost
}

async fn dragon(folder: &tempfile::TempDir, way: Way) -> Output {
    let ends = match way {
        Way::OverToOss => ["s3://tree/", "oss://tree/"],
        Way::BackToS3 => ["oss://tree/", "s3://tree/"],
    };
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dragon"));
    command.arg("sync").args(ends).args(["--concurrency", &CONCURRENCY.to_string(), "--part-size", "5MiB"]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder.path()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.current_dir(folder.path());
    tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the command runs")
}

/// Holds a stormy run against a calm one, and prints both. What was sent or read beyond need stays below 5 %, but for what is in flight
/// when an endpoint dies that is written to: the parts on their way are lost, as many as there are slots.
fn compare(name: &str, calm: &Cost, stormy: &Cost, lost_bytes_max: u64) {
    let wasted = |all: u64, needed: u64| (all.saturating_sub(needed), 100.0 * all.saturating_sub(needed) as f64 / needed as f64);
    let (read, read_percent) = wasted(stormy.read_bytes, calm.read_bytes);
    let (written, written_percent) = wasted(stormy.written_bytes, calm.written_bytes);
    let requests = |cost: &Cost| cost.traffic.iter().map(Traffic::requests).sum::<u64>();
    println!(
        "{name}: {:.1} s against {:.1} s in calm weather, {} requests against {}, {read} bytes ({read_percent:.2} %) read and {written} bytes ({written_percent:.2} %) sent beyond need",
        stormy.seconds,
        calm.seconds,
        requests(stormy),
        requests(calm),
    );
    let needed = calm.read_bytes + calm.written_bytes;
    assert!((read + written).saturating_sub(lost_bytes_max) * 20 < needed, "{read} and {written} bytes beyond {needed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_weather_costs_little_and_spoils_nothing() {
    for (name, way, lost_bytes_max) in [("S3 to OSS", Way::OverToOss, 0), ("OSS to S3", Way::BackToS3, CONCURRENCY * PART_BYTES)] {
        let calm = sync(way, "", false).await;
        let stormy = sync(way, STORMY, true).await;
        compare(name, &calm, &stormy, lost_bytes_max);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bodies_are_found_and_sent_again() {
    for (name, way) in [("S3 to OSS", Way::OverToOss), ("OSS to S3", Way::BackToS3)] {
        let cost = sync(way, DAMAGING, false).await;
        println!("{name}, damaging: {:.1} s, {:?}", cost.seconds, cost.traffic);
        let sent = cost.traffic[1].operation("PutObject") + cost.traffic[1].operation("UploadPart");
        assert!(sent > SMALL + 3 * LARGE, "{sent} bodies were sent: nothing was damaged");
    }
}
