use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;

use futures::StreamExt;

use super::*;
use crate::clock::Clock;
use crate::storage::fault::{Effect, Fault, FaultLayer};
use crate::storage::layer::Operation;
use crate::storage::memory::{MemoryAccount, MemoryOptions, MemoryStore, Stated};
use crate::storage::open::layered;
use crate::storage::retry;
use crate::storage::{Account, Attributes, Complete, Get, Key, ObjectRef, Payload, Put, Upload};
use crate::transfer::task::{Proof, Reason};

mod ranged;
#[cfg(feature = "journal")]
mod resume;

const KEY: &str = "a/b 中";

/// Two stores, what goes wrong with them, and a copier between them.
struct Bench {
    source: Arc<dyn Storage>,
    destination: Arc<dyn Storage>,
    source_faults: FaultLayer,
    destination_faults: FaultLayer,
    options: Options,
    context: Context,
    budget: MemoryBudget,
}

impl Bench {
    /// Parts of 1000 bytes, whatever the clouds' limits.
    fn new(source: Stated, destination: Stated) -> Self {
        Self::with(MemoryOptions { stated: source, ..MemoryOptions::default() }, MemoryOptions { stated: destination, ..MemoryOptions::default() })
    }

    fn with(source: MemoryOptions, destination: MemoryOptions) -> Self {
        let source: Arc<dyn Storage> = Arc::new(MemoryStore::with("from", source));
        let destination: Arc<dyn Storage> = Arc::new(MemoryStore::with("to", destination));
        let budget = MemoryBudget::new(MemoryBudget::BYTES_MIN);
        Self {
            source_faults: FaultLayer::new(source.clone(), Clock::default(), []),
            destination_faults: FaultLayer::new(destination.clone(), Clock::default(), []),
            source,
            destination,
            options: Options { part_size_bytes: Some(1000), ..Options::default() },
            context: Context { memory: Some(budget.clone()), ..Context::default() },
            budget,
        }
    }

    fn source_fault(self, fault: Fault) -> Self {
        self.source_faults.add(fault);
        self
    }

    fn destination_fault(self, fault: Fault) -> Self {
        self.destination_faults.add(fault);
        self
    }

    fn copier(&self) -> Copier {
        Copier::new(
            Arc::new(self.source_faults.clone()),
            &Location::new(Arc::new(self.destination_faults.clone()), Key::EMPTY),
            &self.options,
            &self.context,
            &Streams::new(&self.options, &self.context),
        )
    }

    /// Puts an object at the source and copies it.
    async fn copy(&self, bytes: &[u8]) -> Result<Copied> {
        let put = Put { attributes: Attributes { content_type: Some("text/plain".into()), ..Attributes::default() }, ..Put::default() };
        self.source.put(&KEY.into(), Payload::from(bytes.to_vec()), put).await.expect("a source object");
        self.copy_again().await
    }

    async fn copy_again(&self) -> Result<Copied> {
        self.copier().copy(&self.task().await).await
    }

    async fn task(&self) -> CopyTask {
        let info = self.source.head(&ObjectRef::from(&Key::from(KEY))).await.expect("a source object");
        CopyTask {
            source_version: None,
            key: KEY.into(),
            source_key: KEY.into(),
            destination_key: KEY.into(),
            size: info.size,
            etag: info.etag,
            modified: info.modified,
            storage_class: String::new(),
            kind: info.kind,
            reason: Reason::Absent,
        }
    }

    fn retries(&self) -> u64 {
        self.context.progress.retries.load(Ordering::Relaxed)
    }

    /// What the destination holds.
    async fn stored(&self) -> Option<Bytes> {
        read(&*self.destination).await
    }

    /// Nothing is left behind, whatever happened.
    async fn assert_clean(&self) {
        self.assert_clean_but(0).await;
    }

    /// As [`Self::assert_clean`], but for so many uploads whose id was lost with the answer to their creation: nobody knows them to
    /// abort them, and no part was ever sent to them.
    async fn assert_clean_but(&self, unknown: usize) {
        let multipart = self.destination.multipart().expect("parts");
        let uploads: Vec<_> = multipart.list_uploads(Key::EMPTY).collect().await;
        assert!(uploads.len() <= unknown, "{uploads:?}");
        for open in uploads {
            let parts = multipart.list_parts(&open.expect("listed").upload).await.expect("listed");
            assert!(parts.is_empty(), "{parts:?}");
        }
        assert_eq!(self.budget.in_use_bytes(), 0);
        assert!(self.budget.peak_bytes() <= self.budget.capacity_bytes());
        assert!(self.context.progress.in_flight().is_empty());
    }

    /// The copy ends well, with so many retries.
    async fn assert_copies(&self, bytes: &[u8], retries: u64) -> Copied {
        let copied = self.copy(bytes).await.expect("a copy");
        assert_eq!(self.stored().await.as_deref(), Some(bytes));
        assert_eq!(self.retries(), retries);
        self.assert_clean().await;
        copied
    }

    /// The copy fails, and nothing wrong is at the destination.
    async fn assert_fails(&self, bytes: &[u8], kind: ErrorKind, text: &str) {
        let error = self.copy(bytes).await.expect_err("no copy");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.key().is_some(), "{error}");
        assert_eq!(self.stored().await, None);
        self.assert_clean().await;
    }
}

async fn read(store: &dyn Storage) -> Option<Bytes> {
    let mut output = store.get(&ObjectRef::from(&Key::from(KEY)), Get::default()).await.ok()?;
    let mut all = Vec::new();
    while let Some(chunk) = output.body.next().await {
        all.extend_from_slice(&chunk.expect("a body"));
    }
    Some(all.into())
}

fn bytes(len: usize) -> Vec<u8> {
    let mut pattern: Vec<u8> = (0..251u32).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().repeat(len / 251 + 1);
    pattern.truncate(len);
    pattern
}

fn flip(operation: Operation) -> Fault {
    Fault::on(operation, Effect::Flip { at: 7 })
}

const SMALL: usize = 900;
const LARGE: usize = 4500;

#[tokio::test]
async fn every_size_is_copied_and_proved_with_two_requests_where_it_fits() {
    for size in [0, 1, 999, 1000, 1001, 2000, LARGE] {
        let bench = Bench::new(Stated::Crc64, Stated::Crc64);
        let copied = bench.assert_copies(&bytes(size), 0).await;
        assert_eq!((copied.size, copied.verified()), (size as u64, Proof::Crc64Xz));
        assert_eq!(copied.checksums, Crc64::of(&bytes(size)).checksums());
        assert_eq!(bench.context.progress.moved_bytes.load(Ordering::Relaxed), size as u64);
        let requests = |f: &FaultLayer| Operation::ALL.map(|o| f.calls(o)).iter().sum::<u64>();
        // In parts: a HEAD of the source; at the destination create, complete, and once a run a list of what is open.
        let (of_source, of_destination) = if size <= 1000 { (1, 1) } else { (1 + size.div_ceil(1000) as u64, 3 + size.div_ceil(1000) as u64) };
        assert_eq!((requests(&bench.source_faults), requests(&bench.destination_faults)), (of_source, of_destination), "{size}");
        let info = bench.destination.head(&ObjectRef::from(&Key::from(KEY))).await.expect("a copy");
        assert_eq!(info.attributes.content_type.as_deref(), Some("text/plain"));
        assert!(info.attributes.user.contains_key("dragon-source"));
    }
}

#[tokio::test]
async fn each_end_is_proved_by_what_it_states() {
    let expected = [
        (Stated::Crc64, Proof::Crc64Xz, Proof::Crc64Xz),
        (Stated::Md5, Proof::Md5, Proof::Md5),
        (Stated::Composite, Proof::Crc32c, Proof::Size),
        (Stated::Nothing, Proof::None, Proof::Size),
    ];
    for (from, source_proof, _) in expected {
        for (to, _, destination_proof) in expected {
            for size in [SMALL, LARGE] {
                let copied = Bench::new(from, to).assert_copies(&bytes(size), 0).await;
                assert_eq!((copied.source_proof, copied.destination_proof), (source_proof, destination_proof), "{from:?} to {to:?}, {size}");
            }
        }
    }
    let mut bench = Bench::new(Stated::Md5, Stated::Md5);
    bench.options.no_md5 = true;
    let copied = bench.assert_copies(&bytes(LARGE), 0).await;
    assert_eq!((copied.source_proof, copied.destination_proof), (Proof::None, Proof::Size));
}

/// Writes an object in parts of these lengths at the source.
async fn written_in_parts(bench: &Bench, lengths: &[usize]) -> Vec<u8> {
    let multipart = bench.source.multipart().expect("parts");
    let upload = Upload { key: KEY.into(), id: multipart.create(&KEY.into(), &Attributes::default()).await.expect("an upload") };
    let all = bytes(lengths.iter().sum());
    let (mut parts, mut rest) = (Vec::new(), &all[..]);
    for (number, length) in (1..).zip(lengths) {
        let (part, after) = rest.split_at(*length);
        parts.push(multipart.upload_part(&upload, number, Payload::from(part.to_vec()), None).await.expect("a part"));
        rest = after;
    }
    multipart.complete(&upload, &parts, Complete::default()).await.expect("an object");
    all
}

#[tokio::test]
async fn a_source_written_in_parts_is_proved_on_its_own_part_boundaries() {
    let uneven: Vec<usize> = (0..20).map(|i| if i == 9 { 7 } else { 300 }).collect();
    for stated in [Stated::Md5, Stated::Composite] {
        for (lengths, retries) in [(&[700, 700, 90][..], 0), (&[900], 0), (&[250, 250, 250, 9], 0), (&[1, 2, 1500, 3], 0), (&[300; 20], 0), (&uneven, 1)] {
            let bench = Bench::new(stated, Stated::Crc64);
            let all = written_in_parts(&bench, lengths).await;
            let copied = bench.copy_again().await.expect("a copy");
            assert_eq!(copied.source_proof, Proof::Composite, "{stated:?} {lengths:?}");
            assert_eq!(bench.stored().await.as_deref(), Some(&all[..]));
            assert_eq!(bench.retries(), retries, "only parts of uneven length are looked at twice");
            bench.assert_clean().await;

            let bench = Bench::new(stated, Stated::Crc64).source_fault(flip(Operation::Get));
            written_in_parts(&bench, lengths).await;
            let error = bench.copy_again().await.expect_err("wrong bytes");
            assert!(error.to_string().contains("over its parts"), "{error}");
            assert_eq!(bench.stored().await, None);
            bench.assert_clean().await;
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_the_sources_are_read_again_and_never_committed() {
    for stated in [Stated::Crc64, Stated::Md5, Stated::Composite] {
        for size in [SMALL, 1 + LARGE] {
            let once = Bench::new(stated, Stated::Crc64).source_fault(flip(Operation::Get).first(1));
            once.assert_copies(&bytes(size), 1).await;
            let always = Bench::new(stated, Stated::Crc64).source_fault(flip(Operation::Get));
            always.assert_fails(&bytes(size), ErrorKind::Integrity, "the source states").await;
            assert_eq!(always.retries(), 3);
            assert_eq!(always.destination_faults.calls(Operation::Put) + always.destination_faults.calls(Operation::CompleteUpload), 0);
        }
    }
}

#[tokio::test]
async fn a_source_that_states_a_wrong_checksum_fails_the_object() {
    let small = Bench::new(Stated::Crc64, Stated::Crc64).source_fault(Fault::on(Operation::Get, Effect::WrongChecksums));
    small.assert_fails(&bytes(SMALL), ErrorKind::Integrity, "the bytes read have crc64xz").await;
    let large = Bench::new(Stated::Crc64, Stated::Crc64).source_fault(Fault::on(Operation::Head, Effect::WrongChecksums));
    large.assert_fails(&bytes(LARGE), ErrorKind::Integrity, "the bytes read have crc64xz").await;
}

#[tokio::test]
async fn bytes_damaged_on_the_way_or_stored_wrong_are_sent_again_and_at_last_withdrawn() {
    for effect in [Effect::Flip { at: 7 }, Effect::FlipStored { at: 7 }, Effect::WrongChecksums] {
        for (size, operation) in [(SMALL, Operation::Put), (LARGE, Operation::UploadPart)] {
            let once = Bench::new(Stated::Crc64, Stated::Crc64).destination_fault(Fault::on(operation, effect.clone()).first(1));
            once.assert_copies(&bytes(size), 1).await;
            assert_eq!(once.source_faults.calls(Operation::Get), size.div_ceil(1000) as u64, "the source is not read again");
            let always = Bench::new(Stated::Crc64, Stated::Crc64).destination_fault(Fault::on(operation, effect.clone()));
            always.assert_fails(&bytes(size), ErrorKind::Integrity, "crc64xz").await;
        }
    }
    for (size, operation) in [(SMALL, Operation::Put), (LARGE, Operation::UploadPart)] {
        let fault = Fault::on(operation, Effect::FlipStored { at: 7 });
        let by_md5 = Bench::new(Stated::Crc64, Stated::Md5).destination_fault(fault);
        by_md5.assert_fails(&bytes(size), ErrorKind::Integrity, "the bytes sent have md5").await;
    }
}

#[tokio::test]
async fn an_object_put_together_wrong_does_not_stay() {
    let once = Bench::new(Stated::Crc64, Stated::Crc64).destination_fault(Fault::on(Operation::CompleteUpload, Effect::WrongChecksums).first(1));
    once.assert_copies(&bytes(LARGE), 1).await;
    let always = Bench::new(Stated::Crc64, Stated::Crc64).destination_fault(Fault::on(Operation::CompleteUpload, Effect::WrongChecksums));
    always.assert_fails(&bytes(LARGE), ErrorKind::Integrity, "and the destination states").await;
}

#[tokio::test]
async fn what_cannot_be_withdrawn_is_said() {
    let bench = Bench::new(Stated::Crc64, Stated::Crc64)
        .destination_fault(Fault::on(Operation::Put, Effect::FlipStored { at: 7 }))
        .destination_fault(Fault::fail(Operation::Delete, ErrorKind::Denied));
    let error = bench.copy(&bytes(SMALL)).await.expect_err("wrong bytes");
    assert!(error.to_string().contains("the wrong object is still there"), "{error}");
    assert!(!error.to_string().contains("nothing wrong was left"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_goes_on_below_and_one_that_just_stops_fails() {
    for size in [SMALL, LARGE] {
        let broken = Fault::on(Operation::Get, Effect::Truncate { at: 300, error: Some(Error::new(ErrorKind::Unavailable, "reset")) });
        let bench = Bench::new(Stated::Crc64, Stated::Crc64).source_fault(broken.first(2));
        bench.source.put(&KEY.into(), Payload::from(bytes(size)), Put::default()).await.expect("a source object");
        let retrying = layered(Arc::new(bench.source_faults.clone()), retry::Options::default(), Clock::default(), Arc::default());
        let copier = Copier::new(
            retrying,
            &Location::new(bench.destination.clone(), Key::EMPTY),
            &bench.options,
            &bench.context,
            &Streams::new(&bench.options, &bench.context),
        );
        assert_eq!(copier.copy(&bench.task().await).await.expect("a copy").verified(), Proof::Crc64Xz);
        assert_eq!(bench.context.progress.moved_bytes.load(Ordering::Relaxed), size as u64, "no byte is read twice");

        let short = Fault::on(Operation::Get, Effect::Truncate { at: 300, error: None });
        Bench::new(Stated::Crc64, Stated::Crc64).source_fault(short).assert_fails(&bytes(size), ErrorKind::Unavailable, "bytes early").await;
    }
}

#[tokio::test]
async fn a_source_that_changes_is_copied_as_it_then_is() {
    for size in [SMALL, LARGE] {
        for call in 1..=2 {
            let other = bytes(2 * size + 1);
            let bench = Bench::new(Stated::Crc64, Stated::Crc64).source_fault(Fault::on(Operation::Get, Effect::Overwrite(other.clone().into())).nth(call));
            let copied = bench.copy(&bytes(size)).await.expect("a copy");
            let expected = if size == SMALL && call == 2 { bytes(size) } else { other };
            assert_eq!(bench.stored().await.as_deref(), Some(&expected[..]));
            assert_eq!(copied.size, expected.len() as u64);
            bench.assert_clean().await;
        }
    }
    // A writer that never rests: every GET finds another object than the one that was looked at.
    let bench = Bench::new(Stated::Crc64, Stated::Crc64);
    for call in 1..=16 {
        bench.source_faults.add(Fault::on(Operation::Get, Effect::Overwrite(bytes(SMALL + call).into())).nth(call as u64));
    }
    bench.assert_fails(&bytes(SMALL), ErrorKind::Changed, "the object keeps changing").await;
}

#[tokio::test]
async fn a_source_that_vanishes_is_said_to_be_gone() {
    for (size, call) in [(SMALL, 1), (LARGE, 1), (LARGE, 3)] {
        let bench = Bench::new(Stated::Crc64, Stated::Crc64).source_fault(Fault::on(Operation::Get, Effect::Vanish).nth(call));
        bench.assert_fails(&bytes(size), ErrorKind::NotFound, "").await;
    }
}

#[tokio::test]
async fn any_failing_request_leaves_no_upload_behind() {
    for operation in [Operation::CreateUpload, Operation::UploadPart, Operation::CompleteUpload] {
        for kind in [ErrorKind::Denied, ErrorKind::Unavailable] {
            let bench = Bench::new(Stated::Crc64, Stated::Crc64).destination_fault(Fault::fail(operation, kind));
            bench.assert_fails(&bytes(LARGE), kind, "an injected fault").await;
        }
    }
}

#[tokio::test]
async fn a_lost_answer_to_complete_is_looked_up() {
    let lost = Fault::on(Operation::CompleteUpload, Effect::LoseAnswer(Error::new(ErrorKind::Unavailable, "reset")));
    let bench = Bench::new(Stated::Crc64, Stated::Crc64).destination_fault(lost);
    assert_eq!(bench.assert_copies(&bytes(LARGE), 1).await.verified(), Proof::Crc64Xz);
    // As a retry layer sees it: the second Complete finds no upload.
    let gone = Fault::on(Operation::CompleteUpload, Effect::LoseAnswer(Error::new(ErrorKind::UploadNotFound, "no such upload")));
    Bench::new(Stated::Crc64, Stated::Nothing).destination_fault(gone).assert_copies(&bytes(LARGE), 1).await;
}

#[tokio::test]
async fn a_dropped_copy_is_aborted_by_its_owner() {
    let bench = Bench::new(Stated::Crc64, Stated::Crc64).destination_fault(Fault::on(Operation::UploadPart, Effect::Delay(Duration::from_secs(60))));
    bench.source.put(&KEY.into(), Payload::from(bytes(LARGE)), Put::default()).await.expect("a source object");
    let copier = bench.copier();
    assert!(copier.copy(&bench.task().await).now_or_never().is_none());
    assert_eq!(bench.context.journal.flights(None, 9).await.expect("flights").len(), 1);
    assert_eq!(bench.budget.in_use_bytes(), 0);
    copier.abort_abandoned().await.expect("aborted");
    bench.assert_clean().await;
}

/// A store without parts, as a local directory is.
fn without_parts(streamed_bodies: bool) -> MemoryOptions {
    let mut options = MemoryOptions::default();
    options.capabilities.multipart = None;
    options.capabilities.streamed_bodies = streamed_bodies;
    options
}

#[tokio::test]
async fn what_is_larger_than_memory_passes_through() {
    let size = (MemoryBudget::BYTES_MIN / 4) as usize + 1;
    let wrong = |fault: Option<Fault>| {
        let bench = Bench::with(MemoryOptions::default(), without_parts(true));
        fault.into_iter().for_each(|f| bench.source_faults.add(f));
        bench
    };
    let bench = wrong(None);
    let copied = bench.copy(&bytes(size)).await.expect("a copy");
    assert_eq!((copied.verified(), bench.stored().await.map(|b| b.len())), (Proof::Crc64Xz, Some(size)));
    assert!(bench.budget.peak_bytes() <= 1 << 20);
    let bench = wrong(Some(flip(Operation::Get).first(1)));
    bench.copy(&bytes(size)).await.expect("a second reading is right");
    assert_eq!(bench.retries(), 1);
    let bench = wrong(Some(flip(Operation::Get)));
    let error = bench.copy(&bytes(size)).await.expect_err("wrong bytes");
    assert!(error.to_string().contains("the bytes read have crc64xz"), "{error}");
    assert_eq!(bench.stored().await, None);
    let bench = wrong(Some(Fault::on(Operation::Get, Effect::Vanish)));
    assert_eq!(bench.copy(&bytes(size)).await.expect_err("gone").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn parts_larger_than_memory_pass_through() {
    for stated in [Stated::Crc64, Stated::Md5] {
        let new = || {
            let mut bench = Bench::new(stated, Stated::Crc64);
            bench.options.part_size_bytes = Some(MemoryBudget::BYTES_MIN / 2 + 1);
            bench
        };
        let size = 5 << 20;
        let bench = new();
        let copied = bench.assert_copies(&bytes(size), 0).await;
        assert_ne!(copied.source_proof, Proof::None);
        assert_eq!(copied.destination_proof, Proof::Crc64Xz);
        assert!(bench.budget.peak_bytes() <= 3 << 20, "only windows are reserved");
        let bench = new().source_fault(flip(Operation::Get));
        bench.assert_fails(&bytes(size), ErrorKind::Integrity, "the bytes read have").await;
        let bench = new().destination_fault(Fault::on(Operation::UploadPart, Effect::FlipStored { at: 7 }).first(1));
        bench.assert_copies(&bytes(size), 1).await;
    }
}

#[tokio::test]
async fn one_account_copies_by_itself_and_is_checked() {
    let options = Options::default();
    let context = Context::default();
    for (wrong, copies) in [(false, 0), (true, 1)] {
        let account = MemoryAccount::new(MemoryOptions::default());
        for bucket in ["from", "to"] {
            account.create_bucket(bucket).await.expect("a bucket");
        }
        let source = Arc::new(account.store("from"));
        let destination = FaultLayer::new(Arc::new(account.store("to")), Clock::default(), []);
        if wrong {
            destination.add(Fault::on(Operation::Copy, Effect::WrongChecksums));
        }
        source.put(&KEY.into(), Payload::from(bytes(SMALL)), Put::default()).await.expect("a source object");
        let info = source.head(&ObjectRef::from(&Key::from(KEY))).await.expect("there");
        let bench = Bench::new(Stated::Crc64, Stated::Crc64);
        bench.source.put(&KEY.into(), Payload::from(bytes(SMALL)), Put::default()).await.expect("a task's object");
        let task = CopyTask { etag: info.etag, ..bench.task().await };
        let copied = Copier::new(source, &Location::new(Arc::new(destination.clone()), Key::EMPTY), &options, &context, &Streams::new(&options, &context))
            .copy(&task)
            .await
            .expect("a copy");
        assert_eq!(copied.verified(), Proof::Crc64Xz);
        assert_eq!(read(&destination).await.as_deref(), Some(&bytes(SMALL)[..]));
        assert_eq!(destination.calls(Operation::Put), copies);
    }
}

#[tokio::test]
async fn metadata_that_does_not_fit_names_the_object() {
    let bench = Bench::with(MemoryOptions::like_oss(), MemoryOptions::like_s3());
    let user = BTreeMap::from([("k".to_owned(), "v".repeat(3000))]);
    let put = Put { attributes: Attributes { user, ..Attributes::default() }, ..Put::default() };
    bench.source.put(&KEY.into(), Payload::from("x"), put).await.expect("a source object");
    let error = bench.copy_again().await.expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(KEY), "{error}");
    bench.assert_clean().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever goes wrong wherever: either the copy is right, or it failed and nothing wrong is there.
    #[test]
    fn no_fault_makes_a_wrong_copy(
        size in prop_oneof![Just(SMALL), Just(LARGE)],
        stated in prop_oneof![Just(Stated::Crc64), Just(Stated::Md5)],
        faults in proptest::collection::vec((0usize..6, 0usize..6, 1u64..8, 0u64..1000), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::new(stated, stated);
            let mut unknown_uploads = 0;
            for (operation, effect, nth, at) in faults {
                let operation = [Operation::Get, Operation::Put, Operation::UploadPart, Operation::CompleteUpload, Operation::Head, Operation::CreateUpload][operation];
                let reset = Error::new(ErrorKind::Unavailable, "reset");
                let effect = [
                    Effect::Flip { at },
                    Effect::FlipStored { at },
                    Effect::Truncate { at, error: None },
                    Effect::WrongChecksums,
                    Effect::LoseAnswer(reset.clone()),
                    Effect::Fail(reset),
                ][effect].clone();
                unknown_uploads += usize::from(operation == Operation::CreateUpload && matches!(effect, Effect::LoseAnswer(_)));
                let fault = Fault::on(operation, effect).nth(nth);
                bench.source_faults.add(fault.clone());
                bench.destination_faults.add(fault);
            }
            let all = bytes(size);
            match bench.copy(&all).await {
                Ok(copied) => {
                    assert!(copied.verified() > Proof::Size, "{copied:?}");
                    assert_eq!(bench.stored().await.as_deref(), Some(&all[..]));
                }
                // A write whose answer was lost may have been right.
                Err(_) => assert!(bench.stored().await.is_none_or(|stored| stored == all)),
            }
            bench.assert_clean_but(unknown_uploads).await;
        });
    }
}
