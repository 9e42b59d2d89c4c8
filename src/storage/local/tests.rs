use std::os::unix::fs::{PermissionsExt, symlink};

use futures::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::storage::{ETag, Kind, conformance};

fn store() -> (tempfile::TempDir, LocalStore) {
    store_with(LocalOptions::default())
}

fn store_with(options: LocalOptions) -> (tempfile::TempDir, LocalStore) {
    // In memory where there is such a place: flushing a thousand small files to a disk takes seconds.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let store = LocalStore::open(folder.path(), options).expect("opened");
    (folder, store)
}

async fn put(store: &LocalStore, key: &str, body: &'static str) -> Result<PutOutput> {
    store.put(&key.into(), body.into(), Put::default()).await
}

async fn listed(store: &LocalStore) -> Vec<(String, Kind)> {
    let pages: Vec<Page> = store.list(List::default()).try_collect().await.expect("listed");
    pages.iter().flat_map(|page| page.iter().map(|e| (Key::from(e.key).to_string(), e.kind))).collect()
}

async fn keys(store: &LocalStore) -> Vec<String> {
    listed(store).await.into_iter().map(|(key, _)| key).collect()
}

async fn read(store: &LocalStore, key: &str) -> Result<Vec<u8>> {
    let body = store.get(&Key::from(key).into(), Get::default()).await?.body;
    body.try_fold(Vec::new(), |all, chunk| async move { Ok([&all[..], &chunk].concat()) }).await
}

#[tokio::test]
async fn it_holds_the_contract() {
    let (folder, store) = store();
    conformance::suite(Arc::new(store), &Key::from("scratch/")).await.expect("conforms");
    let left = std::fs::read_dir(folder.path().join("scratch")).into_iter().flatten();
    let left: Vec<_> = left.filter_map(|case| std::fs::read_dir(case.ok()?.path()).ok()?.next()).collect();
    assert!(left.is_empty(), "the suite leaves no file behind: {left:?}");
}

#[tokio::test]
async fn a_missing_root_is_made_only_when_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("a/b");
    let e = LocalStore::open(&root, LocalOptions::default()).expect_err("missing");
    assert_eq!(e.kind(), ErrorKind::BucketNotFound);
    LocalStore::open(&root, LocalOptions { create_root: true, ..LocalOptions::default() }).expect("made");
    std::fs::write(root.join("f"), "x").expect("written");
    assert_eq!(LocalStore::open(root.join("f"), LocalOptions::default()).expect_err("a file").kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_file_and_a_directory_of_one_name_are_not_both_held() {
    let (_folder, store) = store();
    put(&store, "a", "file").await.expect("put");
    let e = put(&store, "a/b", "beneath").await.expect_err("refused");
    assert_eq!((e.kind(), e.key()), (ErrorKind::Invalid, Some("a/b")));
    put(&store, "d/e", "file").await.expect("put");
    let e = put(&store, "d", "above").await.expect_err("refused");
    assert_eq!((e.kind(), e.key()), (ErrorKind::Invalid, Some("d")));
    assert_eq!(keys(&store).await, ["a", "d/e"]);
}

#[tokio::test]
async fn writes_never_follow_a_link_out() {
    let (folder, store) = store();
    let outside = tempfile::tempdir().expect("a folder");
    symlink(outside.path(), folder.path().join("out")).expect("linked");
    std::fs::write(outside.path().join("victim"), "untouched").expect("written");
    symlink(outside.path().join("victim"), folder.path().join("link")).expect("linked");
    for refused in
        [put(&store, "out/x", "x").await.map(drop), store.multipart().expect("multipart").create(&"out/y".into(), &Attributes::default()).await.map(drop)]
    {
        let e = refused.expect_err("refused");
        assert_eq!(e.kind(), ErrorKind::Invalid);
        assert!(e.to_string().contains("symbolic link"), "{e}");
    }
    let deleted: Vec<_> = store.delete(stream::iter([Key::from("out/victim").into()]).boxed()).collect().await;
    assert!(deleted[0].1.is_ok(), "nothing of that key is in the tree");
    put(&store, "link", "replaced").await.expect("put");
    assert_eq!(std::fs::read_to_string(outside.path().join("victim")).expect("read"), "untouched");
    assert_eq!(std::fs::read_dir(outside.path()).expect("read").count(), 1);
    assert_eq!(read(&store, "link").await.expect("read"), b"replaced");
}

#[tokio::test]
async fn what_is_no_file_is_listed_as_what_it_is() {
    let (folder, store) = store();
    put(&store, "a/file", "x").await.expect("put");
    symlink("file", folder.path().join("a/link")).expect("linked");
    symlink("nowhere", folder.path().join("dangling")).expect("linked");
    symlink("..", folder.path().join("a/loop")).expect("linked");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("bound");
    let kind = |key: &str, kind| (key.to_owned(), kind);
    let plain = [("a/file", Kind::Object), ("a/link", Kind::Symlink), ("a/loop", Kind::Symlink), ("dangling", Kind::Symlink), ("socket", Kind::Special)];
    assert_eq!(listed(&store).await, plain.map(|(k, v)| kind(k, v)));
    assert_eq!(store.head(&Key::from("a/link").into()).await.expect("head").kind, Kind::Symlink);
    assert_eq!(read(&store, "a/link").await.expect_err("not followed").kind(), ErrorKind::Unsupported);
    assert_eq!(read(&store, "socket").await.expect_err("no file").kind(), ErrorKind::Unsupported);
    let following = LocalStore::open(folder.path(), LocalOptions { follow_symlinks: true, ..LocalOptions::default() }).expect("opened");
    let followed = [("a/file", Kind::Object), ("a/link", Kind::Object), ("a/loop", Kind::Symlink), ("dangling", Kind::Symlink), ("socket", Kind::Special)];
    assert_eq!(listed(&following).await, followed.map(|(k, v)| kind(k, v)));
    assert_eq!(read(&following, "a/link").await.expect("followed"), b"x");
}

#[tokio::test]
async fn an_unreadable_directory_is_told_and_hides_nothing_else() {
    let (folder, store) = store();
    for key in ["a/x", "b/secret/y", "c"] {
        put(&store, key, "x").await.expect("put");
    }
    let secret = folder.path().join("b/secret");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).expect("closed");
    if std::fs::read_dir(&secret).is_ok() {
        eprintln!("left out: root reads everything");
        return;
    }
    let expected = [("a/x", Kind::Object), ("b/secret/", Kind::Unreadable), ("c", Kind::Object)];
    assert_eq!(listed(&store).await, expected.map(|(k, v)| (k.to_owned(), v)));
    let within = store.list(List::under("b/secret/deep".into())).next().await.expect("an item");
    assert_eq!(within.expect_err("all there is, is unknown").kind(), ErrorKind::Denied);
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o755)).expect("opened");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_noticed() {
    let (folder, store) = store();
    let path = folder.path().join("f");
    std::fs::write(&path, vec![1; 2 << 20]).expect("written");
    let object = ObjectRef::from(Key::from("f"));
    for change in [vec![2; 2 << 20], vec![2; 10]] {
        std::fs::write(&path, vec![1; 2 << 20]).expect("written");
        let output = store.get(&object, Get::default()).await.expect("opened");
        std::fs::write(&path, change).expect("written");
        let read: Result<Vec<Bytes>> = output.body.try_collect().await;
        assert_eq!(read.expect_err("noticed").kind(), ErrorKind::Changed);
    }
}

#[tokio::test]
async fn a_modification_time_travels() {
    let (folder, store) = store();
    let attributes = Attributes { user: [("mtime".to_owned(), "1700000000.25".to_owned())].into(), ..Attributes::default() };
    store.put(&"f".into(), "x".into(), Put { attributes: attributes.clone(), ..Put::default() }).await.expect("put");
    let modified = std::fs::metadata(folder.path().join("f")).expect("there").modified().expect("a time");
    assert_eq!(modified, std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250));
    assert_eq!(store.head(&Key::from("f").into()).await.expect("head").attributes, attributes);
}

#[tokio::test]
async fn temporary_files_are_hidden_and_swept_when_stale() {
    let (folder, store) = store();
    let temporary = folder.path().join(".f.dragon-0123456789abcdef.partial");
    std::fs::write(&temporary, "half").expect("written");
    assert_eq!(keys(&store).await, Vec::<String>::new());
    assert!(temporary.exists(), "a write may be going on");
    let old = std::fs::File::options().write(true).open(&temporary).expect("opened");
    old.set_modified(std::time::UNIX_EPOCH).expect("set");
    assert_eq!(keys(&store).await, Vec::<String>::new());
    assert!(!temporary.exists(), "left behind by a crash");
}

#[tokio::test]
async fn dragons_own_state_is_not_part_of_a_tree() {
    let (folder, store) = store();
    std::fs::create_dir_all(folder.path().join("state/pairs/0")).expect("a folder");
    std::fs::write(folder.path().join("state/pairs/0/journal.db"), "open").expect("written");
    std::fs::write(folder.path().join("state/other"), "x").expect("written");
    assert_eq!(keys(&store).await, ["state/other", "state/pairs/0/journal.db"]);
    std::fs::write(folder.path().join("state/pairs").join(crate::storage::OWN_MARK), "").expect("written");
    assert_eq!(keys(&store).await, ["state/other"]);
}

#[tokio::test]
async fn a_dropped_write_leaves_nothing() {
    let (folder, store) = store();
    let endless = Payload::from_source(1 << 40, || {
        Box::pin(async {
            Ok(stream::repeat_with(|| Ok(Bytes::from_static(&[0; 64 << 10])))
                .then(|c| async {
                    tokio::task::yield_now().await;
                    c
                })
                .boxed())
        })
    });
    let key = Key::from("d/f");
    let write = store.put(&key, endless, Put::default());
    assert!(tokio::time::timeout(Duration::from_millis(50), write).await.is_err());
    // A blocking thread may still hold the file for a moment.
    for _ in 0..100 {
        if std::fs::read_dir(folder.path().join("d")).expect("read").count() == 0 {
            return;
        }
        Clock::system().sleep(Duration::from_millis(10)).await;
    }
    panic!("the temporary file is still there");
}

#[tokio::test]
async fn a_write_never_says_not_found() {
    let (folder, store) = store();
    let path = folder.path().join("d");
    let removing = Payload::from_source(1, move || {
        let path = path.clone();
        let body = stream::once(async move {
            for _ in 0..100 {
                match std::fs::remove_dir_all(&path) {
                    Ok(()) => break,
                    Err(_) => Clock::system().sleep(Duration::from_millis(10)).await,
                }
            }
            Ok(Bytes::from_static(b"x"))
        });
        Box::pin(async move { Ok(body.boxed()) })
    });
    let e = store.put(&"d/f".into(), removing, Put::default()).await.expect_err("its directory is gone");
    assert_eq!(e.kind(), ErrorKind::Local, "{e}");
}

#[tokio::test]
async fn folders_are_directories_that_head_finds_and_listings_leave_out() {
    let (folder, store) = store();
    put(&store, "d/e/", "").await.expect("made");
    assert!(folder.path().join("d/e").is_dir());
    assert_eq!(keys(&store).await, Vec::<String>::new());
    assert_eq!(store.head(&Key::from("d/e/").into()).await.expect("found").size, 0);
    assert_eq!(put(&store, "d/g/", "bytes").await.expect_err("refused").kind(), ErrorKind::Invalid);
    let create = Put { condition: Some(Condition::Absent), ..Put::default() };
    assert_eq!(store.put(&"d/e/".into(), "".into(), create).await.expect_err("there").kind(), ErrorKind::Exists);
    store.delete(stream::iter([Key::from("d/e/").into()]).boxed()).collect::<Vec<_>>().await;
    assert!(!folder.path().join("d").exists());
    assert!(folder.path().exists());
}

#[tokio::test]
async fn names_that_are_not_text_are_listed_as_their_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let (folder, store) = store();
    std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"a\xff")), "x").expect("written");
    let pages: Vec<Page> = store.list(List::default()).try_collect().await.expect("listed");
    assert_eq!(pages[0].entry(0).key, b"a\xff");
    assert!(Key::from(pages[0].entry(0).key).as_str().is_err(), "the cloud refuses it by name");
}

#[tokio::test]
async fn an_upload_goes_on_in_another_process() {
    let (folder, store) = store();
    let multipart = store.multipart().expect("multipart");
    let key = Key::from("big/file");
    let id = multipart.create(&key, &Attributes::default()).await.expect("created");
    let upload = Upload { key, id };
    // The short last part comes first, so no other fits its slot and completing has to join them.
    let last = multipart.upload_part(&upload, 3, "z".into(), None).await.expect("part");
    let again = LocalStore::open(folder.path(), LocalOptions::default()).expect("opened");
    let multipart = again.multipart().expect("multipart");
    let first = multipart.upload_part(&upload, 1, "aaaa".into(), None).await.expect("part");
    let second = multipart.upload_part(&upload, 2, "bbb".into(), None).await.expect("part");
    let listed = multipart.list_parts(&upload).await.expect("listed");
    assert!(listed.iter().all(|part| part.modified.is_some()), "{listed:?}");
    let undated: Vec<Part> = listed.into_iter().map(|part| Part { modified: None, ..part }).collect();
    assert_eq!(undated, [first.clone(), second.clone(), last.clone()]);
    let output = multipart.complete(&upload, &[first, second, last], Complete::default()).await.expect("completed");
    assert_eq!(read(&again, "big/file").await.expect("read"), b"aaaabbbz");
    assert_eq!(output.etag, again.head(&upload.key.clone().into()).await.expect("head").etag);
    assert_eq!(std::fs::read_dir(folder.path().join("big")).expect("read").count(), 1, "nothing but the file is left");
    let forged = Upload { id: UploadId("../../../etc".into()), ..upload };
    assert_eq!(multipart.list_parts(&forged).await.expect_err("no id").kind(), ErrorKind::UploadNotFound);
}

#[tokio::test]
async fn etags_follow_the_file() {
    let (folder, store) = store();
    let before = put(&store, "f", "same").await.expect("put").etag;
    let after = put(&store, "f", "same").await.expect("put").etag;
    assert_ne!(before, after);
    assert_eq!(after, ETag::new(&store.head(&Key::from("f").into()).await.expect("head").etag.quoted()));
    std::fs::File::options().write(true).open(folder.path().join("f")).expect("opened").set_modified(std::time::UNIX_EPOCH).expect("set");
    assert_ne!(after, store.head(&Key::from("f").into()).await.expect("head").etag);
}

/// Names made of the bytes around `/`, where a walk's order goes wrong, and of a few that mean something to a shell or to Unicode.
fn nasty_key() -> impl Strategy<Value = String> {
    let name = proptest::collection::vec(prop_oneof![Just("a"), Just("-"), Just("."), Just("0"), Just("!"), Just("é"), Just("\u{1}"), Just("中")], 1..4);
    proptest::collection::vec(name.prop_map(|parts| parts.concat()), 1..4).prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_walk_yields_sorted_keys(wanted in proptest::collection::btree_set(nasty_key(), 1..30), cut in nasty_key(), page_keys in 1u32..7) {
        let (folder, store) = store();
        let mut held = std::collections::BTreeSet::new();
        for key in wanted {
            let path = folder.path().join(&key);
            let parent = path.parent().expect("a parent").to_owned();
            if name::Place::of(&Key::from(&*key)).is_ok() && std::fs::create_dir_all(parent).is_ok() && std::fs::write(path, "").is_ok() {
                held.insert(Key::from(&*key));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let list = |list: List| -> (Vec<Key>, Vec<Key>) {
            let pages: Vec<Page> = runtime.block_on(store.list(list).try_collect()).expect("listed");
            let keys = pages.iter().flat_map(|page| page.iter().map(|e| Key::from(e.key))).collect();
            (keys, pages.iter().flat_map(|page| page.prefixes().to_vec()).collect())
        };
        let all: Vec<Key> = held.iter().cloned().collect();
        prop_assert_eq!(list(List { page_keys: Some(page_keys), ..List::default() }).0, all.clone());
        let cut = Key::from(&*cut);
        let (after, upto): (Vec<Key>, Vec<Key>) = all.iter().cloned().partition(|key| *key > cut);
        prop_assert_eq!(list(List { after: Some(cut.clone()), ..List::default() }).0, after);
        prop_assert_eq!(list(List { upto: Some(cut), page_keys: Some(page_keys), ..List::default() }).0, upto);
        let (names, folders) = list(List { delimiter: Some(b'/'), page_keys: Some(page_keys), ..List::default() });
        let top = |folder: bool| {
            let tops = all.iter().map(|key| key.as_bytes().split_inclusive(|b| *b == b'/').next().unwrap_or_default());
            let mut tops: Vec<Key> = tops.map(Key::from).filter(|key| key.is_folder() == folder).collect();
            tops.dedup();
            tops
        };
        prop_assert_eq!(names, top(false));
        prop_assert_eq!(folders, top(true));
    }
}
