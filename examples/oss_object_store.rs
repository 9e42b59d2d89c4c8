//! Hands an OSS bucket to code that wants `Arc<dyn ObjectStore>`: `cargo run --example oss_object_store -- oss://lake`.
use std::sync::Arc;

use dragon::storage::object_store::v0_14::Adapter;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: oss_object_store oss://BUCKET")?;
    let store: Arc<dyn ObjectStore> = Arc::new(Adapter::new(dragon::open(&address).await?.storage));

    // What DataFusion, delta-rs and Lance do with it: create once, read ranges, list.
    let path = Path::from("example/hello.txt");
    match store.put_opts(&path, "hello, OSS".into(), PutMode::Create.into()).await {
        Ok(_) => println!("created {path}"),
        Err(object_store::Error::AlreadyExists { .. }) => println!("{path} was there"),
        Err(error) => return Err(error.into()),
    }
    println!("{:?}", store.get_range(&path, 7..10).await?);
    let listed: Vec<_> = store.list(Some(&Path::from("example"))).try_collect().await?;
    println!("{} objects under example/", listed.len());
    Ok(())
}
