//! ListObjectsV2 pages, read straight into a [`Page`]'s arena: a listing is the one answer whose parsing costs.

use std::ops::ControlFlow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::Offset;

use super::scan::scan;
use super::{Visit, broken, walk};
use crate::error::{Error, Result};
use crate::storage::List;
use crate::storage::key::Key;
use crate::storage::object::Kind;
use crate::storage::page::{Entry, Page};
use crate::storage::transport::target::{decode_form, decode_form_into};

/// Whether continuation tokens are url-encoded like keys where the page says `<EncodingType>url`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum TokenEncoding {
    /// OSS: as the keys are (protocol.md 2.7).
    LikeKeys,
    /// S3: never; its tokens hold `+` and `/` that mean themselves.
    Plain,
}

/// One page, and the token of the next where there is one.
#[derive(Debug)]
pub(in crate::storage) struct Listing {
    /// Keys and prefixes, decoded.
    pub(in crate::storage) page: Page,
    /// What to send as `continuation-token` for the next page; `None` on the last.
    pub(in crate::storage) next_token: Option<String>,
}

/// Reads one answer to ListObjectsV2. `sent_token` is the token that asked for it: one that comes back would list for ever.
///
/// Fails with [`ErrorKind::Integrity`](crate::error::ErrorKind::Integrity) on anything but a whole listing that says whether it is the last.
pub(in crate::storage) fn parse_listing(body: &[u8], tokens: TokenEncoding, sent_token: Option<&str>) -> Result<Listing> {
    judge(|decode| scan_or_walk(body, decode), tokens, sent_token)
}

/// As [`parse_listing`], without the scan: what it is held against.
pub(in crate::storage) fn walk_listing(body: &[u8], tokens: TokenEncoding, sent_token: Option<&str>) -> Result<Listing> {
    judge(|decode| walked(body, decode), tokens, sent_token)
}

fn scan_or_walk(body: &[u8], decode: bool) -> Result<Reading> {
    let mut reading = Reading::new(decode);
    if scan(body, &mut reading).is_none() {
        reading = walked(body, decode)?;
    }
    Ok(reading)
}

fn walked(body: &[u8], decode: bool) -> Result<Reading> {
    let mut reading = Reading::new(decode);
    walk(body, &mut reading)?;
    Ok(reading)
}

/// Takes what was read for a listing if it is a whole one.
fn judge(read: impl Fn(bool) -> Result<Reading>, tokens: TokenEncoding, sent_token: Option<&str>) -> Result<Listing> {
    // Some servers say only behind the keys how these are encoded, some ignore the wish. Nearly all do as asked, so read it
    // that way and once more where it turns out otherwise.
    let mut reading = read(true)?;
    if !reading.url_encoded {
        reading = read(false)?;
    }
    if reading.undecodable {
        return Err(broken("a key is not url-encoded as the listing says"));
    }
    let truncated = reading.truncated.ok_or_else(|| broken("the listing does not say whether it is the last page"))?;
    let next_token = match (truncated, reading.token) {
        (false, _) => None,
        (true, None) => return Err(broken("the listing says that there is more and not where")),
        (true, Some(token)) if reading.url_encoded && tokens == TokenEncoding::LikeKeys => {
            let token = decode_form(&token).and_then(|t| String::from_utf8(t).ok());
            Some(token.ok_or_else(|| broken("the continuation token is not url-encoded as the listing says"))?)
        }
        (true, token) => token,
    };
    if next_token.is_some() && next_token.as_deref() == sent_token {
        return Err(broken("the listing repeats its continuation token, so it would never end"));
    }
    Ok(Listing { page: reading.page, next_token })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Contents,
    Prefixes,
}

/// What has been read of a page so far; the buffers are those of the entry being read.
struct Reading {
    decode: bool,
    undecodable: bool,
    url_encoded: bool,
    truncated: Option<bool>,
    token: Option<String>,
    page: Page,
    within: Within,
    key: Vec<u8>,
    has_key: bool,
    etag: String,
    class: String,
    size: Option<u64>,
    modified: Option<Timestamp>,
    kind: Kind,
}

impl Reading {
    fn new(decode: bool) -> Self {
        Self {
            decode,
            undecodable: false,
            url_encoded: false,
            truncated: None,
            token: None,
            page: Page::new(),
            within: Within::Nothing,
            key: Vec::with_capacity(1024),
            has_key: false,
            etag: String::with_capacity(64),
            class: String::with_capacity(32),
            size: None,
            modified: None,
            kind: Kind::Object,
        }
    }

    fn keep_key(&mut self, text: &str) {
        self.has_key = true;
        if !self.decode {
            self.key.extend_from_slice(text.as_bytes());
        } else if !decode_form_into(text, &mut self.key) {
            self.undecodable = true;
        }
    }

    fn field(&mut self, name: &str, text: &str) -> Result<()> {
        match name {
            "Key" if self.has_key => return Err(broken("an entry has two keys")),
            "Key" => self.keep_key(text),
            "Size" => self.size = Some(text.trim().parse().map_err(|_| broken("a size is no number"))?),
            "ETag" => self.etag.push_str(text.trim().trim_matches('"')),
            "LastModified" => self.modified = Some(time(text.trim())?),
            "StorageClass" => self.class.push_str(text),
            "Type" => {
                self.kind = match text {
                    "Appendable" => Kind::Appendable,
                    "Symlink" => Kind::Symlink,
                    // Normal, Multipart, Callback: objects like any other.
                    _ => Kind::Object,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish_entry(&mut self) -> Result<()> {
        let size = self.size.ok_or_else(|| broken("an entry has no size"))?;
        if !self.has_key || self.key.is_empty() {
            return Err(broken("an entry has no key"));
        }
        let entry = Entry { key: &self.key, size, etag: &self.etag, modified: self.modified, storage_class: &self.class, kind: self.kind };
        self.page.push(entry);
        Ok(())
    }

    fn reset(&mut self, within: Within) {
        self.within = within;
        self.key.clear();
        self.has_key = false;
        self.etag.clear();
        self.class.clear();
        self.size = None;
        self.modified = None;
        self.kind = Kind::Object;
    }
}

impl Visit for Reading {
    fn open(&mut self, depth: usize, name: &str) -> Result<()> {
        match (depth, name) {
            (1, "ListBucketResult") => Ok(()),
            (1, other) => Err(broken(format_args!("a listing was asked for, and a <{}> came", other.escape_debug()))),
            (2, "Contents") => {
                self.reset(Within::Contents);
                Ok(())
            }
            (2, "CommonPrefixes") => {
                self.reset(Within::Prefixes);
                Ok(())
            }
            (2, _) => {
                self.within = Within::Nothing;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, depth: usize, name: &str, text: &str) -> Result<()> {
        match (depth, name) {
            (3, name) if self.within == Within::Contents => self.field(name, text)?,
            (3, "Prefix") if self.within == Within::Prefixes => {
                // OSS may put several prefixes into one element.
                self.key.clear();
                self.keep_key(text);
                self.page.push_prefix(Key::from(&self.key[..]));
            }
            (2, "Contents") => self.finish_entry()?,
            (2, "IsTruncated") => {
                self.truncated = Some(match text.trim() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(broken("IsTruncated is neither true nor false")),
                });
            }
            (2, "NextContinuationToken") if !text.is_empty() => self.token = Some(text.to_owned()),
            (2, "EncodingType") => self.url_encoded = text.trim() == "url",
            _ => {}
        }
        Ok(())
    }
}

fn time(text: &str) -> Result<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    if let Some(time) = utc_milliseconds(text.as_bytes()) {
        return Ok(time);
    }
    PARSER.parse_timestamp(text).map_err(|_| broken("a last-modified is no time"))
}

/// `2018-12-28T09:41:56.000Z`: how both clouds write a time. `None` for all else.
fn utc_milliseconds(text: &[u8]) -> Option<Timestamp> {
    let [y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T', h0, h1, b':', mi0, mi1, b':', s0, s1, b'.', f0, f1, f2, b'Z'] = text else { return None };
    let number = |digits: &[&u8]| digits.iter().try_fold(0_i16, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i16::from(**digit - b'0')));
    let two = |tens, ones| number(&[tens, ones]).map(|number| number as i8);
    let nanosecond = i32::from(number(&[f0, f1, f2])?) * 1_000_000;
    let civil = DateTime::new(number(&[y0, y1, y2, y3])?, two(mo0, mo1)?, two(d0, d1)?, two(h0, h1)?, two(mi0, mi1)?, two(s0, s1)?, nanosecond).ok()?;
    Offset::UTC.to_timestamp(civil).ok()
}

/// Holds the pages of one listing to what was asked: every key under the prefix, after `after`, in strictly ascending order
/// within and across pages. A listing that is not so licenses nothing (protocol.md 2.2).
#[derive(Debug)]
pub(in crate::storage) struct Order {
    prefix: Key,
    upto: Option<Key>,
    last: Option<Key>,
    last_prefix: Option<Key>,
}

impl Order {
    /// Starts where the listing starts.
    pub(in crate::storage) fn new(list: &List) -> Self {
        Self { prefix: list.prefix.clone(), upto: list.upto.clone(), last: list.after.clone(), last_prefix: None }
    }

    /// Checks the next page and cuts off what lies beyond `upto`: [`ControlFlow::Break`] holds the last page that the caller wants.
    pub(in crate::storage) fn check(&mut self, page: Page) -> Result<ControlFlow<Page, Page>> {
        let mut last: Option<&[u8]> = self.last.as_ref().map(Key::as_bytes);
        for entry in page.iter() {
            self.follows(last, entry.key)?;
            last = Some(entry.key);
        }
        let mut last_prefix: Option<&[u8]> = self.last_prefix.as_ref().map(Key::as_bytes);
        for prefix in page.prefixes() {
            self.follows(last_prefix, prefix.as_bytes())?;
            last_prefix = Some(prefix.as_bytes());
        }
        let (last, last_prefix) = (last.map(Key::from), last_prefix.map(Key::from));
        (self.last, self.last_prefix) = (last, last_prefix);
        Ok(self.cut(page))
    }

    fn follows(&self, last: Option<&[u8]>, key: &[u8]) -> Result<()> {
        if !key.starts_with(self.prefix.as_bytes()) {
            return Err(Error::integrity(format!("the listing of '{}' holds a key that lies elsewhere", self.prefix)).on_key(Key::from(key)));
        }
        if last.is_some_and(|last| key <= last) {
            let last = Key::from(last.unwrap_or_default());
            return Err(Error::integrity(format!("the listing is out of order: this key comes behind '{last}'"))
                .on_key(Key::from(key))
                .advise("nothing was deleted on the strength of this listing; if it happens again, the service or something before it is at fault"));
        }
        Ok(())
    }

    fn cut(&self, page: Page) -> ControlFlow<Page, Page> {
        let Some(upto) = self.upto.as_ref().map(Key::as_bytes) else { return ControlFlow::Continue(page) };
        let beyond = |key: &Option<Key>| key.as_ref().is_some_and(|key| key.as_bytes() > upto);
        if !beyond(&self.last) && !beyond(&self.last_prefix) {
            return ControlFlow::Continue(page);
        }
        let mut kept = Page::new();
        page.iter().filter(|e| e.key <= upto).for_each(|e| kept.push(e));
        page.prefixes().iter().filter(|p| p.as_bytes() <= upto).for_each(|p| kept.push_prefix(p.clone()));
        ControlFlow::Break(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::transport::target::encode_query;
    use proptest::prelude::*;

    fn document(inner: &str) -> String {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ListBucketResult>")
    }

    fn contents(key: &str) -> String {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2018-12-28T09:41:56.000Z</LastModified><ETag>&quot;5B3C1A2E053D763E1B002CC607C5A0FE1&quot;</ETag>\
             <Type>Normal</Type><Size>344606</Size><StorageClass>IA</StorageClass><Owner><ID>1</ID><DisplayName>Key</DisplayName></Owner></Contents>"
        )
    }

    fn parse(inner: &str) -> Result<Listing> {
        parse_listing(document(inner).as_bytes(), TokenEncoding::LikeKeys, Some("sent"))
    }

    #[test]
    fn a_page_of_keys_prefixes_and_a_token() {
        let inner = format!(
            "<Prefix>x</Prefix><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>a%2Bb</NextContinuationToken>\
             {}{}<CommonPrefixes><Prefix>p%2F</Prefix><Prefix>q+r%2F</Prefix></CommonPrefixes>",
            contents("a+b%2F%E4%B8%AD%01"),
            contents("c").replace("Normal", "Symlink"),
        );
        assert!(scan(document(&inner).as_bytes(), &mut Reading::new(true)).is_some(), "such a page takes the short way");
        let listing = parse(&inner).expect("a listing");
        assert_eq!(listing.next_token.as_deref(), Some("a+b"));
        let entry = listing.page.entry(0);
        assert_eq!(entry.key, "a b/中\u{1}".as_bytes());
        assert_eq!((entry.size, entry.etag, entry.storage_class, entry.kind), (344_606, "5B3C1A2E053D763E1B002CC607C5A0FE1", "IA", Kind::Object));
        assert_eq!(entry.modified.map(|t| t.to_string()).as_deref(), Some("2018-12-28T09:41:56Z"));
        assert_eq!(listing.page.entry(1).kind, Kind::Symlink);
        assert_eq!(listing.page.prefixes(), [Key::from("p/"), Key::from("q r/")]);
    }

    #[test]
    fn the_encoding_may_stand_behind_the_keys_or_nowhere() {
        let late = parse(&format!("{}<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>", contents("a%20b"))).expect("a listing");
        assert_eq!(late.page.entry(0).key, b"a b");
        let raw = parse(&format!("{}<IsTruncated>false</IsTruncated>", contents("100%+&amp; a"))).expect("a listing");
        assert_eq!(raw.page.entry(0).key, b"100%+& a");
    }

    #[test]
    fn an_s3_token_keeps_its_plus() {
        let inner = "<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextContinuationToken>1+/=</NextContinuationToken>";
        let listing = parse_listing(document(inner).as_bytes(), TokenEncoding::Plain, None).expect("a listing");
        assert_eq!(listing.next_token.as_deref(), Some("1+/="));
    }

    #[test]
    fn what_is_no_whole_listing_is_refused() {
        let whole = document(&format!("<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{}", contents("k")));
        for cut in 0..whole.len() {
            assert!(parse_listing(&whole.as_bytes()[..cut], TokenEncoding::LikeKeys, None).is_err(), "cut at {cut}");
        }
        for bad in [
            "".to_owned(),
            "<IsTruncated>maybe</IsTruncated>".to_owned(),
            "<IsTruncated>true</IsTruncated>".to_owned(),
            "<IsTruncated>true</IsTruncated><NextContinuationToken>sent</NextContinuationToken>".to_owned(),
            format!("<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{}", contents("%zz")),
            format!("<IsTruncated>false</IsTruncated>{}", contents("k").replace("344606", "-1")),
            format!("<IsTruncated>false</IsTruncated>{}", contents("")),
            "<IsTruncated>false</IsTruncated><Contents><Key>k</Key></Contents>".to_owned(),
            format!("<IsTruncated>false</IsTruncated>{}", contents("k</Key><Key>l")),
        ] {
            assert_eq!(parse(&bad).expect_err(&bad).kind(), ErrorKind::Integrity, "{bad}");
        }
        for body in ["<Error><Code>x</Code></Error>", "<html></html>", "{}"] {
            assert!(parse_listing(body.as_bytes(), TokenEncoding::Plain, None).is_err(), "{body}");
        }
    }

    fn page(keys: &[&str]) -> Page {
        let mut page = Page::new();
        for key in keys {
            page.push(Entry { key: key.as_bytes(), size: 0, etag: "", modified: None, storage_class: "", kind: Kind::Object });
        }
        page
    }

    #[test]
    fn order_holds_within_and_across_pages() {
        let order = || Order::new(&List { prefix: "p/".into(), after: Some("p/a".into()), upto: Some("p/x".into()), ..List::default() });
        for bad in [&["p/c", "p/b"][..], &["p/b", "p/b"], &["p/a"], &["q"]] {
            assert_eq!(order().check(page(bad)).expect_err("out of order").kind(), ErrorKind::Integrity, "{bad:?}");
        }
        let mut order = order();
        assert!(order.check(page(&["p/b", "p/c"])).expect("in order").is_continue());
        assert!(order.check(page(&["p/c"])).is_err(), "a repeated page");
        let ControlFlow::Break(last) = order.check(page(&["p/d", "p/x", "p/y"])).expect("in order") else { panic!("upto is reached") };
        assert_eq!(last.len(), 2);
    }

    #[test]
    fn a_time_is_what_the_parser_says() {
        for text in ["2018-12-28T09:41:56.000Z", "0001-01-01T00:00:00.001Z", "9998-12-31T23:59:59.999Z", "2024-02-29T00:00:00.123Z"] {
            assert_eq!(utc_milliseconds(text.as_bytes()), text.parse().ok(), "{text}");
            assert!(utc_milliseconds(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["2023-02-29T00:00:00.000Z", "2018-12-28T24:00:00.000Z", "2018-12-28T09:41:60.000Z", "2018-12-28T09:41:56Z", "2018-12-28 09:41:56.000Z"] {
            assert_eq!(utc_milliseconds(text.as_bytes()), None, "{text}");
        }
    }

    /// Pages as services write them, with up to three pieces of anything put in the place of others.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let foreign = prop::sample::select(vec![
            "&amp;",
            "&lt;",
            "&x;",
            "<![CDATA[k]]>",
            "<!-- c -->",
            "<Key>",
            "</Key>",
            "<Key/>",
            "<Contents>",
            "</Contents>",
            "<Size>-1</Size>",
            "%",
            "+",
            "\n",
            "<IsTruncated>true</IsTruncated>",
            "<EncodingType>url</EncodingType>",
            " a=\"b\"",
            "s3:",
            "\u{feff}",
            "中",
            "<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>",
        ]);
        let keys = prop::collection::vec("[a-c/%+&;\\u{e9} ]{0,6}", 0..4);
        (keys, any::<bool>(), prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, foreign), 0..4)).prop_map(|(keys, encoded, changes)| {
            let mut inner = String::from("<IsTruncated>false</IsTruncated>");
            inner.push_str(if encoded { "<EncodingType>url</EncodingType>" } else { "" });
            for key in keys {
                let key = if encoded { encode_query(key.as_bytes()) } else { key.replace('&', "&amp;") };
                inner.push_str(&contents(&key));
            }
            let mut body = document(&inner).into_bytes();
            for (at, len, foreign) in changes {
                let at = at.index(body.len());
                let end = body.len().min(at + len);
                body.splice(at..end, foreign.bytes());
            }
            body
        })
    }

    /// Entries, common prefixes and the next token; or the error.
    type Told = std::result::Result<(Vec<String>, Vec<Key>, Option<String>), String>;

    fn told(listing: Result<Listing>) -> Told {
        let listing = listing.map_err(|e| e.to_string())?;
        Ok((listing.page.iter().map(|entry| format!("{entry:?}")).collect(), listing.page.prefixes().to_vec(), listing.next_token))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn a_scanned_page_is_what_the_parser_reads(body in body()) {
            for tokens in [TokenEncoding::LikeKeys, TokenEncoding::Plain] {
                prop_assert_eq!(told(parse_listing(&body, tokens, None)), told(walk_listing(&body, tokens, None)));
            }
        }
    }

    proptest! {
        #[test]
        fn any_keys_come_back(keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..24), 0..8)) {
            let mut inner = String::from("<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>");
            keys.iter().for_each(|key| inner.push_str(&contents(&encode_query(key).replace("%20", "+"))));
            let listing = parse(&inner).expect("a listing");
            let back: Vec<Vec<u8>> = listing.page.iter().map(|e| e.key.to_vec()).collect();
            prop_assert_eq!(back, keys);
        }
    }
}
