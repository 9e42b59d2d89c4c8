//! Keys that break clients.

use futures::stream::{self, StreamExt};

use super::{Bench, ensure, refused};
use crate::error::{ErrorKind, Result};
use crate::storage::{Get, Key, List, ObjectRef, Payload, Put};

/// Each has broken some client: by being decoded twice, normalised as a path, cut at a control character, or signed otherwise
/// than sent.
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "a b",
        " lead",
        "trail ",
        "a+b",
        "a%b",
        "a%20b",
        "%2e%2e/x",
        "a%2Fb",
        "q?a=b&c",
        "h#f",
        "x<y>&\"'z",
        "a:b",
        "a\\b",
        "~a",
        "a*b",
        "(a)!$,;=@",
        "[a]{b}|^`",
        "中文/文件",
        "emoji-😀",
        "é",
        "e\u{301}",
        "\u{ffff}z",
        "d//e",
        "d//",
        "./x",
        "f/./x",
        "f/../x",
        "../up",
        "slash/",
        "tab\tx",
        "line\nx",
        "cr\rx",
        "bell\u{7}x",
        "del\u{7f}x",
        "nbsp\u{a0}x",
        "rtl\u{202e}x",
        ".hidden",
        "...",
        "a..b",
        "CON",
        "-rf",
        "AUX.txt",
        "trailing.",
    ]
    .map(String::from)
    .to_vec();
    // One long key in short components, and one in a component too long for any filesystem.
    names.push(["x".repeat(200), "y".repeat(200), "z".repeat(200), "w".repeat(200)].join("/"));
    names.push("v".repeat(600));
    names
}

/// A key is bytes: what is written under it is read, listed and deleted under exactly it. A store that cannot hold one says so,
/// naming it, and stores nothing under any other name.
pub async fn odd_keys_are_kept_or_refused(bench: &Bench) -> Result<()> {
    let mut held = Vec::new();
    for name in odd_names() {
        let key = bench.key(&name);
        // A folder marker has no bytes.
        let body = if name.ends_with('/') { String::new() } else { format!("body of {name}") };
        match bench.store.put(&key, Payload::from(body.clone().into_bytes()), Put::default()).await {
            Ok(_) => held.push((key, body)),
            Err(e) => {
                ensure!(e.kind() == ErrorKind::Invalid, "'{key}' must be kept, or refused as Invalid: {e:?}");
                ensure!(e.key() == Some(&key.to_string()), "the refusal of '{key}' names {:?}", e.key());
            }
        }
    }
    held.sort();
    for (key, body) in &held {
        ensure!(bench.read(key).await? == body.as_bytes(), "'{key}' has another object's bytes");
        ensure!(bench.store.head(&key.into()).await?.size == body.len() as u64, "HEAD of '{key}' tells of another object");
    }
    listed_are(bench, &held).await?;
    let objects: Vec<ObjectRef> = held.iter().map(|(key, _)| key.into()).collect();
    let answers: Vec<_> = bench.store.delete(stream::iter(objects).boxed()).collect().await;
    ensure!(answers.len() == held.len(), "{} answers to {} deletes", answers.len(), held.len());
    for (object, deleted) in answers {
        deleted?;
        refused(bench.store.get(&object, Get::default()).await, ErrorKind::NotFound, &format!("GET of the deleted '{}'", object.key))?;
    }
    Ok(())
}

/// The listing is `held`, with or without folder markers where folders are something of their own (a local directory).
async fn listed_are(bench: &Bench, held: &[(Key, String)]) -> Result<()> {
    let listed = bench.list(List::default()).await?.keys;
    let listed: Vec<Key> = listed.iter().map(|key| bench.key(key.as_bytes())).collect();
    let files = |keys: &mut dyn Iterator<Item = &Key>| keys.filter(|key| !key.is_folder()).cloned().collect::<Vec<_>>();
    let expected = files(&mut held.iter().map(|(key, _)| key));
    ensure!(files(&mut listed.iter()) == expected, "held {expected:?}, listed {listed:?}");
    let stray = listed.iter().find(|key| held.iter().all(|(k, _)| k != *key));
    ensure!(stray.is_none(), "listed but never written: {stray:?}");
    Ok(())
}

/// Names that some layer takes for one another are different objects: a decoded `+`, a letter's case, two ways to write one letter.
pub async fn near_names_are_apart(bench: &Bench) -> Result<()> {
    for pair in [["a+b", "a b"], ["a%2Bb", "a+b"], ["Case", "case"], ["é", "e\u{301}"], ["x/y", "x//y"], ["p/q", "p/./q"], ["m/../n", "n"], ["a&amp;b", "a&b"]]
    {
        let mut held = Vec::new();
        for name in pair {
            match bench.put(name, format!("body of {name}")).await {
                Ok(_) => held.push(name),
                Err(e) => ensure!(e.kind() == ErrorKind::Invalid, "'{name}' must be kept or refused as Invalid: {e:?}"),
            }
        }
        for name in held {
            ensure!(bench.read(&bench.key(name)).await? == format!("body of {name}").as_bytes(), "'{name}' has its neighbour's bytes");
        }
    }
    Ok(())
}

/// A key over the limit is refused before it is cut short, and so is no key at all.
pub async fn too_long_is_refused(bench: &Bench) -> Result<()> {
    let limit = bench.store.capabilities().key_bytes_max;
    let filled = |len: usize| {
        let rest = (0..len - bench.prefix.len()).map(|i| if i % 100 == 99 && i + 1 < len - bench.prefix.len() { '/' } else { 'k' });
        bench.key(rest.collect::<String>())
    };
    let (fits, over) = (filled(limit), filled(limit + 1));
    bench.store.put(&fits, Payload::from("fits"), Put::default()).await?;
    ensure!(bench.read(&fits).await? == b"fits", "a key of {limit} bytes has other bytes");
    let named = refused(bench.store.put(&over, Payload::from("over"), Put::default()).await, ErrorKind::Invalid, "a key over the limit")?;
    ensure!(named.key().is_some(), "the refusal does not name the key");
    refused(bench.store.put(&Key::EMPTY, Payload::from("x"), Put::default()).await, ErrorKind::Invalid, "an empty key")?;
    Ok(())
}
