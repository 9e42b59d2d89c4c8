//! Reading objects: ranges, conditions, compression, archives, links.

use super::*;

const BODY: &[u8] = b"0123456789";

#[tokio::test(start_paused = true)]
async fn a_ranged_get_carries_the_crc_of_the_whole() {
    let cloud = Cloud::new().await;
    let whole = cloud.put("k", BODY).await;
    let part = cloud.send("GET /bkt/k", &[("range", "bytes=2-4")], b"").await;
    assert_eq!((part.status, part.body.as_slice(), part.header("content-range"), part.header("content-length")), (206, &b"234"[..], "bytes 2-4/10", "3"));
    assert_eq!(part.header("x-oss-hash-crc64ecma"), whole.header("x-oss-hash-crc64ecma"));
    assert_eq!(part.header("etag"), whole.header("etag"));
}

#[tokio::test(start_paused = true)]
async fn a_range_past_the_end_is_everything_unless_standard() {
    let cloud = Cloud::new().await;
    cloud.put("k", BODY).await;
    let past = [("range", "bytes=5-10")];
    let all = cloud.send("GET /bkt/k", &past, b"").await;
    assert_eq!((all.status, all.body.as_slice(), all.header("content-range")), (200, BODY, ""));
    let standard = cloud.send("GET /bkt/k", &[past[0], ("x-oss-range-behavior", "standard")], b"").await;
    assert_eq!((standard.status, standard.body.as_slice(), standard.header("content-range")), (206, &b"56789"[..], "bytes 5-9/10"));
    let beyond = cloud.send("GET /bkt/k", &[("range", "bytes=10-"), ("x-oss-range-behavior", "standard")], b"").await;
    assert_eq!((beyond.refused(), beyond.header("content-range")), ((416, "InvalidRange"), "bytes */10"));
}

#[tokio::test(start_paused = true)]
async fn conditions_are_judged_by_etag_and_time() {
    let cloud = Cloud::new().await;
    let etag = cloud.put("k", BODY).await.header("etag").to_owned();
    let lower = etag.to_lowercase();
    for (name, value, status) in [
        ("if-match", etag.as_str(), 200),
        ("if-match", lower.as_str(), 412),
        ("if-match", "*", 200),
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "\"00\"", 200),
        ("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT", 304),
        ("if-modified-since", "Wed, 31 Dec 2025 23:59:59 GMT", 200),
        ("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT", 200),
        ("if-unmodified-since", "Wed, 31 Dec 2025 23:59:59 GMT", 412),
    ] {
        assert_eq!(cloud.send("GET /bkt/k", &[(name, value)], b"").await.status, status, "{name}: {value}");
        assert_eq!(cloud.send("HEAD /bkt/k", &[(name, value)], b"").await.status, status, "HEAD {name}: {value}");
    }
    let unchanged = cloud.send("GET /bkt/k", &[("if-none-match", &etag)], b"").await;
    assert_eq!((unchanged.body.len(), unchanged.header("content-length"), unchanged.header("etag")), (0, "", etag.as_str()));
}

#[tokio::test(start_paused = true)]
async fn text_is_compressed_on_request_and_loses_its_etag() {
    let cloud = Cloud::new().await;
    let text = "a".repeat(2000);
    cloud.send("PUT /bkt/text", &[("content-type", "text/plain")], text.as_bytes()).await;
    cloud.send("PUT /bkt/short", &[("content-type", "text/plain")], &text.as_bytes()[..1023]).await;
    cloud.send("PUT /bkt/image", &[("content-type", "image/png")], text.as_bytes()).await;
    let gzip = [("accept-encoding", "deflate, gzip")];
    let zipped = cloud.send("GET /bkt/text", &gzip, b"").await;
    assert_eq!((zipped.header("content-encoding"), zipped.header("etag"), zipped.header("content-length")), ("gzip", "", ""));
    assert_eq!(zipped.body[..2], [0x1f, 0x8b]);
    for (key, headers) in [("short", &gzip[..]), ("image", &gzip[..]), ("text", &[][..])] {
        let plain = cloud.send(&format!("GET /bkt/{key}"), headers, b"").await;
        assert_eq!(plain.header("content-encoding"), "", "{key}");
        assert_ne!(plain.header("etag"), "", "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn head_and_meta_tell_the_length_without_a_body() {
    let cloud = Cloud::new().await;
    cloud.put("k", BODY).await;
    let head = cloud.send("HEAD /bkt/k", &[], b"").await;
    assert_eq!((head.header("content-length"), head.body.len(), head.header("x-oss-object-type")), ("10", 0, "Normal"));
    assert_eq!((head.header("x-oss-storage-class"), head.header("last-modified")), ("Standard", "Thu, 01 Jan 2026 00:00:00 GMT"));
    let meta = cloud.send("HEAD /bkt/k?objectMeta", &[], b"").await;
    assert_eq!((meta.header("content-length"), meta.header("etag"), meta.header("x-oss-object-type")), ("10", head.header("etag"), ""));
    assert_eq!(cloud.send("HEAD /bkt/k?versionId=null", &[], b"").await.status, 200);
    assert_eq!(cloud.send("GET /bkt/k?versionId=CAEQ", &[], b"").await.refused(), (404, "NoSuchVersion"));
}

#[tokio::test(start_paused = true)]
async fn the_query_can_set_headers_of_the_answer() {
    let cloud = Cloud::new().await;
    cloud.put("k", BODY).await;
    let get = cloud.send("GET /bkt/k?response-content-type=text%2Fx-c&response-content-disposition=attachment%3B%20filename%3Da%2Bb", &[], b"").await;
    assert_eq!((get.header("content-type"), get.header("content-disposition")), ("text/x-c", "attachment; filename=a+b"));
}

#[tokio::test(start_paused = true)]
async fn an_archived_object_is_read_only_while_it_is_restored() {
    let cloud = Cloud::with(OssOptions { restore_delay: Duration::from_secs(60), ..OssOptions::default() }).await;
    cloud.send("PUT /bkt/k", &[("x-oss-storage-class", "Archive")], BODY).await;
    let frozen = cloud.send("GET /bkt/k", &[], b"").await;
    assert_eq!((frozen.refused(), frozen.header("x-oss-ec")), ((403, "InvalidObjectState"), "0016-00000404"));
    assert_eq!(cloud.send("PUT /bkt/c", &[("x-oss-copy-source", "/bkt/k")], b"").await.refused(), (403, "InvalidObjectState"));
    assert_eq!(cloud.send("HEAD /bkt/k", &[], b"").await.header("x-oss-storage-class"), "Archive");

    let two_days = b"<RestoreRequest><Days>2</Days></RestoreRequest>";
    assert_eq!(cloud.send("POST /bkt/k?restore", &[], b"<RestoreRequest><Days>8</Days></RestoreRequest>").await.refused(), (400, "InvalidArgument"));
    let tiered = b"<RestoreRequest><Days>2</Days><JobParameters><Tier>Bulk</Tier></JobParameters></RestoreRequest>";
    assert_eq!(cloud.send("POST /bkt/k?restore", &[], tiered).await.refused(), (400, "MalformedXML"), "Archive knows no tiers");
    assert_eq!(cloud.send("POST /bkt/k?restore", &[], two_days).await.status, 202);
    assert_eq!(cloud.send("POST /bkt/k?restore", &[], two_days).await.refused(), (409, "RestoreAlreadyInProgress"));
    assert_eq!(cloud.send("HEAD /bkt/k", &[], b"").await.header("x-oss-restore"), "ongoing-request=\"true\"");
    cloud.wait(60).await;
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.body, BODY);
    let restored = "ongoing-request=\"false\", expiry-date=\"Sat, 03 Jan 2026 00:01:00 GMT\"";
    assert_eq!(cloud.send("HEAD /bkt/k", &[], b"").await.header("x-oss-restore"), restored);
    assert_eq!(cloud.send("GET /bkt", &[], b"").await.element("RestoreInfo"), restored);
    assert_eq!(cloud.send("POST /bkt/k?restore", &[], two_days).await.status, 200);
    cloud.wait(49 * 3600).await;
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.refused(), (403, "InvalidObjectState"));

    cloud.send("PUT /bkt/cold", &[("x-oss-storage-class", "ColdArchive")], BODY).await;
    assert_eq!(cloud.send("POST /bkt/cold?restore", &[], tiered).await.header("x-oss-object-restore-priority"), "Bulk");
    cloud.put("standard", BODY).await;
    assert_eq!(cloud.send("POST /bkt/standard?restore", &[], b"").await.refused(), (400, "OperationNotSupported"));
}

#[tokio::test(start_paused = true)]
async fn a_symlink_shows_its_targets_bytes_under_its_own_attributes() {
    let cloud = Cloud::new().await;
    let etag = cloud.put("a%20b", BODY).await.header("etag").to_owned();
    let link = [("x-oss-symlink-target", "a%20b"), ("x-oss-meta-own", "1")];
    assert_eq!(cloud.send("PUT /bkt/link?symlink", &link, b"").await.status, 200);
    let get = cloud.send("GET /bkt/link", &[], b"").await;
    assert_eq!((get.body.as_slice(), get.header("etag"), get.header("x-oss-object-type"), get.header("x-oss-meta-own")), (BODY, etag.as_str(), "Symlink", "1"));
    assert_eq!(cloud.send("GET /bkt/link?symlink", &[], b"").await.header("x-oss-symlink-target"), "a%20b");
    assert_eq!(cloud.send("GET /bkt/a%20b?symlink", &[], b"").await.refused(), (400, "NotSymlink"));
    cloud.send("DELETE /bkt/a%20b", &[], b"").await;
    assert_eq!(cloud.send("GET /bkt/link", &[], b"").await.refused(), (404, "SymlinkTargetNotExist"));
}
