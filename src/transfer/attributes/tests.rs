use super::*;
use crate::storage::memory::MemoryOptions;
use crate::storage::{ETag, Encryption};
use crate::transfer::job::AclChoice;
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
        encryption: Some(Encryption { algorithm: "aws:kms".into(), key_id: None }),
        ..Attributes::default()
    };
    let modified = Some("2026-01-01T00:00:00Z".parse().expect("a valid time"));
    ObjectInfo { size: 3, etag: ETag::new("abc"), modified, attributes, ..ObjectInfo::default() }
}

fn told(carried: &Carried) -> Vec<String> {
    carried.changes.iter().map(|change| format!("{} {change}", change.attribute)).collect()
}

fn carry(source: &Capabilities, destination: &Capabilities, info: &ObjectInfo) -> Carried {
    Carrier { source, destination, options: &Options::default() }.carry(info, None).expect("within limits")
}

#[test]
fn headers_and_metadata_go_along() {
    let carried = carry(&s3(), &oss(), &object(&[("my_key", "v"), ("dragon-source", "etag=x size=9"), ("dragon-x", "y")]));
    let to = &carried.attributes;
    assert_eq!((to.content_type.as_deref(), to.expires.as_deref()), (Some("text/plain"), Some("never")));
    assert_eq!((&to.storage_class, &to.encryption, &to.acl), (&None, &None, &None));
    assert_eq!(to.user.keys().collect::<Vec<_>>(), ["dragon-source", "my-x5f-key"]);
    assert_eq!(Stamp::read(&to.user), Some(Stamp::of(&object(&[]))));
    let encryption = "encryption it is encrypted by a key service; the copy is encrypted as its bucket says (--sse keep asks for the same)";
    assert_eq!(told(&carried), [encryption, "metadata names that the destination cannot hold are escaped: 'my_key' as 'my-x5f-key'"]);
    let back = carry(&oss(), &s3(), &ObjectInfo { attributes: carried.attributes, ..object(&[]) });
    assert!(back.attributes.user.contains_key("my_key") && back.changes.is_empty(), "{:?}", told(&back));
}

#[test]
fn the_operator_says_how_it_is_stored_and_whether_it_is_stamped() {
    let options = Options { storage_class: ClassChoice::Named("IA".into()), acl: AclChoice::Named("private".into()), stamp: false, ..Options::default() };
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
    assert_eq!(told(&carried)[1..], ["stamp there is no room left in the metadata for its checksums"]);
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
    assert_eq!(told(&carried)[1..], ["metadata a file has no metadata: colour", "headers a file has no content headers"]);
    let carried = carry(&s3(), &local, &object(&[]));
    assert_eq!(carried.attributes.user["mtime"], "1767225600");
}

#[test]
fn times_are_written_as_rclone_writes_them() {
    for (text, nanoseconds) in [("0", 0), ("1.5", 1_500_000_000), ("-1.000000001", -1_000_000_001)] {
        assert_eq!(mtime::of(Timestamp::from_nanosecond(nanoseconds).expect("in range")), text);
    }
}

fn service(service: Service) -> Capabilities {
    Capabilities { service, ..if service == Service::S3 { s3() } else { oss() } }
}

fn of_class(class: &str, size: u64, user: &BTreeMap<String, String>) -> ObjectInfo {
    let storage_class = Some(class.to_owned()).filter(|class| !class.is_empty());
    ObjectInfo { size, etag: ETag::new("abc"), attributes: Attributes { storage_class, user: user.clone(), ..Attributes::default() }, ..ObjectInfo::default() }
}

#[test]
fn every_class_comes_back_from_the_other_cloud_as_it_was() {
    let (here, there) = (service(Service::S3), service(Service::Oss));
    for class in &crate::storage::class::CLASSES {
        let (from, to) = if class.service == Service::S3 { (&here, &there) } else { (&there, &here) };
        for size in [0, 1000, 100 << 10, 1 << 30] {
            let away = carry(from, to, &of_class(class.word, size, &BTreeMap::new()));
            let held = away.attributes.storage_class.clone().unwrap_or_default();
            let back = carry(to, from, &of_class(&held, size, &away.attributes.user));
            let meant = if class.is_standard() { None } else { Some(class.word) };
            assert_eq!(back.attributes.storage_class.as_deref(), meant, "{} of {size} bytes by way of '{held}'", class.word);
            // A detour within the other cloud forgets nothing.
            let detour = carry(to, to, &of_class(&held, size, &away.attributes.user));
            assert_eq!(detour.attributes.storage_class.unwrap_or_default(), held, "{}", class.word);
            let back = carry(to, from, &of_class(&held, size, &detour.attributes.user));
            assert_eq!(back.attributes.storage_class.as_deref(), meant, "{} of {size} bytes by way of two buckets", class.word);
            assert!(!away.changes.iter().any(|change| change.fate == crate::transfer::loss::Fate::Lost), "{:?}", told(&away));
        }
    }
}

#[test]
fn what_was_moved_at_the_other_cloud_is_not_brought_up_again() {
    let (here, there) = (service(Service::S3), service(Service::Oss));
    let away = carry(&here, &there, &of_class("ONEZONE_IA", 1 << 20, &BTreeMap::new()));
    assert_eq!(away.attributes.storage_class.as_deref(), Some("IA"));
    let back = carry(&there, &here, &of_class("ColdArchive", 1 << 20, &away.attributes.user));
    assert_eq!(back.attributes.storage_class.as_deref(), Some("GLACIER"));
}

#[test]
fn small_objects_stay_where_they_cost_less() {
    let carried = carry(&service(Service::S3), &service(Service::Oss), &of_class("GLACIER", (64 << 10) - 1, &BTreeMap::new()));
    assert_eq!((carried.attributes.storage_class.as_deref(), carried.attributes.user[stamp::CLASS].as_str()), (None, "s3:GLACIER"));
    assert_eq!(told(&carried), ["storage class so small that a colder class would cost more: it stays in the bucket's default class"]);
    let within = carry(&service(Service::S3), &service(Service::S3), &of_class("GLACIER", 1, &BTreeMap::new()));
    assert_eq!(within.attributes.storage_class.as_deref(), Some("GLACIER"), "its owner has put it there");
}

#[test]
fn encryption_is_kept_in_the_other_clouds_words() {
    let (here, there) = (service(Service::S3), service(Service::Oss));
    let options = Options { encryption: EncryptionChoice::Keep, ..Options::default() };
    let keep = |source: &Capabilities, destination: &Capabilities, algorithm: &str, key_id: Option<&str>| {
        let mut info = of_class("", 1, &BTreeMap::new());
        info.attributes.encryption = Some(Encryption { algorithm: algorithm.into(), key_id: key_id.map(str::to_owned) });
        let carried = Carrier { source, destination, options: &options }.carry(&info, None).expect("within limits");
        let encryption = carried.attributes.encryption.clone().map(|encryption| (encryption.algorithm, encryption.key_id));
        (encryption, carried.changes.len())
    };
    let plain = |algorithm: &str| Some((algorithm.to_owned(), None));
    assert_eq!(keep(&here, &there, "AES256", None), (plain("AES256"), 0));
    assert_eq!(keep(&here, &there, "aws:kms", None), (plain("KMS"), 0));
    assert_eq!(keep(&here, &there, "aws:kms", Some("key")), (plain("KMS"), 1), "the key is lost, and told");
    assert_eq!(keep(&there, &here, "KMS", None), (plain("aws:kms"), 0));
    assert_eq!(keep(&there, &here, "SM4", None), (plain("AES256"), 0));
    assert_eq!(keep(&here, &here, "aws:kms", Some("key")), (Some(("aws:kms".into(), Some("key".into()))), 0));
    assert_eq!(keep(&here, &there, "rot13", None), (None, 1));
}

#[test]
fn acls_are_kept_where_both_have_them() {
    let (here, there) = (service(Service::S3), service(Service::Oss));
    let keep = |source: &Capabilities, destination: &Capabilities, acl: Acl| {
        let mut carried = Carried::default();
        Carrier { source, destination, options: &Options::default() }.carry_acl(&acl, &mut carried);
        (carried.attributes.acl, carried.changes.len())
    };
    let canned = |word: &str| Acl::Canned(word.to_owned());
    assert_eq!(keep(&here, &there, canned("private")), (Some("private".into()), 0), "its bucket may be public");
    assert_eq!(keep(&there, &here, canned("private")), (None, 0), "S3's objects are private");
    assert_eq!(keep(&there, &here, canned("public-read")), (Some("public-read".into()), 0));
    assert_eq!(keep(&there, &here, Acl::Bucket), (None, 0));
    assert_eq!(keep(&here, &there, canned("authenticated-read")), (None, 1));
    assert_eq!(keep(&here, &here, canned("authenticated-read")), (Some("authenticated-read".into()), 0));
    assert_eq!(keep(&here, &there, Acl::Grants), (None, 1));
}

#[test]
fn what_holds_neither_tags_nor_acls_is_told_of() {
    for (destination, expires) in [(Service::Local, true), (Service::ObjectStore, false), (Service::S3, true)] {
        let (options, source) = (Options::default(), oss());
        let destination = Capabilities { service: destination, ..s3() };
        let carrier = Carrier { source: &source, destination: &destination, options: &options };
        let attributes = Attributes { expires: Some("never".into()), ..Attributes::default() };
        let mut carried = carrier.carry(&ObjectInfo { attributes, ..ObjectInfo::default() }, None).expect("carried");
        assert_eq!(carried.attributes.expires.is_some(), expires);
        carrier.carry_tags(BTreeMap::from([("team".to_owned(), "a".to_owned())]), &mut carried);
        carrier.carry_acl(&Acl::Canned("public-read".into()), &mut carried);
        let lost: Vec<_> = carried.changes.iter().map(|change| change.attribute).collect();
        let held = (carried.attributes.tags.is_some(), carried.attributes.acl.is_some());
        match destination.service {
            Service::S3 => assert_eq!((lost, held), (vec![], (true, true))),
            Service::Local => assert_eq!((lost, held), (vec![Attribute::Tags, Attribute::Acl], (false, false))),
            _ => assert_eq!((lost, held), (vec![Attribute::Headers, Attribute::Tags, Attribute::Acl], (false, false))),
        }
    }
}

#[test]
fn what_no_copy_has_is_told() {
    let info =
        ObjectInfo { tags: Some(2), lock: Some("GOVERNANCE".into()), redirect: Some("/x".into()), kind: Kind::Appendable, ..of_class("", 1, &BTreeMap::new()) };
    let carried = carry(&service(Service::S3), &service(Service::Oss), &info);
    let lost: Vec<_> = carried.changes.iter().map(|change| change.attribute).collect();
    assert_eq!(lost, [Attribute::Tags, Attribute::Lock, Attribute::Redirect, Attribute::Appendable]);
}

proptest! {
    #[test]
    fn a_time_comes_back(nanoseconds in -10_000_000_000_000_000_000i128..=i128::from(u64::MAX)) {
        let time = Timestamp::from_nanosecond(nanoseconds).expect("in range");
        prop_assert_eq!(stamp::mtime(&BTreeMap::from([("mtime".into(), mtime::of(time))])), Some(time));
    }
}
