# Made by `dragon tier plan --terraform`. This resource owns all lifecycle rules of the bucket: add those that are not Dragon's.
resource "alicloud_oss_bucket" "my_bucket" {
  bucket = "my-bucket"
  lifecycle_rule_allow_same_action_overlap = true
  lifecycle_rule {
    id = "by access"
    prefix = "data/"
    enabled = true
    transitions {
      days = 200
      storage_class = "IA"
      is_access_time = true
      return_to_std_when_visit = false
    }
  }
  lifecycle_rule {
    id = "but not"
    prefix = ""
    enabled = true
    filter {
      object_size_greater_than = 500
      not {
        prefix = "log/"
        tag {
          key = "key1"
          value = "value1"
        }
      }
    }
    expiration {
      days = 100
    }
  }
  lifecycle_rule {
    id = "before"
    prefix = "old/"
    enabled = true
    tags = {
      "xx" = "1"
    }
    expiration {
      created_before_date = "2015-01-01T00:00:00Z"
    }
  }
}
