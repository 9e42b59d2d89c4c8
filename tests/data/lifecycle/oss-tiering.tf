# Made by `dragon tier plan --terraform`. This resource owns all lifecycle rules of the bucket: add those that are not Dragon's.
resource "alicloud_oss_bucket" "my_bucket" {
  bucket = "my-bucket"
  lifecycle_rule {
    id = "rule1"
    prefix = "log/"
    enabled = true
    transitions {
      days = 30
      storage_class = "IA"
    }
    transitions {
      days = 60
      storage_class = "Archive"
    }
    expiration {
      days = 3600
    }
  }
  lifecycle_rule {
    id = "rule2"
    prefix = "versions/"
    enabled = true
    expiration {
      expired_object_delete_marker = true
    }
    abort_multipart_upload {
      days = 30
    }
    noncurrent_version_expiration {
      days = 300
    }
    noncurrent_version_transition {
      days = 150
      storage_class = "ColdArchive"
    }
  }
}
