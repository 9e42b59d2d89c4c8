//! Change events out of Amazon SQS.
//!
//! A message is hidden while its keys are compared, again and again as long as that takes, and deleted when they are proved. The SDK
//! makes one attempt; [`pump`](super::pump) comes again.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::{HintQueue, message};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// The service's longest poll and largest batch.
const POLL_SECONDS: i32 = 20;
const BATCH_MAX: i32 = 10;
/// How long a message is hidden, and how often that is renewed.
const HIDDEN_SECONDS: i32 = 120;
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// Messages that are being worked on at a time.
const UNDERWAY_MAX: usize = 1000;
/// How long acknowledgements are gathered.
const GATHER: Duration = Duration::from_millis(200);

/// Receives until something fails.
pub(super) async fn receive(queue_url: &str, config: &aws_config::SdkConfig, queue: &HintQueue, clock: &Clock) -> Result<()> {
    let client = Client::new(config);
    let mut underway = FuturesUnordered::new();
    let mut renewed = clock.instant();
    let mut handles: std::collections::HashSet<String> = std::collections::HashSet::new();
    // Kept while other things are looked after: a poll that is dropped may take messages with it, until they show again.
    let mut poll = None;
    loop {
        let poll_now = poll.get_or_insert_with(|| {
            Box::pin(
                client
                    .receive_message()
                    .queue_url(queue_url)
                    .max_number_of_messages(BATCH_MAX)
                    .wait_time_seconds(POLL_SECONDS)
                    .visibility_timeout(HIDDEN_SECONDS)
                    .send(),
            )
        });
        tokio::select! {
            biased;
            Some((handle, done)) = underway.next() => {
                let mut proved = vec![(handle, done)];
                let gather = clock.sleep(GATHER);
                tokio::pin!(gather);
                while proved.len() < BATCH_MAX as usize {
                    tokio::select! {
                        Some(ended) = underway.next() => proved.push(ended),
                        () = &mut gather => break,
                    }
                }
                proved.iter().for_each(|(handle, _)| { handles.remove(handle); });
                // One that was given up shows again by itself.
                delete(&client, queue_url, proved.into_iter().filter(|(_, done)| *done).map(|(handle, _)| handle).collect()).await?;
            }
            () = clock.sleep(RENEW_EVERY.saturating_sub(renewed.elapsed())), if !handles.is_empty() => {
                renewed = clock.instant();
                hide(&client, queue_url, &handles).await?;
            }
            received = poll_now, if underway.len() < UNDERWAY_MAX => {
                poll = None;
                let received = received.map_err(|e| failed(&e))?;
                for Message { body, receipt_handle, message_id, .. } in received.messages.unwrap_or_default() {
                    let Some(handle) = receipt_handle else { continue };
                    match message::parse(body.unwrap_or_default().as_bytes()) {
                        Ok(hints) => {
                            let acknowledged = queue.offer(hints);
                            handles.insert(handle.clone());
                            underway.push(async move { (handle, acknowledged.await.is_ok()) });
                        }
                        // It stays, for the queue's dead letters.
                        Err(error) => tracing::warn!(%error, message = message_id.as_deref().unwrap_or("?"), "a message of the queue is not understood"),
                    }
                }
            }
        }
    }
}

async fn delete(client: &Client, queue_url: &str, handles: Vec<String>) -> Result<()> {
    if handles.is_empty() {
        return Ok(());
    }
    let entry = |(n, handle): (usize, &String)| DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(handle).build();
    let entries: Vec<_> = handles.iter().enumerate().filter_map(|entry_of| entry(entry_of).ok()).collect();
    let answer = client.delete_message_batch().queue_url(queue_url).set_entries(Some(entries)).send().await.map_err(|e| failed(&e))?;
    for refused in answer.failed() {
        tracing::warn!(code = refused.code(), "a message could not be acknowledged, and comes again");
    }
    Ok(())
}

async fn hide(client: &Client, queue_url: &str, handles: &std::collections::HashSet<String>) -> Result<()> {
    for some in handles.iter().collect::<Vec<_>>().chunks(BATCH_MAX as usize) {
        let entry = |(n, handle): (usize, &&String)| {
            ChangeMessageVisibilityBatchRequestEntry::builder().id(n.to_string()).receipt_handle(*handle).visibility_timeout(HIDDEN_SECONDS).build()
        };
        let entries: Vec<_> = some.iter().enumerate().filter_map(|entry_of| entry(entry_of).ok()).collect();
        client.change_message_visibility_batch().queue_url(queue_url).set_entries(Some(entries)).send().await.map_err(|e| failed(&e))?;
    }
    Ok(())
}

fn failed<E: std::error::Error>(e: &E) -> Error {
    Error::new(ErrorKind::Unavailable, format!("SQS does not answer as it should: {}", DisplayErrorContext(e)))
        .advise("the queue needs sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility; until it answers, scans find what changed")
}
