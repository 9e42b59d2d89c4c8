//! MD5 (RFC 1321) of one stream, and the same step of sixteen streams at once.

use std::sync::LazyLock;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u32x16};
use md5::block_api::compress;

/// Streams that one vector holds.
pub(super) const LANES: usize = 16;
/// What is hashed at a time, in bytes.
pub(super) const BLOCK_BYTES: usize = 64;

/// What the processor has.
static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// How far each of a round's steps rotates, by turns.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The constant of each step: the digits of the absolute sines.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// A stream whose bytes are hashed as they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Md5 {
    state: [u32; 4],
    /// The beginning of a block.
    pending: [u8; BLOCK_BYTES],
    length: u64,
}

impl Md5 {
    pub(crate) fn new() -> Self {
        Self { state: START, pending: [0; BLOCK_BYTES], length: 0 }
    }

    fn pending_bytes(&self) -> usize {
        (self.length % BLOCK_BYTES as u64) as usize
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let rest = self.fill_up(bytes);
        let (blocks, rest) = rest.as_chunks();
        compress(&mut self.state, blocks);
        self.length += (blocks.len() * BLOCK_BYTES) as u64;
        self.fill_up(rest);
    }

    /// Takes what completes the block that was begun, or all bytes where they do not; gives back what is left. At the beginning of a
    /// block it takes only what makes no whole one.
    pub(super) fn fill_up<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let pending = self.pending_bytes();
        if pending == 0 && bytes.len() >= BLOCK_BYTES {
            return bytes;
        }
        let (taken, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - pending));
        self.pending[pending..pending + taken.len()].copy_from_slice(taken);
        self.length += taken.len() as u64;
        if pending + taken.len() == BLOCK_BYTES {
            compress(&mut self.state, &[self.pending]);
        }
        rest
    }

    /// The digest of all bytes so far.
    pub(crate) fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8).to_le_bytes();
        let mut padding = [0; 2 * BLOCK_BYTES];
        padding[0] = 0x80;
        let zeros = (2 * BLOCK_BYTES - 9 - self.pending_bytes()) % BLOCK_BYTES;
        padding[1 + zeros..9 + zeros].copy_from_slice(&bits);
        self.update(&padding[..9 + zeros]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }
}

/// Takes each stream on by so many blocks of its bytes, all at once. Each must be at the beginning of a block.
pub(super) fn update_all(streams: &mut [&mut Md5; LANES], bytes: &[&[u8]; LANES], blocks: usize) {
    debug_assert!(streams.iter().all(|stream| stream.pending_bytes() == 0));
    let mut states = [[0; LANES]; 4];
    for (lane, stream) in streams.iter().enumerate() {
        for (word, value) in stream.state.into_iter().enumerate() {
            states[word][lane] = value;
        }
    }
    dispatch!(*LEVEL, simd => compress_all(simd, &mut states, bytes, blocks));
    for (lane, stream) in streams.iter_mut().enumerate() {
        stream.state = [0, 1, 2, 3].map(|word| states[word][lane]);
        stream.length += (blocks * BLOCK_BYTES) as u64;
    }
}

#[inline(always)]
fn compress_all<S: Simd>(simd: S, states: &mut [[u32; LANES]; 4], bytes: &[&[u8]; LANES], blocks: usize) {
    let mut sum = states.map(|state| u32x16::simd_from(simd, state));
    for block in 0..blocks {
        let mut words = [[0; LANES]; 16];
        for (lane, bytes) in bytes.iter().enumerate() {
            let (quads, _) = bytes[block * BLOCK_BYTES..][..BLOCK_BYTES].as_chunks();
            for (word, quad) in words.iter_mut().zip(quads) {
                word[lane] = u32::from_le_bytes(*quad);
            }
        }
        let words = words.map(|word| u32x16::simd_from(simd, word));
        let [mut a, mut b, mut c, mut d] = sum;
        for step in 0..64 {
            let round = step / 16;
            let (mixed, word) = match round {
                0 => (d ^ (b & (c ^ d)), step),
                1 => (c ^ (d & (b ^ c)), 5 * step + 1),
                2 => (b ^ c ^ d, 3 * step + 5),
                _ => (c ^ (b | !d), 7 * step),
            };
            let shift = SHIFTS[round][step % 4];
            let turned = a + mixed + words[word % 16] + SINES[step];
            (a, d, c, b) = (d, c, b, b + ((turned << shift) | (turned >> (32 - shift))));
        }
        for (sum, new) in sum.iter_mut().zip([a, b, c, d]) {
            *sum += new;
        }
    }
    *states = sum.map(|state| *state);
}

#[cfg(test)]
mod tests {
    use md5::Digest;
    use proptest::prelude::*;

    use super::*;

    fn expected(bytes: &[u8]) -> [u8; 16] {
        md5::Md5::digest(bytes).into()
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (text, digest) in [("", 0xd41d8cd98f00b204e9800998ecf8427e_u128), ("abc", 0x900150983cd24fb0d6963f7d28e17f72)] {
            let mut md5 = Md5::new();
            md5.update(text.as_bytes());
            assert_eq!(md5.finish(), digest.to_be_bytes());
        }
    }

    #[test]
    fn every_length_around_a_block_is_padded_right() {
        let bytes: Vec<u8> = (0..200).collect();
        for length in 0..bytes.len() {
            let mut md5 = Md5::new();
            md5.update(&bytes[..length]);
            assert_eq!(md5.finish(), expected(&bytes[..length]), "{length}");
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut md5 = Md5::new();
            pieces.iter().for_each(|piece| md5.update(piece));
            prop_assert_eq!(md5.finish(), expected(&pieces.concat()));
        }

        #[test]
        fn sixteen_at_once_are_what_each_is_alone(blocks in 0usize..5, seed in any::<u64>()) {
            let mut random = fastrand::Rng::with_seed(seed);
            let bytes: Vec<Vec<u8>> = (0..LANES).map(|_| (0..blocks * BLOCK_BYTES).map(|_| random.u8(..)).collect()).collect();
            let mut streams = [Md5::new(); LANES];
            let inputs = std::array::from_fn(|lane| bytes[lane].as_slice());
            update_all(&mut streams.each_mut(), &inputs, blocks);
            for (stream, bytes) in streams.into_iter().zip(&bytes) {
                prop_assert_eq!(stream.finish(), expected(bytes));
            }
        }
    }
}
