//! The well-known shape of a page, read without a parser: elements without attributes, and text with little to unescape.
//!
//! A listing of a million keys is a third of a gigabyte of such pages, and a parser's generality is most of their cost. A scan tells
//! a [`Visit`] what [`walk`](super::walk) would tell it, call by call, of the documents it knows; on anything else it gives up, and
//! the page is walked from its beginning. So it need not judge what is wrong with a page: it only must never take one for another.

use super::Visit;

/// What both clouds' pages begin with.
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

/// Deepest nesting of a page: an owner's id in an entry is one less.
const DEPTH_MAX: usize = 5;

/// The entities that a page has: an ETag's quotes, as the services and Go's servers write them, and an ampersand in a name.
const ENTITIES: [(&str, char); 3] = [("&quot;", '"'), ("&#34;", '"'), ("&amp;", '&')];

/// Which bytes a plain name is made of.
const NAME: [bool; 256] = {
    let mut name = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        name[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    name
};

/// Tells the whole document to `visit`. `None`: it is not of the known shape or the visitor refused it, and is to be walked with a
/// fresh visitor.
pub(super) fn scan(body: &[u8], visit: &mut impl Visit) -> Option<()> {
    let document = std::str::from_utf8(body).ok()?;
    let document = document.strip_prefix(DECLARATION).unwrap_or(document).trim_ascii();
    let bytes = document.as_bytes();
    let mut open = [""; DEPTH_MAX];
    let (root, mut at) = root(document)?;
    let mut depth = 1;
    open[0] = root;
    visit.open(depth, root).ok()?;
    let mut unescaped = String::new();
    while depth > 0 {
        // One search finds the end of a text, or that there is something to unescape.
        let found = if bytes.get(at) == Some(&b'<') { at } else { at + memchr::memchr2(b'<', b'&', bytes.get(at..)?)? };
        let (tag, text) = match bytes[found] {
            b'<' => (found, &document[at..found]),
            _ => unescape(document, at, found, &mut unescaped)?,
        };
        if bytes.get(tag + 1) == Some(&b'/') {
            let name = open[depth - 1];
            at = tag + 2 + name.len() + 1;
            let closed = bytes.get(tag + 2..at)?.strip_suffix(b">")?;
            if closed != name.as_bytes() {
                return None;
            }
            visit.close(depth, name, text).ok()?;
            depth -= 1;
            continue;
        }
        // What stands before an opening tag is told to nobody.
        let name = name(&document[tag + 1..])?;
        at = tag + 1 + name.len();
        visit.open(depth + 1, name).ok()?;
        match bytes.get(at..)? {
            [b'>', ..] => {
                *open.get_mut(depth)? = name;
                depth += 1;
                at += 1;
            }
            [b'/', b'>', ..] => {
                visit.close(depth + 1, name, "").ok()?;
                at += 2;
            }
            _ => return None,
        }
    }
    (at == document.len()).then_some(())
}

/// The root's name, and where its tag ends: it alone may have an attribute, its namespace.
fn root(document: &str) -> Option<(&str, usize)> {
    let name = name(document.strip_prefix('<')?)?;
    let mut rest = &document[1 + name.len()..];
    if let Some(attribute) = rest.strip_prefix(" xmlns=\"") {
        let (uri, behind) = attribute.split_once('"')?;
        if uri.contains(['<', '>', '&']) {
            return None;
        }
        rest = behind;
    }
    Some((name, document.len() - rest.strip_prefix('>')?.len()))
}

/// The plain name that a text begins with.
fn name(text: &str) -> Option<&str> {
    let len = text.bytes().take_while(|byte| NAME[usize::from(*byte)]).count();
    (len > 0).then(|| &text[..len])
}

/// A text that begins at `at` and has its first entity at `entity`: where the tag behind it begins, and the text without its entities.
/// `None` where it has an unknown one.
fn unescape<'a>(document: &'a str, at: usize, entity: usize, buffer: &'a mut String) -> Option<(usize, &'a str)> {
    let bytes = document.as_bytes();
    buffer.clear();
    buffer.push_str(&document[at..entity]);
    let mut found = entity;
    while bytes[found] == b'&' {
        let (len, char) = ENTITIES.iter().find_map(|(entity, char)| document[found..].starts_with(entity).then_some((entity.len(), *char)))?;
        buffer.push(char);
        let plain = found + len;
        found = plain + memchr::memchr2(b'<', b'&', bytes.get(plain..)?)?;
        buffer.push_str(&document[plain..found]);
    }
    Some((found, buffer))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::walk;
    use super::*;
    use crate::error::Result;

    /// What a visitor was told.
    #[derive(Debug, Default, PartialEq)]
    struct Told(Vec<(bool, usize, String, String)>);

    impl Visit for Told {
        fn open(&mut self, depth: usize, name: &str) -> Result<()> {
            self.0.push((true, depth, name.to_owned(), String::new()));
            Ok(())
        }

        fn close(&mut self, depth: usize, name: &str, text: &str) -> Result<()> {
            self.0.push((false, depth, name.to_owned(), text.to_owned()));
            Ok(())
        }
    }

    fn scanned(document: &str) -> Option<Told> {
        let mut told = Told::default();
        scan(document.as_bytes(), &mut told).map(|()| told)
    }

    fn walked(document: &str) -> Option<Told> {
        let mut told = Told::default();
        walk(document.as_bytes(), &mut told).ok().map(|()| told)
    }

    #[test]
    fn pages_of_the_known_shape_are_scanned() {
        for known in [
            "<R></R>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n  <a>1</a>\n <b/></R>\n",
            "<R><C><Key>a &amp; b</Key><ETag>&quot;1&quot;</ETag><ETag>&#34;2&#34;</ETag><O><I>中</I></O></C></R>",
            "<R><a> \r\n </a><b>1<c/>2</b></R>",
        ] {
            let told = scanned(known).unwrap_or_else(|| panic!("{known} is of the known shape"));
            assert_eq!(Some(told), walked(known), "{known}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_parser() {
        for unknown in [
            "",
            "<R/>",
            "<R>",
            "<R><a></R></a>",
            "<R></R><R></R>",
            "<R></R>x",
            "x<R></R>",
            "<R a=\"1\"></R>",
            "<R xmlns=\"<\"></R>",
            "<s:R></s:R>",
            "<R><a b=\"c\">1</a></R>",
            "<R><a >1</a></R>",
            "<R><a>1</a ></R>",
            "<R><a>&lt;</a></R>",
            "<R>&x;<a></a></R>",
            "<R><!-- c --></R>",
            "<R><![CDATA[a]]></R>",
            "<R><?pi?></R>",
            "<!DOCTYPE R><R></R>",
            "<R><a><b><c><d><e></e></d></c></b></a></R>",
        ] {
            assert_eq!(scanned(unknown), None, "{unknown}");
        }
        assert!(scan(b"<R>\xff</R>", &mut Told::default()).is_none());
    }

    /// Pieces of documents, put together in any order.
    fn document() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            8 => prop::sample::select(vec!["<R>", "</R>", "<Key>", "</Key>", "<Key/>", "<E>&quot;", "</E>", "text", "&amp;", "\n"]).prop_map(str::to_owned),
            1 => prop::sample::select(vec![DECLARATION, "<R xmlns=\"u\">", "&#34;", "&lt;", "&x;", "&", "<!--", "-->", "<![CDATA[", "]]>", "<a b='>'>", "<Key >", "</Key >", "<?p?>", ">", "<", "中", "\r"]).prop_map(str::to_owned),
            1 => "\\PC{0,3}",
        ];
        (prop::collection::vec(piece, 0..12), any::<bool>()).prop_map(|(pieces, whole)| {
            let inner = pieces.concat();
            if whole { format!("<R>{inner}</R>") } else { inner }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_scanned_is_what_the_parser_reads(document in document()) {
            if let Some(told) = scanned(&document) {
                prop_assert_eq!(Some(told), walked(&document));
            }
        }
    }
}
