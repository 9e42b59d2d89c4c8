//! Copies within one service of what is over one request's limit.

use super::*;

const LIMIT: u64 = 1000;

/// Two buckets of one account that copies at most [`LIMIT`] bytes at once, and a copier between them.
struct Within {
    source: Arc<dyn Storage>,
    destination: FaultLayer,
    context: Context,
}

impl Within {
    /// With an object in parts of these lengths.
    async fn with(stated: Stated, lengths: &[usize]) -> Self {
        let mut options = MemoryOptions { stated, ..MemoryOptions::default() };
        options.capabilities.put_bytes_max = LIMIT;
        let account = MemoryAccount::new(options);
        for bucket in ["from", "to"] {
            account.create_bucket(bucket).await.expect("a bucket");
        }
        let source: Arc<dyn Storage> = Arc::new(account.store("from"));
        let multipart = source.multipart().expect("parts");
        let attributes = Attributes { tags: Some(BTreeMap::from([("team".into(), "a".into())])), ..Attributes::default() };
        let upload = Upload { key: KEY.into(), id: multipart.create(&KEY.into(), &attributes).await.expect("an upload") };
        let (all, mut parts, mut at) = (bytes(lengths.iter().sum()), Vec::new(), 0);
        for (number, length) in (1..).zip(lengths) {
            let body = all[at..at + length].to_vec();
            parts.push(multipart.upload_part(&upload, number, Payload::from(body), None).await.expect("a part"));
            at += length;
        }
        multipart.complete(&upload, &parts, Complete::default()).await.expect("an object");
        let destination = FaultLayer::new(Arc::new(account.store("to")), Clock::default(), []);
        Self { source, destination, context: Context::default() }
    }

    async fn copy(&self) -> Result<Copied> {
        let info = self.source.head(&ObjectRef::from(&Key::from(KEY))).await.expect("a source object");
        let task = CopyTask {
            key: KEY.into(),
            source_version: None,
            source_key: KEY.into(),
            destination_key: KEY.into(),
            size: info.size,
            etag: info.etag,
            modified: info.modified,
            storage_class: String::new(),
            kind: info.kind,
            reason: Reason::Absent,
        };
        let options = Options { part_size_bytes: Some(LIMIT), ..Options::default() };
        let place = Location::new(Arc::new(self.destination.clone()), Key::EMPTY);
        Copier::new(self.source.clone(), &place, &options, &self.context, &Streams::new(&options, &self.context)).copy(&task).await
    }

    /// How many parts were copied by the service, and how many were sent.
    fn parts(&self) -> (u64, u64) {
        (self.destination.calls(Operation::CopyPart), self.destination.calls(Operation::UploadPart))
    }

    async fn assert_nothing_open(&self) {
        let open: Vec<_> = self.destination.multipart().expect("parts").list_uploads(Key::EMPTY).collect().await;
        assert!(open.is_empty(), "{open:?}");
        assert!(self.context.journal.flights(None, 9).await.expect("flights").is_empty());
    }
}

#[tokio::test]
async fn what_is_over_one_requests_limit_is_copied_in_its_own_parts() {
    for (lengths, copied_parts, same_etag) in
        [(&[900, 900, 900, 50][..], 4, true), (&[990, 10, 990], 3, false), (&[10, 990, 990], 2, false), (&[600; 5], 5, true)]
    {
        let bench = Within::with(Stated::Crc64, lengths).await;
        let copied = bench.copy().await.expect("a copy");
        assert_eq!((copied.verified(), bench.parts()), (Proof::Crc64Xz, (copied_parts, 0)), "{lengths:?}");
        let object = ObjectRef::from(&Key::from(KEY));
        let (here, there) = (bench.source.head(&object).await.expect("there"), bench.destination.head(&object).await.expect("there"));
        assert_eq!((here.size, here.checksums.crc64nvme), (there.size, there.checksums.crc64nvme));
        assert_eq!(here.etag == there.etag, same_etag, "{lengths:?}");
        assert_eq!(bench.destination.details().expect("tags").tags(&object).await.expect("read").len(), 1, "tags go along, as with one request");
        assert_eq!(read(&bench.destination).await, read(&*bench.source).await);
        bench.assert_nothing_open().await;
    }
}

#[tokio::test]
async fn what_the_service_does_not_copy_or_copies_wrong_is_sent() {
    let nothing_stated = Within::with(Stated::Md5, &[900, 900]).await;
    nothing_stated.copy().await.expect("a copy");
    assert_eq!(nothing_stated.parts().0, 0, "nothing would prove it");
    for (fault, copied_parts) in [
        (Fault::fail(Operation::CopyPart, ErrorKind::Denied), None),
        (Fault::fail(Operation::CopyPart, ErrorKind::Unsupported), None),
        (Fault::on(Operation::CompleteUpload, Effect::WrongChecksums).first(1), Some(2)),
    ] {
        let bench = Within::with(Stated::Crc64, &[900, 900]).await;
        bench.destination.add(fault);
        let copied = bench.copy().await.expect("a copy");
        assert_eq!((copied.verified(), bench.parts().1), (Proof::Crc64Xz, 2));
        assert!(copied_parts.is_none_or(|parts| parts == bench.parts().0));
        assert_eq!(read(&bench.destination).await, read(&*bench.source).await);
        bench.assert_nothing_open().await;
    }
}

#[tokio::test]
async fn a_copy_in_ranges_that_fails_leaves_no_upload_behind() {
    for operation in [Operation::CreateUpload, Operation::CopyPart, Operation::CompleteUpload] {
        let bench = Within::with(Stated::Crc64, &[900, 900]).await;
        bench.destination.add(Fault::fail(operation, ErrorKind::Unavailable));
        assert_eq!(bench.copy().await.expect_err("an injected fault").kind(), ErrorKind::Unavailable);
        assert_eq!(read(&bench.destination).await, None);
        bench.assert_nothing_open().await;
    }
    let bench = Within::with(Stated::Crc64, &[900, 900]).await;
    bench.context.cancel.cancel();
    assert_eq!(bench.copy().await.expect_err("interrupted").kind(), ErrorKind::Interrupted);
    bench.assert_nothing_open().await;
}

#[tokio::test]
async fn what_an_earlier_run_left_open_is_put_away_first() {
    let bench = Within::with(Stated::Crc64, &[900, 900]).await;
    bench.destination.add(Fault::on(Operation::CopyPart, Effect::Delay(Duration::from_secs(60))).first(2));
    assert!(bench.copy().now_or_never().is_none());
    assert_eq!(bench.context.journal.flights(None, 9).await.expect("flights").len(), 1, "it stands in the journal before it is filled");
    bench.copy().await.expect("a copy");
    bench.assert_nothing_open().await;
}
