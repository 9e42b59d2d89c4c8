//! `dragon presign`: a link that lets others read or write one object for a while.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use serde::Serialize;

use crate::config::stores::Opening;
use crate::config::units;
use crate::error::Error;
use crate::storage::location::Address;
use crate::storage::{ObjectRef, PresignMethod};

use super::exit::{self, Outcome};
use super::flags::address;
use super::session::Session;

/// Print a link that lets whoever has it read (or write) one object for a while
#[derive(Debug, Args)]
pub(super) struct Presign {
    /// NAME://BUCKET/KEY
    #[arg(value_name = "URL", value_parser = address())]
    pub(super) url: Address,
    /// How long it works, such as 15m; 7d at most
    #[arg(long, visible_alias = "expire", value_name = "DURATION", value_parser = units::parse_duration, default_value = "1h")]
    expires: Duration,
    /// What it allows
    #[arg(long, value_name = "METHOD", value_enum, ignore_case = true, default_value = "get")]
    method: Method,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    Get,
    Put,
}

#[derive(Serialize)]
struct Row {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// The longest that both clouds' V4 signatures last (protocol.md section 1).
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 86_400);

impl Presign {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        if self.expires.is_zero() || self.expires > EXPIRES_MAX {
            return Err(Error::invalid("a link works for between 1s and 7d").into());
        }
        let at = session.stores.object(&self.url, &Opening::default()).await?;
        let Some(presign) = at.storage.presign() else {
            return Err(Error::unsupported(format!("{} has no links", at.storage)).into());
        };
        let method = match self.method {
            Method::Get => PresignMethod::Get,
            Method::Put => PresignMethod::Put,
        };
        let url = presign.presign(method, &ObjectRef::from(&at.prefix), self.expires).await?;
        if session.output.json {
            let expires = SignedDuration::try_from(self.expires).ok().and_then(|d| session.clock.now().checked_add(d).ok());
            session.output.object(&Row { url, expires: expires.map(|t| t.to_string()) })?;
        } else {
            session.output.line(&url)?;
        }
        Ok(exit::OK)
    }
}
