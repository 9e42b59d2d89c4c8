//! With `aws-sdk-s3`.

use std::io;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{OBJECTS_AT_ONCE, Options, PART_BYTES, PARTS_AT_ONCE, parts};

fn failed(error: impl std::error::Error) -> io::Error {
    io::Error::other(DisplayErrorContext(error).to_string())
}

pub(super) async fn copy(options: Options) -> io::Result<()> {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("dragon", "dragon-secret", None, None, "bench"))
        .region(Region::new("us-east-1"))
        .endpoint_url(&options.endpoint)
        .force_path_style(true)
        .build();
    let client = Client::from_conf(config);
    let mut pages = client.list_objects_v2().bucket(&options.from).into_paginator().send();
    while let Some(page) = pages.next().await {
        let objects = page.map_err(failed)?.contents.unwrap_or_default();
        let objects = objects.into_iter().filter_map(|object| Some((object.key?, u64::try_from(object.size?).ok()?)));
        let (client, options) = (&client, &options);
        stream::iter(objects.map(Ok))
            .try_for_each_concurrent(OBJECTS_AT_ONCE, |(key, size)| async move {
                if size <= PART_BYTES { copy_whole(client, options, &key).await } else { copy_parts(client, options, &key, size).await }
            })
            .await?;
    }
    Ok(())
}

async fn copy_whole(client: &Client, options: &Options, key: &str) -> io::Result<()> {
    let got = client.get_object().bucket(&options.from).key(key).send().await.map_err(failed)?;
    let bytes = got.body.collect().await.map_err(failed)?.into_bytes();
    client.put_object().bucket(&options.to).key(key).body(ByteStream::from(bytes)).send().await.map_err(failed)?;
    Ok(())
}

async fn copy_parts(client: &Client, options: &Options, key: &str, size: u64) -> io::Result<()> {
    let created = client.create_multipart_upload().bucket(&options.to).key(key).send().await.map_err(failed)?;
    let id = created.upload_id().unwrap_or_default();
    let part = |(number, range): (i32, std::ops::Range<u64>)| async move {
        let range = format!("bytes={}-{}", range.start, range.end - 1);
        let got = client.get_object().bucket(&options.from).key(key).range(range).send().await.map_err(failed)?;
        let bytes = got.body.collect().await.map_err(failed)?.into_bytes();
        let body = ByteStream::from(bytes);
        let put = client.upload_part().bucket(&options.to).key(key).upload_id(id).part_number(number).body(body).send().await.map_err(failed)?;
        let checksum = put.checksum_crc32().map(str::to_owned);
        Ok::<_, io::Error>(CompletedPart::builder().part_number(number).set_e_tag(put.e_tag).set_checksum_crc32(checksum).build())
    };
    let parts: Vec<_> = stream::iter((1..).zip(parts(size))).map(part).buffered(PARTS_AT_ONCE).try_collect().await?;
    let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    client.complete_multipart_upload().bucket(&options.to).key(key).upload_id(id).multipart_upload(whole).send().await.map_err(failed)?;
    Ok(())
}
