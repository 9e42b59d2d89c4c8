//! Deleting, in batches where XML can name the keys (protocol.md 2.2, DeleteMultipleObjects).
//!
//! The answer of a batch is held against what was asked: OSS's own clients know no per-key error there, so what it does not name
//! is not known to be deleted.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::{BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, Method};
use md5::{Digest, Md5};

use super::Bucket;
use super::client::Request;
use super::error::Refusal;
use super::headers::Headers;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Deleted;
use crate::storage::object::ObjectRef;
use crate::storage::transport::xml::{DeleteOutcome, ErrorDocument, delete_body, delete_result, xml_can_hold};

/// Most objects of one batch.
const BATCH_OBJECTS_MAX: usize = 1000;
/// Largest body of one batch: OSS takes 2 MB.
const BATCH_BYTES_MAX: usize = 2_000_000;
/// Largest answer to a batch: 1000 keys, each byte escaped, and as much again for the rest.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Deletes what the stream names and answers for each object.
pub(super) fn deletes(bucket: Arc<Bucket>, objects: BoxStream<'static, ObjectRef>) -> BoxStream<'static, (ObjectRef, Result<Deleted>)> {
    async_stream::stream! {
        let mut chunks = objects.chunks(BATCH_OBJECTS_MAX);
        while let Some(objects) = chunks.next().await {
            let (together, singly) = objects.into_iter().partition::<Vec<_>, _>(|o| bucket.check_key(&o.key).is_ok() && xml_can_hold(&o.key));
            for batch in batches(together) {
                let results = bucket.delete_batch(&batch).await;
                for (object, result) in batch.into_iter().zip(results) {
                    yield (object, result);
                }
            }
            for object in singly {
                let result = bucket.delete_one(&object).await;
                yield (object, result);
            }
        }
    }
    .boxed()
}

/// Cuts so that no body exceeds the limit, assuming the worst escaping.
fn batches(objects: Vec<ObjectRef>) -> Vec<Vec<ObjectRef>> {
    let mut batches: Vec<Vec<ObjectRef>> = Vec::new();
    let mut bytes = 0;
    for object in objects {
        // Nothing escapes to more than `&quot;`, six bytes for one; the tags around a key are 57.
        let size = 64 + 6 * object.key.len() + 32 + 6 * object.version.as_ref().map_or(0, String::len);
        bytes += size;
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH_BYTES_MAX => batch.push(object),
            _ => {
                bytes = size + 128;
                batches.push(vec![object]);
            }
        }
    }
    batches
}

impl Bucket {
    /// One result for each object, in order.
    async fn delete_batch(&self, objects: &[ObjectRef]) -> Vec<Result<Deleted>> {
        if let [object] = objects {
            return vec![self.delete_one(object).await];
        }
        match self.ask_batch(objects).await {
            Ok((outcomes, request_id)) => self.settle(objects, outcomes, &request_id),
            Err(e) => objects.iter().map(|o| Err(e.clone().on_key(&o.key))).collect(),
        }
    }

    async fn ask_batch(&self, objects: &[ObjectRef]) -> Result<(Vec<DeleteOutcome>, String)> {
        let mut request = Request::new("delete", Method::POST, None).flag("delete").with("encoding-type", "url");
        let body = delete_body(objects)?.into_bytes();
        let md5 = BASE64.encode(Md5::digest(&body));
        request.headers.insert("content-md5", HeaderValue::try_from(md5).expect("base64"));
        request.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        request.body = body.into();
        let response = self.send(&request).await?;
        let request_id = Headers(&response.head.headers).request_id();
        let body = response.collect(ANSWER_BYTES_MAX).await;
        let outcomes = body.and_then(|body| delete_result(&body)).map_err(|e| self.place(&request, e))?;
        Ok((outcomes, request_id))
    }

    fn settle(&self, objects: &[ObjectRef], outcomes: Vec<DeleteOutcome>, request_id: &str) -> Vec<Result<Deleted>> {
        let mut outcomes: HashMap<ObjectRef, DeleteOutcome> = outcomes.into_iter().map(|o| (o.object.clone(), o)).collect();
        objects
            .iter()
            .map(|object| {
                let place = |e: Error| e.during("delete").on_key(&object.key).in_store(format_args!("oss://{}", self.home.name));
                match outcomes.remove(object) {
                    Some(outcome) => match outcome.failure {
                        None => Ok(Deleted { version: outcome.marker_version.or(outcome.object.version), delete_marker: outcome.delete_marker }),
                        Some((code, message)) => Err(place(judge(code, message, request_id))),
                    },
                    // Deleting again is harmless, so this may be tried again.
                    None => Err(place(Error::new(
                        ErrorKind::Unavailable,
                        format!("OSS answered for the batch without naming this key, so whether it was deleted is not known (request id {request_id})"),
                    ))),
                }
            })
            .collect()
    }

    async fn delete_one(&self, object: &ObjectRef) -> Result<Deleted> {
        self.check_key(&object.key)?;
        let request = Request::new("delete", Method::DELETE, Some(&object.key)).with_some("versionId", object.version.as_ref());
        match self.send(&request).await {
            Ok(response) => {
                let headers = Headers(&response.head.headers);
                Ok(Deleted { version: headers.version(), delete_marker: headers.text("x-oss-delete-marker").as_deref() == Some("true") })
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Deleted::default()),
            Err(e) => Err(e),
        }
    }
}

/// Judges the refusal of one key of a batch as if it had been asked for alone.
fn judge(code: String, message: String, request_id: &str) -> Error {
    let status = match code.as_str() {
        "InternalError" | "ServiceUnavailable" => 500,
        "AccessDenied" => 403,
        _ => 400,
    };
    let headers = HeaderMap::new();
    let document = ErrorDocument { code, message, request_id: request_id.to_owned(), ..ErrorDocument::default() };
    Refusal { document: Some(document), on_object: true, ..Refusal::new(status, &headers, b"") }.into_error()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::key::Key;

    #[test]
    fn no_batch_is_too_large() {
        let objects: Vec<ObjectRef> = (0..1000).map(|i| Key::from(format!("{}{i:03}", "\"".repeat(1020))).into()).collect();
        let batches = batches(objects.clone());
        assert!(batches.len() > 1);
        assert!(batches.iter().all(|b| delete_body(b).expect("a body").len() <= BATCH_BYTES_MAX));
        assert_eq!(batches.concat(), objects);
    }
}
