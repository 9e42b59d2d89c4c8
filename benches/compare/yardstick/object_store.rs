//! With `object_store`.

use std::io;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::MultipartStore;
use object_store::{Certificate, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{OBJECTS_AT_ONCE, Options, PART_BYTES, PARTS_AT_ONCE, parts};

pub(super) async fn copy(options: Options) -> io::Result<()> {
    let (from, to) = (Arc::new(open(&options, &options.from)?), Arc::new(open(&options, &options.to)?));
    from.list(None)
        .map_err(io::Error::other)
        .try_for_each_concurrent(OBJECTS_AT_ONCE, |object| {
            let (from, to) = (from.clone(), to.clone());
            async move { if object.size <= PART_BYTES { copy_whole(&from, &to, &object).await } else { copy_parts(&from, &to, &object).await } }
        })
        .await
}

fn open(options: &Options, bucket: &str) -> io::Result<AmazonS3> {
    let mut client = ClientOptions::new().with_allow_http(true);
    if let Some(file) = &options.certificate {
        client = client.with_root_certificate(Certificate::from_pem(&std::fs::read(file)?).map_err(io::Error::other)?);
    }
    let builder = AmazonS3Builder::new().with_endpoint(&options.endpoint).with_bucket_name(bucket).with_region("us-east-1").with_client_options(client);
    builder.with_access_key_id("dragon").with_secret_access_key("dragon-secret").build().map_err(io::Error::other)
}

async fn copy_whole(from: &AmazonS3, to: &AmazonS3, object: &ObjectMeta) -> io::Result<()> {
    let bytes = from.get(&object.location).await.map_err(io::Error::other)?.bytes().await.map_err(io::Error::other)?;
    to.put(&object.location, bytes.into()).await.map_err(io::Error::other)?;
    Ok(())
}

async fn copy_parts(from: &AmazonS3, to: &AmazonS3, object: &ObjectMeta) -> io::Result<()> {
    let key = &object.location;
    let upload = &to.create_multipart(key).await.map_err(io::Error::other)?;
    let part = |(number, range)| async move {
        let bytes = from.get_range(key, range).await?;
        to.put_part(key, upload, number, bytes.into()).await
    };
    let parts = stream::iter(parts(object.size).enumerate()).map(part).buffered(PARTS_AT_ONCE).try_collect().await.map_err(io::Error::other)?;
    to.complete_multipart(key, upload, parts).await.map_err(io::Error::other)?;
    Ok(())
}
