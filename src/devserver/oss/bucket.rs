//! Buckets, and the list of them.

use http::header;

use super::acl;
use super::attributes::{STANDARD, STORAGE_CLASSES, value_of};
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::list::max_entries;
use super::reply::Reply;
use super::request::Head;
use super::xml::{Element, Writer};
use super::{OWNER, OssDialect, xml_date};
use crate::devserver::store::{BucketInfo, ListQuery, Refusal, VersionEntry};

/// The bucket property that holds its storage class.
pub(super) const CLASS_PROPERTY: &str = "storage-class";

impl OssDialect {
    /// GetService: the buckets of the account.
    pub(super) fn list_buckets(&self, head: &Head) -> OssResult<Reply> {
        let prefix = head.query.text("prefix")?.unwrap_or_default();
        let marker = head.query.text("marker")?.unwrap_or_default();
        let limit = max_entries(head, "max-keys", 100)?;
        let all = self.store.buckets();
        let mut found = all.iter().filter(|bucket| bucket.name.starts_with(prefix) && bucket.name.as_str() > marker);
        let page: Vec<&BucketInfo> = found.by_ref().take(limit).collect();
        let truncated = found.next().is_some();
        let mut xml = Writer::new();
        xml.open("ListAllMyBucketsResult").leaf("Prefix", prefix).leaf("Marker", marker).leaf("MaxKeys", limit.to_string());
        xml.leaf("IsTruncated", truncated.to_string());
        if let Some(last) = page.last().filter(|_| truncated) {
            xml.leaf("NextMarker", &last.name);
        }
        xml.open("Owner").leaf("ID", OWNER).leaf("DisplayName", OWNER).close("Owner").open("Buckets");
        for bucket in page {
            xml.open("Bucket");
            self.describe(&mut xml, bucket, head);
            xml.close("Bucket");
        }
        xml.close("Buckets").close("ListAllMyBucketsResult");
        Ok(Reply::xml(xml))
    }

    /// The endpoints are the real region's names, but where the request went to an address: there it is that address, so that a
    /// client that follows it comes back here.
    fn describe(&self, xml: &mut Writer, bucket: &BucketInfo, head: &Head) {
        let endpoint = |suffix: &str| head.endpoint.clone().unwrap_or_else(|| format!("oss-{}{suffix}.aliyuncs.com", self.region));
        xml.leaf("CreationDate", xml_date(bucket.created))
            .leaf("ExtranetEndpoint", endpoint(""))
            .leaf("IntranetEndpoint", endpoint("-internal"))
            .leaf("Location", format!("oss-{}", self.region))
            .leaf("Name", &bucket.name)
            .leaf("Region", &self.region)
            .leaf("StorageClass", class_of(bucket));
    }

    /// DescribeRegions: this one.
    pub(super) fn describe_regions(&self, head: &Head) -> OssResult<Reply> {
        let own = format!("oss-{}", self.region);
        let asked = head.query.text("regions")?.unwrap_or_default();
        if !asked.is_empty() && asked != own {
            return Err(OssError::new(404, "NoSuchRegion", "The specified region does not exist.").detail("Region", asked));
        }
        let mut xml = Writer::new();
        xml.open("RegionInfoList").open("RegionInfo").leaf("Region", &own).leaf("InternetEndpoint", format!("{own}.aliyuncs.com"));
        xml.leaf("InternalEndpoint", format!("{own}-internal.aliyuncs.com")).leaf("AccelerateEndpoint", "oss-accelerate.aliyuncs.com");
        xml.close("RegionInfo").close("RegionInfoList");
        Ok(Reply::xml(xml))
    }

    /// PutBucket: again by its owner it changes the ACL; with another class it is refused.
    pub(super) async fn put_bucket(&self, bucket: &str, head: &Head, body: Body) -> OssResult<Reply> {
        let acl = acl::bucket_acl_header(head)?;
        let document = intake::document(head, body).await?;
        let class = requested_class(&document)?;
        let existing = match self.store.bucket(bucket) {
            Ok(existing) => Some(existing),
            Err(Refusal::NoSuchBucket) => None,
            Err(other) => return Err(other.into()),
        };
        match existing {
            Some(existing) => {
                if class.as_deref().is_some_and(|class| class != class_of(&existing)) {
                    return Err(Refusal::BucketExists.into());
                }
                if acl.is_some() {
                    self.store.set_bucket_property(bucket, acl::PROPERTY, acl)?;
                }
            }
            None => {
                let class = class.filter(|class| class != STANDARD).map(|class| (CLASS_PROPERTY.to_owned(), class));
                let properties = acl.map(|acl| (acl::PROPERTY.to_owned(), acl)).into_iter().chain(class).collect();
                self.store.create_bucket(bucket, properties)?;
            }
        }
        Ok(Reply::ok().with(header::LOCATION, value_of(&format!("/{bucket}"))?))
    }

    /// DeleteBucket: only an empty one, open uploads included.
    pub(super) fn delete_bucket(&self, bucket: &str) -> OssResult<Reply> {
        if !self.store.uploads(bucket, "", ("", ""), 1)?.is_empty() {
            return Err(Refusal::BucketNotEmpty.into());
        }
        self.store.delete_bucket(bucket)?;
        Ok(Reply::no_content())
    }

    /// GetBucketInfo.
    pub(super) fn bucket_info(&self, bucket: &str, head: &Head) -> OssResult<Reply> {
        let info = self.store.bucket(bucket)?;
        let mut xml = Writer::new();
        xml.open("BucketInfo").open("Bucket");
        self.describe(&mut xml, &info, head);
        xml.leaf("DataRedundancyType", "LRS")
            .leaf("AccessMonitor", "Disabled")
            .leaf("TransferAcceleration", "Disabled")
            .leaf("CrossRegionReplication", "Disabled");
        xml.open("Owner").leaf("ID", OWNER).leaf("DisplayName", OWNER).close("Owner");
        xml.open("AccessControlList").leaf("Grant", self.acl_of_bucket(bucket)?).close("AccessControlList");
        if let Some(status) = info.versioning() {
            xml.leaf("Versioning", status);
        }
        xml.leaf("Comment", "").close("Bucket").close("BucketInfo");
        Ok(Reply::xml(xml))
    }

    /// GetBucketLocation: `oss-cn-hangzhou`, not the region's own name (protocol.md 2.1).
    pub(super) fn bucket_location(&self, bucket: &str) -> OssResult<Reply> {
        self.store.bucket(bucket)?;
        let mut xml = Writer::new();
        xml.leaf("LocationConstraint", format!("oss-{}", self.region));
        Ok(Reply::xml(xml))
    }

    /// GetBucketStat: what each storage class holds.
    pub(super) fn bucket_stat(&self, bucket: &str) -> OssResult<Reply> {
        let page = self.store.list_versions(bucket, &ListQuery { limit: usize::MAX, ..ListQuery::default() }, "")?;
        let versions = page.entries.iter().filter_map(|entry| match entry {
            VersionEntry::Version(_, version, _) => Some(version.object.as_deref()),
            VersionEntry::Prefix(_) => None,
        });
        let objects: Vec<_> =
            versions.clone().flatten().map(|object| (object.attributes.storage_class.as_deref().unwrap_or(STANDARD), object.size())).collect();
        let uploads = self.store.uploads(bucket, "", ("", ""), usize::MAX)?;
        let mut xml = Writer::new();
        xml.open("BucketStat").leaf("Storage", objects.iter().map(|(_, size)| size).sum::<u64>().to_string());
        xml.leaf("ObjectCount", objects.len().to_string()).leaf("MultipartUploadCount", uploads.len().to_string()).leaf("LiveChannelCount", "0");
        xml.leaf("MultipartPartCount", uploads.iter().map(|upload| upload.parts.len()).sum::<usize>().to_string());
        xml.leaf("DeleteMarkerCount", versions.filter(Option::is_none).count().to_string());
        // When this was counted; the service has not counted a new bucket yet.
        let counted_at = if objects.is_empty() { 0 } else { self.store.now().as_second() };
        xml.leaf("LastModifiedTime", counted_at.to_string());
        for (name, class) in ["Standard", "InfrequentAccess", "Archive", "ColdArchive", "DeepColdArchive"].into_iter().zip(STORAGE_CLASSES) {
            let of_class = || objects.iter().filter(|(c, _)| c == class);
            let bytes = of_class().map(|(_, size)| size).sum::<u64>().to_string();
            xml.leaf(&format!("{name}Storage"), &bytes);
            if *class != STANDARD {
                xml.leaf(&format!("{name}RealStorage"), &bytes);
            }
            xml.leaf(&format!("{name}ObjectCount"), of_class().count().to_string());
        }
        xml.close("BucketStat");
        Ok(Reply::xml(xml))
    }

    /// The class that objects of a bucket have unless they say otherwise; `None` is Standard.
    pub(super) fn class_of_bucket(&self, bucket: &str) -> OssResult<Option<String>> {
        Ok(self.store.bucket(bucket)?.properties.remove(CLASS_PROPERTY))
    }
}

fn class_of(bucket: &BucketInfo) -> &str {
    bucket.properties.get(CLASS_PROPERTY).map_or(STANDARD, String::as_str)
}

/// The class in a `CreateBucketConfiguration`, which may be missing.
fn requested_class(document: &[u8]) -> OssResult<Option<String>> {
    if document.is_empty() {
        return Ok(None);
    }
    match Element::parse(document, "CreateBucketConfiguration")?.value("StorageClass") {
        None | Some("") => Ok(None),
        Some(class) if STORAGE_CLASSES.contains(&class) => Ok(Some(class.to_owned())),
        Some(_) => Err(OssError::malformed_xml()),
    }
}
