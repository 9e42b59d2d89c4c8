//! Versions, where the bucket keeps them.

use super::{Bench, ensure};
use crate::error::{ErrorKind, Result};
use crate::storage::{Get, List, ObjectRef, Version};

/// Three keys: one with a past, one that is hidden, one that was written once.
const HISTORY: [&str; 7] = ["a/x 3 latest", "a/x marker", "a/x 2", "a/x 1", "b marker latest", "b 1", "c+ %/ä 1 latest"];

async fn write_history(bench: &Bench) -> Result<()> {
    bench.put("c+ %/ä", "1").await?;
    for name in ["a/x", "b"] {
        bench.put(name, "1").await?;
    }
    bench.put("a/x", "22").await?;
    for name in ["a/x", "b"] {
        bench.delete(bench.object(name)).await?;
    }
    bench.put("a/x", "333").await?;
    Ok(())
}

/// What a version is, with its size for an id.
fn told(bench: &Bench, version: &Version) -> String {
    let key = version.key.strip_prefix(&bench.prefix).unwrap_or_default();
    let what = if version.is_marker { "marker".to_owned() } else { version.size.to_string() };
    format!("{key} {what}{}", if version.is_latest { " latest" } else { "" })
}

/// What replaced what, and in which order, is what a copy of a history goes by.
pub async fn a_history_is_listed(bench: &Bench) -> Result<()> {
    if bench.versions().await.is_none() {
        return Ok(());
    }
    write_history(bench).await?;
    let listed: Vec<String> = bench.listed_versions(List::default()).await?.iter().flatten().map(|v| told(bench, v)).collect();
    ensure!(listed == HISTORY, "listed {listed:?}");
    Ok(())
}

/// A page may end within a key's versions.
pub async fn pages_lose_nothing(bench: &Bench) -> Result<()> {
    if bench.versions().await.is_none() {
        return Ok(());
    }
    write_history(bench).await?;
    for page_keys in 1..=4 {
        let pages = bench.listed_versions(List { page_keys: Some(page_keys), ..List::default() }).await?;
        let listed: Vec<String> = pages.iter().flatten().map(|v| told(bench, v)).collect();
        ensure!(listed == HISTORY, "with pages of {page_keys}: {listed:?}");
        ensure!(pages.iter().all(|page| (1..=page_keys as usize).contains(&page.len())), "a page is empty, or has more than {page_keys}");
    }
    Ok(())
}

/// `after` leaves out a key with all its versions, `upto` takes it with all of them.
pub async fn bounds_are_kept(bench: &Bench) -> Result<()> {
    if bench.versions().await.is_none() {
        return Ok(());
    }
    write_history(bench).await?;
    for (after, upto, expected) in [("a/x", "", 4..7), ("", "a/x", 0..4), ("a/x", "b", 4..6), ("a", "a/y", 0..4), ("b", "", 6..7), ("d", "", 7..7)] {
        let list =
            List { after: (!after.is_empty()).then(|| after.into()), upto: (!upto.is_empty()).then(|| upto.into()), page_keys: Some(2), ..List::default() };
        let listed: Vec<String> = bench.listed_versions(list).await?.iter().flatten().map(|v| told(bench, v)).collect();
        ensure!(listed == HISTORY[expected], "after {after:?} up to {upto:?}: {listed:?}");
    }
    let listed = bench.listed_versions(List::under("b".into())).await?;
    ensure!(listed.iter().flatten().count() == 2, "under a prefix: {listed:?}");
    Ok(())
}

/// A version is read by its id, whatever came after it; a marker is none that can be read.
pub async fn each_version_has_its_own(bench: &Bench) -> Result<()> {
    if bench.versions().await.is_none() {
        return Ok(());
    }
    write_history(bench).await?;
    for version in bench.listed_versions(List::default()).await?.into_iter().flatten() {
        let head = bench.store.head(&version.object()).await;
        if version.is_marker {
            ensure!(head.is_err(), "a delete marker is no object");
            continue;
        }
        let head = head?;
        ensure!(head.size == version.size && head.etag == version.etag, "HEAD says {head:?} of {version:?}");
        ensure!(head.version.as_ref() == Some(&version.version), "HEAD names version {:?}, the listing {}", head.version, version.version);
        let got = bench.store.get(&version.object(), Get { if_match: Some(version.etag.clone()), ..Get::default() }).await?;
        ensure!(got.info.size == version.size, "GET opens {} bytes of {version:?}", got.info.size);
    }
    let unknown = ObjectRef { key: bench.key("b"), version: None };
    super::refused(bench.store.head(&unknown).await, ErrorKind::NotFound, "HEAD of a hidden object")?;
    Ok(())
}

/// A delete without a version hides, one with a version removes: the marker's removal shows the object again.
pub async fn what_hides_can_be_removed(bench: &Bench) -> Result<()> {
    if bench.versions().await.is_none() {
        return Ok(());
    }
    bench.put("k", "1").await?;
    let hidden = bench.delete(bench.object("k")).await?;
    ensure!(hidden.delete_marker, "a delete without a version made no marker: {hidden:?}");
    let listed = bench.listed_versions(List::default()).await?.concat();
    let marker = listed.iter().find(|version| version.is_marker);
    ensure!(marker.is_some_and(|marker| hidden.version.as_ref() == Some(&marker.version)), "the marker {hidden:?} is not listed: {listed:?}");
    if let Some(marker) = marker {
        bench.delete(marker.object()).await?;
    }
    ensure!(bench.read(&bench.key("k")).await? == b"1", "the object is not shown again");
    Ok(())
}
