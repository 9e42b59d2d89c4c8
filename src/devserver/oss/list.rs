//! Listing objects: GetBucket (v1), ListObjectsV2.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::error::{OssError, OssResult};
use super::read::{class_of, transition_time, type_name};
use super::reply::Reply;
use super::request::Head;
use super::xml::Writer;
use super::{OWNER, OssDialect, restore, shown_etag, xml_date};
use crate::devserver::store::{ListEntry, ListQuery, Listing, Object, ObjectKey};

/// A page holds 100 names unless asked otherwise (S3: 1000), and 1000 at most: protocol.md 2.2.
const DEFAULT_ENTRIES: usize = 100;
const ENTRIES_MAX: u64 = 1000;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How names stand in an answer: as they are, or percent-encoded where `encoding-type=url` asks for it (protocol.md 2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn of(head: &Head) -> OssResult<Self> {
        match head.query.text("encoding-type")? {
            None | Some("") => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(other) => Err(OssError::bad_value("encoding-type", other, "Invalid Encoding Method specified in Request.")),
        }
    }

    /// A name as it stands in the answer.
    pub(super) fn name(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => percent_encode(text.as_bytes(), UNRESERVED).to_string(),
        }
    }

    /// Says that names are encoded.
    pub(super) fn declare(self, xml: &mut Writer) {
        if self == Self::Url {
            xml.leaf("EncodingType", "url");
        }
    }
}

/// How many entries a page may hold.
pub(super) fn max_entries(head: &Head, name: &str, default: usize) -> OssResult<usize> {
    match head.query.number(name)? {
        None => Ok(default),
        Some(number @ 1..=ENTRIES_MAX) => Ok(usize::try_from(number).unwrap_or(default)),
        Some(number) => Err(OssError::bad_value(name, number.to_string(), format!("Argument {name} must be an integer between 1 and {ENTRIES_MAX}."))),
    }
}

/// What all three listings ask.
pub(super) struct Request<'a> {
    bucket: &'a str,
    prefix: &'a str,
    delimiter: &'a str,
    max_keys: usize,
    pub(super) encoding: Encoding,
}

impl<'a> Request<'a> {
    pub(super) fn of(bucket: &'a str, head: &'a Head) -> OssResult<Self> {
        let text = |name| -> OssResult<&str> { Ok(head.query.text(name)?.unwrap_or_default()) };
        Ok(Self {
            bucket,
            prefix: text("prefix")?,
            delimiter: text("delimiter")?,
            max_keys: max_entries(head, "max-keys", DEFAULT_ENTRIES)?,
            encoding: Encoding::of(head)?,
        })
    }

    /// What follows a name.
    pub(super) fn query(&self, after: &'a str) -> ListQuery<'a> {
        ListQuery { prefix: self.prefix, after, delimiter: self.delimiter, limit: self.max_keys }
    }

    pub(super) fn opening(&self, xml: &mut Writer, root: &str) {
        xml.open(root).leaf("Name", self.bucket).leaf("Prefix", self.encoding.name(self.prefix));
        xml.leaf("MaxKeys", self.max_keys.to_string()).leaf("Delimiter", self.encoding.name(self.delimiter));
        self.encoding.declare(xml);
    }
}

impl OssDialect {
    /// GetBucket, the first listing.
    pub(super) fn list_objects(&self, bucket: &str, head: &Head) -> OssResult<Reply> {
        let request = Request::of(bucket, head)?;
        let marker = head.query.text("marker")?.unwrap_or_default();
        let listing = self.page(&request, marker)?;
        let mut xml = Writer::new();
        request.opening(&mut xml, "ListBucketResult");
        xml.leaf("Marker", request.encoding.name(marker)).leaf("IsTruncated", listing.truncated.to_string());
        if let Some(last) = listing.last().filter(|_| listing.truncated) {
            xml.leaf("NextMarker", request.encoding.name(last));
        }
        self.entries(&mut xml, &request, &listing, true);
        xml.close("ListBucketResult");
        Ok(Reply::xml(xml))
    }

    /// ListObjectsV2: pages by token; the owner only on request.
    pub(super) fn list_objects_v2(&self, bucket: &str, head: &Head) -> OssResult<Reply> {
        let request = Request::of(bucket, head)?;
        let start_after = head.query.text("start-after")?.unwrap_or_default();
        let token = head.query.text("continuation-token")?.unwrap_or_default();
        let after = if token.is_empty() { start_after.to_owned() } else { name_of_token(token)? };
        let fetch_owner = head.query.text("fetch-owner")? == Some("true");
        let listing = self.page(&request, &after)?;
        let mut xml = Writer::new();
        request.opening(&mut xml, "ListBucketResult");
        xml.leaf("StartAfter", request.encoding.name(start_after)).leaf("IsTruncated", listing.truncated.to_string());
        xml.leaf("KeyCount", listing.entries.len().to_string());
        if !token.is_empty() {
            xml.leaf("ContinuationToken", request.encoding.name(token));
        }
        if let Some(last) = listing.last().filter(|_| listing.truncated) {
            xml.leaf("NextContinuationToken", request.encoding.name(&URL_SAFE_NO_PAD.encode(last)));
        }
        self.entries(&mut xml, &request, &listing, fetch_owner);
        xml.close("ListBucketResult");
        Ok(Reply::xml(xml))
    }

    fn page(&self, request: &Request<'_>, after: &str) -> OssResult<Listing<Arc<Object>>> {
        Ok(self.store.list(request.bucket, &request.query(after))?)
    }

    fn entries(&self, xml: &mut Writer, request: &Request<'_>, listing: &Listing<Arc<Object>>, with_owner: bool) {
        for entry in &listing.entries {
            if let ListEntry::Item(key, object) = entry {
                self.contents(xml, request.encoding, key, object, with_owner);
            }
        }
        for entry in &listing.entries {
            if let ListEntry::Prefix(prefix) = entry {
                common_prefix(xml, request.encoding, prefix);
            }
        }
    }

    fn contents(&self, xml: &mut Writer, encoding: Encoding, key: &ObjectKey, object: &Object, with_owner: bool) {
        xml.open("Contents").leaf("Key", encoding.name(key.as_str()));
        self.facts(xml, object);
        if with_owner {
            owner(xml);
        }
        xml.close("Contents");
    }

    pub(super) fn facts(&self, xml: &mut Writer, object: &Object) {
        xml.leaf("LastModified", xml_date(object.last_modified)).leaf("ETag", shown_etag(object)).leaf("Type", type_name(&object.kind));
        xml.leaf("Size", object.size().to_string()).leaf("StorageClass", class_of(object));
        if let Some(time) = transition_time(object) {
            xml.leaf("TransitionTime", xml_date(time));
        }
        if let Some(state) = restore::state(object, self.store.now()) {
            xml.leaf("RestoreInfo", state);
        }
    }
}

pub(super) fn owner(xml: &mut Writer) {
    xml.open("Owner").leaf("ID", OWNER).leaf("DisplayName", OWNER).close("Owner");
}

pub(super) fn common_prefix(xml: &mut Writer, encoding: Encoding, prefix: &str) {
    xml.open("CommonPrefixes").leaf("Prefix", encoding.name(prefix)).close("CommonPrefixes");
}

/// A token is opaque to clients; here it hides the last name of the page before.
fn name_of_token(token: &str) -> OssResult<String> {
    let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| OssError::bad_value("continuation-token", token, "The continuation token is not valid."))
}
