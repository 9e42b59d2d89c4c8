//! The codec against scripted peers: what they say, in whatever pieces it comes.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::*;
use crate::storage::slab::Slabs;

/// The worst order of events: the write fails first, and only then is the answer there to be read.
struct Refuses {
    taken_bytes: usize,
    failed: bool,
    answer: &'static [u8],
}

impl AsyncRead for Refuses {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.failed {
            return Poll::Pending;
        }
        buf.put_slice(self.answer);
        self.answer = b"";
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Refuses {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.taken_bytes > 100_000 {
            self.failed = true;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = buf.len().min(4096);
        self.taken_bytes += n;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An answer as a client saw it: its status, its body, and whether the connection can be used again.
type Seen = (u16, Vec<u8>, bool);

async fn ask(stream: Stream, method: &str, payload: Payload) -> io::Result<Seen> {
    let (mut head, ()) = http::Request::builder().method(method).uri("http://h/k?a").header("host", "h").body(()).expect("a request").into_parts();
    head.headers.insert("content-length", payload.len().into());
    let mut exchange = Exchange::new(Connection::new(stream), &head, &payload).await.expect("a body at hand");
    let answer = match poll_fn(|cx| exchange.poll_answer(cx)).await {
        Ok(answer) => answer,
        Err(Broken::Connection(e)) => return Err(e),
        Err(Broken::Source(e)) => panic!("the source cannot fail: {e}"),
    };
    let mut body = exchange.into_body(&answer)?;
    let (mut all, slabs) = (Vec::new(), Slabs::default());
    while let Some(bytes) = poll_fn(|cx| body.poll_buffer(cx, &slabs)).await? {
        all.extend_from_slice(&bytes);
    }
    Ok((answer.status.as_u16(), all, body.into_connection().is_some()))
}

/// Asks a peer that says this, in these pieces, and then hangs up.
async fn hear(method: &str, answer: &[u8], cuts: &[usize]) -> io::Result<Seen> {
    let (ours, mut theirs) = tokio::io::duplex(64 << 10);
    let (answer, cuts) = (answer.to_vec(), cuts.to_vec());
    let peer = tokio::spawn(async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(theirs.read_u8().await.expect("a request"));
        }
        let mut rest = &answer[..];
        for cut in cuts {
            let (piece, more) = rest.split_at(cut.min(rest.len()));
            theirs.write_all(piece).await.expect("it listens");
            tokio::task::yield_now().await;
            rest = more;
        }
        // It may have heard enough.
        let _ = theirs.write_all(rest).await;
        head
    });
    let seen = ask(Stream::new(ours, None), method, Payload::from("")).await;
    let head = peer.await.expect("no panic");
    assert_eq!(String::from_utf8_lossy(&head), format!("{method} /k?a HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"));
    seen
}

async fn refused_put(answer: &'static [u8]) -> io::Result<Seen> {
    let wire = Refuses { taken_bytes: 0, failed: false, answer };
    ask(Stream::new(wire, None), "PUT", Payload::from(vec![0; 1 << 20])).await
}

#[tokio::test]
async fn the_answer_outlives_a_failed_write() {
    let (status, body, reusable) = refused_put(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nslow").await.expect("the answer");
    assert_eq!((status, &body[..], reusable), (503, &b"slow"[..], false));
}

#[tokio::test]
async fn without_an_answer_the_failure_stands() {
    assert_eq!(refused_put(b"").await.expect_err("nothing was answered").kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn an_answer_ends_where_it_says() {
    for (answer, seen) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], (200, "ok", true)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\nok", (200, "ok", false)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 ", (200, "ok", false)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", (200, "ok", false)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", (200, "ok", true)),
        (b"HTTP/1.1 200 OK\r\n\r\nup to the end", (200, "up to the end", false)),
        (b"HTTP/1.1 204 None\r\n\r\n", (204, "", true)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 x\r\nA: b\r\n\r\nHTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", (404, "", true)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n", (200, "abc0123456789", true)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", (200, "", true)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", (200, "a", true)),
    ] {
        let (status, body, reusable) = hear("GET", answer, &[]).await.expect("an answer");
        assert_eq!((status, std::str::from_utf8(&body).expect("text"), reusable), seen, "{}", String::from_utf8_lossy(answer));
    }
    let (status, body, reusable) = hear("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", &[]).await.expect("an answer");
    assert_eq!((status, &body[..], reusable), (200, &b""[..], true), "a HEAD has no body, whatever its length");
}

#[tokio::test]
async fn what_is_not_sure_is_an_error() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
        b"HTTP/1.1 20",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ] {
        let seen = hear("GET", answer, &[]).await;
        assert!(seen.is_err(), "{}: {seen:?}", String::from_utf8_lossy(answer));
    }
    let long = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'x'; 70 << 10]].concat();
    assert_eq!(hear("GET", &long, &[]).await.expect_err("without an end").kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_large_body_goes_out_and_comes_back_whole() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 / 3) as u8).collect();
    let (ours, mut theirs) = tokio::io::duplex(100_000);
    let sent = Payload::from_chunks(bytes.chunks(70_000).map(Bytes::copy_from_slice).collect());
    let echo = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(theirs.read_u8().await.expect("a request"));
        }
        let mut body = vec![0; 3_000_000];
        theirs.read_exact(&mut body).await.expect("the body");
        theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n").await.expect("written");
        theirs.write_all(&body).await.expect("written");
    };
    let (seen, ()) = tokio::join!(ask(Stream::new(ours, None), "PUT", sent), echo);
    let (status, body, reusable) = seen.expect("an answer");
    assert!(status == 200 && body == bytes && reusable);
}

#[tokio::test]
async fn what_has_arrived_of_a_slow_body_can_be_had() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let (head, ()) = http::Request::builder().uri("http://h/").body(()).expect("a request").into_parts();
    let mut exchange = Exchange::new(Connection::new(Stream::new(ours, None)), &head, &Payload::from("")).await.expect("no body");
    theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\nslow").await.expect("written");
    let answer = poll_fn(|cx| exchange.poll_answer(cx)).await.ok().expect("an answer");
    let mut body = exchange.into_body(&answer).expect("a body");
    let slabs = Slabs::default();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(body.poll_buffer(&mut cx, &slabs).is_pending());
    assert_eq!(body.arrived().as_deref(), Some(&b"slow"[..]));
    assert_eq!((body.arrived(), body.left()), (None, Some(899_996)));
    theirs.write_all(&vec![b'x'; 899_996]).await.expect("written");
    let mut rest = 0;
    while let Some(bytes) = poll_fn(|cx| body.poll_buffer(cx, &slabs)).await.expect("bytes") {
        rest += bytes.len();
    }
    assert_eq!(rest, 899_996, "neither lost nor twice");
}

#[tokio::test]
async fn a_connection_that_was_closed_or_spoke_is_not_quiet() {
    let (ours, mut theirs) = tokio::io::duplex(100);
    let mut connection = Connection::new(Stream::new(ours, None));
    assert!(connection.is_quiet());
    theirs.write_all(b"HTTP/1.1 408").await.expect("written");
    assert!(!connection.is_quiet());
    let (ours, theirs) = tokio::io::duplex(100);
    drop(theirs);
    assert!(!Connection::new(Stream::new(ours, None)).is_quiet());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// In whatever pieces an answer comes, it is the same; and what is cut off is never taken for whole.
    #[test]
    fn pieces_do_not_matter(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..5),
        chunked in any::<bool>(),
        cuts in proptest::collection::vec(0usize..30, 0..12),
        lost in 1usize..20,
    ) {
        let body = chunks.concat();
        let mut answer = b"HTTP/1.1 200 OK\r\nx-amz-request-id: r\r\n".to_vec();
        if chunked {
            answer.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in &chunks {
                answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                answer.extend_from_slice(chunk);
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"0\r\n\r\n");
        } else {
            answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            answer.extend_from_slice(&body);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let seen = hear("GET", &answer, &cuts).await.expect("an answer");
            assert_eq!(seen, (200, body.clone(), true));
            let cut_off = hear("GET", &answer[..answer.len() - lost.min(answer.len())], &cuts).await;
            assert!(cut_off.is_err(), "{cut_off:?}");
        });
    }
}
