//! Versions: whether the bucket keeps them (GetBucketVersioning), and which there are (ListObjectVersions).

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use http::Method;

use super::client::{Bucket, Call};
use super::object::ANSWER_BYTES_MAX;
use crate::error::Result;
use crate::storage::transport::xml::{self, VersionMarker, VersionOrder, VersionsPage};
use crate::storage::{List, Version, Versioning};

/// Versions a page at most: what S3 gives.
const PAGE_VERSIONS_MAX: u32 = 1000;
/// Longest page in bytes: a thousand keys of 1,024 bytes, each byte escaped, and what stands around them.
const PAGE_BYTES_MAX: usize = 16 << 20;

pub(super) async fn versioning(bucket: &Bucket) -> Result<Versioning> {
    let call = Call::new(Method::GET, None).flag("versioning");
    xml::versioning(&bucket.send(&call).await?.collect(ANSWER_BYTES_MAX).await?)
}

/// Every version under a prefix, page by page. An error is the last item and means that the rest is unknown.
pub(super) fn list(bucket: Arc<Bucket>, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
    async_stream::try_stream! {
        let told = |e: crate::error::Error| e.during("list versions").in_store(&bucket);
        let mut order = VersionOrder::new(&list);
        let mut marker = None;
        loop {
            let page = page(&bucket, &list, marker.as_ref()).await.map_err(told)?;
            let (versions, next) = match order.check(page.versions).map_err(told)? {
                ControlFlow::Break(versions) => (versions, None),
                ControlFlow::Continue(versions) => (versions, page.next),
            };
            if !versions.is_empty() {
                yield versions;
            }
            marker = next;
            if marker.is_none() {
                return;
            }
        }
    }
    .boxed()
}

async fn page(bucket: &Bucket, list: &List, marker: Option<&VersionMarker>) -> Result<VersionsPage> {
    let versions = list.page_keys.unwrap_or(PAGE_VERSIONS_MAX).clamp(1, PAGE_VERSIONS_MAX);
    let mut call = Call::new(Method::GET, None).flag("versions").with("encoding-type", "url").with("max-keys", versions);
    if !list.prefix.is_empty() {
        call = call.with("prefix", list.prefix.as_str()?);
    }
    let after = marker.map(|m| &m.key).or(list.after.as_ref()).filter(|key| !key.is_empty());
    call = call.with_some("key-marker", after.map(|key| key.as_str()).transpose()?);
    call = call.with_some("version-id-marker", marker.and_then(|m| m.version.as_ref()));
    xml::list_versions(&bucket.send(&call).await?.collect(PAGE_BYTES_MAX).await?, marker)
}
