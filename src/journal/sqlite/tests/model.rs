//! The whole journal against a model: whatever a run does, and whenever it is killed, what is on disk is what it did up to some moment
//! after the last record that had to last.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::codec::tests as codec;
use super::*;

/// What is known, in the pair's own order.
#[derive(Debug, Clone, PartialEq, Default)]
struct World {
    /// With their parts; outbound is from the first end to the second.
    flights: BTreeMap<FlightId, Flight>,
    proofs: BTreeMap<Key, Proved>,
    /// By direction and key: ETag, since when, and the run that last said so.
    doomed: BTreeMap<(bool, Key), (ETag, Timestamp, u32)>,
    deleted: Vec<(u32, Key, Option<String>)>,
    runs: Vec<Ran>,
}

#[derive(Debug, Clone, PartialEq)]
struct Ran {
    turned: bool,
    outcome: Option<Outcome>,
    checkpoint: Option<(u64, Key, u64)>,
}

impl World {
    /// What a file holds.
    fn on_disk(desk: &Desk) -> Self {
        let path = desk.dir.path().join("pairs").join(pair("a", "b").name()).join("journal.db");
        let mut db = database::open_to_read(&path).expect("a journal");
        let mut world = Self::default();
        for flight in read::flights(&db, false, None, 1000).expect("read") {
            let whole = read::flight_of(&mut db, !flight.outbound, &flight.intent.key).expect("read").expect("there");
            world.flights.insert(flight.id, Flight { outbound: flight.outbound, ..whole });
        }
        world.proofs.extend(read::proofs(&db, false, None, 1000).expect("read"));
        let time = |us: i64| Timestamp::from_microsecond(us).expect("a time");
        let mut doomed = db.prepare("SELECT turned, key, etag, since, run FROM doomed").expect("a table");
        let rows = doomed.query_map([], |row| {
            let key = Key::new(row.get::<_, Vec<u8>>(1)?);
            Ok(((row.get(0)?, key), (ETag::new(&row.get::<_, String>(2)?), time(row.get(3)?), row.get(4)?)))
        });
        world.doomed = rows.expect("rows").collect::<rusqlite::Result<_>>().expect("read");
        world.deleted.extend(read::deletions(&db, None, 1000).expect("read").into_iter().map(|d| (d.run, d.key, d.version)));
        let mut runs = db.prepare("SELECT turned, outcome, fingerprint, after, keys FROM run ORDER BY run").expect("a table");
        let rows = runs.query_map([], |row| {
            let after: Option<Vec<u8>> = row.get(3)?;
            let checkpoint = match after {
                Some(after) => Some((row.get::<_, i64>(2)?.cast_unsigned(), Key::new(after), row.get::<_, i64>(4)?.cast_unsigned())),
                None => None,
            };
            let outcome = row.get::<_, Option<String>>(1)?.map(|word| Outcome::parse(&word).expect("an outcome"));
            Ok(Ran { turned: row.get(0)?, outcome, checkpoint })
        });
        world.runs = rows.expect("rows").collect::<rusqlite::Result<_>>().expect("read");
        world
    }

    fn run(&self) -> u32 {
        self.runs.len().try_into().expect("few")
    }

    fn turned(&self) -> bool {
        self.runs.last().expect("a run").turned
    }

    fn flight(&self, key: &Key) -> Option<&Flight> {
        self.flights.values().find(|flight| flight.outbound != self.turned() && flight.intent.key == *key)
    }

    /// A proof as the run sees it.
    fn seen(&self, proved: &Proved) -> Proved {
        if self.turned() { codec::turned(proved.clone()) } else { proved.clone() }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Intend(Key),
    /// Of the open flights, which, and what.
    Advance(usize, Event),
    /// By this run, or by an earlier one.
    Prove(Key, Box<Proved>, bool),
    Forget(Key),
    Doom(Vec<(Key, ETag)>),
    Spare,
    Deleted(Key, Option<String>),
    Checkpoint(u64, Key, u64),
    Interrupted(u64),
    Read(Key),
    ReadAll(Option<Key>, usize),
    Flush,
    Wait(u64),
    /// Killed; the next run goes this way.
    Crash(bool),
    End(Outcome, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || proptest::sample::select(&["", "a", "a/", "a/b", "\u{10ffff}"][..]).prop_map(Key::from);
    let etag = || proptest::sample::select(&["1", "2", "ab", "AB"][..]).prop_map(ETag::new);
    let event = prop_oneof![
        4 => "[a-z]{1,8}".prop_map(|id| Event::Created(UploadId(id))),
        6 => (1..5_u32).prop_map(|number| Event::Part(part(number))),
        3 => Just(Event::Completing),
        2 => Just(Event::Proved),
        1 => Just(Event::Failed),
        1 => Just(Event::Aborted),
    ];
    let outcome = proptest::sample::select(&[Outcome::Done, Outcome::Partly, Outcome::Stopped][..]);
    let step = prop_oneof![
        4 => key().prop_map(Step::Intend),
        10 => (0..4_usize, event).prop_map(|(which, event)| Step::Advance(which, event)),
        6 => (key(), codec::proved(), any::<bool>()).prop_map(|(key, proved, own)| Step::Prove(key, Box::new(proved), own)),
        2 => key().prop_map(Step::Forget),
        2 => vec((key(), etag()), 0..4).prop_map(Step::Doom),
        1 => Just(Step::Spare),
        2 => (key(), option::of("[a-z]{0,5}")).prop_map(|(key, version)| Step::Deleted(key, version)),
        2 => (0..2_u64, key(), any::<u64>()).prop_map(|(job, key, keys)| Step::Checkpoint(u64::MAX - job, key, keys)),
        2 => (0..2_u64).prop_map(|job| Step::Interrupted(u64::MAX - job)),
        3 => key().prop_map(Step::Read),
        2 => (option::of(key()), 0..7_usize).prop_map(|(after, limit)| Step::ReadAll(after, limit)),
        1 => Just(Step::Flush),
        1 => (1..200_u64).prop_map(Step::Wait),
        2 => any::<bool>().prop_map(Step::Crash),
        1 => (outcome, any::<bool>()).prop_map(|(outcome, way)| Step::End(outcome, way)),
    ];
    vec(step, 1..60)
}

/// A journal, what it must hold, and what may be on disk if it is killed now.
struct Play {
    desk: Desk,
    journal: SqliteJournal,
    world: World,
    possible: Vec<World>,
}

impl Play {
    async fn open(desk: Desk, mut world: World, turned: bool) -> Self {
        let journal = if turned { desk.open_back().await } else { desk.open().await };
        world.runs.push(Ran { turned, outcome: None, checkpoint: None });
        assert_eq!(journal.run(), world.run());
        Self { desk, journal, possible: vec![world.clone()], world }
    }

    /// Notes what has changed: it may be on disk.
    fn queued(&mut self) {
        self.possible.push(self.world.clone());
    }

    /// Everything is on disk.
    fn lasting(&mut self) {
        self.possible = vec![self.world.clone()];
    }

    async fn take(mut self, step: Step) -> Self {
        let (run, turned, now) = (self.world.run(), self.world.turned(), self.desk.clock.now());
        match step {
            Step::Intend(key) => {
                let intent = Intent { key: key.clone(), begun: now, ..intent("x") };
                let known = self.world.flight(&key).is_some();
                match self.journal.intend(intent.clone()).await {
                    Ok(id) => {
                        assert!(!known);
                        let flight = Flight { id, outbound: !turned, intent, state: State::Intent, upload: None, touched: now, parts: Vec::new() };
                        assert!(self.world.flights.insert(id, flight).is_none(), "an id is given once");
                        self.lasting();
                    }
                    Err(error) => assert!(known && error.kind() == ErrorKind::Unexpected, "{error}"),
                }
            }
            Step::Advance(which, event) => {
                let ids: Vec<FlightId> = self.world.flights.keys().copied().collect();
                let id = ids.get(which).copied().unwrap_or(FlightId(i64::MAX));
                let legal = self.world.flights.get(&id).and_then(|flight| flight.state.next(&event).ok());
                let must_last = event.must_last();
                let done = self.journal.advance(id, event.clone()).await;
                assert_eq!(done.is_ok(), legal.is_some(), "{done:?}");
                let Some(state) = legal else { return self };
                let flight = self.world.flights.get_mut(&id).expect("legal");
                flight.state = state;
                match event {
                    Event::Created(upload) => (flight.upload, flight.touched) = (Some(upload), now),
                    Event::Part(part) => {
                        flight.parts.retain(|known| known.number != part.number);
                        flight.parts.push(part);
                        flight.parts.sort_by_key(|part| part.number);
                        flight.touched = now;
                    }
                    _ => {}
                }
                self.world.flights.retain(|_, flight| !flight.state.is_final());
                if must_last { self.lasting() } else { self.queued() }
            }
            Step::Prove(key, proved, own) => {
                let proved = Proved { run: if own { 0 } else { proved.run }, ..*proved };
                self.journal.prove(&key, proved.clone()).await.expect("noted");
                let recorded = Proved { run: if own { run } else { proved.run }, ..proved };
                self.world.proofs.insert(key, self.world.seen(&recorded));
                self.queued();
            }
            Step::Forget(key) => {
                self.journal.forget(&key).await.expect("noted");
                self.world.proofs.remove(&key);
                self.queued();
            }
            Step::Doom(keys) => {
                let before = self.world.doomed.clone();
                let known = |key: &Key, etag: &ETag| before.get(&(turned, key.clone())).filter(|(known, ..)| known == etag).map_or(now, |(_, since, _)| *since);
                let wanted: Vec<Timestamp> = keys.iter().map(|(key, etag)| known(key, etag)).collect();
                assert_eq!(self.journal.doom(&keys, now).await.expect("noted"), wanted);
                self.lasting();
                for ((key, etag), since) in keys.into_iter().zip(wanted) {
                    self.world.doomed.insert((turned, key), (etag, since, run));
                    self.queued();
                }
            }
            Step::Spare => {
                let before = self.world.doomed.len();
                self.lasting();
                self.world.doomed.retain(|(way, _), (_, _, named)| *way != turned || *named == run);
                assert_eq!(self.journal.spare().await.expect("noted"), (before - self.world.doomed.len()) as u64);
                self.queued();
            }
            Step::Deleted(key, version) => {
                self.journal.deleted(&key, version.as_deref()).await.expect("noted");
                self.world.proofs.remove(&key);
                self.world.doomed.remove(&(turned, key.clone()));
                self.world.deleted.push((run, key, version));
                self.queued();
            }
            Step::Checkpoint(fingerprint, after, keys) => {
                self.journal.checkpoint(fingerprint, &after, keys).await.expect("noted");
                self.world.runs.last_mut().expect("a run").checkpoint = Some((fingerprint, after, keys));
                self.queued();
            }
            Step::Interrupted(fingerprint) => {
                let stopped = |ran: &&Ran| matches!(ran.outcome, None | Some(Outcome::Stopped)) && ran.turned == turned;
                let earlier = self.world.runs.iter().rev().skip(1).find(|ran| !(stopped(ran) && ran.checkpoint.is_none())).filter(stopped);
                let wanted = earlier.and_then(|ran| ran.checkpoint.clone()).filter(|(job, ..)| *job == fingerprint);
                let got = self.journal.interrupted(fingerprint).await.expect("read");
                assert_eq!(got.map(|at| (fingerprint, at.after, at.keys)), wanted);
            }
            Step::Read(key) => {
                let wanted = self.world.proofs.get(&key).map(|proved| self.world.seen(proved));
                assert_eq!(self.journal.proof(&key).await.expect("read"), wanted);
                let wanted = self.world.flight(&key).map(|flight| Flight { outbound: true, ..flight.clone() });
                assert_eq!(self.journal.flight(&key).await.expect("read"), wanted);
            }
            Step::ReadAll(after, limit) => {
                let rest = self.world.proofs.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
                let wanted: Vec<_> = rest.take(limit).map(|(key, proved)| (key.clone(), self.world.seen(proved))).collect();
                assert_eq!(self.journal.proofs(after.as_ref(), limit).await.expect("read"), wanted);
                let ids: Vec<_> = self.journal.flights(None, limit).await.expect("read").into_iter().map(|f| (f.id, f.outbound)).collect();
                assert_eq!(ids, self.world.flights.values().take(limit).map(|f| (f.id, f.outbound != turned)).collect::<Vec<_>>());
                self.lasting();
            }
            Step::Flush => {
                self.journal.flush().await.expect("written");
                self.lasting();
            }
            Step::Wait(ms) => self.desk.clock.sleep(Duration::from_millis(ms)).await,
            Step::Crash(turned) => {
                let desk = self.desk.crashed();
                let world = World::on_disk(&desk);
                assert!(self.possible.contains(&world), "on disk is {world:#?}\nwhich is none of {:#?}", self.possible);
                return Self::open(desk, world, turned).await;
            }
            Step::End(outcome, turned) => {
                self.journal.end(outcome, now).await.expect("written");
                self.world.runs.last_mut().expect("a run").outcome = Some(outcome);
                drop(self.journal);
                assert_eq!(World::on_disk(&self.desk), self.world);
                return Self::open(self.desk, self.world, turned).await;
            }
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 48 } else { 500 }))]

    #[test]
    fn whatever_is_done_and_whenever_it_is_killed_the_disk_holds_what_was_done(steps in steps(), turned in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut play = Play::open(Desk::new(), World::default(), turned).await;
            for step in steps.into_iter().chain([Step::Crash(false)]) {
                play = play.take(step).await;
            }
        });
    }
}
