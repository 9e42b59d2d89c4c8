//! From a job's rule to a cloud's, from one cloud's to the other's, and what stands in the way.
//!
//! What has no translation is told. A rule never comes to mean more than it did: where a condition or an exception has no words in the
//! other cloud, what hangs on it is left out, and nothing is moved or deleted that the rule would have spared.

use super::{Access, Action, Rule, Scope, When};
use crate::error::{Error, Result};
use crate::storage::class::Class;
use crate::storage::{Key, Service};
use crate::tier::rule;

/// A rule in another cloud's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translated {
    /// The rule; `None` where nothing of it can be said there.
    pub rule: Option<Rule>,
    /// What is not in it, or not as it was, in words.
    pub told: Vec<String>,
}

/// A job's rule as a rule of the bucket in which its place is; `prefix` is that of the place.
///
/// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where the service could not take it, and says why.
pub fn of_rule(rule: &rule::Rule, job: &str, prefix: &Key, service: Service) -> Result<Rule> {
    let scope = &rule.scope;
    let whole = prefix.join(scope.prefix.as_bytes());
    let class = |word: &str| match Class::find(service, word) {
        Some(class) => Ok(class.word.to_owned()),
        None => {
            let known = crate::storage::class::CLASSES.iter().find(|class| class.word == word).and_then(|class| class.like(service));
            let advice = known.map(|class| format!("the class most like it there is {}", class.word)).unwrap_or_default();
            Err(invalid(rule, format!("{word} is no class of {service}")).advise(advice))
        }
    };
    let mut actions = Vec::new();
    for action in &rule.actions {
        actions.push(match action {
            rule::Action::Transition { age_days, class: word } => Action::Transition { when: When::Days(*age_days), class: class(word)?, access: None },
            rule::Action::Expire { age_days } => Action::Expire { when: When::Days(*age_days) },
            rule::Action::TransitionNoncurrent { age_days, class: word } => {
                Action::TransitionNoncurrent { days: *age_days, class: class(word)?, newest: None, access: None }
            }
            rule::Action::ExpireNoncurrent { age_days, newest } => {
                Action::ExpireNoncurrent { days: *age_days, newest: Some(*newest).filter(|newest| *newest > 0) }
            }
            rule::Action::AbortUploads { age_days } => Action::AbortUploads { when: When::Days(*age_days) },
            rule::Action::Keep(_) => return Err(invalid(rule, "no cloud thins out dated snapshots")),
        });
    }
    let said = Rule {
        id: rule.id(job),
        enabled: true,
        scope: Scope {
            prefix: whole.as_str().map_err(|_| invalid(rule, "its prefix is not UTF-8, which no rule of a cloud can be"))?.to_owned(),
            tags: scope.tags.clone(),
            larger_than_bytes: scope.size_bytes_min.and_then(|min| min.checked_sub(1)),
            smaller_than_bytes: scope.size_bytes_max.map(|max| max.saturating_add(1)),
            not: Vec::new(),
        },
        actions,
    };
    match check(service, &said).as_slice() {
        [] => Ok(said),
        problems => Err(invalid(rule, problems.join("; ")).advise("change the rule, or let Dragon carry it out where it can: by = \"dragon\"")),
    }
}

fn invalid(rule: &rule::Rule, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the rule '{}' cannot be carried out there: {why}", rule.name))
}

/// Why a service would not take a rule, or would carry out something else, in words; empty where it is right.
pub fn check(service: Service, rule: &Rule) -> Vec<String> {
    let mut problems = Vec::new();
    if rule.id.is_empty() || rule.id.len() > 255 {
        problems.push(format!("its id '{}' has not 1 to 255 bytes", rule.id));
    }
    if rule.actions.is_empty() {
        problems.push("it does nothing".to_owned());
    }
    let (has_tags, has_sizes) = (!rule.scope.tags.is_empty(), rule.scope.larger_than_bytes.is_some() || rule.scope.smaller_than_bytes.is_some());
    let mut days_of_class: Vec<(u32, &Class)> = Vec::new();
    for action in &rule.actions {
        match action {
            Action::Transition { class, when, access } => match Class::find(service, class) {
                None => problems.push(format!("{class} is no class of {service}")),
                Some(class) if class.rank().is_none() => problems.push(format!("nothing moves to {}", class.word)),
                Some(class) => {
                    if let When::Days(days) = when {
                        days_of_class.push((*days, class));
                        // Amazon: objects must have been in Standard for thirty days before they move to an infrequent-access class.
                        if service == Service::S3 && matches!(class.word, "STANDARD_IA" | "ONEZONE_IA") && *days < 30 {
                            problems.push(format!("{} takes objects of 30 days and more, not of {days}", class.word));
                        }
                    }
                    if service == Service::S3 && access.is_some() {
                        problems.push("S3 does not go by the last access".to_owned());
                    }
                }
            },
            Action::TransitionNoncurrent { days, class, newest, access } => {
                if Class::find(service, class).and_then(Class::rank).is_none() {
                    problems.push(format!("{class} is no class of {service} that old versions move to"));
                }
                if service == Service::S3 && matches!(class.as_str(), "STANDARD_IA" | "ONEZONE_IA") && *days < 30 {
                    problems.push(format!("{class} takes old versions of 30 days and more, not of {days}"));
                }
                if service == Service::Oss && newest.is_some() {
                    problems.push("OSS does not count versions: noncurrent_newest has no meaning there".to_owned());
                }
                if service == Service::S3 && access.is_some() {
                    problems.push("S3 does not go by the last access".to_owned());
                }
            }
            Action::ExpireNoncurrent { newest: Some(_), .. } if service == Service::Oss => {
                problems.push("OSS does not count versions: noncurrent_newest has no meaning there".to_owned());
            }
            Action::AbortUploads { .. } if has_tags => problems.push("open uploads have no tags".to_owned()),
            Action::AbortUploads { .. } if has_sizes => problems.push("open uploads have no size".to_owned()),
            Action::ExpireMarkers if has_tags || (has_sizes && service == Service::S3) => {
                problems.push("delete markers have neither tags nor a size".to_owned())
            }
            _ => {}
        }
        let when = match action {
            Action::Transition { when, .. } | Action::Expire { when } | Action::AbortUploads { when } => *when,
            _ => continue,
        };
        match (service, when) {
            (Service::Oss, When::On(_)) => problems.push("OSS has no day on which something happens".to_owned()),
            (Service::S3, When::CreatedBefore(_)) => problems.push("S3 has no day before which objects were made".to_owned()),
            _ => {}
        }
    }
    if service != Service::Oss && !rule.scope.not.is_empty() {
        problems.push("S3 knows no exceptions".to_owned());
    }
    days_of_class.sort_by_key(|(days, _)| *days);
    for pair in days_of_class.windows(2) {
        let [(earlier, warm), (later, cold)] = pair else { continue };
        if warm.rank() >= cold.rank() || earlier == later {
            problems.push(format!("{} after {earlier} days comes before {} after {later}", warm.word, cold.word));
        }
        if service == Service::S3 && matches!(warm.word, "STANDARD_IA" | "ONEZONE_IA") && later - earlier < 30 {
            problems.push(format!("an object stays in {} for 30 days before it moves on, not for {}", warm.word, later - earlier));
        }
    }
    let is = |kind: &str| rule.actions.iter().filter(|action| action.kind() == kind).count();
    if is("expiration") > 1 || is("noncurrent expiration") > 1 || is("abort") > 1 {
        problems.push("it deletes, or throws uploads away, twice".to_owned());
    }
    let newest = rule.actions.iter().find_map(|action| match action {
        Action::ExpireNoncurrent { newest, .. } | Action::TransitionNoncurrent { newest, .. } => newest.filter(|newest| *newest > 100),
        _ => None,
    });
    if let Some(newest) = newest {
        problems.push(format!("S3 keeps 100 old versions of a key in any case at the most, not {newest}"));
    }
    let moved = rule.actions.iter().filter_map(|action| if let Action::TransitionNoncurrent { days, .. } = action { Some(*days) } else { None }).max();
    let removed = rule.actions.iter().find_map(|action| if let Action::ExpireNoncurrent { days, .. } = action { Some(*days) } else { None });
    if let (Some(moved), Some(removed)) = (moved, removed)
        && removed <= moved
    {
        problems.push(format!("it removes old versions after {removed} days, and moves them after {moved}"));
    }
    let expires = rule.actions.iter().find_map(|action| if let Action::Expire { when: When::Days(days) } = action { Some(*days) } else { None });
    if let (Some(expires), Some((last, class))) = (expires, days_of_class.last())
        && expires <= *last
    {
        problems.push(format!("it deletes after {expires} days what it moves to {} after {last}", class.word));
    }
    problems
}

/// A rule of one cloud in the other's words.
pub fn translate(rule: &Rule, from: Service, to: Service) -> Translated {
    let mut told = Vec::new();
    if to != Service::Oss && !rule.scope.not.is_empty() {
        return Translated { rule: None, told: vec!["its exceptions have no words there, and without them it would take more than it does".to_owned()] };
    }
    let mut actions: Vec<Action> = Vec::new();
    // In the order of time, whatever the document's: of two classes that become one the earlier move stays.
    let mut in_time: Vec<&Action> = rule.actions.iter().collect();
    in_time.sort_by_key(|action| if let Action::Transition { when: When::Days(days), .. } = action { *days } else { u32::MAX });
    for action in in_time {
        match translate_action(action, from, to, &mut told) {
            Some(Action::Transition { class, .. })
                if actions.iter().any(|earlier| matches!(earlier, Action::Transition { class: other, .. } if *other == class)) =>
            {
                told.push(format!("'{action}': it is in {class} by then"));
            }
            Some(action) => actions.push(action),
            None => {}
        }
    }
    let translated = Rule { actions, ..rule.clone() };
    match check(to, &translated).as_slice() {
        [] => Translated { rule: Some(translated), told },
        problems => {
            told.extend(problems.iter().cloned());
            Translated { rule: None, told }
        }
    }
}

/// What of a move by access can be said; `None` where the move itself cannot.
fn translate_access(action: &Action, access: Option<Access>, to: Service, told: &mut Vec<String>) -> Option<Option<Access>> {
    match access {
        Some(access) if to != Service::Oss && access.by_access => {
            told.push(format!("'{action}': it does not go by the last access there"));
            None
        }
        Some(_) if to != Service::Oss => {
            told.push(format!("'{action}': small objects stay where they are there"));
            Some(None)
        }
        access => Some(access),
    }
}

fn translate_action(action: &Action, from: Service, to: Service, told: &mut Vec<String>) -> Option<Action> {
    let mut class_of = |word: &str| {
        let Some(class) = Class::find(from, word) else {
            told.push(format!("'{action}': nobody knows what is like {word}"));
            return None;
        };
        let like = class.like(to).filter(|like| like.rank().is_some());
        match like {
            None => told.push(format!("'{action}': nothing there is like {word}")),
            Some(like) if like.like(from).is_none_or(|back| back.word != class.word) => told.push(format!("'{action}': {} is most like {word}", like.word)),
            Some(_) => {}
        }
        like.map(|like| like.word.to_owned())
    };
    let translated = match action {
        Action::Transition { when, class, access } => {
            let class = class_of(class)?;
            let access = translate_access(action, *access, to, told)?;
            Action::Transition { when: *when, class, access }
        }
        Action::TransitionNoncurrent { days, class, newest, access } => {
            let class = class_of(class)?;
            if to == Service::Oss && newest.is_some() {
                told.push(format!("'{action}': versions are not counted there"));
                return None;
            }
            let access = translate_access(action, *access, to, told)?;
            Action::TransitionNoncurrent { days: *days, class, newest: *newest, access }
        }
        Action::ExpireNoncurrent { newest: Some(_), .. } if to == Service::Oss => {
            told.push(format!("'{action}': versions are not counted there"));
            return None;
        }
        other => other.clone(),
    };
    let when = match &translated {
        Action::Transition { when, .. } | Action::Expire { when } | Action::AbortUploads { when } => *when,
        _ => return Some(translated),
    };
    // On a day something happens to everything; before a day it happens to what is older. Neither is the other.
    if matches!((to, when), (Service::Oss, When::On(_)) | (Service::S3, When::CreatedBefore(_))) {
        told.push(format!("'{action}': that day means something else there"));
        return None;
    }
    Some(translated)
}
