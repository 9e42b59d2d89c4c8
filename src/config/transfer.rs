//! How to transfer, as flags and as keys of a job say it: every flag is a job key of the same name (with `_` for `-`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueHint};
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::storage::class::{CLASSES, ClassMap};
use crate::storage::limit::Timetable;
use crate::storage::location::Address;
use crate::storage::object::Encryption;
use crate::storage::thaw::Thaw;
use crate::storage::{RestoreTier, Service};
use crate::tier::forecast::CostLimit;
use crate::tier::price::{Money, PriceTable};
use crate::transfer::job::{AclChoice, ClassChoice, Compare, DeleteLimit, EncryptionChoice, KeyFile, VersionChoice};
use crate::transfer::{Filter, Options, Shard};

use super::bandwidth::parse_bandwidth;
use super::engine::Engine;
use super::prices::parse_money;
use super::rules::Rules;
use super::section::{Section, nearest};
use super::units::{self, Age, Auto, GiveUp};

/// What takes part.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What takes part")]
pub struct Selection {
    /// Include and exclude rules, in order.
    #[command(flatten)]
    pub rules: Rules,
    /// Take only the keys of this file, one a line, relative to SRC (`-` is standard input); nothing is listed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "files_from0")]
    pub files_from: Option<PathBuf>,
    /// As --files-from, with a NUL byte after each key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files_from0: Option<PathBuf>,
    /// Take only share K of N of the keys, deletes included: N hosts with 1/N to N/N do the whole job, and need not know of each other
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// Take only objects of at least this size, such as 1KiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub min_size: Option<u64>,
    /// Take only objects of at most this size, such as 5GiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub max_size: Option<u64>,
    /// Take only what was modified since: 7d (ago), 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, visible_alias = "max-age", value_name = "AGE", value_parser = units::parse_age)]
    pub newer_than: Option<Age>,
    /// Take only what was modified until: 7d (ago), 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, visible_alias = "min-age", value_name = "AGE", value_parser = units::parse_age)]
    pub older_than: Option<Age>,
    /// Read what symbolic links of a local SRC, or of OSS, lead to; else they are left out and counted
    #[arg(long)]
    pub follow_symlinks: bool,
}

impl Selection {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let age = |section: &mut Section<'_>, key| section.parsed(key, "an age such as \"7d\"", &[], units::parse_age);
        Self {
            rules: Rules::read(section),
            files_from: section.path("files_from"),
            files_from0: section.path("files_from0"),
            shard: section.parsed("shard", "a share such as \"1/4\"", &[], |text| text.parse().map_err(|e: Error| e.to_string())),
            min_size: section.size("min_size"),
            max_size: section.size("max_size"),
            newer_than: age(section, "newer_than"),
            older_than: age(section, "older_than"),
            follow_symlinks: section.flag("follow_symlinks"),
        }
    }

    /// Puts the selection into options. Reads the files of rules.
    pub fn apply(&self, options: &mut Options, now: Timestamp) -> Result<()> {
        if let (Some(min), Some(max)) = (self.min_size, self.max_size)
            && min > max
        {
            return Err(Error::invalid(format!("nothing is at least {min} and at most {max} bytes: --min-size is larger than --max-size")));
        }
        let mut filter = Filter::default();
        filter.size_bytes_min = self.min_size;
        filter.size_bytes_max = self.max_size;
        filter.newer_than = self.newer_than.map(|age| age.moment(now));
        filter.older_than = self.older_than.map(|age| age.moment(now));
        self.rules.fill(&mut filter)?;
        options.filter = filter;
        options.follow_symlinks = self.follow_symlinks;
        options.shard = self.shard;
        let file = |path: &Option<PathBuf>, separator| path.clone().map(|path| KeyFile { path, separator });
        options.files_from = file(&self.files_from, b'\n').or_else(|| file(&self.files_from0, 0));
        Ok(())
    }
}

/// For how many days what is thawed can be read: enough for a daily run that fails once.
const THAW_DAYS: u16 = 3;

/// What is copied, and how it is written.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Copying")]
pub struct Copying {
    /// Which versions to copy: `latest`, or `all` that SRC keeps, oldest first, with their delete markers; both buckets must keep versions [default: latest]
    #[arg(long, value_name = "WHICH", value_parser = parse_versions)]
    pub versions: Option<VersionChoice>,
    /// Compare by content checksums alone; a local file is read for it
    #[arg(long, conflicts_with = "size_only")]
    pub checksum: bool,
    /// Compare by size alone
    #[arg(long)]
    pub size_only: bool,
    /// Leave alone what is newer at the destination
    #[arg(short, long)]
    pub update: bool,
    /// Leave alone what is there at the destination, however it differs
    #[arg(long)]
    pub ignore_existing: bool,
    /// Storage class at the destination, in its words (STANDARD_IA, IA, Archive, ...), or `default` for the bucket's [default: the one most like the source's]
    #[arg(long, value_name = "CLASS", conflicts_with = "class_map")]
    pub storage_class: Option<String>,
    /// Copies of objects of a class get this one, in the words of both, such as DEEP_ARCHIVE=ColdArchive; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = parse_class_pair)]
    pub class_map: Vec<(String, String)>,
    /// Server-side encryption at the destination, in its words (AES256, aws:kms, KMS, SM4), or `keep` for what is like the source's
    #[arg(long, value_name = "ALGORITHM")]
    pub sse: Option<String>,
    /// KMS key for --sse
    #[arg(long, value_name = "KEY", requires = "sse")]
    pub sse_kms_key_id: Option<String>,
    /// Canned ACL at the destination (private, bucket-owner-full-control, ...), or `keep` for the source's: one more request an object
    #[arg(long, value_name = "ACL")]
    pub acl: Option<String>,
    /// Also look for changes of metadata, tags and ACL that no listing shows: two requests and more for each object that is the same
    #[arg(long)]
    pub check_metadata: bool,
    /// Carry tags as well; for objects in S3 it takes one more request
    #[arg(long)]
    pub tags: bool,
    /// Ask for what lies in an archive at the source; run again to copy what is thawed by then
    #[arg(long)]
    pub thaw: bool,
    /// For how many days what is thawed is to be readable [default: 3]
    #[arg(long, value_name = "N", requires = "thaw")]
    pub thaw_days: Option<u16>,
    /// How fast, and how dear: expedited, standard or bulk [default: the service's usual pace]
    #[arg(long, value_name = "TIER", value_parser = parse_tier, requires = "thaw")]
    pub thaw_tier: Option<RestoreTier>,
    /// Ask for so many objects a day at the most
    #[arg(long, value_name = "N", requires = "thaw")]
    pub thaw_max_objects: Option<u64>,
    /// Ask for so much a day at the most, such as 1TiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, requires = "thaw")]
    pub thaw_max_bytes: Option<u64>,
    /// Ask for as much a day as costs so much at the most, such as 5USD; needs a table of prices
    #[arg(long, value_name = "MONEY", value_parser = parse_money, requires = "thaw")]
    pub thaw_max_cost: Option<Money>,
    /// Copy nothing where the whole would cost more, such as 20USD, or where a price is not known: it is planned first, which lists both ends twice
    #[arg(long, value_name = "MONEY", value_parser = parse_money)]
    pub max_cost: Option<Money>,
    /// Copy nothing of which the copy would lose something, such as tags or a lock; what is lost is told in any case
    #[arg(long)]
    pub strict: bool,
    /// Renew the metadata of copies also where their storage class charges for a change
    #[arg(long)]
    pub touch_cold: bool,
    /// Do not keep `dragon-source` in the metadata of what is written
    #[arg(long)]
    pub no_stamp: bool,
    /// Do not compute MD5, even where it is the only proof of the source
    #[arg(long)]
    pub no_md5: bool,
    /// Keep what is overwritten or deleted here first, in a folder named by the time of the run
    #[arg(long, value_name = "URL", value_parser = OsStringValueParser::new().try_map(Address::parse), value_hint = ValueHint::AnyPath)]
    pub backup_dir: Option<Address>,
    /// Stop starting copies after so many failed
    #[arg(long, value_name = "N")]
    pub max_errors: Option<u64>,
    /// Stop starting copies after so long, such as 6h
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    pub max_duration: Option<Duration>,
}

impl Copying {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let copying = Self {
            versions: section.parsed("versions", "latest or all", &[], parse_versions),
            checksum: section.flag("checksum"),
            size_only: section.flag("size_only"),
            update: section.flag("update"),
            ignore_existing: section.flag("ignore_existing"),
            storage_class: section.text("storage_class"),
            class_map: class_pairs(section),
            sse: section.text("sse"),
            sse_kms_key_id: section.text("sse_kms_key_id"),
            acl: section.text("acl"),
            check_metadata: section.flag("check_metadata"),
            tags: section.flag("tags"),
            thaw: section.flag("thaw"),
            thaw_days: section.number("thaw_days").and_then(|days| u16::try_from(days).ok()),
            thaw_tier: section.parsed("thaw_tier", "a tier: expedited, standard or bulk", &[], parse_tier),
            thaw_max_objects: section.number("thaw_max_objects"),
            thaw_max_bytes: section.size("thaw_max_bytes"),
            thaw_max_cost: section.parsed("thaw_max_cost", "an amount such as \"5USD\"", &[], parse_money),
            max_cost: section.parsed("max_cost", "an amount such as \"20USD\"", &[], parse_money),
            strict: section.flag("strict"),
            touch_cold: section.flag("touch_cold"),
            no_stamp: section.flag("no_stamp"),
            no_md5: section.flag("no_md5"),
            backup_dir: section.parsed("backup_dir", "an address such as \"s3://bucket/prefix\"", &[], |text| Address::parse(text).map_err(|e| e.to_string())),
            max_errors: section.number("max_errors"),
            max_duration: section.duration("max_duration"),
        };
        if copying.checksum && copying.size_only {
            section.problem("size_only", "a job compares either by checksum or by size_only", "");
        }
        if copying.versions == Some(VersionChoice::All) {
            let told = [
                ("no_stamp", copying.no_stamp),
                ("update", copying.update),
                ("ignore_existing", copying.ignore_existing),
                ("checksum", copying.checksum),
                ("size_only", copying.size_only),
                ("check_metadata", copying.check_metadata),
                ("backup_dir", copying.backup_dir.is_some()),
            ];
            for (key, _) in told.into_iter().filter(|(_, is_set)| *is_set) {
                section.problem(key, "it says nothing where whole histories are copied", "leave it out, or set versions = \"latest\"");
            }
        }
        if copying.storage_class.is_some() && !copying.class_map.is_empty() {
            section.problem("class_map", "a job names either one storage_class or a class_map", "");
        }
        let thaws = [
            copying.thaw_days.is_some(),
            copying.thaw_tier.is_some(),
            copying.thaw_max_objects.is_some(),
            copying.thaw_max_bytes.is_some(),
            copying.thaw_max_cost.is_some(),
        ];
        if !copying.thaw && thaws.contains(&true) {
            section.problem("thaw", "how to thaw is said, and not that anything is to be", "add thaw = true");
        }
        if copying.sse_kms_key_id.is_some() && copying.sse.is_none() {
            section.problem("sse_kms_key_id", "a KMS key needs sse", "add sse = \"aws:kms\" or sse = \"KMS\"");
        }
        copying
    }

    /// Puts what it may cost into options, and tells what the whole must not be more than. `prices` is read only where there is a limit;
    /// `stores` are the names of both ends in it.
    ///
    /// Fails where there is no table, or it lacks a price that a limit needs.
    pub fn limit_cost(
        &self,
        options: &mut Options,
        prices: impl FnOnce() -> Result<PriceTable>,
        stores: [String; 2],
        source: Service,
    ) -> Result<Option<CostLimit>> {
        if self.max_cost.is_none() && self.thaw_max_cost.is_none() {
            return Ok(None);
        }
        let table = prices()?;
        if let (Some(thaw), Some(limit)) = (&mut options.thaw, &self.thaw_max_cost) {
            thaw.cost_max = Some(table.thaw_cost(&stores[0], source, thaw.tier, limit)?);
        }
        Ok(self.max_cost.clone().map(|limit| CostLimit { limit, prices: Arc::new(table), stores }))
    }

    /// Puts these into options.
    pub fn apply(&self, options: &mut Options) {
        options.versions = self.versions.unwrap_or_default();
        options.compare = match (self.checksum, self.size_only) {
            (true, _) => Compare::Checksum,
            (_, true) => Compare::SizeOnly,
            _ => Compare::Default,
        };
        options.update = self.update;
        options.ignore_existing = self.ignore_existing;
        options.storage_class = match self.storage_class.as_deref() {
            Some("default") => ClassChoice::BucketDefault,
            Some(word) => ClassChoice::Named(word.to_owned()),
            None => ClassChoice::Mapped(ClassMap { named: self.class_map.iter().cloned().collect() }),
        };
        options.encryption = match self.sse.as_deref() {
            Some("keep") => EncryptionChoice::Keep,
            Some(algorithm) => EncryptionChoice::With(Encryption { algorithm: algorithm.to_owned(), key_id: self.sse_kms_key_id.clone() }),
            None => EncryptionChoice::BucketDefault,
        };
        options.acl = match self.acl.as_deref() {
            Some("keep") => AclChoice::Keep,
            Some(word) => AclChoice::Named(word.to_owned()),
            None => AclChoice::BucketDefault,
        };
        options.thaw = self.thaw.then(|| Thaw {
            days: self.thaw_days.unwrap_or(THAW_DAYS),
            tier: self.thaw_tier,
            objects_max: self.thaw_max_objects,
            bytes_max: self.thaw_max_bytes,
            cost_max: None,
            dry_run: false,
        });
        options.check_metadata = self.check_metadata;
        (options.tags, options.strict, options.touch_cold) = (self.tags, self.strict, self.touch_cold);
        options.stamp = !self.no_stamp;
        options.no_md5 = self.no_md5;
        options.errors_max = self.max_errors;
        options.duration_max = self.max_duration;
    }
}

/// `latest` or `all`.
fn parse_versions(text: &str) -> Result<VersionChoice, String> {
    match text {
        "latest" => Ok(VersionChoice::Latest),
        "all" => Ok(VersionChoice::All),
        _ => Err("latest or all".to_owned()),
    }
}

/// `FROM=TO`, both words of storage classes.
fn parse_class_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => {
            // A service of somebody else's may have classes of its own; what is nearly a known word is a mistake.
            for word in [from, to] {
                if !CLASSES.iter().any(|class| class.word == word)
                    && let Some(meant) = nearest(word, CLASSES.iter().map(|class| class.word))
                {
                    return Err(format!("no class is called '{word}': did you mean '{meant}'?"));
                }
            }
            Ok((from.to_owned(), to.to_owned()))
        }
        _ => Err("it takes a class and the one that its copies get, such as DEEP_ARCHIVE=ColdArchive".to_owned()),
    }
}

/// A tier, in either case.
pub fn parse_tier(text: &str) -> Result<RestoreTier, String> {
    let tiers = [RestoreTier::Expedited, RestoreTier::Standard, RestoreTier::Bulk];
    tiers.into_iter().find(|tier| tier.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| "expedited, standard or bulk".to_owned())
}

fn class_pairs(section: &mut Section<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for text in section.texts("class_map") {
        match parse_class_pair(&text) {
            Ok(pair) => pairs.push(pair),
            Err(why) => section.problem("class_map", why, ""),
        }
    }
    pairs
}

/// What a sync may delete.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deleting")]
pub struct Deleting {
    /// Delete what only the destination holds; after all copies, and only if both listings ended clean
    #[arg(long, conflicts_with_all = ["files_from", "files_from0"])]
    pub delete: bool,
    /// Refuse all deletes if they are more than N, or P% of the destination; 0 allows none [default: more than 100 that are also more than 25%]
    #[arg(long, value_name = "N|P%", value_parser = units::parse_delete_limit, requires = "delete")]
    pub max_delete: Option<DeleteLimit>,
    /// Delete only what has been absent from the source for so long, such as 24h; what comes back is spared
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, requires = "delete")]
    pub delete_after: Option<Duration>,
    /// Also delete what the filter leaves out
    #[arg(long, requires = "delete")]
    pub delete_excluded: bool,
    /// Let an empty source empty the destination
    #[arg(long, requires = "delete")]
    pub allow_empty_source: bool,
}

impl Deleting {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let deleting = Self {
            delete: section.flag("delete"),
            max_delete: section.parsed("max_delete", "a number or a percentage", &["integer"], units::parse_delete_limit),
            delete_after: section.duration("delete_after"),
            delete_excluded: section.flag("delete_excluded"),
            allow_empty_source: section.flag("allow_empty_source"),
        };
        if deleting.delete {
            for key in ["files_from", "files_from0"] {
                if section.has(key) {
                    section.problem(key, "a list of keys never goes with delete = true: what is not on the list is not absent", "");
                }
            }
        }
        deleting
    }

    /// Puts these into options.
    pub fn apply(&self, options: &mut Options) {
        options.delete = self.delete;
        options.delete_limit = self.max_delete.unwrap_or_default();
        options.delete_after = self.delete_after;
        options.delete_excluded = self.delete_excluded;
        options.allow_empty_source = self.allow_empty_source;
    }
}

/// How much of the machine and the line a run takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Resources")]
pub struct Resources {
    /// How many small objects and parts of large ones move at a time: auto finds out what pays, or a number
    #[arg(long, value_name = "N", value_parser = units::parse_concurrency)]
    pub concurrency: Option<Auto<usize>>,
    /// Part size of multipart uploads: auto, or a size such as 16MiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_part_size)]
    pub part_size: Option<Auto<u64>>,
    /// Most memory for object bytes, such as 512MiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory)]
    pub memory: Option<u64>,
    /// Most bytes a second over all copies: 10MiB/s, 100Mbit or off; 20Mbit:5Mbit to read and to write; or by the time of the day,
    /// "08:00,20Mbit 20:00,off", local or of a zone: "Asia/Shanghai 08:00,20Mbit 20:00,off"
    #[arg(long, visible_alias = "bwlimit", value_name = "RATE", value_parser = parse_bandwidth)]
    pub bandwidth: Option<Timetable>,
    /// Stop when a store has been down for so long; until then everything waits for it. off waits without end, 0 not at all [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_give_up)]
    pub give_up_after: Option<GiveUp>,
}

impl Resources {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            concurrency: section.parsed("concurrency", "\"auto\" or a number", &["integer"], units::parse_concurrency),
            part_size: section.parsed("part_size", "\"auto\" or a size such as \"16MiB\"", &["integer"], units::parse_part_size),
            memory: section.parsed("memory", "a size such as \"512MiB\"", &["integer"], units::parse_memory),
            bandwidth: section.parsed("bandwidth", "a rate such as \"100Mbit\", or a timetable", &["integer"], parse_bandwidth),
            give_up_after: section.parsed("give_up_after", "a duration such as \"15m\", or \"off\"", &["integer"], units::parse_give_up),
        }
    }

    /// Puts these into options; what is not said here, `engine` says, and else the engine's own default holds.
    pub fn apply(&self, options: &mut Options, engine: &Engine) {
        let defaults = &engine.resources;
        options.concurrency = self.concurrency.or(defaults.concurrency).and_then(Auto::fixed);
        options.part_size_bytes = self.part_size.or(defaults.part_size).and_then(Auto::fixed);
        if let Some(memory) = self.memory.or(defaults.memory) {
            options.memory_bytes = memory;
        }
        options.bandwidth = self.bandwidth.clone().or_else(|| defaults.bandwidth.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn flags<T: Args + FromArgMatches>(args: &[&str]) -> std::result::Result<T, clap::Error> {
        T::from_arg_matches(&T::augment_args(clap::Command::new("test").no_binary_name(true)).try_get_matches_from(args)?)
    }

    fn longs<T: Args>() -> Vec<String> {
        let command = T::augment_args(clap::Command::new("test"));
        command.get_arguments().filter_map(|a| a.get_long()).map(|l| l.replace('-', "_")).collect()
    }

    #[test]
    fn every_transfer_flag_is_a_job_key() {
        let known = crate::config::section::known_keys(|section| {
            Selection::read(section);
            Copying::read(section);
            Deleting::read(section);
            Resources::read(section);
        });
        for flag in [longs::<Selection>(), longs::<Copying>(), longs::<Deleting>(), longs::<Resources>()].concat() {
            assert!(known.contains(&flag), "--{flag} is no job key");
        }
    }

    #[test]
    fn flags_come_before_the_configuration_and_it_before_the_default() {
        let engine =
            Engine { resources: Resources { memory: Some(64 << 20), bandwidth: parse_bandwidth("1MiB/s").ok(), ..Resources::default() }, ..Engine::default() };
        let mut options = Options::default();
        flags::<Resources>(&["--bwlimit", "off", "--part-size", "auto"]).expect("flags").apply(&mut options, &engine);
        assert_eq!(options.memory_bytes, 64 << 20);
        assert_eq!(options.bandwidth.expect("said").limits(), (false, false));
        assert_eq!(options.concurrency, Options::default().concurrency);
    }

    #[test]
    fn an_outage_is_waited_out_for_as_long_as_said() {
        let said = |text| flags::<Resources>(&["--give-up-after", text]).map(|resources| resources.give_up_after.map(GiveUp::limit));
        assert_eq!(said("2h").expect("a duration"), Some(Some(Duration::from_secs(7200))));
        assert_eq!(said("off").expect("no end"), Some(None));
        assert!(said("15").expect_err("no unit").to_string().contains("15m"));
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(flags::<Copying>(&["--checksum", "--size-only"]).is_err());
        assert!(flags::<Selection>(&["--files-from", "a", "--files-from0", "b"]).is_err());
        for bad in ["0/4", "5/4", "x"] {
            assert!(flags::<Selection>(&["--shard", bad]).expect_err(bad).to_string().contains("no share"), "{bad}");
        }
        let selection = flags::<Selection>(&["--min-size", "2KiB", "--max-size", "1KiB", "--max-age", "7d"]).expect("flags");
        assert_eq!(selection.newer_than, Some(Age::Ago(Duration::from_secs(7 * 86400))));
        assert!(selection.apply(&mut Options::default(), Timestamp::UNIX_EPOCH).is_err());
    }
}
