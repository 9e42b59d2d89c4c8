//! Reading objects: Get, Head, GetObjectMeta.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use super::attributes::{self, value_of};
use super::condition::{self, Verdict};
use super::error::{OssError, OssResult};
use super::operation::Target;
use super::range::{self, Extent};
use super::reply::{Reply, ReplyBody};
use super::request::Head;
use super::{OssDialect, copy, gzip, http_date, restore, shown_etag, versions};
use crate::devserver::store::{Attributes, Kind, Object, Refusal, Stored};

/// Query parameters that set a header of a GET's answer.
const OVERRIDES: &[(&str, HeaderName)] = &[
    ("response-content-type", header::CONTENT_TYPE),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
    ("response-expires", header::EXPIRES),
];

/// An object as a reader sees it: a symlink shows its target's bytes under its own attributes (protocol.md 2.5).
struct View {
    /// What the key names; its attributes and its version are shown.
    object: Stored,
    /// Whose bytes, ETag and checksums are shown.
    data: Arc<Object>,
}

impl View {
    fn last_modified(&self) -> Timestamp {
        self.object.last_modified.max(self.data.last_modified)
    }
}

impl OssDialect {
    /// GetObject.
    pub(super) fn get_object(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let view = self.view(target, head)?;
        if let Some(unchanged) = self.check_read(&view, head)? {
            return Ok(unchanged);
        }
        restore::check_readable(&view.data, self.store.now())?;
        let mut headers = self.headers(&view)?;
        for (parameter, name) in OVERRIDES {
            if let Some(value) = head.query.text(parameter)? {
                headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| OssError::bad_value(parameter, value, "The value is not valid."))?);
            }
        }
        let size = view.data.size();
        let (status, body) = match range::read(head, size)? {
            Extent::Part(range) => {
                headers.insert(header::CONTENT_RANGE, value_of(&format!("bytes {}-{}/{size}", range.start, range.end - 1))?);
                headers.remove("content-md5");
                (StatusCode::PARTIAL_CONTENT, ReplyBody::Stream(range.end - range.start, view.data.content.read(range)))
            }
            Extent::Whole if is_compressed(head, &headers, size)? => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                headers.remove(header::ETAG);
                headers.remove("content-md5");
                (StatusCode::OK, ReplyBody::Unsized(gzip::wrap(view.data.content.read(0..size))))
            }
            Extent::Whole => (StatusCode::OK, ReplyBody::Stream(size, view.data.content.read(0..size))),
        };
        Ok(Reply { status, headers, body })
    }

    /// HeadObject.
    pub(super) fn head_object(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let view = self.view(target, head)?;
        if let Some(unchanged) = self.check_read(&view, head)? {
            return Ok(unchanged);
        }
        Ok(Reply { status: StatusCode::OK, headers: self.headers(&view)?, body: ReplyBody::HeadOf(view.data.size()) })
    }

    /// GetObjectMeta: ETag, length, time and CRC only.
    pub(super) fn object_meta(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let object = self.store.find(&target.bucket, &target.key, versions::named(head)?)?;
        let view = View { data: Arc::clone(&object.object), object };
        let mut headers = self.headers(&view)?;
        let shown = [header::ETAG.as_str(), header::LAST_MODIFIED.as_str(), "x-oss-hash-crc64ecma", "x-oss-version-id"];
        let hidden: Vec<HeaderName> = headers.keys().filter(|name| !shown.contains(&name.as_str())).cloned().collect();
        hidden.iter().for_each(|name| drop(headers.remove(name)));
        Ok(Reply { status: StatusCode::OK, headers, body: ReplyBody::HeadOf(view.data.size()) })
    }

    fn view(&self, target: &Target, head: &Head) -> OssResult<View> {
        let object = self.store.find(&target.bucket, &target.key, versions::named(head)?)?;
        let Kind::Symlink { target: link } = &object.kind else {
            return Ok(View { data: Arc::clone(&object.object), object });
        };
        match self.store.object(&target.bucket, link) {
            Ok(data) if matches!(data.kind, Kind::Symlink { .. }) => {
                Err(OssError::new(400, "InvalidTargetType", "The symbolic's target object type is invalid."))
            }
            Ok(data) => Ok(View { object, data }),
            Err(Refusal::NoSuchKey) => {
                Err(OssError::new(404, "SymlinkTargetNotExist", "The target object of the symbolic link does not exist.").detail("Key", &target.key))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The preconditions of a read; 304 is an answer without a body.
    fn check_read(&self, view: &View, head: &Head) -> OssResult<Option<Reply>> {
        match condition::READ.judge(head, &view.data, view.last_modified())? {
            Verdict::Holds => Ok(None),
            Verdict::NotModified => {
                let mut reply = Reply::empty(StatusCode::NOT_MODIFIED);
                reply.headers = self.headers(view)?;
                reply.headers.remove(header::CONTENT_TYPE);
                Ok(Some(reply))
            }
        }
    }

    /// What a GET and a HEAD say of an object: protocol.md 2.4.
    fn headers(&self, view: &View) -> OssResult<HeaderMap> {
        let View { object, data } = view;
        let mut headers = HeaderMap::new();
        attributes::into_response(&object.attributes, &mut headers)?;
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::ETAG, value_of(&shown_etag(data))?);
        headers.insert(header::LAST_MODIFIED, value_of(&http_date(view.last_modified()))?);
        headers.insert("x-oss-object-type", HeaderValue::from_static(type_name(&object.kind)));
        headers.insert("x-oss-storage-class", value_of(class_of(data))?);
        if copy::has_crc(data) {
            // Of the whole object, also on a ranged GET.
            headers.insert("x-oss-hash-crc64ecma", HeaderValue::from(data.digests.crc64_xz));
        }
        if let (Kind::Normal, Some(md5)) = (&data.kind, data.digests.md5) {
            headers.insert("content-md5", value_of(&STANDARD.encode(md5))?);
        }
        if data.kind == Kind::Appendable {
            headers.insert("x-oss-next-append-position", HeaderValue::from(data.size()));
        }
        if let Some(id) = &object.version_id {
            headers.insert("x-oss-version-id", value_of(id)?);
        }
        if let Some(time) = transition_time(data) {
            headers.insert("x-oss-transition-time", value_of(&http_date(time))?);
        }
        if let Some(state) = restore::state(data, self.store.now()) {
            headers.insert("x-oss-restore", value_of(&state)?);
        }
        Ok(headers)
    }
}

/// The class an object rests in.
pub(super) fn class_of(object: &Object) -> &str {
    class_of_attributes(&object.attributes)
}

/// When a lifecycle rule moved the object. The service tells it only of the classes whose minimum stay counts from then (protocol.md 4).
pub(super) fn transition_time(object: &Object) -> Option<Timestamp> {
    let seconds = object.attributes.transitioned_seconds.filter(|_| matches!(class_of(object), "ColdArchive" | "DeepColdArchive"))?;
    Timestamp::from_second(seconds).ok()
}

/// The class that attributes name.
pub(super) fn class_of_attributes(attributes: &Attributes) -> &str {
    attributes.storage_class.as_deref().unwrap_or(attributes::STANDARD)
}

/// The type as the service names it.
pub(super) fn type_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Normal => "Normal",
        Kind::Multipart => "Multipart",
        Kind::Appendable => "Appendable",
        Kind::Symlink { .. } => "Symlink",
    }
}

/// Whether the service would compress this answer on the fly.
fn is_compressed(head: &Head, headers: &HeaderMap, size_bytes: u64) -> OssResult<bool> {
    let accepts = head.header("accept-encoding")?.is_some_and(|list| list.split(',').any(|item| item.trim().starts_with("gzip")));
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    Ok(accepts && size_bytes >= gzip::SIZE_BYTES_MIN && !headers.contains_key(header::CONTENT_ENCODING) && gzip::compresses(content_type))
}
