//! A bucket's lifecycle on the S3 side: kept as the XML that s3s writes of it, judged by [`Rules`].
//!
//! What the service refuses is refused here, in its words as far as they are known (the API reference's lifecycle pages).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use s3s::dto::{
    self, BucketLifecycleConfiguration, DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput, GetBucketLifecycleConfigurationInput,
    GetBucketLifecycleConfigurationOutput, LifecycleRule, PutBucketLifecycleConfigurationInput, PutBucketLifecycleConfigurationOutput, TimestampFormat,
};
use s3s::xml::{self, Deserialize as _, Serialize as _};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::Bridge;
use super::error::named;
use crate::devserver::lifecycle::{Noncurrent, Rule, Rules, Scope, SizeFloor, When};
use crate::devserver::store::BucketInfo;

/// The bucket property that holds the rules, as XML.
const PROPERTY: &str = "lifecycle";
/// The bucket property that says which objects are too small to move.
const FLOOR_PROPERTY: &str = "lifecycle-size-floor";
const FLOOR_EVERYWHERE: &str = "all_storage_classes_128K";
const FLOOR_VARIES: &str = "varies_by_storage_class";
const RULES_MAX: usize = 1000;
const ID_CHARS_MAX: usize = 255;
/// Objects below this stay unless a rule speaks of size (protocol.md 4).
const FLOOR_BYTES: u64 = 128 << 10;
/// The order in which a lifecycle may move objects (S3 User Guide, "Transitioning objects").
const LADDER: &[&str] = &["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];

impl Bridge {
    pub(super) fn put_lifecycle(&self, req: S3Request<PutBucketLifecycleConfigurationInput>) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        let PutBucketLifecycleConfigurationInput { bucket, lifecycle_configuration, transition_default_minimum_object_size, .. } = req.input;
        let mut configuration = lifecycle_configuration.ok_or_else(malformed)?;
        let floor = match transition_default_minimum_object_size.as_ref().map(|floor| floor.as_str()) {
            None => FLOOR_EVERYWHERE,
            Some(FLOOR_EVERYWHERE) => FLOOR_EVERYWHERE,
            Some(FLOOR_VARIES) => FLOOR_VARIES,
            Some(_) => return Err(s3_error!(InvalidRequest, "Invalid value for x-amz-transition-default-minimum-object-size")),
        };
        // The service names rules that come without a name.
        for rule in configuration.rules.iter_mut().filter(|rule| rule.id.as_deref().is_none_or(str::is_empty)) {
            rule.id = Some(self.store.calendar().clock().random_id());
        }
        check(&configuration)?;
        let document = written(&configuration).map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error))?;
        self.store.set_bucket_property(&bucket, PROPERTY, Some(document))?;
        self.store.set_bucket_property(&bucket, FLOOR_PROPERTY, Some(floor.to_owned()))?;
        let output = PutBucketLifecycleConfigurationOutput { transition_default_minimum_object_size: Some(floor.to_owned().into()) };
        Ok(S3Response::new(output))
    }

    pub(super) fn get_lifecycle(&self, req: &S3Request<GetBucketLifecycleConfigurationInput>) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        let bucket = self.store.bucket(&req.input.bucket)?;
        let Some(configuration) = configuration(&bucket) else {
            return Err(named(http::StatusCode::NOT_FOUND, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"));
        };
        let floor = bucket.properties.get(FLOOR_PROPERTY).map(|floor| floor.clone().into());
        let output = GetBucketLifecycleConfigurationOutput { rules: Some(configuration.rules), transition_default_minimum_object_size: floor };
        Ok(S3Response::new(output))
    }

    pub(super) fn delete_lifecycle(&self, req: &S3Request<DeleteBucketLifecycleInput>) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
        self.store.set_bucket_property(&req.input.bucket, PROPERTY, None)?;
        Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
    }
}

fn written(configuration: &BucketLifecycleConfiguration) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut document = Vec::new();
    configuration.serialize(&mut xml::Serializer::new(&mut document))?;
    Ok(String::from_utf8(document)?)
}

fn configuration(bucket: &BucketInfo) -> Option<BucketLifecycleConfiguration> {
    let document = bucket.properties.get(PROPERTY)?;
    BucketLifecycleConfiguration::deserialize(&mut xml::Deserializer::new(document.as_bytes())).ok()
}

/// The rules of a bucket, where it has any.
pub(in crate::devserver) fn rules_of(bucket: &BucketInfo) -> Option<Rules> {
    let rules = configuration(bucket)?.rules.iter().map(rule_of).collect();
    let exempt: &[&str] = match bucket.properties.get(FLOOR_PROPERTY).map(String::as_str) {
        Some(FLOOR_VARIES) => &["GLACIER", "DEEP_ARCHIVE"],
        _ => &[],
    };
    Some(Rules { rules, ladder: LADDER, size_floor: Some(SizeFloor { bytes: FLOOR_BYTES, exempt }) })
}

fn rule_of(rule: &LifecycleRule) -> Rule {
    let when = |days: Option<i32>, date: &Option<dto::Timestamp>| match (days, date) {
        (Some(days), _) => Some(When::Days(days.into())),
        (None, Some(date)) => Some(When::From(time(date)?)),
        (None, None) => None,
    };
    let class = |class: &Option<dto::TransitionStorageClass>| class.as_ref().map(|class| class.as_str().to_owned());
    let noncurrent = |days: Option<i32>, spared: Option<i32>| Noncurrent {
        days: days.unwrap_or(0).into(),
        spared: spared.and_then(|spared| usize::try_from(spared).ok()).unwrap_or(0),
    };
    let moves = rule.transitions.iter().flatten();
    let former_moves = rule.noncurrent_version_transitions.iter().flatten();
    Rule {
        id: rule.id.clone().unwrap_or_default(),
        enabled: rule.status.as_str() == "Enabled",
        scope: scope_of(rule),
        transitions: moves.filter_map(|to| Some((when(to.days, &to.date)?, class(&to.storage_class)?))).collect(),
        expiration: rule.expiration.as_ref().and_then(|expiration| when(expiration.days, &expiration.date)),
        removes_lone_markers: rule.expiration.as_ref().is_some_and(|expiration| expiration.expired_object_delete_marker == Some(true)),
        noncurrent_transitions: former_moves
            .filter_map(|to| Some((noncurrent(to.noncurrent_days, to.newer_noncurrent_versions), class(&to.storage_class)?)))
            .collect(),
        noncurrent_expiration: rule.noncurrent_version_expiration.as_ref().map(|to| noncurrent(to.noncurrent_days, to.newer_noncurrent_versions)),
        abort_uploads: rule.abort_incomplete_multipart_upload.as_ref().and_then(|abort| abort.days_after_initiation).map(|days| When::Days(days.into())),
    }
}

fn scope_of(rule: &LifecycleRule) -> Scope {
    let bytes = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let pair = |tag: &dto::Tag| (tag.key.clone().unwrap_or_default(), tag.value.clone().unwrap_or_default());
    let Some(filter) = &rule.filter else { return Scope { prefix: rule.prefix.clone().unwrap_or_default(), ..Scope::default() } };
    match &filter.and {
        Some(all) => Scope {
            prefix: all.prefix.clone().unwrap_or_default(),
            tags: all.tags.iter().flatten().map(pair).collect(),
            larger_than_bytes: bytes(all.object_size_greater_than),
            smaller_than_bytes: bytes(all.object_size_less_than),
            exceptions: Vec::new(),
        },
        None => Scope {
            prefix: filter.prefix.clone().unwrap_or_default(),
            tags: filter.tag.iter().map(pair).collect(),
            larger_than_bytes: bytes(filter.object_size_greater_than),
            smaller_than_bytes: bytes(filter.object_size_less_than),
            exceptions: Vec::new(),
        },
    }
}

fn time(date: &dto::Timestamp) -> Option<Timestamp> {
    let mut text = Vec::new();
    date.format(TimestampFormat::DateTime, &mut text).ok()?;
    String::from_utf8(text).ok()?.parse().ok()
}

fn malformed() -> S3Error {
    s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema")
}

fn check(configuration: &BucketLifecycleConfiguration) -> S3Result<()> {
    let rules = &configuration.rules;
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(malformed());
    }
    let mut ids = BTreeSet::new();
    for rule in rules {
        let id = rule.id.as_deref().unwrap_or_default();
        if id.chars().count() > ID_CHARS_MAX {
            return Err(s3_error!(InvalidArgument, "ID length should not exceed allowed limit of 255"));
        }
        if !ids.insert(id) {
            return Err(s3_error!(InvalidArgument, "Rule ID must be unique. Found same ID for more than one rule"));
        }
        check_shape(rule)?;
        check_times(rule)?;
    }
    Ok(())
}

/// What the schema asks: a status, one filter, and something to do.
fn check_shape(rule: &LifecycleRule) -> S3Result<()> {
    let filters = |filter: &dto::LifecycleRuleFilter| {
        let named = [
            filter.and.is_some(),
            filter.prefix.is_some(),
            filter.tag.is_some(),
            filter.object_size_greater_than.is_some(),
            filter.object_size_less_than.is_some(),
        ];
        named.iter().filter(|named| **named).count()
    };
    let scoped_once = rule.filter.is_some() != rule.prefix.is_some() && rule.filter.as_ref().is_none_or(|filter| filters(filter) <= 1);
    if !matches!(rule.status.as_str(), "Enabled" | "Disabled") || !scoped_once {
        return Err(malformed());
    }
    let acts = rule.expiration.is_some()
        || rule.transitions.as_ref().is_some_and(|moves| !moves.is_empty())
        || rule.noncurrent_version_transitions.as_ref().is_some_and(|moves| !moves.is_empty())
        || rule.noncurrent_version_expiration.is_some()
        || rule.abort_incomplete_multipart_upload.is_some();
    if !acts {
        return Err(s3_error!(InvalidRequest, "At least one action needs to be specified in a rule"));
    }
    let tagged = !scope_of(rule).tags.is_empty();
    if tagged && rule.abort_incomplete_multipart_upload.is_some() {
        return Err(s3_error!(InvalidRequest, "AbortIncompleteMultipartUpload cannot be specified with Tags"));
    }
    if let Some(expiration) = &rule.expiration {
        let named = [expiration.days.is_some(), expiration.date.is_some(), expiration.expired_object_delete_marker.is_some()];
        if named.iter().filter(|named| **named).count() != 1 {
            return Err(malformed());
        }
        if tagged && expiration.expired_object_delete_marker.is_some() {
            return Err(s3_error!(InvalidRequest, "ExpiredObjectDeleteMarker cannot be specified with Tags"));
        }
    }
    let known = |class: &Option<dto::TransitionStorageClass>| class.as_ref().is_some_and(|class| LADDER[1..].contains(&class.as_str()));
    let moves_well = rule.transitions.iter().flatten().all(|to| known(&to.storage_class) && to.days.is_some() != to.date.is_some());
    let former_well = rule.noncurrent_version_transitions.iter().flatten().all(|to| known(&to.storage_class) && to.noncurrent_days.is_some());
    if moves_well && former_well { Ok(()) } else { Err(malformed()) }
}

/// What must hold of a rule's days and dates, among themselves too.
fn check_times(rule: &LifecycleRule) -> S3Result<()> {
    let read = rule_of(rule);
    let whens = || read.transitions.iter().map(|(when, _)| *when).chain(read.expiration);
    for when in whens() {
        if let When::From(date) = when
            && date.as_second().rem_euclid(86_400) != 0
        {
            return Err(s3_error!(InvalidArgument, "'Date' must be at midnight GMT"));
        }
    }
    if whens().any(|when| matches!(when, When::Days(_))) && whens().any(|when| matches!(when, When::From(_))) {
        return Err(s3_error!(
            InvalidRequest,
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for prefix '{}'",
            read.scope.prefix
        ));
    }
    let mut by_class = BTreeMap::new();
    for (when, class) in &read.transitions {
        if by_class.insert(LADDER.iter().position(|rung| rung == class), *when).is_some() {
            return Err(s3_error!(
                InvalidRequest,
                "'StorageClass' must be different for 'Transition' actions in same 'Rule' with prefix '{}'",
                read.scope.prefix
            ));
        }
        match when {
            When::Days(days) if *days < 0 => return Err(s3_error!(InvalidArgument, "'Days' in Transition action must be nonnegative")),
            When::Days(days) if *days < 30 && matches!(class.as_str(), "STANDARD_IA" | "ONEZONE_IA") => {
                return Err(s3_error!(InvalidArgument, "'Days' in Transition action must be greater than or equal to 30 for storageClass '{class}'"));
            }
            _ => {}
        }
    }
    let last_move = read.transitions.iter().filter_map(|(when, _)| if let When::Days(days) = when { Some(*days) } else { None }).max();
    match read.expiration {
        Some(When::Days(days)) if days < 1 => Err(s3_error!(InvalidArgument, "'Days' for Expiration action must be a positive integer")),
        Some(When::Days(days)) if last_move.is_some_and(|last| days <= last) => Err(s3_error!(
            InvalidArgument,
            "'Days' in the Expiration action for prefix '{}' must be greater than 'Days' in the Transition action",
            read.scope.prefix
        )),
        _ if read.noncurrent_expiration.is_some_and(|noncurrent| noncurrent.days < 1) => {
            Err(s3_error!(InvalidArgument, "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer"))
        }
        _ if matches!(read.abort_uploads, Some(When::Days(days)) if days < 1) => {
            Err(s3_error!(InvalidArgument, "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer"))
        }
        _ => Ok(()),
    }
}
