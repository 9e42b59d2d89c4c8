//! Versioning: a bucket's state, the version that a request names, and the list of versions (protocol.md 2.2, 2.5).

use super::attributes::value_of;
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::list::{Request, common_prefix, owner};
use super::reply::Reply;
use super::request::Head;
use super::xml::{Element, Writer};
use super::{OssDialect, xml_date};
use crate::devserver::store::{ENABLED, SUSPENDED, VERSIONING, VersionEntry};

/// The version that a request names.
pub(super) fn named(head: &Head) -> OssResult<Option<&str>> {
    Ok(head.query.text("versionId")?.filter(|id| !id.is_empty()))
}

impl Reply {
    /// Tells the version, where versioning was ever set.
    pub(super) fn of_version(self, id: Option<&str>) -> OssResult<Self> {
        Ok(match id {
            Some(id) => self.with("x-oss-version-id", value_of(id)?),
            None => self,
        })
    }
}

impl OssDialect {
    /// GetBucketVersioning: no status where it was never set.
    pub(super) fn bucket_versioning(&self, bucket: &str) -> OssResult<Reply> {
        let info = self.store.bucket(bucket)?;
        let mut xml = Writer::new();
        xml.open("VersioningConfiguration");
        if let Some(status) = info.versioning() {
            xml.leaf("Status", status);
        }
        xml.close("VersioningConfiguration");
        Ok(Reply::xml(xml))
    }

    /// PutBucketVersioning.
    pub(super) async fn put_bucket_versioning(&self, bucket: &str, head: &Head, body: Body) -> OssResult<Reply> {
        let root = Element::parse(&intake::document(head, body).await?, "VersioningConfiguration")?;
        let status = root.value("Status").filter(|status| matches!(*status, ENABLED | SUSPENDED)).ok_or_else(OssError::malformed_xml)?;
        self.store.set_bucket_property(bucket, VERSIONING, Some(status.to_owned()))?;
        Ok(Reply::ok())
    }

    /// ListObjectVersions: versions and delete markers as they follow each other.
    pub(super) fn list_object_versions(&self, bucket: &str, head: &Head) -> OssResult<Reply> {
        let request = Request::of(bucket, head)?;
        let marker = head.query.text("key-marker")?.unwrap_or_default();
        let version_marker = head.query.text("version-id-marker")?.unwrap_or_default();
        let page = self.store.list_versions(bucket, &request.query(marker), version_marker)?;
        let mut xml = Writer::new();
        request.opening(&mut xml, "ListVersionsResult");
        xml.leaf("KeyMarker", request.encoding.name(marker)).leaf("VersionIdMarker", version_marker).leaf("IsTruncated", page.truncated.to_string());
        if let Some((key, version)) = page.last().filter(|_| page.truncated) {
            xml.leaf("NextKeyMarker", request.encoding.name(key)).leaf("NextVersionIdMarker", version);
        }
        for entry in &page.entries {
            let (key, version, latest) = match entry {
                VersionEntry::Version(key, version, latest) => (key, version, latest),
                VersionEntry::Prefix(prefix) => {
                    common_prefix(&mut xml, request.encoding, prefix);
                    continue;
                }
            };
            let element = if version.object.is_some() { "Version" } else { "DeleteMarker" };
            xml.open(element).leaf("Key", request.encoding.name(key.as_str())).leaf("VersionId", &version.id).leaf("IsLatest", latest.to_string());
            match &version.object {
                Some(object) => self.facts(&mut xml, object),
                None => drop(xml.leaf("LastModified", xml_date(version.since))),
            }
            owner(&mut xml);
            xml.close(element);
        }
        xml.close("ListVersionsResult");
        Ok(Reply::xml(xml))
    }
}
