//! Multipart uploads.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use md5::{Digest, Md5};

use super::attributes::{self, value_of};
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::list::{Encoding, common_prefix, max_entries};
use super::operation::Target;
use super::read::class_of_attributes;
use super::reply::Reply;
use super::request::Head;
use super::xml::{Element, Writer};
use super::{OWNER, OssDialect, condition, copy, range, shown_etag, xml_date};
use crate::devserver::store::{Attributes, Content, Digests, Kind, Object, Part, PartOutline, Upload, hex};

/// Every part but the last holds at least 100 KB; judged at Complete only (protocol.md 2.3).
const PART_BYTES_MIN: u64 = 100 << 10;

impl OssDialect {
    /// InitiateMultipartUpload: class, metadata, tags, ACL and encryption of the object come here.
    pub(super) fn initiate_upload(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let encoding = Encoding::of(head)?;
        let attributes = self.new_attributes(target, head)?;
        let forbidden = self.forbids_overwrite(&target.bucket, head)?;
        condition::check_overwrite(forbidden, self.store.object(&target.bucket, &target.key).ok().as_ref())?;
        let id = self.store.create_upload(&target.bucket, &target.key, attributes.clone(), None)?;
        let mut xml = Writer::new();
        xml.open("InitiateMultipartUploadResult");
        encoding.declare(&mut xml);
        xml.leaf("Bucket", &target.bucket).leaf("Key", encoding.name(&target.key)).leaf("UploadId", id).close("InitiateMultipartUploadResult");
        let mut reply = Reply::xml(xml);
        attributes::encryption_into_response(&attributes, &mut reply.headers)?;
        Ok(reply)
    }

    /// UploadPart.
    pub(super) async fn upload_part(&self, target: &Target, head: &Head, body: Body, upload_id: &str, number: u32) -> OssResult<Reply> {
        if head.headers.contains_key("x-oss-server-side-encryption") {
            let message = "The encryption of an object is named when its upload is initiated, not with each part.";
            return Err(OssError::bad_value("x-oss-server-side-encryption", "", message));
        }
        self.store.upload(&target.bucket, &target.key, upload_id)?;
        let (content, digests) = intake::store(head, body, self.store.writer()).await?;
        let part = self.keep_part(target, upload_id, number, content, digests)?;
        let md5 = value_of(&STANDARD.encode(part.digests.md5.unwrap_or_default()))?;
        let reply = Reply::ok().with(header::ETAG, value_of(&shown_part_etag(&part))?).with("content-md5", md5);
        Ok(reply.with("x-oss-hash-crc64ecma", HeaderValue::from(part.digests.crc64_xz)))
    }

    /// UploadPartCopy: the bytes come from another object of the service.
    pub(super) async fn upload_part_copy(&self, target: &Target, head: &Head, upload_id: &str, number: u32) -> OssResult<Reply> {
        use futures::StreamExt;
        self.store.upload(&target.bucket, &target.key, upload_id)?;
        let source = self.copy_source(head)?;
        let range = range::of_copy_source(head, source.size())?;
        if range.end - range.start > intake::BODY_BYTES_MAX {
            return Err(OssError::too_large("Source object Length exceeds the maximum allowed size."));
        }
        let failed = |error: std::io::Error| OssError::from(crate::devserver::store::Refusal::from(error));
        let (mut writer, mut bytes) = (self.store.writer(), source.content.read(range));
        while let Some(piece) = bytes.next().await {
            writer.write(&piece.map_err(failed)?).await.map_err(failed)?;
        }
        let (content, digests) = writer.finish().await.map_err(failed)?;
        let part = self.keep_part(target, upload_id, number, content, digests)?;
        let mut xml = Writer::new();
        xml.open("CopyPartResult").leaf("LastModified", xml_date(part.last_modified)).leaf("ETag", shown_part_etag(&part)).close("CopyPartResult");
        let mut reply = Reply::xml(xml).with(header::ETAG, value_of(&shown_part_etag(&part))?);
        if self.crc_after_copy {
            reply.headers.insert("x-oss-hash-crc64ecma", HeaderValue::from(part.digests.crc64_xz));
        }
        Ok(reply)
    }

    fn keep_part(&self, target: &Target, upload_id: &str, number: u32, content: Content, digests: Digests) -> OssResult<Part> {
        let part = Part { content, digests, last_modified: self.store.now(), checksum: None };
        self.store.put_part(&target.bucket, &target.key, upload_id, number, part.clone())?;
        Ok(part)
    }

    /// CompleteMultipartUpload: the parts that the document names, or all of them (`x-oss-complete-all: yes`).
    pub(super) async fn complete_upload(&self, target: &Target, head: &Head, body: Body, upload_id: &str) -> OssResult<Reply> {
        let encoding = Encoding::of(head)?;
        let document = intake::document(head, body).await?;
        let complete_all = match head.header("x-oss-complete-all")? {
            None => false,
            Some("yes") if document.is_empty() => true,
            Some(other) => return Err(OssError::bad_value("x-oss-complete-all", other, "The value must be yes, with an empty body.")),
        };
        // The ACL of the object may come with the Complete.
        let acl = attributes::object_acl(head)?;
        let named = if complete_all { Vec::new() } else { named_parts(&document)? };
        let forbidden = self.forbids_overwrite(&target.bucket, head)?;
        let object = self.store.complete(&target.bucket, &target.key, upload_id, |current, upload| {
            condition::check_overwrite(forbidden, current)?;
            let numbers = if complete_all { upload.parts.keys().copied().collect() } else { check_parts(&named, upload)? };
            self.assemble(upload, &numbers, acl)
        })?;
        let mut xml = Writer::new();
        xml.open("CompleteMultipartUploadResult");
        encoding.declare(&mut xml);
        xml.leaf("Location", format!("http://{}/{}", head.host, encoding.name(&target.key))).leaf("Bucket", &target.bucket);
        xml.leaf("Key", encoding.name(&target.key)).leaf("ETag", shown_etag(&object)).close("CompleteMultipartUploadResult");
        let reply = Reply::xml(xml).with(header::ETAG, value_of(&shown_etag(&object))?).of_version(object.version_id.as_deref())?;
        Ok(match copy::has_crc(&object) {
            true => reply.with("x-oss-hash-crc64ecma", HeaderValue::from(object.digests.crc64_xz)),
            false => reply,
        })
    }

    /// The object of these parts of an upload.
    fn assemble(&self, upload: &Upload, numbers: &[u32], acl: Option<String>) -> OssResult<Object> {
        let parts: Vec<(u32, &Part)> = numbers.iter().filter_map(|number| upload.parts.get(number).map(|part| (*number, part))).collect();
        let Some(((_, last), before)) = parts.split_last() else {
            return Err(OssError::new(400, "InvalidPart", "The upload has no parts.").detail("UploadId", &upload.id));
        };
        if let Some((number, part)) = before.iter().find(|(_, part)| part.content.len() < PART_BYTES_MIN) {
            return Err(OssError::new(400, "EntityTooSmall", "Your proposed upload smaller than the minimum allowed size.")
                .ec("0042-00000213")
                .detail("MinSizeAllowed", PART_BYTES_MIN.to_string())
                .detail("ProposedSize", part.content.len().to_string())
                .detail("PartNumber", number.to_string()));
        }
        let mut md5s = Md5::new();
        parts.iter().for_each(|(_, part)| md5s.update(part.digests.md5.unwrap_or_default()));
        let whole = before.iter().skip(1).map(|(_, part)| *part).chain((!before.is_empty()).then_some(*last));
        let first = before.first().map_or(*last, |(_, part)| *part);
        let digests = whole.fold(first.digests, |digests, part| digests.followed_by(part.digests, part.content.len()));
        Ok(Object {
            content: Content::concat(parts.iter().map(|(_, part)| &part.content)),
            etag: format!("{}-{}", hex(&md5s.finalize()), parts.len()),
            last_modified: self.store.now(),
            kind: Kind::Multipart,
            digests: Digests { md5: None, ..digests },
            checksum: None,
            parts: parts.iter().map(|(number, part)| PartOutline { number: *number, size: part.content.len(), checksum: None }).collect(),
            attributes: Arc::new(Attributes { acl: acl.or_else(|| upload.attributes.acl.clone()), ..upload.attributes.clone() }),
        })
    }

    /// AbortMultipartUpload.
    pub(super) fn abort_upload(&self, target: &Target, upload_id: &str) -> OssResult<Reply> {
        self.store.abort_upload(&target.bucket, &target.key, upload_id)?;
        Ok(Reply::no_content())
    }

    /// ListParts, with each part's CRC-64: a resumed upload verifies without reading anything again.
    pub(super) fn list_parts(&self, target: &Target, head: &Head, upload_id: &str) -> OssResult<Reply> {
        let encoding = Encoding::of(head)?;
        let marker = head.query.number("part-number-marker")?.unwrap_or(0);
        let limit = max_entries(head, "max-parts", 1000)?;
        let upload = self.store.upload(&target.bucket, &target.key, upload_id)?;
        let mut found = upload.parts.iter().filter(|(number, _)| u64::from(**number) > marker);
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let truncated = found.next().is_some();
        let next = page.last().map_or(marker, |(number, _)| u64::from(**number));
        let mut xml = Writer::new();
        xml.open("ListPartsResult");
        encoding.declare(&mut xml);
        xml.leaf("Bucket", &target.bucket).leaf("Key", encoding.name(&target.key)).leaf("UploadId", upload_id);
        xml.leaf("StorageClass", class_of_attributes(&upload.attributes)).leaf("PartNumberMarker", marker.to_string());
        xml.leaf("NextPartNumberMarker", next.to_string()).leaf("MaxParts", limit.to_string()).leaf("IsTruncated", truncated.to_string());
        for (number, part) in page {
            xml.open("Part").leaf("PartNumber", number.to_string()).leaf("LastModified", xml_date(part.last_modified));
            xml.leaf("ETag", shown_part_etag(part)).leaf("HashCrc64ecma", part.digests.crc64_xz.to_string());
            xml.leaf("Size", part.content.len().to_string()).close("Part");
        }
        xml.close("ListPartsResult");
        Ok(Reply::xml(xml))
    }

    /// ListMultipartUploads.
    pub(super) fn list_uploads(&self, bucket: &str, head: &Head) -> OssResult<Reply> {
        let encoding = Encoding::of(head)?;
        let text = |name| -> OssResult<&str> { Ok(head.query.text(name)?.unwrap_or_default()) };
        let (prefix, delimiter, key_marker) = (text("prefix")?, text("delimiter")?, text("key-marker")?);
        let id_marker = if key_marker.is_empty() { "" } else { text("upload-id-marker")? };
        let limit = max_entries(head, "max-uploads", 1000)?;
        let all = self.store.uploads(bucket, prefix, (key_marker, id_marker), usize::MAX)?;
        let (page, prefixes, truncated) = fold(&all, prefix, delimiter, key_marker, limit);
        let mut xml = Writer::new();
        xml.open("ListMultipartUploadsResult");
        encoding.declare(&mut xml);
        xml.leaf("Bucket", bucket).leaf("KeyMarker", encoding.name(key_marker)).leaf("UploadIdMarker", id_marker);
        let (next_key, next_id) = next_markers(&page, &prefixes).unwrap_or_default();
        xml.leaf("NextKeyMarker", encoding.name(next_key)).leaf("NextUploadIdMarker", next_id);
        xml.leaf("Delimiter", encoding.name(delimiter)).leaf("Prefix", encoding.name(prefix));
        xml.leaf("MaxUploads", limit.to_string()).leaf("IsTruncated", truncated.to_string());
        for upload in page {
            xml.open("Upload").leaf("Key", encoding.name(&upload.key)).leaf("UploadId", &upload.id);
            xml.leaf("StorageClass", class_of_attributes(&upload.attributes)).leaf("Initiated", xml_date(upload.initiated));
            xml.open("Owner").leaf("ID", OWNER).leaf("DisplayName", OWNER).close("Owner").close("Upload");
        }
        prefixes.iter().for_each(|prefix| common_prefix(&mut xml, encoding, prefix));
        xml.close("ListMultipartUploadsResult");
        Ok(Reply::xml(xml))
    }
}

/// A page of uploads, folded at the delimiter: uploads, common prefixes, whether there is more.
fn fold<'a>(all: &'a [Arc<Upload>], prefix: &str, delimiter: &str, key_marker: &str, limit: usize) -> (Vec<&'a Arc<Upload>>, Vec<String>, bool) {
    let (mut page, mut prefixes) = (Vec::new(), Vec::<String>::new());
    for upload in all {
        let at = (!delimiter.is_empty()).then(|| upload.key[prefix.len()..].find(delimiter)).flatten();
        let common = at.map(|at| &upload.key[..prefix.len() + at + delimiter.len()]);
        // A prefix that ended the page before, or is on this one already.
        if common.is_some_and(|common| common == key_marker || prefixes.last().is_some_and(|last| last == common)) {
            continue;
        }
        if page.len() + prefixes.len() == limit {
            return (page, prefixes, true);
        }
        match common {
            Some(common) => prefixes.push(common.to_owned()),
            None => page.push(upload),
        }
    }
    (page, prefixes, false)
}

/// Where the next page begins: after the last upload, or after the last common prefix.
fn next_markers<'a>(page: &[&'a Arc<Upload>], prefixes: &'a [String]) -> Option<(&'a str, &'a str)> {
    match (page.last(), prefixes.last()) {
        (Some(upload), Some(prefix)) if *prefix > upload.key => Some((prefix, "")),
        (Some(upload), _) => Some((&upload.key, &upload.id)),
        (None, Some(prefix)) => Some((prefix, "")),
        (None, None) => None,
    }
}

fn shown_part_etag(part: &Part) -> String {
    format!("\"{}\"", part.etag().to_uppercase())
}

/// The parts that a `CompleteMultipartUpload` document names.
fn named_parts(document: &[u8]) -> OssResult<Vec<(u32, String)>> {
    let root = Element::parse(document, "CompleteMultipartUpload")?;
    let parts: Option<Vec<(u32, String)>> =
        root.children_named("Part").map(|part| Some((part.value("PartNumber")?.parse().ok()?, part.value("ETag")?.trim_matches('"').to_owned()))).collect();
    parts.filter(|parts| !parts.is_empty()).ok_or_else(OssError::malformed_xml)
}

/// The named parts must be there, as they are named, in ascending order.
fn check_parts(named: &[(u32, String)], upload: &Upload) -> OssResult<Vec<u32>> {
    if !named.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(OssError::new(400, "InvalidPartOrder", "The list of parts was not in ascending order."));
    }
    for (number, etag) in named {
        let held = upload.parts.get(number).map(|part| part.etag().to_uppercase());
        if held.as_deref() != Some(etag) {
            let message = "One or more of the specified parts could not be found or the specified entity tag might not have matched the part's entity tag.";
            return Err(OssError::new(400, "InvalidPart", message).detail("PartNumber", number.to_string()).detail("UploadId", &upload.id));
        }
    }
    Ok(named.iter().map(|(number, _)| *number).collect())
}
