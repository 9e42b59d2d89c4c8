//! What passed through one cloud's door: requests by operation and method, and bytes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;

/// Counts since the start, or since the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests by operation (`GetObject`, `UploadPart`), also those that were refused or never answered.
    pub operations: BTreeMap<&'static str, u64>,
    /// Requests by method.
    pub methods: BTreeMap<String, u64>,
    /// Bytes of request bodies, as they came over the wire.
    pub bytes_in: u64,
    /// Bytes of answer bodies.
    pub bytes_out: u64,
}

impl Traffic {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.operations.values().sum()
    }

    /// Requests of one operation.
    pub fn operation(&self, name: &str) -> u64 {
        self.operations.get(name).copied().unwrap_or(0)
    }
}

/// The counters behind [`Traffic`].
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: Mutex<Traffic>,
    pub(super) bytes_in: Arc<AtomicU64>,
    pub(super) bytes_out: Arc<AtomicU64>,
}

impl Meter {
    pub(super) fn count(&self, operation: &'static str, method: &http::Method) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.operations.entry(operation).or_default() += 1;
        match requests.methods.get_mut(method.as_str()) {
            Some(count) => *count += 1,
            None => {
                requests.methods.insert(method.as_str().to_owned(), 1);
            }
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Traffic { bytes_in: self.bytes_in.load(Ordering::Relaxed), bytes_out: self.bytes_out.load(Ordering::Relaxed), ..requests }
    }

    pub(super) fn reset(&self) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = Traffic::default();
        self.bytes_in.store(0, Ordering::Relaxed);
        self.bytes_out.store(0, Ordering::Relaxed);
    }
}

/// What a request aims at, which path and host tell in each dialect's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The service: its list of buckets.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// The name of an operation in S3's words, which OSS's operations share but for their own.
pub(super) fn operation(target: Target, request: &Parts) -> &'static str {
    let query = request.uri.query().unwrap_or("");
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let copies = ["x-amz-copy-source", "x-oss-copy-source"].iter().any(|name| request.headers.contains_key(*name));
    match (request.method.as_str(), target) {
        (_, Target::Service) => "ListBuckets",
        ("GET", Target::Bucket) => bucket_read(asks, query),
        ("HEAD", Target::Bucket) => "HeadBucket",
        ("PUT", Target::Bucket) if asks("acl") => "PutBucketAcl",
        ("PUT", Target::Bucket) if asks("versioning") => "PutBucketVersioning",
        ("PUT", Target::Bucket) if asks("lifecycle") => "PutBucketLifecycle",
        ("PUT", Target::Bucket) => "CreateBucket",
        ("DELETE", Target::Bucket) if asks("lifecycle") => "DeleteBucketLifecycle",
        ("DELETE", Target::Bucket) => "DeleteBucket",
        ("POST", Target::Bucket) if asks("delete") => "DeleteObjects",
        ("POST", Target::Bucket) => "PostObject",
        ("HEAD", Target::Object) if asks("objectMeta") => "GetObjectMeta",
        ("HEAD", Target::Object) => "HeadObject",
        ("GET", Target::Object) if asks("uploadId") => "ListParts",
        ("GET", Target::Object) if asks("tagging") => "GetObjectTagging",
        ("GET", Target::Object) if asks("acl") => "GetObjectAcl",
        ("GET", Target::Object) if asks("symlink") => "GetSymlink",
        ("GET", Target::Object) if asks("attributes") => "GetObjectAttributes",
        ("GET", Target::Object) => "GetObject",
        ("PUT", Target::Object) if asks("partNumber") && copies => "UploadPartCopy",
        ("PUT", Target::Object) if asks("partNumber") => "UploadPart",
        ("PUT", Target::Object) if asks("tagging") => "PutObjectTagging",
        ("PUT", Target::Object) if asks("acl") => "PutObjectAcl",
        ("PUT", Target::Object) if asks("symlink") => "PutSymlink",
        ("PUT", Target::Object) if copies => "CopyObject",
        ("PUT", Target::Object) => "PutObject",
        ("POST", Target::Object) if asks("uploads") => "CreateMultipartUpload",
        ("POST", Target::Object) if asks("uploadId") => "CompleteMultipartUpload",
        ("POST", Target::Object) if asks("restore") => "RestoreObject",
        ("POST", Target::Object) if asks("append") => "AppendObject",
        ("DELETE", Target::Object) if asks("uploadId") => "AbortMultipartUpload",
        ("DELETE", Target::Object) if asks("tagging") => "DeleteObjectTagging",
        ("DELETE", Target::Object) => "DeleteObject",
        _ => "Other",
    }
}

fn bucket_read(asks: impl Fn(&str) -> bool, query: &str) -> &'static str {
    let named = [
        ("location", "GetBucketLocation"),
        ("versioning", "GetBucketVersioning"),
        ("acl", "GetBucketAcl"),
        ("uploads", "ListMultipartUploads"),
        ("versions", "ListObjectVersions"),
        ("bucketInfo", "GetBucketInfo"),
        ("stat", "GetBucketStat"),
        ("lifecycle", "GetBucketLifecycle"),
    ];
    match named.iter().find(|(flag, _)| asks(flag)) {
        Some((_, name)) => name,
        None if query.split('&').any(|pair| pair == "list-type=2") => "ListObjectsV2",
        None => "ListObjects",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_by_method_target_and_query() {
        let name = |method: &str, target, uri: &str| {
            let request = http::Request::builder().method(method).uri(uri).body(()).expect("a valid request");
            operation(target, &request.into_parts().0)
        };
        assert_eq!(name("GET", Target::Bucket, "/b?list-type=2&prefix=uploads"), "ListObjectsV2");
        assert_eq!(name("GET", Target::Bucket, "/b?prefix=x"), "ListObjects");
        assert_eq!(name("GET", Target::Object, "/b/k?uploadId=1"), "ListParts");
        assert_eq!(name("PUT", Target::Object, "/b/k?partNumber=1&uploadId=1"), "UploadPart");
        assert_eq!(name("PUT", Target::Object, "/b/k"), "PutObject");
        assert_eq!(name("PATCH", Target::Object, "/b/k"), "Other");
    }
}
