//! A whole configuration: each rule as it stands, and what it says as far as that is understood.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{Action, Not, Rule, Scope, oss, s3};
use crate::error::{Error, Result};
use crate::storage::Service;
use crate::storage::key::escape;
use crate::storage::transport::xml::Element;

/// Rules that a bucket may have, on both clouds.
pub(super) const RULES_MAX: usize = 1000;

/// A bucket's lifecycle configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// In their order.
    pub rules: Vec<Stated>,
}

/// One rule as the service states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// Its id; empty where it has none.
    pub id: String,
    /// The element, letter for letter.
    pub text: String,
    /// What it says, or why that is not understood.
    pub rule: Result<Rule, String>,
}

impl Configuration {
    /// Reads what a service answered. A rule that says more than is understood here stands in it all the same.
    ///
    /// Fails with [`ErrorKind::Integrity`](crate::error::ErrorKind::Integrity) where it is no lifecycle configuration.
    pub fn read(service: Service, text: &str) -> Result<Self> {
        Element::parse(text.as_bytes(), &["LifecycleConfiguration"])?;
        let mut reader = Reader::from_str(text);
        let (mut depth, mut begun) = (0_usize, 0_usize);
        let mut rules = Vec::new();
        loop {
            let at = position(&reader);
            match reader.read_event().map_err(|e| unusable(&e.to_string()))? {
                Event::Start(tag) => {
                    depth += 1;
                    if depth == 2 {
                        begun = at;
                        if tag.local_name().into_inner() != "Rule" {
                            return Err(unusable("something stands among the rules that is none"));
                        }
                    }
                }
                Event::End(_) => {
                    if depth == 2 {
                        rules.push(Stated::read(service, text.get(begun..position(&reader)).unwrap_or_default())?);
                    }
                    depth -= 1;
                }
                Event::Empty(_) if depth == 1 => return Err(unusable("a rule is empty")),
                Event::Eof => break,
                _ => {}
            }
            if rules.len() > RULES_MAX {
                return Err(unusable("it has more than 1000 rules"));
            }
        }
        Ok(Self { rules })
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn unusable(why: &str) -> Error {
    Error::integrity(format!("the bucket's lifecycle configuration is unusable: {}", escape(why.as_bytes())))
}

impl Stated {
    fn read(service: Service, text: &str) -> Result<Self> {
        let element = Element::parse(text.as_bytes(), &["Rule"])?;
        let id = element.text("ID").unwrap_or_default().to_owned();
        let rule = match service {
            Service::Oss => oss::read(&element),
            _ => s3::read(&element),
        };
        Ok(Self { id, text: text.to_owned(), rule })
    }

    /// As the service wants it.
    pub fn write(service: Service, rule: &Rule) -> Self {
        let text = match service {
            Service::Oss => oss::write(rule),
            _ => s3::write(rule),
        };
        Self { id: rule.id.clone(), text, rule: Ok(rule.clone()) }
    }
}

/// The document of some rules.
pub(super) fn document<'a>(service: Service, rules: impl Iterator<Item = &'a Stated>) -> String {
    let namespace = if service == Service::Oss { "" } else { " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"" };
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LifecycleConfiguration{namespace}>\n");
    for rule in rules {
        text.push_str("  ");
        text.push_str(&rule.text);
        text.push('\n');
    }
    text.push_str("</LifecycleConfiguration>\n");
    text
}

/// Elements of which a rule may have several.
const SEVERAL: [&str; 4] = ["Tag", "Transition", "NoncurrentVersionTransition", "Not"];

/// What a reader does not know, and what stands twice where it means one thing, is not understood.
pub(super) fn only(element: &Element, known: &[&str]) -> Result<(), String> {
    let names = || element.children.iter().map(|child| child.name.as_str()).filter(|name| !SEVERAL.contains(name));
    if let Some(twice) = names().find(|name| names().filter(|other| other == name).count() > 1) {
        return Err(format!("two <{}> in <{}>", escape(twice.as_bytes()), escape(element.name.as_bytes())));
    }
    if ["Date", "CreatedBeforeDate"].iter().any(|date| element.child(date).is_some()) && element.child("Days").is_some() {
        return Err(format!("days and a date in <{}>", escape(element.name.as_bytes())));
    }
    match element.children.iter().find(|child| !known.contains(&child.name.as_str())) {
        Some(other) => Err(format!("<{}> in <{}>", escape(other.name.as_bytes()), escape(element.name.as_bytes()))),
        None => Ok(()),
    }
}

pub(super) fn number<T: std::str::FromStr>(element: &Element, name: &str) -> Result<Option<T>, String> {
    let Some(text) = element.text(name) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| format!("<{name}>{}", escape(text.as_bytes())))
}

pub(super) fn required<T: std::str::FromStr>(element: &Element, name: &str) -> Result<T, String> {
    number(element, name)?.ok_or_else(|| format!("no <{name}> in <{}>", element.name))
}

pub(super) fn enabled(element: &Element) -> Result<bool, String> {
    match element.text("Status").map(str::trim) {
        Some("Enabled") => Ok(true),
        Some("Disabled") => Ok(false),
        other => Err(format!("<Status>{}", escape(other.unwrap_or_default().as_bytes()))),
    }
}

pub(super) fn tag(element: &Element) -> Result<(String, String), String> {
    only(element, &["Key", "Value"])?;
    Ok((element.text("Key").unwrap_or_default().to_owned(), element.text("Value").unwrap_or_default().to_owned()))
}

/// Writes XML.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        Self(String::new())
    }

    /// An element with text.
    pub(super) fn leaf(&mut self, name: &str, text: impl std::fmt::Display) {
        let text = quick_xml::escape::escape(text.to_string()).into_owned();
        self.0.push_str(&format!("<{name}>{text}</{name}>"));
    }

    /// The same, where there is something to write.
    pub(super) fn leaf_some(&mut self, name: &str, text: Option<impl std::fmt::Display>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }

    /// An element with elements.
    pub(super) fn within(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.0.push_str(&format!("<{name}>"));
        write(self);
        self.0.push_str(&format!("</{name}>"));
    }

    pub(super) fn tag(&mut self, name: &str, value: &str) {
        self.within("Tag", |out| {
            out.leaf("Key", name);
            out.leaf("Value", value);
        });
    }

    pub(super) fn done(self) -> String {
        self.0
    }
}

/// The same rule, with nothing in it that the order of a document decides.
pub(super) fn meaning(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    let key = |action: &Action| format!("{action:?}");
    rule.actions.sort_by_key(key);
    rule.scope.not.sort_by_key(|not: &Not| format!("{not:?}"));
    rule.scope = Scope { ..rule.scope };
    rule
}
