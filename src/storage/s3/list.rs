//! Listings: every page, in order, or an error.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use http::Method;

use super::client::{Bucket, Call};
use crate::error::{Error, Result};
use crate::storage::transport::xml::{Listing, Order, TokenEncoding, parse_listing};
use crate::storage::{Key, List, Page};

/// Keys a page at most: what S3 gives.
const PAGE_KEYS_MAX: u32 = 1000;
/// Longest page in bytes: a thousand keys of 1,024 bytes, each byte escaped, and what stands around them.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// What is left of a listing.
struct Cursor {
    bucket: Arc<Bucket>,
    list: List,
    order: Option<Order>,
    token: Option<String>,
}

/// Lists page by page. Where `ordered` is false (directory buckets) the service's order is taken as it comes.
pub(super) fn list(bucket: Arc<Bucket>, list: List, ordered: bool) -> BoxStream<'static, Result<Page>> {
    let order = ordered.then(|| Order::new(&list));
    let start = Cursor { bucket, list, order, token: None };
    stream::unfold(Some(start), |cursor| async move {
        let mut cursor = cursor?;
        loop {
            return match cursor.next().await {
                Ok((page, true)) => Some((Ok(page), None)).filter(|(page, _)| page.as_ref().is_ok_and(|p| !p.is_empty())),
                // A page may be empty though more follow.
                Ok((page, false)) if page.is_empty() => continue,
                Ok((page, false)) => Some((Ok(page), Some(cursor))),
                Err(e) => Some((Err(e.during("list").in_store(&cursor.bucket)), None)),
            };
        }
    })
    .boxed()
}

impl Cursor {
    /// The next page, and whether it is the last that the caller wants.
    async fn next(&mut self) -> Result<(Page, bool)> {
        let text = |key: &Key| key.as_str().map(str::to_owned);
        let mut call = Call::new(Method::GET, None).with("list-type", 2).with("encoding-type", "url");
        call = match &self.token {
            Some(token) => call.with("continuation-token", token),
            // Directory buckets know no start-after.
            None => call.with_some("start-after", self.list.after.as_ref().filter(|_| self.order.is_some()).map(text).transpose()?),
        };
        let keys = self.list.page_keys.unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX);
        call = call.with("max-keys", keys).with_some("delimiter", self.list.delimiter.map(char::from));
        if !self.list.prefix.is_empty() {
            call = call.with("prefix", text(&self.list.prefix)?);
        }
        let body = self.bucket.send(&call).await?.collect(PAGE_BYTES_MAX).await?;
        let Listing { page, next_token } = parse_listing(&body, TokenEncoding::Plain, self.token.as_deref())?;
        self.token = next_token;
        let (mut page, wants_more) = match &mut self.order {
            None => (self.within(page)?, true),
            Some(order) => match order.check(page)? {
                ControlFlow::Continue(page) => (page, true),
                ControlFlow::Break(page) => (page, false),
            },
        };
        let is_last = !wants_more || self.token.is_none();
        if is_last {
            page.mark_last();
        }
        Ok((page, is_last))
    }

    /// What lies between the bounds, in whatever order.
    fn within(&self, page: Page) -> Result<Page> {
        let wanted = |key: &[u8]| self.list.after.as_ref().is_none_or(|a| key > a.as_bytes()) && self.list.upto.as_ref().is_none_or(|u| key <= u.as_bytes());
        let mut kept = Page::new();
        for entry in page.iter() {
            if !entry.key.starts_with(self.list.prefix.as_bytes()) {
                return Err(Error::integrity("the listing holds a key that lies elsewhere").on_key(Key::from(entry.key)));
            }
            if wanted(entry.key) {
                kept.push(entry);
            }
        }
        page.prefixes().iter().filter(|p| wanted(p.as_bytes())).for_each(|p| kept.push_prefix(p.clone()));
        Ok(kept)
    }
}
