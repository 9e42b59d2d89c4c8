//! What of an object its copy does not have, or has in another form: told before the first byte is sent, never found out years later.

use std::collections::BTreeMap;
use std::fmt;

/// Something that an object has besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// User metadata.
    Metadata,
    /// Content-Type and its fellows.
    Headers,
    /// Tags.
    Tags,
    /// Storage class.
    StorageClass,
    /// Server-side encryption.
    Encryption,
    /// Who may read and write it.
    Acl,
    /// Retention and legal hold.
    Lock,
    /// S3's website redirect.
    Redirect,
    /// That OSS lets more be appended to it.
    Appendable,
    /// That it is a symbolic link.
    Link,
    /// What Dragon would like to note in the metadata of its copy.
    Stamp,
}

impl Attribute {
    /// The words for a person, and in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Headers => "headers",
            Self::Tags => "tags",
            Self::StorageClass => "storage class",
            Self::Encryption => "encryption",
            Self::Acl => "acl",
            Self::Lock => "lock",
            Self::Redirect => "redirect",
            Self::Appendable => "appendable",
            Self::Link => "link",
            Self::Stamp => "stamp",
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The copy does not have it. `--strict` refuses such copies.
    Lost,
    /// The copy has it in another form: as the operator asked, or one from which a copy back makes the first one again.
    Mapped,
}

/// One attribute of one object that its copy has not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub attribute: Attribute,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, the same for all objects of which it is true.
    pub why: &'static str,
    /// What is particular to this object, such as names; empty where nothing is.
    pub detail: String,
}

impl Change {
    pub(crate) fn lost(attribute: Attribute, why: &'static str) -> Self {
        Self { attribute, fate: Fate::Lost, why, detail: String::new() }
    }

    pub(crate) fn mapped(attribute: Attribute, why: &'static str) -> Self {
        Self { attribute, fate: Fate::Mapped, why, detail: String::new() }
    }

    pub(crate) fn with(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Of how many objects what is lost or mapped, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<(Fate, Attribute, &'static str), u64>);

impl Losses {
    /// Counts what one object's copy has not as it was.
    pub fn add(&mut self, changes: &[Change]) {
        for change in changes {
            *self.0.entry((change.fate, change.attribute, change.why)).or_default() += 1;
        }
    }

    /// What becomes of which attribute, why, and of how many objects; what is lost first.
    pub fn iter(&self) -> impl Iterator<Item = (Fate, Attribute, &'static str, u64)> {
        self.0.iter().map(|((fate, attribute, why), objects)| (*fate, *attribute, *why, *objects))
    }

    /// Whether every copy has everything as it was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
