//! What synthetic objects hold: one block of noise, repeated, so that any byte of any object can be sent and proved without storing it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crc_fast::CrcAlgorithm::{self, Crc64Nvme, Crc64Xz};
use md5::{Digest, Md5};

/// Bytes after which content repeats.
const PERIOD_BYTES: usize = 256 << 10;
/// Most bytes that are sent by one write.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 20;
/// Largest object whose ETag is its MD5; larger ones look like multipart uploads, as on S3.
const MD5_BYTES_MAX: u64 = 64 << 20;
/// Part size that the ETag of a larger object tells of.
const PART_BYTES: u64 = 8 << 20;
/// Objects differ by where in the block they begin, of so many places.
const PHASES: u64 = 16;

/// Both checksums of a run of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crcs {
    pub(super) xz: u64,
    pub(super) nvme: u64,
}

/// Computes both checksums of what passes.
pub(super) struct Hasher {
    xz: crc_fast::Digest,
    nvme: crc_fast::Digest,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self { xz: crc_fast::Digest::new(Crc64Xz), nvme: crc_fast::Digest::new(Crc64Nvme) }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.xz.update(bytes);
        self.nvme.update(bytes);
    }

    pub(super) fn finish(&self) -> Crcs {
        Crcs { xz: self.xz.finalize(), nvme: self.nvme.finalize() }
    }
}

impl Crcs {
    /// The checksums of this run followed by `next`, which is `next_bytes` long.
    pub(super) fn then(self, next: Self, next_bytes: u64) -> Self {
        let join = |algorithm: CrcAlgorithm, a, b| crc_fast::checksum_combine(algorithm, a, b, next_bytes);
        Self { xz: join(Crc64Xz, self.xz, next.xz), nvme: join(Crc64Nvme, self.nvme, next.nvme) }
    }
}

/// The noise, and what has been computed of it.
pub(super) struct Content {
    block: Vec<u8>,
    crcs: Mutex<HashMap<(usize, u64), Crcs>>,
    etags: Mutex<HashMap<(usize, u64), String>>,
}

impl Content {
    pub(super) fn new() -> Self {
        // A generator of noise that is the same on every machine: xorshift64.
        let mut state = 88_172_645_463_325_252_u64;
        let mut block = Vec::with_capacity(PERIOD_BYTES + WRITE_BYTES_MAX);
        while block.len() < PERIOD_BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        block.extend_from_within(..);
        block.extend_from_within(..);
        block.extend_from_within(..PERIOD_BYTES);
        Self { block, crcs: Mutex::default(), etags: Mutex::default() }
    }

    /// Where in the block the object of this number begins.
    pub(super) fn start(number: u64) -> usize {
        (number % PHASES) as usize * (PERIOD_BYTES / PHASES as usize)
    }

    /// Bytes of an object that begins at `start`, from `offset` on: as many as one write takes, `len` at most.
    pub(super) fn bytes(&self, start: usize, offset: u64, len: u64) -> &[u8] {
        let from = ((start as u64 + offset) % PERIOD_BYTES as u64) as usize;
        let len = len.min(WRITE_BYTES_MAX as u64) as usize;
        &self.block[from..from + len]
    }

    /// The checksums of `size` bytes that begin at `start`, any number of bytes into the block's repetition.
    pub(super) fn crcs(&self, start: u64, size: u64) -> Crcs {
        let start = (start % PERIOD_BYTES as u64) as usize;
        if let Some(known) = self.crcs.lock().unwrap_or_else(PoisonError::into_inner).get(&(start, size)) {
            return *known;
        }
        let of = |bytes: &[u8]| {
            let mut hasher = Hasher::new();
            hasher.update(bytes);
            hasher.finish()
        };
        // Whole periods by doubling: of 1, 2, 4 ... periods those that the count's binary digits name.
        let mut sum = of(&[]);
        let mut power = of(&self.block[start..start + PERIOD_BYTES]);
        let mut power_bytes = PERIOD_BYTES as u64;
        let mut periods = size / PERIOD_BYTES as u64;
        while periods > 0 {
            if periods & 1 == 1 {
                sum = sum.then(power, power_bytes);
            }
            power = power.then(power, power_bytes);
            power_bytes *= 2;
            periods >>= 1;
        }
        let rest = (size % PERIOD_BYTES as u64) as usize;
        let sum = sum.then(of(&self.block[start..start + rest]), rest as u64);
        self.crcs.lock().unwrap_or_else(PoisonError::into_inner).insert((start, size), sum);
        sum
    }

    /// The ETag of such a run, without quotes, in lower case.
    pub(super) fn etag(&self, start: usize, size: u64) -> String {
        if let Some(known) = self.etags.lock().unwrap_or_else(PoisonError::into_inner).get(&(start, size)) {
            return known.clone();
        }
        let etag = if size <= MD5_BYTES_MAX {
            hex(&self.md5(start, size))
        } else {
            // Parts are whole periods long, so all but the last are alike.
            let whole = self.md5(start, PART_BYTES);
            let mut all = Md5::new();
            (0..size / PART_BYTES).for_each(|_| all.update(whole));
            if !size.is_multiple_of(PART_BYTES) {
                all.update(self.md5(start, size % PART_BYTES));
            }
            format!("{}-{}", hex(&all.finalize()), size.div_ceil(PART_BYTES))
        };
        self.etags.lock().unwrap_or_else(PoisonError::into_inner).insert((start, size), etag.clone());
        etag
    }

    fn md5(&self, start: usize, size: u64) -> [u8; 16] {
        let (mut md5, mut done) = (Md5::new(), 0);
        while done < size {
            let bytes = self.bytes(start, done, size - done);
            md5.update(bytes);
            done += bytes.len() as u64;
        }
        md5.finalize().into()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: &Content, start: usize, size: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let next = content.bytes(start, bytes.len() as u64, size - bytes.len() as u64).to_vec();
            bytes.extend(next);
        }
        bytes
    }

    #[test]
    fn what_is_stated_is_what_is_sent() {
        let content = Content::new();
        for (start, size) in [(0, 0), (0, 1), (5, 4096), (16_384, 262_144), (16_384, 262_145), (240_000, 5 << 20), (7, (3 << 20) + 17)] {
            let bytes = all(&content, start, size);
            let mut hasher = Hasher::new();
            hasher.update(&bytes);
            assert_eq!(content.crcs(start as u64, size), hasher.finish(), "{size} bytes from {start}");
            assert_eq!(content.etag(start, size), hex(&Md5::digest(&bytes)));
        }
    }

    #[test]
    fn a_large_objects_etag_is_that_of_its_parts() {
        let (content, size) = (Content::new(), MD5_BYTES_MAX + PART_BYTES / 2);
        let bytes = all(&content, 16_384, size);
        let md5s: Vec<u8> = bytes.chunks(PART_BYTES as usize).flat_map(Md5::digest).collect();
        assert_eq!(content.etag(16_384, size), format!("{}-9", hex(&Md5::digest(&md5s))));
    }

    #[test]
    fn the_algorithms_are_the_clouds_own() {
        // The check values of the CRC catalogue.
        let mut hasher = Hasher::new();
        hasher.update(b"123456789");
        assert_eq!(hasher.finish(), Crcs { xz: 0x995d_c9bb_df19_39fa, nvme: 0xae8b_1486_0a79_9888 });
    }

    #[test]
    fn neighbours_differ() {
        let content = Content::new();
        assert_ne!(content.crcs(Content::start(1) as u64, 4096), content.crcs(Content::start(2) as u64, 4096));
    }
}
