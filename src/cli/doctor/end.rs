//! One end: what its address means, how to reach it, who we are there, and what we may do.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::config::store::StoreKind;
use crate::config::stores::Opening;
use crate::error::Error;
use crate::storage::location::Address;

use super::Role;
use super::cloud::Cloud;
use super::findings::Findings;
use super::policy::Policy;
use super::{cloud, permission, place, road};

/// Examines an end, and returns the policy that it needs where its cloud has such.
pub(super) async fn examine(session: &Session, role: Role, address: &Address, findings: &mut Findings<'_>) -> Result<Option<Policy>, Failure> {
    let (store, bucket, prefix) = match address.tree() {
        Address::Path(path) => {
            findings.fine("address", address)?;
            place::examine(session, role, &path, findings)?;
            return Ok(None);
        }
        Address::Stdio => {
            findings.fail("address", &Error::invalid("- is one stream, not a place that holds objects").advise("name a bucket or a directory"))?;
            return Ok(None);
        }
        Address::Store { store, bucket, .. } if bucket.is_empty() => {
            findings.fail("address", &Error::invalid(format!("{store}:// names no bucket")).advise(format!("write {store}://BUCKET/PREFIX")))?;
            return Ok(None);
        }
        Address::Store { store, bucket, key } => (store, bucket, key),
    };
    findings.fine("address", format_args!("bucket {bucket}, prefix '{prefix}'"))?;
    let configured = session.config.stores.get(&store).filter(|s| s.missing.is_empty());
    let storage = match configured.map(|s| &s.kind) {
        Some(StoreKind::File { root }) => {
            place::examine(session, role, &root.join(Path::new(&bucket)), findings)?;
            return Ok(None);
        }
        Some(kind @ (StoreKind::S3(_) | StoreKind::Oss(_))) => {
            let opened = Box::pin(Cloud::open(session, kind, &bucket)).await;
            let region = opened.as_ref().map_or_else(|_| cloud::region_asked(session, kind), |c| c.region.clone());
            let policy = Policy::new(role, kind, &region, &bucket, &prefix);
            match opened {
                Err(e) => findings.fail(cloud::step_of(&e), &e)?,
                Ok(cloud) => {
                    cloud.judge(findings)?;
                    if road::examine(session, role, &cloud, findings).await? {
                        permission::examine(session, role, cloud.storage.clone(), &prefix, Some(&cloud), findings).await?;
                    }
                }
            }
            return Ok(policy);
        }
        Some(StoreKind::ObjectStore { .. }) | None => session.stores.bucket(&store, &bucket, &Opening::default()).await,
    };
    match storage {
        Ok(storage) => permission::examine(session, role, storage, &prefix, None, findings).await?,
        Err(e) => findings.fail("store", &e)?,
    }
    Ok(None)
}
