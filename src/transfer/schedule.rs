//! Drives a run: takes keys from the feed, keeps so many of them at work, and hands what ended to a [`Stage`].
//!
//! Work starts before the listings end, and the listings run ahead of it by at most [`AHEAD_MAX`] keys that need work: far enough
//! that most runs soon know how much there is to do, and bounded, so that memory does not grow with the number of keys. Every task
//! is awaited here or aborted here.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinSet;

use super::concurrency::Streams;
use super::feed::Feed;
use super::job::Context;
use super::join::Pairing;
use super::subject::Subject;
use super::tide::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Key;

/// Keys that wait for their work; each takes some 500 bytes. Few in tests, so that small ones come to it.
const AHEAD_MAX: usize = if cfg!(test) { 100 } else { 10_000 };

/// Keys that are drawn before work and signals are looked at again.
const DRAWN_MAX: usize = 1000;

/// How long work in flight may take to end after an interrupt: small objects and the parts that move do, most of the time.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(8);

/// How often the journal writes what it has gathered, though nothing fills it up.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What to do with a key of the feed.
pub(crate) enum Step<T> {
    /// Nothing.
    Pass,
    /// Something that takes no waiting for a store: the stage takes it as ended.
    Done(T),
    /// Work that waits for stores.
    Work(Box<Subject>),
}

/// The part of a run that knows what it is for.
pub(crate) trait Stage {
    /// How a key ended.
    type Ended: Send + 'static;

    /// Decides about a pairing without waiting.
    fn decide(&mut self, pairing: &Pairing<'_>) -> Step<Self::Ended>;

    /// The work on one key.
    fn work(&self, subject: Box<Subject>) -> BoxFuture<'static, Self::Ended>;

    /// Takes note of what ended.
    fn ended(&mut self, ended: Self::Ended) -> impl Future<Output = Result<()>> + Send;

    /// Whether no more work may start.
    fn is_halted(&self) -> bool;

    /// Notes that every key up to this one, so many of them, is settled for good: a later run need not look at them.
    fn settled(&mut self, after: Key, keys: u64) -> impl Future<Output = Result<()>> + Send;
}

/// How a drive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driven {
    /// The feed ended and all work with it, or the stage halted.
    ToTheEnd,
    /// The time was up.
    TimeUp,
    /// The operator stopped it.
    Interrupted,
}

type Work<T> = JoinSet<(Waiting, T)>;

/// A key at work, and its ticket in the [`Tide`](super::tide::Tide).
struct Waiting {
    key: Key,
    ticket: Ticket,
}

/// Drives a stage over a feed. An error is one of the run itself, not of a key.
pub(crate) async fn drive<S: Stage>(feed: &mut Feed, stage: &mut S, streams: &Streams, context: &Context, duration_max: Option<Duration>) -> Result<Driven> {
    let mut work: Work<S::Ended> = JoinSet::new();
    let mut waiting: VecDeque<(Ticket, Box<Subject>)> = VecDeque::new();
    // A key has one copier at a time: a file of keys may name one twice.
    let mut at_work: HashSet<Key> = HashSet::new();
    let (mut fed, mut driven) = (false, Driven::ToTheEnd);
    let mut limits = streams.changes();
    let mut pulse = std::pin::pin!(streams.look_after());
    let mut flush = std::pin::pin!(context.clock.sleep(FLUSH_EVERY));
    let mut deadline = std::pin::pin!(async {
        match duration_max {
            Some(duration) => context.clock.sleep(duration).await,
            None => std::future::pending().await,
        }
    });
    loop {
        let admits = driven == Driven::ToTheEnd && !stage.is_halted();
        while admits
            && work.len() < streams.limit()
            && let Some((ticket, subject)) = waiting.pop_front()
        {
            if !start(&mut work, &mut at_work, stage, ticket, subject) {
                feed.tide.ended(ticket);
            }
        }
        if let Some((after, keys)) = feed.tide.reached() {
            stage.settled(after, keys).await?;
        }
        if work.is_empty() && (fed || !admits) {
            return Ok(driven);
        }
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => {
                wind_down(&mut work, stage, context).await?;
                return Ok(Driven::Interrupted);
            }
            Some(ended) = work.join_next() => {
                let (done, ended) = ended.map_err(died)?;
                at_work.remove(&done.key);
                stage.ended(ended).await?;
                feed.tide.ended(done.ticket);
            }
            // There may be room for more.
            Ok(()) = limits.changed() => {}
            never = &mut pulse => match never {},
            () = &mut deadline, if driven == Driven::ToTheEnd => driven = Driven::TimeUp,
            () = &mut flush, if context.journal.is_durable() => {
                context.journal.flush().await?;
                flush.set(context.clock.sleep(FLUSH_EVERY));
            }
            arrived = feed.arrive(), if admits && !fed && waiting.len() < AHEAD_MAX => {
                arrived?;
                fed = draw(feed, stage, &mut waiting).await?;
                context.progress.listing_done.store(fed, Ordering::Relaxed);
            }
        }
    }
}

/// Draws the key that has arrived and those that are there with it, decides about them, and lets those that are work wait for it. True: there
/// are no more.
async fn draw<S: Stage>(feed: &mut Feed, stage: &mut S, waiting: &mut VecDeque<(Ticket, Box<Subject>)>) -> Result<bool> {
    for _ in 0..DRAWN_MAX {
        let Some(drawn) = feed.draw(|pairing| stage.decide(pairing), |subject| Step::Work(Box::new(subject))) else { return Ok(true) };
        match drawn.decided {
            Step::Pass => {}
            Step::Done(ended) => stage.ended(ended).await?,
            Step::Work(subject) => waiting.push_back((feed.tide.ticket(drawn.range), subject)),
        }
        if let Some(key) = drawn.mark {
            feed.tide.mark(drawn.range, key);
        }
        if waiting.len() >= AHEAD_MAX || stage.is_halted() {
            break;
        }
        match feed.arrive().now_or_never() {
            Some(arrived) => arrived?,
            None => break,
        }
    }
    Ok(false)
}

/// Starts the work on one key. False: it is at work already.
fn start<S: Stage>(work: &mut Work<S::Ended>, at_work: &mut HashSet<Key>, stage: &S, ticket: Ticket, subject: Box<Subject>) -> bool {
    let key = subject.key.clone();
    let is_new = at_work.insert(key.clone());
    if is_new {
        let task = stage.work(subject);
        work.spawn(async move {
            let ended = task.await;
            (Waiting { key, ticket }, ended)
        });
    }
    is_new
}

/// Lets what is in flight put itself away, then aborts the rest.
async fn wind_down<S: Stage>(work: &mut Work<S::Ended>, stage: &mut S, context: &Context) -> Result<()> {
    let mut grace = std::pin::pin!(context.clock.sleep(DRAIN_MAX));
    loop {
        tokio::select! {
            biased;
            ended = work.join_next() => match ended {
                None => return Ok(()),
                Some(ended) => stage.ended(ended.map_err(died)?.1).await?,
            },
            () = &mut grace => {
                work.shutdown().await;
                return Ok(());
            }
        }
    }
}

pub(crate) fn died(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Unexpected, "a copying task died").caused_by(error).advise("this is a bug in Dragon; the log has the panic")
}
