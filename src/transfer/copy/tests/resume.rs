//! Copies that go on where an earlier one stopped: with the journal, and without.

use std::ops::{Deref, DerefMut};

use super::*;
use crate::journal::{Event, Keep, MemoryJournal, Pair, RunInfo, State, StateDir};
use crate::storage::UploadId;

/// 5000 bytes in five parts of 1000.
const PARTS: usize = 5;

fn payload() -> Vec<u8> {
    bytes(1000 * PARTS)
}

/// A bench whose journal lies on disk.
struct Lasting {
    bench: Bench,
    dir: tempfile::TempDir,
}

impl Deref for Lasting {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl DerefMut for Lasting {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.bench
    }
}

impl Lasting {
    async fn new(source: Stated, destination: Stated) -> Self {
        Self::of(Bench::new(source, destination)).await
    }

    async fn of(bench: Bench) -> Self {
        let mut lasting = Self { bench, dir: tempfile::tempdir().expect("a folder") };
        lasting.restart().await;
        lasting
    }

    /// As another process would find the journal.
    async fn restart(&mut self) {
        self.bench.context.journal = Arc::new(MemoryJournal::new());
        let pair = Pair::of(&Location::new(self.source.clone(), Key::EMPTY), &Location::new(self.destination.clone(), Key::EMPTY));
        let state = StateDir::new(self.dir.path());
        let opened = state.open(&pair, Keep::Full, RunInfo::default(), self.context.clock.clone()).await;
        self.bench.context.journal = Arc::new(opened.expect("a journal"));
    }

    /// The journal is lost with its disk.
    async fn forget(&mut self) {
        self.bench.context.journal = Arc::new(MemoryJournal::new());
        self.dir = tempfile::tempdir().expect("a folder");
        self.restart().await;
    }

    async fn fill_source(&self) {
        self.source.put(&KEY.into(), Payload::from(payload()), Put::default()).await.expect("a source object");
    }

    /// Copies until the destination has taken so many parts, then dies.
    async fn copy_until(&self, parts: u64) {
        self.destination_faults.add(Fault::on(Operation::UploadPart, Effect::Delay(Duration::from_secs(3600))).after(parts));
        let copier = self.copier();
        let task = self.task().await;
        tokio::select! {
            ended = copier.copy(&task) => panic!("it was to die: {ended:?}"),
            () = self.context.clock.sleep(Duration::from_secs(60)) => {}
        }
        // As the run does every second.
        self.context.journal.flush().await.expect("written");
        self.destination_faults.clear();
    }

    fn sent(&self) -> u64 {
        self.destination_faults.calls(Operation::UploadPart)
    }

    fn read_ranges(&self) -> u64 {
        self.source_faults.calls(Operation::Get)
    }

    async fn open_uploads(&self) -> usize {
        self.destination.multipart().expect("parts").list_uploads(Key::EMPTY).count().await
    }

    /// Copies again, and says how many parts were sent and how many ranges were read for it.
    async fn resume(&mut self) -> (Copied, u64, u64) {
        self.restart().await;
        let (sent, read) = (self.sent(), self.read_ranges());
        let copied = self.copy_again().await.expect("a copy");
        assert_eq!(self.stored().await.as_deref(), Some(&payload()[..]));
        assert_eq!(self.open_uploads().await, 0);
        assert!(self.context.journal.flights(None, 9).await.expect("flights").is_empty());
        (copied, self.sent() - sent, self.read_ranges() - read)
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_neither_sent_nor_read_again() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    bench.copy_until(3).await;
    assert_eq!(bench.open_uploads().await, 1);
    let (copied, sent, read) = bench.resume().await;
    assert_eq!((sent, read), (2, 2));
    assert_eq!((copied.resumed_bytes, copied.reread_bytes, copied.verified()), (3000, 0, Proof::Crc64Xz));
}

#[tokio::test(start_paused = true)]
async fn without_the_journal_an_upload_is_adopted_and_its_parts_are_proved_by_reading() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    bench.copy_until(3).await;
    bench.forget().await;
    let (copied, sent, read) = bench.resume().await;
    assert_eq!((sent, read), (2, 5));
    assert_eq!((copied.resumed_bytes, copied.reread_bytes), (3000, 3000));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_only_the_service_knows_is_proved_and_one_that_is_wrong_is_sent_again() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    bench.copy_until(3).await;
    bench.forget().await;
    // Somebody has put other bytes under a part's number.
    let multipart = bench.destination.multipart().expect("parts");
    let open = multipart.list_uploads(Key::EMPTY).next().await.expect("open").expect("listed").upload;
    multipart.upload_part(&open, 2, Payload::from(vec![7; 1000]), None).await.expect("another part");
    let (copied, sent, read) = bench.resume().await;
    assert_eq!((sent, read, copied.resumed_bytes), (3, 5, 2000));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changed_starts_over_and_leaves_nothing_open() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.source.put(&KEY.into(), Payload::from(vec![1; 5000]), Put::default()).await.expect("an older source");
    bench.copy_until(3).await;
    bench.fill_source().await;
    let (copied, sent, _) = bench.resume().await;
    assert_eq!((sent, copied.resumed_bytes), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn an_open_upload_keeps_its_part_size_and_what_it_was_begun_with() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    bench.copy_until(3).await;
    bench.options.part_size_bytes = Some(1700);
    let (copied, sent, _) = bench.resume().await;
    assert_eq!((sent, copied.resumed_bytes), (2, 3000));
    // With another storage class it is another upload.
    bench.options.part_size_bytes = Some(1000);
    bench.copy_until(3).await;
    bench.options.storage_class = crate::transfer::job::ClassChoice::Named("IA".into());
    let (copied, sent, _) = bench.resume().await;
    assert_eq!((sent, copied.resumed_bytes), (5, 0));
    assert_eq!(bench.destination.head(&ObjectRef::from(&Key::from(KEY))).await.expect("there").attributes.storage_class.as_deref(), Some("IA"));
}

/// Where only a digest over all bytes proves the source, they are read again, and not sent.
#[tokio::test(start_paused = true)]
async fn a_source_that_only_a_digest_proves_is_read_again_and_not_sent() {
    let mut bench = Lasting::new(Stated::Md5, Stated::Crc64).await;
    bench.fill_source().await;
    bench.copy_until(3).await;
    let (copied, sent, read) = bench.resume().await;
    assert_eq!((sent, read, copied.source_proof), (2, 5, Proof::Md5));
    assert_eq!((copied.resumed_bytes, copied.reread_bytes), (3000, 3000));
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_nobody_heard_is_not_made_again() {
    for stated in [Stated::Crc64, Stated::Md5] {
        let mut bench = Lasting::new(stated, Stated::Crc64).await;
        bench.fill_source().await;
        // Completed; then the process dies before it hears so.
        let lost = Effect::LoseAnswer(Error::new(ErrorKind::Interrupted, "killed"));
        bench.destination_faults.add(Fault::on(Operation::CompleteUpload, lost).first(1));
        bench.copy_again().await.expect_err("killed");
        bench.destination_faults.clear();
        let (copied, sent, read) = bench.resume().await;
        assert_eq!((sent, read, copied.resumed_bytes), (0, 0, 5000), "{stated:?}");
        assert!(copied.verified() > Proof::Size);
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_part_throws_no_other_away() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    let damaged = Fault::on(Operation::UploadPart, Effect::Flip { at: 7 }).after(4);
    bench.destination_faults.add(damaged);
    assert_eq!(bench.copy_again().await.expect_err("a part that is damaged each time").kind(), ErrorKind::Integrity);
    bench.destination_faults.clear();
    let (_, sent, _) = bench.resume().await;
    assert!(sent < PARTS as u64, "{sent} parts were sent again");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_from_somebody_elses_upload_is_left_alone() {
    let bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    bench.context.clock.sleep(Duration::from_secs(3600)).await;
    let multipart = bench.destination.multipart().expect("parts");
    for _ in 0..2 {
        multipart.create(&KEY.into(), &Attributes::default()).await.expect("somebody's upload");
    }
    bench.copy_again().await.expect("a copy");
    assert_eq!(bench.open_uploads().await, 2);
}

/// An upload that was begun before the source was written cannot be the source's.
#[tokio::test(start_paused = true)]
async fn an_upload_older_than_the_source_is_not_adopted() {
    let options = |seed| MemoryOptions { clock: Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), seed), ..MemoryOptions::default() };
    let bench = Lasting::of(Bench::with(options(1), options(2))).await;
    let multipart = bench.destination.multipart().expect("parts");
    multipart.create(&KEY.into(), &Attributes::default()).await.expect("somebody's upload");
    bench.context.clock.sleep(Duration::from_secs(3600)).await;
    bench.fill_source().await;
    bench.copy_again().await.expect("a copy");
    assert_eq!(bench.open_uploads().await, 1);
}

/// An adopted upload may have been begun by another program, with other metadata: what is made of it is looked at, and made anew.
#[tokio::test(start_paused = true)]
async fn an_adopted_upload_with_other_attributes_starts_over() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    let multipart = bench.destination.multipart().expect("parts");
    let attributes = Attributes { content_type: Some("image/png".into()), ..Attributes::default() };
    let foreign = Upload { key: KEY.into(), id: multipart.create(&KEY.into(), &attributes).await.expect("somebody's upload") };
    multipart.upload_part(&foreign, 1, Payload::from(payload()[..1000].to_vec()), None).await.expect("a part");
    let (copied, ..) = bench.resume().await;
    assert_eq!(copied.verified(), Proof::Crc64Xz);
    let made = bench.destination.head(&ObjectRef::from(&Key::from(KEY))).await.expect("there").attributes;
    assert!(made.content_type.is_none() && made.user.contains_key("dragon-source"), "{made:?}");
}

/// The run that adopted it may die: the next one finds it in the journal, as if it were its own.
#[tokio::test(start_paused = true)]
async fn an_adopted_upload_is_looked_at_by_whoever_completes_it() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    let multipart = bench.destination.multipart().expect("parts");
    let attributes = Attributes { content_type: Some("image/png".into()), ..Attributes::default() };
    multipart.create(&KEY.into(), &attributes).await.expect("somebody's upload");
    bench.destination_faults.add(Fault::fail(Operation::CompleteUpload, ErrorKind::Unavailable));
    bench.copy_again().await.expect_err("not completed");
    bench.destination_faults.clear();
    bench.restart().await;
    bench.resume().await;
    let made = bench.destination.head(&ObjectRef::from(&Key::from(KEY))).await.expect("there").attributes;
    assert!(made.content_type.is_none() && made.user.contains_key("dragon-source"), "{made:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_to_stop_ends_its_parts_and_keeps_them() {
    let mut bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    bench.destination_faults.add(Fault::on(Operation::UploadPart, Effect::Delay(Duration::from_secs(1))));
    bench.options.concurrency = Some(1);
    let (copier, task) = (bench.copier(), bench.task().await);
    let stop = async {
        bench.context.clock.sleep(Duration::from_millis(1500)).await;
        bench.context.cancel.cancel();
    };
    let (ended, ()) = tokio::join!(copier.copy(&task), stop);
    assert_eq!(ended.expect_err("interrupted").kind(), ErrorKind::Interrupted);
    assert_eq!(bench.sent(), 2, "the part that moved has ended, and none was begun after it");
    drop(copier);
    bench.destination_faults.clear();
    bench.context.cancel = tokio_util::sync::CancellationToken::new();
    let (copied, sent, _) = bench.resume().await;
    assert_eq!((sent, copied.resumed_bytes), (3, 2000));
}

/// What cannot be undone is announced first.
#[tokio::test(start_paused = true)]
async fn an_upload_stands_in_the_journal_before_it_is_completed() {
    let bench = Lasting::new(Stated::Crc64, Stated::Crc64).await;
    bench.fill_source().await;
    bench.destination_faults.add(Fault::fail(Operation::CompleteUpload, ErrorKind::Unavailable));
    bench.copy_again().await.expect_err("not completed");
    let flight = bench.context.journal.flight(&KEY.into()).await.expect("a journal").expect("a flight");
    assert_eq!((flight.state, flight.parts.len()), (State::Completing, PARTS));
    assert!(bench.context.journal.advance(flight.id, Event::Created(UploadId("x".into()))).await.is_err());
}
