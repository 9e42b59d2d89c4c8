//! The checksums that S3 keeps beside the ETag: `x-amz-checksum-*`, in headers and trailers, per part and of the whole.
//!
//! CRC-64/NVME comes from the store's digests; the others are computed here, apart from the client's code.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use s3s::{S3Result, s3_error};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::devserver::store::{Checksum, Content, Digests, Object, combine_crcs};

/// The checksum covers the object's bytes.
pub(super) const FULL_OBJECT: &str = "FULL_OBJECT";
/// The checksum covers the checksums of the parts.
pub(super) const COMPOSITE: &str = "COMPOSITE";

/// A checksum algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(super) fn named(name: &str) -> S3Result<Self> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))
    }

    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The scope of a multipart object's checksum where none is asked for (protocol.md 3).
    pub(super) fn default_scope(self) -> &'static str {
        if self == Self::Crc64Nvme { FULL_OBJECT } else { COMPOSITE }
    }

    pub(super) fn allows(self, scope: &str) -> bool {
        match self {
            Self::Crc64Nvme => scope == FULL_OBJECT,
            Self::Crc32 | Self::Crc32c => scope == FULL_OBJECT || scope == COMPOSITE,
            Self::Sha1 | Self::Sha256 => scope == COMPOSITE,
        }
    }

    /// A checksum of this algorithm over an object's or a part's own bytes.
    pub(super) fn of_bytes(self, value: String) -> Checksum {
        Checksum { algorithm: self.name().into(), value, scope: FULL_OBJECT.into() }
    }

    /// Reads bytes through.
    pub(super) async fn over(self, content: &Content, digests: &Digests) -> std::io::Result<Checksum> {
        use futures::StreamExt as _;
        let mut hasher = Hasher::new(self);
        if self != Self::Crc64Nvme {
            let mut stream = content.read(0..content.len());
            while let Some(piece) = stream.next().await {
                hasher.update(&piece?);
            }
        }
        Ok(self.of_bytes(hasher.finish(digests)))
    }
}

/// The checksum that a request carries, or promises in its trailer.
pub(super) struct Claim {
    pub(super) algorithm: Algorithm,
    /// The value; `None` where it follows in the trailer, or where the client only named the algorithm.
    value: Option<String>,
    in_trailer: bool,
}

impl Claim {
    /// What the headers of an upload say.
    pub(super) fn in_headers(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut given = Algorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, text(algorithm.header())?)));
        if let Some((algorithm, value)) = given.next() {
            if given.next().is_some() {
                return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."));
            }
            check_form(algorithm, value)?;
            return Ok(Some(Self { algorithm, value: Some(value.to_owned()), in_trailer: false }));
        }
        let trailers = text("x-amz-trailer").unwrap_or("");
        let promised = Algorithm::ALL.into_iter().find(|algorithm| trailers.split(',').any(|name| name.trim().eq_ignore_ascii_case(algorithm.header())));
        if let Some(algorithm) = promised {
            return Ok(Some(Self { algorithm, value: None, in_trailer: true }));
        }
        let named = text("x-amz-sdk-checksum-algorithm").or_else(|| text("x-amz-checksum-algorithm"));
        named.map(|name| Ok(Self { algorithm: Algorithm::named(name)?, value: None, in_trailer: false })).transpose()
    }

    /// Holds what was computed against what was claimed. `trailers` are those that followed the body.
    pub(super) fn verify(self, computed: &str, trailers: Option<&HeaderMap>) -> S3Result<()> {
        let trailing = || trailers.and_then(|trailers| trailers.get(self.algorithm.header())).and_then(|value| value.to_str().ok());
        let claimed = match &self.value {
            Some(value) => Some(value.as_str()),
            None if self.in_trailer => {
                let value = trailing().ok_or_else(|| s3_error!(InvalidRequest, "The trailer does not hold the promised checksum."))?.trim();
                check_form(self.algorithm, value)?;
                Some(value)
            }
            None => None,
        };
        match claimed {
            Some(claimed) if claimed != computed => {
                Err(s3_error!(BadDigest, "The {} you specified did not match the calculated checksum.", self.algorithm.name()))
            }
            _ => Ok(()),
        }
    }

    /// As [`Self::verify`], for a body that was not cut into chunks: there is no trailer.
    pub(super) fn verify_header(self, computed: &str) -> S3Result<()> {
        if self.in_trailer { Ok(()) } else { self.verify(computed, None) }
    }
}

fn check_form(algorithm: Algorithm, value: &str) -> S3Result<()> {
    match BASE64.decode(value) {
        Ok(bytes) if bytes.len() == algorithm.bytes() => Ok(()),
        _ => Err(s3_error!(InvalidRequest, "Value for {} header is invalid.", algorithm.header())),
    }
}

/// Computes one checksum while bytes pass.
pub(super) struct Hasher(State);

enum State {
    Crc32(Crc32),
    Sha1(Sha1),
    Sha256(Sha256),
    /// The store computes it anyway.
    Crc64Nvme,
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Crc32 => State::Crc32(Crc32::new(&CRC32)),
            Algorithm::Crc32c => State::Crc32(Crc32::new(&CRC32C)),
            Algorithm::Crc64Nvme => State::Crc64Nvme,
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
        })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32(crc) => crc.update(bytes),
            State::Sha1(sha) => sha.update(bytes),
            State::Sha256(sha) => sha.update(bytes),
            State::Crc64Nvme => {}
        }
    }

    /// The value in base64.
    pub(super) fn finish(self, digests: &Digests) -> String {
        match self.0 {
            State::Crc32(crc) => BASE64.encode((!crc.register).to_be_bytes()),
            State::Sha1(sha) => BASE64.encode(sha.finalize()),
            State::Sha256(sha) => BASE64.encode(sha.finalize()),
            State::Crc64Nvme => nvme(digests),
        }
    }
}

fn nvme(digests: &Digests) -> String {
    BASE64.encode(digests.crc64_nvme.to_be_bytes())
}

/// The checksum that S3 states of an object: the one asked for at upload, or CRC-64/NVME.
pub(super) fn of_object(object: &Object) -> Checksum {
    object.checksum.as_deref().cloned().unwrap_or_else(|| Algorithm::Crc64Nvme.of_bytes(nvme(&object.digests)))
}

/// The checksum of a multipart object, from those of its parts with their lengths. `None` where a part has none.
pub(super) fn of_parts(algorithm: Algorithm, scope: &str, parts: &[(Option<&Checksum>, u64)]) -> Option<Checksum> {
    let values: Vec<(Vec<u8>, u64)> =
        parts.iter().map(|(checksum, len)| Some((BASE64.decode(&checksum.as_ref()?.value).ok()?, *len))).collect::<Option<_>>()?;
    let value = if scope == COMPOSITE {
        let mut hasher = Hasher::new(algorithm);
        values.iter().for_each(|(value, _)| hasher.update(value));
        // A composite is never CRC-64/NVME, so the digests are not looked at.
        format!("{}-{}", hasher.finish(&Digests::of(&[])), values.len())
    } else {
        let table = if algorithm == Algorithm::Crc32 { &CRC32 } else { &CRC32C };
        let number = |value: &[u8]| value.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let whole = values.iter().fold(0, |whole, (value, len)| combine_crcs(32, table.polynomial.into(), whole, number(value), *len));
        BASE64.encode(&whole.to_be_bytes()[4..])
    };
    Some(Checksum { algorithm: algorithm.name().into(), value, scope: scope.to_owned() })
}

/// A table-driven CRC-32, eight tables wide: half a gigabyte a second and more, with nothing but arithmetic.
struct Crc32 {
    table: &'static CrcTable,
    register: u32,
}

struct CrcTable {
    polynomial: u32,
    tables: [[u32; 256]; 8],
}

static CRC32: CrcTable = CrcTable::new(0xEDB8_8320);
static CRC32C: CrcTable = CrcTable::new(0x82F6_3B78);

impl CrcTable {
    #[expect(clippy::cast_possible_truncation, reason = "an index below 256")]
    const fn new(polynomial: u32) -> Self {
        let mut tables = [[0; 256]; 8];
        let mut i = 0;
        while i < 256 {
            let (mut register, mut bit) = (i as u32, 0);
            while bit < 8 {
                register = if register & 1 == 1 { (register >> 1) ^ polynomial } else { register >> 1 };
                bit += 1;
            }
            tables[0][i] = register;
            i += 1;
        }
        let mut depth = 1;
        while depth < 8 {
            let mut i = 0;
            while i < 256 {
                let above: u32 = tables[depth - 1][i];
                tables[depth][i] = (above >> 8) ^ tables[0][(above & 255) as usize];
                i += 1;
            }
            depth += 1;
        }
        Self { polynomial, tables }
    }
}

impl Crc32 {
    fn new(table: &'static CrcTable) -> Self {
        Self { table, register: !0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        let tables = &self.table.tables;
        let (words, rest) = bytes.as_chunks::<8>();
        let mut register = self.register;
        for word in words {
            // Written out, for builds that do not optimise: iterators cost a tenfold there.
            let m = (u64::from_le_bytes(*word) ^ u64::from(register)).to_le_bytes();
            register = tables[7][m[0] as usize]
                ^ tables[6][m[1] as usize]
                ^ tables[5][m[2] as usize]
                ^ tables[4][m[3] as usize]
                ^ tables[3][m[4] as usize]
                ^ tables[2][m[5] as usize]
                ^ tables[1][m[6] as usize]
                ^ tables[0][m[7] as usize];
        }
        for byte in rest {
            register = (register >> 8) ^ tables[0][usize::from(register.to_le_bytes()[0] ^ byte)];
        }
        self.register = register;
    }
}

/// Sets the one field of an answer that belongs to a checksum's algorithm.
macro_rules! set_checksum {
    ($target:expr, $checksum:expr) => {{
        let checksum: &$crate::devserver::store::Checksum = $checksum;
        let value = Some(checksum.value.clone());
        match checksum.algorithm.as_str() {
            "CRC32" => $target.checksum_crc32 = value,
            "CRC32C" => $target.checksum_crc32c = value,
            "SHA1" => $target.checksum_sha1 = value,
            "SHA256" => $target.checksum_sha256 = value,
            _ => $target.checksum_crc64nvme = value,
        }
    }};
}

/// The checksums that a request's structure holds, with their algorithms.
macro_rules! given_checksums {
    ($source:expr) => {
        [
            ("CRC32", $source.checksum_crc32.as_deref()),
            ("CRC32C", $source.checksum_crc32c.as_deref()),
            ("CRC64NVME", $source.checksum_crc64nvme.as_deref()),
            ("SHA1", $source.checksum_sha1.as_deref()),
            ("SHA256", $source.checksum_sha256.as_deref()),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)))
    };
}

pub(super) use {given_checksums, set_checksum};

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        // Cut unevenly, to cross the eight-byte stride.
        bytes.chunks(13).for_each(|piece| hasher.update(piece));
        algorithm.of_bytes(hasher.finish(&Digests::of(bytes)))
    }

    #[test]
    fn the_published_check_values_hold() {
        let value = |algorithm| BASE64.decode(checksum(algorithm, b"123456789").value).expect("base64");
        assert_eq!(value(Algorithm::Crc32), 0xcbf4_3926u32.to_be_bytes());
        assert_eq!(value(Algorithm::Crc32c), 0xe306_9283u32.to_be_bytes());
        assert_eq!(value(Algorithm::Crc64Nvme), 0xae8b_1486_0a79_9888u64.to_be_bytes());
        assert_eq!(crate::devserver::store::hex(&value(Algorithm::Sha1)), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(value(Algorithm::Sha256).len(), 32);
    }

    #[test]
    fn parts_make_the_whole() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i % 251) as u8).collect();
        let (a, b) = bytes.split_at(333);
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c] {
            let (first, second) = (checksum(algorithm, a), checksum(algorithm, b));
            let parts = [(Some(&first), a.len() as u64), (Some(&second), b.len() as u64)];
            assert_eq!(of_parts(algorithm, FULL_OBJECT, &parts), Some(checksum(algorithm, &bytes)));
            let composite = of_parts(algorithm, COMPOSITE, &parts).expect("both parts have one");
            let joined = [BASE64.decode(&first.value).expect("base64"), BASE64.decode(&second.value).expect("base64")].concat();
            assert_eq!(composite.value, format!("{}-2", checksum(algorithm, &joined).value));
            assert_eq!(of_parts(algorithm, COMPOSITE, &[(None, 1)]), None);
        }
    }
}
