//! `dragon doctor`: what works, what does not and why, from the configuration to each permission; and what to grant.
//!
//! It looks at one end after the other, in the order in which things can go wrong, and goes on after a failure wherever the next
//! step can still tell something. It never writes at the source, and takes away what it wrote at the destination.

use clap::{Args, ValueHint};

use crate::storage::location::Address;

use super::exit::{self, Failure, Outcome};
use super::flags::address;
use super::session::Session;

mod cloud;
mod congestion;
mod end;
mod findings;
mod origin;
mod permission;
mod place;
mod policy;
mod road;
mod scratch;

use findings::Findings;

/// Say what works, what does not and why: configuration, network, clock, credentials, each permission, BBR
///
/// Nothing is written at SRC; at DST each permission is tried under PREFIX.dragon-doctor-ID/, which is removed again. The end
/// is the least that must be granted: IAM and RAM policies for these buckets and prefixes.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// What would be copied: NAME://BUCKET/PREFIX, ./PATH or /PATH
    #[arg(value_name = "SRC", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) source: Option<Address>,
    /// Where to
    #[arg(value_name = "DST", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) destination: Option<Address>,
}

/// What an end is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Source,
    Destination,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl Doctor {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut findings = Findings::new(&session.output);
        configuration(session, &mut findings)?;
        let mut policies = Vec::new();
        for (role, address) in [(Role::Source, self.source), (Role::Destination, self.destination)] {
            let Some(address) = address else { continue };
            findings.about(role.name());
            policies.extend(end::examine(session, role, &address, &mut findings).await?);
        }
        findings.about("machine");
        congestion::examine(&mut findings)?;
        for policy in &policies {
            policy.print(&session.output)?;
        }
        findings.conclude()?;
        Ok(if findings.failed() { exit::STOPPED } else { exit::OK })
    }
}

/// Tells which file was read, and of each cloud's store where it is and whose keys it uses.
fn configuration(session: &Session, findings: &mut Findings<'_>) -> Result<(), Failure> {
    findings.about("configuration");
    match &session.config.file {
        Some(file) => findings.fine("file", file.display())?,
        None => findings.fine("file", "there is no dragon.toml: the stores s3 and oss are as the environment says")?,
    }
    if let Some(exposed) = session.config.exposed() {
        findings.warn("secrets", exposed)?;
    }
    for store in session.config.stores.values() {
        let what = format!("store {}", store.name);
        match store.missing.first() {
            Some(missing) => findings.warn(&what, missing)?,
            None => findings.fine(&what, origin::describe(session, store))?,
        }
    }
    Ok(())
}
