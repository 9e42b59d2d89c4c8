//! What a request asks for: decided whole, before any logic runs.
//!
//! A sub-resource that this server does not know is refused, never ignored: `PUT /?replication` must not make a bucket.

use http::Method;

use super::configuration::{self, Configuration};
use super::error::{OssError, OssResult};
use super::request::Head;

/// An operation of the OSS API, with what it addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    ListBuckets,
    DescribeRegions,
    Bucket(String, BucketOperation),
    Object(Target, ObjectOperation),
}

/// A bucket and a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// What may be done with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BucketOperation {
    Put,
    Delete,
    GetInfo,
    GetLocation,
    GetStat,
    GetAcl,
    PutAcl,
    GetVersioning,
    PutVersioning,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    ListMultipartUploads,
    DeleteMultipleObjects,
    GetConfiguration(&'static Configuration),
    PutConfiguration(&'static Configuration),
    DeleteConfiguration(&'static Configuration),
    ListLiveChannels,
}

/// What may be done with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObjectOperation {
    Put,
    Copy,
    Append { position: u64 },
    Get,
    Head,
    GetMeta,
    Delete,
    GetAcl,
    PutAcl,
    GetTagging,
    PutTagging,
    DeleteTagging,
    GetSymlink,
    PutSymlink,
    Restore,
    CleanRestored,
    InitiateUpload,
    UploadPart { upload_id: String, number: u32 },
    UploadPartCopy { upload_id: String, number: u32 },
    CompleteUpload { upload_id: String },
    AbortUpload { upload_id: String },
    ListParts { upload_id: String },
}

/// Sub-resources of the service that this server does not have, on buckets or on objects.
const ABSENT: &[&str] = &[
    "accessPoint",
    "accessPointPolicy",
    "accessmonitor",
    "archiveDirectRead",
    "asyncFetch",
    "bucketArchiveDirectRead",
    "callback",
    "cname",
    "comp",
    "httpsConfig",
    "inventory",
    "metaQuery",
    "overwriteConfig",
    "policyStatus",
    "qosInfo",
    "redundancyTransition",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requestPayment",
    "requesterQosInfo",
    "resourceGroup",
    "resourcePool",
    "rtc",
    "style",
    "transferAcceleration",
    "vod",
    "worm",
    "wormExtend",
    "wormId",
    "x-oss-async-process",
    "x-oss-process",
];

impl Operation {
    /// Decides what a request asks for, and refuses names that the service does not take.
    pub(crate) fn of(head: &Head) -> OssResult<Self> {
        let Some(bucket) = &head.bucket else {
            return match head.method {
                Method::GET if head.query.has("regions") => Ok(Self::DescribeRegions),
                Method::GET => refuse_absent(head).map(|()| Self::ListBuckets),
                _ => Err(method_not_allowed(head, "service")),
            };
        };
        check_bucket_name(bucket)?;
        match &head.key {
            None => Ok(Self::Bucket(bucket.clone(), BucketOperation::of(head)?)),
            Some(key) => {
                let target = Target { bucket: bucket.clone(), key: check_key(key)? };
                Ok(Self::Object(target, ObjectOperation::of(head)?))
            }
        }
    }
}

impl BucketOperation {
    fn of(head: &Head) -> OssResult<Self> {
        refuse_absent(head)?;
        let has = |name| head.query.has(name);
        let configuration = configuration::ALL.iter().find(|configuration| has(configuration.name));
        Ok(match (&head.method, configuration) {
            (&Method::GET, Some(configuration)) => Self::GetConfiguration(configuration),
            (&Method::PUT, Some(configuration)) => Self::PutConfiguration(configuration),
            (&Method::DELETE, Some(configuration)) => Self::DeleteConfiguration(configuration),
            (&Method::GET | &Method::HEAD, _) if has("bucketInfo") => Self::GetInfo,
            (&Method::GET, _) if has("location") => Self::GetLocation,
            (&Method::GET, _) if has("stat") => Self::GetStat,
            (&Method::GET, _) if has("acl") => Self::GetAcl,
            (&Method::GET, _) if has("versioning") => Self::GetVersioning,
            (&Method::GET, _) if has("versions") => Self::ListObjectVersions,
            (&Method::GET, _) if has("uploads") => Self::ListMultipartUploads,
            (&Method::GET, _) if has("live") => Self::ListLiveChannels,
            (&Method::GET, _) if head.query.text("list-type")? == Some("2") => Self::ListObjectsV2,
            (&Method::GET, _) => Self::ListObjects,
            (&Method::PUT, _) if has("acl") => Self::PutAcl,
            (&Method::PUT, _) if has("versioning") => Self::PutVersioning,
            (&Method::PUT, _) => refuse_unknown(head, &["live"]).map(|()| Self::Put)?,
            (&Method::DELETE, _) => refuse_unknown(head, &["live"]).map(|()| Self::Delete)?,
            (&Method::POST, _) if has("delete") => Self::DeleteMultipleObjects,
            _ => return Err(method_not_allowed(head, "bucket")),
        })
    }
}

impl ObjectOperation {
    fn of(head: &Head) -> OssResult<Self> {
        refuse_unknown(head, &["live"])?;
        let has = |name| head.query.has(name);
        let upload_id = || -> OssResult<String> { Ok(head.query.text("uploadId")?.unwrap_or_default().to_owned()) };
        let copies = head.headers.contains_key("x-oss-copy-source");
        Ok(match &head.method {
            &Method::GET if has("acl") => Self::GetAcl,
            &Method::GET if has("tagging") => Self::GetTagging,
            &Method::GET if has("symlink") => Self::GetSymlink,
            &Method::GET if has("uploadId") => Self::ListParts { upload_id: upload_id()? },
            &Method::GET | &Method::HEAD if has("objectMeta") => Self::GetMeta,
            &Method::GET => Self::Get,
            &Method::HEAD => Self::Head,
            &Method::PUT if has("acl") => Self::PutAcl,
            &Method::PUT if has("tagging") => Self::PutTagging,
            &Method::PUT if has("symlink") => Self::PutSymlink,
            &Method::PUT if has("partNumber") || has("uploadId") => {
                let (upload_id, number) = (upload_id()?, part_number(head)?);
                if copies { Self::UploadPartCopy { upload_id, number } } else { Self::UploadPart { upload_id, number } }
            }
            &Method::PUT if copies => Self::Copy,
            &Method::PUT => Self::Put,
            &Method::POST if has("append") => Self::Append { position: append_position(head)? },
            &Method::POST if has("uploads") => Self::InitiateUpload,
            &Method::POST if has("uploadId") => Self::CompleteUpload { upload_id: upload_id()? },
            &Method::POST if has("restore") => Self::Restore,
            &Method::POST if has("cleanRestoredObject") => Self::CleanRestored,
            &Method::DELETE if has("tagging") => Self::DeleteTagging,
            &Method::DELETE if has("uploadId") => Self::AbortUpload { upload_id: upload_id()? },
            &Method::DELETE => Self::Delete,
            _ => return Err(method_not_allowed(head, "object")),
        })
    }
}

fn method_not_allowed(head: &Head, resource: &str) -> OssError {
    OssError::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        .detail("Method", head.method.as_str())
        .detail("ResourceType", resource)
}

fn refuse_absent(head: &Head) -> OssResult<()> {
    refuse_unknown(head, &[])
}

fn refuse_unknown(head: &Head, more: &[&str]) -> OssResult<()> {
    match ABSENT.iter().chain(more).find(|name| head.query.has(name)) {
        Some(name) => Err(OssError::not_implemented(name)),
        None => Ok(()),
    }
}

fn part_number(head: &Head) -> OssResult<u32> {
    let text = head.query.text("partNumber")?.unwrap_or_default();
    text.parse()
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| OssError::bad_value("PartNumber", text, "Part number must be an integer between 1 and 10000, inclusive.").ec("0017-00000220"))
}

fn append_position(head: &Head) -> OssResult<u64> {
    head.query.number("position")?.ok_or_else(|| OssError::missing_argument("Missing Some Required Arguments.").ec("0016-00000502"))
}

/// 3 to 63 of `a-z`, `0-9` and `-`, neither first nor last a `-`: protocol.md 2.3.
pub(crate) fn check_bucket_name(name: &str) -> OssResult<()> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_plain = name.bytes().next().is_some_and(plain) && name.bytes().last().is_some_and(plain);
    if (3..=63).contains(&name.len()) && ends_plain && name.bytes().all(|b| plain(b) || b == b'-') {
        return Ok(());
    }
    Err(OssError::new(400, "InvalidBucketName", "The specified bucket is not valid.").ec("0015-00000001").detail("BucketName", name))
}

/// 1 to 1023 bytes of UTF-8 that do not begin with `/` or `\`: protocol.md 2.3.
pub(crate) fn check_key(key: &[u8]) -> OssResult<String> {
    let text = std::str::from_utf8(key).ok().filter(|text| (1..=1023).contains(&text.len()) && !text.starts_with(['/', '\\']));
    text.map(str::to_owned).ok_or_else(|| {
        let message = "The length of object name must be between 1 and 1023 bytes of UTF-8, and the name must not begin with '/' or '\\'.";
        OssError::new(400, "InvalidObjectName", message).ec("0016-00000005").detail("ObjectName", String::from_utf8_lossy(key))
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::address::Addressing;
    use super::*;

    fn operation(request: &str) -> OssResult<Operation> {
        let (method, target) = request.split_once(' ').unwrap();
        let (target, copies) = target.strip_suffix(" copy").map_or((target, false), |target| (target, true));
        let mut request = Request::builder().method(method).uri(target).header("host", "127.0.0.1");
        if copies {
            request = request.header("x-oss-copy-source", "/b/k");
        }
        Operation::of(&Head::read(request.body(()).unwrap().into_parts().0, &Addressing::default())?)
    }

    #[test]
    fn each_request_is_one_operation() {
        let bucket = |op| Operation::Bucket("bkt".into(), op);
        let object = |op| Operation::Object(Target { bucket: "bkt".into(), key: "k".into() }, op);
        let upload_id = || "U".to_owned();
        for (request, expected) in [
            ("GET /", Operation::ListBuckets),
            ("GET /bkt?list-type=2", bucket(BucketOperation::ListObjectsV2)),
            ("GET /bkt/?prefix=a", bucket(BucketOperation::ListObjects)),
            ("PUT /bkt/", bucket(BucketOperation::Put)),
            ("POST /bkt/?delete=", bucket(BucketOperation::DeleteMultipleObjects)),
            ("PUT /bkt/?versioning", bucket(BucketOperation::PutVersioning)),
            ("GET /bkt/?live", bucket(BucketOperation::ListLiveChannels)),
            ("GET /?regions", Operation::DescribeRegions),
            ("PUT /bkt/k", object(ObjectOperation::Put)),
            ("PUT /bkt/k copy", object(ObjectOperation::Copy)),
            ("PUT /bkt/k?partNumber=1&uploadId=U", object(ObjectOperation::UploadPart { upload_id: upload_id(), number: 1 })),
            ("PUT /bkt/k?partNumber=2&uploadId=U copy", object(ObjectOperation::UploadPartCopy { upload_id: upload_id(), number: 2 })),
            ("GET /bkt/k?uploadId=U", object(ObjectOperation::ListParts { upload_id: upload_id() })),
            ("HEAD /bkt/k?objectMeta", object(ObjectOperation::GetMeta)),
            ("POST /bkt/k?append&position=7", object(ObjectOperation::Append { position: 7 })),
            ("DELETE /bkt/k", object(ObjectOperation::Delete)),
        ] {
            assert_eq!(operation(request).unwrap(), expected, "{request}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused_and_names_are_checked() {
        for (request, code) in [
            ("PUT /bkt/?replication", "NotImplemented"),
            ("GET /bkt/k?x-oss-process=image/resize,w_10", "NotImplemented"),
            ("PUT /bkt/k?partNumber=0&uploadId=U", "InvalidArgument"),
            ("PUT /bkt/k?partNumber=10001&uploadId=U", "InvalidArgument"),
            ("POST /bkt/k?append", "MissingArgument"),
            ("PUT /bkt/k?live", "NotImplemented"),
            ("POST /bkt/k", "MethodNotAllowed"),
            ("GET /Bkt/k", "InvalidBucketName"),
            ("GET /b.t/k", "InvalidBucketName"),
            ("GET /-bt/k", "InvalidBucketName"),
            ("GET /bkt//k", "InvalidObjectName"),
            ("GET /bkt/%5Ck", "InvalidObjectName"),
            ("GET /bkt/%FF", "InvalidObjectName"),
        ] {
            assert_eq!(operation(request).unwrap_err().code, code, "{request}");
        }
        let longest = format!("GET /bkt/{}", "k".repeat(1023));
        assert!(operation(&longest).is_ok());
        assert_eq!(operation(&format!("{longest}k")).unwrap_err().ec, "0016-00000005");
    }
}
