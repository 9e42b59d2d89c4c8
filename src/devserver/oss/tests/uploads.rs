//! Multipart uploads.

use super::*;

const PART: usize = 100 << 10;

async fn initiate(cloud: &Cloud, key: &str) -> String {
    let answer = cloud.send(&format!("POST /bkt/{key}?uploads"), &[("content-type", "text/x-m"), ("x-oss-meta-a", "1")], b"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.element("UploadId").to_owned()
}

async fn upload(cloud: &Cloud, key: &str, id: &str, number: u32, body: &[u8]) -> Answer {
    let answer = cloud.send(&format!("PUT /bkt/{key}?partNumber={number}&uploadId={id}"), &[], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn document(parts: &[(u32, &str)]) -> Vec<u8> {
    let parts: String = parts.iter().map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes()
}

#[tokio::test(start_paused = true)]
async fn parts_become_an_object_whose_crc_is_that_of_the_whole() {
    let cloud = Cloud::new().await;
    let id = initiate(&cloud, "k").await;
    let bytes: Vec<u8> = (0..102_400u32).map(|i| (i % 251) as u8).collect();
    let whole: Vec<u8> = [&bytes[..], b"tail"].concat();
    let one = upload(&cloud, "k", &id, 1, &bytes).await;
    let two = upload(&cloud, "k", &id, 5, b"tail").await;
    assert_eq!((one.header("x-oss-hash-crc64ecma"), one.header("content-md5")), ("5409316634556368277", md5_of(&bytes).as_str()));
    let done = cloud.send(&format!("POST /bkt/k?uploadId={id}"), &[], &document(&[(1, one.header("etag")), (5, two.header("etag"))])).await;
    let md5s = [Md5::digest(&bytes).to_vec(), Md5::digest(b"tail").to_vec()].concat();
    let etag = format!("\"{}-2\"", crate::devserver::store::hex(&Md5::digest(md5s)).to_uppercase());
    assert_eq!((done.status, done.element("ETag"), done.header("etag")), (200, etag.as_str(), etag.as_str()));
    cloud.put("whole", &whole).await;
    let crc = cloud.send("HEAD /bkt/whole", &[], b"").await.header("x-oss-hash-crc64ecma").to_owned();
    assert_eq!(done.header("x-oss-hash-crc64ecma"), crc);
    let get = cloud.send("GET /bkt/k", &[], b"").await;
    assert_eq!((get.body, get.headers["x-oss-object-type"].to_str().unwrap()), (whole, "Multipart"));
    assert_eq!((get.headers["content-type"].to_str().unwrap(), get.headers["x-oss-meta-a"].to_str().unwrap()), ("text/x-m", "1"));
    assert!(get.headers.get("content-md5").is_none());
    let again = cloud.send(&format!("POST /bkt/k?uploadId={id}"), &[], &document(&[(1, one.header("etag"))])).await;
    assert_eq!((again.refused(), again.element("UploadId")), ((404, "NoSuchUpload"), id.as_str()));
}

#[tokio::test(start_paused = true)]
async fn complete_all_takes_every_part_and_no_body() {
    let cloud = Cloud::new().await;
    let id = initiate(&cloud, "k").await;
    upload(&cloud, "k", &id, 2, b"tail").await;
    upload(&cloud, "k", &id, 1, &[7; PART]).await;
    let all = [("x-oss-complete-all", "yes")];
    assert_eq!(cloud.send(&format!("POST /bkt/k?uploadId={id}"), &all, &document(&[(1, "X")])).await.refused(), (400, "InvalidArgument"));
    let open = [all[0], ("x-oss-object-acl", "public-read")];
    assert_eq!(cloud.send(&format!("POST /bkt/k?uploadId={id}"), &open, b"").await.status, 200);
    assert_eq!(cloud.send("GET /bkt/k?acl", &[], b"").await.element("Grant"), "public-read");
    assert_eq!(cloud.send("HEAD /bkt/k", &[], b"").await.header("content-length"), (PART + 4).to_string());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_list_of_parts_is_refused_and_the_upload_lives_on() {
    let cloud = Cloud::new().await;
    let id = initiate(&cloud, "k").await;
    let small = upload(&cloud, "k", &id, 1, b"small").await.header("etag").to_owned();
    let large = upload(&cloud, "k", &id, 2, &[7; PART]).await.header("etag").to_owned();
    for (parts, code, ec) in [
        (vec![(1, small.as_str()), (2, large.as_str())], "EntityTooSmall", "0042-00000213"),
        (vec![(2, large.as_str()), (1, small.as_str())], "InvalidPartOrder", ""),
        (vec![(2, large.as_str()), (2, large.as_str())], "InvalidPartOrder", ""),
        (vec![(1, large.as_str())], "InvalidPart", ""),
        (vec![(3, large.as_str())], "InvalidPart", ""),
        (vec![], "MalformedXML", "0031-00000001"),
    ] {
        let answer = cloud.send(&format!("POST /bkt/k?uploadId={id}"), &[], &document(&parts)).await;
        assert_eq!((answer.refused(), answer.header("x-oss-ec")), ((400, code), ec), "{parts:?}");
    }
    let done = cloud.send(&format!("POST /bkt/k?uploadId={id}"), &[], &document(&[(2, &large)])).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(cloud.send("HEAD /bkt/k", &[], b"").await.header("content-length"), PART.to_string());
}

#[tokio::test(start_paused = true)]
async fn parts_are_listed_with_their_crc_page_by_page() {
    let cloud = Cloud::new().await;
    let id = initiate(&cloud, "a%20b").await;
    for number in [1, 3, 7] {
        upload(&cloud, "a%20b", &id, number, b"123456789").await;
    }
    let page = cloud.send(&format!("GET /bkt/a%20b?uploadId={id}&max-parts=2&encoding-type=url"), &[], b"").await;
    assert_eq!(page.elements("PartNumber"), ["1", "3"]);
    assert_eq!(page.elements("HashCrc64ecma"), ["11051210869376104954"; 2]);
    assert_eq!((page.element("Key"), page.element("IsTruncated"), page.element("NextPartNumberMarker")), ("a%20b", "true", "3"));
    let rest = cloud.send(&format!("GET /bkt/a%20b?uploadId={id}&part-number-marker=3"), &[], b"").await;
    assert_eq!((rest.elements("PartNumber"), rest.element("IsTruncated")), (vec!["7".to_owned()], "false"));
}

#[tokio::test(start_paused = true)]
async fn uploads_are_listed_and_aborted() {
    let cloud = Cloud::new().await;
    let mut ids = Vec::new();
    for key in ["a", "a", "d/e", "d/f", "z"] {
        ids.push(initiate(&cloud, key).await);
        cloud.wait(1).await;
    }
    let all = cloud.send("GET /bkt?uploads", &[], b"").await;
    assert_eq!(all.elements("UploadId"), ids);
    let folded = cloud.send("GET /bkt?uploads&delimiter=%2F", &[], b"").await;
    assert_eq!((folded.elements("Key"), folded.elements("CommonPrefixes").len()), (vec!["a".to_owned(), "a".to_owned(), "z".to_owned()], 1));
    let (mut found, mut from) = (Vec::new(), String::new());
    loop {
        let page = cloud.send(&format!("GET /bkt?uploads&max-uploads=1{from}"), &[], b"").await;
        found.extend(page.elements("UploadId"));
        if page.element("IsTruncated") == "false" {
            break;
        }
        from = format!("&key-marker={}&upload-id-marker={}", page.element("NextKeyMarker"), page.element("NextUploadIdMarker"));
    }
    assert_eq!(found, ids);
    assert_eq!(cloud.send("DELETE /bkt", &[], b"").await.refused(), (409, "BucketNotEmpty"));
    for (key, id) in ["a", "a", "d/e", "d/f", "z"].iter().zip(&ids) {
        assert_eq!(cloud.send(&format!("DELETE /bkt/{key}?uploadId={id}"), &[], b"").await.status, 204);
        assert_eq!(cloud.send(&format!("DELETE /bkt/{key}?uploadId={id}"), &[], b"").await.refused(), (404, "NoSuchUpload"));
    }
    assert_eq!(cloud.send("DELETE /bkt", &[], b"").await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_part_can_come_from_another_object() {
    let cloud = Cloud::new().await;
    cloud.put("source", b"0123456789").await;
    let id = initiate(&cloud, "k").await;
    let request = format!("PUT /bkt/k?partNumber=1&uploadId={id}");
    let source = ("x-oss-copy-source", "/bkt/source");
    let copied = cloud.send(&request, &[source, ("x-oss-copy-source-range", "bytes=2-4")], b"").await;
    assert_eq!((copied.status, copied.header("etag")), (200, copied.element("ETag")));
    assert_eq!(cloud.send(&request, &[source, ("x-oss-copy-source-range", "bytes=2-10")], b"").await.refused(), (416, "InvalidRange"));
    let done = cloud.send(&format!("POST /bkt/k?uploadId={id}"), &[], &document(&[(1, copied.element("ETag"))])).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.body, b"234");
}

#[tokio::test(start_paused = true)]
async fn encryption_belongs_to_the_initiation_and_a_guard_holds_to_the_end() {
    let cloud = Cloud::new().await;
    let id = initiate(&cloud, "k").await;
    let request = format!("PUT /bkt/k?partNumber=1&uploadId={id}");
    assert_eq!(cloud.send(&request, &[("x-oss-server-side-encryption", "AES256")], b"x").await.refused(), (400, "InvalidArgument"));
    assert_eq!(cloud.send(&format!("PUT /bkt/k?partNumber=1&uploadId={id}X"), &[], b"x").await.refused(), (404, "NoSuchUpload"));
    upload(&cloud, "k", &id, 1, b"x").await;
    cloud.put("k", b"meanwhile").await;
    let guard = [("x-oss-forbid-overwrite", "true"), ("x-oss-complete-all", "yes")];
    assert_eq!(cloud.send(&format!("POST /bkt/k?uploadId={id}"), &guard, b"").await.refused(), (409, "FileAlreadyExists"));
    assert_eq!(cloud.send("POST /bkt/k?uploads", &guard[..1], b"").await.refused(), (409, "FileAlreadyExists"));
}
