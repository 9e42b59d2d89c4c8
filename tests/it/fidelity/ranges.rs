//! Objects over one copy request's limit, by both dialects.

use super::*;
use dragon::storage::{Complete, Upload};

#[tokio::test]
async fn what_is_too_large_for_one_copy_request_is_renewed_in_ranges() {
    let clouds = Clouds::new().await;
    let middle = alibaba_that_copies(&clouds.server, Some(256 << 10)).bucket("middle").expect("a store");
    let with = |colour: &str| Attributes { user: map(&[("colour", colour)]), tags: Some(map(&[("team", "a")])), ..Attributes::default() };
    write(&clouds.first, "large", 700 << 10, with("red")).await;
    let options = |check_metadata| Options { tags: true, check_metadata, ..Options::default() };
    assert_eq!(clouds.sync(&clouds.first, &middle, options(false)).await.copied, 1);
    let key = Key::from("large");
    clouds.first.server_copy().expect("S3 copies").copy("first", &ObjectRef::from(&key), None, &key, &with("blue")).await.expect("copied onto itself");
    clouds.server.reset_traffic();
    let report = clouds.sync(&clouds.first, &middle, options(true)).await;
    assert_eq!((report.copied, report.verified), (1, 1));
    let (read, written) = (clouds.server.traffic(Cloud::S3), clouds.server.traffic(Cloud::Oss));
    assert_eq!((read.operation("GetObject"), written.operation("UploadPartCopy"), written.operation("PutObject")), (0, 3, 0), "{written:?}");
    assert_eq!(head(&middle, "large").await.attributes.user["colour"], "blue");
    assert_eq!(tags(&middle, "large").await, map(&[("team", "a")]));
    assert_eq!(clouds.sync(&clouds.first, &middle, options(true)).await.copied, 0);
}

#[tokio::test]
async fn a_bucket_of_the_same_account_gets_large_objects_in_their_own_parts() {
    let clouds = Clouds::new().await;
    let multipart = clouds.first.multipart().expect("parts");
    let key = Key::from("large");
    let upload = Upload { id: multipart.create(&key, &everything("STANDARD_IA")).await.expect("begun"), key };
    let mut parts = Vec::new();
    for (number, bytes) in [(1, 6 << 20), (2, 6 << 20), (3, 1 << 20)] {
        parts.push(multipart.upload_part(&upload, number, vec![number as u8; bytes].into(), None).await.expect("sent"));
    }
    multipart.complete(&upload, &parts, Complete::default()).await.expect("made");
    let last = amazon_that_copies(&clouds.server, Some(8 << 20)).await.bucket("last").expect("a store");
    clouds.server.reset_traffic();
    let report = clouds.sync(&clouds.first, &last, Options { encryption: EncryptionChoice::Keep, ..Options::default() }).await;
    assert_eq!((report.copied, report.verified, report.losses.is_empty()), (1, 1, true), "{:?}", report.losses);
    let traffic = clouds.server.traffic(Cloud::S3);
    assert_eq!((traffic.operation("GetObject"), traffic.operation("UploadPartCopy")), (0, 3), "{traffic:?}");
    let (here, there) = (head(&clouds.first, "large").await, head(&last, "large").await);
    assert_eq!((&here.etag, here.checksums.crc64nvme), (&there.etag, there.checksums.crc64nvme), "the parts are its own");
    assert_eq!((listed(&here), tags(&clouds.first, "large").await), (listed(&there), tags(&last, "large").await));
    // A 200 with an error in it is no part (protocol.md 2.8).
    last.delete(Box::pin(futures::stream::iter([ObjectRef::from(Key::from("large"))]))).collect::<Vec<_>>().await;
    clouds.server.inject(Fault::new(Effect::answer(200, "InternalError")).on(Cloud::S3).operation("UploadPartCopy").times(1));
    let report = clouds.sync(&clouds.first, &last, Options::default()).await;
    assert_eq!((report.copied, report.failed), (0, 1));
    let open: Vec<_> = last.multipart().expect("parts").list_uploads(Key::EMPTY).collect().await;
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(clouds.sync(&clouds.first, &last, Options::default()).await.copied, 1);
}
