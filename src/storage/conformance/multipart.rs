//! Multipart uploads.

use bytes::Bytes;
use futures::stream::TryStreamExt;

use super::{Bench, ensure, pattern, refused};
use crate::error::{ErrorKind, Result};
use crate::storage::checksum::{Agreement, Crc64};
use crate::storage::{Attributes, Complete, Condition, CopyRange, ETag, List, Multipart, OpenUpload, Part, Payload, Upload};

/// The smallest part, if there are parts; small even where there is no minimum.
fn part_len(bench: &Bench) -> Option<usize> {
    let limits = bench.store.capabilities().multipart?;
    usize::try_from(limits.part_bytes_min.max(1000)).ok()
}

fn bodies(part_len: usize) -> [Bytes; 3] {
    [pattern(part_len, 1), pattern(part_len, 2), pattern(part_len / 2 + 1, 3)]
}

async fn begin(bench: &Bench, multipart: &dyn Multipart, name: &str) -> Result<Upload> {
    let key = bench.key(name);
    let id = multipart.create(&key, &Attributes::default()).await?;
    Ok(Upload { key, id })
}

/// Parts are sent as they come, so out of order; the object is their bytes in part order, invisible until completed and whole
/// from then on. What the service says it holds is what was sent: a resumed upload relies on it.
pub async fn parts_make_the_object(bench: &Bench) -> Result<()> {
    let (Some(multipart), Some(part_len)) = (bench.store.multipart(), part_len(bench)) else { return Ok(()) };
    let bodies = bodies(part_len);
    let upload = begin(bench, multipart, "big + one").await?;
    let mut parts = Vec::new();
    for number in [2u32, 3, 1] {
        let body = bodies[number as usize - 1].clone();
        let checksums = Crc64::of(&body).checksums();
        parts.push(multipart.upload_part(&upload, number, Payload::from(body), Some(&checksums)).await?);
    }
    parts.sort_by_key(|part| part.number);
    let held = multipart.list_parts(&upload).await?;
    let outline = |parts: &[Part]| parts.iter().map(|p| (p.number, p.size, p.etag.clone())).collect::<Vec<_>>();
    ensure!(outline(&held) == outline(&parts), "sent {parts:?}, held {held:?}");
    ensure!(parts.iter().zip(&bodies).all(|(part, body)| part.size == body.len() as u64), "parts have other sizes than their bodies: {parts:?}");
    refused(bench.store.head(&bench.object("big + one")).await, ErrorKind::NotFound, "HEAD before completion")?;
    ensure!(bench.list(List::default()).await?.keys.is_empty(), "an open upload shows in the listing of objects");
    let output = multipart.complete(&upload, &parts, Complete::default()).await?;
    ensure!(bench.read(&upload.key).await? == bodies.concat(), "the object is not its parts in order");
    let head = bench.store.head(&(&upload.key).into()).await?;
    ensure!(head.etag == output.etag && head.size == bodies.concat().len() as u64, "completion and HEAD tell of other objects: {output:?}, {head:?}");
    ensure!(open(bench, multipart).await?.is_empty(), "a completed upload is still listed as open");
    Ok(())
}

/// A part whose answer was lost is sent again under its number. The later one counts, also where its size is another.
pub async fn a_part_can_be_sent_again(bench: &Bench) -> Result<()> {
    let (Some(multipart), Some(part_len)) = (bench.store.multipart(), part_len(bench)) else { return Ok(()) };
    let upload = begin(bench, multipart, "k").await?;
    let [first, _, _] = bodies(part_len);
    let larger = pattern(part_len + 7, 9);
    multipart.upload_part(&upload, 1, Payload::from(first.clone()), None).await?;
    multipart.upload_part(&upload, 2, Payload::from(first), None).await?;
    let mut parts = vec![multipart.upload_part(&upload, 1, Payload::from(larger.clone()), None).await?];
    parts.push(multipart.upload_part(&upload, 2, Payload::from("tail"), None).await?);
    ensure!(multipart.list_parts(&upload).await?.iter().map(|p| p.size).eq([larger.len() as u64, 4]), "the earlier parts are still held");
    multipart.complete(&upload, &parts, Complete::default()).await?;
    ensure!(bench.read(&upload.key).await? == [&larger[..], b"tail"].concat(), "the object has bytes of a part that was replaced");
    Ok(())
}

/// A large copy is proved part by part and then as a whole: every value that is stated must be true, and a wrong value for the
/// whole must never be confirmed.
pub async fn checksums_combine(bench: &Bench) -> Result<()> {
    let (Some(multipart), Some(part_len)) = (bench.store.multipart(), part_len(bench)) else { return Ok(()) };
    let bodies = bodies(part_len);
    let upload = begin(bench, multipart, "k").await?;
    let (mut parts, mut whole) = (Vec::new(), Crc64::default());
    for (number, body) in (1..).zip(&bodies) {
        let crc = Crc64::of(body);
        whole = whole.then(crc);
        let part = multipart.upload_part(&upload, number, Payload::from(body.clone()), Some(&crc.checksums())).await?;
        let verdict = part.checksums.agreement(&crc.checksums());
        ensure!(!matches!(verdict, Agreement::Different(_)), "part {number} is stated with a wrong checksum");
        parts.push(part);
    }
    for (part, body) in multipart.list_parts(&upload).await?.iter().zip(&bodies) {
        let verdict = part.checksums.agreement(&Crc64::of(body).checksums());
        ensure!(!matches!(verdict, Agreement::Different(_)), "part {} is listed with a wrong checksum", part.number);
    }
    let complete = Complete { checksums: Some(whole.checksums()), condition: None };
    let output = multipart.complete(&upload, &parts, complete).await?;
    let verdict = output.checksums.agreement(&whole.checksums());
    ensure!(!matches!(verdict, Agreement::Different(_)), "the whole is stated with a wrong checksum: {verdict:?}");
    let wrong = begin(bench, multipart, "wrong").await?;
    let part = multipart.upload_part(&wrong, 1, Payload::from("tail"), None).await?;
    let complete = Complete { checksums: Some(whole.checksums()), condition: None };
    match multipart.complete(&wrong, &[part], complete).await {
        Ok(output) => {
            let echoed = output.checksums.agreement(&whole.checksums());
            ensure!(!matches!(echoed, Agreement::Equal(_)), "a wrong checksum of the whole was confirmed");
        }
        Err(e) => ensure!(e.kind() == ErrorKind::Integrity, "a wrong checksum of the whole must be an Integrity error, but is {e:?}"),
    }
    Ok(())
}

/// What is given up is gone: no object, no parts that somebody pays for; and giving up twice is no error, since the first answer
/// may have been lost.
pub async fn an_abort_leaves_nothing(bench: &Bench) -> Result<()> {
    let Some(multipart) = bench.store.multipart() else { return Ok(()) };
    let upload = begin(bench, multipart, "k").await?;
    let part = multipart.upload_part(&upload, 1, Payload::from("x"), None).await?;
    multipart.abort(&upload).await?;
    multipart.abort(&upload).await?;
    refused(multipart.upload_part(&upload, 2, Payload::from("y"), None).await, ErrorKind::UploadNotFound, "a part of an aborted upload")?;
    refused(multipart.list_parts(&upload).await, ErrorKind::UploadNotFound, "the parts of an aborted upload")?;
    refused(multipart.complete(&upload, &[part], Complete::default()).await, ErrorKind::UploadNotFound, "completing an aborted upload")?;
    refused(bench.store.head(&(&upload.key).into()).await, ErrorKind::NotFound, "HEAD after an abort")?;
    ensure!(open(bench, multipart).await?.is_empty(), "an aborted upload is still listed as open");
    Ok(())
}

/// Open uploads cost money and are found again after a crash: each is listed with its key and id, under a prefix of bytes.
pub async fn open_uploads_are_listed(bench: &Bench) -> Result<()> {
    let Some(multipart) = bench.store.multipart() else { return Ok(()) };
    let mut begun = Vec::new();
    for name in ["a", "a b+c", "deep/er"] {
        begun.push(begin(bench, multipart, name).await?);
    }
    begun.push(begin(bench, multipart, "a").await?);
    let mut listed: Vec<Upload> = open(bench, multipart).await?.into_iter().map(|open| open.upload).collect();
    let order = |a: &Upload, b: &Upload| (&a.key, &a.id.0).cmp(&(&b.key, &b.id.0));
    begun.sort_by(order);
    listed.sort_by(order);
    ensure!(listed == begun, "begun {begun:?}, listed {listed:?}");
    let under: Vec<OpenUpload> = multipart.list_uploads(bench.key("dee")).try_collect().await?;
    ensure!(under.len() == 1 && under[0].upload.key == bench.key("deep/er"), "under a prefix: {under:?}");
    Ok(())
}

/// Attributes are given when an upload begins and are the object's when it ends.
pub async fn attributes_travel(bench: &Bench) -> Result<()> {
    let Some(multipart) = bench.store.multipart() else { return Ok(()) };
    let (key, sent) = (bench.key("k"), super::reading::sample(bench));
    let upload = Upload { id: multipart.create(&key, &sent).await?, key };
    let part = multipart.upload_part(&upload, 1, Payload::from("x"), None).await?;
    multipart.complete(&upload, &[part], Complete::default()).await?;
    super::reading::same(&sent, &bench.store.head(&upload.key.into()).await?.attributes)
}

/// A large object can be create-only as well: the upload that completes second must not replace the first.
pub async fn create_only_completion(bench: &Bench) -> Result<()> {
    let Some(multipart) = bench.store.multipart() else { return Ok(()) };
    if !bench.store.capabilities().put_if_absent {
        return Ok(());
    }
    let upload = begin(bench, multipart, "k").await?;
    let part = multipart.upload_part(&upload, 1, Payload::from("late"), None).await?;
    bench.put("k", "first").await?;
    let complete = Complete { condition: Some(Condition::Absent), checksums: None };
    let completed = multipart.complete(&upload, &[part], complete).await;
    ensure!(matches!(&completed, Err(e) if matches!(e.kind(), ErrorKind::Exists | ErrorKind::Unsupported)), "must be refused: {completed:?}");
    ensure!(bench.read(&upload.key).await? == b"first", "the object was replaced");
    Ok(())
}

/// A service that copies by itself fills parts with ranges of an object it holds, pinned, next to parts that were sent.
pub async fn parts_are_copied(bench: &Bench) -> Result<()> {
    let (Some(multipart), Some(part_len), Some(server)) = (bench.store.multipart(), part_len(bench), bench.store.server_copy()) else { return Ok(()) };
    let identity = bench.store.identity();
    if !server.can_copy_from(identity) {
        return Ok(());
    }
    let (whole, tail) = (pattern(2 * part_len + 9, 4), pattern(5, 5));
    let (source, etag) = (bench.object("from + here"), bench.put("from + here", whole.clone()).await?.etag);
    let upload = begin(bench, multipart, "to").await?;
    let piece = |range: std::ops::Range<usize>, if_match| CopyRange {
        bucket: &identity.bucket,
        object: &source,
        if_match,
        range: range.start as u64..range.end as u64,
    };
    let other = ETag::new("0123456789abcdef0123456789abcdef");
    refused(server.copy_part(&piece(0..part_len, Some(&other)), &upload, 1).await, ErrorKind::Changed, "a part of another object")?;
    let missing = bench.object("nothing");
    let nothing = CopyRange { object: &missing, ..piece(0..part_len, None) };
    refused(server.copy_part(&nothing, &upload, 1).await, ErrorKind::NotFound, "a part of nothing")?;
    let mut parts = Vec::new();
    for (number, range) in [(2, 0..part_len), (1, part_len + 9..whole.len())] {
        let part = server.copy_part(&piece(range.clone(), Some(&etag)), &upload, number).await?;
        ensure!(part.number == number && part.size == part_len as u64, "a part that was copied is told as {part:?}");
        let verdict = part.checksums.agreement(&Crc64::of(&whole[range]).checksums());
        ensure!(!matches!(verdict, Agreement::Different(_)), "part {number} is stated with a wrong checksum");
        parts.insert(0, part);
    }
    parts.push(multipart.upload_part(&upload, 3, Payload::from(tail.clone()), None).await?);
    multipart.complete(&upload, &parts, Complete::default()).await?;
    let meant = [&whole[part_len + 9..], &whole[..part_len], &tail].concat();
    ensure!(bench.read(&upload.key).await? == meant, "the object is not the ranges in part order");
    let gone = server.copy_part(&piece(0..part_len, None), &upload, 1).await;
    refused(gone, ErrorKind::UploadNotFound, "a part of an upload that was completed").map(drop)
}

async fn open(bench: &Bench, multipart: &dyn Multipart) -> Result<Vec<OpenUpload>> {
    multipart.list_uploads(bench.prefix.clone()).try_collect().await
}
