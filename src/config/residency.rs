//! Direction locks: data under a prefix must not leave its store, but to those that are named. Law on which data may cross a border is
//! part of our users' story.
//!
//! A lock is held against the addresses of a transfer before anything moves, whatever the job says: where the source overlaps what is
//! locked, and its filter does not hide all of it for certain, the whole transfer is refused.

use std::collections::BTreeMap;

use super::section::{Section, suggest};
use super::store::StoreConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Key;
use crate::storage::location::Address;
use crate::transfer::Filter;

/// `[[stores.NAME.residency]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The bucket.
    pub bucket: String,
    /// What is locked in it: everything that begins with this.
    pub prefix: Key,
    /// Stores to which it may go all the same.
    pub may_go_to: Vec<String>,
}

impl Lock {
    /// Reads the locks of a store.
    pub(super) fn read(section: &mut Section<'_>) -> Vec<Self> {
        let mut locks = Vec::new();
        for mut lock in section.tables("residency") {
            let under = lock.text("under");
            if under.is_none() && !lock.has("under") {
                lock.problem("", "a lock needs what it locks", "add under = \"BUCKET/PREFIX\"");
            }
            let may_go_to = lock.texts("may_go_to");
            if let Some(under) = under {
                let (bucket, prefix) = under.split_once('/').unwrap_or((&under, ""));
                locks.push(Self { bucket: bucket.to_owned(), prefix: Key::from(prefix), may_go_to });
            }
            let missing = lock.finish();
            section.missing.extend(missing);
        }
        locks
    }

    /// Says which of its stores do not exist.
    pub(super) fn unknown<'a>(&'a self, stores: &BTreeMap<String, StoreConfig>) -> impl Iterator<Item = (&'a str, String)> {
        let names: Vec<String> = stores.keys().cloned().collect();
        self.may_go_to
            .iter()
            .filter(|name| !names.contains(name))
            .map(|name| (name.as_str(), suggest(name, names.iter().map(String::as_str))))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// Refuses a transfer that would take data out of where it must stay. `own` are prefixes, relative to the source, that the job itself locks.
///
/// Fails with [`ErrorKind::Guard`].
pub fn check(stores: &BTreeMap<String, StoreConfig>, source: &Address, destination: &Address, filter: &Filter, own: &[Key]) -> Result<()> {
    for prefix in own {
        if !filter.hides_all_under(prefix.as_bytes()) {
            return Err(refused(source, destination, &format!("the job itself says that what is under '{prefix}' must not leave")));
        }
    }
    let Address::Store { store, bucket, key } = source.tree() else { return Ok(()) };
    let Some(from) = stores.get(&store) else { return Ok(()) };
    let service = |name: &str| stores.get(name).map(StoreConfig::service);
    let to = destination.store().unwrap_or_default();
    // What stays within one service leaves nothing; a lock is about the place, whatever name it has here.
    if service(to) == Some(from.service()) && to == store {
        return Ok(());
    }
    for (name, locked) in stores.iter().filter(|(_, other)| other.service() == from.service()) {
        for lock in &locked.residency {
            let is_bucket = super::job::matches_bucket(&bucket, &lock.bucket);
            let (a, b) = (key.as_bytes(), lock.prefix.as_bytes());
            if !is_bucket || !(a.starts_with(b) || b.starts_with(a)) || lock.may_go_to.iter().any(|allowed| allowed == to) {
                continue;
            }
            let relative = lock.prefix.strip_prefix(&key).unwrap_or(Key::EMPTY);
            if !filter.hides_all_under(relative.as_bytes()) {
                let what = format!("the store '{name}' says that what is under {}/{} must not leave it", lock.bucket, lock.prefix);
                return Err(refused(source, destination, &what));
            }
        }
    }
    Ok(())
}

fn refused(source: &Address, destination: &Address, why: &str) -> Error {
    Error::new(ErrorKind::Guard, format!("{source} is not copied to {destination}: {why}"))
        .advise("exclude that prefix, or have whoever is responsible for the data add the destination's store to may_go_to")
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::secret::Environment;
    use super::*;

    fn stores() -> BTreeMap<String, StoreConfig> {
        let text = r#"
            [stores.cn]
            type = "oss"
            region = "cn-beijing"
            [[stores.cn.residency]]
            under = "photos/customers/"
            may_go_to = ["cn-2"]
            [stores.cn-2]
            type = "oss"
            region = "cn-shanghai"
            [stores.us]
            type = "s3"
            region = "us-east-1"
        "#;
        Config::parse("dragon.toml", text, "/".into(), &[], &Environment::default()).unwrap_or_else(|e| panic!("{e:?}")).stores
    }

    fn refused_of(source: &str, destination: &str, exclude: &[&str], own: &[&str]) -> bool {
        let mut filter = Filter::default();
        exclude.iter().for_each(|glob| filter.exclude(glob).expect("a glob"));
        let own: Vec<Key> = own.iter().map(|prefix| Key::from(*prefix)).collect();
        let address = |text: &str| Address::parse(text).expect("an address");
        check(&stores(), &address(source), &address(destination), &filter, &own).is_err_and(|e| e.kind() == ErrorKind::Guard)
    }

    #[test]
    fn what_is_locked_does_not_leave() {
        assert!(refused_of("cn://photos/", "us://a/", &[], &[]), "all of it");
        assert!(refused_of("cn://photos/customers/2026/", "us://a/", &[], &[]), "a part of it");
        assert!(refused_of("cn://photos", "./local/", &[], &[]), "this machine is another place");
        assert!(refused_of("oss://photos/", "us://a/", &[], &[]), "another name of the same service");
        assert!(refused_of("cn://*", "us://{bucket}/", &[], &[]), "a pattern that includes it");
        assert!(!refused_of("cn://photos/", "cn-2://a/", &[], &[]), "it may go there");
        assert!(!refused_of("cn://photos/", "cn://b/", &[], &[]), "it stays");
        assert!(!refused_of("cn://photos/public/", "us://a/", &[], &[]) && !refused_of("cn://other/", "us://a/", &[], &[]));
        assert!(!refused_of("us://a/", "cn://photos/", &[], &[]), "the way in is free");
    }

    #[test]
    fn a_filter_that_hides_all_of_it_lets_the_rest_pass() {
        assert!(!refused_of("cn://photos/", "us://a/", &["customers/"], &[]));
        assert!(refused_of("cn://photos/", "us://a/", &["customers/2025/"], &[]), "not all of it");
        assert!(refused_of("us://a/", "cn://b/", &[], &["private/"]) && !refused_of("us://a/", "cn://b/", &["private/"], &["private/"]));
    }
}
