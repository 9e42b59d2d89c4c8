//! Faults of every class, from the wire up, on both clouds: what they are taken for, what is done about them, and how soon.
#![allow(clippy::disallowed_methods, reason = "raw servers of a test may use time directly")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dragon::clock::Clock;
use dragon::devserver::{self, Cloud, DevServer};
use dragon::error::{Error, ErrorKind, Result, Retry};
use dragon::metrics::Metrics;
use dragon::storage::location::Location;
use dragon::storage::open::layered;
use dragon::storage::{Account, Attributes, Complete, Get, Key, List, ObjectRef, Payload, Put, Storage, Upload, memory, oss, retry, s3, transport};
use dragon::transfer::{Context, Job, run};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::transport::{authority, listen};

mod classes;
mod road;
mod runs;

const BOTH: [Cloud; 2] = [Cloud::S3, Cloud::Oss];

/// A request as a raw server sees it, without its body.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    head: String,
}

impl Asked {
    /// `GET`, `PUT` ...
    fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// Path and query.
    fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

async fn read_request(tcp: &mut TcpStream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (line, rest) = head.split_once("\r\n")?;
    let lower = rest.to_ascii_lowercase();
    let length: usize = lower.split("content-length: ").nth(1).and_then(|l| l.split("\r\n").next()?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    tcp.read_exact(&mut body).await.ok()?;
    Some(Asked { line: line.to_owned(), head: rest.to_owned() })
}

/// A service that answers each request with the text that `reply` makes of it; an empty one closes the connection.
async fn service(reply: impl Fn(&Asked) -> String + Send + Sync + 'static) -> SocketAddr {
    let reply = Arc::new(reply);
    listen(move |mut tcp| {
        let reply = reply.clone();
        async move {
            while let Some(asked) = read_request(&mut tcp).await {
                let answer = reply(&asked);
                if answer.is_empty() || tcp.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn refusal(status: u16, code: &str, headers: &str) -> String {
    let ids = "x-amz-request-id: R1\r\nx-oss-request-id: R1\r\n";
    answer(status, &format!("{ids}{headers}"), &format!("<Error><Code>{code}</Code><Message>{code} was said</Message><RequestId>R1</RequestId></Error>"))
}

const STORED: &str = "etag: \"900150983CD24FB0D6963F7D28E17F72\"\r\nx-amz-request-id: R1\r\nx-oss-request-id: R1\r\n";

fn road() -> transport::Options {
    transport::Options { no_proxy: Some("*".into()), connect_timeout: Duration::from_secs(3), read_timeout: Duration::from_secs(1), ..Default::default() }
}

/// How a test's store differs from the usual one.
#[derive(Default)]
struct Way {
    transport: Option<transport::Options>,
    /// Keys come from this command instead.
    credential_process: Option<String>,
    clock: Option<Clock>,
}

/// A store of either cloud at endpoints, which makes one attempt.
async fn store(cloud: Cloud, endpoints: &[String], way: Way) -> Arc<dyn Storage> {
    let transport = way.transport.unwrap_or_else(road);
    let key = |text: &str| way.credential_process.is_none().then(|| text.to_owned());
    let clock = way.clock.unwrap_or_default();
    let endpoints = endpoints.to_vec();
    match cloud {
        Cloud::S3 => {
            let options = s3::Options {
                endpoints,
                transport,
                region: Some("us-east-1".into()),
                access_key_id: key("dragon"),
                secret_access_key: key("dragon-secret"),
                credential_process: way.credential_process.clone(),
                ..Default::default()
            };
            Box::pin(s3::S3Account::open(options, clock)).await.expect("an account").bucket("bucket").expect("a store")
        }
        Cloud::Oss => {
            let credentials = oss::credentials::Options {
                access_key_id: key("dragon"),
                access_key_secret: key("dragon-secret"),
                credential_process: way.credential_process.clone(),
                ..Default::default()
            };
            let options = oss::Options { endpoints, transport, credentials, region: Some("cn-hangzhou".into()), ..Default::default() };
            oss::OssAccount::open_in(options, &oss::credentials::Environment::default(), clock).expect("an account").bucket("bucket").expect("a store")
        }
    }
}

async fn at(cloud: Cloud, address: SocketAddr) -> Arc<dyn Storage> {
    store(cloud, &[format!("http://{address}")], Way::default()).await
}

fn key(name: &str) -> ObjectRef {
    Key::from(name).into()
}

async fn read(store: &dyn Storage, name: &str) -> Result<Vec<u8>> {
    let output = store.get(&key(name), Get::default()).await?;
    output.body.map_ok(|chunk| chunk.to_vec()).try_concat().await
}

async fn put(store: &dyn Storage, name: &str) -> Result<()> {
    store.put(&name.into(), "abc".into(), Put::default()).await.map(drop)
}

async fn make_bucket(cloud: Cloud, endpoint: &str) {
    let account: Box<dyn Account> = match cloud {
        Cloud::S3 => {
            let options = s3::Options {
                endpoints: vec![endpoint.to_owned()],
                region: Some("us-east-1".into()),
                access_key_id: Some("dragon".into()),
                secret_access_key: Some("dragon-secret".into()),
                ..Default::default()
            };
            Box::new(Box::pin(s3::S3Account::open(options, Clock::system())).await.expect("an account"))
        }
        Cloud::Oss => {
            let credentials =
                oss::credentials::Options { access_key_id: Some("dragon".into()), access_key_secret: Some("dragon-secret".into()), ..Default::default() };
            let options = oss::Options { endpoints: vec![endpoint.to_owned()], credentials, ..Default::default() };
            Box::new(oss::OssAccount::open_in(options, &oss::credentials::Environment::default(), Clock::system()).expect("an account"))
        }
    };
    account.create_bucket("bucket").await.expect("a bucket");
}
