//! Into which parts an object is cut: pure arithmetic.
//!
//! Invariants: parts are numbered from 1, touch each other, cover the object exactly and are all of one size but for the last;
//! they keep the destination's limits (smallest and largest part, how many), so that an object of any size the destination
//! can hold fits; and a part fits into memory unless the destination takes bodies that stream.

use std::ops::Range;

use bytesize::ByteSize;

use crate::error::{Error, Result};
use crate::storage::{Capabilities, MultipartLimits};

const MIB: u64 = 1 << 20;

/// Above this size an object moves in parts, in bytes.
pub const MULTIPART_ABOVE_BYTES: u64 = 16 * MIB;

/// The usual part size in bytes: small enough to keep many in flight, large enough that a request's cost is lost in it (performance.md 8).
const PART_BYTES_USUAL: u64 = 8 * MIB;

/// The same for an object beyond [`LARGE_OBJECT_BYTES`], and for a fast path, in bytes.
const PART_BYTES_LARGE: u64 = 16 * MIB;

/// From here on parts are larger: fewer requests, and ten thousand of them reach further. In bytes.
const LARGE_OBJECT_BYTES: u64 = 32 << 30;

/// A stream that moves so many bytes in a second (100 Mbit/s) spends a good part of its time between two parts of the usual size.
const FAST_BYTES_PER_SECOND: u64 = 12_500_000;

/// Parts are large for speed alone as long as those underway take no more memory than this, in bytes.
const FAST_IN_FLIGHT_BYTES: u64 = 96 * MIB;

/// On a slow path, how long a part is underway, in seconds: what breaks off costs no more than that, and many streams find work.
const SLOW_PART_SECONDS: u64 = 10;

/// The memory that a streamed part holds while it passes through, in bytes.
pub const STREAM_WINDOW_BYTES: u64 = MIB;

/// How an object of known size travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In one request, from memory.
    Whole,
    /// In one request, its bytes passing through: larger than memory, and the destination has no parts.
    WholeStreamed,
    /// In parts.
    Parts(Parts),
}

/// The parts of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Size of the whole, in bytes.
    pub size_bytes: u64,
    /// Size of every part but the last, in bytes.
    pub part_size_bytes: u64,
    /// Parts pass through instead of being held until they are acknowledged, because memory cannot hold them.
    pub streamed: bool,
}

impl Parts {
    /// How many parts there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.size_bytes.div_ceil(self.part_size_bytes)).unwrap_or(u32::MAX)
    }

    /// The bytes of part `number` (from 1 to [`Self::count`]).
    pub fn range(&self, number: u32) -> Range<u64> {
        let start = u64::from(number - 1) * self.part_size_bytes;
        start..(start + self.part_size_bytes).min(self.size_bytes)
    }
}

/// What is known of a path when an object is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Bytes that one stream moves in a second.
    pub stream_bytes_per_second: u64,
    /// Streams that are underway at a time.
    pub streams: u64,
}

/// What decides how an object is cut.
#[derive(Debug, Clone, Copy)]
pub struct Cutter<'a> {
    /// The destination's limits.
    pub destination: &'a Capabilities,
    /// The whole memory budget, in bytes.
    pub memory_bytes: u64,
    /// The part size that the operator asked for (`--part-size`), in bytes.
    pub part_size_bytes: Option<u64>,
    /// How fast the path is, where that is known.
    pub speed: Option<Speed>,
}

impl Cutter<'_> {
    /// Decides how an object of `size_bytes` travels.
    ///
    /// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where the destination cannot hold the object, where the
    /// part size asked for breaks a limit, or where the smallest legal part does not fit into memory and cannot stream.
    pub fn shape(&self, size_bytes: u64) -> Result<Shape> {
        let to = self.destination;
        if size_bytes > to.object_bytes_max {
            return Err(Error::invalid(format!(
                "the object has {}, and the destination takes at most {}",
                ByteSize(size_bytes),
                ByteSize(to.object_bytes_max)
            )));
        }
        let Some(limits) = to.multipart else { return self.without_parts(size_bytes) };
        let above = self
            .part_size_bytes
            .unwrap_or(MULTIPART_ABOVE_BYTES.min((2 * self.usual_part_size(size_bytes)).max(limits.part_bytes_min)))
            .min((self.memory_bytes / 4).max(limits.part_bytes_min))
            .min(to.put_bytes_max);
        if size_bytes <= above {
            return Ok(Shape::Whole);
        }
        let part_size_bytes = self.part_size(size_bytes, &limits)?;
        let fits = self.fits(part_size_bytes);
        if !fits && !to.streamed_bodies {
            return Err(Error::invalid(format!(
                "the object has {} and needs parts of {}, each whole in memory before it is sent, but the memory budget is {}",
                ByteSize(size_bytes),
                ByteSize(part_size_bytes),
                ByteSize(self.memory_bytes)
            ))
            .advise(format!("run with --memory {}MiB or more", (4 * part_size_bytes).div_ceil(MIB))));
        }
        Ok(Shape::Parts(Parts { size_bytes, part_size_bytes, streamed: !fits }))
    }

    /// The parts of an upload that was begun with this part size, whatever would be chosen now. `None` where the limits or the memory
    /// do not allow it any more.
    pub fn keep(&self, size_bytes: u64, part_size_bytes: u64) -> Option<Parts> {
        let limits = self.destination.multipart?;
        let least = size_bytes.div_ceil(u64::from(limits.parts_max)).max(limits.part_bytes_min).max(1);
        let fits = self.fits(part_size_bytes);
        let allowed = size_bytes > 0 && (least..=limits.part_bytes_max).contains(&part_size_bytes) && (fits || self.destination.streamed_bodies);
        allowed.then_some(Parts { size_bytes, part_size_bytes, streamed: !fits })
    }

    /// At least two parts at once, or the two ends take turns.
    fn fits(&self, part_size_bytes: u64) -> bool {
        2 * part_size_bytes <= self.memory_bytes || !self.destination.streamed_bodies && part_size_bytes <= self.memory_bytes
    }

    fn without_parts(&self, size_bytes: u64) -> Result<Shape> {
        let to = self.destination;
        if size_bytes > to.put_bytes_max {
            return Err(Error::invalid(format!(
                "the object has {}, and the destination takes at most {} in a request",
                ByteSize(size_bytes),
                ByteSize(to.put_bytes_max)
            )));
        }
        if size_bytes <= MULTIPART_ABOVE_BYTES.min(self.memory_bytes / 4) {
            Ok(Shape::Whole)
        } else if to.streamed_bodies {
            Ok(Shape::WholeStreamed)
        } else if size_bytes <= self.memory_bytes {
            Ok(Shape::Whole)
        } else {
            Err(Error::invalid(format!(
                "the object has {} and must be whole in memory, but the memory budget is {}",
                ByteSize(size_bytes),
                ByteSize(self.memory_bytes)
            ))
            .advise("raise --memory"))
        }
    }

    /// The part size that suits the object and the path, whatever the limits.
    fn usual_part_size(&self, size_bytes: u64) -> u64 {
        let slow = |speed: &Speed| speed.stream_bytes_per_second.min(PART_BYTES_USUAL).saturating_mul(SLOW_PART_SECONDS).max(1).next_multiple_of(MIB);
        let is_fast = |speed: &Speed| speed.stream_bytes_per_second > FAST_BYTES_PER_SECOND && speed.streams * PART_BYTES_LARGE <= FAST_IN_FLIGHT_BYTES;
        if size_bytes > LARGE_OBJECT_BYTES || self.speed.as_ref().is_some_and(is_fast) {
            PART_BYTES_LARGE
        } else {
            self.speed.as_ref().map_or(PART_BYTES_USUAL, slow).min(PART_BYTES_USUAL)
        }
    }

    fn part_size(&self, size_bytes: u64, limits: &MultipartLimits) -> Result<u64> {
        let least = size_bytes.div_ceil(u64::from(limits.parts_max)).max(limits.part_bytes_min);
        if least > limits.part_bytes_max {
            return Err(Error::invalid(format!(
                "the object has {}, and the destination takes {} parts of at most {}",
                ByteSize(size_bytes),
                limits.parts_max,
                ByteSize(limits.part_bytes_max)
            )));
        }
        if let Some(asked) = self.part_size_bytes {
            return if (least..=limits.part_bytes_max).contains(&asked) {
                Ok(asked)
            } else {
                Err(Error::invalid(format!(
                    "--part-size {} does not fit: an object of {} needs parts of {} to {} here",
                    ByteSize(asked),
                    ByteSize(size_bytes),
                    ByteSize(least),
                    ByteSize(limits.part_bytes_max)
                ))
                .advise("leave --part-size away to have it chosen for each object"))
            };
        }
        let wanted = self.usual_part_size(size_bytes).min(self.memory_bytes / 8).max(least.next_multiple_of(MIB));
        Ok(wanted.max(limits.part_bytes_min).min(limits.part_bytes_max).max(least))
    }
}

/// The size of part `number` of an object whose length nobody knows yet, in bytes.
///
/// Doubles every `parts_max / 10` parts up to what memory can hold twice, so that a short stream is not held up by large parts and a
/// long one still fits: with the default memory of 512 MiB about 1.5 TiB.
pub fn growing_part_size(number: u32, limits: &MultipartLimits, memory_bytes: u64) -> u64 {
    let start = PART_BYTES_USUAL.min(memory_bytes / 4).max(limits.part_bytes_min);
    let most = (memory_bytes / 2).clamp(start, limits.part_bytes_max.max(start));
    let doublings = (number.saturating_sub(1) / (limits.parts_max / 10).max(1)).min(30);
    (start << doublings).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::{MetadataRule, Service};
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;
    const S3: MultipartLimits = MultipartLimits { part_bytes_min: 5 * MIB, part_bytes_max: 5 * GIB, parts_max: 10_000 };
    const OSS: MultipartLimits = MultipartLimits { part_bytes_min: 100 << 10, part_bytes_max: 5 * GIB, parts_max: 10_000 };

    fn store(multipart: Option<MultipartLimits>, streamed_bodies: bool) -> Capabilities {
        Capabilities {
            service: Service::Memory,
            ordered_list: true,
            put_bytes_max: 5 * GIB,
            object_bytes_max: 48 * TIB,
            multipart,
            key_bytes_max: 1024,
            put_if_absent: true,
            put_if_match: true,
            metadata: MetadataRule::Any,
            metadata_bytes_max: 2048,
            content_headers: true,
            streamed_bodies,
            atomic_put: true,
        }
    }

    fn shape(destination: &Capabilities, memory_bytes: u64, part_size_bytes: Option<u64>, size_bytes: u64) -> Result<Shape> {
        Cutter { destination, memory_bytes, part_size_bytes, speed: None }.shape(size_bytes)
    }

    fn parts(destination: &Capabilities, memory_bytes: u64, size_bytes: u64) -> Parts {
        match shape(destination, memory_bytes, None, size_bytes) {
            Ok(Shape::Parts(parts)) => parts,
            other => panic!("{size_bytes}: {other:?}"),
        }
    }

    #[test]
    fn small_objects_go_whole_and_the_threshold_is_exact() {
        let s3 = store(Some(S3), false);
        for size in [0, 1, MULTIPART_ABOVE_BYTES] {
            assert_eq!(shape(&s3, 512 * MIB, None, size).expect("a shape"), Shape::Whole);
        }
        let two = parts(&s3, 512 * MIB, MULTIPART_ABOVE_BYTES + 1);
        assert_eq!((two.part_size_bytes, two.count(), two.range(3)), (8 * MIB, 3, 16 * MIB..16 * MIB + 1));
    }

    #[test]
    fn five_tebibytes_fit_ten_thousand_parts() {
        let of_s3 = parts(&store(Some(S3), false), 4 * GIB, 5 * TIB);
        assert_eq!((of_s3.part_size_bytes, of_s3.streamed), (525 * MIB, false));
        assert!(of_s3.count() <= 10_000);
        let of_oss = parts(&store(Some(OSS), true), 64 * MIB, 5 * TIB);
        assert!(of_oss.streamed, "larger than memory passes through");
        let error = shape(&store(Some(S3), false), 64 * MIB, None, 5 * TIB).expect_err("neither fits nor streams");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("run with --memory 2100MiB or more"), "{error}");
    }

    #[test]
    fn little_memory_means_small_parts() {
        let p = parts(&store(Some(S3), false), 64 * MIB, 2 * GIB);
        assert_eq!((p.part_size_bytes, p.streamed), (8 * MIB, false));
        let p = parts(&store(Some(OSS), true), 8 * MIB, 2 * GIB);
        assert_eq!((p.part_size_bytes, p.streamed), (MIB, false));
        let p = parts(&store(Some(S3), false), 8 * MIB, 6 * MIB);
        assert_eq!((p.part_size_bytes, p.count()), (5 * MIB, 2));
    }

    #[test]
    fn the_path_decides_where_the_limits_leave_a_choice() {
        let part = |limits, stream_bytes_per_second, streams, size_bytes| {
            let destination = &store(Some(limits), false);
            let speed = Some(Speed { stream_bytes_per_second, streams });
            match (Cutter { destination, memory_bytes: 512 * MIB, part_size_bytes: None, speed }).shape(size_bytes) {
                Ok(Shape::Parts(parts)) => parts.part_size_bytes,
                Ok(Shape::Whole) => size_bytes,
                other => panic!("{other:?}"),
            }
        };
        let megabit = 125_000;
        assert_eq!(part(OSS, 100 * 1000, 250, GIB), MIB, "0.8 Mbit/s: ten seconds of it");
        assert_eq!(part(OSS, 100 * 1000, 250, 3 * MIB), MIB);
        assert_eq!(part(OSS, 4 * megabit, 50, GIB), 5 * MIB);
        assert_eq!(part(S3, 100 * 1000, 250, GIB), 5 * MIB, "the least that S3 takes");
        assert_eq!(part(S3, 40 * megabit, 8, GIB), 8 * MIB);
        assert_eq!(part(S3, 200 * megabit, 6, GIB), 16 * MIB);
        assert_eq!(part(S3, 200 * megabit, 16, GIB), 8 * MIB, "fast, and many: memory counts");
        assert_eq!(part(S3, 200 * megabit, 16, 16 * MIB), 16 * MIB, "whole");
        assert_eq!(part(OSS, 1, 250, 600 * GIB), 62 * MIB, "ten thousand parts must do");
    }

    #[test]
    fn an_asked_part_size_is_kept_or_refused() {
        let s3 = store(Some(S3), false);
        assert!(matches!(shape(&s3, GIB, Some(64 * MIB), GIB).expect("legal"), Shape::Parts(p) if p.part_size_bytes == 64 * MIB));
        for wrong in [MIB, 6 * GIB] {
            let error = shape(&s3, 512 * MIB, Some(wrong), 600 * GIB).expect_err("illegal");
            assert!(error.message().starts_with("--part-size"), "{error}");
        }
    }

    #[test]
    fn without_parts_large_bodies_stream() {
        assert_eq!(shape(&store(None, true), 64 * MIB, None, 4 * GIB).expect("a shape"), Shape::WholeStreamed);
        assert_eq!(shape(&store(None, false), 64 * MIB, None, 40 * MIB).expect("a shape"), Shape::Whole);
        assert!(shape(&store(None, false), 64 * MIB, None, 65 * MIB).is_err());
        assert!(shape(&store(None, true), 64 * MIB, None, 6 * GIB).is_err());
        assert!(shape(&store(Some(S3), true), 64 * MIB, None, 49 * TIB).is_err());
    }

    #[test]
    fn unknown_length_reaches_far() {
        let total = |memory| (1..=10_000).map(|n| growing_part_size(n, &S3, memory)).sum::<u64>();
        assert_eq!(growing_part_size(1, &S3, 512 * MIB), 8 * MIB);
        assert!(total(512 * MIB) > 1400 * GIB);
        assert!(total(64 * MIB) > 256 * GIB);
        assert!((1..=10_000).all(|n| growing_part_size(n, &S3, 8 * MIB) == 5 * MIB), "at the smallest budget only the smallest part fits");
    }

    proptest! {
        #[test]
        fn parts_cover_the_object_within_all_limits(
            size in prop_oneof![0..100 * MIB, 0..TIB, 0..48 * TIB],
            memory in prop_oneof![8 * MIB..GIB, GIB..64 * GIB],
            asked in proptest::option::of(prop_oneof![0..64 * MIB, 0..6 * GIB]),
            speed in proptest::option::of((0..GIB, 1..512u64).prop_map(|(stream_bytes_per_second, streams)| Speed { stream_bytes_per_second, streams })),
            (limits, streamed) in prop_oneof![Just((S3, false)), Just((OSS, true))],
        ) {
            let to = store(Some(limits), streamed);
            match (Cutter { destination: &to, memory_bytes: memory, part_size_bytes: asked, speed }).shape(size) {
                Err(e) => prop_assert_eq!(e.kind(), ErrorKind::Invalid),
                Ok(Shape::Whole) => prop_assert!(size <= memory && size <= to.put_bytes_max),
                Ok(Shape::WholeStreamed) => prop_assert!(false, "there are parts"),
                Ok(Shape::Parts(parts)) => {
                    prop_assert!(parts.count() <= limits.parts_max);
                    prop_assert!(parts.count() >= 1 && size > 0);
                    prop_assert!((limits.part_bytes_min..=limits.part_bytes_max).contains(&parts.part_size_bytes));
                    prop_assert!(parts.streamed || parts.part_size_bytes <= memory);
                    prop_assert!(!parts.streamed || streamed);
                    if let Some(asked) = asked {
                        prop_assert_eq!(parts.part_size_bytes, asked);
                    } else if size.div_ceil(10_000) <= 64 * MIB {
                        prop_assert!(parts.part_size_bytes <= 64 * MIB);
                    }
                    let cutter = Cutter { destination: &to, memory_bytes: memory, part_size_bytes: None, speed: None };
                    prop_assert_eq!(cutter.keep(size, parts.part_size_bytes), Some(parts), "an upload that was begun can be gone on with");
                    let mut end = 0;
                    for number in [1, 2, parts.count() / 2, parts.count() - 1, parts.count()] {
                        if number >= 1 && number <= parts.count() {
                            let range = parts.range(number);
                            prop_assert_eq!(range.start, u64::from(number - 1) * parts.part_size_bytes);
                            prop_assert!(range.start < range.end);
                            end = range.end;
                        }
                    }
                    prop_assert_eq!(end, size);
                }
            }
        }

        /// What an upload was begun with is kept whatever has been configured since, or refused whole: never another cut.
        #[test]
        fn a_kept_cut_is_the_one_that_was_asked_for(
            size in prop_oneof![0..100 * MIB, 0..TIB],
            part_size_bytes in prop_oneof![0..64 * MIB, 0..6 * GIB],
            memory in 8 * MIB..GIB,
            asked in proptest::option::of(0..64 * MIB),
            (limits, streamed) in prop_oneof![Just((S3, false)), Just((OSS, true))],
        ) {
            let to = store(Some(limits), streamed);
            let Some(parts) = (Cutter { destination: &to, memory_bytes: memory, part_size_bytes: asked, speed: None }).keep(size, part_size_bytes) else { return Ok(()) };
            prop_assert_eq!((parts.size_bytes, parts.part_size_bytes), (size, part_size_bytes));
            prop_assert!((1..=limits.parts_max).contains(&parts.count()));
            prop_assert!((parts.streamed && streamed) || (!parts.streamed && part_size_bytes <= memory));
            prop_assert_eq!(parts.range(parts.count()).end, size);
        }

        #[test]
        fn parts_of_an_unknown_length_grow_within_the_limits(number in 1..10_000u32, memory in 8 * MIB..64 * GIB, limits in prop_oneof![Just(S3), Just(OSS)]) {
            let (this, next) = (growing_part_size(number, &limits, memory), growing_part_size(number + 1, &limits, memory));
            prop_assert!(this <= next && (limits.part_bytes_min..=limits.part_bytes_max).contains(&this));
            prop_assert!(this <= (memory / 2).max(limits.part_bytes_min), "two parts fit into memory, or it is the smallest part");
        }
    }
}
