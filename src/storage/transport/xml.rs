//! The XML documents that S3 and OSS share, read and written in one place.
//!
//! Nothing here trusts a document: it must be well-formed to its last tag, its root must be the expected one, and what must be in it
//! must be there; else the answer is an [`ErrorKind::Integrity`] error, never an empty list.
//! An object's key is taken as it stands: no white space is trimmed and no line ending normalised.

use quick_xml::Reader;
use quick_xml::events::Event;

#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::storage::key::escape;

mod body;
mod document;
mod listing;
mod scan;
mod versions;

pub(in crate::storage) use body::{complete_body, delete_body, xml_can_hold};
pub(in crate::storage) use document::{
    DeleteOutcome, ErrorDocument, UploadsPage, acl, complete_result, copy_result, delete_result, list_buckets, list_parts, list_uploads, restore_body, tags,
    upload_id,
};
pub(in crate::storage) use listing::{Listing, Order, TokenEncoding, parse_listing, walk_listing};
pub(in crate::storage) use versions::{VersionMarker, VersionOrder, VersionsPage, list_versions, versioning};

/// Deepest nesting that any known answer has, with room to spare.
const DEPTH_MAX: usize = 16;

/// `what` may quote the document, which may hold anything.
fn broken(what: impl std::fmt::Display) -> Error {
    Error::integrity(format!("the service's XML answer is unusable: {}", escape(what.to_string().as_bytes())))
}

/// Receives a document's elements as they pass. Names come without their namespace prefix; the root has depth 1.
trait Visit {
    fn open(&mut self, depth: usize, name: &str) -> Result<()>;
    /// `text` is the element's own text where it is a leaf.
    fn close(&mut self, depth: usize, name: &str, text: &str) -> Result<()>;
}

/// Reads a whole document. An error means that it is not well-formed, cut short, or refused by the visitor.
fn walk(body: &[u8], visit: &mut impl Visit) -> Result<()> {
    let body = std::str::from_utf8(body).map_err(|_| broken("it is not UTF-8"))?;
    let mut reader = Reader::from_str(body);
    let (mut depth, mut roots) = (0_usize, 0_usize);
    let mut text = String::new();
    loop {
        match reader.read_event().map_err(broken)? {
            Event::Start(tag) => {
                depth += 1;
                roots += usize::from(depth == 1);
                if depth > DEPTH_MAX || roots > 1 {
                    return Err(broken("it is nested too deeply or has two roots"));
                }
                text.clear();
                visit.open(depth, tag.local_name().into_inner())?;
            }
            Event::Empty(tag) => {
                roots += usize::from(depth == 0);
                text.clear();
                let name = tag.local_name();
                visit.open(depth + 1, name.into_inner())?;
                visit.close(depth + 1, name.into_inner(), "")?;
            }
            Event::End(tag) => {
                visit.close(depth, tag.local_name().into_inner(), &text)?;
                text.clear();
                depth -= 1;
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(reference) => text.push(match reference.resolve_char_ref().map_err(broken)? {
                Some(c) => c,
                None => named(&reference)?,
            }),
            // A document type could define entities: no answer has one.
            Event::DocType(_) => return Err(broken("it has a document type")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof if depth == 0 && roots == 1 => return Ok(()),
            Event::Eof => return Err(broken("it ends early")),
        }
    }
}

fn named(reference: &str) -> Result<char> {
    Ok(match reference {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        other => return Err(broken(format_args!("it has the unknown entity &{};", other.escape_debug()))),
    })
}

/// A small document as a tree, for all answers but listings.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Reads a document whose root must have one of these names.
    pub(crate) fn parse(body: &[u8], roots: &[&str]) -> Result<Self> {
        let mut tree = Tree::default();
        walk(body, &mut tree)?;
        let root = tree.root.ok_or_else(|| broken("it is empty"))?;
        if !roots.contains(&root.name.as_str()) {
            return Err(broken(format_args!("it is a <{}>, not a <{}>", root.name.escape_debug(), roots.join("> or <"))));
        }
        Ok(root)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |c| c.name == name)
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }

    /// A child's text; `None` where it is absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|c| c.text.as_str()).filter(|t| !t.is_empty())
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| broken(format_args!("<{}> has no <{name}>", self.name)))
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T> {
        self.require(name)?.trim().parse().map_err(|_| broken(format_args!("<{name}> is no number")))
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|t| t.trim() == "true")
    }

    pub(crate) fn time(&self, name: &str) -> Option<jiff::Timestamp> {
        self.text(name)?.trim().parse().ok()
    }
}

#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
}

impl Visit for Tree {
    fn open(&mut self, _: usize, name: &str) -> Result<()> {
        self.open.push(Element { name: name.to_owned(), ..Element::default() });
        Ok(())
    }

    fn close(&mut self, _: usize, _: &str, text: &str) -> Result<()> {
        if let Some(mut element) = self.open.pop() {
            if element.children.is_empty() {
                element.text.push_str(text);
            }
            match self.open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => self.root = Some(element),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn text_is_taken_as_it_stands() {
        let doc = Element::parse(b"<?xml version=\"1.0\"?>\n<s3:R xmlns:s3='u'><a> x&amp;&#x41;&#1;<![CDATA[<b>]]>\r\n </a><b/><!-- c --></s3:R>\n", &["R"])
            .expect("a document");
        assert_eq!(doc.text("a"), Some(" x&A\u{1}<b>\r\n "));
        assert_eq!(doc.text("b"), None);
        assert!(doc.child("b").is_some());
    }

    #[test]
    fn what_is_not_a_whole_document_is_refused() {
        for bad in [
            "",
            "<R>",
            "<R><a>1</a>",
            "<R></Q>",
            "<R/><R/>",
            "<html><body>Login</body></html>",
            "not xml",
            "<!DOCTYPE R [<!ENTITY x 'y'>]><R>&x;</R>",
            "<R>&x;</R>",
        ] {
            assert_eq!(Element::parse(bad.as_bytes(), &["R"]).expect_err(bad).kind(), ErrorKind::Integrity, "{bad}");
        }
        let told = Element::parse("<R></\u{202e}Q\u{7}>".as_bytes(), &["R"]).expect_err("another tag").to_string();
        assert!(!told.contains(['\u{202e}', '\u{7}']), "a document steers a terminal: {told:?}");
        assert!(Element::parse(b"<R>\xff</R>", &["R"]).is_err());
        assert!(Element::parse("<R>".repeat(40).as_bytes(), &["R"]).is_err());
    }
}
