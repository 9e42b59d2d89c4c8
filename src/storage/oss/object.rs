//! Reading and writing whole objects and ranges (protocol.md 2.2, 2.5, 2.6).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::stream::StreamExt;
use http::{HeaderMap, HeaderValue, Method};

use super::client::Request;
use super::headers::Headers;
use super::{Bucket, KEY_BYTES_MAX, PUT_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::Checksums;
use crate::storage::key::Key;
use crate::storage::object::{ObjectInfo, ObjectRef};
use crate::storage::payload::{Payload, exactly};
use crate::storage::transport::Response;
use crate::storage::transport::xml;
use crate::storage::{Acl, Condition, Get, GetOutput, Put, PutOutput, RestoreTier, Restoring, Versioning};

/// Largest answer without an object in it, other than listings.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Bucket {
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response> {
        self.client.send(Some(&self.home), request).await
    }

    /// Names this bucket and the request in an error that arose after the answer's head.
    pub(super) fn place(&self, request: &Request<'_>, error: Error) -> Error {
        let error = error.during(request.operation).in_store(format_args!("oss://{}", self.home.name));
        match request.key {
            Some(key) => error.on_key(key),
            None => error,
        }
    }

    pub(super) async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo> {
        self.check_key(&object.key)?;
        let request = Request::new("head", Method::HEAD, Some(&object.key)).with_some("versionId", object.version.as_ref());
        let response = match self.send(&request).await {
            Ok(response) => response,
            Err(error) => return Err(self.tell_target(object, error).await),
        };
        let headers = Headers(&response.head.headers);
        let size = headers.length().ok_or_else(|| self.place(&request, Error::integrity("OSS did not say how long the object is")))?;
        Ok(headers.info(size))
    }

    /// Names what a link leads to, where it leads to nothing or to another link: OSS follows one link only.
    async fn tell_target(&self, object: &ObjectRef, error: Error) -> Error {
        if !error.answer().is_some_and(|answer| matches!(answer.code.as_str(), "SymlinkTargetNotExist" | "InvalidTargetType")) {
            return error;
        }
        let request = Request::new("read link", Method::GET, Some(&object.key)).flag("symlink").with_some("versionId", object.version.as_ref());
        let Ok(response) = self.send(&request).await else { return error };
        let target = response.header("x-oss-symlink-target").unwrap_or_default();
        let target = percent_encoding::percent_decode_str(target).decode_utf8_lossy().escape_debug().to_string();
        let why = if error.answer().is_some_and(|answer| answer.code == "InvalidTargetType") { "is a link as well" } else { "is not there" };
        self.place(&request, Error::new(error.kind(), format!("it is a link to '{target}', which {why}"))).advise("mend or remove the link, or exclude it")
    }

    pub(super) async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>> {
        self.check_key(&object.key)?;
        let request = Request::new("tags", Method::GET, Some(&object.key)).flag("tagging").with_some("versionId", object.version.as_ref());
        let body = self.send(&request).await?.collect(ANSWER_BYTES_MAX).await;
        body.and_then(|body| xml::tags(&body)).map_err(|e| self.place(&request, e))
    }

    pub(super) async fn acl(&self, object: &ObjectRef) -> Result<Acl> {
        self.check_key(&object.key)?;
        let request = Request::new("acl", Method::GET, Some(&object.key)).flag("acl").with_some("versionId", object.version.as_ref());
        let body = self.send(&request).await?.collect(ANSWER_BYTES_MAX).await;
        body.and_then(|body| xml::acl(&body)).map_err(|e| self.place(&request, e))
    }

    /// RestoreObject (protocol.md section 4): 202 the first time, 200 where the copy is there already. The class Archive knows no tiers.
    pub(super) async fn restore(&self, object: &ObjectRef, days: u16, tier: Option<RestoreTier>) -> Result<Restoring> {
        self.check_key(&object.key)?;
        let mut request = Request::new("restore", Method::POST, Some(&object.key)).flag("restore").with_some("versionId", object.version.as_ref());
        request.body = Bytes::from(xml::restore_body(days, tier.map(|tier| ("JobParameters", tier)))).into();
        request.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let answer = match self.send(&request).await {
            Ok(response) if response.head.status == http::StatusCode::OK => return Ok(Restoring::Extended),
            Ok(_) => return Ok(Restoring::Begun),
            Err(error) => error,
        };
        match answer.answer().map(|answer| answer.code.as_str()) {
            Some("RestoreAlreadyInProgress") => Ok(Restoring::Ongoing),
            Some("OperationNotSupported") => Err(self.place(&request, Error::unsupported("its storage class needs no restore").caused_by(answer))),
            _ => Err(answer),
        }
    }

    pub(super) async fn get(&self, object: &ObjectRef, get: Get) -> Result<GetOutput> {
        self.check_key(&object.key)?;
        let mut request = Request::new("get", Method::GET, Some(&object.key)).with_some("versionId", object.version.as_ref());
        if let Some(range) = &get.range {
            if range.is_empty() {
                return Err(self.place(&request, Error::invalid("an empty range cannot be read")));
            }
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            request.headers.insert("range", HeaderValue::try_from(value).expect("digits and a hyphen"));
            // Without it a range that ends past the object's end is answered with all of the object.
            request = request.header("x-oss-range-behavior", "standard");
        }
        if let Some(etag) = &get.if_match {
            request.headers.insert("if-match", etag_value(&etag.quoted())?);
        }
        let response = self.send(&request).await?;
        let (size, range) = body_range(response.status(), &response.head.headers, get.range.as_ref()).map_err(|e| self.place(&request, e))?;
        let info = Headers(&response.head.headers).info(size);
        let (key, store) = (object.key.clone(), format!("oss://{}", self.home.name));
        let body =
            exactly(response.into_stream(), range.end - range.start).map(move |chunk| chunk.map_err(|e| e.during("get").on_key(&key).in_store(&store))).boxed();
        Ok(GetOutput { info, range, body })
    }

    pub(super) async fn put(&self, key: &Key, payload: Payload, put: Put) -> Result<PutOutput> {
        self.check_key(key)?;
        let mut request = Request::new("put", Method::PUT, Some(key));
        if payload.len() > PUT_BYTES_MAX {
            let why = format!("a single PUT takes {PUT_BYTES_MAX} bytes at most, and these are {}", payload.len());
            return Err(self.place(&request, Error::invalid(why).advise("send it as a multipart upload")));
        }
        request.headers = self.defaults.write(&put.attributes).map_err(|e| self.place(&request, e))?;
        insert_md5(&mut request.headers, put.checksums.as_ref());
        self.condition(&mut request, put.condition.as_ref()).await?;
        request.body = payload;
        let response = self.send(&request).await?;
        Ok(output(&response.head.headers))
    }

    /// Sets the header of a create-only write. OSS ignores it where versions are kept, so it is used only where they are known not to be.
    pub(super) async fn condition(&self, request: &mut Request<'_>, condition: Option<&Condition>) -> Result<()> {
        let refuse = |why: &str, request: &Request<'_>| self.place(request, Error::unsupported(why.to_owned()));
        match condition {
            None => Ok(()),
            Some(Condition::Matches(_)) => Err(refuse("OSS cannot make a write depend on the object that is there", request)),
            Some(Condition::Absent) => {
                if !self.is_unversioned().await? {
                    let why = "the bucket keeps versions, and there OSS ignores the wish not to overwrite (x-oss-forbid-overwrite)";
                    return Err(refuse(why, request));
                }
                request.headers.insert("x-oss-forbid-overwrite", HeaderValue::from_static("true"));
                Ok(())
            }
        }
    }

    /// Whether versioning is known to be off: asked once, and off no more once an answer shows a version id.
    async fn is_unversioned(&self) -> Result<bool> {
        let ask = || async {
            match self.versioning().await {
                Err(e) if e.kind() == ErrorKind::Denied => {
                    let why = "whether the bucket keeps versions cannot be told, so a create-only write is not safe here";
                    let refused = Error::unsupported(why).caused_by(e).advise("grant oss:GetBucketVersioning");
                    Err(refused.during("versioning").in_store(format_args!("oss://{}", self.home.name)))
                }
                versioning => Ok(versioning? == Versioning::Off),
            }
        };
        let unversioned = *self.unversioned.get_or_try_init(ask).await?;
        Ok(unversioned && !self.home.shows_versions.load(Ordering::Relaxed))
    }

    /// Refuses a key that OSS cannot hold (protocol.md 2.3).
    pub(super) fn check_key(&self, key: &Key) -> Result<()> {
        let why = match key.as_bytes() {
            [] => "the key is empty",
            [b'/' | b'\\', ..] => "OSS holds no key that begins with '/' or '\\'",
            bytes if bytes.len() > KEY_BYTES_MAX => "the key is longer than 1023 bytes, which is OSS's limit",
            bytes if std::str::from_utf8(bytes).is_err() => "the key is not valid UTF-8, which OSS requires",
            _ => return Ok(()),
        };
        Err(Error::invalid(why).on_key(key).in_store(format_args!("oss://{}", self.home.name)))
    }
}

/// The whole length and the bytes that a body holds. Anything but what was asked for is an error: a 200 to a ranged GET is all of the object.
pub(super) fn body_range(status: u16, headers: &HeaderMap, asked: Option<&std::ops::Range<u64>>) -> Result<(u64, std::ops::Range<u64>)> {
    let headers = Headers(headers);
    let (size, range) = match (asked, status) {
        (None, 200) => {
            let size = headers.length().ok_or_else(|| Error::integrity("OSS did not say how long the object is"))?;
            (size, 0..size)
        }
        (Some(asked), 206) => match headers.range() {
            Some((first, last, size)) if first == asked.start && last.checked_add(1) == Some(asked.end) && last < size => (size, asked.clone()),
            other => return Err(Error::integrity(format!("bytes {}-{} were asked for and {other:?} came", asked.start, asked.end - 1))),
        },
        (Some(_), 200) => return Err(Error::integrity("a range was asked for, and the whole object came")),
        (_, status) => return Err(Error::integrity(format!("the object came with the unexpected status {status}"))),
    };
    if headers.length().is_some_and(|len| len != range.end - range.start) {
        return Err(Error::integrity("the answer's length is not that of the bytes asked for"));
    }
    Ok((size, range))
}

/// What a write's answer says of what it made.
pub(super) fn output(headers: &HeaderMap) -> PutOutput {
    let headers = Headers(headers);
    PutOutput { etag: headers.etag(), version: headers.version(), checksums: headers.checksums(), request_id: headers.request_id() }
}

/// Asks the service to check the body's MD5, where it is known.
pub(super) fn insert_md5(headers: &mut HeaderMap, checksums: Option<&Checksums>) {
    if let Some(md5) = checksums.and_then(|c| c.md5) {
        headers.insert("content-md5", HeaderValue::try_from(BASE64.encode(md5)).expect("base64"));
    }
}

pub(super) fn etag_value(quoted: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(quoted).map_err(|e| Error::invalid("the ETag cannot stand in a header").caused_by(e))
}
