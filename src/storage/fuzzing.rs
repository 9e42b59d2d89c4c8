//! What must hold of the parsers that read the network, whatever they read.
//!
//! Each function takes any bytes and panics where a promise is broken. The targets of `fuzz/` feed them, and `cargo test` plays the
//! corpus of each through it (`crate::fuzzing`).

use std::ffi::OsStr;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::key::escape;
use super::location::Address;
use super::oss::fuzzing as oss;
#[cfg(feature = "s3")]
use super::s3::fuzzing as s3;
use super::transport::xml::{self, DeleteOutcome, ErrorDocument, Listing, Order, TokenEncoding};
use super::transport::{target, text};
use super::{Attributes, ETag, Key, Kind, List, ObjectRef, Page, Part, mtime};
use crate::error::{ErrorKind, Result};

/// The shortest entry that a listing can hold.
const ENTRY_BYTES_MIN: usize = "<Contents><Key>k</Key><Size>0</Size></Contents>".len();
/// The shortest prefix that it can hold.
const PREFIX_BYTES_MIN: usize = "<Prefix/>".len();

/// What is told to a person holds nothing that steers a terminal, whoever said it first.
pub(crate) fn assert_tellable(words: &impl std::fmt::Display) {
    let words = words.to_string();
    assert_eq!(escape(words.as_bytes()), words, "a message could forge output");
}

fn tellable<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(assert_tellable).ok()
}

/// A page of a listing; the first byte says how its token is encoded.
pub fn listing(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let tokens = if first & 1 == 0 { TokenEncoding::LikeKeys } else { TokenEncoding::Plain };
    let read = tellable(xml::parse_listing(body, tokens, None));
    let parsed = tellable(xml::walk_listing(body, tokens, None));
    assert_eq!(read.as_ref().map(told_whole), parsed.as_ref().map(told_whole), "the scan and the parser read different things");
    let Some(Listing { page, next_token }) = read else { return };
    assert!(page.len() * ENTRY_BYTES_MIN + page.prefixes().len() * PREFIX_BYTES_MIN <= body.len(), "more entries than the answer has room for");
    assert!(page.iter().all(|entry| !entry.key.is_empty()), "an object without a name");
    if let Some(end) = memchr::memmem::rfind(body, b"</") {
        assert!(xml::parse_listing(&body[..end], tokens, None).is_err(), "a listing that is cut short is a listing");
    }
    if let Some(token) = next_token {
        assert!(xml::parse_listing(body, tokens, Some(&token)).is_err(), "a token that comes back is followed");
    }
    assert_eq!(told(&reread(&page)), told(&page), "the page is not what its own listing says");
    in_order(page);
}

/// Keys with their sizes and kinds, and prefixes.
type Told = (Vec<(Vec<u8>, u64, Kind)>, Vec<Key>);

fn told(page: &Page) -> Told {
    (page.iter().map(|e| (e.key.to_vec(), e.size, e.kind)).collect(), page.prefixes().to_vec())
}

/// All of a listing, in words.
fn told_whole(listing: &Listing) -> String {
    let Listing { page, next_token } = listing;
    format!("{:?} {:?} {next_token:?}", page.iter().collect::<Vec<_>>(), page.prefixes())
}

/// Writes the page as a service would, and reads that.
fn reread(page: &Page) -> Page {
    let mut body = String::from("<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>");
    for entry in page.iter() {
        let kind = match entry.kind {
            Kind::Appendable => "Appendable",
            Kind::Symlink => "Symlink",
            _ => "Normal",
        };
        let key = target::encode_query(entry.key);
        let _ = write!(body, "<Contents><Key>{key}</Key><Size>{}</Size><Type>{kind}</Type></Contents>", entry.size);
    }
    for prefix in page.prefixes() {
        let _ = write!(body, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", target::encode_query(prefix.as_bytes()));
    }
    body.push_str("</ListBucketResult>");
    xml::parse_listing(body.as_bytes(), TokenEncoding::LikeKeys, None).expect("a listing of our own").page
}

/// A page that the order lets pass ascends, and ends where the listing was to end.
fn in_order(page: Page) {
    let upto = Key::from("m");
    let mut order = Order::new(&List { upto: Some(upto.clone()), ..List::default() });
    let Some(ControlFlow::Continue(page) | ControlFlow::Break(page)) = tellable(order.check(page)) else { return };
    let keys: Vec<&[u8]> = page.iter().map(|e| e.key).collect();
    assert!(keys.is_sorted_by(|a, b| a < b) && keys.last().is_none_or(|last| *last <= upto.as_bytes()));
    assert!(page.prefixes().is_sorted_by(|a, b| a < b) && page.prefixes().last().is_none_or(|last| *last <= upto));
    if let Some(last) = page.iter().last() {
        let mut again = Page::new();
        again.push(last);
        assert!(order.check(again).is_err(), "a page that comes again passes");
    }
}

/// The small answers: uploads, parts, completions, copies, deletes, buckets.
pub fn answers(body: &[u8]) {
    if let Some(page) = tellable(xml::list_parts(body, 3)) {
        let numbers: Vec<u32> = page.parts.iter().map(|part| part.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.first().is_none_or(|first| *first > 3), "part numbers do not ascend");
        assert!(page.next_marker.is_none_or(|marker| numbers.last() == Some(&marker)), "the next page does not begin behind the last part");
        completes(&page.parts);
    }
    if let Some(page) = tellable(xml::list_uploads(body)) {
        assert!(page.uploads.iter().all(|open| !open.upload.id.0.is_empty()), "an upload without an id");
    }
    if let Some(outcomes) = tellable(xml::delete_result(body)) {
        deletes(&outcomes);
    }
    if let Some(id) = tellable(xml::upload_id(body)) {
        assert!(!id.0.is_empty());
    }
    if let Some((etag, _)) = tellable(xml::complete_result(body)) {
        assert_tellable(&escape(etag.as_str().as_bytes()));
    }
    tellable(xml::copy_result(body));
    tellable(xml::list_buckets(body));
    tellable(xml::versioning(body));
    tellable(xml::list_versions(body, None));
}

/// Parts that were listed can be completed: the body names each by the number and the ETag that it came with.
fn completes(parts: &[Part]) {
    let mut listed = xml::complete_body(parts, true).replace("CompleteMultipartUpload>", "ListPartsResult>");
    listed = listed.replace("</Part>", "<Size>0</Size></Part>");
    let back = xml::list_parts(listed.as_bytes(), 0).expect("parts of our own").parts;
    let named = |parts: &[Part]| parts.iter().map(|part| (part.number, part.etag.clone(), part.checksums.crc64nvme)).collect::<Vec<_>>();
    assert_eq!(named(&back), named(parts));
}

/// What an answer names can be asked for again, as long as XML can name it.
fn deletes(outcomes: &[DeleteOutcome]) {
    let objects: Vec<ObjectRef> = outcomes.iter().map(|outcome| outcome.object.clone()).filter(|object| xml::xml_can_hold(&object.key)).collect();
    let body = xml::delete_body(&objects).expect("keys that XML can hold");
    let answer = body.replace("<Quiet>false</Quiet>", "").replace("Delete>", "DeleteResult>").replace("Object>", "Deleted>");
    let back = xml::delete_result(answer.as_bytes()).expect("an answer of our own");
    assert!(back.iter().map(|outcome| &outcome.object).eq(&objects), "{back:?} is not {objects:?}");
}

/// A refusal of either cloud: two bytes of status, header lines up to an empty one, and the body.
pub fn refusals(data: &[u8]) {
    let Some((status, rest)) = data.split_first_chunk() else { return };
    let status = 300 + u16::from_le_bytes(*status) % 300;
    let (head, body) = memchr::memmem::find(rest, b"\n\n").map_or((&[][..], rest), |at| (&rest[..at], &rest[at + 2..]));
    let headers = header_lines(head);
    let document = ErrorDocument::parse(body);
    let errors = [
        oss::refusal(status, &headers, body),
        #[cfg(feature = "s3")]
        s3::refusal(status, document.clone().unwrap_or_default()),
    ];
    for error in errors {
        assert_tellable(&error);
        let named = document.as_ref().is_some_and(|d| d.code.starts_with("NoSuch")) || headers.contains_key("x-oss-err");
        let of_the_status = matches!(status, 404 | 405);
        assert!(error.kind() != ErrorKind::NotFound || named || of_the_status, "status {status} and {document:?} became an absence");
    }
}

fn header_lines(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The header lines of an object's HEAD.
pub fn headers(data: &[u8]) {
    let headers = header_lines(data);
    let read = oss::read_headers(&headers);
    if let Some(written) = tellable(oss::write_headers(&read.attributes)) {
        same_attributes(&oss::read_headers(&written).attributes, &read.attributes);
    }
    if let Some((size, range)) = tellable(oss::read_range(&headers, 0..10)) {
        assert!(range == (0..10) && size >= 10, "{range:?} of {size} bytes is not what was asked for");
    }
    #[cfg(feature = "s3")]
    s3_headers(&headers);
}

#[cfg(feature = "s3")]
fn s3_headers(headers: &HeaderMap) {
    let Some(read) = tellable(s3::read_headers(headers)) else { return };
    if let Some(mut written) = tellable(s3::write_headers(&read.attributes)) {
        written.insert("content-length", HeaderValue::from_static("0"));
        same_attributes(&s3::read_headers(&written).expect("headers of our own").attributes, &read.attributes);
    }
}

fn same_attributes(back: &Attributes, read: &Attributes) {
    assert_eq!(back, read, "what was read is not what it is written as");
}

/// An object's key, and a metadata value: what is written comes back, on every road that it takes.
pub fn keys(data: &[u8]) {
    assert_eq!(target::decode_percent(&target::encode_path(data)).as_deref(), Some(data));
    assert_eq!(target::decode_form(&target::encode_query(data)).as_deref(), Some(data));
    let uri = target::Target::new(data).with("key", data).uri("https", "bucket.example").expect("any key makes a URI");
    assert_eq!(target::decode_percent(&uri.path()[1..]).as_deref(), Some(data), "a URI changed the key");
    assert_tellable(&Key::from(data));

    let key = Key::from(data);
    assert_eq!(xml::delete_body([&ObjectRef::from(&key)]).is_ok(), xml::xml_can_hold(&key));
    let Ok(words) = std::str::from_utf8(data) else { return };
    assert_eq!(text::decode(&text::encode(words)), words, "metadata does not come back");
    for decoded in [target::decode_percent(words), target::decode_form(words)].into_iter().flatten() {
        assert!(decoded.len() <= words.len());
    }
    let etag = ETag::new(words);
    assert_eq!(ETag::new(&etag.quoted()), etag, "an ETag does not survive its quotes");
    if let Some((seconds, nanos)) = mtime::parse(words)
        && let Some(time) = mtime::timestamp(seconds, nanos)
    {
        assert_eq!(mtime::parse(&mtime::of(time)), Some((seconds, nanos)));
    }
}

/// Two addresses, one a line.
pub fn address(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n').map(|line| tellable(Address::parse(OsStr::from_bytes(line))));
    let (one, other) = (lines.next().flatten(), lines.next().flatten());
    for address in [&one, &other].into_iter().flatten() {
        assert_tellable(address);
        if let Address::Store { store, bucket, key } = address {
            let slash = if bucket.is_empty() { &b""[..] } else { b"/" };
            let whole = [store.as_bytes(), b"://", bucket.as_bytes(), slash, key.as_bytes()].concat();
            assert_eq!(Address::parse(OsStr::from_bytes(&whole)).ok().as_ref(), Some(address), "an address does not survive being written");
            assert!(address.tree().is_folder() && address.tree().tree() == address.tree());
            assert!(key.as_bytes().ends_with(address.base_name().as_bytes()));
        }
        assert_eq!(address.overlaps(address), *address != Address::Stdio, "a place and itself");
    }
    if let (Some(one), Some(other)) = (one, other) {
        assert_eq!(one.overlaps(&other), other.overlaps(&one), "overlapping is mutual");
    }
}
