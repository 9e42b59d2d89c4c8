//! Tests of the store as its dialects use it.

use futures::StreamExt as _;

use super::*;
use crate::clock::Clock;
use bytes::Bytes;

fn in_memory() -> Store {
    let store = Store::in_memory(Clock::system());
    store.create_bucket("b", BTreeMap::new()).expect("a new bucket");
    store
}

async fn written(store: &Store, bytes: &[u8]) -> (Content, Digests) {
    let mut writer = store.writer();
    for piece in bytes.chunks(700_000) {
        writer.write(piece).await.expect("space");
    }
    writer.finish().await.expect("space")
}

fn many_bytes() -> Vec<u8> {
    (0..3_000_000u32).map(|i| (i % 251) as u8).collect()
}

fn part(store: &Store, (content, digests): (Content, Digests)) -> Part {
    Part { content, digests, last_modified: store.now(), checksum: None }
}

#[tokio::test]
async fn a_refused_write_leaves_everything_as_it_was() {
    let store = in_memory();
    let first = store.put_bytes("b", "k", Bytes::from_static(b"one")).await.expect("put");
    let refused = store.write("b", "k", |current| if current.is_some() { Err(Refusal::BucketExists) } else { Ok(Object::clone(&first)) });
    assert!(matches!(refused, Err(Refusal::BucketExists)));
    assert_eq!(store.object("b", "k").expect("still there").etag, first.etag);
    assert_eq!(first.etag, "f97c5d29941bfb1b2fdab0874906ab82");
    assert!(matches!(store.delete_bucket("b"), Err(Refusal::BucketNotEmpty)));
    assert!(matches!(store.remove("b", "k", |_| Err(Refusal::NoSuchKey)), Err(Refusal::NoSuchKey)));
    assert_eq!(store.usage("b").expect("a bucket"), (1, 3));
}

#[tokio::test]
async fn any_range_of_any_content_is_read_exactly() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let on_disk = Store::open(dir.path(), Clock::system()).expect("an empty folder");
    let bytes = many_bytes();
    for store in [&in_memory(), &on_disk] {
        let (content, digests) = written(store, &bytes).await;
        assert_eq!(digests, Digests::of(&bytes));
        // Joined and cut again, so that ranges cross extents that begin within a file.
        let joined = Content::concat([&content.slice(10..2_000_000), &content.slice(2_000_000..bytes.len() as u64)]);
        for (start, end) in [(0, 0), (0, 1), (1_048_000, 1_049_000), (1_999_980, 2_000_010), (0, joined.len())] {
            let pieces: Vec<Bytes> = joined.read(start..end).map(|piece| piece.expect("readable")).collect().await;
            assert_eq!(pieces.concat(), bytes[10 + start as usize..10 + end as usize], "{start}..{end}");
        }
        assert_eq!(joined.digests().await.expect("readable"), Digests::of(&bytes[10..]));
    }
}

#[tokio::test]
async fn an_open_download_outlives_its_object_and_its_file_goes_then() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let store = Store::open(dir.path(), Clock::system()).expect("an empty folder");
    store.create_bucket("b", BTreeMap::new()).expect("a new bucket");
    let files = || std::fs::read_dir(dir.path().join("blobs")).expect("the blobs").count();
    let bytes = many_bytes();
    let (content, digests) = written(&store, &bytes).await;
    store.write("b", "k", |_| Ok::<_, Refusal>(store.normal_object(content, digests, Attributes::default()))).expect("put");
    let mut download = store.object("b", "k").expect("there").content.read(0..bytes.len() as u64);
    let first = download.next().await.expect("a piece").expect("readable");
    store.remove("b", "k", |_| Ok::<_, Refusal>(())).expect("there");
    let rest: Vec<Bytes> = download.map(|piece| piece.expect("still readable")).collect().await;
    assert_eq!([first.to_vec(), rest.concat()].concat(), bytes);
    assert_eq!(files(), 0);
    drop(written(&store, &bytes).await);
    let mut broken_off = store.writer();
    broken_off.write(&bytes).await.expect("space");
    drop(broken_off);
    assert_eq!(files(), 0, "what was never put leaves nothing");
}

#[tokio::test]
async fn a_directory_comes_back_as_it_was_left() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let bytes = many_bytes();
    let upload_id = {
        let store = Store::open(dir.path(), Clock::system()).expect("an empty folder");
        store.create_bucket("b", BTreeMap::from([("acl".to_owned(), "private".to_owned())])).expect("a new bucket");
        for key in ["a//b", "a/../b", "/x", "gone", "中"] {
            store.put_bytes("b", key, Bytes::copy_from_slice(key.as_bytes())).await.expect("put");
        }
        store.remove("b", "gone", |_| Ok::<_, Refusal>(())).expect("there");
        let completed = store.create_upload("b", "big", Attributes::default(), None).expect("a bucket");
        for number in [1, 2] {
            store.put_part("b", "big", &completed, number, part(&store, written(&store, &bytes).await)).expect("an upload");
        }
        let join = |_: Option<&Arc<Object>>, upload: &Upload| {
            let parts = upload.parts.values();
            let content = Content::concat(parts.clone().map(|part| &part.content));
            let digests = parts.fold(Digests::of(&[]), |whole, part| whole.followed_by(part.digests, part.content.len()));
            Ok::<_, Refusal>(Object { kind: Kind::Multipart, ..store.normal_object(content, digests, Attributes::default()) })
        };
        store.complete("b", "big", &completed, join).expect("an upload");
        let open = store.create_upload("b", "half", Attributes::default(), None).expect("a bucket");
        store.put_part("b", "half", &open, 7, part(&store, written(&store, b"seven").await)).expect("an upload");
        open
    };
    // A kill leaves a torn line and a blob that no line names.
    std::fs::write(dir.path().join("blobs/orphan"), b"x").expect("writable");
    let mut log = std::fs::OpenOptions::new().append(true).open(dir.path().join("index.jsonl")).expect("the log");
    std::io::Write::write_all(&mut log, b"{\"Object\":{\"bucket\":\"b\",\"key\":\"torn").expect("writable");

    let store = Store::open(dir.path(), Clock::system()).expect("what was left");
    let keys: Vec<String> =
        store.list("b", &ListQuery { limit: 10, ..ListQuery::default() }).expect("there").entries.iter().map(|e| e.name().to_owned()).collect();
    assert_eq!(keys, ["/x", "a/../b", "a//b", "big", "中"]);
    let big = store.object("b", "big").expect("there");
    assert_eq!(big.content.read_all().await.expect("readable"), [bytes.clone(), bytes].concat());
    assert_eq!((big.kind.clone(), big.digests.crc64_xz), (Kind::Multipart, big.content.digests().await.expect("readable").crc64_xz));
    let half = store.upload("b", "half", &upload_id).expect("still open");
    assert_eq!(half.parts[&7].content.read_all().await.expect("readable"), "seven");
    assert_eq!(store.bucket("b").expect("there").properties["acl"], "private");
    assert!(!dir.path().join("blobs/orphan").exists());
    store.abort_upload("b", "half", &upload_id).expect("open");
    drop(half);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs")).expect("the blobs").count(), 6);
}

#[tokio::test]
async fn uploads_are_listed_by_key_then_initiation() {
    let store = in_memory();
    let ids: Vec<String> = ["b", "a", "a"].iter().map(|key| store.create_upload("b", key, Attributes::default(), None).expect("a bucket")).collect();
    let listed = |after| store.uploads("b", "", after, 10).expect("a bucket").iter().map(|upload| upload.key.clone()).collect::<Vec<_>>();
    assert_eq!(listed(("", "")), ["a", "a", "b"]);
    assert_eq!(listed(("a", "")), ["b"]);
    let first = store.uploads("b", "a", ("", ""), 1).expect("a bucket")[0].id.clone();
    assert_eq!(listed(("a", &first)), ["a", "b"]);
    assert!(ids.contains(&first));
}

mod versions;
