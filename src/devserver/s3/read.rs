//! Reading: GetObject, HeadObject, GetObjectAttributes, tags and ACLs.

use std::ops::Range;

use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use s3s::dto::{
    self, ETag, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StreamingBlob,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::attributes::to_headers;
use super::checksum::{self, COMPOSITE, set_checksum};
use super::condition::read_condition;
use super::error::{named, range_not_satisfiable};
use super::versions::told;
use super::{Bridge, int, stamp};
use crate::devserver::store::{Object, PartOutline, Stored};
use crate::devserver::weather::IgnoreRange;
use crate::devserver::wire::ContentBody;

/// Classes whose objects must be restored before they can be read (protocol.md 4).
pub(super) const FROZEN_CLASSES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Which bytes of an object are meant.
struct Selection<'o> {
    range: Range<u64>,
    /// They were asked for as a range or a part.
    partial: bool,
    part: Option<&'o PartOutline>,
}

fn select(object: &Object, range: Option<dto::Range>, part_number: Option<i32>) -> S3Result<Selection<'_>> {
    let size = object.size();
    match (range, part_number) {
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "Cannot specify both Range header and partNumber query parameter")),
        (Some(range), None) => {
            let range = range.check(size).map_err(|_| range_not_satisfiable(size))?;
            if range.is_empty() {
                return Err(range_not_satisfiable(size));
            }
            Ok(Selection { range, partial: true, part: None })
        }
        (None, Some(number)) => select_part(object, number),
        (None, None) => Ok(Selection { range: 0..size, partial: false, part: None }),
    }
}

fn select_part(object: &Object, number: i32) -> S3Result<Selection<'_>> {
    let no_such_part = || named(http::StatusCode::RANGE_NOT_SATISFIABLE, "InvalidPartNumber", "The requested partnumber is not satisfiable");
    if object.parts.is_empty() && number == 1 {
        return Ok(Selection { range: 0..object.size(), partial: !object.content.is_empty(), part: None });
    }
    // Part numbers of a completed object are counted anew from 1, whatever numbers its parts were uploaded under.
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)).ok_or_else(no_such_part)?;
    let part = object.parts.get(index).ok_or_else(no_such_part)?;
    let start: u64 = object.parts[..index].iter().map(|part| part.size).sum();
    Ok(Selection { range: start..start + part.size, partial: true, part: Some(part) })
}

impl Bridge {
    pub(super) fn readable(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Stored> {
        Ok(self.store.find(bucket, key, version)?)
    }

    pub(super) fn get(&self, mut req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let condition = read_condition!(req.input);
        let GetObjectInput { bucket, key, range, part_number, version_id, .. } = &req.input;
        let object = self.readable(bucket, key, version_id.as_deref())?;
        condition.check(&object)?;
        self.thawed(&object)?;
        let range = range.filter(|_| req.extensions.get::<IgnoreRange>().is_none());
        let selection = select(&object, range, *part_number)?;
        let mut headers = self.describe(&object, &selection, req.input.checksum_mode.is_some())?;
        // s3s has set what the query overrides (`response-content-type`) already, and ours would win over it.
        let overridden = [
            ("content-type", req.input.response_content_type.is_some()),
            ("content-language", req.input.response_content_language.is_some()),
            ("expires", req.input.response_expires.is_some()),
            ("cache-control", req.input.response_cache_control.is_some()),
            ("content-disposition", req.input.response_content_disposition.is_some()),
            ("content-encoding", req.input.response_content_encoding.is_some()),
        ];
        for (name, _) in overridden.iter().filter(|(_, overridden)| *overridden) {
            headers.remove(*name);
        }
        let body = ContentBody::new(&object.content, selection.range.clone()).boxed_unsync();
        let output = GetObjectOutput {
            body: Some(StreamingBlob::from(s3s::Body::http_body_unsync(body))),
            content_length: Some(int(selection.range.end - selection.range.start)),
            content_range: content_range(&object, &selection),
            version_id: told(&object),
            ..GetObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, headers))
    }

    pub(super) fn head(&self, mut req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let condition = read_condition!(req.input);
        let HeadObjectInput { bucket, key, range, part_number, version_id, .. } = &req.input;
        let object = self.readable(bucket, key, version_id.as_deref())?;
        condition.check(&object)?;
        let selection = select(&object, *range, *part_number)?;
        let headers = self.describe(&object, &selection, req.input.checksum_mode.is_some())?;
        let output = HeadObjectOutput {
            content_length: Some(int(selection.range.end - selection.range.start)),
            content_range: content_range(&object, &selection),
            version_id: told(&object),
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, headers))
    }

    pub(super) fn thawed(&self, object: &Object) -> S3Result<()> {
        let frozen = object.attributes.storage_class.as_deref().is_some_and(|class| FROZEN_CLASSES.contains(&class));
        let now = self.store.now();
        let readable = object.attributes.restore.as_ref().is_some_and(|restore| restore.ready <= now && now < restore.expiry);
        if frozen && !readable { Err(s3_error!(InvalidObjectState, "The operation is not valid for the object's storage class")) } else { Ok(()) }
    }

    /// The headers of a GET or HEAD. A checksum is told of the whole object or of a whole part only (protocol.md 3).
    fn describe(&self, object: &Object, selection: &Selection<'_>, with_checksum: bool) -> S3Result<HeaderMap> {
        let mut headers = to_headers(object, self.store.now())?;
        if with_checksum {
            let whole = checksum::of_object(object);
            let told = match selection.part {
                Some(part) => part.checksum.as_ref().map(|checksum| (checksum, whole.scope.as_str())),
                None if selection.range == (0..object.size()) => Some((&whole, whole.scope.as_str())),
                None => None,
            };
            if let Some((checksum, scope)) = told {
                put_checksum(&mut headers, checksum)?;
                headers.insert("x-amz-checksum-type", value(scope)?);
            }
        }
        if selection.part.is_some() {
            headers.insert("x-amz-mp-parts-count", object.parts.len().into());
        }
        Ok(headers)
    }

    pub(super) fn attributes(&self, req: S3Request<GetObjectAttributesInput>) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let input = &req.input;
        let object = self.readable(&input.bucket, &input.key, input.version_id.as_deref())?;
        // One header may name several attributes; s3s takes it for one name.
        let asked = req.headers.get_all("x-amz-object-attributes").iter().filter_map(|value| value.to_str().ok());
        let asked: Vec<&str> = asked.flat_map(|value| value.split(',')).map(str::trim).collect();
        let wants = |name: &str| asked.contains(&name);
        let class = object.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".into());
        let whole = checksum::of_object(&object);
        let output = GetObjectAttributesOutput {
            e_tag: wants("ETag").then(|| ETag::Strong(object.etag.clone())),
            object_size: wants("ObjectSize").then(|| int(object.size())),
            storage_class: wants("StorageClass").then(|| class.into()),
            checksum: wants("Checksum").then(|| {
                let mut told = dto::Checksum { checksum_type: Some(whole.scope.clone().into()), ..dto::Checksum::default() };
                set_checksum!(told, &whole);
                told
            }),
            object_parts: (wants("ObjectParts") && !object.parts.is_empty()).then(|| parts_page(&object, input.part_number_marker, input.max_parts)),
            last_modified: Some(stamp(object.last_modified)),
            version_id: told(&object),
            ..GetObjectAttributesOutput::default()
        };
        Ok(S3Response::new(output))
    }
}

/// The parts of a multipart object. Their list is told only where they have checksums of their own.
fn parts_page(object: &Object, marker: Option<i32>, max: Option<i32>) -> dto::GetObjectAttributesParts {
    let total = i32::try_from(object.parts.len()).unwrap_or(i32::MAX);
    let (marker, max) = (marker.unwrap_or(0).max(0), max.unwrap_or(1000).clamp(0, 1000));
    let listed = object.parts.iter().all(|part| part.checksum.is_some()) && checksum::of_object(object).scope == COMPOSITE;
    if !listed {
        return dto::GetObjectAttributesParts { total_parts_count: Some(total), ..dto::GetObjectAttributesParts::default() };
    }
    let following = object.parts.iter().zip(1..).filter(|(_, number)| *number > marker);
    let page: Vec<dto::ObjectPart> = following
        .take(usize::try_from(max).unwrap_or(0))
        .map(|(part, number)| {
            let mut told = dto::ObjectPart { part_number: Some(number), size: Some(int(part.size)), ..dto::ObjectPart::default() };
            if let Some(checksum) = &part.checksum {
                set_checksum!(told, checksum);
            }
            told
        })
        .collect();
    let last = page.last().and_then(|part| part.part_number).unwrap_or(marker);
    dto::GetObjectAttributesParts {
        total_parts_count: Some(total),
        is_truncated: Some(last < total && !page.is_empty()),
        max_parts: Some(max),
        part_number_marker: Some(marker),
        next_part_number_marker: Some(last),
        parts: Some(page),
    }
}

fn content_range(object: &Object, selection: &Selection<'_>) -> Option<String> {
    let Range { start, end } = selection.range;
    selection.partial.then(|| format!("bytes {start}-{}/{}", end - 1, object.size()))
}

/// Adds a checksum's own header.
pub(super) fn put_checksum(headers: &mut HeaderMap, checksum: &crate::devserver::store::Checksum) -> S3Result<()> {
    headers.insert(checksum::Algorithm::named(&checksum.algorithm)?.header(), value(&checksum.value)?);
    Ok(())
}

/// A header's value.
pub(super) fn value(text: &str) -> S3Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(s3s::S3Error::internal_error)
}
