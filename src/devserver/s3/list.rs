//! Listings: objects (both versions of the call), uploads.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TOKEN;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    self, CommonPrefix, EncodingType, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::checksum;
use super::{Bridge, int, owner, stamp};
use crate::devserver::store::{ListEntry, ListQuery, Listing, Object, Upload};

/// Entries a page, at most.
const PAGE_ENTRIES_MAX: i32 = 1000;

/// What S3 leaves as it is under `encoding-type=url`; a space becomes `+`.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// Encodes names where the client asked for it (XML 1.0 cannot hold every key).
#[derive(Clone, Copy)]
pub(super) struct Names {
    encoded: bool,
}

impl Names {
    pub(super) fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { encoded: false }),
            Some("url") => Ok(Self { encoded: true }),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub(super) fn show(self, name: &str) -> String {
        if self.encoded { utf8_percent_encode(name, KEPT).to_string().replace("%20", "+") } else { name.to_owned() }
    }

    pub(super) fn echo(self, name: Option<&String>) -> Option<String> {
        name.map(|name| self.show(name))
    }
}

pub(super) fn limit(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(PAGE_ENTRIES_MAX) {
        asked if asked < 0 => Err(s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647")),
        asked => Ok(asked.min(PAGE_ENTRIES_MAX)),
    }
}

impl Bridge {
    /// A page of objects. A page of none is never truncated.
    fn page(&self, bucket: &str, prefix: Option<&String>, after: &str, delimiter: Option<&String>, max: i32) -> S3Result<Listing<Arc<Object>>> {
        let text = |text: Option<&String>| text.map(String::as_str).unwrap_or("").to_owned();
        let (prefix, delimiter) = (text(prefix), text(delimiter));
        let query = ListQuery { prefix: &prefix, after, delimiter: &delimiter, limit: usize::try_from(max).unwrap_or(0) };
        let listing = self.store.list(bucket, &query)?;
        Ok(if max == 0 { Listing { truncated: false, ..listing } } else { listing })
    }

    pub(super) fn list_v1(&self, req: &S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = &req.input;
        let (names, max) = (Names::new(input.encoding_type.as_ref())?, limit(input.max_keys)?);
        let listing = self.page(&input.bucket, input.prefix.as_ref(), input.marker.as_deref().unwrap_or(""), input.delimiter.as_ref(), max)?;
        // Told only with a delimiter: without one the last key serves (S3's ListObjects).
        let next_marker = listing.last().filter(|_| listing.truncated && input.delimiter.is_some()).map(|name| names.show(name));
        let (contents, common_prefixes) = shown(&listing, names, true);
        let output = ListObjectsOutput {
            name: Some(input.bucket.clone()),
            prefix: Some(names.show(input.prefix.as_deref().unwrap_or(""))),
            marker: Some(names.show(input.marker.as_deref().unwrap_or(""))),
            delimiter: names.echo(input.delimiter.as_ref()),
            max_keys: Some(max),
            is_truncated: Some(listing.truncated),
            next_marker,
            encoding_type: input.encoding_type.clone(),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..ListObjectsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn list_v2(&self, req: &S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = &req.input;
        let (names, max) = (Names::new(input.encoding_type.as_ref())?, limit(input.max_keys)?);
        let after = match &input.continuation_token {
            Some(token) => named_by_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let listing = self.page(&input.bucket, input.prefix.as_ref(), &after, input.delimiter.as_ref(), max)?;
        let (contents, common_prefixes) = shown(&listing, names, input.fetch_owner.unwrap_or(false));
        let output = ListObjectsV2Output {
            name: Some(input.bucket.clone()),
            prefix: Some(names.show(input.prefix.as_deref().unwrap_or(""))),
            delimiter: names.echo(input.delimiter.as_ref()),
            start_after: names.echo(input.start_after.as_ref()),
            max_keys: Some(max),
            key_count: i32::try_from(listing.entries.len()).ok(),
            is_truncated: Some(listing.truncated),
            continuation_token: input.continuation_token.clone(),
            next_continuation_token: listing.last().filter(|_| listing.truncated).map(|name| TOKEN.encode(name)),
            encoding_type: input.encoding_type.clone(),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..ListObjectsV2Output::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn list_uploads(&self, req: &S3Request<ListMultipartUploadsInput>) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = &req.input;
        let (names, max) = (Names::new(input.encoding_type.as_ref())?, limit(input.max_uploads)?);
        let (prefix, delimiter) = (input.prefix.as_deref().unwrap_or(""), input.delimiter.as_deref().unwrap_or(""));
        let after = (input.key_marker.as_deref().unwrap_or(""), input.upload_id_marker.as_deref().unwrap_or(""));
        let open = self.store.uploads(&input.bucket, prefix, after, usize::MAX)?;
        let (mut uploads, mut prefixes): (Vec<&Upload>, Vec<String>) = (Vec::new(), Vec::new());
        let mut truncated = false;
        for upload in &open {
            let folded = upload.key[prefix.len()..].split_once(delimiter).filter(|_| !delimiter.is_empty());
            let folded = folded.map(|(head, _)| format!("{prefix}{head}{delimiter}"));
            if folded.is_some() && prefixes.last() == folded.as_ref() {
                continue;
            }
            if i32::try_from(uploads.len() + prefixes.len()).unwrap_or(i32::MAX) >= max {
                truncated = max > 0;
                break;
            }
            match folded {
                Some(folded) => prefixes.push(folded),
                None => uploads.push(upload),
            }
        }
        let last = uploads.last().filter(|_| truncated);
        let output = ListMultipartUploadsOutput {
            bucket: Some(input.bucket.clone()),
            prefix: Some(names.show(prefix)),
            delimiter: names.echo(input.delimiter.as_ref()),
            key_marker: Some(names.show(after.0)),
            upload_id_marker: Some(after.1.to_owned()),
            max_uploads: Some(max),
            is_truncated: Some(truncated),
            next_key_marker: last.map(|upload| names.show(&upload.key)),
            next_upload_id_marker: last.map(|upload| upload.id.clone()),
            encoding_type: input.encoding_type.clone(),
            uploads: Some(uploads.iter().map(|upload| shown_upload(upload, names)).collect()),
            common_prefixes: Some(prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(names.show(prefix)) }).collect()),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }
}

fn named_by_token(token: &str) -> S3Result<String> {
    let name = TOKEN.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
    name.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

fn shown(listing: &Listing<Arc<Object>>, names: Names, with_owner: bool) -> (Vec<dto::Object>, Vec<CommonPrefix>) {
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in &listing.entries {
        match entry {
            ListEntry::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(names.show(prefix)) }),
            ListEntry::Item(key, object) => {
                let checksum = checksum::of_object(object);
                contents.push(dto::Object {
                    key: Some(names.show(key.as_str())),
                    e_tag: Some(dto::ETag::Strong(object.etag.clone())),
                    size: Some(int(object.size())),
                    last_modified: Some(stamp(object.last_modified)),
                    storage_class: Some(object.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".into()).into()),
                    checksum_algorithm: Some(vec![checksum.algorithm.into()]),
                    checksum_type: Some(checksum.scope.into()),
                    owner: with_owner.then(owner),
                    ..dto::Object::default()
                });
            }
        }
    }
    (contents, prefixes)
}

fn shown_upload(upload: &Upload, names: Names) -> dto::MultipartUpload {
    dto::MultipartUpload {
        key: Some(names.show(&upload.key)),
        upload_id: Some(upload.id.clone()),
        initiated: Some(stamp(upload.initiated)),
        storage_class: Some(upload.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".into()).into()),
        owner: Some(owner()),
        initiator: Some(dto::Initiator { id: owner().id, display_name: owner().display_name }),
        checksum_algorithm: upload.checksum.as_ref().map(|checksum| checksum.algorithm.clone().into()),
        checksum_type: upload.checksum.as_ref().map(|checksum| checksum.scope.clone().into()),
    }
}
