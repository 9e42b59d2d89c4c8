//! A share of the keys: so many hosts can do one job without knowing of each other.
//!
//! The CRC-64/XZ of a key, relative to the job's ends, divided by the number of shares leaves the share that it belongs to. So each key
//! has one share, on every host, at either end, and today as tomorrow; what is renamed may change its share.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::storage::checksum::Crc64;

/// Share `K` of `N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    index: u32,
    count: u32,
}

/// Most shares: no fleet is larger, and a typing error is.
const COUNT_MAX: u32 = 10_000;

impl Shard {
    /// Whether a key, relative to the job's ends, is of this share.
    pub fn holds(self, relative: &[u8]) -> bool {
        self.count == 1 || Crc64::of(relative).xz % u64::from(self.count) == u64::from(self.index)
    }
}

impl FromStr for Shard {
    type Err = Error;

    /// Reads `K/N`, such as `1/4`. Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where that is no share.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |what: &str| Error::invalid(format!("'{}' is no share: {what}", text.escape_debug())).advise("with 4 hosts, give 1/4, 2/4, 3/4 and 4/4");
        let (number, count) = text.split_once('/').ok_or_else(|| invalid("it is to be K/N, share K of N"))?;
        let parse = |digits: &str| digits.parse::<u32>().map_err(|_| invalid("K and N are numbers"));
        let (number, count) = (parse(number)?, parse(count)?);
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(invalid(&format!("there are 1 to {COUNT_MAX} shares")));
        }
        if !(1..=count).contains(&number) {
            return Err(invalid(&format!("the shares are 1 to {count}")));
        }
        Ok(Self { index: number - 1, count })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shards(count: u32) -> Vec<Shard> {
        (1..=count).map(|number| format!("{number}/{count}").parse().expect("a share")).collect()
    }

    #[test]
    fn what_is_no_share_is_named() {
        for bad in ["0/4", "5/4", "x", "1", "1/0", "/", "-1/4", "1/4/2", "1/100000", "", "\u{1b}/1"] {
            let error = bad.parse::<Shard>().expect_err(bad);
            assert!(error.kind() == crate::error::ErrorKind::Invalid && error.to_string().contains("no share"), "{error}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
        assert_eq!("3/4".parse::<Shard>().expect("a share").to_string(), "3/4");
    }

    #[test]
    fn shares_are_what_they_were_in_earlier_versions() {
        let of = |key: &str| shards(4).iter().position(|shard| shard.holds(key.as_bytes()));
        assert_eq!(["a", "photos/2026/00000001.jpg", "中", ""].map(of), [Some(1), Some(2), Some(3), Some(0)]);
    }

    #[test]
    fn shares_are_about_equal() {
        for shard in shards(7) {
            let held = (0..70_000).filter(|n| shard.holds(format!("k{n:05}").as_bytes())).count();
            assert!((9_500..10_500).contains(&held), "{shard} holds {held}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_one_share(key in prop::collection::vec(any::<u8>(), 0..40), count in 1..50_u32) {
            prop_assert_eq!(shards(count).iter().filter(|shard| shard.holds(&key)).count(), 1);
        }
    }
}
