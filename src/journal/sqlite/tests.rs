//! The journal as a run uses it: what lasts, what is seen, what is refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::history::History;
use super::*;
use crate::journal::{SentPart, StateDir};
use crate::storage::UploadId;
use crate::storage::checksum::{Crc64, Proof};
use crate::storage::location::Location;
use crate::storage::memory::MemoryStore;

mod model;
mod trouble;

pub(super) fn start() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().expect("a valid time")
}

/// The pair of two places, which stand in this order.
pub(super) fn pair(source: &str, destination: &str) -> Pair {
    let place = |bucket: &str| Location::new(Arc::new(MemoryStore::new(bucket)), "");
    Pair::of(&place(source), &place(destination))
}

pub(super) fn run() -> RunInfo {
    RunInfo { host: "bj-1".into(), user: "ops".into(), pid: 7, what: "sync".into() }
}

/// A state directory, and the time.
pub(super) struct Desk {
    pub(super) dir: TempDir,
    pub(super) clock: Clock,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), clock: Clock::simulated(start(), 1) }
    }

    pub(super) async fn try_open(&self, pair: &Pair) -> Result<SqliteJournal> {
        StateDir::new(self.dir.path()).open(pair, Keep::Full, run(), self.clock.clone()).await
    }

    pub(super) async fn open(&self) -> SqliteJournal {
        self.try_open(&pair("a", "b")).await.expect("a journal")
    }

    /// The other way.
    pub(super) async fn open_back(&self) -> SqliteJournal {
        self.try_open(&pair("b", "a")).await.expect("a journal")
    }

    /// What is on disk at this moment, as after kill -9: a desk of its own.
    pub(super) fn crashed(&self) -> Self {
        let copy = Self { dir: tempfile::tempdir().expect("a folder"), clock: self.clock.clone() };
        copy_tree(self.dir.path(), copy.dir.path());
        copy
    }

    pub(super) async fn history(&self) -> History {
        let state = StateDir::new(self.dir.path());
        let names = state.pairs().await.expect("readable");
        assert_eq!(names, [pair("a", "b").name()]);
        state.history(&names[0]).await.expect("a history")
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).expect("made");
            copy_tree(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            // The index of the log is shared memory: gone with the machine.
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

pub(super) fn intent(key: &str) -> Intent {
    Intent {
        key: key.into(),
        destination_key: Key::from("to/").join(key.as_bytes()),
        cargo: crate::journal::flight::Cargo { etag: ETag::new("0cc175b9c0f1b6a831c399e269772661-3"), version: Some("v1".into()), size: u64::MAX },
        part_size_bytes: 8 << 20,
        attributes: u64::MAX - 1,
        begun: start(),
    }
}

pub(super) fn part(number: u32) -> SentPart {
    let crc = Crc64 { xz: u64::MAX - u64::from(number), nvme: number.into(), len: 8 << 20 };
    SentPart { number, etag: ETag::new("900150983CD24FB0D6963F7D28E17F72"), crc, proof: Proof::Crc64Xz }
}

pub(super) fn proved(size: u64) -> Proved {
    let end = |etag: &str| super::super::End { etag: ETag::new(etag), version: None, modified: Some(start()), storage_class: "STANDARD".into() };
    Proved {
        size,
        source: end("900150983cd24fb0d6963f7d28e17f72"),
        destination: end("opaque"),
        reversed: false,
        crc64xz: Some(1),
        crc64nvme: Some(2),
        source_proof: Proof::Md5,
        destination_proof: Proof::Crc64Xz,
        suspect: false,
        when: start(),
        run: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let desk = Desk::new();
    let journal = desk.open().await;
    let flight = journal.intend(intent("k")).await.expect("noted");
    let seen = async |desk: &Desk| desk.open().await.flight(&"k".into()).await.expect("read").map(|f| (f.state, f.upload, f.parts, f.intent, f.outbound));
    assert_eq!(seen(&desk.crashed()).await, Some((State::Intent, None, vec![], intent("k"), true)));
    journal.advance(flight, Event::Created(UploadId("u1".into()))).await.expect("noted");
    let upload = Some(UploadId("u1".into()));
    assert_eq!(seen(&desk.crashed()).await, Some((State::Created, upload.clone(), vec![], intent("k"), true)));
    for number in [2, 1, 3, 2] {
        journal.advance(flight, Event::Part(part(number))).await.expect("noted");
    }
    assert_eq!(seen(&desk.crashed()).await.map(|f| f.2), Some(vec![]), "parts are queued");
    journal.advance(flight, Event::Completing).await.expect("noted");
    assert_eq!(seen(&desk.crashed()).await, Some((State::Completing, upload, vec![part(1), part(2), part(3)], intent("k"), true)));
    journal.prove(&"k".into(), proved(3)).await.expect("noted");
    journal.advance(flight, Event::Proved).await.expect("noted");
    journal.flush().await.expect("written");
    let after = desk.crashed();
    assert_eq!(seen(&after).await, None);
    assert_eq!(after.open().await.proof(&"k".into()).await.expect("read"), Some(Proved { run: 1, ..proved(3) }));
}

#[tokio::test(start_paused = true)]
async fn an_illegal_event_is_refused_at_once_and_leaves_no_trace() {
    let desk = Desk::new();
    let journal = desk.open().await;
    let flight = journal.intend(intent("k")).await.expect("noted");
    for wrong in [Event::Proved, Event::Completing, Event::Part(part(1))] {
        let error = journal.advance(flight, wrong).await.expect_err("illegal");
        assert!(error.kind() == ErrorKind::Unexpected && error.key() == Some("k"), "{error}");
    }
    assert_eq!(journal.intend(intent("k")).await.expect_err("open already").kind(), ErrorKind::Unexpected);
    assert_eq!(journal.advance(FlightId(99), Event::Failed).await.expect_err("unknown").kind(), ErrorKind::Unexpected);
    journal.flush().await.expect("written");
    let rows = desk.crashed().open().await.flights(None, 10).await.expect("read");
    assert!(rows.len() == 1 && rows[0].state == State::Intent && rows[0].touched == start(), "{rows:?}");
    journal.advance(flight, Event::Aborted).await.expect("legal");
    assert_eq!(journal.advance(flight, Event::Aborted).await.expect_err("gone").kind(), ErrorKind::Unexpected);
    let next = journal.intend(intent("k")).await.expect("free again");
    assert!(next > flight, "an id is never given twice");
}

#[tokio::test(start_paused = true)]
async fn ids_go_on_after_the_last_flight_has_landed() {
    let desk = Desk::new();
    let journal = desk.open().await;
    let flight = journal.intend(intent("k")).await.expect("noted");
    journal.advance(flight, Event::Failed).await.expect("noted");
    journal.end(Outcome::Done, start()).await.expect("written");
    drop(journal);
    assert!(desk.open().await.intend(intent("k")).await.expect("noted") > flight);
}

#[tokio::test(start_paused = true)]
async fn a_run_the_other_way_sees_the_same_pair_turned_round() {
    let desk = Desk::new();
    let out = desk.open().await;
    out.intend(intent("k")).await.expect("noted");
    out.prove(&"k".into(), proved(3)).await.expect("noted");
    out.doom(&[("gone".into(), ETag::new("e"))], start()).await.expect("noted");
    out.checkpoint(5, &"k".into(), 1).await.expect("noted");
    out.end(Outcome::Stopped, start()).await.expect("written");
    drop(out);
    let back = desk.open_back().await;
    let seen = back.proof(&"k".into()).await.expect("read").expect("proved");
    assert_eq!(seen, Proved { source: proved(3).destination, destination: proved(3).source, reversed: true, run: 1, ..proved(3) });
    assert_eq!(back.interrupted(5).await.expect("read"), None, "another way, another listing");
    assert_eq!(back.flight(&"k".into()).await.expect("read"), None);
    let other = back.flights(None, 10).await.expect("read");
    assert!(other.len() == 1 && !other[0].outbound, "{other:?}");
    back.intend(intent("k")).await.expect("the other way is free");
    let later = start() + jiff::SignedDuration::from_secs(9);
    assert_eq!(back.doom(&[("gone".into(), ETag::new("e"))], later).await.expect("noted"), [later], "what waits at one end does not wait at the other");
    back.advance(other[0].id, Event::Aborted).await.expect("either end may be tidied up");
    assert_eq!(back.flights(None, 10).await.expect("read").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn proofs_are_read_in_key_order_page_by_page_with_what_is_queued() {
    let desk = Desk::new();
    let journal = desk.open().await;
    let key = |i: usize| Key::from(format!("{i:05}"));
    for i in (0..2500).rev() {
        journal.prove(&key(i), proved(i as u64)).await.expect("noted");
    }
    journal.forget(&key(7)).await.expect("noted");
    journal.deleted(&key(8), Some("marker")).await.expect("noted");
    assert_eq!(journal.proof(&key(7)).await.expect("read"), None, "a run sees what it queued");
    let wanted: Vec<(Key, u64)> = (0..2500).filter(|i| ![7, 8].contains(i)).map(|i| (key(i), i as u64)).collect();
    for limit in [1, 7, 1000, 1001, 5000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = journal.proofs(after.as_ref(), if seen.len() < 20 { limit.min(7) } else { limit.max(500) }).await.expect("read");
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            seen.extend(page.into_iter().map(|(key, proved)| (key, proved.size)));
        }
        assert_eq!(seen, wanted);
    }
    assert_eq!(journal.proofs(None, 5000).await.expect("read").len(), wanted.len(), "a page is as long as was asked");
    assert_eq!(journal.proofs(None, 0).await.expect("read").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_serves_the_same_job_that_did_not_come_to_its_end() {
    let desk = Desk::new();
    let open = async || desk.open().await;
    let first = open().await;
    first.checkpoint(5, &"a".into(), 10).await.expect("noted");
    first.checkpoint(5, &"b".into(), 20).await.expect("noted");
    first.flush().await.expect("written");
    drop(first);
    desk.clock.sleep(Duration::from_secs(60)).await;
    let wanted = Some(Checkpoint { after: "b".into(), keys: 20, started: start() });
    let second = open().await;
    assert_eq!(second.interrupted(5).await.expect("read"), wanted, "killed");
    assert_eq!(second.interrupted(6).await.expect("read"), None, "another job");
    second.end(Outcome::Stopped, desk.clock.now()).await.expect("written");
    drop(second);
    let third = open().await;
    assert_eq!(third.interrupted(5).await.expect("read"), wanted, "stopped before its first checkpoint");
    third.checkpoint(6, &"x".into(), 1).await.expect("noted");
    third.end(Outcome::Stopped, desk.clock.now()).await.expect("written");
    drop(third);
    let fourth = open().await;
    assert_eq!(fourth.interrupted(5).await.expect("read"), None, "another job came between");
    fourth.checkpoint(5, &"z".into(), 1).await.expect("noted");
    fourth.end(Outcome::Partly, desk.clock.now()).await.expect("written");
    drop(fourth);
    assert_eq!(open().await.interrupted(5).await.expect("read"), None, "it came to its end");
}

#[tokio::test(start_paused = true)]
async fn a_doomed_key_waits_since_it_was_first_named_until_it_comes_back() {
    let desk = Desk::new();
    let at = |hours| start() + jiff::SignedDuration::from_hours(hours);
    let doom = |keys: &[(&str, &str)]| keys.iter().map(|(key, etag)| (Key::from(*key), ETag::new(etag))).collect::<Vec<_>>();
    let first = desk.open().await;
    assert_eq!(first.doom(&doom(&[("a", "1"), ("b", "1"), ("c", "1")]), at(0)).await.expect("noted"), [at(0); 3]);
    assert_eq!(first.spare().await.expect("noted"), 0);
    first.end(Outcome::Done, at(0)).await.expect("written");
    drop(first);
    let second = desk.open().await;
    assert_eq!(second.doom(&doom(&[("a", "1"), ("b", "2")]), at(5)).await.expect("noted"), [at(0), at(5)], "b is another object by now");
    assert_eq!(second.spare().await.expect("noted"), 1, "c has come back");
    second.deleted(&"a".into(), None).await.expect("noted");
    second.end(Outcome::Done, at(5)).await.expect("written");
    drop(second);
    let third = desk.open().await;
    assert_eq!(third.doom(&doom(&[("a", "1"), ("b", "2"), ("c", "1")]), at(9)).await.expect("noted"), [at(9), at(5), at(9)]);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_only_resumes_keeps_no_proof_and_no_untrue_one() {
    let desk = Desk::new();
    let full = desk.open().await;
    full.prove(&"k".into(), proved(3)).await.expect("noted");
    full.prove(&"l".into(), proved(3)).await.expect("noted");
    full.end(Outcome::Done, start()).await.expect("written");
    drop(full);
    let resume = StateDir::new(desk.dir.path()).open(&pair("a", "b"), Keep::Resume, run(), desk.clock.clone()).await.expect("a journal");
    assert!(!resume.keeps_proofs() && resume.is_durable());
    resume.prove(&"k".into(), proved(4)).await.expect("noted");
    assert_eq!(resume.proofs(None, 10).await.expect("read"), []);
    resume.deleted(&"gone".into(), Some("marker")).await.expect("noted");
    resume.intend(intent("m")).await.expect("noted");
    resume.end(Outcome::Done, start()).await.expect("written");
    drop(resume);
    let full = desk.open().await;
    let keys: Vec<Key> = full.proofs(None, 10).await.expect("read").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [Key::from("l")], "k was copied again and nobody wrote down how it was proved");
    assert!(full.flight(&"m".into()).await.expect("read").is_some());
}

#[tokio::test(start_paused = true)]
async fn changes_are_written_when_they_are_many_or_old() {
    let desk = Desk::new();
    let journal = desk.open().await;
    let on_disk = async || desk.crashed().history().await.proofs(false, None, 5000).await.expect("read").len();
    for i in 0..999 {
        journal.prove(&format!("{i:04}").as_str().into(), proved(1)).await.expect("noted");
    }
    assert_eq!(on_disk().await, 0);
    journal.prove(&"x".into(), proved(1)).await.expect("noted");
    assert_eq!(on_disk().await, 1000);
    journal.prove(&"y".into(), proved(1)).await.expect("noted");
    desk.clock.sleep(Duration::from_millis(101)).await;
    journal.prove(&"z".into(), proved(1)).await.expect("noted");
    assert_eq!(on_disk().await, 1002);
    for i in 0..40 {
        journal.prove(&Key::new(vec![b'k'; 30_000 + i]), proved(1)).await.expect("noted");
    }
    assert!(on_disk().await > 1002, "a megabyte is much");
}

#[tokio::test]
async fn whoever_gives_up_waiting_loses_nothing_and_holds_up_nobody() {
    let desk = Desk::new();
    let journal = Arc::new(desk.open().await);
    for i in 0..200_u32 {
        let mut intending = Box::pin(journal.intend(intent(&format!("{i:03}"))));
        // Polled a few times, it may be waiting for the pen, hold it, or have given it away.
        for _ in 0..i % 4 {
            if futures::poll!(&mut intending).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(intending);
    }
    journal.flush().await.expect("written");
    let open = journal.flights(None, 1000).await.expect("read");
    assert_eq!(open.len(), 150, "one in four was never polled");
    assert_eq!(desk.crashed().history().await.flights(None, 1000).await.expect("read").len(), 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_share_their_writes() {
    let desk = Desk::new();
    let journal = Arc::new(desk.open().await);
    let one = |i: usize| {
        let journal = journal.clone();
        async move {
            let key = format!("{i:04}");
            let flight = journal.intend(intent(&key)).await?;
            journal.advance(flight, Event::Created(UploadId(key.clone()))).await?;
            journal.advance(flight, Event::Part(part(1))).await?;
            journal.advance(flight, Event::Completing).await?;
            assert_eq!(journal.flight(&key.as_str().into()).await?.map(|f| f.parts.len()), Some(1));
            journal.prove(&key.as_str().into(), proved(i as u64)).await?;
            journal.advance(flight, Event::Proved).await
        }
    };
    let done = futures::future::join_all((0..300).map(|i| tokio::spawn(one(i)))).await;
    assert!(done.iter().all(|one| matches!(one, Ok(Ok(())))), "{done:?}");
    let ended = start();
    journal.end(Outcome::Done, ended).await.expect("written");
    assert_eq!(journal.proofs(None, 1000).await.expect("read").len(), 300);
    assert_eq!(journal.flights(None, 1000).await.expect("read"), []);
    let log = desk.dir.path().join("pairs").join(pair("a", "b").name()).join("journal.db-wal");
    assert_eq!(log.metadata().map_or(0, |log| log.len()), 0, "one file holds everything");
}

#[tokio::test(start_paused = true)]
async fn a_history_tells_what_was_done_while_the_next_run_is_at_it() {
    let desk = Desk::new();
    let first = desk.open().await;
    first.prove(&"k".into(), proved(3)).await.expect("noted");
    first.deleted(&"old".into(), Some("marker-1")).await.expect("noted");
    first.end(Outcome::Partly, start()).await.expect("written");
    drop(first);
    let second = desk.open_back().await;
    second.intend(intent("m")).await.expect("noted");
    let history = desk.history().await;
    assert_eq!(history.ends(), &["mem://a", "mem://b"]);
    assert_eq!(history.way(true), ("mem://b", "mem://a"));
    let runs = history.runs(None, 10).await.expect("read");
    let told: Vec<_> = runs.iter().map(|run| (run.number, run.turned, run.ended, run.info.pid)).collect();
    assert_eq!(told, [(2, true, None, 7), (1, false, Some((start(), Outcome::Partly)), 7)]);
    assert_eq!(history.runs(Some(2), 10).await.expect("read").len(), 1);
    assert_eq!(history.proofs(false, None, 10).await.expect("read"), [("k".into(), Proved { run: 1, ..proved(3) })]);
    let deletions = history.deletions(None, 10).await.expect("read");
    assert_eq!(deletions.len(), 1);
    assert!(deletions[0].key == Key::from("old") && deletions[0].version.as_deref() == Some("marker-1") && deletions[0].run == 1);
    assert_eq!(history.deletions(Some(deletions[0].number), 10).await.expect("read"), []);
    let flights = history.flights(None, 10).await.expect("read");
    assert!(flights.len() == 1 && !flights[0].outbound && flights[0].intent == intent("m"), "{flights:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_ends_flights_only_between_runs() {
    let desk = Desk::new();
    let state = StateDir::new(desk.dir.path());
    let name = pair("a", "b").name();
    let journal = desk.open().await;
    let flight = journal.intend(intent("k")).await.expect("noted");
    let upload = UploadId("u".into());
    journal.advance(flight, Event::Created(upload.clone())).await.expect("noted");
    journal.advance(flight, Event::Part(part(1))).await.expect("noted");
    journal.flush().await.expect("written");
    assert_eq!(state.sweep(&name, run()).await.expect_err("a run is at work").kind(), ErrorKind::Local);
    drop(journal);
    let sweep = state.sweep(&name, run()).await.expect("free");
    assert!(sweep.holds(flight, &upload).await.expect("read"));
    assert!(!sweep.holds(flight, &UploadId("another".into())).await.expect("read"));
    assert_eq!(desk.try_open(&pair("a", "b")).await.expect_err("swept").kind(), ErrorKind::Local);
    sweep.aborted(flight).await.expect("written");
    assert!(!sweep.holds(flight, &upload).await.expect("read"));
    drop(sweep);
    assert_eq!(desk.open().await.flights(None, 10).await.expect("read"), []);
}

#[tokio::test]
async fn runs_and_deletes_of_long_ago_are_forgotten_and_what_was_proved_is_not() {
    let desk = Desk::new();
    let day = |days: i64| SignedDuration::from_hours(24 * days);
    let on = async |days: i64| {
        let clock = desk.clock.moved(day(days));
        StateDir::new(desk.dir.path()).open(&pair("a", "b"), Keep::Full, run(), clock.clone()).await.map(|journal| (journal, clock)).expect("a journal")
    };
    for days in [0, 300, 500] {
        let (journal, clock) = on(days).await;
        journal.prove(&"kept".into(), proved(1)).await.expect("queued");
        journal.deleted(&format!("gone on day {days}").as_str().into(), None).await.expect("queued");
        journal.end(Outcome::Done, clock.now()).await.expect("ended");
    }
    let history = desk.history().await;
    let told = |runs: Vec<history::Run>| runs.iter().map(|run| run.number).collect::<Vec<_>>();
    assert_eq!(told(history.runs(None, 10).await.expect("read")), [3, 2]);
    let left: Vec<Key> = history.deletions(None, 10).await.expect("read").into_iter().map(|deletion| deletion.key).collect();
    assert_eq!(left, ["gone on day 300", "gone on day 500"].map(Key::from));
    drop(on(2000).await);
    let history = desk.history().await;
    assert_eq!(told(history.runs(None, 10).await.expect("read")), [4], "a number is never used again");
    assert!(history.deletions(None, 10).await.expect("read").is_empty());
    assert_eq!(history.proofs(false, None, 10).await.expect("read").len(), 1);
}
