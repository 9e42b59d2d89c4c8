//! The digests that a service keeps of what it stored: MD5 and both CRC-64s.
//!
//! Written apart from the client's checksum code on purpose: a mistake in one must show against the other.

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

/// The reversed polynomial of CRC-64/XZ, which OSS calls ECMA (protocol.md 3).
const POLYNOMIAL_XZ: u64 = 0xC96C_5795_D787_0F42;
/// The reversed polynomial of CRC-64/NVME (protocol.md 3).
const POLYNOMIAL_NVME: u64 = 0x9A6C_9329_AC4B_C9B5;

/// What a service knows of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// MD5, where the bytes were written in one piece (not for multipart and appended objects).
    pub md5: Option<[u8; 16]>,
    /// CRC-64/XZ: `x-oss-hash-crc64ecma`.
    pub crc64_xz: u64,
    /// CRC-64/NVME: `x-amz-checksum-crc64nvme`.
    pub crc64_nvme: u64,
}

impl Digests {
    /// Digests of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digester = Digester::default();
        digester.update(bytes);
        digester.finish()
    }

    /// Digests of `self` followed by `next`, which is `next_len` bytes long. The MD5 of the whole is unknown then.
    #[must_use]
    pub fn followed_by(self, next: Self, next_len: u64) -> Self {
        Self {
            md5: None,
            crc64_xz: combine_crcs(64, POLYNOMIAL_XZ, self.crc64_xz, next.crc64_xz, next_len),
            crc64_nvme: combine_crcs(64, POLYNOMIAL_NVME, self.crc64_nvme, next.crc64_nvme, next_len),
        }
    }

    /// The MD5 as lower-case hexadecimal digits, empty where it is unknown.
    pub fn md5_hex(&self) -> String {
        self.md5.map(|md5| hex(&md5)).unwrap_or_default()
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0')).collect()
}

/// Computes [`Digests`] while bytes pass.
#[derive(Clone)]
pub struct Digester {
    md5: Md5,
    crc64_xz: crc64fast::Digest,
    crc64_nvme: crc64fast_nvme::Digest,
}

impl Default for Digester {
    fn default() -> Self {
        Self { md5: Md5::new(), crc64_xz: crc64fast::Digest::new(), crc64_nvme: crc64fast_nvme::Digest::new() }
    }
}

impl Digester {
    /// Takes further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.crc64_xz.write(bytes);
        self.crc64_nvme.write(bytes);
    }

    /// The digests of all bytes taken.
    pub fn finish(self) -> Digests {
        Digests { md5: Some(self.md5.finalize().into()), crc64_xz: self.crc64_xz.sum64(), crc64_nvme: self.crc64_nvme.sum64() }
    }
}

/// The CRC of two strings put together: `a * x^(8 * len_b) + b` modulo the reversed polynomial of `width` bits.
/// The pre- and post-inversion of these CRCs cancel out, as in zlib's `crc32_combine`.
pub fn combine_crcs(width: u32, polynomial: u64, a: u64, b: u64, len_b: u64) -> u64 {
    let multiply = |mut a: u64, b: u64| {
        let mut product = 0;
        for bit in (0..width).rev() {
            if b >> bit & 1 == 1 {
                product ^= a;
            }
            a = if a & 1 == 1 { (a >> 1) ^ polynomial } else { a >> 1 };
        }
        product
    };
    // Bits are reversed: the top bit is x^0. The power is found by squaring, bit by bit of the exponent.
    let (mut power, mut square, mut exponent) = (1 << (width - 1), 1 << (width - 1 - 8), len_b);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        exponent >>= 1;
    }
    multiply(power, a) ^ b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_values_hold() {
        let digests = Digests::of(b"123456789");
        assert_eq!(digests.crc64_xz, 0x995d_c9bb_df19_39fa);
        assert_eq!(digests.crc64_nvme, 0xae8b_1486_0a79_9888);
        assert_eq!(digests.md5_hex(), "25f9e794323b453885f5181f1b624d0b");
    }

    #[test]
    fn digests_of_parts_make_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..102_400u32).map(|i| (i % 251) as u8).collect();
        let whole = Digests::of(&bytes);
        assert_eq!(whole.crc64_xz, 5_409_316_634_556_368_277);
        for at in [0, 1, 7, 65_536, 102_399, 102_400] {
            let (a, b) = bytes.split_at(at);
            let joined = Digests::of(a).followed_by(Digests::of(b), b.len() as u64);
            assert_eq!((joined.crc64_xz, joined.crc64_nvme, joined.md5), (whole.crc64_xz, whole.crc64_nvme, None), "split at {at}");
        }
    }
}
