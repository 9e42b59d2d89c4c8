//! Writing objects.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_put_answers_with_upper_case_etag_and_both_checksums() {
    let cloud = Cloud::new().await;
    let put = cloud.put("k", b"123456789").await;
    assert_eq!(put.header("etag"), "\"25F9E794323B453885F5181F1B624D0B\"");
    assert_eq!(put.header("x-oss-hash-crc64ecma"), "11051210869376104954");
    assert_eq!(put.header("content-md5"), md5_of(b"123456789"));
    let empty = cloud.put("empty", b"").await;
    assert_eq!(empty.header("x-oss-hash-crc64ecma"), "0");
}

#[tokio::test(start_paused = true)]
async fn wrong_digests_and_lengths_leave_nothing_behind() {
    let cloud = Cloud::new().await;
    for (header, value, code) in [
        ("content-md5", md5_of(b"other"), "InvalidDigest"),
        ("content-md5", "AAAA".into(), "InvalidDigest"),
        ("x-oss-hash-crc64ecma", "1".into(), "InvalidCRC64"),
    ] {
        assert_eq!(cloud.send("PUT /bkt/k", &[(header, &value)], b"body").await.refused(), (400, code));
    }
    assert_eq!(cloud.send("PUT /bkt/k", &[("content-length", "9")], b"body").await.refused(), (400, "IncompleteBody"));
    assert_eq!(cloud.send("PUT /bkt/k", &[("content-length", "5368709121")], b"body").await.refused(), (400, "EntityTooLarge"));
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.refused(), (404, "NoSuchKey"));
    assert_eq!(cloud.send("PUT /bkt/k", &[("content-md5", &md5_of(b"body"))], b"body").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn attributes_come_back_as_they_were_sent() {
    let cloud = Cloud::new().await;
    let sent = [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("content-disposition", "attachment; filename=\"中.txt\""),
        ("content-encoding", "br"),
        ("content-language", "zh-CN"),
        ("expires", "Wed, 08 Jul 2037 16:57:01 GMT"),
        ("x-oss-meta-author", "王小明"),
        ("x-oss-meta-mtime", "1700000000.5"),
        ("x-oss-server-side-encryption", "AES256"),
    ];
    assert_eq!(cloud.send("PUT /bkt/k", &sent, b"x").await.header("x-oss-server-side-encryption"), "AES256");
    let head = cloud.send("HEAD /bkt/k", &[], b"").await;
    for (name, value) in sent {
        assert_eq!(head.header(name), value, "{name}");
    }
    cloud.put("plain", b"x").await;
    assert_eq!(cloud.send("HEAD /bkt/plain", &[], b"").await.header("content-type"), "application/octet-stream");
}

#[tokio::test(start_paused = true)]
async fn metadata_and_tags_have_their_limits() {
    let cloud = Cloud::new().await;
    let long = "v".repeat(9000);
    for (name, value, code) in [
        ("x-oss-meta-a_b", "v", "InvalidArgument"),
        ("x-oss-meta-a.b", "v", "InvalidArgument"),
        ("x-oss-meta-a", long.as_str(), "InvalidArgument"),
        ("x-oss-tagging", "a=1&a=2", "InvalidTag"),
        ("x-oss-tagging", "a%40=1", "InvalidTag"),
        ("x-oss-tagging", "a=1&b=&c=&d=&e=&f=&g=&h=&i=&j=&k=", "BadRequest"),
        ("x-oss-storage-class", "GLACIER", "InvalidArgument"),
        ("x-oss-object-acl", "open", "InvalidArgument"),
        ("x-oss-server-side-encryption", "ROT13", "InvalidEncryptionAlgorithmError"),
    ] {
        assert_eq!(cloud.send("PUT /bkt/k", &[(name, value)], b"x").await.refused(), (400, code), "{name}: {value:.20}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_forbid_overwrite_guards_a_write() {
    let cloud = Cloud::new().await;
    let guard = [("x-oss-forbid-overwrite", "true")];
    assert_eq!(cloud.send("PUT /bkt/k", &guard, b"one").await.status, 200);
    assert_eq!(cloud.send("PUT /bkt/k", &guard, b"two").await.refused(), (409, "FileAlreadyExists"));
    assert_eq!(cloud.send("PUT /bkt/c", &[("x-oss-copy-source", "/bkt/k"), guard[0]], b"").await.status, 200);
    assert_eq!(cloud.send("PUT /bkt/k", &[("x-oss-copy-source", "/bkt/c"), guard[0]], b"").await.refused(), (409, "FileAlreadyExists"));
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.body, b"one");
    for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
        assert_eq!(cloud.send("PUT /bkt/k", &[(name, "*")], b"two").await.refused(), (400, "NotImplemented"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn tags_change_without_touching_last_modified() {
    let cloud = Cloud::new().await;
    assert_eq!(cloud.send("PUT /bkt/k", &[("x-oss-tagging", "k1=v%201&k2=")], b"x").await.status, 200);
    let before = cloud.send("HEAD /bkt/k", &[], b"").await;
    assert_eq!(before.header("x-oss-tagging-count"), "2");
    assert_eq!(cloud.send("GET /bkt/k?tagging", &[], b"").await.elements("Value"), ["v 1", ""]);
    cloud.wait(60).await;
    let document = b"<Tagging><TagSet><Tag><Key>a+b</Key><Value> \xe4\xb8\xad</Value></Tag></TagSet></Tagging>";
    assert_eq!(cloud.send("PUT /bkt/k?tagging", &[], document).await.status, 200);
    assert_eq!(cloud.send("GET /bkt/k?tagging", &[], b"").await.elements("Key"), ["a+b"]);
    let after = cloud.send("HEAD /bkt/k", &[], b"").await;
    assert_eq!((after.header("last-modified"), after.header("x-oss-tagging-count")), (before.header("last-modified"), "1"));
    assert_eq!(cloud.send("DELETE /bkt/k?tagging", &[], b"").await.status, 204);
    assert!(cloud.send("GET /bkt/k?tagging", &[], b"").await.elements("Key").is_empty());
    assert_eq!(cloud.send("PUT /bkt/k?tagging", &[], b"<Tagging/>").await.refused(), (400, "MalformedXML"));
}

#[tokio::test(start_paused = true)]
async fn a_copy_takes_the_metadata_unless_told_to_replace_it() {
    let cloud = Cloud::new().await;
    let sent = [("content-type", "text/x-a"), ("x-oss-meta-a", "1"), ("x-oss-tagging", "t=1"), ("x-oss-server-side-encryption", "AES256")];
    cloud.send("PUT /bkt/a%20%E4%B8%AD%2B", &sent, b"123456789").await;
    let source = ("x-oss-copy-source", "/bkt/a%20%E4%B8%AD%2B");
    let copy = cloud.send("PUT /bkt/copied", &[source], b"").await;
    assert_eq!((copy.status, copy.element("ETag")), (200, "\"25F9E794323B453885F5181F1B624D0B\""));
    let head = cloud.send("HEAD /bkt/copied", &[], b"").await;
    assert_eq!((head.header("content-type"), head.header("x-oss-meta-a"), head.header("x-oss-tagging-count")), ("text/x-a", "1", "1"));
    assert_eq!(head.header("x-oss-hash-crc64ecma"), "11051210869376104954");
    assert_eq!(head.header("x-oss-server-side-encryption"), "", "encryption is not inherited");

    let replace = [source, ("x-oss-metadata-directive", "REPLACE"), ("x-oss-tagging-directive", "Replace"), ("content-type", "text/x-b")];
    cloud.send("PUT /bkt/replaced", &replace, b"").await;
    let head = cloud.send("HEAD /bkt/replaced", &[], b"").await;
    assert_eq!((head.header("content-type"), head.header("x-oss-meta-a"), head.header("x-oss-tagging-count")), ("text/x-b", "", ""));

    // The type stays where no other is named, and so does what decrypts the bytes.
    cloud.send("PUT /bkt/secret", &[("content-type", "text/x-s"), ("x-oss-meta-client-side-encryption-key", "K"), ("x-oss-meta-a", "1")], b"x").await;
    cloud.send("PUT /bkt/kept", &[("x-oss-copy-source", "/bkt/secret"), ("x-oss-metadata-directive", "replace")], b"").await;
    let head = cloud.send("HEAD /bkt/kept", &[], b"").await;
    assert_eq!(head.header("content-type"), "text/x-s");
    assert_eq!((head.header("x-oss-meta-client-side-encryption-key"), head.header("x-oss-meta-a")), ("K", ""));

    let stale = [source, ("x-oss-copy-source-if-match", "\"00\"")];
    assert_eq!(cloud.send("PUT /bkt/stale", &stale, b"").await.refused(), (412, "PreconditionFailed"));
    assert_eq!(cloud.send("PUT /bkt/x", &[("x-oss-copy-source", "/bkt/absent")], b"").await.refused(), (404, "NoSuchKey"));
    assert_eq!(cloud.send("PUT /bkt/x", &[("x-oss-copy-source", "nonsense")], b"").await.refused(), (400, "InvalidArgument"));
}

#[tokio::test(start_paused = true)]
async fn copies_may_lack_the_crc() {
    let cloud = Cloud::with(OssOptions { crc_after_copy: false, ..OssOptions::default() }).await;
    cloud.put("k", b"x").await;
    let copy = cloud.send("PUT /bkt/c", &[("x-oss-copy-source", "/bkt/k")], b"").await;
    let head = cloud.send("HEAD /bkt/c", &[], b"").await;
    assert_eq!((copy.header("x-oss-hash-crc64ecma"), head.header("x-oss-hash-crc64ecma")), ("", ""));
}

#[tokio::test(start_paused = true)]
async fn appends_grow_an_object_at_its_end_only() {
    let cloud = Cloud::new().await;
    let first = cloud.send("POST /bkt/k?append&position=0", &[], b"12345").await;
    assert_eq!((first.status, first.header("x-oss-next-append-position")), (200, "5"));
    let misplaced = cloud.send("POST /bkt/k?append&position=4", &[], b"6789").await;
    assert_eq!((misplaced.refused(), misplaced.header("x-oss-next-append-position")), ((409, "PositionNotEqualToLength"), "5"));
    let second = cloud.send("POST /bkt/k?append&position=5", &[("x-oss-tagging", "ignored%40=1")], b"6789").await;
    assert_eq!(second.header("x-oss-hash-crc64ecma"), "11051210869376104954", "of the whole");
    let get = cloud.send("GET /bkt/k", &[], b"").await;
    assert_eq!((get.body.as_slice(), get.header("x-oss-object-type"), get.header("content-md5")), (&b"123456789"[..], "Appendable", ""));
    cloud.put("normal", b"x").await;
    assert_eq!(cloud.send("POST /bkt/normal?append&position=1", &[], b"y").await.refused(), (409, "ObjectNotAppendable"));
}

#[tokio::test(start_paused = true)]
async fn deletes_succeed_whether_or_not_there_was_something() {
    let cloud = Cloud::new().await;
    cloud.put("k", b"x").await;
    for _ in 0..2 {
        assert_eq!(cloud.send("DELETE /bkt/k", &[], b"").await.status, 204);
    }
    assert_eq!(cloud.send("DELETE /nobucket/k", &[], b"").await.refused(), (404, "NoSuchBucket"));
}

#[tokio::test(start_paused = true)]
async fn deleting_many_wants_a_digest_and_a_quiet_one_answers_with_nothing() {
    let cloud = Cloud::new().await;
    for key in ["a%20b", "c%26d", "e"] {
        cloud.put(key, b"x").await;
    }
    let document = |quiet: bool| format!("<Delete><Quiet>{quiet}</Quiet><Object><Key>a b</Key></Object><Object><Key>c&amp;d</Key></Object></Delete>");
    let (verbose, quiet) = (document(false), document(true));
    assert_eq!(cloud.send("POST /bkt?delete", &[], verbose.as_bytes()).await.refused(), (400, "MissingArgument"));
    assert_eq!(cloud.send("POST /bkt?delete", &[("content-md5", &md5_of(b"x"))], verbose.as_bytes()).await.refused(), (400, "InvalidDigest"));
    let told = cloud.send("POST /bkt?delete&encoding-type=url", &[("content-md5", &md5_of(verbose.as_bytes()))], verbose.as_bytes()).await;
    assert_eq!((told.elements("Key"), told.element("EncodingType")), (vec!["a%20b".to_owned(), "c%26d".to_owned()], "url"));
    let silent = cloud.send("POST /bkt?delete", &[("content-md5", &md5_of(quiet.as_bytes()))], quiet.as_bytes()).await;
    assert_eq!((silent.status, silent.body.len()), (200, 0));
    assert_eq!(cloud.send("GET /bkt?list-type=2", &[], b"").await.elements("Key"), ["e"]);
}

#[tokio::test(start_paused = true)]
async fn deleting_many_takes_a_thousand_keys_at_most() {
    let cloud = Cloud::new().await;
    for (count, status) in [(1000, 200), (1001, 400)] {
        let document = format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(count));
        assert_eq!(cloud.send("POST /bkt?delete", &[("content-md5", &md5_of(document.as_bytes()))], document.as_bytes()).await.status, status, "{count}");
    }
}
