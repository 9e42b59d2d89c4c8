//! Request bodies: what to delete, and which parts make an object.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::{Error, Result};
use crate::storage::Part;
use crate::storage::key::Key;
use crate::storage::object::ObjectRef;

/// Whether XML 1.0 can name this key: UTF-8 without control characters (but tab, line feed, carriage return) and non-characters.
/// What it cannot name must be deleted singly.
pub(in crate::storage) fn xml_can_hold(key: &Key) -> bool {
    std::str::from_utf8(key.as_bytes()).is_ok_and(|text| text.chars().all(is_xml_char))
}

fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The body of a multi-delete that asks for an answer on every key.
/// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) on a key that [`xml_can_hold`] refuses.
pub(in crate::storage) fn delete_body<'a>(objects: impl IntoIterator<Item = &'a ObjectRef>) -> Result<String> {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete><Quiet>false</Quiet>");
    for object in objects {
        if !xml_can_hold(&object.key) {
            return Err(Error::invalid("XML cannot hold this key, so it must be deleted by a request of its own").on_key(&object.key));
        }
        out.push_str("<Object><Key>");
        escape_into(object.key.as_str()?, &mut out);
        out.push_str("</Key>");
        if let Some(version) = &object.version {
            out.push_str("<VersionId>");
            escape_into(version, &mut out);
            out.push_str("</VersionId>");
        }
        out.push_str("</Object>");
    }
    out.push_str("</Delete>");
    Ok(out)
}

/// The body of a Complete. `checksums` names each part's CRC64NVME where it is known (S3; OSS knows no such element).
pub(in crate::storage) fn complete_body(parts: &[Part], checksums: bool) -> String {
    let mut out = String::with_capacity(64 + parts.len() * 96);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><CompleteMultipartUpload>");
    for part in parts {
        // Writing to a String cannot fail.
        let _ = write!(out, "<Part><PartNumber>{}</PartNumber><ETag>", part.number);
        escape_into(&part.etag.quoted(), &mut out);
        out.push_str("</ETag>");
        if let Some(crc) = part.checksums.crc64nvme.filter(|_| checksums) {
            let _ = write!(out, "<ChecksumCRC64NVME>{}</ChecksumCRC64NVME>", BASE64.encode(crc.to_be_bytes()));
        }
        out.push_str("</Part>");
    }
    out.push_str("</CompleteMultipartUpload>");
    out
}

/// Escapes text so that every parser gives it back: line endings, and white space at either end, which some trim, as references.
fn escape_into(text: &str, out: &mut String) {
    let inner = text.len() - text.trim_start().len()..text.trim_end().len();
    for (at, c) in text.char_indices() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\r' | '\n' | '\t' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_whitespace() && !inner.contains(&at) => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Element;
    use super::*;
    use crate::storage::checksum::Checksums;
    use crate::storage::object::ETag;
    use proptest::prelude::*;

    #[test]
    fn illegal_keys_are_reported() {
        for bad in [&b"a\x01"[..], b"\x00", b"\xff", "\u{ffff}".as_bytes(), b"\x0b"] {
            assert!(!xml_can_hold(&Key::from(bad)), "{bad:?}");
            assert!(delete_body([&Key::from(bad).into()]).is_err());
        }
        for good in ["", "a b", "\t\r\n", "中😀", "<&>'\"", "]]>"] {
            assert!(xml_can_hold(&Key::from(good)), "{good:?}");
        }
    }

    #[test]
    fn parts_keep_their_order_and_their_quotes() {
        let part = |number| Part {
            number,
            etag: ETag::new("\"AB\""),
            size: 1,
            checksums: Checksums { crc64nvme: Some(0xae8b_1486_0a79_9888), ..Checksums::default() },
            modified: None,
        };
        let body = complete_body(&[part(1), part(2)], false);
        let root = Element::parse(body.as_bytes(), &["CompleteMultipartUpload"]).expect("a document");
        let parts: Vec<_> = root.all("Part").map(|p| (p.text("PartNumber"), p.text("ETag"), p.text("ChecksumCRC64NVME"))).collect();
        assert_eq!(parts, [(Some("1"), Some("\"AB\""), None), (Some("2"), Some("\"AB\""), None)]);
        assert!(complete_body(&[part(1)], true).contains("<ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME>"));
    }

    proptest! {
        #[test]
        fn deletes_come_back_as_written(keys in proptest::collection::vec(("[ \t\r\n<>&'\"a-c/中😀\u{a0}]{0,12}", proptest::option::of("[a-z&]{1,4}")), 0..6)) {
            let objects: Vec<ObjectRef> = keys.iter().map(|(k, v)| ObjectRef { key: k.as_str().into(), version: v.clone() }).collect();
            let body = delete_body(&objects).expect("a body");
            let root = Element::parse(body.as_bytes(), &["Delete"]).expect("a document");
            let back: Vec<ObjectRef> = root
                .all("Object")
                .map(|o| ObjectRef { key: o.text("Key").unwrap_or_default().into(), version: o.text("VersionId").map(str::to_owned) })
                .collect();
            prop_assert_eq!(back, objects);
        }
    }
}
