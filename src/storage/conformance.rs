//! The contract, as a suite that any store can be held against.
//!
//! [`suite`] runs every case against a store under a prefix of its own and leaves nothing behind. What a store cannot do
//! ([`Capabilities`](super::Capabilities), missing facets) is not asked of it. Dragon runs it over every backend and every layer;
//! whoever writes a backend of their own should run it too:
//!
//! ```
//! # use std::sync::Arc;
//! # use dragon::storage::{Key, conformance, memory::MemoryStore};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> dragon::error::Result<()> {
//! conformance::suite(Arc::new(MemoryStore::new("bucket")), &Key::from("scratch/")).await
//! # }
//! ```
//!
//! A case is a short function that returns what was wrong as an error; it never panics, so that a suite can run in a `doctor`
//! as well as in a test.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Deleted, Get, Key, List, ObjectRef, Payload, Put, PutOutput, Storage, Version, Versioning, Versions};
use crate::error::{Error, ErrorKind, Result};

pub mod keys;
pub mod listing;
pub mod multipart;
pub mod reading;
pub mod versions;
pub mod writing;

/// Fails a case with a message where a condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::error::Error::new($crate::error::ErrorKind::Unexpected, format!($($message)+)));
        }
    };
}
use ensure;

/// One case: its name, and how to run it.
pub type Case = (&'static str, fn(Bench) -> BoxFuture<'static, Result<()>>);

macro_rules! cases {
    ($($module:ident :: $case:ident),+ $(,)?) => {
        &[$((concat!(stringify!($module), "-", stringify!($case)), |bench| Box::pin(async move { $module::$case(&bench).await }))),+]
    };
}

/// Every case, in the order in which [`suite`] runs them.
pub const CASES: &[Case] = cases![
    reading::bytes_come_back,
    reading::ranges_are_exact,
    reading::a_pinned_read_sees_no_other_object,
    reading::missing_means_not_found,
    reading::attributes_travel,
    reading::stated_checksums_are_true,
    writing::a_write_replaces_the_whole,
    writing::a_streamed_body_arrives,
    writing::a_broken_body_leaves_nothing,
    writing::wrong_checksums_are_never_confirmed,
    writing::create_only_writes_have_one_winner,
    writing::compare_and_swap_has_one_winner,
    writing::deletes_answer_for_each,
    writing::copies_are_pinned,
    listing::order_is_bytes,
    listing::pages_lose_nothing,
    listing::bounds_are_kept,
    listing::a_prefix_is_bytes,
    listing::folders_fold,
    listing::entries_agree_with_head,
    listing::nothing_is_no_error,
    listing::more_than_a_page,
    keys::odd_keys_are_kept_or_refused,
    keys::near_names_are_apart,
    keys::too_long_is_refused,
    multipart::parts_make_the_object,
    multipart::a_part_can_be_sent_again,
    multipart::checksums_combine,
    multipart::an_abort_leaves_nothing,
    multipart::open_uploads_are_listed,
    multipart::attributes_travel,
    multipart::create_only_completion,
    versions::a_history_is_listed,
    versions::pages_lose_nothing,
    versions::bounds_are_kept,
    versions::each_version_has_its_own,
    versions::what_hides_can_be_removed,
    multipart::parts_are_copied,
];

/// Runs every case under `prefix` (which should end in `/` and hold nothing) and fails at the first that does not hold.
pub async fn suite(store: Arc<dyn Storage>, prefix: &Key) -> Result<()> {
    for case in CASES {
        run(store.clone(), prefix, case).await?;
    }
    Ok(())
}

/// Runs one case under `prefix`, and cleans up after it whether it held or not.
pub async fn run(store: Arc<dyn Storage>, prefix: &Key, (name, case): &Case) -> Result<()> {
    let bench = Bench { store, prefix: prefix.join(format!("{name}/").as_bytes()) };
    let held = case(bench.clone()).await;
    let cleaned = bench.clean().await;
    held.and(cleaned).map_err(|e| Error::new(e.kind(), format!("conformance case '{name}' does not hold: {e}")).in_store(&bench.store))
}

/// A store and the prefix under which a case may do as it likes.
#[derive(Debug, Clone)]
pub struct Bench {
    store: Arc<dyn Storage>,
    prefix: Key,
}

/// A listing, gathered.
struct Listed {
    /// Keys relative to the bench's prefix.
    keys: Vec<Key>,
    /// Common prefixes, relative too.
    prefixes: Vec<Key>,
    /// How many keys and prefixes each page had.
    pages: Vec<usize>,
}

impl Bench {
    fn key(&self, name: impl AsRef<[u8]>) -> Key {
        self.prefix.join(name.as_ref())
    }

    fn object(&self, name: &str) -> ObjectRef {
        self.key(name).into()
    }

    async fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<PutOutput> {
        self.store.put(&self.key(name), Payload::from(bytes.into()), Put::default()).await
    }

    async fn put_all(&self, names: &[&'static str]) -> Result<()> {
        for name in names {
            self.put(name, *name).await?;
        }
        Ok(())
    }

    async fn read(&self, key: &Key) -> Result<Vec<u8>> {
        self.read_with(key, Get::default()).await
    }

    async fn read_with(&self, key: &Key, get: Get) -> Result<Vec<u8>> {
        let output = self.store.get(&key.into(), get).await?;
        let promised = output.range.end - output.range.start;
        let bytes = output.body.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        let bytes = bytes.await?;
        ensure!(bytes.len() as u64 == promised, "the body of '{key}' has {} bytes, and {promised} were promised", bytes.len());
        Ok(bytes)
    }

    /// Lists with `list`'s keys taken as relative to the bench's prefix.
    async fn list(&self, list: List) -> Result<Listed> {
        let within = |key: Key| self.key(key.as_bytes());
        let list = List { prefix: within(list.prefix), after: list.after.map(within), upto: list.upto.map(within), ..list };
        let mut listed = Listed { keys: Vec::new(), prefixes: Vec::new(), pages: Vec::new() };
        let mut pages = self.store.list(list);
        while let Some(page) = pages.next().await {
            let page = page?;
            let relative = |key: Key| key.strip_prefix(&self.prefix).ok_or_else(|| Error::new(ErrorKind::Unexpected, "a key outside the prefix").on_key(&key));
            for entry in page.iter() {
                listed.keys.push(relative(Key::from(entry.key))?);
            }
            for prefix in page.prefixes() {
                listed.prefixes.push(relative(prefix.clone())?);
            }
            listed.pages.push(page.len() + page.prefixes().len());
        }
        Ok(listed)
    }

    /// The versions of a bucket that keeps them; `None` where nothing is to be asked of it.
    async fn versions(&self) -> Option<&dyn Versions> {
        let versions = self.store.versions()?;
        // Not every server that speaks these protocols knows the question.
        versions.versioning().await.is_ok_and(|versioning| versioning == Versioning::Enabled).then_some(versions)
    }

    async fn listed_versions(&self, list: List) -> Result<Vec<Vec<Version>>> {
        let within = |key: Key| self.key(key.as_bytes());
        let list = List { prefix: within(list.prefix), after: list.after.map(within), upto: list.upto.map(within), ..list };
        match self.store.versions() {
            Some(versions) => versions.list_versions(list).try_collect().await,
            None => Ok(Vec::new()),
        }
    }

    async fn delete(&self, object: ObjectRef) -> Result<Deleted> {
        let unanswered = || Err(Error::new(ErrorKind::Unexpected, "a delete was not answered"));
        self.store.delete(stream::iter([object]).boxed()).next().await.map_or_else(unanswered, |(_, deleted)| deleted)
    }

    /// Deletes what the case left: open uploads, objects and their versions, and makes sure that they are gone.
    async fn clean(&self) -> Result<()> {
        if let Some(multipart) = self.store.multipart() {
            let open: Vec<_> = multipart.list_uploads(self.prefix.clone()).try_collect().await?;
            for upload in open {
                multipart.abort(&upload.upload).await?;
            }
        }
        let objects: Vec<ObjectRef> = match self.versions().await {
            Some(_) => self.listed_versions(List::default()).await?.iter().flatten().map(Version::object).collect(),
            None => self.list(List::default()).await?.keys.iter().map(|key| self.key(key.as_bytes()).into()).collect(),
        };
        let mut answers = self.store.delete(stream::iter(objects).boxed());
        while let Some((_, deleted)) = answers.next().await {
            deleted?;
        }
        let left = self.list(List::default()).await?.keys;
        ensure!(left.is_empty(), "deleted keys are still listed: {left:?}");
        Ok(())
    }
}

/// Fails where a call does not fail with that kind.
fn refused<T>(result: Result<T>, kind: ErrorKind, what: &str) -> Result<Error> {
    match result {
        Err(e) if e.kind() == kind => Ok(e),
        Err(e) => Err(Error::new(ErrorKind::Unexpected, format!("{what} must fail with {kind:?}, but failed with {e:?}"))),
        Ok(_) => Err(Error::new(ErrorKind::Unexpected, format!("{what} must fail with {kind:?}, but succeeded"))),
    }
}

/// Bytes in which every offset differs from its neighbours, so that a shifted or swapped range shows.
fn pattern(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 251) as u8 ^ seed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::storage::fault::{Effect, Fault, FaultLayer};
    use crate::storage::layer::Operation;
    use crate::storage::memory::{MemoryOptions, MemoryStore, Stated};

    #[tokio::test]
    async fn memory_holds() {
        for stated in [Stated::Crc64, Stated::Md5, Stated::Composite, Stated::Nothing] {
            let store = MemoryStore::with("b", MemoryOptions { stated, ..MemoryOptions::default() });
            suite(Arc::new(store), &Key::EMPTY).await.expect("conforms");
        }
    }

    #[tokio::test]
    async fn memory_holds_with_the_limits_of_a_cloud() {
        suite(Arc::new(MemoryStore::with("b", MemoryOptions::like_oss())), &Key::from("p/")).await.expect("conforms");
    }

    #[tokio::test]
    async fn memory_holds_with_versions() {
        let store = MemoryStore::new("b");
        store.set_versioning(Versioning::Enabled).expect("enabled");
        suite(Arc::new(FaultLayer::new(Arc::new(store.clone()), Clock::system(), [])), &Key::from("p/")).await.expect("conforms");
        assert!(store.list_versions(List::default()).next().await.is_none(), "nothing is left behind");
    }

    #[tokio::test]
    async fn the_fault_layer_holds_when_idle() {
        let store = FaultLayer::new(Arc::new(MemoryStore::new("b")), Clock::system(), []);
        suite(Arc::new(store), &Key::EMPTY).await.expect("conforms");
    }

    /// The suite must notice what it is there for: each fault breaks at least one case.
    #[tokio::test]
    async fn a_store_that_misbehaves_is_found_out() {
        let faults = [
            Fault::on(Operation::Get, Effect::Flip { at: 0 }),
            Fault::on(Operation::Get, Effect::Truncate { at: 1, error: None }),
            Fault::on(Operation::Put, Effect::WrongChecksums),
            Fault::on(Operation::List, Effect::Reverse),
            Fault::fail(Operation::Head, ErrorKind::Denied),
            Fault::on(Operation::UploadPart, Effect::FlipStored { at: 0 }),
            Fault::fail(Operation::AbortUpload, ErrorKind::UploadNotFound),
        ];
        for fault in faults {
            let what = format!("{fault:?}");
            let store = FaultLayer::new(Arc::new(MemoryStore::new("b")), Clock::system(), [fault]);
            assert!(suite(Arc::new(store), &Key::EMPTY).await.is_err(), "not noticed: {what}");
        }
    }
}
