//! Multipart uploads.

use md5::{Digest as _, Md5};
use s3s::dto::{
    self, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag,
    ListPartsInput, ListPartsOutput, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::attributes::{encryption_headers, from_headers};
use super::body::{BODY_BYTES_MAX, disk, receive};
use super::checksum::{self, Algorithm, given_checksums, set_checksum};
use super::condition::WriteCondition;
use super::error::range_not_satisfiable;
use super::read::{put_checksum, value};
use super::write::source_condition;
use super::{Bridge, int, owner, stamp, versions};
use crate::devserver::store::{Checksum, Content, Digests, Kind, Object, Part, PartOutline, Upload, hex};

/// Every part but the last holds at least 5 MiB (protocol.md 2.3).
const PART_BYTES_MIN: u64 = 5 << 20;
const PARTS_MAX: i32 = 10_000;
/// Parts that one ListParts answers with.
const LISTED_PARTS_MAX: i32 = 1000;

impl Bridge {
    pub(super) fn create_upload(&self, req: &S3Request<CreateMultipartUploadInput>) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = &req.input;
        let attributes = from_headers(&req.headers)?;
        let encryption: Vec<_> = encryption_headers(&attributes).into_iter().map(|(name, text)| Ok((name, value(text)?))).collect::<S3Result<_>>()?;
        let checksum = wanted_checksum(input)?;
        let upload_id = self.store.create_upload(&input.bucket, &input.key, attributes, checksum.clone())?;
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(upload_id),
            checksum_algorithm: checksum.as_ref().map(|checksum| checksum.algorithm.clone().into()),
            checksum_type: checksum.map(|checksum| checksum.scope.into()),
            ..CreateMultipartUploadOutput::default()
        };
        let mut response = S3Response::new(output);
        response.headers.extend(encryption.into_iter().map(|(name, value)| (http::HeaderName::from_static(name), value)));
        Ok(response)
    }

    pub(super) async fn upload_part_body(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { bucket, key, upload_id, part_number, body, content_length, .. } = req.input;
        let number = checked_number(part_number)?;
        let upload = self.store.upload(&bucket, &key, &upload_id)?;
        let received = receive(&self.store, &req.headers, body, req.trailing_headers, content_length).await?;
        let checksum = part_checksum(&upload, received.checksum)?;
        let part = Part { content: received.content, digests: received.digests, last_modified: self.store.now(), checksum };
        let etag = part.etag();
        let mut response = S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..UploadPartOutput::default() });
        if let Some(checksum) = &part.checksum {
            put_checksum(&mut response.headers, checksum)?;
        }
        self.store.put_part(&bucket, &key, &upload_id, number, part)?;
        Ok(response)
    }

    pub(super) async fn copy_part(&self, mut req: S3Request<UploadPartCopyInput>) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let condition = source_condition!(req.input);
        let UploadPartCopyInput { bucket, key, upload_id, part_number, copy_source, copy_source_range, .. } = req.input;
        let number = checked_number(part_number)?;
        let upload = self.store.upload(&bucket, &key, &upload_id)?;
        let (_, _, source) = self.copy_source(&copy_source, &condition)?;
        let content = match copy_source_range.as_deref() {
            None => source.content.clone(),
            Some(range) => copied_range(&source, range)?,
        };
        if content.len() > BODY_BYTES_MAX {
            return Err(s3_error!(InvalidRequest, "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"));
        }
        let digests = content.digests().await.map_err(disk)?;
        let checksum = match &upload.checksum {
            Some(wanted) => Some(Algorithm::named(&wanted.algorithm)?.over(&content, &digests).await.map_err(disk)?),
            None => None,
        };
        let part = Part { content, digests, last_modified: self.store.now(), checksum };
        let mut result =
            dto::CopyPartResult { e_tag: Some(ETag::Strong(part.etag())), last_modified: Some(stamp(part.last_modified)), ..dto::CopyPartResult::default() };
        if let Some(checksum) = &part.checksum {
            set_checksum!(result, checksum);
        }
        self.store.put_part(&bucket, &key, &upload_id, number, part)?;
        Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() }))
    }

    pub(super) async fn complete(&self, req: S3Request<CompleteMultipartUploadInput>) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { bucket, key, upload_id, if_match, if_none_match, .. } = &req.input;
        let condition = WriteCondition { if_match: if_match.clone(), if_none_match: if_none_match.clone() };
        let listed = req.input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref()).unwrap_or(&[]);
        // Joining thousands of parts is arithmetic and references, no copying.
        let object = self.store.complete(bucket, key, upload_id, |current, upload| {
            condition.check(current)?;
            assemble(upload, listed, &req.input)
        })?;
        let told = checksum::of_object(&object);
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(bucket.clone()),
            key: Some(key.clone()),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            location: Some(format!("http://{bucket}.s3.localhost/{key}")),
            checksum_type: Some(told.scope.clone().into()),
            version_id: versions::told(&object),
            ..CompleteMultipartUploadOutput::default()
        };
        set_checksum!(output, &told);
        Ok(S3Response::new(output))
    }

    pub(super) fn list_parts_page(&self, req: &S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let ListPartsInput { bucket, key, upload_id, max_parts, part_number_marker, .. } = &req.input;
        let upload = self.store.upload(bucket, key, upload_id)?;
        let (marker, max) = (part_number_marker.unwrap_or(0).max(0), max_parts.unwrap_or(LISTED_PARTS_MAX).clamp(0, LISTED_PARTS_MAX));
        let mut following = upload.parts.range(u32::try_from(marker).unwrap_or(0) + 1..);
        let parts: Vec<dto::Part> = following.by_ref().take(usize::try_from(max).unwrap_or(0)).map(|(number, part)| listed_part(*number, part)).collect();
        let last = parts.last().and_then(|part| part.part_number).unwrap_or(marker);
        let output = ListPartsOutput {
            bucket: Some(bucket.clone()),
            key: Some(key.clone()),
            upload_id: Some(upload_id.clone()),
            part_number_marker: Some(marker),
            next_part_number_marker: Some(last),
            max_parts: Some(max),
            is_truncated: Some(following.next().is_some() && max > 0),
            owner: Some(owner()),
            initiator: Some(dto::Initiator { id: owner().id, display_name: owner().display_name }),
            storage_class: Some(upload.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".into()).into()),
            checksum_algorithm: upload.checksum.as_ref().map(|checksum| checksum.algorithm.clone().into()),
            checksum_type: upload.checksum.as_ref().map(|checksum| checksum.scope.clone().into()),
            parts: Some(parts),
            ..ListPartsOutput::default()
        };
        Ok(S3Response::new(output))
    }
}

fn listed_part(number: u32, part: &Part) -> dto::Part {
    let mut listed = dto::Part {
        part_number: i32::try_from(number).ok(),
        e_tag: Some(ETag::Strong(part.etag())),
        size: Some(int(part.content.len())),
        last_modified: Some(stamp(part.last_modified)),
        ..dto::Part::default()
    };
    if let Some(checksum) = &part.checksum {
        set_checksum!(listed, checksum);
    }
    listed
}

fn checked_number(number: i32) -> S3Result<u32> {
    let number = (1..=PARTS_MAX).contains(&number).then_some(number).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

/// The checksum that a new upload asks for; its value stays empty.
fn wanted_checksum(input: &CreateMultipartUploadInput) -> S3Result<Option<Checksum>> {
    let Some(algorithm) = &input.checksum_algorithm else {
        return match &input.checksum_type {
            None => Ok(None),
            Some(_) => Err(s3_error!(InvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")),
        };
    };
    let algorithm = Algorithm::named(algorithm.as_str())?;
    let scope = input.checksum_type.as_ref().map_or(algorithm.default_scope(), |scope| scope.as_str());
    if !algorithm.allows(scope) {
        return Err(s3_error!(InvalidRequest, "The {scope} checksum type cannot be used with the {} checksum algorithm.", algorithm.name().to_lowercase()));
    }
    Ok(Some(Checksum { algorithm: algorithm.name().into(), value: String::new(), scope: scope.into() }))
}

/// A part carries the algorithm its upload was begun with. An upload begun without one takes any, as boto3 by default sends CRC-32 there.
fn part_checksum(upload: &Upload, given: Option<Checksum>) -> S3Result<Option<Checksum>> {
    let expected = upload.checksum.as_ref().map(|checksum| checksum.algorithm.as_str());
    let actual = given.as_ref().map(|checksum| checksum.algorithm.as_str());
    if actual == expected || expected.is_none() {
        return Ok(given);
    }
    let name = |algorithm: Option<&str>| algorithm.map_or("null".to_owned(), str::to_lowercase);
    let (expected, actual) = (name(expected), name(actual));
    Err(s3_error!(InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {actual}"))
}

fn copied_range(source: &Object, range: &str) -> S3Result<Content> {
    let size = source.size();
    let malformed = || {
        s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"
        )
    };
    let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(malformed)?;
    let (first, last): (u64, u64) = (first.parse().map_err(|_| malformed())?, last.parse().map_err(|_| malformed())?);
    if first > last || last >= size {
        return Err(range_not_satisfiable(size));
    }
    Ok(source.content.slice(first..last + 1))
}

/// Makes the object that a Complete asks for, or refuses it as the service would.
fn assemble(upload: &Upload, listed: &[CompletedPart], input: &CompleteMultipartUploadInput) -> S3Result<Object> {
    let parts = chosen_parts(upload, listed)?;
    let content = Content::concat(parts.iter().map(|(_, part)| &part.content));
    if input.mpu_object_size.is_some_and(|size| u64::try_from(size) != Ok(content.len())) {
        return Err(s3_error!(InvalidRequest, "The provided 'x-amz-mp-object-size' header value does not match what was computed."));
    }
    let digests = parts.iter().fold(Digests::of(&[]), |whole, (_, part)| whole.followed_by(part.digests, part.content.len()));
    let checksum = match &upload.checksum {
        Some(wanted) if wanted.algorithm != "CRC64NVME" => {
            let parts: Vec<_> = parts.iter().map(|(_, part)| (part.checksum.as_ref(), part.content.len())).collect();
            checksum::of_parts(Algorithm::named(&wanted.algorithm)?, &wanted.scope, &parts)
        }
        _ => None,
    };
    let mut md5s = Md5::new();
    parts.iter().for_each(|(_, part)| md5s.update(part.digests.md5.unwrap_or_default()));
    let object = Object {
        content,
        etag: format!("{}-{}", hex(&md5s.finalize()), parts.len()),
        // S3 dates a multipart object from its initiation (design.md section 7).
        last_modified: upload.initiated,
        kind: Kind::Multipart,
        digests,
        checksum: checksum.map(Box::new),
        parts: parts.iter().map(|(number, part)| PartOutline { number: *number, size: part.content.len(), checksum: part.checksum.clone() }).collect(),
        attributes: upload.attributes.clone().into(),
    };
    let told = checksum::of_object(&object);
    match given_checksums!(input).next() {
        Some((algorithm, value)) if algorithm == told.algorithm && value != told.value => {
            Err(s3_error!(BadDigest, "The {algorithm} you specified did not match the calculated checksum."))
        }
        Some((algorithm, _)) if algorithm != told.algorithm => {
            Err(s3_error!(InvalidRequest, "The upload was created using the {} checksum mode.", told.algorithm))
        }
        _ => Ok(object),
    }
}

/// The parts that the request lists, as they were uploaded.
fn chosen_parts<'u>(upload: &'u Upload, listed: &[CompletedPart]) -> S3Result<Vec<(u32, &'u Part)>> {
    if listed.is_empty() {
        return Err(s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema"));
    }
    let mut parts: Vec<(u32, &Part)> = Vec::with_capacity(listed.len());
    for wanted in listed {
        let number = wanted.part_number.and_then(|number| u32::try_from(number).ok()).ok_or_else(invalid_part)?;
        if parts.last().is_some_and(|(last, _)| *last >= number) {
            return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order. Parts list must be specified in order by part number."));
        }
        let part = upload.parts.get(&number).ok_or_else(invalid_part)?;
        if wanted.e_tag.as_ref().is_none_or(|etag| etag.value() != part.etag()) {
            return Err(invalid_part());
        }
        let differs = |(algorithm, value): (&str, &str)| part.checksum.as_ref().is_some_and(|own| own.algorithm == algorithm && own.value != value);
        if given_checksums!(wanted).any(differs) {
            return Err(invalid_part());
        }
        parts.push((number, part));
    }
    let all_but_last = &parts[..parts.len() - 1];
    if all_but_last.iter().any(|(_, part)| part.content.len() < PART_BYTES_MIN) {
        return Err(s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
    }
    Ok(parts)
}

fn invalid_part() -> S3Error {
    s3_error!(
        InvalidPart,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
    )
}
