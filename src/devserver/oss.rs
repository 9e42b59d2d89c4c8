//! The OSS dialect: Alibaba Cloud OSS as its own SDKs see it, on top of the dev server's store.
//!
//! A request goes through four steps: its address and query are read ([`request`]), it becomes one [`operation`], its signature
//! is verified ([`super::auth`]) and its sender authorised ([`acl`]), and the operation runs. What refuses answers with the
//! service's own XML ([`error`]). Nothing here is shared with the client in `storage::oss`, so that each can catch the other's
//! mistakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody};
use jiff::Timestamp;

use super::auth::Accounts;
pub use super::auth::{AccessKey, Token};
use super::store::{Object, Store};
use super::traffic::{self, Target};
use super::{Credentials, Dialect};
use crate::clock::Clock;
use address::Addressing;
use error::{OssError, OssResult};
use intake::Body;
pub(super) use lifecycle::rules_of;
use operation::{BucketOperation, ObjectOperation, Operation};
use reply::{Reply, ReplyBody};
use request::Head;

mod acl;
mod address;
mod attributes;
mod bucket;
mod condition;
mod configuration;
mod copy;
mod delete_many;
pub(crate) mod error;
mod gzip;
mod intake;
mod lifecycle;
mod list;
mod multipart;
mod operation;
mod range;
mod read;
mod reply;
pub(crate) mod request;
mod restore;
mod tagging;
#[cfg(test)]
mod tests;
mod versions;
mod write;
mod xml;

/// The owner that every bucket and object of this server has.
const OWNER: &str = "dragon";
/// What a refused request may still have to say before the connection is given up.
const DRAIN_BYTES_MAX: usize = 8 << 20;

/// How this OSS differs from a plain one.
#[derive(Debug, Clone)]
pub struct OssOptions {
    /// Access keys that it accepts beside the server's own, by access key id: temporary ones, for instance.
    pub keys: BTreeMap<String, AccessKey>,
    /// Host names whose subdomains are buckets, beside `localhost` and everything that begins with `oss-`.
    pub endpoints: Vec<String>,
    /// Bound domains (CNAME): host to bucket.
    pub cnames: BTreeMap<String, String>,
    /// How long it takes until an archived object is restored.
    pub restore_delay: Duration,
    /// Whether copies carry a CRC-64: on the real service they may not (protocol.md 3).
    pub crc_after_copy: bool,
    /// Where it is set, the server's own keys are taken only with a temporary token, none of which lasts longer.
    pub token_lifetime: Option<Duration>,
}

impl Default for OssOptions {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            endpoints: Vec::new(),
            cnames: BTreeMap::new(),
            restore_delay: Duration::from_secs(1),
            crc_after_copy: true,
            token_lifetime: None,
        }
    }
}

/// One OSS: a store that speaks the dialect.
pub(super) struct OssDialect {
    store: Arc<Store>,
    clock: Clock,
    accounts: Accounts,
    addressing: Addressing,
    /// Without `oss-`; V4 signatures must name it.
    region: String,
    restore_delay: Duration,
    crc_after_copy: bool,
}

#[async_trait]
impl Dialect for OssDialect {
    fn operation(&self, request: &Parts) -> &'static str {
        let target = match Head::read(request.clone(), &self.addressing) {
            Ok(Head { key: Some(_), .. }) => Target::Object,
            Ok(Head { bucket: Some(_), .. }) => Target::Bucket,
            _ => Target::Service,
        };
        traffic::operation(target, request)
    }

    async fn answer(&self, request: Request<super::Body>) -> Response<super::Body> {
        self.handle(request).await
    }

    fn error(&self, status: StatusCode, code: &str, request: &Parts) -> Response<super::Body> {
        let error = OssError { status, code: code.to_owned().into(), ..OssError::internal("The dev server was told to answer so.") };
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let request_id = self.request_id();
        self.finish(refusal(&error, request.method == Method::HEAD, &request_id, host), &request_id, 0)
    }
}

impl OssDialect {
    /// The dialect over a store, for the server's own keys and those of `options`, in one region (without `oss-`).
    pub(super) fn new(store: Arc<Store>, credentials: &Credentials, region: String, clock: Clock, options: OssOptions) -> Self {
        let OssOptions { mut keys, endpoints, cnames, restore_delay, crc_after_copy, token_lifetime } = options;
        keys.insert(credentials.access_key_id.clone(), AccessKey { secret: credentials.access_key_secret.clone(), token: None });
        Self { store, clock, accounts: Accounts { keys, token_lifetime }, addressing: Addressing { endpoints, cnames }, region, restore_delay, crc_after_copy }
    }

    /// Answers a request. Never fails: what goes wrong is the answer.
    async fn handle(&self, request: Request<super::Body>) -> Response<super::Body> {
        let started = self.clock.instant();
        let (parts, body) = request.into_parts();
        let request_id = self.request_id();
        let is_head = parts.method == Method::HEAD;
        let body = incoming(body);
        let (host, answer) = match Head::read(parts, &self.addressing) {
            Ok(head) => (head.host.clone(), self.answer_to(&head, body).await),
            Err(error) => {
                intake::drain(body, DRAIN_BYTES_MAX).await;
                (String::new(), Err(error))
            }
        };
        let reply = answer.unwrap_or_else(|error| refusal(&error, is_head, &request_id, &host));
        let elapsed_millis = self.clock.instant().duration_since(started).as_millis();
        self.finish(reply, &request_id, elapsed_millis)
    }

    /// Runs the four steps; where one refuses, the body is taken off the wire first.
    async fn answer_to(&self, head: &Head, body: Body) -> OssResult<Reply> {
        match self.admit(head) {
            Ok(operation) => self.run(operation, head, body).await,
            Err(error) => {
                intake::drain(body, DRAIN_BYTES_MAX).await;
                Err(error)
            }
        }
        .map_err(|error| error.located(head.bucket.as_deref(), head.key.as_deref(), head.query.bytes("uploadId")))
    }

    /// Decides what is asked for, by whom, and whether it may be done.
    ///
    /// The bucket is looked for before the caller's key is: the service tells even a stranger that there is no such bucket.
    fn admit(&self, head: &Head) -> OssResult<Operation> {
        refuse_aws_chunked(head)?;
        let operation = Operation::of(head);
        // But not where the request could make the bucket: PutBucket, of which PutBucketAcl is a kind.
        let makes_bucket = matches!(operation, Ok(Operation::Bucket(_, BucketOperation::Put | BucketOperation::PutAcl)));
        if let Some(bucket) = head.bucket.as_deref().filter(|_| !makes_bucket) {
            operation::check_bucket_name(bucket)?;
            self.store.bucket(bucket)?;
        }
        let caller = self.accounts.identify(head, &self.region, self.clock.now())?;
        check_traffic_limit(head)?;
        let operation = operation?;
        self.authorise(&caller, &operation)?;
        Ok(operation)
    }

    async fn run(&self, operation: Operation, head: &Head, body: Body) -> OssResult<Reply> {
        match operation {
            Operation::ListBuckets => self.list_buckets(head),
            Operation::DescribeRegions => self.describe_regions(head),
            Operation::Bucket(bucket, operation) => match operation {
                BucketOperation::Put => self.put_bucket(&bucket, head, body).await,
                BucketOperation::Delete => self.delete_bucket(&bucket),
                BucketOperation::GetInfo => self.bucket_info(&bucket, head),
                BucketOperation::GetLocation => self.bucket_location(&bucket),
                BucketOperation::GetStat => self.bucket_stat(&bucket),
                BucketOperation::GetAcl => self.bucket_acl(&bucket),
                BucketOperation::PutAcl => self.put_bucket_acl(&bucket, head),
                BucketOperation::PutVersioning => self.put_bucket_versioning(&bucket, head, body).await,
                BucketOperation::GetVersioning => self.bucket_versioning(&bucket),
                BucketOperation::GetConfiguration(configuration) => self.configuration(&bucket, configuration),
                BucketOperation::PutConfiguration(configuration) => self.put_configuration(&bucket, configuration, head, body).await,
                BucketOperation::DeleteConfiguration(configuration) => self.delete_configuration(&bucket, configuration),
                BucketOperation::ListLiveChannels => self.list_live_channels(&bucket, head),
                BucketOperation::ListObjects => self.list_objects(&bucket, head),
                BucketOperation::ListObjectsV2 => self.list_objects_v2(&bucket, head),
                BucketOperation::ListObjectVersions => self.list_object_versions(&bucket, head),
                BucketOperation::ListMultipartUploads => self.list_uploads(&bucket, head),
                BucketOperation::DeleteMultipleObjects => self.delete_many(&bucket, head, body).await,
            },
            Operation::Object(target, operation) => match operation {
                ObjectOperation::Put => self.put_object(&target, head, body).await,
                ObjectOperation::Copy => self.copy_object(&target, head).await,
                ObjectOperation::Append { position } => self.append_object(&target, head, body, position).await,
                ObjectOperation::Get => self.get_object(&target, head),
                ObjectOperation::Head => self.head_object(&target, head),
                ObjectOperation::GetMeta => self.object_meta(&target, head),
                ObjectOperation::Delete => self.delete_object(&target, head),
                ObjectOperation::GetAcl => self.object_acl(&target, head),
                ObjectOperation::PutAcl => self.put_object_acl(&target, head),
                ObjectOperation::GetTagging => self.object_tagging(&target, head),
                ObjectOperation::PutTagging => self.put_object_tagging(&target, head, body).await,
                ObjectOperation::DeleteTagging => self.delete_object_tagging(&target, head),
                ObjectOperation::GetSymlink => self.symlink(&target, head),
                ObjectOperation::PutSymlink => self.put_symlink(&target, head).await,
                ObjectOperation::Restore => self.restore_object(&target, head, body).await,
                ObjectOperation::CleanRestored => self.clean_restored(&target, head),
                ObjectOperation::InitiateUpload => self.initiate_upload(&target, head),
                ObjectOperation::UploadPart { upload_id, number } => self.upload_part(&target, head, body, &upload_id, number).await,
                ObjectOperation::UploadPartCopy { upload_id, number } => self.upload_part_copy(&target, head, &upload_id, number).await,
                ObjectOperation::CompleteUpload { upload_id } => self.complete_upload(&target, head, body, &upload_id).await,
                ObjectOperation::AbortUpload { upload_id } => self.abort_upload(&target, &upload_id),
                ObjectOperation::ListParts { upload_id } => self.list_parts(&target, head, &upload_id),
            },
        }
    }

    /// 24 digits, of which the first 8 are the time, as the service's own.
    fn request_id(&self) -> String {
        format!("{:08X}{}", self.clock.now().as_second() & 0xffff_ffff, self.clock.random_id().to_uppercase())
    }

    /// Puts the common headers on (protocol.md 2.4) and gives the body its shape.
    fn finish(&self, reply: Reply, request_id: &str, elapsed_millis: u128) -> Response<super::Body> {
        let Reply { status, mut headers, body } = reply;
        headers.insert(header::SERVER, HeaderValue::from_static("AliyunOSS"));
        headers.insert(header::DATE, header_value(&http_date(self.clock.now())));
        headers.insert("x-oss-request-id", header_value(request_id));
        headers.insert("x-oss-server-time", header_value(&elapsed_millis.to_string()));
        let body = match body {
            ReplyBody::Whole(bytes) => {
                // 204 and 304 have no length.
                if !bytes.is_empty() || !matches!(status.as_u16(), 204 | 304) {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
                }
                Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
            }
            ReplyBody::Stream(len, stream) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
                outgoing(stream)
            }
            ReplyBody::Unsized(stream) => outgoing(stream),
            ReplyBody::HeadOf(len) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
                Empty::new().map_err(|never| match never {}).boxed_unsync()
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

fn incoming(body: super::Body) -> Body {
    let pieces = BodyStream::new(body).filter_map(async |frame| match frame {
        Ok(frame) => frame.into_data().ok().map(Ok),
        Err(error) => Some(Err(std::io::Error::other(error))),
    });
    pieces.boxed()
}

fn outgoing(stream: Body) -> super::Body {
    StreamBody::new(stream.map_ok(Frame::data).map_err(Into::into)).boxed_unsync()
}

/// A refusal as an answer: XML in the body, or in `x-oss-err` where a HEAD cannot have one (protocol.md 2.2).
fn refusal(error: &OssError, is_head: bool, request_id: &str, host: &str) -> Reply {
    let document = error.xml(request_id, host);
    let mut reply = Reply::empty(error.status);
    reply.headers.extend(error.headers.iter().cloned());
    if !error.ec.is_empty() {
        reply.headers.insert("x-oss-ec", HeaderValue::from_static(error.ec));
    }
    if is_head {
        reply.headers.insert("x-oss-err", header_value(&STANDARD.encode(document)));
    } else {
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        reply.body = ReplyBody::Whole(document.into());
    }
    reply
}

/// The AWS SDKs' chunked uploads are refused (protocol.md 2.9), as they would be stored with their framing.
fn refuse_aws_chunked(head: &Head) -> OssResult<()> {
    let chunked = head.header("content-encoding")?.is_some_and(|encoding| encoding.contains("aws-chunked"));
    let streamed = head.header("x-amz-content-sha256")?.is_some_and(|payload| payload.starts_with("STREAMING-"));
    if chunked || streamed {
        let message = "aws-chunked encoding is not supported with the specified x-amz-content-sha256 value.";
        return Err(OssError::invalid_argument(message).ec("0017-00000804"));
    }
    Ok(())
}

/// `x-oss-traffic-limit`, in bit/s, in the header or the query but not both (protocol.md 2.3). It is accepted, not applied.
fn check_traffic_limit(head: &Head) -> OssResult<()> {
    const NAME: &str = "x-oss-traffic-limit";
    let (in_header, in_query) = (head.header(NAME)?, head.query.text(NAME)?);
    if in_header.is_some() && in_query.is_some() {
        return Err(OssError::invalid_argument("The traffic limit must not be given in both the header and the query.").ec("0004-00000501"));
    }
    match in_header.or(in_query) {
        Some(text) if !text.parse().is_ok_and(|bits: u64| (245_760..=838_860_800).contains(&bits)) => {
            Err(OssError::bad_value(NAME, text, "The traffic limit must be between 245760 and 838860800 bit/s."))
        }
        _ => Ok(()),
    }
}

/// An ETag as the service shows it: upper case, in quotes.
fn shown_etag(object: &Object) -> String {
    format!("\"{}\"", object.etag.to_uppercase())
}

/// A header value of text that is ASCII by construction.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `Thu, 01 Jan 2026 00:00:00 GMT`.
fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `2026-01-01T00:00:00.000Z`.
fn xml_date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
