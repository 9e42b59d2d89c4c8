//! Listing keys.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Bench, ensure};
use crate::error::Result;
use crate::storage::{Key, List, ObjectRef, Payload, Put};

/// In byte order. `-` and `.` sort before the `/` that a folder's keys have in that place, `0` after it, which is where a walk
/// of a directory tree goes wrong.
const NAMES: [&str; 9] = ["A", "a-b", "a.txt", "a/b", "a/c/d", "a/c0", "a0", "b", "ä/x"];

fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| Key::from(*name)).collect()
}

/// Two listings are merged key by key. One that is out of order makes present objects look absent, and a sync would delete them.
pub async fn order_is_bytes(bench: &Bench) -> Result<()> {
    let mut shuffled = NAMES;
    shuffled.reverse();
    bench.put_all(&shuffled).await?;
    let listed = bench.list(List::default()).await?.keys;
    ensure!(listed == keys(&NAMES), "listed {listed:?}");
    Ok(())
}

/// The seams between pages are where keys are lost or told twice, so every page size is tried, with and without folding.
pub async fn pages_lose_nothing(bench: &Bench) -> Result<()> {
    bench.put_all(&NAMES).await?;
    for page_keys in 1..=4 {
        let list = List { page_keys: Some(page_keys), ..List::default() };
        let listed = bench.list(list.clone()).await?;
        ensure!(listed.keys == keys(&NAMES), "with pages of {page_keys}: {:?}", listed.keys);
        ensure!(listed.pages.iter().all(|len| *len <= page_keys as usize), "pages of {:?} where {page_keys} was asked", listed.pages);
        let folded = bench.list(List { delimiter: Some(b'/'), ..list }).await?;
        ensure!(folded.keys == keys(&["A", "a-b", "a.txt", "a0", "b"]), "folded, with pages of {page_keys}: {:?}", folded.keys);
        ensure!(folded.prefixes == keys(&["a/", "ä/"]), "folders, with pages of {page_keys}: {:?}", folded.prefixes);
    }
    Ok(())
}

/// A broken listing goes on after its last key, and a keyspace is cut into ranges: `after` is exclusive, `upto` inclusive, and
/// neither need be a key that exists.
pub async fn bounds_are_kept(bench: &Bench) -> Result<()> {
    bench.put_all(&NAMES).await?;
    let tried = ["", "A", "a-", "a-b", "a/", "a/b", "a/bb", "a/c/d", "a/c/zz", "a0", "zz"];
    for after in tried {
        for upto in tried {
            let list = List { after: (!after.is_empty()).then(|| after.into()), upto: (!upto.is_empty()).then(|| upto.into()), ..List::default() };
            let expected: Vec<&str> = NAMES.into_iter().filter(|n| *n > after && (upto.is_empty() || *n <= upto)).collect();
            let listed = bench.list(list).await?.keys;
            ensure!(listed == keys(&expected), "after {after:?} up to {upto:?}: {listed:?}");
        }
    }
    Ok(())
}

/// `a` as a prefix means `a-b` and `a/b` alike: a prefix is bytes, not a folder.
pub async fn a_prefix_is_bytes(bench: &Bench) -> Result<()> {
    bench.put_all(&NAMES).await?;
    for prefix in ["a", "a/", "a/c", "a/c/", "a.", "A", "none", "a/b/", "ä"] {
        let expected: Vec<&str> = NAMES.into_iter().filter(|n| n.starts_with(prefix)).collect();
        let listed = bench.list(List::under(prefix.into())).await?.keys;
        ensure!(listed == keys(&expected), "under {prefix:?}: {listed:?}");
    }
    Ok(())
}

/// `ls` shows one level: what has a further `/` after the prefix is folded into one folder, told once.
pub async fn folders_fold(bench: &Bench) -> Result<()> {
    bench.put_all(&NAMES).await?;
    for (prefix, names, folders) in [("a/", &["a/b", "a/c0"][..], &["a/c/"][..]), ("a", &["a-b", "a.txt", "a0"], &["a/"]), ("a/c/", &["a/c/d"], &[])] {
        let listed = bench.list(List { delimiter: Some(b'/'), ..List::under(prefix.into()) }).await?;
        ensure!(listed.keys == keys(names), "names under {prefix:?}: {:?}", listed.keys);
        ensure!(listed.prefixes == keys(folders), "folders under {prefix:?}: {:?}", listed.prefixes);
    }
    Ok(())
}

/// Whether an object changed is decided from the listing alone, so its size, time and ETag must be those of HEAD.
pub async fn entries_agree_with_head(bench: &Bench) -> Result<()> {
    for name in ["empty", "one", "folder/two"] {
        bench.put(name, if name == "empty" { "" } else { name }).await?;
    }
    let pages: Vec<_> = bench.store.list(List::under(bench.prefix.clone())).try_collect().await?;
    for entry in pages.iter().flat_map(|page| page.iter()) {
        let head = bench.store.head(&Key::from(entry.key).into()).await?;
        let key = Key::from(entry.key);
        ensure!(entry.size == head.size && head.etag.as_str().eq_ignore_ascii_case(entry.etag), "'{key}' is {entry:?} in the listing and {head:?} to HEAD");
        let seconds = |t: Option<jiff::Timestamp>| t.map(jiff::Timestamp::as_second);
        ensure!(entry.modified.is_some() && seconds(entry.modified) == seconds(head.modified), "'{key}' has another time in the listing");
    }
    Ok(())
}

/// An empty listing ends; it is neither an error nor an empty page without end.
pub async fn nothing_is_no_error(bench: &Bench) -> Result<()> {
    let listed = bench.list(List::default()).await?;
    ensure!(listed.keys.is_empty() && listed.prefixes.is_empty(), "an empty prefix lists {:?}", listed.keys);
    ensure!(listed.pages.iter().sum::<usize>() == 0, "an empty prefix has pages of {:?}", listed.pages);
    Ok(())
}

/// More keys than any service puts on a page or into a batch delete: the defaults must go on where the first page ends.
pub async fn more_than_a_page(bench: &Bench) -> Result<()> {
    const COUNT: usize = 1100;
    let names: Vec<Key> = (0..COUNT).map(|i| Key::from(format!("n{i:05}"))).collect();
    let puts = names.iter().map(|name| {
        let key = bench.key(name.as_bytes());
        async move { bench.store.put(&key, Payload::from("x"), Put::default()).await.map(drop) }
    });
    stream::iter(puts.collect::<Vec<_>>()).buffer_unordered(8).try_collect::<()>().await?;
    let listed = bench.list(List::default()).await?.keys;
    ensure!(listed == names, "{} keys listed of {COUNT}", listed.len());
    let objects: Vec<ObjectRef> = names.iter().map(|name| bench.key(name.as_bytes()).into()).collect();
    let mut answers = bench.store.delete(stream::iter(objects).boxed());
    let mut count = 0;
    while let Some((_, deleted)) = answers.next().await {
        deleted?;
        count += 1;
    }
    ensure!(count == COUNT, "{count} answers to {COUNT} deletes");
    Ok(())
}
