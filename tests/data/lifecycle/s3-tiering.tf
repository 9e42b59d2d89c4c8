# Made by `dragon tier plan --terraform`. This resource owns all lifecycle rules of the bucket: add those that are not Dragon's.
resource "aws_s3_bucket_lifecycle_configuration" "my_bucket" {
  bucket = "my-bucket"
  rule {
    id = "example-id"
    status = "Enabled"
    filter {
      prefix = "logs/"
    }
    transition {
      days = 30
      storage_class = "STANDARD_IA"
    }
    transition {
      days = 90
      storage_class = "GLACIER"
    }
    expiration {
      days = 365
    }
  }
}
