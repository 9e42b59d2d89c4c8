//! Rules that the cloud carries out: what a bucket's configuration lacks, and putting it there.

use super::lifecycle::{self, Configuration, Plan, Rule};
use super::rule::{self, By};
use super::{End, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Service;

/// How often a configuration is put that somebody else changes at the same moment.
const TRIES_MAX: u32 = 3;

/// What the bucket of a place has, and what it is to have.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Which service's words it is in.
    pub service: Service,
    /// The bucket.
    pub bucket: String,
    /// The rules of the job there.
    pub wanted: Vec<Rule>,
    /// The way to them.
    pub plan: Plan,
}

/// Whether anything of a job is, or was, the cloud's to do there: a place without any such rule may still have one from before.
pub fn concerns(place: &Place) -> bool {
    place.location.storage.lifecycle().is_some() && (place.end != End::Third || place.rules_by(By::Cloud).next().is_some())
}

/// Compares what a job's rules want of the bucket of a place with what it has. One request.
///
/// Fails with [`ErrorKind::Invalid`] where a rule cannot be said in the service's words, with [`ErrorKind::Unsupported`] where the service has
/// no lifecycle rules.
pub async fn plan(place: &Place, job: &str) -> Result<Intent> {
    let storage = &place.location.storage;
    let facet = storage.lifecycle().ok_or_else(|| {
        Error::unsupported("this store carries out no rules by itself").in_store(storage).advise("write by = \"dragon\" where Dragon can carry them out")
    })?;
    let service = storage.capabilities().service;
    let prefix = &place.location.tree().prefix;
    let wanted: Vec<Rule> =
        place.rules_by(By::Cloud).map(|rule| lifecycle::of_rule(rule, job, prefix, service).map_err(|e| e.in_store(storage))).collect::<Result<_>>()?;
    let held = facet.lifecycle().await?;
    let current = held.map(|text| Configuration::read(service, &text).map_err(|e| e.in_store(storage))).transpose()?;
    let own = rule::id_prefix(job);
    let plan = lifecycle::plan(service, current.as_ref(), |id| id.starts_with(&own), &wanted).map_err(|e| e.in_store(storage))?;
    Ok(Intent { service, bucket: storage.identity().bucket.clone(), wanted, plan })
}

/// Brings the bucket's configuration to what is wanted, and looks whether it is there: neither cloud can compare and swap, so what somebody
/// else put between our look and our put would be lost. Just before the put it is looked at again.
///
/// Fails with [`ErrorKind::Changed`] where somebody else changes it every time, or where the service shows something else than was put.
pub async fn apply(place: &Place, job: &str) -> Result<Intent> {
    let storage = &place.location.storage;
    for _ in 0..TRIES_MAX {
        let intent = plan(place, job).await?;
        if intent.plan.is_empty() {
            return Ok(intent);
        }
        let Some(facet) = storage.lifecycle() else { break };
        let document = intent.plan.document.as_deref();
        facet.set_lifecycle(document, intent.plan.overlaps && intent.service == Service::Oss).await?;
        let shown = facet.lifecycle().await?;
        if lifecycle::same(intent.service, document, shown.as_deref())? {
            return Ok(intent);
        }
        tracing::warn!(store = %storage, job, "the bucket's lifecycle rules are not what was put: somebody else changes them");
    }
    let message = "the bucket's lifecycle rules do not stay what they are put: somebody else changes them, or the service changes what it is given";
    Err(Error::new(ErrorKind::Changed, message)
        .during("set lifecycle")
        .in_store(storage)
        .advise("look at them in the cloud's console; who owns them elsewhere (Terraform) takes `dragon tier plan --terraform`"))
}
