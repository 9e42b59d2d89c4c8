//! Finds how many streams a path carries, from how they end: a state machine over instants, without waiting or IO.
//!
//! What is sought is the smallest number of streams that moves as much as more of them would. The goodput of an epoch is what ended
//! streams moved in a second of theirs, times the streams that were underway on average: unlike a count of what ended within the
//! epoch it does not jump with what its two ends cut through. A stream counts for its bytes and for [`REQUEST_BYTES`], so that large
//! parts are judged by bytes, small objects by their number, and a mixture needs no second signal.
//!
//! - *Ramp*: doubles, or adds a quarter where bodies take much memory, as long as that pays a quarter of it; then takes back half of the step.
//! - *Cruise*: every fourth epoch tries a quarter more, every ninth a little less.
//! - *Probe*: such a try; what pays is kept. The first moment after a change is not looked at.
//!
//! A path that suddenly carries less is followed down, step by step as long as that costs nothing; where one carries more, more is
//! tried at once. Throttles are answered by the request rate ([`Pace`](crate::storage::retry::Pace)); here they end a climb.
//! (performance.md 4)

use std::time::Duration;

use tokio::time::Instant;

/// What a request counts for beside its bytes, in bytes.
const REQUEST_BYTES: u64 = 256 << 10;
/// What is at least so large, in bytes, tells how fast a connection is: less says how long a request takes.
const LARGE_BYTES: u64 = 1 << 20;
/// Streams at the start of a path that nobody knows.
const START: usize = 8;
/// The fewest that are tried.
const LEAST: usize = 2;

/// Growth of the goodput for which the streams are multiplied once more, as a part of what was added to them.
const RAMP_GAIN: f64 = 0.25;
const RAMP_STEP: f64 = 2.0;
/// The step where the next one takes much memory, and that of a try in cruise.
const DEAR_STEP: f64 = 1.25;
const DEAR_PROBE: f64 = 1.125;
/// Growth for which a quarter more streams are kept.
const PROBE_GAIN: f64 = 0.04;
/// The same where they take much memory, as a part of what was added to them, in a ramp as well: beyond so many bytes in flight.
const DEAR_GAIN: f64 = 0.6;
const DEAR_BYTES: f64 = (64 << 20) as f64;
/// The same for a step close to where throttles were met.
const CLOSE_GAIN: f64 = 0.02;
/// Loss that fewer streams may cost.
const PROBE_LOSS: f64 = 0.02;
/// The same where they take much memory. Chance alone lets a path that is full creep upward otherwise.
const DEAR_LOSS: f64 = 0.08;
/// The same while a path that carries less than before is followed down.
const YIELD_LOSS: f64 = 0.05;
/// A goodput from the same streams, as a part of the usual one, that tells of another path.
const FALLEN: f64 = 0.7;
const RISEN: f64 = 1.3;
/// Shares of requests that are more than chance.
const THROTTLED_SHARE: f64 = 0.001;
const BROKEN_SHARE: f64 = 0.02;
/// Streams underway, as a part of the limit, below which it is not the limit that holds them back.
const BUSY: f64 = 0.75;

/// Epochs between two tries of more, and of less.
const MORE_EVERY: u32 = 4;
const LESS_EVERY: u32 = 9;
/// Bounds of an epoch, in seconds and streams.
const EPOCH_SECONDS: (f64, f64) = (0.25, 20.0);
const EPOCH_ENDED_MIN: usize = 8;
/// How long a ramp waits for its first streams to end; then they are taken for slow, and it doubles: up to [`SLOW_MAX`] unseen, and beyond as
/// long as so many more bytes pass, ended or not.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(5);
const SLOW_MAX: usize = 32;
const SLOW_GAIN: f64 = 0.25;
const SLOW_BYTES: u64 = 16 << 10;

/// Counters of what the stores answered, as they stand at some moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    pub(super) requests: u64,
    /// Of these, refused for a slower pace.
    pub(super) throttled: u64,
    /// Of these, broken on the way.
    pub(super) broken: u64,
}

/// The search for the right number of streams.
#[derive(Debug)]
pub(super) struct Search {
    limit: usize,
    max: usize,
    phase: Phase,
    epoch: Epoch,
    underway: usize,
    /// Epochs since more was tried, and since less was.
    since_more: u32,
    since_less: u32,
    /// The number of streams at which throttles were last met.
    ceiling: Option<usize>,
    /// Bytes that a stream moves in a second.
    stream_rate: Option<f64>,
    /// When a slow path was last looked at, the bytes that had passed by then, and how many a second before that.
    slow: Option<(f64, u64, f64)>,
    base: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// `best` is the goodput before the last step, `flat` how many epochs have not shown more.
    Ramp {
        best: f64,
        step: f64,
        flat: u32,
    },
    Cruise(Cruise),
    /// From so many streams, which had such a goodput. `down` counts the steps that a path that carries less is followed; 0: it is a
    /// usual try.
    Probe {
        from: usize,
        usual: f64,
        down: u32,
    },
}

#[derive(Debug, Clone, Copy, Default)]
struct Cruise {
    /// The goodput so far; 0 before the first epoch.
    usual: f64,
    epochs: u32,
    /// The last epoch had much less.
    fallen: bool,
}

/// Sums over one epoch. Moments are in seconds since the search began.
#[derive(Debug, Clone, Copy, Default)]
struct Epoch {
    from: f64,
    /// Up to when `stream_seconds` is counted.
    counted: f64,
    /// Time of all streams that were underway.
    stream_seconds: f64,
    /// Streams that ended well, what they count for, and their time from their beginning.
    ended: usize,
    worth: f64,
    seconds: f64,
    /// Their bytes and their time, weighted by their time: what is underway at a moment is what lasts.
    byte_seconds: f64,
    seconds_squared: f64,
    /// Bytes and time of the large ones.
    large_bytes: f64,
    large_seconds: f64,
    answers: Answers,
}

/// What an epoch showed.
struct Seen {
    goodput: f64,
    /// The same by what ended within the epoch.
    counted: f64,
    /// The limit did not hold the streams back.
    idle: bool,
    throttled: bool,
    broken: bool,
    /// Bodies that were in flight, in bytes.
    in_flight_bytes: f64,
}

impl Search {
    /// Begins at a little less than `known` streams, which have worked on this path before, or at a guess. Never passes `max`.
    pub(super) fn new(known: Option<usize>, max: usize, now: Instant) -> Self {
        let max = max.max(LEAST);
        let (limit, phase) = match known {
            Some(known) => (known * 3 / 4, Phase::cruise(0.0)),
            None => (START, Phase::Ramp { best: 0.0, step: RAMP_STEP, flat: 0 }),
        };
        let limit = limit.clamp(LEAST, max);
        Self {
            limit,
            max,
            phase,
            epoch: Epoch::default(),
            underway: 0,
            since_more: MORE_EVERY,
            since_less: 0,
            ceiling: None,
            stream_rate: None,
            slow: None,
            base: now,
        }
    }

    /// Begins anew with what worked on this path before; no stream may be underway.
    pub(super) fn recall(&mut self, known: usize, now: Instant) {
        *self = Self::new(Some(known), self.max, now);
    }

    /// How many streams may be underway.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that a stream moves in a second, once large ones have ended.
    pub(super) fn stream_rate(&self) -> Option<f64> {
        self.stream_rate
    }

    /// What a later run may begin with, once the ramp is over.
    pub(super) fn found(&self) -> Option<usize> {
        match self.phase {
            Phase::Ramp { .. } => None,
            Phase::Cruise(_) => Some(self.limit),
            Phase::Probe { from, .. } => Some(from),
        }
    }

    /// Notes a stream that begins.
    pub(super) fn began(&mut self, now: Instant) {
        self.pass(self.seconds(now));
        self.underway += 1;
    }

    /// Notes a stream that ended, with the bytes it moved; `None` where it came to nothing.
    pub(super) fn ended(&mut self, began: Instant, now: Instant, bytes: Option<u64>, answers: Answers) {
        let (began, now) = (self.seconds(began), self.seconds(now));
        self.pass(now);
        self.underway = self.underway.saturating_sub(1);
        let epoch = &mut self.epoch;
        if now < epoch.from {
            epoch.answers = answers;
        } else if let Some(bytes) = bytes {
            epoch.ended += 1;
            epoch.worth += (bytes + REQUEST_BYTES) as f64;
            epoch.seconds += now - began;
            if bytes >= LARGE_BYTES {
                epoch.large_bytes += bytes as f64;
                epoch.large_seconds += now - began;
            }
            epoch.byte_seconds += bytes as f64 * (now - began);
            epoch.seconds_squared += (now - began).powi(2);
            if self.is_over(now) {
                self.turn(now, answers);
            }
        }
    }

    /// Notes that time passes, every [`SLOW_AFTER`], and how many bytes have passed in all: a path may be so slow that no stream ends.
    pub(super) fn look_after(&mut self, now: Instant, passed_bytes: u64) {
        let now = self.seconds(now);
        self.pass(now);
        let (last, before, usual) = self.slow.unwrap_or((0.0, 0, 0.0));
        let passed = passed_bytes.saturating_sub(before);
        let rate = passed as f64 / (now - last).max(1e-9);
        self.slow = Some((now, passed_bytes, rate));
        // What are hardly any bytes says nothing of the path: there it is requests that take long.
        let pays = rate > usual * (1.0 + SLOW_GAIN) && passed > SLOW_BYTES * self.limit as u64;
        let Epoch { from, ended, answers, .. } = self.epoch;
        let unseen = matches!(self.phase, Phase::Ramp { best: 0.0, .. }) && ended < EPOCH_ENDED_MIN && now - from >= SLOW_AFTER.as_secs_f64();
        if unseen && (self.limit < SLOW_MAX || pays) && self.underway as f64 >= BUSY * self.limit as f64 {
            self.limit = (2 * self.limit).min(self.max);
            self.epoch = Epoch { from: now, counted: now, answers, ..Epoch::default() };
        }
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.base).as_secs_f64()
    }

    /// Counts the time of the streams underway.
    fn pass(&mut self, now: f64) {
        let epoch = &mut self.epoch;
        epoch.stream_seconds += self.underway as f64 * (now - epoch.counted.max(epoch.from)).max(0.0);
        epoch.counted = now;
    }

    fn is_over(&self, now: f64) -> bool {
        // A ramp looks for large steps, and is in haste.
        let rounds = if matches!(self.phase, Phase::Ramp { .. }) { 1 } else { 2 };
        let (least, most) = EPOCH_SECONDS;
        let long = (rounds as f64 * self.epoch.span()).clamp(least, most);
        self.epoch.ended >= EPOCH_ENDED_MIN.max(rounds * self.limit) && now - self.epoch.from >= long
    }

    /// Ends an epoch: learns from it, and begins the next one.
    fn turn(&mut self, now: f64, answers: Answers) {
        let epoch = self.epoch;
        if epoch.large_seconds > 0.0 {
            let rate = epoch.large_bytes / epoch.large_seconds;
            self.stream_rate = Some(self.stream_rate.map_or(rate, |before| before + (rate - before) / 4.0));
        }
        let seen = epoch.seen(now, self.limit, answers);
        if seen.throttled {
            self.ceiling = Some(self.limit);
        } else if self.ceiling.is_some_and(|ceiling| self.limit > ceiling) {
            self.ceiling = None;
        }
        let before = self.limit;
        let (limit, phase) = self.next(&seen);
        let limit = limit.clamp(LEAST, self.max);
        // What began under the old limit has ended by then, most of it.
        let settling = match phase {
            _ if limit == before => 0.0,
            Phase::Ramp { .. } => epoch.span(),
            _ => 1.5 * epoch.span(),
        };
        let from = now + settling.min(EPOCH_SECONDS.1);
        (self.limit, self.phase, self.epoch) = (limit, phase, Epoch { from, counted: now, answers, ..Epoch::default() });
    }

    fn next(&mut self, seen: &Seen) -> (usize, Phase) {
        let limit = self.limit;
        (self.since_more, self.since_less) = (self.since_more + 1, self.since_less + 1);
        match self.phase {
            Phase::Probe { from, usual, .. } if seen.idle => (from, Phase::cruise(usual)),
            phase if seen.idle => (limit, phase),
            Phase::Ramp { .. } if seen.throttled => (scaled(limit, 0.7), Phase::cruise(0.0)),
            Phase::Ramp { .. } | Phase::Cruise(_) if seen.broken => (scaled(limit, 0.85), Phase::cruise(0.0)),
            Phase::Ramp { best, step, flat } => self.climb(best, step, flat, seen),
            Phase::Cruise(cruise) => self.go_on(cruise, seen),
            Phase::Probe { from, usual, .. } if limit > from => {
                let pays = !seen.throttled && !seen.broken && seen.goodput >= usual * (1.0 + self.gain_wanted(seen));
                if pays { self.more(seen.goodput, seen) } else { (from, Phase::cruise(usual)) }
            }
            Phase::Probe { usual, down: down @ 1.., .. } if seen.goodput >= usual * (1.0 - YIELD_LOSS) => self.less(seen.goodput, down + 1),
            // It is each connection that carries less: more of them help.
            Phase::Probe { from, usual, down: 1 } => (2 * from, Phase::Ramp { best: usual, step: RAMP_STEP, flat: 0 }),
            Phase::Probe { usual, .. } if seen.goodput >= usual * (1.0 - seen.loss_allowed()) => (limit, Phase::cruise(seen.goodput)),
            Phase::Probe { from, usual, .. } => (from, Phase::cruise(usual)),
        }
    }

    fn climb(&self, best: f64, step: f64, flat: u32, seen: &Seen) -> (usize, Phase) {
        let limit = self.limit;
        // While a full path fills up, streams that began before it was full look fast: what ended is counted, too.
        let goodput = if best > 0.0 { seen.goodput.min(seen.counted) } else { seen.goodput };
        let gain = if seen.is_dear() { DEAR_GAIN } else { RAMP_GAIN };
        if goodput < best * (1.0 + gain * (step - 1.0)) {
            let back = scaled(limit, (1.0 + 1.0 / step) / 2.0);
            return if flat == 0 { (limit, Phase::Ramp { best, step, flat: 1 }) } else { (back, Phase::cruise(0.0)) };
        }
        if limit >= self.max {
            return (limit, Phase::cruise(seen.goodput));
        }
        let step = if RAMP_STEP * seen.in_flight_bytes > DEAR_BYTES { DEAR_STEP } else { RAMP_STEP };
        (scaled(limit, step), Phase::Ramp { best: seen.goodput, step, flat: 0 })
    }

    fn go_on(&mut self, mut cruise: Cruise, seen: &Seen) -> (usize, Phase) {
        let part = if cruise.usual > 0.0 { seen.goodput / cruise.usual } else { 1.0 };
        if part < FALLEN && !cruise.fallen {
            // One epoch may be chance.
            return (self.limit, Phase::Cruise(Cruise { fallen: true, ..cruise }));
        }
        if part < FALLEN {
            return self.less(seen.goodput, 1);
        }
        if part > RISEN && !seen.throttled {
            return self.more(seen.goodput, seen);
        }
        cruise.fallen = false;
        cruise.epochs = (cruise.epochs + 1).min(MORE_EVERY);
        cruise.usual += (seen.goodput - cruise.usual) / f64::from(cruise.epochs);
        if self.since_less >= LESS_EVERY {
            self.less(cruise.usual, 0)
        } else if self.since_more >= MORE_EVERY && !seen.throttled {
            self.more(cruise.usual, seen)
        } else {
            (self.limit, Phase::Cruise(cruise))
        }
    }

    /// Tries more streams than those that have a goodput.
    fn more(&mut self, usual: f64, seen: &Seen) -> (usize, Phase) {
        self.since_more = 0;
        let factor = if self.is_close(self.limit) {
            1.05
        } else if seen.is_dear() {
            DEAR_PROBE
        } else {
            1.25
        };
        let limit = scaled(self.limit, factor).max(self.limit + 1);
        if limit > self.max { (self.limit, Phase::cruise(usual)) } else { (limit, Phase::Probe { from: self.limit, usual, down: 0 }) }
    }

    /// Tries fewer; `down` is as in [`Phase::Probe`].
    fn less(&mut self, usual: f64, down: u32) -> (usize, Phase) {
        self.since_less = 0;
        let limit = scaled(self.limit, if down > 0 { 0.7 } else { 0.85 }).min(self.limit - 1);
        if limit < LEAST { (self.limit, Phase::cruise(usual)) } else { (limit, Phase::Probe { from: self.limit, usual, down }) }
    }

    /// Whether a quarter more would come close to where throttles were met.
    fn is_close(&self, limit: usize) -> bool {
        self.ceiling.is_some_and(|ceiling| limit as f64 * 1.25 > 0.85 * ceiling as f64)
    }

    fn gain_wanted(&self, seen: &Seen) -> f64 {
        match self.phase {
            Phase::Probe { from, .. } if self.is_close(from) => CLOSE_GAIN,
            Phase::Probe { from, .. } if seen.is_dear() => DEAR_GAIN * (self.limit as f64 / from as f64 - 1.0),
            _ => PROBE_GAIN,
        }
    }
}

impl Seen {
    /// Whether the bodies in flight took much memory.
    fn is_dear(&self) -> bool {
        self.in_flight_bytes > DEAR_BYTES
    }

    fn loss_allowed(&self) -> f64 {
        if self.is_dear() { DEAR_LOSS } else { PROBE_LOSS }
    }
}

impl Phase {
    /// A cruise whose goodput was so far this; 0 where nobody knows.
    fn cruise(usual: f64) -> Self {
        Self::Cruise(Cruise { usual, epochs: u32::from(usual > 0.0), fallen: false })
    }
}

impl Epoch {
    /// How long those last that are underway at a moment: of small objects and large parts it is the parts.
    fn span(&self) -> f64 {
        self.seconds_squared / self.seconds.max(1e-9)
    }

    fn seen(&self, now: f64, limit: usize, answers: Answers) -> Seen {
        let underway = self.stream_seconds / (now - self.from).max(1e-9);
        let requests = answers.requests.saturating_sub(self.answers.requests).max(1) as f64;
        Seen {
            goodput: self.worth / self.seconds.max(1e-9) * underway,
            counted: self.worth / (now - self.from).max(1e-9),
            idle: underway < BUSY * limit as f64,
            throttled: answers.throttled.saturating_sub(self.answers.throttled) as f64 / requests > THROTTLED_SHARE,
            broken: answers.broken.saturating_sub(self.answers.broken) as f64 / requests > BROKEN_SHARE,
            in_flight_bytes: self.byte_seconds / self.seconds.max(1e-9) * underway,
        }
    }
}

fn scaled(limit: usize, factor: f64) -> usize {
    (limit as f64 * factor).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    /// A search, and rounds of streams that all begin and end together.
    struct Bench {
        search: Search,
        now: Instant,
        answers: Answers,
    }

    impl Bench {
        fn new(known: Option<usize>, max: usize) -> Self {
            let now = Clock::system().instant();
            Self { search: Search::new(known, max, now), now, answers: Answers::default() }
        }

        /// So many streams of 1 MiB, each of which takes so long.
        fn round(&mut self, streams: usize, span: Duration) {
            let began = self.now;
            (0..streams).for_each(|_| self.search.began(began));
            self.now += span;
            for _ in 0..streams {
                self.answers.requests += 2;
                self.search.ended(began, self.now, Some(1 << 20), self.answers);
            }
        }

        /// Rounds over a path that carries so many streams at their full speed; the limit after them.
        fn rounds(&mut self, count: usize, carries: usize) -> usize {
            for _ in 0..count {
                let streams = self.search.limit();
                self.round(streams, Duration::from_secs(1).mul_f64((streams as f64 / carries as f64).max(1.0)));
            }
            self.search.limit()
        }
    }

    #[test]
    fn it_doubles_as_long_as_that_pays() {
        let mut bench = Bench::new(None, 512);
        assert_eq!((bench.search.limit(), bench.search.found()), (START, None));
        bench.rounds(30, 64);
        let found = bench.search.found().expect("the ramp is over");
        assert!((56..=110).contains(&found), "{found} of 64");
        let rate = bench.search.stream_rate().expect("large ones ended");
        assert!((500e3..1.1e6).contains(&rate), "{rate} bytes a second");
    }

    #[test]
    fn it_never_passes_what_is_allowed() {
        let mut bench = Bench::new(None, 20);
        for _ in 0..100 {
            assert!(bench.rounds(1, 1000) <= 20);
        }
        assert_eq!(bench.search.found(), Some(20));
        assert_eq!(Bench::new(Some(400), 20).search.limit(), 20);
        assert_eq!(Bench::new(Some(16), 512).search.limit(), 12, "a little less than what is known");
    }

    #[test]
    fn too_little_to_do_says_nothing_of_the_path() {
        let mut bench = Bench::new(Some(40), 512);
        let limit = bench.search.limit();
        for _ in 0..200 {
            bench.round(limit / 2, Duration::from_secs(1));
            assert_eq!(bench.search.limit(), limit);
        }
    }

    #[test]
    fn throttles_end_a_climb() {
        let mut bench = Bench::new(None, 512);
        while bench.rounds(1, 1000) < 64 {}
        bench.answers.throttled += 2;
        bench.rounds(3, 1000);
        assert!(bench.search.found().is_some_and(|found| (40..64).contains(&found)), "{:?}", bench.search);
    }

    #[test]
    fn roads_that_break_get_fewer_streams_and_one_that_broke_does_not() {
        let mut bench = Bench::new(Some(80), 512);
        let limit = bench.search.limit();
        let broken = |bench: &mut Bench, each: u64| {
            for _ in 0..20 {
                bench.answers.broken += each;
                bench.rounds(1, 10);
            }
            bench.search.limit()
        };
        let after_few = broken(&mut bench, 1);
        assert!(after_few >= limit / 2, "1 of 120 requests: {after_few} streams of {limit}");
        let after_many = broken(&mut bench, 40);
        assert!(after_many < after_few / 2, "a third of the requests: {after_many} streams");
    }

    #[test]
    fn streams_that_came_to_nothing_are_no_goodput() {
        let mut bench = Bench::new(None, 512);
        for _ in 0..100 {
            let began = bench.now;
            bench.search.began(began);
            bench.now += Duration::from_secs(1);
            bench.search.ended(began, bench.now, None, bench.answers);
        }
        assert_eq!((bench.search.limit(), bench.search.stream_rate()), (START, None));
    }
}
