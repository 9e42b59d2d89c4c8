//! A rule of a job: which objects, and what becomes of them as they age.

use std::collections::BTreeMap;
use std::fmt;

use super::retention::Retention;
use crate::storage::Key;

/// What is to become of some objects of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique among the rules of a job.
    pub name: String,
    /// Which objects.
    pub scope: Scope,
    /// What becomes of them.
    pub actions: Vec<Action>,
    /// From when an object's age counts.
    pub age_by: AgeBy,
    /// Who carries it out.
    pub by: By,
}

/// Which objects a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Keys that begin with this, relative to the place.
    pub prefix: Key,
    /// Objects that have all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Objects of at least so many bytes.
    pub size_bytes_min: Option<u64>,
    /// Objects of at most so many bytes.
    pub size_bytes_max: Option<u64>,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It moves to a colder class when it is so old.
    Transition {
        /// Its age in days.
        age_days: u32,
        /// The class, in the service's word.
        class: String,
    },
    /// It is deleted when it is so old.
    Expire {
        /// Its age in days.
        age_days: u32,
    },
    /// A version moves to a colder class so long after another took its place.
    TransitionNoncurrent {
        /// Days since then.
        age_days: u32,
        /// The class, in the service's word.
        class: String,
    },
    /// A version is removed so long after another took its place.
    ExpireNoncurrent {
        /// Days since then.
        age_days: u32,
        /// So many of the newest of a key stay in any case.
        newest: u32,
    },
    /// An upload that nobody completed is thrown away when it is so old.
    AbortUploads {
        /// Its age in days.
        age_days: u32,
    },
    /// Of dated snapshots these stay, and the others are deleted.
    Keep(Retention),
}

/// From when the age of an object counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AgeBy {
    /// Its last modification where it lies: of a copy, when it was copied.
    #[default]
    Modified,
    /// When the source's object was last modified, as the job's journal has it.
    Journal,
}

/// Who carries a rule out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// The cloud, by a rule of the bucket's lifecycle configuration.
    Cloud,
    /// Dragon, by looking through the place.
    Dragon,
}

impl Rule {
    /// The id of the bucket's rule that stands for it.
    pub fn id(&self, job: &str) -> String {
        format!("{}{}", id_prefix(job), self.name)
    }

    /// What keeps it from being carried out by the cloud, in words.
    pub fn needs_dragon(&self) -> Option<&'static str> {
        if self.actions.iter().any(|action| matches!(action, Action::Keep(_))) {
            return Some("no cloud thins out dated snapshots");
        }
        (self.age_by == AgeBy::Journal).then_some("no cloud knows the job's journal")
    }

    /// What keeps it from being carried out by Dragon, in words.
    pub fn needs_cloud(&self) -> Option<&'static str> {
        self.actions.iter().find_map(|action| match action {
            Action::TransitionNoncurrent { .. } => Some("the class of an old version is changed by the cloud alone: a copy would be a new version"),
            Action::AbortUploads { .. } => Some("`dragon uploads abort --older-than` is for that"),
            Action::ExpireNoncurrent { .. } => Some("a version that is removed is gone for good: Dragon never does that"),
            _ => None,
        })
    }

    /// Whether it deletes current objects.
    pub fn deletes(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Expire { .. } | Action::Keep(_)))
    }
}

/// What the ids of a job's rules in a bucket's lifecycle configuration begin with: no other job's do, since a job's name holds no dot.
pub fn id_prefix(job: &str) -> String {
    format!("dragon-{job}.")
}

impl Scope {
    /// Whether an object's key and size are in it. Its tags are another request's matter.
    pub fn holds(&self, key: &[u8], size_bytes: u64) -> bool {
        key.starts_with(self.prefix.as_bytes())
            && self.size_bytes_min.is_none_or(|min| size_bytes >= min)
            && self.size_bytes_max.is_none_or(|max| size_bytes <= max)
    }
}

/// A number of days, in words.
pub(super) struct InDays(pub(super) u32);

impl fmt::Display for InDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 { f.write_str("1 day") } else { write!(f, "{} days", self.0) }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix.is_empty() {
            f.write_str("everything")?
        } else {
            write!(f, "{}", self.prefix)?
        }
        if let Some(min) = self.size_bytes_min {
            write!(f, ", of {min} bytes and more")?;
        }
        if let Some(max) = self.size_bytes_max {
            write!(f, ", of {max} bytes and less")?;
        }
        for (name, value) in &self.tags {
            write!(f, ", tagged {name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transition { age_days, class } => write!(f, "{class} after {}", InDays(*age_days)),
            Self::Expire { age_days } => write!(f, "deleted after {}", InDays(*age_days)),
            Self::TransitionNoncurrent { age_days, class } => write!(f, "old versions to {class} after {}", InDays(*age_days)),
            Self::ExpireNoncurrent { age_days, newest: 0 } => write!(f, "old versions removed after {}", InDays(*age_days)),
            Self::ExpireNoncurrent { age_days, newest } => write!(f, "old versions removed after {} but for the newest {newest}", InDays(*age_days)),
            Self::AbortUploads { age_days } => write!(f, "open uploads thrown away after {}", InDays(*age_days)),
            Self::Keep(retention) => write!(f, "snapshots kept: {retention}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.name, self.scope)?;
        for (n, action) in self.actions.iter().enumerate() {
            write!(f, "{}{action}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(actions: Vec<Action>) -> Rule {
        Rule { name: "cool".into(), scope: Scope { prefix: "logs/".into(), ..Scope::default() }, actions, age_by: AgeBy::Modified, by: By::Cloud }
    }

    #[test]
    fn a_job_owns_no_rule_of_a_job_whose_name_begins_alike() {
        assert_eq!(rule(Vec::new()).id("photos"), "dragon-photos.cool");
        assert!(!rule(Vec::new()).id("photos-cn").starts_with(&id_prefix("photos")));
    }

    #[test]
    fn a_scope_is_a_prefix_and_sizes() {
        let scope = Scope { prefix: "a/".into(), size_bytes_min: Some(10), size_bytes_max: Some(20), ..Scope::default() };
        assert!(scope.holds(b"a/b", 10) && scope.holds(b"a/b", 20));
        assert!(!scope.holds(b"a", 15) && !scope.holds(b"a/b", 9) && !scope.holds(b"a/b", 21));
        assert_eq!(scope.to_string(), "a/, of 10 bytes and more, of 20 bytes and less");
    }

    #[test]
    fn a_rule_is_told_in_words() {
        let rule = rule(vec![Action::Transition { age_days: 30, class: "IA".into() }, Action::Keep(Retention { daily: 14, ..Retention::default() })]);
        assert_eq!(rule.to_string(), "cool: logs/: IA after 30 days, snapshots kept: daily 14");
        assert!(rule.needs_dragon().is_some() && rule.needs_cloud().is_none() && rule.deletes());
    }
}
