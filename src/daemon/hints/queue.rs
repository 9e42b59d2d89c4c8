//! The keys of one job that change events named and that are not compared yet.
//!
//! # Invariants
//! - A key waits once, however many events name it.
//! - A message is acknowledged when all keys of it are compared and proved, and not before; one that is not comes again.
//! - It is bounded: a flood becomes a scan, and its messages are acknowledged when that scan has ended clean.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::{Change, Hint};
use crate::clock::Clock;
use crate::daemon::status::{HintStatus, Trouble};
use crate::error::Error;
use crate::storage::Key;

/// Keys that wait at a time, and their bytes.
const KEYS_MAX: usize = 100_000;
const BYTES_MAX: usize = 64 << 20;
/// Keys of which it is remembered what was proved last.
const RECENT_MAX: usize = 10_000;
/// Delays that are remembered.
const DELAYS_MAX: usize = 100;
/// How often a key is compared in vain until it is left to the next scan.
const TRIES_MAX: u32 = 8;

/// The hints of one job. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct HintQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By when they came.
    order: BTreeMap<u64, Place>,
    waiting: HashMap<Place, Waiting>,
    bytes: usize,
    scan_wanted: bool,
    /// Messages that the next scan answers.
    after_scan: Vec<Arc<Message>>,
    recent: HashMap<Place, Done>,
    recent_order: VecDeque<Place>,
    delays_ms: VecDeque<u64>,
    counts: HintStatus,
}

type Place = (String, Key);

#[derive(Debug)]
struct Waiting {
    number: u64,
    hint: Hint,
    /// When the oldest change happened that this compare is for.
    since: Timestamp,
    messages: Vec<Arc<Message>>,
    tries: u32,
}

#[derive(Debug)]
struct Done {
    sequencer: Option<String>,
    etag: Option<String>,
    at: Option<Timestamp>,
}

/// A message of a service, to be acknowledged once all that it says is done.
#[derive(Debug)]
struct Message {
    left: AtomicUsize,
    acknowledge: Mutex<Option<oneshot::Sender<()>>>,
}

impl Message {
    fn one_done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(acknowledge) = self.acknowledge.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            let _ = acknowledge.send(());
        }
    }
}

/// A key that is being compared. Dropped without [`Self::done`] it waits again.
#[derive(Debug)]
pub struct Pending {
    queue: HintQueue,
    waiting: Option<Waiting>,
}

impl HintQueue {
    /// An empty queue; `source` is what the status calls where its hints come from.
    pub fn new(source: String, clock: Clock) -> Self {
        let state = State { counts: HintStatus { source, connected: true, ..HintStatus::default() }, ..State::default() };
        Self(Arc::new(Shared { clock, state: Mutex::new(state), arrived: Notify::new() }))
    }

    /// Adds the hints of one message. The receiver resolves once all of them are compared and proved; it is dropped where they are not.
    pub fn offer(&self, hints: Vec<Hint>) -> oneshot::Receiver<()> {
        let (acknowledge, acknowledged) = oneshot::channel();
        // One for this function, so that a message whose hints are all old news is acknowledged at its end.
        let message = Arc::new(Message { left: AtomicUsize::new(hints.len() + 1), acknowledge: Mutex::new(Some(acknowledge)) });
        let now = self.0.clock.now();
        {
            let mut state = self.state();
            state.counts.connected = true;
            state.counts.trouble = None;
            for hint in hints {
                state.offer(hint, &message, now);
            }
        }
        message.one_done();
        self.0.arrived.notify_one();
        acknowledged
    }

    /// Takes up to so many keys, those that came first before the others.
    pub fn take(&self, max: usize) -> Vec<Pending> {
        let mut state = self.state();
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((_, place)) = state.order.pop_first()
        {
            if let Some(waiting) = state.waiting.remove(&place) {
                state.bytes -= size(&place);
                taken.push(Pending { queue: self.clone(), waiting: Some(waiting) });
            }
        }
        taken
    }

    /// Waits until there may be something to take, or a scan to make.
    pub async fn arrived(&self) {
        if !self.is_idle() {
            return;
        }
        self.0.arrived.notified().await;
    }

    fn is_idle(&self) -> bool {
        let state = self.state();
        state.order.is_empty() && !state.scan_wanted
    }

    /// Asks for a scan: hints were lost, or there are too many.
    pub fn want_scan(&self) {
        let mut state = self.state();
        if !state.scan_wanted {
            state.scan_wanted = true;
            state.counts.rescans += 1;
        }
        drop(state);
        self.0.arrived.notify_one();
    }

    /// Whether a scan is wanted.
    pub fn wants_scan(&self) -> bool {
        self.state().scan_wanted
    }

    /// Notes that a scan begins. What asks for one from now on asks for another; what asked before is answered by
    /// [`ScanAnswer::clean`].
    pub fn scan_begins(&self) -> ScanAnswer {
        let mut state = self.state();
        state.scan_wanted = false;
        ScanAnswer { queue: self.clone(), messages: std::mem::take(&mut state.after_scan) }
    }

    /// When the oldest change happened that waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.state().waiting.values().map(|waiting| waiting.since).min()
    }

    /// Notes that the source does not answer.
    pub fn failed(&self, error: &Error, now: Timestamp) {
        let mut state = self.state();
        state.counts.connected = false;
        state.counts.trouble = Some(Trouble::of(error, now));
    }

    /// How it stands.
    pub fn status(&self) -> HintStatus {
        let state = self.state();
        let mut delays: Vec<u64> = state.delays_ms.iter().copied().collect();
        delays.sort_unstable();
        HintStatus {
            pending: state.waiting.len() as u64,
            delay_median_ms: delays.get(delays.len() / 2).copied(),
            delay_worst_ms: delays.last().copied(),
            ..state.counts.clone()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn offer(&mut self, hint: Hint, message: &Arc<Message>, now: Timestamp) {
        self.counts.received += 1;
        self.counts.last = Some(now);
        let since = hint.at.map_or(now, |at| at.min(now));
        let place = (hint.bucket.clone(), hint.key.clone());
        if self.recent.get(&place).is_some_and(|done| is_old_news(done, &hint)) {
            self.counts.duplicates += 1;
            message.one_done();
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&place) {
            self.counts.duplicates += 1;
            waiting.since = waiting.since.min(since);
            waiting.messages.push(message.clone());
            // The last word counts, where the order is known; else that the key is looked at is enough.
            if !is_older(hint.sequencer.as_deref(), waiting.hint.sequencer.as_deref()) {
                waiting.hint = hint;
            }
            return;
        }
        self.insert(Waiting { number: 0, hint, since, messages: vec![message.clone()], tries: 0 });
    }

    fn insert(&mut self, mut waiting: Waiting) {
        let place = (waiting.hint.bucket.clone(), waiting.hint.key.clone());
        let bytes = size(&place);
        if self.waiting.len() >= KEYS_MAX || self.bytes + bytes > BYTES_MAX {
            self.drown();
        }
        if self.waiting.is_empty() && self.scan_wanted {
            // The scan that follows a flood sees this one as well.
            self.after_scan.append(&mut waiting.messages);
            return;
        }
        waiting.number = self.next;
        self.next += 1;
        self.bytes += bytes;
        self.order.insert(waiting.number, place.clone());
        self.waiting.insert(place, waiting);
    }

    /// Too many: a scan finds them all.
    fn drown(&mut self) {
        self.order.clear();
        self.bytes = 0;
        for (_, mut waiting) in self.waiting.drain() {
            self.after_scan.append(&mut waiting.messages);
        }
        if !self.scan_wanted {
            self.scan_wanted = true;
            self.counts.rescans += 1;
        }
    }

    fn remember(&mut self, hint: Hint) {
        let place = (hint.bucket, hint.key);
        let done = Done { sequencer: hint.sequencer, etag: hint.etag, at: hint.at };
        if self.recent.insert(place.clone(), done).is_none() {
            self.recent_order.push_back(place);
        }
        while self.recent_order.len() > RECENT_MAX {
            if let Some(oldest) = self.recent_order.pop_front() {
                self.recent.remove(&oldest);
            }
        }
    }
}

/// What a scan that begins will have answered, once it ends clean. Dropped before, they wait for the next one.
#[derive(Debug)]
pub struct ScanAnswer {
    queue: HintQueue,
    messages: Vec<Arc<Message>>,
}

impl ScanAnswer {
    /// The scan ended clean: what asked for it is acknowledged.
    pub fn clean(mut self) {
        std::mem::take(&mut self.messages).iter().for_each(|message| message.one_done());
    }
}

impl Drop for ScanAnswer {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            let mut state = self.queue.state();
            state.after_scan.append(&mut self.messages);
            state.scan_wanted = true;
        }
    }
}

impl Pending {
    /// The hint.
    pub fn hint(&self) -> &Hint {
        // It is there until `self` is consumed.
        static NOTHING: std::sync::LazyLock<Hint> =
            std::sync::LazyLock::new(|| Hint { bucket: String::new(), key: Key::EMPTY, change: Change::Written, at: None, sequencer: None, etag: None });
        self.waiting.as_ref().map_or(&NOTHING, |waiting| &waiting.hint)
    }

    /// The key is proved at the destination.
    pub fn done(mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let now = self.queue.0.clock.now();
        let mut state = self.queue.state();
        let delay = now.duration_since(waiting.since).as_millis();
        state.delays_ms.push_back(u64::try_from(delay).unwrap_or(0));
        if state.delays_ms.len() > DELAYS_MAX {
            state.delays_ms.pop_front();
        }
        state.remember(waiting.hint);
        drop(state);
        waiting.messages.iter().for_each(|message| message.one_done());
    }

    /// Only a scan can answer it: a key that is gone is deleted by none but a whole listing.
    pub fn leave_to_scan(mut self) {
        let Some(mut waiting) = self.waiting.take() else { return };
        self.queue.state().after_scan.append(&mut waiting.messages);
        self.queue.want_scan();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(mut waiting) = self.waiting.take() else { return };
        waiting.tries += 1;
        // One that never works comes again with its message, or with the next scan.
        if waiting.tries < TRIES_MAX {
            let mut state = self.queue.state();
            let place = (waiting.hint.bucket.clone(), waiting.hint.key.clone());
            match state.waiting.get_mut(&place) {
                Some(newer) => {
                    newer.since = newer.since.min(waiting.since);
                    newer.messages.append(&mut waiting.messages);
                }
                None => state.insert(waiting),
            }
        }
    }
}

/// Whether an event tells nothing that was not known when the key was last proved.
fn is_old_news(done: &Done, hint: &Hint) -> bool {
    match (&done.sequencer, &hint.sequencer) {
        (Some(done), Some(hint)) => !is_older(Some(done), Some(hint)),
        _ => hint.at.is_some() && hint.at == done.at && hint.etag.is_some() && hint.etag == done.etag,
    }
}

/// Whether a sequencer is older than another: the shorter one is padded with zeros at its right end (protocol.md 5).
fn is_older(a: Option<&str>, b: Option<&str>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    let width = a.len().max(b.len());
    let padded = |text: &str| format!("{text:0<width$}").to_ascii_uppercase();
    padded(a) < padded(b)
}

fn size((bucket, key): &Place) -> usize {
    2 * (bucket.len() + key.len()) + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use proptest::prelude::*;

    fn hint(key: &str) -> Hint {
        Hint { bucket: "b".into(), key: Key::from(key), change: Change::Written, at: None, sequencer: None, etag: None }
    }

    fn queue() -> HintQueue {
        HintQueue::new("test".into(), Clock::system())
    }

    fn keys(pending: &[Pending]) -> Vec<String> {
        pending.iter().map(|p| p.hint().key.to_string()).collect()
    }

    #[test]
    fn a_message_is_acknowledged_when_all_of_it_is_done() {
        let queue = queue();
        let mut message = queue.offer(vec![hint("a"), hint("b"), hint("a")]);
        let mut taken = queue.take(10);
        assert_eq!(keys(&taken), ["a", "b"]);
        taken.remove(0).done();
        assert!(message.try_recv().is_err());
        taken.remove(0).done();
        assert!(message.try_recv().is_ok());
        assert!(queue.offer(Vec::new()).now_or_never().is_some_and(|done| done.is_ok()), "a message without news");
    }

    #[test]
    fn what_is_dropped_waits_again_and_is_given_up_at_last() {
        let queue = queue();
        let mut message = queue.offer(vec![hint("a")]);
        for _ in 0..TRIES_MAX {
            assert_eq!(queue.take(10).len(), 1);
        }
        assert_eq!(queue.take(10).len(), 0);
        assert!(matches!(message.try_recv(), Err(oneshot::error::TryRecvError::Closed)), "it is not acknowledged, and comes again");
    }

    #[test]
    fn duplicates_and_old_news_are_known() {
        let queue = queue();
        let numbered = |sequencer: &str| Hint { sequencer: Some(sequencer.into()), ..hint("a") };
        drop(queue.offer(vec![numbered("0055AED6DCD90281E5"), numbered("0055AED6DCD90281E")]));
        let mut taken = queue.take(10);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].hint().sequencer.as_deref(), Some("0055AED6DCD90281E5"), "the later one");
        taken.remove(0).done();
        assert!(queue.offer(vec![numbered("0055AED6DCD90281E4")]).now_or_never().is_some_and(|done| done.is_ok()));
        assert_eq!(queue.take(10).len(), 0);
        drop(queue.offer(vec![numbered("0055AED6DCD90281E6")]));
        assert_eq!(queue.take(10).len(), 1, "news");
        assert_eq!(queue.status().duplicates, 2);
    }

    #[test]
    fn a_flood_becomes_a_scan() {
        let queue = queue();
        let mut first = queue.offer((0..KEYS_MAX).map(|n| hint(&format!("{n}"))).collect());
        let mut last = queue.offer(vec![hint("one more")]);
        assert!(queue.wants_scan() && queue.take(10).is_empty());
        drop(queue.scan_begins());
        assert!(queue.wants_scan(), "a scan that did not end well is made again");
        let answer = queue.scan_begins();
        assert!(first.try_recv().is_err() && last.try_recv().is_err());
        let mut later = queue.offer(vec![hint("later")]);
        answer.clean();
        assert!(first.try_recv().is_ok() && last.try_recv().is_ok());
        assert!(later.try_recv().is_err() && !queue.wants_scan());
        assert_eq!(queue.take(10).len(), 1);
        assert_eq!(queue.status().rescans, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_are_from_the_change_to_the_proof() {
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"), 1);
        let queue = HintQueue::new("test".into(), clock.clone());
        let at = clock.now();
        drop(queue.offer(vec![Hint { at: Some(at), ..hint("a") }]));
        assert_eq!(queue.oldest(), Some(at));
        clock.sleep(std::time::Duration::from_millis(1500)).await;
        queue.take(1).remove(0).done();
        let status = queue.status();
        assert_eq!((status.delay_median_ms, status.delay_worst_ms, queue.oldest()), (Some(1500), Some(1500), None));
    }

    proptest! {
        /// Whatever comes in whatever order, and however often it fails: every message is acknowledged once all its keys are done.
        #[test]
        fn nothing_is_lost(messages in proptest::collection::vec(proptest::collection::vec(0u8..20, 0..5), 1..30), fails in proptest::collection::vec(any::<bool>(), 0..TRIES_MAX as usize)) {
            let queue = queue();
            let mut waiting: Vec<_> = messages.iter().map(|keys| queue.offer(keys.iter().map(|key| hint(&key.to_string())).collect())).collect();
            let mut fails = fails.into_iter();
            for _ in 0..200 {
                for pending in queue.take(3) {
                    if fails.next() != Some(true) {
                        pending.done();
                    }
                }
            }
            prop_assert!(queue.take(1).is_empty());
            prop_assert!(waiting.iter_mut().all(|message| message.try_recv().is_ok()));
            prop_assert_eq!(queue.state().bytes, 0);
        }
    }
}
