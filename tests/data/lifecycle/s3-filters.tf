# Made by `dragon tier plan --terraform`. This resource owns all lifecycle rules of the bucket: add those that are not Dragon's.
resource "aws_s3_bucket_lifecycle_configuration" "my_bucket" {
  bucket = "my-bucket"
  rule {
    id = "tagged"
    status = "Disabled"
    filter {
      and {
        prefix = "tax/"
        tags = {
          "key1" = "value1"
          "key2" = "a & b"
        }
        object_size_greater_than = 500
        object_size_less_than = 64000
      }
    }
    transition {
      days = 0
      storage_class = "DEEP_ARCHIVE"
    }
  }
  rule {
    id = "old style"
    status = "Enabled"
    filter {
      prefix = "classic/"
    }
    expiration {
      date = "2030-01-01T00:00:00Z"
    }
  }
  rule {
    id = "everything"
    status = "Enabled"
    filter {
    }
    transition {
      days = 0
      storage_class = "INTELLIGENT_TIERING"
    }
  }
}
