//! Tests of the store as its dialects use it.

use super::*;

#[tokio::test]
async fn a_refused_write_leaves_everything_as_it_was() {
    let store = Store::in_memory(Clock::system());
    store.create_bucket("b", BTreeMap::new()).expect("a new bucket");
    let first = store.put_bytes("b", "k", Bytes::from_static(b"one")).await.expect("put");
    let refused = store.write("b", "k", |current| if current.is_some() { Err(Refusal::BucketExists) } else { Ok(Object::clone(&first)) });
    assert!(matches!(refused, Err(Refusal::BucketExists)));
    assert_eq!(store.object("b", "k").expect("still there").etag, first.etag);
    assert_eq!(first.etag, "f97c5d29941bfb1b2fdab0874906ab82");
    assert!(matches!(store.delete_bucket("b"), Err(Refusal::BucketNotEmpty)));
}
