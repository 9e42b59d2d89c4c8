//! Rules in Amazon's words.

use jiff::Timestamp;

use super::document::{Writer, enabled, number, only, required, tag};
use super::{Action, Rule, Scope, When};
use crate::storage::transport::xml::Element;

pub(super) fn read(element: &Element) -> Result<Rule, String> {
    only(
        element,
        &[
            "ID",
            "Prefix",
            "Filter",
            "Status",
            "Transition",
            "Expiration",
            "NoncurrentVersionTransition",
            "NoncurrentVersionExpiration",
            "AbortIncompleteMultipartUpload",
        ],
    )?;
    let mut scope = Scope { prefix: element.text("Prefix").unwrap_or_default().to_owned(), ..Scope::default() };
    if let Some(filter) = element.child("Filter") {
        only(filter, &["Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan", "And"])?;
        read_filter(filter, &mut scope)?;
        if let Some(all) = filter.child("And") {
            only(all, &["Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"])?;
            read_filter(all, &mut scope)?;
        }
    }
    let mut actions = Vec::new();
    for child in &element.children {
        match child.name.as_str() {
            "Transition" => {
                only(child, &["Days", "Date", "StorageClass"])?;
                actions.push(Action::Transition { when: when(child)?, class: required(child, "StorageClass")?, access: None });
            }
            "Expiration" => {
                only(child, &["Days", "Date", "ExpiredObjectDeleteMarker"])?;
                if child.child("Days").is_some() || child.child("Date").is_some() {
                    actions.push(Action::Expire { when: when(child)? });
                }
                if child.is_true("ExpiredObjectDeleteMarker") {
                    actions.push(Action::ExpireMarkers);
                }
            }
            "NoncurrentVersionTransition" => {
                only(child, &["NoncurrentDays", "StorageClass", "NewerNoncurrentVersions"])?;
                let (days, class, newest) = (required(child, "NoncurrentDays")?, required(child, "StorageClass")?, number(child, "NewerNoncurrentVersions")?);
                actions.push(Action::TransitionNoncurrent { days, class, newest, access: None });
            }
            "NoncurrentVersionExpiration" => {
                only(child, &["NoncurrentDays", "NewerNoncurrentVersions"])?;
                actions.push(Action::ExpireNoncurrent { days: required(child, "NoncurrentDays")?, newest: number(child, "NewerNoncurrentVersions")? });
            }
            "AbortIncompleteMultipartUpload" => {
                only(child, &["DaysAfterInitiation"])?;
                actions.push(Action::AbortUploads { when: When::Days(required(child, "DaysAfterInitiation")?) });
            }
            _ => {}
        }
    }
    Ok(Rule { id: element.text("ID").unwrap_or_default().to_owned(), enabled: enabled(element)?, scope, actions })
}

fn read_filter(filter: &Element, scope: &mut Scope) -> Result<(), String> {
    if let Some(prefix) = filter.text("Prefix") {
        prefix.clone_into(&mut scope.prefix);
    }
    for element in filter.all("Tag") {
        scope.tags.extend([tag(element)?]);
    }
    scope.larger_than_bytes = number(filter, "ObjectSizeGreaterThan")?.or(scope.larger_than_bytes);
    scope.smaller_than_bytes = number(filter, "ObjectSizeLessThan")?.or(scope.smaller_than_bytes);
    Ok(())
}

fn when(element: &Element) -> Result<When, String> {
    match element.time("Date") {
        Some(date) => Ok(When::On(date)),
        None => Ok(When::Days(required(element, "Days")?)),
    }
}

/// Only what S3 has: see [`check`](super::check).
pub(super) fn write(rule: &Rule) -> String {
    let mut out = Writer::new();
    out.within("Rule", |out| {
        out.leaf("ID", &rule.id);
        out.within("Filter", |out| write_filter(out, &rule.scope));
        out.leaf("Status", if rule.enabled { "Enabled" } else { "Disabled" });
        for action in &rule.actions {
            if let Action::Transition { when, class, .. } = action {
                out.within("Transition", |out| {
                    write_when(out, *when);
                    out.leaf("StorageClass", class);
                });
            }
        }
        let expires = rule.actions.iter().filter(|action| matches!(action, Action::Expire { .. } | Action::ExpireMarkers)).collect::<Vec<_>>();
        if !expires.is_empty() {
            out.within("Expiration", |out| {
                for action in expires {
                    match action {
                        Action::Expire { when } => write_when(out, *when),
                        _ => out.leaf("ExpiredObjectDeleteMarker", true),
                    }
                }
            });
        }
        for action in &rule.actions {
            match action {
                Action::TransitionNoncurrent { days, class, newest, .. } => out.within("NoncurrentVersionTransition", |out| {
                    out.leaf("NoncurrentDays", days);
                    out.leaf("StorageClass", class);
                    out.leaf_some("NewerNoncurrentVersions", *newest);
                }),
                Action::ExpireNoncurrent { days, newest } => out.within("NoncurrentVersionExpiration", |out| {
                    out.leaf("NoncurrentDays", days);
                    out.leaf_some("NewerNoncurrentVersions", *newest);
                }),
                Action::AbortUploads { when: When::Days(days) } => {
                    out.within("AbortIncompleteMultipartUpload", |out| out.leaf("DaysAfterInitiation", days));
                }
                _ => {}
            }
        }
    });
    out.done()
}

fn write_filter(out: &mut Writer, scope: &Scope) {
    let Scope { prefix, tags, larger_than_bytes, smaller_than_bytes, .. } = scope;
    let conditions = usize::from(!prefix.is_empty()) + tags.len() + usize::from(larger_than_bytes.is_some()) + usize::from(smaller_than_bytes.is_some());
    let write = |out: &mut Writer| {
        if !prefix.is_empty() || conditions == 0 {
            out.leaf("Prefix", prefix);
        }
        for (name, value) in tags {
            out.tag(name, value);
        }
        out.leaf_some("ObjectSizeGreaterThan", *larger_than_bytes);
        out.leaf_some("ObjectSizeLessThan", *smaller_than_bytes);
    };
    // One condition stands by itself, several in an <And>.
    if conditions > 1 { out.within("And", write) } else { write(out) }
}

fn write_when(out: &mut Writer, when: When) {
    match when {
        When::Days(days) => out.leaf("Days", days),
        When::On(date) | When::CreatedBefore(date) => out.leaf("Date", midnight(date)),
    }
}

/// Both services want a day's beginning, UTC.
pub(super) fn midnight(date: Timestamp) -> impl std::fmt::Display {
    date.strftime("%Y-%m-%dT00:00:00.000Z")
}
