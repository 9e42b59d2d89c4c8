//! What disturbs bodies and pages on their way.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::BytesMut;
use futures::stream::{self, BoxStream, StreamExt};

use super::Effect;
use crate::error::{Error, Result};
use crate::storage::payload::ByteStream;
use crate::storage::{Page, Payload};

/// Passes a body on, disturbed.
pub(super) fn disturb(body: ByteStream, effects: &[Effect]) -> ByteStream {
    effects.iter().fold(body, |body, effect| match effect {
        Effect::Flip { at } | Effect::FlipStored { at } => flip(body, *at),
        Effect::Truncate { at, error } => truncate(body, *at, error.clone()),
        _ => body,
    })
}

fn flip(body: ByteStream, at: u64) -> ByteStream {
    let mut start = 0u64;
    body.map(move |chunk| {
        let chunk = chunk?;
        let (from, to) = (start, start + chunk.len() as u64);
        start = to;
        if !(from..to).contains(&at) {
            return Ok(chunk);
        }
        let mut flipped = BytesMut::from(&chunk[..]);
        flipped[(at - from) as usize] ^= 1;
        Ok(flipped.freeze())
    })
    .boxed()
}

fn truncate(body: ByteStream, at: u64, error: Option<Error>) -> ByteStream {
    let kept = body.scan(at, |left, chunk| {
        let kept = match chunk {
            Ok(_) if *left == 0 => None,
            Ok(mut chunk) => {
                chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= chunk.len() as u64;
                Some(Ok(chunk))
            }
            Err(e) => Some(Err(e)),
        };
        std::future::ready(kept)
    });
    kept.chain(stream::iter(error.map(Err))).boxed()
}

/// A payload that is disturbed each time it is sent.
pub(super) fn disturbed(payload: Payload, effects: &[Effect]) -> Payload {
    if !effects.iter().any(|e| matches!(e, Effect::Flip { .. } | Effect::FlipStored { .. })) {
        return payload;
    }
    let effects: Arc<[Effect]> = effects.into();
    Payload::from_source(payload.len(), move || {
        let (payload, effects) = (payload.clone(), effects.clone());
        Box::pin(async move { Ok(disturb(payload.stream().await?, &effects)) })
    })
}

pub(super) fn hides_checksums(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::FlipStored { .. }))
}

pub(super) fn reversed(page: &Page) -> Page {
    let mut turned = Page::new();
    for index in (0..page.len()).rev() {
        turned.push(page.entry(index));
    }
    page.prefixes().iter().rev().for_each(|p| turned.push_prefix(p.clone()));
    turned
}

/// Ends a listing at its first error, which is final.
pub(super) fn until_error<T: Send + 'static>(items: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
    stream::unfold(ControlFlow::Continue(items), |state| async move {
        let ControlFlow::Continue(mut items) = state else { return None };
        match items.next().await? {
            Ok(item) => Some((Ok(item), ControlFlow::Continue(items))),
            Err(e) => Some((Err(e), ControlFlow::Break(()))),
        }
    })
    .boxed()
}
