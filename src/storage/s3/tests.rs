//! Every trap of protocol.md's S3 side, against a server that says what the test wants it to.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::*;
use crate::error::{ErrorKind, Retry};
use crate::storage::Condition;
use crate::storage::checksum::Crc64;
use crate::storage::transport;
use crate::storage::transport::canned::{Asked, Canned, answer};

mod corrections;
mod reading;
mod writing;

fn options(endpoint: &str) -> Options {
    Options {
        endpoints: vec![endpoint.to_owned()],
        region: Some("us-east-1".into()),
        access_key_id: Some("AKID".into()),
        secret_access_key: Some("secret".into()),
        transport: transport::Options { no_proxy: Some("*".into()), ..transport::Options::default() },
        ..Options::default()
    }
}

async fn open(options: Options) -> S3Store {
    S3Account::open(options, Clock::system()).await.expect("opened").store("bucket").expect("a store")
}

async fn serve(reply: impl Fn(usize, &Asked) -> Vec<u8> + Send + Sync + 'static) -> (Canned, S3Store) {
    let server = Canned::start(reply).await;
    let store = open(options(&server.url)).await;
    (server, store)
}

fn ok(headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    answer(200, headers, body)
}

fn refusal(status: u16, code: &str, headers: &[(&str, &str)], rest: &str) -> Vec<u8> {
    answer(status, headers, format!("<Error><Code>{code}</Code><Message>{code} was said</Message><RequestId>R</RequestId>{rest}</Error>"))
}

fn key(text: &str) -> ObjectRef {
    Key::from(text).into()
}

async fn body(output: GetOutput) -> Result<Vec<u8>> {
    output
        .body
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}
