//! Keeps temporary credentials, and renews them early, one caller at a time.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Credentials, CredentialsProvider, Source};
use crate::clock::Clock;
use crate::error::Result;
use crate::storage::renewal::{self, AFTER_FAILURE};

/// Credentials that never change.
#[derive(Debug)]
pub(super) struct Fixed(pub(super) Credentials);

#[async_trait]
impl CredentialsProvider for Fixed {
    async fn credentials(&self) -> Result<Credentials> {
        Ok(self.0.clone())
    }

    fn refused(&self, _: &Credentials) {}
}

/// Keeps what a source fetched until shortly before it expires.
#[derive(Debug)]
pub(super) struct Cached<S> {
    source: S,
    clock: Clock,
    held: Mutex<Option<Held>>,
    /// Held by the one caller that renews.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Held {
    credentials: Credentials,
    renew_at: Option<Timestamp>,
}

impl<S: Source> Cached<S> {
    pub(super) fn new(source: S, clock: Clock) -> Self {
        Self { source, clock, held: Mutex::new(None), renewing: tokio::sync::Mutex::new(()) }
    }

    fn held(&self) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    fn is_fresh(&self, held: &Held) -> bool {
        held.renew_at.is_none_or(|at| self.clock.now() < at)
    }

    fn still_works(&self, held: &Held) -> bool {
        held.credentials.expires().is_none_or(|at| self.clock.now() < at)
    }

    async fn renew(&self, old: Option<Held>) -> Result<Credentials> {
        match self.source.fetch().await {
            Ok(credentials) => {
                let renew_at = credentials.expires().map(|at| renewal::due(self.clock.now(), at));
                self.hold(Some(Held { credentials: credentials.clone(), renew_at }));
                Ok(credentials)
            }
            Err(error) => match old.filter(|h| self.still_works(h)) {
                None => Err(error),
                Some(mut old) => {
                    tracing::warn!(%error, "credentials could not be renewed; the old ones serve on until they expire");
                    old.renew_at = self.clock.now().checked_add(AFTER_FAILURE).ok();
                    self.hold(Some(old.clone()));
                    Ok(old.credentials)
                }
            },
        }
    }
}

#[async_trait]
impl<S: Source> CredentialsProvider for Cached<S> {
    async fn credentials(&self) -> Result<Credentials> {
        let held = self.held();
        if let Some(held) = held.as_ref().filter(|h| self.is_fresh(h)) {
            return Ok(held.credentials.clone());
        }
        // While one caller renews, the others go on with what still works, and wait only where nothing does.
        let _renewing = match (self.renewing.try_lock(), held) {
            (Ok(guard), _) => guard,
            (Err(_), Some(held)) if self.still_works(&held) => return Ok(held.credentials),
            (Err(_), _) => self.renewing.lock().await,
        };
        let held = self.held();
        match held {
            Some(held) if self.is_fresh(&held) => Ok(held.credentials),
            held => self.renew(held).await,
        }
    }

    fn refused(&self, credentials: &Credentials) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Another caller may have renewed them meanwhile.
        if held.as_ref().is_some_and(|h| h.credentials == *credentials) {
            *held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use jiff::SignedDuration;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[derive(Debug)]
    struct Counting {
        clock: Clock,
        fetched: Arc<AtomicU32>,
        fails: Arc<std::sync::atomic::AtomicBool>,
    }

    #[async_trait]
    impl Source for Counting {
        async fn fetch(&self) -> Result<Credentials> {
            self.clock.sleep(Duration::from_millis(100)).await;
            if self.fails.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Unavailable, "down"));
            }
            let n = self.fetched.fetch_add(1, Ordering::Relaxed) + 1;
            let expires = self.clock.now().checked_add(SignedDuration::from_hours(1)).expect("a time");
            Ok(Credentials::temporary(format!("id{n}"), "s", Some("t"), Some(expires)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renewed_early_once_and_kept_on_failure() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let (fetched, fails) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let cached = Cached::new(Counting { clock: clock.clone(), fetched: fetched.clone(), fails: fails.clone() }, clock.clone());
        let all = futures::future::join_all((0..20).map(|_| cached.credentials())).await;
        assert!(all.iter().all(|c| c.as_ref().expect("credentials").access_key_id() == "id1"));
        assert_eq!(fetched.load(Ordering::Relaxed), 1, "one caller fetches for all");

        clock.sleep(Duration::from_secs(47 * 60)).await;
        assert_eq!(cached.credentials().await.expect("fresh").access_key_id(), "id1");
        clock.sleep(Duration::from_secs(2 * 60)).await;
        fails.store(true, Ordering::Relaxed);
        assert_eq!(cached.credentials().await.expect("old ones serve").access_key_id(), "id1");
        fails.store(false, Ordering::Relaxed);
        assert_eq!(cached.credentials().await.expect("not asked again at once").access_key_id(), "id1");
        clock.sleep(Duration::from_secs(31)).await;
        assert_eq!(cached.credentials().await.expect("renewed").access_key_id(), "id2");

        let held = cached.credentials().await.expect("held");
        cached.refused(&held);
        assert_eq!(cached.credentials().await.expect("others").access_key_id(), "id3");
        cached.refused(&held);
        assert_eq!(cached.credentials().await.expect("not thrown away").access_key_id(), "id3");

        fails.store(true, Ordering::Relaxed);
        clock.sleep(Duration::from_secs(2 * 3600)).await;
        assert_eq!(cached.credentials().await.expect_err("expired and down").kind(), ErrorKind::Unavailable);
    }
}
