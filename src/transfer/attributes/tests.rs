use super::*;
use crate::storage::memory::MemoryOptions;
use crate::storage::{ETag, Encryption};
use proptest::prelude::*;

fn rules(metadata: MetadataRule, bytes_max: usize) -> Capabilities {
    Capabilities { metadata, metadata_bytes_max: bytes_max, content_headers: metadata != MetadataRule::MtimeOnly, ..MemoryOptions::default().capabilities }
}

fn s3() -> Capabilities {
    rules(MetadataRule::HeaderToken, 2048)
}

fn oss() -> Capabilities {
    rules(MetadataRule::LettersDigitsHyphen, 8192)
}

fn object(user: &[(&str, &str)]) -> ObjectInfo {
    let user = user.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let attributes = Attributes {
        content_type: Some("text/plain".into()),
        expires: Some("never".into()),
        user,
        storage_class: Some("GLACIER".into()),
        encryption: Some(Encryption { algorithm: "aws:kms".into(), key_id: None }),
        ..Attributes::default()
    };
    let modified = Some("2026-01-01T00:00:00Z".parse().expect("a valid time"));
    ObjectInfo { size: 3, etag: ETag::new("abc"), modified, attributes, ..ObjectInfo::default() }
}

fn carry(source: &Capabilities, destination: &Capabilities, info: &ObjectInfo) -> Carried {
    Carrier { source, destination, options: &Options::default() }.carry(info, None).expect("within limits")
}

#[test]
fn headers_and_metadata_go_along_but_not_how_the_source_stores() {
    let carried = carry(&s3(), &oss(), &object(&[("my_key", "v"), ("dragon-source", "etag=x size=9"), ("dragon-x", "y")]));
    let to = &carried.attributes;
    assert_eq!((to.content_type.as_deref(), to.expires.as_deref()), (Some("text/plain"), Some("never")));
    assert_eq!((&to.storage_class, &to.encryption, &to.acl), (&None, &None, &None));
    assert_eq!(to.user.keys().collect::<Vec<_>>(), ["dragon-source", "my-x5f-key"]);
    assert_eq!(Stamp::read(&to.user), Some(Stamp::of(&object(&[]))));
    assert_eq!(carried.warnings, ["metadata names that the destination cannot hold were escaped: 'my_key' as 'my-x5f-key'"]);
    let back = carry(&oss(), &s3(), &ObjectInfo { attributes: carried.attributes, ..object(&[]) });
    assert!(back.attributes.user.contains_key("my_key") && back.warnings.is_empty());
}

#[test]
fn the_operator_says_how_it_is_stored_and_whether_it_is_stamped() {
    let options = Options { storage_class: Some("IA".into()), acl: Some("private".into()), stamp: false, ..Options::default() };
    let carried = Carrier { source: &s3(), destination: &oss(), options: &options }.carry(&object(&[]), None).expect("within limits");
    assert_eq!((carried.attributes.storage_class.as_deref(), carried.attributes.acl.as_deref()), (Some("IA"), Some("private")));
    assert!(carried.attributes.user.is_empty());
}

#[test]
fn checksums_known_before_the_first_byte_are_left() {
    let crc = Crc64::of(b"abc");
    let carried = Carrier { source: &s3(), destination: &oss(), options: &Options::default() }.carry(&object(&[]), Some(&crc)).expect("within limits");
    assert_eq!(Stamp::read(&carried.attributes.user).map(|s| s.checksums), Some(crc.checksums()));
}

#[test]
fn our_own_metadata_gives_way_first_and_then_the_object_is_refused() {
    let fits = |bytes: usize| object(&[("k", &"v".repeat(bytes - 1))]);
    let crc = Crc64::of(b"abc");
    let carrier = |info: &ObjectInfo| Carrier { source: &oss(), destination: &s3(), options: &Options::default() }.carry(info, Some(&crc));
    let carried = carrier(&fits(1960)).expect("the source still fits");
    assert!(carried.attributes.user.contains_key("dragon-source"));
    assert_eq!(carried.warnings, ["there was no room left in the metadata for its checksums"]);
    let carried = carrier(&fits(2048)).expect("without any stamp");
    assert_eq!(carried.attributes.user.len(), 1);
    let error = carrier(&fits(2049)).expect_err("too much");
    assert!(error.to_string().starts_with("its metadata has 2049 bytes, and the destination takes at most 2048"), "{error}");
}

#[test]
fn a_file_gets_its_time_and_nothing_else() {
    let local = rules(MetadataRule::MtimeOnly, 100);
    let carried = carry(&s3(), &local, &object(&[("mtime", "17.5"), ("colour", "red")]));
    assert_eq!(carried.attributes, Attributes { user: BTreeMap::from([("mtime".into(), "17.5".into())]), ..Attributes::default() });
    assert_eq!(carried.warnings, ["metadata that the destination cannot hold was left behind: colour"]);
    let carried = carry(&s3(), &local, &object(&[]));
    assert_eq!(carried.attributes.user["mtime"], "1767225600");
    assert!(carried.warnings.is_empty());
}

#[test]
fn times_are_written_as_rclone_writes_them() {
    for (text, nanoseconds) in [("0", 0), ("1.5", 1_500_000_000), ("-1.000000001", -1_000_000_001)] {
        assert_eq!(mtime::of(Timestamp::from_nanosecond(nanoseconds).expect("in range")), text);
    }
}

proptest! {
    #[test]
    fn a_time_comes_back(nanoseconds in -10_000_000_000_000_000_000i128..=i128::from(u64::MAX)) {
        let time = Timestamp::from_nanosecond(nanoseconds).expect("in range");
        prop_assert_eq!(stamp::mtime(&BTreeMap::from([("mtime".into(), mtime::of(time))])), Some(time));
    }
}
