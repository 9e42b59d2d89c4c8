//! Listings: every page, in order, or an error.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use http::Method;

use super::Bucket;
use super::client::Request;
use crate::error::Result;
use crate::storage::List;
use crate::storage::page::Page;
use crate::storage::transport::xml::{Listing, Order, TokenEncoding, parse_listing};

/// Keys a page: OSS gives 100 unless told, and 1000 at most.
const PAGE_KEYS_MAX: u32 = 1000;
/// Largest page that is read: 1000 keys of 1023 bytes, each byte escaped, and as much again for the rest.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// The pages of a listing. An error is the last item and means that the rest is unknown.
pub(super) fn pages(bucket: Arc<Bucket>, list: List) -> BoxStream<'static, Result<Page>> {
    async_stream::try_stream! {
        let mut order = Order::new(&list);
        let mut token = None;
        loop {
            let listing = page(&bucket, &list, token.as_deref()).await?;
            let checked = order.check(listing.page).map_err(|e| bucket.place(&request(&list, None), e))?;
            let (mut page, next) = match checked {
                ControlFlow::Break(page) => (page, None),
                ControlFlow::Continue(page) => (page, listing.next_token),
            };
            if next.is_none() {
                page.mark_last();
            }
            yield page;
            token = next;
            if token.is_none() {
                return;
            }
        }
    }
    .boxed()
}

async fn page(bucket: &Bucket, list: &List, token: Option<&str>) -> Result<Listing> {
    let request = request(list, token);
    let body = bucket.send(&request).await?.collect(PAGE_BYTES_MAX).await;
    body.and_then(|body| parse_listing(&body, TokenEncoding::LikeKeys, token)).map_err(|e| bucket.place(&request, e))
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
