//! MD5 of many streams at a time, in the lanes of the processor's vectors.
//!
//! One stream cannot go faster than 0.6 GB/s, because each block waits for the one before; sixteen beside each other go nine times as
//! fast (performance.md 2). So whoever has bytes to hash leaves them here, and one thread hashes them with whatever others have left
//! meanwhile: alone it is as fast as ever, in company faster. Who comes while it is at work joins in at its next step.
//! Each runtime has a thread of its own for this, so that none waits for one that ends.

use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use md5::{BLOCK_BYTES, LANES, update_all};

mod md5;

pub(crate) use md5::Md5;

/// Fewer than these are hashed one after the other, which is as fast.
const COMPANY_MIN: usize = 3;
/// What is hashed of each in one step, in bytes.
const STEP_BYTES: usize = 64 << 10;
/// What is hashed where it is, in bytes: handing it over would take as long.
const INLINE_BYTES: usize = 16 << 10;

/// A stream that goes on.
struct Stream {
    state: Md5,
    chunks: VecDeque<Bytes>,
    answer: oneshot::Sender<Md5>,
}

/// Streams that wait for the thread of their runtime. Where there is an entry, a thread is at work.
static QUEUES: LazyLock<Mutex<HashMap<Id, Vec<Stream>>>> = LazyLock::new(Mutex::default);

fn queues() -> MutexGuard<'static, HashMap<Id, Vec<Stream>>> {
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whatever happens to the thread, begun or not, those who wait stop waiting, and the next who comes starts another.
struct Work(Id);

impl Drop for Work {
    fn drop(&mut self) {
        let left = queues().remove(&self.0);
        drop(left);
    }
}

/// The state of a stream after further bytes. Dropped while it waits, nothing is lost but the work.
pub(crate) async fn update(mut state: Md5, chunks: &[Bytes]) -> Md5 {
    if chunks.iter().map(Bytes::len).sum::<usize>() > INLINE_BYTES {
        let (answer, answered) = oneshot::channel();
        let stream = Stream { state, chunks: chunks.iter().filter(|chunk| !chunk.is_empty()).cloned().collect(), answer };
        let runtime = Handle::current();
        let mut begins = false;
        let first = || {
            begins = true;
            Vec::new()
        };
        queues().entry(runtime.id()).or_insert_with(first).push(stream);
        if begins {
            let work = Work(runtime.id());
            runtime.spawn_blocking(move || work.run());
        }
        if let Ok(state) = answered.await {
            return state;
        }
    }
    // Few bytes; or the runtime ends, and its threads with it.
    chunks.iter().for_each(|chunk| state.update(chunk));
    state
}

impl Work {
    /// Hashes until nobody waits.
    fn run(self) {
        let mut lanes: Vec<Stream> = Vec::new();
        loop {
            {
                let mut queues = queues();
                let Some(waiting) = queues.get_mut(&self.0) else { return };
                lanes.extend(waiting.drain(..(LANES - lanes.len()).min(waiting.len())));
                if lanes.is_empty() {
                    queues.remove(&self.0);
                    drop(queues);
                    // Another thread may be at work by now.
                    return std::mem::forget(self);
                }
            }
            step(&mut lanes);
            // Whoever does not wait any more is not hashed on.
            lanes.retain(|stream| !stream.answer.is_closed());
            for done in lanes.extract_if(.., |stream| stream.chunks.is_empty()) {
                // It may have stopped waiting just now.
                let _ = done.answer.send(done.state);
            }
        }
    }
}

/// Takes all streams on: together by as many blocks as the shortest piece has, since the shortest lane holds up the others.
fn step(lanes: &mut [Stream]) {
    for stream in lanes.iter_mut() {
        stream.align();
    }
    let mut together: Vec<&mut Stream> = lanes.iter_mut().filter(|stream| !stream.chunks.is_empty()).collect();
    if together.len() < COMPANY_MIN {
        return together.into_iter().for_each(Stream::go_on_alone);
    }
    let blocks = together.iter().filter_map(|stream| stream.chunks.front()).map(Bytes::len).min().unwrap_or(0).min(STEP_BYTES) / BLOCK_BYTES;
    // Lanes that nobody needs hash what the first one does.
    let mut inputs = [&together[0].chunks[0][..]; LANES];
    for (input, stream) in inputs.iter_mut().zip(&together) {
        *input = &stream.chunks[0];
    }
    let mut states: [Md5; LANES] = std::array::from_fn(|lane| together.get(lane).map_or_else(Md5::new, |stream| stream.state));
    update_all(&mut states.each_mut(), &inputs, blocks);
    for (stream, state) in together.iter_mut().zip(states) {
        stream.state = state;
        stream.pass(blocks * BLOCK_BYTES);
    }
}

impl Stream {
    /// Goes on to the beginning of a block, before a whole one.
    fn align(&mut self) {
        while let Some(chunk) = self.chunks.front() {
            let left = self.state.fill_up(chunk).len();
            if left == chunk.len() {
                return;
            }
            self.pass(chunk.len() - left);
        }
    }

    fn go_on_alone(&mut self) {
        let bytes = self.chunks.front().map_or(0, Bytes::len).min(STEP_BYTES);
        if let Some(chunk) = self.chunks.front() {
            self.state.update(&chunk[..bytes]);
        }
        self.pass(bytes);
    }

    /// Leaves behind what was hashed.
    fn pass(&mut self, bytes: usize) {
        if let Some(chunk) = self.chunks.front_mut() {
            chunk.advance(bytes);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ::md5::Digest;
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn streams_beside_each_other_hash_as_they_would_alone() {
        let random = std::cell::RefCell::new(fastrand::Rng::with_seed(4));
        let mut streams = Vec::new();
        for _ in 0..100 {
            let mut random = random.borrow_mut();
            let chunks: Vec<Bytes> = (0..random.usize(0..5)).map(|_| (0..random.usize(0..200_000)).map(|_| random.u8(..)).collect()).collect();
            streams.push(chunks);
        }
        let hashed = streams.iter().map(|chunks| async move {
            // In two goes, the way a body arrives.
            let (head, tail) = chunks.split_at(chunks.len() / 2);
            let state = update(Md5::new(), head).await;
            update(state, tail).await.finish()
        });
        for (chunks, digest) in streams.iter().zip(join_all(hashed).await) {
            assert_eq!(digest, <[u8; 16]>::from(::md5::Md5::digest(chunks.concat())));
        }
    }

    #[test]
    fn a_runtime_that_ends_leaves_the_others_their_hashing() {
        let bytes = Bytes::from(vec![7; 1 << 20]);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).max_blocking_threads(1).build().expect("a runtime");
        let ends = runtime();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        // Its only thread is busy when the runtime ends: the hashing is never begun.
        ends.spawn_blocking(move || held.recv());
        let cut_off = ends.block_on(async { tokio::time::timeout(std::time::Duration::ZERO, update(Md5::new(), std::slice::from_ref(&bytes))).await });
        assert!(cut_off.is_err());
        ends.shutdown_background();
        drop(hold);
        let day = std::time::Duration::from_secs(86_400);
        let digest = runtime().block_on(async { tokio::time::timeout(day, update(Md5::new(), std::slice::from_ref(&bytes))).await });
        assert_eq!(digest.expect("its own thread, not another's").finish(), <[u8; 16]>::from(::md5::Md5::digest(&bytes)));
    }

    #[tokio::test]
    async fn who_stops_waiting_holds_nobody_up() {
        let bytes = Bytes::from(vec![7; 1 << 20]);
        let chunks = vec![bytes.clone(); 8];
        drop(tokio::time::timeout(std::time::Duration::ZERO, update(Md5::new(), &chunks)).await);
        let digest = update(Md5::new(), std::slice::from_ref(&bytes)).await.finish();
        assert_eq!(digest, <[u8; 16]>::from(::md5::Md5::digest(&bytes)));
    }
}
