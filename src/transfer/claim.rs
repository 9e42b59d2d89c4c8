//! One copier a key: whoever copies a key claims it, and the next one waits.
//!
//! Runs between the same two ends share their claims where a scan and the compares that change events ask for go on at a time. Without
//! it, the slower of two copies of one key could leave the older bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::storage::Key;

/// The keys that are being copied. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>>);

/// A key that is claimed, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    key: Key,
    held: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    /// Waits until nobody else copies the key. Safe to drop.
    pub(crate) async fn take(&self, key: &Key) -> Claim {
        let lock = self.table().entry(key.clone()).or_default().clone();
        // Made before the wait, so that a drop while it waits tidies up as well.
        let mut claim = Claim { claims: self.clone(), key: key.clone(), held: None };
        claim.held = Some(lock.lock_owned().await);
        claim
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut table = self.claims.table();
        // Whoever waits holds a reference of its own.
        if table.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_key_has_one_copier_and_nothing_is_kept_of_it() {
        let claims = Claims::default();
        let (a, b) = (Key::from("a"), Key::from("b"));
        let first = claims.take(&a).await;
        let _other = claims.take(&b).await;
        let mut second = Box::pin(claims.take(&a));
        let mut third = Box::pin(claims.take(&a));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(second);
        drop(first);
        let third = third.now_or_never().expect("its turn");
        assert_eq!(claims.table().len(), 2);
        drop(third);
        assert_eq!(claims.table().len(), 1);
    }
}
