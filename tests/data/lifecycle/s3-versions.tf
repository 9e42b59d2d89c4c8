# Made by `dragon tier plan --terraform`. This resource owns all lifecycle rules of the bucket: add those that are not Dragon's.
resource "aws_s3_bucket_lifecycle_configuration" "my_bucket" {
  bucket = "my-bucket"
  rule {
    id = "sample-rule"
    status = "Enabled"
    filter {
    }
    expiration {
      expired_object_delete_marker = true
    }
    noncurrent_version_transition {
      noncurrent_days = 30
      storage_class = "STANDARD_IA"
    }
    noncurrent_version_expiration {
      noncurrent_days = 90
      newer_noncurrent_versions = 5
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}
