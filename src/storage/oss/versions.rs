//! Versions: whether the bucket keeps them (GetBucketVersioning), and which there are (ListObjectVersions, also called
//! GetBucketVersions).

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use http::Method;

use super::Bucket;
use super::client::Request;
use super::object::ANSWER_BYTES_MAX;
use crate::error::Result;
use crate::storage::transport::xml::{self, VersionMarker, VersionOrder, VersionsPage};
use crate::storage::{List, Version, Versioning};

/// Versions a page: OSS gives 100 unless told, and 1000 at most.
const PAGE_VERSIONS_MAX: u32 = 1000;
/// Largest page that is read: 1000 keys of 1023 bytes, each byte escaped, and as much again for the rest.
const PAGE_BYTES_MAX: usize = 8 << 20;

impl Bucket {
    pub(super) async fn versioning(&self) -> Result<Versioning> {
        let request = Request::new("versioning", Method::GET, None).flag("versioning");
        let body = self.send(&request).await?.collect(ANSWER_BYTES_MAX).await;
        body.and_then(|body| xml::versioning(&body)).map_err(|e| self.place(&request, e))
    }
}

/// The pages of a listing of versions. An error is the last item and means that the rest is unknown.
pub(super) fn pages(bucket: Arc<Bucket>, list: List) -> BoxStream<'static, Result<Vec<Version>>> {
    async_stream::try_stream! {
        let mut order = VersionOrder::new(&list);
        let mut marker = None;
        loop {
            let page = page(&bucket, &list, marker.as_ref()).await?;
            let (versions, next) = match order.check(page.versions).map_err(|e| bucket.place(&request(&list, None), e))? {
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
    let request = request(list, marker);
    let body = bucket.send(&request).await?.collect(PAGE_BYTES_MAX).await;
    body.and_then(|body| xml::list_versions(&body, marker)).map_err(|e| bucket.place(&request, e))
}

fn request(list: &List, marker: Option<&VersionMarker>) -> Request<'static> {
    let versions = list.page_keys.unwrap_or(PAGE_VERSIONS_MAX).clamp(1, PAGE_VERSIONS_MAX);
    let after = marker.map(|m| &m.key).or(list.after.as_ref()).filter(|key| !key.is_empty());
    Request::new("list versions", Method::GET, None)
        .flag("versions")
        .with("encoding-type", "url")
        .with("max-keys", versions.to_string())
        .with_some("prefix", Some(list.prefix.as_bytes()).filter(|p| !p.is_empty()))
        .with_some("key-marker", after)
        .with_some("version-id-marker", marker.and_then(|m| m.version.as_ref()))
}
