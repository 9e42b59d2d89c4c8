//! One thing that a journal says, as text, as JSON and as fields of CSV.

use serde_json::{Value, json};

use crate::cli::human;
use crate::cli::report::json_key;
use crate::journal::Proved;
use crate::journal::sqlite::history::{Deletion, Run};
use crate::storage::Key;

/// What can be told in every form.
pub(super) trait Record {
    /// The names of the fields.
    const NAMES: &'static [&'static str];
    /// A line for people.
    fn text(&self) -> String;
    /// An object whose keys are [`Self::NAMES`].
    fn json(&self) -> Value;

    /// The values of the fields, with control characters escaped: a spreadsheet shows what a terminal would.
    fn fields(&self) -> Vec<String> {
        let json = self.json();
        let field = |name: &&str| match json.get(*name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => Key::from(text.as_str()).to_string(),
            Some(other) => other.to_string(),
        };
        Self::NAMES.iter().map(field).collect()
    }
}

/// A run.
pub(super) struct Ran<'a> {
    pub(super) run: &'a Run,
    pub(super) source: &'a str,
    pub(super) destination: &'a str,
}

impl Ran<'_> {
    fn outcome(&self) -> &'static str {
        self.run.ended.map_or("unfinished", |(_, outcome)| outcome.as_str())
    }
}

impl Record for Ran<'_> {
    const NAMES: &'static [&'static str] = &["source", "destination", "run", "started", "ended", "outcome", "what", "user", "host", "pid"];

    fn text(&self) -> String {
        let Self { run, source, destination } = self;
        format!("{}  {:<10}  {source} -> {destination}  (run {}: {})", human::time(Some(run.started)), self.outcome(), run.number, who(run))
    }

    fn json(&self) -> Value {
        let Self { run, source, destination } = self;
        json!({
            "source": source,
            "destination": destination,
            "run": run.number,
            "started": run.started.to_string(),
            "ended": run.ended.map(|(at, _)| at.to_string()),
            "outcome": self.outcome(),
            "what": run.info.what,
            "user": run.info.user,
            "host": run.info.host,
            "pid": run.info.pid,
        })
    }
}

/// What proves a key.
pub(super) struct Evidence<'a> {
    pub(super) key: &'a Key,
    pub(super) proved: &'a Proved,
    pub(super) run: Option<&'a Run>,
}

impl Record for Evidence<'_> {
    const NAMES: &'static [&'static str] = &[
        "key",
        "size",
        "when",
        "source_proof",
        "destination_proof",
        "verified",
        "suspect",
        "reversed",
        "source_etag",
        "source_version",
        "source_modified",
        "source_storage_class",
        "destination_etag",
        "destination_version",
        "destination_modified",
        "destination_storage_class",
        "crc64xz",
        "crc64nvme",
        "run",
        "what",
        "user",
        "host",
    ];

    fn text(&self) -> String {
        let Self { key, proved, run } = self;
        let way = if proved.reversed { "<-" } else { "->" };
        let proof = format!("{} {way} {}", proved.source_proof, proved.destination_proof);
        let suspect = if proved.suspect { "  SUSPECT" } else { "" };
        format!("{}  {proof:<24}  {:>10}  {key}{suspect}{}", human::time(Some(proved.when)), human::bytes(proved.size), by(proved.run, *run))
    }

    fn json(&self) -> Value {
        let Self { key, proved, run } = self;
        let (source, destination) = (&proved.source, &proved.destination);
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        json!({
            "key": json_key(key),
            "size": proved.size,
            "when": proved.when.to_string(),
            "source_proof": proved.source_proof.as_str(),
            "destination_proof": proved.destination_proof.as_str(),
            "verified": proved.verified().as_str(),
            "suspect": proved.suspect,
            "reversed": proved.reversed,
            "source_etag": text(source.etag.as_str()),
            "source_version": source.version,
            "source_modified": source.modified.map(|at| at.to_string()),
            "source_storage_class": text(&source.storage_class),
            "destination_etag": text(destination.etag.as_str()),
            "destination_version": destination.version,
            "destination_modified": destination.modified.map(|at| at.to_string()),
            "destination_storage_class": text(&destination.storage_class),
            // Beyond 2^53, which not every reader of JSON holds.
            "crc64xz": proved.crc64xz.map(|crc| crc.to_string()),
            "crc64nvme": proved.crc64nvme.map(|crc| crc.to_string()),
            "run": proved.run,
            "what": run.map(|run| &run.info.what),
            "user": run.map(|run| &run.info.user),
            "host": run.map(|run| &run.info.host),
        })
    }
}

/// A delete.
pub(super) struct Deleted<'a> {
    pub(super) deletion: &'a Deletion,
    pub(super) run: Option<&'a Run>,
    /// The end where it was made.
    pub(super) destination: Option<&'a str>,
}

impl Record for Deleted<'_> {
    const NAMES: &'static [&'static str] = &["key", "when", "version", "destination", "run", "what", "user", "host"];

    fn text(&self) -> String {
        let Self { deletion, run, destination } = self;
        let version = deletion.version.as_ref().map(|version| format!("  version {version}")).unwrap_or_default();
        let at = destination.map(|at| format!("  in {at}")).unwrap_or_default();
        format!("{}  {}{version}{at}{}", human::time(Some(deletion.at)), deletion.key, by(deletion.run, *run))
    }

    fn json(&self) -> Value {
        let Self { deletion, run, destination } = self;
        json!({
            "key": json_key(&deletion.key),
            "when": deletion.at.to_string(),
            "version": deletion.version,
            "destination": destination,
            "run": deletion.run,
            "what": run.map(|run| &run.info.what),
            "user": run.map(|run| &run.info.user),
            "host": run.map(|run| &run.info.host),
        })
    }
}

fn who(run: &Run) -> String {
    format!("{} by {}@{}", run.info.what, run.info.user, run.info.host)
}

fn by(number: u32, run: Option<&Run>) -> String {
    run.map_or_else(|| format!("  (run {number})"), |run| format!("  (run {number}: {})", who(run)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::RunInfo;
    use jiff::Timestamp;

    #[test]
    fn every_name_is_a_key_of_the_json_and_no_key_can_forge_a_line() {
        let run = Run { number: 3, turned: false, info: RunInfo::default(), started: Timestamp::UNIX_EPOCH, ended: None };
        let deletion = Deletion { number: 1, run: 3, key: "a\n1970,forged".into(), version: Some("v".into()), at: Timestamp::UNIX_EPOCH };
        let deleted = Deleted { deletion: &deletion, run: Some(&run), destination: Some("oss://b") };
        let ran = Ran { run: &run, source: "s3://a", destination: "oss://b" };
        for (json, names) in [(deleted.json(), Deleted::NAMES), (ran.json(), Ran::NAMES)] {
            let mut keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
            let mut names = names.to_vec();
            keys.sort_unstable();
            names.sort_unstable();
            assert_eq!(keys, names);
        }
        assert_eq!(deleted.fields()[0], "a\\n1970,forged");
        assert_eq!(deleted.text().lines().count(), 1);
        assert_eq!(deleted.json()["key"], "a\n1970,forged", "JSON says keys as they are");
    }
}
