//! Head, get, list.

use super::*;

const ETAG: (&str, &str) = ("etag", "\"e1\"");

#[tokio::test]
async fn a_request_stands_on_the_wire_as_s3_wants_it() {
    let (server, store) = serve(|_, _| answer(206, &[("content-range", "bytes 1-2/9"), ETAG, ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")], "ab")).await;
    for (name, path) in [
        ("a/../b//c d+%中", "/bucket/a/../b//c%20d%2B%25%E4%B8%AD"),
        ("/lead", "/bucket//lead"),
        ("%2e%2e", "/bucket/%252e%252e"),
        ("😀/", "/bucket/%F0%9F%98%80/"),
        ("..", "/bucket/.."),
    ] {
        let get = Get { range: Some(1..3), if_match: Some(ETag::new("e1")) };
        let output = store.get(&ObjectRef { key: name.into(), version: Some("v/1".into()) }, get).await.expect("a range");
        assert_eq!((output.info.size, output.range.clone()), (9, 1..3));
        assert!(output.info.checksums.is_empty(), "a range's headers say nothing of the whole");
        assert_eq!(body(output).await.expect("bytes"), b"ab");
        let asked = server.asked().pop().expect("asked");
        assert_eq!(asked.target, format!("{path}?versionId=v%2F1"));
        assert_eq!((asked.header("range"), asked.header("if-match"), asked.header("x-amz-checksum-mode")), ("bytes=1-2", "\"e1\"", "ENABLED"));
        assert_eq!(asked.header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        assert!(asked.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{}", asked.header("authorization"));
        assert_eq!(asked.header("accept-encoding"), "");
    }
}

#[tokio::test]
async fn a_range_is_a_range_or_an_error() {
    let replies: [&[u8]; 5] = [
        &ok(&[ETAG], "abcdefghi"),
        &answer(206, &[ETAG, ("content-range", "bytes 0-1/9")], "ab"),
        &answer(206, &[ETAG], "ab"),
        &answer(206, &[ETAG, ("content-range", "bytes 1-2/9"), ("content-length", "1")], "a"),
        &answer(206, &[("etag", "\"e2\""), ("content-range", "bytes 1-2/9")], "ab"),
    ];
    let replies = replies.map(<[u8]>::to_vec);
    let (_server, store) = serve(move |number, _| replies[number].clone()).await;
    let get = || Get { range: Some(1..3), if_match: Some(ETag::new("e1")) };
    for what in ["the whole", "another range", "no range named", "fewer bytes"] {
        assert_eq!(store.get(&key("k"), get()).await.expect_err(what).kind(), ErrorKind::Integrity, "{what}");
    }
    let e = store.get(&key("k"), get()).await.expect_err("another object, and If-Match ignored");
    assert_eq!(e.kind(), ErrorKind::Changed);

    let (_server, store) = serve(|_, _| answer(200, &[ETAG, ("content-range", "bytes 1-2/9")], "ab")).await;
    let named = store.get(&key("k"), get()).await.expect("rclone says 200 and names the range");
    assert_eq!((named.info.size, body(named).await.expect("bytes")), (9, b"ab".to_vec()));
    let (_server, store) = serve(|_, _| answer(206, &[ETAG, ("content-range", "bytes 1-2/9"), ("content-length", "2")], "a")).await;
    let short = store.get(&key("k"), get()).await.expect("a head");
    assert_eq!(body(short).await.expect_err("cut short").kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn refused_reads_are_told_apart() {
    let (_server, store) = serve(|_, asked| match asked.target.as_str() {
        "/bucket/absent" if asked.method == "HEAD" => answer(404, &[("x-amz-request-id", "R9")], ""),
        "/bucket/absent" => refusal(404, "NoSuchKey", &[], ""),
        "/bucket/marked" => answer(405, &[("x-amz-delete-marker", "true")], ""),
        "/bucket/changed" => refusal(412, "PreconditionFailed", &[], ""),
        "/bucket/denied" if asked.method == "HEAD" => answer(403, &[], ""),
        "/bucket/frozen" => refusal(403, "InvalidObjectState", &[], ""),
        "/bucket/slow" => refusal(503, "SlowDown", &[("retry-after", "7"), ("x-amz-request-id", "R7")], ""),
        "/bucket/proxy" => answer(404, &[], "<html>not here</html>"),
        "/bucket/past" => refusal(416, "InvalidRange", &[], ""),
        _ => refusal(403, "AccessDenied", &[], ""),
    })
    .await;
    let head = store.head(&key("absent")).await.expect_err("absent");
    assert_eq!((head.kind(), head.answer().map(|a| a.request_id.as_str())), (ErrorKind::NotFound, Some("R9")));
    assert!(head.to_string().starts_with("head 'absent' in s3://bucket: "), "{head}");
    assert_eq!(store.head(&key("denied")).await.expect_err("denied").kind(), ErrorKind::Denied);
    for (name, kind) in [
        ("absent", ErrorKind::NotFound),
        ("marked", ErrorKind::NotFound),
        ("changed", ErrorKind::Changed),
        ("denied", ErrorKind::Denied),
        ("frozen", ErrorKind::Frozen),
        ("proxy", ErrorKind::Unexpected),
        ("past", ErrorKind::Invalid),
    ] {
        assert_eq!(store.get(&key(name), Get::default()).await.expect_err(name).kind(), kind, "{name}");
    }
    let slow = store.get(&key("slow"), Get::default()).await.expect_err("slow");
    assert_eq!(slow.retry(), Retry::Slow { after: Some(Duration::from_secs(7)) });
    assert!(slow.to_string().contains("R7"), "{slow}");
}

#[tokio::test]
async fn head_reads_what_travels_and_what_is_stated() {
    let (server, store) = serve(|_, asked| match asked.parameter("partNumber").as_deref() {
        Some("1") => answer(206, &[("content-length", "5242880"), ETAG, ("x-amz-mp-parts-count", "2")], ""),
        Some(_) => answer(416, &[], ""),
        None => ok(
            &[
                ("content-length", "9"),
                ("etag", "\"900150983cd24fb0d6963f7d28e17f72-2\""),
                ("last-modified", "Sat, 21 Nov 2026 10:00:00 GMT"),
                ("content-type", "text/plain"),
                ("x-amz-meta-name", "=?UTF-8?B?5Lit?="),
                ("x-amz-checksum-sha256", "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=-2"),
                ("x-amz-checksum-type", "COMPOSITE"),
                ("x-amz-storage-class", "GLACIER"),
                ("x-amz-restore", "ongoing-request=\"true\""),
                ("x-amz-server-side-encryption", "aws:kms"),
                ("x-amz-version-id", "v1"),
            ],
            "",
        ),
    })
    .await;
    let info = store.head(&key("k")).await.expect("info");
    assert_eq!((info.size, info.version.as_deref(), info.restore), (9, Some("v1"), crate::storage::Restore::Ongoing));
    assert_eq!(info.modified.map(|t| t.to_string()).as_deref(), Some("2026-11-21T10:00:00Z"));
    assert_eq!((info.attributes.user["name"].as_str(), info.attributes.storage_class.as_deref()), ("中", Some("GLACIER")));
    assert_eq!(info.checksums.composite.as_ref().map(|c| (c.algorithm.to_string(), c.parts)), Some(("sha256".into(), 2)));
    assert_eq!(info.etag_md5(), None);
    assert_eq!(store.stored_part(&key("k"), 1).await.expect("told"), Some(StoredPart { size_bytes: 5 << 20, parts: 2 }));
    assert_eq!(store.stored_part(&key("k"), 3).await.expect("told"), None);
    assert_eq!(server.asked()[0].header("x-amz-checksum-mode"), "ENABLED");
}

fn page(keys: &[&str], token: Option<&str>) -> Vec<u8> {
    let contents: String = keys
        .iter()
        .map(|k| format!("<Contents><Key>{k}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>1</Size></Contents>"))
        .collect();
    let more = token.map_or("<IsTruncated>false</IsTruncated>".to_owned(), |t| {
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{t}</NextContinuationToken>")
    });
    ok(&[], &format!("<ListBucketResult><EncodingType>url</EncodingType>{more}{contents}</ListBucketResult>"))
}

async fn listed(store: &S3Store, list: List) -> (Vec<String>, Option<ErrorKind>) {
    let (mut keys, mut failed) = (Vec::new(), None);
    let mut pages = store.list(list);
    while let Some(page) = pages.next().await {
        assert!(failed.is_none(), "an error is final");
        match page {
            Ok(page) => keys.extend(page.iter().map(|e| Key::from(e.key).to_string())),
            Err(e) => failed = Some(e.kind()),
        }
    }
    (keys, failed)
}

#[tokio::test]
async fn a_listing_is_every_page_in_order() {
    let (server, store) = serve(|number, _| match number {
        0 => page(&["p/a+b", "p/b%2Fc"], Some("1+/=")),
        1 => page(&[], Some("t2")),
        _ => page(&["p/%E4%B8%AD", "p/%F0%9F%98%80"], None),
    })
    .await;
    let list = List { after: Some("p/a".into()), ..List::under("p/".into()) };
    assert_eq!(listed(&store, list).await, (["p/a b", "p/b/c", "p/中", "p/😀"].map(String::from).to_vec(), None));
    let targets: Vec<String> = server.asked().into_iter().map(|a| a.target).collect();
    assert_eq!(targets[0], "/bucket?list-type=2&encoding-type=url&start-after=p%2Fa&max-keys=1000&prefix=p%2F");
    assert_eq!(targets[1], "/bucket?list-type=2&encoding-type=url&continuation-token=1%2B%2F%3D&max-keys=1000&prefix=p%2F");
    assert_eq!(targets.len(), 3);
}

#[tokio::test]
async fn a_listing_stops_at_its_upper_bound() {
    let (server, store) = serve(|_, _| page(&["a", "b", "c"], Some("t"))).await;
    let list = List { upto: Some("b".into()), page_keys: Some(3), ..List::default() };
    assert_eq!(listed(&store, list).await, (vec!["a".into(), "b".into()], None));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_listing_out_of_order_cut_short_or_refused_is_an_error() {
    let first = || page(&["a", "c"], Some("t"));
    for (second, kind) in [
        (page(&["b"], None), ErrorKind::Integrity),
        (page(&["c"], None), ErrorKind::Integrity),
        (page(&["d"], Some("t")), ErrorKind::Integrity),
        (ok(&[], "<ListBucketResult><IsTruncated>false"), ErrorKind::Integrity),
        (ok(&[], ""), ErrorKind::Integrity),
        (refusal(500, "InternalError", &[], ""), ErrorKind::Unavailable),
        (refusal(403, "AccessDenied", &[], ""), ErrorKind::Denied),
        (refusal(404, "NoSuchBucket", &[], ""), ErrorKind::BucketNotFound),
        (Vec::new(), ErrorKind::Unavailable),
    ] {
        let (_server, store) = serve(move |number, _| if number == 0 { first() } else { second.clone() }).await;
        assert_eq!(listed(&store, List::default()).await, (vec!["a".into(), "c".into()], Some(kind)));
    }
}

#[tokio::test]
async fn a_directory_bucket_lists_in_its_own_order() {
    let server = Canned::start(|_, _| page(&["b", "a", "d", "c"], None)).await;
    let account = S3Account::open(options(&server.url), Clock::system()).await.expect("opened");
    let store = account.store("x--usw2-az1--x-s3").expect("a store");
    assert!(!store.capabilities().ordered_list);
    let list = List { after: Some("a".into()), upto: Some("c".into()), ..List::default() };
    assert_eq!(listed(&store, list).await, (vec!["b".into(), "c".into()], None));
}

#[tokio::test]
async fn versions_page_within_a_key_and_keep_their_order() {
    let entry = |element: &str, key: &str, id: &str, latest: bool| {
        let data = if element == "Version" { "<ETag>&quot;e1&quot;</ETag><Size>5</Size><StorageClass>GLACIER</StorageClass>" } else { "" };
        format!(
            "<{element}><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest><LastModified>2026-01-01T00:00:00.000Z</LastModified>{data}</{element}>"
        )
    };
    let page = |inner: &str, next: &str| {
        let namespace = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        ok(
            &[],
            &format!(
                "<ListVersionsResult {namespace}><EncodingType>url</EncodingType><IsTruncated>{}</IsTruncated>{next}{inner}</ListVersionsResult>",
                !next.is_empty()
            ),
        )
    };
    let reply = move |_: usize, asked: &Asked| match (asked.parameter("key-marker").as_deref(), asked.parameter("version-id-marker").as_deref()) {
        (None, None) => page(
            &format!("{}{}", entry("Version", "p/a%2Bb", "3/L", true), entry("DeleteMarker", "p/a%2Bb", "2", false)),
            "<NextKeyMarker>p/a%2Bb</NextKeyMarker><NextVersionIdMarker>2</NextVersionIdMarker>",
        ),
        (Some("p/a+b"), Some("2")) => page(&format!("{}{}", entry("Version", "p/a%2Bb", "null", false), entry("DeleteMarker", "p/c", "1", true)), ""),
        _ => refusal(400, "InvalidArgument", &[], ""),
    };
    let (server, store) = serve(reply).await;
    let listed = store.list_versions(List { page_keys: Some(2), ..List::under("p/".into()) }).try_concat().await.expect("listed");
    let told: Vec<String> = listed.iter().map(|v| format!("{} {} {} {}", v.key, v.version, v.is_latest, v.is_marker)).collect();
    assert_eq!(told, ["p/a+b 3/L true false", "p/a+b 2 false true", "p/a+b null false false", "p/c 1 true true"]);
    assert_eq!((listed[0].etag.as_str(), listed[0].storage_class.as_deref()), ("e1", Some("GLACIER")));
    let asked = server.asked();
    assert_eq!(asked[0].target, "/bucket?versions&encoding-type=url&max-keys=2&prefix=p%2F");
    let whole = store.list_versions(List { upto: Some("p/a+b".into()), ..List::under("p/".into()) }).try_concat().await.expect("listed");
    assert_eq!(whole.len(), 3, "what lies beyond is left out");
}

#[tokio::test]
async fn a_listing_of_versions_that_cannot_be_trusted_is_an_error() {
    let cases = [
        (ok(&[], "<html>sign in</html>"), ErrorKind::Integrity),
        (refusal(403, "AccessDenied", &[], ""), ErrorKind::Denied),
        (ok(&[], "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker></ListVersionsResult>"), ErrorKind::Integrity),
    ];
    for (reply, kind) in cases {
        let (_server, store) = serve(move |_, _| reply.clone()).await;
        let error = store.list_versions(List::default()).try_concat().await.expect_err("no listing");
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains("list versions") && error.to_string().contains("s3://bucket"), "{error}");
    }
    for (status, versioning) in [("", Versioning::Off), ("<Status>Enabled</Status>", Versioning::Enabled)] {
        let (server, store) = serve(move |_, _| ok(&[], &format!("<VersioningConfiguration>{status}</VersioningConfiguration>"))).await;
        assert_eq!(store.versioning().await.expect("told"), versioning);
        assert_eq!(server.asked()[0].target, "/bucket?versioning");
    }
}
