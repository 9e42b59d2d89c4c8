//! Reading dragon.toml so that every mistake is told with its file, line, column and key, and the nearest right word.
//!
//! A reader asks a [`Section`] for the keys it knows; whatever was not asked for when it finishes is unknown. Mistakes gather
//! in the [`Document`], so that one look shows them all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::storage::key::escape;

use super::secret::{Environment, Reference, Secret};
use super::setting::Setting;

/// A configuration text under reading.
pub(super) struct Document<'a> {
    /// The name that errors print.
    pub(super) name: &'a str,
    /// The text, for lines and columns.
    pub(super) text: &'a str,
    /// Where `file:` paths start.
    pub(super) base: PathBuf,
    /// Where `env:` looks.
    pub(super) environment: &'a Environment,
    /// What is wrong so far, and where in the text.
    pub(super) problems: RefCell<Vec<(usize, Error)>>,
    /// A digest of all secrets and of what references led to, to tell whether any of it has changed.
    pub(super) resolved: RefCell<Sha256>,
}

/// Where a value comes from: a place in the file, or a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Span(Range<usize>),
    Flag(String),
}

impl Document<'_> {
    /// Records a mistake.
    pub(super) fn problem(&self, origin: &Origin, key: &str, message: impl fmt::Display, advice: impl Into<String>) {
        let place = match origin {
            Origin::Span(span) => span.start,
            Origin::Flag(_) => 0,
        };
        self.problems.borrow_mut().push((place, self.error(origin, key, message, advice)));
    }

    /// Words a mistake: `dragon.toml:12:5: stores.aws.regoin: ...`. What it quotes of the file is escaped: it may hold anything.
    pub(super) fn error(&self, origin: &Origin, key: &str, message: impl fmt::Display, advice: impl Into<String>) -> Error {
        let place = match origin {
            Origin::Span(span) => {
                let (line, column) = line_and_column(self.text, span.start);
                format!("{}:{line}:{column}", self.name)
            }
            Origin::Flag(flag) => flag.clone(),
        };
        let words = if key.is_empty() { format!("{place}: {message}") } else { format!("{place}: {key}: {message}") };
        Error::invalid(escape(words.as_bytes())).advise(escape(advice.into().as_bytes()))
    }
}

/// Line and column, both from 1; the column counts characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The nearest of the right words, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    words
        .into_iter()
        .map(|right| (strsim::damerau_levenshtein(&word, &right.to_lowercase().replace('_', "-")), right))
        .filter(|(distance, right)| *distance <= (right.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, right)| right)
}

/// `; did you mean ...` or the whole choice, as advice.
pub(super) fn suggest<'a>(word: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, words.clone()) {
        Some(right) => format!("did you mean '{right}'?"),
        None => {
            let mut all: Vec<_> = words.into_iter().collect();
            all.sort_unstable();
            format!("one of: {}", all.join(", "))
        }
    }
}

enum Raw<'a> {
    Toml(&'a DeValue<'a>),
    Text(String),
}

struct Field<'a> {
    /// Where the key stands.
    key: Origin,
    /// Where the value stands.
    origin: Origin,
    raw: Raw<'a>,
}

/// A table of the document.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    origin: Origin,
    fields: BTreeMap<String, Field<'a>>,
    known: Vec<&'static str>,
    /// References (`env:`, `file:`) that did not resolve: an error only once the section is used.
    pub(super) missing: Vec<Error>,
}

impl<'a> Section<'a> {
    /// Opens a table. `path` is its dotted name, empty for the root.
    pub(super) fn new(document: &'a Document<'a>, path: impl Into<String>, table: &'a DeTable<'a>, origin: Origin) -> Self {
        let fields = table
            .iter()
            .map(|(key, value)| {
                // A table's own span is wherever its first header or dotted key stands.
                let span = if value.get_ref().is_table() { key.span() } else { value.span() };
                (key.get_ref().to_string(), Field { key: Origin::Span(key.span()), origin: Origin::Span(span), raw: Raw::Toml(value.get_ref()) })
            })
            .collect();
        Self { document, path: path.into(), origin, fields, known: Vec::new(), missing: Vec::new() }
    }

    /// A table that stands in no file.
    pub(super) fn empty(document: &'a Document<'a>, path: impl Into<String>, origin: Origin) -> Self {
        Self { document, path: path.into(), origin, fields: BTreeMap::new(), known: Vec::new(), missing: Vec::new() }
    }

    /// Puts a flag's value in place of the file's.
    pub(super) fn overlay(&mut self, setting: &Setting) {
        let origin = Origin::Flag(setting.flag.clone());
        self.fields.insert(setting.key.clone(), Field { key: origin.clone(), origin, raw: Raw::Text(setting.value.clone()) });
    }

    /// Whether the key is there, without reading it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// Whether the key's value is text.
    pub(super) fn is_text(&self, key: &str) -> bool {
        matches!(self.fields.get(key), Some(Field { raw: Raw::Text(_) | Raw::Toml(DeValue::String(_)), .. }))
    }

    /// Where in the file a key's value stands, for keys whose order matters.
    pub(super) fn position(&self, key: &str) -> Option<usize> {
        match &self.fields.get(key)?.origin {
            Origin::Span(span) => Some(span.start),
            Origin::Flag(_) => None,
        }
    }

    /// Records a mistake in a key of this section.
    pub(super) fn problem(&self, key: &str, message: impl fmt::Display, advice: impl Into<String>) {
        let origin = self.fields.get(key).map_or(&self.origin, |f| &f.origin);
        self.document.problem(origin, &self.dotted(key), message, advice);
    }

    fn dotted(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.into(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    fn know(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// The value as text with references resolved. A value of another type than `types` is a mistake.
    fn scalar(&mut self, key: &'static str, types: &[&str], wanted: &str) -> Option<String> {
        self.know(key);
        let field = self.fields.get(key)?;
        let text = match &field.raw {
            Raw::Text(text) => text.clone(),
            Raw::Toml(DeValue::String(text)) => text.to_string(),
            Raw::Toml(DeValue::Boolean(value)) if types.contains(&"boolean") => return Some(value.to_string()),
            Raw::Toml(DeValue::Integer(value)) if types.contains(&"integer") => return Some(value.to_string()),
            Raw::Toml(DeValue::Float(value)) if types.contains(&"float") => return Some(value.as_str().into()),
            Raw::Toml(other) => {
                self.problem(key, format!("a {} stands where {wanted} is wanted", other.type_str()), "");
                return None;
            }
        };
        self.resolve(key, text)
    }

    fn resolve(&mut self, key: &str, text: String) -> Option<String> {
        let Some(reference) = Reference::parse(&text) else { return Some(text) };
        match reference.resolve(self.document.environment, &self.document.base) {
            Ok(value) => {
                self.document.resolved.borrow_mut().update(value.as_bytes());
                Some(value)
            }
            Err(why) => {
                let origin = self.fields.get(key).map_or(&self.origin, |f| &f.origin);
                self.missing.push(self.document.error(origin, &self.dotted(key), why, ""));
                None
            }
        }
    }

    /// Text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let text = self.scalar(key, &[], "text")?;
        if text.is_empty() {
            self.problem(key, "it is empty", "leave the key out instead");
            return None;
        }
        Some(text)
    }

    /// A path, relative to the file's directory.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        // `file:` would mean the path that stands in a file, which nobody wants: take it as the path.
        self.text(key).map(|text| self.document.base.join(text))
    }

    /// A secret. Never taken from a flag, unless it only refers to where the secret stands.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        if let Some(Field { origin: Origin::Flag(_), raw: Raw::Text(text), .. }) = self.fields.get(key)
            && Reference::parse(text).is_none()
        {
            self.know(key);
            self.problem(key, "a secret never goes on the command line, where every process can read it", format!("write {key}=env:NAME or {key}=file:PATH"));
            return None;
        }
        let secret = self.text(key).map(Secret::new);
        secret.iter().for_each(|secret| self.document.resolved.borrow_mut().update(secret.expose().as_bytes()));
        secret
    }

    /// Something that a function reads from text; its error becomes the message, and must not repeat a secret.
    pub(super) fn parsed<T>(&mut self, key: &'static str, wanted: &str, types: &[&str], parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.scalar(key, types, wanted)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problem(key, why, "");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.parsed(key, "true or false", &["boolean"], |text| text.parse().map_err(|_| format!("'{text}' is neither true nor false")))
    }

    /// `true`, or not.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.boolean(key).unwrap_or(false)
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &'static str) -> Option<u64> {
        self.parsed(key, "a number", &["integer"], |text| text.parse().map_err(|_| format!("'{text}' is no whole number of 0 or more")))
    }

    /// A size with a unit.
    pub(super) fn size(&mut self, key: &'static str) -> Option<u64> {
        self.parsed(key, "a size such as \"512MiB\"", &["integer", "float"], super::units::parse_size)
    }

    /// A span of time with a unit.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<std::time::Duration> {
        self.parsed(key, "a duration such as \"30s\"", &["integer", "float"], super::units::parse_duration)
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.scalar(key, &[], "a word")?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(key, format!("'{text}' is not one of its values"), suggest(&text, words));
        }
        found
    }

    /// Text, or a list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(Field { raw: Raw::Toml(DeValue::Array(array)), .. }) = self.fields.get(key) else {
            return self.text(key).map_or_else(Vec::new, |text| vec![text]);
        };
        self.know(key);
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref() {
                DeValue::String(text) => texts.extend(self.resolve(key, text.to_string())),
                other => {
                    let message = format!("a {} stands in the list where text is wanted", other.type_str());
                    self.document.problem(&Origin::Span(item.span()), &self.dotted(key), message, "");
                }
            }
        }
        texts
    }

    /// A path, or a list of paths, relative to the file's directory.
    pub(super) fn paths(&mut self, key: &'static str) -> Vec<String> {
        let base = &self.document.base;
        self.texts(key).iter().map(|text| base.join(text).to_string_lossy().into_owned()).collect()
    }

    /// A table of texts under any names, any of which may be a secret.
    pub(super) fn map(&mut self, key: &'static str) -> BTreeMap<String, Secret> {
        let Some(mut section) = self.table(key) else { return BTreeMap::new() };
        let mut map = BTreeMap::new();
        for name in section.names() {
            match &section.fields[&name].raw {
                Raw::Toml(DeValue::String(text)) => {
                    let text = text.to_string();
                    map.extend(section.resolve(&name, text).map(|text| (name, Secret::new(text))));
                }
                Raw::Toml(other) => section.problem(&name, format!("a {} stands where text is wanted", other.type_str()), ""),
                Raw::Text(text) => _ = map.insert(name, Secret::new(text)),
            }
        }
        self.missing.append(&mut section.missing);
        map
    }

    /// A table within.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.know(key);
        self.child(key)
    }

    /// The table of any name within: for `[stores.NAME]`.
    pub(super) fn child(&self, key: &str) -> Option<Section<'a>> {
        let field = self.fields.get(key)?;
        match field.raw {
            Raw::Toml(DeValue::Table(table)) => Some(Section::new(self.document, self.dotted(key), table, field.origin.clone())),
            _ => {
                self.problem(key, "a value stands where a table is wanted", format!("write [{}]", self.dotted(key)));
                None
            }
        }
    }

    /// The names within.
    pub(super) fn names(&self) -> Vec<String> {
        self.fields.keys().cloned().collect()
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        self.know(key);
        let Some(field) = self.fields.get(key) else { return Vec::new() };
        let Raw::Toml(DeValue::Array(array)) = field.raw else {
            self.problem(key, "a list of tables is wanted", format!("write [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (i, item) in array.iter().enumerate() {
            let path = format!("{}[{i}]", self.dotted(key));
            match item.get_ref() {
                DeValue::Table(table) => sections.push(Section::new(self.document, path, table, Origin::Span(item.span()))),
                _ => self.document.problem(&Origin::Span(item.span()), &path, "a table is wanted", format!("write [[{key}]]")),
            }
        }
        sections
    }

    /// Names the section better once its name is known, as `jobs.photos`.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// Ends the reading: what was not asked for is unknown. Returns the references that did not resolve.
    pub(super) fn finish(self) -> Vec<Error> {
        for (name, field) in &self.fields {
            if !self.known.contains(&name.as_str()) {
                self.document.problem(&field.key, &self.dotted(name), "no such key", suggest(name, self.known.iter().copied()));
            }
        }
        self.missing
    }
}

/// The keys that a reader knows, for tests that hold them against flags.
#[cfg(test)]
pub(super) fn known_keys(read: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
    let environment = Environment::default();
    let document =
        Document { name: "test", text: "", base: PathBuf::new(), environment: &environment, problems: RefCell::default(), resolved: RefCell::default() };
    let mut section = Section::empty(&document, "", Origin::Span(0..0));
    read(&mut section);
    section.known.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
        let environment = Environment::of([("A", "from-env")]);
        let document =
            Document { name: "dragon.toml", text, base: "/".into(), environment: &environment, problems: RefCell::default(), resolved: RefCell::default() };
        let table = DeTable::parse(text).expect("valid toml");
        let mut section = Section::new(&document, "", table.get_ref(), Origin::Span(0..0));
        read(&mut section);
        let mut all: Vec<_> = section.finish().iter().map(ToString::to_string).collect();
        all.extend(document.problems.borrow().iter().map(|(_, problem)| problem.to_string()));
        all
    }

    #[test]
    fn mistakes_name_line_column_key_and_the_right_word() {
        let problems = read("region = \"x\"\n  regoin = 5\nsize = 512\non = \"yes\"\ngone = \"env:B\"\nmode = \"snyc\"\n", |s| {
            assert_eq!(s.text("region").as_deref(), Some("x"));
            s.size("size");
            s.boolean("on");
            s.text("gone");
            s.choice("mode", &[("sync", 1), ("copy", 2)]);
        });
        assert_eq!(
            problems,
            [
                "dragon.toml:5:8: gone: the environment variable B is not set",
                "dragon.toml:3:8: size: '512' has no unit: write 512B, 512KiB, 512MiB or 512GiB",
                "dragon.toml:4:6: on: 'yes' is neither true nor false",
                "dragon.toml:6:8: mode: 'snyc' is not one of its values; did you mean 'sync'?",
                "dragon.toml:2:3: regoin: no such key; did you mean 'region'?",
            ]
        );
    }

    #[test]
    fn references_lists_and_flags() {
        let problems = read("a = \"env:A\"\nl = [\"x\", \"env:A\"]\n[t]\nk = 1\n", |s| {
            assert_eq!(s.text("a").as_deref(), Some("from-env"));
            assert_eq!(s.texts("l"), ["x", "from-env"]);
            s.overlay(&Setting::of_flag("--set x.secret", "x", "secret", "hunter2"));
            assert_eq!(s.secret("secret"), None);
            s.table("t").expect("a table").finish();
        });
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("dragon.toml:4:1: t.k: no such key") || problems[1].starts_with("dragon.toml:4:1: t.k"), "{problems:?}");
        assert!(problems.iter().any(|p| p.contains("never goes on the command line")) && !problems.concat().contains("hunter2"));
    }
}
