//! What a bucket keeps of the past: versions that were replaced, and delete markers.

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;

use super::object::{Object, whole_second};
use super::{Bucket, MemoryStore};
use crate::error::{Error, Result};
use crate::storage::{Deleted, ETag, Key, Kind, List, ObjectRef, Version, Versioning, Versions};

/// The id of what was written where no versions are kept, as both clouds have it.
pub(super) const NULL_VERSION: &str = "null";

/// One entry of a key's past.
pub(super) enum Kept {
    Data(Box<Object>),
    Marker { version: String, modified: Timestamp },
}

impl Kept {
    pub(super) fn version(&self) -> &str {
        match self {
            Self::Data(object) => object.version(),
            Self::Marker { version, .. } => version,
        }
    }

    pub(super) fn data_mut(&mut self) -> Option<&mut Object> {
        if let Self::Data(object) = self { Some(object) } else { None }
    }

    fn listed(&self, key: &Key, is_latest: bool) -> Version {
        match self {
            Self::Data(object) => object.listed(key, is_latest),
            Self::Marker { version, modified } => Version {
                key: key.clone(),
                version: version.clone(),
                is_latest,
                is_marker: true,
                size: 0,
                etag: ETag::default(),
                modified: Some(*modified),
                storage_class: None,
                kind: Kind::Object,
            },
        }
    }
}

impl Object {
    pub(super) fn version(&self) -> &str {
        self.info.version.as_deref().unwrap_or(NULL_VERSION)
    }

    fn listed(&self, key: &Key, is_latest: bool) -> Version {
        Version {
            key: key.clone(),
            version: self.version().to_owned(),
            is_latest,
            is_marker: false,
            size: self.info.size,
            etag: self.info.etag.clone(),
            modified: self.info.modified,
            storage_class: self.info.attributes.storage_class.clone(),
            kind: self.info.kind,
        }
    }
}

impl Bucket {
    /// Makes room for a new latest version of a key, and gives its id: none where it replaces what has none.
    pub(super) fn make_room(&mut self, key: &Key) -> Option<String> {
        let current = self.objects.remove(key);
        let past = match self.versioning {
            Versioning::Off => return None,
            Versioning::Enabled | Versioning::Suspended => self.past.entry(key.clone()).or_default(),
        };
        past.extend(current.map(|object| Kept::Data(Box::new(object))));
        if self.versioning == Versioning::Suspended {
            past.retain(|kept| kept.version() != NULL_VERSION);
            return None;
        }
        self.versions += 1;
        Some(format!("v{:08}", self.versions))
    }

    /// Deletes as both clouds do: without a version it hides, where versions are kept; with one it removes for good.
    pub(super) fn delete(&mut self, object: &ObjectRef, now: Timestamp) -> Deleted {
        let Some(wanted) = &object.version else {
            if self.versioning == Versioning::Off {
                self.objects.remove(&object.key);
                return Deleted::default();
            }
            let version = self.make_room(&object.key).unwrap_or_else(|| NULL_VERSION.to_owned());
            let marker = Kept::Marker { version: version.clone(), modified: whole_second(now) };
            self.past.entry(object.key.clone()).or_default().push(marker);
            return Deleted { version: Some(version).filter(|v| v != NULL_VERSION), delete_marker: true };
        };
        let mut removed = Deleted { version: Some(wanted.clone()), delete_marker: false };
        if self.objects.get(&object.key).is_some_and(|current| current.version() == wanted) {
            self.objects.remove(&object.key);
        }
        if let Some(past) = self.past.get_mut(&object.key) {
            removed.delete_marker = past.iter().any(|kept| kept.version() == wanted && matches!(kept, Kept::Marker { .. }));
            past.retain(|kept| kept.version() != wanted);
            // What is the latest now can be seen again.
            if !self.objects.contains_key(&object.key)
                && matches!(past.last(), Some(Kept::Data(_)))
                && let Some(Kept::Data(latest)) = past.pop()
            {
                self.objects.insert(object.key.clone(), *latest);
            }
            if past.is_empty() {
                self.past.remove(&object.key);
            }
        }
        removed
    }

    /// A version that is not the latest.
    pub(super) fn past_object(&self, key: &Key, version: &str) -> Option<&Object> {
        self.past.get(key)?.iter().find_map(|kept| match kept {
            Kept::Data(object) if object.version() == version => Some(&**object),
            _ => None,
        })
    }

    /// A key's versions, the newest first.
    fn history(&self, key: &Key) -> Vec<Version> {
        let current = self.objects.get(key).map(|object| object.listed(key, true));
        let hidden = current.is_none();
        let past = self.past.get(key).into_iter().flatten().rev().enumerate();
        current.into_iter().chain(past.map(|(index, kept)| kept.listed(key, hidden && index == 0))).collect()
    }

    /// At most `most` versions after a place: the last version given.
    fn versions_page(&self, list: &List, after: Option<&Version>, most: usize) -> Vec<Version> {
        let start = after.map(|version| &version.key).or(list.after.as_ref()).unwrap_or(&list.prefix).max(&list.prefix);
        // Every key but the two that bound it from below has a version.
        let from = |keys: &mut dyn Iterator<Item = &'_ Key>| keys.take(most + 2).cloned().collect::<Vec<_>>();
        let mut keys = from(&mut self.objects.range::<Key, _>(start..).map(|(key, _)| key));
        keys.extend(from(&mut self.past.range::<Key, _>(start..).map(|(key, _)| key)));
        keys.sort_unstable();
        keys.dedup();
        let wanted = |key: &Key| key.as_bytes().starts_with(list.prefix.as_bytes()) && list.upto.as_ref().is_none_or(|upto| key <= upto);
        let mut page = Vec::new();
        for key in keys.iter().take_while(|key| wanted(key)).filter(|key| list.after.as_ref().is_none_or(|after| *key > after)) {
            let mut history = self.history(key);
            if let Some(after) = after.filter(|after| after.key == *key) {
                let given = history.iter().position(|version| version.version == after.version);
                history.drain(..given.map_or(0, |at| at + 1));
            }
            page.extend(history);
            if page.len() >= most {
                page.truncate(most);
                break;
            }
        }
        page
    }
}

impl MemoryStore {
    /// Has the bucket keep versions from now on, or no more. A bucket that did so once cannot go back to [`Versioning::Off`].
    ///
    /// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where it would.
    pub fn set_versioning(&self, versioning: Versioning) -> Result<()> {
        let set = self.locked(|bucket| {
            if versioning == Versioning::Off && bucket.versioning != Versioning::Off {
                return Err(Error::invalid("a bucket that kept versions can only be suspended"));
            }
            bucket.versioning = versioning;
            Ok(())
        });
        set.map_err(|e| e.during("set versioning").in_store(self))
    }

    fn versions_after(&self, list: &List, after: Option<&Version>) -> Result<Vec<Version>> {
        let most = self.options.page_keys_max.max(1);
        self.locked(|bucket| Ok(bucket.versions_page(list, after, list.page_keys.unwrap_or(most).clamp(1, most) as usize)))
            .map_err(|e| e.during("list versions").in_store(self))
    }
}

#[async_trait]
impl Versions for MemoryStore {
    async fn versioning(&self) -> Result<Versioning> {
        self.locked(|bucket| Ok(bucket.versioning)).map_err(|e| e.during("versioning").in_store(self))
    }

    fn list_versions(&self, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
        let store = self.clone();
        stream::unfold(Some(None), move |after: Option<Option<Version>>| {
            let page = after.map(|after| store.versions_after(&list, after.as_ref()));
            std::future::ready(match page {
                Some(Ok(page)) if !page.is_empty() => {
                    let last = page.last().cloned();
                    Some((Ok(page), Some(last)))
                }
                Some(Err(e)) => Some((Err(e), None)),
                _ => None,
            })
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::TryStreamExt;

    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::{Get, Put, Storage};

    async fn told(store: &MemoryStore) -> Vec<String> {
        let pages: Vec<Vec<Version>> = store.list_versions(List { page_keys: Some(2), ..List::default() }).try_collect().await.expect("listed");
        assert!(pages.iter().all(|page| (1..=2).contains(&page.len())));
        let mark = |v: &Version| format!("{} {}{}{}", v.key, v.version, if v.is_marker { " marker" } else { "" }, if v.is_latest { " latest" } else { "" });
        pages.iter().flatten().map(mark).collect()
    }

    async fn delete(store: &MemoryStore, key: &str, version: Option<&str>) -> Deleted {
        let object = ObjectRef { key: key.into(), version: version.map(str::to_owned) };
        store.delete(stream::iter([object]).boxed()).next().await.expect("an answer").1.expect("deleted")
    }

    #[tokio::test]
    async fn a_history_is_kept_hidden_shown_and_removed() {
        let store = MemoryStore::new("b");
        store.put(&"k".into(), "zero".into(), Put::default()).await.expect("put");
        store.set_versioning(Versioning::Enabled).expect("enabled");
        for text in ["one", "two"] {
            store.put(&"k".into(), text.into(), Put::default()).await.expect("put");
        }
        assert_eq!(delete(&store, "k", None).await, Deleted { version: Some("v00000003".into()), delete_marker: true });
        assert_eq!(store.head(&Key::from("k").into()).await.expect_err("hidden").kind(), ErrorKind::NotFound);
        assert_eq!(told(&store).await, ["k v00000003 marker latest", "k v00000002", "k v00000001", "k null"]);
        let old = ObjectRef { key: "k".into(), version: Some(NULL_VERSION.into()) };
        assert_eq!(store.get(&old, Get::default()).await.expect("kept").info.size, 4);
        assert!(delete(&store, "k", Some("v00000003")).await.delete_marker);
        assert_eq!(store.head(&Key::from("k").into()).await.expect("shown again").version.as_deref(), Some("v00000002"));
        store.set_versioning(Versioning::Suspended).expect("suspended");
        delete(&store, "k", None).await;
        assert_eq!(told(&store).await, ["k null marker latest", "k v00000002", "k v00000001"], "the null version is replaced");
        store.put(&"k".into(), "three".into(), Put::default()).await.expect("put");
        assert_eq!(told(&store).await, ["k null latest", "k v00000002", "k v00000001"]);
        for version in [NULL_VERSION, "v00000001", "v00000002", "v00000009"] {
            delete(&store, "k", Some(version)).await;
        }
        assert!(told(&store).await.is_empty());
    }
}
