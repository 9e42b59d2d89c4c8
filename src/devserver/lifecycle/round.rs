//! The daily round: finds what a bucket's rules are due for, and does it.
//!
//! Made when a new day has begun and somebody asks for something, and whenever a test lets time pass. What is due is found under
//! the store's read lock and done piece by piece, each under the condition that it is still what was judged.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Fate, Rules};
use crate::devserver::store::{BucketInfo, Object, Refusal, Store};

/// Carries out the lifecycle rules of one cloud's buckets.
pub(in crate::devserver) struct Lifecycle {
    store: Arc<Store>,
    /// Reads a bucket's rules where it has any.
    rules: fn(&BucketInfo) -> Option<Rules>,
    /// The day of the last round.
    day: Mutex<i64>,
}

/// Something that is due.
enum Errand {
    Object { key: String, judged: Arc<Object>, fate: Fate },
    Upload { key: String, id: String },
}

impl Lifecycle {
    /// The rounds of a store, the first of which is made at once: a directory may have rested for days.
    pub(in crate::devserver) fn new(store: Arc<Store>, rules: fn(&BucketInfo) -> Option<Rules>) -> Self {
        Self { store, rules, day: Mutex::new(i64::MIN) }
    }

    /// Makes a round where a day has begun since the last one. Whoever comes meanwhile waits for it.
    pub(in crate::devserver) fn tick(&self) {
        let calendar = self.store.calendar();
        let today = calendar.day_of(calendar.now());
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        if *day < today {
            self.round();
            *day = today;
        }
    }

    /// Makes a round.
    pub(in crate::devserver) fn round(&self) {
        for bucket in self.store.buckets() {
            let Some(rules) = (self.rules)(&bucket) else { continue };
            for errand in self.errands(&bucket.name, &rules) {
                if let Err(refusal) = self.run(&bucket.name, &errand) {
                    tracing::warn!(bucket = bucket.name, %refusal, "a lifecycle rule could not be carried out");
                }
            }
        }
    }

    fn errands(&self, bucket: &str, rules: &Rules) -> Vec<Errand> {
        let calendar = self.store.calendar();
        let mut errands = Vec::new();
        let judge = |key: &str, object: &Arc<Object>| {
            if let Some(fate) = rules.fate(key, object, calendar) {
                errands.push(Errand::Object { key: key.to_owned(), judged: Arc::clone(object), fate });
            }
        };
        // A bucket that is gone by now has nothing due.
        let judged = self.store.for_each_object(bucket, judge);
        let uploads = judged.and_then(|()| self.store.uploads(bucket, "", ("", ""), usize::MAX)).unwrap_or_default();
        let stale = uploads.iter().filter(|upload| rules.aborts(upload, calendar));
        errands.extend(stale.map(|upload| Errand::Upload { key: upload.key.clone(), id: upload.id.clone() }));
        errands
    }

    fn run(&self, bucket: &str, errand: &Errand) -> Result<(), Refusal> {
        let done = match errand {
            Errand::Object { key, judged, fate: Fate::Expire } => {
                let unchanged = |current: Option<&Arc<Object>>| if is_same(current, judged) { Ok(()) } else { Err(Refusal::NoSuchKey) };
                self.store.remove(bucket, key, unchanged).map(|_| ())
            }
            Errand::Object { key, judged, fate: Fate::Move(class) } => {
                let now = self.store.now();
                let moved = |current: Option<&Arc<Object>>| if is_same(current, judged) { Ok(moved(judged, class, now)) } else { Err(Refusal::NoSuchKey) };
                self.store.write(bucket, key, moved).map(|_| ())
            }
            Errand::Upload { key, id } => self.store.abort_upload(bucket, key, id),
        };
        match done {
            // Somebody was faster: what is there now is judged in the next round.
            Err(Refusal::NoSuchKey | Refusal::NoSuchUpload | Refusal::NoSuchBucket) => Ok(()),
            done => done,
        }
    }
}

fn is_same(current: Option<&Arc<Object>>, judged: &Arc<Object>) -> bool {
    current.is_some_and(|current| Arc::ptr_eq(current, judged))
}

/// The object in another class. Its last modification stays; a thawed copy of the former class does not.
fn moved(object: &Object, class: &str, now: jiff::Timestamp) -> Object {
    let mut object = object.clone();
    let attributes = Arc::make_mut(&mut object.attributes);
    attributes.storage_class = Some(class.to_owned());
    attributes.transitioned_seconds = Some(now.as_second());
    attributes.restore = None;
    object
}
