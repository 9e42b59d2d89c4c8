//! Put, multipart, copy, delete, links.

use super::*;

const NVME: &str = "x-amz-checksum-crc64nvme";

fn checked(bytes: &'static str) -> (Payload, Put) {
    (bytes.into(), Put { checksums: Some(Crc64::of(bytes.as_bytes()).checksums()), ..Put::default() })
}

#[tokio::test]
async fn a_put_carries_its_checksum_and_attributes() {
    let server = Canned::start(|_, asked| ok(&[("etag", "\"e\""), (NVME, asked.header(NVME)), ("x-amz-request-id", "R")], "")).await;
    let sse = Options { sse_kms_key_id: Some("k1".into()), acl: Some("bucket-owner-full-control".into()), request_payer: true, ..options(&server.url) };
    let store = open(sse).await;
    let (payload, mut put) = checked("123456789");
    put.attributes = Attributes {
        content_type: Some("text/plain".into()),
        storage_class: Some("STANDARD_IA".into()),
        user: [("name".to_owned(), "中".to_owned())].into(),
        ..Attributes::default()
    };
    put.condition = Some(Condition::Matches(ETag::new("e0")));
    let output = store.put(&"k".into(), payload, put).await.expect("put");
    assert_eq!((output.checksums.crc64nvme, output.checksums.md5, output.request_id.as_str()), (Some(0xae8b_1486_0a79_9888), None, "R"));
    let asked = server.asked().pop().expect("asked");
    for (name, value) in [
        (NVME, "rosUhgp5mIg="),
        ("content-length", "9"),
        ("content-type", "text/plain"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-meta-name", "=?UTF-8?B?5Lit?="),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k1"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-request-payer", "requester"),
        ("if-match", "\"e0\""),
        ("content-md5", ""),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    assert_eq!(asked.body, b"123456789");
}

#[tokio::test]
async fn a_service_without_crc64nvme_is_learnt_once() {
    let (server, store) = serve(|_, asked| match asked.header(NVME) {
        "" => ok(&[("etag", "\"e\"")], ""),
        _ => refusal(400, "InvalidArgument", &[], ""),
    })
    .await;
    for _ in 0..2 {
        let (payload, put) = checked("abc");
        assert!(store.put(&"k".into(), payload, put).await.expect("put").checksums.is_empty());
    }
    let sent: Vec<(bool, String)> = server.asked().iter().map(|a| (!a.header(NVME).is_empty(), a.header("content-md5").to_owned())).collect();
    let md5 = "kAFQmDzST7DWlj99KOF/cg==".to_owned();
    assert_eq!(sent, [(true, String::new()), (false, md5.clone()), (false, md5)]);
}

#[tokio::test]
async fn a_refusal_for_another_reason_unlearns_nothing() {
    let (server, store) = serve(|_, _| refusal(400, "InvalidArgument", &[], "")).await;
    for _ in 0..2 {
        let (payload, put) = checked("abc");
        assert_eq!(store.put(&"k".into(), payload, put).await.expect_err("refused").kind(), ErrorKind::Invalid);
    }
    assert_eq!(server.asked().iter().filter(|a| !a.header(NVME).is_empty()).count(), 2);
}

#[tokio::test]
async fn conditions_that_fail_say_which() {
    let (server, store) = serve(|number, _| match number {
        0 | 1 => refusal(412, "PreconditionFailed", &[], ""),
        _ => refusal(409, "ConditionalRequestConflict", &[], ""),
    })
    .await;
    let put = |condition| Put { condition: Some(condition), ..Put::default() };
    let exists = store.put(&"k".into(), "x".into(), put(Condition::Absent)).await.expect_err("exists");
    assert_eq!(exists.kind(), ErrorKind::Exists);
    assert_eq!(server.asked()[0].header("if-none-match"), "*");
    let changed = store.put(&"k".into(), "x".into(), put(Condition::Matches(ETag::new("e")))).await.expect_err("changed");
    assert_eq!(changed.kind(), ErrorKind::Changed);
    let raced = store.put(&"k".into(), "x".into(), put(Condition::Absent)).await.expect_err("raced");
    assert_eq!(raced.retry(), Retry::Soon);
}

fn upload() -> Upload {
    Upload { key: "k".into(), id: UploadId("u/1".into()) }
}

fn part(number: u32, bytes: &str, echoed: bool) -> Part {
    use md5::{Digest, Md5};
    let hex = hex::encode(Md5::digest(bytes));
    let checksums = if echoed { Checksums { crc64nvme: Some(Crc64::of(bytes.as_bytes()).nvme), ..Checksums::default() } } else { Checksums::default() };
    Part { number, etag: ETag::new(&hex), size: bytes.len() as u64, checksums, modified: None }
}

#[tokio::test]
async fn an_upload_is_checked_part_by_part_and_as_a_whole() {
    let (server, store) = serve(|number, asked| match number {
        0 => ok(&[], "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>"),
        1 | 2 => ok(&[("etag", "\"e\""), (NVME, asked.header(NVME))], ""),
        _ => ok(
            &[("x-amz-version-id", "v9")],
            "  <CompleteMultipartUploadResult><ETag>\"e-2\"</ETag><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>",
        ),
    })
    .await;
    let id = store.create(&"k".into(), &Attributes::default()).await.expect("created");
    let upload = Upload { key: "k".into(), id };
    let mut parts = Vec::new();
    for (number, text) in [(1, "12345"), (2, "6789")] {
        let sums = Crc64::of(text.as_bytes()).checksums();
        parts.push(store.upload_part(&upload, number, text.into(), Some(&sums)).await.expect("a part"));
    }
    let whole = Complete { checksums: Some(Crc64::of(b"123456789").checksums()), condition: Some(Condition::Absent) };
    let output = store.complete(&upload, &parts, whole).await.expect("completed");
    assert_eq!((output.checksums.crc64nvme, output.version.as_deref()), (Some(0xae8b_1486_0a79_9888), Some("v9")));

    let asked = server.asked();
    assert_eq!((asked[0].header("x-amz-checksum-algorithm"), asked[0].header("x-amz-checksum-type")), ("CRC64NVME", "FULL_OBJECT"));
    assert_eq!(asked[1].target, "/bucket/k?partNumber=1&uploadId=u%2F1");
    assert_eq!((asked[3].header(NVME), asked[3].header("x-amz-mp-object-size"), asked[3].header("if-none-match")), ("rosUhgp5mIg=", "9", "*"));
    let body = String::from_utf8_lossy(&asked[3].body).into_owned();
    assert_eq!(body.matches("<ChecksumCRC64NVME>").count(), 2, "{body}");
}

#[tokio::test]
async fn an_upload_falls_back_where_the_algorithm_is_unknown() {
    let created = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    let (server, store) = serve(move |_, asked| match (asked.header("x-amz-checksum-algorithm"), asked.method.as_str()) {
        ("", "POST") => ok(&[], created),
        ("", _) => ok(&[("etag", "\"e\"")], ""),
        _ => answer(501, &[], ""),
    })
    .await;
    store.create(&"k".into(), &Attributes::default()).await.expect("created");
    store.upload_part(&upload(), 1, "abc".into(), Some(&Crc64::of(b"abc").checksums())).await.expect("a part");
    let last = server.asked().pop().expect("asked");
    assert_eq!((last.header(NVME), last.header("content-md5")), ("", "kAFQmDzST7DWlj99KOF/cg=="));
}

#[tokio::test]
async fn a_success_that_holds_an_error_is_one() {
    let late = || ok(&[("x-amz-request-id", "R")], "\n  <?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>try again</Message></Error>");
    let (_server, store) = serve(move |_, _| late()).await;
    let e = store.complete(&upload(), &[part(1, "a", false)], Complete::default()).await.expect_err("an error");
    assert_eq!((e.kind(), e.answer().map(|a| a.request_id.clone())), (ErrorKind::Unavailable, Some("R".into())));
    let e = store.copy("other", &key("a"), None, &"k".into(), &Attributes::default()).await.expect_err("an error");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_complete_whose_answer_was_lost_is_recognised() {
    let parts = [part(1, "a", false), part(2, "b", false)];
    let told = Complete { checksums: Some(Crc64::of(b"ab").checksums()), condition: None };
    let crc = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(Crc64::of(b"ab").nvme.to_be_bytes())
    };
    // What HEAD says of the object that is there, and whether that proves it ours.
    for (etag, sum, size, ours) in [
        ("\"96e024ba2074fe77e8e965ba43a704be-2\"", None, "2", true),
        ("\"opaque\"", Some(crc.as_str()), "2", true),
        ("\"opaque\"", Some("AAAAAAAAAAA="), "2", false),
        ("\"opaque\"", None, "2", false),
        ("\"96e024ba2074fe77e8e965ba43a704be-2\"", None, "3", false),
    ] {
        let mut headers = vec![("etag", etag.to_owned()), ("content-length", size.to_owned())];
        headers.extend(sum.map(|s| (NVME, s.to_owned())));
        let (_server, store) = serve(move |_, asked| match asked.method.as_str() {
            "HEAD" => ok(&headers.iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>(), ""),
            _ => refusal(404, "NoSuchUpload", &[], ""),
        })
        .await;
        let done = store.complete(&upload(), &parts, told.clone()).await;
        assert_eq!(done.as_ref().map_err(Error::kind).err(), (!ours).then_some(ErrorKind::UploadNotFound), "{etag} {sum:?} {size}");
    }
    let (_server, store) = serve(|_, asked| if asked.method == "HEAD" { answer(404, &[], "") } else { refusal(404, "NoSuchUpload", &[], "") }).await;
    assert_eq!(store.complete(&upload(), &parts, told).await.expect_err("gone").kind(), ErrorKind::UploadNotFound);
    store.abort(&upload()).await.expect("gone already");
}

#[tokio::test]
async fn parts_and_uploads_come_in_pages() {
    let (server, store) = serve(|number, _| match number {
        0 => ok(&[], "<ListPartsResult><IsTruncated>true</IsTruncated><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag><Size>5</Size><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME></Part></ListPartsResult>"),
        1 => ok(&[], "<ListPartsResult><IsTruncated>false</IsTruncated><Part><PartNumber>2</PartNumber><ETag>\"b\"</ETag><Size>4</Size></Part></ListPartsResult>"),
        2 => ok(&[], "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>p%2Fa</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker><Upload><Key>p%2Fa</Key><UploadId>1</UploadId></Upload></ListMultipartUploadsResult>"),
        _ => ok(&[], "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>p/b</Key><UploadId>2</UploadId></Upload><Upload><Key>q</Key><UploadId>3</UploadId></Upload></ListMultipartUploadsResult>"),
    })
    .await;
    let parts = store.list_parts(&upload()).await.expect("parts");
    assert_eq!(parts.iter().map(|p| (p.number, p.size, p.checksums.crc64nvme.is_some())).collect::<Vec<_>>(), [(1, 5, true), (2, 4, false)]);
    let uploads: Vec<OpenUpload> = store.list_uploads("p/".into()).try_collect().await.expect("uploads");
    assert_eq!(uploads.iter().map(|u| u.upload.key.to_string()).collect::<Vec<_>>(), ["p/a", "p/b"]);
    assert_eq!(server.asked()[1].parameter("part-number-marker").as_deref(), Some("1"));
    assert_eq!(server.asked()[3].parameter("key-marker").as_deref(), Some("p/a"));
}

#[tokio::test]
async fn deletes_go_in_batches_and_what_xml_cannot_name_goes_alone() {
    let (server, store) = serve(|_, asked| match asked.method.as_str() {
        "DELETE" => answer(204, &[], ""),
        _ => ok(
            &[],
            "<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>&lt;b&gt;</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>",
        ),
    })
    .await;
    let keys = ["a", "<b>", "c\u{1}", ""].map(key).to_vec();
    let answers: Vec<_> = store.delete(stream::iter(keys).boxed()).collect().await;
    let kinds: Vec<_> = answers.iter().map(|(o, a)| (o.key.to_string(), a.as_ref().err().map(Error::kind))).collect();
    let expected = [("a", None), ("<b>", Some(ErrorKind::Denied)), ("c\\u{1}", None), ("", Some(ErrorKind::Invalid))];
    assert_eq!(kinds, expected.map(|(k, e)| (k.to_owned(), e)));
    let asked = server.asked();
    assert_eq!(asked.iter().map(|a| format!("{} {}", a.method, a.target)).collect::<Vec<_>>(), ["POST /bucket?delete", "DELETE /bucket/c%01"]);
    assert!(!asked[0].header("content-md5").is_empty());
}

#[tokio::test]
async fn a_copy_names_its_source_exactly() {
    let (server, store) =
        serve(|_, _| ok(&[], "<CopyObjectResult><ETag>\"e\"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></CopyObjectResult>")).await;
    let source = ObjectRef { key: "a//中+".into(), version: Some("v".into()) };
    let output = store.copy("other", &source, Some(&ETag::new("e0")), &"k".into(), &Attributes::default()).await.expect("copied");
    assert_eq!(output.etag, ETag::new("e"));
    let asked = server.asked().pop().expect("asked");
    assert_eq!(asked.header("x-amz-copy-source"), "other/a//%E4%B8%AD%2B?versionId=v");
    assert_eq!((asked.header("x-amz-copy-source-if-match"), asked.header("x-amz-metadata-directive")), ("\"e0\"", "REPLACE"));
}

#[tokio::test]
async fn a_link_names_the_object_and_its_life() {
    let store = open(options("http://127.0.0.1:9")).await;
    let link = Presign::presign(&store, PresignMethod::Get, &key("a/../b c"), Duration::from_secs(60)).await.expect("a link");
    assert!(link.starts_with("http://127.0.0.1:9/bucket/a/../b%20c?"), "{link}");
    for part in ["X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Expires=60", "X-Amz-Signature=", "X-Amz-SignedHeaders=host", "X-Amz-Credential=AKID%2F"] {
        assert!(link.contains(part), "{part}: {link}");
    }
    assert!(!link.contains("secret"));
    let long = Presign::presign(&store, PresignMethod::Put, &key("k"), Duration::from_secs(8 * 24 * 3600)).await;
    assert_eq!(long.expect_err("too long").kind(), ErrorKind::Invalid);
}
