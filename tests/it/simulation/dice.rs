//! The randomness of one world: its tree, its weather, its options, its fate.

use std::time::Duration;

use bytes::Bytes;
use dragon::clock::Clock;
use dragon::storage::memory::{MemoryOptions, Stated};
use dragon::storage::weather::{Outage, Weather};
use dragon::storage::{Attributes, Key, MultipartLimits};
use dragon::transfer::Options;
use dragon::transfer::job::Compare;

use super::world::Fate;

/// The smallest part at both ends: so small, that many seeds are played in a minute.
pub(super) const PART_BYTES: u64 = 10 << 10;

/// What is random, apart from what the engine itself draws.
pub(super) struct Dice(Clock);

/// From where to where.
#[derive(Debug)]
pub(super) struct Trip {
    pub(super) ends: [MemoryOptions; 2],
    pub(super) journal_lasts: bool,
}

impl Trip {
    fn stated(&self) -> [Stated; 2] {
        [self.ends[0].stated, self.ends[1].stated]
    }
}

impl Dice {
    pub(super) fn new(clock: Clock) -> Self {
        Self(clock)
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.0.random_below(limit)
    }

    pub(super) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(self.0.random_fraction())
    }

    fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    pub(super) fn trip(&self) -> Trip {
        let mut ends = [MemoryOptions::like_s3(), MemoryOptions::like_oss()];
        if self.one_in(2) {
            ends.reverse();
        }
        for end in &mut ends {
            end.stated = self.pick(&[Stated::Crc64, Stated::Crc64, Stated::Md5, Stated::Composite, Stated::Nothing]);
            end.page_keys_max = self.pick(&[1, 3, 10, 1000]);
            end.capabilities.multipart = Some(MultipartLimits { part_bytes_min: PART_BYTES, part_bytes_max: 5 << 30, parts_max: 10_000 });
        }
        Trip { ends, journal_lasts: self.one_in(2) }
    }

    pub(super) fn place(&self) -> Key {
        self.pick(&["", "to/", "to/"]).into()
    }

    /// Up to 25 names, such as trees are made of.
    pub(super) fn names(&self) -> Vec<Key> {
        let mut names: Vec<Key> = (0..self.below(26)).map(|_| self.name()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// A name of segments, some of them odd; one is often the beginning of another.
    pub(super) fn name(&self) -> Key {
        const SEGMENTS: [&str; 16] = ["a", "a", "b", "b", "ab", "a b", "", ".", "..", "%2e", "+", "ü", "日本", "&<>\"", "a\u{1}b", "a?x=1#y"];
        if self.one_in(50) {
            return Key::new("long/".repeat(180).into_bytes());
        }
        let depth = 1 + self.below(3);
        let segments: Vec<&str> = (0..depth).map(|_| self.pick(&SEGMENTS)).collect();
        let name = segments.join("/");
        // An empty name has no key at the destination, and a folder's own marker is not in the folder.
        if name.is_empty() { Key::from("a") } else { Key::new(name.into_bytes()) }
    }

    pub(super) fn body(&self) -> Bytes {
        let len = match self.below(10) {
            0 | 1 => 0,
            2..8 => self.below(3000),
            _ => PART_BYTES / 2 + self.below(5 * PART_BYTES),
        };
        self.bytes(len as usize)
    }

    /// Other bytes: of the same length only where both ends tell that they are others.
    pub(super) fn other_body(&self, trip: &Trip, body: &Bytes) -> Bytes {
        let tells = trip.stated().iter().all(|stated| matches!(stated, Stated::Crc64 | Stated::Md5));
        let same_length = tells && (body.len() as u64) < PART_BYTES && self.one_in(2);
        self.bytes(if same_length { body.len() } else { body.len() + 1 })
    }

    fn bytes(&self, len: usize) -> Bytes {
        // Of 13 words, so that no two parts of an object are alike.
        let words: Vec<u8> = (0..13).flat_map(|_| self.below(u64::MAX).to_le_bytes()).collect();
        words.into_iter().cycle().take(len).collect()
    }

    pub(super) fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::default();
        if self.one_in(3) {
            attributes.content_type = Some("text/plain".into());
            attributes.user.insert("colour".into(), "red".into());
        }
        attributes
    }

    /// Weather before one end, mostly bad, now and then foul. Bits flip only where somebody states what would show it.
    pub(super) fn weather(&self, trip: &Trip, source: bool) -> Weather {
        let foul = self.one_in(4);
        let chance = |most: f64| match self.below(2) {
            0 => 0.0,
            _ => most * self.0.random_fraction() * if foul { 5.0 } else { 1.0 },
        };
        let [from, to] = trip.stated();
        let shows = if source { from } else { to } != Stated::Nothing;
        // An object that a kill left wrong, with the right stamp, is found by its CRC only.
        let shows_stored = !source && to == Stated::Crc64;
        let length = Duration::from_secs(self.pick(&[10, 600, 7200]));
        let outage = || Outage { after: self.up_to(Duration::from_secs(5)), length: self.up_to(length) };
        Weather {
            refused: chance(0.05),
            throttled: chance(0.05),
            stalled: chance(0.01),
            stall: Duration::from_secs(60),
            lost: chance(0.05),
            cut: chance(0.1),
            flipped: if shows { chance(0.05) } else { 0.0 },
            stored_flipped: if shows_stored { chance(0.05) } else { 0.0 },
            latency_max: Duration::from_millis(self.pick(&[0, 20, 200, 1000])),
            outages: if self.one_in(4) { vec![outage()] } else { Vec::new() },
        }
    }

    pub(super) fn options(&self, trip: &Trip) -> Options {
        let both_state = trip.stated() == [Stated::Crc64; 2];
        Options {
            delete: self.one_in(2),
            allow_empty_source: self.one_in(2),
            dry_run: self.one_in(20),
            compare: if both_state && self.one_in(4) { Compare::Checksum } else { Compare::Default },
            report_unchanged: self.one_in(4),
            concurrency: self.pick(&[Some(1), Some(2), Some(3), Some(8), None]),
            part_size_bytes: self.pick(&[None, Some(PART_BYTES), Some(PART_BYTES), Some(2 * PART_BYTES)]),
            memory_bytes: 8 << 20,
            errors_max: self.one_in(20).then_some(1),
            delete_after: (trip.journal_lasts && self.one_in(5)).then(|| self.up_to(Duration::from_secs(7200))),
            duration_max: self.one_in(20).then(|| self.up_to(Duration::from_secs(10))),
            ..Options::default()
        }
    }

    pub(super) fn fate(&self) -> Fate {
        let when = self.up_to(Duration::from_millis(self.pick(&[50, 500, 5000, 60_000])));
        match self.below(4) {
            0 => Fate::Cancelled(when),
            1 | 2 => Fate::Killed(when),
            _ => Fate::Lives,
        }
    }
}

/// The same options, but to do all there is to do.
pub(super) fn without_limits(options: Options) -> Options {
    Options { dry_run: false, delete_after: None, errors_max: None, duration_max: None, ..options }
}
