//! One proved key as the few bytes of its row.
//!
//! ```text
//! flags u16 | proofs 2 x 4 bits | class, class | size | ETag, ETag | CRC-64/XZ | CRC-64/NVME | version, version
//!           | when | modified, modified | run
//! ```
//! Whatever has no bit in the flags is left out. Numbers are varints (LEB128), CRCs eight bytes, an MD5 its sixteen, and an ETag that
//! both ends share is stored once. The ends stand in the pair's own order, so that a run the other way reads the same row.

use jiff::Timestamp;

use crate::journal::{End, Proved};
use crate::storage::ETag;
use crate::storage::checksum::Proof;

/// The copy was made from the pair's second end to its first.
const TURNED: u16 = 1;
const SUSPECT: u16 = 1 << 1;
const XZ: u16 = 1 << 2;
const NVME: u16 = 1 << 3;
/// Bits of the two ends.
const VERSION: [u16; 2] = [1 << 4, 1 << 5];
const MODIFIED: [u16; 2] = [1 << 6, 1 << 7];
/// The modification has a fraction of a second.
const FRACTION: [u16; 2] = [1 << 8, 1 << 9];
const KNOWN: u16 = (1 << 10) - 1;

/// Proofs by their code. Codes are on disk: append only.
const PROOFS: [Proof; 10] =
    [Proof::None, Proof::Size, Proof::Crc32, Proof::Crc32c, Proof::Crc64Nvme, Proof::Crc64Xz, Proof::Composite, Proof::Md5, Proof::Sha1, Proof::Sha256];

/// Storage classes by their code, as both clouds write them. Codes are on disk: append only, and never up to [`CLASS_TEXT`].
const CLASSES: [&str; 18] = [
    "",
    "STANDARD",
    "Standard",
    "STANDARD_IA",
    "IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "GLACIER_IR",
    "DEEP_ARCHIVE",
    "Archive",
    "ColdArchive",
    "DeepColdArchive",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
    "OUTPOSTS",
    "SNOW",
    "FSX_OPENZFS",
];
/// The class follows as text.
const CLASS_TEXT: u8 = 255;

/// How an ETag is written.
mod etag_form {
    pub(super) const EMPTY: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    /// An MD5, with bits for its case and for a part count behind it.
    pub(super) const DIGEST: u8 = 0x10;
    pub(super) const UPPER: u8 = 1;
    pub(super) const MULTIPART: u8 = 2;
    /// The first end's digest and part count, with a bit for its case here.
    pub(super) const SAME_DIGEST: u8 = 0x20;
    /// The first end's text.
    pub(super) const SAME_TEXT: u8 = 0x22;
}

/// The code of a proof on disk.
pub(super) fn proof_code(proof: Proof) -> u8 {
    PROOFS.iter().position(|known| *known == proof).map_or(0, |code| u8::try_from(code).unwrap_or(0))
}

/// The proof of that code.
pub(super) fn proof_of(code: u8) -> Option<Proof> {
    PROOFS.get(usize::from(code)).copied()
}

/// Writes a row, for a run whose source is the pair's second end where `turned`.
pub(super) fn encode(proved: &Proved, turned: bool) -> Vec<u8> {
    let mut ends = [&proved.source, &proved.destination];
    if turned {
        ends.swap(0, 1);
    }
    let mut flags = 0;
    let mut set = |bit, on| flags |= if on { bit } else { 0 };
    set(TURNED, turned != proved.reversed);
    set(SUSPECT, proved.suspect);
    set(XZ, proved.crc64xz.is_some());
    set(NVME, proved.crc64nvme.is_some());
    for (i, end) in ends.iter().enumerate() {
        set(VERSION[i], end.version.is_some());
        set(MODIFIED[i], end.modified.is_some());
        set(FRACTION[i], end.modified.is_some_and(|at| at.subsec_nanosecond() != 0));
    }
    let mut out = Vec::with_capacity(96);
    out.extend_from_slice(&u16::to_le_bytes(flags));
    out.push(proof_code(proved.source_proof) << 4 | proof_code(proved.destination_proof));
    for end in ends {
        put_class(&mut out, &end.storage_class);
    }
    put_varint(&mut out, proved.size);
    let digests = ends.map(|end| Digest::of(end.etag.as_str()));
    put_etag(&mut out, &ends[0].etag, digests[0], None);
    put_etag(&mut out, &ends[1].etag, digests[1], Some((&ends[0].etag, digests[0])));
    for crc in [proved.crc64xz, proved.crc64nvme].into_iter().flatten() {
        out.extend_from_slice(&crc.to_le_bytes());
    }
    for version in ends.iter().filter_map(|end| end.version.as_ref()) {
        put_text(&mut out, version);
    }
    let when = proved.when.as_second();
    put_varint(&mut out, zigzag(when));
    for modified in ends.iter().filter_map(|end| end.modified) {
        // Most objects are copied soon after they were made: a difference is shorter than a date.
        put_varint(&mut out, zigzag(when - modified.as_second()));
        match modified.subsec_nanosecond() {
            0 => {}
            fraction => put_varint(&mut out, zigzag(fraction.into())),
        }
    }
    put_varint(&mut out, proved.run.into());
    out
}

/// Reads a row for a run whose source is the pair's second end where `turned`; `None` where it is no such row.
pub(super) fn decode(row: &[u8], turned: bool) -> Option<Proved> {
    let mut row = Row(row);
    let flags = u16::from_le_bytes(row.array()?);
    if flags & !KNOWN != 0 {
        return None;
    }
    let has = |bit: u16| flags & bit != 0;
    let proofs = row.byte()?;
    let mut ends = [End::default(), End::default()];
    for end in &mut ends {
        end.storage_class = row.class()?;
    }
    let size = row.varint()?;
    ends[0].etag = row.etag(None)?;
    ends[1].etag = row.etag(Some(&ends[0].etag))?;
    let crc64xz = if has(XZ) { Some(u64::from_le_bytes(row.array()?)) } else { None };
    let crc64nvme = if has(NVME) { Some(u64::from_le_bytes(row.array()?)) } else { None };
    for (i, end) in ends.iter_mut().enumerate() {
        end.version = if has(VERSION[i]) { Some(row.text()?.to_owned()) } else { None };
    }
    let when = unzigzag(row.varint()?);
    for (i, end) in ends.iter_mut().enumerate() {
        if has(MODIFIED[i]) {
            let seconds = when.checked_sub(unzigzag(row.varint()?))?;
            let fraction = if has(FRACTION[i]) { i32::try_from(unzigzag(row.varint()?)).ok()? } else { 0 };
            end.modified = Some(Timestamp::new(seconds, fraction).ok()?);
        }
    }
    let run = u32::try_from(row.varint()?).ok()?;
    if !row.0.is_empty() {
        return None;
    }
    if turned {
        ends.swap(0, 1);
    }
    let [source, destination] = ends;
    Some(Proved {
        size,
        source,
        destination,
        reversed: has(TURNED) != turned,
        crc64xz,
        crc64nvme,
        source_proof: proof_of(proofs >> 4)?,
        destination_proof: proof_of(proofs & 0xf)?,
        suspect: has(SUSPECT),
        when: Timestamp::from_second(when).ok()?,
        run,
    })
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Small numbers of either sign become small numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_class(out: &mut Vec<u8>, class: &str) {
    match CLASSES.iter().position(|known| *known == class).and_then(|code| u8::try_from(code).ok()) {
        Some(code) => out.push(code),
        None => {
            out.push(CLASS_TEXT);
            put_text(out, class);
        }
    }
}

fn put_etag(out: &mut Vec<u8>, etag: &ETag, digest: Option<Digest>, first: Option<(&ETag, Option<Digest>)>) {
    let text = etag.as_str();
    if text.is_empty() {
        out.push(etag_form::EMPTY);
        return;
    }
    let as_first = first.filter(|(first, _)| *first == etag);
    match (digest, as_first) {
        (Some(digest), Some((_, Some(_)))) => out.push(etag_form::SAME_DIGEST | u8::from(digest.upper)),
        (None, Some((first, _))) if first.as_str() == text => out.push(etag_form::SAME_TEXT),
        (Some(digest), _) => {
            let multipart = if digest.parts.is_some() { etag_form::MULTIPART } else { 0 };
            out.push(etag_form::DIGEST | multipart | u8::from(digest.upper));
            out.extend_from_slice(&digest.md5);
            if let Some(parts) = digest.parts {
                put_varint(out, parts.into());
            }
        }
        (None, _) => {
            out.push(etag_form::TEXT);
            put_text(out, text);
        }
    }
}

/// An ETag that is an MD5, or that of a multipart object: written back it is the same text.
#[derive(Debug, Clone, Copy)]
struct Digest {
    md5: [u8; 16],
    parts: Option<u32>,
    upper: bool,
}

impl Digest {
    fn of(text: &str) -> Option<Self> {
        let (hex, rest) = text.as_bytes().split_at_checked(32)?;
        let (mut md5, mut upper, mut lower) = ([0; 16], false, false);
        for (byte, pair) in md5.iter_mut().zip(hex.chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16)?;
                upper |= digit.is_ascii_uppercase();
                lower |= digit.is_ascii_lowercase();
                *byte = *byte << 4 | u8::try_from(value).ok()?;
            }
        }
        let parts = match rest.split_first() {
            None => None,
            Some((b'-', [b'1'..=b'9', ..])) if rest.len() <= 11 => Some(text[33..].parse().ok()?),
            Some(_) => return None,
        };
        (!(upper && lower)).then_some(Self { md5, parts, upper })
    }

    fn etag(self) -> ETag {
        let digits: &[u8; 16] = if self.upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        let mut text = String::with_capacity(40);
        for byte in self.md5 {
            text.push(char::from(digits[usize::from(byte >> 4)]));
            text.push(char::from(digits[usize::from(byte & 0xf)]));
        }
        if let Some(parts) = self.parts {
            text.push('-');
            text.push_str(&parts.to_string());
        }
        verbatim(&text)
    }
}

/// The ETag whose value is this text: [`ETag::new`] would take a `W/` or blanks within the quotes off once more.
pub(super) fn verbatim(text: &str) -> ETag {
    ETag::new(&format!("\"{text}\""))
}

/// What is left to read of a row.
struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn class(&mut self) -> Option<String> {
        match self.byte()? {
            CLASS_TEXT => self.text().map(str::to_owned),
            code => CLASSES.get(usize::from(code)).map(|class| (*class).to_owned()),
        }
    }

    fn etag(&mut self, first: Option<&ETag>) -> Option<ETag> {
        let form = self.byte()?;
        let upper = form & etag_form::UPPER != 0;
        match form {
            etag_form::EMPTY => Some(ETag::default()),
            etag_form::TEXT => self.text().map(verbatim),
            etag_form::SAME_TEXT => first.cloned(),
            form if form & !etag_form::UPPER == etag_form::SAME_DIGEST => Digest::of(first?.as_str()).map(|digest| Digest { upper, ..digest }.etag()),
            form if form & !(etag_form::UPPER | etag_form::MULTIPART) == etag_form::DIGEST => {
                let md5 = self.array()?;
                let parts = if form & etag_form::MULTIPART != 0 { Some(u32::try_from(self.varint()?).ok()?) } else { None };
                Some(Digest { md5, parts, upper }.etag())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::option;
    use proptest::prelude::*;

    fn etag() -> impl Strategy<Value = ETag> {
        prop_oneof![
            "[0-9a-f]{32}(-[1-9][0-9]{0,3})?",
            "[0-9A-F]{32}(-[1-9][0-9]{0,9})?",
            "[0-9a-fA-F]{32}",
            "[0-9a-f]{32}-0{0,2}[0-9]{0,12}",
            ".{0,40}",
            "W/W/[ \"]{0,4}x?[ \"]{0,4}",
            Just("900150983cd24fb0d6963f7d28e17f72".to_owned()),
            Just("900150983CD24FB0D6963F7D28E17F72".to_owned()),
        ]
        .prop_map(|text| ETag::new(&text))
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        let edge = prop_oneof![Just(Timestamp::MIN), Just(Timestamp::MAX), Just(Timestamp::UNIX_EPOCH)];
        let any = (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second()).prop_map(|s| Timestamp::from_second(s).expect("in range"));
        let fine = (-1_i64 << 40..1 << 51).prop_map(|us| Timestamp::from_microsecond(us).expect("in range"));
        prop_oneof![edge, any, fine]
    }

    fn end() -> impl Strategy<Value = End> {
        let class = prop_oneof![proptest::sample::select(&CLASSES[..]).prop_map(str::to_owned), ".{0,20}"];
        (etag(), option::of(".{0,50}"), option::of(time()), class).prop_map(|(etag, version, modified, storage_class)| End {
            etag,
            version,
            modified,
            storage_class,
        })
    }

    pub(in crate::journal) fn proved() -> impl Strategy<Value = Proved> {
        let proof = || proptest::sample::select(&PROOFS[..]);
        let seen = (end(), end(), time(), any::<u64>(), 1..=u32::MAX);
        let bytes = (option::of(any::<u64>()), option::of(any::<u64>()), proof(), proof(), any::<bool>(), any::<bool>());
        (seen, bytes).prop_map(|((source, destination, when, size, run), (crc64xz, crc64nvme, source_proof, destination_proof, reversed, suspect))| Proved {
            size,
            source,
            destination,
            reversed,
            crc64xz,
            crc64nvme,
            source_proof,
            destination_proof,
            suspect,
            when: Timestamp::from_second(when.as_second()).unwrap_or(Timestamp::MAX),
            run,
        })
    }

    /// As a run the other way sees it.
    pub(in crate::journal) fn turned(proved: Proved) -> Proved {
        Proved { source: proved.destination, destination: proved.source, reversed: !proved.reversed, ..proved }
    }

    /// ETags are equal in either case; what is stored keeps the case.
    fn texts(proved: &Proved) -> [String; 2] {
        [&proved.source, &proved.destination].map(|end| end.etag.as_str().to_owned())
    }

    proptest! {
        #[test]
        fn a_row_is_read_as_it_was_written_from_either_end(proved in proved(), way in any::<bool>()) {
            let row = encode(&proved, way);
            let same = decode(&row, way).expect("a row");
            prop_assert_eq!(texts(&same), texts(&proved));
            prop_assert_eq!(&same, &proved);
            prop_assert_eq!(decode(&row, !way), Some(turned(proved)));
        }

        #[test]
        fn damaged_rows_are_refused_or_read_but_never_a_panic(proved in proved(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut row = encode(&proved, false);
            prop_assert!(decode(&row[..at.index(row.len())], false).is_none(), "a row cut short");
            row[at.index(encode(&proved, false).len())] = byte;
            let _ = decode(&row, false);
            row.push(byte);
            row.push(0);
            prop_assert!(decode(&row, false).is_none_or(|read| read != proved), "a row with more behind it");
        }

        #[test]
        fn any_bytes_are_refused_or_read_but_never_a_panic(row in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&row, true);
        }
    }

    #[test]
    fn an_everyday_row_takes_fifty_bytes() {
        let end = |etag: &str, class: &str, modified| End { etag: ETag::new(etag), version: None, modified, storage_class: class.into() };
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let proved = Proved {
            size: 2_345_678,
            source: end("900150983cd24fb0d6963f7d28e17f72", "STANDARD", Some(at("2026-03-01T00:00:00Z"))),
            destination: end("900150983CD24FB0D6963F7D28E17F72", "Standard", None),
            reversed: false,
            crc64xz: Some(u64::MAX / 3),
            crc64nvme: Some(u64::MAX / 5),
            source_proof: Proof::Crc64Nvme,
            destination_proof: Proof::Crc64Xz,
            suspect: false,
            when: at("2026-04-01T00:00:00Z"),
            run: 300,
        };
        let len = encode(&proved, false).len();
        assert!(len <= 56, "{len} bytes");
    }
}
