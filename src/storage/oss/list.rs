//! Listing a bucket, the next page being fetched while the last one is used.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use http::Method;
use tokio_util::task::AbortOnDropHandle;

use super::Bucket;
use super::client::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::List;
use crate::storage::page::Page;
use crate::storage::transport::xml::{Listing, Order, TokenEncoding, parse_listing};

/// Keys a page: OSS gives 100 unless told, and 1000 at most.
const PAGE_KEYS_MAX: u32 = 1000;
/// Largest page that is read: 1000 keys of 1023 bytes, each byte escaped, and as much again for the rest.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// The pages of a listing. An error is the last item and means that the rest is unknown.
pub(super) fn pages(bucket: Arc<Bucket>, list: List) -> BoxStream<'static, Result<Page>> {
    let list = Arc::new(list);
    async_stream::try_stream! {
        let mut order = Order::new(&list);
        let mut listing = page(Arc::clone(&bucket), Arc::clone(&list), None).await?;
        loop {
            let next = listing.next_token.take().map(|token| {
                AbortOnDropHandle::new(tokio::spawn(page(Arc::clone(&bucket), Arc::clone(&list), Some(token))))
            });
            match order.check(listing.page).map_err(|e| bucket.place(&request(&list, None), e))? {
                ControlFlow::Break(page) => {
                    yield page;
                    return;
                }
                ControlFlow::Continue(page) => yield page,
            }
            let Some(next) = next else { return };
            listing = next.await.map_err(|e| Error::new(ErrorKind::Unexpected, "the listing's task failed").caused_by(e))??;
        }
    }
    .boxed()
}

async fn page(bucket: Arc<Bucket>, list: Arc<List>, token: Option<String>) -> Result<Listing> {
    let request = request(&list, token.as_deref());
    let body = bucket.send(&request).await?.collect(PAGE_BYTES_MAX).await;
    body.and_then(|body| parse_listing(&body, TokenEncoding::LikeKeys, token.as_deref())).map_err(|e| bucket.place(&request, e))
}

fn request(list: &List, token: Option<&str>) -> Request<'static> {
    let page_keys = list.page_keys.unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX);
    Request::new("list", Method::GET, None)
        .with("list-type", "2")
        .with("encoding-type", "url")
        .with("max-keys", page_keys.to_string())
        .with_some("prefix", Some(list.prefix.as_bytes()).filter(|p| !p.is_empty()))
        .with_some("delimiter", list.delimiter.map(|d| [d]))
        .with_some("start-after", list.after.as_ref().filter(|a| token.is_none() && !a.is_empty()))
        .with_some("continuation-token", token)
}
