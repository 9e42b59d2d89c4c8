//! What the planner promises about two objects of one key, whatever is known of them.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::storage::checksum::{Checksums, Crc64};

const SIZE: u64 = 3;

/// The values that a service states of these bytes: bit by bit of `which`, CRC-64/XZ, CRC-64/NVME, a digest.
fn stated(bytes: &[u8], which: u8) -> Checksums {
    let crc = Crc64::of(bytes);
    Checksums {
        crc64xz: (which & 1 != 0).then_some(crc.xz),
        crc64nvme: (which & 2 != 0).then_some(crc.nvme),
        sha256: (which & 4 != 0).then(|| std::array::from_fn(|i| bytes[i % bytes.len()])),
        ..Checksums::default()
    }
}

fn info(bytes: &[u8], which: u8, etag: &str, second: i64) -> ObjectInfo {
    let modified = Timestamp::from_second(1_700_000_000 + second).ok();
    ObjectInfo { size: SIZE, etag: ETag::new(etag), modified, checksums: stated(bytes, which), ..ObjectInfo::default() }
}

fn entry(info: &ObjectInfo) -> Entry<'_> {
    Entry { key: b"k", size: info.size, etag: info.etag.as_str(), modified: info.modified, storage_class: "", kind: Kind::Object }
}

/// Asks until it decides, looking as the schedule does. `listed` says whether the destination's listing showed the object.
fn settle(options: &Options, here: &ObjectInfo, there: &ObjectInfo, listed: bool) -> (Decision, u32) {
    let rules = Rules { options, source: Service::S3, destination: Service::Oss };
    let unknown = Side::Unknown(Arc::new(Error::invalid("out of order")));
    let destination = if listed { Side::Present(entry(there)) } else { unknown };
    let mut pairing = Pairing { key: b"k", source: Side::Present(entry(here)), destination, proved: None };
    let mut evidence = Evidence::default();
    for looks in 0..=2 {
        match decide(&rules, &pairing, &evidence) {
            Decision::Look(look) => {
                if look.source {
                    evidence.source = Some(here);
                }
                if look.destination {
                    (evidence.destination, evidence.destination_looked) = (Some(there), true);
                    pairing.destination = Side::Present(entry(there));
                }
                evidence.read |= look.read;
            }
            decision => return (decision, looks),
        }
    }
    panic!("it looks more than twice");
}

fn etags() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("opaque-a"), Just("OPAQUE"), Just("900150983cd24fb0d6963f7d28e17f72-2"), Just("")]
}

fn modes() -> impl Strategy<Value = Options> {
    (0..3usize, any::<(bool, bool)>()).prop_map(|(mode, (update, delete))| {
        let compare = [Compare::Default, Compare::Checksum, Compare::SizeOnly][mode];
        Options { compare, update, delete, ..Options::default() }
    })
}

proptest! {
    #[test]
    fn what_is_proved_equal_is_never_copied(
        options in modes(),
        (a, b) in (1..8u8, 1..8u8),
        (here_etag, there_etag) in (etags(), etags()),
        (here_time, there_time) in (-200_000..200_000i64, -200_000..200_000i64),
        listed in any::<bool>(),
    ) {
        prop_assume!(a & b != 0);
        let (here, there) = (info(b"abc", a, here_etag, here_time), info(b"abc", b, there_etag, there_time));
        prop_assert_eq!(settle(&options, &here, &there, listed).0, Decision::Skip);
    }

    #[test]
    fn what_is_proved_different_is_copied_unless_a_flag_says_otherwise(
        compare in prop_oneof![Just(Compare::Default), Just(Compare::Checksum)],
        (a, b) in (1..8u8, 1..8u8),
        (here_time, there_time) in (-200_000..200_000i64, -200_000..200_000i64),
        listed in any::<bool>(),
    ) {
        prop_assume!(a & b != 0);
        let options = Options { compare, ..Options::default() };
        let (here, there) = (info(b"abc", a, "opaque-a", here_time), info(b"abd", b, "opaque-b", there_time));
        prop_assert_eq!(settle(&options, &here, &there, listed).0, Decision::Copy(Reason::Checksum));
    }

    /// Whatever the services state of it and whenever it was made: the stamp alone knows a copy, there and back.
    #[test]
    fn a_copy_that_was_made_is_never_made_again(
        (here_etag, there_etag) in (etags(), etags()),
        (here_time, there_time) in (-200_000..200_000i64, -200_000..200_000i64),
        (a, b) in (0..8u8, 0..8u8),
        (listed, update) in any::<(bool, bool)>(),
    ) {
        prop_assume!(!here_etag.is_empty());
        let options = Options { update, ..Options::default() };
        let (here, mut there) = (info(b"abc", a, here_etag, here_time), info(b"abc", b, there_etag, there_time));
        Stamp::of(&here).write(&mut there.attributes.user);
        prop_assert_eq!(settle(&options, &here, &there, listed).0, Decision::Skip);
        prop_assert_eq!(settle(&options, &there, &here, listed).0, Decision::Skip, "failing back");
    }

    #[test]
    fn another_size_is_always_copied_and_never_deleted(options in modes(), (a, b) in (0..8u8, 0..8u8), etag in etags(), size in 0..SIZE) {
        let options = Options { update: false, ..options };
        let (here, mut there) = (info(b"abc", a, etag, 0), info(b"abc", b, etag, 9));
        there.size = size;
        prop_assert_eq!(settle(&options, &here, &there, true).0, Decision::Copy(Reason::Size));
    }
}
