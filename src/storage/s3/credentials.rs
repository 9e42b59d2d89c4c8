//! Who we are: one set of credentials, fetched by one caller at a time, kept until shortly before it expires.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::identity::Identity;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::renewal::{self, AFTER_FAILURE};
use crate::storage::transport::signature::SigningKeys;

/// Credentials in the form that the signer takes.
pub(super) struct Held {
    pub(super) identity: Identity,
    pub(super) credentials: Credentials,
    pub(super) signing_keys: SigningKeys,
    expires: Option<Timestamp>,
}

impl Held {
    /// Whether they are temporary, so that fresh ones can differ.
    pub(super) fn has_token(&self) -> bool {
        self.credentials.session_token().is_some()
    }
}

impl From<Credentials> for Held {
    fn from(credentials: Credentials) -> Self {
        Self {
            expires: credentials.expiry().and_then(|t| Timestamp::try_from(t).ok()),
            signing_keys: SigningKeys::default(),
            identity: credentials.clone().into(),
            credentials,
        }
    }
}

#[derive(Clone)]
struct Kept {
    held: Arc<Held>,
    /// When to fetch anew.
    due: Option<Timestamp>,
}

/// The credentials of one account; `provider` is `None` where requests are not signed.
pub(super) struct CredentialCache {
    provider: Option<SharedCredentialsProvider>,
    kept: RwLock<Option<Kept>>,
    fetching: tokio::sync::Mutex<()>,
    clock: Clock,
}

impl CredentialCache {
    pub(super) fn new(provider: Option<SharedCredentialsProvider>, clock: Clock) -> Self {
        Self { provider, kept: RwLock::default(), fetching: tokio::sync::Mutex::default(), clock }
    }

    /// The credentials to sign with, `None` for an anonymous caller.
    pub(super) async fn current(&self) -> Result<Option<Arc<Held>>> {
        let Some(provider) = &self.provider else { return Ok(None) };
        let kept = self.kept();
        if let Some(kept) = kept.as_ref().filter(|kept| self.is_fresh(kept)) {
            return Ok(Some(kept.held.clone()));
        }
        // While one caller fetches, the others go on with what still works, and wait only where nothing does.
        let _one = match (self.fetching.try_lock(), kept) {
            (Ok(guard), _) => guard,
            (Err(_), Some(kept)) if self.still_works(&kept.held) => return Ok(Some(kept.held)),
            (Err(_), _) => self.fetching.lock().await,
        };
        let kept = self.kept();
        if let Some(kept) = kept.as_ref().filter(|kept| self.is_fresh(kept)) {
            return Ok(Some(kept.held.clone()));
        }
        match self.fetch(provider).await {
            Ok(held) => Ok(Some(held)),
            // A source that stumbles must not stop the work.
            Err(e) => match kept.filter(|kept| self.still_works(&kept.held)) {
                Some(Kept { held, .. }) => {
                    tracing::warn!(error = %e, "cannot refresh the S3 credentials; the old ones still serve");
                    self.keep(Kept { held: held.clone(), due: self.clock.now().checked_add(AFTER_FAILURE).ok() });
                    Ok(Some(held))
                }
                None => Err(e),
            },
        }
    }

    /// Fetches anew because the service says that `stale` has expired. Callers that come together share one fetch.
    pub(super) async fn refresh(&self, stale: &Arc<Held>) -> Result<Arc<Held>> {
        let _one = self.fetching.lock().await;
        if let Some(kept) = self.kept().filter(|kept| !Arc::ptr_eq(&kept.held, stale)) {
            return Ok(kept.held);
        }
        match &self.provider {
            Some(provider) => self.fetch(provider).await,
            None => Ok(stale.clone()),
        }
    }

    /// The access key id in use, empty for an anonymous caller.
    pub(super) async fn access_key_id(&self) -> Result<String> {
        Ok(self.current().await?.map(|h| h.credentials.access_key_id().to_owned()).unwrap_or_default())
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, kept: Kept) {
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    fn is_fresh(&self, kept: &Kept) -> bool {
        kept.due.is_none_or(|at| self.clock.now() < at)
    }

    fn still_works(&self, held: &Held) -> bool {
        held.expires.is_none_or(|at| self.clock.now() < at)
    }

    async fn fetch(&self, provider: &SharedCredentialsProvider) -> Result<Arc<Held>> {
        let credentials = provider.provide_credentials().await.map_err(|e| {
            // Where nothing is configured, the chain ends at instance metadata that is not there: that does not pass.
            let passing = !matches!(e, CredentialsError::CredentialsNotLoaded(_)) && std::error::Error::source(&e).is_some_and(is_passing);
            let kind = if passing { ErrorKind::Unavailable } else { ErrorKind::Credentials };
            Error::new(kind, "cannot get S3 credentials")
                .caused_by(e)
                .advise("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or the store's own keys; or anonymous = true for a public bucket")
        })?;
        let held = Arc::new(Held::from(credentials));
        self.keep(Kept { held: held.clone(), due: held.expires.map(|at| renewal::due(self.clock.now(), at)) });
        Ok(held)
    }
}

/// Whether one of our own road's errors lies below, which may pass.
fn is_passing(e: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(e), |e| e.source()).any(|e| e.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::Unavailable))
}

/// Wall time as the AWS crates take it.
pub(super) fn system_time(at: Timestamp) -> SystemTime {
    at.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::provider::future;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// Gives keys that live an hour, then fails.
    #[derive(Debug)]
    struct Source {
        clock: Clock,
        calls: Arc<AtomicU32>,
        works: u32,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let expires = system_time(self.clock.now()) + Duration::from_secs(3600);
            let works = call < self.works;
            future::ProvideCredentials::new(async move {
                tokio::task::yield_now().await;
                if !works {
                    return Err(CredentialsError::provider_error("the source stumbles"));
                }
                Ok(Credentials::new(format!("AK{call}"), "secret", Some("token".into()), Some(expires), "test"))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_fetch_serves_many_and_old_keys_outlive_a_stumbling_source() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let calls = Arc::new(AtomicU32::new(0));
        let source = Source { clock: clock.clone(), calls: calls.clone(), works: 2 };
        let cache = CredentialCache::new(Some(SharedCredentialsProvider::new(source)), clock.clone());
        let all = futures::future::join_all((0..8).map(|_| cache.access_key_id())).await;
        assert!(all.iter().all(|k| k.as_deref().is_ok_and(|k| k == "AK0")));
        assert_eq!(calls.load(Ordering::Relaxed), 1);

        let stale = cache.current().await.expect("kept").expect("signed");
        let fresh = futures::future::join_all((0..8).map(|_| cache.refresh(&stale))).await;
        assert!(fresh.iter().all(|h| h.as_ref().is_ok_and(|h| h.credentials.access_key_id() == "AK1")));
        assert_eq!(calls.load(Ordering::Relaxed), 2);

        clock.sleep(Duration::from_secs(3400)).await;
        assert_eq!(cache.access_key_id().await.expect("still good"), "AK1");
        clock.sleep(Duration::from_secs(300)).await;
        let e = cache.access_key_id().await.expect_err("expired");
        assert_eq!(e.kind(), ErrorKind::Credentials);
        assert!(!e.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn a_source_that_cannot_be_reached_may_come_back_and_none_at_all_may_not() {
        #[derive(Debug)]
        struct Fails(fn() -> CredentialsError);
        impl ProvideCredentials for Fails {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                future::ProvideCredentials::ready(Err(self.0()))
            }
        }
        let down: fn() -> CredentialsError = || CredentialsError::provider_error(Error::new(ErrorKind::Unavailable, "no route"));
        let none: fn() -> CredentialsError = || CredentialsError::not_loaded(Error::new(ErrorKind::Unavailable, "no route"));
        for (fails, kind) in [(down, ErrorKind::Unavailable), (none, ErrorKind::Credentials)] {
            let cache = CredentialCache::new(Some(SharedCredentialsProvider::new(Fails(fails))), Clock::system());
            assert_eq!(cache.access_key_id().await.expect_err("fails").kind(), kind);
        }
    }
}
