//! What both clouds say of an object's bytes, computed here in one pass and compared.
//!
//! OSS speaks CRC-64/XZ (it says "ecma"), S3 CRC-64/NVME; both are computed over the same bytes while they pass, so that a copy
//! is proved without reading it again. Part values combine into the value of the whole by multiplying with a power of x, which
//! takes microseconds and is cached for the equal part size of an upload.

use std::fmt;

/// A checksum algorithm, by the names that `--json` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// CRC-64/XZ, OSS's `x-oss-hash-crc64ecma`.
    Crc64Xz,
    /// CRC-64/NVME, S3's `x-amz-checksum-crc64nvme`.
    Crc64Nvme,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-32 (ISO-HDLC, as in zip).
    Crc32,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// MD5: an ETag of a single plain upload, or Content-MD5.
    Md5,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crc64Xz => "crc64xz",
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
        })
    }
}

/// A checksum of checksums: S3's COMPOSITE type, `digest-N` over the parts' own values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composite {
    /// The algorithm of the parts and of the whole.
    pub algorithm: Algorithm,
    /// The digest over the concatenated part digests.
    pub digest: Vec<u8>,
    /// How many parts.
    pub parts: u32,
}

/// The values that somebody states for a run of bytes. Every field is optional: what is absent was not stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums {
    /// CRC-64/XZ.
    pub crc64xz: Option<u64>,
    /// CRC-64/NVME.
    pub crc64nvme: Option<u64>,
    /// CRC-32C.
    pub crc32c: Option<u32>,
    /// CRC-32.
    pub crc32: Option<u32>,
    /// SHA-1.
    pub sha1: Option<[u8; 20]>,
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// MD5 of the bytes themselves (never of parts).
    pub md5: Option<[u8; 16]>,
    /// A checksum over parts, where that is all there is.
    pub composite: Option<Composite>,
}

/// What two sets of values say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// At least one algorithm is stated by both, and all such agree; the strongest of them.
    Equal(Algorithm),
    /// An algorithm stated by both differs.
    Different(Algorithm),
    /// No algorithm is stated by both: nothing is proved.
    Unknown,
}

impl Checksums {
    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Compares the whole-object values that both sides state.
    pub fn agreement(&self, other: &Self) -> Agreement {
        fn pair<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> Option<bool> {
            Some(a? == b?)
        }
        let all = [
            (Algorithm::Sha256, pair(self.sha256.as_ref(), other.sha256.as_ref())),
            (Algorithm::Crc64Xz, pair(self.crc64xz.as_ref(), other.crc64xz.as_ref())),
            (Algorithm::Crc64Nvme, pair(self.crc64nvme.as_ref(), other.crc64nvme.as_ref())),
            (Algorithm::Sha1, pair(self.sha1.as_ref(), other.sha1.as_ref())),
            (Algorithm::Md5, pair(self.md5.as_ref(), other.md5.as_ref())),
            (Algorithm::Crc32c, pair(self.crc32c.as_ref(), other.crc32c.as_ref())),
            (Algorithm::Crc32, pair(self.crc32.as_ref(), other.crc32.as_ref())),
        ];
        let mut equal = None;
        for (algorithm, verdict) in all {
            match verdict {
                Some(false) => return Agreement::Different(algorithm),
                Some(true) if equal.is_none() => equal = Some(algorithm),
                _ => {}
            }
        }
        equal.map_or(Agreement::Unknown, Agreement::Equal)
    }

    /// Fills what is absent here from `other`.
    pub fn merge(&mut self, other: &Self) {
        self.crc64xz = self.crc64xz.or(other.crc64xz);
        self.crc64nvme = self.crc64nvme.or(other.crc64nvme);
        self.crc32c = self.crc32c.or(other.crc32c);
        self.crc32 = self.crc32.or(other.crc32);
        self.sha1 = self.sha1.or(other.sha1);
        self.sha256 = self.sha256.or(other.sha256);
        self.md5 = self.md5.or(other.md5);
        if self.composite.is_none() {
            self.composite.clone_from(&other.composite);
        }
    }
}

/// What proves that bytes are the right ones, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Proof {
    /// Nothing.
    #[default]
    None,
    /// The length alone.
    Size,
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// CRC-64/XZ.
    Crc64Xz,
    /// A digest over the parts' digests, recomputed on the same part boundaries.
    Composite,
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Proof {
    /// The word in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Size => "size",
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc64Xz => "crc64xz",
            Self::Composite => "composite",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

impl From<Algorithm> for Proof {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc64Xz => Self::Crc64Xz,
            Algorithm::Crc64Nvme => Self::Crc64Nvme,
            Algorithm::Crc32c => Self::Crc32c,
            Algorithm::Crc32 => Self::Crc32,
            Algorithm::Sha1 => Self::Sha1,
            Algorithm::Sha256 => Self::Sha256,
            Algorithm::Md5 => Self::Md5,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A CRC-64 polynomial in reflected form, with initial value and final xor of all ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polynomial(u64);

/// CRC-64/XZ.
pub const XZ: Polynomial = Polynomial(0xC96C_5795_D787_0F42);
/// CRC-64/NVME.
pub const NVME: Polynomial = Polynomial(0x9A6C_9329_AC4B_C9B5);

impl Polynomial {
    /// Multiplies two residues modulo the polynomial, bits reflected (the highest bit is x^0).
    fn multiply(self, mut a: u64, mut b: u64) -> u64 {
        let mut product = 0;
        while a != 0 {
            if a >> 63 == 1 {
                product ^= b;
            }
            a <<= 1;
            b = if b & 1 == 1 { (b >> 1) ^ self.0 } else { b >> 1 };
        }
        product
    }

    /// The residue of x^(8 x `bytes`): what appending that many bytes multiplies a CRC by.
    pub fn power(self, mut bytes: u64) -> u64 {
        let mut result = 1 << 63;
        let mut square = 1 << 55;
        while bytes != 0 {
            if bytes & 1 == 1 {
                result = self.multiply(result, square);
            }
            square = self.multiply(square, square);
            bytes >>= 1;
        }
        result
    }

    /// The CRC of `a` followed by `b`, from their CRCs and [`Self::power`] of `b`'s length.
    pub fn combine_with_power(self, a: u64, b: u64, power_of_b: u64) -> u64 {
        self.multiply(power_of_b, a) ^ b
    }

    /// The CRC of `a` followed by `b` of `b_len` bytes.
    pub fn combine(self, a: u64, b: u64, b_len: u64) -> u64 {
        self.combine_with_power(a, b, self.power(b_len))
    }
}

/// Both CRC-64s of a run of bytes, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crc64 {
    /// CRC-64/XZ.
    pub xz: u64,
    /// CRC-64/NVME.
    pub nvme: u64,
    /// How many bytes.
    pub len: u64,
}

impl Crc64 {
    /// Computes both over one slice.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Crc64Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The values of `self` followed by `next`.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self { xz: XZ.combine(self.xz, next.xz, next.len), nvme: NVME.combine(self.nvme, next.nvme, next.len), len: self.len + next.len }
    }

    /// As stated values.
    pub fn checksums(self) -> Checksums {
        Checksums { crc64xz: Some(self.xz), crc64nvme: Some(self.nvme), ..Checksums::default() }
    }
}

/// Computes both CRC-64s in one pass over the bytes.
#[derive(Debug)]
pub struct Crc64Hasher {
    xz: crc_fast::Digest,
    nvme: crc_fast::Digest,
    len: u64,
}

impl Crc64Hasher {
    /// Starts at the empty run.
    pub fn new() -> Self {
        Self { xz: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Xz), nvme: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme), len: 0 }
    }

    /// Takes more bytes, in slices small enough to stay in the second-level cache between the two passes.
    pub fn update(&mut self, bytes: &[u8]) {
        for slice in bytes.chunks(128 << 10) {
            self.xz.update(slice);
            self.nvme.update(slice);
        }
        self.len += bytes.len() as u64;
    }

    /// The values so far.
    pub fn finish(&self) -> Crc64 {
        Crc64 { xz: self.xz.finalize(), nvme: self.nvme.finalize(), len: self.len }
    }
}

impl Default for Crc64Hasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Combines the parts of one upload in part order, with the power of the usual part size computed once.
#[derive(Debug, Default)]
pub struct Crc64Combiner {
    whole: Crc64,
    power: Option<(u64, u64, u64)>,
}

impl Crc64Combiner {
    /// Appends the next part.
    pub fn push(&mut self, part: Crc64) {
        let (xz_power, nvme_power) = match self.power {
            Some((len, xz, nvme)) if len == part.len => (xz, nvme),
            _ => {
                let (xz, nvme) = (XZ.power(part.len), NVME.power(part.len));
                self.power = Some((part.len, xz, nvme));
                (xz, nvme)
            }
        };
        self.whole.xz = XZ.combine_with_power(self.whole.xz, part.xz, xz_power);
        self.whole.nvme = NVME.combine_with_power(self.whole.nvme, part.nvme, nvme_power);
        self.whole.len += part.len;
    }

    /// The values of all parts so far.
    pub fn finish(&self) -> Crc64 {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Vectors of protocol.md section 3.
    #[test]
    fn both_polynomials_give_the_published_check_values() {
        let check = Crc64::of(b"123456789");
        assert_eq!(check.xz, 11_051_210_869_376_104_954);
        assert_eq!(check.nvme, 0xae8b_1486_0a79_9888);
        assert_eq!(Crc64::of(b"This is a test of the emergency broadcast system.").xz, 0x27db_187f_c15b_bc72);
        assert_eq!(Crc64::of(b"").xz, 0);
        let long: Vec<u8> = (0..1_048_576u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(Crc64::of(&long[..102_400]).xz, 5_409_316_634_556_368_277);
        assert_eq!(Crc64::of(&long).xz, 16_028_127_081_582_314_172);
    }

    proptest! {
        #[test]
        fn parts_combine_to_the_whole(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
            let mut combiner = Crc64Combiner::default();
            let mut chained = Crc64::default();
            for part in &parts {
                combiner.push(Crc64::of(part));
                chained = chained.then(Crc64::of(part));
            }
            prop_assert_eq!(combiner.finish(), Crc64::of(&parts.concat()));
            prop_assert_eq!(chained, combiner.finish());
        }
    }

    #[test]
    fn agreement_needs_a_common_algorithm_and_one_difference_is_enough() {
        let both = Crc64::of(b"x").checksums();
        let xz = Checksums { crc64xz: both.crc64xz, ..Checksums::default() };
        let md5 = Checksums { md5: Some([0; 16]), ..Checksums::default() };
        assert_eq!(both.agreement(&xz), Agreement::Equal(Algorithm::Crc64Xz));
        assert_eq!(xz.agreement(&md5), Agreement::Unknown);
        let wrong = Checksums { crc64nvme: Some(1), ..both.clone() };
        assert_eq!(both.agreement(&wrong), Agreement::Different(Algorithm::Crc64Nvme));
    }
}
