//! Writing objects: Put, Append, symlinks, Delete.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use percent_encoding::percent_decode_str;

use super::attributes::{self, value_of};
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::operation::{Target, check_key};
use super::reply::Reply;
use super::request::Head;
use super::{OssDialect, condition, shown_etag, versions};
use crate::devserver::store::{Attributes, Content, Digests, Kind, Object, Refusal, Stored};

impl OssDialect {
    /// PutObject.
    pub(super) async fn put_object(&self, target: &Target, head: &Head, body: Body) -> OssResult<Reply> {
        condition::refuse_on_write(head)?;
        let attributes = self.new_attributes(target, head)?;
        // Refused early where it can be, so that nobody uploads 5 GB for nothing; the verdict that counts is below.
        let forbidden = self.forbids_overwrite(&target.bucket, head)?;
        condition::check_overwrite(forbidden, self.store.object(&target.bucket, &target.key).ok().as_ref())?;
        let (content, digests) = intake::store(head, body, self.store.writer()).await?;
        let object = self.store.write(&target.bucket, &target.key, |current| {
            condition::check_overwrite(forbidden, current)?;
            Ok::<_, OssError>(self.store.normal_object(content, digests, attributes))
        })?;
        let mut reply = written(&object)?;
        if let Some(md5) = object.digests.md5 {
            reply.headers.insert("content-md5", value_of(&STANDARD.encode(md5))?);
        }
        attributes::encryption_into_response(&object.attributes, &mut reply.headers)?;
        Ok(reply)
    }

    /// AppendObject: only at the end of what is there, and only where it was begun by an append.
    pub(super) async fn append_object(&self, target: &Target, head: &Head, body: Body, position: u64) -> OssResult<Reply> {
        // Only the first append sets attributes; in later ones they are not even looked at.
        let attributes = self.new_attributes(target, head);
        let (content, digests) = intake::store(head, body, self.store.writer()).await?;
        let forbidden = self.forbids_overwrite(&target.bucket, head)?;
        let object = self.store.grow(&target.bucket, &target.key, |current| {
            let Some(current) = current else {
                check_position(position, 0, 0)?;
                return Ok(self.appended(content, Digests { md5: None, ..digests }, Arc::new(attributes?)));
            };
            condition::check_overwrite(forbidden, Some(current))?;
            if current.kind != Kind::Appendable {
                return Err(OssError::new(409, "ObjectNotAppendable", "The object is not appendable."));
            }
            check_position(position, current.size(), current.digests.crc64_xz)?;
            let whole = current.digests.followed_by(digests, content.len());
            Ok(self.appended(Content::concat([&current.content, &content]), whole, Arc::clone(&current.attributes)))
        })?;
        Ok(written(&object)?.with("x-oss-next-append-position", HeaderValue::from(object.size())))
    }

    fn appended(&self, content: Content, digests: Digests, attributes: Arc<Attributes>) -> Object {
        // Opaque, as on the service; it changes with every append.
        let etag = format!("{:016x}{:016x}", digests.crc64_xz, content.len());
        Object { content, etag, last_modified: self.store.now(), kind: Kind::Appendable, digests, checksum: None, parts: Vec::new(), attributes }
    }

    /// PutSymlink: the target need not be there.
    pub(super) async fn put_symlink(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let name = head.header("x-oss-symlink-target")?.ok_or_else(|| OssError::missing_argument("The x-oss-symlink-target header is required."))?;
        let bytes: Vec<u8> = percent_decode_str(name).collect();
        let link = check_key(&bytes)?;
        let forbidden = self.forbids_overwrite(&target.bucket, head)?;
        let attributes = self.new_attributes(target, head)?;
        let (content, digests) = self.store.writer().finish().await.map_err(|error| OssError::from(Refusal::from(error)))?;
        let object = self.store.write(&target.bucket, &target.key, |current| {
            condition::check_overwrite(forbidden, current)?;
            let etag = Digests::of(link.as_bytes()).md5_hex();
            let plain = self.store.normal_object(content, digests, attributes);
            Ok::<_, OssError>(Object { kind: Kind::Symlink { target: link }, etag, ..plain })
        })?;
        Reply::ok().with(header::ETAG, value_of(&shown_etag(&object))?).of_version(object.version_id.as_deref())
    }

    /// GetSymlink.
    pub(super) fn symlink(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let object = self.store.find(&target.bucket, &target.key, versions::named(head)?)?;
        let Kind::Symlink { target: link } = &object.kind else {
            return Err(OssError::new(400, "NotSymlink", "The object is not symlink."));
        };
        let encoded = percent_encoding::percent_encode(link.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string();
        let reply = Reply::ok().with("x-oss-symlink-target", value_of(&encoded)?).of_version(object.version_id.as_deref())?;
        Ok(reply.with(header::ETAG, value_of(&shown_etag(&object))?).with(header::LAST_MODIFIED, value_of(&super::http_date(object.last_modified))?))
    }

    /// DeleteObject: 204 also where there was nothing. Tells the delete marker that it made, or removed.
    pub(super) fn delete_object(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let deleted = self.store.delete(&target.bucket, &target.key, versions::named(head)?, |_| Ok::<_, OssError>(()))?;
        let reply = Reply::no_content().of_version(deleted.version_id.as_deref())?;
        Ok(if deleted.marker { reply.with("x-oss-delete-marker", HeaderValue::from_static("true")) } else { reply })
    }

    /// Whether the request forbids to overwrite. With versioning nothing is ever overwritten, and the header ignored (protocol.md 2.6).
    pub(super) fn forbids_overwrite(&self, bucket: &str, head: &Head) -> OssResult<bool> {
        let forbids = head.header("x-oss-forbid-overwrite")?.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(forbids && self.store.bucket(bucket)?.versioning().is_none())
    }

    /// What a new object of this bucket carries.
    pub(super) fn new_attributes(&self, target: &Target, head: &Head) -> OssResult<Attributes> {
        let class = self.class_of_bucket(&target.bucket)?;
        let mut attributes = attributes::of_request(head)?;
        attributes.storage_class = attributes.storage_class.or(class).filter(|class| class != attributes::STANDARD);
        Ok(attributes)
    }
}

/// The object that is there, with other attributes and nothing else changed: tags and ACLs do not touch Last-Modified.
pub(super) fn changed(current: &Object, change: impl FnOnce(&mut Attributes)) -> Object {
    let mut attributes = Attributes::clone(&current.attributes);
    change(&mut attributes);
    Object { attributes: Arc::new(attributes), ..current.clone() }
}

/// ETag and CRC-64 of what was written.
fn written(object: &Stored) -> OssResult<Reply> {
    let reply = Reply::ok().with(header::ETAG, value_of(&shown_etag(object))?);
    reply.with("x-oss-hash-crc64ecma", HeaderValue::from(object.digests.crc64_xz)).of_version(object.version_id.as_deref())
}

fn check_position(position: u64, size: u64, crc64_xz: u64) -> OssResult<()> {
    if position == size {
        return Ok(());
    }
    let error = OssError::new(409, "PositionNotEqualToLength", "Position is not equal to file length.");
    Err(error.header("x-oss-next-append-position", HeaderValue::from(size)).header("x-oss-hash-crc64ecma", HeaderValue::from(crc64_xz)))
}
