//! What a request asks of which bucket and key.

use std::net::IpAddr;

use super::dialect::Dialect;
use super::wire::Head;

/// The operations that are told apart, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    Head,
    Put,
    Delete,
    DeleteMany,
    List,
    CreateUpload,
    UploadPart,
    ListParts,
    CompleteUpload,
    AbortUpload,
    ListUploads,
    HeadBucket,
    CreateBucket,
    ListBuckets,
    BucketSetting,
    ObjectSetting,
    Copy,
}

impl Operation {
    /// All of them, with the names that the report has for them.
    pub(super) const ALL: [(Self, &'static str); 18] = [
        (Self::Get, "get"),
        (Self::Head, "head"),
        (Self::Put, "put"),
        (Self::Delete, "delete"),
        (Self::DeleteMany, "delete_many"),
        (Self::List, "list"),
        (Self::CreateUpload, "create_upload"),
        (Self::UploadPart, "upload_part"),
        (Self::ListParts, "list_parts"),
        (Self::CompleteUpload, "complete_upload"),
        (Self::AbortUpload, "abort_upload"),
        (Self::ListUploads, "list_uploads"),
        (Self::HeadBucket, "head_bucket"),
        (Self::CreateBucket, "create_bucket"),
        (Self::ListBuckets, "list_buckets"),
        (Self::BucketSetting, "bucket_setting"),
        (Self::ObjectSetting, "object_setting"),
        (Self::Copy, "copy"),
    ];

    /// Whether object bytes travel.
    pub(super) fn moves_bytes(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::UploadPart)
    }
}

/// A request, understood.
pub(super) struct Request<'a> {
    pub(super) dialect: Dialect,
    pub(super) operation: Operation,
    pub(super) bucket: String,
    pub(super) key: Vec<u8>,
    pub(super) head: &'a Head<'a>,
    query: Vec<(String, String)>,
}

impl<'a> Request<'a> {
    pub(super) fn parse(dialect: Dialect, head: &'a Head<'a>) -> Self {
        let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
        let path = path.trim_start_matches('/');
        let host = head.header("host").unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let path_style = host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let (bucket, key) = match (path_style, path.split_once('/')) {
            (true, Some((bucket, key))) => (bucket.to_owned(), key),
            (true, None) => (path.to_owned(), ""),
            (false, _) => (host.split('.').next().unwrap_or_default().to_owned(), path),
        };
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let decode = |text: &str| String::from_utf8_lossy(&percent_decode(text)).into_owned();
            (decode(name), decode(value))
        };
        let query: Vec<_> = query.split('&').filter(|text| !text.is_empty()).map(pair).collect();
        let key = percent_decode(key);
        let operation = operation(head, &bucket, &key, &query);
        Self { dialect, operation, bucket, key, head, query }
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        get(&self.query, name)
    }

    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.head.header(name)
    }
}

fn get<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn operation(head: &Head<'_>, bucket: &str, key: &[u8], query: &[(String, String)]) -> Operation {
    let has = |name| get(query, name).is_some();
    let setting = ["acl", "tagging", "torrent", "attributes", "legal-hold", "retention", "objectMeta", "symlink"].into_iter().any(has);
    match (head.method, bucket.is_empty(), key.is_empty()) {
        (_, true, _) => Operation::ListBuckets,
        ("GET", _, true) if has("uploads") => Operation::ListUploads,
        ("GET", _, true) if query.is_empty() || ["list-type", "prefix", "delimiter", "max-keys", "marker", "encoding-type"].into_iter().any(has) => {
            Operation::List
        }
        ("HEAD", _, true) => Operation::HeadBucket,
        ("PUT", _, true) if query.is_empty() => Operation::CreateBucket,
        ("POST", _, true) if has("delete") => Operation::DeleteMany,
        (_, _, true) => Operation::BucketSetting,
        ("GET", _, _) if has("uploadId") => Operation::ListParts,
        ("PUT", _, _) if has("uploadId") => Operation::UploadPart,
        ("POST", _, _) if has("uploads") => Operation::CreateUpload,
        ("POST", _, _) if has("uploadId") => Operation::CompleteUpload,
        ("DELETE", _, _) if has("uploadId") => Operation::AbortUpload,
        (_, _, _) if setting => Operation::ObjectSetting,
        ("GET", ..) => Operation::Get,
        ("HEAD", ..) => Operation::Head,
        ("PUT", ..) if head.header("x-amz-copy-source").or(head.header("x-oss-copy-source")).is_some() => Operation::Copy,
        ("PUT", ..) => Operation::Put,
        ("DELETE", ..) => Operation::Delete,
        _ => Operation::ObjectSetting,
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') && !bytes.contains(&b'+') {
        return bytes.to_vec();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}
