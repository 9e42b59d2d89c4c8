//! Copying within the service: CopyObject, and the source of an UploadPartCopy.

use std::collections::BTreeMap;

use http::{HeaderValue, header};
use percent_encoding::percent_decode_str;

use super::attributes::value_of;
use super::condition::{self, Verdict};
use super::error::{OssError, OssResult};
use super::operation::{Target, check_bucket_name, check_key};
use super::reply::Reply;
use super::request::Head;
use super::xml::Writer;
use super::{OssDialect, attributes, restore, shown_etag, xml_date};
use crate::devserver::store::{Attributes, Kind, Object, Stored};

/// CopyObject takes sources up to 1 GB, larger ones go through UploadPartCopy: protocol.md 2.2.
const SOURCE_BYTES_MAX: u64 = 1 << 30;
/// The mark of an object whose CRC-64 the service does not tell.
const NO_CRC: &str = "no-crc64";

/// Whether the service tells an object's CRC-64.
pub(super) fn has_crc(object: &Object) -> bool {
    !object.attributes.extra.contains_key(NO_CRC)
}

impl OssDialect {
    /// CopyObject; onto itself it changes the attributes.
    pub(super) async fn copy_object(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let forbidden = self.forbids_overwrite(&target.bucket, head)?;
        let source = self.copy_source(head)?;
        if source.size() > SOURCE_BYTES_MAX {
            return Err(OssError::too_large("Source object Length exceeds the maximum allowed size."));
        }
        let attributes = self.copied_attributes(target, head, &source)?;
        let object = self.store.write(&target.bucket, &target.key, |current| {
            condition::check_overwrite(forbidden, current)?;
            let copy = self.store.normal_object(source.content.clone(), source.digests, attributes);
            // A multipart object's copy has no MD5 of the whole to show, so it keeps the ETag.
            let etag = if copy.digests.md5.is_some() { copy.etag.clone() } else { source.etag.clone() };
            Ok::<_, OssError>(Object { etag, ..copy })
        })?;
        let mut xml = Writer::new();
        xml.open("CopyObjectResult").leaf("ETag", shown_etag(&object)).leaf("LastModified", xml_date(object.last_modified)).close("CopyObjectResult");
        // In the header as well: there OSS2 looks for it.
        let mut reply = Reply::xml(xml).with(header::ETAG, value_of(&shown_etag(&object))?).of_version(object.version_id.as_deref())?;
        if let Some(id) = &source.version_id {
            reply.headers.insert("x-oss-copy-source-version-id", value_of(id)?);
        }
        if has_crc(&object) {
            reply.headers.insert("x-oss-hash-crc64ecma", HeaderValue::from(object.digests.crc64_xz));
        }
        attributes::encryption_into_response(&object.attributes, &mut reply.headers)?;
        Ok(reply)
    }

    /// The object that `x-oss-copy-source` names, its conditions met and its bytes readable.
    pub(super) fn copy_source(&self, head: &Head) -> OssResult<Stored> {
        let (source, version) = source_of_header(head)?;
        let mut object = self.store.find(&source.bucket, &source.key, version.as_deref())?;
        if let Kind::Symlink { target } = &object.kind {
            object = self.store.find(&source.bucket, target, None)?;
        }
        if condition::COPY_SOURCE.judge(head, &object, object.last_modified)? == Verdict::NotModified {
            return Err(OssError::new(304, "NotModified", "The source was not modified."));
        }
        restore::check_readable(&object, self.store.now())?;
        Ok(object)
    }

    /// What the copy carries: the source's metadata unless REPLACE, its tags unless Replace; class, ACL and encryption are the
    /// request's own, for they are not inherited.
    fn copied_attributes(&self, target: &Target, head: &Head, source: &Object) -> OssResult<Attributes> {
        let own = self.new_attributes(target, head)?;
        let tags = if replaces(head, "x-oss-tagging-directive")? { own.tags.clone() } else { source.attributes.tags.clone() };
        let mut attributes = if replaces(head, "x-oss-metadata-directive")? {
            own
        } else {
            Attributes { acl: own.acl, storage_class: own.storage_class, encryption: own.encryption, ..Attributes::clone(&source.attributes) }
        };
        // What the bytes cannot be decrypted without stays, says Alibaba's suite for its SDK.
        for (name, value) in source.attributes.metadata.iter().filter(|(name, _)| name.starts_with("client-side-encryption-")) {
            attributes.metadata.entry(name.clone()).or_insert_with(|| value.clone());
        }
        // The type stays unless another one is named.
        attributes.content_type = attributes.content_type.or_else(|| source.attributes.content_type.clone());
        attributes.tags = tags;
        (attributes.restore, attributes.transitioned_seconds) = (None, None);
        attributes.extra = if self.crc_after_copy { BTreeMap::new() } else { BTreeMap::from([(NO_CRC.to_owned(), String::new())]) };
        Ok(attributes)
    }
}

/// Whether a directive says to replace; COPY is the default.
fn replaces(head: &Head, name: &str) -> OssResult<bool> {
    match head.header(name)? {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("copy") => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("replace") => Ok(true),
        Some(text) => Err(OssError::bad_value(name, text, "The directive must be COPY or REPLACE.")),
    }
}

/// `/bucket/encoded-key[?versionId=ID]`.
fn source_of_header(head: &Head) -> OssResult<(Target, Option<String>)> {
    const NAME: &str = "x-oss-copy-source";
    let text = head.header(NAME)?.unwrap_or_default();
    let invalid = || OssError::bad_value(NAME, text, "Copy Source must mention the source bucket and key: /sourcebucket/sourcekey.");
    let (path, version) = text.split_once("?versionId=").map_or((text, None), |(path, id)| (path, Some(id.to_owned())));
    let bytes: Vec<u8> = percent_decode_str(path.strip_prefix('/').unwrap_or(path)).collect();
    let at = bytes.iter().position(|b| *b == b'/').ok_or_else(invalid)?;
    let bucket = String::from_utf8(bytes[..at].to_vec()).map_err(|_| invalid())?;
    check_bucket_name(&bucket)?;
    Ok((Target { bucket, key: check_key(&bytes[at + 1..])? }, version))
}
