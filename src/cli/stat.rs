//! `dragon stat`: everything that a store says of an object.

use std::collections::BTreeMap;

use clap::{Args, ValueHint};
use serde::Serialize;

use crate::config::stores::Opening;
use crate::storage::location::Address;
use crate::storage::object::Restore;
use crate::storage::{Checksums, ObjectInfo, ObjectRef};

use super::exit::{self, Outcome};
use super::flags::address;
use super::report::json_key;
use super::session::Session;
use super::{human, ls};

/// Show everything that a store says of an object: headers, metadata, checksums
#[derive(Debug, Args)]
pub(super) struct Stat {
    /// NAME://BUCKET/KEY, ./PATH or /PATH
    #[arg(value_name = "URL", value_parser = address(), value_hint = ValueHint::AnyPath)]
    pub(super) url: Address,
    /// This version instead of the current one
    #[arg(long, value_name = "VERSION")]
    version_id: Option<String>,
}

#[derive(Serialize)]
struct Row {
    url: String,
    key: String,
    size: u64,
    /// Every other fact, by name.
    #[serde(flatten)]
    facts: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checksums: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl Stat {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let at = session.stores.object(&self.url, &Opening::default()).await?;
        let info = at.storage.head(&ObjectRef { key: at.prefix.clone(), version: self.version_id }).await?;
        let row = Row {
            url: self.url.to_string(),
            key: json_key(&at.prefix),
            size: info.size,
            facts: facts(&info),
            checksums: checksums(&info.checksums),
            metadata: info.attributes.user.clone(),
        };
        if session.output.json {
            session.output.object(&row)?;
        } else {
            let line = |name: &str, value: &str| session.output.line(&format!("{name:20}  {}", crate::storage::key::escape(value.as_bytes())));
            line("url", &row.url)?;
            line("size", &format!("{} ({})", row.size, human::bytes(row.size)))?;
            row.facts.iter().try_for_each(|(name, value)| line(name, value))?;
            row.checksums.iter().try_for_each(|(name, value)| line(&format!("checksum {name}"), value))?;
            row.metadata.iter().try_for_each(|(name, value)| line(&format!("metadata {name}"), value))?;
        }
        Ok(exit::OK)
    }
}

fn facts(info: &ObjectInfo) -> BTreeMap<&'static str, String> {
    let attributes = &info.attributes;
    let restore = match info.restore {
        Restore::None => None,
        Restore::Ongoing => Some("ongoing".to_owned()),
        Restore::Restored { until: None } => Some("restored".to_owned()),
        Restore::Restored { until: Some(until) } => Some(format!("restored until {until}")),
    };
    let facts = [
        ("etag", Some(info.etag.as_str().to_owned()).filter(|e| !e.is_empty())),
        ("modified", info.modified.map(|t| t.to_string())),
        ("version_id", info.version.clone()),
        ("kind", ls::kind_word(info.kind).map(str::to_owned)),
        ("restore", restore),
        ("parts", info.parts.map(|p| p.to_string())),
        ("content_type", attributes.content_type.clone()),
        ("cache_control", attributes.cache_control.clone()),
        ("content_disposition", attributes.content_disposition.clone()),
        ("content_encoding", attributes.content_encoding.clone()),
        ("content_language", attributes.content_language.clone()),
        ("expires", attributes.expires.clone()),
        ("storage_class", attributes.storage_class.clone()),
        ("encryption", attributes.encryption.as_ref().map(|e| e.algorithm.clone())),
        ("encryption_key", attributes.encryption.as_ref().and_then(|e| e.key_id.clone())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Checksums in the clouds' own spelling: OSS's CRC-64 in decimal, the rest in hexadecimal.
fn checksums(checksums: &Checksums) -> BTreeMap<&'static str, String> {
    let composite = checksums.composite.as_ref().map(|c| format!("{} {}-{}", c.algorithm, hex::encode(&c.digest), c.parts));
    let all = [
        ("crc64xz", checksums.crc64xz.map(|crc| crc.to_string())),
        ("crc64nvme", checksums.crc64nvme.map(|crc| format!("{crc:016x}"))),
        ("crc32c", checksums.crc32c.map(|crc| format!("{crc:08x}"))),
        ("crc32", checksums.crc32.map(|crc| format!("{crc:08x}"))),
        ("sha1", checksums.sha1.map(hex::encode)),
        ("sha256", checksums.sha256.map(hex::encode)),
        ("md5", checksums.md5.map(hex::encode)),
        ("composite", composite),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
