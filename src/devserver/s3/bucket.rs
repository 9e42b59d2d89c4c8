//! Buckets, and the tags and ACLs of objects.

use std::collections::BTreeMap;

use s3s::dto::{
    self, CreateBucketInput, CreateBucketOutput, DeleteObjectTaggingOutput, GetBucketLocationOutput, GetObjectAclInput, GetObjectAclOutput,
    GetObjectTaggingInput, GetObjectTaggingOutput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, PutObjectAclInput, PutObjectAclOutput,
    PutObjectTaggingInput, PutObjectTaggingOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::attributes::checked_tags;
use super::versions::told;
use super::{Bridge, owner, stamp};

/// Everybody, in an ACL.
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
/// Everybody who has an account, in an ACL.
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
/// The region that S3 names by saying nothing.
const UNNAMED_REGION: &str = "us-east-1";

impl Bridge {
    /// A second creation is refused with BucketAlreadyOwnedByYou, as everywhere but in us-east-1, where S3 says 200 for old clients' sake.
    pub(super) fn create(&self, req: &S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let input = &req.input;
        let asked = input.create_bucket_configuration.as_ref().and_then(|configuration| configuration.location_constraint.as_ref());
        if asked.is_some_and(|region| region.as_str() != self.region) {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "The location constraint is incompatible for the region specific endpoint this request was sent to."
            ));
        }
        let acl = input.acl.as_ref().map(|acl| ("acl".to_owned(), acl.as_str().to_owned()));
        self.store.create_bucket(&input.bucket, acl.into_iter().collect())?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) }))
    }

    pub(super) fn location(&self, bucket: &str) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.store.bucket(bucket)?;
        let region = (self.region != UNNAMED_REGION).then(|| self.region.clone().into());
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: region }))
    }

    pub(super) fn head_one_bucket(&self, bucket: &str) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store.bucket(bucket)?;
        Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(self.region.clone()), ..HeadBucketOutput::default() }))
    }

    pub(super) fn buckets(&self, req: &S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let ListBucketsInput { prefix, continuation_token, max_buckets, .. } = &req.input;
        let after = continuation_token.as_deref().unwrap_or("");
        let matching = |name: &str| name > after && name.starts_with(prefix.as_deref().unwrap_or(""));
        let mut buckets = self.store.buckets().into_iter().filter(|bucket| matching(&bucket.name));
        let max = max_buckets.and_then(|max| usize::try_from(max).ok()).unwrap_or(10_000).clamp(1, 10_000);
        let page: Vec<dto::Bucket> = buckets
            .by_ref()
            .take(max)
            .map(|bucket| dto::Bucket { name: Some(bucket.name), creation_date: Some(stamp(bucket.created)), bucket_region: Some(self.region.clone()) })
            .collect();
        let more = buckets.next().is_some();
        let output = ListBucketsOutput {
            continuation_token: page.last().filter(|_| more).and_then(|bucket| bucket.name.clone()),
            buckets: Some(page),
            owner: Some(owner()),
            prefix: prefix.clone(),
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn get_tags(&self, req: &S3Request<GetObjectTaggingInput>) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let object = self.readable(&req.input.bucket, &req.input.key, req.input.version_id.as_deref())?;
        let tag = |(name, value): (&String, &String)| dto::Tag { key: Some(name.clone()), value: Some(value.clone()) };
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set: object.attributes.tags.iter().map(tag).collect(), version_id: told(&object) }))
    }

    pub(super) fn put_tags(&self, req: S3Request<PutObjectTaggingInput>) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let PutObjectTaggingInput { bucket, key, tagging, version_id, .. } = req.input;
        let tags = tagging.tag_set.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
        let tags = checked_tags(tags)?;
        let amended = self.amend(&bucket, &key, version_id.as_deref(), |attributes| attributes.tags = tags)?;
        Ok(S3Response::new(PutObjectTaggingOutput { version_id: told(&amended) }))
    }

    pub(super) fn delete_tags(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let amended = self.amend(bucket, key, version, |attributes| attributes.tags = BTreeMap::new())?;
        Ok(S3Response::new(DeleteObjectTaggingOutput { version_id: told(&amended) }))
    }

    pub(super) fn get_acl(&self, req: &S3Request<GetObjectAclInput>) -> S3Result<S3Response<GetObjectAclOutput>> {
        let object = self.readable(&req.input.bucket, &req.input.key, req.input.version_id.as_deref())?;
        let grants = grants(object.attributes.acl.as_deref());
        Ok(S3Response::new(GetObjectAclOutput { grants: Some(grants), owner: Some(owner()), ..GetObjectAclOutput::default() }))
    }

    /// Takes a canned ACL, or a list of grants that amounts to one.
    pub(super) fn put_acl(&self, req: S3Request<PutObjectAclInput>) -> S3Result<S3Response<PutObjectAclOutput>> {
        let PutObjectAclInput { bucket, key, acl, access_control_policy, version_id, .. } = req.input;
        let canned = match (acl, access_control_policy) {
            (Some(acl), _) => acl.as_str().to_owned(),
            (None, Some(policy)) => canned(&policy.grants.unwrap_or_default())?.to_owned(),
            (None, None) => return Err(s3_error!(MissingSecurityHeader, "Your request was missing a required header")),
        };
        self.amend(&bucket, &key, version_id.as_deref(), |attributes| attributes.acl = Some(canned))?;
        Ok(S3Response::new(PutObjectAclOutput::default()))
    }
}

/// The grants that a canned ACL stands for.
pub(super) fn grants(canned: Option<&str>) -> Vec<dto::Grant> {
    let owned = dto::Grantee { id: owner().id, display_name: owner().display_name, email_address: None, uri: None, type_: "CanonicalUser".to_owned().into() };
    let group = |uri: &str| dto::Grantee { id: None, display_name: None, email_address: None, uri: Some(uri.to_owned()), type_: "Group".to_owned().into() };
    let grant = |grantee, permission: &str| dto::Grant { grantee: Some(grantee), permission: Some(permission.to_owned().into()) };
    let mut grants = vec![grant(owned, "FULL_CONTROL")];
    match canned {
        Some("public-read") => grants.push(grant(group(ALL_USERS), "READ")),
        Some("public-read-write") => grants.extend([grant(group(ALL_USERS), "READ"), grant(group(ALL_USERS), "WRITE")]),
        Some("authenticated-read") => grants.push(grant(group(AUTHENTICATED_USERS), "READ")),
        _ => {}
    }
    grants
}

/// The canned ACL that these grants stand for.
fn canned(wanted: &[dto::Grant]) -> S3Result<&'static str> {
    let outline = |grants: &[dto::Grant]| {
        let mut outline: Vec<(Option<String>, Option<String>)> = grants
            .iter()
            .map(|grant| {
                (grant.grantee.as_ref().and_then(|grantee| grantee.uri.clone()), grant.permission.as_ref().map(|permission| permission.as_str().to_owned()))
            })
            .collect();
        outline.sort();
        outline
    };
    let known = ["private", "public-read", "public-read-write", "authenticated-read"];
    let found = known.into_iter().find(|name| outline(&grants(Some(name))) == outline(wanted));
    found.ok_or_else(|| s3_error!(NotImplemented, "Only grants that amount to a canned ACL are kept here."))
}
