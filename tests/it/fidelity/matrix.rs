//! Every attribute on every road: carried, mapped, told as lost, or the object refused by name. Nothing else may happen to it.

use std::fmt::Write;

use dragon::storage::local::{LocalOptions, LocalStore};

use super::links::{ask_oss, link};
use super::*;

/// What an object has besides its bytes, as a reader sees it.
struct Seen {
    info: ObjectInfo,
    tags: BTreeMap<String, String>,
    acl: Option<Acl>,
}

/// How an object comes by its attribute.
enum Origin {
    /// It is written with it.
    Written(Box<Attributes>),
    /// The service says so in its answers.
    Header(&'static str, &'static str),
    /// An operation is refused so.
    Refused(&'static str, u16, &'static str),
    /// It is a link to another object.
    Link,
    /// It was appended to.
    Appended,
}

struct Row {
    name: &'static str,
    attribute: Attribute,
    /// Whether an object at S3, at OSS, can have it.
    at: [bool; 2],
    origin: Origin,
    /// What is to be the same of object and copy, in words that both clouds share.
    seen: fn(&Seen) -> String,
}

const BOTH: [bool; 2] = [true, true];
const AT_S3: [bool; 2] = [true, false];
const AT_OSS: [bool; 2] = [false, true];

fn written(name: &'static str, attribute: Attribute, at: [bool; 2], attributes: Attributes, seen: fn(&Seen) -> String) -> Row {
    Row { name, attribute, at, origin: Origin::Written(Box::new(attributes)), seen }
}

fn nothing(_: &Seen) -> String {
    "what no copy has".to_owned()
}

fn rows() -> Vec<Row> {
    let plain = Attributes::default;
    let headers = Attributes { user: BTreeMap::new(), storage_class: None, encryption: None, tags: None, ..everything("STANDARD") };
    let class = |seen: &Seen| match seen.info.attributes.storage_class.as_deref() {
        Some("STANDARD_IA" | "IA") => "infrequent".to_owned(),
        other => format!("{other:?}"),
    };
    let encryption = |seen: &Seen| match seen.info.attributes.encryption.as_ref().map(|held| held.algorithm.as_str()) {
        Some("aws:kms" | "KMS") => "a key service".to_owned(),
        other => format!("{other:?}"),
    };
    let modified = |seen: &Seen| match seen.info.attributes.user.get("dragon-source").and_then(|stamp| stamp.split_once("modified=")) {
        Some((_, modified)) => modified.split(' ').next().unwrap_or_default().to_owned(),
        None => seen.info.modified.expect("a time").to_string(),
    };
    vec![
        written("content headers", Attribute::Headers, BOTH, Attributes { expires: None, ..headers.clone() }, |seen| {
            let Attributes { content_type, cache_control, content_disposition, content_encoding, content_language, .. } = &seen.info.attributes;
            format!("{content_type:?} {cache_control:?} {content_disposition:?} {content_encoding:?} {content_language:?}")
        }),
        written("expires", Attribute::Headers, BOTH, Attributes { expires: headers.expires, ..plain() }, |seen| format!("{:?}", seen.info.attributes.expires)),
        written("user metadata", Attribute::Metadata, BOTH, Attributes { user: map(&[("colour", "中")]), ..plain() }, |seen| {
            format!("{:?}", seen.info.attributes.user.get("colour"))
        }),
        written("odd names", Attribute::Metadata, AT_S3, Attributes { user: map(&[("under_score", "x")]), ..plain() }, |seen| {
            format!("{:?}", seen.info.attributes.user.get("under_score"))
        }),
        written("3 KB metadata", Attribute::Metadata, AT_OSS, Attributes { user: map(&[("long", &"x".repeat(3000))]), ..plain() }, |seen| {
            format!("{:?}", seen.info.attributes.user.get("long"))
        }),
        written("tags", Attribute::Tags, BOTH, Attributes { tags: Some(map(&[("team", "a b")])), ..plain() }, |seen| format!("{:?}", seen.tags)),
        written("acl", Attribute::Acl, BOTH, Attributes { acl: Some("public-read".into()), ..plain() }, |seen| format!("{:?}", seen.acl)),
        written("class", Attribute::StorageClass, AT_S3, Attributes { storage_class: Some("STANDARD_IA".into()), ..plain() }, class),
        written("class of OSS", Attribute::StorageClass, AT_OSS, Attributes { storage_class: Some("IA".into()), ..plain() }, class),
        written(
            "encryption",
            Attribute::Encryption,
            AT_S3,
            Attributes { encryption: Some(Encryption { algorithm: "aws:kms".into(), key_id: None }), ..plain() },
            encryption,
        ),
        written(
            "encryption of OSS",
            Attribute::Encryption,
            AT_OSS,
            Attributes { encryption: Some(Encryption { algorithm: "KMS".into(), key_id: None }), ..plain() },
            encryption,
        ),
        written("last modified", Attribute::Stamp, BOTH, plain(), modified),
        Row { name: "SSE-C", attribute: Attribute::Encryption, at: AT_S3, origin: Origin::Refused("GetObject", 400, "InvalidRequest"), seen: nothing },
        Row {
            name: "redirect",
            attribute: Attribute::Redirect,
            at: AT_S3,
            origin: Origin::Header("x-amz-website-redirect-location", "/elsewhere"),
            seen: nothing,
        },
        Row { name: "retention", attribute: Attribute::Lock, at: AT_S3, origin: Origin::Header("x-amz-object-lock-mode", "GOVERNANCE"), seen: nothing },
        Row { name: "legal hold", attribute: Attribute::Lock, at: AT_S3, origin: Origin::Header("x-amz-object-lock-legal-hold", "ON"), seen: nothing },
        Row { name: "symlink", attribute: Attribute::Link, at: AT_OSS, origin: Origin::Link, seen: nothing },
        Row { name: "appendable", attribute: Attribute::Appendable, at: AT_OSS, origin: Origin::Appended, seen: nothing },
    ]
}

async fn look(store: &Arc<dyn Storage>, key: &str) -> Seen {
    let (info, object) = (head(store, key).await, ObjectRef::from(Key::from(key.to_owned())));
    match store.details() {
        Some(details) => Seen { info, tags: details.tags(&object).await.expect("tags"), acl: Some(details.acl(&object).await.expect("an ACL")) },
        None => Seen { info, tags: BTreeMap::new(), acl: None },
    }
}

/// Puts the object of a row where it comes from.
async fn place(clouds: &Clouds, store: &Arc<dyn Storage>, row: &Row, key: &str) {
    let said = |effect| Fault::new(effect).on(Cloud::S3).path(format!("/first/{key}")).always();
    match &row.origin {
        Origin::Written(attributes) => write(store, key, 200 << 10, Attributes::clone(attributes)).await,
        Origin::Header(name, value) => {
            write(store, key, 10, Attributes::default()).await;
            for operation in ["GetObject", "HeadObject"] {
                let effect = Effect::SetHeader(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
                clouds.server.inject(said(effect).operation(operation));
            }
        }
        Origin::Refused(operation, status, code) => {
            write(store, key, 10, Attributes::default()).await;
            // Neither way of reading works, and the service copies it no more than that.
            clouds.server.inject(said(Effect::answer(*status, code)).operation(operation));
            clouds.server.inject(said(Effect::answer(*status, code)).operation("HeadObject"));
        }
        Origin::Link => {
            write(store, "what-links-lead-to", 10, Attributes::default()).await;
            link(clouds, key, "what-links-lead-to").await;
        }
        Origin::Appended => ask_oss(&clouds.server, "POST", &format!("/middle/{key}?append&position=0"), None, "log").await,
    }
}

/// What becomes of a row's attribute on a road.
async fn outcome(clouds: &Clouds, row: &Row, key: &str, (source, destination): (&Arc<dyn Storage>, &Arc<dyn Storage>)) -> &'static str {
    let options =
        Options { filter: only(key), tags: true, acl: AclChoice::Keep, encryption: EncryptionChoice::Keep, follow_symlinks: true, ..Options::default() };
    let (report, errors) = clouds.sync_told(source, destination, options).await;
    if report.failed == 1 && errors[0].contains(key) {
        return "refused";
    }
    assert_eq!((report.copied, report.failed), (1, 0), "{key}: {errors:?}");
    let fates: Vec<Fate> = report.losses.iter().filter(|(_, attribute, ..)| *attribute == row.attribute).map(|(fate, ..)| fate).collect();
    if fates.contains(&Fate::Lost) {
        "lost"
    } else if fates.contains(&Fate::Mapped) {
        "mapped"
    } else if (row.seen)(&look(source, key).await) == (row.seen)(&look(destination, key).await) && !matches!(row.origin, Origin::Header(..)) {
        "carried"
    } else {
        "SILENTLY LOST"
    }
}

/// Attributes go with `--tags --acl keep --sse keep --follow-symlinks`. `refused` names the object and fails it.
#[rustfmt::skip]
const MATRIX: &str = "\
attribute          s3>oss  oss>s3  s3>s3   oss>oss s3>file oss>file
content headers    carried carried carried carried lost    lost
expires            carried carried carried carried lost    lost
user metadata      carried carried carried carried lost    lost
odd names          mapped  -       carried -       lost    -
3 KB metadata      -       refused -       carried -       lost
tags               carried carried carried carried lost    lost
acl                carried carried carried carried lost    lost
class              carried -       carried -       lost    -
class of OSS       -       carried -       carried -       lost
encryption         carried -       carried -       lost    -
encryption of OSS  -       carried -       carried -       lost
last modified      carried carried carried carried carried carried
SSE-C              refused -       refused -       refused -
redirect           lost    -       lost    -       lost    -
retention          lost    -       lost    -       lost    -
legal hold         lost    -       lost    -       lost    -
symlink            -       mapped  -       mapped  -       mapped
appendable         -       lost    -       lost    -       lost
";

#[tokio::test]
async fn every_attribute_is_carried_or_told_on_every_road() {
    let clouds = Clouds::new().await;
    let oss = alibaba(&clouds.server);
    oss.create_bucket("other").await.expect("a bucket");
    let other = oss.bucket("other").expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    let file: Arc<dyn Storage> = Arc::new(LocalStore::open(folder.path(), LocalOptions::default()).expect("a store"));
    let mut matrix = "attribute          s3>oss  oss>s3  s3>s3   oss>oss s3>file oss>file\n".to_owned();
    for (number, row) in rows().iter().enumerate() {
        let mut cells = ["-"; 6];
        for (at, source, destinations) in [(0, &clouds.first, [&clouds.middle, &clouds.last, &file]), (1, &clouds.middle, [&clouds.first, &other, &file])] {
            if !row.at[at] {
                continue;
            }
            let key = format!("from{at}-{number}");
            place(&clouds, source, row, &key).await;
            // Times are kept to the second: a copy made within it would have its own.
            if row.name == "last modified" {
                Clock::system().sleep(Duration::from_millis(1100)).await;
            }
            for (road, destination) in destinations.into_iter().enumerate() {
                cells[2 * road + at] = outcome(&clouds, row, &key, (source, destination)).await;
            }
        }
        writeln!(matrix, "{:18} {}", row.name, cells.iter().map(|cell| format!("{cell:8}")).collect::<String>().trim_end()).expect("written");
    }
    println!("{matrix}");
    assert!(!matrix.contains("SILENTLY"));
    assert_eq!(matrix, MATRIX);

    // What a file has, it gives back: its bytes and its time. All else was told on the way there.
    let number = rows().iter().position(|row| row.name == "last modified").expect("a row");
    let key = format!("from0-{number}");
    clouds.last.delete(Box::pin(futures::stream::iter([ObjectRef::from(Key::from(key.clone()))]))).collect::<Vec<_>>().await;
    assert_eq!(clouds.sync(&file, &clouds.last, Options { filter: only(&key), ..Options::default() }).await.copied, 1);
    let (first, back) = (head(&clouds.first, &key).await, head(&clouds.last, &key).await);
    let seconds = first.modified.expect("a time").as_second().to_string();
    assert_eq!((back.size, back.attributes.user["mtime"].split('.').next()), (first.size, Some(&*seconds)));
}

#[tokio::test]
async fn what_retention_holds_at_the_destination_fails_by_name_and_stays() {
    let clouds = Clouds::new().await;
    for store in [&clouds.first, &clouds.middle, &clouds.last] {
        write(store, "held", if Arc::ptr_eq(store, &clouds.first) { 20 } else { 10 }, Attributes::default()).await;
    }
    for (cloud, destination, status, code) in [(Cloud::Oss, &clouds.middle, 409, "FileImmutable"), (Cloud::S3, &clouds.last, 403, "AccessDenied")] {
        for operation in ["PutObject", "CopyObject"] {
            clouds.server.inject(Fault::new(Effect::answer(status, code)).on(cloud).operation(operation).always());
        }
        let (report, errors) = clouds.sync_told(&clouds.first, destination, Options::default()).await;
        assert_eq!((report.copied, report.failed), (0, 1), "{errors:?}");
        assert!(errors[0].contains("'held'") && errors[0].contains(code), "{errors:?}");
        assert_eq!(head(destination, "held").await.size, 10);
        clouds.server.clear_faults();
    }
}
