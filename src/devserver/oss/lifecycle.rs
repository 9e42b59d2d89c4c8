//! A bucket's lifecycle on the OSS side: kept as it was sent, read into [`Rules`] (protocol.md 4).
//!
//! Rules by last access are kept and told, and not carried out: nobody monitors access here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::attributes::STORAGE_CLASSES;
use super::error::{OssError, OssResult};
use super::request::Head;
use super::xml::Element;
use crate::devserver::lifecycle::{Exception, Noncurrent, Rule, Rules, Scope, When};
use crate::devserver::store::BucketInfo;

/// The root element.
pub(super) const ROOT: &str = "LifecycleConfiguration";
/// The bucket property that holds the document, as [`super::configuration`] names it.
const PROPERTY: &str = "configuration-lifecycle";
const RULES_MAX: usize = 1000;
const ID_BYTES_MAX: usize = 255;

/// The rules of a bucket, where it has any.
pub(in crate::devserver) fn rules_of(bucket: &BucketInfo) -> Option<Rules> {
    let document = bucket.properties.get(PROPERTY)?;
    let rules = Element::parse(document.as_bytes(), ROOT).and_then(|root| read(&root)).ok()?;
    Some(Rules { rules, ladder: STORAGE_CLASSES, size_floor: None })
}

/// Refuses what the service refuses, with its EC where that is documented (Alibaba's pages of the 0014 codes).
pub(super) fn check(root: &Element, head: &Head) -> OssResult<()> {
    let rules = read(root)?;
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(OssError::malformed_xml());
    }
    let mut ids = BTreeSet::new();
    for rule in rules.iter().filter(|rule| !rule.id.is_empty()) {
        if rule.id.len() > ID_BYTES_MAX || !ids.insert(&rule.id) {
            return Err(OssError::bad_value("ID", &rule.id, "The ID of a rule must be unique and at most 255 bytes long."));
        }
    }
    rules.iter().try_for_each(|rule| check_order(rule, rule))?;
    let may_overlap = head.header("x-oss-allow-same-action-overlap")?.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    for (at, rule) in rules.iter().enumerate() {
        for other in rules[at + 1..].iter().filter(|other| overlaps(rule, other)) {
            if !may_overlap {
                refuse_same_action(rule, other)?;
            }
            check_order(rule, other)?;
            check_order(other, rule)?;
        }
    }
    Ok(())
}

/// Whether an object can be within both: one prefix begins with the other, and the tags are the same.
fn overlaps(a: &Rule, b: &Rule) -> bool {
    (a.scope.prefix.starts_with(&b.scope.prefix) || b.scope.prefix.starts_with(&a.scope.prefix)) && a.scope.tags == b.scope.tags
}

fn refuse_same_action(a: &Rule, b: &Rule) -> OssResult<()> {
    let refuse = |ec| {
        let message = format!("Overlap for same action type. Prefixes: '{}' and '{}'.", a.scope.prefix, b.scope.prefix);
        Err(OssError::invalid_argument(message).ec(ec))
    };
    let both = |has: fn(&Rule) -> bool| has(a) && has(b);
    let shares = |a: &[(When, String)], b: &[(When, String)]| a.iter().any(|(_, class)| b.iter().any(|(_, other)| class == other));
    if both(|rule| rule.expiration.is_some()) || both(|rule| rule.noncurrent_expiration.is_some()) || both(|rule| rule.abort_uploads.is_some()) {
        return refuse("0014-00000084");
    }
    let former = |rule: &Rule| rule.noncurrent_transitions.iter().map(|(when, class)| (When::Days(when.days), class.clone())).collect::<Vec<_>>();
    if shares(&a.transitions, &b.transitions) || shares(&former(a), &former(b)) {
        return refuse("0014-00000079");
    }
    Ok(())
}

/// A colder class comes later, and the end last; days and dates do not mix.
fn check_order(earlier: &Rule, later: &Rule) -> OssResult<()> {
    let rung = |class: &str| STORAGE_CLASSES.iter().position(|rung| *rung == class);
    let conflict = || OssError::invalid_argument("The days of a colder storage class and of the expiration must be greater.").ec("0014-00000082");
    for (when, class) in &earlier.transitions {
        let colder = later.transitions.iter().filter(|(_, other)| rung(other) > rung(class)).map(|(when, _)| *when);
        for end in colder.chain(later.expiration) {
            match (*when, end) {
                (When::Days(first), When::Days(second)) if first < second => {}
                (When::OlderThan(first), When::OlderThan(second)) if second < first => {}
                (When::Days(_), When::Days(_)) | (When::OlderThan(_), When::OlderThan(_)) => return Err(conflict()),
                _ => return Err(OssError::invalid_argument("Days and CreatedBeforeDate must not be mixed.").ec("0014-00000080")),
            }
        }
    }
    Ok(())
}

fn read(root: &Element) -> OssResult<Vec<Rule>> {
    root.children_named("Rule").map(rule_of).collect()
}

fn rule_of(rule: &Element) -> OssResult<Rule> {
    const KNOWN: [&str; 11] = [
        "ID",
        "Prefix",
        "Status",
        "Tag",
        "Filter",
        "Transition",
        "Expiration",
        "NoncurrentVersionTransition",
        "NoncurrentVersionExpiration",
        "AbortMultipartUpload",
        "AtimeBase",
    ];
    if rule.children.iter().any(|child| !KNOWN.contains(&child.name.as_str())) || rule.children_named("Prefix").count() > 1 {
        return Err(OssError::malformed_xml());
    }
    let enabled = match rule.value("Status") {
        Some("Enabled") => true,
        Some("Disabled") => false,
        _ => return Err(OssError::malformed_xml()),
    };
    let mut transitions = Vec::new();
    for to in rule.children_named("Transition") {
        let (when, class) = (when(to)?.ok_or_else(OssError::malformed_xml)?, class(to)?);
        if !by_access(to) {
            transitions.push((when, class));
        }
    }
    let mut noncurrent_transitions = Vec::new();
    for to in rule.children_named("NoncurrentVersionTransition") {
        let (when, class) = (noncurrent(to)?, class(to)?);
        if !by_access(to) {
            noncurrent_transitions.push((when, class));
        }
    }
    let expiration = rule.child("Expiration");
    let lone_markers = expiration.and_then(|expiration| expiration.value("ExpiredObjectDeleteMarker")) == Some("true");
    let expires = expiration.map(when).transpose()?.flatten();
    if expiration.is_some() && expires.is_some() == lone_markers {
        return Err(OssError::malformed_xml());
    }
    let acts = ["Transition", "Expiration", "NoncurrentVersionTransition", "NoncurrentVersionExpiration", "AbortMultipartUpload"];
    if !acts.iter().any(|action| rule.child(action).is_some()) {
        return Err(OssError::malformed_xml());
    }
    Ok(Rule {
        id: rule.value("ID").unwrap_or_default().to_owned(),
        enabled,
        scope: scope_of(rule)?,
        transitions,
        expiration: expires,
        removes_lone_markers: lone_markers,
        noncurrent_transitions,
        noncurrent_expiration: rule.child("NoncurrentVersionExpiration").map(noncurrent).transpose()?,
        abort_uploads: rule.child("AbortMultipartUpload").map(|abort| when(abort)?.ok_or_else(OssError::malformed_xml)).transpose()?,
    })
}

fn by_access(action: &Element) -> bool {
    action.value("IsAccessTime") == Some("true")
}

fn scope_of(rule: &Element) -> OssResult<Scope> {
    let tag = |tag: &Element| Some((tag.value("Key")?.to_owned(), tag.value("Value")?.to_owned()));
    let tags: Option<BTreeMap<String, String>> = rule.children_named("Tag").map(tag).collect();
    let bytes = |name: &str| match rule.child("Filter").and_then(|filter| filter.value(name)) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| OssError::malformed_xml()),
    };
    let except =
        |not: &Element| Exception { prefix: not.child("Prefix").map(|prefix| prefix.text.clone()).unwrap_or_default(), tag: not.child("Tag").and_then(tag) };
    Ok(Scope {
        prefix: rule.child("Prefix").map(|prefix| prefix.text.clone()).unwrap_or_default(),
        tags: tags.ok_or_else(OssError::malformed_xml)?,
        larger_than_bytes: bytes("ObjectSizeGreaterThan")?,
        smaller_than_bytes: bytes("ObjectSizeLessThan")?,
        exceptions: rule.child("Filter").into_iter().flat_map(|filter| filter.children_named("Not").map(except).collect::<Vec<_>>()).collect(),
    })
}

/// `Days`, `CreatedBeforeDate` (or its older name `Date`); not both.
fn when(action: &Element) -> OssResult<Option<When>> {
    let date = action.value("CreatedBeforeDate").or_else(|| action.value("Date"));
    match (action.value("Days"), date) {
        (None, None) => Ok(None),
        (Some(days), None) => Ok(Some(When::Days(positive(days)?))),
        (None, Some(date)) => {
            let time: Timestamp = date.parse().map_err(|_| OssError::malformed_xml())?;
            if time.as_millisecond().rem_euclid(86_400_000) != 0 {
                return Err(OssError::bad_value("CreatedBeforeDate", date, "'CreatedBeforeDate' must be at midnight GMT."));
            }
            Ok(Some(When::OlderThan(time)))
        }
        (Some(_), Some(_)) => Err(OssError::malformed_xml()),
    }
}

fn noncurrent(action: &Element) -> OssResult<Noncurrent> {
    Ok(Noncurrent { days: positive(action.value("NoncurrentDays").ok_or_else(OssError::malformed_xml)?)?, spared: 0 })
}

fn positive(days: &str) -> OssResult<i64> {
    match days.parse() {
        Ok(days @ 1..=i64::MAX) => Ok(days),
        Ok(_) => Err(OssError::bad_value("Days", days, "The days must be a positive integer.")),
        Err(_) => Err(OssError::malformed_xml()),
    }
}

fn class(action: &Element) -> OssResult<String> {
    let class = action.value("StorageClass").filter(|class| STORAGE_CLASSES[1..].contains(class));
    class.map(str::to_owned).ok_or_else(OssError::malformed_xml)
}
