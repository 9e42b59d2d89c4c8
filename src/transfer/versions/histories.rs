//! The histories of both ends, key by key, in the order of the keys.

use std::cmp::Ordering;

use futures::stream::{BoxStream, StreamExt, TryStreamExt};

use super::VERSIONS_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::location::Location;
use crate::storage::{Key, List, Storage, Version, Versions};
use crate::transfer::feed::KeyReader;
use crate::transfer::shard::Shard;

/// The versions of one key, newest first.
#[derive(Debug, Default, Clone)]
pub(super) struct History {
    pub(super) versions: Vec<Version>,
    /// There are more than are looked through.
    pub(super) is_too_long: bool,
}

impl History {
    fn push(&mut self, version: Version) {
        if self.versions.len() < VERSIONS_MAX {
            self.versions.push(version);
        } else {
            self.is_too_long = true;
        }
    }

    /// The history of one whole key at a place.
    pub(super) async fn of(place: &Location, key: &Key) -> Result<Self> {
        let list = List { upto: Some(key.clone()), ..List::under(key.clone()) };
        let mut pages = versions(&*place.storage)?.list_versions(list);
        let mut history = Self::default();
        while let Some(page) = pages.try_next().await? {
            page.into_iter().for_each(|version| history.push(version));
            if history.is_too_long {
                break;
            }
        }
        Ok(history)
    }
}

/// The versions of a store, which was asked before whether it has some.
fn versions(storage: &dyn Storage) -> Result<&dyn Versions> {
    storage.versions().ok_or_else(|| Error::unsupported("this store has no versions").in_store(storage))
}

/// One key, and its histories where they were listed.
#[derive(Debug)]
pub(super) struct Pair {
    /// Relative to both ends.
    pub(super) key: Key,
    /// Empty where that end has none.
    pub(super) listed: Option<(History, History)>,
}

/// Where the keys come from.
pub(super) enum Pairs {
    /// Both listings, merged.
    Listed(Box<(Cursor, Cursor)>),
    /// A file: each key's histories are asked for by themselves.
    Named(KeyReader),
}

impl Pairs {
    pub(super) fn listed(source: &Location, destination: &Location, shard: Option<Shard>) -> Result<Self> {
        Ok(Self::Listed(Box::new((Cursor::open(source, shard)?, Cursor::open(destination, shard)?))))
    }

    /// Waits for the first key of both ends, so that a typo does not look like an empty bucket. False: the source has none.
    pub(super) async fn arrive(&mut self) -> Result<bool> {
        let Self::Listed(cursors) = self else { return Ok(true) };
        let (source, destination) = &mut **cursors;
        tokio::try_join!(source.arrive(), destination.arrive())?;
        Ok(source.arrived.is_some())
    }

    /// The next key. Safe to drop. An error means that the rest is unknown.
    pub(super) async fn next(&mut self) -> Result<Option<Pair>> {
        let cursors = match self {
            Self::Named(reader) => return Ok(reader.next().await?.map(|key| Pair { key, listed: None })),
            Self::Listed(cursors) => cursors,
        };
        let (source, destination) = &mut **cursors;
        tokio::try_join!(source.arrive(), destination.arrive())?;
        let order = match (&source.arrived, &destination.arrived) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((here, _)), Some((there, _))) => here.cmp(there),
        };
        let here = if order.is_le() { source.arrived.take() } else { None };
        let there = if order.is_ge() { destination.arrived.take() } else { None };
        let key = here.as_ref().or(there.as_ref()).map(|(key, _)| key.clone()).unwrap_or_default();
        let history = |side: Option<(Key, History)>| side.map(|(_, history)| history).unwrap_or_default();
        Ok(Some(Pair { key, listed: Some((history(here), history(there))) }))
    }
}

/// One end's histories.
pub(super) struct Cursor {
    prefix: Key,
    shard: Option<Shard>,
    pages: BoxStream<'static, Result<Vec<Version>>>,
    page: std::vec::IntoIter<Version>,
    /// What has come of the key that is being read, by its whole key.
    partial: Option<(Key, History)>,
    /// The next key, relative, and its whole history.
    arrived: Option<(Key, History)>,
    ended: bool,
}

impl Cursor {
    fn open(place: &Location, shard: Option<Shard>) -> Result<Self> {
        let pages = versions(&*place.storage)?.list_versions(List::under(place.prefix.clone()));
        Ok(Self { prefix: place.prefix.clone(), shard, pages, page: Vec::new().into_iter(), partial: None, arrived: None, ended: false })
    }

    /// Reads on until a key's history is whole, or there are no more. Safe to drop.
    async fn arrive(&mut self) -> Result<()> {
        while self.arrived.is_none() && !(self.ended && self.partial.is_none()) {
            if let Some(version) = self.page.next() {
                match &mut self.partial {
                    Some((key, history)) if *key == version.key => history.push(version),
                    partial => {
                        let done = partial.replace((version.key.clone(), History { versions: vec![version], is_too_long: false }));
                        self.take(done)?;
                    }
                }
                continue;
            }
            match self.pages.next().await.transpose()? {
                Some(page) => self.page = page.into_iter(),
                None => {
                    self.ended = true;
                    let done = self.partial.take();
                    self.take(done)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a history that is whole, if its key takes part.
    fn take(&mut self, done: Option<(Key, History)>) -> Result<()> {
        let Some((whole, history)) = done else { return Ok(()) };
        let elsewhere = || Error::new(ErrorKind::Integrity, "the listing of versions holds a key that lies elsewhere").on_key(&whole);
        let key = whole.strip_prefix(&self.prefix).ok_or_else(elsewhere)?;
        // The place's own folder marker is no key under it.
        if !key.is_empty() && self.shard.is_none_or(|shard| shard.holds(key.as_bytes())) {
            self.arrived = Some((key, history));
        }
        Ok(())
    }
}
