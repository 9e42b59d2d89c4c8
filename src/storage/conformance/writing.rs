//! Writing, deleting and copying objects.

use futures::future::join_all;
use futures::stream::{self, StreamExt};

use super::{Bench, ensure, pattern, refused};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Crc64;
use crate::storage::{Attributes, Condition, ETag, List, ObjectRef, Payload, Put, PutOutput};

const WRITERS: usize = 6;

/// A shorter object over a longer one must not keep the longer one's tail, nor its size in listings.
pub async fn a_write_replaces_the_whole(bench: &Bench) -> Result<()> {
    for text in ["a long first version", "short", ""] {
        bench.put("k", text).await?;
        ensure!(bench.read(&bench.key("k")).await? == text.as_bytes(), "the object is not {text:?}");
        ensure!(bench.store.head(&bench.object("k")).await?.size == text.len() as u64, "the size is not that of {text:?}");
    }
    Ok(())
}

/// A body that is too large to keep is read from its source while it is sent, in pieces of any size, and read anew by each try.
pub async fn a_streamed_body_arrives(bench: &Bench) -> Result<()> {
    if !bench.store.capabilities().streamed_bodies {
        return Ok(());
    }
    let bytes = pattern(150_000, 4);
    for piece in [1000, 70_000, 150_000] {
        let source = bytes.clone();
        let payload = Payload::from_source(150_000, move || {
            let pieces: Vec<_> = source.chunks(piece).map(|chunk| Ok(source.slice_ref(chunk))).collect();
            Box::pin(async move { Ok(stream::iter(pieces).boxed()) })
        });
        for _ in 0..2 {
            bench.store.put(&bench.key("k"), payload.clone(), Put::default()).await?;
            ensure!(bench.read(&bench.key("k")).await? == bytes, "a body streamed in pieces of {piece} bytes did not arrive");
        }
    }
    Ok(())
}

/// A source that breaks off midway must leave the destination as it was: a short object that looks whole is silent loss.
pub async fn a_broken_body_leaves_nothing(bench: &Bench) -> Result<()> {
    let limits = bench.store.capabilities();
    if !limits.streamed_bodies || !limits.atomic_put {
        return Ok(());
    }
    bench.put("old", "old").await?;
    for name in ["old", "new"] {
        for broken in [false, true] {
            let payload = Payload::from_source(10, move || {
                let end = broken.then(|| Err(Error::new(ErrorKind::Unavailable, "the source broke off")));
                Box::pin(async move { Ok(stream::iter([Ok("12345".into())]).chain(stream::iter(end)).boxed()) })
            });
            let written = bench.store.put(&bench.key(name), payload, Put::default()).await;
            ensure!(written.is_err(), "a body that broke off was taken as whole");
        }
    }
    ensure!(bench.read(&bench.key("old")).await? == b"old", "a broken write spoiled the object in its place");
    refused(bench.store.head(&bench.object("new")).await, ErrorKind::NotFound, "HEAD after a broken write")?;
    ensure!(bench.list(List::default()).await?.keys == ["old".into()], "a broken write shows in the listing");
    Ok(())
}

/// Checksums sent with a body are a question to the service. It may refuse the body, or not know the algorithm; it must never
/// echo a value that is not the bytes' own.
pub async fn wrong_checksums_are_never_confirmed(bench: &Bench) -> Result<()> {
    let wrong = Crc64::of(b"other bytes").checksums();
    let put = Put { checksums: Some(wrong.clone()), ..Put::default() };
    match bench.store.put(&bench.key("k"), Payload::from("these bytes"), put).await {
        Ok(output) => {
            let echoed = [(output.checksums.crc64xz, wrong.crc64xz), (output.checksums.crc64nvme, wrong.crc64nvme)];
            ensure!(echoed.iter().all(|(stated, wrong)| stated.is_none() || stated != wrong), "a wrong checksum was confirmed");
        }
        Err(e) => {
            ensure!(e.kind() == ErrorKind::Integrity, "a wrong checksum must be an Integrity error, but is {e:?}");
            refused(bench.store.head(&bench.object("k")).await, ErrorKind::NotFound, "HEAD of a refused object")?;
        }
    }
    Ok(())
}

/// Two hosts may start the same job. Where create-only writes are promised, exactly one of many racing writers wins and the
/// object is the winner's; where they are not, they are refused rather than faked.
pub async fn create_only_writes_have_one_winner(bench: &Bench) -> Result<()> {
    let key = bench.key("k");
    let create = |text: String| {
        let put = Put { condition: Some(Condition::Absent), ..Put::default() };
        bench.store.put(&key, Payload::from(text.into_bytes()), put)
    };
    if !bench.store.capabilities().put_if_absent {
        refused(create("x".into()).await, ErrorKind::Unsupported, "a create-only write")?;
        return Ok(());
    }
    let outcomes = join_all((0..WRITERS).map(|i| create(format!("writer {i}")))).await;
    // OSS cannot promise it in a bucket that keeps versions, which only a request tells.
    if outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|e| e.kind() == ErrorKind::Unsupported)) {
        return Ok(());
    }
    let winner = one_winner(&outcomes, ErrorKind::Exists)?;
    ensure!(bench.read(&key).await? == format!("writer {winner}").as_bytes(), "the object is not the winner's");
    refused(create("late".into()).await, ErrorKind::Exists, "a create-only write over an object")?;
    Ok(())
}

/// The same for compare-and-swap, on which leases and table formats are built.
pub async fn compare_and_swap_has_one_winner(bench: &Bench) -> Result<()> {
    let key = bench.key("k");
    let swap = |etag: ETag, text: String| {
        let put = Put { condition: Some(Condition::Matches(etag)), ..Put::default() };
        bench.store.put(&key, Payload::from(text.into_bytes()), put)
    };
    let first = bench.put("k", "first").await?.etag;
    if !bench.store.capabilities().put_if_match {
        refused(swap(first, "x".into()).await, ErrorKind::Unsupported, "a compare-and-swap write")?;
        return Ok(());
    }
    let outcomes = join_all((0..WRITERS).map(|i| swap(first.clone(), format!("writer {i}")))).await;
    let winner = one_winner(&outcomes, ErrorKind::Changed)?;
    ensure!(bench.read(&key).await? == format!("writer {winner}").as_bytes(), "the object is not the winner's");
    Ok(())
}

fn one_winner(outcomes: &[Result<PutOutput>], loss: ErrorKind) -> Result<usize> {
    let winners: Vec<usize> = outcomes.iter().enumerate().filter(|(_, o)| o.is_ok()).map(|(i, _)| i).collect();
    let others = outcomes.iter().filter_map(|o| o.as_ref().err()).find(|e| e.kind() != loss);
    ensure!(others.is_none(), "a racing writer lost with {others:?} instead of {loss:?}");
    let [winner] = winners[..] else {
        return Err(Error::new(ErrorKind::Unexpected, format!("{} of {} racing writers won", winners.len(), outcomes.len())));
    };
    Ok(winner)
}

/// A batch delete answers for every object, once, and an object that is not there is deleted already: a run that is repeated
/// after a crash must not fail on what the first one did.
pub async fn deletes_answer_for_each(bench: &Bench) -> Result<()> {
    let names = ["a", "b&<c>", "d e+f", "文件", "deep/er/x"];
    bench.put_all(&names).await?;
    bench.put("stays", "stays").await?;
    let mut asked: Vec<ObjectRef> = names.iter().chain(&["absent", "deep/absent"]).map(|name| bench.object(name)).collect();
    let answers: Vec<_> = bench.store.delete(stream::iter(asked.clone()).boxed()).collect().await;
    let mut answered = Vec::new();
    for (object, deleted) in answers {
        deleted?;
        answered.push(object);
    }
    asked.sort_by(|a, b| a.key.cmp(&b.key));
    answered.sort_by(|a, b| a.key.cmp(&b.key));
    ensure!(asked == answered, "asked to delete {asked:?}, answered for {answered:?}");
    ensure!(bench.list(List::default()).await?.keys == ["stays".into()], "not exactly what was asked for is gone");
    // What a folder held is gone, so its name is free.
    bench.put("deep", "an object now").await?;
    Ok(())
}

/// A copy within the service is as pinned, and as free to set attributes, as one whose bytes pass through here.
pub async fn copies_are_pinned(bench: &Bench) -> Result<()> {
    let Some(copy) = bench.store.server_copy() else { return Ok(()) };
    let identity = bench.store.identity();
    ensure!(copy.can_copy_from(identity), "a store must be able to copy from itself");
    let stale = bench.put("from", "stale").await?.etag;
    let etag = bench.put("from", "fresh!").await?.etag;
    let (from, to) = (bench.object("from"), bench.key("to +%"));
    let attributes = super::reading::sample(bench);
    refused(copy.copy(&identity.bucket, &from, Some(&stale), &to, &attributes).await, ErrorKind::Changed, "a copy pinned to the old ETag")?;
    copy.copy(&identity.bucket, &from, Some(&etag), &to, &attributes).await?;
    ensure!(bench.read(&to).await? == b"fresh!", "the copy has other bytes");
    super::reading::same(&attributes, &bench.store.head(&to.into()).await?.attributes)?;
    let absent = copy.copy(&identity.bucket, &bench.object("absent"), None, &bench.key("x"), &Attributes::default()).await;
    refused(absent, ErrorKind::NotFound, "a copy of an absent object")?;
    Ok(())
}
