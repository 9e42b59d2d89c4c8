//! What breaks on the way: refused, reset, silent, trickling, cut short, no TLS.

use super::*;

#[tokio::test]
async fn what_breaks_on_the_road_may_pass() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("bound")
    };
    let reset = service(|_| String::new()).await;
    let stalled = listen(|tcp| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(tcp);
    })
    .await;
    let truncated = service(|_| format!("HTTP/1.1 200 OK\r\n{STORED}content-length: 10\r\nconnection: close\r\n\r\nhalf")).await;
    let truncated = listen(move |mut tcp| async move {
        let mut upstream = TcpStream::connect(truncated).await.expect("connected");
        // What comes after the first answer is cut off.
        let _ = tokio::time::timeout(Duration::from_millis(200), copy_bidirectional(&mut tcp, &mut upstream)).await;
    })
    .await;
    let trickling = listen(|mut tcp| async move {
        read_request(&mut tcp).await;
        let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\n{STORED}content-length: 100000\r\n\r\n").as_bytes()).await;
        while tcp.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let hung_up = listen(|tcp| async move { drop(tcp) }).await;
    for cloud in BOTH {
        for (what, url, words) in [
            ("refused", format!("http://{closed}"), "connection refused"),
            ("reset", format!("http://{reset}"), "broke before it answered"),
            ("stall", format!("http://{stalled}"), "has been silent for 1s"),
            ("truncated", format!("http://{truncated}"), "broke off"),
            ("slow-loris", format!("http://{trickling}"), "has been silent for 1s"),
            ("TLS broken off", format!("https://{hung_up}"), "the TLS handshake with 127.0.0.1 failed"),
        ] {
            let store = store(cloud, &[url], Way::default()).await;
            let began = Instant::now();
            let error = read(&*store, "k").await.expect_err(what);
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Soon), "{what}: {error}");
            assert!(error.is_outage() && error.to_string().contains(words) && error.key() == Some("k"), "{what}: {error}");
            assert!(began.elapsed() < Duration::from_secs(5), "{what} took {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn a_road_that_cannot_be_right_stops_the_store() {
    let certified = authority("other.test");
    let acceptor = certified.acceptor.clone();
    let stranger = listen(move |tcp| {
        let acceptor = acceptor.clone();
        async move { drop(acceptor.accept(tcp).await) }
    })
    .await;
    let plain = listen(|mut tcp| async move {
        let _ = tcp.write_all(answer(400, "", "").as_bytes()).await;
    })
    .await;
    for cloud in BOTH {
        for address in [stranger, plain] {
            let store = store(cloud, &[format!("https://{address}")], Way::default()).await;
            let error = read(&*store, "k").await.expect_err("no such TLS");
            assert_eq!((error.kind(), error.retry()), (ErrorKind::WrongEndpoint, Retry::Never), "{error}");
            assert!(error.stops_store() && !error.advice().is_empty(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_slow_line_is_no_stall_and_neither_is_a_slow_reader() {
    const BYTES: usize = 12_000;
    let slow = listen(|mut tcp| async move {
        read_request(&mut tcp).await;
        tcp.write_all(format!("HTTP/1.1 200 OK\r\n{STORED}content-length: {BYTES}\r\n\r\n").as_bytes()).await.expect("written");
        // Four KiB a second, for three times the read timeout.
        for _ in 0..BYTES / 400 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if tcp.write_all(&[b'.'; 400]).await.is_err() {
                return;
            }
        }
    })
    .await;
    let quick = service(|_| answer(200, STORED, &".".repeat(BYTES))).await;
    for cloud in BOTH {
        assert_eq!(read(&*at(cloud, slow).await, "k").await.expect("whole").len(), BYTES);
        let store = at(cloud, quick).await;
        let mut body = store.get(&key("k"), Get::default()).await.expect("opened").body;
        let mut read_bytes = body.next().await.expect("a chunk").expect("bytes").len();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        while let Some(chunk) = body.next().await {
            read_bytes += chunk.expect("bytes").len();
        }
        assert_eq!(read_bytes, BYTES, "our own pause is no stall");
    }
}

#[tokio::test]
async fn an_upload_that_nobody_reads_is_a_stall_and_one_that_is_read_slowly_is_not() {
    let deaf = listen(|tcp| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(tcp);
    })
    .await;
    let slow = listen(|mut tcp| async move {
        let mut left = 0;
        let mut buffer = vec![0; 256 << 10];
        // Until the head has come whole, it is in the first read.
        while left < 12 << 20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            match tcp.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => left += bytes,
            }
        }
        let _ = tcp.write_all(answer(200, STORED, "").as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    let payload = || Payload::from(vec![7u8; 12 << 20]);
    for cloud in BOTH {
        let began = Instant::now();
        let error = at(cloud, deaf).await.put(&"k".into(), payload(), Put::default()).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("silent"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let began = Instant::now();
        at(cloud, slow).await.put(&"k".into(), payload(), Put::default()).await.expect("read at last");
        assert!(began.elapsed() > Duration::from_secs(2), "longer than the read timeout: {:?}", began.elapsed());
    }
}
