//! A server for unit tests that answers whatever the test tells it to, down to the byte, and keeps what it was asked.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct Asked {
    pub(in crate::storage) method: String,
    /// Path and query, not decoded.
    pub(in crate::storage) target: String,
    /// By lower-case name.
    pub(in crate::storage) headers: HashMap<String, String>,
    pub(in crate::storage) body: Vec<u8>,
}

impl Asked {
    pub(in crate::storage) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A query or form parameter, decoded.
    pub(in crate::storage) fn parameter(&self, name: &str) -> Option<String> {
        let form = String::from_utf8_lossy(&self.body).into_owned();
        let query = self.target.split_once('?').map_or("", |(_, q)| q);
        let pairs = query.split('&').chain(form.split('&'));
        let value = pairs.filter_map(|p| p.split_once('=').or(Some((p, "")))).find(|(n, _)| *n == name)?.1.to_owned();
        Some(String::from_utf8(super::target::decode_form(&value)?).expect("UTF-8"))
    }
}

/// An answer, written as it is.
pub(in crate::storage) fn answer(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length")) {
        let _ = write!(head, "content-length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"connection: close\r\n\r\n", body].concat()
}

/// A server on loopback. It ends with the test.
pub(in crate::storage) struct Canned {
    /// `http://127.0.0.1:PORT`.
    pub(in crate::storage) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Canned {
    /// Answers each request with what `reply` says of it; the number counts from 0. An empty answer closes the connection.
    pub(in crate::storage) async fn start(reply: impl Fn(usize, &Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (kept, reply) = (Arc::clone(&asked), Arc::new(reply));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (kept, reply) = (Arc::clone(&kept), Arc::clone(&reply));
                tokio::spawn(async move {
                    let Some(request) = read(&mut stream).await else { return };
                    let number = {
                        let mut kept = kept.lock().expect("not poisoned");
                        kept.push(request.clone());
                        kept.len() - 1
                    };
                    // A client that has hung up is part of some tests.
                    let _ = stream.write_all(&reply(number, &request)).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, asked, task }
    }

    /// What has been asked so far.
    pub(in crate::storage) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break end;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        (stream.read_buf(&mut body).await.ok()? > 0).then_some(())?;
    }
    Some(Asked { method, target, headers, body })
}
