//! The XML of the dialect: a writer that escapes, and a reader for the few small bodies that requests carry.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::error::{OssError, OssResult};

/// Elements nest at most this deep in a request body: deeper is an attack, not a request.
const DEPTH_MAX: usize = 16;

/// Writes a document from top to bottom.
#[derive(Debug)]
pub(crate) struct Writer(String);

impl Writer {
    /// A document with its declaration.
    pub(crate) fn new() -> Self {
        Self(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
    }

    pub(crate) fn open(&mut self, name: &str) -> &mut Self {
        self.0.extend(["<", name, ">"]);
        self
    }

    pub(crate) fn close(&mut self, name: &str) -> &mut Self {
        self.0.extend(["</", name, ">"]);
        self
    }

    /// An element with text, escaped.
    pub(crate) fn leaf(&mut self, name: &str, text: impl AsRef<str>) -> &mut Self {
        self.open(name);
        for c in text.as_ref().chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                // Illegal in XML 1.0 even as a reference; written all the same, as the service does: that is why
                // `encoding-type=url` exists (protocol.md 2.7).
                '\r' => self.0.push_str("&#13;"),
                c => self.0.push(c),
            }
        }
        self.close(name)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// An element of a request body.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Parses a whole body, which must have `root` as its root element.
    pub(crate) fn parse(body: &[u8], root: &str) -> OssResult<Self> {
        let text = std::str::from_utf8(body).map_err(|_| OssError::malformed_xml())?;
        let element = Self::read(text).ok_or_else(OssError::malformed_xml)?;
        if element.name == root { Ok(element) } else { Err(OssError::malformed_xml()) }
    }

    fn read(text: &str) -> Option<Self> {
        let mut reader = Reader::from_str(text);
        // The bottom of the stack is the document, whose one child is the root.
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if open.len() > DEPTH_MAX {
                        return None;
                    }
                    open.push(Self::named(start.local_name().as_ref()));
                }
                Event::Empty(start) => {
                    let child = Self::named(start.local_name().as_ref());
                    open.last_mut()?.children.push(child);
                }
                Event::End(_) => {
                    let done = open.pop()?;
                    open.last_mut()?.children.push(done);
                }
                Event::Text(t) => open.last_mut()?.text.push_str(&t.xml10_content()),
                Event::CData(t) => open.last_mut()?.text.push_str(&t.xml10_content()),
                Event::GeneralRef(reference) => {
                    let text = &mut open.last_mut()?.text;
                    match reference.resolve_char_ref().ok()? {
                        Some(c) => text.push(c),
                        None => text.push_str(quick_xml::escape::resolve_predefined_entity(&reference)?),
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let mut document = open.pop()?;
        if !open.is_empty() || document.children.len() != 1 {
            return None;
        }
        document.children.pop()
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The first child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of that name, trimmed; for values, never for keys.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }

    /// Every child of that name.
    pub(crate) fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_spaces_and_nesting_survive_the_reader() {
        let body =
            b"<?xml version=\"1.0\"?><Delete><Quiet>true</Quiet><Object><Key> a&amp;b&#x4E2D;<![CDATA[<c>]]> </Key></Object><Object><Key/></Object></Delete>";
        let root = Element::parse(body, "Delete").unwrap();
        assert_eq!(root.value("Quiet"), Some("true"));
        let keys: Vec<_> = root.children_named("Object").map(|o| o.child("Key").unwrap().text.as_str()).collect();
        assert_eq!(keys, [" a&b\u{4E2D}<c> ", ""]);
    }

    #[test]
    fn broken_and_foreign_bodies_are_malformed() {
        for body in [&b""[..], b"<Delete>", b"<Other></Other>", b"<Delete><a></b></Delete>", b"<Delete/><Delete/>", b"\xff", &b"<a>".repeat(100)] {
            assert_eq!(Element::parse(body, "Delete").unwrap_err().code, "MalformedXML", "{body:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut xml = Writer::new();
        xml.open("R").leaf("Key", "a\r<&>\"'\u{1F409}\n").close("R");
        let root = Element::parse(&xml.finish(), "R").unwrap();
        assert_eq!(root.child("Key").unwrap().text, "a\r<&>\"'\u{1F409}\n");
    }
}
