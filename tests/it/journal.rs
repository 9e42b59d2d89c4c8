//! What `dragon uploads` and `dragon history` make of a journal, with the binary and a cloud.

use std::sync::Arc;

use dragon::clock::Clock;
use dragon::devserver::{DevServer, Options};
use dragon::journal::flight::Cargo;
use dragon::journal::{End, Event, Intent, Journal, Keep, Outcome, Pair, Proved, RunInfo, SqliteJournal, StateDir};
use dragon::storage::checksum::Proof;
use dragon::storage::location::Location;
use dragon::storage::memory::MemoryStore;
use dragon::storage::oss::{self, OssAccount, credentials};
use dragon::storage::{Account, Attributes, ETag, Key, Payload, Storage, Upload, UploadId};
use jiff::SignedDuration;

use crate::stage::Stage;

/// A bucket with open uploads, and a state directory that knows some of them.
struct Scene {
    stage: Stage,
    store: Arc<dyn Storage>,
    clock: Clock,
}

impl Scene {
    /// The cloud's clock, and the journal's, go `late` by so much: what is begun now looks that old to the binary.
    async fn new(late: SignedDuration) -> Self {
        let clock = Clock::system_with_offset(-late);
        let server = DevServer::start(Options { clock: clock.clone(), ..Options::default() }).await.expect("two clouds");
        let credentials =
            credentials::Options { access_key_id: Some("dragon".into()), access_key_secret: Some("dragon-secret".into()), ..credentials::Options::default() };
        let options = oss::Options { endpoints: vec![server.oss_endpoint()], credentials, ..oss::Options::default() };
        let account = OssAccount::open_in(options, &credentials::Environment::default(), clock.clone()).expect("an account");
        account.create_bucket("bridge").await.expect("a bucket");
        let store = Arc::new(account.store("bridge").expect("a store"));
        Self { stage: Stage::of(server), store, clock }
    }

    fn state(&self) -> StateDir {
        StateDir::new(self.stage.folder.path().join("state"))
    }

    async fn journal(&self) -> SqliteJournal {
        let source = Location::new(Arc::new(MemoryStore::new("us")), "");
        let pair = Pair::of(&source, &Location::new(self.store.clone(), "photos/"));
        let run = RunInfo { host: "bj-1".into(), user: "ops".into(), pid: 77, what: "sync".into() };
        self.state().open(&pair, Keep::Full, run, self.clock.clone()).await.expect("a journal")
    }

    /// Begins an upload of one part.
    async fn begin(&self, key: &str) -> UploadId {
        let multipart = self.store.multipart().expect("uploads");
        let id = multipart.create(&key.into(), &Attributes::default()).await.expect("begun");
        let upload = Upload { key: key.into(), id: id.clone() };
        multipart.upload_part(&upload, 1, Payload::from("some bytes"), None).await.expect("sent");
        id
    }

    /// Begins one that the journal knows.
    async fn begin_known(&self, journal: &SqliteJournal, name: &str) -> UploadId {
        let key = format!("photos/{name}");
        let cargo = Cargo { etag: ETag::new("e"), version: None, size: 10 };
        let destination_key = Key::from(key.as_str());
        let intent = Intent { key: name.into(), destination_key, cargo, part_size_bytes: 10, attributes: 0, begun: self.clock.now() };
        let flight = journal.intend(intent).await.expect("noted");
        let id = self.begin(&key).await;
        journal.advance(flight, Event::Created(id.clone())).await.expect("noted");
        id
    }

    async fn dragon(&self, arguments: &str) -> (i32, String) {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        self.stage.dragon(&[&arguments[..], &["--state-dir", "state"]].concat()).await
    }

    /// The keys of the uploads that are open, as the binary lists them.
    async fn open(&self) -> Vec<String> {
        let (status, printed) = self.dragon("uploads list oss://bridge --json").await;
        assert_eq!(status, 0, "{printed}");
        let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["key"].as_str().expect("a key").to_owned();
        // Above them the log tells of the clock that was corrected.
        printed.lines().filter(|line| line.starts_with('{')).map(row).collect()
    }
}

const WEEK_AND_A_DAY: SignedDuration = SignedDuration::from_hours(8 * 24);

#[tokio::test]
async fn open_uploads_are_listed_with_what_the_journal_knows() {
    let scene = Scene::new(SignedDuration::ZERO).await;
    let journal = scene.journal().await;
    let known = scene.begin_known(&journal, "a").await;
    scene.begin("photos-too/b").await;
    let (status, printed) = scene.dragon("uploads list oss://bridge/photos --json").await;
    let row: serde_json::Value = serde_json::from_str(&printed).expect("one line: photos-too is not under photos");
    assert_eq!((status, &row["key"], &row["upload_id"]), (0, &"photos/a".into(), &known.0.into()), "{printed}");
    assert_eq!((&row["parts"], &row["bytes"], &row["known"]), (&1.into(), &10.into(), &"mem://us -> oss://bridge/photos/".into()), "{printed}");
    let (status, printed) = scene.dragon("uploads list oss://bridge").await;
    assert!(status == 0 && printed.lines().count() == 2 && printed.contains("1 part") && printed.contains("(mem://us -> oss://bridge/photos/)"), "{printed}");
    let (_, printed) = scene.stage.dragon(&["uploads", "list", "oss://bridge", "--state-dir", "none"]).await;
    assert!(printed.lines().count() == 2 && !printed.contains("mem://us"), "{printed}");
}

#[tokio::test]
async fn the_sweep_takes_what_the_journal_knows_and_has_rested_and_asks_for_the_rest() {
    let scene = Scene::new(WEEK_AND_A_DAY).await;
    let journal = scene.journal().await;
    scene.begin_known(&journal, "a").await;
    scene.begin("photos/unknown").await;
    journal.end(Outcome::Stopped, scene.clock.now()).await.expect("written");
    drop(journal);
    let (status, printed) = scene.dragon("uploads abort oss://bridge --dry-run").await;
    assert!(status == 0 && printed.contains("would abort 2 uploads"), "{printed}");
    assert_eq!(scene.open().await.len(), 2);
    let (status, printed) = scene.dragon("uploads abort oss://bridge").await;
    assert!(status == 2 && printed.contains("photos/unknown") && printed.contains("--force"), "{printed}");
    assert_eq!(scene.open().await, ["photos/unknown"]);
    assert_eq!(scene.journal().await.flights(None, 10).await.expect("read"), [], "the journal knows that it is gone");
    let (status, printed) = scene.dragon("uploads abort oss://bridge/photos --force").await;
    assert!(status == 0 && printed.contains("aborted 1 upload"), "{printed}");
    assert_eq!(scene.open().await, [""; 0]);
}

#[tokio::test]
async fn young_uploads_are_asked_about_and_younger_ones_than_named_are_left() {
    let scene = Scene::new(SignedDuration::ZERO).await;
    let journal = scene.journal().await;
    scene.begin_known(&journal, "a").await;
    journal.flush().await.expect("written");
    drop(journal);
    let (status, printed) = scene.dragon("uploads abort oss://bridge --older-than 1h --force").await;
    assert!(status == 0 && printed.contains("aborted 0 uploads"), "{printed}");
    let (status, printed) = scene.dragon("uploads abort oss://bridge").await;
    assert!(status == 2 && printed.contains("they are young"), "{printed}");
    assert_eq!(scene.open().await, ["photos/a"]);
    let (status, printed) = scene.dragon("uploads abort oss://bridge --force --json").await;
    assert!(status == 0 && printed.contains(r#""status":"ok""#), "{printed}");
    assert_eq!(scene.journal().await.flights(None, 10).await.expect("read"), []);
}

#[tokio::test]
async fn an_upload_of_a_run_at_work_is_never_touched() {
    let scene = Scene::new(WEEK_AND_A_DAY).await;
    let journal = scene.journal().await;
    scene.begin_known(&journal, "a").await;
    let (status, printed) = scene.dragon("uploads abort oss://bridge --force").await;
    assert!(status == 0 && printed.contains("process 77 of ops on bj-1") && printed.contains("1 left to the run that is at work"), "{printed}");
    assert_eq!(scene.open().await, ["photos/a"]);
    assert_eq!(journal.flights(None, 10).await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_history_tells_who_when_and_what_proof_in_every_form() {
    let scene = Scene::new(SignedDuration::ZERO).await;
    let folder = scene.stage.folder.path();
    std::fs::create_dir(folder.join("us")).expect("a folder");
    let source = Location::new(Arc::new(dragon::storage::local::LocalStore::open(folder.join("us"), Default::default()).expect("a store")), "");
    let pair = Pair::of(&source, &Location::new(scene.store.clone(), "photos/"));
    let run = RunInfo { host: "bj-1".into(), user: "ops".into(), pid: 77, what: "sync".into() };
    let journal = scene.state().open(&pair, Keep::Full, run, scene.clock.clone()).await.expect("a journal");
    let end = |etag: &str| End { etag: ETag::new(etag), ..End::default() };
    for i in 0..1500 {
        let proved = Proved {
            size: i,
            source: end("s"),
            destination: end("d"),
            reversed: false,
            crc64xz: Some(u64::MAX),
            crc64nvme: None,
            source_proof: Proof::Md5,
            destination_proof: Proof::Crc64Xz,
            suspect: false,
            when: scene.clock.now(),
            run: 0,
        };
        journal.prove(&Key::from(format!("{i:04}\n,x")), proved).await.expect("noted");
    }
    journal.deleted(&"old".into(), Some("marker-1")).await.expect("noted");
    journal.flush().await.expect("written");

    let (status, printed) = scene.dragon("history").await;
    assert!(status == 0 && printed.contains("unfinished") && printed.contains("-> oss://bridge/photos/") && printed.contains("sync by ops@bj-1"), "{printed}");
    let (status, printed) = scene.dragon("history ./us oss://bridge/photos").await;
    assert!(status == 0 && printed.lines().count() == 1500 && printed.contains("md5 -> crc64xz"), "{printed}");
    let (status, printed) = scene.dragon("history ./us oss://bridge/photos --json").await;
    let last: serde_json::Value = serde_json::from_str(printed.lines().last().expect("a line")).expect("JSON");
    assert_eq!((status, &last["key"], &last["crc64xz"], &last["user"]), (0, &"1499\n,x".into(), &u64::MAX.to_string().into(), &"ops".into()));
    let (status, printed) = scene.dragon("history oss://bridge/photos ./us --format csv").await;
    let lines: Vec<&str> = printed.lines().collect();
    assert!(status == 0 && lines.len() == 1501 && lines[0].starts_with("key,size,when,"), "{}", lines[0]);
    assert!(lines[1].starts_with("\"0000\\n,x\",0,") && lines[1].contains(",md5,crc64xz,crc64xz,false,true,d,"), "seen from the other end: {}", lines[1]);
    let (status, printed) = scene.dragon("history ./us oss://bridge/photos --deletes").await;
    assert!(status == 0 && printed.contains("old  version marker-1  in oss://bridge/photos/"), "{printed}");
    let (status, printed) = scene.dragon("history ./us oss://bridge/other").await;
    assert!(status == 1 && printed.contains("no journal of") && printed.contains("dragon history without addresses"), "{printed}");
}
