//! The small answers: errors, multipart uploads, copies, deletes, buckets.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::{Element, broken};
use crate::error::Result;
use crate::storage::checksum::{Algorithm, Checksums, Composite};
use crate::storage::key::{Key, escape};
use crate::storage::object::{ETag, ObjectRef};
use crate::storage::transport::target::decode_form;
use crate::storage::{Acl, BucketInfo, OpenUpload, Part, RestoreTier, Upload, UploadId};

/// What an `<Error>` says. Absent elements are empty. A person will read it, so what could steer a terminal is escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::storage) struct ErrorDocument {
    /// Such as `NoSuchKey`.
    pub(in crate::storage) code: String,
    /// In the service's words.
    pub(in crate::storage) message: String,
    /// Request id.
    pub(in crate::storage) request_id: String,
    /// S3: its second request id; OSS: the host that was asked.
    pub(in crate::storage) host_id: String,
    /// OSS: the fine-grained code.
    pub(in crate::storage) ec: String,
    /// The right endpoint, where this was the wrong one.
    pub(in crate::storage) endpoint: String,
    /// The right region, where this was the wrong one.
    pub(in crate::storage) region: String,
    /// The bucket concerned.
    pub(in crate::storage) bucket: String,
    /// The service's clock, where the request's was wrong.
    pub(in crate::storage) server_time: Option<Timestamp>,
}

impl ErrorDocument {
    /// Reads an error document. `None` where the body is none (empty, HTML of a proxy, a success answer).
    pub(in crate::storage) fn parse(body: &[u8]) -> Option<Self> {
        // A message may quote bytes of the request that are not UTF-8.
        let body = String::from_utf8_lossy(body);
        let root = Element::parse(body.as_bytes(), &["Error", "ErrorResponse"]).ok()?;
        let error = root.child("Error").unwrap_or(&root);
        let text = |name| escape(error.text(name).or_else(|| root.text(name)).unwrap_or_default().trim().as_bytes());
        Some(Self {
            code: text("Code"),
            message: text("Message"),
            request_id: text("RequestId"),
            host_id: text("HostId"),
            ec: text("EC"),
            endpoint: text("Endpoint"),
            region: text("Region"),
            bucket: error.text("Bucket").or_else(|| error.text("BucketName")).unwrap_or_default().to_owned(),
            server_time: error.time("ServerTime"),
        })
    }
}

/// The upload id of an InitiateMultipartUpload answer. moto and rclone name some roots otherwise than the services do.
pub(in crate::storage) fn upload_id(body: &[u8]) -> Result<UploadId> {
    Ok(UploadId(Element::parse(body, &["InitiateMultipartUploadResult", "InitiateMultipartUpload"])?.require("UploadId")?.to_owned()))
}

/// The tags of an object.
pub(in crate::storage) fn tags(body: &[u8]) -> Result<BTreeMap<String, String>> {
    let root = Element::parse(body, &["Tagging"])?;
    let set = root.child("TagSet").ok_or_else(|| broken("it has no TagSet"))?;
    set.all("Tag").map(|tag| Ok((tag.require("Key")?.to_owned(), tag.text("Value").unwrap_or_default().to_owned()))).collect()
}

/// The groups that S3's grants name (Amazon S3 API reference, "Grantee").
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

/// The canned ACL that an answer amounts to: OSS names it, S3 lists the grants that it stands for.
pub(in crate::storage) fn acl(body: &[u8]) -> Result<Acl> {
    let root = Element::parse(body, &["AccessControlPolicy"])?;
    let list = root.child("AccessControlList").ok_or_else(|| broken("it has no AccessControlList"))?;
    if let Some(canned) = list.text("Grant").map(str::trim).filter(|canned| !canned.is_empty()) {
        return Ok(if canned == "default" { Acl::Bucket } else { Acl::Canned(canned.to_owned()) });
    }
    let owner = root.child("Owner").and_then(|owner| owner.text("ID"));
    let mut granted = Vec::new();
    for grant in list.all("Grant") {
        let grantee = grant.child("Grantee").ok_or_else(|| broken("a grant has no grantee"))?;
        let permission = grant.require("Permission")?;
        match (grantee.text("URI"), permission) {
            (Some(ALL_USERS), "READ") => granted.push("public-read"),
            (Some(ALL_USERS), "WRITE") => granted.push("public-write"),
            (Some(AUTHENTICATED_USERS), "READ") => granted.push("authenticated-read"),
            (None, "FULL_CONTROL") if owner.is_some() && grantee.text("ID") == owner => {}
            _ => return Ok(Acl::Grants),
        }
    }
    granted.sort_unstable();
    Ok(match granted[..] {
        [] => Acl::Canned("private".to_owned()),
        ["public-read"] => Acl::Canned("public-read".to_owned()),
        ["public-read", "public-write"] => Acl::Canned("public-read-write".to_owned()),
        ["authenticated-read"] => Acl::Canned("authenticated-read".to_owned()),
        _ => Acl::Grants,
    })
}

/// The body of a request to restore; the two clouds name the element around the tier differently.
pub(in crate::storage) fn restore_body(days: u16, tier: Option<(&str, RestoreTier)>) -> String {
    let tier = tier.map(|(around, tier)| format!("<{around}><Tier>{}</Tier></{around}>", tier.as_str())).unwrap_or_default();
    format!("<RestoreRequest><Days>{days}</Days>{tier}</RestoreRequest>")
}

/// One page of ListParts.
#[derive(Debug)]
pub(in crate::storage) struct PartsPage {
    /// The parts, in the order of the page.
    pub(in crate::storage) parts: Vec<Part>,
    /// What to send as `part-number-marker` for the next page.
    pub(in crate::storage) next_marker: Option<u32>,
}

/// Reads a page of ListParts; part numbers must ascend beyond `marker`, the one that asked for it.
pub(in crate::storage) fn list_parts(body: &[u8], marker: u32) -> Result<PartsPage> {
    let root = Element::parse(body, &["ListPartsResult", "ListPartsResponse"])?;
    let mut last = marker;
    let mut parts = Vec::new();
    for part in root.all("Part") {
        let number = part.number("PartNumber")?;
        if number <= last {
            return Err(broken("its part numbers do not ascend"));
        }
        last = number;
        parts.push(Part {
            number,
            etag: ETag::new(part.require("ETag")?),
            size: part.number("Size")?,
            checksums: checksums(part),
            modified: part.time("LastModified"),
        });
    }
    let next_marker = match is_truncated(&root)? {
        true if parts.is_empty() => return Err(broken("it says that there are more parts and lists none")),
        true => Some(last),
        false => None,
    };
    Ok(PartsPage { parts, next_marker })
}

/// One page of ListMultipartUploads.
#[derive(Debug)]
pub(in crate::storage) struct UploadsPage {
    /// The uploads, in the order of the page.
    pub(in crate::storage) uploads: Vec<OpenUpload>,
    /// What to send as `key-marker` and `upload-id-marker` for the next page.
    pub(in crate::storage) next_marker: Option<(Key, String)>,
}

/// Reads a page of ListMultipartUploads.
pub(in crate::storage) fn list_uploads(body: &[u8]) -> Result<UploadsPage> {
    let root = Element::parse(body, &["ListMultipartUploadsResult"])?;
    let url_encoded = is_url_encoded(&root);
    let mut uploads = Vec::new();
    for upload in root.all("Upload") {
        uploads.push(OpenUpload {
            upload: Upload { key: key(upload.require("Key")?, url_encoded)?, id: UploadId(upload.require("UploadId")?.to_owned()) },
            initiated: upload.time("Initiated"),
            storage_class: upload.text("StorageClass").map(str::to_owned),
        });
    }
    let next_marker = match is_truncated(&root)? {
        false => None,
        true => Some((key(root.require("NextKeyMarker")?, url_encoded)?, root.text("NextUploadIdMarker").unwrap_or_default().to_owned())),
    };
    Ok(UploadsPage { uploads, next_marker })
}

/// The ETag and checksums of a CompleteMultipartUpload answer. S3 may answer 200 with an error document: ask [`ErrorDocument::parse`] first.
pub(in crate::storage) fn complete_result(body: &[u8]) -> Result<(ETag, Checksums)> {
    let root = Element::parse(body, &["CompleteMultipartUploadResult"])?;
    Ok((ETag::new(root.require("ETag")?), checksums(&root)))
}

/// What a copy made.
#[derive(Debug)]
pub(in crate::storage) struct CopyResult {
    /// The new object's (or part's) ETag.
    pub(in crate::storage) etag: ETag,
    /// What the service states of it.
    pub(in crate::storage) checksums: Checksums,
}

/// Reads a CopyObject or UploadPartCopy answer. S3 may answer 200 with an error document: ask [`ErrorDocument::parse`] first.
pub(in crate::storage) fn copy_result(body: &[u8]) -> Result<CopyResult> {
    let root = Element::parse(body, &["CopyObjectResult", "CopyPartResult"])?;
    Ok(CopyResult { etag: ETag::new(root.require("ETag")?), checksums: checksums(&root) })
}

/// What a multi-delete says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) struct DeleteOutcome {
    /// The key and version that were asked for.
    pub(in crate::storage) object: ObjectRef,
    /// A delete marker was made or removed.
    pub(in crate::storage) delete_marker: bool,
    /// That marker's version.
    pub(in crate::storage) marker_version: Option<String>,
    /// Code and message, where it failed.
    pub(in crate::storage) failure: Option<(String, String)>,
}

/// Reads a multi-delete answer. What was asked for and stands nowhere in it is not known to be deleted.
pub(in crate::storage) fn delete_result(body: &[u8]) -> Result<Vec<DeleteOutcome>> {
    let root = Element::parse(body, &["DeleteResult"])?;
    let url_encoded = is_url_encoded(&root);
    let mut outcomes = Vec::new();
    for element in root.children.iter().filter(|c| matches!(c.name.as_str(), "Deleted" | "Error")) {
        let object = ObjectRef { key: key(element.require("Key")?, url_encoded)?, version: element.text("VersionId").map(str::to_owned) };
        let words = |name| element.text(name).unwrap_or_default().to_owned();
        outcomes.push(DeleteOutcome {
            object,
            delete_marker: element.is_true("DeleteMarker"),
            marker_version: element.text("DeleteMarkerVersionId").map(str::to_owned),
            failure: (element.name == "Error").then(|| (words("Code"), words("Message"))),
        });
    }
    Ok(outcomes)
}

/// One page of a caller's buckets.
#[derive(Debug)]
pub(in crate::storage) struct Buckets {
    /// The buckets.
    pub(in crate::storage) buckets: Vec<BucketInfo>,
    /// What to send for the next page: OSS's `marker`, S3's `continuation-token`.
    pub(in crate::storage) next: Option<String>,
}

/// Reads OSS's GetService or S3's ListBuckets. An OSS location `oss-cn-hangzhou` is the region `cn-hangzhou`.
pub(in crate::storage) fn list_buckets(body: &[u8]) -> Result<Buckets> {
    let root = Element::parse(body, &["ListAllMyBucketsResult", "ListBucketsResult"])?;
    let mut buckets = Vec::new();
    for bucket in root.all("Buckets").flat_map(|b| b.all("Bucket")) {
        let location = bucket.text("Location").map(|l| l.strip_prefix("oss-").unwrap_or(l));
        let region = bucket.text("Region").or_else(|| bucket.text("BucketRegion")).or(location);
        buckets.push(BucketInfo { name: bucket.require("Name")?.to_owned(), region: region.map(str::to_owned), created: bucket.time("CreationDate") });
    }
    let truncated = root.is_true("IsTruncated");
    let next = root.text("ContinuationToken").or_else(|| root.text("NextMarker").filter(|_| truncated)).map(str::to_owned);
    if truncated && next.is_none() {
        return Err(broken("the list of buckets says that there is more and not where"));
    }
    Ok(Buckets { buckets, next })
}

/// Go's servers (rclone) leave out what is false.
pub(super) fn is_truncated(root: &Element) -> Result<bool> {
    match root.text("IsTruncated").map(str::trim) {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        _ => Err(broken("IsTruncated is neither true nor false")),
    }
}

pub(super) fn is_url_encoded(root: &Element) -> bool {
    root.text("EncodingType").is_some_and(|e| e.trim() == "url")
}

pub(super) fn key(text: &str, url_encoded: bool) -> Result<Key> {
    if !url_encoded {
        return Ok(text.into());
    }
    decode_form(text).map(Key::new).ok_or_else(|| broken("a key is not url-encoded as the answer says"))
}

/// What an element states of the bytes: OSS's one, and S3's five. A value that cannot be read was not stated.
fn checksums(element: &Element) -> Checksums {
    let text = |name: &str| element.text(name).map(str::trim);
    let mut out = Checksums {
        crc64xz: text("HashCrc64ecma").and_then(|v| v.parse().ok()),
        crc64nvme: text("ChecksumCRC64NVME").and_then(bytes).map(u64::from_be_bytes),
        crc32c: text("ChecksumCRC32C").and_then(bytes).map(u32::from_be_bytes),
        crc32: text("ChecksumCRC32").and_then(bytes).map(u32::from_be_bytes),
        sha1: text("ChecksumSHA1").and_then(bytes),
        sha256: text("ChecksumSHA256").and_then(bytes),
        ..Checksums::default()
    };
    if text("ChecksumType") == Some("COMPOSITE") {
        out.crc32c = None;
        out.crc32 = None;
    }
    out.composite =
        [(Algorithm::Crc32c, "ChecksumCRC32C"), (Algorithm::Crc32, "ChecksumCRC32"), (Algorithm::Sha1, "ChecksumSHA1"), (Algorithm::Sha256, "ChecksumSHA256")]
            .into_iter()
            .find_map(|(algorithm, name)| composite(algorithm, text(name)?));
    out
}

/// `base64` of exactly N bytes.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

/// `base64-N`: a checksum over the checksums of N parts.
fn composite(algorithm: Algorithm, text: &str) -> Option<Composite> {
    let (digest, parts) = text.rsplit_once('-')?;
    Some(Composite { algorithm, digest: BASE64.decode(digest).ok()?, parts: parts.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn errors_of_both_clouds() {
        let oss = br#"<?xml version="1.0" encoding="UTF-8"?>
<Error>
  <Code>AccessDenied</Code>
  <Message>The bucket you are attempting to access must be addressed using the specified endpoint.</Message>
  <RequestId>5C3D</RequestId><HostId>b.oss-cn-hangzhou.aliyuncs.com</HostId><Bucket>b</Bucket>
  <Endpoint>oss-cn-shanghai.aliyuncs.com</Endpoint><EC>0003-00001403</EC>
</Error>"#;
        let error = ErrorDocument::parse(oss).expect("an error");
        assert_eq!((error.code.as_str(), error.ec.as_str(), error.bucket.as_str()), ("AccessDenied", "0003-00001403", "b"));
        assert_eq!(error.endpoint, "oss-cn-shanghai.aliyuncs.com");
        let s3 = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region><HostId>h</HostId></Error>";
        assert_eq!(ErrorDocument::parse(s3).map(|e| e.region).as_deref(), Some("eu-west-1"));
        let sts = b"<ErrorResponse><Error><Code>ExpiredToken</Code></Error><RequestId>7</RequestId></ErrorResponse>";
        assert_eq!(ErrorDocument::parse(sts).map(|e| (e.code, e.request_id)), Some(("ExpiredToken".into(), "7".into())));
        for none in [&b""[..], b"<html><h1>502</h1></html>", b"<Error><Code>x", b"<CompleteMultipartUploadResult/>"] {
            assert_eq!(ErrorDocument::parse(none), None);
        }
        let skew = b"<Error><Code>RequestTimeTooSkewed</Code><Message>\xff</Message><ServerTime>2026-01-01T00:00:00.000Z</ServerTime></Error>";
        assert!(ErrorDocument::parse(skew).is_some_and(|e| e.server_time.is_some()));
    }

    #[test]
    fn parts_carry_both_clouds_checksums_and_page() {
        let body = b"<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>5</NextPartNumberMarker>\
            <Part><PartNumber>1</PartNumber><LastModified>2026-02-23T07:01:34.000Z</LastModified><ETag>\"3349\"</ETag><HashCrc64ecma>11051210869376104954</HashCrc64ecma><Size>9</Size></Part>\
            <Part><PartNumber>5</PartNumber><ETag>&quot;7265&quot;</ETag><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME><Size>9</Size></Part></ListPartsResult>";
        let page = list_parts(body, 0).expect("parts");
        assert_eq!(page.next_marker, Some(5));
        assert_eq!(page.parts[0].checksums.crc64xz, Some(11_051_210_869_376_104_954));
        assert_eq!(page.parts[1].checksums.crc64nvme, Some(0xae8b_1486_0a79_9888));
        assert_eq!(page.parts[1].etag, ETag::new("7265"));
        assert!(page.parts[0].modified.is_some());
        assert_eq!(list_parts(body, 1).expect_err("part 1 again").kind(), ErrorKind::Integrity);
    }

    #[test]
    fn a_composite_checksum_is_not_taken_for_a_full_one() {
        let body = b"<CompleteMultipartUploadResult><ETag>\"a-2\"</ETag><ChecksumCRC32C>4waSgw==-2</ChecksumCRC32C><ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>";
        let (etag, sums) = complete_result(body).expect("a result");
        assert_eq!(etag.as_str(), "a-2");
        assert_eq!(sums.crc32c, None);
        assert_eq!(sums.composite, Some(Composite { algorithm: Algorithm::Crc32c, digest: vec![0xe3, 6, 0x92, 0x83], parts: 2 }));
        assert!(complete_result(b"<Error><Code>InternalError</Code></Error>").is_err());
    }

    #[test]
    fn uploads_are_decoded_and_page() {
        let body = b"<ListMultipartUploadsResult><EncodingType>url</EncodingType><NextKeyMarker>a%2Fb+c</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker>\
            <IsTruncated>true</IsTruncated><Upload><Key>a%2Fb+c</Key><UploadId>u2</UploadId><StorageClass>IA</StorageClass><Initiated>2012-02-23T04:18:23.000Z</Initiated></Upload></ListMultipartUploadsResult>";
        let page = list_uploads(body).expect("uploads");
        assert_eq!(page.uploads[0].upload.key, Key::from("a/b c"));
        assert!(page.uploads[0].initiated.is_some());
        assert_eq!(page.next_marker, Some((Key::from("a/b c"), "u2".into())));
        assert!(list_uploads(b"<ListMultipartUploadsResult><IsTruncated>maybe</IsTruncated></ListMultipartUploadsResult>").is_err());
        assert!(list_uploads(b"<ListMultipartUploadsResult/>").expect("none is open").next_marker.is_none());
        assert_eq!(upload_id(b"<InitiateMultipartUploadResult><UploadId>0004B9</UploadId></InitiateMultipartUploadResult>").expect("an id").0, "0004B9");
    }

    #[test]
    fn deletes_answer_for_each_key() {
        let body = b"<DeleteResult><EncodingType>url</EncodingType><Deleted><Key>a+b</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>v9</DeleteMarkerVersionId></Deleted>\
            <Error><Key>c</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
        let outcomes = delete_result(body).expect("outcomes");
        assert_eq!(outcomes[0].object, Key::from("a b").into());
        assert_eq!((outcomes[0].delete_marker, outcomes[0].marker_version.as_deref(), &outcomes[0].failure), (true, Some("v9"), &None));
        assert_eq!(outcomes[1].failure, Some(("AccessDenied".into(), "no".into())));
        assert!(delete_result(b"").is_err(), "an empty body names nobody as deleted");
    }

    #[test]
    fn buckets_of_both_clouds() {
        let oss = b"<ListAllMyBucketsResult><IsTruncated>true</IsTruncated><NextMarker>b</NextMarker><Buckets><Bucket><CreationDate>2014-02-17T18:12:43.000Z</CreationDate>\
            <Location>oss-cn-shanghai</Location><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>";
        let page = list_buckets(oss).expect("buckets");
        assert_eq!((page.buckets[0].name.as_str(), page.buckets[0].region.as_deref(), page.next.as_deref()), ("b", Some("cn-shanghai"), Some("b")));
        let s3 = b"<ListAllMyBucketsResult><Buckets><Bucket><Name>x</Name><BucketRegion>us-east-1</BucketRegion></Bucket></Buckets><ContinuationToken>t</ContinuationToken></ListAllMyBucketsResult>";
        let page = list_buckets(s3).expect("buckets");
        assert_eq!((page.buckets[0].region.as_deref(), page.next.as_deref()), (Some("us-east-1"), Some("t")));
    }

    #[test]
    fn a_copy_says_what_it_made() {
        let body = b"<CopyObjectResult><ETag>\"A\"</ETag><LastModified>2019-04-09T03:45:32.000Z</LastModified></CopyObjectResult>";
        let copy = copy_result(body).expect("a copy");
        assert_eq!(copy.etag, ETag::new("a"));
        assert!(copy.checksums.is_empty());
    }
}
