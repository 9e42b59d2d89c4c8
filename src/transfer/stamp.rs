//! What Dragon writes into a copy's metadata, so that a later run (on any machine, without a journal) knows the copy for what it is.
//!
//! `dragon-source` says which source object it was made from; `dragon-class` its storage class, where the copy's own does not say it; `dragon-crc64xz` and `dragon-crc64nvme` say what was known of its
//! bytes before the first was sent. Metadata that begins with `dragon-` is never compared and never copied onward.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::storage::checksum::{Agreement, Checksums};
use crate::storage::{ETag, ObjectInfo, mtime};

/// What the names of Dragon's own metadata begin with.
pub(crate) const PREFIX: &str = "dragon-";

/// The storage class that the source object has, such as `s3:ONEZONE_IA`.
pub(crate) const CLASS: &str = "dragon-class";

const SOURCE: &str = "dragon-source";
const CRC64XZ: &str = "dragon-crc64xz";
const CRC64NVME: &str = "dragon-crc64nvme";

/// From which source object a copy was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Entity tag of the source object.
    pub(crate) etag: ETag,
    /// Version id of the source object, where it has one.
    pub(crate) version: Option<String>,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Last modification of the source object.
    pub(crate) modified: Option<Timestamp>,
    /// What `dragon-class` says.
    pub(crate) class: Option<String>,
    /// CRC-64s known before the first byte was sent; the other fields are never set.
    pub(crate) checksums: Checksums,
}

impl Stamp {
    /// The stamp for a copy of this object.
    pub(crate) fn of(source: &ObjectInfo) -> Self {
        let checksums = Checksums { crc64xz: source.checksums.crc64xz, crc64nvme: source.checksums.crc64nvme, ..Checksums::default() };
        Self { etag: source.etag.clone(), version: source.version.clone(), size: source.size, modified: source.modified, class: None, checksums }
    }

    /// Writes the stamp into user metadata, over an older one. A source without an ETag cannot be known again and gets none.
    pub(crate) fn write(&self, user: &mut BTreeMap<String, String>) {
        user.retain(|name, _| !name.starts_with(PREFIX));
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if self.etag.is_empty() || !plain(self.etag.as_str()) {
            return;
        }
        let mut text = format!("etag={} size={}", self.etag, self.size);
        if let Some(version) = self.version.as_deref().filter(|v| plain(v)) {
            text += &format!(" version={version}");
        }
        if let Some(modified) = self.modified {
            text += &format!(" modified={modified}");
        }
        user.insert(SOURCE.to_owned(), text);
        if let Some(class) = &self.class {
            user.insert(CLASS.to_owned(), class.clone());
        }
        for (name, crc) in [(CRC64XZ, self.checksums.crc64xz), (CRC64NVME, self.checksums.crc64nvme)] {
            if let Some(crc) = crc {
                user.insert(name.to_owned(), format!("{crc:016x}"));
            }
        }
    }

    /// Reads a stamp. Metadata that is no stamp is `None`: anyone may have written it.
    pub(crate) fn read(user: &BTreeMap<String, String>) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for field in user.get(SOURCE)?.split(' ') {
            let (name, value) = field.split_once('=')?;
            fields.insert(name, value);
        }
        let crc = |name| user.get(name).and_then(|text: &String| u64::from_str_radix(text, 16).ok());
        Some(Self {
            // Quoted, as it came from a service: what is inside of quotes stays as it is.
            etag: ETag::new(&format!("\"{}\"", fields.get("etag")?)),
            version: fields.get("version").map(ToString::to_string),
            size: fields.get("size")?.parse().ok()?,
            modified: fields.get("modified").and_then(|text| text.parse().ok()),
            class: user.get(CLASS).cloned(),
            checksums: Checksums { crc64xz: crc(CRC64XZ), crc64nvme: crc(CRC64NVME), ..Checksums::default() },
        })
    }

    /// Whether it means an object of this size and ETag.
    pub(crate) fn means(&self, size: u64, etag: &str) -> bool {
        !etag.is_empty() && self.size == size && self.etag == ETag::new(etag)
    }
}

/// Everything that is known of an object's bytes: what the service states, an ETag that is an MD5, and the stamp's CRCs where the
/// service itself confirms one of them, which says that the bytes are still those that were stamped.
pub(crate) fn known_checksums(info: &ObjectInfo) -> Checksums {
    let mut known = info.checksums.clone();
    known.md5 = known.md5.or(info.etag_md5());
    if let Some(stamp) = Stamp::read(&info.attributes.user)
        && stamp.size == info.size
        && matches!(info.checksums.agreement(&stamp.checksums), Agreement::Equal(_))
    {
        known.merge(&stamp.checksums);
    }
    known
}

/// The modification time that user metadata holds.
pub(crate) fn mtime(user: &BTreeMap<String, String>) -> Option<Timestamp> {
    let (seconds, nanos) = mtime::parse(user.get(mtime::NAME)?.trim())?;
    mtime::timestamp(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::checksum::Crc64;

    fn source() -> ObjectInfo {
        ObjectInfo {
            size: 1,
            etag: ETag::new("\"900150983cd24fb0d6963f7d28e17f72\""),
            version: Some("v1".into()),
            modified: Some("2026-01-02T03:04:05Z".parse().expect("a time")),
            checksums: Crc64::of(b"x").checksums(),
            ..ObjectInfo::default()
        }
    }

    #[test]
    fn a_stamp_is_read_as_written_and_replaces_an_older_one() {
        let stamp = Stamp::of(&source());
        let mut user = BTreeMap::from([("dragon-source".to_owned(), "old".to_owned()), ("colour".to_owned(), "red".to_owned())]);
        stamp.write(&mut user);
        assert_eq!(user.get("colour").map(String::as_str), Some("red"));
        let read = Stamp::read(&user).expect("a stamp");
        assert_eq!(read, stamp);
        let odd = Stamp { etag: ETag::new("\"W/a\""), ..stamp.clone() };
        odd.write(&mut user);
        assert_eq!(Stamp::read(&user), Some(odd), "what looks like a weak tag within its quotes is none");
        assert!(read.means(1, "900150983CD24FB0D6963F7D28E17F72"));
        assert!(!read.means(2, "900150983CD24FB0D6963F7D28E17F72") && !read.means(1, "") && !Stamp::default().means(0, ""));
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        for text in ["", "etag", "etag=a", "size=1", "etag=a size=x"] {
            assert_eq!(Stamp::read(&BTreeMap::from([("dragon-source".to_owned(), text.to_owned())])), None, "{text}");
        }
        let mut user = BTreeMap::new();
        Stamp { etag: ETag::new("a b"), ..Stamp::default() }.write(&mut user);
        assert!(user.is_empty());
    }

    #[test]
    fn stamped_crcs_count_only_where_the_service_confirms_one() {
        let mut info = ObjectInfo { size: 1, ..ObjectInfo::default() };
        Stamp::of(&source()).write(&mut info.attributes.user);
        assert_eq!(known_checksums(&info), Checksums::default());
        info.checksums.crc64xz = Crc64::of(b"x").checksums().crc64xz;
        assert_eq!(known_checksums(&info), Crc64::of(b"x").checksums());
        info.checksums.crc64xz = Some(1);
        assert_eq!(known_checksums(&info).crc64nvme, None);
    }

    #[test]
    fn mtime_is_read_in_the_forms_people_write() {
        let read = |text: &str| mtime(&BTreeMap::from([("mtime".to_owned(), text.to_owned())])).map(|t| t.as_nanosecond());
        assert_eq!(read("1608551461.123456789"), Some(1_608_551_461_123_456_789));
        assert_eq!(read("1608551461"), Some(1_608_551_461_000_000_000));
        assert_eq!(read("1608551461.5"), Some(1_608_551_461_500_000_000));
        assert_eq!(read("-1.5"), Some(-1_500_000_000));
        assert_eq!(read("2020-01-01"), None);
        assert_eq!(read("1.x"), None);
    }
}
