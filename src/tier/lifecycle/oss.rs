//! Rules in Alibaba's words.

use super::document::{Writer, enabled, number, only, required, tag};
use super::s3::midnight;
use super::{Access, Action, Not, Rule, Scope, When};
use crate::storage::transport::xml::Element;

pub(super) fn read(element: &Element) -> Result<Rule, String> {
    only(
        element,
        &[
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
            // When rules by access begin to count: what the service notes, nobody sets.
            "AtimeBase",
        ],
    )?;
    let mut scope = Scope { prefix: element.text("Prefix").unwrap_or_default().to_owned(), ..Scope::default() };
    for child in element.all("Tag") {
        scope.tags.extend([tag(child)?]);
    }
    if let Some(filter) = element.child("Filter") {
        only(filter, &["Not", "ObjectSizeGreaterThan", "ObjectSizeLessThan"])?;
        scope.larger_than_bytes = number(filter, "ObjectSizeGreaterThan")?;
        scope.smaller_than_bytes = number(filter, "ObjectSizeLessThan")?;
        for not in filter.all("Not") {
            only(not, &["Prefix", "Tag"])?;
            let tag = not.child("Tag").map(tag).transpose()?;
            scope.not.push(Not { prefix: not.text("Prefix").unwrap_or_default().to_owned(), tag });
        }
    }
    let mut actions = Vec::new();
    for child in &element.children {
        match child.name.as_str() {
            "Transition" => {
                only(child, &["Days", "CreatedBeforeDate", "StorageClass", "IsAccessTime", "ReturnToStdWhenVisit", "AllowSmallFile"])?;
                actions.push(Action::Transition { when: when(child)?, class: required(child, "StorageClass")?, access: access(child) });
            }
            "Expiration" => {
                only(child, &["Days", "CreatedBeforeDate", "ExpiredObjectDeleteMarker"])?;
                if child.child("Days").is_some() || child.child("CreatedBeforeDate").is_some() {
                    actions.push(Action::Expire { when: when(child)? });
                }
                if child.is_true("ExpiredObjectDeleteMarker") {
                    actions.push(Action::ExpireMarkers);
                }
            }
            "NoncurrentVersionTransition" => {
                only(child, &["NoncurrentDays", "StorageClass", "IsAccessTime", "ReturnToStdWhenVisit", "AllowSmallFile"])?;
                let (days, class) = (required(child, "NoncurrentDays")?, required(child, "StorageClass")?);
                actions.push(Action::TransitionNoncurrent { days, class, newest: None, access: access(child) });
            }
            "NoncurrentVersionExpiration" => {
                only(child, &["NoncurrentDays"])?;
                actions.push(Action::ExpireNoncurrent { days: required(child, "NoncurrentDays")?, newest: None });
            }
            "AbortMultipartUpload" => {
                only(child, &["Days", "CreatedBeforeDate"])?;
                actions.push(Action::AbortUploads { when: when(child)? });
            }
            _ => {}
        }
    }
    Ok(Rule { id: element.text("ID").unwrap_or_default().to_owned(), enabled: enabled(element)?, scope, actions })
}

fn when(element: &Element) -> Result<When, String> {
    match element.time("CreatedBeforeDate") {
        Some(date) => Ok(When::CreatedBefore(date)),
        None => Ok(When::Days(required(element, "Days")?)),
    }
}

/// Where a rule says nothing of access, or says that nothing of it counts, it is as if it had not been said.
fn access(element: &Element) -> Option<Access> {
    let access =
        Access { by_access: element.is_true("IsAccessTime"), back_on_visit: element.is_true("ReturnToStdWhenVisit"), small: element.is_true("AllowSmallFile") };
    Some(access).filter(|access| *access != Access::default())
}

/// Only what OSS has: see [`check`](super::check).
pub(super) fn write(rule: &Rule) -> String {
    let mut out = Writer::new();
    out.within("Rule", |out| {
        out.leaf("ID", &rule.id);
        out.leaf("Prefix", &rule.scope.prefix);
        out.leaf("Status", if rule.enabled { "Enabled" } else { "Disabled" });
        for (name, value) in &rule.scope.tags {
            out.tag(name, value);
        }
        let Scope { larger_than_bytes, smaller_than_bytes, not, .. } = &rule.scope;
        if larger_than_bytes.is_some() || smaller_than_bytes.is_some() || !not.is_empty() {
            out.within("Filter", |out| {
                out.leaf_some("ObjectSizeGreaterThan", *larger_than_bytes);
                out.leaf_some("ObjectSizeLessThan", *smaller_than_bytes);
                for Not { prefix, tag } in not {
                    out.within("Not", |out| {
                        out.leaf("Prefix", prefix);
                        if let Some((name, value)) = tag {
                            out.tag(name, value);
                        }
                    });
                }
            });
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
                Action::Transition { when, class, access } => out.within("Transition", |out| {
                    write_when(out, *when);
                    out.leaf("StorageClass", class);
                    write_access(out, *access);
                }),
                Action::AbortUploads { when } => out.within("AbortMultipartUpload", |out| write_when(out, *when)),
                Action::ExpireNoncurrent { days, .. } => out.within("NoncurrentVersionExpiration", |out| out.leaf("NoncurrentDays", days)),
                Action::TransitionNoncurrent { days, class, access, .. } => out.within("NoncurrentVersionTransition", |out| {
                    out.leaf("NoncurrentDays", days);
                    out.leaf("StorageClass", class);
                    write_access(out, *access);
                }),
                Action::Expire { .. } | Action::ExpireMarkers => {}
            }
        }
    });
    out.done()
}

fn write_when(out: &mut Writer, when: When) {
    match when {
        When::Days(days) => out.leaf("Days", days),
        When::On(date) | When::CreatedBefore(date) => out.leaf("CreatedBeforeDate", midnight(date)),
    }
}

fn write_access(out: &mut Writer, access: Option<Access>) {
    let Some(Access { by_access, back_on_visit, small }) = access else { return };
    out.leaf("IsAccessTime", by_access);
    if by_access {
        out.leaf("ReturnToStdWhenVisit", back_on_visit);
    }
    if small {
        out.leaf("AllowSmallFile", true);
    }
}
