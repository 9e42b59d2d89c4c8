//! An answer before it goes to the wire.

use bytes::Bytes;
use futures::stream::BoxStream;
use http::header::IntoHeaderName;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::xml::Writer;

/// Status, headers and body.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReplyBody,
}

/// The body of an answer.
pub(crate) enum ReplyBody {
    Whole(Bytes),
    /// A stream of this many bytes.
    Stream(u64, BoxStream<'static, std::io::Result<Bytes>>),
    /// A stream whose length is not told, so it is sent in chunks.
    Unsized(BoxStream<'static, std::io::Result<Bytes>>),
    /// No body, but the length that a GET would have.
    HeadOf(u64),
}

impl Reply {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: ReplyBody::Whole(Bytes::new()) }
    }

    /// 200 without a body.
    pub(crate) fn ok() -> Self {
        Self::empty(StatusCode::OK)
    }

    /// 204.
    pub(crate) fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    /// 200 with a document.
    pub(crate) fn xml(document: Writer) -> Self {
        let mut reply = Self::ok();
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        reply.body = ReplyBody::Whole(document.finish().into());
        reply
    }

    /// Sets a header.
    pub(crate) fn with(mut self, name: impl IntoHeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}
