//! What is to become of a bucket's configuration: what comes, what changes, what goes, and what nobody touches.

use std::fmt;

use super::document::{Configuration, RULES_MAX, Stated, document, meaning};
use super::{Action, Rule};
use crate::error::{Error, Result};
use crate::storage::Service;

/// What happens to one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Add(Rule),
    /// It says something else from now on.
    Alter {
        /// What it says now; `None` where that is not understood.
        from: Option<Rule>,
        /// What it will say.
        to: Rule,
    },
    /// It goes.
    Remove {
        /// Its id.
        id: String,
        /// What it said; `None` where that is not understood.
        rule: Option<Rule>,
    },
    /// It stays as it is.
    Keep(Rule),
}

/// How a bucket's configuration becomes what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Of each of our rules.
    pub changes: Vec<Change>,
    /// How many rules are somebody else's: they stay, letter for letter.
    pub foreign: usize,
    /// The whole document to put; `None` where no rule is left, and the configuration is to be removed.
    pub document: Option<String>,
    /// Rules of one action overlap, which OSS takes only if it is told so.
    pub overlaps: bool,
}

impl Plan {
    /// Whether the bucket has what is wanted already.
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| matches!(change, Change::Keep(_)))
    }
}

/// Plans the way from what a bucket has to `wanted`. `is_ours` tells by their ids which rules of the bucket may be changed or removed.
///
/// Fails where the bucket would have too many rules, or where a foreign rule has the id of a wanted one.
pub fn plan(service: Service, current: Option<&Configuration>, is_ours: impl Fn(&str) -> bool, wanted: &[Rule]) -> Result<Plan> {
    let held = current.map(|current| current.rules.as_slice()).unwrap_or_default();
    let (ours, foreign): (Vec<&Stated>, Vec<&Stated>) = held.iter().partition(|stated| is_ours(&stated.id));
    let mut changes = Vec::new();
    let mut written: Vec<Stated> = foreign.iter().map(|stated| (*stated).clone()).collect();
    for rule in wanted {
        let found = ours.iter().find(|stated| stated.id == rule.id);
        let now = found.and_then(|stated| stated.rule.as_ref().ok());
        changes.push(match found {
            Some(_) if now.is_some_and(|now| meaning(now) == meaning(rule)) => Change::Keep(rule.clone()),
            Some(_) => Change::Alter { from: now.cloned(), to: rule.clone() },
            None => Change::Add(rule.clone()),
        });
        written.push(Stated::write(service, rule));
    }
    let gone = ours.iter().filter(|stated| wanted.iter().all(|rule| rule.id != stated.id));
    changes.extend(gone.map(|stated| Change::Remove { id: stated.id.clone(), rule: stated.rule.clone().ok() }));
    if written.len() > RULES_MAX {
        return Err(Error::invalid(format!("the bucket would have {} lifecycle rules, and {RULES_MAX} is the most", written.len())));
    }
    let document = (!written.is_empty()).then(|| document(service, written.iter()));
    let mut ids: Vec<&str> = written.iter().map(|stated| stated.id.as_str()).filter(|id| !id.is_empty()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(format!("the bucket would have two lifecycle rules of the id '{}'", twice[0])).advise("rename one of them"));
    }
    let understood: Vec<&Rule> = written.iter().filter_map(|stated| stated.rule.as_ref().ok()).collect();
    // Of a rule that is not understood nobody knows what it overlaps.
    let overlaps = understood.len() < written.len() || overlaps(&understood);
    Ok(Plan { changes, foreign: foreign.len(), document, overlaps })
}

/// Whether two rules do one kind of thing to prefixes of each other.
pub(super) fn overlaps(rules: &[&Rule]) -> bool {
    let kinds = |rule: &Rule| rule.actions.iter().map(Action::kind).collect::<Vec<_>>();
    rules.iter().enumerate().any(|(n, a)| {
        rules[n + 1..].iter().any(|b| {
            let (p, q) = (&a.scope.prefix, &b.scope.prefix);
            (p.starts_with(q.as_str()) || q.starts_with(p.as_str())) && kinds(a).iter().any(|kind| kinds(b).contains(kind))
        })
    })
}

/// Whether what was read again says what was put: services add, leave out and reorder what means nothing.
pub fn same(service: Service, put: Option<&str>, read: Option<&str>) -> Result<bool> {
    // Of a rule that is not understood, its letters.
    let rules = |text: Option<&str>| -> Result<Vec<(String, Result<Rule, String>)>> {
        let Some(text) = text else { return Ok(Vec::new()) };
        let of = |stated: Stated| (stated.id, stated.rule.as_ref().map(meaning).map_err(|_| stated.text.clone()));
        let mut rules: Vec<_> = Configuration::read(service, text)?.rules.into_iter().map(of).collect();
        rules.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(rules)
    };
    Ok(rules(put)? == rules(read)?)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(rule) => write!(f, "+ {rule}"),
            Self::Alter { from: Some(from), to } => {
                write!(f, "~ {to}\n    was {}", from.to_string().split_once("  ").map_or_else(String::new, |(_, said)| said.to_owned()))
            }
            Self::Alter { from: None, to } => write!(f, "~ {to}\n    was something that is not understood"),
            Self::Remove { rule: Some(rule), .. } => write!(f, "- {rule}"),
            Self::Remove { id, rule: None } => write!(f, "- {id}"),
            Self::Keep(rule) => write!(f, "= {rule}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        match self.foreign {
            0 => Ok(()),
            1 => writeln!(f, "  1 rule of somebody else's stays as it is"),
            many => writeln!(f, "  {many} rules of somebody else's stay as they are"),
        }
    }
}
