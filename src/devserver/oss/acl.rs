//! Access control lists: canned, on buckets and on objects; and what they open to callers without a signature.

use std::sync::Arc;

use super::attributes;
use super::error::{OssError, OssResult};
use super::operation::{BucketOperation, ObjectOperation, Operation, Target};
use super::reply::Reply;
use super::request::Head;
use super::xml::Writer;
use super::{OWNER, OssDialect, versions, write};
use crate::devserver::auth::Caller;
use crate::devserver::store::Object;

/// The bucket property that holds its ACL.
pub(super) const PROPERTY: &str = "acl";
const PRIVATE: &str = "private";
const PUBLIC_READ: &str = "public-read";
const PUBLIC_READ_WRITE: &str = "public-read-write";

impl OssDialect {
    /// Lets the owner of a key do everything, and anyone what an ACL opens.
    pub(super) fn authorise(&self, caller: &Caller, operation: &Operation) -> OssResult<()> {
        match (caller, operation) {
            (Caller::Known, _) => Ok(()),
            (Caller::Anonymous, Operation::ListBuckets | Operation::DescribeRegions) => Err(OssError::access_denied("You are forbidden to list buckets.")),
            (Caller::Anonymous, Operation::Bucket(_, BucketOperation::Put)) => {
                Err(OssError::access_denied("Anonymous access is forbidden for this operation."))
            }
            (Caller::Anonymous, Operation::Bucket(..)) => Err(denied_by_bucket()),
            (Caller::Anonymous, Operation::Object(target, operation)) => self.authorise_anyone(target, operation),
        }
    }

    fn authorise_anyone(&self, target: &Target, operation: &ObjectOperation) -> OssResult<()> {
        let bucket_acl = self.acl_of_bucket(&target.bucket)?;
        let object_acl = self.store.object(&target.bucket, &target.key).ok().and_then(|object| object.attributes.acl.clone());
        let acl = object_acl.as_deref().unwrap_or(&bucket_acl);
        let open = match operation {
            ObjectOperation::Get | ObjectOperation::Head | ObjectOperation::GetMeta | ObjectOperation::GetSymlink => acl != PRIVATE,
            ObjectOperation::Put
            | ObjectOperation::Append { .. }
            | ObjectOperation::Delete
            | ObjectOperation::InitiateUpload
            | ObjectOperation::UploadPart { .. }
            | ObjectOperation::CompleteUpload { .. }
            | ObjectOperation::AbortUpload { .. } => bucket_acl == PUBLIC_READ_WRITE,
            _ => false,
        };
        match open {
            true => Ok(()),
            false if object_acl.is_some() => Err(OssError::access_denied("You have no right to access this object.")),
            false => Err(denied_by_bucket()),
        }
    }

    pub(super) fn acl_of_bucket(&self, bucket: &str) -> OssResult<String> {
        Ok(self.store.bucket(bucket)?.properties.remove(PROPERTY).unwrap_or_else(|| PRIVATE.to_owned()))
    }

    /// GetBucketAcl.
    pub(super) fn bucket_acl(&self, bucket: &str) -> OssResult<Reply> {
        Ok(document(&self.acl_of_bucket(bucket)?))
    }

    /// PutBucketAcl: the ACL travels in `x-oss-acl`.
    pub(super) fn put_bucket_acl(&self, bucket: &str, head: &Head) -> OssResult<Reply> {
        let acl = bucket_acl_header(head)?.ok_or_else(|| OssError::missing_argument("The x-oss-acl header is required."))?;
        self.store.set_bucket_property(bucket, PROPERTY, Some(acl))?;
        Ok(Reply::ok())
    }

    /// GetObjectAcl: `default` where the object follows its bucket.
    pub(super) fn object_acl(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let object = self.store.find(&target.bucket, &target.key, versions::named(head)?)?;
        document(object.attributes.acl.as_deref().unwrap_or("default")).of_version(object.version_id.as_deref())
    }

    /// PutObjectAcl: the ACL travels in `x-oss-object-acl`.
    pub(super) fn put_object_acl(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        if !head.headers.contains_key("x-oss-object-acl") {
            return Err(OssError::missing_argument("The x-oss-object-acl header is required."));
        }
        let acl = attributes::object_acl(head)?;
        let change = |object: &Arc<Object>| Ok::<_, OssError>(write::changed(object, |attributes| attributes.acl = acl));
        let object = self.store.amend(&target.bucket, &target.key, versions::named(head)?, change)?;
        Reply::ok().of_version(object.version_id.as_deref())
    }
}

/// `x-oss-acl`.
pub(super) fn bucket_acl_header(head: &Head) -> OssResult<Option<String>> {
    match head.header("x-oss-acl")? {
        None => Ok(None),
        Some(acl @ (PRIVATE | PUBLIC_READ | PUBLIC_READ_WRITE)) => Ok(Some(acl.to_owned())),
        Some(acl) => Err(OssError::bad_value("x-oss-acl", acl, "The bucket ACL is not valid.")),
    }
}

fn denied_by_bucket() -> OssError {
    OssError::access_denied("You have no right to access this object because of bucket acl.")
}

fn document(acl: &str) -> Reply {
    let mut xml = Writer::new();
    xml.open("AccessControlPolicy").open("Owner").leaf("ID", OWNER).leaf("DisplayName", OWNER).close("Owner");
    xml.open("AccessControlList").leaf("Grant", acl).close("AccessControlList").close("AccessControlPolicy");
    Reply::xml(xml)
}
