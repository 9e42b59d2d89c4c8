//! What proves a copy: which of the source's statements is checked and how, and what the destination states of what it stored.
//!
//! Both CRC-64s are computed over every byte anyway (17 ms a GiB each). Where the source states neither, the cheapest thing it does
//! state is recomputed over the bytes in order: CRC-32, SHA, MD5, or a digest over the digests of the parts it was written in.
//! Invariant: two values that differ are always an error that names both; nothing here turns a difference into a weaker proof.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::lanes::{self, Md5};
use super::task::Proof;
use crate::error::{Error, Result};
use crate::storage::checksum::{Agreement, Algorithm, Checksums, Crc64};
use crate::storage::{ETag, ObjectInfo};

/// How much is hashed before other tasks get their turn, in bytes: half a millisecond of MD5.
const HASH_SLICE_BYTES: usize = 256 << 10;

/// What the source states that is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Witness {
    /// One of the CRC-64s.
    Crc64(Checksums),
    /// Another digest of the whole.
    Whole(Algorithm, Vec<u8>),
    /// A digest over the digests of so many parts.
    Composite(Algorithm, Vec<u8>, u32),
    /// Nothing that can be computed.
    None,
}

impl Witness {
    /// Chooses the cheapest of what is stated. MD5 (1.6 s a GiB, less in company) is the last, and left out where `md5` is false.
    pub(crate) fn of(info: &ObjectInfo, md5: bool) -> Self {
        let stated = &info.checksums;
        if stated.crc64xz.is_some() || stated.crc64nvme.is_some() {
            return Self::Crc64(stated.clone());
        }
        if let Some(crc) = stated.crc32c {
            return Self::Whole(Algorithm::Crc32c, crc.to_be_bytes().into());
        }
        if let Some(crc) = stated.crc32 {
            return Self::Whole(Algorithm::Crc32, crc.to_be_bytes().into());
        }
        if let Some(sha) = stated.sha256 {
            return Self::Whole(Algorithm::Sha256, sha.into());
        }
        if let Some(sha) = stated.sha1 {
            return Self::Whole(Algorithm::Sha1, sha.into());
        }
        let composite = stated.composite.as_ref().filter(|c| Hash::new(c.algorithm).is_some() && (md5 || c.algorithm != Algorithm::Md5));
        if let Some(composite) = composite {
            return Self::Composite(composite.algorithm, composite.digest.clone(), composite.parts);
        }
        let whole = stated.md5.or_else(|| info.etag_md5()).filter(|_| md5);
        let parts = info.etag.multipart().filter(|_| md5 && info.attributes.encryption.as_ref().is_none_or(|e| e.keeps_md5_etag()));
        match (whole, parts) {
            (Some(digest), _) => Self::Whole(Algorithm::Md5, digest.into()),
            (None, Some((digest, parts))) => Self::Composite(Algorithm::Md5, digest.into(), parts),
            (None, None) => Self::None,
        }
    }

    /// What it proves, where it holds.
    pub(crate) fn kind(&self) -> Proof {
        match self {
            Self::Crc64(stated) => stated.crc64xz.map_or(Proof::Crc64Nvme, |_| Proof::Crc64Xz),
            Self::Whole(algorithm, _) => (*algorithm).into(),
            Self::Composite(..) => Proof::Composite,
            Self::None => Proof::None,
        }
    }

    /// What must see the bytes in order besides the CRC-64s; `cuts` are the lengths of the source's parts.
    pub(crate) fn digester(&self, cuts: &Arc<[u64]>) -> Option<Digester> {
        match self {
            Self::Whole(algorithm, _) => Some(Digester { algorithm: *algorithm, hash: Hash::new(*algorithm)?, cuts: None }),
            Self::Composite(algorithm, ..) => Some(Digester {
                algorithm: *algorithm,
                hash: Hash::new(*algorithm)?,
                cuts: Some(Cuts { lengths: cuts.clone(), index: 0, taken: 0, digests: Vec::new() }),
            }),
            Self::Crc64(_) | Self::None => None,
        }
    }

    /// Judges the bytes that were read. Fails with [`ErrorKind::Integrity`](crate::error::ErrorKind::Integrity) where they are not the source's.
    pub(crate) fn judge(&self, crc: &Crc64, digest: Option<Digester>) -> Result<Proof> {
        let (algorithm, expected, proof) = match self {
            Self::None => return Ok(Proof::None),
            Self::Crc64(stated) => return judge(stated, crc, "read", "the source").map(|proof| proof.unwrap_or_default()),
            Self::Whole(algorithm, expected) => (algorithm, expected, Proof::from(*algorithm)),
            Self::Composite(algorithm, expected, _) => (algorithm, expected, Proof::Composite),
        };
        let Some(actual) = digest.map(Digester::finish) else { return Ok(Proof::None) };
        if actual == *expected {
            return Ok(proof);
        }
        let over = if proof == Proof::Composite { " over its parts" } else { "" };
        Err(Error::integrity(format!("the bytes read have {algorithm}{over} {}, and the source states {}", hex::encode(&actual), hex::encode(expected))))
    }
}

/// Compares CRCs with what a store states: the proof, or `None` where it states nothing comparable.
/// `done` is what was done with the bytes, `who` is the store, for the error.
pub(crate) fn judge(stated: &Checksums, ours: &Crc64, done: &str, who: &str) -> Result<Option<Proof>> {
    let ours = ours.checksums();
    match ours.agreement(stated) {
        Agreement::Equal(algorithm) => Ok(Some(algorithm.into())),
        Agreement::Unknown => Ok(None),
        Agreement::Different(algorithm) => {
            let shown = |c: &Checksums| match algorithm {
                Algorithm::Crc64Nvme => c.crc64nvme,
                _ => c.crc64xz,
            };
            let shown = |c| shown(c).map(|v| format!("{v:016x}")).unwrap_or_default();
            Err(Error::integrity(format!("the bytes {done} have {algorithm} {}, and {who} states {}", shown(&ours), shown(stated))))
        }
    }
}

/// Compares an MD5 with an ETag that is one.
pub(crate) fn judge_md5(etag: &ETag, ours: &[u8; 16]) -> Result<Proof> {
    match etag.md5() {
        Some(stated) if stated != *ours => {
            Err(Error::integrity(format!("the bytes sent have md5 {}, and the destination states the ETag {etag}", hex::encode(ours))))
        }
        Some(_) => Ok(Proof::Md5),
        None => Ok(Proof::None),
    }
}

/// MD5 of pieces.
pub(crate) async fn md5_of(chunks: &[Bytes]) -> [u8; 16] {
    lanes::update(Md5::new(), chunks).await.finish()
}

/// Hashes an object's bytes in order. Cheap to clone, so that a part can be taken back.
#[derive(Debug, Clone)]
pub(crate) struct Digester {
    algorithm: Algorithm,
    hash: Hash,
    cuts: Option<Cuts>,
}

/// Where the source's parts end, and the digests of those that did.
#[derive(Debug, Clone)]
struct Cuts {
    lengths: Arc<[u64]>,
    index: usize,
    taken: u64,
    digests: Vec<u8>,
}

impl Digester {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        let Some(cuts) = &mut self.cuts else { return self.hash.update(bytes) };
        while !bytes.is_empty() {
            let Some(&length) = cuts.lengths.get(cuts.index) else { return self.hash.update(bytes) };
            let left = length - cuts.taken;
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            self.hash.update(&bytes[..taken]);
            bytes = &bytes[taken..];
            cuts.taken += taken as u64;
            if cuts.taken == length {
                cuts.digests.extend(self.hash.restart(self.algorithm));
                (cuts.index, cuts.taken) = (cuts.index + 1, 0);
            }
        }
    }

    /// Takes pieces, yielding to other tasks now and then.
    pub(crate) async fn absorb(&mut self, chunks: &[Bytes]) {
        if let Hash::Md5(state) = self.hash {
            return self.absorb_md5(state, chunks).await;
        }
        for slice in chunks.iter().flat_map(|chunk| chunk.chunks(HASH_SLICE_BYTES)) {
            self.update(slice);
            tokio::task::yield_now().await;
        }
    }

    /// MD5 is hashed together with other streams, up to where a part of the source ends.
    async fn absorb_md5(&mut self, mut state: Md5, chunks: &[Bytes]) {
        let mut rest: VecDeque<Bytes> = chunks.iter().filter(|chunk| !chunk.is_empty()).cloned().collect();
        while !rest.is_empty() {
            let left = self.cuts.as_ref().and_then(|cuts| Some(cuts.lengths.get(cuts.index)? - cuts.taken)).unwrap_or(u64::MAX);
            let (mut together, mut taken) = (Vec::new(), 0);
            while taken < left
                && let Some(chunk) = rest.front_mut()
            {
                let piece = chunk.split_to(usize::try_from(left - taken).unwrap_or(usize::MAX).min(chunk.len()));
                if chunk.is_empty() {
                    rest.pop_front();
                }
                taken += piece.len() as u64;
                together.push(piece);
            }
            state = lanes::update(state, &together).await;
            self.hash = Hash::Md5(state);
            if let Some(cuts) = &mut self.cuts {
                cuts.taken += taken;
                if taken == left {
                    cuts.digests.extend(self.hash.restart(self.algorithm));
                    (cuts.index, cuts.taken) = (cuts.index + 1, 0);
                    state = Md5::new();
                }
            }
        }
    }

    /// The digest, or the digest over the parts' digests.
    fn finish(mut self) -> Vec<u8> {
        if let Some(cuts) = self.cuts.take() {
            self.hash.restart(self.algorithm);
            self.hash.update(&cuts.digests);
        }
        self.hash.finish()
    }
}

#[derive(Debug, Clone)]
enum Hash {
    Crc32(crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
    Md5(Md5),
}

impl Hash {
    fn new(algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Crc32c => Self::Crc32(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc32 => Self::Crc32(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Crc64Xz | Algorithm::Crc64Nvme => return None,
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hash) => hash.update(bytes),
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Md5(hash) => hash.update(bytes),
        }
    }

    /// The digest as the services write it: CRCs big-endian.
    fn finish(self) -> Vec<u8> {
        match self {
            // A 32-bit CRC stands in the low half.
            Self::Crc32(hash) => hash.finalize().to_be_bytes()[4..].into(),
            Self::Sha1(hash) => hash.finalize().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Md5(hash) => hash.finish().into(),
        }
    }

    /// The digest so far, and back to the empty run.
    fn restart(&mut self, algorithm: Algorithm) -> Vec<u8> {
        let fresh = Self::new(algorithm).unwrap_or_else(|| self.clone());
        std::mem::replace(self, fresh).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::Encryption;
    use crate::storage::checksum::Composite;
    use proptest::prelude::*;

    fn info(checksums: Checksums, etag: &str) -> ObjectInfo {
        ObjectInfo { checksums, etag: ETag::new(etag), ..ObjectInfo::default() }
    }

    fn no_cuts() -> Arc<[u64]> {
        Arc::new([])
    }

    fn judged(witness: &Witness, bytes: &[u8], cuts: &Arc<[u64]>) -> Result<Proof> {
        let mut digester = witness.digester(cuts);
        for piece in bytes.chunks(2) {
            digester.iter_mut().for_each(|d| d.update(piece));
        }
        witness.judge(&Crc64::of(bytes), digester)
    }

    /// Check values of protocol.md section 3 and of the RFCs.
    #[test]
    fn whole_digests_prove_and_disprove() {
        let bytes = b"123456789";
        let md5 = "25f9e794323b453885f5181f1b624d0b";
        let stated = [
            (Checksums { crc32c: Some(0xe306_9283), ..Checksums::default() }, Proof::Crc32c),
            (Checksums { crc32: Some(0xcbf4_3926), ..Checksums::default() }, Proof::Crc32),
            (Checksums { sha1: Some(Sha1::digest(bytes).into()), ..Checksums::default() }, Proof::Sha1),
            (Checksums { sha256: Some(Sha256::digest(bytes).into()), ..Checksums::default() }, Proof::Sha256),
            (Checksums { crc64nvme: Some(0xae8b_1486_0a79_9888), ..Checksums::default() }, Proof::Crc64Nvme),
            (Checksums::default(), Proof::Md5),
        ];
        for (checksums, proof) in stated {
            let witness = Witness::of(&info(checksums, md5), true);
            assert_eq!(judged(&witness, bytes, &no_cuts()).expect("the right bytes"), proof);
            let error = judged(&witness, b"123456788", &no_cuts()).expect_err("the wrong bytes");
            assert_eq!(error.kind(), ErrorKind::Integrity);
            assert!(error.to_string().contains(&format!("have {proof} ")), "{error}");
        }
    }

    #[test]
    fn an_etag_proves_only_where_it_is_an_md5() {
        let md5 = "25f9e794323b453885f5181f1b624d0b";
        assert_eq!(Witness::of(&info(Checksums::default(), md5), false), Witness::None);
        let mut kms = info(Checksums::default(), md5);
        kms.attributes.encryption = Some(Encryption { algorithm: "aws:kms".into(), key_id: None });
        assert_eq!(Witness::of(&kms, true), Witness::None);
        kms.etag = ETag::new(&format!("{md5}-2"));
        assert_eq!(Witness::of(&kms, true), Witness::None);
        assert_eq!(judged(&Witness::None, b"x", &no_cuts()).expect("nothing to hold against"), Proof::None);
    }

    #[tokio::test]
    async fn md5_of_pieces_is_md5_of_the_whole() {
        let md5 = md5_of(&[Bytes::from_static(b"12345"), Bytes::from_static(b"6789")]).await;
        assert_eq!(judge_md5(&ETag::new("25F9E794323B453885F5181F1B624D0B"), &md5).expect("equal"), Proof::Md5);
        assert!(judge_md5(&ETag::new("25F9E794323B453885F5181F1B624D0C"), &md5).is_err());
        assert_eq!(judge_md5(&ETag::new("opaque"), &md5).expect("nothing to compare"), Proof::None);
    }

    proptest! {
        #[test]
        fn composites_are_recomputed_on_the_sources_parts(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..6),
            algorithm in prop_oneof![Just(Algorithm::Md5), Just(Algorithm::Sha256), Just(Algorithm::Crc32c), Just(Algorithm::Crc32), Just(Algorithm::Sha1)],
        ) {
            let digest = |bytes: &[u8]| {
                let mut hash = Hash::new(algorithm).expect("a digest");
                hash.update(bytes);
                hash.finish()
            };
            let expected = digest(&parts.iter().flat_map(|p| digest(p)).collect::<Vec<u8>>());
            let cuts: Arc<[u64]> = parts.iter().map(|p| p.len() as u64).collect();
            let count = u32::try_from(parts.len()).expect("few");
            let composite = Composite { algorithm, digest: expected, parts: count };
            let witness = Witness::of(&info(Checksums { composite: Some(composite), ..Checksums::default() }, "x"), true);
            let mut bytes = parts.concat();
            prop_assert_eq!(judged(&witness, &bytes, &cuts).expect("the right bytes"), Proof::Composite);
            let mut digester = witness.digester(&cuts);
            let pieces: Vec<Bytes> = bytes.chunks(7).map(Bytes::copy_from_slice).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async { digester.as_mut().expect("a composite").absorb(&pieces).await });
            prop_assert_eq!(witness.judge(&Crc64::of(&bytes), digester).expect("the right bytes"), Proof::Composite);
            bytes[0] ^= 1;
            prop_assert!(judged(&witness, &bytes, &cuts).is_err());
        }
    }
}
