//! Tests of versions: what becomes former, what hides it, and what comes back.

use super::*;

const NOTHING: fn(Option<&Arc<Object>>) -> Result<(), Refusal> = |_| Ok(());

fn set(store: &Store, state: &str) {
    store.set_bucket_property("b", VERSIONING, Some(state.to_owned())).expect("a bucket");
}

async fn put(store: &Store, key: &str, text: &'static str) -> Option<String> {
    let (content, digests) = written(store, text.as_bytes()).await;
    let stored = store.write("b", key, |_| Ok::<_, Refusal>(store.normal_object(content, digests, Attributes::default()))).expect("put");
    stored.version_id.map(|id| id.to_string())
}

async fn text(store: &Store, key: &str, version: Option<&str>) -> Result<String, Refusal> {
    let found = store.find("b", key, version)?;
    Ok(String::from_utf8(found.content.read_all().await.expect("readable").to_vec()).expect("text"))
}

/// `key id` of each version, with `*` where it is current and `!` where it is a marker; ids but `null` are shown as `v`.
fn listed(store: &Store, query: &ListQuery<'_>, after_version: &str) -> (Vec<String>, bool) {
    let page = store.list_versions("b", query, after_version).expect("a bucket");
    let show = |entry: &VersionEntry| match entry {
        VersionEntry::Prefix(prefix) => format!("{prefix} ..."),
        VersionEntry::Version(key, version, latest) => {
            let id = if &*version.id == NULL { NULL } else { "v" };
            format!("{} {id}{}{}", key.as_str(), if *latest { "*" } else { "" }, if version.object.is_none() { "!" } else { "" })
        }
    };
    (page.entries.iter().map(show).collect(), page.truncated)
}

fn all(store: &Store) -> Vec<String> {
    listed(store, &ListQuery { limit: 1000, ..ListQuery::default() }, "").0
}

#[tokio::test]
async fn former_versions_stay_and_a_marker_hides_them() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let store = Store::open(dir.path(), Clock::system()).expect("an empty folder");
    store.create_bucket("b", BTreeMap::new()).expect("a new bucket");
    assert_eq!(put(&store, "k", "before").await, None);
    assert!(!store.read_index().buckets["b"].has_history("k"), "a key without former versions costs nothing more");
    set(&store, ENABLED);
    assert_eq!(store.find("b", "k", None).expect("there").version_id.as_deref(), Some(NULL));
    let second = put(&store, "k", "second").await.expect("an id");
    assert_eq!(all(&store), ["k v*", "k null"]);
    assert_eq!(text(&store, "k", None).await.expect("there"), "second");
    assert_eq!(text(&store, "k", Some(NULL)).await.expect("there"), "before");
    assert!(matches!(text(&store, "k", Some("none")).await, Err(Refusal::NoSuchVersion)));

    let marker = store.delete("b", "k", None, NOTHING).expect("deleted");
    let marker_id = marker.version_id.expect("an id");
    assert!(marker.marker && matches!(store.object("b", "k"), Err(Refusal::NoSuchKey)));
    assert!(matches!(store.find("b", "k", None), Err(Refusal::DeleteMarker { asked: false, .. })));
    assert!(matches!(store.find("b", "k", Some(&marker_id)), Err(Refusal::DeleteMarker { asked: true, .. })));
    assert_eq!(all(&store), ["k v*!", "k v", "k null"]);
    assert!(matches!(store.delete_bucket("b"), Err(Refusal::BucketNotEmpty)));

    // What a restart finds is what was left, bytes included.
    drop(store);
    let store = Store::open(dir.path(), Clock::system()).expect("what was left");
    assert_eq!(all(&store), ["k v*!", "k v", "k null"]);
    let gone = store.delete("b", "k", Some(&marker_id), NOTHING).expect("gone");
    assert!(gone.marker && gone.version_id.as_deref() == Some(&*marker_id));
    assert_eq!(text(&store, "k", None).await.expect("back"), "second");
    assert!(!store.delete("b", "k", Some("never was"), NOTHING).expect("no matter").marker);
    store.delete("b", "k", Some(&second), NOTHING).expect("gone");
    assert_eq!(text(&store, "k", None).await.expect("back"), "before");
    assert!(!store.read_index().buckets["b"].has_history("k"));
    drop(store);
    let store = Store::open(dir.path(), Clock::system()).expect("what was left");
    assert_eq!(all(&store), ["k null*"]);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs")).expect("the blobs").count(), 1, "what no version needs is gone");
    store.delete("b", "k", Some(NULL), NOTHING).expect("gone");
    store.delete_bucket("b").expect("empty");
    assert_eq!(std::fs::read_dir(dir.path().join("blobs")).expect("the blobs").count(), 0);
}

#[tokio::test]
async fn while_suspended_there_is_one_null_version() {
    let store = in_memory();
    set(&store, ENABLED);
    let kept = put(&store, "k", "kept").await.expect("an id");
    set(&store, SUSPENDED);
    for words in ["one", "two"] {
        assert_eq!(put(&store, "k", words).await.as_deref(), Some(NULL));
    }
    assert_eq!(all(&store), ["k null*", "k v"]);
    assert_eq!(store.delete("b", "k", None, NOTHING).expect("deleted").version_id.as_deref(), Some(NULL));
    assert_eq!(all(&store), ["k null*!", "k v"], "the marker takes the place of the null version");
    assert_eq!(text(&store, "k", Some(&kept)).await.expect("there"), "kept");
    assert!(store.amend("b", "k", None, |object| Ok::<_, Refusal>(Object::clone(object))).is_err());
    let tagged = |object: &Arc<Object>| {
        let attributes = Attributes { tags: BTreeMap::from([("a".to_owned(), "1".to_owned())]), ..Attributes::default() };
        Ok::<_, Refusal>(Object { attributes: Arc::new(attributes), ..Object::clone(object) })
    };
    store.amend("b", "k", Some(&kept), tagged).expect("there");
    assert_eq!(store.find("b", "k", Some(&kept)).expect("there").attributes.tags.len(), 1);
    assert_eq!(all(&store).len(), 2);
}

#[tokio::test]
async fn pages_of_versions_make_the_whole_at_any_size() {
    let store = in_memory();
    put(&store, "a", "1").await;
    put(&store, "dir/x", "1").await;
    set(&store, ENABLED);
    for key in ["a", "a", "b", "dir/y", "c", "c"] {
        put(&store, key, "2").await;
    }
    store.delete("b", "b", None, NOTHING).expect("deleted");
    put(&store, "z", "1").await;
    for delimiter in ["", "/"] {
        let whole = listed(&store, &ListQuery { delimiter, limit: 1000, ..ListQuery::default() }, "").0;
        assert_eq!(whole[..5], ["a v*", "a v", "a null", "b v*!", "b v"]);
        assert_eq!(whole.len(), if delimiter.is_empty() { 10 } else { 9 });
        for limit in 1..=whole.len() {
            let (mut paged, mut after) = (Vec::new(), (String::new(), String::new()));
            loop {
                let query = ListQuery { after: &after.0, delimiter, limit, ..ListQuery::default() };
                let (page, truncated) = listed(&store, &query, &after.1);
                assert!(page.len() <= limit);
                paged.extend(page);
                if !truncated {
                    break;
                }
                let page = store.list_versions("b", &query, &after.1).expect("a bucket");
                after = page.last().map(|(key, id)| (key.to_owned(), id.to_owned())).expect("a truncated page is not empty");
            }
            assert_eq!(paged, whole, "delimiter '{delimiter}', pages of {limit}");
        }
    }
    assert_eq!(listed(&store, &ListQuery { prefix: "dir/", limit: 9, ..ListQuery::default() }, "").0, ["dir/x null*", "dir/y v*"]);
}

#[tokio::test]
async fn a_log_from_before_versions_is_read() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    std::fs::create_dir(dir.path().join("blobs")).expect("writable");
    std::fs::write(dir.path().join("blobs/0123"), b"old").expect("writable");
    let log = concat!(
        r#"{"Bucket":{"name":"b","created_seconds":1767225600,"properties":{"acl":"private"}}}"#,
        "\n",
        r#"{"Object":{"bucket":"b","key":"k","object":{"etag":"149603e6c03516362a8da23f624db945","last_modified":1767225600,"kind":"Normal","#,
        r#""digests":{"md5":null,"crc64_xz":1,"crc64_nvme":2},"checksum":null,"parts":[],"attributes":{"metadata":{"a":"1"},"storage_class":"GLACIER"}},"#,
        r#""blobs":[{"id":"0123","start":0,"len":3}],"upload":null}}"#,
        "\n",
    );
    std::fs::write(dir.path().join("index.jsonl"), log).expect("writable");
    let store = Store::open(dir.path(), Clock::system()).expect("an old log");
    set(&store, ENABLED);
    put(&store, "k", "new").await;
    assert_eq!(text(&store, "k", Some(NULL)).await.expect("there"), "old");
    let old = store.find("b", "k", Some(NULL)).expect("there");
    assert_eq!((old.attributes.storage_class.as_deref(), old.attributes.transitioned_seconds), (Some("GLACIER"), None));
}
