//! Reading objects.

use std::collections::BTreeMap;

use super::{Bench, ensure, pattern, refused};
use crate::error::{ErrorKind, Result};
use crate::storage::checksum::{Agreement, Crc64};
use crate::storage::{Attributes, ETag, Get, MetadataRule, ObjectRef, Payload, Put};

/// Everything else rests on this: what was written is read, byte for byte, at sizes around every buffer, and PUT, HEAD and GET
/// tell one story of it.
pub async fn bytes_come_back(bench: &Bench) -> Result<()> {
    for len in [0, 1, 4095, (64 << 10) + 1, 300_000] {
        let (name, bytes) = (format!("{len}"), pattern(len, 0));
        let put = bench.put(&name, bytes.clone()).await?;
        let head = bench.store.head(&bench.object(&name)).await?;
        let get = bench.store.get(&bench.object(&name), Get::default()).await?;
        ensure!(bench.read(&bench.key(&name)).await? == bytes, "{len} bytes did not come back");
        ensure!(head.size == len as u64 && get.info.size == len as u64 && get.range == (0..len as u64), "the size of {len} bytes is told otherwise");
        ensure!(!head.etag.is_empty() && head.etag == put.etag && get.info.etag == put.etag, "ETags differ: {} {} {}", put.etag, head.etag, get.info.etag);
        ensure!(head.modified.is_some() && head.modified == get.info.modified, "HEAD and GET tell other times of last modification");
    }
    Ok(())
}

/// A large object is copied in ranges. One that is shifted by a byte, or is the whole object, would be a corrupt copy; one beyond
/// the end must be refused rather than clipped to nothing.
pub async fn ranges_are_exact(bench: &Bench) -> Result<()> {
    let bytes = pattern(200_000, 1);
    bench.put("r", bytes.clone()).await?;
    let key = bench.key("r");
    for range in [0..1, 0..200_000, 1..2, 65_535..65_537, 199_999..200_000, 100_000..200_000] {
        let get = Get { range: Some(range.clone()), ..Get::default() };
        let output = bench.store.get(&ObjectRef::from(&key), get.clone()).await?;
        ensure!(output.range == range && output.info.size == 200_000, "asked for {range:?} of 200000, got {:?} of {}", output.range, output.info.size);
        let read = bench.read_with(&key, get).await?;
        ensure!(read == bytes[range.start as usize..range.end as usize], "the bytes of {range:?} are others");
    }
    let beyond = Get { range: Some(200_000..200_001), ..Get::default() };
    refused(bench.store.get(&key.into(), beyond).await, ErrorKind::Invalid, "a range beyond the end")?;
    Ok(())
}

/// The source of a copy is pinned by its ETag. A read that went on with a newer object would stitch two objects together.
pub async fn a_pinned_read_sees_no_other_object(bench: &Bench) -> Result<()> {
    let key = bench.key("k");
    let old = bench.put("k", "old").await?.etag;
    let pinned = |etag: &ETag| Get { if_match: Some(etag.clone()), ..Get::default() };
    ensure!(bench.read_with(&key, pinned(&old)).await? == b"old", "a read pinned to the current ETag gave other bytes");
    let upper = ETag::new(&old.as_str().to_ascii_uppercase());
    ensure!(upper == old, "ETags compare with regard to case");
    let new = bench.put("k", "newer").await?.etag;
    ensure!(new != old, "another object has the same ETag {new}");
    refused(bench.store.get(&ObjectRef::from(&key), pinned(&old)).await, ErrorKind::Changed, "a read pinned to the old ETag")?;
    let range = Get { range: Some(0..2), ..pinned(&old) };
    refused(bench.store.get(&ObjectRef::from(&key), range).await, ErrorKind::Changed, "a ranged read pinned to the old ETag")?;
    Ok(())
}

/// Only "not found" means absence, and only absence may license a delete elsewhere. A key that is merely a prefix of others, or
/// lies under an object, is absent too.
pub async fn missing_means_not_found(bench: &Bench) -> Result<()> {
    bench.put("folder/file", "x").await?;
    for name in ["absent", "folder", "folder/file/beneath", "folder/fil", "no such/folder/at all"] {
        refused(bench.store.head(&bench.object(name)).await, ErrorKind::NotFound, &format!("HEAD of '{name}'"))?;
        refused(bench.store.get(&bench.object(name), Get::default()).await, ErrorKind::NotFound, &format!("GET of '{name}'"))?;
    }
    Ok(())
}

/// What travels with an object arrives with it, from PUT to HEAD and GET; what a store does not keep it says in its capabilities.
/// A later write without attributes leaves none of the old ones behind.
pub async fn attributes_travel(bench: &Bench) -> Result<()> {
    let sent = sample(bench);
    let put = Put { attributes: sent.clone(), ..Put::default() };
    bench.store.put(&bench.key("k"), Payload::from("x"), put).await?;
    let head = bench.store.head(&bench.object("k")).await?.attributes;
    let get = bench.store.get(&bench.object("k"), Get::default()).await?.info.attributes;
    same(&sent, &head)?;
    same(&sent, &get)?;
    bench.put("k", "y").await?;
    let bare = bench.store.head(&bench.object("k")).await?.attributes;
    ensure!(bare.cache_control.is_none() && !bare.user.contains_key("colour"), "attributes of the old object cling to the new one: {bare:?}");
    Ok(())
}

/// Whatever checksum a store states must be the bytes' own: a copy is proved by it. Both PUT and HEAD are held to it.
pub async fn stated_checksums_are_true(bench: &Bench) -> Result<()> {
    let bytes = pattern(70_000, 2);
    let truth = Crc64::of(&bytes).checksums();
    let put = Put { checksums: Some(truth.clone()), ..Put::default() };
    let output = bench.store.put(&bench.key("k"), Payload::from(bytes), put).await?;
    let head = bench.store.head(&bench.object("k")).await?;
    for (what, stated) in [("PUT", &output.checksums), ("HEAD", &head.checksums)] {
        let verdict = stated.agreement(&truth);
        ensure!(!matches!(verdict, Agreement::Different(_)), "{what} states a wrong checksum: {verdict:?}");
    }
    Ok(())
}

/// Attributes that the store says it keeps.
pub(super) fn sample(bench: &Bench) -> Attributes {
    let limits = bench.store.capabilities();
    let mut sent = Attributes::default();
    if limits.content_headers {
        sent.content_type = Some("text/x-dragon; charset=utf-8".into());
        sent.cache_control = Some("max-age=60, no-transform".into());
        sent.content_disposition = Some("attachment; filename=\"a b.txt\"".into());
        sent.content_encoding = Some("gzip".into());
        sent.content_language = Some("zh-CN".into());
        sent.expires = Some("Thu, 01 Dec 2033 16:00:00 GMT".into());
    }
    let mtime = ("mtime", "1700000000.123456789");
    let user: &[(&str, &str)] = match limits.metadata {
        MetadataRule::MtimeOnly => &[mtime],
        MetadataRule::LettersDigitsHyphen => &[mtime, ("colour", "dark green"), ("x-2", "a=b;c")],
        MetadataRule::HeaderToken | MetadataRule::Any => &[mtime, ("colour", "dark green"), ("under_score", "a=b;c"), ("wide", "größe 中")],
    };
    sent.user = user.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
    sent
}

/// Fails where something sent did not arrive. What a store adds of its own (a storage class, an encryption) is no matter.
pub(super) fn same(sent: &Attributes, found: &Attributes) -> Result<()> {
    let headers = |a: &Attributes| {
        [&a.content_type, &a.cache_control, &a.content_disposition, &a.content_encoding, &a.content_language, &a.expires].map(|h| h.clone().unwrap_or_default())
    };
    let kept = sent.content_type.is_none() || headers(sent) == headers(found);
    ensure!(kept, "content headers were sent as {:?} and came back as {:?}", headers(sent), headers(found));
    ensure!(sent.user == found.user, "metadata was sent as {:?} and came back as {:?}", sent.user, found.user);
    Ok(())
}
