//! Corruption over HTTP, from S3 to OSS and back: whatever is damaged wherever, a copy is right or it is a failed object with a clear
//! error. It is never a completed wrong copy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dragon::clock::Clock;
use dragon::devserver::weather::{Effect, Fault};
use dragon::devserver::{self, Cloud, DevServer};
use dragon::error::{Error, ErrorKind};
use dragon::storage::location::Location;
use dragon::storage::open::layered;
use dragon::storage::{Account, Get, Key, ObjectRef, Payload, Put, Storage, retry};
use dragon::transfer::event::ObjectEvent;
use dragon::transfer::task::{Copied, Proof};
use dragon::transfer::{Context, Event, Job, run};
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use crate::stage::{alibaba, amazon};

const BUCKET: &str = "bridge";
const KEY: &str = "a b/中+%";
const MIB: usize = 1 << 20;
/// One request.
const SMALL: usize = 3000;
/// Three parts of the smallest size that S3 takes.
const LARGE: usize = 11 * MIB;

/// Both clouds, and which of them is the source.
struct Bridge {
    server: DevServer,
    from: Cloud,
    source: Arc<dyn Storage>,
    destination: Arc<dyn Storage>,
}

/// How a sync of the one object ended.
struct End {
    outcome: Result<Copied, Error>,
    retries: u64,
}

impl Bridge {
    async fn new(from: Cloud) -> Self {
        let server = DevServer::start(devserver::Options::default()).await.expect("a dev server");
        let (s3, oss) = (open_s3(&server).await, open_oss(&server).await);
        let (source, destination) = if from == Cloud::S3 { (s3, oss) } else { (oss, s3) };
        Self { server, from, source, destination }
    }

    fn to(&self) -> Cloud {
        if self.from == Cloud::S3 { Cloud::Oss } else { Cloud::S3 }
    }

    /// The header in which the destination states its checksum.
    fn checksum_header(&self) -> HeaderName {
        HeaderName::from_static(if self.to() == Cloud::S3 { "x-amz-checksum-crc64nvme" } else { "x-oss-hash-crc64ecma" })
    }

    async fn write(&self, bytes: &[u8]) {
        self.source.put(&KEY.into(), Payload::from(bytes.to_vec()), Put::default()).await.expect("a source object");
    }

    /// Syncs the one object.
    async fn sync(&self) -> End {
        let (events, mut told) = mpsc::channel(64);
        let context = Context { events: Some(events), ..Context::default() };
        let mut job = Job::new(Location::new(self.source.clone(), Key::EMPTY), Location::new(self.destination.clone(), Key::EMPTY));
        job.options.part_size_bytes = Some(5 * MIB as u64);
        let report = Box::pin(run(job, context)).await.expect("a run");
        let mut outcome = None;
        while let Some(event) = told.recv().await {
            if let Event::Object(object) = event {
                let ObjectEvent { copied, error, .. } = *object;
                outcome = Some(copied.ok_or_else(|| error.expect("a copy or an error")));
            }
        }
        let Some(outcome) = outcome else {
            // Nothing to copy any more: told as a notice, and no failure.
            assert_eq!((report.copied, report.failed, report.vanished, report.exit_code()), (0, 0, 1, 0));
            return End { outcome: Err(Error::new(ErrorKind::NotFound, "it vanished")), retries: report.retries };
        };
        assert_eq!((report.copied, report.failed), if outcome.is_ok() { (1, 0) } else { (0, 1) });
        End { outcome, retries: report.retries }
    }

    async fn stored(&self) -> Option<Bytes> {
        let output = match self.destination.get(&ObjectRef::from(&Key::from(KEY)), Get::default()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            other => other.expect("readable"),
        };
        Some(output.body.map_ok(|chunk| chunk.to_vec()).try_concat().await.expect("bytes").into())
    }

    async fn assert_no_uploads(&self) {
        let open: Vec<_> = self.destination.multipart().expect("parts").list_uploads(Key::EMPTY).try_collect().await.expect("uploads");
        assert!(open.is_empty(), "{open:?}");
    }

    /// The copy is right, and proved by both clouds' own CRC-64.
    async fn assert_copies(&self, bytes: &[u8]) -> End {
        let end = self.sync().await;
        self.server.clear_faults();
        let copied = end.outcome.as_ref().unwrap_or_else(|e| panic!("no copy from {:?}: {e}", self.from));
        let (xz, nvme) = (Proof::Crc64Xz, Proof::Crc64Nvme);
        let expected = if self.from == Cloud::S3 { (nvme, xz) } else { (xz, nvme) };
        assert_eq!((copied.source_proof, copied.destination_proof), expected);
        assert!(self.stored().await.is_some_and(|stored| stored == bytes), "the copy is not the source");
        self.assert_no_uploads().await;
        end
    }

    /// The object failed, nothing is at the destination, and the error says which object and what is wrong.
    async fn assert_fails(&self, kind: ErrorKind, text: &str) {
        let end = self.sync().await;
        self.server.clear_faults();
        let error = end.outcome.err().unwrap_or_else(|| panic!("a copy from {:?} despite damage", self.from));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text) && error.to_string().contains(KEY), "{error}");
        assert_eq!(self.stored().await, None);
        self.assert_no_uploads().await;
    }
}

fn patience() -> retry::Options {
    let short = Duration::from_millis(5);
    retry::Options { attempts_max: 3, fault_delay: short, throttle_delay: short, delay_max: short, ..retry::Options::default() }
}

async fn open_s3(server: &DevServer) -> Arc<dyn Storage> {
    let account = amazon(server).await;
    account.create_bucket(BUCKET).await.expect("a bucket");
    layered(Arc::new(account.store(BUCKET).expect("a store")), patience(), Clock::system(), Arc::default())
}

async fn open_oss(server: &DevServer) -> Arc<dyn Storage> {
    let account = alibaba(server);
    account.create_bucket(BUCKET).await.expect("a bucket");
    layered(Arc::new(account.store(BUCKET).expect("a store")), patience(), Clock::system(), Arc::default())
}

fn bytes(len: usize) -> Vec<u8> {
    let mut pattern = b"a proved copy, or none. ".repeat(len / 24 + 1);
    pattern.truncate(len);
    pattern
}

const BOTH_WAYS: [Cloud; 2] = [Cloud::S3, Cloud::Oss];

#[tokio::test]
async fn a_small_object_takes_two_requests_and_both_clouds_prove_it() {
    for from in BOTH_WAYS {
        let bridge = Bridge::new(from).await;
        bridge.write(&bytes(SMALL)).await;
        bridge.server.reset_traffic();
        let end = bridge.sync().await;
        let (source, destination) = (bridge.server.traffic(bridge.from), bridge.server.traffic(bridge.to()));
        assert_eq!((source.operation("GetObject"), destination.operation("PutObject"), end.retries), (1, 1, 0));
        assert_eq!(source.operation("HeadObject") + destination.operation("HeadObject"), 0, "{source:?} {destination:?}");
        assert!(bridge.stored().await.is_some_and(|stored| stored == bytes(SMALL)));
    }
}

#[tokio::test]
async fn bytes_flipped_while_they_are_read() {
    for from in BOTH_WAYS {
        for size in [SMALL, LARGE] {
            let bridge = Bridge::new(from).await;
            bridge.write(&bytes(size)).await;
            let flip = Fault::new(Effect::FlipAnswerByte(7)).on(from).operation("GetObject");
            bridge.server.inject(flip.clone().always());
            bridge.assert_fails(ErrorKind::Integrity, "the source states").await;
            bridge.server.inject(flip);
            assert_eq!(bridge.assert_copies(&bytes(size)).await.retries, 1);
        }
    }
}

#[tokio::test]
async fn bytes_flipped_while_they_are_sent() {
    for from in BOTH_WAYS {
        for (size, operation) in [(SMALL, "PutObject"), (LARGE, "UploadPart")] {
            let bridge = Bridge::new(from).await;
            bridge.write(&bytes(size)).await;
            let flip = Fault::new(Effect::FlipRequestByte(7)).on(bridge.to()).operation(operation);
            bridge.server.inject(flip.clone().always());
            bridge.assert_fails(ErrorKind::Integrity, "").await;
            bridge.server.inject(flip);
            assert_eq!(bridge.assert_copies(&bytes(size)).await.retries, 1);
        }
    }
}

#[tokio::test]
async fn a_destination_that_states_a_wrong_checksum() {
    for from in BOTH_WAYS {
        for (size, operation) in [(SMALL, "PutObject"), (LARGE, "UploadPart"), (LARGE, "CompleteMultipartUpload")] {
            let bridge = Bridge::new(from).await;
            bridge.write(&bytes(size)).await;
            // S3 states the whole's checksum in Complete's body, where no header reaches.
            if operation == "CompleteMultipartUpload" && bridge.to() == Cloud::S3 {
                continue;
            }
            let wrong = HeaderValue::from_static(if bridge.to() == Cloud::S3 { "AAAAAAAAAAA=" } else { "7" });
            let fault = Fault::new(Effect::SetHeader(bridge.checksum_header(), wrong)).on(bridge.to()).operation(operation);
            bridge.server.inject(fault.clone().always());
            bridge.assert_fails(ErrorKind::Integrity, "the destination states 000000000000000").await;
            bridge.server.inject(fault);
            assert_eq!(bridge.assert_copies(&bytes(size)).await.retries, 1, "{operation} from {from:?}");
        }
    }
}

#[tokio::test]
async fn bodies_cut_short() {
    for from in BOTH_WAYS {
        for size in [SMALL, LARGE] {
            let bridge = Bridge::new(from).await;
            bridge.write(&bytes(size)).await;
            for effect in [Effect::TruncateAnswerAt(1000), Effect::ResetAnswerAt(1000)] {
                let cut = Fault::new(effect).on(from).operation("GetObject");
                // Each request gives a little, so that only patience ends it: less than it would take to get through.
                bridge.server.inject(Fault { times: None, ..cut.clone() });
                bridge.server.inject(Fault::new(Effect::TruncateAnswerAt(0)).on(from).operation("GetObject").always());
                bridge.assert_fails(ErrorKind::Unavailable, "").await;
                bridge.server.inject(cut);
                bridge.assert_copies(&bytes(size)).await;
                let object = ObjectRef::from(&Key::from(KEY));
                let _: Vec<_> = bridge.destination.delete(stream::iter([object]).boxed()).collect().await;
            }
        }
    }
}

#[tokio::test]
async fn a_range_that_is_ignored() {
    for from in BOTH_WAYS {
        let bridge = Bridge::new(from).await;
        bridge.write(&bytes(LARGE)).await;
        let whole = Fault::new(Effect::IgnoreRange).on(from).operation("GetObject");
        bridge.server.inject(whole.always());
        let end = bridge.sync().await;
        let error = end.outcome.expect_err("no copy");
        assert!(matches!(error.kind(), ErrorKind::Integrity | ErrorKind::Unexpected), "{error:?}");
        assert_eq!(bridge.stored().await, None);
        bridge.assert_no_uploads().await;
    }
}

/// Syncs while `meddle` runs as soon as the source has been asked for its second range, which then waits a moment.
#[allow(clippy::disallowed_methods, reason = "a test waits for a real server")]
async fn meddled<F: Future<Output = ()>>(bridge: &Bridge, meddle: impl FnOnce() -> F) -> End {
    bridge.server.reset_traffic();
    bridge.server.inject(Fault::new(Effect::Delay(Duration::from_millis(2500))).on(bridge.from).operation("GetObject").always().skip(1));
    let meddler = async {
        while bridge.server.traffic(bridge.from).operation("GetObject") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        meddle().await;
        bridge.server.clear_faults();
    };
    let (end, ()) = futures::join!(bridge.sync(), meddler);
    end
}

#[tokio::test]
async fn an_object_that_changes_midway() {
    for from in BOTH_WAYS {
        let bridge = Bridge::new(from).await;
        bridge.write(&bytes(LARGE)).await;
        let other = vec![7; LARGE];
        let end = meddled(&bridge, || bridge.write(&other)).await;
        assert!(end.retries >= 1);
        end.outcome.expect("the copy of what is there now");
        assert!(bridge.stored().await.is_some_and(|stored| stored == other), "the new object, and nothing of the old");
        bridge.assert_no_uploads().await;
    }
}

#[tokio::test]
async fn an_object_that_vanishes_midway() {
    for from in BOTH_WAYS {
        let bridge = Bridge::new(from).await;
        bridge.write(&bytes(LARGE)).await;
        let vanish = || async {
            let object = ObjectRef::from(&Key::from(KEY));
            let gone: Vec<_> = bridge.source.delete(stream::iter([object]).boxed()).collect().await;
            gone.into_iter().for_each(|(_, deleted)| drop(deleted.expect("deleted")));
        };
        let error = meddled(&bridge, vanish).await.outcome.expect_err("nothing to copy");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(bridge.stored().await, None);
        bridge.assert_no_uploads().await;
    }
}

#[tokio::test]
async fn an_answer_to_complete_that_is_lost() {
    for from in BOTH_WAYS {
        let bridge = Bridge::new(from).await;
        bridge.write(&bytes(LARGE)).await;
        bridge.server.inject(Fault::new(Effect::LoseAnswer).on(bridge.to()).operation("CompleteMultipartUpload"));
        bridge.assert_copies(&bytes(LARGE)).await;
    }
}
