//! The daily round: finds what a bucket's rules are due for, and does it.
//!
//! Made when a new day has begun and somebody asks for something, and whenever a test lets time pass. What is due is found under
//! the store's read lock and done piece by piece, each under the condition that it is still what was judged.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Fate, Former, Rules};
use crate::devserver::calendar::Calendar;
use crate::devserver::store::{BucketInfo, Object, Refusal, Store, Version};

/// What is noted down before it is done: a bucket of millions is gone through in several passes.
const ERRANDS_MAX: usize = 50_000;

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
    /// Of the current object.
    Object {
        key: String,
        judged: Arc<Object>,
        fate: Fate,
    },
    /// Of a version that is there no longer, or of a delete marker behind which nothing is left.
    Version {
        key: String,
        id: Arc<str>,
        fate: Fate,
    },
    Upload {
        key: String,
        id: String,
    },
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
            loop {
                let errands = self.errands(&bucket.name, &rules);
                let done = errands.iter().filter(|errand| self.is_done(&bucket.name, errand)).count();
                if done == 0 || errands.len() < ERRANDS_MAX {
                    break;
                }
            }
        }
    }

    fn is_done(&self, bucket: &str, errand: &Errand) -> bool {
        match self.run(bucket, errand) {
            Ok(()) => true,
            Err(refusal) => {
                tracing::warn!(bucket, %refusal, "a lifecycle rule could not be carried out");
                false
            }
        }
    }

    fn errands(&self, bucket: &str, rules: &Rules) -> Vec<Errand> {
        let calendar = self.store.calendar();
        let mut errands = Vec::new();
        let judge = |key: &str, object: &Arc<Object>| {
            if errands.len() < ERRANDS_MAX
                && let Some(fate) = rules.fate(key, object, calendar)
            {
                errands.push(Errand::Object { key: key.to_owned(), judged: Arc::clone(object), fate });
            }
        };
        // A bucket that is gone by now has nothing due.
        let judged = self.store.for_each_object(bucket, judge);
        let judged = judged.and_then(|()| self.store.for_each_history(bucket, |key, versions| former_errands(rules, calendar, key, versions, &mut errands)));
        let uploads = judged.and_then(|()| self.store.uploads(bucket, "", ("", ""), usize::MAX)).unwrap_or_default();
        let stale = uploads.iter().filter(|upload| rules.aborts(upload, calendar));
        errands.extend(stale.map(|upload| Errand::Upload { key: upload.key.clone(), id: upload.id.clone() }));
        errands
    }

    fn run(&self, bucket: &str, errand: &Errand) -> Result<(), Refusal> {
        let now = self.store.now();
        let done = match errand {
            Errand::Object { key, judged, fate: Fate::Expire } => {
                let unchanged = |current: Option<&Arc<Object>>| if is_same(current, judged) { Ok(()) } else { Err(Refusal::NoSuchKey) };
                self.store.remove(bucket, key, unchanged).map(|_| ())
            }
            Errand::Object { key, judged, fate: Fate::Move(class) } => {
                let moved = |current: &Arc<Object>| if is_same(Some(current), judged) { Ok(moved(judged, class, now)) } else { Err(Refusal::NoSuchKey) };
                self.store.amend(bucket, key, None, moved).map(|_| ())
            }
            Errand::Version { key, id, fate: Fate::Expire } => self.store.delete(bucket, key, Some(id), |_| Ok(())).map(|_| ()),
            Errand::Version { key, id, fate: Fate::Move(class) } => self.store.amend(bucket, key, Some(id), |object| Ok(moved(object, class, now))).map(|_| ()),
            Errand::Upload { key, id } => self.store.abort_upload(bucket, key, id),
        };
        match done {
            // Somebody was faster: what is there now is judged in the next round.
            Err(Refusal::NoSuchKey | Refusal::NoSuchVersion | Refusal::DeleteMarker { .. } | Refusal::NoSuchUpload | Refusal::NoSuchBucket) => Ok(()),
            done => done,
        }
    }
}

/// What is due of a key's former versions, the newest of which comes after the current one.
fn former_errands(rules: &Rules, calendar: &Calendar, key: &str, versions: &[Version], errands: &mut Vec<Errand>) {
    if errands.len() >= ERRANDS_MAX {
        return;
    }
    if let [only] = versions
        && only.object.is_none()
        && rules.removes_lone_marker(key, only.since, calendar)
    {
        errands.push(Errand::Version { key: key.to_owned(), id: Arc::clone(&only.id), fate: Fate::Expire });
    }
    for (newer, pair) in versions.windows(2).enumerate() {
        let former = Former { object: pair[1].object.as_deref(), superseded: pair[0].since, newer };
        if let Some(fate) = rules.fate_of_former(key, &former, calendar) {
            errands.push(Errand::Version { key: key.to_owned(), id: Arc::clone(&pair[1].id), fate });
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
