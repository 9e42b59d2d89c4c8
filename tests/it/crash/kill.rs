//! At random: the real binary syncs between the two clouds of this process, is killed with SIGKILL again and again, and is started
//! again with the same command until it ends by itself.
//!
//! The clouds survive and count. DRAGON_CRASH_SEED chooses the instants, DRAGON_CRASH_KILLS how many there are; `scripts/crash`
//! sets both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dragon::clock::Clock;
use dragon::devserver::Cloud;
use dragon::devserver::store::{ListEntry, ListQuery, Store};
use dragon::storage::checksum::Crc64;
use futures::TryStreamExt;
use jiff::Timestamp;

use crate::stage::Stage;

const MIB: u64 = 1 << 20;
const PART_BYTES: u64 = 5 * MIB;
const CONCURRENCY: u64 = 4;
/// Objects in parts, in bytes; their last parts are short.
const LARGE: [u64; 3] = [24 * MIB + 1, 32 * MIB, 37 * MIB + 12_345];
/// Objects in one request.
const SMALL_COUNT: u64 = 60;
const SMALL_BYTES_MAX: u64 = 40_000;
/// Bodies that carry no object: what to complete, what to delete. A few hundred bytes each.
const TALK_BYTES_MAX: u64 = 64 << 10;
/// Kills of one transfer. It is let go to its end then.
const KILLS_A_VOYAGE: u32 = 6;

/// One transfer and its deaths.
struct Voyage {
    stage: Stage,
    from: Cloud,
    /// The state directory is taken away after every kill.
    forgets: bool,
    chance: Clock,
    kills: u32,
}

/// What one transfer cost.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    kills: u32,
    /// Bytes sent beyond what there was to send.
    resent_bytes: u64,
    /// Bytes read at the source beyond what there was to read.
    reread_bytes: u64,
}

impl Voyage {
    async fn embark(from: Cloud, forgets: bool, chance: Clock) -> Self {
        let voyage = Self { stage: Stage::empty().await, from, forgets, chance, kills: 0 };
        for (cloud, bucket) in [(Cloud::S3, "amazon"), (Cloud::Oss, "alibaba")] {
            voyage.store(cloud).create_bucket(bucket, BTreeMap::new()).expect("a bucket");
        }
        let tree = voyage.stage.folder.path().join("tree");
        std::fs::create_dir_all(tree.join("small")).expect("a folder");
        for (number, size) in LARGE.iter().enumerate() {
            voyage.write(tree.join(format!("large-{number}")), *size);
        }
        for number in 0..SMALL_COUNT {
            voyage.write(tree.join(format!("small/{number:03}")), voyage.chance.random_below(SMALL_BYTES_MAX));
        }
        let (status, printed) = voyage.stage.dragon(&["cp", "-r", "./tree", voyage.source(), "--quiet"]).await;
        assert_eq!(status, 0, "{printed}");
        voyage.stage.server.reset_traffic();
        voyage
    }

    /// A file of bytes that repeat nowhere.
    fn write(&self, path: PathBuf, size: u64) {
        let mut state = self.chance.random_below(u64::MAX) | 1;
        let mut bytes = Vec::with_capacity(usize::try_from(size).expect("it fits") + 8);
        while (bytes.len() as u64) < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(usize::try_from(size).expect("it fits"));
        std::fs::write(path, bytes).expect("written");
    }

    fn store(&self, cloud: Cloud) -> &Store {
        match cloud {
            Cloud::S3 => self.stage.server.s3_store(),
            Cloud::Oss => self.stage.server.oss_store(),
        }
    }

    fn to(&self) -> Cloud {
        if self.from == Cloud::S3 { Cloud::Oss } else { Cloud::S3 }
    }

    fn source(&self) -> &'static str {
        url(self.from)
    }

    fn destination(&self) -> &'static str {
        url(self.to())
    }

    fn state_dir(&self) -> PathBuf {
        self.stage.folder.path().join("state")
    }

    /// Sails, and dies as often as it is to.
    async fn sail(mut self) -> Cost {
        while self.kills < KILLS_A_VOYAGE && self.leg().await {
            self.kills += 1;
            if self.forgets && self.state_dir().exists() {
                std::fs::remove_dir_all(self.state_dir()).expect("the state can be taken away");
            }
        }
        self.until_the_end(self.start()).await;
        self.arrived().await
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dragon"));
        command.args(["sync", self.source(), self.destination(), "--quiet", "--part-size", "5MiB", "--concurrency", "4", "--state-dir", "state"]);
        self.stage.prepare(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("the command runs")
    }

    /// One process, and its end: killed at some instant, or by itself before that came.
    async fn leg(&self) -> bool {
        let mut child = self.start();
        let (bytes, requests) = self.progress();
        // Mostly somewhere amid the bytes, and now and then by requests, which also finds the beginning and the end.
        let by_bytes = self.chance.random_below(4) > 0;
        let more = if by_bytes { self.chance.random_below(needed_bytes() / 3) } else { self.chance.random_below(SMALL_COUNT) };
        let pause = Duration::from_micros(self.chance.random_below(3000));
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                assert!(status.success(), "{status}");
                return false;
            }
            let (bytes_now, requests_now) = self.progress();
            if (by_bytes && bytes_now >= bytes + more) || (!by_bytes && requests_now >= requests + more) {
                break;
            }
            Clock::system().sleep(Duration::from_millis(1)).await;
        }
        Clock::system().sleep(pause).await;
        child.kill().expect("killed");
        let status = child.wait().expect("dead");
        !status.success()
    }

    async fn until_the_end(&self, mut child: Child) {
        let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("a task").expect("an end");
        assert!(status.success(), "the last run: {status}");
    }

    /// Bytes and requests that came to the destination.
    fn progress(&self) -> (u64, u64) {
        let traffic = self.stage.server.traffic(self.to());
        (traffic.bytes_in, traffic.requests())
    }

    /// Both sides are the same, nothing is left open, the evidence is true; and what it cost.
    async fn arrived(self) -> Cost {
        let (here, there) = (self.contents(self.from).await, self.contents(self.to()).await);
        assert_eq!(here.len(), LARGE.len() + usize::try_from(SMALL_COUNT).expect("it fits"));
        assert!(here.keys().eq(there.keys()), "other keys: {:?}", there.keys());
        for (key, bytes) in &here {
            assert!(there[key] == *bytes, "'{key}' is another");
        }
        let open = self.store(self.to()).uploads(bucket(self.to()), "", ("", ""), 100).expect("uploads");
        assert!(open.is_empty(), "open uploads: {:?}", open.iter().map(|upload| (&upload.key, &upload.id)).collect::<Vec<_>>());

        let all: u64 = here.values().map(|bytes| bytes.len() as u64).sum();
        let resent_bytes = self.stage.server.traffic(self.to()).bytes_in.saturating_sub(all);
        let reread_bytes = self.stage.server.traffic(self.from).bytes_out.saturating_sub(all);
        let most = u64::from(self.kills) * CONCURRENCY * PART_BYTES + TALK_BYTES_MAX * u64::from(self.kills + 1);
        assert!(resent_bytes <= most, "{resent_bytes} bytes were sent again after {} kills, and {most} may have been", self.kills);

        let (status, printed) = self.stage.dragon(&["verify", self.source(), self.destination(), "--state-dir", "state"]).await;
        assert_eq!(status, 0, "{printed}");
        self.assert_evidence(&there).await;
        Cost { kills: self.kills, resent_bytes, reread_bytes }
    }

    /// Whatever the journal says of a key, is so.
    async fn assert_evidence(&self, there: &BTreeMap<String, Vec<u8>>) {
        let (status, printed) = self.stage.dragon(&["history", self.source(), self.destination(), "--json", "--state-dir", "state"]).await;
        assert_eq!(status, 0, "{printed}");
        let mut told = 0;
        for line in printed.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let key = row["key"].as_str().expect("a key");
            let bytes = there.get(key).unwrap_or_else(|| panic!("'{key}' was proved and is not there"));
            let object = self.store(self.to()).object(bucket(self.to()), key).expect("an object");
            assert_eq!((row["size"].as_u64(), &row["suspect"]), (Some(bytes.len() as u64), &serde_json::Value::Bool(false)), "{line}");
            assert!(row["destination_etag"].as_str().is_some_and(|etag| etag.eq_ignore_ascii_case(&object.etag)), "{line}");
            assert!(row["crc64xz"].as_str().is_none_or(|crc| crc == Crc64::of(bytes).xz.to_string()), "{line}");
            told += 1;
        }
        // What was copied in the last moment before a kill, and is known by its ETag since, needs no row.
        assert!(self.forgets || told > LARGE.len(), "the journal tells of {told} keys only");
    }

    async fn contents(&self, cloud: Cloud) -> BTreeMap<String, Vec<u8>> {
        let query = ListQuery { limit: 1000, ..ListQuery::default() };
        let listing = self.store(cloud).list(bucket(cloud), &query).expect("a listing");
        let mut contents = BTreeMap::new();
        for entry in listing.entries {
            let ListEntry::Item(key, object) = entry else { continue };
            let bytes: Vec<u8> = object.content.read(0..object.size()).map_ok(|chunk| chunk.to_vec()).try_concat().await.expect("bytes");
            contents.insert(key.as_str().to_owned(), bytes);
        }
        contents
    }
}

fn url(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::S3 => "s3://amazon",
        Cloud::Oss => "oss://alibaba",
    }
}

fn bucket(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::S3 => "amazon",
        Cloud::Oss => "alibaba",
    }
}

fn needed_bytes() -> u64 {
    LARGE.iter().sum::<u64>() + SMALL_COUNT * SMALL_BYTES_MAX / 2
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

async fn voyages(forgets: bool) {
    let (seed, kills) = (setting("DRAGON_CRASH_SEED", 1), setting("DRAGON_CRASH_KILLS", 40) / 2);
    println!("DRAGON_CRASH_SEED={seed}, {kills} kills, the state {} between them", if forgets { "lost" } else { "kept" });
    let chance = Clock::simulated(Timestamp::UNIX_EPOCH, seed);
    let (mut sum, mut count) = (Cost::default(), 0);
    while u64::from(sum.kills) < kills {
        count += 1;
        assert!(count <= 2 * kills, "the runs end before they can be killed");
        let from = if count % 2 == 0 { Cloud::Oss } else { Cloud::S3 };
        let cost = Voyage::embark(from, forgets, chance.clone()).await.sail().await;
        println!("from {from:?}: {cost:?}");
        sum.kills += cost.kills;
        sum.resent_bytes += cost.resent_bytes;
        sum.reread_bytes += cost.reread_bytes;
    }
    let each = |bytes: u64| bytes as f64 / MIB as f64 / f64::from(sum.kills);
    println!(
        "{} kills of {count} transfers: {:.1} MiB sent again and {:.1} MiB read again a kill, where {} MiB are the most",
        sum.kills,
        each(sum.resent_bytes),
        each(sum.reread_bytes),
        CONCURRENCY * PART_BYTES / MIB
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sync_goes_on_where_it_stopped() {
    voyages(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sync_goes_on_without_its_state() {
    voyages(true).await;
}
