//! Dragon stores held to the object_store crate's own suite, in both supported versions, and that crate's stores held to ours.

use std::sync::Arc;

use dragon::storage::Storage;
use dragon::storage::memory::{MemoryOptions, MemoryStore};
use dragon::storage::object_store::{v0_13, v0_14};

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStore::new("adapter"))
}

/// Everything that crate expects of a store, case by case, on a store of its own each.
macro_rules! foreign_suite {
    ($name:ident, $os:ident, $adapter:path) => {
        mod $name {
            use super::*;
            use $adapter as Adapter;
            use $os::integration;

            #[tokio::test]
            async fn put_get_list_delete() {
                let store = Adapter::new(memory());
                integration::put_get_delete_list(&store).await;
                integration::list_uses_directories_correctly(&store).await;
                integration::list_with_delimiter(&store).await;
                integration::list_with_offset_exclusivity(&store).await;
            }

            #[tokio::test]
            async fn options_and_attributes() {
                let store = Adapter::new(memory());
                integration::get_opts(&store).await;
                integration::put_get_attributes(&store).await;
                integration::put_opts(&store, true).await;
            }

            /// OSS has no compare-and-swap: an update is `NotSupported` (that crate's suite would have `NotImplemented`, which
            /// promises that it may come), creation holds, and the object stays as it was.
            #[tokio::test]
            async fn update_is_refused_where_it_would_not_be_atomic() {
                use $os::{Error, ObjectStore, ObjectStoreExt, PutMode, path::Path};
                let store = Adapter::new(Arc::new(MemoryStore::with("adapter", MemoryOptions::like_oss())));
                let path = Path::from("a");
                let first = store.put_opts(&path, "a".into(), PutMode::Create.into()).await.expect("creates");
                let again = store.put_opts(&path, "b".into(), PutMode::Create.into()).await;
                assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
                let update = store.put_opts(&path, "c".into(), PutMode::Update(first.into()).into()).await;
                assert!(matches!(update, Err(Error::NotSupported { .. })), "{update:?}");
                assert_eq!(store.get(&path).await.expect("the object").bytes().await.expect("its bytes"), "a");
            }

            #[tokio::test]
            async fn streams_and_multipart() {
                let store = Adapter::new(memory());
                integration::stream_get(&store).await;
                integration::multipart(&store, &store).await;
                integration::multipart_out_of_order(&store).await;
                integration::multipart_race_condition(&store, true).await;
            }

            #[tokio::test]
            async fn copy_and_rename() {
                let store = Adapter::new(memory());
                integration::rename_and_copy(&store).await;
                integration::copy_if_not_exists(&store).await;
                integration::copy_rename_nonexistent_object(&store).await;
            }
        }
    };
}

foreign_suite!(suite_0_14, object_store, v0_14::Adapter);
foreign_suite!(suite_0_13, object_store_0_13, v0_13::Adapter);

/// Two writers race to create one object: one wins, the other is told so, and the object is the winner's.
#[tokio::test]
async fn of_two_racing_creators_one_wins() {
    use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};
    let store = v0_14::Adapter::new(memory());
    let log = Path::from("_delta_log/00000000000000000001.json");
    let create = |body: &'static str| store.put_opts(&log, body.into(), PutOptions { mode: PutMode::Create, ..PutOptions::default() });
    let (a, b) = futures::join!(create("a"), create("b"));
    let winner = match (&a, &b) {
        (Ok(_), Err(object_store::Error::AlreadyExists { .. })) => "a",
        (Err(object_store::Error::AlreadyExists { .. }), Ok(_)) => "b",
        other => panic!("exactly one must win: {other:?}"),
    };
    let kept = store.get(&log).await.expect("the object").bytes().await.expect("its bytes");
    assert_eq!(kept, winner);
}

/// A URL and string options are all that DataFusion, delta-rs and Lance pass on; the store is registered under the URL.
#[tokio::test(flavor = "multi_thread")]
async fn an_oss_url_with_options_is_a_registered_store() {
    use dragon::devserver::{DevServer, Options};
    use object_store::registry::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
    use object_store::{Error, ObjectStoreExt, PutMode};
    let server = DevServer::start(Options::default()).await.expect("two clouds");
    server.oss_store().create_bucket("lake", std::collections::BTreeMap::new()).expect("a bucket");
    let options = [
        ("OSS_ACCESS_KEY_ID", "dragon".to_owned()),
        ("oss_access_key_secret", "dragon-secret".to_owned()),
        ("endpoint", server.oss_endpoint()),
        ("region", "cn-hangzhou".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let (store, path) = v0_14::Adapter::from_url("oss://lake/tables/t", options).await.expect("a store");
    assert_eq!(path.as_ref(), "tables/t");
    let url = url::Url::parse("oss://lake").expect("a URL");
    let registry = DefaultObjectStoreRegistry::new();
    registry.register(url, Arc::new(store));
    let (resolved, _) = registry.resolve(&url::Url::parse("oss://lake/tables/t").expect("a URL")).expect("registered");
    let log = path.clone().join("_delta_log/0.json");
    resolved.put_opts(&log, "first".into(), PutMode::Create.into()).await.expect("created on OSS");
    let second = resolved.put_opts(&log, "second".into(), PutMode::Create.into()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(resolved.get(&log).await.expect("there").bytes().await.expect("whole"), "first");

    let typo = v0_14::Adapter::from_url("oss://lake", [("oss_acces_key".to_owned(), "x".to_owned())]).await;
    assert!(typo.expect_err("a typo").to_string().contains("oss_acces_key"));
    server.shutdown().await;
}
