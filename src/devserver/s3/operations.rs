//! The operations that the S3 side knows, each handed to where it is done. What is not here, s3s answers with NotImplemented.

use async_trait::async_trait;
use s3s::dto;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::{Bridge, bucket, owner};

#[async_trait]
impl S3 for Bridge {
    async fn abort_multipart_upload(&self, req: S3Request<dto::AbortMultipartUploadInput>) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        self.store.abort_upload(&req.input.bucket, &req.input.key, &req.input.upload_id)?;
        Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
    }

    async fn complete_multipart_upload(&self, req: S3Request<dto::CompleteMultipartUploadInput>) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        self.complete(req).await
    }

    async fn copy_object(&self, req: S3Request<dto::CopyObjectInput>) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        self.copy(req).await
    }

    async fn create_bucket(&self, req: S3Request<dto::CreateBucketInput>) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        self.create(&req)
    }

    async fn create_multipart_upload(&self, req: S3Request<dto::CreateMultipartUploadInput>) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        self.create_upload(&req)
    }

    async fn delete_bucket(&self, req: S3Request<dto::DeleteBucketInput>) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        self.store.delete_bucket(&req.input.bucket)?;
        Ok(S3Response::new(dto::DeleteBucketOutput::default()))
    }

    async fn delete_object(&self, req: S3Request<dto::DeleteObjectInput>) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        self.delete(&req)
    }

    async fn delete_object_tagging(&self, req: S3Request<dto::DeleteObjectTaggingInput>) -> S3Result<S3Response<dto::DeleteObjectTaggingOutput>> {
        self.delete_tags(&req.input.bucket, &req.input.key, req.input.version_id.as_deref())
    }

    async fn delete_objects(&self, req: S3Request<dto::DeleteObjectsInput>) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        self.delete_many(req)
    }

    async fn get_bucket_acl(&self, req: S3Request<dto::GetBucketAclInput>) -> S3Result<S3Response<dto::GetBucketAclOutput>> {
        let acl = self.store.bucket(&req.input.bucket)?.properties.get("acl").cloned();
        Ok(S3Response::new(dto::GetBucketAclOutput { grants: Some(bucket::grants(acl.as_deref())), owner: Some(owner()) }))
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<dto::GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLifecycleConfigurationOutput>> {
        self.get_lifecycle(&req)
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        req: S3Request<dto::PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<dto::PutBucketLifecycleConfigurationOutput>> {
        self.put_lifecycle(req)
    }

    async fn delete_bucket_lifecycle(&self, req: S3Request<dto::DeleteBucketLifecycleInput>) -> S3Result<S3Response<dto::DeleteBucketLifecycleOutput>> {
        self.delete_lifecycle(&req)
    }

    async fn get_bucket_location(&self, req: S3Request<dto::GetBucketLocationInput>) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        self.location(&req.input.bucket)
    }

    async fn get_bucket_versioning(&self, req: S3Request<dto::GetBucketVersioningInput>) -> S3Result<S3Response<dto::GetBucketVersioningOutput>> {
        self.get_versioning(&req)
    }

    async fn put_bucket_versioning(&self, req: S3Request<dto::PutBucketVersioningInput>) -> S3Result<S3Response<dto::PutBucketVersioningOutput>> {
        self.put_versioning(&req)
    }

    async fn get_object(&self, req: S3Request<dto::GetObjectInput>) -> S3Result<S3Response<dto::GetObjectOutput>> {
        self.get(req)
    }

    async fn get_object_acl(&self, req: S3Request<dto::GetObjectAclInput>) -> S3Result<S3Response<dto::GetObjectAclOutput>> {
        self.get_acl(&req)
    }

    async fn get_object_attributes(&self, req: S3Request<dto::GetObjectAttributesInput>) -> S3Result<S3Response<dto::GetObjectAttributesOutput>> {
        self.attributes(req)
    }

    async fn get_object_tagging(&self, req: S3Request<dto::GetObjectTaggingInput>) -> S3Result<S3Response<dto::GetObjectTaggingOutput>> {
        self.get_tags(&req)
    }

    async fn head_bucket(&self, req: S3Request<dto::HeadBucketInput>) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.head_one_bucket(&req.input.bucket)
    }

    async fn head_object(&self, req: S3Request<dto::HeadObjectInput>) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        self.head(req)
    }

    async fn list_buckets(&self, req: S3Request<dto::ListBucketsInput>) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        self.buckets(&req)
    }

    async fn list_multipart_uploads(&self, req: S3Request<dto::ListMultipartUploadsInput>) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        self.list_uploads(&req)
    }

    async fn list_object_versions(&self, req: S3Request<dto::ListObjectVersionsInput>) -> S3Result<S3Response<dto::ListObjectVersionsOutput>> {
        self.list_versions(&req)
    }

    async fn list_objects(&self, req: S3Request<dto::ListObjectsInput>) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        self.list_v1(&req)
    }

    async fn list_objects_v2(&self, req: S3Request<dto::ListObjectsV2Input>) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        self.list_v2(&req)
    }

    async fn list_parts(&self, req: S3Request<dto::ListPartsInput>) -> S3Result<S3Response<dto::ListPartsOutput>> {
        self.list_parts_page(&req)
    }

    async fn put_object(&self, req: S3Request<dto::PutObjectInput>) -> S3Result<S3Response<dto::PutObjectOutput>> {
        self.put(req).await
    }

    async fn put_object_acl(&self, req: S3Request<dto::PutObjectAclInput>) -> S3Result<S3Response<dto::PutObjectAclOutput>> {
        self.put_acl(req)
    }

    async fn put_object_tagging(&self, req: S3Request<dto::PutObjectTaggingInput>) -> S3Result<S3Response<dto::PutObjectTaggingOutput>> {
        self.put_tags(req)
    }

    async fn restore_object(&self, req: S3Request<dto::RestoreObjectInput>) -> S3Result<S3Response<dto::RestoreObjectOutput>> {
        self.restore(&req)
    }

    async fn upload_part(&self, req: S3Request<dto::UploadPartInput>) -> S3Result<S3Response<dto::UploadPartOutput>> {
        self.upload_part_body(req).await
    }

    async fn upload_part_copy(&self, req: S3Request<dto::UploadPartCopyInput>) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        self.copy_part(req).await
    }
}
